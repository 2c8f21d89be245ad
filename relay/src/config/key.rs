//! The table of every key: its path, its variable, what it may hold, its default and its meaning; the file, the environment and `docs/configuration.md` are all held against it.

use std::{borrow::Cow, collections::BTreeSet};

use crate::config::{
    admin, audit, breaker, capture, clickhouse, consumer, databases, dead_letter, declared, guard, invalidate, kafka,
    load, log, outbox, parking, partitions, polling, postgres, process, redis, relays, source, standby, topics,
    tracing,
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
        databases::KEYS,
        source::KEYS,
        polling::KEYS,
        outbox::KEYS,
        capture::KEYS,
        capture::TYPES_KEYS,
        capture::SNAPSHOT_KEYS,
        declared::PUBLICATION_KEYS,
        declared::SLOT_KEYS,
        kafka::KEYS,
        kafka::DELIVERY_KEYS,
        kafka::SECURITY_KEYS,
        topics::KEYS,
        parking::KEYS,
        partitions::KEYS,
        standby::KEYS,
        guard::KEYS,
        consumer::KEYS,
        clickhouse::KEYS,
        load::KEYS,
        load::TABLE_KEYS,
        redis::KEYS,
        invalidate::KEYS,
        invalidate::RULE_KEYS,
        audit::KEYS,
        admin::KEYS,
        process::KEYS,
        dead_letter::KEYS,
        breaker::KEYS,
        log::KEYS,
        tracing::KEYS,
    ]
    .into_iter()
    .flatten()
}

/// The word that stands in a key's path for the name of a section, as in `load.tables.NAME.topic`.
pub(super) const NAME: &str = "NAME";

/// Longest name of a section, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 63;

/// Whether a section can be called so: lower-case letters, digits and `_`, the first a letter.
pub(super) fn is_section_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// The tables of sections with names, such as `load.tables`, each once.
pub(super) fn named_sections() -> BTreeSet<&'static str> {
    all().filter_map(|key| key.path.split_once(".NAME.")).map(|(table, _)| table).collect()
}

/// A path in a section that has a name, split into its table, that name and the rest; `None` if it is no such path.
pub(super) fn in_section(path: &str) -> Option<(&'static str, &str, Option<&str>)> {
    named_sections().into_iter().find_map(|table| {
        let below = path.strip_prefix(table)?.strip_prefix('.')?;
        let (name, rest) = below.split_once('.').map_or((below, None), |(name, rest)| (name, Some(rest)));
        Some((table, name, rest))
    })
}

/// The key with this path. The keys of a further outbox, such as `outboxes.orders.topic`, are those of `[outbox]`.
pub(super) fn by_path(path: &str) -> Option<&'static Key> {
    let path = documented(path)?;
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
    let exact = all().find(|key| key.variable() == variable && !key.path.contains(".NAME."));
    exact.map(|key| (key, key.path.to_owned())).or_else(|| by_variable_of_section(variable))
}

/// The relay and its key that `variable` overrides, such as POSTRIDER_RELAYS_NAME_SOURCE_SLOT, with the key's path: of several, that
/// with the longest path.
pub(super) fn by_variable_of_relay(variable: &str) -> Option<(String, &'static Key, String)> {
    let below = variable.strip_prefix("POSTRIDER_RELAYS_")?;
    below.match_indices('_').find_map(|(at, _)| {
        let name = below.get(..at)?.to_lowercase();
        let (key, path) = by_variable(&format!("POSTRIDER_{}", below.get(at + 1..)?))?;
        let differs = path.split_once('.').is_some_and(|(section, _)| relays::may_differ(section));
        (is_section_name(&name) && differs).then_some((name, key, path))
    })
}

/// The key of a section with a name that `variable` overrides, with its path: of several, that with the longest name.
fn by_variable_of_section(variable: &str) -> Option<(&'static Key, String)> {
    let keys = all().filter_map(|key| {
        let own = key.variable();
        let (before, after) = own.split_once("_NAME_")?;
        let name = variable.strip_prefix(before)?.strip_prefix('_')?.strip_suffix(after)?.strip_suffix('_')?;
        let name = name.to_lowercase();
        is_section_name(&name).then(|| (key, key.path.replacen(NAME, &name, 1)))
    });
    keys.max_by_key(|(key, _)| key.path.len())
}

/// Whether `path` is a table that holds keys, such as `outbox.columns`.
pub(super) fn is_section(path: &str) -> bool {
    let Some(path) = documented(path) else { return false };
    path == "outboxes" || all().any(|key| key.path.strip_prefix(&*path).is_some_and(|rest| rest.starts_with('.')))
}

/// The path of the key that documents `path`: that of the first outbox for a further one, and with the word NAME for the
/// name of a section; `None` if no section can be called so.
fn documented(path: &str) -> Option<Cow<'_, str>> {
    match in_section(path) {
        Some((_, name, _)) if !is_section_name(name) => None,
        Some((table, _, rest)) => {
            Some(Cow::Owned(rest.map_or(format!("{table}.{NAME}"), |rest| format!("{table}.{NAME}.{rest}"))))
        }
        None => in_first_outbox(path),
    }
}

/// `outboxes.NAME.rest` as `outbox.rest`, and any other path as it is; `None` if no outbox can be called so.
fn in_first_outbox(path: &str) -> Option<Cow<'_, str>> {
    let Some(below) = path.strip_prefix("outboxes.") else { return Some(Cow::Borrowed(path)) };
    let (name, rest) = below.split_once('.').map_or((below, None), |(name, rest)| (name, Some(rest)));
    outbox::is_outbox_name(name).then(|| Cow::Owned(rest.map_or("outbox".to_owned(), |rest| format!("outbox.{rest}"))))
}
