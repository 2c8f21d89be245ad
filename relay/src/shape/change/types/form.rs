//! From a type of Postgres to the form that its values are written in.

use crate::shape::change::table::{DataType, TypeKind};
use crate::shape::change::types::array;
use crate::shape::change::types::bytes;
use crate::shape::change::types::decimal::Numeric;
use crate::shape::change::types::float::{self, Width};
use crate::shape::change::types::geometry;
use crate::shape::change::types::hstore;
use crate::shape::change::types::interval;
use crate::shape::change::types::misfit::Misfit;
use crate::shape::change::types::money::Money;
use crate::shape::change::types::options::{Binary, Hstore, Interval, Others, TypeOptions};
use crate::shape::change::types::temporal::Temporal;
use crate::shape::json;

/// How values are written: compiled once for a column, so that a value is not looked up in anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    Boolean,
    /// One bit.
    Bit,
    /// So many bits.
    Bits(i32),
    Integer(Integer),
    Float(Width),
    Numeric(Numeric),
    Money(Money),
    Bytes(Binary),
    Temporal(Temporal),
    Interval(Interval),
    Hstore(Hstore),
    /// A text that is a value as it is.
    Text(Text),
    Point,
    /// Of PostGIS: a `geometry`, or else a `geography`.
    PostGis {
        geometry: bool,
    },
    /// Of pgvector.
    Vector(Width),
    SparseVector,
    /// `int2vector` or `oidvector`.
    List(Integer),
    Array {
        element: Box<Form>,
        nested: bool,
    },
}

/// The least and the most that an integer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Integer {
    Int16,
    Int32,
    Int64,
    Oid,
}

/// What a text is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Text {
    /// Nothing.
    Plain,
    /// By Debezium.
    Named(&'static str),
    /// By its type, which Debezium does not know.
    Other(String),
    /// One of these labels, parted by commas.
    Enum(String),
}

impl Form {
    /// Whether it is the text of a type that has no form of its own, or an array of such.
    pub(super) fn is_other(&self) -> bool {
        match self {
            Self::Text(Text::Other(_)) => true,
            Self::Array { element, .. } => element.is_other(),
            _ => false,
        }
    }

    /// The form of a type with a modifier, or the type that is refused.
    pub(super) fn of<'t>(of: &'t DataType, modifier: i32, options: &TypeOptions) -> Result<Self, &'t DataType> {
        Ok(match &of.kind {
            TypeKind::Domain { base, modifier: own } => {
                Self::of(base, if *own < 0 { modifier } else { *own }, options)?
            }
            TypeKind::Array { element } => {
                Self::Array { element: Box::new(Self::of(element, modifier, options)?), nested: options.nested }
            }
            TypeKind::Enum { labels } => Self::Text(Text::Enum(labels.join(","))),
            TypeKind::Base | TypeKind::Range { .. } => {
                let found = if of.schema == "pg_catalog" {
                    builtin(of.oid, modifier, options)
                } else {
                    extension(&of.name, options)
                };
                match found {
                    Some(form) => form,
                    None => other(of, options)?,
                }
            }
            TypeKind::Composite { .. } | TypeKind::Multirange { .. } | TypeKind::Pseudo => other(of, options)?,
        })
    }

    /// Appends a value, or a part of one before the error.
    #[inline]
    pub(super) fn write(&self, text: &[u8], out: &mut Vec<u8>) -> Result<(), Misfit> {
        match self {
            Self::Integer(of) => of.write(text, out)?,
            Self::Text(_) => json::quote(str::from_utf8(text).map_err(|_| Misfit::NotOfType)?, out),
            Self::Boolean => match text {
                b"t" => out.extend_from_slice(b"true"),
                b"f" => out.extend_from_slice(b"false"),
                _ => return Err(Misfit::NotOfType),
            },
            Self::Temporal(of) => of.write(text, out)?,
            Self::Numeric(of) => of.write(text, out)?,
            Self::Float(width) => float::write(text, *width, out)?,
            Self::Bytes(form) => bytes::write(text, *form, out)?,
            Self::Bit => bytes::write_bit(text, out)?,
            Self::Bits(_) => bytes::write_bits(text, out)?,
            Self::Money(of) => of.write(text, out)?,
            Self::Interval(form) => interval::write(text, *form, out)?,
            Self::Hstore(form) => hstore::write(text, *form, out)?,
            Self::Point => geometry::write_point(text, out)?,
            Self::PostGis { .. } => geometry::write_postgis(text, out)?,
            Self::Vector(width) => geometry::write_vector(text, *width, out)?,
            Self::SparseVector => geometry::write_sparse(text, out)?,
            Self::List(of) => array::write_vector(text, out, |text, out| of.write(text, out))?,
            Self::Array { element, nested } => {
                array::write(text, *nested, out, |text, out| element.write(text, out))?;
            }
        }
        Ok(())
    }
}

/// The form of a type that Postgres comes with; `None` if it has none of its own.
fn builtin(oid: u32, modifier: i32, options: &TypeOptions) -> Option<Form> {
    Some(match oid {
        16 => Form::Boolean,
        17 => Form::Bytes(options.binary),
        20 => Form::Integer(Integer::Int64),
        21 => Form::Integer(Integer::Int16),
        22 => Form::List(Integer::Int16),
        23 => Form::Integer(Integer::Int32),
        26 => Form::Integer(Integer::Oid),
        30 => Form::List(Integer::Oid),
        114 | 3802 => Form::Text(Text::Named("io.debezium.data.Json")),
        142 => Form::Text(Text::Named("io.debezium.data.Xml")),
        600 => Form::Point,
        700 => Form::Float(Width::Single),
        701 => Form::Float(Width::Double),
        790 => Form::Money(Money { form: options.decimal, fraction_digits: options.money_fraction_digits }),
        1082 => Form::Temporal(Temporal::date(options.time)),
        1083 => Form::Temporal(Temporal::time(options.time, modifier)),
        1114 => Form::Temporal(Temporal::timestamp(options.time, modifier)),
        1184 => Form::Temporal(Temporal::zoned_timestamp(modifier)),
        1186 => Form::Interval(options.interval),
        1266 => Form::Temporal(Temporal::ZonedTime),
        1560 | 1562 if modifier == 1 => Form::Bit,
        1560 | 1562 => Form::Bits(if modifier < 0 { i32::MAX } else { modifier }),
        1700 => Form::Numeric(Numeric::new(options.decimal, modifier)),
        2950 => Form::Text(Text::Named("io.debezium.data.Uuid")),
        3614 => Form::Text(Text::Named("io.debezium.data.Tsvector")),
        // "char", name, text, cidr, macaddr8, macaddr, inet, char, varchar, and the ranges that Postgres comes with.
        18 | 19 | 25 | 650 | 774 | 829 | 869 | 1042 | 1043 | 3904 | 3906 | 3908 | 3910 | 3912 | 3926 => {
            Form::Text(Text::Plain)
        }
        _ => return None,
    })
}

/// The form of a type that an extension brings, by its name.
fn extension(name: &str, options: &TypeOptions) -> Option<Form> {
    Some(match name {
        "hstore" => Form::Hstore(options.hstore),
        "citext" | "isbn" => Form::Text(Text::Plain),
        "ltree" => Form::Text(Text::Named("io.debezium.data.Ltree")),
        "geometry" | "geography" => Form::PostGis { geometry: name == "geometry" },
        "vector" => Form::Vector(Width::Double),
        "halfvec" => Form::Vector(Width::Single),
        "sparsevec" => Form::SparseVector,
        _ => return None,
    })
}

fn other<'t>(of: &'t DataType, options: &TypeOptions) -> Result<Form, &'t DataType> {
    let name = || if of.name.is_empty() { format!("oid.{}", of.oid) } else { format!("{}.{}", of.schema, of.name) };
    match options.others {
        Others::Text => Ok(Form::Text(Text::Other(name()))),
        Others::Refused => Err(of),
    }
}

impl Integer {
    /// Appends the digits as they are, if they are such a number.
    #[inline]
    fn write(self, text: &[u8], out: &mut Vec<u8>) -> Result<(), Misfit> {
        let (negative, digits) = match text {
            [b'-', digits @ ..] => (true, digits),
            digits => (false, digits),
        };
        let is_plain = match digits {
            [b'0'] => !negative,
            [b'1'..=b'9', rest @ ..] => rest.len() < 19 && rest.iter().all(u8::is_ascii_digit),
            _ => false,
        };
        let value = digits.iter().fold(0_u64, |sum, digit| sum.wrapping_mul(10).wrapping_add(u64::from(digit & 15)));
        let most = match self {
            Self::Int16 => i16::MAX as u64,
            Self::Int32 => i32::MAX as u64,
            Self::Int64 => i64::MAX as u64,
            Self::Oid => u64::from(u32::MAX),
        };
        let least = if self == Self::Oid { 0 } else { most + 1 };
        if is_plain && value <= if negative { least } else { most } {
            out.extend_from_slice(text);
            Ok(())
        } else {
            Err(Misfit::NotOfType)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_of_another_size_is_none() {
        for (of, least, most, beyond) in [
            (Integer::Int16, "-32768", "32767", ["-32769", "32768"]),
            (Integer::Int32, "-2147483648", "2147483647", ["-2147483649", "2147483648"]),
            (
                Integer::Int64,
                "-9223372036854775808",
                "9223372036854775807",
                ["-9223372036854775809", "9223372036854775808"],
            ),
            (Integer::Oid, "0", "4294967295", ["-1", "4294967296"]),
        ] {
            for text in [least, most, "0", "7"] {
                let mut out = Vec::new();
                assert_eq!(of.write(text.as_bytes(), &mut out), Ok(()), "{of:?} {text}");
                assert_eq!(out, text.as_bytes());
            }
            for text in
                beyond.into_iter().chain(["", "-", "-0", "007", "+1", "1.0", "1e3", "99999999999999999999", " 1"])
            {
                assert_eq!(of.write(text.as_bytes(), &mut Vec::new()), Err(Misfit::NotOfType), "{of:?} {text}");
            }
        }
    }
}
