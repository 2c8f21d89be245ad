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
    /// The places: paths, in which `*` stands for one name. Several are divided by blanks.
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
pub(super) const RULES: [Rule; 5] = [
    Rule {
        name: "snapshot-position",
        fields: "value.source.lsn value.source.txId value.source.sequence",
        operations: "r",
        types: &[],
        holds: |left, right| left.is_some() && right.is_some(),
        reason: "each side takes its snapshot when it starts, so the two are taken at different places of the log",
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
            "box", "circle", "line", "lseg", "path", "polygon", "pair", "nested", "int4multirange", "float_range", "pg_lsn",
            "xid", "xid8", "tid", "jsonpath", "tsquery", "regclass", "money_array", "name_array", "interval_array",
            "varbit_array", "xml_array", "point_array", "pair_array", "positive_array",
        ],
        holds: |left, right| left.is_none() && right.is_some(),
        reason: "Debezium leaves columns of these types out, with a warning in its log",
    },
    Rule {
        name: "negative-scale",
        fields: "value.before.* value.after.*",
        operations: "r c u d",
        types: &["numeric_3_neg2"],
        holds: |left, right| is_base64(left) && is_base64(right),
        reason: "Debezium takes a negative scale for a large positive one, and writes another number",
    },
    Rule {
        name: "text-matrix",
        fields: "value.before.* value.after.*",
        operations: "r c u d",
        types: &["text_matrix"],
        holds: |left, _| all_texts(left, |text| text.starts_with("[Ljava.lang.String;@")),
        reason: "Debezium writes the address of each inner list of an array of several dimensions in place of what is in it",
    },
];

/// Whether it is a list of such texts.
fn all_texts(json: Option<&Json>, such: impl Fn(&str) -> bool) -> bool {
    matches!(json, Some(Json::List(values)) if values.iter().all(|value| value.text().is_some_and(&such)))
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
