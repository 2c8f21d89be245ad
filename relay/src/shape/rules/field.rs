//! A field as a rule names it: `after.author_id`, `before.author_id`, or `author_id` for the newer image that is there.

use std::borrow::Cow;

use crate::shape::record::{Raw, Row};

/// What stands in a change for a value that its row did not send, because it is stored aside and was not changed.
pub const UNAVAILABLE: &str = "__debezium_unavailable_value";

/// A row as a record carries it: fields by name, each as it is written there.
pub trait Fields {
    /// The value of `name`, JSON's null included; `None` if there is no such field.
    fn field(&self, name: &str) -> Option<Raw<'_>>;

    /// The names of all fields, for a message to a person.
    fn names(&self) -> Vec<&str>;
}

impl Fields for Row<'_> {
    fn field(&self, name: &str) -> Option<Raw<'_>> {
        self.get(name)
    }

    fn names(&self) -> Vec<&str> {
        self.iter().map(|(name, _)| name).collect()
    }
}

/// What a rule is applied to: a change with its images, or an event, whose row is `after` and which has no operation.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The operation's letter as Debezium writes it; `None` for an event.
    pub op: Option<char>,
    /// The row before.
    pub before: Option<&'a dyn Fields>,
    /// The row after, or the event.
    pub after: Option<&'a dyn Fields>,
}

impl Facts<'_> {
    /// An event may leave a field out, which then is null; a change names every column of its table.
    fn may_lack_fields(&self) -> bool {
        self.op.is_none()
    }
}

/// Which image of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Image {
    Before,
    After,
    /// After, or before where there is none after, as in a delete.
    Newest,
}

/// One field of a record, by image and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    image: Image,
    name: Box<str>,
}

/// What a record says about a field.
#[derive(Debug)]
pub enum Found<'a> {
    /// The record has no such image: an insert has nothing before.
    NoImage,
    /// The image has no such field.
    Missing,
    /// The field is null.
    Null,
    /// The field was not sent, for it is large and was not changed.
    Unavailable,
    /// Its value, as written.
    Value(Raw<'a>),
}

impl Field {
    /// Reads a name; `None` if it is empty or holds what a name in a rule cannot.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (image, name) = match text.split_once('.') {
            Some(("before", name)) => (Image::Before, name),
            Some(("after", name)) => (Image::After, name),
            _ => (Image::Newest, text),
        };
        let fits = !name.is_empty() && !name.contains(['{', '}', '(', ')', ' ', '\'', '=', '!', '*']);
        fits.then(|| Self { image, name: name.into() })
    }

    /// Its name without the image.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Looks it up.
    #[must_use]
    pub fn find<'a>(&self, facts: &Facts<'a>) -> Found<'a> {
        match self.image {
            Image::Before => self.find_in(facts.before, facts),
            Image::After => self.find_in(facts.after, facts),
            Image::Newest => match self.find_in(facts.after, facts) {
                Found::NoImage | Found::Unavailable if facts.before.is_some() => self.find_in(facts.before, facts),
                found => found,
            },
        }
    }

    /// Both images' values, where both have one: what tells whether it changed.
    #[must_use]
    pub fn both<'a>(&self, facts: &Facts<'a>) -> (Found<'a>, Found<'a>) {
        (self.find_in(facts.before, facts), self.find_in(facts.after, facts))
    }

    fn find_in<'a>(&self, image: Option<&'a dyn Fields>, facts: &Facts<'a>) -> Found<'a> {
        let Some(image) = image else { return Found::NoImage };
        match image.field(&self.name) {
            None if facts.may_lack_fields() => Found::Null,
            None => Found::Missing,
            Some(value) => match value.get() {
                "null" => Found::Null,
                text if text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) == Some(UNAVAILABLE) => {
                    Found::Unavailable
                }
                _ => Found::Value(value),
            },
        }
    }

    /// Why a rule that needs it cannot be applied to a record that lacks it.
    #[must_use]
    pub fn missing(&self, facts: &Facts<'_>) -> String {
        let image = facts.after.or(facts.before);
        let names = image.map(Fields::names).unwrap_or_default();
        format!("the record has no field `{}`; it has {}", self.name, names.join(", "))
    }
}

/// A scalar's text: a string's content, a number or a boolean as written; `None` for an object or an array.
#[must_use]
pub fn text(value: Raw<'_>) -> Option<Cow<'_, str>> {
    let raw = value.get();
    match raw.as_bytes().first()? {
        b'{' | b'[' => None,
        b'"' if raw.contains('\\') => serde_json::from_str::<String>(raw).ok().map(Cow::Owned),
        b'"' => raw.get(1..raw.len() - 1).map(Cow::Borrowed),
        _ => Some(Cow::Borrowed(raw)),
    }
}
