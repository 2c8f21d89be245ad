//! What a template of a topic or a key may hold: text and placeholders in braces.

use crate::config::postgres::is_name;

/// Longest name of a topic that Kafka takes, in bytes.
const TOPIC_BYTES_MAX: usize = 249;

/// Longest text of a key template, in bytes.
const KEY_BYTES_MAX: usize = 1024;

/// What stands before the name of a column in its placeholder.
const COLUMN: &str = "column:";

/// One part of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'t> {
    /// Text that stays as it is.
    Text(&'t str),
    /// The value of a mapped column, by the last part of its key.
    Part(&'static str),
    /// The value of any column, by its name.
    Column(&'t str),
}

/// The pieces of a template, without empty texts; `None` if a brace stands alone or a placeholder does not exist.
pub(super) fn pieces(template: &str) -> Option<Vec<Piece<'_>>> {
    const PARTS: [&str; 4] = ["aggregate_type", "aggregate_id", "event_type", "id"];
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some((text, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}')?;
        pieces.push(Piece::Text(text));
        pieces.push(match (PARTS.iter().find(|part| **part == name), name.strip_prefix(COLUMN)) {
            (Some(part), _) => Piece::Part(part),
            (None, Some(column)) if is_name(column) && !column.contains('{') => Piece::Column(column),
            (None, _) => return None,
        });
        rest = after;
    }
    pieces.push(Piece::Text(rest));
    pieces.retain(|piece| *piece != Piece::Text(""));
    let braces = pieces.iter().any(|piece| matches!(piece, Piece::Text(text) if text.contains('}')));
    (!braces).then_some(pieces)
}

/// Whether the template can name topics: its text has only characters that a topic's name may have.
pub(super) fn is_topic(template: &str) -> bool {
    let Some(pieces) = pieces(template) else { return false };
    let texts = pieces.iter().filter_map(|piece| if let Piece::Text(text) = piece { Some(*text) } else { None });
    let only_dots = matches!(template, "" | "." | "..");
    !only_dots && texts.clone().all(is_topic_text) && texts.map(str::len).sum::<usize>() <= TOPIC_BYTES_MAX
}

/// Whether the template can make keys; an empty one makes records without key.
pub(super) fn is_key(template: &str) -> bool {
    template.len() <= KEY_BYTES_MAX && pieces(template).is_some()
}

/// Kafka's own rule for the characters of a topic's name.
fn is_topic_text(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// Whether Kafka takes `name` as a topic's name.
pub(in crate::config) fn is_topic_name(name: &str) -> bool {
    is_topic_text(name) && is_topic(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_text_and_placeholders() {
        use Piece::{Column, Part, Text};
        for (template, expected) in [
            ("", vec![]),
            ("fixed", vec![Text("fixed")]),
            ("a.{aggregate_type}", vec![Text("a."), Part("aggregate_type")]),
            ("{id}{event_type}", vec![Part("id"), Part("event_type")]),
            ("{column:Tenant Id}-{aggregate_id}", vec![Column("Tenant Id"), Text("-"), Part("aggregate_id")]),
        ] {
            assert_eq!(pieces(template), Some(expected), "{template}");
        }
        for template in ["{", "}", "{}", "{nope}", "a}b", "{a", "{column:}", "{{id}}", "{id}}", "{column:{id}}"] {
            assert_eq!(pieces(template), None, "{template}");
        }
    }

    #[test]
    fn a_topic_has_the_characters_that_kafka_takes_and_no_more_of_them() {
        for template in ["t", "a.{aggregate_type}", "{column:Any Name}", &"x".repeat(249)] {
            assert!(is_topic(template), "{template}");
        }
        for template in ["", ".", "..", "a b", "ü", "a/{id}", &"x".repeat(250)] {
            assert!(!is_topic(template), "{template}");
        }
        assert!(is_key("") && is_key("any text: {id}") && !is_key("{x}") && !is_key(&"x".repeat(1025)));
        assert!(is_topic_name("a.b") && !is_topic_name("{id}"));
    }
}
