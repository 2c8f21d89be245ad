//! Where the value of a column comes from, as `from` says it.

/// Where the value of a column comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnSource {
    /// The field of this name; of a captured row as it is, or was if it is gone.
    Field(String),
    /// The field of this name in the row as it was.
    Before(String),
    /// The header of this name.
    Header(String),
    /// A part of the record or of the change that it tells.
    Record(RecordPart),
    /// Always this text.
    Constant(String),
}

/// A part of a record beside its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordPart {
    /// The topic it was read from.
    Topic,
    /// The partition.
    Partition,
    /// The offset.
    Offset,
    /// Kafka's timestamp.
    Timestamp,
    /// The key's bytes.
    Key,
    /// The value's bytes.
    Value,
    /// The headers, as a map from name to value.
    Headers,
    /// The kind of change, as Debezium's letter.
    Operation,
    /// The change's position, which rises with the order of commits.
    Position,
    /// When the change was committed.
    Committed,
}

impl ColumnSource {
    /// Reads the text of an entry.
    ///
    /// # Errors
    /// What is allowed instead.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let Some((what, rest)) = text.split_once(':') else {
            return if text.is_empty() {
                Err("the name of a field, or what follows a colon")
            } else {
                Ok(Self::Field(text.to_owned()))
            };
        };
        match what {
            "constant" => Ok(Self::Constant(rest.to_owned())),
            "field" if !rest.is_empty() => Ok(Self::Field(rest.to_owned())),
            "before" if !rest.is_empty() => Ok(Self::Before(rest.to_owned())),
            "header" if !rest.is_empty() => Ok(Self::Header(rest.to_owned())),
            "record" => {
                part(rest, &RECORD).ok_or("`record:` with topic, partition, offset, timestamp, key, value or headers")
            }
            "change" => part(rest, &CHANGE).ok_or("`change:` with op, position or committed"),
            _ => {
                Err("a field's name, or begin with `field:`, `before:`, `header:`, `record:`, `change:` or `constant:`")
            }
        }
    }
}

const RECORD: [(&str, RecordPart); 7] = [
    ("topic", RecordPart::Topic),
    ("partition", RecordPart::Partition),
    ("offset", RecordPart::Offset),
    ("timestamp", RecordPart::Timestamp),
    ("key", RecordPart::Key),
    ("value", RecordPart::Value),
    ("headers", RecordPart::Headers),
];

const CHANGE: [(&str, RecordPart); 3] =
    [("op", RecordPart::Operation), ("position", RecordPart::Position), ("committed", RecordPart::Committed)];

fn part(name: &str, parts: &[(&str, RecordPart)]) -> Option<ColumnSource> {
    parts.iter().find(|(known, _)| *known == name).map(|(_, part)| ColumnSource::Record(*part))
}
