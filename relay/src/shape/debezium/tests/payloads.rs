//! Payloads that are expanded.

use super::{Case, Input, PAYLOAD, Show};

/// Payloads under `table.expand.json.payload`, JsonConverter without schemas, and what the event router made of each.
pub(super) fn payloads() -> Vec<Case> {
    let case =
        |payload: &'static str, debezium| (payload, Input::new().expand().payload(payload), Show::Value, debezium);
    vec![
        case(PAYLOAD, r#"{"id":1,"t":1.1}"#),
        case(r#"{"a":1}"#, r#"{"a":1}"#),
        case("{}", "{}"),
        case(r#"{"o": {"n": null}}"#, r#"{"o":{}}"#),
        case(r#"{"o": {"e": []}}"#, r#"{"o":{}}"#),
        case(r#"{"a": [null, 1]}"#, r#"{"a":[null,1]}"#),
        case(r#"{"a": [[1], [2]]}"#, r#"{"a":[[1],[2]]}"#),
        case(r#"{"n": 9223372036854775807}"#, r#"{"n":9223372036854775807}"#),
        case(r#"{"n": 10.5}"#, r#"{"n":10.5}"#),
        case(r#"{"a-b": 1, "c": "é \" \n /"}"#, r#"{"a-b":1,"c":"é \" \n /"}"#),
        case(r#""text""#, r#""\"text\"""#),
        case("5", r#""5""#),
        case("null", r#""null""#),
        case("not json", r#""not json""#),
        case(r#"{"n": 10.50}"#, r#"{"n":10.5}"#),
        case(r#"{"n": 12345678.5}"#, r#"{"n":1.23456785E7}"#),
        case(r#"{"n": 12345678901234567.89}"#, r#"{"n":1.2345678901234568E16}"#),
        case(r#"{"n": 9223372036854775808}"#, "the task dies: Invalid type for STRUCT: class java.lang.String"),
        case(
            r#"{"lines": [{"price": 10}, {"price": 10.5}]}"#,
            "the task dies: Invalid type for STRUCT: class java.lang.String",
        ),
        case(r#"{"l": [{"a": {"x": 1}}, {"a": {"y": 2}}]}"#, r#"{"l":[{"a":{"y":null}},{"a":{"y":2}}]}"#),
        case(r#"{"a": [{}, {"x": 1}]}"#, r#"{"a":[{"x":null},{"x":1}]}"#),
        case(r#"{"a": ["x", 1]}"#, r#""{\"a\": [\"x\", 1]}""#),
        case(r#"{"a": [1, 2147483648]}"#, r#""{\"a\": [1, 2147483648]}""#),
        case(r#"{"a": [null]}"#, r#""{\"a\": [null]}""#),
        case(r#"{"a": [[], [2]]}"#, r#""{\"a\": [[], [2]]}""#),
        case(r#"{"": 1}"#, r#""{\"\": 1}""#),
        case("[]", r#""[]""#),
        case("[1, 2]", "the task dies: Invalid type for ARRAY: class java.lang.String"),
        case("[1, 2.5]", r#""[1, 2.5]""#),
        (
            "the first one, `table.json.payload.null.behavior = optional_bytes`",
            Input::new().expand().keep_nulls(),
            Show::Value,
            r#"{"id":1,"none":null,"t":1.1}"#,
        ),
    ]
}
