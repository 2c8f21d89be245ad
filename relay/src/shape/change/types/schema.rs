//! What Kafka Connect calls a form, and what stands in its place where a value is not known.

use crate::shape::change::types::decimal::Numeric;
use crate::shape::change::types::float::Width;
use crate::shape::change::types::form::{Form, Integer, Text};
use crate::shape::change::types::money::Money;
use crate::shape::change::types::options::{Binary, Decimal, Hstore, Interval};
use crate::shape::change::types::temporal::{Temporal, Unit};
use crate::shape::json;

/// A struct of a scale and a value.
const VARIABLE_SCALE: &str = concat!(
    r#""type":"struct","fields":[{"type":"int32","optional":false,"field":"scale"},"#,
    r#"{"type":"bytes","optional":false,"field":"value"}]"#
);

const POINT: &str = concat!(
    r#""type":"struct","fields":[{"type":"double","optional":false,"field":"x"},"#,
    r#"{"type":"double","optional":false,"field":"y"},{"type":"bytes","optional":true,"field":"wkb"},"#,
    r#"{"type":"int32","optional":true,"field":"srid"}]"#
);

const POSTGIS: &str = concat!(
    r#""type":"struct","fields":[{"type":"bytes","optional":false,"field":"wkb"},"#,
    r#"{"type":"int32","optional":true,"field":"srid"}]"#
);

const SPARSE_VECTOR: &str = concat!(
    r#""type":"struct","fields":[{"type":"int16","optional":false,"field":"dimensions"},"#,
    r#"{"type":"map","keys":{"type":"int16","optional":false},"values":{"type":"double","optional":false},"#,
    r#""optional":false,"field":"vector"}]"#
);

const MAP: &str = concat!(
    r#""type":"map","keys":{"type":"string","optional":false},"#,
    r#""values":{"type":"string","optional":true}"#
);

/// Appends a schema as `JsonConverter` does: the type, whether it is optional, what it is called, the default, the field.
pub(super) fn write(form: &Form, optional: bool, default: Option<&str>, field: Option<&str>, out: &mut Vec<u8>) {
    out.push(b'{');
    head(form, out);
    // Debezium's types of PostGIS are optional wherever they stand.
    let optional = optional || matches!(form, Form::PostGis { .. });
    out.extend_from_slice(if optional { br#","optional":true"# } else { br#","optional":false"# });
    tail(form, out);
    if let Some(default) = default {
        out.extend_from_slice(br#","default":"#);
        out.extend_from_slice(default.as_bytes());
    }
    if let Some(field) = field {
        out.extend_from_slice(br#","field":"#);
        json::quote(field, out);
    }
    out.push(b'}');
}

/// The type, and what a compound one is made of.
fn head(form: &Form, out: &mut Vec<u8>) {
    let name = match form {
        Form::Boolean | Form::Bit => "boolean",
        Form::Bits(_) | Form::Bytes(Binary::Bytes) => "bytes",
        Form::Integer(of) => integer(*of),
        Form::Float(width) => float(*width),
        Form::Numeric(Numeric::Precise { .. }) => "bytes",
        Form::Numeric(Numeric::Double) | Form::Money(Money { form: Decimal::Double, .. }) => "double",
        Form::Money(Money { form: Decimal::Precise, .. }) => "bytes",
        Form::Numeric(Numeric::Text(_)) | Form::Money(_) | Form::Bytes(_) | Form::Text(_) => "string",
        Form::Temporal(of) => of.names().0,
        Form::Interval(Interval::Numeric) => "int64",
        Form::Interval(Interval::IsoString) | Form::Hstore(Hstore::Json) => "string",
        Form::Numeric(Numeric::Variable) => return out.extend_from_slice(VARIABLE_SCALE.as_bytes()),
        Form::Hstore(Hstore::Map) => return out.extend_from_slice(MAP.as_bytes()),
        Form::Point => return out.extend_from_slice(POINT.as_bytes()),
        Form::PostGis { .. } => return out.extend_from_slice(POSTGIS.as_bytes()),
        Form::SparseVector => return out.extend_from_slice(SPARSE_VECTOR.as_bytes()),
        Form::Vector(width) => return list(|out| plain(float(*width), out), out),
        Form::List(of) => return list(|out| plain(integer(*of), out), out),
        Form::Array { element, .. } => return list(|out| write(element, true, None, None, out), out),
    };
    out.extend_from_slice(br#""type":""#);
    out.extend_from_slice(name.as_bytes());
    out.push(b'"');
}

fn list(items: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    out.extend_from_slice(br#""type":"array","items":"#);
    items(out);
}

fn plain(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(format!(r#"{{"type":"{name}","optional":false}}"#).as_bytes());
}

fn integer(of: Integer) -> &'static str {
    match of {
        Integer::Int16 => "int16",
        Integer::Int32 => "int32",
        Integer::Int64 | Integer::Oid => "int64",
    }
}

fn float(width: Width) -> &'static str {
    match width {
        Width::Single => "float",
        Width::Double => "double",
    }
}

/// The logical type's name, its version, what it says of itself, and its parameters.
fn tail(form: &Form, out: &mut Vec<u8>) {
    let parameter = |name: &str, key: &str, value: &str, out: &mut Vec<u8>| {
        named(name, out);
        out.extend_from_slice(format!(r#","parameters":{{"{key}":"#).as_bytes());
        json::quote(value, out);
        out.push(b'}');
    };
    match form {
        Form::Bits(length) => parameter("io.debezium.data.Bits", "length", &length.to_string(), out),
        Form::Numeric(Numeric::Precise { precision, scale }) => {
            parameter("org.apache.kafka.connect.data.Decimal", "scale", &scale.to_string(), out);
            out.pop();
            out.extend_from_slice(format!(r#","connect.decimal.precision":"{precision}"}}"#).as_bytes());
        }
        Form::Money(Money { form: Decimal::Precise, fraction_digits }) => {
            parameter("org.apache.kafka.connect.data.Decimal", "scale", &fraction_digits.to_string(), out);
        }
        Form::Text(Text::Enum(labels)) => parameter("io.debezium.data.Enum", "allowed", labels, out),
        Form::Text(Text::Named(name)) => named(name, out),
        Form::Text(Text::Other(name)) => named(name, out),
        Form::Temporal(of) => named(of.names().1, out),
        Form::Interval(Interval::Numeric) => named("io.debezium.time.MicroDuration", out),
        Form::Interval(Interval::IsoString) => named("io.debezium.time.Interval", out),
        Form::Hstore(Hstore::Json) => named("io.debezium.data.Json", out),
        Form::Vector(Width::Double) => named("io.debezium.data.DoubleVector", out),
        Form::Vector(Width::Single) => named("io.debezium.data.FloatVector", out),
        Form::Numeric(Numeric::Variable) => {
            documented("io.debezium.data.VariableScaleDecimal", "Variable scaled decimal", out);
        }
        Form::Point => documented("io.debezium.data.geometry.Point", "Geometry (POINT)", out),
        Form::PostGis { geometry: true } => documented("io.debezium.data.geometry.Geometry", "Geometry", out),
        Form::PostGis { geometry: false } => documented("io.debezium.data.geometry.Geography", "Geography", out),
        Form::SparseVector => documented("io.debezium.data.SparseDoubleVector", "Sparse double vector", out),
        Form::Boolean
        | Form::Bit
        | Form::Integer(_)
        | Form::Float(_)
        | Form::Numeric(Numeric::Double | Numeric::Text(_))
        | Form::Money(_)
        | Form::Bytes(_)
        | Form::Hstore(Hstore::Map)
        | Form::Text(Text::Plain)
        | Form::List(_)
        | Form::Array { .. } => {}
    }
}

fn named(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(br#","name":"#);
    json::quote(name, out);
    out.extend_from_slice(br#","version":1"#);
}

fn documented(name: &str, doc: &str, out: &mut Vec<u8>) {
    named(name, out);
    out.extend_from_slice(br#","doc":"#);
    json::quote(doc, out);
}

/// What stands for a value that was not sent: the text `unavailable` where the form can hold one, else null.
pub(super) fn placeholder(form: &Form, unavailable: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let numbers = |out: &mut Vec<u8>| {
        for (at, byte) in unavailable.bytes().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            json::integer(i64::from(byte.cast_signed()), out);
        }
    };
    match form {
        Form::Text(_) => json::quote(unavailable, &mut out),
        Form::Bytes(Binary::Bytes) => {
            out.push(b'"');
            json::base64(unavailable.as_bytes(), &mut out);
            out.push(b'"');
        }
        Form::Bytes(_) => json::quote(unavailable, &mut out),
        Form::Hstore(Hstore::Map) => {
            let mut text = Vec::new();
            json::quote(unavailable, &mut text);
            out = [&b"{"[..], &text, b":", &text, b"}"].concat();
        }
        Form::Hstore(Hstore::Json) => {
            let map = placeholder(&Form::Hstore(Hstore::Map), unavailable);
            json::quote(&String::from_utf8_lossy(&map), &mut out);
        }
        Form::Array { element, .. } => match **element {
            // Of numbers: the text's bytes.
            Form::Integer(Integer::Int32 | Integer::Int64)
            | Form::Temporal(Temporal::Date(Unit::Coarse | Unit::Connect)) => {
                out.push(b'[');
                numbers(&mut out);
                out.push(b']');
            }
            ref element => match placeholder(element, unavailable).as_slice() {
                b"null" => out.extend_from_slice(b"null"),
                element => out = [b"[", element, b"]"].concat(),
            },
        },
        _ => out.extend_from_slice(b"null"),
    }
    out
}

/// What stands where a value is not known and cannot be null, as Debezium has it.
pub(super) fn zero(form: &Form) -> String {
    let text = match form {
        Form::Boolean | Form::Bit => "false",
        Form::Integer(_) | Form::Interval(Interval::Numeric) => "0",
        Form::Float(_) | Form::Numeric(Numeric::Double) | Form::Money(Money { form: Decimal::Double, .. }) => "0.0",
        Form::Numeric(Numeric::Precise { .. }) | Form::Money(Money { form: Decimal::Precise, .. }) => r#""AA==""#,
        Form::Numeric(Numeric::Variable) => r#"{"scale":0,"value":"AA=="}"#,
        Form::Numeric(Numeric::Text(digits)) => return nought(*digits),
        Form::Money(Money { fraction_digits, .. }) => return nought(usize::from(*fraction_digits)),
        Form::Temporal(of) => of.zero(),
        Form::Interval(Interval::IsoString) => r#""P0Y0M0DT0H0M0S""#,
        Form::Hstore(Hstore::Json) => r#""{}""#,
        Form::Hstore(Hstore::Map) => "{}",
        Form::Bits(_) | Form::Bytes(_) | Form::Text(_) => r#""""#,
        Form::Point => r#"{"x":0.0,"y":0.0,"wkb":"AQEAAAAAAAAAAAAAAAAAAAAAAAAA","srid":null}"#,
        // A collection of no geometries.
        Form::PostGis { .. } => r#"{"wkb":"AQcAAAAAAAAA","srid":null}"#,
        Form::SparseVector => r#"{"dimensions":0,"vector":[]}"#,
        Form::Vector(_) | Form::List(_) | Form::Array { .. } => "[]",
    };
    text.to_owned()
}

/// Zero with so many digits behind the point, as a text.
fn nought(digits: usize) -> String {
    let point = if digits > 0 { "." } else { "" };
    format!(r#""0{point}{}""#, "0".repeat(digits))
}
