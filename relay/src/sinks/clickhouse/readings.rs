//! How the values of a change are read: by the schema that goes along, or by what sources write without one.

use std::collections::HashMap;

use crate::encode::native::{Reading, Schema, Unavailable};

/// What stands in a change for a value that was left out because it had not changed.
pub(super) const LEFT_OUT: &str = "__debezium_unavailable_value";

/// How the values of a record are read. Kept from record to record, for most carry the same schema.
#[derive(Debug)]
pub(super) struct Readings {
    unavailable: Unavailable,
    /// The text of the schema that is known.
    text: Box<str>,
    /// The row's schema.
    schema: Option<Schema>,
    by_name: HashMap<Box<str>, Reading>,
    /// How a field is read of which the schema says nothing.
    otherwise: Reading,
}

impl Readings {
    /// None known yet.
    pub(super) fn new() -> Self {
        Self {
            unavailable: Unavailable::new(LEFT_OUT),
            text: Box::from(""),
            schema: None,
            by_name: HashMap::new(),
            otherwise: Reading::Plain,
        }
    }

    /// Of an event: values say themselves what they are.
    pub(super) fn of_event(&mut self) {
        self.forget();
        self.otherwise = Reading::Plain;
    }

    /// Of a change, whose schema may go along. Tells whether that is another than the last one's.
    pub(super) fn of_change(&mut self, schema: Option<&str>) -> bool {
        self.otherwise = Reading::Captured;
        match schema {
            None => self.forget(),
            Some(text) if *text == *self.text => {}
            Some(text) => {
                self.learn(text);
                return true;
            }
        }
        false
    }

    fn forget(&mut self) {
        if self.schema.is_some() || !self.text.is_empty() {
            (self.text, self.schema) = (Box::from(""), None);
            self.by_name.clear();
        }
    }

    fn learn(&mut self, text: &str) {
        self.text = text.into();
        self.by_name.clear();
        self.schema = row_schema(text);
        for field in self.schema.iter().flat_map(|schema| &schema.fields) {
            if let Some(name) = &field.field {
                self.by_name.insert(name.as_str().into(), field.reading());
            }
        }
    }

    /// How the field of that name is read.
    #[inline]
    pub(super) fn of(&self, field: &str) -> &Reading {
        if self.by_name.is_empty() {
            return &self.otherwise;
        }
        self.by_name.get(field).unwrap_or(&self.otherwise)
    }

    /// Whether the value says that it was left out.
    #[inline]
    pub(super) fn is_left_out(&self, value: &str) -> bool {
        self.unavailable.is(value)
    }

    /// Whether the schema says what the field is.
    pub(super) fn knows(&self, field: &str) -> bool {
        self.by_name.contains_key(field)
    }

    /// The schema of the row, if the record carries one.
    pub(super) fn schema(&self) -> Option<&Schema> {
        self.schema.as_ref()
    }
}

/// The row's part of the schema of a change: that of an envelope's images, or of a row without an envelope.
pub(super) fn row_schema(text: &str) -> Option<Schema> {
    let schema = Schema::parse(text).ok()?;
    let row = ["after", "before"].into_iter().find_map(|part| schema.member(part)).cloned();
    Some(row.filter(|row| row.kind == "struct").unwrap_or(schema))
}
