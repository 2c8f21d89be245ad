//! The table of every key: its path, its variable, what it may hold, its default and its meaning; the file, the environment and `docs/configuration.md` are all held against it.

use crate::config::{
    admin, capture, kafka, log, outbox, parking, partitions, postgres, process, source, topics, tracing,
};

/// One key of the configuration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Key {
    /// Dotted path in the file, such as `kafka.linger_ms`.
    pub path: &'static str,
    /// What it may hold.
    pub kind: Kind,
    /// What holds when it is not given.
    pub fallback: Fallback,
    /// What it does, in one line for the documentation.
    pub meaning: &'static str,
}

/// What a key may hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// A string; the text says which strings are allowed, and the section's module checks it.
    Text(&'static str),
    /// Several strings: an array of them, or one string in which they are separated by commas; the text says which are
    /// allowed.
    List(&'static str),
    /// A string that is never printed.
    Secret,
    /// A whole number within these bounds, both allowed.
    Integer {
        /// The least value allowed.
        min: i64,
        /// The greatest value allowed.
        max: i64,
    },
    /// A number, with a fraction or without, within these bounds, both allowed.
    Number {
        /// The least value allowed.
        min: f64,
        /// The greatest value allowed.
        max: f64,
    },
    /// True or false.
    Boolean,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A table of names and values that are not known beforehand.
    Properties,
}

impl Kind {
    /// What is allowed, as errors and the documentation say it.
    #[must_use]
    pub fn allowed(self) -> String {
        match self {
            Self::Text(what) | Self::List(what) => what.to_owned(),
            Self::Secret => "a string".to_owned(),
            Self::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Self::Number { min, max } => format!("a number from {min} to {max}"),
            Self::Boolean => "true or false".to_owned(),
            Self::Choice(words) => {
                let quoted: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
                format!("one of {}", quoted.join(", "))
            }
            Self::Properties => "a table of strings, numbers or booleans".to_owned(),
        }
    }
}

/// What holds when a key is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// This value, written as it would be in a variable.
    Value(&'static str),
    /// Nothing; the text says what that means.
    Absent(&'static str),
    /// The key must be given.
    Required,
}

impl Key {
    /// The environment variable that overrides the key: `POSTRIDER_` and the path in upper case, joined by `_`.
    #[must_use]
    pub fn variable(&self) -> String {
        variable(self.path)
    }
}

/// The environment variable of the key at `path`.
pub(super) fn variable(path: &str) -> String {
    format!("POSTRIDER_{}", path.replace('.', "_").to_uppercase())
}

/// Every key, section by section, in the order of the documentation.
pub fn all() -> impl Iterator<Item = &'static Key> {
    [
        postgres::KEYS,
        source::KEYS,
        outbox::KEYS,
        capture::KEYS,
        capture::TYPES_KEYS,
        capture::SNAPSHOT_KEYS,
        kafka::KEYS,
        kafka::SECURITY_KEYS,
        topics::KEYS,
        parking::KEYS,
        partitions::KEYS,
        admin::KEYS,
        process::KEYS,
        log::KEYS,
        tracing::KEYS,
    ]
    .into_iter()
    .flatten()
}

/// The key with this path. The keys of a further outbox, such as `outboxes.orders.topic`, are those of `[outbox]`.
pub(super) fn by_path(path: &str) -> Option<&'static Key> {
    let path = in_first_outbox(path)?;
    all().find(|key| key.path == path)
}

/// The key that `variable` overrides, with its path; that of a further outbox has the outbox's name in it.
pub(super) fn by_variable(variable: &str) -> Option<(&'static Key, String)> {
    if let Some((name, rest)) = variable.strip_prefix("POSTRIDER_OUTBOXES_").and_then(|rest| rest.split_once('_')) {
        let key = all().find(|key| key.variable() == format!("POSTRIDER_OUTBOX_{rest}"))?;
        let name = name.to_lowercase();
        return outbox::is_outbox_name(&name)
            .then(|| (key, key.path.replacen("outbox.", &format!("outboxes.{name}."), 1)));
    }
    all().find(|key| key.variable() == variable).map(|key| (key, key.path.to_owned()))
}

/// Whether `path` is a table that holds keys, such as `outbox.columns`.
pub(super) fn is_section(path: &str) -> bool {
    let Some(path) = in_first_outbox(path) else { return false };
    path == "outboxes" || all().any(|key| key.path.strip_prefix(&*path).is_some_and(|rest| rest.starts_with('.')))
}

/// `outboxes.NAME.rest` as `outbox.rest`, and any other path as it is; `None` if no outbox can be called so.
fn in_first_outbox(path: &str) -> Option<std::borrow::Cow<'_, str>> {
    use std::borrow::Cow;

    let Some(below) = path.strip_prefix("outboxes.") else { return Some(Cow::Borrowed(path)) };
    let (name, rest) = below.split_once('.').map_or((below, None), |(name, rest)| (name, Some(rest)));
    outbox::is_outbox_name(name).then(|| Cow::Owned(rest.map_or("outbox".to_owned(), |rest| format!("outbox.{rest}"))))
}
