//! When offsets are committed, and what follows from how that ended.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;
use tracing::{debug, warn};

use crate::pipeline::{End, Error, Kind};
use crate::sources::kafka::committer::{Entry, Outcome};
use crate::sources::kafka::lane::Lane;
use crate::sources::kafka::trouble;
use crate::sources::kafka::worker::Worker;

/// Without need, offsets are committed at most this often.
const INTERVAL: Duration = Duration::from_millis(100);

/// How long to wait before a commit is repeated.
const AGAIN: Duration = Duration::from_millis(50);

/// How long what is acknowledged may take to be committed when a partition goes, or the member leaves.
const PATIENCE: Duration = Duration::from_secs(5);

/// While commits fail it is told again at most this often.
const TELL_INTERVAL: Duration = Duration::from_secs(10);

/// When the next commit may be ordered.
#[derive(Debug)]
pub(super) struct Pace {
    /// Without need.
    due_at: Instant,
    /// In any case: after one that failed.
    again_at: Instant,
    /// When it was last told that a commit failed.
    told_at: Option<Instant>,
}

impl Pace {
    pub(super) fn beginning_at(now: Instant) -> Self {
        Self { due_at: now, again_at: now, told_at: None }
    }

    /// When something that is to be committed will be.
    pub(super) fn next_at(&self) -> Instant {
        self.due_at.max(self.again_at)
    }
}

impl Worker {
    /// Takes over how commits ended, and orders the next.
    pub(super) fn commit(&mut self) {
        if let Some(outcomes) = self.committer.outcome(Duration::ZERO) {
            self.settle(outcomes);
        }
        let now = Instant::now();
        if self.committer.is_busy() || now < self.pace.again_at || self.has_failed() {
            return;
        }
        let is_urgent = self.lanes.iter().any(|lane| lane.book.ledger.is_urgent());
        if is_urgent || now >= self.pace.due_at {
            let entries = self.dirty(|_| true);
            if !entries.is_empty() {
                self.pace.due_at = now + INTERVAL;
                self.committer.order(entries);
            }
        }
    }

    /// Commits what is acknowledged of these partitions, and waits for it, within limits.
    pub(super) fn commit_now(&mut self, which: impl Fn(&Lane) -> bool) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self.committer.is_busy() {
                let outcomes = self.committer.outcome(deadline.saturating_duration_since(Instant::now()));
                let Some(outcomes) = outcomes else { break };
                if !self.settle(outcomes) {
                    break;
                }
            }
            let entries = self.dirty(&which);
            if entries.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                break;
            }
            // One that just failed has its rest before it is repeated.
            thread::sleep(self.pace.again_at.saturating_duration_since(Instant::now()));
            self.committer.order(entries);
        }
        let context = format!("offsets of group {:?} were not committed in time", self.options.group);
        Err(Error::new(End::Source, Kind::Unavailable, context))
    }

    /// What is to be committed of these partitions.
    fn dirty(&self, which: impl Fn(&Lane) -> bool) -> Vec<Entry> {
        let dirty = self.lanes.iter().filter(|lane| lane.book.ledger.is_dirty() && which(lane));
        dirty
            .map(|lane| Entry {
                topic: Arc::clone(&lane.topic.name),
                partition: lane.partition,
                assignment: lane.assignment,
                sent: lane.book.ledger.to_commit(),
            })
            .collect()
    }

    /// Notes how commits ended. Whether it makes sense to repeat those that failed.
    fn settle(&mut self, outcomes: Vec<Outcome>) -> bool {
        let mut is_member = true;
        for Outcome { entries, failure } in outcomes {
            let Some(code) = failure else {
                self.reachability.reached();
                for entry in entries {
                    if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.assignment == entry.assignment) {
                        lane.book.ledger.committed(&entry.sent);
                    }
                }
                continue;
            };
            is_member &= !is_no_member(code);
            self.pace.again_at = Instant::now() + AGAIN;
            let topic = entries.first().map_or("", |entry| &*entry.topic);
            match trouble::of_commit(code, &self.options.group, topic) {
                Some(error) => self.fail(error),
                None if self.pace.told_at.is_none_or(|at| at.elapsed() >= TELL_INTERVAL) => {
                    self.pace.told_at = Some(Instant::now());
                    let partitions = entries.len();
                    warn!(%code, topic, partitions, "offsets were not committed; they will be again");
                }
                None => debug!(%code, topic, "offsets were not committed"),
            }
        }
        is_member
    }
}

/// Whether the group takes no commit of this member any more; it takes its partitions away too.
fn is_no_member(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(code, Code::UnknownMemberId | Code::IllegalGeneration | Code::FencedInstanceId)
}
