//! Conditions of a rule: a record must meet all of them.

use std::fmt;

use crate::shape::rules::field::{Facts, Field, Found, text};

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The operation is one of these letters.
    Op(Vec<char>),
    /// The field differs between the images. Where one of them is not there, or does not tell, it counts as changed:
    /// one invalidation too many does no harm.
    Changed(Field),
    /// The field's text is, or is not, this one. A null is no text.
    Is {
        /// The field.
        field: Field,
        /// Its text.
        text: Box<str>,
        /// Whether equality is wanted.
        wanted: bool,
    },
    /// The field is null, or is not.
    Null {
        /// The field.
        field: Field,
        /// Whether null is wanted.
        wanted: bool,
    },
}

/// What a condition may look like.
pub const FORMS: &str =
    "`op in c,u,d`, `changed(field)`, `field = value`, `field != value`, `field is null` or `field is not null`";

/// A condition that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub struct NotACondition(String);

impl fmt::Display for NotACondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no condition: write {FORMS}", self.0)
    }
}

impl Condition {
    /// Reads one of [`FORMS`].
    ///
    /// # Errors
    /// If it is none of them.
    pub fn parse(written: &str) -> Result<Self, NotACondition> {
        Self::read(written.trim()).ok_or_else(|| NotACondition(written.to_owned()))
    }

    fn read(written: &str) -> Option<Self> {
        if let Some(letters) = written.strip_prefix("op in ") {
            return ops(letters);
        }
        if let Some(field) = written.strip_prefix("changed(").and_then(|rest| rest.strip_suffix(')')) {
            return Some(Self::Changed(Field::parse(field.trim())?));
        }
        if let Some(field) = written.strip_suffix(" is not null") {
            return Some(Self::Null { field: Field::parse(field.trim())?, wanted: false });
        }
        if let Some(field) = written.strip_suffix(" is null") {
            return Some(Self::Null { field: Field::parse(field.trim())?, wanted: true });
        }
        let (left, value) = written.split_once('=')?;
        let (field, wanted) = match left.strip_suffix('!') {
            Some(field) => (field.trim(), false),
            None => (left.trim(), true),
        };
        let value = value.trim();
        if field == "op" && wanted {
            return ops(value);
        }
        let value = value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')).unwrap_or(value);
        Some(Self::Is { field: Field::parse(field)?, text: value.into(), wanted })
    }

    /// Whether the record meets it.
    ///
    /// # Errors
    /// If the record lacks the field, or the field is no scalar: why, without its value.
    pub fn holds(&self, facts: &Facts<'_>) -> Result<bool, String> {
        match self {
            Self::Op(letters) => Ok(facts.op.is_some_and(|op| letters.contains(&op))),
            Self::Changed(field) => match field.both(facts) {
                (Found::Missing, _) | (_, Found::Missing) => Err(field.missing(facts)),
                (_, Found::Unavailable) | (Found::Null, Found::Null) => Ok(false),
                (Found::Value(before), Found::Value(after)) => Ok(before.get() != after.get()),
                _ => Ok(true),
            },
            Self::Is { field, text: wanted_text, wanted } => match field.find(facts) {
                Found::Missing => Err(field.missing(facts)),
                Found::Value(value) => {
                    let found = text(value).ok_or_else(|| format!("`{}` is no scalar", field.name()))?;
                    Ok((*found == **wanted_text) == *wanted)
                }
                Found::NoImage | Found::Null | Found::Unavailable => Ok(!wanted),
            },
            Self::Null { field, wanted } => match field.find(facts) {
                Found::Missing => Err(field.missing(facts)),
                Found::NoImage | Found::Null => Ok(*wanted),
                Found::Value(_) | Found::Unavailable => Ok(!wanted),
            },
        }
    }

    /// Whether it is about the operation.
    #[must_use]
    pub fn is_about_op(&self) -> bool {
        matches!(self, Self::Op(_))
    }
}

/// The letters of an `op in` list; each is one that Debezium writes for a row or a truncate.
fn ops(letters: &str) -> Option<Condition> {
    let letters: Option<Vec<char>> = letters
        .split(',')
        .map(|letter| {
            let mut letters = letter.trim().chars();
            letters.next().filter(|letter| "curdt".contains(*letter) && letters.next().is_none())
        })
        .collect();
    letters.map(Condition::Op)
}
