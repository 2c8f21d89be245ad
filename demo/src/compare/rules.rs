//! The differences that are meant: each a rule that says which field of which operation and types may differ, how, and why.
//!
//! `docs/debezium-differences.md` is this list in words; a test holds the two together. Whatever no rule explains is a failure.

use crate::compare::difference::Difference;
use crate::compare::json::Json;

#[cfg(test)]
mod cases;

/// How many rules there may be: a longer list would be read by nobody.
#[cfg(test)]
const RULES_MAX: usize = 20;

/// A difference that is meant.
pub(super) struct Rule {
    /// Names it in reports and in the documentation.
    pub(super) name: &'static str,
    /// The places: paths, in which `*` stands for one name; `record` is a whole record that one side lacks. Several are divided by
    /// blanks.
    pub(super) fields: &'static str,
    /// The operations: the envelope's letters, `tombstone`, `transaction`; divided by blanks. `*` is any.
    pub(super) operations: &'static str,
    /// The columns, by the names of their types in the workload; empty: any.
    pub(super) types: &'static [&'static str],
    /// Which values may stand there: Debezium's and ours.
    pub(super) holds: fn(Option<&Json>, Option<&Json>) -> bool,
    /// Why.
    pub(super) reason: &'static str,
}

/// The reviewed list.
pub(super) const RULES: [Rule; 20] = [
    Rule {
        name: "snapshot-position",
        fields: "value.source.lsn value.source.txId value.source.sequence",
        operations: "r",
        types: &[],
        holds: |left, right| left.is_some() && right.is_some(),
        reason: "each side takes its snapshot when it starts, so the two are taken at different places of the log",
    },
    Rule {
        name: "snapshot-first",
        fields: "value.source.snapshot",
        operations: "r",
        types: &[],
        holds: |left, right| {
            is_text(left, &["first_in_data_collection", "last_in_data_collection"]) && is_text(right, &["first"])
        },
        reason: "Debezium calls no row the first of the snapshot if the first of its tables is empty",
    },
    Rule {
        name: "snapshot-partitions",
        fields: "record",
        operations: "r",
        types: &[],
        holds: |left, right| is_text(left, &["public.measures"]) && right.is_none(),
        reason: "where each partition is published as a table of its own, Debezium's snapshot publishes its rows a second time as those of the table above",
    },
    Rule {
        name: "snapshot-dates",
        fields: "value.after.*",
        operations: "r",
        types: &["date", "date_extreme"],
        holds: |left, right| {
            is_number(left) && integer(right).is_some_and(|day| day < FIRST_GREGORIAN_DAY)
                || text(left).zip(text(right)).is_some_and(|(_, date)| date < FIRST_GREGORIAN_DATE)
        },
        reason: "Debezium's snapshot reads dates by JDBC, which knows no years before Christ and no Gregorian calendar before 1582-10-15; in its stream they are right",
    },
    Rule {
        name: "run-id",
        fields: "headers.__debezium.context.runId",
        operations: "*",
        types: &[],
        holds: |left, right| is_uuid(left) && is_uuid(right),
        reason: "a number by chance that names one run of a connector",
    },
    Rule {
        name: "carried-types",
        fields: "value.before.* value.after.* schema.value.before.* schema.value.after.*",
        operations: "r c u d",
        types: &[
            "box",
            "circle",
            "line",
            "lseg",
            "path",
            "polygon",
            "pair",
            "nested",
            "int4multirange",
            "float_range",
            "pg_lsn",
            "xid",
            "xid8",
            "tid",
            "jsonpath",
            "tsquery",
            "regclass",
            "money_array",
            "name_array",
            "interval_array",
            "varbit_array",
            "xml_array",
            "point_array",
            "pair_array",
            "positive_array",
        ],
        holds: |left, right| left.is_none() && right.is_some(),
        reason: "Debezium leaves columns of these types out, with a warning in its log",
    },
    Rule {
        name: "negative-scale",
        fields: "value.before.* value.after.* schema.value.before.*.default schema.value.after.*.default",
        operations: "r c u d",
        types: &["numeric_3_neg2"],
        holds: |left, right| {
            let without_zeros =
                |long: &str| long.trim_end_matches('0').trim_end_matches('.') == text(right).unwrap_or_default();
            is_base64(left) && is_base64(right) || text(left).is_some_and(without_zeros)
        },
        reason: "Debezium takes a negative scale for a large positive one, and writes another number",
    },
    Rule {
        name: "negative-scale-schema",
        fields: "schema.value.before.*.parameters.scale schema.value.after.*.parameters.scale \
                 schema.value.before.*.parameters.connect.decimal.precision schema.value.after.*.parameters.connect.decimal.precision",
        operations: "r c u d",
        types: &["numeric_3_neg2"],
        holds: |left, right| is_text(left, &["2046", "3"]) && is_text(right, &["0", "5"]),
        reason: "the same in the schema: ours is that of a number without a fraction and with as many digits as it may have",
    },
    Rule {
        name: "enum-array-schema",
        fields: "schema.value.before.*.items.optional schema.value.after.*.items.optional",
        operations: "r c u d",
        types: &["mood_array"],
        holds: |left, right| left == Some(&Json::Bool(false)) && right == Some(&Json::Bool(true)),
        reason: "the elements of an array can be null, of an enum's too",
    },
    Rule {
        name: "new-enum-label",
        fields: "schema.value.before.*.parameters.allowed schema.value.after.*.parameters.allowed",
        operations: "r c u d",
        types: &["phase"],
        holds: |left, right| is_text(left, &["planned,done"]) && is_text(right, &["planned,done,added later"]),
        reason: "Debezium learns of a label that was added to an enum only when it is started anew, and publishes values that its schema forbids",
    },
    Rule {
        name: "matrix",
        fields: "value.before.* value.after.*",
        operations: "r c u d",
        types: &["text_matrix", "int4_matrix"],
        holds: |left, right| is_spoilt_matrix(left) && matches!(right, Some(Json::List(_))),
        reason: "of an array of several dimensions Debezium writes the address of each inner list, or null, in place of what is in it",
    },
    Rule {
        name: "null-for-a-value",
        fields: "value.before.* value.after.*",
        operations: "r c u d",
        types: &["name", "ltree_array", "mood_array", "large_bytea"],
        holds: |left, right| left == Some(&Json::Null) && right.is_some_and(|right| *right != Json::Null),
        reason: "Debezium cannot convert these values (of enum arrays those with a null in them, of bytea its own placeholder where binary is not bytes) and writes null, with a warning in its log",
    },
    Rule {
        name: "timetz-array",
        fields: "value.before.* value.after.*",
        operations: "r c u d",
        types: &["timetz_array"],
        holds: are_times_without_fractions,
        reason: "Debezium cuts the fraction of a second off in arrays of this type, and only there",
    },
    Rule {
        name: "shortest-float",
        fields: "value.before.* value.after.* key.*",
        operations: "r c u d tombstone",
        types: &["float4", "float8", "float4_array", "float8_array", "point"],
        holds: are_same_floats,
        reason: "the same number: Java 17 writes some with a digit more than it takes to tell them apart (JDK-4511638), newer Javas do not",
    },
    Rule {
        name: "interval-rounding",
        fields: "value.before.* value.after.*",
        operations: "r c u d",
        types: &["interval"],
        holds: |left, right| integer(left).zip(integer(right)).is_some_and(|(left, right)| left.abs_diff(right) <= 1),
        reason: "Debezium computes with floating point, and may miss a microsecond where there are seconds with a fraction",
    },
    Rule {
        name: "special-as-text",
        fields: "value.before.* value.after.* key.* headers.__debezium.newkey.* headers.__debezium.oldkey.*",
        operations: "r c u d tombstone",
        types: &["timestamp", "timestamp_0", "timestamp_3", "date_extreme", "numeric_special", "numeric_10_2_special"],
        holds: |left, right| text(left).zip(text(right)).is_some_and(|pair| SPECIAL_TEXTS.contains(&pair)),
        reason: "of infinity and `NaN` Debezium prints what stands for them inside of it: moments far away, names of constants",
    },
    Rule {
        name: "no-place",
        fields: "value.before.* value.after.*",
        operations: "r c u d",
        types: &["numeric_10_2_special", "timestamp_extreme"],
        holds: |left, right| left.is_some_and(|left| *left != Json::Null) && right == Some(&Json::Null),
        reason: "the form has no place for `NaN`, or for microseconds beyond 64 bits: the column's default, or a number that went around, is not the value either",
    },
    Rule {
        name: "last-midnight",
        fields: "value.before.* value.after.*",
        operations: "r c u d",
        types: &["time_extreme", "timetz_extreme"],
        holds: |left, right| is_text(left, &["00:00:00Z"]) && is_text(right, &["24:00:00Z"]),
        reason: "the end of a day is not its begin",
    },
    Rule {
        name: "expression-default",
        fields: "value.before.* value.after.* schema.value.before.*.default schema.value.after.*.default",
        operations: "r c u d",
        types: &["text_expression"],
        holds: |left, right| left.is_some() && right.is_none_or(|right| *right == Json::Null),
        reason: "the first text in a default such as `'a' || 'b'` is no default, and Kafka Connect writes the default in the place of a null",
    },
    Rule {
        name: "message-collection",
        fields: "value.data_collections",
        operations: "transaction",
        types: &[],
        holds: are_collections_with_messages,
        reason: "where Debezium counts the logical messages of a transaction it writes the address of an object for their name",
    },
];

/// Whether the collections of a transaction are the same, but for the name and the place of that of its messages: an address has no
/// place of its own in the map that they come from.
fn are_collections_with_messages(left: Option<&Json>, right: Option<&Json>) -> bool {
    let (Some(Json::List(lefts)), Some(Json::List(rights))) = (left, right) else { return false };
    let name =
        |collection: &Json| collection.get("data_collection").and_then(Json::text).unwrap_or_default().to_owned();
    let is_address = |collection: &&Json| name(collection).contains("LogicalDecodingMessageId@");
    let is_message = |collection: &&Json| name(collection) == "message";
    let count = |collection: Option<&Json>| collection.and_then(|collection| collection.get("event_count")).cloned();
    let same_messages = count(lefts.iter().find(is_address)) == count(rights.iter().find(is_message));
    let others = lefts.iter().filter(|left| !is_address(left)).eq(rights.iter().filter(|right| !is_message(right)));
    lefts.iter().any(|left| is_address(&left)) && same_messages && others
}

/// Whether it is what Debezium makes of lists in a list.
fn is_spoilt_matrix(json: Option<&Json>) -> bool {
    let spoilt =
        |inner: &Json| *inner == Json::Null || inner.text().is_some_and(|text| text.starts_with("[Ljava.lang."));
    matches!(json, Some(Json::List(values)) if values.iter().all(spoilt))
}

/// Whether the left times are the right ones up to their fractions.
fn are_times_without_fractions(left: Option<&Json>, right: Option<&Json>) -> bool {
    let (Some(Json::List(lefts)), Some(Json::List(rights))) = (left, right) else { return false };
    let cut = |time: &Json| {
        let (seconds, _) = time.text()?.split_once('.')?;
        Some(Json::Text(format!("{seconds}Z")))
    };
    lefts.len() == rights.len()
        && lefts.iter().zip(rights).all(|(left, right)| left == right || cut(right).as_ref() == Some(left))
}

/// Whether both are the same numbers in the same places, none of them shorter on the left.
fn are_same_floats(left: Option<&Json>, right: Option<&Json>) -> bool {
    match (left, right) {
        (Some(Json::Number(left)), Some(Json::Number(right))) => {
            let same = |left: &str, right: &str| left.parse::<f64>().ok() == right.parse().ok();
            let same_single = |left: &str, right: &str| left.parse::<f32>().ok() == right.parse().ok();
            left == right || left.len() >= right.len() && (same(left, right) || same_single(left, right))
        }
        (Some(Json::List(lefts)), Some(Json::List(rights))) => {
            lefts.len() == rights.len()
                && lefts
                    .iter()
                    .zip(rights)
                    .all(|(left, right)| left == right || are_same_floats(Some(left), Some(right)))
        }
        _ => false,
    }
}

/// What Debezium prints of values that are no numbers and no moments, and what they are.
const SPECIAL_TEXTS: [(&str, &str); 9] = [
    ("+294247-01-10T04:00:25.2Z", "infinity"),
    ("-290308-12-21T19:59:27.6Z", "-infinity"),
    ("-5877611-06-21Z", "infinity"),
    ("-5877611-06-22Z", "-infinity"),
    ("+292278994-08-16Z", "infinity"),
    ("-292275055-05-16Z", "-infinity"),
    ("NAN", "NaN"),
    ("POSITIVE_INFINITY", "Infinity"),
    ("NEGATIVE_INFINITY", "-Infinity"),
];

/// 1582-10-15, in days since 1970.
const FIRST_GREGORIAN_DAY: i64 = -141_427;

fn integer(json: Option<&Json>) -> Option<i64> {
    json.and_then(Json::number).and_then(|number| number.parse().ok())
}

/// The same as a date.
const FIRST_GREGORIAN_DATE: &str = "1582-10-15";

fn text(json: Option<&Json>) -> Option<&str> {
    json.and_then(Json::text)
}

fn is_number(json: Option<&Json>) -> bool {
    json.is_some_and(|json| json.number().is_some())
}

/// Whether it is one of these texts.
fn is_text(json: Option<&Json>, texts: &[&str]) -> bool {
    json.and_then(Json::text).is_some_and(|text| texts.contains(&text))
}

/// Whether it is what Base64 looks like.
fn is_base64(json: Option<&Json>) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
    json.and_then(Json::text).is_some_and(|text| !text.is_empty() && text.bytes().all(letter))
}

fn is_uuid(json: Option<&Json>) -> bool {
    json.and_then(Json::text).is_some_and(|text| uuid::Uuid::try_parse(text).is_ok())
}

impl Rule {
    /// The rule that explains a difference.
    pub(super) fn of<'r>(rules: &'r [Self], difference: &Difference, operation: &str) -> Option<&'r Self> {
        rules.iter().find(|rule| rule.explains(difference, operation))
    }

    /// Its row in the documentation.
    #[cfg(test)]
    fn row(&self) -> String {
        let each = |words: Vec<&str>| words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" ");
        let types = if self.types.is_empty() { "any".to_owned() } else { each(self.types.to_vec()) };
        let operations =
            if self.operations == "*" { "any".to_owned() } else { each(self.operations.split(' ').collect()) };
        let fields = each(self.fields.split(' ').collect());
        format!("| `{}` | {fields} | {operations} | {types} | {} |", self.name, self.reason)
    }

    fn explains(&self, difference: &Difference, operation: &str) -> bool {
        let operation = self.operations == "*" || self.operations.split(' ').any(|allowed| allowed == operation);
        let field = self.fields.split(' ').any(|pattern| is_at(pattern, &difference.path));
        let of = || self.types.is_empty() || difference.path.split('.').any(|name| self.types.contains(&name));
        operation && field && of() && (self.holds)(difference.left.as_ref(), difference.right.as_ref())
    }
}

/// Whether a path is one of the pattern's.
fn is_at(pattern: &str, path: &str) -> bool {
    let (mut names, mut wanted) = (path.split('.'), pattern.split('.'));
    loop {
        match (wanted.next(), names.next()) {
            (None, None) => return true,
            (Some(wanted), Some(name)) if wanted == "*" || wanted == name => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::compare::difference::Difference;
    use crate::compare::json::Json;
    use crate::compare::rules::cases::{EXPLAINED, UNEXPLAINED};
    use crate::compare::rules::{RULES, RULES_MAX, Rule, is_at};

    /// The list in words.
    const DOCUMENT: &str = include_str!("../../../docs/debezium-differences.md");

    #[test]
    fn the_document_is_the_list() {
        let rows: Vec<&str> = DOCUMENT.lines().filter(|line| line.starts_with("| `")).collect();
        let expected: Vec<String> = RULES.iter().map(Rule::row).collect();
        assert_eq!(rows, expected, "the table of docs/debezium-differences.md should be:\n{}", expected.join("\n"));
        assert!(RULES.len() <= RULES_MAX);
    }

    #[test]
    fn a_rule_explains_what_it_says_and_nothing_beside_it() {
        for (rule, operation, path, left, right) in EXPLAINED {
            let explaining = explaining(operation, path, left, right);
            assert_eq!(explaining, Some(*rule), "{operation} {path}: {left} | {right}");
        }
        for (operation, path, left, right) in UNEXPLAINED {
            let explaining = explaining(operation, path, left, right);
            assert_eq!(explaining, None, "{operation} {path}: {left} | {right}");
        }
        for rule in &RULES {
            assert!(EXPLAINED.iter().any(|(name, ..)| *name == rule.name), "no case for {}", rule.name);
        }
    }

    /// The rule for a difference, whose values are JSON, or `absent`.
    fn explaining(operation: &str, path: &str, left: &str, right: &str) -> Option<&'static str> {
        let side = |text: &str| (text != "absent").then(|| Json::parse(text).unwrap());
        let difference = Difference { path: path.to_owned(), left: side(left), right: side(right) };
        Rule::of(&RULES, &difference, operation).map(|rule| rule.name)
    }

    #[test]
    fn a_star_stands_for_one_name() {
        assert!(is_at("value.after.*", "value.after.price"));
        assert!(!is_at("value.after.*", "value.after.price.scale"));
        assert!(!is_at("value.after.*", "value.after"));
    }
}
