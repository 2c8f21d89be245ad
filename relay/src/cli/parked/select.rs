//! The options by which parked events are chosen, and how results are printed.

use crate::{config::DatabaseConfig, slots::parked::Selection};

/// Digits of a position.
const POSITION_DIGITS: usize = 32;

/// Which events are meant.
#[derive(Debug, clap::Args)]
pub(crate) struct Filter {
    /// Only those that came through this slot; without it the configured one
    #[arg(long, value_name = "NAME")]
    slot: Option<String>,
    /// Only those that were meant for this topic
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
    /// Only those with this key
    #[arg(long, value_name = "TEXT")]
    key: Option<String>,
    /// Only those in this state
    #[arg(long, value_name = "STATE", value_parser = crate::slots::parked::STATES)]
    state: Option<String>,
}

impl Filter {
    /// The selection: all that fit or, of those, these positions.
    pub(crate) fn selection(self, positions: Vec<String>, config: &DatabaseConfig) -> Selection {
        Selection {
            slot: self.slot.unwrap_or_else(|| config.source.slot.clone()),
            positions,
            topic: self.topic,
            key: self.key,
            state: self.state,
        }
    }
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

/// A value as JSON, with a line break at its end.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> String {
    let text = serde_json::to_string_pretty(value).expect("texts and numbers always have a JSON form");
    text + "\n"
}

/// Reads a position as `list` prints it.
pub(crate) fn position(text: &str) -> Result<String, &'static str> {
    let text = text.to_ascii_lowercase();
    match text.len() == POSITION_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(text),
        false => Err(
            "a position has 32 hexadecimal digits, as `postrider parked list` and the header postrider-position show it",
        ),
    }
}
