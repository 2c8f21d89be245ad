//! Topic names from a template, interned: one allocation per aggregate type, not per event.

use std::collections::HashMap;
use std::sync::Arc;

use thiserror::Error;

/// The one placeholder that a template may hold.
pub const PLACEHOLDER: &str = "{aggregate_type}";

/// Names kept at most. An aggregate type is what a writer sent: it must not be able to fill the memory.
const NAMES_MAX: usize = 4096;

/// Why a text is not a topic template.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TemplateError {
    /// A placeholder that does not exist, or a brace alone.
    #[error("a topic template knows only {PLACEHOLDER}; found {found:?}")]
    Placeholder {
        /// From the brace on.
        found: String,
    },
    /// Nothing to name a topic by.
    #[error("a topic template must not be empty")]
    Empty,
}

/// A topic template such as `outbox.event.{aggregate_type}`, with the names made from it so far.
#[derive(Debug)]
pub struct TopicTemplate {
    /// The text between the placeholders, one piece more than there are placeholders.
    pieces: Vec<String>,
    names: HashMap<Box<[u8]>, Arc<str>>,
    newest: Option<(Box<[u8]>, Arc<str>)>,
}

impl TopicTemplate {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.is_empty() {
            return Err(TemplateError::Empty);
        }
        let pieces: Vec<String> = text.split(PLACEHOLDER).map(str::to_owned).collect();
        for piece in &pieces {
            if let Some(brace) = piece.find(['{', '}']) {
                return Err(TemplateError::Placeholder { found: piece[brace..].to_owned() });
            }
        }
        Ok(Self { pieces, names: HashMap::new(), newest: None })
    }

    /// The topic of an aggregate type. Whether a broker would take the name is the sink's to say.
    pub fn topic(&mut self, aggregate_type: &[u8]) -> Arc<str> {
        // Events of one type come in runs: the comparison is cheaper than the hash.
        if let Some((newest, name)) = &self.newest
            && **newest == *aggregate_type
        {
            return Arc::clone(name);
        }
        if self.names.len() >= NAMES_MAX {
            self.names.clear();
        }
        let name = match self.names.get(aggregate_type) {
            Some(name) => Arc::clone(name),
            None => {
                let name: Arc<str> = self.pieces.join(&String::from_utf8_lossy(aggregate_type)).into();
                self.names.insert(aggregate_type.into(), Arc::clone(&name));
                name
            }
        };
        self.newest = Some((aggregate_type.into(), Arc::clone(&name)));
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_placeholder_is_replaced_wherever_it_stands() {
        for (template, topic) in [
            ("outbox.event.{aggregate_type}", "outbox.event.order"),
            ("{aggregate_type}", "order"),
            ("a.{aggregate_type}.b.{aggregate_type}", "a.order.b.order"),
            ("fixed", "fixed"),
        ] {
            let mut parsed = TopicTemplate::parse(template).expect(template);
            assert_eq!(&*parsed.topic(b"order"), topic);
        }
    }

    #[test]
    fn a_placeholder_that_does_not_exist_is_named() {
        for (template, found) in [("a.{aggregate}", "{aggregate}"), ("a.}", "}"), ("{", "{")] {
            let error = TopicTemplate::parse(template).expect_err(template);
            assert_eq!(error, TemplateError::Placeholder { found: found.into() });
        }
        assert_eq!(TopicTemplate::parse("").expect_err("empty"), TemplateError::Empty);
    }

    #[test]
    fn names_are_shared_and_their_number_is_bounded() {
        let mut template = TopicTemplate::parse("t.{aggregate_type}").expect("valid");
        let first = template.topic(b"a");
        template.topic(b"b");
        assert!(Arc::ptr_eq(&first, &template.topic(b"a")));
        for n in 0..3 * NAMES_MAX {
            template.topic(n.to_string().as_bytes());
        }
        assert!(template.names.len() <= NAMES_MAX);
        assert_eq!(&*template.topic(b"a"), "t.a");
    }
}
