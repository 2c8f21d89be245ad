//! What a replay did, or would do.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::app::replay::Row;
use crate::calendar::iso8601;

/// What came of a replay. Ids, and nothing that an event holds.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Its name: what the header of its records says.
    pub run: String,
    /// The outbox.
    pub outbox: String,
    /// Its table.
    pub table: String,
    /// Rows that are meant.
    pub rows: u64,
    /// Rows that were published, or would be, by topic.
    pub topics: BTreeMap<String, u64>,
    /// Rows that were published, or would be.
    pub published: u64,
    /// The first of them.
    pub first: Option<Named>,
    /// The last of them.
    pub last: Option<Named>,
    /// Rows that the outbox' filter leaves out.
    pub filtered: u64,
    /// Rows that cannot become records.
    pub unfit: Vec<String>,
    /// Ids of rows that are no longer in the table.
    pub gone: Vec<String>,
    /// Whether the topics hold everything since their beginning, where rows were looked for there.
    pub topics_whole: Option<bool>,
    /// The last row that was gone through: `--after` goes on behind it.
    pub after: Option<String>,
    /// Whether it was told to stop before it was through.
    pub stopped: bool,
    /// Whether everything was published.
    pub done: bool,
}

/// A row by name.
#[derive(Debug, Clone, Serialize)]
pub struct Named {
    /// The event's id.
    pub id: String,
    /// When it was written, if that is known.
    pub created_at: Option<String>,
    /// Its position, if that is known.
    pub position: Option<String>,
}

impl Report {
    pub(super) fn new(outbox: &str, table: &str) -> Self {
        Self { outbox: outbox.to_owned(), table: table.to_owned(), ..Self::default() }
    }

    /// Notes a row that was published, or would be.
    pub(super) fn published(&mut self, row: &Row, topic: &str) {
        let named = Named {
            id: row.id.to_string(),
            created_at: row.created_ms.map(iso8601),
            position: row.position.map(|position| format!("{position:032x}")),
        };
        self.first.get_or_insert_with(|| named.clone());
        self.last = Some(named);
        self.published += 1;
        match self.topics.get_mut(topic) {
            Some(count) => *count += 1,
            None => {
                self.topics.insert(topic.to_owned(), 1);
            }
        }
    }

    /// Notes how far it came.
    pub(super) fn reached(&mut self, id: &str) {
        self.after = Some(id.to_owned());
    }

    /// What the audit says before anything is published.
    pub(super) fn beginning(&self, topic: Option<&str>) -> String {
        let to = topic.map_or_else(|| "their own topics".to_owned(), |topic| format!("topic {topic}"));
        format!("{} rows of outbox {} to {to}", self.rows, self.outbox)
    }

    /// What the audit says at the end.
    pub(super) fn end(&self) -> String {
        let last = self.after.as_ref().map_or_else(String::new, |id| format!(", the last one {id}"));
        let how = if self.done { "all of them" } else { "ended half way" };
        format!("{} rows published, {how}{last}", self.published)
    }
}
