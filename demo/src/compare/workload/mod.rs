//! The generated workload: every type, every operation, every kind of table, and changes of schemas, from one seed.
//!
//! It is made before it is played, so that the same seed is the same workload whatever either side does meanwhile.
//!
//! A schema is only changed between two barriers, at which both sides have delivered everything: Debezium reads primary keys,
//! defaults and nullability from the catalog at the moment it meets a table, so without barriers its records depend on chance.

mod bulk;
mod edges;
mod evolution;
mod play;
mod specials;
mod types;
mod values;

use std::collections::BTreeSet;

use crate::random::Random;

pub(super) use play::Player;

/// The table whose rows say how far a side has come.
pub(super) const MARKER_TOPIC: &str = "public.marker";

/// A workload, ready to be played.
#[derive(Debug)]
pub(super) struct Workload {
    /// What makes the tables and the rows of the snapshot.
    pub(super) preparation: Vec<String>,
    /// How many rows a snapshot finds.
    pub(super) rows: u64,
    /// What is played while both sides stream.
    pub(super) script: Vec<Step>,
    /// The topics that are written to, without a prefix.
    pub(super) topics: BTreeSet<String>,
    /// The types that columns are named after.
    pub(super) types: BTreeSet<String>,
}

/// One step of the script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Statements of one of the two sessions; they are one transaction unless they say otherwise.
    Run { session: usize, sql: String },
    /// Rows for `copy … from stdin binary`.
    Copy { sql: String, rows: Vec<Row> },
    /// Both sides deliver everything before the next step.
    Barrier,
}

/// A row that is copied in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    id: i64,
    email: String,
    name: Option<String>,
}

impl Workload {
    /// The workload of this seed that makes at least about `records` records.
    pub(super) fn new(seed: u64, records: u64) -> Self {
        let mut draft = Draft::new(seed);
        draft.table("marker", "id int8 primary key");
        draft.prepare(types::PREPARATION.to_owned());
        edges::prepare(&mut draft);
        specials::prepare(&mut draft);
        evolution::prepare(&mut draft);
        let mut crowd = bulk::prepare(&mut draft);
        edges::play(&mut draft);
        specials::play(&mut draft);
        evolution::play(&mut draft);
        draft.barrier();
        while draft.records < records {
            bulk::play(&mut draft, &mut crowd);
        }
        draft.barrier();
        draft.workload
    }
}

/// A workload in the making.
struct Draft {
    random: Random,
    workload: Workload,
    /// About how many records it makes so far.
    records: u64,
}

impl Draft {
    fn new(seed: u64) -> Self {
        let workload = Workload {
            preparation: Vec::new(),
            rows: 0,
            script: Vec::new(),
            topics: ["message".to_owned(), "transaction".to_owned()].into(),
            types: BTreeSet::new(),
        };
        Self { random: Random::new(seed), workload, records: 0 }
    }

    /// Creates a table of the schema `public` with these columns, and expects its topic.
    fn table(&mut self, name: &str, columns: &str) {
        self.prepare(format!("create table {name} ({columns})"));
        self.topic(&format!("public.{}", name.trim_matches('"')));
    }

    fn topic(&mut self, topic: &str) {
        self.workload.topics.insert(topic.to_owned());
    }

    /// A statement before the snapshot.
    fn prepare(&mut self, sql: String) {
        self.workload.preparation.push(sql);
    }

    /// Statements before the snapshot that make so many rows.
    fn prepare_rows(&mut self, sql: String, rows: u64) {
        self.prepare(sql);
        self.workload.rows += rows;
        self.records += rows;
    }

    /// A transaction that makes about so many records.
    fn run(&mut self, sql: impl Into<String>, records: u64) {
        self.run_in(0, sql, records);
    }

    fn run_in(&mut self, session: usize, sql: impl Into<String>, records: u64) {
        self.workload.script.push(Step::Run { session, sql: sql.into() });
        self.records += records;
    }

    fn copy(&mut self, sql: String, rows: Vec<Row>, records: u64) {
        self.workload.script.push(Step::Copy { sql, rows });
        self.records += records;
    }

    fn barrier(&mut self) {
        self.workload.script.push(Step::Barrier);
        self.records += 1;
    }
}

#[cfg(test)]
mod tests {
    use crate::compare::workload::Workload;

    #[test]
    fn a_seed_is_a_workload() {
        let (one, same, other) = (Workload::new(7, 5_000), Workload::new(7, 5_000), Workload::new(8, 5_000));
        assert_eq!(one.script, same.script);
        assert_ne!(one.script, other.script);
        assert_eq!(one.preparation, same.preparation);
    }
}
