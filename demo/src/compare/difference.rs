//! Where two JSON values differ, named by paths that speak of fields and not of places in lists.

use std::fmt;

use crate::compare::json::Json;

/// One place where two records differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    /// Such as `value.after.price`, `key.schema.id.type`, `headers` or `value.source<order>`.
    pub(super) path: String,
    /// Debezium's; none: it has nothing there.
    pub(super) left: Option<Json>,
    /// Ours; none: we have nothing there.
    pub(super) right: Option<Json>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |side: &Option<Json>| side.as_ref().map_or_else(|| "(absent)".to_owned(), shortened);
        write!(f, "{}: {} | {}", self.path, shown(&self.left), shown(&self.right))
    }
}

/// How much of a value is shown.
const SHOWN_MAX: usize = 160;

fn shortened(json: &Json) -> String {
    let text = json.to_string();
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text,
    }
}

/// Adds the differences of two values at `path`.
pub(super) fn compare(path: &str, left: &Json, right: &Json, found: &mut Vec<Difference>) {
    match (left, right) {
        _ if left == right => {}
        (Json::Object(lefts), Json::Object(rights)) => members(path, lefts, rights, found),
        (Json::List(lefts), Json::List(rights))
            if path.starts_with(SCHEMA) && are_fields(lefts) && are_fields(rights) =>
        {
            members(path.strip_suffix(".fields").unwrap_or(path), &by_name(lefts), &by_name(rights), found);
        }
        _ => found.push(Difference { path: path.to_owned(), left: Some(left.clone()), right: Some(right.clone()) }),
    }
}

/// What the paths of a record's schemas begin with.
const SCHEMA: &str = "schema.";

/// What of one side only, what of both in another order, and what of both is different in itself.
fn members(path: &str, lefts: &[(String, Json)], rights: &[(String, Json)], found: &mut Vec<Difference>) {
    let of = |side: &[(String, Json)], name: &str| {
        side.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
    };
    for (name, value) in lefts {
        let path = format!("{path}.{name}");
        match of(rights, name) {
            Some(other) => compare(&path, value, &other, found),
            None => found.push(Difference { path, left: Some(value.clone()), right: None }),
        }
    }
    for (name, value) in rights.iter().filter(|(name, _)| of(lefts, name).is_none()) {
        found.push(Difference { path: format!("{path}.{name}"), left: None, right: Some(value.clone()) });
    }
    let common = |side: &[(String, Json)], other: &[(String, Json)]| -> Vec<Json> {
        let names = side.iter().map(|(name, _)| name).filter(|name| of(other, name).is_some());
        names.map(|name| Json::Text(name.clone())).collect()
    };
    let (left, right) = (common(lefts, rights), common(rights, lefts));
    if left != right {
        found.push(Difference {
            path: format!("{path}<order>"),
            left: Some(Json::List(left)),
            right: Some(Json::List(right)),
        });
    }
}

/// Whether these are the fields of a struct's schema: objects that have names.
fn are_fields(list: &[Json]) -> bool {
    list.iter().all(|field| field.get("field").and_then(Json::text).is_some())
}

fn by_name(fields: &[Json]) -> Vec<(String, Json)> {
    let name = |field: &Json| field.get("field").and_then(Json::text).unwrap_or_default().to_owned();
    fields.iter().map(|field| (name(field), field.clone())).collect()
}

#[cfg(test)]
mod tests {
    use crate::compare::difference::compare;
    use crate::compare::json::Json;

    fn differences(left: &str, right: &str) -> Vec<String> {
        let mut found = Vec::new();
        compare("value", &Json::parse(left).unwrap(), &Json::parse(right).unwrap(), &mut found);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_text_of_a_number_and_the_order_of_members_count() {
        assert_eq!(
            differences(r#"{"a":1.0,"b":2}"#, r#"{"b":2,"a":1.00}"#),
            ["value.a: 1.0 | 1.00", r#"value<order>: ["a","b"] | ["b","a"]"#]
        );
    }

    #[test]
    fn what_one_side_lacks_is_named_and_spoils_no_order() {
        assert_eq!(
            differences(r#"{"a":1,"b":2,"c":3}"#, r#"{"a":1,"c":3,"d":null}"#),
            ["value.b: 2 | (absent)", "value.d: (absent) | null"]
        );
    }

    #[test]
    fn the_fields_of_a_schema_are_known_by_their_names() {
        let schema = |fields: &str| format!(r#"{{"type":"struct","fields":[{fields}]}}"#);
        let differences = |left: &str, right: &str| {
            let mut found = Vec::new();
            compare(
                "schema.value",
                &Json::parse(&schema(left)).unwrap(),
                &Json::parse(&schema(right)).unwrap(),
                &mut found,
            );
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let (id, long, t) = (
            r#"{"type":"int32","field":"id"}"#,
            r#"{"type":"int64","field":"id"}"#,
            r#"{"type":"string","field":"t"}"#,
        );
        assert_eq!(differences(&format!("{id},{t}"), t), [format!("schema.value.id: {id} | (absent)")]);
        assert_eq!(
            differences(&format!("{id},{t}"), &format!("{long},{t}")),
            [r#"schema.value.id.type: "int32" | "int64""#]
        );
    }

    #[test]
    fn a_long_value_is_shown_by_its_beginning() {
        let long = format!("\"{}\"", "x".repeat(1000));
        let shown = &differences(&long, "1")[0];
        assert!(shown.ends_with("… (1002 bytes) | 1") && shown.len() < 220, "{shown}");
    }
}
