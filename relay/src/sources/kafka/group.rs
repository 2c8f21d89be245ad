//! Partitions that come and go, and places that are gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::{Offset, TopicPartitionList};
use tracing::{debug, info, warn};

use crate::pipeline::{End, Error, Kind};
use crate::sources::kafka::events::{Change, Part};
use crate::sources::kafka::lane::{Book, Lane, Trouble};
use crate::sources::kafka::ledger::Ledger;
use crate::sources::kafka::note::{Note, Place};
use crate::sources::kafka::options::{Start, Topic};
use crate::sources::kafka::trouble::{self, Whereabouts};
use crate::sources::kafka::worker::Worker;

/// How long a broker may take to tell what is committed, or where a partition begins and ends, before it is asked again.
const ASK_PATIENCE: Duration = Duration::from_secs(5);

/// How long to wait before asking again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Why an assignment is not taken on yet.
enum NotYet {
    /// A broker did not answer.
    AskAgain(KafkaError),
    /// A person must decide.
    Refused(Error),
}

impl From<Error> for NotYet {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<KafkaError> for NotYet {
    fn from(error: KafkaError) -> Self {
        Self::AskAgain(error)
    }
}

/// Where an assigned partition is read from.
struct Begin {
    book: Book,
    from: Offset,
}

impl Worker {
    /// Takes on what the group assigned, and lets go of what it revoked.
    pub(super) fn rebalance(&mut self) {
        while let Some(change) = self.consumer.context().next_change() {
            self.metrics.consumer.rebalances.inc();
            self.changes.push_back(change);
        }
        while !self.has_failed()
            && Instant::now() >= self.changes_at
            && let Some(change) = self.changes.pop_front()
        {
            match change {
                Change::Revoked { parts, lost } => self.revoke(&parts, lost),
                Change::Assigned(parts) => match self.assign(&parts) {
                    Ok(()) => {}
                    Err(NotYet::Refused(error)) => {
                        self.fail(error);
                        self.changes.push_front(Change::Assigned(parts));
                        return;
                    }
                    Err(NotYet::AskAgain(error)) => {
                        debug!(%error, "asking again what is committed");
                        self.changes_at = Instant::now() + ASK_AGAIN;
                        self.changes.push_front(Change::Assigned(parts));
                    }
                },
            }
            self.metrics.consumer.partitions.set(self.lanes.len() as i64);
        }
    }

    /// Answers the changes that were not handled, or the group would wait for it: this member leaves.
    pub(super) fn finish_changes(&mut self) {
        while let Some(change) = self.changes.pop_front().or_else(|| self.consumer.context().next_change()) {
            let outcome = match &change {
                Change::Assigned(parts) => self.consumer.incremental_assign(&list_of(parts)),
                Change::Revoked { parts, .. } => self.consumer.incremental_unassign(&list_of(parts)),
            };
            if let Err(error) = outcome {
                debug!(%error, "a rebalance while leaving");
            }
        }
    }

    fn assign(&mut self, parts: &[Part]) -> Result<(), NotYet> {
        let asked = list_of(parts);
        let committed = if parts.is_empty() { asked } else { self.committed(asked)? };
        let mut list = TopicPartitionList::with_capacity(parts.len());
        let mut lanes = Vec::with_capacity(parts.len());
        for part in committed.elements() {
            let Some(topic) = self.options.topics.iter().find(|topic| &*topic.name == part.topic()).cloned() else {
                continue;
            };
            match part.error() {
                // It was just deleted: the group will take it away.
                Err(error) if error.rdkafka_error_code() == Some(Code::UnknownTopicOrPartition) => {}
                told => told.map_err(|error| self.not_told(error))?,
            }
            let begin = self.begin(&topic, part.partition(), part.offset(), part.metadata())?;
            list.add_partition_offset(&topic.name, part.partition(), begin.from)?;
            lanes.push((topic, part.partition(), begin.book));
        }
        for (topic, partition, book) in lanes {
            self.take_on(topic, partition, book)?;
        }
        self.consumer.incremental_assign(&list).map_err(|error| {
            NotYet::Refused(Error::new(End::Source, Kind::Broken, "an assignment is not taken on").because(error))
        })?;
        if self.paused
            && let Err(error) = self.consumer.pause(&list)
        {
            warn!(%error, "new partitions are not paused");
        }
        info!(partitions = parts.len(), of = self.lanes.len(), "partitions assigned");
        Ok(())
    }

    fn committed(&self, asked: TopicPartitionList) -> Result<TopicPartitionList, NotYet> {
        self.consumer.committed_offsets(asked, ASK_PATIENCE).map_err(|error| self.not_told(error))
    }

    /// The group's offsets were not told.
    fn not_told(&self, error: KafkaError) -> NotYet {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        match trouble::of_consumer(code, &code.to_string(), &self.options.group, false) {
            Some(refused) => NotYet::Refused(refused),
            None => NotYet::AskAgain(error),
        }
    }

    /// Where to begin, by what is committed.
    fn begin(&self, topic: &Topic, partition: i32, offset: Offset, note: &str) -> Result<Begin, NotYet> {
        let repeatable = self.options.repeatable;
        let Offset::Offset(base) = offset else {
            return match self.options.start {
                // What is there before the first commit is told by the first record.
                Start::Earliest => {
                    let ledger = Ledger::at(0, Note::default(), repeatable);
                    Ok(Begin { book: Book::new(ledger, None), from: Offset::Beginning })
                }
                // It must be remembered, or what is written before the first commit would be left out by a restart.
                Start::Latest => {
                    let (_, high) = self.consumer.fetch_watermarks(&topic.name, partition, ASK_PATIENCE)?;
                    let ledger = Ledger::beginning_at(high, repeatable);
                    Ok(Begin { book: Book::new(ledger, None), from: Offset::Offset(high) })
                }
            };
        };
        let place = Place { topic: &topic.name, partition, offset: base };
        let note = Note::decode(note, place).map_err(|why| self.at(topic, partition).note(base, why))?;
        // The record that was delivered last is read again, to see that it is still the same log.
        let check = note.last.filter(|_| base > 0);
        let from = if check.is_some() { base - 1 } else { base };
        debug!(topic = &*topic.name, partition, base, promised = note.ends.len(), "reading goes on");
        Ok(Begin { book: Book::new(Ledger::at(base, note, repeatable), check), from: Offset::Offset(from) })
    }

    /// Gives the partition a queue of its own.
    fn take_on(&mut self, topic: Topic, partition: i32, book: Book) -> Result<(), NotYet> {
        let queue = self.consumer.split_partition_queue(&topic.name, partition);
        let mut queue = queue.ok_or(KafkaError::MetadataFetch(Code::UnknownPartition))?;
        let arrived = Arc::new(AtomicBool::new(true));
        let (flag, poller) = (Arc::clone(&arrived), thread::current());
        queue.set_nonempty_callback(move || {
            flag.store(true, Ordering::Release);
            poller.unpark();
        });
        if let Some(index) = self.missing.iter().position(|name| *name == topic.name) {
            let appeared = self.missing.remove(index);
            info!(topic = &*appeared, "the topic exists now");
            self.metrics.consumer.missing_topics.set(self.missing.len() as i64);
        }
        self.assignments += 1;
        self.lanes.retain(|lane| lane.partition != partition || lane.topic != topic);
        self.options.assigned.add(&topic.name, partition);
        let cuts = topic.in_parts.unwrap_or(self.options.cuts);
        self.lanes.push(Lane::new((topic, partition, self.assignments), cuts, queue, arrived, book));
        Ok(())
    }

    fn revoke(&mut self, parts: &[Part], lost: bool) {
        let goes = |lane: &Lane| {
            parts.iter().any(|(topic, partition)| *topic == *lane.topic.name && *partition == lane.partition)
        };
        for lane in self.lanes.iter().filter(|lane| goes(lane)) {
            lane.alive.store(false, Ordering::Release);
            self.options.assigned.remove(&lane.topic.name, lane.partition);
        }
        if lost {
            warn!(partitions = parts.len(), "partitions lost: others may read them already");
        } else if let Err(error) = self.commit_now(goes) {
            warn!(error = error.chain(), "what was acknowledged last is read again by whoever has the partitions next");
        }
        self.lanes.retain(|lane| !goes(lane));
        if let Err(error) = self.consumer.incremental_unassign(&list_of(parts)) {
            let error = Error::new(End::Source, Kind::Broken, "partitions are not given back").because(error);
            self.fail(error);
        }
        info!(partitions = parts.len(), of = self.lanes.len(), lost, "partitions revoked");
    }

    /// Tells librdkafka again where to read, where it did not take it.
    pub(super) fn seek_again(&mut self) {
        if Instant::now() >= self.seek_at && self.lanes.iter().any(|lane| lane.seek.is_some()) {
            self.seek();
        }
    }

    /// Tells librdkafka where to read.
    pub(super) fn seek(&mut self) {
        self.seek_at = Instant::now() + ASK_AGAIN;
        let mut list = TopicPartitionList::new();
        for lane in &self.lanes {
            if let Some(offset) = lane.seek {
                // An offset that was read is never negative.
                drop(list.add_partition_offset(&lane.topic.name, lane.partition, Offset::Offset(offset)));
            }
        }
        if list.count() == 0 {
            return;
        }
        match self.consumer.seek_partitions(list, ASK_PATIENCE) {
            Ok(sought) => {
                for part in sought.elements() {
                    let (topic, partition) = (part.topic(), part.partition());
                    match part.error().or_else(|_| self.take_again(topic, partition, part.offset())) {
                        Ok(()) => self.sought(topic, partition),
                        Err(error) => debug!(%error, topic, partition, "seeking again"),
                    }
                }
            }
            Err(error) => debug!(%error, "seeking again"),
        }
    }

    /// Gives a partition back and takes it anew, within this member: after an offset that was out of range there is no fetching
    /// that could seek.
    fn take_again(&self, topic: &str, partition: i32, offset: Offset) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(topic, partition, offset)?;
        self.consumer.incremental_unassign(&list)?;
        self.consumer.incremental_assign(&list)?;
        if self.paused { self.consumer.pause(&list) } else { Ok(()) }
    }

    fn sought(&mut self, topic: &str, partition: i32) {
        let place = (topic, partition);
        if let Some(lane) = self.lanes.iter_mut().find(|lane| (&*lane.topic.name, lane.partition) == place) {
            lane.seek = None;
            lane.wake();
        }
    }

    /// Stops fetching, or goes on.
    pub(super) fn pause(&mut self, paused: bool) {
        if self.paused == paused {
            return;
        }
        self.paused = paused;
        self.metrics.consumer.paused.set(i64::from(paused));
        let mut list = TopicPartitionList::with_capacity(self.lanes.len());
        for lane in &self.lanes {
            list.add_partition(&lane.topic.name, lane.partition);
            lane.wake();
        }
        let outcome = if paused { self.consumer.pause(&list) } else { self.consumer.resume(&list) };
        if let Err(error) = outcome {
            warn!(%error, paused, "partitions are not paused or resumed as they should be");
        }
    }

    /// A partition cannot be read on as it is.
    pub(super) fn troubled(&mut self, index: usize, trouble: &Trouble) {
        let lane = &self.lanes[index];
        let (topic, partition) = (lane.topic.clone(), lane.partition);
        match trouble {
            Trouble::Refused(code) => self.fail(self.at(&topic, partition).refused(*code)),
            Trouble::Recreated(_) | Trouble::OutOfRange => {
                let bounds = self.consumer.fetch_watermarks(&topic.name, partition, ASK_PATIENCE);
                match (bounds, trouble) {
                    (Ok((low, _)), Trouble::Recreated(offset)) => {
                        let error = self.at(&topic, partition).recreated(*offset);
                        self.begin_anew(index, low, error);
                    }
                    (Ok((low, high)), _) => self.out_of_range(index, low, high),
                    (Err(error), _) => {
                        debug!(%error, "asking again where the partition begins and ends");
                        self.lanes[index].look_again = Some(Instant::now() + ASK_AGAIN);
                        self.look_again(index);
                    }
                }
            }
        }
    }

    /// The place that was asked for is not there.
    fn out_of_range(&mut self, index: usize, low: i64, high: i64) {
        let lane = &self.lanes[index];
        let (next, topic, partition) = (lane.book.ledger.next(), lane.topic.clone(), lane.partition);
        if next > high {
            let error = self.at(&topic, partition).ends_before(next, high);
            self.begin_anew(index, low, error);
        } else if next < low {
            let error = self.at(&topic, partition).lost(next, low);
            self.begin_anew(index, low, error);
        } else {
            // Only the record before it is gone, or a leader was behind.
            self.lanes[index].book.check = None;
            self.look_again(index);
        }
    }

    /// Reads from where the partition stands, again.
    fn look_again(&mut self, index: usize) {
        let lane = &mut self.lanes[index];
        let next = lane.book.ledger.next();
        lane.look_again = Some(Instant::now() + ASK_AGAIN);
        lane.seek = Some(if lane.book.check.is_some() { (next - 1).max(0) } else { next });
        self.seek();
    }

    /// Goes on behind a gap, if that was accepted.
    fn begin_anew(&mut self, index: usize, low: i64, gap: Error) {
        let place = (Arc::clone(&self.lanes[index].topic.name), self.lanes[index].partition);
        // Accepted was what is missing now, not what will be.
        if !self.options.accept_gap || !self.accepted.insert(place) {
            self.fail(gap);
            return;
        }
        self.metrics.consumer.gaps_accepted.inc();
        warn!(error = gap.chain(), from = low, "going on although records are missing, as accepted");
        let lane = &mut self.lanes[index];
        // What is in flight is of the log as it was.
        lane.alive.store(false, Ordering::Release);
        lane.alive = Arc::new(AtomicBool::new(true));
        self.assignments += 1;
        lane.assignment = self.assignments;
        lane.book = Book::new(Ledger::beginning_at(low, self.options.repeatable), None);
        lane.seek = Some(low);
        self.seek();
    }

    fn at<'a>(&'a self, topic: &'a Topic, partition: i32) -> Whereabouts<'a> {
        Whereabouts { group: &self.options.group, topic: &topic.name, partition }
    }
}

fn list_of(parts: &[Part]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(parts.len());
    for (topic, partition) in parts {
        list.add_partition(topic, *partition);
    }
    list
}
