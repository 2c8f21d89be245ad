//! The cutter on frames made by hand: positions, resumption and the cases in which peers lose events.

use bytes::{BufMut, BytesMut};

use super::*;
use crate::pipeline::Position;
use crate::shape::outbox::OutboxOptions;
use crate::sources::wal::columns::OutboxColumns;

pub(in crate::sources::wal) const OUTBOX: u32 = 16_400;
pub(in crate::sources::wal) const OTHER: u32 = 16_500;
pub(in crate::sources::wal) const COLUMNS: [&str; 7] =
    ["id", "aggregate_type", "aggregate_id", "event_type", "payload", "payload_bytes", "headers"];

/// Frames as the server sends them.
#[derive(Default)]
pub(in crate::sources::wal) struct Stream(pub(super) BytesMut);

impl Stream {
    pub(in crate::sources::wal) fn frame(&mut self, body: &[u8]) -> &mut Self {
        self.0.put_u8(b'd');
        self.0.put_u32(body.len() as u32 + 4);
        self.0.put_slice(body);
        self
    }

    pub(in crate::sources::wal) fn data(&mut self, message: &[u8]) -> &mut Self {
        let mut body = BytesMut::new();
        body.put_u8(b'w');
        body.put_bytes(0, 24);
        body.put_slice(message);
        self.frame(&body)
    }

    pub(in crate::sources::wal) fn keepalive(&mut self, end: u64) -> &mut Self {
        let mut body = BytesMut::new();
        body.put_u8(b'k');
        body.put_u64(end);
        body.put_bytes(0, 9);
        self.frame(&body)
    }

    pub(in crate::sources::wal) fn begin(&mut self, commit: u64) -> &mut Self {
        let mut m = BytesMut::new();
        m.put_u8(b'B');
        m.put_u64(commit);
        m.put_i64(1_000_500);
        m.put_u32(77);
        self.data(&m)
    }

    pub(in crate::sources::wal) fn commit(&mut self, commit: u64, end: u64) -> &mut Self {
        let mut m = BytesMut::new();
        m.put_u8(b'C');
        m.put_u8(0);
        m.put_u64(commit);
        m.put_u64(end);
        m.put_i64(1_000_500);
        self.data(&m)
    }

    pub(in crate::sources::wal) fn relation(&mut self, oid: u32, name: &str, columns: &[&str]) -> &mut Self {
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

    pub(in crate::sources::wal) fn insert(&mut self, oid: u32, id: &str) -> &mut Self {
        self.row(oid, &[Some(id), Some("order"), Some("42"), Some("Placed"), Some("{}"), None, Some("{}")])
    }

    pub(in crate::sources::wal) fn row(&mut self, oid: u32, values: &[Option<&str>]) -> &mut Self {
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

    pub(in crate::sources::wal) fn message(&mut self, transactional: bool, prefix: &str, content: &str) -> &mut Self {
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

    pub(in crate::sources::wal) fn outbox(&mut self) -> &mut Self {
        self.relation(OUTBOX, "outbox_events", &COLUMNS)
    }

    pub(in crate::sources::wal) fn take(&mut self) -> Bytes {
        self.0.split().freeze()
    }
}

pub(in crate::sources::wal) fn record(commit: u64, ordinal: u64, end: u64) -> Record {
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
        horizon: None,
        polled: false,
    }
}

pub(in crate::sources::wal) fn source(route: u16, table: Option<&str>, message_prefix: Option<&str>) -> OutboxSource {
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

pub(in crate::sources::wal) fn cutter(from: Record) -> Cutter {
    cutter_of(&[source(0, Some("outbox_events"), None)], from)
}

pub(in crate::sources::wal) fn cutter_of(sources: &[OutboxSource], from: Record) -> Cutter {
    Cutter::new(Bytes::from_static(b"slot"), sources, Metrics::new(), from, Vec::new(), None).expect("valid")
}

/// The ids of a batch, and where it ends.
pub(in crate::sources::wal) fn cut(cutter: &mut Cutter, frames: &Bytes) -> Option<(Vec<String>, Record)> {
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
pub(in crate::sources::wal) fn topics(cutter: &mut Cutter, frames: &Bytes) -> Vec<(String, u64)> {
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
pub(in crate::sources::wal) const AMONG_MESSAGES: u64 = 1 << 47;

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
