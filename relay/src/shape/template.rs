//! Templates of topics and keys: text and placeholders, read once.

use thiserror::Error;

use crate::shape::row::{Field, OutboxRow};

/// What stands before the name of a column in its placeholder.
const COLUMN: &str = "column:";

/// Why a text is not a template.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TemplateError {
    /// A placeholder that does not exist, or a brace alone.
    #[error(
        "a template knows {{aggregate_type}}, {{aggregate_id}}, {{event_type}}, {{id}} and {{column:name}}; found {found:?}"
    )]
    Placeholder {
        /// From the brace on.
        found: String,
    },
    /// A column that is not among those that are read.
    #[error("a template names the column {name:?}, which is not read")]
    Column {
        /// Its name.
        name: String,
    },
    /// Nothing to name a topic by.
    #[error("a topic template must not be empty")]
    Empty,
}

/// A template, read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(Field),
}

impl Template {
    /// Reads a template; `further` names the further columns in their order.
    ///
    /// # Errors
    /// What is not a placeholder stands in braces.
    pub fn parse(text: &str, further: &[String]) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let unknown = || TemplateError::Placeholder { found: rest[at..].to_owned() };
            if at > 0 {
                pieces.push(Piece::Text(rest[..at].to_owned()));
            }
            let (name, after) =
                rest[at..].strip_prefix('{').and_then(|name| name.split_once('}')).ok_or_else(unknown)?;
            pieces.push(Piece::Field(match name {
                "aggregate_type" => Field::AggregateType,
                "aggregate_id" => Field::AggregateId,
                "event_type" => Field::EventType,
                "id" => Field::Id,
                _ => {
                    let name = name.strip_prefix(COLUMN).ok_or_else(unknown)?;
                    let index = further.iter().position(|column| column == name);
                    let index = index.and_then(|index| u16::try_from(index).ok());
                    Field::Further(index.ok_or_else(|| TemplateError::Column { name: name.to_owned() })?)
                }
            }));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self { pieces })
    }

    /// Whether it is nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The one column that it is, without any text around it.
    #[must_use]
    pub fn as_field(&self) -> Option<Field> {
        match self.pieces[..] {
            [Piece::Field(field)] => Some(field),
            _ => None,
        }
    }

    /// What it is made of, in order: a column, or text.
    pub fn parts(&self) -> impl Iterator<Item = Result<Field, &str>> {
        self.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => Err(text.as_str()),
            Piece::Field(field) => Ok(*field),
        })
    }

    /// The columns that it names, in order.
    pub fn fields(&self) -> impl Iterator<Item = Field> {
        self.pieces.iter().filter_map(|piece| if let Piece::Field(field) = piece { Some(*field) } else { None })
    }

    /// Appends its text for `row`.
    ///
    /// # Errors
    /// The column that is null; then a part of the text may have been appended.
    pub fn render(&self, row: &OutboxRow<'_>, out: &mut Vec<u8>) -> Result<(), Field> {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Field(field) => out.extend_from_slice(row.get(*field).ok_or(*field)?),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: OutboxRow<'static> = OutboxRow {
        id: Some(b"018f"),
        aggregate_type: Some(b"order"),
        aggregate_id: Some(b"42"),
        event_type: Some(b"Placed"),
        payload: None,
        payload_bytes: None,
        headers: None,
        further: &[Some(b"acme"), None],
    };

    fn render(text: &str) -> Result<String, Field> {
        let further = ["tenant".to_owned(), "Null Column".to_owned()];
        let mut out = Vec::new();
        Template::parse(text, &further).expect(text).render(&ROW, &mut out)?;
        Ok(String::from_utf8(out).expect("text"))
    }

    #[test]
    fn each_placeholder_becomes_its_columns_value_wherever_it_stands() {
        for (template, text) in [
            ("outbox.event.{aggregate_type}", "outbox.event.order"),
            ("{aggregate_type}-{aggregate_id}-{event_type}-{id}", "order-42-Placed-018f"),
            ("{aggregate_id}{aggregate_id}", "4242"),
            ("{column:tenant}.orders", "acme.orders"),
            ("fixed", "fixed"),
            ("", ""),
        ] {
            assert_eq!(render(template).as_deref(), Ok(text), "{template}");
        }
    }

    #[test]
    fn a_null_is_named_rather_than_left_out() {
        assert_eq!(render("a.{column:Null Column}"), Err(Field::Further(1)));
    }

    #[test]
    fn a_placeholder_that_does_not_exist_is_named() {
        for (template, found) in [("a.{aggregate}", "{aggregate}"), ("a.}", "}"), ("{", "{"), ("{column}", "{column}")]
        {
            let error = Template::parse(template, &[]).expect_err(template);
            assert_eq!(error, TemplateError::Placeholder { found: found.into() });
        }
        let error = Template::parse("{column:x}", &[]).expect_err("not read");
        assert_eq!(error, TemplateError::Column { name: "x".into() });
    }

    #[test]
    fn one_column_alone_is_told_from_a_text_around_it() {
        let field = |text| Template::parse(text, &[]).expect("valid").as_field();
        assert_eq!(field("{aggregate_id}"), Some(Field::AggregateId));
        assert_eq!(field("{aggregate_id}{id}"), None);
        assert_eq!(field("x{aggregate_id}"), None);
        assert_eq!(field(""), None);
    }
}
