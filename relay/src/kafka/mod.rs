//! How brokers are reached, whether to write or to read: encryption and logins, what their failures mean, and whether they answer.

pub(crate) mod diagnosis;
pub(crate) mod events;
pub mod held;
pub mod ledger;
pub(crate) mod patience;
pub(crate) mod reachability;
pub(crate) mod security;
pub(crate) mod token;

pub use security::{KafkaLogin, KafkaSecurity, KafkaTls, WorkedOnce};
