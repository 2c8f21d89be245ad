//! The Rust library, the SQL functions and the table's constraints agree on what an event may be, to the byte and to the word.

use std::fmt::Write as _;

use postrider::{Error, Event};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::writer::{Database, connect};

/// An event as both sides are given it.
struct Case {
    aggregate_type: String,
    aggregate_id: String,
    event_type: String,
    payload: String,
    headers: Value,
}

impl Case {
    fn new(aggregate_type: &str, aggregate_id: &str, event_type: &str) -> Self {
        Self {
            aggregate_type: aggregate_type.to_owned(),
            aggregate_id: aggregate_id.to_owned(),
            event_type: event_type.to_owned(),
            payload: "{}".to_owned(),
            headers: json!({}),
        }
    }

    fn payload(payload: impl Into<String>) -> Self {
        Self { payload: payload.into(), ..Self::new("a", "1", "t") }
    }

    fn headers(headers: Value) -> Self {
        Self { headers, ..Self::new("a", "1", "t") }
    }

    fn in_rust(&self) -> Result<(), String> {
        let event = Event::json_text(&*self.aggregate_type, &self.aggregate_id, &*self.event_type, &*self.payload);
        let headers = self.headers.as_object().unwrap();
        let event = headers.iter().fold(event, |event, (name, value)| event.header(name, value.as_str().unwrap()));
        event.build().map(drop).map_err(|error| error.to_string())
    }

    async fn in_sql(&self, client: &Client) -> Result<(), String> {
        let emit = "select postrider.emit($1, $2, $3, $4::text::jsonb, $5)";
        self.run(client, emit).await
    }

    async fn in_table(&self, client: &Client) -> Result<(), String> {
        let insert = "insert into public.outbox_events (aggregate_type, aggregate_id, event_type, payload, headers)
            values ($1, $2, $3, $4::text::jsonb, $5)";
        self.run(client, insert).await
    }

    async fn run(&self, client: &Client, sql: &str) -> Result<(), String> {
        let fields: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
            [&self.aggregate_type, &self.aggregate_id, &self.event_type, &self.payload, &self.headers];
        let result = client.execute(sql, &fields).await;
        result.map(drop).map_err(|error| error.as_db_error().unwrap().message().to_owned())
    }
}

fn headers(count: usize, value_bytes: usize) -> Value {
    (0..count).map(|number| (format!("{number:02}"), json!("v".repeat(value_bytes)))).collect()
}

/// Cases that every writer must take, each at a limit's edge.
fn allowed() -> Vec<Case> {
    vec![
        Case::new(&"a".repeat(200), &"ü".repeat(256), &"t".repeat(255)),
        Case::new("Az09._-", " ", "\n"),
        Case::new("...", "1", "t"),
        Case::payload(format!("\"{}\"", "x".repeat(999_998))),
        Case::payload(format!("[{}]", vec!["1"; 333_333].join(","))),
        Case::payload("null"),
        Case::headers(headers(64, 510)),
        Case::headers(json!({"n".repeat(255): "v".repeat(8_192)})),
        Case::headers(json!({"empty": "", "identity": "x", "Id": "x", "postrider": "x"})),
        Case::headers(json!({"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"})),
        Case::headers(json!({"traceparent": "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x-y"})),
    ]
}

/// Cases that no writer may take, and whether the table's own constraints refuse them, too: those know no header's name.
fn refused() -> Vec<(Case, bool)> {
    let mut one_byte_more = headers(64, 510);
    one_byte_more["63"] = json!("v".repeat(511));
    let trace = |value: &str| (Case::headers(json!({"traceparent": value})), false);
    vec![
        (Case::new("", "1", "t"), true),
        (Case::new("a", "", "t"), true),
        (Case::new("a", "1", ""), true),
        (Case::new(&"a".repeat(201), "1", "t"), true),
        (Case::new("a", &("ü".repeat(256) + "x"), "t"), true),
        (Case::new("a", "1", &"t".repeat(256)), true),
        (Case::new("a b", "1", "t"), true),
        (Case::new("a\n", "1", "t"), true),
        (Case::new("ärger", "1", "t"), true),
        (Case::new(".", "1", "t"), true),
        (Case::new("..", "1", "t"), true),
        (Case::payload(format!("\"{}\"", "x".repeat(999_999))), true),
        (Case::payload(format!("[{}]", vec!["1"; 333_334].join(","))), true),
        (Case::payload(format!("[{}]", ["1e131071"; 8].join(","))), true),
        (Case::headers(headers(65, 1)), false),
        (Case::headers(one_byte_more), false),
        (Case::headers(json!({"n".repeat(256): ""})), false),
        (Case::headers(json!({"": "x"})), false),
        (Case::headers(json!({"n": "v".repeat(8_193)})), false),
        (Case::headers(json!({"id": "x"})), false),
        (Case::headers(json!({"event_type": "x"})), false),
        (Case::headers(json!({"postrider-position": "x"})), false),
        trace(""),
        trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1"),
        trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-011"),
        trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-"),
        trace("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"),
        trace("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        trace("00-00000000000000000000000000000000-00f067aa0ba902b7-01"),
        trace("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"),
    ]
}

#[tokio::test]
async fn what_is_allowed_in_rust_is_allowed_in_sql() {
    let database = Database::migrated().await;
    let client = database.client().await;
    for (number, case) in allowed().iter().enumerate() {
        assert_eq!(case.in_rust(), Ok(()), "case {number}");
        assert_eq!(case.in_sql(&client).await, Ok(()), "case {number}");
        assert_eq!(case.in_table(&client).await, Ok(()), "case {number}");
    }
}

#[tokio::test]
async fn what_is_refused_in_rust_is_refused_in_sql_with_the_same_words() {
    let database = Database::migrated().await;
    let client = database.client().await;
    for (number, (case, by_table)) in refused().iter().enumerate() {
        let message = case.in_rust().expect_err(&format!("case {number}"));
        assert_eq!(case.in_sql(&client).await, Err(message), "case {number}");
        assert_eq!(case.in_table(&client).await.is_err(), *by_table, "case {number}");
    }
}

#[tokio::test]
async fn bytes_have_the_limit_of_json() {
    let database = Database::migrated().await;
    let client = database.client().await;
    let emit = "select postrider.emit_bytes('a', '1', 't', $1)";
    client.execute(emit, &[&vec![0_u8; 1_000_000]]).await.unwrap();
    let error = client.execute(emit, &[&vec![0_u8; 1_000_001]]).await.unwrap_err();
    let in_rust = Event::bytes("a", 1, "t", vec![0; 1_000_001]).build().unwrap_err().to_string();
    assert_eq!(error.as_db_error().unwrap().message(), in_rust);
}

#[tokio::test]
async fn headers_that_are_not_a_flat_object_of_strings_are_refused_by_emit_and_by_the_table() {
    let database = Database::migrated().await;
    let client = database.client().await;
    for (headers, message) in [
        (r#"[]"#, "headers is not a JSON object"),
        (r#""text""#, "headers is not a JSON object"),
        (r#"null"#, "headers is not a JSON object"),
        (r#"{"n": 1}"#, "header \"n\" is not a string"),
        (r#"{"n": null}"#, "header \"n\" is not a string"),
        (r#"{"n": ["text"]}"#, "header \"n\" is not a string"),
        (r#"{"n": {"m": "text"}}"#, "header \"n\" is not a string"),
    ] {
        let case = Case::headers(serde_json::from_str(headers).unwrap());
        assert_eq!(case.in_sql(&client).await, Err(message.to_owned()), "{headers}");
        assert!(case.in_table(&client).await.is_err(), "{headers}");
    }
    let null = client.execute("select postrider.emit('a', '1', 't', '{}', null)", &[]).await;
    assert_eq!(super::refusal(null), "headers is null");
}

#[tokio::test]
async fn a_row_has_one_payload_at_most() {
    let database = Database::migrated().await;
    let client = database.client().await;
    let both = "insert into public.outbox_events (aggregate_type, aggregate_id, event_type, payload, payload_bytes)
        values ('a', '1', 't', '{}', '')";
    assert!(super::refusal(client.execute(both, &[]).await).contains("outbox_events_one_payload"));
}

/// JSON texts with everything that `jsonb` prints otherwise than it was written: whitespace, escapes, exponents, depth.
fn json_text() -> impl Strategy<Value = String> {
    let space = prop_oneof![4 => Just(""), 1 => Just(" "), 1 => Just("\n\t\r ")];
    let escape = prop_oneof![
        Just("\\n".to_owned()),
        Just("\\/".to_owned()),
        Just("\\\\".to_owned()),
        Just("\\\"".to_owned()),
        any::<u16>().prop_map(|unit| format!("\\u{unit:04x}")),
        (0_u16..0x100).prop_map(|unit| format!("\\u{unit:04X}")),
        any::<char>().prop_map(|character| {
            let mut units = [0; 2];
            character.encode_utf16(&mut units).iter().fold(String::new(), |mut text, unit| {
                write!(text, "\\u{unit:04x}").expect("a string takes all");
                text
            })
        }),
    ];
    let character = any::<char>()
        .prop_filter("as JSON has them unescaped", |character| *character >= ' ' && !"\"\\".contains(*character))
        .prop_map(String::from);
    let string = prop::collection::vec(prop_oneof![3 => character, 1 => escape], 0..8)
        .prop_map(|parts| format!("\"{}\"", parts.concat()));
    let exponent = prop_oneof![
        3 => Just(String::new()),
        3 => (-20_i32..20).prop_map(|exponent| format!("e{exponent}")),
        1 => (131_050_i32..131_080).prop_map(|exponent| format!("E+{exponent}")),
        1 => (16_370_i32..16_390).prop_map(|exponent| format!("e-{exponent}")),
    ];
    let number = ("-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20}|\\.0{1,5}|)", exponent)
        .prop_map(|(digits, exponent)| digits + &exponent);
    let leaf = prop_oneof![
        1 => prop_oneof![Just("null"), Just("true"), Just("false")].prop_map(str::to_owned),
        3 => number,
        3 => string.clone(),
    ];
    leaf.prop_recursive(4, 24, 6, move |inner| {
        let spaced =
            (space.clone(), inner, space.clone()).prop_map(|(before, value, after)| format!("{before}{value}{after}"));
        let array = prop::collection::vec(spaced.clone(), 0..6).prop_map(|items| format!("[{}]", items.join(",")));
        // Numbered keys are distinct: of equal keys jsonb keeps the last, and the library counts all.
        let object = prop::collection::vec((string.clone(), spaced), 0..6).prop_map(|members| {
            let member =
                |(number, (key, value)): (usize, &(String, String))| format!("\"{number} {}:{value}", &key[1..]);
            format!("{{{}}}", members.iter().enumerate().map(member).collect::<Vec<_>>().join(","))
        });
        prop_oneof![array, object]
    })
}

/// What the library counts for `json`. It tells the size only of what is too large, so eight numbers, each printed in 131 072
/// digits, come before it.
fn counted_in_rust(json: &str) -> Result<usize, Error> {
    let filler = "1e131071,".repeat(8);
    match Event::json_text("a", 1, "t", format!("[{filler}{json}]")).build() {
        Err(Error::TooLarge { size, unit: "bytes", .. }) => Ok(size - 2 - 8 * (131_072 + 2)),
        Err(error) => Err(error),
        Ok(_) => unreachable!("the filler alone is over the limit"),
    }
}

#[test]
fn the_library_knows_to_the_byte_what_jsonb_prints_and_what_it_refuses() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for postgres in [harness::oldest(), harness::newest()] {
        let client = runtime.block_on(connect(&postgres.environment().url("postgres")));
        let printed = runtime.block_on(client.prepare("select octet_length($1::text::jsonb::text)")).unwrap();
        let mut runner = TestRunner::new(Config { cases: 2_000, failure_persistence: None, ..Config::default() });
        let result = runner.run(&json_text(), |json| {
            let in_server = runtime.block_on(client.query_one(&printed, &[&json]));
            match (counted_in_rust(&json), in_server) {
                (Ok(counted), Ok(row)) => prop_assert_eq!(counted, usize::try_from(row.get::<_, i32>(0)).unwrap()),
                (Err(Error::Refused { .. }), Err(_)) => {}
                (in_rust, in_server) => prop_assert!(false, "library: {:?}, server: {:?}", in_rust, in_server),
            }
            Ok(())
        });
        let version: String = runtime.block_on(client.query_one("show server_version", &[])).unwrap().get(0);
        result.unwrap_or_else(|error| panic!("on Postgres {version}: {error}"));
    }
}
