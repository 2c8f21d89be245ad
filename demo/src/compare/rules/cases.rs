//! What each rule explains, and what comes near it and is a failure all the same: operation, path, Debezium's value, the other's.

/// The name of the rule, and a difference that it explains.
pub(super) const EXPLAINED: &[(&str, &str, &str, &str, &str)] = &[
    ("snapshot-position", "r", "value.source.lsn", "1", "2"),
    ("snapshot-position", "r", "value.source.sequence", r#""[null,\"1\"]""#, r#""[null,\"2\"]""#),
    ("snapshot-first", "r", "value.source.snapshot", r#""first_in_data_collection""#, r#""first""#),
    ("snapshot-partitions", "r", "record", r#""public.measures""#, "absent"),
    ("snapshot-dates", "r", "value.after.date", "-718798", "-719163"),
    ("snapshot-dates", "r", "value.after.date", r#""0001-12-31Z""#, r#""0000-12-31Z""#),
    ("run-id", "c", "headers.__debezium.context.runId", UUID, OTHER_UUID),
    ("carried-types", "u", "value.before.pg_lsn", "absent", r#""0/0""#),
    ("carried-types", "d", "schema.value.before.box", "absent", "{}"),
    ("negative-scale", "c", "value.after.numeric_3_neg2", r#""BMLO""#, r#""MAw=""#),
    ("negative-scale", "c", "value.after.numeric_3_neg2", r#""12300.000""#, r#""12300""#),
    ("negative-scale-schema", "c", "schema.value.after.numeric_3_neg2.parameters.scale", r#""2046""#, r#""0""#),
    ("enum-array-schema", "c", "schema.value.before.mood_array.items.optional", "false", "true"),
    (
        "new-enum-label",
        "u",
        "schema.value.after.phase.parameters.allowed",
        r#""planned,done""#,
        r#""planned,done,added later""#,
    ),
    ("matrix", "u", "value.after.text_matrix", r#"["[Ljava.lang.String;@1f"]"#, r#"[["a"]]"#),
    ("matrix", "r", "value.after.int4_matrix", "[null,null]", "[[1,2],[3,null]]"),
    ("null-for-a-value", "c", "value.after.name", "null", r#""a name""#),
    ("timetz-array", "c", "value.after.timetz_array", r#"["10:34:56Z",null]"#, r#"["10:34:56.789Z",null]"#),
    ("shortest-float", "u", "value.before.float4", "1.17549435E-38", "1.1754944E-38"),
    ("shortest-float", "u", "value.after.float8_array", "[2.0E-3,1.0]", "[2E-3,1.0]"),
    ("interval-rounding", "u", "value.before.interval", "-1076536259575687", "-1076536259575688"),
    ("infinity-as-text", "u", "key.timestamp", r#""+294247-01-10T04:00:25.2Z""#, r#""infinity""#),
    ("expression-default", "c", "value.after.text_expression", r#""a""#, "null"),
    ("message-collection", "transaction", "value.data_collections", ADDRESS, NAMED),
];

/// Differences that no rule explains.
pub(super) const UNEXPLAINED: &[(&str, &str, &str, &str)] = &[
    ("c", "value.source.lsn", "1", "2"),
    ("r", "value.source.lsn", "1", "absent"),
    ("r", "value.source.schema", r#""a""#, r#""b""#),
    ("c", "headers.__debezium.context.runId", UUID, r#""none""#),
    ("c", "headers.__debezium.context.taskId", UUID, OTHER_UUID),
    ("u", "value.after.text_matrix", r#"["a"]"#, r#"[["a"]]"#),
    ("u", "value.after.text_array", r#"["[Ljava.lang.String;@1f"]"#, r#"["a"]"#),
    ("u", "value.before.pg_lsn", r#""0/0""#, "absent"),
    ("u", "value.before.text", "absent", r#""0/0""#),
    ("c", "value.after.numeric_10_2", r#""BMLO""#, r#""MAw=""#),
    ("c", "value.after.name", r#""a""#, r#""b""#),
    ("c", "value.after.name", r#""a name""#, "null"),
    ("c", "value.after.timetz_array", r#"["10:34:57Z"]"#, r#"["10:34:56.789Z"]"#),
    ("c", "value.after.timetz_array", r#"["10:34:56.789Z"]"#, r#"["10:34:56Z"]"#),
    ("c", "value.after.float8", "1.1", "1.1000000001"),
    ("c", "value.after.float8", "1.1", "1.10"),
    ("c", "value.after.int8", "10", "1"),
    ("c", "value.after.numeric_3_neg2", r#""12300.000""#, r#""12400""#),
    ("r", "value.after.date", r#""2001-12-31Z""#, r#""2000-12-31Z""#),
    ("c", "value.after.timestamp", r#""2024-01-10T04:00:25.2Z""#, r#""infinity""#),
    ("c", "value.after.int8", "10", "11"),
    ("c", "value.after.interval", "10", "12"),
    ("r", "value.source.snapshot", r#""last""#, r#""first""#),
    ("r", "record", "absent", r#""public.measures""#),
    ("r", "record", r#""public.measures_2024""#, "absent"),
    ("c", "record", r#""public.measures""#, "absent"),
    ("c", "value.after.date", "-718798", "-719163"),
    ("r", "value.after.date", "1", "2"),
    ("c", "schema.value.after.numeric_10_2.parameters.scale", r#""2046""#, r#""0""#),
    ("c", "schema.value.after.text_array.items.optional", "false", "true"),
    ("u", "schema.value.after.phase.parameters.allowed", r#""planned,done,added later""#, r#""planned,done""#),
    ("c", "value.after.text_expression", r#""a""#, r#""b""#),
    ("transaction", "value.data_collections", ADDRESS, r#"[{"data_collection":"message","event_count":2}]"#),
    ("transaction", "value.data_collections", NAMED, ADDRESS),
];

const UUID: &str = r#""01a1ff35-be40-76f7-b9e6-73b60d777d15""#;
const OTHER_UUID: &str = r#""01a1ff35-bbc1-7b71-9d11-71a3903c5da0""#;

const ADDRESS: &str = r#"[{"data_collection":"io.debezium.LogicalDecodingMessageId@5d16535e","event_count":1}]"#;
const NAMED: &str = r#"[{"data_collection":"message","event_count":1}]"#;
