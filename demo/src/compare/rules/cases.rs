//! What each rule explains, and what comes near it and is a failure all the same: operation, path, Debezium's value, the other's.

/// The name of the rule, and a difference that it explains.
pub(super) const EXPLAINED: &[(&str, &str, &str, &str, &str)] = &[
    ("snapshot-position", "r", "value.source.lsn", "1", "2"),
    ("snapshot-position", "r", "value.source.sequence", r#""[null,\"1\"]""#, r#""[null,\"2\"]""#),
    ("run-id", "c", "headers.__debezium.context.runId", UUID, OTHER_UUID),
    ("text-matrix", "u", "value.after.text_matrix", r#"["[Ljava.lang.String;@1f"]"#, r#"[["a"]]"#),
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
];

const UUID: &str = r#""01a1ff35-be40-76f7-b9e6-73b60d777d15""#;
const OTHER_UUID: &str = r#""01a1ff35-bbc1-7b71-9d11-71a3903c5da0""#;
