//! Another address for a message of a batch: how a dead letter takes its event's place.

use std::sync::Arc;

use crate::pipeline::message::{HeaderName, Message, Messages};

/// The bit of a position that says: not the message of this position, but what was sent elsewhere in its place. No source
/// counts so far.
pub const ELSEWHERE: u128 = 1 << 127;

impl Messages {
    /// Sends the message at `index` to `topic` instead, with `more` headers after its own. Returns it as it was.
    ///
    /// It is another message then, so its position is another too: [`ELSEWHERE`] is set. Who remembers a refusal by its
    /// position cannot take the one for the other.
    ///
    /// # Panics
    /// If there is no message at `index`.
    pub fn redirect(&mut self, index: usize, topic: Arc<str>, more: &[(&'static str, &[u8])]) -> Message {
        let original = self.list[index].clone();
        let mark = self.header_mark();
        self.headers.extend_from_within(original.headers.start as usize..original.headers.end as usize);
        for (name, value) in more {
            let value = self.keep(value);
            self.header(HeaderName::Static(name), Some(value));
        }
        let headers = mark..self.header_mark();
        // 0 names no message, and goes on to do so.
        let position = if original.position == 0 { 0 } else { original.position | ELSEWHERE };
        self.list[index] = Message { topic, headers, position, ..original.clone() };
        original
    }

    /// Gives the message at `index` another time, in milliseconds since 1970.
    pub fn set_timestamp(&mut self, index: usize, timestamp_ms: i64) {
        if let Some(message) = self.list.get_mut(index) {
            message.timestamp_ms = timestamp_ms;
        }
    }

    /// Sends all messages by the route of this number.
    pub fn set_route(&mut self, route: u16) {
        self.list.iter_mut().for_each(|message| message.route = route);
    }

    /// Puts the message at `index` back as [`Messages::redirect`] found it.
    ///
    /// # Panics
    /// If there is no message at `index`.
    pub fn restore(&mut self, index: usize, original: Message) {
        self.list[index] = original;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_message_sent_elsewhere_keeps_its_bytes_and_gains_headers_and_can_be_put_back() {
        let mut messages = Messages::over(Bytes::from_static(b"key"));
        let id = messages.keep(b"7");
        messages.header(HeaderName::Static("id"), Some(id));
        messages.push(Message {
            topic: Arc::from("t"),
            key: None,
            value: None,
            headers: 0..1,
            timestamp_ms: 0,
            position: 3,
            route: 1,
        });
        let original = messages.redirect(0, Arc::from("dead"), &[("why", b"too large")]);
        let message = messages.at(0).unwrap();
        assert_eq!((message.topic(), message.position(), message.route()), ("dead", 3 | ELSEWHERE, 1));
        let headers: Vec<_> = message.headers().collect();
        assert_eq!(headers, [("id", Some(&b"7"[..])), ("why", Some(&b"too large"[..]))]);

        messages.restore(0, original);
        let message = messages.at(0).unwrap();
        assert_eq!((message.topic(), message.header_count()), ("t", 1));
    }
}
