//! Taking over from Debezium, and back: a connector's options become our configuration, each accounted for.
//!
//! Pure: it reads text and writes text. What it writes was read back by the configuration's own rules, so that a file that
//! is written is one that the relay starts with.

mod back;
mod capture;
mod connector;
mod input;
mod options;
mod pattern;
mod router;
mod written;

use std::fmt;

pub use crate::adopt::{
    back::{Connector, back},
    connector::{Brokers, debezium},
    input::InputError,
};

/// What a connector becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoption {
    /// Our configuration; not to be used while anything is refused.
    pub configuration: String,
    /// What became of each option, in the order of their names.
    pub fates: Vec<Fate>,
    /// The connector's name, or what to call it.
    pub connector: String,
    /// The slot that is taken over.
    pub slot: String,
}

/// What became of one option. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fate {
    /// The option.
    pub option: String,
    /// What became of it.
    pub becomes: Becomes,
}

/// What an option becomes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Becomes {
    /// This line of our configuration.
    Taken(String),
    /// Nothing: this is why it needs no counterpart.
    Needless(String),
    /// It cannot be taken over: this would change.
    Refused(String),
}

impl Adoption {
    /// Whether something cannot be taken over.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.fates.iter().any(|fate| matches!(fate.becomes, Becomes::Refused(_)))
    }

    /// What a person does then, step by step.
    #[must_use]
    pub fn runbook(&self) -> String {
        let (connector, slot) = (&self.connector, &self.slot);
        format!(
            "To take over:\n\
             1. Put the password into the file that `postgres.password_file` names.\n\
             2. Run `postrider check`: while the connector runs, it may find nothing worse than slot-held.\n\
             3. Stop the connector: `curl --request PUT http://connect:8083/connectors/{connector}/stop`\n\
             4. See that nobody reads the slot: `select active, confirmed_flush_lsn from pg_replication_slots where slot_name = '{slot}'`\n\
             5. Run `postrider check` again, then `postrider run`. It begins at the slot's position: what Debezium published and had\n   \
             not confirmed yet comes once more, with the same id.\n\
             6. Delete the connector when you are content. Until then this goes back: stop the relay, and start the connector that\n   \
             `postrider adopt debezium --back` prints.\n"
        )
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.becomes {
            Becomes::Taken(line) => write!(f, "taken over     {}: {line}", self.option),
            Becomes::Needless(why) => write!(f, "not needed     {}: {why}", self.option),
            Becomes::Refused(why) => write!(f, "not supported  {}: {why}", self.option),
        }
    }
}
