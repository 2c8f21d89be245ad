//! Our own form, and every rule that Debezium does not have, or does not keep.

use bytes::Bytes;

use super::*;
use crate::pipeline::MessageRef;
use crate::shape::change::options::{ChangeForm, KeyOptions, MaskForm, MaskOptions};
use crate::shape::change::row::Snapshot;
use crate::shape::change::table::{Column, DataType, Identity, TypeKind};
use crate::shape::change::transaction::{Boundary, EventCounts};
use crate::shape::change::types::Others;
use crate::shape::outbox::POSITION;
use crate::shape::position::EventPosition;

const N: Value<'static> = Value::Null;

fn v(text: &'static str) -> Value<'static> {
    Value::Text(text.as_bytes())
}

fn column(name: &str, oid: u32, of: &str) -> Column {
    let of = DataType { oid, schema: "pg_catalog".into(), name: of.into(), kind: TypeKind::Base };
    Column { name: name.into(), of, modifier: -1, optional: true, default: None, has_default: false, generated: false }
}

fn users(identity: Identity) -> Table {
    let id = Column { optional: false, ..column("id", 20, "int8") };
    let state = Column { optional: false, ..column("state", 25, "text") };
    let level = Column { default: Some("7".into()), has_default: true, ..column("level", 23, "int4") };
    let columns = vec![id, column("name", 25, "text"), state, level];
    Table { schema: "public".into(), name: "users".into(), columns, key: vec![0], identity }
}

fn stamp() -> Stamp<'static> {
    Stamp {
        position: EventPosition::new(1, 8, 4),
        commit_us: 1_700_000_000_123_456,
        now_us: 1_700_000_001_223_456,
        xid: Some(742),
        lsn: Some(24),
        last_commit_lsn: None,
        snapshot: Snapshot::False,
        origin: None,
        origin_lsn: None,
        transaction: None,
    }
}

fn usual() -> CaptureOptions {
    CaptureOptions::usual("app", "logical", "cdc.{table}")
}

/// What a change of a table becomes.
fn shaped(options: &CaptureOptions, table: &Table, change: Change<'_>) -> (Shaped, Messages) {
    let mut capture = Capture::new(options).expect("valid");
    let form = capture.describe(table).expect("supported");
    let mut messages = Messages::over(Bytes::new());
    let shaped = capture.shape(&form, change, &stamp(), &mut messages);
    (shaped, messages)
}

fn text(bytes: Option<&[u8]>) -> String {
    bytes.map_or("-".into(), |bytes| String::from_utf8(bytes.to_vec()).expect("text"))
}

/// Key, operation, and what stands before `source`.
fn rows(message: MessageRef<'_>) -> String {
    let value = text(message.value());
    let (rows, rest) = value.split_once(r#","source":"#).unwrap_or((&value, ""));
    let op = rest.split_once(r#""op":""#).map_or("", |(_, op)| &op[..1]);
    format!("{} {op} {rows}", text(message.key()))
}

fn all(messages: &Messages) -> Vec<String> {
    messages.iter().map(rows).collect()
}

#[test]
fn a_record_of_ours_has_the_time_of_the_commit_and_tells_its_position() {
    let row = [v("1"), v("a"), v("on"), N];
    let (shaped, messages) = shaped(&usual(), &users(Identity::Default), Change::Insert { new: &row });
    assert_eq!(shaped, Shaped::Whole);
    let message = messages.at(0).expect("one");
    assert_eq!((message.topic(), message.timestamp_ms()), ("cdc.users", 1_700_000_000_123));
    assert_eq!(text(message.header(POSITION)), stamp().position.to_string());
    assert_eq!(message.header_count(), 1);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        text(message.value()),
        [
            r#"{"before":null,"after":{"id":1,"name":"a","state":"on","level":null},"source":{"version":""#,
            version,
            r#"","connector":"postgresql","name":"logical","ts_ms":1700000000123,"snapshot":"false","db":"app","#,
            r#""sequence":"[null,\"24\"]","ts_us":1700000000123456,"ts_ns":1700000000123456000,"schema":"public","#,
            r#""table":"users","txId":742,"lsn":24,"xmin":null,"origin":null,"origin_lsn":null},"transaction":null,"#,
            r#""op":"c","ts_ms":1700000001223,"ts_us":1700000001223456,"ts_ns":1700000001223456000}"#,
        ]
        .concat()
    );
}

#[test]
fn a_row_under_a_new_key_is_deleted_and_created_at_positions_that_rise() {
    let old = Old { values: &[v("1"), N, N, N], whole: false };
    let new = [v("2"), v("a"), v("on"), N];
    let change = Change::Update { old: Some(old), new: &new };
    let (_, messages) = shaped(&usual(), &users(Identity::Default), change);
    assert_eq!(
        all(&messages),
        [
            r#"{"id":1} d {"before":{"id":1,"name":null,"state":null,"level":null},"after":null"#,
            r#"{"id":1}  -"#,
            r#"{"id":2} c {"before":null,"after":{"id":2,"name":"a","state":"on","level":null}"#,
        ]
    );
    for (part, (message, header)) in messages.iter().zip([NEW_KEY, NEW_KEY, OLD_KEY]).enumerate() {
        let position = stamp().position.part(part as u8);
        assert_eq!(message.position(), position.as_u128());
        assert_eq!(text(message.header(POSITION)), position.to_string());
        assert_eq!(text(message.header(header)), if part == 2 { r#"{"id":1}"# } else { r#"{"id":2}"# });
    }
}

#[test]
fn a_null_of_ours_is_a_null_and_debeziums_is_a_default_or_a_zero() {
    let old = Old { values: &[v("1"), N, N, N], whole: false };
    let before = |form, schemas| {
        let options = CaptureOptions { form, schemas, ..usual() };
        let (_, messages) = shaped(&options, &users(Identity::Default), Change::Delete { old });
        let value = text(messages.at(0).expect("one").value());
        let from = value.rfind(r#"{"before":"#).expect("there");
        value[from + 10..].split_once(",\"after\"").expect("there").0.to_owned()
    };
    assert_eq!(before(ChangeForm::Native, false), r#"{"id":1,"name":null,"state":null,"level":null}"#);
    // A schema says that there is a value.
    assert_eq!(before(ChangeForm::Native, true), r#"{"id":1,"name":null,"state":"","level":null}"#);
    assert_eq!(before(ChangeForm::Debezium, false), r#"{"id":1,"name":null,"state":"","level":7}"#);
}

#[test]
fn a_row_without_key_has_a_null_key_and_no_tombstone() {
    let table = Table { key: vec![], identity: Identity::Full, ..users(Identity::Full) };
    let old = Old { values: &[v("1"), N, v("on"), N], whole: true };
    let (_, messages) = shaped(&usual(), &table, Change::Delete { old });
    let before = r#"{"id":1,"name":null,"state":"on","level":null}"#;
    assert_eq!(all(&messages), [format!(r#"- d {{"before":{before},"after":null"#)]);
}

#[test]
fn a_deletion_whose_key_is_not_told_is_unfit_rather_than_of_another_row() {
    let identity = Identity::Index;
    let old = Old { values: &[N, v("a"), N, N], whole: false };
    let (shaped_deletion, messages) = shaped(&usual(), &users(identity), Change::Delete { old });
    let Shaped::Unfit(why) = shaped_deletion else { panic!("{shaped_deletion:?}") };
    let reason =
        r#"its key is not known: the replica identity does not tell column "id" of public.users, which is part of it"#;
    assert_eq!((why.class(), why.to_string().as_str()), ("key_unknown", reason));
    assert_eq!((messages.len(), messages.unfit().len()), (1, 1));

    // What the row is now is told all the same, without a word on the key that it had.
    let new = [v("1"), v("b"), v("on"), N];
    let (_, messages) = shaped(&usual(), &users(identity), Change::Update { old: Some(old), new: &new });
    assert_eq!(messages.unfit().iter().map(|unfit| unfit.index).collect::<Vec<_>>(), [0]);
    let last = messages.at(messages.len() - 1).expect("one");
    assert!(rows(last).starts_with(r#"{"id":1} c "#), "{}", rows(last));
    assert_eq!(last.header(OLD_KEY), None);
}

#[test]
fn a_value_that_is_none_of_its_type_is_unfit_and_its_row_is_kept() {
    let row = [v("1"), v("a"), v("on"), v("many")];
    let (unfit, messages) = shaped(&usual(), &users(Identity::Default), Change::Insert { new: &row });
    let Shaped::Unfit(why) = unfit else { panic!("{unfit:?}") };
    assert_eq!(why.class(), "unreadable_value");
    assert!(why.to_string().starts_with(r#"column "level" of public.users holds a text that is no value"#), "{why}");
    assert!(!why.to_string().contains("many"));
    assert!(all(&messages)[0].ends_with(r#""level":"many"}"#));

    let (unfit, messages) = shaped(&usual(), &users(Identity::Default), Change::Insert { new: &row[..2] });
    assert!(matches!(unfit, Shaped::Unfit(_)));
    assert_eq!((messages.len(), messages.unfit().len()), (1, 1));
}

#[test]
fn what_was_not_sent_is_named_unless_the_old_row_tells_it() {
    let mut capture =
        Capture::new(&CaptureOptions { columns_except: vec!["*.*.state".into()], ..usual() }).expect("valid");
    let form = capture.describe(&users(Identity::Full)).expect("supported");
    let new = [v("1"), Value::Unchanged, Value::Unchanged, N];
    let unknown = Change::Update { old: None, new: &new };
    assert_eq!(capture.unavailable(&form, &unknown).collect::<Vec<_>>(), [1]);
    let old = Old { values: &[v("1"), v("told"), v("on"), N], whole: true };
    let known = Change::Update { old: Some(old), new: &new };
    assert_eq!(capture.unavailable(&form, &known).count(), 0);
    let mut messages = Messages::over(Bytes::new());
    capture.shape(&form, known, &stamp(), &mut messages);
    assert!(all(&messages)[0].ends_with(r#""after":{"id":1,"name":"told","level":null}"#));
}

#[test]
fn each_operation_can_be_left_out_and_counts_for_nothing_then() {
    let skipped = options::Skipped { create: true, update: true, delete: true, truncate: true };
    let options = CaptureOptions { skipped, ..usual() };
    let row = [v("1"), v("a"), v("on"), N];
    let old = Old { values: &row, whole: true };
    let capture = Capture::new(&options).expect("valid");
    let form = capture.describe(&users(Identity::Full)).expect("supported");
    for change in [
        Change::Insert { new: &row },
        Change::Update { old: Some(old), new: &row },
        Change::Delete { old },
        Change::Truncate,
    ] {
        let (shaped, messages) = shaped(&options, &users(Identity::Full), change);
        assert_eq!((shaped, messages.len(), capture.events(&form, &change)), (Shaped::Filtered, 0, 0));
    }
    let (read, _) = shaped(&options, &users(Identity::Full), Change::Read { row: &row });
    assert_eq!(read, Shaped::Whole);
}

#[test]
fn a_masked_value_is_hidden_wherever_it_stands() {
    let mask = |mask| vec![MaskOptions { columns: "public.users.name".into(), mask }];
    let old = Old { values: &[v("1"), v("secret"), v("on"), N], whole: true };
    let new = [v("2"), v("Secret"), v("on"), N];
    for form in [MaskForm::Asterisks(5), MaskForm::Hash { algorithm: "SHA-256".into(), salt: "salt".into() }] {
        let options = CaptureOptions { masks: mask(form), schemas: true, ..usual() };
        let (_, messages) = shaped(&options, &users(Identity::Full), Change::Update { old: Some(old), new: &new });
        let unsent = [v("1"), Value::Unchanged, v("on"), N];
        let (_, more) = shaped(&options, &users(Identity::Full), Change::Update { old: Some(old), new: &unsent });
        for message in messages.iter().chain(more.iter()) {
            let value = text(message.value());
            assert!(!value.to_lowercase().contains("secret"), "{value}");
            assert!(value == "-" || value.contains(r#""parameters":{"masked":"true"}"#));
        }
    }
    // Nothing that is published changed.
    let options = CaptureOptions { masks: mask(MaskForm::Asterisks(5)), skip_unchanged: true, ..usual() };
    let new = [v("1"), v("Secret"), v("on"), N];
    let (skipped, _) = shaped(&options, &users(Identity::Full), Change::Update { old: Some(old), new: &new });
    assert_eq!(skipped, Shaped::Filtered);
    // Ours keeps what stands for a value apart from values.
    let options = CaptureOptions { masks: mask(MaskForm::Truncate(3)), ..usual() };
    let unsent = [v("1"), Value::Unchanged, v("on"), N];
    let (_, messages) = shaped(&options, &users(Identity::Default), Change::Update { old: None, new: &unsent });
    assert!(all(&messages)[0].contains(r#""name":"__debezium_unavailable_value""#));
}

#[test]
fn what_cannot_be_published_is_refused_with_its_mend() {
    let describe = |change: fn(&mut CaptureOptions), table: Table| {
        let mut options = usual();
        change(&mut options);
        Capture::new(&options).expect("valid").describe(&table).expect_err("refused").to_string()
    };
    let error = describe(
        |options| {
            options.masks = vec![MaskOptions { columns: "*.*.id".into(), mask: MaskForm::Asterisks(1) }];
        },
        users(Identity::Default),
    );
    assert!(error.contains(r#"column "id" is masked, and it is part of the key of public.users"#), "{error}");
    let error = describe(
        |options| {
            options.masks = vec![MaskOptions { columns: "*.*.level".into(), mask: MaskForm::Asterisks(1) }];
        },
        users(Identity::Default),
    );
    assert!(error.contains(r#"column "level" of public.users has the type int4, which no mask fits"#), "{error}");
    let error = describe(
        |options| options.keys = vec![KeyOptions { tables: "*.*".into(), columns: vec!["name".into()] }],
        users(Identity::Default),
    );
    assert!(error.contains("ALTER TABLE public.users REPLICA IDENTITY FULL"), "{error}");
    let error = describe(
        |options| options.keys = vec![KeyOptions { tables: "*.*".into(), columns: vec!["nowhere".into()] }],
        users(Identity::Full),
    );
    assert!(error.contains(r#"key_columns names column "nowhere" of public.users"#), "{error}");
    let mut table = users(Identity::Default);
    table.columns.push(column("odd", 99_999, "odd_type"));
    let error = describe(|options| options.types.others = Others::Refused, table);
    for part in [r#"column "odd" of public.users has the type odd_type"#, r#"columns_except = ["public.users.odd"]"#] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn options_that_contradict_themselves_are_refused() {
    let error = |change: fn(&mut CaptureOptions)| {
        let mut options = usual();
        change(&mut options);
        Capture::new(&options).expect_err("refused").to_string()
    };
    assert!(error(|options| options.topic = "{column}".into()).contains("found \"{column}\""));
    assert!(error(|options| options.tables = vec!["users".into()]).contains("write schema.table"));
    assert!(error(|options| options.columns_only = vec!["a.b".into()]).contains("write schema.table.column"));
    let both: fn(&mut CaptureOptions) = |options| {
        options.columns_only = vec!["a.b.c".into()];
        options.columns_except = vec!["a.b.d".into()];
    };
    assert!(error(both).contains("exclude each other"));
    let hash: fn(&mut CaptureOptions) = |options| {
        let mask = MaskForm::Hash { algorithm: "MD5".into(), salt: "secret".into() };
        options.masks = vec![MaskOptions { columns: "a.b.c".into(), mask }];
    };
    assert!(error(hash).contains("SHA-256") && !error(hash).contains("secret"));
    let keys: fn(&mut CaptureOptions) =
        |options| options.keys = vec![KeyOptions { tables: "a.b".into(), columns: vec![] }];
    assert!(error(keys).contains("names no column"));
}

#[test]
fn tables_are_captured_by_name_and_columns_too() {
    let options = CaptureOptions {
        tables: vec!["public.*".into()],
        tables_except: vec!["public.audit_*".into()],
        columns_only: vec!["public.users.na*".into()],
        ..usual()
    };
    let capture = Capture::new(&options).expect("valid");
    assert!(capture.captures("public", "users"));
    assert!(!capture.captures("public", "audit_log") && !capture.captures("other", "users"));
    let row = [v("1"), v("a"), v("on"), N];
    let (_, messages) = shaped(&options, &users(Identity::Default), Change::Insert { new: &row });
    assert_eq!(all(&messages), [r#"{"id":1} c {"before":null,"after":{"name":"a"}"#]);
}

#[test]
fn transactions_and_messages_of_ours_tell_their_positions() {
    let options = CaptureOptions {
        transaction_topic: Some("cdc.transactions".into()),
        message_prefixes: vec!["audit.*".into()],
        message_topic: "cdc.messages".into(),
        ..usual()
    };
    let mut capture = Capture::new(&options).expect("valid");
    let mut messages = Messages::over(Bytes::new());
    let mut counts = EventCounts::default();
    capture.transaction(Boundary::Begin, &stamp(), &mut messages);
    assert_eq!(capture.message("other", b"x", &stamp(), &mut messages), Shaped::Filtered);
    assert!(!capture.takes_messages("other") && capture.takes_messages("audit.login"));
    let place = Stamp { transaction: counts.count_message(), ..stamp() };
    assert_eq!(capture.message("audit.login", b"x", &place, &mut messages), Shaped::Whole);
    capture.transaction(Boundary::End(&counts), &stamp(), &mut messages);
    let found: Vec<_> = messages.iter().map(|message| (message.topic(), text(message.key()))).collect();
    let (transaction, message) = (r#"{"id":"742:24"}"#.to_owned(), r#"{"prefix":"audit.login"}"#.to_owned());
    let expected =
        [("cdc.transactions", transaction.clone()), ("cdc.messages", message), ("cdc.transactions", transaction)];
    assert_eq!(found, expected);
    assert!(messages.iter().all(|message| text(message.header(POSITION)) == stamp().position.to_string()));
    let end = text(messages.at(2).expect("three").value());
    assert_eq!(
        end,
        concat!(
            r#"{"status":"END","id":"742:24","event_count":1,"#,
            r#""data_collections":[{"data_collection":"message","event_count":1}],"ts_ms":1700000000123}"#
        )
    );
    let mut quiet = Capture::new(&usual()).expect("valid");
    quiet.transaction(Boundary::Begin, &stamp(), &mut messages);
    assert_eq!(messages.len(), 3);
}
