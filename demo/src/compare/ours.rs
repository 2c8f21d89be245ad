//! The relay, configured to be taken for Debezium.

use crate::compare::Options;
use crate::compare::place::Place;
use crate::error::{Error, Result};
use crate::relay::Process;

/// The relay under test.
pub(super) struct Ours;

impl Ours {
    /// Starts it with a slot and topics named `prefix`.
    pub(super) fn start(_place: &Place, _prefix: &str, _options: &Options) -> Result<Process> {
        Err(Error::Relay("the relay captures no tables yet: compare Debezium with `--itself`".to_owned()))
    }
}
