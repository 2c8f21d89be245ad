//! Why a value is not stored in a column.

use std::fmt;

/// A value that a column cannot hold as it is. Says nothing of the value itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column} of type {wanted} cannot hold the value: {what}")]
pub struct Misfit {
    /// The column's name.
    pub column: String,
    /// Its type.
    pub wanted: String,
    /// What is wrong.
    pub what: What,
}

/// What is wrong with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// It is null, and the column holds no null.
    Null,
    /// It is of another kind, such as a list where a number is wanted.
    Kind,
    /// It is a text that does not read as what the column holds.
    Unreadable,
    /// It is a number beyond those of the type.
    Overflow,
    /// The type has fewer digits than it.
    Precision,
    /// It is a date or a time beyond those of the type, or `infinity`.
    OutOfRange,
    /// It is not a number, or infinite.
    NotFinite,
    /// It is a bare number, and nobody said of what since when.
    Unit,
    /// It is longer than the type.
    TooLong,
    /// It is none of the enumeration's labels.
    Label,
    /// It has a member that the type has not.
    Member,
    /// It is no JSON value.
    Malformed,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "it is null",
            Self::Kind => "it is of another kind",
            Self::Unreadable => "its text does not read as such a value",
            Self::Overflow => "the number is too large",
            Self::Precision => "digits would be lost",
            Self::OutOfRange => "the date or time is out of range",
            Self::NotFinite => "it is not a finite number",
            Self::Unit => "it is a number, and its unit is not known",
            Self::TooLong => "it is too long",
            Self::Label => "it is none of the labels",
            Self::Member => "it has a member that the type has not",
            Self::Malformed => "it is not valid JSON",
        })
    }
}
