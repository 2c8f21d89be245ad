//! The cutter on captured tables: their order among the events, resumption, and what is told of transactions.

use bytes::{BufMut, BytesMut};

use super::tests::{OUTBOX, Stream, record, source};
use super::*;
use crate::shape::change::options::CaptureOptions;
use crate::shape::change::table::{Column, DataType, Identity, TypeKind};

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

#[test]
fn a_batch_that_grows_large_is_handed_over_in_parts() {
    let long = "x".repeat(300_000);
    let mut stream = Stream::default();
    stream.begin(0x100).relation(USERS, "users", &["id", "name"]);
    for number in 0..20 {
        stream.tuples(b'I', USERS, &[(b'N', [Some(number.to_string().as_str()), Some(long.as_str())])]);
    }
    let frames = stream.commit(0x100, 0x140).take();
    let mut cutter = capturing(record(0, 0, 0x10));
    assert!(cutter.cut(&frames).expect("well formed").is_none());
    let mut batches = vec![cutter.describe(users()).expect("it can be captured").expect("it moves")];
    while let Some(Pause::Full) = cutter.pause() {
        batches.extend(cutter.resume().expect("well formed"));
    }
    assert!(cutter.pause().is_none() && batches.len() > 1, "{}", batches.len());
    let ordinals: Vec<_> = batches.iter().flat_map(told).map(|(_, ordinal, _)| ordinal).collect();
    assert_eq!(ordinals, (0..20).collect::<Vec<_>>());
    assert_eq!(batches.last().expect("there is one").end.record, record(0x100, 19, 0x140));
    assert!(batches.iter().all(|batch| batch.end.record.commit_lsn == CommitLsn::new(0x100)));
}
