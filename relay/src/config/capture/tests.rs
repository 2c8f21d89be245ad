//! Tables of right and wrong `[capture]` sections.

use std::num::NonZeroU64;

use super::*;
use crate::config::{
    Config,
    secret::Secret,
    tests::{NAME as FILE, errors, parse, parse_with},
};

fn capture(text: &str) -> Capture {
    let config: Config = parse_with(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    config.capture.unwrap_or_else(|| panic!("{text}: nothing is captured"))
}

fn shown<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

#[test]
fn nothing_is_captured_unless_a_table_is_named() {
    for text in ["", "capture.tables = ''", "capture.tables = []\ncapture.reselect = true"] {
        assert_eq!(parse_with(text).expect(text).capture, None, "{text}");
    }
    let found = errors(parse_with("capture.reselect = true"));
    assert_eq!(found, ["[capture] captures nothing: name tables in `capture.tables`, or \"\" for none"]);
}

#[test]
fn one_key_suffices_and_everything_else_has_its_documented_default() {
    let capture = capture("capture.tables = 'public.users'");
    assert_eq!(shown(&capture.tables), ["public.users"]);
    assert_eq!(shown(&capture.tables_except), ["public.outbox_events", "postrider.*"]);
    assert_eq!((capture.publication.as_str(), capture.publish_via_partition_root), ("postrider_capture", true));
    assert_eq!((capture.topic.as_str(), capture.topic_prefix.as_str()), ("cdc.{table}", "postrider"));
    assert_eq!((capture.debezium, capture.schemas, capture.tombstones), (false, false, true));
    assert_eq!((capture.unavailable_value.as_str(), capture.reselect), ("__debezium_unavailable_value", false));
    assert_eq!((capture.skipped_operations, capture.skip_unchanged), (vec![], false));
    assert_eq!((capture.columns, capture.columns_except, capture.masks), (vec![], vec![], vec![]));
    assert_eq!((capture.key_columns, capture.transaction_topic, capture.message_prefixes), (vec![], None, vec![]));
    assert_eq!((capture.message_topic.as_str(), capture.signal_table), ("postrider.message", None));
    assert_eq!(capture.on_refusal, OnRefusal::Park);
    let types = Types {
        decimal: Decimal::Precise,
        time: Time::Adaptive,
        interval: Interval::Numeric,
        binary: Binary::Bytes,
        hstore: Hstore::Json,
        money_fraction_digits: 2,
        refuses_other: false,
    };
    assert_eq!(capture.types, types);
    let snapshot =
        Snapshot { mode: SnapshotMode::Initial, workers: 4, chunk_rows: 20_000, rows_per_second: None, tables: vec![] };
    assert_eq!(capture.snapshot, snapshot);
}

#[test]
fn everything_can_be_said_in_the_file() {
    let capture = capture(
        "outbox.table = 'sales.outbox'
         [capture]
         tables = ['public.*', 'sales.\"Order Lines\"']
         tables_except = 'public.tmp_*, public.cache'
         publication = 'cdc'
         publish_via_partition_root = false
         topic = '{database}.{schema}.{table}'
         topic_prefix = 'shop'
         schemas = true
         tombstones = false
         unavailable_value = '-'
         reselect = true
         skipped_operations = ['t', 'c', 't']
         skip_unchanged = true
         columns = 'public.users.id, public.users.name'
         transaction_topic = 'shop.transaction'
         message_prefixes = 'audit*'
         message_topic = 'shop.messages'
         signal_table = 'public.signals'
         on_refusal = 'dead_letter'
         dead_letter_topic = 'shop.dead'
         [capture.masks]
         '*.*.email' = 'mask:0'
         public.users.email = 'hash:sha-512:/run/secret'
         'sales.\"Order Lines\".note' = 'truncate:10'
         [capture.key_columns]
         public.users = 'tenant, name'
         [capture.types]
         decimal = 'string'
         time = 'isostring'
         interval = 'string'
         binary = 'base64-url-safe'
         hstore = 'map'
         money_fraction_digits = 0
         [capture.snapshot]
         mode = 'when_needed'
         workers = 1
         chunk_rows = 1000
         rows_per_second = 500
         tables = 'public.users'",
    );
    assert_eq!(shown(&capture.tables), ["public.*", "sales.Order Lines"]);
    assert_eq!(shown(&capture.tables_except), ["public.tmp_*", "public.cache", "sales.outbox", "postrider.*"]);
    for (table, captured) in [("users", true), ("tmp_1", false), ("cache", false)] {
        assert_eq!(capture.captures("public", table), captured, "{table}");
    }
    assert!(!capture.captures("sales", "outbox") && !capture.captures("postrider", "parked"));
    assert_eq!(capture.skipped_operations, [Operation::Create, Operation::Truncate]);
    let masks: Vec<_> = capture.masks.iter().map(|mask| (mask.columns.to_string(), mask.with.clone())).collect();
    let hash = MaskWith::Hash { algorithm: HashAlgorithm::Sha512, salt: Secret::new("from the file") };
    assert_eq!(
        masks,
        [
            ("public.users.email".to_owned(), hash),
            ("sales.Order Lines.note".to_owned(), MaskWith::Truncate(10)),
            ("*.*.email".to_owned(), MaskWith::Asterisks(0)),
        ]
    );
    let [key] = capture.key_columns.as_slice() else { panic!("{:?}", capture.key_columns) };
    assert_eq!((key.table.to_string().as_str(), shown(&key.columns)), ("public.users", shown(&["tenant", "name"])));
    assert_eq!(capture.on_refusal, OnRefusal::DeadLetter("shop.dead".to_owned()));
    assert_eq!((capture.types.decimal, capture.types.binary), (Decimal::Text, Binary::Base64UrlSafe));
    assert_eq!((capture.types.time, capture.types.money_fraction_digits), (Time::IsoString, 0));
    assert_eq!((capture.snapshot.mode, capture.snapshot.workers), (SnapshotMode::WhenNeeded, 1));
    assert_eq!(capture.snapshot.rows_per_second, NonZeroU64::new(500));
    assert!(!format!("{capture:?}").contains("from the file"), "a salt is never printed");
}

#[test]
fn everything_can_be_said_by_variables() {
    let minimum = "postgres.database = 'shop'\nkafka.bootstrap_servers = 'a:1'\ncapture.tables = 'public.other'";
    let pairs = [
        ("POSTRIDER_CAPTURE_TABLES", "public.users, public.\"a,b\""),
        ("POSTRIDER_CAPTURE_MASKS", "public.users.email=mask:3; public.users.phone=truncate:4"),
        ("POSTRIDER_CAPTURE_KEY_COLUMNS", "public.users=a,b"),
        ("POSTRIDER_CAPTURE_TYPES_DECIMAL", "double"),
        ("POSTRIDER_CAPTURE_SNAPSHOT_MODE", "no_data"),
        ("POSTRIDER_CAPTURE_TOMBSTONES", "false"),
        ("POSTRIDER_CAPTURE_SKIPPED_OPERATIONS", ""),
    ];
    let capture = parse(minimum, &pairs).unwrap().capture.unwrap();
    assert_eq!(shown(&capture.tables), ["public.users", "public.a,b"]);
    assert_eq!((capture.masks.len(), capture.key_columns[0].columns.len(), capture.tombstones), (2, 2, false));
    assert_eq!((capture.types.decimal, capture.snapshot.mode), (Decimal::Double, SnapshotMode::NoData));
}

#[test]
fn the_form_of_debezium_has_its_topics_and_skips_truncates() {
    let text = "[capture]\ntables = 'public.users'\ncompatibility = 'debezium'\ntopic_prefix = 'app'";
    let debezium = capture(text);
    assert!(debezium.debezium && debezium.skipped_operations == [Operation::Truncate]);
    assert_eq!(
        (debezium.topic.as_str(), debezium.message_topic.as_str()),
        ("{prefix}.{schema}.{table}", "app.message")
    );
    assert!(capture(&format!("{text}\nskipped_operations = ''")).skipped_operations.is_empty());
    let found = errors(parse_with(&format!("{}\ntopic = 'x'", text.replace("topic_prefix = 'app'", ""))));
    let expected = [
        format!(
            "{FILE}:5:17: `capture.compatibility` is \"debezium\", for which `capture.topic_prefix` must be what the connector has as `topic.prefix`"
        ),
        format!(
            "{FILE}:7:9: `capture.topic` does not go with `compatibility = \"debezium\"`: set `capture.topic_prefix`, which begins every topic"
        ),
    ];
    assert_eq!(found, expected);
}

#[test]
fn there_need_be_no_outbox_where_tables_are_captured() {
    let config = parse_with("outbox.table = ''\ncapture.tables = 'public.outbox_events'").unwrap();
    assert!(config.outboxes.is_empty());
    assert!(config.capture.unwrap().captures("public", "outbox_events"));

    let found = errors(parse_with("outbox.table = ''"));
    assert!(found.len() == 1 && found[0].contains("3:16: `outbox.table` must be a schema and a table"), "{found:?}");
    let found = errors(parse_with("outbox.table = ''\ncapture.tables = ''"));
    let expected = "`capture.tables` names no table, and there is no outbox either: nothing would be published";
    assert_eq!(found, [format!("{FILE}:4:18: {expected}")]);

    let config = parse_with("outbox.table = ''\noutboxes.b.table = 'public.b'\ncapture.tables = 'public.a'").unwrap();
    assert_eq!(config.outboxes.len(), 1);
}

#[test]
fn what_cannot_be_is_refused_with_its_place() {
    for (text, place, expected) in [
        ("tables = 'users'", "2:10", "`capture.tables` must be schema.table, or several of them"),
        ("tables = 'public.a,,public.b'", "2:10", "`capture.tables` must be schema.table"),
        ("tables = ['public.Users']", "2:10", "`capture.tables` must be schema.table"),
        ("tables = [1]", "2:10", "`capture.tables` must be schema.table"),
        ("tables = 'public.outbox_events'", "2:10", "names public.outbox_events, the table of the outbox `outbox`"),
        ("tables = 'postrider.parked'", "2:10", "which holds what the relay itself writes"),
        ("publication = 'postrider'", "3:15", "other than `source.publication`"),
        ("topic = 'cdc.{tabel}'", "3:9", "the placeholders {schema}, {table}, {database} and {prefix}"),
        ("topic = '{ta{schema}ble}'", "3:9", "the placeholders"),
        ("topic = 'cdc/{table}'", "3:9", "the placeholders"),
        ("topic_prefix = 'a b'", "3:16", "`capture.topic_prefix` must be letters, digits"),
        ("unavailable_value = ''", "3:21", "must be 1 to 1024 bytes"),
        ("skipped_operations = 'x'", "3:22", "must be c (create), u (update), d (delete), t (truncate)"),
        (
            "columns = 'public.users.id'\ncolumns_except = '*.*.a'",
            "4:18",
            "`capture.columns_except` does not go with `capture.columns`",
        ),
        ("columns = 'public.users'", "3:11", "`capture.columns` must be schema.table.column"),
        ("masks.\"public.users\" = 'mask:3'", "3:24", "`capture.masks.public.users` must be schema.table.column"),
        ("masks.public.users.a = 'stars'", "3:24", "must be \"truncate:N\", \"mask:N\" or \"hash:ALGORITHM:FILE\""),
        ("masks.public.users.a = 'mask:-1'", "3:24", "must have a whole number of at most 10485760 after `mask:`"),
        ("masks.public.users.a = 'hash:md5:/run/secret'", "3:24", "must have SHA-224, SHA-256, SHA-384 or SHA-512"),
        ("masks.public.users.a = 'hash:sha-256:/none'", "3:24", "names /none, which cannot be read: entity not found"),
        (
            "masks.public.posts.a = 'mask:1'",
            "3:24",
            "`capture.masks.public.posts.a` is of a table that is not captured",
        ),
        ("key_columns.users = 'a'", "3:21", "`capture.key_columns.users` must be schema.table"),
        ("key_columns.public.users = 'a,a'", "3:28", "must be names of columns separated by commas, none twice"),
        (
            "key_columns.public.posts = 'a'",
            "3:28",
            "is of a table that is not captured: `capture.tables` does not name it",
        ),
        (
            "key_columns.public.users = 'a'\nmasks.'*.*.a' = 'mask:1'",
            "3:28",
            "has the column a, which `capture.masks` masks",
        ),
        ("message_prefixes = ['']", "3:20", "must be prefixes of 1 to 255 bytes"),
        ("signal_table = 'signals'", "3:16", "`capture.signal_table` must be schema.table"),
        ("on_refusal = 'dead_letter'", "3:14", "for which `capture.dead_letter_topic` must name a topic"),
        ("snapshot.workers = 0", "3:20", "`capture.snapshot.workers` must be a whole number from 1 to 64"),
        ("snapshot.mode = 'always'", "3:17", "must be one of \"initial\", \"no_data\""),
        ("types.decimal = 'exact'", "3:17", "must be one of \"precise\", \"double\", \"string\""),
        ("types = 1", "3:1", "`capture.types` is a section: write [capture.types] and its keys below"),
        ("tabels = 'a.b'", "3:1", "unknown key `capture.tabels`; did you mean `capture.tables`?"),
    ] {
        let tables = if text.starts_with("tables") { "" } else { "tables = 'public.users'\n" };
        let found = errors(parse(
            &format!("[capture]\n{tables}{text}\n[postgres]\ndatabase = 'shop'\n[kafka]\nbootstrap_servers = 'a:1'"),
            &[],
        ));
        let all = found.len() == 1 && found[0].starts_with(&format!("{FILE}:{place}: ")) && found[0].contains(expected);
        assert!(all, "{text}: {found:?}");
    }
}
