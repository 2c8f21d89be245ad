//! The engine's own reading of JSON as the oracle: what it takes of a value is what is written for it.

use postrider_relay::encode::native::{Block, Column, Reading, Type};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use super::database::Database;

const ROWS: usize = 600;

/// A type, and values of it as JSON has them.
fn columns() -> Vec<(&'static str, BoxedStrategy<Value>)> {
    let text = "(?s).{0,20}";
    let instant = (-2_208_988_800_i64..10_413_791_999, 0..1_000_000_u32).prop_map(|(seconds, micros)| {
        let time = printed(seconds);
        json!(format!("{time}.{micros:06}Z"))
    });
    let decimal = (any::<i64>(), 0..4_usize).prop_map(|(value, places)| {
        let digits = format!("{:0>5}", value.unsigned_abs() % 100_000_000_000_000);
        let (whole, fraction) = digits.split_at(digits.len() - places);
        let point = if places > 0 { "." } else { "" };
        json!(format!("{}{whole}{point}{fraction}", if value < 0 { "-" } else { "" }))
    });
    vec![
        ("Int8", any::<i8>().prop_map(|n| json!(n)).boxed()),
        ("UInt16", any::<u16>().prop_map(|n| json!(n)).boxed()),
        ("Int32", any::<i32>().prop_map(|n| json!(n)).boxed()),
        ("Int64", any::<i64>().prop_map(|n| json!(n)).boxed()),
        ("UInt64", any::<u64>().prop_map(|n| json!(n)).boxed()),
        ("Int128", any::<i128>().prop_map(|n| json!(n.to_string())).boxed()),
        ("Float64", any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(|n| json!(n)).boxed()),
        ("Decimal(18, 4)", decimal.clone().boxed()),
        ("Decimal(50, 10)", decimal.boxed()),
        ("Bool", any::<bool>().prop_map(|b| json!(b)).boxed()),
        ("String", text.prop_map(|s| json!(s)).boxed()),
        ("Nullable(String)", proptest::option::of(text).prop_map(|s| json!(s)).boxed()),
        ("LowCardinality(String)", "[a-c]{0,2}".prop_map(|s| json!(s)).boxed()),
        ("DateTime64(6, 'UTC')", instant.boxed()),
        ("UUID", any::<u128>().prop_map(|n| json!(uuid(n))).boxed()),
        ("IPv6", any::<u128>().prop_map(|n| json!(std::net::Ipv6Addr::from(n).to_string())).boxed()),
        (
            "Array(Nullable(Int32))",
            proptest::collection::vec(any::<Option<i32>>(), 0..5).prop_map(|v| json!(v)).boxed(),
        ),
        (
            "Array(Array(String))",
            proptest::collection::vec(proptest::collection::vec(text, 0..3), 0..3).prop_map(|v| json!(v)).boxed(),
        ),
        (
            "Map(String, Int64)",
            proptest::collection::btree_map(text, any::<i64>(), 0..3).prop_map(|v| json!(v)).boxed(),
        ),
    ]
}

fn uuid(value: u128) -> String {
    let hex = format!("{value:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// `2024-02-29T12:34:56` of seconds since 1970, by counting years and months.
fn printed(seconds: i64) -> String {
    let (mut days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let mut year = 1970;
    let length = |year: i64| if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) { 366 } else { 365 };
    while days < 0 {
        year -= 1;
        days += length(year);
    }
    while days >= length(year) {
        days -= length(year);
        year += 1;
    }
    let february = if length(year) == 366 { 29 } else { 28 };
    let mut month = 1;
    for len in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < len {
            break;
        }
        days -= len;
        month += 1;
    }
    let day = days + 1;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

#[tokio::test]
async fn what_is_written_is_what_the_engine_reads() {
    let database = Database::new().await;
    let columns = columns();
    let list: Vec<String> = columns.iter().enumerate().map(|(at, (of, _))| format!("c{at} {of}")).collect();
    for table in ["ours", "theirs"] {
        database.command(&format!("create table {{db}}.{table} (n UInt32, {}) engine = Memory", list.join(", "))).await;
    }
    let mut runner = TestRunner::new(Config::default());
    let mut block = Block::new(vec![Column::new("n", Type::parse("UInt32").unwrap())]);
    block.columns.extend(
        columns.iter().enumerate().map(|(at, (of, _))| Column::new(format!("c{at}"), Type::parse(of).unwrap())),
    );
    let mut lines = String::new();
    for n in 0..ROWS {
        block.columns[0].push_i64(n as i64).unwrap();
        let mut row = serde_json::Map::from_iter([("n".to_owned(), json!(n))]);
        for (at, (of, strategy)) in columns.iter().enumerate() {
            let value = strategy.new_tree(&mut runner).unwrap().current();
            let json = value.to_string();
            block.columns[at + 1]
                .push_json(&json, &Reading::Plain)
                .unwrap_or_else(|misfit| panic!("{of} of {json}: {misfit}"));
            row.insert(format!("c{at}"), value);
        }
        lines.push_str(&Value::Object(row).to_string());
        lines.push('\n');
    }
    database.insert("ours", block, "1").await.unwrap();
    let theirs = format!(
        "insert into {}.theirs settings precise_float_parsing = 1, date_time_input_format = 'best_effort' format JSONEachRow\n{lines}",
        database.name
    );
    database.client.command("insert what the engine reads", &theirs).await.unwrap();
    for (at, (of, _)) in columns.iter().enumerate() {
        let differing = format!(
            "select n from {{db}}.ours as o join {{db}}.theirs as t using (n) where not (o.c{at} <=> t.c{at}) order by n limit 3"
        );
        let differing = if of.starts_with("Array") || of.starts_with("Map") {
            differing.replace(&format!("not (o.c{at} <=> t.c{at})"), &format!("toString(o.c{at}) != toString(t.c{at})"))
        } else {
            differing
        };
        assert_eq!(database.texts(&differing).await, Vec::<String>::new(), "{of}");
    }
    assert_eq!(database.texts("select count() from {db}.theirs").await, [ROWS.to_string()]);
}
