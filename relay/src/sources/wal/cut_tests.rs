//! The cutter on frames made by hand: positions, resumption and the cases in which peers lose events.

use bytes::{BufMut, BytesMut};

use super::*;
use crate::pipeline::Position;
use crate::shape::change::options::CaptureOptions;
use crate::shape::change::table::{Column, DataType, Identity, TypeKind};
use crate::shape::outbox::OutboxOptions;

const OUTBOX: u32 = 16_400;
const OTHER: u32 = 16_500;
const COLUMNS: [&str; 7] =
    ["id", "aggregate_type", "aggregate_id", "event_type", "payload", "payload_bytes", "headers"];

/// Frames as the server sends them.
#[derive(Default)]
struct Stream(BytesMut);

impl Stream {
    fn frame(&mut self, body: &[u8]) -> &mut Self {
        self.0.put_u8(b'd');
        self.0.put_u32(body.len() as u32 + 4);
        self.0.put_slice(body);
        self
    }

    fn data(&mut self, message: &[u8]) -> &mut Self {
        let mut body = BytesMut::new();
        body.put_u8(b'w');
        body.put_bytes(0, 24);
        body.put_slice(message);
        self.frame(&body)
    }

    fn keepalive(&mut self, end: u64) -> &mut Self {
        let mut body = BytesMut::new();
        body.put_u8(b'k');
        body.put_u64(end);
        body.put_bytes(0, 9);
        self.frame(&body)
    }

    fn begin(&mut self, commit: u64) -> &mut Self {
        let mut m = BytesMut::new();
        m.put_u8(b'B');
        m.put_u64(commit);
        m.put_i64(1_000_500);
        m.put_u32(77);
        self.data(&m)
    }

    fn commit(&mut self, commit: u64, end: u64) -> &mut Self {
        let mut m = BytesMut::new();
        m.put_u8(b'C');
        m.put_u8(0);
        m.put_u64(commit);
        m.put_u64(end);
        m.put_i64(1_000_500);
        self.data(&m)
    }

    fn relation(&mut self, oid: u32, name: &str, columns: &[&str]) -> &mut Self {
        let mut m = BytesMut::new();
        m.put_u8(b'R');
        m.put_u32(oid);
        for text in ["public", name] {
            m.put_slice(text.as_bytes());
            m.put_u8(0);
        }
        m.put_u8(b'd');
        m.put_u16(columns.len() as u16);
        for column in columns {
            m.put_u8(0);
            m.put_slice(column.as_bytes());
            m.put_u8(0);
            m.put_u32(25);
            m.put_i32(-1);
        }
        self.data(&m)
    }

    fn insert(&mut self, oid: u32, id: &str) -> &mut Self {
        self.row(oid, &[Some(id), Some("order"), Some("42"), Some("Placed"), Some("{}"), None, Some("{}")])
    }

    fn row(&mut self, oid: u32, values: &[Option<&str>]) -> &mut Self {
        let mut m = BytesMut::new();
        m.put_u8(b'I');
        m.put_u32(oid);
        m.put_u8(b'N');
        m.put_u16(values.len() as u16);
        for value in values {
            match value {
                Some(text) => {
                    m.put_u8(b't');
                    m.put_u32(text.len() as u32);
                    m.put_slice(text.as_bytes());
                }
                None => m.put_u8(b'n'),
            }
        }
        self.data(&m)
    }

    fn message(&mut self, transactional: bool, prefix: &str, content: &str) -> &mut Self {
        let mut m = BytesMut::new();
        m.put_u8(b'M');
        m.put_u8(u8::from(transactional));
        m.put_u64(0x99);
        m.put_slice(prefix.as_bytes());
        m.put_u8(0);
        m.put_u32(content.len() as u32);
        m.put_slice(content.as_bytes());
        self.data(&m)
    }

    fn outbox(&mut self) -> &mut Self {
        self.relation(OUTBOX, "outbox_events", &COLUMNS)
    }

    fn take(&mut self) -> Bytes {
        self.0.split().freeze()
    }
}

fn record(commit: u64, ordinal: u64, end: u64) -> Record {
    Record {
        system_id: 7,
        timeline: 1,
        epoch: 1,
        commit_lsn: CommitLsn::new(commit),
        ordinal,
        messages: false,
        end_lsn: EndLsn::new(end),
        publications: 0,
        alone_until: EndLsn::ZERO,
    }
}

fn source(route: u16, table: Option<&str>, message_prefix: Option<&str>) -> OutboxSource {
    let name = |name: &str| Some(name.to_owned());
    OutboxSource {
        name: route.to_string(),
        table: table.map(|table| OutboxTable { schema: "public".into(), name: table.into() }),
        message_prefix: message_prefix.map(str::to_owned),
        columns: OutboxColumns {
            id: name("id"),
            aggregate_type: name("aggregate_type"),
            aggregate_id: name("aggregate_id"),
            event_type: name("event_type"),
            payload: name("payload"),
            payload_bytes: name("payload_bytes"),
            headers: name("headers"),
            further: Vec::new(),
        },
        shape: OutboxOptions { route, ..OutboxOptions::usual(&format!("t{route}.{{aggregate_type}}")) },
    }
}

fn cutter(from: Record) -> Cutter {
    cutter_of(&[source(0, Some("outbox_events"), None)], from)
}

fn cutter_of(sources: &[OutboxSource], from: Record) -> Cutter {
    Cutter::new(Bytes::from_static(b"slot"), sources, Metrics::new(), from, Vec::new(), None).expect("valid")
}

/// The ids of a batch, and where it ends.
fn cut(cutter: &mut Cutter, frames: &Bytes) -> Option<(Vec<String>, Record)> {
    let batch = cutter.cut(frames).expect("well formed")?;
    let ids = batch.messages.iter().map(|m| String::from_utf8_lossy(m.header("id").unwrap_or_default()).into_owned());
    Some((ids.collect(), batch.end.record))
}

#[test]
fn a_commit_is_one_batch_that_ends_at_its_end() {
    let mut cutter = cutter(record(0, 0, 0x10));
    let frames =
        Stream::default().begin(0x100).outbox().insert(OUTBOX, "a").insert(OUTBOX, "b").commit(0x100, 0x140).take();
    let batch = cutter.cut(&frames).expect("well formed").expect("it moves");
    let message = batch.messages.at(1).expect("two");
    assert_eq!(message.topic(), "t0.order");
    assert_eq!(message.timestamp_ms(), 946_684_800_000 + 1000);
    assert_eq!(message.header("postrider-position"), Some(&b"00010000000000000100000000000001"[..]));
    assert_eq!(batch.end.record, record(0x100, 1, 0x140));
    assert_eq!(Record::parse(&batch.end.progress().expect("it has one").value).expect("own form"), batch.end.record);
}

#[test]
fn inside_a_long_commit_only_the_ordinal_moves() {
    let mut cutter = cutter(record(0, 0, 0x10));
    let first = Stream::default().begin(0x100).outbox().insert(OUTBOX, "a").take();
    assert_eq!(cut(&mut cutter, &first), Some((vec!["a".into()], record(0x100, 0, 0x10))));
    let second = Stream::default().insert(OUTBOX, "b").keepalive(0x900).take();
    assert_eq!(cut(&mut cutter, &second), Some((vec!["b".into()], record(0x100, 1, 0x10))));
    let third = Stream::default().commit(0x100, 0x140).take();
    assert_eq!(cut(&mut cutter, &third), Some((vec![], record(0x100, 1, 0x140))));
}

#[test]
fn delivery_resumes_inside_a_commit_at_the_recorded_ordinal() {
    let mut cutter = cutter(record(0x100, 1, 0x10));
    let frames = Stream::default()
        .begin(0x100)
        .outbox()
        .insert(OUTBOX, "a")
        .insert(OUTBOX, "b")
        .insert(OUTBOX, "c")
        .commit(0x100, 0x140)
        .take();
    assert_eq!(cut(&mut cutter, &frames), Some((vec!["c".into()], record(0x100, 2, 0x140))));
}

/// Measured under load: the next commit record often starts exactly where this transaction ended. Skipping by the
/// end instead of by the commit would lose it.
#[test]
fn a_commit_record_that_starts_at_its_predecessors_end_is_not_skipped() {
    let mut cutter = cutter(record(0x100, 0, 0x140));
    let frames = Stream::default()
        .begin(0x100)
        .outbox()
        .insert(OUTBOX, "old")
        .commit(0x100, 0x140)
        .begin(0x140)
        .insert(OUTBOX, "new")
        .commit(0x140, 0x180)
        .take();
    assert_eq!(cut(&mut cutter, &frames), Some((vec!["new".into()], record(0x140, 0, 0x180))));
}

#[test]
fn a_keepalive_between_transactions_is_an_idle_advance_and_one_inside_is_not() {
    let mut cutter = cutter(record(0x100, 0, 0x140));
    assert_eq!(cut(&mut cutter, &Stream::default().keepalive(0x200).take()), Some((vec![], record(0x100, 0, 0x200))));
    assert_eq!(cut(&mut cutter, &Stream::default().keepalive(0x200).take()), None, "nothing moved");
    assert_eq!(cut(&mut cutter, &Stream::default().keepalive(0x180).take()), None, "never backwards");
    assert_eq!(cut(&mut cutter, &Stream::default().begin(0x300).keepalive(0x300).take()), None);
}

#[test]
fn a_transaction_of_other_tables_moves_the_end_and_keeps_ordinals_counted() {
    let mut cutter = cutter(record(0, 0, 0x10));
    let frames = Stream::default()
        .begin(0x100)
        .relation(OTHER, "orders", &["id"])
        .row(OTHER, &[Some("1")])
        .outbox()
        .insert(OUTBOX, "a")
        .commit(0x100, 0x140)
        .begin(0x200)
        .row(OTHER, &[Some("2")])
        .commit(0x200, 0x240)
        .take();
    let batch = cutter.cut(&frames).expect("well formed").expect("it moves");
    let position = batch.messages.at(0).expect("one").header("postrider-position").expect("set");
    assert_eq!(position, b"00010000000000000100000000000001");
    assert_eq!(batch.end.record, record(0x200, 0, 0x240));
}

#[test]
fn the_reader_cut_at_every_frame_boundary_loses_and_repeats_nothing() {
    let mut whole = Stream::default();
    let mut frames = Vec::new();
    whole.begin(0x100).outbox();
    frames.push(whole.take());
    for id in ["a", "b", "c"] {
        frames.push(whole.insert(OUTBOX, id).take());
    }
    frames.push(whole.commit(0x100, 0x140).take());
    frames.push(whole.begin(0x140).take());
    frames.push(whole.insert(OUTBOX, "d").take());
    frames.push(whole.commit(0x140, 0x180).take());
    frames.push(whole.keepalive(0x200).take());

    for cut_after in 0..=frames.len() {
        let mut ids = Vec::new();
        let mut reached = record(0, 0, 0x10);
        let mut first = cutter(reached);
        for frame in &frames[..cut_after] {
            if let Some((more, end)) = cut(&mut first, frame) {
                ids.extend(more);
                reached = end;
            }
        }
        // The server sends again every transaction that does not end at or before the confirmed place.
        first.restart(reached, Vec::new());
        let again = if reached.end_lsn >= EndLsn::new(0x180) {
            8
        } else if reached.end_lsn >= EndLsn::new(0x140) {
            5
        } else {
            0
        };
        // A new connection describes relations anew.
        cut(&mut first, &Stream::default().outbox().take());
        for frame in &frames[again..] {
            if let Some((more, _)) = cut(&mut first, frame) {
                ids.extend(more);
            }
        }
        assert_eq!(ids, ["a", "b", "c", "d"], "cut after frame {cut_after}");
    }
}

#[test]
fn a_mapped_column_that_is_not_published_is_named() {
    let mut cutter = cutter(record(0, 0, 0x10));
    let frames = Stream::default().begin(0x100).relation(OUTBOX, "outbox_events", &COLUMNS[..6]).take();
    let error = cutter.cut(&frames).expect_err("headers are missing");
    assert_eq!(error.kind(), Kind::Setup);
    assert!(error.to_string().contains("\"headers\""), "{error}");
}

#[test]
fn what_cannot_be_published_is_told_apart_and_the_stream_goes_on() {
    let mut cutter = cutter(record(0, 0, 0x10));
    let row = [Some("e-1"), None, Some("42"), Some("Placed"), Some("secret"), None, None];
    let frames =
        Stream::default().begin(0x100).outbox().row(OUTBOX, &row).insert(OUTBOX, "b").commit(0x100, 0x140).take();
    let batch = cutter.cut(&frames).expect("well formed").expect("it moves");
    assert_eq!(batch.messages.len(), 2);
    let [unfit] = batch.messages.unfit() else { panic!("one is unfit: {:?}", batch.messages.unfit()) };
    assert_eq!(unfit.index, 0);
    assert!(unfit.reason.contains("aggregate type") && !unfit.reason.contains("secret"), "{}", unfit.reason);
    assert_eq!(batch.end.record, record(0x100, 1, 0x140));
    assert_eq!(cutter.metrics.wal.unfit_events.with_label_values(&["null_in_topic"]).get(), 1);
}

/// The topic and the ordinal of each message.
fn topics(cutter: &mut Cutter, frames: &Bytes) -> Vec<(String, u64)> {
    let batch = cutter.cut(frames).expect("well formed").expect("it moves");
    let low = |position: u128| (position & u128::from(crate::shape::position::ORDINAL_MAX)) as u64;
    batch.messages.iter().map(|message| (message.topic().to_owned(), low(message.position()))).collect()
}

#[test]
fn several_tables_and_messages_keep_the_order_in_which_they_were_written() {
    let sources =
        [source(0, Some("outbox_events"), None), source(1, Some("other"), None), source(2, None, Some("outbox"))];
    let mut cutter = cutter_of(&sources, record(0, 0, 0x10));
    let event = r#"{"id": "m", "aggregate_type": "order", "aggregate_id": "42", "payload": {"n": 1}}"#;
    let frames = Stream::default()
        .begin(0x100)
        .outbox()
        .relation(OTHER, "other", &COLUMNS)
        .insert(OTHER, "a")
        .message(true, "outbox", event)
        .message(true, "of others", "whatever")
        .insert(OUTBOX, "b")
        .insert(OTHER, "c")
        .commit(0x100, 0x140)
        .take();
    let expected = [("t1.order", 0), ("t2.order", 1), ("t0.order", 3), ("t1.order", 4)];
    let expected = expected.map(|(topic, ordinal)| (topic.to_owned(), AMONG_MESSAGES | ordinal));
    assert_eq!(topics(&mut cutter, &frames), expected);
    assert!(cutter.reached.messages);
}

#[test]
fn a_message_outside_a_transaction_is_counted_and_not_published() {
    let mut cutter = cutter_of(&[source(0, None, Some("outbox"))], record(0, 0, 0x10));
    let frames = Stream::default().message(false, "outbox", "{}").message(false, "of others", "{}").take();
    assert!(cutter.cut(&frames).expect("well formed").is_none());
    assert_eq!(cutter.metrics.wal.loose_messages.get(), 1);
}

#[test]
fn a_message_that_is_no_event_is_unfit_with_its_bytes() {
    let mut cutter = cutter_of(&[source(0, None, Some("outbox"))], record(0, 0, 0x10));
    let frames = Stream::default().begin(0x100).message(true, "outbox", "[1]").commit(0x100, 0x140).take();
    let batch = cutter.cut(&frames).expect("well formed").expect("it moves");
    assert_eq!(batch.messages.at(0).expect("kept").value(), Some(&b"[1]"[..]));
    assert_eq!(batch.messages.unfit().len(), 1);
}

/// The bit of an ordinal that tells a transaction whose messages are counted from one whose are not.
const AMONG_MESSAGES: u64 = 1 << 47;

/// Ordinals count messages only where they are asked for. A transaction of which a part was delivered before that was
/// changed must be counted to its end as it was begun, or rows of it would be skipped.
#[test]
fn a_half_delivered_transaction_is_counted_on_as_it_was_begun() {
    let with = [source(0, Some("outbox_events"), None), source(1, None, Some("outbox"))];
    let without = [source(0, Some("outbox_events"), None)];
    let event = r#"{"id": "m", "aggregate_type": "order", "aggregate_id": "42"}"#;
    let frames = |stream: &mut Stream| {
        stream.begin(0x100).outbox().message(true, "outbox", event).insert(OUTBOX, "a").insert(OUTBOX, "b");
        stream.commit(0x100, 0x140).begin(0x140).message(true, "outbox", event).insert(OUTBOX, "c");
        stream.commit(0x140, 0x180).take()
    };
    let topic = |topic: &str, ordinal| (topic.to_owned(), ordinal);

    // Messages counted, and the row "a" delivered as ordinal 1: "b" is ordinal 2 although nobody wants messages now.
    let from = Record { messages: true, ..record(0x100, 1, 0x10) };
    let mut cutter = cutter_of(&without, from);
    assert_eq!(
        topics(&mut cutter, &frames(&mut Stream::default())),
        [topic("t0.order", AMONG_MESSAGES | 2), topic("t0.order", 0)]
    );
    assert!(!cutter.reached.messages);

    // Messages not counted, and the row "a" delivered as ordinal 0: "b" is ordinal 1, and only the next commit has messages.
    let mut cutter = cutter_of(&with, record(0x100, 0, 0x10));
    let expected = [topic("t0.order", 1), topic("t1.order", AMONG_MESSAGES), topic("t0.order", AMONG_MESSAGES | 1)];
    assert_eq!(topics(&mut cutter, &frames(&mut Stream::default())), expected);
    assert!(cutter.reached.messages);
}

#[test]
fn what_a_filter_leaves_out_takes_its_number_and_moves_the_position() {
    let mut filtered = source(0, Some("outbox_events"), None);
    filtered.shape.filter = crate::shape::filter::Filter::new((vec![], vec![]), (vec!["Other".into()], vec![]));
    let mut cutter = cutter_of(&[filtered], record(0, 0, 0x10));
    let frames = Stream::default().begin(0x100).outbox().insert(OUTBOX, "a").insert(OUTBOX, "b").take();
    let batch = cutter.cut(&frames).expect("well formed").expect("it moves");
    assert!(batch.messages.is_empty());
    assert_eq!(batch.end.record, record(0x100, 1, 0x10));
    assert_eq!(cutter.metrics.wal.filtered_events.get(), 2);
}

#[test]
fn a_stream_that_breaks_the_protocol_is_an_error_not_a_panic() {
    for (frames, says) in [
        (Stream::default().data(b"?").take(), "could not be decoded"),
        (Stream::default().outbox().insert(OUTBOX, "a").take(), "outside a transaction"),
        (Stream::default().begin(1).insert(OUTBOX, "a").take(), "never described"),
    ] {
        let error = cutter(record(0, 0, 0)).cut(&frames).expect_err(says);
        assert_eq!(error.kind(), Kind::Protocol);
        assert!(error.to_string().contains(says), "{error}");
    }
}

/// A cutter of the outbox and of the captured table `users`.
fn capturing(from: Record) -> Cutter {
    capturing_with(from, None)
}

fn capturing_with(from: Record, transaction_topic: Option<&str>) -> Cutter {
    let options = CaptureOptions {
        transaction_topic: transaction_topic.map(str::to_owned),
        tables: vec!["public.users".to_owned()],
        ..CaptureOptions::usual("d", "p", "cdc.{table}")
    };
    let captured = Captured::new(&options).expect("valid");
    let sources = [source(0, Some("outbox_events"), None)];
    Cutter::new(Bytes::from_static(b"slot"), &sources, Metrics::new(), from, Vec::new(), Some(captured)).expect("valid")
}

fn users() -> Table {
    let text = DataType { oid: 25, schema: "pg_catalog".to_owned(), name: "text".to_owned(), kind: TypeKind::Base };
    let column = |name: &str| Column {
        name: name.to_owned(),
        of: text.clone(),
        modifier: -1,
        optional: true,
        default: None,
        has_default: false,
        generated: false,
    };
    Table {
        schema: "public".to_owned(),
        name: "users".to_owned(),
        columns: ["id", "name"].map(column).into(),
        key: vec![0],
        identity: Identity::Default,
    }
}

const USERS: u32 = 16_600;
/// A value that is not sent, because it did not change.
const UNSENT: &str = "unsent";

impl Stream {
    fn tuples(&mut self, kind: u8, oid: u32, tuples: &[(u8, [Option<&str>; 2])]) -> &mut Self {
        let mut m = BytesMut::new();
        m.put_u8(kind);
        m.put_u32(oid);
        for (tag, values) in tuples {
            m.put_u8(*tag);
            m.put_u16(2);
            for value in values {
                let Some(text) = value else {
                    m.put_u8(b'n');
                    continue;
                };
                if *text == UNSENT {
                    m.put_u8(b'u');
                    continue;
                }
                m.put_u8(b't');
                m.put_u32(text.len() as u32);
                m.put_slice(text.as_bytes());
            }
        }
        self.data(&m)
    }

    /// One transaction: a row, an event, a change of the key, another event, a deletion, a last event.
    fn mixed(&mut self) -> &mut Self {
        self.begin(0x100)
            .relation(USERS, "users", &["id", "name"])
            .tuples(b'I', USERS, &[(b'N', [Some("1"), Some("a")])])
            .outbox()
            .insert(OUTBOX, "e1")
            .tuples(b'U', USERS, &[(b'K', [Some("1"), None]), (b'N', [Some("2"), Some("a")])])
            .insert(OUTBOX, "e2")
            .tuples(b'D', USERS, &[(b'K', [Some("2"), None])])
            .insert(OUTBOX, "e3")
            .commit(0x100, 0x140)
    }
}

/// The table that must be described before cutting can go on.
fn undescribed(cutter: &Cutter) -> Option<&Described> {
    match cutter.pause() {
        Some(Pause::Describe(described)) => Some(described),
        _ => None,
    }
}

/// The topic, the ordinal and whether there is a value, of each message.
fn told(batch: &Batch<WalPosition>) -> Vec<(String, u128, bool)> {
    let told = |message: crate::pipeline::message::MessageRef<'_>| {
        (message.topic().to_owned(), message.position() & 0xffff, message.value().is_some())
    };
    batch.messages.iter().map(told).collect()
}

#[test]
fn captured_rows_and_events_keep_the_order_of_their_transaction_once_the_table_is_known() {
    let mut cutter = capturing(record(0, 0, 0x10));
    let frames = Stream::default().mixed().take();
    assert!(cutter.cut(&frames).expect("well formed").is_none(), "the table is not known yet");
    assert_eq!(undescribed(&cutter).map(|described| (described.oid, described.name.as_str())), Some((USERS, "users")));
    let batch = cutter.describe(users()).expect("it can be captured").expect("it moves");
    let (users, event) = ("cdc.users".to_owned(), "t0.order".to_owned());
    let expected = [
        (users.clone(), 0, true),
        (event.clone(), 1, true),
        (users.clone(), 2, true),
        (users.clone(), 3, false),
        (users.clone(), 4, true),
        (event.clone(), 5, true),
        (users.clone(), 6, true),
        (users, 7, false),
        (event, 8, true),
    ];
    assert_eq!(told(&batch), expected);
    assert!(undescribed(&cutter).is_none());
    assert_eq!(batch.end.record, record(0x100, 8, 0x140));
}

#[test]
fn a_transaction_is_resumed_between_captured_changes_wherever_it_was_left() {
    let frames = Stream::default().mixed().take();
    let mut cutter = capturing(record(0, 0, 0x10));
    cutter.cut(&frames).expect("well formed");
    let all = told(&cutter.describe(users()).expect("it can be captured").expect("it moves"));
    // The ordinals at which a batch can end: those at which a change begins.
    for ordinal in [0, 1, 2, 5, 6, 8] {
        let mut cutter = capturing(record(0x100, ordinal, 0x10));
        assert!(cutter.cut(&frames).expect("well formed").is_none());
        let rest = cutter.describe(users()).expect("it can be captured").expect("it moves");
        let end = match ordinal {
            2 => 4,
            6 => 7,
            other => other,
        };
        let wanted: Vec<_> = all.iter().filter(|(_, at, _)| *at > u128::from(end)).cloned().collect();
        assert_eq!(told(&rest), wanted, "after {ordinal}");
    }
}

#[test]
fn rows_that_are_not_as_the_table_was_described_are_set_aside() {
    let mut cutter = capturing(record(0, 0, 0x10));
    cutter.cut(&Stream::default().mixed().take()).expect("well formed");
    let mut table = users();
    table.columns.truncate(1);
    let batch = cutter.describe(table).expect("it can be captured").expect("it moves");
    assert_eq!(batch.messages.unfit().len(), 3, "rows of another width are set aside: {:?}", batch.messages.unfit());
}

#[test]
fn a_transaction_that_is_told_begins_before_its_first_captured_change_and_ends_behind_its_last() {
    let frames = Stream::default().begin(0x80).outbox().insert(OUTBOX, "e0").commit(0x80, 0xa0).mixed().take();
    let tell = |from| {
        let mut cutter = capturing_with(from, Some("cdc.transactions"));
        cutter.cut(&frames).expect("well formed");
        let batch = cutter.describe(users()).expect("it can be captured").expect("it moves");
        told(&batch).into_iter().map(|(topic, ordinal, _)| (topic, ordinal)).collect::<Vec<_>>()
    };
    let all = tell(record(0, 0, 0x10));
    let topics: Vec<_> = all.iter().map(|(topic, ordinal)| (topic.as_str(), *ordinal)).collect();
    let (users, event, transaction) = ("cdc.users", "t0.order", "cdc.transactions");
    // The begin stands before every place of its commit, and its end behind: neither takes a number from the changes.
    let expected = [
        (event, 0),
        (transaction, 0xffff),
        (users, 0),
        (event, 1),
        (users, 2),
        (users, 3),
        (users, 4),
        (event, 5),
        (users, 6),
        (users, 7),
        (event, 8),
        (transaction, 9),
    ];
    assert_eq!(topics, expected);
    // Resumed, it is told on as it was begun.
    assert_eq!(tell(record(0x100, 8, 0xa0)), [(transaction.to_owned(), 9)]);
    assert_eq!(tell(record(0x100, 0, 0xa0)), all[3..]);
}

#[test]
fn an_outbox_is_read_alone_up_to_the_transaction_from_which_on_tables_are_published() {
    let events = |frames: &mut Stream| frames.begin(0x80).outbox().insert(OUTBOX, "e0").commit(0x80, 0xa0).take();
    let alone = |place| Record { alone_until: EndLsn::new(place), ..record(0, 0, 0x10) };
    // A transaction that commits at or behind the place is not begun.
    for place in [0xa1, 0x100] {
        let mut cutter = capturing(alone(place));
        let mut stream = Stream::default();
        let frames = [events(&mut stream), stream.mixed().take()].concat().into();
        let batch = cutter.cut(&frames).expect("well formed").expect("it moves");
        assert_eq!(batch.messages.len(), 1);
        assert_eq!(batch.end.record, Record { alone_until: EndLsn::new(place), ..record(0x80, 0, 0xa0) });
        assert!(matches!(cutter.pause(), Some(Pause::Joined)), "{place:x}");
    }
    // Nor is the rest read where a commit or a keepalive came to the place.
    let mut cutter = capturing(alone(0xa0));
    let mut stream = Stream::default();
    assert!(cutter.cut(&events(&mut stream)).expect("well formed").is_some());
    assert!(matches!(cutter.pause(), Some(Pause::Joined)));
    let mut cutter = capturing(alone(0x40));
    cutter.cut(&stream.keepalive(0x40).take()).expect("well formed");
    assert!(matches!(cutter.pause(), Some(Pause::Joined)));
    // Up to there it goes on.
    let mut cutter = capturing(alone(0x200));
    assert!(cutter.cut(&events(&mut stream)).expect("well formed").is_some());
    assert!(cutter.pause().is_none());
}

#[test]
fn a_value_that_was_not_sent_is_asked_for_and_its_change_comes_again() {
    let mut cutter = capturing(record(0, 0, 0x10)).with_reselect(true);
    let frames = Stream::default()
        .begin(0x100)
        .relation(USERS, "users", &["id", "name"])
        .tuples(b'I', USERS, &[(b'N', [Some("1"), Some("a")])])
        .tuples(b'U', USERS, &[(b'N', [Some("1"), Some(UNSENT)])])
        .tuples(b'U', USERS, &[(b'N', [Some("2"), Some("b")])])
        .commit(0x100, 0x140)
        .take();
    assert!(cutter.cut(&frames).expect("well formed").is_none());
    assert!(cutter.describe(users()).expect("it can be captured").is_none(), "a value is not known yet");
    let Some(Pause::Reselect(_)) = cutter.pause() else { panic!("it is not asked for") };
    let found = vec![(1, Some("found".to_owned()))];
    let batch = cutter.reselected(found).expect("well formed").expect("it moves");
    let value = |message: crate::pipeline::message::MessageRef<'_>| {
        let value = String::from_utf8(message.value().expect("a value").to_vec()).expect("text");
        let (_, after) = value.split_once(r#""after":"#).expect("an envelope");
        after.split_once(r#","source""#).expect("an envelope").0.to_owned()
    };
    let after: Vec<_> = batch.messages.iter().map(value).collect();
    assert_eq!(after, [r#"{"id":"1","name":"a"}"#, r#"{"id":"1","name":"found"}"#, r#"{"id":"2","name":"b"}"#]);
}
