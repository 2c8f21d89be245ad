//! What fuzzers call here: however a stream is cut into reads, and wherever it is resumed, each event comes once and in order;
//! and nothing that a server can send panics.

use std::sync::{Arc, OnceLock};

use arbitrary::{Arbitrary, Unstructured};
use bytes::{BufMut, Bytes, BytesMut};

use crate::pipeline::Position;
use crate::postgres::lsn::{CommitLsn, EndLsn};
use crate::shape::outbox::OutboxOptions;
use crate::shape::position::EventPosition;
use crate::sources::wal::columns::{OutboxColumns, OutboxSource, OutboxTable};
use crate::sources::wal::cut::Cutter;
use crate::sources::wal::record::{Record, WalPosition};
use crate::telemetry::Metrics;

const OUTBOX: u32 = 16_400;
const OTHER: u32 = 16_500;
const EPOCH: u16 = 1;
const COLUMNS: [&str; 5] = ["id", "aggregate_type", "aggregate_id", "event_type", "payload"];

/// A progress record: what is read of it is written again as it was, and of two one is newer.
///
/// # Panics
/// If that does not hold.
pub fn read_records(data: &[u8]) {
    let middle = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (one, other) = (&data[..middle], data.get(middle + 1..).unwrap_or_default());
    assert!(Record::is_newer(one, other) || Record::is_newer(other, one));
    if let Ok(record) = Record::parse(one) {
        let position = WalPosition { slot: Bytes::new(), record, snapshot: None, chunk: None };
        let written = position.progress().expect("a record has progress").value;
        assert_eq!(Record::parse(&written).ok(), Some(record));
        assert!(Record::is_newer(&written, one) && Record::is_newer(one, &written));
    }
}

/// One transaction of a server that keeps the protocol.
#[derive(Debug, Arbitrary)]
struct Transaction {
    /// Bytes between the end of the one before and this one's commit record: often none.
    gap: u8,
    /// What a keepalive before it tells, beyond the end of the one before; none if it would lie beyond the commit record.
    keepalive: u8,
    changes: Vec<Change>,
}

#[derive(Debug, Arbitrary)]
enum Change {
    Event {
        payload: bool,
    },
    OtherRow,
    Update,
    Delete,
    Truncate,
    /// A logical message: of an outbox, if this says so, and in its transaction, if that does.
    Message {
        event: bool,
        transactional: bool,
    },
    Origin,
    Type,
    Relation,
    /// Inside a transaction a keepalive tells nothing that may be confirmed.
    Keepalive(u64),
}

/// A stream that keeps the protocol, in reads of any length: every event once, positions rise, and whichever batch is the last
/// one known to be delivered, resuming there gives exactly the rest; also if logical messages became, or ceased to be, events
/// meanwhile: a transaction that was begun is counted on as it was begun.
///
/// # Panics
/// If that does not hold.
pub fn cut_and_resume(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok((cuts, again, before, after)) = <(u64, u16, bool, bool)>::arbitrary(&mut input) else { return };
    let Ok(transactions) = Vec::<Transaction>::arbitrary(&mut input) else { return };

    let mut records = vec![start()];
    let stream = write(&transactions, EndLsn::ZERO);
    let whole = read(&stream, cuts, (start(), before), &mut records);
    assert_eq!(whole, events(&transactions, before, |_| before), "each event once, in order");
    assert!(whole.is_sorted_by(|before, after| before < after));
    assert!(records.is_sorted_by(|before, after| before.end_lsn <= after.end_lsn));

    let from = records[usize::from(again) % records.len()];
    let stream = write(&transactions, from.end_lsn);
    let rest = read(&stream, cuts.rotate_left(17), (from, after), &mut Vec::new());
    let mut expected = events(&transactions, after, |at| if at == from.commit_lsn { before } else { after });
    let reached = position(from.commit_lsn.as_u64(), from.ordinal, from.messages);
    expected.retain(|position| *position > reached);
    assert_eq!(rest, expected, "resumed at {from:?}");
}

/// Whatever a server could send, in any order: an error, or batches whose messages can be read.
pub fn cut_anything(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let mut cutter = cutter(start(), true);
    let mut stream = BytesMut::new();
    relation(&mut stream, OUTBOX, "outbox_events");
    while let Ok(step) = Step::arbitrary(&mut input) {
        match step {
            Step::Begin(at) => begin(&mut stream, at),
            Step::Commit(at, end) => commit(&mut stream, at, end),
            Step::Change(of) => change(&mut stream, &of),
            Step::Keepalive(end) => keepalive(&mut stream, end),
            Step::Raw(message) => xlog_data(&mut stream, message),
            Step::Frames(bytes) => stream.put_slice(bytes),
            Step::Restart => cutter.restart(start(), Vec::new()),
            Step::Cut => {
                let Ok(Some(batch)) = cutter.cut(&stream.split().freeze()) else { continue };
                let unfit = batch.messages.unfit();
                for (index, message) in batch.messages.iter().enumerate() {
                    let whole = message.header("postrider-position").is_some_and(|hex| hex.len() == 32);
                    assert!(whole || unfit.iter().any(|unfit| unfit.index == index));
                }
            }
        }
        if input.is_empty() {
            break;
        }
    }
    let _ = cutter.cut(&stream.freeze());
}

#[derive(Debug, Arbitrary)]
enum Step<'s> {
    Begin(u64),
    Commit(u64, u64),
    Change(Change),
    Keepalive(u64),
    Raw(&'s [u8]),
    Frames(&'s [u8]),
    Restart,
    Cut,
}

fn start() -> Record {
    Record {
        system_id: 7,
        timeline: 1,
        epoch: EPOCH,
        commit_lsn: CommitLsn::ZERO,
        ordinal: 0,
        messages: false,
        end_lsn: EndLsn::new(0x10),
        publications: 0,
        alone_until: EndLsn::ZERO,
        horizon: None,
        polled: false,
    }
}

fn cutter(from: Record, messages: bool) -> Cutter {
    let name = |name: &str| Some(name.to_owned());
    let source = OutboxSource {
        name: "outbox".into(),
        table: Some(OutboxTable { schema: "public".into(), name: "outbox_events".into() }),
        message_prefix: messages.then(|| "outbox".into()),
        columns: OutboxColumns {
            id: name("id"),
            aggregate_type: name("aggregate_type"),
            aggregate_id: name("aggregate_id"),
            event_type: name("event_type"),
            payload: name("payload"),
            ..OutboxColumns::default()
        },
        shape: OutboxOptions::usual("t.{aggregate_type}"),
    };
    // To make them anew for each input would take most of the time.
    static METRICS: OnceLock<Arc<Metrics>> = OnceLock::new();
    let metrics = Arc::clone(METRICS.get_or_init(Metrics::new));
    Cutter::new(Bytes::from_static(b"slot"), &[source], metrics, from, Vec::new(), None).expect("valid templates")
}

/// The frames that a server sends from `from` on.
fn write(transactions: &[Transaction], from: EndLsn) -> Vec<Bytes> {
    let (mut stream, mut frames) = (BytesMut::new(), Vec::new());
    relation(&mut stream, OUTBOX, "outbox_events");
    relation(&mut stream, OTHER, "other");
    for (at, end, transaction) in placed(transactions) {
        // The server sends what commits at or after the place it was told to start at.
        if at < from.as_u64() {
            continue;
        }
        if transaction.keepalive <= transaction.gap {
            keepalive(&mut stream, at - u64::from(transaction.gap - transaction.keepalive));
        }
        begin(&mut stream, at);
        for of in &transaction.changes {
            change(&mut stream, of);
            frames.push(stream.split().freeze());
        }
        commit(&mut stream, at, end);
        frames.push(stream.split().freeze());
    }
    frames
}

/// The transactions with the start and the end of their commit records.
fn placed(transactions: &[Transaction]) -> impl Iterator<Item = (u64, u64, &Transaction)> {
    // A commit record has a length.
    const RECORD_BYTES: u64 = 8;
    transactions.iter().scan(start().end_lsn.as_u64(), |end, transaction| {
        let at = *end + u64::from(transaction.gap);
        *end = at + RECORD_BYTES;
        Some((at, *end, transaction))
    })
}

/// The positions of all events. Logical messages may be events, and `counts` tells in which transactions they take a number.
fn position(commit_lsn: u64, ordinal: u64, among_messages: bool) -> u128 {
    let position = EventPosition::new(EPOCH, commit_lsn, ordinal);
    if among_messages { position.among_messages() } else { position }.as_u128()
}

fn events(transactions: &[Transaction], messages: bool, counts: impl Fn(CommitLsn) -> bool) -> Vec<u128> {
    let mut found = Vec::new();
    for (at, _, transaction) in placed(transactions) {
        let counts_messages = counts(CommitLsn::new(at));
        let mut ordinal = 0;
        for change in &transaction.changes {
            let (is_event, counts) = match change {
                Change::Event { .. } => (true, 1),
                Change::OtherRow | Change::Truncate => (false, 1),
                Change::Update => (false, 3),
                Change::Delete => (false, 2),
                Change::Message { event, transactional: true } if counts_messages => (*event && messages, 1),
                _ => (false, 0),
            };
            if is_event {
                found.push(position(at, ordinal, counts_messages));
            }
            ordinal += counts;
        }
    }
    found
}

/// Cuts the frames in chunks that end where a bit of `cuts` says so; the positions of the messages. Each batch's end is kept.
fn read(frames: &[Bytes], cuts: u64, (from, messages): (Record, bool), records: &mut Vec<Record>) -> Vec<u128> {
    let mut cutter = cutter(from, messages);
    let mut found = Vec::new();
    let mut chunk = BytesMut::new();
    for (number, frame) in frames.iter().enumerate() {
        chunk.put_slice(frame);
        let ends = cuts >> (number % 64) & 1 == 1 || number + 1 == frames.len();
        if !ends {
            continue;
        }
        if let Some(batch) = cutter.cut(&chunk.split().freeze()).expect("it keeps the protocol") {
            found.extend(batch.messages.iter().map(|message| message.position()));
            records.push(batch.end.record);
        }
    }
    found
}

fn frame(stream: &mut BytesMut, body: &[&[u8]]) {
    stream.put_u8(b'd');
    stream.put_u32(body.iter().map(|part| part.len() as u32).sum::<u32>() + 4);
    body.iter().for_each(|part| stream.put_slice(part));
}

fn xlog_data(stream: &mut BytesMut, message: &[u8]) {
    frame(stream, &[b"w", &[0; 24], message]);
}

fn keepalive(stream: &mut BytesMut, end: u64) {
    frame(stream, &[b"k", &end.to_be_bytes(), &[0; 9]]);
}

fn begin(stream: &mut BytesMut, at: u64) {
    xlog_data(stream, &[b"B", &at.to_be_bytes()[..], &[0; 12]].concat());
}

fn commit(stream: &mut BytesMut, at: u64, end: u64) {
    xlog_data(stream, &[b"C\0", &at.to_be_bytes()[..], &end.to_be_bytes(), &[0; 8]].concat());
}

fn relation(stream: &mut BytesMut, oid: u32, name: &str) {
    let mut message = [b"R", &oid.to_be_bytes()[..], b"public\0", name.as_bytes(), b"\0d"].concat();
    message.put_u16(COLUMNS.len() as u16);
    for column in COLUMNS {
        message.put_u8(0);
        message.put_slice(column.as_bytes());
        message.put_slice(b"\0\0\0\0\x19\xff\xff\xff\xff");
    }
    xlog_data(stream, &message);
}

fn change(stream: &mut BytesMut, of: &Change) {
    match of {
        Change::Event { payload } => xlog_data(stream, &row(b'I', OUTBOX, b'N', *payload)),
        Change::OtherRow => xlog_data(stream, &row(b'I', OTHER, b'N', true)),
        Change::Update => xlog_data(stream, &row(b'U', OUTBOX, b'N', true)),
        Change::Delete => xlog_data(stream, &row(b'D', OUTBOX, b'K', true)),
        Change::Truncate => xlog_data(stream, &[b"T\0\0\0\x01\0", &OUTBOX.to_be_bytes()[..]].concat()),
        Change::Message { event, transactional } => logical(stream, *event, *transactional),
        Change::Origin => xlog_data(stream, b"O\0\0\0\0\0\0\0\x07elsewhere\0"),
        Change::Type => xlog_data(stream, b"Y\0\0\0\x63public\0mood\0"),
        Change::Relation => relation(stream, OUTBOX, "outbox_events"),
        Change::Keepalive(end) => keepalive(stream, *end),
    }
}

fn logical(stream: &mut BytesMut, event: bool, transactional: bool) {
    const CONTENT: &[u8] = br#"{"aggregate_type": "order", "aggregate_id": "1", "payload": {}}"#;
    let prefix: &[u8] = if event { b"outbox\0" } else { b"note\0" };
    let mut message = [b"M", &[u8::from(transactional)][..], &7_u64.to_be_bytes(), prefix].concat();
    message.put_u32(CONTENT.len() as u32);
    message.put_slice(CONTENT);
    xlog_data(stream, &message);
}

fn row(kind: u8, relation: u32, tuple: u8, payload: bool) -> Vec<u8> {
    let mut message = [&[kind][..], &relation.to_be_bytes(), &[tuple]].concat();
    message.put_u16(COLUMNS.len() as u16);
    for column in COLUMNS {
        if column == "payload" && !payload {
            message.put_u8(b'n');
            continue;
        }
        message.put_u8(b't');
        message.put_u32(column.len() as u32);
        message.put_slice(column.as_bytes());
    }
    message
}
