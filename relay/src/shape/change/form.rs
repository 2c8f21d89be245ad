//! What is known of a table before any of its rows comes: its topic, its columns' writers, and every text between them.

use std::sync::Arc;

use crate::shape::change::options::Unsupported;
use crate::shape::change::row::{Old, Value};
use crate::shape::change::table::{Column, Identity, Table};
use crate::shape::change::types::{ColumnWriter, TypeOptions, UnsupportedType};
use crate::shape::json;
use crate::shape::unfit::Unshapable;

/// How the changes of a table are written, compiled when the table is described.
#[derive(Debug, Clone)]
pub struct Form {
    pub(super) topic: Arc<str>,
    pub(super) identity: Identity,
    /// How many values a tuple has.
    pub(super) width: usize,
    pub(super) columns: Vec<Slot>,
    pub(super) key: Vec<Slot>,
    /// `schema.table`.
    pub(super) table: String,
    /// From the beginning of a value to its `before`.
    pub(super) open: Vec<u8>,
    /// From behind `after` to the first time in the `source` block.
    pub(super) source: Vec<u8>,
    /// From behind the last time in it to the transaction's number.
    pub(super) names: Vec<u8>,
}

/// A column of a record.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    /// Its place in a tuple.
    pub(super) place: usize,
    /// What opens the object or parts it from the column before, its name, and a colon.
    pub(super) name: Vec<u8>,
    pub(super) writer: ColumnWriter,
    /// What a null becomes.
    pub(super) null: Vec<u8>,
    /// What it is called in a reason.
    pub(super) called: String,
}

impl Form {
    /// The topic of the table's changes.
    #[must_use]
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// What an update or a delete tells of the row that was.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }
}

/// The slots of the columns at `places`.
pub(super) fn slots(
    table: &Table,
    places: impl Iterator<Item = usize>,
    types: &TypeOptions,
) -> Result<Vec<Slot>, Unsupported> {
    let name = format!("{}.{}", table.schema, table.name);
    let mut slots: Vec<Slot> = Vec::new();
    for place in places {
        let column = &table.columns[place];
        let writer = ColumnWriter::new(column, types).map_err(|why| unsupported(&name, column, why))?;
        let mut text = vec![if slots.is_empty() { b'{' } else { b',' }];
        json::quote(&column.name, &mut text);
        text.push(b':');
        let called = format!("column {:?} of {name}", column.name);
        slots.push(Slot { place, name: text, writer, null: b"null".to_vec(), called });
    }
    Ok(slots)
}

fn unsupported(table: &str, column: &Column, why: UnsupportedType) -> Unsupported {
    let UnsupportedType { name: of, why } = why;
    let why = if why.is_empty() { why } else { format!(" ({why})") };
    Unsupported::Type { table: table.to_owned(), column: column.name.clone(), of, why }
}

/// Appends a row as an object. A value that is not of its type is appended as the text that it is, and told.
#[inline]
pub(super) fn row(slots: &[Slot], values: &[Value<'_>], old: Option<Old<'_>>, out: &mut Vec<u8>) -> Option<Unshapable> {
    let mut unreadable = None;
    for slot in slots {
        out.extend_from_slice(&slot.name);
        match recovered(values[slot.place], old, slot.place) {
            Value::Text(text) => {
                let at = out.len();
                if slot.writer.write(text, out).is_err() {
                    out.truncate(at);
                    json::quote(&String::from_utf8_lossy(text), out);
                    unreadable = Some(slot.unreadable());
                }
            }
            Value::Null => out.extend_from_slice(&slot.null),
            Value::Unchanged => slot.writer.placeholder(out),
        }
    }
    out.extend_from_slice(if slots.is_empty() { b"{}" } else { b"}" });
    unreadable
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
    #[cold]
    fn unreadable(&self) -> Unshapable {
        Unshapable::UnreadableValue(format!("{} holds a text that is no value of its type", self.called))
    }
}
