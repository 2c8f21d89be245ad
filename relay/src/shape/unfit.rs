//! Why an event cannot become a record as it is. It is neither lost nor sent: its route's policy says what becomes of it.

use thiserror::Error;

use crate::shape::row::Field;

/// Why a row cannot become a message. Says nothing of its content.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unshapable {
    /// Without this column there is no topic.
    #[error("its {0} is null, so it has no topic")]
    NullInTopic(String),
    /// Without this column there is no key, and without the key no order.
    #[error("its {0} is null, so it has no key")]
    NullInKey(String),
    /// The bytes are not in the form that the session asked for.
    #[error("its payload bytes are not in the hex form of bytea")]
    NotHex,
    /// The content of a logical message is not the object that it must be.
    #[error("its message is not a JSON object of the form that postrider.emit_message writes: {0}")]
    MalformedMessage(String),
    /// A value that the configured converter does not take.
    #[error("{0}")]
    Unconvertible(String),
    /// The value of a captured column is not one of its type.
    #[error("{0}")]
    UnreadableValue(String),
    /// The replica identity does not tell the key of a row that was changed or deleted.
    #[error("{0}")]
    KeyUnknown(String),
}

impl Unshapable {
    /// Every [`Unshapable::class`].
    pub const CLASSES: [&str; 7] = [
        "null_in_topic",
        "null_in_key",
        "payload_not_hex",
        "malformed_message",
        "unconvertible",
        "unreadable_value",
        "key_unknown",
    ];

    /// A word for the metric.
    #[must_use]
    pub fn class(&self) -> &'static str {
        let [
            null_in_topic,
            null_in_key,
            payload_not_hex,
            malformed_message,
            unconvertible,
            unreadable_value,
            key_unknown,
        ] = Self::CLASSES;
        match self {
            Self::NullInTopic(_) => null_in_topic,
            Self::NullInKey(_) => null_in_key,
            Self::NotHex => payload_not_hex,
            Self::MalformedMessage(_) => malformed_message,
            Self::Unconvertible(_) => unconvertible,
            Self::UnreadableValue(_) => unreadable_value,
            Self::KeyUnknown(_) => key_unknown,
        }
    }
}

/// What a column is called in a reason: a mapped one by its meaning, a further one by its own name.
#[must_use]
pub fn name_of(field: Field, further: &[String]) -> String {
    match field {
        Field::Id => "id".to_owned(),
        Field::AggregateType => "aggregate type".to_owned(),
        Field::AggregateId => "aggregate id".to_owned(),
        Field::EventType => "event type".to_owned(),
        Field::Further(index) => {
            let name = further.get(usize::from(index)).map_or("", String::as_str);
            format!("column {name}")
        }
    }
}
