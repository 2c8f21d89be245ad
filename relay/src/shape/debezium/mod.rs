//! The wire form of Debezium's outbox event router: a row becomes the topic, key, headers and value that it would have there.
//!
//! `docs/debezium.md` compares the two byte by byte; a test holds that table. Where the event router would end, or lose a part of
//! a payload, the event is published whole or told apart as unfit, and the stream goes on.

mod convert;
mod expand;
mod time;

use std::sync::Arc;

use regex::Regex;

use crate::pipeline::message::Span;
use crate::pipeline::{HeaderName, Messages};
use crate::shape::json;
use crate::shape::outbox::{ID, Parts, Shaped};
use crate::shape::position::EventPosition;
use crate::shape::row::{Column, OutboxRow, RowTypes, Type};
use crate::shape::topic::Names;
use crate::shape::unfit::Unshapable;

pub use crate::shape::debezium::convert::Converter;

/// The event router's options, as far as they shape a message; columns are places among the outbox' further columns.
#[derive(Debug, Clone)]
pub struct RouterOptions {
    /// What the name of an envelope's schema begins with: prefix, schema and table.
    pub schema_name: String,
    /// What the whole routing value must match to be replaced, in the form of the crate `regex`.
    pub topic_regex: String,
    /// What replaces it, in the same form.
    pub topic_replacement: String,
    /// Where further columns go.
    pub placements: Vec<Placement>,
    /// Whether JSON payloads are published as JSON rather than as a string.
    pub expand: bool,
    /// Whether an expanded payload keeps members that are null.
    pub keep_nulls: bool,
    /// Whether an expanded payload keeps members that are empty arrays.
    pub keep_empty_arrays: bool,
    /// Whether an event without payload becomes a tombstone.
    pub tombstone_on_empty: bool,
    /// The column with the record's timestamp.
    pub timestamp: Option<usize>,
    /// The column with the version of an envelope's schema.
    pub schema_version: Option<usize>,
    /// Of the key.
    pub key: Converter,
    /// Of the value.
    pub value: Converter,
    /// Of the headers.
    pub header: Converter,
    /// The name of the header with the event's position, which the event router does not know.
    pub position: Option<String>,
}

/// A further column and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The column.
    pub column: usize,
    /// Where its value goes.
    pub place: Place,
    /// The name it gets there.
    pub alias: String,
}

/// Where a further column's value goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Into a header.
    Header,
    /// Into the value, beside the payload.
    Envelope,
    /// It is the number of the partition.
    Partition,
}

/// Shapes rows as the event router does.
#[derive(Debug)]
pub(super) struct Router {
    options: RouterOptions,
    regex: Regex,
    names: Names,
    newest: Option<(Box<[u8]>, Arc<str>)>,
    has_envelope: bool,
    scratch: Vec<u8>,
}

/// The times that Postgres can keep, in milliseconds since 1970: an event that cannot be parked would hold the stream.
/// <https://www.postgresql.org/docs/current/datatype-datetime.html>
const TIMES_MS: std::ops::Range<i64> = -210_866_803_200_000..9_224_318_016_000_000;

impl Router {
    pub(super) fn new(options: &RouterOptions) -> Result<Self, regex::Error> {
        Ok(Self {
            regex: Regex::new(&format!(r"\A(?:{})\z", options.topic_regex))?,
            has_envelope: options.placements.iter().any(|placement| placement.place == Place::Envelope),
            options: options.clone(),
            names: Names::default(),
            newest: None,
            scratch: Vec::new(),
        })
    }

    pub(super) fn shape(
        &mut self,
        row: &OutboxRow<'_>,
        types: &RowTypes,
        position: EventPosition,
        parts: &mut Parts,
        messages: &mut Messages,
    ) -> Result<Shaped, Unshapable> {
        // What an unfit event is known by.
        parts.value = row.payload.map(|raw| messages.span_of(raw));
        parts.key = row.aggregate_id.map(|key| messages.span_of(key));
        let routed_by = row.aggregate_type.ok_or_else(|| Unshapable::NullInTopic("routing column".to_owned()))?;
        parts.topic = Some(self.topic(routed_by));
        parts.key = self.convert(row.aggregate_id, types.aggregate_id, self.options.key, messages)?;
        parts.timestamp_ms = self.timestamp(row, types)?;
        parts.partition = self.partition(row)?;
        let value = self.value(row, types, routed_by, messages)?;
        self.headers(row, types, position, messages)?;
        parts.value = value;
        Ok(Shaped::Whole)
    }

    fn topic(&mut self, routed_by: &[u8]) -> Arc<str> {
        if let Some((newest, name)) = &self.newest
            && **newest == *routed_by
        {
            return Arc::clone(name);
        }
        let text = String::from_utf8_lossy(routed_by);
        // What does not match stays as it is.
        let name = self.regex.captures(&text).map_or_else(
            || text.to_string(),
            |captures| {
                let mut name = String::new();
                captures.expand(&self.options.topic_replacement, &mut name);
                name
            },
        );
        let name = self.names.intern(&name);
        self.newest = Some((routed_by.into(), Arc::clone(&name)));
        name
    }

    fn headers(
        &mut self,
        row: &OutboxRow<'_>,
        types: &RowTypes,
        position: EventPosition,
        messages: &mut Messages,
    ) -> Result<(), Unshapable> {
        let id = self.convert(row.id, types.id, self.options.header, messages)?;
        messages.header(HeaderName::Static(ID), id);
        for index in 0..self.options.placements.len() {
            let Placement { column, place: Place::Header, .. } = self.options.placements[index] else { continue };
            // A column that the table does not have was said not to matter.
            let Some(of) = types.further.get(column).copied().flatten() else { continue };
            let value = self.convert(further(row, column), of, self.options.header, messages)?;
            let name = messages.keep(self.options.placements[index].alias.as_bytes());
            messages.header(HeaderName::Span(name), value);
        }
        if let Some(name) = &self.options.position {
            let (name, hex) = (messages.keep(name.as_bytes()), messages.keep(&position.to_hex()));
            messages.header(HeaderName::Span(name), Some(hex));
        }
        Ok(())
    }

    /// One column's value in the form of a converter.
    fn convert(
        &mut self,
        value: Option<&[u8]>,
        column: Column,
        converter: Converter,
        messages: &mut Messages,
    ) -> Result<Option<Span>, Unshapable> {
        if let (Some(text), true) = (value, converter.is_plain(column.of)) {
            return Ok(Some(messages.span_of(text)));
        }
        self.scratch.clear();
        let is_some = converter.write(value, column, &mut self.scratch)?;
        Ok(is_some.then(|| messages.keep(&self.scratch)))
    }

    fn value(
        &mut self,
        row: &OutboxRow<'_>,
        types: &RowTypes,
        routed_by: &[u8],
        messages: &mut Messages,
    ) -> Result<Option<Span>, Unshapable> {
        let options = &self.options;
        let is_empty = row.payload.is_none_or(|payload| payload.trim_ascii().is_empty());
        if options.tombstone_on_empty && is_empty {
            return Ok(None);
        }
        if !self.has_envelope {
            if options.expand && types.payload.of != Type::Bytes {
                self.scratch.clear();
                let keep = (options.keep_nulls, options.keep_empty_arrays);
                if row.payload.is_some_and(|payload| expand::expand(payload, keep, &mut self.scratch)) {
                    return Ok(Some(messages.keep(&self.scratch)));
                }
            }
            return self.convert(row.payload, types.payload, options.value, messages);
        }
        let Converter::Json { schemas } = options.value else {
            return Err(Unshapable::Unconvertible("its envelope is no value that the converter takes".to_owned()));
        };
        let mut out = std::mem::take(&mut self.scratch);
        out.clear();
        if schemas {
            out.extend_from_slice(br#"{"schema":"#);
            self.envelope_schema(row, types, routed_by, &mut out);
            out.extend_from_slice(br#","payload":"#);
        }
        let written = self.envelope(row, types, &mut out);
        if schemas {
            out.push(b'}');
        }
        let span = written.map(|()| Some(messages.keep(&out)));
        self.scratch = out;
        span
    }

    /// The further columns of the envelope that the table has.
    fn enveloped<'a>(&'a self, types: &'a RowTypes) -> impl Iterator<Item = (&'a Placement, Column)> {
        let placed = self.options.placements.iter().filter(|placement| placement.place == Place::Envelope);
        placed.filter_map(|placement| Some((placement, types.further.get(placement.column).copied().flatten()?)))
    }

    fn envelope(&self, row: &OutboxRow<'_>, types: &RowTypes, out: &mut Vec<u8>) -> Result<(), Unshapable> {
        const PLAIN: Converter = Converter::Json { schemas: false };
        out.extend_from_slice(br#"{"payload":"#);
        let keep = (self.options.keep_nulls, self.options.keep_empty_arrays);
        let expands = self.options.expand && types.payload.of != Type::Bytes;
        if !(expands && row.payload.is_some_and(|payload| expand::expand(payload, keep, out))) {
            PLAIN.write(row.payload, types.payload, out)?;
        }
        for (placement, of) in self.enveloped(types) {
            out.push(b',');
            json::quote(&placement.alias, out);
            out.push(b':');
            PLAIN.write(further(row, placement.column), of, out)?;
        }
        out.push(b'}');
        Ok(())
    }

    fn envelope_schema(&self, row: &OutboxRow<'_>, types: &RowTypes, routed_by: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"type":"struct","fields":["#);
        convert::schema(types.payload, Some("payload"), out);
        for (placement, of) in self.enveloped(types) {
            out.push(b',');
            convert::schema(of, Some(&placement.alias), out);
        }
        out.extend_from_slice(br#"],"optional":false,"name":"#);
        json::quote(&format!("{}.{}.Value", self.options.schema_name, String::from_utf8_lossy(routed_by)), out);
        let version = self.options.schema_version.and_then(|column| further(row, column));
        // A text need not be a number, nor a number in JSON's form.
        if let Some(version) = version.and_then(|version| str::from_utf8(version).ok()?.parse::<i32>().ok()) {
            out.extend_from_slice(format!(r#","version":{version}"#).as_bytes());
        }
        out.push(b'}');
    }

    fn timestamp(&self, row: &OutboxRow<'_>, types: &RowTypes) -> Result<Option<i64>, Unshapable> {
        let Some(column) = self.options.timestamp else { return Ok(None) };
        let Some(text) = further(row, column) else { return Ok(None) };
        let of = types.further.get(column).copied().flatten().unwrap_or_default().of;
        let millis = match of {
            Type::Timestamp | Type::TimestampTz => time::millis(text),
            Type::Int64 => str::from_utf8(text).ok().and_then(|text| text.parse().ok()),
            _ => None,
        };
        let none = || Unshapable::Unconvertible("its timestamp column holds no time that a record can have".to_owned());
        millis.filter(|millis| TIMES_MS.contains(millis)).map(Some).ok_or_else(none)
    }

    fn partition(&self, row: &OutboxRow<'_>) -> Result<Option<i32>, Unshapable> {
        let placed = self.options.placements.iter().find(|placement| placement.place == Place::Partition);
        let Some(text) = placed.and_then(|placement| further(row, placement.column)) else { return Ok(None) };
        let number = str::from_utf8(text).ok().and_then(|text| text.parse().ok()).filter(|number: &i32| *number >= 0);
        let none = || Unshapable::Unconvertible("its partition column holds no number of a partition".to_owned());
        number.map(Some).ok_or_else(none)
    }
}

fn further<'r>(row: &OutboxRow<'r>, column: usize) -> Option<&'r [u8]> {
    row.further.get(column).copied().flatten()
}

#[cfg(test)]
mod tests;
