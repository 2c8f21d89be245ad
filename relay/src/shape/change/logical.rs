//! Logical messages as records of their own: <https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-REPLICATION>.

use std::convert::Infallible;
use std::sync::Arc;

use crate::pipeline::Messages;
use crate::shape::change::envelope::{MESSAGE_KEY_SCHEMA, around, message_schema};
use crate::shape::change::options::CaptureOptions;
use crate::shape::change::pattern::Glob;
use crate::shape::change::row::Stamp;
use crate::shape::change::source::At;
use crate::shape::change::types::Binary;
use crate::shape::change::{Capture, source};
use crate::shape::json;
use crate::shape::outbox::Shaped;

/// The texts around a message's key and value, and its topic.
#[derive(Debug)]
pub(super) struct LogicalMessages {
    prefixes: Vec<Glob>,
    topic: Arc<str>,
    around_key: (Vec<u8>, Vec<u8>),
    around_value: (Vec<u8>, Vec<u8>),
    names: Vec<u8>,
}

impl LogicalMessages {
    pub(super) fn new(options: &CaptureOptions) -> Self {
        let content = if options.types.binary == Binary::Bytes { "bytes" } else { "string" };
        Self {
            prefixes: options.message_prefixes.iter().map(|prefix| Glob::new(prefix)).collect(),
            topic: Arc::from(options.message_topic.as_str()),
            around_key: around(options.schemas, MESSAGE_KEY_SCHEMA),
            around_value: around(options.schemas, &message_schema(content)),
            names: source::names("", ""),
        }
    }
}

impl Capture {
    /// Whether messages with this prefix are published.
    #[must_use]
    pub fn takes_messages(&self, prefix: &str) -> bool {
        self.set.logical.prefixes.iter().any(|pattern| pattern.matches(prefix))
    }

    /// Adds the record of a logical message, if its prefix is published. Of one that is no part of a transaction, `stamp` names none.
    pub fn message(&mut self, prefix: &str, content: &[u8], stamp: &Stamp<'_>, messages: &mut Messages) -> Shaped {
        if !self.takes_messages(prefix) {
            return Shaped::Filtered;
        }
        self.stamped.stamp(stamp, &self.set.source);
        let (set, at) = (&*self.set, At { stamp, texts: &self.stamped });
        let texts = &set.logical;
        let Ok(key) = messages.write(|out| {
            out.extend_from_slice(&texts.around_key.0);
            out.extend_from_slice(br#"{"prefix":"#);
            json::quote(prefix, out);
            out.push(b'}');
            out.extend_from_slice(&texts.around_key.1);
            Ok::<(), Infallible>(())
        });
        let Ok(value) = messages.write(|out| {
            out.extend_from_slice(&texts.around_value.0);
            out.extend_from_slice(br#"{"op":"m","ts_ms":"#);
            json::integer(stamp.now_us.div_euclid(1000), out);
            at.source(&texts.names, out);
            at.transaction(0, out);
            out.extend_from_slice(br#","message":{"prefix":"#);
            json::quote(prefix, out);
            out.extend_from_slice(br#","content":""#);
            match set.options.types.binary {
                Binary::Bytes | Binary::Base64 => json::base64(content, out),
                Binary::Base64UrlSafe => json::base64_url(content, out),
                Binary::Hex => json::hex(content, out),
            }
            out.extend_from_slice(br#""}}"#);
            out.extend_from_slice(&texts.around_value.1);
            Ok::<(), Infallible>(())
        });
        let mark = messages.header_mark();
        set.position(0, at, messages);
        let message = set.message(&texts.topic, (Some(key), Some(value)), mark, 0, at, messages);
        messages.push(message);
        Shaped::Whole
    }
}
