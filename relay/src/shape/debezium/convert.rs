//! How a column's value becomes bytes, as Kafka Connect's converters do it.

use crate::shape::json::{base64, quote};
use crate::shape::row::{Column, Type};
use crate::shape::unfit::Unshapable;

/// One of Kafka Connect's converters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Converter {
    /// `StringConverter`: the value's text; of bytes the bytes themselves.
    Text,
    /// `SimpleHeaderConverter`: the value's text; of bytes their Base64.
    Simple,
    /// `JsonConverter`; with the value's schema around it, or without.
    Json {
        /// `schemas.enable`.
        schemas: bool,
    },
    /// `BinaryDataConverter` or `ByteArrayConverter`: bytes as they are, and nothing else.
    Binary,
}

impl Converter {
    /// Whether a value that is not null is its own text.
    pub(super) fn is_plain(self, of: Type) -> bool {
        matches!(self, Self::Text | Self::Simple) && !matches!(of, Type::Bytes | Type::Boolean)
    }

    /// Appends a value; false if it is Kafka's null.
    pub(super) fn write(self, value: Option<&[u8]>, column: Column, out: &mut Vec<u8>) -> Result<bool, Unshapable> {
        match self {
            Self::Json { schemas: false } => json(value, column.of, out)?,
            Self::Json { schemas: true } => {
                out.extend_from_slice(br#"{"schema":"#);
                schema(column, None, out);
                out.extend_from_slice(br#","payload":"#);
                json(value, column.of, out)?;
                out.push(b'}');
            }
            Self::Text | Self::Simple | Self::Binary => {
                let Some(value) = value else { return Ok(false) };
                match (self, column.of) {
                    (Self::Simple, Type::Bytes) => base64(&bytes(value)?, out),
                    (_, Type::Bytes) => out.extend_from_slice(&bytes(value)?),
                    (Self::Binary, _) => {
                        let what = "its column is no bytea, and the converter takes nothing else";
                        return Err(Unshapable::Unconvertible(what.to_owned()));
                    }
                    (_, Type::Boolean) => out.extend_from_slice(boolean(value)),
                    _ => out.extend_from_slice(value),
                }
            }
        }
        Ok(true)
    }
}

/// A value as `JsonConverter` prints it.
fn json(value: Option<&[u8]>, of: Type, out: &mut Vec<u8>) -> Result<(), Unshapable> {
    let Some(value) = value else {
        out.extend_from_slice(b"null");
        return Ok(());
    };
    match of {
        Type::Int16 | Type::Int32 | Type::Int64 => out.extend_from_slice(value),
        Type::Boolean => out.extend_from_slice(boolean(value)),
        Type::Bytes => {
            out.push(b'"');
            base64(&bytes(value)?, out);
            out.push(b'"');
        }
        _ => quote(&String::from_utf8_lossy(value), out),
    }
    Ok(())
}

/// A type as `JsonConverter` describes it.
pub(super) fn schema(column: Column, field: Option<&str>, out: &mut Vec<u8>) {
    let (of, name) = match column.of {
        Type::Int16 => ("int16", None),
        Type::Int32 => ("int32", None),
        Type::Int64 => ("int64", None),
        Type::Boolean => ("boolean", None),
        Type::Bytes => ("bytes", None),
        Type::Uuid => ("string", Some("io.debezium.data.Uuid")),
        Type::Json => ("string", Some("io.debezium.data.Json")),
        Type::Text | Type::Timestamp | Type::TimestampTz | Type::Other(_) => ("string", None),
    };
    out.extend_from_slice(format!(r#"{{"type":"{of}","optional":{}"#, column.optional).as_bytes());
    if let Some(name) = name {
        out.extend_from_slice(format!(r#","name":"{name}","version":1"#).as_bytes());
    }
    if let Some(field) = field {
        out.extend_from_slice(br#","field":"#);
        quote(field, out);
    }
    out.push(b'}');
}

fn boolean(value: &[u8]) -> &'static [u8] {
    if value == b"t" { b"true" } else { b"false" }
}

/// The bytes of `bytea` in hex form.
fn bytes(hex: &[u8]) -> Result<Vec<u8>, Unshapable> {
    let digit = |byte: u8| (byte as char).to_digit(16);
    let (pairs, rest) = hex.strip_prefix(b"\\x").ok_or(Unshapable::NotHex)?.as_chunks::<2>();
    let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? << 4 | digit(*low)?).ok();
    let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    bytes.filter(|_| rest.is_empty()).ok_or(Unshapable::NotHex)
}
