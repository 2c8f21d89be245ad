//! `[log]`: what is logged, and in which form.

use crate::config::{
    key::{Fallback, Key, Kind},
    settings::Settings,
};

const FORMAT: Key = Key {
    path: "log.format",
    kind: Kind::Choice(&["text", "json"]),
    fallback: Fallback::Value("text"),
    meaning: "`text` for people, `json` for one object a line. Both go to standard error.",
};
const LEVEL: Key = Key {
    path: "log.level",
    kind: Kind::Choice(&["off", "error", "warn", "info", "debug", "trace"]),
    fallback: Fallback::Value("info"),
    meaning: "The least important level that is logged. Row values and secrets are logged at none.",
};

pub(super) const KEYS: &[Key] = &[FORMAT, LEVEL];

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The form of a line.
    pub format: Format,
    /// The least important level that is logged: `off`, `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Log {
    pub(super) fn from_settings(settings: &mut Settings) -> Self {
        Self {
            format: [Format::Text, Format::Json][settings.choice(&FORMAT)],
            level: settings
                .checked(&LEVEL, |level| matches!(LEVEL.kind, Kind::Choice(levels) if levels.contains(&level))),
        }
    }
}
