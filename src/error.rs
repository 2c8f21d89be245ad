//! The library's one error. It names fields, sizes and reasons, never a payload or the value of a header.

use std::fmt;

use thiserror::Error;

/// Why an event, an envelope, an inbox entry or a migration was refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A field that must hold something is empty.
    #[error("{field} is empty")]
    Empty {
        /// The field.
        field: Field,
    },
    /// A field is larger than its limit in [`crate::limits`].
    #[error("{field}: {size} {unit}; at most {limit} are allowed")]
    TooLarge {
        /// The field.
        field: Field,
        /// What it measures, in `unit`.
        size: usize,
        /// What it may measure at most, in `unit`.
        limit: usize,
        /// `bytes`, `headers` or `levels`.
        unit: &'static str,
    },
    /// A field holds what Postgres, Kafka or a standard does not allow.
    #[error("{field} {reason}")]
    Refused {
        /// The field.
        field: Field,
        /// A sentence that the field's name begins.
        reason: &'static str,
    },
    /// A consumed record lacks a header that every event of an outbox has.
    #[error("{field} is missing; is this a topic of outbox events?")]
    Missing {
        /// The field.
        field: Field,
    },
    /// A payload cannot be written as JSON, or cannot be read as what the caller expects.
    #[error("the payload is not the JSON that is expected")]
    Json(#[source] serde_json::Error),
    /// The database, or the way to it, failed. The transaction is of no more use: roll it back.
    #[error("{action} failed{}", hint(.sqlstate.as_deref()))]
    Database {
        /// What was attempted.
        action: &'static str,
        /// The [SQLSTATE](https://www.postgresql.org/docs/current/errcodes-appendix.html), if the server gave one. `40001` and `40P01` ask for a retry of the whole transaction.
        sqlstate: Option<String>,
        /// The driver's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database took the statement and stored fewer rows, as under a trigger or a rule that swallows them. Roll back.
    #[error("the outbox stored {stored} of {written} events; does a trigger or a rule on the table swallow rows?")]
    NotStored {
        /// How many events were written.
        written: usize,
        /// How many rows the database says it stored.
        stored: u64,
    },
    /// A migration failed. What was applied before it stays applied, and a later run continues there.
    #[cfg(feature = "migrations")]
    #[error("the migrations of the outbox failed")]
    Migration(#[source] Box<refinery::Error>),
}

impl Error {
    /// The SQLSTATE of the server's refusal, where the server refused.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Database { sqlstate, .. } => sqlstate.as_deref(),
            _ => None,
        }
    }
}

/// What an [`enum@Error`] is about. Displayed as the SQL functions name it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Field {
    /// The aggregate type.
    AggregateType,
    /// The aggregate id.
    AggregateId,
    /// The event type.
    EventType,
    /// The payload.
    Payload,
    /// All headers together.
    Headers,
    /// The name of a header.
    HeaderName,
    /// The header of this name.
    Header(String),
    /// The name of a consumer of the inbox.
    Consumer,
    /// The position of an event.
    Position,
}

impl fmt::Display for Field {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AggregateType => formatter.write_str("aggregate_type"),
            Self::AggregateId => formatter.write_str("aggregate_id"),
            Self::EventType => formatter.write_str("event_type"),
            Self::Payload => formatter.write_str("payload"),
            Self::Headers => formatter.write_str("headers"),
            Self::HeaderName => formatter.write_str("the name of a header"),
            Self::Header(name) => write!(formatter, "header {name:?}"),
            Self::Consumer => formatter.write_str("consumer"),
            Self::Position => formatter.write_str("position"),
        }
    }
}

/// What to do about the refusals that a forgotten set-up step causes.
fn hint(sqlstate: Option<&str>) -> &'static str {
    match sqlstate {
        Some("42P01" | "42703") => ": the tables are not the expected ones; have the migrations run?",
        Some("42501") => ": the role lacks a right; see the notes at the top of the migrations",
        _ => "",
    }
}

/// Checks the size of a text that must not be empty and may not hold the NUL that Postgres cannot store.
pub(crate) fn check_text(field: Field, text: &str, limit: usize) -> Result<(), Error> {
    if text.is_empty() {
        return Err(Error::Empty { field });
    }
    if text.contains('\0') {
        return Err(Error::Refused { field, reason: "holds a NUL character, which Postgres cannot store" });
    }
    check_bytes(field, text.len(), limit)
}

/// Checks a size in bytes.
pub(crate) fn check_bytes(field: Field, size: usize, limit: usize) -> Result<(), Error> {
    if size > limit {
        return Err(Error::TooLarge { field, size, limit, unit: "bytes" });
    }
    Ok(())
}
