//! Topic names from a template, interned: one allocation per name, not per event.

use std::collections::HashSet;
use std::sync::Arc;

use crate::shape::row::{Field, OutboxRow};
use crate::shape::template::{Template, TemplateError};

/// Names kept at most. What names a topic is what a writer sent: it must not be able to fill the memory.
const NAMES_MAX: usize = 4096;

/// A set of topic names that is bounded, so that equal names share their bytes.
#[derive(Debug, Default)]
pub struct Names(HashSet<Arc<str>>);

impl Names {
    /// The shared form of `name`.
    pub fn intern(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return Arc::clone(known);
        }
        if self.0.len() >= NAMES_MAX {
            self.0.clear();
        }
        let name: Arc<str> = name.into();
        self.0.insert(Arc::clone(&name));
        name
    }
}

/// A topic template such as `outbox.event.{aggregate_type}`, with the names made from it so far.
#[derive(Debug)]
pub struct Topics {
    template: Template,
    /// The columns that the template names, each once.
    fields: Vec<Field>,
    names: Names,
    newest: Option<Newest>,
    scratch: Vec<u8>,
}

/// The values of the template's columns in the newest row, and the name that they made.
#[derive(Debug)]
struct Newest {
    values: Vec<Box<[u8]>>,
    name: Arc<str>,
}

impl Topics {
    /// Reads a template; `further` names the further columns in their order.
    ///
    /// # Errors
    /// As [`Template::parse`], and for an empty text.
    pub fn parse(text: &str, further: &[String]) -> Result<Self, TemplateError> {
        let template = Template::parse(text, further)?;
        if template.is_empty() {
            return Err(TemplateError::Empty);
        }
        let mut fields: Vec<Field> = Vec::new();
        for field in template.fields() {
            if !fields.contains(&field) {
                fields.push(field);
            }
        }
        Ok(Self { template, fields, names: Names::default(), newest: None, scratch: Vec::new() })
    }

    /// The topic of a row. Whether a broker would take the name is the sink's to say.
    ///
    /// # Errors
    /// The column that is null.
    #[inline]
    pub fn topic(&mut self, row: &OutboxRow<'_>) -> Result<Arc<str>, Field> {
        // Events of one topic come in runs: comparing values is cheaper than making the name, or its hash.
        if let Some(Newest { values, name }) = &self.newest
            && self.fields.iter().zip(values).all(|(field, value)| row.get(*field) == Some(value))
        {
            return Ok(Arc::clone(name));
        }
        self.make(row)
    }

    fn make(&mut self, row: &OutboxRow<'_>) -> Result<Arc<str>, Field> {
        self.scratch.clear();
        self.template.render(row, &mut self.scratch)?;
        let name = self.names.intern(&String::from_utf8_lossy(&self.scratch));
        let values = self.fields.iter().map(|field| row.get(*field).unwrap_or_default().into()).collect();
        self.newest = Some(Newest { values, name: Arc::clone(&name) });
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<'r>(aggregate_type: &'r [u8], id: &'r [u8]) -> OutboxRow<'r> {
        OutboxRow { aggregate_type: Some(aggregate_type), id: Some(id), ..OutboxRow::default() }
    }

    #[test]
    fn names_are_shared_and_their_number_is_bounded() {
        let mut topics = Topics::parse("t.{aggregate_type}", &[]).expect("valid");
        let first = topics.topic(&row(b"a", b"1")).expect("not null");
        assert!(Arc::ptr_eq(&first, &topics.topic(&row(b"a", b"2")).expect("not null")));
        topics.topic(&row(b"b", b"1")).expect("not null");
        assert!(Arc::ptr_eq(&first, &topics.topic(&row(b"a", b"1")).expect("not null")));
        for n in 0..3 * NAMES_MAX {
            topics.topic(&row(n.to_string().as_bytes(), b"1")).expect("not null");
        }
        assert!(topics.names.0.len() <= NAMES_MAX);
        assert_eq!(&*topics.topic(&row(b"a", b"1")).expect("not null"), "t.a");
    }

    #[test]
    fn each_value_that_is_named_counts() {
        let mut topics = Topics::parse("{aggregate_type}.{id}", &[]).expect("valid");
        for (aggregate_type, id, name) in [("a", "1", "a.1"), ("a", "2", "a.2"), ("b", "2", "b.2"), ("a.", "2", "a..2")]
        {
            let topic = topics.topic(&row(aggregate_type.as_bytes(), id.as_bytes())).expect("not null");
            assert_eq!(&*topic, name);
        }
        let mut fixed = Topics::parse("fixed", &[]).expect("valid");
        assert_eq!(fixed.topic(&OutboxRow::default()).as_deref(), Ok("fixed"));
    }

    #[test]
    fn a_null_names_no_topic_even_after_one_that_was_named() {
        let mut topics = Topics::parse("t.{aggregate_type}", &[]).expect("valid");
        topics.topic(&row(b"a", b"1")).expect("not null");
        let null = OutboxRow { aggregate_type: None, ..row(b"a", b"1") };
        assert_eq!(topics.topic(&null), Err(Field::AggregateType));
        assert_eq!(Topics::parse("", &[]).expect_err("empty"), TemplateError::Empty);
    }
}
