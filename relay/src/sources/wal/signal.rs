//! A row of the signal table: what somebody asks the relay to do, in Debezium's words.
//! <https://debezium.io/documentation/reference/stable/configuration/signalling.html>

use crate::postgres::pgoutput::{Column, Relation, Tuple};

/// A signal as it was written, not understood yet.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::sources) struct Signal {
    /// Its position in the stream: no two have the same.
    pub(in crate::sources) position: String,
    /// What its writer called it.
    pub(in crate::sources) id: String,
    /// What is to be done.
    pub(in crate::sources) kind: String,
    /// Its details, as JSON.
    pub(in crate::sources) data: Option<String>,
}

impl std::fmt::Debug for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never its data, which may hold values.
        write!(f, "Signal({} at {})", self.kind, self.position)
    }
}

/// Where the signal table has its columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SignalPlaces {
    id: Option<usize>,
    kind: Option<usize>,
    data: Option<usize>,
}

impl SignalPlaces {
    pub(super) fn find(relation: &Relation<'_>) -> Self {
        let place = |name: &str| relation.columns().position(|column| column.name == name);
        Self { id: place("id"), kind: place("type"), data: place("data") }
    }

    /// Reads a row.
    pub(super) fn read(&self, row: Tuple<'_>, position: String) -> Signal {
        let text = |place: Option<usize>| match row.columns().nth(place?)? {
            Column::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
            Column::Null | Column::Unchanged | Column::Binary(_) => None,
        };
        let id = text(self.id).unwrap_or_default();
        Signal { position, id, kind: text(self.kind).unwrap_or_default(), data: text(self.data) }
    }
}
