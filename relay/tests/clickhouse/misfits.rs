//! What does not fit is told, and leaves nothing behind.

use postrider_relay::encode::native::{Block, Column, Reading, Type, Unit, What};

use super::database::{Database, column};

/// A type, how the value is read, the value, and what is wrong.
type Case = (&'static str, Reading, &'static str, What);

fn numbers_and_texts() -> Vec<Case> {
    use Reading::{Bits, Bytes, Captured, Hex, Lsn, Plain};
    let decimal = |scale| Reading::Decimal { scale };
    vec![
        ("Int32", Plain, "null", What::Null),
        ("String", Plain, "null", What::Null),
        ("Array(Int8)", Plain, "null", What::Null),
        ("Map(String, String)", Plain, "null", What::Null),
        ("Array(Int8)", Plain, "[1,null]", What::Null),
        ("Tuple(a Int8, b Int8)", Plain, r#"{"a":1}"#, What::Null),
        ("JSON", Plain, "null", What::Null),
        ("Int8", Plain, "128", What::Overflow),
        ("Int8", Plain, "-129", What::Overflow),
        ("UInt8", Plain, "-1", What::Overflow),
        ("UInt8", Plain, "256", What::Overflow),
        ("Int32", Plain, "2147483648", What::Overflow),
        ("Int64", Plain, "9223372036854775808", What::Overflow),
        ("UInt64", Plain, "18446744073709551616", What::Overflow),
        ("UInt256", Plain, "1e78", What::Overflow),
        ("Int64", Plain, "1.5", What::Precision),
        ("Int64", Plain, r#""12 ""#, What::Unreadable),
        ("Int64", Plain, r#""""#, What::Unreadable),
        ("Int64", Plain, "true", What::Kind),
        ("Int64", Plain, "[1]", What::Kind),
        ("Int64", Plain, r#"{"a":1}"#, What::Kind),
        ("Int64", Plain, "nul", What::Malformed),
        ("UInt64", Lsn, r#""16/G""#, What::Unreadable),
        ("Bool", Plain, "2", What::Kind),
        ("Bool", Plain, r#""yes""#, What::Unreadable),
        ("Float32", Plain, "0.1234567890123", What::Precision),
        ("Float32", Plain, "16777217", What::Precision),
        ("Float32", Plain, "1e39", What::Overflow),
        ("Float64", Plain, "9007199254740993", What::Precision),
        ("Float64", Plain, "1e309", What::Overflow),
        ("Decimal(9, 2)", Plain, "1.005", What::Precision),
        ("Decimal(9, 2)", Plain, "10000000", What::Overflow),
        ("Decimal(9, 2)", Plain, r#""NaN""#, What::NotFinite),
        ("Decimal(9, 2)", Captured, r#""NaN""#, What::NotFinite),
        ("Decimal(9, 2)", Captured, r#""12.50""#, What::Unreadable),
        ("Decimal(9, 1)", decimal(2), r#""AJc=""#, What::Precision),
        ("Decimal(4, 2)", decimal(2), r#""J0A=""#, What::Overflow),
        ("Decimal(76, 0)", decimal(0), r#""AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=""#, What::Overflow),
        ("String", Bytes, r#""@@@@""#, What::Unreadable),
        ("String", Hex, r#""abc""#, What::Unreadable),
        ("String", Bits(Some(2)), r#""FA==""#, What::TooLong),
        ("String", Plain, r#""\ud800""#, What::Malformed),
    ]
}

fn dates_and_collections() -> Vec<Case> {
    use Reading::{Captured, Days, Json, Plain, Timestamp};
    vec![
        ("FixedString(3)", Plain, r#""abcd""#, What::TooLong),
        ("Enum8('a' = 1)", Plain, r#""b""#, What::Label),
        ("Enum8('a' = 1)", Plain, "1", What::Kind),
        ("UUID", Plain, r#""018f4e2e-7b5c-7d2e-8f3a-0123456789a""#, What::Unreadable),
        ("UUID", Plain, r#""018f4e2e_7b5c-7d2e-8f3a-0123456789ab""#, What::Unreadable),
        ("UUID", Plain, "1", What::Kind),
        ("IPv4", Plain, r#""10.0.0.0/8""#, What::Precision),
        ("IPv4", Plain, r#""2001:db8::1""#, What::Unreadable),
        ("IPv6", Plain, r#""::/0""#, What::Precision),
        ("Date", Days, "-1", What::OutOfRange),
        ("Date", Plain, r#""2149-06-07""#, What::OutOfRange),
        ("Date32", Days, "-25568", What::OutOfRange),
        ("Date32", Days, "-2147472692", What::OutOfRange),
        ("Date32", Plain, r#""infinity""#, What::OutOfRange),
        ("Date32", Plain, r#""2300-01-01""#, What::OutOfRange),
        ("Date32", Plain, r#""2024-02-29T12:00:00Z""#, What::Precision),
        ("Date32", Plain, r#""2023-02-29""#, What::Unreadable),
        ("Date32", Plain, "19782", What::Unit),
        ("DateTime", Plain, r#""1969-12-31T23:59:59Z""#, What::OutOfRange),
        ("DateTime", Plain, r#""2024-02-29T12:34:56.5Z""#, What::Precision),
        ("DateTime", Plain, "1709210096", What::Unit),
        ("DateTime64(3)", Captured, "1709210096789123", What::Precision),
        ("DateTime64(6)", Plain, "1709210096789", What::Unit),
        ("DateTime64(6)", Captured, "9223372036825200000", What::OutOfRange),
        ("DateTime64(6)", Timestamp(Unit::Milliseconds), "9223372036825200", What::OutOfRange),
        ("DateTime64(6)", Plain, r#""1899-12-31T23:59:59.999999Z""#, What::OutOfRange),
        ("DateTime64(6)", Plain, r#""2300-01-01T00:00:00Z""#, What::OutOfRange),
        ("DateTime64(9)", Plain, r#""2262-04-12T00:00:00Z""#, What::OutOfRange),
        ("DateTime64(9)", Timestamp(Unit::Nanoseconds), "9223372036854775807", What::OutOfRange),
        ("DateTime64(6)", Plain, r#""+12345-01-01T00:00:00Z""#, What::OutOfRange),
        ("DateTime64(6)", Plain, r#""yesterday""#, What::Unreadable),
        ("Time64(6)", Plain, r#""12:34:56+02""#, What::Unreadable),
        ("Time64(6)", Captured, "3600000000000000", What::OutOfRange),
        ("Array(Int8)", Plain, "{}", What::Kind),
        ("Array(Int8)", Plain, r#""nothing""#, What::Unreadable),
        ("Array(Int8)", Plain, "[1,200]", What::Overflow),
        ("Array(Array(Int8))", Plain, "[[1],[2,300]]", What::Overflow),
        ("Map(String, Int8)", Plain, r#"{"a":1,"b":200}"#, What::Overflow),
        ("Map(UInt8, Int8)", Plain, r#"{"x":1}"#, What::Unreadable),
        ("Map(UInt8, Int8)", Plain, "[[1,2,3]]", What::Kind),
        ("Tuple(a Int8)", Plain, r#"{"a":1,"b":2}"#, What::Member),
        ("Tuple(a Int8)", Plain, r#"{"a":1,"a":2}"#, What::Malformed),
        ("Tuple(Int8, Int8)", Plain, "[1]", What::Member),
        ("Tuple(Int8, Int8)", Plain, "[1,2,3]", What::Member),
        ("Point", Plain, r#"{"x":1}"#, What::Null),
        ("JSON", Plain, "[1]", What::Kind),
        ("JSON", Json, r#""7""#, What::Kind),
    ]
}

#[test]
fn what_does_not_fit_is_told_without_the_value() {
    for (of, reading, json, what) in numbers_and_texts().into_iter().chain(dates_and_collections()) {
        let mut column = Column::new("c", Type::parse(of).unwrap());
        let misfit = column.push_json(json, &reading).expect_err(&format!("{of} of {json}"));
        assert_eq!((misfit.what, misfit.wanted.as_str()), (what, of), "{of} of {json}");
        assert_eq!((column.rows(), column.bytes()), (0, 0), "{of} of {json} left something behind");
        let nullable = column.of().nullable();
        let mut column = Column::new("c", nullable);
        if what != What::Null {
            assert_eq!(column.push_json(json, &reading).map_err(|misfit| misfit.what), Err(what), "{of} of {json}");
            assert_eq!((column.rows(), column.bytes()), (0, 0), "{of} of {json} left something behind");
        }
    }
}

#[test]
fn times_are_rounded_down_only_where_that_is_said() {
    for (of, json) in [
        ("DateTime", r#""2024-02-29T12:34:56.9Z""#),
        ("DateTime64(3)", r#""1969-12-31T23:59:59.9999Z""#),
        ("Date32", r#""2024-02-29T23:59:59Z""#),
    ] {
        let mut column = Column::new("c", Type::parse(of).unwrap()).rounding_times();
        column.push_json(json, &Reading::Plain).unwrap();
        assert_eq!(column.rows(), 1, "{of}");
    }
}

#[test]
fn a_missing_list_is_empty_only_where_that_is_said_and_is_counted() {
    let mut column = Column::new("c", Type::parse("Array(Nullable(Int8))").unwrap()).emptying_null();
    column.push_json("null", &Reading::Plain).unwrap();
    column.push_null().unwrap();
    column.push_json("[1]", &Reading::Plain).unwrap();
    assert_eq!((column.rows(), column.emptied()), (3, 2));
}

#[tokio::test]
async fn rows_that_were_taken_back_leave_no_trace() {
    let database = Database::new().await;
    let types = [
        "Int32",
        "Nullable(String)",
        "Array(Array(Nullable(String)))",
        "Map(String, Array(UInt8))",
        "Tuple(a Nullable(Int8), b Array(String))",
        "Decimal(76, 2)",
        "UUID",
    ];
    let list: Vec<String> = types.iter().enumerate().map(|(at, of)| format!("c{at} {of}")).collect();
    database.command(&format!("create table {{db}}.t ({}) engine = Memory", list.join(", "))).await;
    let good = [
        "1",
        r#""x""#,
        r#"[["a",null],[]]"#,
        r#"{"k":[1,2]}"#,
        r#"{"a":1,"b":["y"]}"#,
        "1.25",
        r#""018f4e2e-7b5c-7d2e-8f3a-0123456789ab""#,
    ];
    let columns = types.iter().enumerate().map(|(at, of)| column(&format!("c{at}"), of, &[], &Reading::Plain));
    let mut block = Block::new(columns.collect());
    // Each time one column more was filled when the row turned out not to fit.
    for broken in 0..types.len() {
        for (column, json) in block.columns.iter_mut().zip(good) {
            column.push_json(json, &Reading::Plain).unwrap();
        }
        let rows = block.rows();
        for (column, json) in block.columns.iter_mut().zip(good).take(broken) {
            column.push_json(json, &Reading::Plain).unwrap();
        }
        assert!(block.columns[broken].push_json("!", &Reading::Plain).is_err());
        block.truncate(rows);
        assert_eq!(block.rows(), broken + 1);
    }
    database.insert("t", block, "1").await.unwrap();
    let rows = database.lines(&format!("select * from {}.t", database.name)).await;
    assert_eq!(rows.len(), types.len());
    assert!(rows.iter().all(|row| *row == rows[0]), "{rows:?}");
    assert_eq!(rows[0][2..5], ["[['a',NULL],[]]", "{'k':[1,2]}", "(1,['y'])"]);
}
