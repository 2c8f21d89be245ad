//! Snapshots beside the stream: tables are read in chunks while their changes go on being published.
//!
//! Guarantee: a row of a chunk never takes back what the stream has delivered ([`crate::sources::wal::window`]); a snapshot that
//! is interrupted goes on behind the last chunk that is durable; nothing is written to the database but how far it came, and a
//! read-only transaction of a chunk's length is all that it holds.

mod chunk;
mod jobs;
mod table;
mod work;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use crate::pipeline::times::now_us;
use crate::pipeline::{Batch, End, Error, Kind, Messages, Source};
use crate::shape::change::Capture;
use crate::shape::change::row::{Change, Snapshot, Stamp, Value};
use crate::shape::outbox::Shaped;
use crate::shape::position::EventPosition;
use crate::sources::capture::incremental::chunk::{Chunk, Outcome};
use crate::sources::capture::incremental::jobs::{Done, Failure, Notes, Place, Polled, Session};
use crate::sources::capture::incremental::table::Readable;
use crate::sources::capture::incremental::work::Work;
use crate::sources::snapshot::requests::Mark;
use crate::sources::snapshot::{SnapshotOptions, account};
use crate::sources::wal::window::{Again, Fate};
use crate::sources::wal::{Wal, WalPosition};
use crate::telemetry::Metrics;
use crate::telemetry::failpoint::{Failpoint, reach};

/// Between two looks at what is asked for. Each is a cheap query, and writes how far a snapshot came.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The same where snapshots cannot be asked for, because the table or a right on it is missing.
const LOOK_INTERVAL_WITHOUT_TABLE: Duration = Duration::from_secs(60);

/// The pause before a chunk is read again, times how often it was.
const AGAIN_PAUSE: Duration = Duration::from_millis(20);

/// The longest such pause.
const AGAIN_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Rows of a chunk at most: to publish them takes the stream a few milliseconds.
const ROWS_MAX: u32 = 2048;

/// Reads tables beside a stream, whose batches it passes on.
pub(in crate::sources) struct Incremental {
    /// The slot by which snapshots are asked for.
    slot: Arc<str>,
    options: Arc<SnapshotOptions>,
    metrics: Arc<Metrics>,
    capture: Capture,
    session: Session,
    job: Option<JoinHandle<Result<(Session, Done), Failure>>>,
    /// Rises with every rewind: what was begun before is of no use after.
    generation: u64,
    job_generation: u64,
    /// When to look next at what is asked for.
    look_at: Instant,
    work: Option<Work>,
    /// Snapshots whose last chunk was cut and that are not written down as done.
    ending: BTreeSet<u64>,
    notes: Notes,
    /// Rows of all snapshots so far: their positions count them.
    sent: u64,
    told_of_setup: bool,
}

impl Incremental {
    /// Nothing is read until it is asked for.
    ///
    /// # Errors
    /// Options that contradict themselves.
    pub(in crate::sources) fn new(
        slot: &str,
        options: Arc<SnapshotOptions>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Error> {
        let capture = Capture::new(&options.shape).map_err(|error| {
            Error::new(End::Source, Kind::Setup, "tables cannot be captured as it is configured").because(error)
        })?;
        Ok(Self {
            slot: slot.into(),
            options,
            metrics,
            capture,
            session: Session::default(),
            job: None,
            generation: 0,
            job_generation: 0,
            look_at: Instant::now(),
            work: None,
            ending: BTreeSet::new(),
            notes: Notes::default(),
            sent: 0,
            told_of_setup: false,
        })
    }

    /// The next batch: of the stream, or of rows between two of its transactions. Cancel safe.
    ///
    /// # Errors
    /// The stream's.
    pub(in crate::sources) async fn next(&mut self, wal: &mut Wal) -> Result<Batch<WalPosition>, Error> {
        loop {
            if let Some(batch) = self.publish(wal) {
                return Ok(batch);
            }
            let wake = self.begin_job(wal);
            tokio::select! {
                biased;
                done = finished(&mut self.job) => self.conclude(done, wal),
                () = sleep_until(wake), if self.job.is_none() => {}
                batch = wal.next() => return batch,
            }
        }
    }

    /// A batch is durable.
    pub(in crate::sources) fn acknowledged(&mut self, position: &WalPosition) {
        if let Some(mark) = &position.chunk {
            if mark.done {
                self.look_at = Instant::now();
            }
            self.notes.marks.insert(mark.id, Mark::clone(mark));
        }
    }

    /// The stream goes back to what was acknowledged last, and so does what is read beside it.
    pub(in crate::sources) fn rewound(&mut self) {
        self.generation += 1;
        self.work = None;
        self.ending.clear();
        self.look_at = Instant::now();
    }

    /// Begins what is to be done next, unless something is under way, and returns when to look again.
    fn begin_job(&mut self, wal: &mut Wal) -> Instant {
        let now = Instant::now();
        if self.job.is_some() {
            return now;
        }
        if self.look_at <= now {
            let learn = !wal.knows_recent();
            self.look_at = now + LOOK_INTERVAL;
            self.spawn(move |session, place, notes| jobs::look(session, place, notes, learn), true);
            return self.look_at;
        }
        let Some(work) = self.work.as_mut().filter(|work| work.is_free() && wal.knows_recent()) else {
            return self.look_at;
        };
        if work.not_before > now {
            return work.not_before.min(self.look_at);
        }
        match work.table.clone() {
            None => {
                let (request, capture) = (work.request.clone(), self.capture.clone());
                self.spawn(move |session, place, _| jobs::describe(session, place, &capture, &request), false);
            }
            Some(table) => {
                if !wal.open_window(table.oid) {
                    wal.watch_table(table.oid, table.key.clone());
                }
                let which = work.which(table.is_told_partly);
                self.spawn(move |session, place, _| jobs::read(session, place, &table, &which), false);
            }
        }
        self.look_at
    }

    fn spawn(
        &mut self,
        job: impl FnOnce(Session, &Place, Notes) -> Result<(Session, Done), Failure> + Send + 'static,
        with_notes: bool,
    ) {
        let session = std::mem::take(&mut self.session);
        let place = Place { slot: Arc::clone(&self.slot), options: Arc::clone(&self.options) };
        let notes = if with_notes { self.notes.clone() } else { Notes::default() };
        let span = tracing::Span::current();
        self.job_generation = self.generation;
        self.job = Some(tokio::task::spawn_blocking(move || span.in_scope(|| job(session, &place, notes))));
    }

    fn conclude(&mut self, done: Result<(Session, Done), Failure>, wal: &mut Wal) {
        let is_stale = self.job_generation != self.generation;
        let done = match done {
            Ok((session, done)) => {
                self.session = session;
                done
            }
            Err(failure) => return self.fail(failure, is_stale),
        };
        match done {
            Done::Looked(polled) => self.looked(*polled, is_stale, wal),
            _ if is_stale => {}
            Done::Described(Ok(table)) => {
                if let Some(work) = &mut self.work {
                    info!(
                        snapshot = work.request.id,
                        schema = table.schema,
                        table = table.name,
                        about_rows = table.estimated_rows,
                        "a table is read beside the stream"
                    );
                    work.table = Some(table);
                }
            }
            Done::Described(Err(refusal)) => self.give_up(refusal.why, Some(refusal.help)),
            Done::Read(Outcome::Redescribe) => {
                if let Some(work) = &mut self.work {
                    work.redescribe();
                }
            }
            Done::Read(Outcome::Read(chunk)) => {
                reach(Failpoint::BesideRead);
                self.arrived(*chunk, wal);
            }
        }
    }

    fn fail(&mut self, failure: Failure, is_stale: bool) {
        match failure {
            Failure::Setup(error) => {
                self.look_at = Instant::now() + LOOK_INTERVAL_WITHOUT_TABLE;
                if !std::mem::replace(&mut self.told_of_setup, true) {
                    warn!(
                        error = error.chain(),
                        help = error.help(),
                        "no snapshot can be asked for while changes are streamed"
                    );
                }
            }
            Failure::Later(error) => {
                debug!(error, "Postgres did not answer a question of a snapshot; it is asked again");
                if let Some(work) = &mut self.work {
                    work.wait(LOOK_INTERVAL);
                }
            }
            Failure::Refused(_) if is_stale => {}
            Failure::Refused(why) => self.give_up(why, None),
        }
    }

    /// What is asked for is known.
    fn looked(&mut self, polled: Polled, is_stale: bool, wal: &mut Wal) {
        self.told_of_setup = false;
        if !polled.written.marks.is_empty() {
            reach(Failpoint::BesideNoted);
        }
        let since = polled.visible.oldest();
        wal.learn(polled.running, &polled.visible);
        self.notes.forget(&polled.written);
        for mark in polled.written.marks.values().filter(|mark| mark.done) {
            self.ending.remove(&mark.id);
        }
        self.sent = self.sent.max(polled.sent);
        let (keys, transactions) = wal.noted();
        self.metrics.incremental.window_keys.set(keys as i64);
        self.metrics.incremental.recent_transactions.set(transactions as i64);
        let open: Vec<_> = polled
            .requests
            .into_iter()
            .filter(|request| {
                !request.paused && !self.ending.contains(&request.id) && !self.notes.failed.contains_key(&request.id)
            })
            .collect();
        self.metrics.incremental.running.set(open.len() as i64);
        if is_stale {
            // What was written since the stream went back is read by the next look.
            self.look_at = Instant::now();
            return;
        }
        if let Some(work) = &self.work
            && !open.iter().any(|request| request.id == work.request.id)
        {
            info!(snapshot = work.request.id, "a snapshot was stopped or paused");
            wal.look_away();
            self.work = None;
        }
        if self.work.is_none() {
            self.work =
                open.into_iter().next().map(|request| Work::new(request, since, self.options.chunk_rows.min(ROWS_MAX)));
        }
    }

    fn give_up(&mut self, why: String, help: Option<&'static str>) {
        let Some(work) = self.work.take() else { return };
        warn!(
            snapshot = work.request.id,
            schema = work.request.schema,
            table = work.request.name,
            why,
            help,
            "a snapshot failed"
        );
        self.metrics.incremental.ended.with_label_values(&["failed"]).inc();
        self.notes.failed.insert(work.request.id, (why, help));
        self.look_at = Instant::now();
    }

    /// A chunk was read.
    fn arrived(&mut self, chunk: Chunk, wal: &mut Wal) {
        let Some(work) = &mut self.work else { return };
        let Some(table) = &work.table else { return };
        match wal.arrive(table.oid, (chunk.visible.clone(), chunk.mark), &chunk.writers, chunk.keys.clone()) {
            Ok(()) => work.held = Some(chunk),
            Err(Some(why)) => self.again(why),
            // The stream began again elsewhere: so does the chunk.
            Err(None) => {}
        }
    }

    /// The chunk is read again.
    fn again(&mut self, why: Again) {
        let Some(work) = &mut self.work else { return };
        let reason = match why {
            Again::Behind => "behind",
            Again::Redescribed => "redescribed",
            Again::Overflow => "overflow",
        };
        self.metrics.incremental.rereads.with_label_values(&[reason]).inc();
        work.reread();
        if work.tries == 1 || work.tries.is_multiple_of(50) {
            info!(snapshot = work.request.id, reason, tries = work.tries, "a chunk is read again");
        }
        if why == Again::Redescribed {
            work.redescribe();
        }
        work.wait(AGAIN_PAUSE.saturating_mul(work.tries).min(AGAIN_PAUSE_MAX));
    }

    /// The rows of a chunk whose mark the stream has passed, between two transactions.
    fn publish(&mut self, wal: &mut Wal) -> Option<Batch<WalPosition>> {
        self.work.as_ref()?.held.as_ref()?;
        let place = wal.between()?;
        if !wal.is_watching() {
            // The stream began again elsewhere.
            self.work.as_mut()?.held = None;
            return None;
        }
        if !wal.is_passed_at(&place) {
            return None;
        }
        let fates = match wal.settle() {
            Ok(fates) => fates,
            Err(why) => {
                self.work.as_mut()?.held = None;
                self.again(why);
                return None;
            }
        };
        let moved = wal.moved();
        let work = self.work.as_mut()?;
        let (chunk, table) = (work.held.take()?, work.table.clone()?);
        let (messages, published) = self.shape(&table, &chunk, &fates, &place);
        let work = self.work.as_mut()?;
        if moved.is_none() {
            warn!(
                snapshot = work.request.id,
                "too many rows got another key meanwhile: the table is read from its beginning"
            );
        }
        let mark = work.advance(&chunk, &fates, moved, (published, self.sent));
        work.throttle(chunk.rows.len(), self.options.rows_per_second);
        self.metrics.incremental.rows.inc_by(published);
        self.metrics.incremental.chunks.inc();
        if mark.done {
            info!(
                snapshot = mark.id,
                schema = table.schema,
                table = table.name,
                rows = mark.counts.rows,
                chunks = mark.counts.chunks,
                rereads = mark.counts.rereads,
                "a table was read beside the stream"
            );
            self.metrics.incremental.ended.with_label_values(&["done"]).inc();
            self.ending.insert(mark.id);
            self.work = None;
            wal.look_away();
            self.look_at = Instant::now();
        }
        reach(Failpoint::BesideCut);
        Some(Batch { messages, end: WalPosition { chunk: Some(Arc::new(mark)), ..place } })
    }

    /// The messages of those rows of a chunk that are published, and how many they are.
    fn shape(&mut self, table: &Readable, chunk: &Chunk, fates: &[Fate], place: &WalPosition) -> (Messages, u64) {
        let mut messages = Messages::over(Bytes::new());
        let position = RowPositions::at(place);
        let now_us = now_us();
        let (mut values, mut published) = (Vec::with_capacity(table.width), 0);
        for (index, fate) in fates.iter().enumerate().filter(|(index, _)| chunk.rows.is_wanted(*index)) {
            if *fate != Fate::Publish {
                self.metrics.incremental.dropped_rows.inc();
                continue;
            }
            values.clear();
            values.extend(chunk.rows.values(index).map(|value| value.map_or(Value::Null, Value::Text)));
            let stamp = position.stamp(self.sent, now_us);
            self.sent += 1;
            published += 1;
            let shaped = self.capture.shape(&table.form, Change::Read { row: &values }, &stamp, &mut messages);
            if shaped != Shaped::Filtered {
                messages.name_last(&values);
            }
            account(&self.metrics, &shaped, &stamp);
        }
        (messages, published)
    }
}

/// What a job came to; waits for ever if there is none. Cancel safe.
async fn finished(job: &mut Option<JoinHandle<Result<(Session, Done), Failure>>>) -> Result<(Session, Done), Failure> {
    let Some(running) = job else { return std::future::pending().await };
    let done = running.await;
    *job = None;
    done.unwrap_or_else(|error| Err(Failure::Later(error.to_string())))
}

/// The positions of rows that are published at a place of the stream.
struct RowPositions {
    epoch: u16,
    lsn: u64,
    commit_lsn: u64,
    end_lsn: u64,
}

impl RowPositions {
    /// Behind every transaction that was delivered, before every one that is still to come: their commit records stand at
    /// multiples of eight, before the place and not before it.
    fn at(place: &WalPosition) -> Self {
        let end = place.record.end_lsn.as_u64();
        Self {
            epoch: place.record.epoch,
            lsn: (end.saturating_sub(1) & !7) + 6,
            commit_lsn: place.record.commit_lsn.as_u64(),
            end_lsn: end,
        }
    }

    /// The stamp of the row of this number among all that were ever sent so.
    fn stamp(&self, number: u64, now_us: i64) -> Stamp<'static> {
        /// The greatest bit of an ordinal has another meaning.
        const NUMBER_MAX: u64 = (1 << 47) - 1;
        Stamp {
            position: EventPosition::new(self.epoch, self.lsn, number & NUMBER_MAX),
            commit_us: now_us,
            now_us,
            xid: None,
            // Where the stream stands; the row itself has no place in the log.
            lsn: Some(self.end_lsn),
            last_commit_lsn: (self.commit_lsn > 0).then_some(self.commit_lsn),
            snapshot: Snapshot::Incremental,
            origin: None,
            origin_lsn: None,
            transaction: None,
        }
    }
}
