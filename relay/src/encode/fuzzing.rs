//! What fuzzers call here: whatever a column is and whatever a record holds, a value is stored as it is, or refused without a trace.

use arbitrary::{Arbitrary, Unstructured};

use crate::encode::native::{Block, Column, Reading, Type};

/// Types with every kind of shape; a fuzzer may also write one of its own.
const TYPES: [&str; 40] = [
    "Bool",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "Int128",
    "Int256",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "UInt128",
    "UInt256",
    "Float32",
    "Float64",
    "Decimal(9, 2)",
    "Decimal(18, 18)",
    "Decimal(38, 6)",
    "Decimal(76, 38)",
    "String",
    "FixedString(4)",
    "UUID",
    "Date",
    "Date32",
    "DateTime",
    "DateTime64(3, 'UTC')",
    "DateTime64(6)",
    "DateTime64(9)",
    "Time64(6)",
    "Enum8('a' = 1, 'b' = -2)",
    "IPv4",
    "IPv6",
    "LowCardinality(Nullable(String))",
    "Nullable(Int64)",
    "Array(Nullable(Int32))",
    "Array(Array(String))",
    "Map(String, Nullable(String))",
    "Tuple(a Int32, b Nullable(String))",
    "Point",
    "JSON",
];

/// Ways to read a value.
const READINGS: [&str; 15] = [
    "plain",
    "captured",
    "base64",
    "hex",
    "json",
    "lsn",
    "days",
    "seconds",
    "milliseconds",
    "microseconds",
    "nanoseconds",
    "time(microseconds)",
    "decimal(2)",
    "decimal(-3)",
    "decimal(40)",
];

#[derive(Debug, Arbitrary)]
struct Case<'c> {
    of: u8,
    own_type: Option<&'c str>,
    reading: u8,
    empties: bool,
    rounds: bool,
    values: [&'c str; 3],
}

/// Values for a column: what is taken adds a row, what is refused leaves the column as it was and is told without the value.
///
/// # Panics
/// If not.
pub fn fill_columns(data: &[u8]) {
    let Ok(case) = Case::arbitrary(&mut Unstructured::new(data)) else { return };
    let text = case.own_type.unwrap_or(TYPES[usize::from(case.of) % TYPES.len()]);
    let Ok(of) = Type::parse(text) else {
        assert!(case.own_type.is_some(), "a type of ours");
        return;
    };
    assert!(!of.can_be_nullable() || of.nullable().is_nullable(), "what can hold null does");
    let reading: Reading = READINGS[usize::from(case.reading) % READINGS.len()].parse().expect("a reading of ours");
    let mut column = Column::new("c", of.clone());
    if case.empties {
        column = column.emptying_null();
    }
    if case.rounds {
        column = column.rounding_times();
    }
    for value in case.values {
        let before = (column.rows(), written(&column));
        match column.push_json(value, &reading) {
            Ok(()) => {
                assert_eq!(column.rows(), before.0 + 1, "a value is a row");
                // A caller gives what a parser found to be a value.
                let is_value = serde_json::from_str::<serde::de::IgnoredAny>(value).is_ok();
                if is_value && text == "Int64" && case.reading == 0 {
                    assert_same(&column, value);
                }
            }
            Err(misfit) => {
                assert_eq!((column.rows(), written(&column)), before, "a misfit leaves no trace");
                let said = misfit.to_string();
                assert_eq!(said, format!("column c of type {} cannot hold the value: {}", misfit.wanted, misfit.what));
            }
        }
    }
    let whole = written(&column);
    column.truncate(column.rows());
    assert_eq!(written(&column), whole);
    column.clear();
    assert_eq!(column.rows(), 0);
}

/// The column's bytes in a block of its own.
fn written(column: &Column) -> Vec<u8> {
    let mut out = Vec::new();
    Block::new(vec![column.clone()]).write(&mut out);
    out
}

/// The last integer that was stored is the one that was written.
fn assert_same(column: &Column, value: &str) {
    let bytes = written(column);
    let (_, last) = bytes.split_last_chunk::<8>().expect("eight bytes a value");
    let stored = i64::from_le_bytes(*last);
    let text = value.trim().trim_matches('"');
    if let Ok(number) = text.parse::<i64>() {
        assert_eq!(stored, number);
    }
}
