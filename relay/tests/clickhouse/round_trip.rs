//! Each type, from the JSON that changes and events carry to what the server prints of it.

use postrider_relay::encode::native::{Block, Reading, Unit};

use super::database::{Database, column};

/// A type, how the value is read, the value, and what the server prints.
type Case = (&'static str, Reading, &'static str, &'static str);

fn decimal(scale: i32) -> Reading {
    Reading::Decimal { scale }
}

fn numbers() -> Vec<Case> {
    use Reading::{Captured, Lsn, Plain};
    vec![
        ("Bool", Plain, "true", "true"),
        ("Bool", Plain, "0", "false"),
        ("Nullable(Bool)", Plain, "null", "ᴺᵁᴸᴸ"),
        ("Int8", Plain, "-128", "-128"),
        ("UInt8", Plain, "255", "255"),
        ("UInt8", Plain, "true", "1"),
        ("Int16", Plain, "-32768", "-32768"),
        ("UInt16", Plain, "65535", "65535"),
        ("Int32", Plain, "-2147483648", "-2147483648"),
        ("UInt32", Plain, "4294967295", "4294967295"),
        ("Int64", Plain, "-9223372036854775808", "-9223372036854775808"),
        ("Int64", Plain, "9223372036854775807", "9223372036854775807"),
        ("Int64", Plain, r#""9007199254740993""#, "9007199254740993"),
        ("Int64", Plain, "1e3", "1000"),
        ("UInt64", Plain, "18446744073709551615", "18446744073709551615"),
        ("UInt64", Lsn, r#""16/B374D848""#, "97500059720"),
        ("Int128", Plain, "-170141183460469231731687303715884105728", "-170141183460469231731687303715884105728"),
        ("UInt128", Plain, "340282366920938463463374607431768211455", "340282366920938463463374607431768211455"),
        (
            "Int256",
            Plain,
            "-57896044618658097711785492504343953926634992332820282019728792003956564819968",
            "-57896044618658097711785492504343953926634992332820282019728792003956564819968",
        ),
        (
            "UInt256",
            Plain,
            "115792089237316195423570985008687907853269984665640564039457584007913129639935",
            "115792089237316195423570985008687907853269984665640564039457584007913129639935",
        ),
        ("Nullable(Int32)", Plain, "null", "ᴺᵁᴸᴸ"),
        ("Nullable(Int32)", Plain, "7", "7"),
        ("Float32", Plain, "1.5", "1.5"),
        ("Float32", Plain, "3.4028235E38", "3.4028235e38"),
        ("Float64", Plain, "0.1", "0.1"),
        ("Float64", Plain, "-1.7976931348623157e308", "-1.7976931348623157e308"),
        ("Float64", Plain, r#""NaN""#, "nan"),
        ("Float64", Plain, r#""-Infinity""#, "-inf"),
        ("Decimal(9, 2)", decimal(2), r#""AJY=""#, "1.5"),
        ("Decimal(9, 2)", Captured, r#""AJY=""#, "1.5"),
        ("Decimal(18, 4)", decimal(2), r#""nA==""#, "-1"),
        ("Decimal(38, 0)", Plain, "99999999999999999999999999999999999999", "99999999999999999999999999999999999999"),
        ("Decimal(38, 10)", Plain, r#""-0.0000000001""#, "-0.0000000001"),
        ("Decimal(76, 38)", Captured, r#"{"scale":1,"value":"Dw=="}"#, "1.5"),
        (
            "Decimal(76, 0)",
            Plain,
            r#""-9999999999999999999999999999999999999999999999999999999999999999999999999999""#,
            "-9999999999999999999999999999999999999999999999999999999999999999999999999999",
        ),
        ("Int64", decimal(0), r#""AJY=""#, "150"),
        ("SimpleAggregateFunction(max, UInt64)", Plain, "5", "5"),
    ]
}

fn texts() -> Vec<Case> {
    use Reading::{Bits, Bytes, Captured, Hex, Json, Plain};
    vec![
        ("String", Plain, r#""""#, ""),
        ("String", Plain, r#""a\"b\\c\u00e9\ud83d\udc0e""#, "a\"b\\cé🐎"),
        ("String", Plain, r#""a\u0000\n\n b""#, "a\0\n\n b"),
        ("String", Plain, "12345678901234567890.10", "12345678901234567890.10"),
        ("String", Plain, r#"{"b": [1, 2.50], "a": null}"#, r#"{"b": [1, 2.50], "a": null}"#),
        ("String", Json, r#""{\"b\": [1, 2.50]}""#, r#"{"b": [1, 2.50]}"#),
        ("String", Plain, "[[1,2],[3,4]]", "[[1,2],[3,4]]"),
        ("String", Bytes, r#""Zm9vYmFy""#, "foobar"),
        ("String", Hex, r#""666f6f""#, "foo"),
        ("String", Bits(Some(5)), r#""FA==""#, "10100"),
        ("String", Bits(None), r#""BQ==""#, "101"),
        ("String", Bits(Some(1)), "true", "1"),
        ("String", decimal(3), r#""AJY=""#, "0.150"),
        ("String", Captured, r#"{"scale":1,"value":"Dw=="}"#, "1.5"),
        ("Nullable(String)", Plain, "null", "ᴺᵁᴸᴸ"),
        ("Nullable(String)", Plain, r#""NULL""#, "NULL"),
        ("LowCardinality(String)", Plain, r#""ok""#, "ok"),
        ("LowCardinality(Nullable(String))", Plain, "null", "ᴺᵁᴸᴸ"),
        ("LowCardinality(Nullable(String))", Plain, r#""it's""#, "it's"),
        ("FixedString(3)", Plain, r#""abc""#, "abc"),
        ("FixedString(3)", Plain, r#""é""#, "é\0"),
        ("Enum8('a' = 1, 'it\\'s' = -2)", Plain, r#""it's""#, "it's"),
        ("Enum16('big' = 1000)", Plain, r#""big""#, "big"),
        ("Nullable(Enum8('' = 0))", Plain, "null", "ᴺᵁᴸᴸ"),
        ("UUID", Plain, r#""018f4e2e-7b5c-7d2e-8f3a-0123456789ab""#, "018f4e2e-7b5c-7d2e-8f3a-0123456789ab"),
        ("UUID", Plain, r#""018F4E2E7B5C7D2E8F3A0123456789AB""#, "018f4e2e-7b5c-7d2e-8f3a-0123456789ab"),
        ("Nullable(UUID)", Plain, "null", "ᴺᵁᴸᴸ"),
        ("IPv4", Plain, r#""10.0.0.1""#, "10.0.0.1"),
        ("IPv4", Plain, r#""10.0.0.1/32""#, "10.0.0.1"),
        ("IPv6", Plain, r#""2001:db8::1""#, "2001:db8::1"),
        ("IPv6", Plain, r#""10.0.0.1""#, "::ffff:10.0.0.1"),
        ("JSON", Json, r#""{\"a\": {\"b\": 1}}""#, r#"{"a":{"b":1}}"#),
        ("JSON", Plain, r#"{"a": [1, "x"]}"#, r#"{"a":[1,"x"]}"#),
        ("JSON(a UInt8)", Plain, r#"{"a": 7}"#, r#"{"a":7}"#),
    ]
}

fn times() -> Vec<Case> {
    use Reading::{Captured, Days, Plain, Time, Timestamp};
    use Unit::{Microseconds, Milliseconds, Nanoseconds, Seconds};
    vec![
        ("Date", Days, "0", "1970-01-01"),
        ("Date", Plain, r#""2149-06-06""#, "2149-06-06"),
        ("Date32", Days, "-25567", "1900-01-01"),
        ("Date32", Captured, "19782", "2024-02-29"),
        ("Date32", Plain, r#""2299-12-31""#, "2299-12-31"),
        ("Date32", Plain, r#""2024-02-29Z""#, "2024-02-29"),
        ("Nullable(Date32)", Plain, "null", "ᴺᵁᴸᴸ"),
        ("DateTime", Plain, r#""2024-02-29T12:34:56Z""#, "2024-02-29T12:34:56Z"),
        ("DateTime('UTC')", Timestamp(Seconds), "4294967295", "2106-02-07T06:28:15Z"),
        ("DateTime64(6)", Captured, "1709210096789123", "2024-02-29T12:34:56.789123Z"),
        ("DateTime64(6, 'UTC')", Plain, r#""2024-02-29T12:34:56.789Z""#, "2024-02-29T12:34:56.789000Z"),
        ("DateTime64(6, 'Europe/Berlin')", Plain, r#""2024-02-29T13:34:56+01:00""#, "2024-02-29T12:34:56.000000Z"),
        ("DateTime64(6)", Plain, r#""2024-02-29T14:34:56\u002B02:00""#, "2024-02-29T12:34:56.000000Z"),
        ("DateTime64(3)", Timestamp(Milliseconds), "-1", "1969-12-31T23:59:59.999Z"),
        ("DateTime64(3)", Timestamp(Microseconds), "1709210096789000", "2024-02-29T12:34:56.789Z"),
        ("DateTime64(9)", Timestamp(Nanoseconds), "1709210096789123456", "2024-02-29T12:34:56.789123456Z"),
        ("DateTime64(0)", Plain, r#""2299-12-31T23:59:59Z""#, "2299-12-31T23:59:59Z"),
        ("DateTime64(6)", Plain, r#""1900-01-01T00:00:00Z""#, "1900-01-01T00:00:00.000000Z"),
        ("Nullable(DateTime64(6))", Plain, "null", "ᴺᵁᴸᴸ"),
        ("Time64(6)", Time(Microseconds), "45296789123", "12:34:56.789123"),
        ("Time64(6)", Captured, "86400000000", "24:00:00.000000"),
        ("Time64(3)", Plain, r#""12:34:56.789Z""#, "12:34:56.789"),
        ("Time64(9)", Time(Nanoseconds), "1", "00:00:00.000000001"),
        ("Time", Time(Milliseconds), "45296000", "12:34:56"),
    ]
}

fn collections() -> Vec<Case> {
    use Reading::{Bytes, Captured, Json, Map, Plain, Time};
    let list = |of: Reading| Reading::Array(Box::new(of));
    vec![
        ("Array(Nullable(Int32))", Plain, "[1,null,-3]", "[1,NULL,-3]"),
        ("Array(String)", Plain, r#"["a","it's", "x,]\""]"#, r#"['a','it\'s','x,]"']"#),
        ("Array(Float32)", Plain, "[1.5, -2]", "[1.5,-2]"),
        ("Array(Array(UInt8))", Plain, "[[1,2],[],[3]]", "[[1,2],[],[3]]"),
        ("Array(LowCardinality(String))", Plain, r#"["a","a"]"#, "['a','a']"),
        ("Array(Nullable(String))", list(Bytes), r#"["Zm9v",null]"#, "['foo',NULL]"),
        ("Array(Time64(6))", list(Time(Unit::Microseconds)), "[1000000]", "['00:00:01.000000']"),
        ("Array(Nullable(Decimal(10, 2)))", Captured, r#"["AJY="]"#, "[1.5]"),
        ("Array(UInt8)", Json, r#""[1,2]""#, "[1,2]"),
        ("Array(UInt8)", Plain, "[]", "[]"),
        ("Map(String, Nullable(String))", Json, r#""{\"a\":\"1\",\"b\":null}""#, "{'a':'1','b':NULL}"),
        ("Map(String, Nullable(String))", Map(Box::new(Plain)), r#"{"a":"1","b":null}"#, "{'a':'1','b':NULL}"),
        ("Map(LowCardinality(String), UInt64)", Plain, r#"{"é":1}"#, "{'é':1}"),
        ("Map(Int16, Float64)", Plain, "[[1,0.5],[2,1]]", "{1:0.5,2:1}"),
        ("Map(UInt8, String)", Plain, r#"{"7":"x"}"#, "{7:'x'}"),
        ("Map(String, Array(UInt8))", Plain, r#"{"a":[1,2],"b":[]}"#, "{'a':[1,2],'b':[]}"),
        ("Tuple(a UInt8, b Nullable(String))", Plain, r#"{"b":"x","a":1}"#, "(1,'x')"),
        ("Tuple(a UInt8, b Nullable(String))", Plain, r#"{"a":1}"#, "(1,NULL)"),
        ("Tuple(UInt8, String)", Plain, r#"[1,"x"]"#, "(1,'x')"),
        ("Tuple(`a b` Array(UInt8))", Plain, r#"{"a b":[1]}"#, "([1])"),
        ("Array(Tuple(x Int8, y Int8))", Plain, r#"[{"x":1,"y":2},{"y":4,"x":3}]"#, "[(1,2),(3,4)]"),
        ("Point", Plain, r#"{"x":1.5,"y":-2.0,"wkb":"AQ==","srid":null}"#, "(1.5,-2)"),
    ]
}

async fn check(cases: Vec<Case>) {
    let database = Database::new().await;
    let named = |at: usize| format!("c{at}");
    let list: Vec<String> = cases.iter().enumerate().map(|(at, case)| format!("{} {}", named(at), case.0)).collect();
    database.command(&format!("create table {{db}}.t ({}) engine = Memory", list.join(", "))).await;
    let columns = cases.iter().enumerate();
    let columns = columns.map(|(at, (of, reading, json, _))| column(&named(at), of, &[json, json], reading));
    database.insert("t", Block::new(columns.collect()), "1").await.expect("the server takes it");
    let rows = database.lines(&format!("select * from {}.t", database.name)).await;
    assert_eq!(rows.len(), 2);
    for row in rows {
        for (found, (of, _, json, expected)) in row.iter().zip(&cases) {
            assert_eq!(found, expected, "{of} of {json}");
        }
    }
}

#[tokio::test]
async fn numbers_read_back_to_the_last_digit() {
    check(numbers()).await;
}

#[tokio::test]
async fn texts_and_what_is_written_as_text_read_back() {
    check(texts()).await;
}

#[tokio::test]
async fn dates_and_times_read_back() {
    check(times()).await;
}

#[tokio::test]
async fn lists_maps_and_tuples_read_back() {
    check(collections()).await;
}
