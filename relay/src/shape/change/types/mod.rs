//! How the values of each type are written as JSON, and what schema describes them.

use crate::shape::change::table::Column;
use crate::shape::json;

/// How values are written where a type has more than one form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeOptions {
    /// What stands for a value that was stored out of line, was not changed and is not known.
    pub unavailable: String,
}

impl Default for TypeOptions {
    fn default() -> Self {
        Self { unavailable: "__debezium_unavailable_value".to_owned() }
    }
}

/// A type that cannot be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsupportedType {
    /// Its name.
    pub name: String,
    /// Why not; may be empty.
    pub why: String,
}

/// A text that is not of its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

/// Writes the values of one column.
#[derive(Debug, Clone)]
pub struct ColumnWriter {
    form: Form,
    optional: bool,
    unavailable: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Int16,
    Int32,
    Int64,
    Boolean,
    Text,
}

impl ColumnWriter {
    /// A writer for `column`.
    ///
    /// # Errors
    /// Its type has no form.
    pub fn new(column: &Column, options: &TypeOptions) -> Result<Self, UnsupportedType> {
        let form = match column.of.oid {
            16 => Form::Boolean,
            20 => Form::Int64,
            21 => Form::Int16,
            23 => Form::Int32,
            25 | 1042 | 1043 => Form::Text,
            _ => return Err(UnsupportedType { name: column.of.name.clone(), why: String::new() }),
        };
        let mut unavailable = Vec::new();
        json::quote(&options.unavailable, &mut unavailable);
        Ok(Self { form, optional: column.optional, unavailable })
    }

    /// Appends the JSON value of the type's output text.
    ///
    /// # Errors
    /// The text is not of the type; then nothing was appended.
    pub fn write(&self, text: &[u8], out: &mut Vec<u8>) -> Result<(), Unreadable> {
        match self.form {
            Form::Int16 | Form::Int32 | Form::Int64 => out.extend_from_slice(text),
            Form::Boolean => out.extend_from_slice(if text == b"t" { b"true" } else { b"false" }),
            Form::Text => json::quote(&String::from_utf8_lossy(text), out),
        }
        Ok(())
    }

    /// Appends what stands for a value that is not known, because it was not sent.
    pub fn placeholder(&self, out: &mut Vec<u8>) {
        match self.form {
            Form::Text => out.extend_from_slice(&self.unavailable),
            _ => out.extend_from_slice(b"null"),
        }
    }

    /// The schema as Kafka Connect's JSON converter writes it; `field` is the name of the field that it describes.
    #[must_use]
    pub fn schema(&self, field: Option<&str>) -> String {
        let of = match self.form {
            Form::Int16 => "int16",
            Form::Int32 => "int32",
            Form::Int64 => "int64",
            Form::Boolean => "boolean",
            Form::Text => "string",
        };
        let mut out = format!(r#"{{"type":"{of}","optional":{}"#, self.optional).into_bytes();
        if let Some(field) = field {
            out.extend_from_slice(br#","field":"#);
            json::quote(field, &mut out);
        }
        out.push(b'}');
        String::from_utf8_lossy(&out).into_owned()
    }

    /// The default in the schema, as JSON; `None` if it has none.
    #[must_use]
    pub fn default_json(&self) -> Option<String> {
        None
    }

    /// What Debezium writes for a column that cannot be null, has no default in its schema and is not known, as JSON.
    #[must_use]
    pub fn zero_json(&self) -> &'static str {
        match self.form {
            Form::Int16 | Form::Int32 | Form::Int64 => "0",
            Form::Boolean => "false",
            Form::Text => r#""""#,
        }
    }
}
