//! What a column's type is made of, as far as it decides how values are written.

use std::fmt;

/// The bytes of a type's values. What only decorates a type (`LowCardinality`, `SimpleAggregateFunction`) is gone: the server converts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    /// `Bool`.
    Bool,
    /// `Int8` … `UInt256`.
    Integer {
        /// Bytes of a value.
        width: usize,
        /// Whether there are negative ones.
        signed: bool,
    },
    /// `Float32`.
    Float32,
    /// `Float64`.
    Float64,
    /// `Decimal(precision, scale)`.
    Decimal {
        /// All digits, at most 76.
        precision: u32,
        /// Those behind the point.
        scale: u32,
    },
    /// `String`.
    String,
    /// `FixedString(n)`.
    FixedString(usize),
    /// `UUID`.
    Uuid,
    /// `Date`: days in 16 bits.
    Date,
    /// `Date32`: days in 32 bits.
    Date32,
    /// `DateTime`: seconds in 32 bits; a zone is for showing only.
    DateTime(Option<String>),
    /// `DateTime64`: with so many digits behind the second.
    DateTime64(u32, Option<String>),
    /// `Time`: seconds.
    Time,
    /// `Time64`: with so many digits behind the second.
    Time64(u32),
    /// `Enum8` or, if `wide`, `Enum16`.
    Enum {
        /// Two bytes instead of one.
        wide: bool,
        /// Each label and its number.
        labels: Vec<(String, i16)>,
    },
    /// `IPv4`.
    Ipv4,
    /// `IPv6`.
    Ipv6,
    /// `JSON`, sent as its text.
    Json,
    /// `Point`: two floats.
    Point,
    /// `Nullable(…)`.
    Nullable(Box<Shape>),
    /// `Array(…)`.
    Array(Box<Shape>),
    /// `Map(…, …)`.
    Map(Box<Shape>, Box<Shape>),
    /// `Tuple(…)`, of members with or without names.
    Tuple(Vec<(Option<String>, Shape)>),
}

impl Shape {
    /// Bytes of a value, if all have as many.
    pub(super) fn width(&self) -> Option<usize> {
        Some(match self {
            Self::Bool => 1,
            Self::Integer { width, .. } | Self::FixedString(width) => *width,
            Self::Float32 | Self::Date32 | Self::DateTime(_) | Self::Time | Self::Ipv4 => 4,
            Self::Float64 | Self::DateTime64(..) | Self::Time64(_) => 8,
            Self::Decimal { precision: ..=9, .. } => 4,
            Self::Decimal { precision: ..=18, .. } => 8,
            Self::Decimal { precision: ..=38, .. } => 16,
            Self::Decimal { .. } => 32,
            Self::Uuid | Self::Ipv6 => 16,
            Self::Date => 2,
            Self::Enum { wide, .. } => 1 + usize::from(*wide),
            _ => return None,
        })
    }
}

/// The type as it stands in a block: what the server reads the bytes by.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("Bool"),
            Self::Integer { width, signed } => write!(f, "{}Int{}", if *signed { "" } else { "U" }, width * 8),
            Self::Float32 => f.write_str("Float32"),
            Self::Float64 => f.write_str("Float64"),
            Self::Decimal { precision, scale } => write!(f, "Decimal({precision}, {scale})"),
            Self::String | Self::Json => f.write_str("String"),
            Self::FixedString(width) => write!(f, "FixedString({width})"),
            Self::Uuid => f.write_str("UUID"),
            Self::Date => f.write_str("Date"),
            Self::Date32 => f.write_str("Date32"),
            Self::DateTime(None) => f.write_str("DateTime"),
            Self::DateTime(Some(zone)) => write!(f, "DateTime({})", Quoted(zone, '\'')),
            Self::DateTime64(digits, None) => write!(f, "DateTime64({digits})"),
            Self::DateTime64(digits, Some(zone)) => write!(f, "DateTime64({digits}, {})", Quoted(zone, '\'')),
            Self::Time => f.write_str("Time"),
            Self::Time64(digits) => write!(f, "Time64({digits})"),
            Self::Enum { wide, labels } => {
                f.write_str(if *wide { "Enum16(" } else { "Enum8(" })?;
                list(f, labels, |f, (label, number)| write!(f, "{} = {number}", Quoted(label, '\'')))
            }
            Self::Ipv4 => f.write_str("IPv4"),
            Self::Ipv6 => f.write_str("IPv6"),
            Self::Point => f.write_str("Point"),
            Self::Nullable(of) => write!(f, "Nullable({of})"),
            Self::Array(of) => write!(f, "Array({of})"),
            Self::Map(key, value) => write!(f, "Map({key}, {value})"),
            Self::Tuple(members) => {
                f.write_str("Tuple(")?;
                list(f, members, |f, (name, of)| match name {
                    Some(name) => write!(f, "{} {of}", Quoted(name, '`')),
                    None => write!(f, "{of}"),
                })
            }
        }
    }
}

fn list<T>(
    f: &mut fmt::Formatter<'_>,
    items: &[T],
    write: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            f.write_str(", ")?;
        }
        write(f, item)?;
    }
    f.write_str(")")
}

/// A literal or an identifier in its quotes.
struct Quoted<'q>(&'q str, char);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text, quote) = *self;
        write!(f, "{quote}")?;
        for letter in text.chars() {
            if letter == quote || letter == '\\' {
                f.write_str("\\")?;
            }
            write!(f, "{letter}")?;
        }
        write!(f, "{quote}")
    }
}
