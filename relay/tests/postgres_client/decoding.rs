//! The decoder without a server: each message by its bytes, every cut, and whatever bytes there are.

use postrider_relay::postgres::error::{DecodeError, Fault};
use postrider_relay::postgres::pgoutput::decode;
use proptest::prelude::*;

use crate::postgres_client::encode::any_message;
use crate::postgres_client::model::{Cell, Said};

fn decoded(bytes: &[u8]) -> Said {
    Said::by_us(&decode(bytes).expect("a whole message decodes"))
}

fn fault(bytes: &[u8]) -> DecodeError {
    decode(bytes).expect_err("not a message")
}

/// One message of each type with its bytes as the manual lays them out, written by hand.
fn examples() -> Vec<(&'static [u8], Said)> {
    let text = |value: &str| Cell::Text(value.into());
    vec![
        (
            b"B\0\0\0\0\x01\x02\x03\x04\0\0\0\0\0\x0f\x42\x40\0\0\x02\xd2",
            Said::Begin { final_lsn: 0x0102_0304, time: 1_000_000, xid: 722 },
        ),
        (
            b"C\0\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\x40\xff\xff\xff\xff\xff\xff\xff\xff",
            Said::Commit { commit_lsn: 16, end_lsn: 64, time: -1 },
        ),
        (b"O\0\0\0\x01\0\0\0\0eu-1\0", Said::Origin { lsn: 1 << 32, name: "eu-1".into() }),
        (
            b"R\0\0\x40\0public\0outbox\0f\0\x02\x01id\0\0\0\x0b\x86\xff\xff\xff\xff\0n\0\0\0\x04\x13\0\0\0\x24",
            Said::Relation {
                oid: 16384,
                namespace: "public".into(),
                name: "outbox".into(),
                identity: b'f',
                columns: vec![(true, "id".into(), 2950, -1), (false, "n".into(), 1043, 36)],
            },
        ),
        (b"Y\0\0\x40\x01shop\0state\0", Said::Type { oid: 16385, namespace: "shop".into(), name: "state".into() }),
        (
            b"I\0\0\x40\0N\0\x04t\0\0\0\x02hinut\0\0\0\0",
            Said::Insert { relation: 16384, new: vec![text("hi"), Cell::Null, Cell::Unchanged, text("")] },
        ),
        (
            b"U\0\0\x40\0N\0\x01b\0\0\0\x01\x07",
            Said::Update { relation: 16384, old: None, new: vec![Cell::Binary(vec![7])] },
        ),
        (
            b"U\0\0\x40\0K\0\x01t\0\0\0\x011N\0\x01t\0\0\0\x012",
            Said::Update { relation: 16384, old: Some((b'K', vec![text("1")])), new: vec![text("2")] },
        ),
        (
            b"U\0\0\x40\0O\0\x01nN\0\x01u",
            Said::Update { relation: 16384, old: Some((b'O', vec![Cell::Null])), new: vec![Cell::Unchanged] },
        ),
        (b"D\0\0\x40\0K\0\x01t\0\0\0\x011", Said::Delete { relation: 16384, old: (b'K', vec![text("1")]) }),
        (b"D\0\0\x40\0O\0\0", Said::Delete { relation: 16384, old: (b'O', vec![]) }),
        (b"T\0\0\0\x02\x03\0\0\x40\0\0\0\x40\x01", Said::Truncate { relations: vec![16384, 16385], flags: 3 }),
        (
            b"M\x01\0\0\0\0\0\0\0\x07outbox\0\0\0\0\x02\0\xff",
            Said::Message { transactional: true, lsn: 7, prefix: "outbox".into(), content: vec![0, 255] },
        ),
    ]
}

#[test]
fn each_message_means_what_the_manual_says_of_its_bytes() {
    for (bytes, said) in examples() {
        assert_eq!(decoded(bytes), said);
        assert_eq!(said.encode(), bytes, "the test's own encoder agrees");
    }
}

#[test]
fn a_message_cut_anywhere_is_too_short_and_one_that_goes_on_is_too_long() {
    for (bytes, said) in examples() {
        for length in 0..bytes.len() {
            let error = fault(&bytes[..length]);
            let short = matches!(error.fault, Fault::Truncated { .. } | Fault::Unterminated);
            assert!(short && error.offset <= length, "{said:?} cut at {length}: {error}");
        }
        let longer = [bytes, &[0]].concat();
        assert_eq!(fault(&longer), DecodeError { offset: bytes.len(), fault: Fault::TrailingBytes { bytes: 1 } });
    }
}

#[test]
fn what_the_protocol_does_not_have_is_named_with_its_place() {
    let unknown = |what, found, offset| DecodeError { offset, fault: Fault::Unknown { what, found } };
    for (bytes, error) in [
        (&b"S\0\0\0\x01\x01"[..], unknown("message", b'S', 0)),
        (b"\0", unknown("message", 0, 0)),
        (b"I\0\0\0\x01K\0\0", unknown("kind of tuple", b'K', 5)),
        (b"U\0\0\0\x01X\0\0", unknown("kind of tuple", b'X', 5)),
        (b"U\0\0\0\x01K\0\0K\0\0", unknown("kind of tuple", b'K', 8)),
        (b"D\0\0\0\x01N\0\0", unknown("kind of tuple", b'N', 5)),
        (b"I\0\0\0\x01N\0\x01x", unknown("kind of column value", b'x', 8)),
        (b"R\0\0\0\x01a\0b\0x\0\0", unknown("replica identity", b'x', 9)),
        (
            b"I\0\0\0\x01N\0\x01t\xff\xff\xff\xff",
            DecodeError { offset: 9, fault: Fault::NegativeLength { length: -1 } },
        ),
        (b"T\xff\xff\xff\xfe\0", DecodeError { offset: 1, fault: Fault::NegativeLength { length: -2 } }),
        (b"Y\0\0\0\x01a\xff\0b\0", DecodeError { offset: 6, fault: Fault::NotUtf8 }),
        (
            b"B\0\0\0\0\0\0\0\x01\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\x01",
            DecodeError { offset: 9, fault: Fault::TimeOutOfRange { micros: i64::MAX } },
        ),
    ] {
        assert_eq!(fault(bytes), error, "{bytes:?}");
    }
    assert_eq!(fault(b"S").to_string(), "at byte 0: unknown message 'S'");
}

#[test]
fn a_count_larger_than_any_message_is_too_short_not_an_allocation() {
    let most = b"T\x7f\xff\xff\xff\0\0\0\0\x01";
    assert!(matches!(fault(most).fault, Fault::Truncated { .. }));
    let value = b"I\0\0\0\x01N\0\x01t\x7f\xff\xff\xffab";
    assert_eq!(fault(value).fault, Fault::Truncated { missing: 0x7fff_ffff - 2 });
}

proptest! {
    #[test]
    fn a_generated_message_is_understood_as_it_was_meant(said in any_message()) {
        prop_assert_eq!(decoded(&said.encode()), said);
    }

    #[test]
    fn a_generated_message_cut_anywhere_is_an_error(said in any_message()) {
        let bytes = said.encode();
        for length in 0..bytes.len() {
            fault(&bytes[..length]);
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(
        tag in proptest::sample::select(b"BCOYRIUDTM".to_vec()),
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        for message in [bytes.clone(), [vec![tag], bytes].concat()] {
            if let Ok(message) = decode(&message) {
                Said::by_us(&message);
            }
        }
    }

    #[test]
    fn one_wrong_byte_never_makes_the_decoder_panic(said in any_message(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = said.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(message) = decode(&bytes) {
            Said::by_us(&message);
        }
    }
}
