//! One topic as the producer uses it: how many partitions keys are spread over, what it takes, and which of its partitions
//! took something from the present producer.

use std::time::Duration;

use crate::sinks::kafka::murmur2::partition_of;

/// How long a partition counts as known to the producer after it last took something: half of what a broker [remembers]
/// by default.
///
/// [remembers]: https://kafka.apache.org/documentation/#brokerconfigs_producer.id.expiration.ms
const REMEMBERED: Duration = Duration::from_secs(12 * 60 * 60);

/// The most that a clamped time keeps from the end of the window: clocks differ, and a record waits before it is looked at.
const MARGIN_MAX_MS: i64 = 60_000;

/// What the brokers say about a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Description {
    /// How many partitions it has; at least one.
    pub(super) partitions: usize,
    /// What it takes; the broker's to tell, so that none is known without the right to ask.
    pub(super) limits: Limits,
}

/// What a topic takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// [The largest record batch](https://kafka.apache.org/documentation/#topicconfigs_max.message.bytes), in bytes, after
    /// compression.
    pub(super) batch_bytes_max: usize,
    /// Whether a record must have a key.
    pub(super) keyed: bool,
    /// How far a record's time may lie back, in milliseconds.
    pub(super) before_max_ms: i64,
    /// How far a record's time may lie ahead, in milliseconds.
    pub(super) after_max_ms: i64,
}

impl Limits {
    /// Those of a topic that does not tell: what it does not take, it refuses itself.
    pub(super) const UNKNOWN: Self =
        Self { batch_bytes_max: usize::MAX, keyed: false, before_max_ms: i64::MAX, after_max_ms: i64::MAX };

    /// The time to publish with instead of `time_ms`, if that lies outside what the topic takes at `now_ms`.
    pub(super) fn clamp(&self, time_ms: i64, now_ms: i64) -> Option<i64> {
        let margin = |window: i64| (window / 2).min(MARGIN_MAX_MS);
        let oldest = now_ms.saturating_sub(self.before_max_ms - margin(self.before_max_ms));
        let newest = now_ms.saturating_add(self.after_max_ms - margin(self.after_max_ms));
        let clamped = time_ms.clamp(oldest, newest);
        (clamped != time_ms).then_some(clamped)
    }
}

/// A topic in use.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: Box<str>,
    pub(super) limits: Limits,
    partitions: Box<[Partition]>,
}

/// What the producer did to a partition.
#[derive(Debug, Clone, Copy, Default)]
struct Partition {
    /// When it last took something, in seconds of [`Clock`]; 0 is never.
    used_at: u32,
    /// The first record is on its way: nothing may follow it yet.
    probed: bool,
}

/// Where a record goes, and what must come before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The partition; none is librdkafka's to choose.
    pub(super) partition: Option<usize>,
    /// It is the first of its partition: the next one must wait until it is durable.
    pub(super) first: bool,
    /// The first one of its partition may not be durable yet.
    pub(super) wait: bool,
}

impl Topic {
    pub(super) fn new(name: Box<str>, description: &Description) -> Self {
        let partitions = vec![Partition::default(); description.partitions].into();
        Self { name, limits: description.limits, partitions }
    }

    /// Another producer goes on, which no partition knows.
    pub(super) fn renewed(&mut self) {
        self.partitions.fill(Partition::default());
    }

    pub(super) fn partition_count(&self) -> usize {
        self.partitions.len()
    }

    /// Where a record with this key goes at the second `now`. Without a key there is no order to keep.
    ///
    /// A broker takes any first sequence number from a producer that it does not know yet on a partition. If the first
    /// request is refused, a second one that is on its way would be taken and overtake it; once a partition has taken
    /// something, the broker itself refuses what would leave a gap.
    pub(super) fn place(&mut self, key: Option<&[u8]>, now: u32) -> Place {
        let Some(key) = key else { return Place { partition: None, first: false, wait: false } };
        self.place_in(partition_of(key, self.partitions.len()), now)
    }

    /// The same for a record whose partition is chosen already; one that does not exist was refused before.
    pub(super) fn place_in(&mut self, index: usize, now: u32) -> Place {
        let Some(partition) = self.partitions.get_mut(index) else {
            return Place { partition: Some(index), first: false, wait: false };
        };
        let forgotten = u64::from(now.saturating_sub(partition.used_at)) > REMEMBERED.as_secs();
        let first = !partition.probed && (partition.used_at == 0 || forgotten);
        let place = Place { partition: Some(index), first, wait: partition.probed };
        partition.used_at = now;
        partition.probed |= first;
        place
    }

    /// What the partition took is durable.
    pub(super) fn settled(&mut self, partition: usize) {
        if let Some(partition) = self.partitions.get_mut(partition) {
            partition.probed = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(partitions: usize) -> Topic {
        Topic::new("t".into(), &Description { partitions, limits: Limits::UNKNOWN })
    }

    #[test]
    fn the_first_record_of_a_partition_is_followed_only_when_it_is_durable() {
        let mut topic = topic(1);
        assert_eq!(topic.place(Some(b"a"), 5), Place { partition: Some(0), first: true, wait: false });
        assert_eq!(topic.place(Some(b"b"), 5), Place { partition: Some(0), first: false, wait: true });
        topic.settled(0);
        assert_eq!(topic.place(Some(b"a"), 6), Place { partition: Some(0), first: false, wait: false });
    }

    #[test]
    fn a_partition_that_was_idle_for_half_a_day_is_new_again() {
        let mut topic = topic(1);
        topic.place(Some(b"a"), 1);
        topic.settled(0);
        let later = 1 + 12 * 3600;
        assert!(!topic.place(Some(b"a"), later).first);
        assert!(topic.place(Some(b"a"), later + 12 * 3600 + 1).first);
    }

    #[test]
    fn without_a_key_nothing_is_waited_for() {
        let mut topic = topic(3);
        for _ in 0..2 {
            assert_eq!(topic.place(None, 1), Place { partition: None, first: false, wait: false });
        }
    }

    #[test]
    fn times_are_moved_into_the_window_and_no_further() {
        let hour = 3_600_000;
        let limits = Limits { before_max_ms: 2 * hour, after_max_ms: hour, ..Limits::UNKNOWN };
        let now = 1_800_000_000_000;
        assert_eq!(limits.clamp(now, now), None);
        assert_eq!(limits.clamp(now - hour, now), None);
        assert_eq!(limits.clamp(now - 3 * hour, now), Some(now - 2 * hour + MARGIN_MAX_MS));
        assert_eq!(limits.clamp(now + 2 * hour, now), Some(now + hour - MARGIN_MAX_MS));
        assert_eq!(Limits::UNKNOWN.clamp(0, now), None);
        assert_eq!(Limits::UNKNOWN.clamp(i64::MAX, now), None);
        let narrow = Limits { before_max_ms: 0, after_max_ms: 0, ..Limits::UNKNOWN };
        assert_eq!(narrow.clamp(1, now), Some(now));
    }
}
