//! Which type a column gets that is made for a value of a known schema, and how a column that is there grows.
//!
//! `docs/clickhouse-types.md` has the table. Every value that the schema's type can have fits the column, but dates and times beyond
//! those of ClickHouse, and decimals that are not a number.

use crate::encode::native::connect::Schema;
use crate::encode::native::shape::Shape;
use crate::encode::native::types::Type;

/// Digits of a `Decimal` at most.
const DIGITS_MAX: i32 = 76;

/// Digits of `money`: a number of 64 bits.
const MONEY_DIGITS: i32 = 19;

/// What becomes of a column whose values come with another type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Growth {
    /// It holds them as it is.
    None,
    /// It would hold these and its own as that type: `alter table … modify column`.
    Widen(Type),
    /// No type holds both without a loss; a person decides.
    Refused,
}

/// The type of a column for values of that schema. A key's column holds no null: a table cannot be sorted by one.
#[must_use]
pub fn column_type(schema: &Schema, is_key: bool) -> Type {
    let text = text(schema, schema.optional && !is_key);
    // Only texts of this file are read here, and a test reads each.
    Type::parse(&text).unwrap_or_else(|_| Type::string())
}

/// What becomes of a column of type `current` whose values are now of type `wanted`.
#[must_use]
pub fn growth(current: &Type, wanted: &Type) -> Growth {
    if holds(current.shape(), wanted.shape()) {
        return Growth::None;
    }
    let wanted = if current.is_nullable() { wanted.nullable() } else { wanted.clone() };
    if holds(wanted.shape(), current.shape()) { Growth::Widen(wanted) } else { Growth::Refused }
}

/// A type's text, with null if there is to be one and can be.
fn text(schema: &Schema, nullable: bool) -> String {
    let (text, wraps) = named(schema).unwrap_or_else(|| of_kind(schema));
    match (nullable && wraps, text.as_str()) {
        (true, "LowCardinality(String)") => "LowCardinality(Nullable(String))".to_owned(),
        (true, text) => format!("Nullable({text})"),
        (false, text) => text.to_owned(),
    }
}

/// By what a value means; and whether there is a `Nullable` of it.
fn named(schema: &Schema) -> Option<(String, bool)> {
    let name = schema.name.as_deref()?;
    let text = match name.strip_prefix("io.debezium.time.").unwrap_or(name) {
        "Date" | "IsoDate" | "org.apache.kafka.connect.data.Date" => "Date32",
        "Time" | "org.apache.kafka.connect.data.Time" => "Time64(3)",
        "MicroTime" | "IsoTime" => "Time64(6)",
        "NanoTime" => "Time64(9)",
        // Without a zone, too: what is counted is the clock's time as if it were in Greenwich, and so it is shown again.
        "Timestamp" | "org.apache.kafka.connect.data.Timestamp" => "DateTime64(3, 'UTC')",
        "MicroTimestamp" | "IsoTimestamp" | "ZonedTimestamp" => "DateTime64(6, 'UTC')",
        "NanoTimestamp" => "DateTime64(9, 'UTC')",
        "MicroDuration" => "Int64",
        "org.apache.kafka.connect.data.Decimal" => return Some((decimal(schema), true)),
        "io.debezium.data.Uuid" => "UUID",
        "io.debezium.data.Enum" => "LowCardinality(String)",
        "io.debezium.data.DoubleVector" | "io.debezium.data.FloatVector" => {
            return Some(("Array(Float32)".to_owned(), false));
        }
        "pg_catalog.pg_lsn" | "pg_catalog.xid8" => "UInt64",
        "pg_catalog.xid" | "pg_catalog.cid" => "UInt32",
        // Names that say nothing of how it is stored: a list or a map stays one.
        _ if matches!(schema.kind.as_str(), "array" | "map") => return None,
        _ if schema.kind == "string" || schema.kind == "bytes" || schema.kind == "struct" => "String",
        _ => return None,
    };
    Some((text.to_owned(), true))
}

fn of_kind(schema: &Schema) -> (String, bool) {
    let text = match schema.kind.as_str() {
        "boolean" => "Bool",
        "int8" => "Int8",
        "int16" => "Int16",
        "int32" => "Int32",
        "int64" => "Int64",
        "float" | "float32" => "Float32",
        "double" | "float64" => "Float64",
        "array" => {
            let of = schema.items.as_ref().map_or_else(|| "String".to_owned(), |items| text(items, items.optional));
            return (format!("Array({of})"), false);
        }
        "map" => {
            let of = schema.values.as_ref().map_or_else(|| "String".to_owned(), |values| text(values, values.optional));
            return (format!("Map(String, {of})"), false);
        }
        _ => "String",
    };
    (text.to_owned(), true)
}

/// A decimal of the column's precision; text where ClickHouse has no such decimal.
fn decimal(schema: &Schema) -> String {
    let precision = schema.number("connect.decimal.precision").unwrap_or(MONEY_DIGITS);
    match schema.number("scale") {
        Some(scale) if (0..=precision).contains(&scale) && precision <= DIGITS_MAX => {
            format!("Decimal({precision}, {scale})")
        }
        _ => "String".to_owned(),
    }
}

/// Whether every value of `of` is one that `shape` stores as it is.
fn holds(shape: &Shape, of: &Shape) -> bool {
    match (shape, of) {
        (shape, of) if shape == of => true,
        (Shape::Nullable(shape), Shape::Nullable(of)) => holds(shape, of),
        (Shape::Nullable(shape), of) => holds(shape, of),
        (Shape::Integer { width, signed }, Shape::Integer { width: of, signed: of_signed }) => {
            match (signed, of_signed) {
                (true, false) => width > of,
                (false, true) => false,
                _ => width >= of,
            }
        }
        (Shape::Decimal { precision, scale }, Shape::Decimal { precision: of, scale: of_scale }) => {
            scale >= of_scale && precision - scale >= of - of_scale
        }
        (Shape::Decimal { precision, scale }, Shape::Integer { width, .. }) => precision - scale >= digits(*width),
        (Shape::Float64, Shape::Float32) => true,
        (Shape::Float64, Shape::Integer { width, .. }) => *width <= 4,
        (Shape::Float32, Shape::Integer { width, .. }) => *width <= 2,
        // Nine digits leave no room for the years that fewer reach.
        (Shape::DateTime64(digits, _), Shape::DateTime64(of, _)) => of == digits || (of < digits && *digits < 9),
        (Shape::DateTime64(..) | Shape::DateTime(_), Shape::DateTime(_)) => true,
        (Shape::Date32, Shape::Date) => true,
        (Shape::Time64(digits), Shape::Time64(of)) => of <= digits,
        (Shape::Time64(_), Shape::Time) => true,
        (Shape::Ipv6, Shape::Ipv4) => true,
        (Shape::Enum { labels, .. }, Shape::Enum { labels: of, .. }) => {
            of.iter().all(|(label, _)| labels.iter().any(|(own, _)| own == label))
        }
        (
            Shape::String,
            Shape::Integer { .. } | Shape::Decimal { .. } | Shape::Bool | Shape::Uuid | Shape::Enum { .. },
        ) => true,
        (Shape::String, Shape::Ipv4 | Shape::Ipv6 | Shape::Json) => true,
        (Shape::Array(shape), Shape::Array(of)) => holds(shape, of),
        (Shape::Map(key, shape), Shape::Map(of_key, of)) => holds(key, of_key) && holds(shape, of),
        _ => false,
    }
}

/// Digits of the largest integer of so many bytes.
fn digits(width: usize) -> u32 {
    match width {
        1 => 3,
        2 => 5,
        4 => 10,
        8 => 20,
        16 => 39,
        _ => 78,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> String {
        column_type(&Schema::parse(json).expect("a schema"), false).text().to_owned()
    }

    #[test]
    fn a_schema_has_a_type() {
        for (json, text) in [
            (r#"{"type":"int32","optional":false}"#, "Int32"),
            (r#"{"type":"int64","optional":true}"#, "Nullable(Int64)"),
            (
                r#"{"type":"bytes","optional":true,"name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2","connect.decimal.precision":"10"}}"#,
                "Nullable(Decimal(10, 2))",
            ),
            (
                r#"{"type":"bytes","optional":false,"name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2","connect.decimal.precision":"77"}}"#,
                "String",
            ),
            (
                r#"{"type":"bytes","optional":false,"name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"5","connect.decimal.precision":"3"}}"#,
                "String",
            ),
            (
                r#"{"type":"bytes","optional":false,"name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"}}"#,
                "Decimal(19, 2)",
            ),
            (r#"{"type":"string","optional":true,"name":"io.debezium.data.Enum"}"#, "LowCardinality(Nullable(String))"),
            (
                r#"{"type":"array","items":{"type":"string","optional":true},"optional":true}"#,
                "Array(Nullable(String))",
            ),
            (
                r#"{"type":"array","items":{"type":"float","optional":false},"optional":true,"name":"io.debezium.data.FloatVector"}"#,
                "Array(Float32)",
            ),
            (
                r#"{"type":"map","keys":{"type":"string","optional":false},"values":{"type":"string","optional":true},"optional":true}"#,
                "Map(String, Nullable(String))",
            ),
            (r#"{"type":"string","optional":true,"name":"public.address"}"#, "Nullable(String)"),
            (r#"{"type":"int64","optional":false,"name":"io.debezium.time.MicroDuration"}"#, "Int64"),
        ] {
            assert_eq!(of(json), text, "{json}");
        }
    }

    #[test]
    fn a_key_holds_no_null() {
        let schema = Schema::parse(r#"{"type":"string","optional":true}"#).expect("a schema");
        assert_eq!(column_type(&schema, true).text(), "String");
    }

    #[test]
    fn a_column_grows_where_nothing_is_lost() {
        for (current, wanted, expected) in [
            ("Int32", "Int16", "none"),
            ("Int32", "Int32", "none"),
            ("Int32", "Int64", "Int64"),
            ("Nullable(Int32)", "Int64", "Nullable(Int64)"),
            ("Int32", "Nullable(Int32)", "Nullable(Int32)"),
            ("LowCardinality(String)", "LowCardinality(Nullable(String))", "LowCardinality(Nullable(String))"),
            ("Int64", "UInt64", "refused"),
            ("UInt32", "Int64", "Int64"),
            ("Decimal(10, 2)", "Decimal(12, 2)", "Decimal(12, 2)"),
            ("Decimal(10, 2)", "Decimal(10, 4)", "refused"),
            ("Decimal(10, 2)", "Decimal(12, 4)", "Decimal(12, 4)"),
            ("Int32", "String", "String"),
            ("String", "Int32", "none"),
            ("String", "LowCardinality(String)", "none"),
            ("Float32", "Float64", "Float64"),
            ("DateTime64(3, 'UTC')", "DateTime64(6, 'UTC')", "DateTime64(6, 'UTC')"),
            ("DateTime64(6, 'UTC')", "DateTime64(9, 'UTC')", "refused"),
            ("DateTime64(6)", "DateTime64(6, 'UTC')", "none"),
            ("String", "DateTime64(6, 'UTC')", "refused"),
            ("Array(Nullable(Int32))", "Array(Nullable(Int64))", "Array(Nullable(Int64))"),
            ("Bool", "Int32", "refused"),
            ("UUID", "String", "String"),
        ] {
            let read = |text| Type::parse(text).expect("a type");
            let found = match growth(&read(current), &read(wanted)) {
                Growth::None => "none".to_owned(),
                Growth::Widen(of) => of.text().to_owned(),
                Growth::Refused => "refused".to_owned(),
            };
            assert_eq!(found, expected, "{current} to {wanted}");
        }
    }
}
