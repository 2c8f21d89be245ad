//! Messages and the bytes that they point into.

use super::*;

#[test]
fn spans_read_back_from_the_arena_and_from_the_side_buffer() {
    let mut messages = Messages::over(Bytes::from_static(b"key-value"));
    let mark = messages.header_mark();
    let made = messages.keep(b"made");
    messages.header(HeaderName::Static("id"), Some(made));
    let name = Span::arena(0..3);
    messages.header(HeaderName::Span(name), None);
    messages.push(Message {
        topic: Arc::from("t"),
        key: Some(Span::arena(0..3)),
        value: Some(Span::arena(4..9)),
        headers: mark..messages.header_mark(),
        timestamp_ms: 7,
        position: 1,
        route: 0,
    });

    let message = messages.at(0).expect("one was pushed");
    assert_eq!(message.key(), Some(&b"key"[..]));
    assert_eq!(message.value(), Some(&b"value"[..]));
    let headers: Vec<_> = message.headers().collect();
    assert_eq!(headers, [("id", Some(&b"made"[..])), ("key", None)]);
    assert_eq!(messages.payload_bytes(), 8);
}

#[test]
fn bytes_of_the_arena_are_pointed_at_and_others_copied() {
    let arena = Bytes::from(b"0123456789".to_vec());
    let mut messages = Messages::over(arena.clone());
    assert_eq!(messages.span_of(&arena[2..5]), Span::arena(2..5));
    assert_eq!(messages.span_of(&arena[10..]), Span::arena(10..10));
    let other = messages.span_of(b"234");
    assert_ne!(other, Span::arena(2..5));
    assert_eq!(messages.get(other), b"234");
}

#[test]
fn hexadecimal_digits_are_decoded_or_refused_whole() {
    let mut messages = Messages::over(Bytes::new());
    let span = messages.keep_hex(b"00ffA5").expect("digits");
    assert_eq!(messages.get(span), [0, 255, 0xa5]);
    assert_eq!(messages.keep_hex(b"0"), None);
    assert_eq!(messages.keep_hex(b"00zz"), None);
    let empty = messages.keep_hex(b"").expect("no digits");
    assert!(empty.is_empty());
}

#[test]
fn what_is_removed_is_gone_and_the_rest_keeps_its_order() {
    let mut messages = Messages::over(Bytes::new());
    for position in 0..6 {
        let message = Message {
            topic: Arc::from("t"),
            key: None,
            value: None,
            headers: 0..0,
            timestamp_ms: 0,
            position,
            route: 0,
        };
        match position {
            1 | 4 => messages.push_unfit(message, position.to_string()),
            _ => messages.push(message),
        }
        if position > 2 {
            messages.choose_partition(position as i32 + 10);
        }
    }
    messages.remove(&[0, 1, 3]);
    let partitions: Vec<_> = messages.iter().map(|message| message.partition()).collect();
    assert_eq!(partitions, [None, Some(14), Some(15)]);
    assert_eq!(messages.iter().map(|message| message.position()).collect::<Vec<_>>(), [2, 4, 5]);
    assert_eq!(messages.unfit(), [Unfit { index: 1, reason: "4".into() }]);
}

#[test]
fn headers_of_an_abandoned_message_are_forgotten() {
    let mut messages = Messages::over(Bytes::new());
    let mark = messages.header_mark();
    messages.header(HeaderName::Static("id"), None);
    messages.header_truncate(mark);
    assert_eq!(messages.header_mark(), 0);
}
