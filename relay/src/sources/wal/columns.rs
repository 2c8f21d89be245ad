//! Which column of the outbox table holds which part of an event.

use crate::pipeline::{End, Error, Kind};
use crate::postgres::pgoutput::{Column, Relation, Tuple};
use crate::shape::outbox::OutboxRow;

/// The outbox table and its columns by name, as configured.
#[derive(Debug, Clone)]
pub struct OutboxTable {
    /// Its schema.
    pub schema: String,
    /// Its name; the root's, where it is partitioned.
    pub name: String,
    /// The event's id.
    pub id: String,
    /// What chooses the topic.
    pub aggregate_type: String,
    /// The key.
    pub aggregate_id: String,
    /// The event's type.
    pub event_type: String,
    /// The payload as text or JSON.
    pub payload: String,
    /// The payload as bytes; `None` where the table has no such column.
    pub payload_bytes: Option<String>,
    /// The event's headers; `None` where the table has no such column.
    pub headers: Option<String>,
}

impl OutboxTable {
    /// Whether `relation` is this table.
    #[must_use]
    pub fn is(&self, relation: &Relation<'_>) -> bool {
        relation.namespace == self.schema && relation.name == self.name
    }

    /// The columns that must be there, with the part of the event they hold.
    pub(super) fn columns(&self) -> impl Iterator<Item = (&str, Part)> {
        let required = [
            (&self.id, Part::Id),
            (&self.aggregate_type, Part::AggregateType),
            (&self.aggregate_id, Part::AggregateId),
            (&self.event_type, Part::EventType),
            (&self.payload, Part::Payload),
        ];
        let optional = [(&self.payload_bytes, Part::PayloadBytes), (&self.headers, Part::Headers)];
        let optional = optional.into_iter().filter_map(|(name, part)| Some((name.as_ref()?, part)));
        required.into_iter().chain(optional).map(|(name, part)| (name.as_str(), part))
    }
}

/// A part of an event that a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Id,
    AggregateType,
    AggregateId,
    EventType,
    Payload,
    PayloadBytes,
    Headers,
}

/// The parts in the order of a relation's columns.
#[derive(Debug)]
pub(super) struct Places(Vec<Option<Part>>);

impl Places {
    /// Finds the columns of `table` in what the server says the relation looks like now.
    pub(super) fn find(table: &OutboxTable, relation: &Relation<'_>) -> Result<Self, Error> {
        let mut places = Self(vec![None; relation.columns().len()]);
        for (name, part) in table.columns() {
            let index = relation.columns().position(|column| column.name == name).ok_or_else(|| {
                let context = format!(
                    "the outbox table {}.{} as published has no column {name:?}",
                    relation.namespace, relation.name
                );
                Error::new(End::Source, Kind::Setup, context).with_help(
                    "Map the column by [outbox.columns], or add it to the table or to the publication's column list.",
                )
            })?;
            places.0[index] = Some(part);
        }
        Ok(places)
    }

    /// Reads the event's parts from a row.
    pub(super) fn row<'r>(&self, tuple: &Tuple<'r>) -> OutboxRow<'r> {
        let mut row = OutboxRow::default();
        for (column, part) in tuple.columns().zip(&self.0) {
            let Some(part) = part else { continue };
            let value = match column {
                Column::Text(value) | Column::Binary(value) => Some(value),
                // An insert carries every value, so an unchanged one cannot be.
                Column::Null | Column::Unchanged => None,
            };
            let field = match part {
                Part::Id => &mut row.id,
                Part::AggregateType => &mut row.aggregate_type,
                Part::AggregateId => &mut row.aggregate_id,
                Part::EventType => &mut row.event_type,
                Part::Payload => &mut row.payload,
                Part::PayloadBytes => &mut row.payload_bytes,
                Part::Headers => &mut row.headers,
            };
            *field = value;
        }
        row
    }
}
