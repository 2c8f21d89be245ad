//! Dropping and advancing one slot: both give up log that its reader may need, so that each says first what that is.
//!
//! The decisions are pure: facts in, steps or refusals out. Nothing is run that was not shown.

mod advance;
mod drop;
#[cfg(test)]
mod tests;

use postgres_protocol::escape::escape_literal;
use tokio_postgres::Client;

use crate::slots::error::{Error, Refusal};
use crate::slots::facts::{self, Reader, ServerFacts, SlotFacts};

pub use crate::slots::change::advance::{Advance, Target, Undelivered, Witness, advance};
pub use crate::slots::change::drop::{Drop, drop};

/// Whose a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The relay's own.
    Relay,
    /// Declared in a section of its own.
    Declared,
    /// Somebody else's; `allowed` if it was said that it may be touched all the same.
    Foreign {
        /// Whether it may be touched.
        allowed: bool,
    },
}

/// A slot, and its server.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The slot.
    pub slot: SlotFacts,
    /// The server.
    pub server: ServerFacts,
}

/// Looks for the slot of that name.
///
/// # Errors
/// [`Error::Refused`] with the names that there are if there is none; [`Error::Database`].
pub async fn find(client: &Client, name: &str) -> Result<Found, Error> {
    let facts = facts::read(client).await?;
    let names: Vec<String> = facts.slots.iter().map(|slot| slot.name.clone()).collect();
    match facts.slots.into_iter().find(|slot| slot.name == name) {
        Some(slot) => Ok(Found { slot, server: facts.server }),
        None => Err(Error::Refused(vec![Refusal {
            what: format!("there is no slot {name} on this server"),
            mend: match names.as_slice() {
                [] => "there is none at all".to_owned(),
                names => format!("there are {}", names.join(", ")),
            },
        }])),
    }
}

/// Who reads it, as a fragment.
fn told(reader: &Reader) -> String {
    let mut told = format!("process {}", reader.pid);
    if let Some(role) = reader.role.as_ref().filter(|role| !role.is_empty()) {
        told.push_str(&format!(", role {role}"));
    }
    if let Some(application) = reader.application.as_ref().filter(|name| !name.is_empty()) {
        told.push_str(&format!(", application {application:?}"));
    }
    if let Some(client) = &reader.client {
        told.push_str(&format!(", from {client}"));
    }
    if let Some(since) = &reader.since {
        told.push_str(&format!(", since {since}"));
    }
    told
}

/// Why somebody else's slot is left alone.
fn foreign(slot: &SlotFacts, owner: Owner) -> Option<Refusal> {
    let Owner::Foreign { allowed: false } = owner else { return None };
    let kind = match &slot.plugin {
        Some(plugin) => format!("of the plugin {plugin}"),
        None => "a physical slot, by which a standby may live".to_owned(),
    };
    Some(refusal(
        format!("slot {} is not declared here, and {kind}", slot.name),
        format!("where its owner agrees, say --foreign; where it is yours, write a section [slots.{}]", slot.name),
    ))
}

/// A size for people.
pub(in crate::slots) fn size(bytes: i64) -> String {
    match bytes {
        bytes if bytes >= 10 << 30 => format!("{} GiB", bytes >> 30),
        bytes if bytes >= 10 << 20 => format!("{} MiB", bytes >> 20),
        bytes if bytes >= 10 << 10 => format!("{} KiB", bytes >> 10),
        bytes => format!("{bytes} bytes"),
    }
}

fn refusal(what: impl Into<String>, mend: impl Into<String>) -> Refusal {
    Refusal { what: what.into(), mend: mend.into() }
}

/// A literal of SQL.
fn literal(text: &str) -> String {
    // Where a backslash would make it an escape string, the function opens it with a space.
    escape_literal(text).trim_start().to_owned()
}
