//! The members of a JSON object, each as the text that it is.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::shape::record::{Unreadable, scan};

/// The text of one JSON value, as a parser found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raw<'r>(&'r str);

impl<'r> Raw<'r> {
    pub(super) fn new(text: &'r str) -> Self {
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn get(self) -> &'r str {
        self.0
    }
}

/// Names and values.
pub(super) type Members<'r> = Vec<(Cow<'r, str>, Raw<'r>)>;

/// A row, or an event: names and values in the order in which they were written.
#[derive(Debug, Clone, Default)]
pub struct Row<'r>(Members<'r>);

impl<'r> Row<'r> {
    /// Reads the text of a JSON object.
    ///
    /// # Errors
    /// If it is no JSON, or no object.
    pub fn parse(text: &'r [u8]) -> Result<Self, Unreadable> {
        let members = str::from_utf8(text).ok().and_then(scan::members);
        members.map_or_else(|| Self::parse_whole(text), |members| Ok(Self(members)))
    }

    /// Reads a value of another row in which nothing is out of the ordinary; `None` if anything is.
    pub(super) fn plain(value: Raw<'r>) -> Option<Self> {
        scan::members(value.get()).map(Self)
    }

    /// Reads a value of another row.
    ///
    /// # Errors
    /// If it is no object.
    pub fn of(value: Raw<'r>) -> Result<Self, Unreadable> {
        Self::plain(value).map_or_else(|| Self::parse_whole(value.get().as_bytes()), Ok)
    }

    /// Reads what is out of the ordinary, and says what is wrong.
    fn parse_whole(text: &'r [u8]) -> Result<Self, Unreadable> {
        serde_json::from_slice(text).map_err(|error| match error.classify() {
            Category::Data => Unreadable::NotAnObject,
            Category::Io | Category::Syntax | Category::Eof => {
                Unreadable::NotJson { line: error.line(), column: error.column() }
            }
        })
    }

    /// The value called `name`; the last one, if there are several.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Raw<'r>> {
        self.0.iter().rev().find(|(own, _)| own == name).map(|(_, value)| *value)
    }

    /// How many members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The members in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, Raw<'r>)> {
        self.0.iter().map(|(name, value)| (&**name, *value))
    }

    /// The row without the members whose names are `unwanted`.
    pub(super) fn without(mut self, unwanted: impl Fn(&str) -> bool) -> Self {
        self.0.retain(|(name, _)| !unwanted(name));
        self
    }
}

impl<'de: 'r, 'r> Deserialize<'de> for Row<'r> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Whole)
    }
}

struct Whole;

impl<'de> Visitor<'de> for Whole {
    type Value = Row<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row<'de>, A::Error> {
        let mut members = Vec::with_capacity(16);
        while let Some(Name(name)) = map.next_key()? {
            members.push((name, Raw::new(map.next_value::<&RawValue>()?.get())));
        }
        Ok(Row(members))
    }
}

/// A member's name: borrowed unless it holds an escape.
struct Name<'r>(Cow<'r, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}
