//! Which events are published at all: patterns of aggregate types and event types.

use crate::shape::row::OutboxRow;

/// Patterns of what is published and what is left out. `*` in a pattern stands for any characters, none included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    aggregate_types: Side,
    event_types: Side,
}

/// What is asked of one column, and what was answered last: events of one type come in runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Side {
    only: Vec<String>,
    except: Vec<String>,
    newest: Option<(Box<[u8]>, bool)>,
}

impl Filter {
    /// Of each column: what is published, empty for everything; and what of that is left out.
    #[must_use]
    pub fn new(
        (aggregate_types, aggregate_types_except): (Vec<String>, Vec<String>),
        (event_types, event_types_except): (Vec<String>, Vec<String>),
    ) -> Self {
        Self {
            aggregate_types: Side { only: aggregate_types, except: aggregate_types_except, newest: None },
            event_types: Side { only: event_types, except: event_types_except, newest: None },
        }
    }

    /// Whether the event of `row` is published. A null fits no pattern.
    #[inline]
    pub fn passes(&mut self, row: &OutboxRow<'_>) -> bool {
        self.aggregate_types.passes(row.aggregate_type) && self.event_types.passes(row.event_type)
    }
}

impl Side {
    #[inline]
    fn passes(&mut self, value: Option<&[u8]>) -> bool {
        (self.only.is_empty() && self.except.is_empty()) || self.asks(value)
    }

    fn asks(&mut self, value: Option<&[u8]>) -> bool {
        let Some(value) = value else { return self.only.is_empty() };
        if let Some((newest, passed)) = &self.newest
            && **newest == *value
        {
            return *passed;
        }
        let any = |patterns: &[String]| patterns.iter().any(|pattern| fits(pattern.as_bytes(), value));
        let passed = (self.only.is_empty() || any(&self.only)) && !any(&self.except);
        self.newest = Some((value.into(), passed));
        passed
    }
}

/// Whether `text` is `pattern`, each `*` standing for any characters.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // The last star, and how much of the text it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(byte) if *byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, taken)) = star else { return false };
                star = Some((at, taken + 1));
                (p, t) = (at + 1, taken + 1);
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters_and_everything_else_for_itself() {
        for (pattern, text, expected) in [
            ("order", "order", true),
            ("order", "orders", false),
            ("order*", "orders", true),
            ("order*", "order", true),
            ("*", "", true),
            ("*Placed", "OrderPlaced", true),
            ("*Placed", "PlacedOrder", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("*aab", "aaaab", true),
            ("Order", "order", false),
            ("", "", true),
            ("", "x", false),
            ("**", "x", true),
            ("o.der", "order", false),
        ] {
            assert_eq!(fits(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn what_is_named_is_published_and_what_is_excepted_is_not() {
        let list = |text: &str| text.split_terminator(',').map(str::to_owned).collect::<Vec<_>>();
        for (only, except, types, value, expected) in [
            ("", "", "", Some("order"), true),
            ("", "", "", None, true),
            ("order,parcel*", "", "", Some("parcel-eu"), true),
            ("order,parcel*", "", "", Some("user"), false),
            ("order", "", "", None, false),
            ("", "test*", "", Some("tests"), false),
            ("", "test*", "", Some("order"), true),
            ("", "test*", "", None, true),
            ("*", "test*", "", Some("test"), false),
            ("", "", "Placed", Some("order"), true),
            ("", "", "Other", Some("order"), false),
        ] {
            let mut filter = Filter::new((list(only), list(except)), (list(types), Vec::new()));
            let row = OutboxRow {
                aggregate_type: value.map(str::as_bytes),
                event_type: Some(b"Placed"),
                ..OutboxRow::default()
            };
            // The second answer is the remembered one.
            assert_eq!([filter.passes(&row), filter.passes(&row)], [expected; 2], "{only} {except} {types} {value:?}");
        }
    }
}
