//! A schema of Kafka Connect, as its JSON converter writes it beside a value: what it says of how values are read.
//!
//! <https://kafka.apache.org/documentation/#connect_schemas>

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::encode::native::reading::{Reading, Unit};

/// The schema of a value, or of a struct's member.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Schema {
    /// `int8` … `int64`, `float`, `double`, `boolean`, `string`, `bytes`, `array`, `map`, `struct`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it may be null.
    #[serde(default)]
    pub optional: bool,
    /// What the value means, such as `io.debezium.time.MicroTimestamp`.
    #[serde(default)]
    pub name: Option<String>,
    /// What else is said of that.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// Of a list: its elements.
    #[serde(default)]
    pub items: Option<Box<Schema>>,
    /// Of a map: its values.
    #[serde(default)]
    pub values: Option<Box<Schema>>,
    /// Of a struct: its members.
    #[serde(default)]
    pub fields: Vec<Schema>,
    /// The member's name, if it is one.
    #[serde(default)]
    pub field: Option<String>,
}

/// A text that is no schema.
#[derive(Debug, thiserror::Error)]
#[error("the schema cannot be read")]
pub struct SchemaError(#[from] serde_json::Error);

impl Schema {
    /// Reads a schema from its JSON.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(json: &str) -> Result<Self, SchemaError> {
        Ok(serde_json::from_str(json)?)
    }

    /// The member of that name.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Self> {
        self.fields.iter().find(|member| member.field.as_deref() == Some(name))
    }

    /// A parameter that is a number.
    #[must_use]
    pub(super) fn number(&self, parameter: &str) -> Option<i32> {
        self.parameters.get(parameter)?.parse().ok()
    }

    /// How its values are read.
    #[must_use]
    pub fn reading(&self) -> Reading {
        if let Some(reading) = self.name.as_deref().and_then(|name| self.named(name)) {
            return reading;
        }
        match (self.kind.as_str(), &self.items, &self.values) {
            ("bytes", ..) => Reading::Bytes,
            ("array", Some(items), _) => Reading::Array(Box::new(items.reading())),
            ("map", _, Some(values)) => Reading::Map(Box::new(values.reading())),
            ("struct", ..) => {
                let members = self.fields.iter();
                Reading::Struct(members.map(|of| (of.field.clone().unwrap_or_default(), of.reading())).collect())
            }
            _ => Reading::Plain,
        }
    }

    /// What the name of a value's meaning says: <https://debezium.io/documentation/reference/stable/connectors/postgresql.html#postgresql-data-types>.
    fn named(&self, name: &str) -> Option<Reading> {
        if let Some(name) = name.strip_prefix("io.debezium.time.") {
            return Some(match name {
                "Date" => Reading::Days,
                "Time" => Reading::Time(Unit::Milliseconds),
                "MicroTime" => Reading::Time(Unit::Microseconds),
                "NanoTime" => Reading::Time(Unit::Nanoseconds),
                "Timestamp" => Reading::Timestamp(Unit::Milliseconds),
                "MicroTimestamp" => Reading::Timestamp(Unit::Microseconds),
                "NanoTimestamp" => Reading::Timestamp(Unit::Nanoseconds),
                _ => return None,
            });
        }
        Some(match name {
            "org.apache.kafka.connect.data.Decimal" => Reading::Decimal { scale: self.number("scale")? },
            "org.apache.kafka.connect.data.Date" => Reading::Days,
            "org.apache.kafka.connect.data.Time" => Reading::Time(Unit::Milliseconds),
            "org.apache.kafka.connect.data.Timestamp" => Reading::Timestamp(Unit::Milliseconds),
            "io.debezium.data.Json" => Reading::Json,
            "io.debezium.data.Bits" => {
                Reading::Bits(self.parameters.get("length").and_then(|length| length.parse().ok()))
            }
            // A scale and a value, or coordinates: they say themselves what they are.
            "io.debezium.data.VariableScaleDecimal"
            | "io.debezium.data.geometry.Point"
            | "io.debezium.data.geometry.Geometry"
            | "io.debezium.data.geometry.Geography" => Reading::Captured,
            "pg_catalog.pg_lsn" => Reading::Lsn,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_says_how_its_values_are_read() {
        for (json, reading) in [
            (r#"{"type":"int64","optional":true}"#, Reading::Plain),
            (r#"{"type":"int32","optional":false,"name":"io.debezium.time.Date","version":1}"#, Reading::Days),
            (
                r#"{"type":"bytes","optional":true,"name":"org.apache.kafka.connect.data.Decimal","version":1,"parameters":{"scale":"2","connect.decimal.precision":"10"},"default":"AJY="}"#,
                Reading::Decimal { scale: 2 },
            ),
            (r#"{"type":"string","optional":true,"name":"io.debezium.data.Json"}"#, Reading::Json),
            (r#"{"type":"bytes","optional":true}"#, Reading::Bytes),
            (
                r#"{"type":"array","items":{"type":"int64","optional":true,"name":"io.debezium.time.MicroTime"},"optional":true}"#,
                Reading::Array(Box::new(Reading::Time(Unit::Microseconds))),
            ),
            (
                r#"{"type":"struct","fields":[{"type":"bytes","optional":false,"field":"b"}],"optional":true,"name":"a.b"}"#,
                Reading::Struct(vec![("b".to_owned(), Reading::Bytes)]),
            ),
            (r#"{"type":"string","optional":true,"name":"io.debezium.time.ZonedTimestamp"}"#, Reading::Plain),
        ] {
            assert_eq!(Schema::parse(json).expect("a schema").reading(), reading, "{json}");
        }
        assert!(Schema::parse("{}").is_err());
    }
}
