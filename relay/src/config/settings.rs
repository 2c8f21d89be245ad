//! What was given, merged: the environment wins over the file, the file over the default; each value is checked for type and range against its key.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::config::{
    error::{ConfigError, Origin, Problem},
    key::{self, Fallback, Key, Kind},
    relays::RELAYS,
    secret::Secret,
};

/// A value as it was written, with its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Given {
    pub(super) scalar: Scalar,
    pub(super) origin: Origin,
    /// Whether it is one relay's own.
    pub(super) own: bool,
}

/// Values by key path.
pub(super) type Values = BTreeMap<String, Given>;

impl Given {
    /// How strongly the value was given; a default is not given.
    pub(super) fn rank(&self) -> Option<Rank> {
        match (&self.origin, self.own) {
            (Origin::Nowhere, _) => None,
            (Origin::File { .. }, false) => Some(Rank::File),
            (Origin::Variable(_), false) => Some(Rank::Variable),
            (Origin::File { .. }, true) => Some(Rank::OwnFile),
            (Origin::Variable(_), true) => Some(Rank::OwnVariable),
        }
    }
}

/// The places where a value is given, the stronger the greater; a relay's own are after those that all share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    File,
    Variable,
    OwnFile,
    OwnVariable,
}

/// A single value. Variables and defaults have no type of their own until their key gives them one.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar {
    Untyped(String),
    Text(String),
    Integer(i64),
    Number(f64),
    Boolean(bool),
    List(Vec<String>),
    /// A type that no key takes, by its name.
    Other(&'static str),
}

/// Every value given, and the problems found so far.
///
/// A reading method whose value is wrong records the problem and returns a stand-in; [`Settings::into_result`] then
/// throws the stand-in away with the whole configuration.
pub(super) struct Settings {
    file_name: String,
    values: Values,
    problems: Vec<Problem>,
    /// Whose settings they are, of several relays.
    relay: Option<String>,
    /// The further outbox that is being read: `outbox.…` then stands for `outboxes.NAME.…`.
    outbox: Option<String>,
    /// The section with a name that is being read: its name stands for NAME in the paths of its keys.
    section: Option<String>,
}

impl Settings {
    pub(super) fn new(file_name: &str, values: Values, problems: Vec<Problem>) -> Self {
        Self { file_name: file_name.to_owned(), values, problems, relay: None, outbox: None, section: None }
    }

    /// The same, as those of the relay `name`.
    pub(super) fn of_relay(self, name: &str) -> Self {
        Self { relay: Some(name.to_owned()), ..self }
    }

    /// `config`, unless a problem was found on the way to it.
    pub(super) fn into_result<T>(self, config: T) -> Result<T, ConfigError> {
        if self.problems.is_empty() { Ok(config) } else { Err(ConfigError::new(self.problems)) }
    }

    /// Takes `text` for the value of `key`, as if it were its default.
    pub(super) fn suppose(&mut self, key: &Key, text: &str) {
        let given = Given { scalar: Scalar::Untyped(text.to_owned()), origin: Origin::Nowhere, own: false };
        self.values.insert(self.path(key).into_owned(), given);
    }

    /// Records that the value of `key` is wrong: `message` says what is allowed.
    pub(super) fn refuse(&mut self, key: &Key, message: &str) {
        let path = self.path(key);
        let (origin, path) = match self.values.get(&*path) {
            Some(given) if given.own => (given.origin.clone(), self.own_path(&path)),
            Some(given) => (given.origin.clone(), path.into_owned()),
            None => (Origin::Nowhere, self.own_path(&path)),
        };
        self.problems.push(Problem::new(origin, format!("`{path}` {message}")));
    }

    /// Records a problem of several keys.
    pub(super) fn refuse_at(&mut self, origin: Origin, message: impl Into<String>) {
        self.problems.push(Problem::new(origin, message));
    }

    /// Records that the required `key` is missing.
    pub(super) fn missing(&mut self, key: &Key) {
        let (path, file) = (self.own_path(&self.path(key)), &self.file_name);
        let message = format!("`{path}` is required: set it in {file} or by {}", key::variable(&path));
        self.problems.push(Problem::general(message));
    }

    /// `path` as it is written for the relay whose settings they are.
    fn own_path(&self, path: &str) -> String {
        match &self.relay {
            Some(relay) => format!("{RELAYS}.{relay}.{path}"),
            None => path.to_owned(),
        }
    }

    /// The value as it was given, if it was.
    pub(super) fn given(&self, key: &Key) -> Option<&Given> {
        self.values.get(&*self.path(key))
    }

    /// The path of `key` in the outbox that is being read.
    pub(super) fn path(&self, key: &Key) -> Cow<'static, str> {
        match (key.path.strip_prefix("outbox."), &self.section) {
            (Some(rest), _) => self.path_below(rest),
            (None, Some(name)) => Cow::Owned(key.path.replacen(key::NAME, name, 1)),
            (None, None) => Cow::Borrowed(key.path),
        }
    }

    /// The path of the key `rest` in the outbox that is being read.
    pub(super) fn path_below(&self, rest: &str) -> Cow<'static, str> {
        Cow::Owned(match &self.outbox {
            Some(name) => format!("outboxes.{name}.{rest}"),
            None => format!("outbox.{rest}"),
        })
    }

    /// Whether a value was given at `path` or below.
    pub(super) fn is_given(&self, path: &str) -> bool {
        self.values
            .keys()
            .any(|given| given.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
    }

    /// Whether `key` is given as a string that is empty.
    pub(super) fn is_empty_text(&self, key: &Key) -> bool {
        let given = self.given(key).map(|given| &given.scalar);
        given.is_some_and(|scalar| matches!(scalar, Scalar::Text(text) | Scalar::Untyped(text) if text.is_empty()))
    }

    /// The names of the outboxes that have a section of their own, in alphabetical order.
    pub(super) fn further_outboxes(&self) -> BTreeSet<String> {
        let below = self.values.keys().filter_map(|path| path.strip_prefix("outboxes."));
        below.filter_map(|path| path.split_once('.')).map(|(name, _)| name.to_owned()).collect()
    }

    /// The names of the sections below `table`, such as `load.tables`, in alphabetical order.
    pub(super) fn names(&self, table: &str) -> BTreeSet<String> {
        let below = self.values.keys().filter_map(|path| path.strip_prefix(table)?.strip_prefix('.'));
        below.filter_map(|path| path.split_once('.')).map(|(name, _)| name.to_owned()).collect()
    }

    /// Lets `read` see the keys of the section `name`: those whose paths hold the word NAME in its place.
    pub(super) fn in_section<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.section.replace(name.to_owned());
        let result = read(self);
        self.section = before;
        result
    }

    /// Lets `read` see the keys of the outbox `name` as those of `[outbox]`.
    pub(super) fn in_outbox<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.outbox, (name != "outbox").then(|| name.to_owned()));
        let result = read(self);
        self.outbox = before;
        result
    }

    /// The string, its default, or nothing if the key may be absent.
    pub(super) fn optional_text(&mut self, key: &Key) -> Option<String> {
        match self.given_or_default(key)? {
            Scalar::Text(text) | Scalar::Untyped(text) => Some(text),
            wrong => self.refuse_type(key, &wrong),
        }
    }

    /// The string or its default.
    pub(super) fn text(&mut self, key: &Key) -> String {
        self.optional_text(key).unwrap_or_default()
    }

    /// The string or its default, turned into what it means; `parse` returns `None` for what is not allowed.
    pub(super) fn parsed<T>(&mut self, key: &Key, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = self.optional_text(key)?;
        let parsed = parse(&text);
        if parsed.is_none() {
            self.refuse_allowed(key);
        }
        parsed
    }

    /// The strings of a list, each turned into what it means; `None` if the key may be absent and is, or if one was refused.
    pub(super) fn list<T>(&mut self, key: &Key, parse: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
        let entries = match self.given_or_default(key)? {
            Scalar::List(entries) => entries,
            Scalar::Text(text) | Scalar::Untyped(text) => split(&text),
            wrong => return self.refuse_type(key, &wrong),
        };
        let parsed: Option<Vec<T>> = entries.iter().map(|entry| parse(entry.trim())).collect();
        if parsed.is_none() {
            self.refuse_allowed(key);
        }
        parsed
    }

    /// The string as it is, if `allowed` agrees.
    pub(super) fn checked(&mut self, key: &Key, allowed: impl Fn(&str) -> bool) -> String {
        self.parsed(key, |text| allowed(text).then(|| text.to_owned())).unwrap_or_default()
    }

    /// The secret, if it was given.
    pub(super) fn secret(&mut self, key: &Key) -> Option<Secret> {
        self.optional_text(key).map(Secret::new)
    }

    /// The whole number or its default, within the key's bounds; `None` if it was refused.
    pub(super) fn integer(&mut self, key: &Key) -> Option<i64> {
        let Kind::Integer { min, max } = key.kind else { return None };
        let value = match self.given_or_default(key)? {
            Scalar::Integer(value) => Some(value),
            Scalar::Untyped(text) => text.trim().parse().ok(),
            wrong => return self.refuse_type(key, &wrong),
        };
        let allowed = value.filter(|value| (min..=max).contains(value));
        if allowed.is_none() {
            self.refuse_allowed(key);
        }
        allowed
    }

    /// The number or its default, within the key's bounds.
    pub(super) fn number(&mut self, key: &Key) -> Option<f64> {
        let Kind::Number { min, max } = key.kind else { return None };
        let value = match self.given_or_default(key)? {
            #[expect(clippy::cast_precision_loss, reason = "the bounds of every key are far below 2^52")]
            Scalar::Integer(value) => Some(value as f64),
            Scalar::Number(value) => Some(value),
            Scalar::Untyped(text) => text.trim().parse().ok(),
            wrong => return self.refuse_type(key, &wrong),
        };
        // A NaN is in no range, so it is refused here too.
        let allowed = value.filter(|value| (min..=max).contains(value));
        if allowed.is_none() {
            self.refuse_allowed(key);
        }
        allowed
    }

    /// True, false, or the default.
    pub(super) fn boolean(&mut self, key: &Key) -> bool {
        match self.given_or_default(key) {
            Some(Scalar::Boolean(value)) => value,
            Some(Scalar::Untyped(text)) => match text.trim().parse() {
                Ok(value) => value,
                Err(_) => {
                    self.refuse_allowed(key);
                    false
                }
            },
            Some(wrong) => self.refuse_type(key, &wrong),
            None => false,
        }
    }

    /// A whole number that is never negative.
    pub(super) fn unsigned(&mut self, key: &Key) -> u64 {
        self.integer(key).and_then(|value| u64::try_from(value).ok()).unwrap_or_default()
    }

    /// A whole number of milliseconds.
    pub(super) fn milliseconds(&mut self, key: &Key) -> Duration {
        Duration::from_millis(self.unsigned(key))
    }

    /// The index of the chosen word among the key's choices.
    pub(super) fn choice(&mut self, key: &Key) -> usize {
        let Kind::Choice(words) = key.kind else { return 0 };
        self.parsed(key, |text| words.iter().position(|word| *word == text)).unwrap_or_default()
    }

    /// Whether a key whose choices are false and true is true; the file may say it with or without quotes.
    pub(super) fn flag(&mut self, key: &Key) -> bool {
        match self.given(key).map(|given| &given.scalar) {
            Some(Scalar::Boolean(value)) => *value,
            _ => self.choice(key) == 1,
        }
    }

    /// The names and values of an open table, with the place of each.
    pub(super) fn properties(&mut self, key: &Key) -> BTreeMap<String, (String, Origin)> {
        if let Some(given) = self.given(key) {
            let wrong = given.scalar.clone();
            return self.refuse_type(key, &wrong);
        }
        let prefix = format!("{}.", self.path(key));
        let mut properties = BTreeMap::new();
        for (path, given) in &self.values {
            let Some(name) = path.strip_prefix(&prefix) else { continue };
            let text = match &given.scalar {
                Scalar::Text(text) | Scalar::Untyped(text) => text.clone(),
                Scalar::Integer(value) => value.to_string(),
                Scalar::Number(value) => value.to_string(),
                Scalar::Boolean(value) => value.to_string(),
                wrong @ (Scalar::List(_) | Scalar::Other(_)) => {
                    let found = if let Scalar::Other(found) = wrong { found } else { "an array" };
                    let message = format!("`{path}` must be a string, a number or a boolean, not {found}");
                    self.problems.push(Problem::new(given.origin.clone(), message));
                    continue;
                }
            };
            properties.insert(name.to_owned(), (text, given.origin.clone()));
        }
        properties
    }

    fn given_or_default(&mut self, key: &Key) -> Option<Scalar> {
        if let Some(given) = self.given(key) {
            return Some(given.scalar.clone());
        }
        match key.fallback {
            Fallback::Value(text) => Some(Scalar::Untyped(text.to_owned())),
            Fallback::Absent(_) => None,
            Fallback::Required => {
                self.missing(key);
                None
            }
        }
    }

    fn refuse_type<T: Default>(&mut self, key: &Key, found: &Scalar) -> T {
        let found = match found {
            Scalar::Untyped(_) | Scalar::Text(_) => "a string",
            Scalar::Integer(_) => "an integer",
            Scalar::Number(_) => "a float",
            Scalar::Boolean(_) => "a boolean",
            Scalar::List(_) => "an array",
            Scalar::Other(name) => name,
        };
        self.refuse(key, &format!("must be {}, not {found}", key.kind.allowed()));
        T::default()
    }

    /// Records that the value of `key` is none of those allowed.
    pub(super) fn refuse_allowed(&mut self, key: &Key) {
        self.refuse(key, &format!("must be {}", key.kind.allowed()));
    }
}

/// The entries of a list that is written as one string: commas separate them, but none within double quotes. An empty
/// string has none.
pub(super) fn split(text: &str) -> Vec<String> {
    if text.trim().is_empty() {
        return Vec::new();
    }
    let mut quoted = false;
    let entries = text.split(|letter| {
        quoted ^= letter == '"';
        letter == ',' && !quoted
    });
    entries.map(|entry| entry.trim().to_owned()).collect()
}
