//! A change of a captured table becomes messages in Debezium's envelope. Pure, and without an allocation per row.
//!
//! Guarantees: a change of a captured table is one or more messages, or told apart as unfit, or left out because the options
//! say so; nothing is dropped otherwise. The messages of one change carry positions that rise. What a table is like is read
//! once, by [`Capture::describe`]; what cannot be published is an error there, not at a row.

mod form;
pub mod options;
mod pattern;
pub mod row;
pub mod table;
mod topic;
pub mod types;

use std::convert::Infallible;
use std::sync::Arc;

use crate::pipeline::message::Span;
use crate::pipeline::{HeaderName, Message, Messages};
use crate::shape::change::options::{CaptureError, CaptureOptions, ChangeForm, Unsupported};
use crate::shape::change::pattern::{ColumnPattern, TablePattern};
use crate::shape::change::row::{Change, Old, Stamp, Value};
use crate::shape::change::table::Table;
use crate::shape::change::topic::{Names, TopicTemplate};
use crate::shape::json;
use crate::shape::outbox::{POSITION, Shaped};
use crate::shape::unfit::Unshapable;

pub use crate::shape::change::form::Form;

/// Shapes the changes of captured tables. A clone costs little: each reader of a snapshot has its own.
#[derive(Debug, Clone)]
pub struct Capture {
    set: Arc<Set>,
}

/// What the options say, read.
#[derive(Debug)]
struct Set {
    options: CaptureOptions,
    topic: TopicTemplate,
    tables: Vec<TablePattern>,
    tables_except: Vec<TablePattern>,
    columns_only: Vec<ColumnPattern>,
    columns_except: Vec<ColumnPattern>,
}

/// One message of a change.
struct Part<'a, 'r> {
    op: u8,
    key: Option<&'a [Value<'r>]>,
    before: Option<&'a [Value<'r>]>,
    after: Option<&'a [Value<'r>]>,
    old: Option<Old<'r>>,
    number: u8,
}

impl Capture {
    /// A shaper of what `options` say.
    ///
    /// # Errors
    /// A template or a pattern that is none, and options that exclude each other.
    pub fn new(options: &CaptureOptions) -> Result<Self, CaptureError> {
        let patterns = |texts: &[String]| {
            texts.iter().map(|text| TablePattern::parse(text)).collect::<Result<Vec<_>, CaptureError>>()
        };
        let columns = |texts: &[String]| {
            texts.iter().map(|text| ColumnPattern::parse(text)).collect::<Result<Vec<_>, CaptureError>>()
        };
        if !options.columns_only.is_empty() && !options.columns_except.is_empty() {
            return Err(CaptureError::BothColumnLists);
        }
        Ok(Self {
            set: Arc::new(Set {
                topic: TopicTemplate::parse(&options.topic)?,
                tables: patterns(&options.tables)?,
                tables_except: patterns(&options.tables_except)?,
                columns_only: columns(&options.columns_only)?,
                columns_except: columns(&options.columns_except)?,
                options: options.clone(),
            }),
        })
    }

    /// Whether a table is captured.
    #[must_use]
    pub fn captures(&self, schema: &str, table: &str) -> bool {
        let any = |patterns: &[TablePattern]| patterns.iter().any(|pattern| pattern.matches(schema, table));
        any(&self.set.tables) && !any(&self.set.tables_except)
    }

    /// Compiles a table's form: once whenever it is described.
    ///
    /// # Errors
    /// What cannot be published as it is, and how to mend that.
    pub fn describe(&self, table: &Table) -> Result<Form, Unsupported> {
        let options = &self.set.options;
        let names =
            Names { schema: &table.schema, table: &table.name, database: &options.database, prefix: &options.prefix };
        let quoted = |text: &str| {
            let mut out = Vec::new();
            json::quote(text, &mut out);
            out
        };
        let any = |patterns: &[ColumnPattern], column: &str| {
            patterns.iter().any(|pattern| pattern.matches(&table.schema, &table.name, column))
        };
        let published = |place: &usize| {
            let column = &table.columns[*place].name;
            let listed = self.set.columns_only.is_empty() || any(&self.set.columns_only, column);
            listed && !any(&self.set.columns_except, column)
        };
        let version = env!("CARGO_PKG_VERSION");
        let mut source = format!(r#","source":{{"version":"{version}","connector":"postgresql","name":"#).into_bytes();
        source.extend(quoted(&options.prefix));
        source.extend_from_slice(br#","ts_ms":"#);
        let mut texts = br#","schema":"#.to_vec();
        texts.extend(quoted(&table.schema));
        texts.extend_from_slice(br#","table":"#);
        texts.extend(quoted(&table.name));
        texts.extend_from_slice(br#","txId":"#);
        Ok(Form {
            topic: Arc::from(self.set.topic.render(names)),
            identity: table.identity,
            width: table.columns.len(),
            columns: form::slots(table, (0..table.columns.len()).filter(published), &options.types)?,
            key: form::slots(table, table.key.iter().copied(), &options.types)?,
            table: format!("{}.{}", table.schema, table.name),
            open: br#"{"before":"#.to_vec(),
            source,
            names: texts,
        })
    }

    /// Adds the messages of a change of the table that `form` was made for.
    pub fn shape(&mut self, form: &Form, change: Change<'_>, stamp: &Stamp<'_>, messages: &mut Messages) -> Shaped {
        let options = &self.set.options;
        if let Some(why) = misfit(form, &change) {
            return self.misfit(form, why, stamp, messages);
        }
        let skipped = match change {
            Change::Insert { .. } => options.skipped.create,
            Change::Update { .. } => options.skipped.update,
            Change::Delete { .. } => options.skipped.delete,
            Change::Truncate => options.skipped.truncate,
            Change::Read { .. } => false,
        };
        if skipped {
            return Shaped::Filtered;
        }
        let none = Part { op: b't', key: None, before: None, after: None, old: None, number: 0 };
        match change {
            Change::Insert { new } => {
                self.part(form, &Part { op: b'c', key: Some(new), after: Some(new), ..none }, stamp, messages)
            }
            Change::Read { row } => {
                self.part(form, &Part { op: b'r', key: Some(row), after: Some(row), ..none }, stamp, messages)
            }
            Change::Truncate => self.part(form, &none, stamp, messages),
            Change::Delete { old } => self.delete(form, old, 0, stamp, messages),
            Change::Update { old, new } => {
                let before = old.map(|old| old.values);
                if old.is_some_and(|old| moves(form, old, new)) {
                    let first = old.map_or(Shaped::Whole, |old| self.delete(form, old, 0, stamp, messages));
                    let part = Part { op: b'c', key: Some(new), after: Some(new), old, number: 2, ..none };
                    let second = self.part(form, &part, stamp, messages);
                    return if first == Shaped::Whole { second } else { first };
                }
                self.part(
                    form,
                    &Part { op: b'u', key: Some(new), before, after: Some(new), old, ..none },
                    stamp,
                    messages,
                )
            }
        }
    }

    fn delete(&self, form: &Form, old: Old<'_>, number: u8, stamp: &Stamp<'_>, messages: &mut Messages) -> Shaped {
        let part = Part { op: b'd', key: Some(old.values), before: Some(old.values), after: None, old: None, number };
        let shaped = self.part(form, &part, stamp, messages);
        if self.set.options.tombstones && !form.key.is_empty() {
            let mark = messages.header_mark();
            let key = key(form, &part, messages).0;
            self.position(stamp, number + 1, messages);
            let headers = mark..messages.header_mark();
            messages.push(self.message(form, key, None, headers, number + 1, stamp));
        }
        shaped
    }

    fn part(&self, form: &Form, part: &Part<'_, '_>, stamp: &Stamp<'_>, messages: &mut Messages) -> Shaped {
        let mark = messages.header_mark();
        let (key, unreadable_key) = key(form, part, messages);
        let mut unreadable = None;
        let value = messages.write(|out| {
            unreadable = self.value(form, part, stamp, out);
            Ok::<(), Infallible>(())
        });
        let Ok(value) = value;
        self.position(stamp, part.number, messages);
        let headers = mark..messages.header_mark();
        let message = self.message(form, key, Some(value), headers, part.number, stamp);
        match unreadable_key.or(unreadable) {
            None => {
                messages.push(message);
                Shaped::Whole
            }
            Some(why) => {
                messages.push_unfit(message, why.to_string());
                Shaped::Unfit(why)
            }
        }
    }

    fn value(&self, form: &Form, part: &Part<'_, '_>, stamp: &Stamp<'_>, out: &mut Vec<u8>) -> Option<Unshapable> {
        let mut unreadable = None;
        out.extend_from_slice(&form.open);
        match part.before {
            Some(values) => unreadable = form::row(&form.columns, values, None, out),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(br#","after":"#);
        match part.after {
            Some(values) => unreadable = form::row(&form.columns, values, part.old, out).or(unreadable),
            None => out.extend_from_slice(b"null"),
        }
        self.source(form, stamp, out);
        out.extend_from_slice(br#","transaction":null,"op":""#);
        out.push(part.op);
        out.extend_from_slice(br#"","ts_ms":"#);
        json::integer(stamp.now_us.div_euclid(1000), out);
        out.extend_from_slice(br#","ts_us":"#);
        json::integer(stamp.now_us, out);
        out.extend_from_slice(br#","ts_ns":"#);
        json::integer(stamp.now_us.saturating_mul(1000), out);
        out.push(b'}');
        unreadable
    }

    fn source(&self, form: &Form, stamp: &Stamp<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(&form.source);
        json::integer(stamp.commit_us.div_euclid(1000), out);
        out.extend_from_slice(br#","snapshot":""#);
        out.extend_from_slice(stamp.snapshot.as_str().as_bytes());
        out.extend_from_slice(br#"","db":"#);
        json::quote(&self.set.options.database, out);
        out.extend_from_slice(br#","sequence":"["#);
        lsn_text(stamp.last_commit_lsn, out);
        out.push(b',');
        lsn_text(stamp.lsn, out);
        out.extend_from_slice(br#"]","ts_us":"#);
        json::integer(stamp.commit_us, out);
        out.extend_from_slice(br#","ts_ns":"#);
        json::integer(stamp.commit_us.saturating_mul(1000), out);
        out.extend_from_slice(&form.names);
        optional(stamp.xid.map(i64::from), out);
        out.extend_from_slice(br#","lsn":"#);
        optional(stamp.lsn.map(u64::cast_signed), out);
        out.extend_from_slice(br#","xmin":null,"origin":"#);
        match stamp.origin {
            Some(origin) => json::quote(origin, out),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(br#","origin_lsn":"#);
        optional(stamp.origin_lsn.map(u64::cast_signed), out);
        out.push(b'}');
    }

    fn position(&self, stamp: &Stamp<'_>, number: u8, messages: &mut Messages) {
        if self.set.options.form == ChangeForm::Native {
            let hex = messages.keep(&stamp.position.part(number).to_hex());
            messages.header(HeaderName::Static(POSITION), Some(hex));
        }
    }

    fn message(
        &self,
        form: &Form,
        key: Option<Span>,
        value: Option<Span>,
        headers: std::ops::Range<u32>,
        number: u8,
        stamp: &Stamp<'_>,
    ) -> Message {
        let time_us = match self.set.options.form {
            ChangeForm::Native => stamp.commit_us,
            ChangeForm::Debezium => stamp.now_us,
        };
        Message {
            topic: Arc::clone(&form.topic),
            key,
            value,
            headers,
            timestamp_ms: time_us.div_euclid(1000),
            position: stamp.position.part(number).as_u128(),
            route: self.set.options.route,
        }
    }

    #[cold]
    fn misfit(&self, form: &Form, why: Unshapable, stamp: &Stamp<'_>, messages: &mut Messages) -> Shaped {
        let mark = messages.header_mark();
        messages.push_unfit(self.message(form, None, None, mark..mark, 0, stamp), why.to_string());
        Shaped::Unfit(why)
    }
}

/// Writes the key; `None` if there is none, and why it must not be sent if a value of it cannot be read.
fn key(form: &Form, part: &Part<'_, '_>, messages: &mut Messages) -> (Option<Span>, Option<Unshapable>) {
    let Some(values) = part.key.filter(|_| !form.key.is_empty()) else { return (None, None) };
    let mut unreadable = None;
    let Ok(span) = messages.write(|out| {
        unreadable = form::row(&form.key, values, part.old, out);
        Ok::<(), Infallible>(())
    });
    (Some(span), unreadable)
}

/// Whether an update gives the row another key.
fn moves(form: &Form, old: Old<'_>, new: &[Value<'_>]) -> bool {
    form.key.iter().any(|slot| match new[slot.place] {
        Value::Unchanged => false,
        value => old.values[slot.place] != value,
    })
}

/// Why a tuple cannot be of the table that `form` was made for.
fn misfit(form: &Form, change: &Change<'_>) -> Option<Unshapable> {
    let fits = |values: &[Value<'_>]| values.len() == form.width;
    let fit = match change {
        Change::Insert { new } => fits(new),
        Change::Update { old, new } => fits(new) && old.is_none_or(|old| fits(old.values)),
        Change::Delete { old } => fits(old.values),
        Change::Read { row } => fits(row),
        Change::Truncate => true,
    };
    (!fit).then(|| {
        let table = &form.table;
        Unshapable::UnreadableValue(format!("it has another number of columns than {table} was described with"))
    })
}

fn optional(value: Option<i64>, out: &mut Vec<u8>) {
    match value {
        Some(value) => json::integer(value, out),
        None => out.extend_from_slice(b"null"),
    }
}

/// An LSN in `source.sequence`, whose text is JSON within a string.
fn lsn_text(lsn: Option<u64>, out: &mut Vec<u8>) {
    match lsn {
        Some(lsn) => {
            out.extend_from_slice(br#"\""#);
            json::integer(lsn.cast_signed(), out);
            out.extend_from_slice(br#"\""#);
        }
        None => out.extend_from_slice(b"null"),
    }
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;
