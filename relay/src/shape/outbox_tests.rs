//! Rows and what becomes of them.

use bytes::Bytes;

use super::*;
use crate::shape::row::Column;

const FULL: OutboxRow<'static> = OutboxRow {
    id: Some(b"018f"),
    aggregate_type: Some(b"order"),
    aggregate_id: Some(b"42"),
    event_type: Some(b"OrderPlaced"),
    payload: Some(br#"{"total": 1.10}"#),
    payload_bytes: None,
    headers: Some(br#"{"correlation-id": "c-1"}"#),
    further: &[Some(b"acme"), None],
};

fn options() -> OutboxOptions {
    let further = vec!["tenant".into(), "nothing".into()];
    OutboxOptions { route: 3, further, ..OutboxOptions::usual("t.{aggregate_type}") }
}

fn shape(row: &OutboxRow<'_>) -> (Messages, Shaped) {
    shape_as(&options(), row)
}

fn shape_as(options: &OutboxOptions, row: &OutboxRow<'_>) -> (Messages, Shaped) {
    let mut outbox = Outbox::new(options).expect("valid");
    let mut messages = Messages::over(Bytes::new());
    let committed = Committed { position: EventPosition::new(1, 2, 3), timestamp_ms: 1_700_000_000_123 };
    let shaped = outbox.shape(row, &RowTypes::default(), committed, &mut messages);
    (messages, shaped)
}

fn header(messages: &Messages, name: &str) -> Option<String> {
    let message = messages.at(0).expect("shaped");
    message.header(name).map(|value| String::from_utf8_lossy(value).into_owned())
}

#[test]
fn a_row_becomes_topic_key_value_and_headers() {
    let (messages, shaped) = shape(&FULL);
    assert_eq!(shaped, Shaped::Whole);
    let message = messages.at(0).expect("shaped");
    assert_eq!(message.topic(), "t.order");
    assert_eq!(message.key(), Some(&b"42"[..]));
    assert_eq!(message.value(), FULL.payload);
    assert_eq!(message.timestamp_ms(), 1_700_000_000_123);
    let names: Vec<_> = message.headers().map(|(name, _)| name).collect();
    assert_eq!(names, [ID, EVENT_TYPE, POSITION, "correlation-id"]);
    assert_eq!(header(&messages, POSITION).as_deref(), Some("00010000000000000002000000000003"));
    assert_eq!(header(&messages, "correlation-id").as_deref(), Some("c-1"));
}

#[test]
fn payload_bytes_are_the_writers_own_bytes() {
    let row = OutboxRow { payload: None, payload_bytes: Some(b"\\x00ff10"), ..FULL };
    let (messages, _) = shape(&row);
    assert_eq!(messages.at(0).expect("shaped").value(), Some(&[0, 255, 16][..]));
    // A payload column of the type bytea needs no mapping of its own.
    let row = OutboxRow { payload: Some(b"\\x00ff10"), ..FULL };
    let mut outbox = Outbox::new(&options()).expect("valid");
    let mut messages = Messages::over(Bytes::new());
    let payload = Column { of: Type::Bytes, optional: true };
    let types = RowTypes { payload, ..RowTypes::default() };
    let committed = Committed { position: EventPosition::new(1, 2, 3), timestamp_ms: 0 };
    outbox.shape(&row, &types, committed, &mut messages);
    assert_eq!(messages.at(0).expect("shaped").value(), Some(&[0, 255, 16][..]));
}

#[test]
fn what_cannot_be_shaped_is_unfit_with_all_that_is_known_of_it() {
    let keyed = |key: &str| {
        let headers = Headers::usual();
        let form = FormOptions::Native { topic: "t.{aggregate_type}".into(), key: key.into(), headers };
        OutboxOptions { form, ..options() }
    };
    let not_hex = OutboxRow { payload: None, payload_bytes: Some(b"\\377"), ..FULL };
    let no_topic = OutboxRow { aggregate_type: None, ..FULL };
    for (options, row, why, topic, key, value) in [
        (options(), not_hex, Unshapable::NotHex, "t.order", Some(&b"42"[..]), Some(&b"\\377"[..])),
        (options(), no_topic, Unshapable::NullInTopic("aggregate type".into()), "", Some(b"42"), FULL.payload),
        (
            keyed("{aggregate_id}/{column:nothing}"),
            FULL,
            Unshapable::NullInKey("column nothing".into()),
            "",
            None,
            FULL.payload,
        ),
    ] {
        let (messages, shaped) = shape_as(&options, &row);
        assert_eq!(messages.unfit()[0].reason, why.to_string());
        assert_eq!(shaped, Shaped::Unfit(why));
        let message = messages.at(0).expect("kept");
        assert_eq!((message.topic(), message.key(), message.value()), (topic, key, value));
        assert_eq!((message.position(), message.route()), (EventPosition::new(1, 2, 3).as_u128(), 3));
        assert_eq!(message.header_count(), 0);
    }
}

#[test]
fn keys_are_made_of_columns_or_not_at_all() {
    for (key, expected) in [
        ("{aggregate_id}", Some(&b"42"[..])),
        ("{column:tenant}", Some(b"acme")),
        ("{column:tenant}/{aggregate_id}", Some(b"acme/42")),
        ("fixed", Some(b"fixed")),
        ("{column:nothing}", None),
        ("", None),
    ] {
        let form = FormOptions::Native { topic: "t".into(), key: key.into(), headers: Headers::usual() };
        let (messages, shaped) = shape_as(&OutboxOptions { form, ..options() }, &FULL);
        assert_eq!(shaped, Shaped::Whole, "{key}");
        assert_eq!(messages.at(0).expect("shaped").key(), expected, "{key}");
    }
}

#[test]
fn headers_have_the_names_that_they_are_given_and_none_that_is_not_wanted() {
    let headers = Headers {
        id: Some("event-id".into()),
        event_type: None,
        position: Some(POSITION.into()),
        from_columns: vec![("tenant".into(), Field::Further(0)), ("nothing".into(), Field::Further(1))],
    };
    let form = FormOptions::Native { topic: "t".into(), key: String::new(), headers };
    // What the relay does not write under this name, the event may; what it writes, the event cannot.
    let own = br#"{"id": "own", "event_type": "own", "tenant": "forged", "event-id": "forged"}"#;
    let (messages, _) = shape_as(&OutboxOptions { form, ..options() }, &OutboxRow { headers: Some(own), ..FULL });
    let message = messages.at(0).expect("shaped");
    let text = |value: Option<&[u8]>| value.map(|value| String::from_utf8_lossy(value).into_owned());
    let headers: Vec<_> = message.headers().map(|(name, value)| (name.to_owned(), text(value))).collect();
    let some = |value: &str| Some(value.to_owned());
    assert_eq!(
        headers,
        [
            ("event-id".to_owned(), some("018f")),
            (POSITION.to_owned(), some("00010000000000000002000000000003")),
            ("tenant".to_owned(), some("acme")),
            ("nothing".to_owned(), None),
            ("id".to_owned(), some("own")),
            ("event_type".to_owned(), some("own")),
        ]
    );
}

#[test]
fn what_the_filter_leaves_out_is_no_message() {
    let filter = Filter::new((vec!["parcel".into()], Vec::new()), (Vec::new(), Vec::new()));
    let (messages, shaped) = shape_as(&OutboxOptions { filter, ..options() }, &FULL);
    assert_eq!(shaped, Shaped::Filtered);
    assert!(messages.is_empty());
}

#[test]
fn nulls_are_a_tombstone_and_a_record_without_key() {
    let (messages, shaped) = shape(&OutboxRow { payload: None, aggregate_id: None, headers: None, ..FULL });
    assert_eq!(shaped, Shaped::Whole);
    let message = messages.at(0).expect("shaped");
    assert_eq!((message.key(), message.value()), (None, None));
}

#[test]
fn malformed_headers_travel_as_text_and_the_event_is_not_lost() {
    let (messages, shaped) = shape(&OutboxRow { headers: Some(br#"{"a": "1", ["#), ..FULL });
    assert_eq!(shaped, Shaped::HeadersMalformed);
    assert_eq!(header(&messages, MALFORMED_HEADERS).as_deref(), Some(r#"{"a": "1", ["#));
    assert_eq!(header(&messages, "a"), None);
    assert_eq!(header(&messages, ID).as_deref(), Some("018f"));
}

#[test]
fn a_writer_cannot_forge_the_headers_of_the_relay() {
    let forged = br#"{"postrider-position": "ffff", "postrider-malformed-headers": "{", "id": "x", "event_type": "y", "other": "z"}"#;
    let (messages, _) = shape(&OutboxRow { headers: Some(forged), ..FULL });
    let names: Vec<_> = messages.at(0).expect("shaped").headers().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(names, [ID, EVENT_TYPE, POSITION, "other"]);
    assert_eq!(header(&messages, ID).as_deref(), Some("018f"));
}
