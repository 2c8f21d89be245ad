//! The options by which letters are chosen, and how results are printed.

use std::{collections::HashSet, time::SystemTime};

use crate::{app::dlq::Selection, app::dlq::moment, cli::dlq::Worker, pipeline::dead_letters::Identity};

/// Which letters are meant.
#[derive(Debug, clap::Args)]
pub(super) struct Filter {
    /// Only those of this topic's records
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
    /// Only those of this partition of a topic
    #[arg(long, value_name = "NUMBER")]
    partition: Option<i32>,
    /// Only those of records with this key
    #[arg(long, value_name = "TEXT")]
    key: Option<String>,
    /// Only those whose reason contains this
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only those with this class of reason, such as `type` or `waiting`
    #[arg(long, value_name = "WORD")]
    code: Option<String>,
    /// Only those given up then or later: 2026-01-31T09:30:00Z, or how long ago, such as 2h
    #[arg(long, value_name = "MOMENT", value_parser = a_moment)]
    since: Option<i64>,
    /// Only those given up before then
    #[arg(long, value_name = "MOMENT", value_parser = a_moment)]
    until: Option<i64>,
}

/// Whose letters, and how to print.
#[derive(Debug, clap::Args)]
pub(super) struct Form {
    /// Whose letters; without it those of `load`, if it is configured
    #[arg(long, value_name = "WORKER", value_enum)]
    pub(super) worker: Option<Worker>,
    /// The form of the answer
    #[arg(long, value_name = "FORM", value_enum, default_value = "text")]
    pub(super) output: Output,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

impl Filter {
    /// The selection: all that fit or, of those, these.
    pub(super) fn selection(self, positions: impl IntoIterator<Item = Identity>) -> Selection {
        Selection {
            positions: positions.into_iter().collect::<HashSet<_>>(),
            topic: self.topic,
            partition: self.partition,
            key: self.key,
            reason: self.reason,
            code: self.code,
            since_ms: self.since,
            until_ms: self.until,
        }
    }
}

/// A value as JSON, with a line break at its end.
pub(super) fn json<T: serde::Serialize>(value: &T) -> String {
    let text = serde_json::to_string_pretty(value).expect("texts and numbers always have a JSON form");
    text + "\n"
}

fn a_moment(text: &str) -> Result<i64, &'static str> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    moment(text, i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
