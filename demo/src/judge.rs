//! The judge: told every record that was read and, at the end, every event that was committed, it says what was lost, repeated, invented, reordered or altered.
//!
//! It knows neither Kafka nor Postgres, so its tests can show that each verdict can be given.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use uuid::Uuid;

use crate::findings::{Defect, Findings};

/// A record as the consumer read it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Received<'a> {
    /// Its topic without the run's prefix: `outbox.event.post`.
    pub topic: &'a str,
    /// Its partition.
    pub partition: i32,
    /// Its offset in the partition; only named in the examples.
    pub offset: i64,
    /// Its key.
    pub key: &'a [u8],
    /// Its value; empty for a tombstone.
    pub value: &'a [u8],
    /// The header `id`, if it is a UUID.
    pub id: Option<Uuid>,
    /// The header `event_type`.
    pub event_type: &'a str,
    /// The header `correlation-id`.
    pub correlation_id: Option<&'a str>,
    /// The header `postrider-position`, if it is 32 hexadecimal digits.
    pub position: Option<u128>,
    /// The counter that the writer stamped into the payload.
    pub n: Option<u64>,
    /// Its timestamp: the commit time, in milliseconds since 1970.
    pub committed_ms: i64,
    /// When the consumer had it, in microseconds since 1970.
    pub received_us: i64,
}

/// An event as the outbox table holds it after the run.
#[derive(Debug, Clone, Copy)]
pub struct Committed<'a> {
    /// Its id.
    pub id: Uuid,
    /// The topic it belongs on, without the run's prefix.
    pub topic: &'a str,
    /// Its aggregate id.
    pub key: &'a str,
    /// Its type.
    pub event_type: &'a str,
    /// Its header `correlation-id`.
    pub correlation_id: Option<&'a str>,
    /// Its payload, as Postgres prints it.
    pub payload: &'a str,
}

/// When a first occurrence was committed and when it was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// The commit time, in milliseconds since 1970.
    pub committed_ms: i64,
    /// When the consumer had it, in microseconds since 1970.
    pub received_us: i64,
}

impl Delivery {
    /// Commit to receipt, in microseconds. The commit time is known to the millisecond, rounded down, so this errs on the slow side.
    pub fn latency_us(&self) -> u64 {
        u64::try_from(self.received_us - self.committed_ms * 1000).unwrap_or(0)
    }
}

/// Takes in records as they come; memory is about 100 bytes an event.
#[derive(Debug, Default)]
pub struct Judge {
    seen: HashMap<Uuid, First>,
    keys: HashMap<u64, Key>,
    deliveries: Vec<Delivery>,
    findings: Findings,
}

/// What is kept of an event's first occurrence.
#[derive(Debug)]
struct First {
    content: u64,
    position: Option<u128>,
    settled: bool,
}

/// How far a key of a topic has come.
#[derive(Debug)]
struct Key {
    partition: i32,
    n: u64,
    position: u128,
}

impl Judge {
    /// Takes in one record; true if it is the first with its id.
    pub fn observe(&mut self, record: &Received<'_>) -> bool {
        self.findings.records += 1;
        let Some(id) = record.id else {
            self.findings.note(Defect::Phantom, || format!("a record without an id {}", place(record)));
            return false;
        };
        let content = fingerprint(record.topic, record.key, record.event_type, record.correlation_id, record.value);
        if let Some(first) = self.seen.get(&id) {
            self.findings.duplicated += 1;
            if first.content != content || first.position != record.position {
                self.findings.note(Defect::Altered, || {
                    format!("{id} was repeated with other content or position {}", place(record))
                });
            }
            return false;
        }
        self.seen.insert(id, First { content, position: record.position, settled: false });
        self.deliveries.push(Delivery { committed_ms: record.committed_ms, received_us: record.received_us });
        self.follow_key(id, record);
        true
    }

    /// Compares one committed event with what was read of it.
    pub fn settle(&mut self, event: &Committed<'_>) {
        self.findings.committed += 1;
        let Some(first) = self.seen.get_mut(&event.id) else {
            self.findings.note(Defect::Lost, || {
                format!("{} {} of {} {} never arrived", event.event_type, event.id, event.topic, event.key)
            });
            return;
        };
        first.settled = true;
        self.findings.delivered += 1;
        let content = fingerprint(
            event.topic,
            event.key.as_bytes(),
            event.event_type,
            event.correlation_id,
            event.payload.as_bytes(),
        );
        if first.content != content {
            self.findings.note(Defect::Altered, || {
                format!(
                    "{} {} arrived with another topic, key, type, correlation id or payload than was committed",
                    event.event_type, event.id
                )
            });
        }
    }

    /// The findings, after every committed event was settled: what is left was never committed. `rolled_back` only serves to say which kind it was.
    pub fn finish(mut self, rolled_back: &HashSet<Uuid>) -> (Findings, Vec<Delivery>) {
        for (id, _) in self.seen.iter().filter(|(_, first)| !first.settled) {
            let why = if rolled_back.contains(id) { "was rolled back" } else { "is in no outbox" };
            self.findings.note(Defect::Phantom, || format!("{id} was delivered but {why}"));
        }
        (self.findings, self.deliveries)
    }

    /// Checks a first occurrence against the ones of its key before it: same partition, a higher counter, a higher position.
    fn follow_key(&mut self, id: Uuid, record: &Received<'_>) {
        let (Some(n), Some(position)) = (record.n, record.position) else {
            self.findings.note(Defect::Altered, || {
                format!("{id} has no counter in its payload or no position in its headers {}", place(record))
            });
            return;
        };
        let mut hasher = DefaultHasher::new();
        (record.topic, record.key).hash(&mut hasher);
        let key = self.keys.entry(hasher.finish()).or_insert(Key { partition: record.partition, n: 0, position: 0 });
        if key.partition != record.partition {
            self.findings.note(Defect::Scattered, || {
                format!("{id} came by another partition than its key did before {}", place(record))
            });
        } else if position <= key.position {
            self.findings.note(Defect::Backwards, || {
                format!("{id} has a position at or below its predecessor's {}", place(record))
            });
        }
        if n <= key.n {
            self.findings.note(Defect::Reordered, || {
                format!("{id} with counter {n} came after counter {} {}", key.n, place(record))
            });
        }
        key.n = key.n.max(n);
        key.position = key.position.max(position);
    }
}

/// Where a record was read, for the examples.
fn place(record: &Received<'_>) -> String {
    format!("(topic {}, partition {}, offset {})", record.topic, record.partition, record.offset)
}

/// One number for everything that must travel unchanged.
fn fingerprint(topic: &str, key: &[u8], event_type: &str, correlation_id: Option<&str>, value: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (topic, key, event_type, correlation_id, value).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use uuid::Uuid;

    use crate::findings::{Defect, Findings};
    use crate::judge::{Committed, Judge, Received};

    /// The record of the event numbered `n` of key `k`.
    fn record(n: u64) -> Received<'static> {
        Received {
            topic: "outbox.event.post",
            key: b"k",
            value: b"{}",
            id: Some(Uuid::from_u128(u128::from(n))),
            event_type: "PostEdited",
            position: Some(u128::from(n) << 48),
            n: Some(n),
            ..Received::default()
        }
    }

    fn committed(n: u64) -> Committed<'static> {
        let id = Uuid::from_u128(u128::from(n));
        Committed {
            id,
            topic: "outbox.event.post",
            key: "k",
            event_type: "PostEdited",
            correlation_id: None,
            payload: "{}",
        }
    }

    /// Lets the judge see `records`, then the outbox with the events `outbox`.
    fn judged(records: &[Received<'_>], outbox: &[u64]) -> Findings {
        let mut judge = Judge::default();
        for record in records {
            judge.observe(record);
        }
        for n in outbox {
            judge.settle(&committed(*n));
        }
        judge.finish(&HashSet::from([Uuid::from_u128(99)])).0
    }

    #[test]
    fn everything_once_and_in_order_is_clean() {
        let findings = judged(&[record(1), record(2), record(3)], &[1, 2, 3]);
        assert_eq!((findings.committed, findings.delivered, findings.duplicated), (3, 3, 0));
        assert!(findings.clean());
    }

    #[test]
    fn an_event_that_never_arrives_is_lost() {
        let findings = judged(&[record(1), record(3)], &[1, 2, 3]);
        assert_eq!((findings.count(Defect::Lost), findings.delivered), (1, 2));
        assert!(!findings.clean());
    }

    #[test]
    fn a_repeated_event_is_duplicated_and_neither_phantom_nor_reordered() {
        let findings = judged(&[record(1), record(2), record(1), record(2), record(3)], &[1, 2, 3]);
        assert_eq!((findings.duplicated, findings.delivered), (2, 3));
        assert!(findings.clean());
    }

    #[test]
    fn an_event_that_was_rolled_back_is_a_phantom_and_called_so() {
        let findings = judged(&[record(1), record(99)], &[1]);
        assert_eq!(findings.count(Defect::Phantom), 1);
        assert!(findings.examples()[0].contains("was rolled back"));
        assert!(!findings.clean());
    }

    #[test]
    fn an_unknown_event_or_one_without_an_id_is_a_phantom() {
        let findings = judged(&[record(5), Received { id: None, ..record(1) }], &[]);
        assert_eq!(findings.count(Defect::Phantom), 2);
    }

    #[test]
    fn a_first_occurrence_after_its_successor_is_reordered() {
        let findings = judged(&[record(2), record(1), record(3)], &[1, 2, 3]);
        assert_eq!(findings.count(Defect::Reordered), 1);
        assert!(!findings.clean());
    }

    #[test]
    fn keys_and_topics_are_ordered_each_on_its_own() {
        let other_key = Received { key: b"other", ..record(1) };
        let other_topic = Received { topic: "outbox.event.user", id: Some(Uuid::from_u128(50)), ..record(1) };
        let findings = judged(&[record(2), other_key, other_topic], &[]);
        assert_eq!(findings.count(Defect::Reordered), 0);
    }

    #[test]
    fn a_payload_key_type_or_topic_that_was_changed_is_altered() {
        for changed in [
            Received { value: b"{ }", ..record(1) },
            Received { key: b"K", ..record(1) },
            Received { event_type: "PostCreated", ..record(1) },
            Received { topic: "outbox.event.user", ..record(1) },
            Received { correlation_id: Some("made up"), ..record(1) },
        ] {
            let findings = judged(&[changed], &[1]);
            assert_eq!(findings.count(Defect::Altered), 1, "{changed:?}");
            assert!(!findings.clean());
        }
    }

    #[test]
    fn a_repetition_must_carry_the_same_position() {
        let findings = judged(&[record(1), Received { position: Some(7), ..record(1) }], &[1]);
        assert_eq!((findings.duplicated, findings.count(Defect::Altered)), (1, 1));
    }

    #[test]
    fn a_record_without_position_or_counter_is_altered() {
        let findings = judged(&[Received { position: None, ..record(1) }, Received { n: None, ..record(2) }], &[1, 2]);
        assert_eq!(findings.count(Defect::Altered), 2);
    }

    #[test]
    fn a_key_on_two_partitions_is_scattered() {
        let findings = judged(&[record(1), Received { partition: 1, ..record(2) }], &[1, 2]);
        assert_eq!(findings.count(Defect::Scattered), 1);
        assert!(!findings.clean());
    }

    #[test]
    fn a_position_that_goes_back_is_found_even_if_the_counter_rises() {
        let findings = judged(&[record(1), Received { position: Some(1), ..record(2) }], &[1, 2]);
        assert_eq!((findings.count(Defect::Backwards), findings.count(Defect::Reordered)), (1, 0));
        assert!(!findings.clean());
    }
}
