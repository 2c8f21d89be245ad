//! A record as a worker reads it from Kafka: a change of a captured table, an event, or a tombstone.
//!
//! Read are the envelope of a change, ours and Debezium's, bare or as `{"schema": …, "payload": …}`
//! (<https://debezium.io/documentation/reference/stable/connectors/postgresql.html#postgresql-change-events-value>); the row that
//! Debezium's `ExtractNewRecordState` leaves of it, with `__deleted`; and any other JSON object as an event. Values stay the text that
//! they are: no number is rounded on its way.

mod row;
mod scan;
mod source;

use std::borrow::Cow;

use crate::pipeline::MessageRef;
pub use crate::shape::outbox::POSITION;
pub use crate::shape::record::row::{Raw, Row};
use crate::shape::record::source::Source;

/// The header of a deletion that tells under which key the row lives on, as the record's key is written.
pub const NEW_KEY: &str = "__debezium.newkey";

/// The header of a creation that tells under which key the row lived.
pub const OLD_KEY: &str = "__debezium.oldkey";

/// What begins the names of the fields that `ExtractNewRecordState` adds.
const ADDED: &str = "__";

/// One record of a topic.
#[derive(Debug, Clone)]
pub enum Record<'r> {
    /// A change of a row.
    Change(Change<'r>),
    /// A JSON object that is no change.
    Event(Row<'r>),
    /// No value: what the key names is gone.
    Tombstone,
}

/// What happened to a row, or to its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// It was created.
    Create,
    /// It was updated.
    Update,
    /// It was deleted.
    Delete,
    /// It was there when a snapshot was taken.
    Read,
    /// Its table was emptied.
    Truncate,
    /// No row at all: a logical message.
    Message,
}

/// A change of a captured table.
#[derive(Debug, Clone)]
pub struct Change<'r> {
    /// What happened.
    pub op: Op,
    /// The row before, as far as it is known.
    pub before: Option<Row<'r>>,
    /// The row after.
    pub after: Option<Row<'r>>,
    /// What orders the versions of a row: the position of ours, else made of Debezium's `source.lsn` and the record's offset, which
    /// orders those of one key. `None` if the record tells neither.
    pub version: Option<u128>,
    /// When it was committed, in microseconds since 1970.
    pub committed_us: Option<i64>,
    /// The schema of the table.
    pub schema: Option<Cow<'r, str>>,
    /// The table.
    pub table: Option<Cow<'r, str>>,
    /// Connect's schema of the envelope, if the record carries it.
    pub fields: Option<Raw<'r>>,
}

/// Why a record cannot be read. Says nothing of its content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is no JSON.
    #[error("the value is not valid JSON at line {line}, column {column}")]
    NotJson {
        /// From 1.
        line: usize,
        /// From 1, in bytes.
        column: usize,
    },
    /// It is JSON, but no object.
    #[error("the value is not a JSON object")]
    NotAnObject,
    /// A part of an envelope is not what it must be.
    #[error("`{part}` of the change is not {expected}")]
    Part {
        /// Which part.
        part: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// The header with the position is damaged.
    #[error("the header {POSITION} is not 32 hexadecimal digits")]
    Position,
}

impl<'r> Record<'r> {
    /// Reads a message.
    ///
    /// # Errors
    /// Says why it is none of the forms, without any byte of it.
    pub fn read(message: &MessageRef<'r>) -> Result<Self, Unreadable> {
        let Some(value) = message.value() else { return Ok(Self::Tombstone) };
        // The JSON converter writes a tombstone so if it embeds schemas.
        if value == b"null" {
            return Ok(Self::Tombstone);
        }
        let mut row = Row::parse(value)?;
        let mut fields = None;
        if row.len() == 2
            && let (Some(schema), Some(payload)) = (row.get("schema"), row.get("payload"))
        {
            fields = Some(schema);
            if payload.get() == "null" {
                return Ok(Self::Tombstone);
            }
            row = Row::of(payload)?;
        }
        let is_envelope = row.get("op").is_some()
            && (row.get("after").is_some() || row.get("before").is_some() || row.get("source").is_some());
        if is_envelope {
            return Change::of_envelope(&row, fields, message).map(Self::Change);
        }
        if row.get("__deleted").is_some() || row.get("__op").is_some() {
            return Change::of_flat(row, fields, message).map(Self::Change);
        }
        Ok(Self::Event(row))
    }
}

impl<'r> Change<'r> {
    /// The row as it is, or as it was if it is gone: then the record's key may be all that tells it.
    #[must_use]
    pub fn image<'i>(&'i self, of_key: Option<&'i Row<'r>>) -> Option<&'i Row<'r>> {
        match self.op {
            Op::Delete => self.before.as_ref().or(of_key),
            _ => self.after.as_ref(),
        }
    }

    fn of_envelope(row: &Row<'r>, fields: Option<Raw<'r>>, message: &MessageRef<'r>) -> Result<Self, Unreadable> {
        let op = Op::of(row.get("op")).ok_or(Unreadable::Part { part: "op", expected: "one of c, u, d, r, t, m" })?;
        let source = Source::read(row.get("source"))?;
        let image = |part| match row.get(part) {
            None => Ok(None),
            Some(value) if value.get() == "null" => Ok(None),
            Some(value) => {
                Row::of(value).map(Some).map_err(|_| Unreadable::Part { part, expected: "an object or null" })
            }
        };
        Ok(Self {
            op,
            before: image("before")?,
            after: image("after")?,
            version: version(message, source.lsn.map(i64::cast_unsigned))?,
            committed_us: source.ts_us.or_else(|| source.ts_ms.and_then(|ms| ms.checked_mul(1000))),
            schema: source.schema,
            table: source.table,
            fields,
        })
    }

    fn of_flat(row: Row<'r>, fields: Option<Raw<'r>>, message: &MessageRef<'r>) -> Result<Self, Unreadable> {
        let is_deleted = row.get("__deleted").is_some_and(|deleted| matches!(deleted.get(), "true" | "\"true\""));
        let op = match row.get("__op") {
            Some(op) => {
                Op::of(Some(op)).ok_or(Unreadable::Part { part: "__op", expected: "one of c, u, d, r, t, m" })?
            }
            None if is_deleted => Op::Delete,
            None => Op::Update,
        };
        let text =
            |name| row.get(name).and_then(|value| serde_json::from_str::<String>(value.get()).ok()).map(Cow::Owned);
        let number = |name| row.get(name).and_then(|value| value.get().parse::<u64>().ok());
        let lsn = number("__lsn").or_else(|| number("__source_lsn"));
        let ms = number("__source_ts_ms").or_else(|| number("__ts_ms")).and_then(|ms| i64::try_from(ms).ok());
        let (schema, table) = (text("__schema"), text("__table"));
        let row = row.without(|name| name.starts_with(ADDED));
        let (before, after) = if op == Op::Delete { (Some(row), None) } else { (None, Some(row)) };
        let committed_us = ms.and_then(|ms| ms.checked_mul(1000));
        Ok(Self { op, before, after, version: version(message, lsn)?, committed_us, schema, table, fields })
    }
}

impl Op {
    fn of(value: Option<Raw<'_>>) -> Option<Self> {
        Some(match value?.get() {
            "\"c\"" => Self::Create,
            "\"u\"" => Self::Update,
            "\"d\"" => Self::Delete,
            "\"r\"" => Self::Read,
            "\"t\"" => Self::Truncate,
            "\"m\"" => Self::Message,
            _ => return None,
        })
    }

    /// The letter that stands for it in the envelope.
    #[must_use]
    pub fn letter(self) -> &'static str {
        match self {
            Self::Create => "c",
            Self::Update => "u",
            Self::Delete => "d",
            Self::Read => "r",
            Self::Truncate => "t",
            Self::Message => "m",
        }
    }
}

/// The position of a message of ours, from its header; `None` if it has none.
///
/// # Errors
/// If the header is there and no position.
pub fn position(message: &MessageRef<'_>) -> Result<Option<u128>, Unreadable> {
    let Some(digits) = message.header(POSITION) else { return Ok(None) };
    let text = str::from_utf8(digits).ok().filter(|text| text.len() == 32 && !text.starts_with('+'));
    text.and_then(|text| u128::from_str_radix(text, 16).ok()).map(Some).ok_or(Unreadable::Position)
}

/// What orders the versions of a row. A message's position in its source is its offset.
fn version(message: &MessageRef<'_>, lsn: Option<u64>) -> Result<Option<u128>, Unreadable> {
    const OFFSET: u128 = (1 << 48) - 1;
    let of_lsn = lsn.map(|lsn| u128::from(lsn) << 48 | (message.position() & OFFSET));
    Ok(position(message)?.or(of_lsn))
}

#[cfg(test)]
mod tests;
