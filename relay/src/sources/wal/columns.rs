//! Where events come from, and which column or member holds which part of one.

use std::collections::BTreeSet;

use crate::pipeline::{End, Error, Kind};
use crate::postgres::pgoutput::{Column, Relation, Tuple};
use crate::shape::content::Members;
use crate::shape::outbox::OutboxOptions;
use crate::shape::row::{self, FURTHER_MAX, OutboxRow, RowTypes, Type};

/// One outbox: where its events come from, and what becomes of them.
#[derive(Debug, Clone)]
pub struct OutboxSource {
    /// What it is called, in logs.
    pub name: String,
    /// The table that events are written to.
    pub table: Option<OutboxTable>,
    /// The prefix of the logical messages that are events.
    pub message_prefix: Option<String>,
    /// The columns of the table, or the members of a message.
    pub columns: OutboxColumns,
    /// What becomes of an event.
    pub shape: OutboxOptions,
}

/// An outbox table, as the catalog spells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxTable {
    /// Its schema.
    pub schema: String,
    /// Its name; the root's, where it is partitioned.
    pub name: String,
}

impl OutboxTable {
    /// Whether `relation` is this table.
    #[must_use]
    pub fn is(&self, relation: &Relation<'_>) -> bool {
        relation.namespace == self.schema && relation.name == self.name
    }
}

/// Columns by name, as configured; `None` where the table has no such column.
#[derive(Debug, Clone, Default)]
pub struct OutboxColumns {
    /// The event's id.
    pub id: Option<String>,
    /// The kind of thing that the event is about.
    pub aggregate_type: Option<String>,
    /// The thing that the event is about.
    pub aggregate_id: Option<String>,
    /// The event's type.
    pub event_type: Option<String>,
    /// The payload as text, JSON or bytes.
    pub payload: Option<String>,
    /// The payload as bytes.
    pub payload_bytes: Option<String>,
    /// The event's headers.
    pub headers: Option<String>,
    /// Further columns that templates and headers read, and whether they must be there.
    pub further: Vec<(String, bool)>,
}

impl OutboxColumns {
    /// The columns that are read, with the part of the event they hold and whether they must be there.
    pub(in crate::sources) fn columns(&self) -> impl Iterator<Item = (&str, Part, bool)> {
        let mapped = [
            (&self.id, Part::Id),
            (&self.aggregate_type, Part::AggregateType),
            (&self.aggregate_id, Part::AggregateId),
            (&self.event_type, Part::EventType),
            (&self.payload, Part::Payload),
            (&self.payload_bytes, Part::PayloadBytes),
            (&self.headers, Part::Headers),
        ];
        let mapped = mapped.into_iter().filter_map(|(name, part)| Some((name.as_deref()?, part, true)));
        let further = self.further.iter().enumerate();
        mapped.chain(further.map(|(index, (name, required))| (name.as_str(), Part::Further(index), *required)))
    }

    /// The columns that must be there, each once.
    pub(super) fn required(&self) -> BTreeSet<&str> {
        self.columns().filter(|(_, _, required)| *required).map(|(name, _, _)| name).collect()
    }

    /// The same names as members of a message's object.
    pub(super) fn members(&self) -> Members {
        Members {
            id: self.id.clone(),
            aggregate_type: self.aggregate_type.clone(),
            aggregate_id: self.aggregate_id.clone(),
            event_type: self.event_type.clone(),
            payload: self.payload.clone(),
            payload_bytes: self.payload_bytes.clone(),
            headers: self.headers.clone(),
            further: self.further.iter().map(|(name, _)| name.clone()).collect(),
        }
    }
}

/// A part of an event that a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sources) enum Part {
    Id,
    AggregateType,
    AggregateId,
    EventType,
    Payload,
    PayloadBytes,
    Headers,
    Further(usize),
}

impl Part {
    /// Puts a column's value where the part belongs.
    #[inline]
    pub(in crate::sources) fn put<'r>(
        self,
        value: Option<&'r [u8]>,
        row: &mut OutboxRow<'r>,
        further: &mut [Option<&'r [u8]>],
    ) {
        match self {
            Self::Id => row.id = value,
            Self::AggregateType => row.aggregate_type = value,
            Self::AggregateId => row.aggregate_id = value,
            Self::EventType => row.event_type = value,
            Self::Payload => row.payload = value,
            Self::PayloadBytes => row.payload_bytes = value,
            Self::Headers => row.headers = value,
            Self::Further(at) => {
                if let Some(place) = further.get_mut(at) {
                    *place = value;
                }
            }
        }
    }

    /// Notes what the part's column is.
    pub(in crate::sources) fn describe(self, of: row::Column, types: &mut RowTypes) {
        match self {
            Self::Id => types.id = of,
            Self::AggregateType => types.aggregate_type = of,
            Self::AggregateId => types.aggregate_id = of,
            Self::Payload => types.payload = of,
            Self::Further(index) => types.further[index] = Some(of),
            Self::EventType | Self::PayloadBytes | Self::Headers => {}
        }
    }
}

/// Where a relation has the columns that are read, and of which types they are.
#[derive(Debug)]
pub(super) struct Places {
    /// Column and part in the order of the columns; one column may hold several parts.
    parts: Vec<(usize, Part)>,
    types: RowTypes,
    further: usize,
}

impl Places {
    /// Finds the columns in what the server says the relation looks like now. `not_null` names those that cannot be null.
    pub(super) fn find(
        columns: &OutboxColumns,
        relation: &Relation<'_>,
        not_null: &BTreeSet<String>,
    ) -> Result<Self, Error> {
        let mut types = RowTypes { further: vec![None; columns.further.len()], ..RowTypes::default() };
        let mut parts = Vec::new();
        for (name, part, required) in columns.columns() {
            let found = relation.columns().enumerate().find(|(_, column)| column.name == name);
            let Some((index, column)) = found else {
                if !required {
                    continue;
                }
                let context = format!(
                    "the outbox table {}.{} as published has no column {name:?}",
                    relation.namespace, relation.name
                );
                return Err(Error::new(End::Source, Kind::Setup, context).with_help(
                    "Map the column by [outbox.columns], or add it to the table or to the publication's column list.",
                ));
            };
            let of = row::Column { of: Type::of(column.type_oid), optional: !not_null.contains(name) };
            part.describe(of, &mut types);
            parts.push((index, part));
        }
        parts.sort_by_key(|(index, _)| *index);
        Ok(Self { parts, types, further: columns.further.len().min(FURTHER_MAX) })
    }

    /// What the columns are.
    pub(super) fn types(&self) -> &RowTypes {
        &self.types
    }

    /// Reads the event's parts from a row and gives them to `with`.
    #[inline]
    pub(super) fn read<'r, T>(&self, tuple: &Tuple<'r>, with: impl FnOnce(&OutboxRow<'_>) -> T) -> T {
        if self.further == 0 {
            return with(&self.row(tuple, &mut []));
        }
        let mut further = [None; FURTHER_MAX];
        let row = self.row(tuple, &mut further);
        with(&OutboxRow { further: &further[..self.further], ..row })
    }

    #[inline]
    fn row<'r>(&self, tuple: &Tuple<'r>, further: &mut [Option<&'r [u8]>]) -> OutboxRow<'r> {
        let mut row = OutboxRow::default();
        let mut parts = self.parts.iter();
        let Some(mut next) = parts.next() else { return row };
        for (index, column) in tuple.columns().enumerate() {
            while next.0 == index {
                let value = match column {
                    Column::Text(value) | Column::Binary(value) => Some(value),
                    // An insert carries every value, so an unchanged one cannot be.
                    Column::Null | Column::Unchanged => None,
                };
                next.1.put(value, &mut row, further);
                let Some(following) = parts.next() else { return row };
                next = following;
            }
        }
        row
    }
}
