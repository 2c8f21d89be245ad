//! Who has a transactional id: a record of the progress topic, written in the first transaction of its producer.
//!
//! Whoever is refused as an old producer reads it: if it names somebody else, that one took over; if not, the brokers gave up
//! a transaction that was open for too long.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::pipeline::Progress;
use crate::pipeline::times::now_ms;

/// What the key begins with. No slot's name has a slash.
const KEY: &str = "claim/";

/// Where Linux tells the name of the host.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// Who has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// Tells openings apart.
    instance: Uuid,
    /// Where it runs.
    host: String,
    /// Its process.
    pid: u32,
    /// Since when, in milliseconds since 1970.
    since_ms: i64,
}

impl Claim {
    /// That of an opening of a sink here and now.
    pub(crate) fn new() -> Self {
        let host = std::fs::read_to_string(HOST_NAME).unwrap_or_default();
        let host = match host.trim() {
            "" => "unknown host".to_owned(),
            host => host.to_owned(),
        };
        Self { instance: Uuid::now_v7(), host, pid: std::process::id(), since_ms: now_ms() }
    }

    /// The key of the record for this transactional id.
    pub(crate) fn key(id: &str) -> Vec<u8> {
        [KEY.as_bytes(), id.as_bytes()].concat()
    }

    /// The record for this transactional id.
    pub(crate) fn record(&self, id: &str) -> Progress {
        let value = serde_json::to_vec(self).expect("names and numbers always have a JSON form");
        Progress { key: Self::key(id).into(), value: Bytes::from(value) }
    }

    /// Reads a record; none if it is not one.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        serde_json::from_slice(value).ok()
    }

    /// Who and where, for a person.
    pub(crate) fn who(&self) -> String {
        format!("process {} on {:?}", self.pid, self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_reads_back_and_two_openings_of_one_process_differ() {
        let claim = Claim::new();
        let record = claim.record("postrider.orders");
        assert_eq!(record.key, "claim/postrider.orders");
        assert_eq!(Claim::parse(&record.value), Some(claim.clone()));
        assert_ne!(Claim::new(), claim);
        assert!(claim.who().contains(&std::process::id().to_string()), "{}", claim.who());
        assert_eq!(Claim::parse(b"{}"), None);
    }
}
