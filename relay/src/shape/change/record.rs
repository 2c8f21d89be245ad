//! A record of a change: its key, its value and its headers, written behind one another into the batch.

use std::convert::Infallible;
use std::sync::Arc;

use crate::pipeline::message::Span;
use crate::pipeline::{HeaderName, Message, Messages};
use crate::shape::change::Set;
use crate::shape::change::form::{Form, Slot};
use crate::shape::change::options::{ChangeForm, HeaderForm};
use crate::shape::change::row::{Old, Value};
use crate::shape::change::source::At;
use crate::shape::change::types::Unreadable;
use crate::shape::json;
use crate::shape::outbox::{POSITION, Shaped};
use crate::shape::unfit::Unshapable;

/// The key of a row, written.
#[derive(Debug, Clone)]
pub(super) struct Key {
    /// `None`: the table has none.
    pub(super) span: Option<Span>,
    /// Why it names no row.
    pub(super) unfit: Option<Unshapable>,
}

/// A record of a change.
pub(super) struct Record<'a, 'r> {
    pub(super) op: u8,
    pub(super) key: &'a Key,
    pub(super) before: Option<&'a [Value<'r>]>,
    pub(super) after: Option<&'a [Value<'r>]>,
    /// The row as it was, from which values are taken that were not sent.
    pub(super) old: Option<Old<'r>>,
    /// The other key of a row that got a new one, and the name of the header that tells it.
    pub(super) moved: Option<(&'static str, &'a Key)>,
    /// Which of the change's records it is.
    pub(super) part: u8,
    /// How many events of the change come before it.
    pub(super) later: u64,
}

impl Set {
    /// Adds a record with a value.
    #[inline]
    pub(super) fn record(&self, form: &Form, record: &Record<'_, '_>, at: At<'_>, messages: &mut Messages) -> Shaped {
        let mark = messages.header_mark();
        let mut unfit = None;
        let Ok(value) = messages.write(|out| {
            unfit = value(form, record, at, out);
            Ok::<(), Infallible>(())
        });
        self.headers(form, record.moved, record.part, at, messages);
        let span = record.key.span;
        let message = self.message(&form.topic, (span, Some(value)), mark, record.part, at, messages);
        match record.key.unfit.as_ref().or(unfit.as_ref()) {
            None => {
                messages.push(message);
                Shaped::Whole
            }
            Some(why) => {
                messages.push_unfit(message, why.to_string());
                Shaped::Unfit(why.clone())
            }
        }
    }

    /// Adds the record without value that follows a deletion.
    pub(super) fn tombstone(&self, form: &Form, record: &Record<'_, '_>, at: At<'_>, messages: &mut Messages) {
        // A record without key and value says nothing to anybody; Debezium writes it.
        let says_nothing = form.key.is_empty() && self.options.form == ChangeForm::Native;
        if !self.options.tombstones || says_nothing || record.key.unfit.is_some() {
            return;
        }
        let (mark, part) = (messages.header_mark(), record.part + 1);
        self.headers(form, record.moved, part, at, messages);
        let message = self.message(&form.topic, (record.key.span, None), mark, part, at, messages);
        messages.push(message);
    }

    fn headers(&self, form: &Form, moved: Option<(&'static str, &Key)>, part: u8, at: At<'_>, messages: &mut Messages) {
        if let Some((name, Key { span: Some(key), .. })) = moved {
            let value = self.key_header(form, *key, messages);
            messages.header(HeaderName::Static(name), Some(value));
        }
        match self.options.form {
            ChangeForm::Native => self.position(part, at, messages),
            ChangeForm::Debezium => {
                let Some(context) = &self.context else { return };
                let whole = messages.keep(&context.text);
                for (name, range) in &context.headers {
                    messages.header(HeaderName::Static(name), Some(whole.within(range.clone())));
                }
            }
        }
    }

    pub(super) fn position(&self, part: u8, at: At<'_>, messages: &mut Messages) {
        if self.options.form == ChangeForm::Native {
            let hex = messages.keep(&at.stamp.position.part(part).to_hex());
            messages.header(HeaderName::Static(POSITION), Some(hex));
        }
    }

    /// A key as a header's value.
    #[cold]
    fn key_header(&self, form: &Form, key: Span, messages: &mut Messages) -> Span {
        if self.options.form == ChangeForm::Native || self.options.headers == HeaderForm::Json {
            return key;
        }
        // That converter writes no schema, and escapes less.
        let (open, close) = &form.around_key;
        let payload = key.within(open.len()..key.len() - close.len());
        match simple(messages.get(payload)) {
            Some(text) => messages.keep(text.as_bytes()),
            None => payload,
        }
    }

    /// The message of a record whose headers begin at `mark`.
    pub(super) fn message(
        &self,
        topic: &Arc<str>,
        (key, value): (Option<Span>, Option<Span>),
        mark: u32,
        part: u8,
        at: At<'_>,
        messages: &Messages,
    ) -> Message {
        let time_us = match self.options.form {
            ChangeForm::Native => at.stamp.commit_us,
            ChangeForm::Debezium => at.stamp.now_us,
        };
        Message {
            topic: Arc::clone(topic),
            key,
            value,
            headers: mark..messages.header_mark(),
            timestamp_ms: time_us.div_euclid(1000),
            position: at.stamp.position.part(part).as_u128(),
            route: self.options.route,
        }
    }
}

/// Writes the key of a row; of a row as it was, `is_whole` says whether every value of it is known.
#[inline]
pub(super) fn key(
    form: &Form,
    values: &[Value<'_>],
    old: Option<Old<'_>>,
    is_whole: bool,
    messages: &mut Messages,
) -> Key {
    if form.key.is_empty() {
        return Key { span: None, unfit: None };
    }
    let mut unfit = None;
    let Ok(span) = messages.write(|out| {
        out.extend_from_slice(&form.around_key.0);
        for slot in &form.key {
            out.extend_from_slice(&slot.name);
            match recovered(values[slot.place], old, slot.place) {
                Value::Text(text) => slot.write(text, &mut unfit, out),
                Value::Null if is_whole => out.extend_from_slice(&slot.null),
                Value::Null | Value::Unchanged => {
                    out.extend_from_slice(b"null");
                    unfit = Some(slot.unknown());
                }
            }
        }
        out.push(b'}');
        out.extend_from_slice(&form.around_key.1);
        Ok::<(), Infallible>(())
    });
    Key { span: Some(span), unfit }
}

fn value(form: &Form, record: &Record<'_, '_>, at: At<'_>, out: &mut Vec<u8>) -> Option<Unshapable> {
    let mut unfit = None;
    out.extend_from_slice(&form.open);
    match record.before {
        Some(values) => row(&form.columns, values, None, &mut unfit, out),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(br#","after":"#);
    match record.after {
        Some(values) => row(&form.columns, values, record.old, &mut unfit, out),
        None => out.extend_from_slice(b"null"),
    }
    at.source(&form.names, out);
    at.transaction(record.later, out);
    out.extend_from_slice(br#","op":""#);
    out.push(record.op);
    out.push(b'"');
    at.now(out);
    out.extend_from_slice(&form.close);
    unfit
}

/// Appends a row as an object.
#[inline]
fn row(slots: &[Slot], values: &[Value<'_>], old: Option<Old<'_>>, unfit: &mut Option<Unshapable>, out: &mut Vec<u8>) {
    for slot in slots {
        out.extend_from_slice(&slot.name);
        match (recovered(values[slot.place], old, slot.place), &slot.mask) {
            (Value::Text(text), None) => slot.write(text, unfit, out),
            (Value::Text(text), Some(mask)) => mask.write(text, out),
            (Value::Null, _) => out.extend_from_slice(&slot.null),
            (Value::Unchanged, _) => out.extend_from_slice(&slot.unchanged),
        }
    }
    out.extend_from_slice(if slots.is_empty() { b"{}" } else { b"}" });
}

/// A value that was not sent is known if the old row was: it is the same.
#[inline]
pub(super) fn recovered<'r>(value: Value<'r>, old: Option<Old<'r>>, place: usize) -> Value<'r> {
    match (value, old) {
        (Value::Unchanged, Some(Old { values, whole })) => match values.get(place) {
            Some(Value::Null) if !whole => value,
            Some(old) => *old,
            None => value,
        },
        _ => value,
    }
}

impl Slot {
    /// Appends a value. One that is not of its type is appended as the text that it is, and told.
    #[inline]
    fn write(&self, text: &[u8], unfit: &mut Option<Unshapable>, out: &mut Vec<u8>) {
        let at = out.len();
        if let Err(why) = self.writer.write(text, out) {
            out.truncate(at);
            json::quote(&String::from_utf8_lossy(text), out);
            *unfit = Some(self.unreadable(why));
        }
    }

    #[cold]
    fn unreadable(&self, why: Unreadable) -> Unshapable {
        Unshapable::UnreadableValue(format!("{} holds {why}", self.called))
    }

    #[cold]
    fn unknown(&self) -> Unshapable {
        Unshapable::KeyUnknown(format!(
            "its key is not known: the replica identity does not tell {}, which is part of it",
            self.called
        ))
    }
}

/// What `SimpleHeaderConverter` writes where `JsonConverter` writes `json`: within strings it escapes quotes and backslashes only.
/// `None` if that is the same.
fn simple(json: &[u8]) -> Option<String> {
    let text = str::from_utf8(json).ok()?;
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let len = escape_len(&rest[at..]);
        let (escape, after) = rest[at..].split_at_checked(len)?;
        match serde_json::from_str::<String>(&format!("\"{escape}\"")) {
            Ok(letter) if letter != "\"" && letter != "\\" => out.push_str(&letter),
            _ => out.push_str(escape),
        }
        rest = after;
    }
    (rest.len() < text.len()).then(|| out + rest)
}

/// The length of the escape that begins `text`; that of a letter of two surrogates is one.
fn escape_len(text: &str) -> usize {
    let is_surrogate = |text: &str| text.get(..3).is_some_and(|begin| begin.eq_ignore_ascii_case("\\uD"));
    match text.as_bytes().get(1) {
        Some(b'u')
            if is_surrogate(text)
                && text.as_bytes().get(3).is_some_and(|digit| !digit.is_ascii_digit() || *digit >= b'8') =>
        {
            12
        }
        Some(b'u') => 6,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_simple_form_escapes_quotes_and_backslashes_only() {
        for (json, expected) in [
            (r#"{"a":1}"#, None),
            (r#"{"a":"q\"b\\s/\n\t\u0001é\uD83D\uDC0E"}"#, Some("{\"a\":\"q\\\"b\\\\s/\n\t\u{1}é🐎\"}")),
            (r#"{"a":"\uD7FF"}"#, Some("{\"a\":\"\u{d7ff}\"}")),
        ] {
            assert_eq!(simple(json.as_bytes()).as_deref(), expected, "{json}");
        }
    }
}
