//! What topics hold, read back: the events in them from a moment on.
//!
//! Guarantee: what is shown stands in a record that readers see (`read_committed`), and so is durable. What is not shown may have
//! been there where [`Extent::complete`] is false. Of [`Held`], which keeps ids: nothing of a record but its id and its position.

mod reading;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use regex::Regex;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::kafka::reachability::Reachability;
use crate::kafka::security::KafkaSecurity;
use crate::pipeline::{End, Error, Kind};

pub(crate) use reading::walk;

/// Ids that are kept in memory at most by default: 16 bytes each, so 256 MiB.
pub const IDS_MAX: usize = 16 * 1024 * 1024;

/// Ids that are sorted together. Chunks are never copied into larger ones, so that memory does not double while it grows.
const CHUNK: usize = 1024 * 1024;

/// Topics whose names a pattern matches, and the header that holds an event's id there.
#[derive(Debug, Clone)]
pub struct Topics {
    /// Which.
    pub pattern: Regex,
    /// The header.
    pub id_header: String,
}

/// What is sought.
#[derive(Debug, Clone)]
pub struct Sought {
    /// In which topics; where two patterns match, the first holds.
    pub topics: Vec<Topics>,
    /// A topic that is left out all the same.
    pub except: String,
    /// The header that holds an event's position, if there is one.
    pub position_header: Option<String>,
    /// From when on, in milliseconds since 1970, by the records' own times; `None` from the beginning.
    pub from_ms: Option<i64>,
    /// How long nothing may come.
    pub patience: Duration,
    /// How long it may take in all.
    pub within: Duration,
}

/// An event in a topic.
#[derive(Debug)]
pub struct Seen<'r> {
    /// The topic.
    pub topic: &'r str,
    /// The partition.
    pub partition: i32,
    /// When it is from, by the record's own time, in milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    /// The event's id, as text.
    pub id: Option<Cow<'r, str>>,
    /// Its position.
    pub position: Option<u128>,
    /// The record's key.
    pub key: Option<&'r [u8]>,
    /// The record's value; none is a tombstone.
    pub value: Option<&'r [u8]>,
    /// The record's headers, in their order.
    pub headers: Vec<(&'r str, Option<&'r [u8]>)>,
}

/// What was read, and what could not be.
#[derive(Debug, Default, Clone)]
pub struct Extent {
    /// The topics that were read.
    pub topics: BTreeSet<String>,
    /// Records that were read.
    pub records: u64,
    /// Whether every event that was delivered since the moment was seen: nothing of it was deleted or compacted away since.
    pub complete: bool,
    /// Topics of which the beginning was deleted: the time of the oldest record that is left, in milliseconds since 1970, of that
    /// partition where it is the newest; the greatest number, where a partition lost every record.
    pub beginnings_ms: HashMap<String, i64>,
}

/// The ids that were found: 16 bytes each.
#[derive(Debug, Default)]
pub struct Held {
    chunks: Vec<Vec<u128>>,
    /// What was read, and what could not be.
    pub extent: Extent,
    /// The newest position that any record has.
    pub newest: Option<u128>,
}

impl Held {
    /// Whether the event of this id, as its table prints it, is there.
    #[must_use]
    pub fn contains(&self, id: &str) -> bool {
        let number = number(id.as_bytes());
        self.chunks.iter().any(|chunk| chunk.binary_search(&number).is_ok())
    }

    /// Whether none was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunks.iter().all(Vec::is_empty)
    }

    /// How many ids are kept; one that stands in several records may count more than once.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chunks.iter().map(Vec::len).sum()
    }

    fn add(&mut self, id: u128) {
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push(id),
            _ => {
                self.close();
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(id);
                self.chunks.push(chunk);
            }
        }
    }

    /// Sorts the last chunk: what is added afterwards begins another.
    fn close(&mut self) {
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.sort_unstable();
            chunk.dedup();
        }
    }

    #[cfg(test)]
    fn of(ids: &[&str]) -> Self {
        let mut held = Self::default();
        ids.iter().for_each(|id| held.add(number(id.as_bytes())));
        held.close();
        held
    }
}

/// An id as a number: a UUID as it is, any other text by its hash. Two texts with one hash do not occur.
pub(crate) fn number(id: &[u8]) -> u128 {
    if let Ok(uuid) = Uuid::try_parse_ascii(id) {
        return uuid.as_u128();
    }
    let digest = Sha256::digest(id);
    let (half, _) = digest.as_slice().split_at(16);
    half.iter().fold(0, |number, byte| number << 8 | u128::from(*byte))
}

/// The id in a header's value, as text: what stands there, or what Kafka Connect's JSON converter made of it.
fn id_text(value: &[u8]) -> Cow<'_, str> {
    let json = matches!(value.first(), Some(b'"' | b'{')).then(|| serde_json::from_slice(value).ok()).flatten();
    match json {
        Some(serde_json::Value::String(text)) => Cow::Owned(text),
        Some(serde_json::Value::Object(members)) => match members.get("payload") {
            Some(serde_json::Value::String(text)) => Cow::Owned(text.clone()),
            Some(serde_json::Value::Number(id)) => Cow::Owned(id.to_string()),
            _ => String::from_utf8_lossy(value),
        },
        _ => String::from_utf8_lossy(value),
    }
}

/// Reads the ids of what is sought up to what is there now, at most `ids_max`. Blocks; it joins no group and commits nothing.
///
/// # Errors
/// As [`walk`]; `Setup` if there are more ids than may be kept.
pub(crate) fn read(
    config: &ClientConfig,
    security: &KafkaSecurity,
    reachability: &Arc<Reachability>,
    sought: &Sought,
    ids_max: usize,
) -> Result<Held, Error> {
    let mut held = Held::default();
    let extent = walk(config, security, reachability, sought, &mut |seen| {
        held.newest = held.newest.max(seen.position);
        if let Some(id) = &seen.id {
            held.add(number(id.as_bytes()));
        }
        if held.len() > ids_max {
            let context =
                format!("the topics hold more than {ids_max} events since the moment from which on they are read back");
            return Err(Error::new(End::Sink, Kind::Setup, context).with_help(
                "Name a later moment with --since, if what is older is known to be delivered: each id takes 16 bytes of memory.",
            ));
        }
        Ok(())
    })?;
    held.close();
    Ok(Held { extent, ..held })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_in_whichever_form_it_was_written() {
        let id = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b";
        let json = format!(r#"{{"schema":{{"type":"string"}},"payload":"{id}"}}"#);
        for value in [id.to_owned(), id.to_uppercase(), format!("\"{id}\""), json] {
            assert_eq!(number(id_text(value.as_bytes()).as_bytes()), number(id.as_bytes()), "{value}");
        }
        assert_eq!(number(id_text(br#"{"payload":17}"#).as_bytes()), number(b"17"));
        assert_ne!(number(b"17"), number(b"18"));
    }

    #[test]
    fn what_was_added_is_held_and_nothing_else() {
        let ids = ["order-1", "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b", "7"];
        let held = Held::of(&ids);
        assert!(ids.iter().all(|id| held.contains(id)));
        assert!(!held.contains("8") && !held.contains("order-2"));
        assert_eq!(Held::of(&["a", "b", "a"]).len(), 2);
        assert!(Held::default().is_empty());
    }
}
