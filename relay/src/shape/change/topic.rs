//! The topic of a table: from a template, with letters that no topic can have replaced.

use crate::shape::change::options::CaptureError;

/// A template of topics, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TopicTemplate(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Schema,
    Table,
    Database,
    Prefix,
}

/// What a topic can be named by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names<'n> {
    pub(super) schema: &'n str,
    pub(super) table: &'n str,
    pub(super) database: &'n str,
    pub(super) prefix: &'n str,
}

impl TopicTemplate {
    pub(super) fn parse(text: &str) -> Result<Self, CaptureError> {
        if text.is_empty() {
            return Err(CaptureError::EmptyTemplate);
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let unknown = || CaptureError::Template { found: rest[at..].to_owned() };
            pieces.push(Piece::Text(rest[..at].to_owned()));
            let (name, after) =
                rest[at..].strip_prefix('{').and_then(|name| name.split_once('}')).ok_or_else(unknown)?;
            pieces.push(match name {
                "schema" => Piece::Schema,
                "table" => Piece::Table,
                "database" => Piece::Database,
                "prefix" => Piece::Prefix,
                _ => return Err(unknown()),
            });
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Self(pieces))
    }

    pub(super) fn render(&self, names: Names<'_>) -> String {
        let text: String = self
            .0
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text,
                Piece::Schema => names.schema,
                Piece::Table => names.table,
                Piece::Database => names.database,
                Piece::Prefix => names.prefix,
            })
            .collect();
        legal(&text)
    }
}

/// `name` with each character that a topic cannot have replaced by an underscore, as Debezium does it: two names can become
/// one. A character beyond the 16-bit plane is two of Java's, and so two underscores.
pub(super) fn legal(name: &str) -> String {
    let mut legal = String::with_capacity(name.len());
    for letter in name.chars() {
        match letter {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '-' => legal.push(letter),
            letter => legal.extend(std::iter::repeat_n('_', letter.len_utf16())),
        }
    }
    legal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str) -> Result<String, CaptureError> {
        let names = Names { schema: "pub lic", table: "tä🐎", database: "db", prefix: "p" };
        Ok(TopicTemplate::parse(template)?.render(names))
    }

    #[test]
    fn a_topic_is_made_of_names_and_has_no_letter_that_it_cannot_have() {
        for (template, topic) in [
            ("cdc.{table}", "cdc.t___"),
            ("{prefix}.{schema}.{table}", "p.pub_lic.t___"),
            ("{database}", "db"),
            ("fixed", "fixed"),
        ] {
            assert_eq!(render(template).as_deref(), Ok(topic), "{template}");
        }
        assert_eq!(render(""), Err(CaptureError::EmptyTemplate));
        for (template, found) in [("a.{column}", "{column}"), ("a}", "}"), ("{", "{")] {
            assert_eq!(render(template), Err(CaptureError::Template { found: found.to_owned() }));
        }
    }
}
