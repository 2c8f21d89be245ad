//! A column's type.

use std::fmt;

use crate::encode::native::parse;
use crate::encode::native::shape::Shape;

/// A type of ClickHouse, read from its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Type {
    text: String,
    shape: Shape,
}

/// A type that cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the type {text} cannot be written: {why}")]
pub struct UnknownType {
    /// The type's text.
    pub text: String,
    /// What of it is not understood.
    pub why: String,
}

impl Type {
    /// Reads a type as `system.columns` names it, such as `Nullable(DateTime64(6, 'UTC'))`.
    ///
    /// # Errors
    /// A type that is none, or that there is no way to write: `AggregateFunction`, `Variant`, `Dynamic`, intervals.
    pub fn parse(text: &str) -> Result<Self, UnknownType> {
        let shape = parse::parse(text).map_err(|why| UnknownType { text: text.to_owned(), why })?;
        Ok(Self { text: text.to_owned(), shape })
    }

    /// `String`, which holds anything as text.
    pub(super) fn string() -> Self {
        Self { text: "String".to_owned(), shape: Shape::String }
    }

    /// Its text, as it was read.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it holds null.
    #[must_use]
    pub fn is_nullable(&self) -> bool {
        matches!(self.shape, Shape::Nullable(_))
    }

    /// Whether there is a `Nullable` of it.
    #[must_use]
    pub fn can_be_nullable(&self) -> bool {
        !matches!(self.shape, Shape::Array(_) | Shape::Map(..) | Shape::Tuple(_) | Shape::Point | Shape::Json)
    }

    /// The same with null, if it can have it: `LowCardinality` stays outermost.
    #[must_use]
    pub fn nullable(&self) -> Self {
        if self.is_nullable() || !self.can_be_nullable() {
            return self.clone();
        }
        let inner = self.text.strip_prefix("LowCardinality(").and_then(|inner| inner.strip_suffix(')'));
        let text = match inner {
            Some(inner) => format!("LowCardinality(Nullable({inner}))"),
            None => format!("Nullable({})", self.text),
        };
        Self { text, shape: Shape::Nullable(Box::new(self.shape.clone())) }
    }

    /// Whether it is a list or a map, which cannot be null in ClickHouse.
    #[must_use]
    pub fn is_collection(&self) -> bool {
        matches!(self.shape, Shape::Array(_) | Shape::Map(..))
    }

    /// Whether it is an unsigned integer of so many bits.
    #[must_use]
    pub fn is_unsigned(&self, bits: usize) -> bool {
        self.shape == Shape::Integer { width: bits / 8, signed: false }
    }

    pub(super) fn shape(&self) -> &Shape {
        &self.shape
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
