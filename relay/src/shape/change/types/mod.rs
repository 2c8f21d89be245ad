//! How the values of each type are written as JSON, and what schema describes them: as Debezium's PostgreSQL connector and
//! Kafka Connect's JSON converter do.
//!
//! Every type, every option and every difference stands in `docs/types.md`; a test writes each of its rows with this, and
//! another tool has the real connector write it.
//!
//! A value is the text that its type's output function printed, under the settings that the relay's sessions pin. What no output
//! function prints is refused; what the chosen form has no place for is null where the column can be null, as with Debezium,
//! and refused where it cannot. Nothing else is changed or left out.
//!
//! # Layout
//! `form` picks the form of a type, once for a column; `schema` describes it; every other file writes one kind of value.

mod array;
mod bytes;
mod calendar;
mod decimal;
mod float;
mod form;
mod geometry;
mod hstore;
mod interval;
mod misfit;
mod money;
mod options;
mod schema;
mod temporal;

use thiserror::Error;

use crate::shape::change::table::{Column, DataType, TypeKind};
use crate::shape::change::types::form::Form;
use crate::shape::change::types::misfit::Misfit;

pub use crate::shape::change::types::options::{Binary, Decimal, Hstore, Interval, Others, Time, TypeOptions};

/// A type that cannot be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsupportedType {
    /// Its name.
    pub name: String,
    /// Why not; may be empty.
    pub why: String,
}

/// A text that is not written. It does not hold the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unreadable {
    /// No value of the type is printed like this.
    #[error("a text that is no value of its type")]
    NotOfType,
    /// A value that the chosen form cannot hold, in a column that cannot be null.
    #[error("a value that the chosen form has no place for (docs/types.md lists them)")]
    NoPlace,
}

/// Writes the values of one column.
#[derive(Debug, Clone)]
pub struct ColumnWriter {
    form: Form,
    optional: bool,
    placeholder: Vec<u8>,
    default: Option<String>,
}

impl ColumnWriter {
    /// A writer for `column`.
    ///
    /// # Errors
    /// Its type has no form of its own, and the options refuse such.
    pub fn new(column: &Column, options: &TypeOptions) -> Result<Self, UnsupportedType> {
        let form = Form::of(&column.of, column.modifier, options).map_err(|of| UnsupportedType {
            name: column.of.name.clone(),
            why: format!("{:?} has no form of its own, and capture.types.other refuses such", of.name),
        })?;
        let placeholder = schema::placeholder(&form, &options.unavailable);
        let default = default(column, &form);
        Ok(Self { form, optional: column.optional, placeholder, default })
    }

    /// Whether values are the text of a type that has no form of its own.
    #[must_use]
    pub fn is_other(&self) -> bool {
        self.form.is_other()
    }

    /// Appends the JSON value of the type's output text.
    ///
    /// # Errors
    /// The text is not of the type, or has no place in its form; then nothing was appended.
    #[inline]
    pub fn write(&self, text: &[u8], out: &mut Vec<u8>) -> Result<(), Unreadable> {
        let at = out.len();
        self.form.write(text, out).or_else(|misfit| self.misfit(misfit, at, out))
    }

    #[cold]
    fn misfit(&self, misfit: Misfit, at: usize, out: &mut Vec<u8>) -> Result<(), Unreadable> {
        out.truncate(at);
        match misfit {
            Misfit::NotOfType => Err(Unreadable::NotOfType),
            Misfit::NoPlace if self.optional => {
                out.extend_from_slice(b"null");
                Ok(())
            }
            Misfit::NoPlace => Err(Unreadable::NoPlace),
        }
    }

    /// Appends what stands for a value that is not known, because it was not sent.
    pub fn placeholder(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.placeholder);
    }

    /// The schema as Kafka Connect's JSON converter writes it; `field` is the name of the field that it describes.
    #[must_use]
    pub fn schema(&self, field: Option<&str>) -> String {
        let mut out = Vec::new();
        schema::write(&self.form, self.optional, self.default.as_deref(), field, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// The default in the schema, as JSON; `None` if it has none.
    #[must_use]
    pub fn default_json(&self) -> Option<String> {
        self.default.clone()
    }

    /// What Debezium writes for a column that cannot be null, has no default in its schema and is not known, as JSON.
    #[must_use]
    pub fn zero_json(&self) -> String {
        schema::zero(&self.form)
    }
}

/// The default in the schema: of the types whose defaults Debezium reads, the constant, or what it puts in the place of anything
/// that has to be computed.
fn default(column: &Column, form: &Form) -> Option<String> {
    let placed = match (&column.of.kind, column.of.oid) {
        (TypeKind::Enum { .. }, _) => None,
        (TypeKind::Base, _) if column.of.schema == "pg_catalog" => Some(computed(&column.of)?),
        _ => return None,
    };
    // Kafka Connect has no defaults of structs.
    if matches!(form, Form::Numeric(decimal::Numeric::Variable)) {
        return None;
    }
    let text = match (&column.default, placed) {
        (Some(constant), _) => constant.as_str(),
        (None, Some(placed)) if column.has_default => placed,
        _ => return None,
    };
    // A catalog writes the constant as it was given; a row has it with all the digits of its column.
    let padded = match form {
        Form::Numeric(decimal::Numeric::Text(digits)) => padded(text, *digits),
        _ => None,
    };
    let mut out = Vec::new();
    form.write(padded.as_deref().unwrap_or(text).as_bytes(), &mut out).ok()?;
    String::from_utf8(out).ok()
}

/// A number with as many digits after the point; `None` if it has them, or more.
fn padded(number: &str, digits: usize) -> Option<String> {
    let (point, have) = match number.split_once('.') {
        Some((_, fraction)) => ("", fraction.len()),
        None => (".", 0),
    };
    let missing = digits.checked_sub(have).filter(|missing| *missing > 0)?;
    Some(format!("{number}{point}{}", "0".repeat(missing)))
}

/// What stands for a default of a type that has to be computed; `None` for a type whose defaults Debezium does not read.
fn computed(of: &DataType) -> Option<&'static str> {
    Some(match of.oid {
        16 => "f",
        20 | 21 | 23 | 700 | 701 | 1700 => "0",
        25 | 142 | 1042 | 1043 | 1560 | 1562 => "",
        114 | 3802 => "{}",
        1082 => "1970-01-01",
        1083 | 1186 => "00:00:00",
        1114 => "1970-01-01 00:00:00",
        1184 => "1970-01-01 00:00:00+00",
        2950 => "00000000-0000-0000-0000-000000000000",
        _ => return None,
    })
}
