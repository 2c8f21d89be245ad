//! A letter holds its record to the byte, in every shape.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::pipeline::sink::Refused;

/// A record with these parts, at offset 7 of partition 3 of `cdc.users`.
fn record(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(String, Option<Vec<u8>>)]) -> Messages {
    let mut messages = Messages::over(Bytes::new());
    for (name, value) in headers {
        let name = messages.keep(name.as_bytes());
        let value = value.as_deref().map(|value| messages.keep(value));
        messages.header(HeaderName::Span(name), value);
    }
    let headers = 0..messages.header_mark();
    let (key, value) = (key.map(|key| messages.keep(key)), value.map(|value| messages.keep(value)));
    let topic = Arc::from("cdc.users");
    messages.push(Message { topic, key, value, headers, timestamp_ms: 1_760_783_445_123, position: 7, route: 0 });
    messages
}

/// What a consumer reads of the letter of the only record.
fn letter(messages: &Messages, refused: Option<Refused>, shape: Shape) -> Read {
    let identity = Identity { topic: Arc::from("cdc.users"), partition: 3, offset: 7 };
    let message = messages.at(0).unwrap();
    let letter = Letter { message, identity, refused, attempts: 2, failed_at_ms: 1_760_783_445_123, ordered: true };
    let mut written = Messages::over(Bytes::new());
    write(&mut written, &letter, (&Arc::from("dlq"), "load"), shape, 5);
    let record = written.at(0).unwrap();
    assert_eq!((record.topic(), record.timestamp_ms()), ("dlq", 5));
    Read {
        partition: 0,
        offset: 11,
        timestamp_ms: 5,
        key: record.key().map(<[u8]>::to_vec),
        value: record.value().map(<[u8]>::to_vec),
        headers: record.headers().map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec))).collect(),
    }
}

fn refused() -> Option<Refused> {
    let refused = Refused::new(0, "column a takes no text").with_code("type");
    Some(Refused { help: Some("Mend it.".to_owned()), ..refused })
}

#[test]
fn a_letter_tells_what_kafka_connects_tools_read_and_more() {
    let own = vec![("id".to_owned(), Some(b"1".to_vec())), (CODE.to_owned(), Some(b"of the record".to_vec()))];
    let read = letter(&record(Some(b"k"), Some(b"v"), &own), refused(), Shape::Original);
    for (name, text) in [
        ("__connect.errors.topic", "cdc.users"),
        ("__connect.errors.partition", "3"),
        ("__connect.errors.offset", "7"),
        ("__connect.errors.connector.name", "load"),
        ("__connect.errors.task.id", "0"),
        ("__connect.errors.stage", "TASK_PUT"),
        ("__connect.errors.class.name", "postrider"),
        ("__connect.errors.exception.class.name", "postrider.type"),
        ("__connect.errors.exception.message", "column a takes no text"),
        ("x-dlq-attempts", "2"),
        ("x-dlq-job", "load"),
        ("x-dlq-first-failure-ts", "1760783445123"),
        ("x-dlq-error-code", "type"),
    ] {
        assert_eq!(read.header(name), Some(text), "{name}");
    }
    assert_eq!((read.key.as_deref(), read.value.as_deref()), (Some(&b"k"[..]), Some(&b"v"[..])));
    assert_eq!(read.original_headers(), own);
    let details = read.details().unwrap();
    assert_eq!(details.noted.identity.to_string(), "cdc.users/3/7");
    assert_eq!((details.code.as_str(), details.attempts, details.noted.waiting), ("type", 2, false));
    assert_eq!(details.noted.held_key, Some(KeyHash::of("cdc.users", b"k")));
    let waiting = letter(&record(Some(b"k"), None, &[]), None, Shape::Original).details().unwrap();
    assert!(waiting.noted.waiting && waiting.reason == WAITS);
}

#[test]
fn the_events_shape_holds_json_as_it_is() {
    let read = letter(&record(None, Some(br#"{"n":1.10,"big":123456789012345678901}"#), &[]), refused(), Shape::Event);
    assert_eq!(
        String::from_utf8(read.value.unwrap()).unwrap(),
        r#"{"original_event":{"n":1.10,"big":123456789012345678901},"error":"column a takes no text","failed_at":"2025-10-18T10:30:45.123Z","retry_count":2}"#
    );
}

#[test]
fn what_is_no_letter_of_ours_is_none() {
    assert_eq!(Read::default().details(), None);
    assert!(!Read::default().restore(&mut Messages::over(Bytes::new())));
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        "[ -~]{0,20}".prop_map(String::into_bytes),
        Just(br#" {"a": [1, null, "\u0000"]}"#.to_vec()),
        Just(br#"{"a":1.0}"#.to_vec()),
        Just(b"null".to_vec()),
    ]
}

proptest! {
    #[test]
    fn every_record_comes_back_to_the_byte(
        key in proptest::option::of(bytes()),
        value in proptest::option::of(bytes()),
        headers in proptest::collection::vec(("[a-z._-]{0,20}", proptest::option::of(bytes())), 0..4),
        event in any::<bool>(),
    ) {
        let messages = record(key.as_deref(), value.as_deref(), &headers);
        let read = letter(&messages, refused(), if event { Shape::Event } else { Shape::Original });
        let mut restored = Messages::over(Bytes::new());
        prop_assert!(read.restore(&mut restored));
        let (before, after) = (messages.at(0).unwrap(), restored.at(0).unwrap());
        prop_assert_eq!((after.topic(), after.key(), after.value()), (before.topic(), before.key(), before.value()));
        prop_assert_eq!((after.timestamp_ms(), after.position()), (before.timestamp_ms(), before.position()));
        prop_assert!(after.headers().eq(before.headers()));
    }
}
