//! What recovery found and did, for people and programs.

use serde::Serialize;

use crate::calendar::iso8601;
use crate::kafka::held::Held;
use crate::slots::recover::Requested;
use crate::slots::setup::Table;
use crate::sources::wal::Record;

/// What was found, and what was done or would be.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The slot.
    pub slot: String,
    /// Whether there was anything to recover.
    pub needed: bool,
    /// Whether it is recovered.
    pub done: bool,
    /// What is wrong, or that nothing is.
    pub why: String,
    /// `missing`, `lost` or `there`.
    pub slot_was: &'static str,
    /// `same`, or `other` where transactions and places in the log are counted anew.
    pub history: &'static str,
    /// What the progress record said.
    pub witness: Witness,
    /// Events that are known to be lost. Rows of an outbox table never are.
    pub lost: u64,
    /// Rows that were published anew, or would be.
    pub republished: u64,
    /// So many of them at most were delivered before.
    pub duplicates_at_most: u64,
    /// From when on rows were looked at, where no transaction's number tells; older ones count as delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_since: Option<String>,
    /// Each outbox table.
    pub tables: Vec<TableReport>,
    /// What was read back from Kafka.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_back: Option<ReadBack>,
    /// What no table holds, and so cannot be bridged.
    pub ranges: Vec<Range>,
    /// Captured tables that the relay reads again beside its stream.
    pub snapshots: Vec<String>,
    /// Captured tables that cannot be read so, each with the reason.
    pub not_read: Vec<String>,
    /// The epoch of what is delivered from now on.
    pub epoch: u16,
    /// Where the new slot begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begins_at: Option<String>,
}

/// What the progress record said.
#[derive(Debug, Clone, Serialize)]
pub struct Witness {
    /// The cluster.
    pub system_id: String,
    /// Its timeline.
    pub timeline: u32,
    /// The epoch.
    pub epoch: u16,
    /// The newest transaction of which anything was delivered.
    pub commit_lsn: String,
    /// Everything before this was delivered.
    pub end_lsn: String,
    /// Rows of transactions below this were delivered.
    pub delivered_below: Option<u64>,
    /// When that was sampled.
    pub time: Option<String>,
}

/// An outbox table.
#[derive(Debug, Clone, Serialize)]
pub struct TableReport {
    /// The table.
    pub table: String,
    /// Rows that may not have been delivered, as the progress record tells.
    pub suspect: u64,
    /// Those of them that Kafka holds.
    pub held: u64,
    /// Those that were published anew, or would be.
    pub republished: u64,
}

/// What was read back.
#[derive(Debug, Clone, Serialize)]
pub struct ReadBack {
    /// From when on, by the records' times.
    pub from: Option<String>,
    /// The topics.
    pub topics: Vec<String>,
    /// Records.
    pub records: u64,
    /// Whether everything that was delivered since is still there: nothing was deleted or compacted away.
    pub complete: bool,
}

/// Something that no table holds.
#[derive(Debug, Clone, Serialize)]
pub struct Range {
    /// What.
    pub what: String,
    /// It was committed at or after this place.
    pub from_lsn: String,
    /// It was committed after this, if that is known.
    pub from_time: Option<String>,
    /// It was committed before this place.
    pub to_lsn: String,
    /// It was committed before this.
    pub to_time: String,
    /// What makes good for it.
    pub mend: String,
}

const MESSAGES_MEND: &str = "nothing holds logical messages but the log: have their writers send them again";
/// What makes good for the changes of captured tables.
pub(super) const READ_AGAIN: &str =
    "the tables are read again, each row as operation `r`; rows that were deleted meanwhile are not told of";

impl Report {
    pub(super) fn new(slot: &str, needed: bool, why: &str, slot_was: &'static str, witness: Witness) -> Self {
        Self {
            slot: slot.to_owned(),
            needed,
            done: false,
            why: why.to_owned(),
            slot_was,
            history: "same",
            epoch: witness.epoch,
            witness,
            lost: 0,
            republished: 0,
            duplicates_at_most: 0,
            rows_since: None,
            tables: Vec::new(),
            read_back: None,
            ranges: Vec::new(),
            snapshots: Vec::new(),
            not_read: Vec::new(),
            begins_at: None,
        }
    }

    /// Names what no table holds: logical messages. Captured tables are added when they are known.
    pub(super) fn gone(&mut self, prefixes: &[String], (lsn, time): (String, String), tables_mend: &str) {
        let range = |what: String, mend: &str| Range {
            what,
            from_lsn: self.witness.end_lsn.clone(),
            from_time: self.witness.time.clone(),
            to_lsn: lsn.clone(),
            to_time: time.clone(),
            mend: mend.to_owned(),
        };
        let messages =
            prefixes.iter().map(|prefix| range(format!("logical messages with the prefix {prefix}"), MESSAGES_MEND));
        let mut ranges: Vec<Range> = messages.collect();
        // Stays only if there are captured tables.
        ranges.push(range(String::new(), tables_mend));
        self.ranges = ranges;
    }

    /// Names the captured tables whose changes are gone.
    pub(super) fn captured(&mut self, tables: &[Table]) {
        if tables.is_empty() {
            self.ranges.retain(|range| !range.what.is_empty());
            return;
        }
        let names: Vec<String> = tables.iter().map(|table| format!("{}.{}", table.schema, table.name)).collect();
        if let Some(range) = self.ranges.iter_mut().find(|range| range.what.is_empty()) {
            range.what = format!("changes of the captured tables {}", names.join(", "));
        }
    }

    pub(super) fn read_from(&mut self, from_ms: Option<i64>) {
        let from = from_ms.map(iso8601);
        self.read_back = Some(ReadBack { from, topics: Vec::new(), records: 0, complete: false });
    }

    pub(super) fn read(&mut self, held: &Held) {
        if let Some(read) = &mut self.read_back {
            (read.topics, read.records, read.complete) =
                (held.extent.topics.iter().cloned().collect(), held.extent.records, held.extent.complete);
        }
    }

    pub(super) fn sifted(&mut self, table: &Table, suspect: u64, held: u64) {
        let republished = suspect.saturating_sub(held);
        let table = format!("{}.{}", table.schema, table.name);
        self.tables.push(TableReport { table, suspect, held, republished });
        self.count();
    }

    /// What was really published anew: writers may have gone on meanwhile.
    pub(super) fn bridged(&mut self, rows: &[u64]) {
        for (table, rows) in self.tables.iter_mut().zip(rows) {
            table.republished = *rows;
        }
        self.count();
    }

    fn count(&mut self) {
        self.republished = self.tables.iter().map(|table| table.republished).sum();
        let complete = self.read_back.as_ref().is_some_and(|read| read.complete);
        self.duplicates_at_most = if complete { 0 } else { self.republished };
    }

    pub(super) fn requested(&mut self, requested: Requested) {
        self.snapshots = requested.tables;
        self.not_read = requested.refused;
    }

    pub(super) fn done(&mut self, record: &Record) {
        self.done = true;
        self.epoch = record.epoch;
        self.begins_at = Some(record.end_lsn.to_string());
        for range in &mut self.ranges {
            range.to_lsn = record.end_lsn.to_string();
        }
    }
}
