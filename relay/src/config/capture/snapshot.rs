//! `[capture.snapshot]`: how the rows that are there already are read.

use std::num::NonZeroU64;

use crate::config::{
    capture::pattern::{self, TablePattern},
    key::{Fallback, Key, Kind},
    settings::Settings,
};

const MODE: Key = Key {
    path: "capture.snapshot.mode",
    kind: Kind::Choice(&["initial", "no_data", "initial_only", "when_needed"]),
    fallback: Fallback::Value("initial"),
    meaning: "Whether the rows that are there already are published, as reads: `initial` once before the first change, `no_data` never, `initial_only` once and then the relay ends, `when_needed` as `initial`, and again where the slot has lost changes.",
};
/// Each is a connection to the database and a share of its disk's bandwidth.
const WORKERS: Key = Key {
    path: "capture.snapshot.workers",
    kind: Kind::Integer { min: 1, max: 64 },
    fallback: Fallback::Value("4"),
    meaning: "Connections that read at the same time, all of one snapshot.",
};
/// At a kilobyte a row some 20 MB: what is read again at most after a kill, for each worker.
const CHUNK_ROWS: Key = Key {
    path: "capture.snapshot.chunk_rows",
    kind: Kind::Integer { min: 1, max: 1_000_000 },
    fallback: Fallback::Value("20000"),
    meaning: "Rows that are read in one piece. After a kill the pieces that were not finished are read again.",
};
const ROWS_PER_SECOND: Key = Key {
    path: "capture.snapshot.rows_per_second",
    kind: Kind::Integer { min: 1, max: 1_000_000_000 },
    fallback: Fallback::Absent("as fast as the database and the brokers go"),
    meaning: "Rows that are read in a second at most, of all workers together.",
};
const TABLES: Key = Key {
    path: "capture.snapshot.tables",
    kind: Kind::List(pattern::TABLES),
    fallback: Fallback::Absent("every captured table"),
    meaning: "Of the captured tables, those whose rows are read.",
};

pub(in crate::config) const KEYS: &[Key] = &[MODE, WORKERS, CHUNK_ROWS, ROWS_PER_SECOND, TABLES];

/// How the rows that are there already are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Whether they are.
    pub mode: SnapshotMode,
    /// Connections that read at the same time, at least one.
    pub workers: usize,
    /// Rows that are read in one piece, at least one.
    pub chunk_rows: u32,
    /// Rows a second at most.
    pub rows_per_second: Option<NonZeroU64>,
    /// Of the captured tables, those that are read; empty for all.
    pub tables: Vec<TablePattern>,
}

/// Whether the rows that are there already are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotMode {
    /// Once, before the first change.
    Initial,
    /// Never.
    NoData,
    /// Once, and then the relay ends.
    InitialOnly,
    /// Once, and again where the slot has lost changes.
    WhenNeeded,
}

impl Snapshot {
    pub(super) fn from_settings(settings: &mut Settings) -> Self {
        let rows_per_second = settings.given(&ROWS_PER_SECOND).is_some().then(|| settings.unsigned(&ROWS_PER_SECOND));
        Self {
            mode: [SnapshotMode::Initial, SnapshotMode::NoData, SnapshotMode::InitialOnly, SnapshotMode::WhenNeeded]
                [settings.choice(&MODE)],
            workers: usize::try_from(settings.unsigned(&WORKERS)).unwrap_or(usize::MAX),
            chunk_rows: u32::try_from(settings.unsigned(&CHUNK_ROWS)).unwrap_or(u32::MAX),
            rows_per_second: rows_per_second.and_then(NonZeroU64::new),
            tables: settings.list(&TABLES, TablePattern::parse).unwrap_or_default(),
        }
    }
}
