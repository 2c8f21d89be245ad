//! The WAL source: one logical replication slot, read natively, cut into batches of outbox events.
//!
//! Guarantee: an LSN is confirmed to Postgres only by [`Source::acknowledge`], hence only when every event of every
//! transaction before it is durable and the progress record that says so is durable too.

mod beside;
mod captured;
pub(crate) mod catalog;
mod columns;
mod cut;
mod facts;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod horizon;
mod lookout;
mod open;
mod record;
mod reselect;
mod resume;
pub(in crate::sources) mod signal;
mod spill;
mod stages;
mod trouble;
mod verdict;
mod visible;
mod watch;
pub(crate) mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::sync::watch as channel;
use tokio::task::JoinHandle;
use tracing::{Instrument, Span, debug, info};

use crate::pipeline::{Batch, End, Error, Kind, Progress, Source};
use crate::postgres;
use crate::postgres::connection::Connection;
use crate::postgres::lsn::EndLsn;
use crate::postgres::options::ConnectOptions;
use crate::shape::change::table::Table;
use crate::sources::snapshot::SnapshotProgress;
use crate::sources::wal::captured::Captured;
use crate::sources::wal::catalog::Described;
use crate::sources::wal::cut::{Cutter, Delivered, Pause};
use crate::sources::wal::open::{Feed, From, Reading, Started, connect_sql, start};
use crate::sources::wal::reselect::{Found, Reselect};
use crate::sources::wal::stages::Stages;
use crate::sources::wal::trouble::{anew, interrupted, stream_error};
use crate::sources::wal::watch::Watch;
use crate::telemetry::Metrics;
use crate::telemetry::failpoint::{Failpoint, reach};

pub use captured::CaptureSource;
pub(in crate::sources) use columns::Part;
pub use columns::{OutboxColumns, OutboxSource, OutboxTable};
pub use horizon::Horizon;
pub use record::{Record, RecordError, WalPosition, fingerprint};
pub use spill::{Spill, SpillOptions, spilled};
pub use verdict::{Standing, Verdict, standing, verdict};

/// What a WAL source reads, and how.
#[derive(Debug)]
pub struct WalOptions {
    /// How to reach the server.
    pub connect: ConnectOptions,
    /// The slot to read; it must exist.
    pub slot: String,
    /// The publication that carries the outbox; it must be older than the slot.
    pub publication: String,
    /// Where events come from and what becomes of them; each one's place is the number of its route.
    pub outboxes: Vec<OutboxSource>,
    /// What is captured beside them.
    pub capture: Option<CaptureSource>,
    /// WAL that the server's disk has room for, in bytes, if that is known: how long the slot lasts is reckoned with it.
    pub wal_disk_bytes: Option<i64>,
    /// Start at the slot's position although events may be missing. Holds until something is acknowledged, whose
    /// progress then knows of the gap: a later gap is another one.
    pub accept_gap: AtomicBool,
    /// Told the process id of each backend by which the slot is read.
    pub reader: channel::Sender<i32>,
    /// Where the slot may be spilled to.
    pub spill: Option<Arc<Spill>>,
}

impl WalOptions {
    /// Whether logical messages are events of some outbox.
    fn reads_messages(&self) -> bool {
        let captured = self.capture.as_ref().is_some_and(|capture| !capture.shape.message_prefixes.is_empty());
        captured || self.outboxes.iter().any(|outbox| outbox.message_prefix.is_some())
    }

    /// The publications that are read: that of the outboxes, if there is any, and that of the captured tables.
    fn publications(&self, reading: Reading) -> impl Iterator<Item = &str> {
        let outboxes = (!self.outboxes.is_empty()).then_some(self.publication.as_str());
        let capture = self.capture.as_ref().map(|capture| capture.publication.as_str());
        let capture = capture.filter(|capture| reading == Reading::All && Some(*capture) != outboxes);
        outboxes.into_iter().chain(capture)
    }

    /// Whether the server did not know the publication of the captured tables, and there are outboxes to read without it.
    fn is_without_capture(&self, error: &postgres::error::Error) -> bool {
        let (Some(capture), false) = (&self.capture, self.outboxes.is_empty()) else { return false };
        let missing = error.kind() == postgres::error::Kind::PublicationMissing;
        // The report names it, in whichever language.
        let says = |name: &str| error.server_says().is_some_and(|report| report.contains(name));
        let longer = self.publication.contains(&capture.publication) && says(&self.publication);
        missing && says(&capture.publication) && !longer
    }
}

/// An open stream of outbox events.
pub struct Wal {
    options: Arc<WalOptions>,
    metrics: Arc<Metrics>,
    /// None while it is suspended, and after a rewind that failed: the old stream is closed, and there is no new one.
    feed: Option<Feed>,
    watch: Watch,
    cutter: Cutter,
    stages: Stages,
    acknowledged: Delivered,
    /// By which captured tables are described; opened when the first one is.
    catalog: Option<Connection>,
    /// A question to the catalog that was asked. A dropped call leaves it, and the next one waits for its answer.
    asked: Option<JoinHandle<Result<(Connection, Table), Error>>>,
    /// A stream that is being opened in place of one that was left, likewise.
    opening: Option<JoinHandle<Result<Started, Error>>>,
    /// Values that are being read from a table, likewise.
    reading_values: Option<JoinHandle<Result<(Connection, Found), Error>>>,
    /// A signal that is being followed, likewise.
    heeding: Option<JoinHandle<Result<Option<Connection>, Error>>>,
    /// Whether that is because all that was spilled is delivered.
    after_spill: bool,
    /// When the chunk was read whose cutting waits.
    paused: Option<Instant>,
    /// A place in the log at which the publications were there: the first that is known.
    published: EndLsn,
    /// Whether a transaction was read with every publication.
    joined: bool,
}

impl Wal {
    /// Opens the slot where `progress` ends, or at the slot's own position if there is none yet.
    ///
    /// # Errors
    /// `Unavailable` if the server cannot be reached or the slot is in use; `Setup` if slot, publication or table are
    /// not as they must be; `Gap` if events would be missing.
    pub async fn open(
        options: Arc<WalOptions>,
        progress: Option<Progress>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Error> {
        let witness = progress.map(|progress| Record::parse_whole(&progress.value)).transpose().map_err(|error| {
            let context = format!("the progress record of slot {:?} cannot be read", options.slot);
            Error::new(End::Source, Kind::Setup, context).because(error).with_help(
                "Is another program writing to the progress topic? Give each its own [kafka] progress_topic.",
            )
        })?;
        let (witness, snapshot) = witness.unzip();
        let accept_gap = options.accept_gap.load(Ordering::Relaxed);
        let snapshot = snapshot.flatten().map(Arc::new);
        let delivered = witness.map(|witness| witness.end_lsn);
        let from = From { witness, delivered, snapshot: snapshot.clone(), alone_until: None, accept_gap };
        let started = start(Arc::clone(&options), from).await?;
        // Of another log the snapshot says nothing: its moments are places in the one that is lost.
        let is_same = witness.is_none_or(|witness| witness.epoch == started.from.epoch);
        let snapshot = match snapshot {
            Some(snapshot) if !is_same && snapshot.done => Some(Arc::new(SnapshotProgress::over())),
            snapshot => snapshot.filter(|_| is_same),
        };
        let delivered = Delivered { record: started.from, snapshot };
        let slot = bytes::Bytes::copy_from_slice(options.slot.as_bytes());
        let captured = options.capture.as_ref().map(|capture| Captured::new(&capture.shape)).transpose()?;
        let cutter =
            Cutter::new(slot, &options.outboxes, Arc::clone(&metrics), delivered.clone(), started.not_null, captured)?;
        let reselects = options.capture.as_ref().is_some_and(|capture| capture.reselects);
        let cutter = cutter
            .with_reselect(reselects)
            .with_signals(options.capture.as_ref().and_then(|capture| capture.signals.clone()));
        let horizons = Arc::default();
        let cutter = cutter.with_horizons(Arc::clone(&horizons));
        let watch = Watch::begin(started.sql, Arc::clone(&options), Arc::clone(&metrics), (started.from, horizons));
        let stages = Stages::of_a_new_stream(&metrics);
        Ok(Self {
            options,
            metrics,
            stages,
            feed: Some(started.feed),
            watch,
            cutter,
            acknowledged: delivered,
            catalog: None,
            asked: None,
            opening: None,
            after_spill: false,
            reading_values: None,
            heeding: None,
            paused: None,
            published: started.flushed,
            joined: false,
        })
    }

    /// Streams from `started` on.
    fn go_on(&mut self, started: Started) {
        let snapshot = self.cutter.snapshot();
        self.cutter.restart(Delivered { record: started.from, snapshot }, started.not_null);
        let horizons = self.cutter.new_horizons();
        self.feed = Some(started.feed);
        self.stages = Stages::of_a_new_stream(&self.metrics);
        let (options, metrics) = (Arc::clone(&self.options), Arc::clone(&self.metrics));
        self.watch = Watch::begin(started.sql, options, metrics, (started.from, horizons));
        self.published = self.published.min(started.flushed);
        self.paused = None;
        self.reading_values = None;
        self.heeding = None;
    }

    /// What was acknowledged last, or what it was opened at.
    pub(in crate::sources) fn delivered(&self) -> WalPosition {
        let Delivered { record, snapshot } = self.acknowledged.clone();
        WalPosition { slot: bytes::Bytes::copy_from_slice(self.options.slot.as_bytes()), record, snapshot, chunk: None }
    }

    /// Forgets what was read before: the rows are read again.
    pub(in crate::sources) fn forget_snapshot(&mut self) {
        self.acknowledged.snapshot = None;
        self.cutter.keep(None);
    }

    /// Lets go of the slot, while rows are read that stand before it. What it needs of the WAL is kept, and watched over.
    pub(in crate::sources) async fn suspend(&mut self) {
        // A stream that is being opened has the slot.
        if let Some(opening) = self.opening.take()
            && let Ok(Ok(started)) = opening.await
        {
            self.feed = Some(started.feed);
        }
        (self.asked, self.heeding, self.paused) = (None, None, None);
        self.cutter.stop();
        leave(self.feed.take()).await;
    }

    /// Begins to stream on from what was acknowledged last, with what was read meanwhile.
    pub(in crate::sources) fn stream_after(&mut self, snapshot: Arc<SnapshotProgress>) {
        self.cutter.keep(Some(snapshot));
        self.reopen(self.acknowledged.record, None);
    }

    /// Waits until something is wrong with the slot, also while it is suspended. Cancel safe.
    pub(in crate::sources) async fn failed(&mut self) -> Error {
        self.watch.failed().await
    }

    /// Begins to leave the stream, and to read on from `witness`; the outboxes alone up to a place, if there is one.
    fn reopen(&mut self, witness: Record, alone_until: Option<EndLsn>) {
        let (feed, options, snapshot) = (self.feed.take(), Arc::clone(&self.options), self.cutter.snapshot());
        let delivered = Some(self.acknowledged.record.end_lsn);
        let open = async move {
            leave(feed).await;
            start(options, From { witness: Some(witness), delivered, snapshot, alone_until, accept_gap: false }).await
        };
        self.opening = Some(tokio::spawn(open.in_current_span()));
    }

    /// Whether the publication of the captured tables may be missing here: nothing was read with it before. Else it was dropped.
    fn may_read_alone(&self) -> bool {
        !self.cutter.reads_alone() && !self.joined
    }

    /// The place up to which the publication of the captured tables may be missing: it was there when rows were read, and when
    /// the slot was opened.
    fn joins_at(&self) -> EndLsn {
        let read = self.cutter.snapshot().and_then(|snapshot| snapshot.beginning());
        // Each asks where a record lies in the log.
        read.map_or(self.published, |read| self.published.min(EndLsn::new(read.as_u64())))
    }

    /// The batch of the next chunk, or of the rest of one whose cutting waited for the description of a table; `None` if it
    /// moves nothing or waits.
    async fn cut(&mut self) -> Result<Option<Batch<WalPosition>>, Error> {
        let (begun, before) = (Instant::now(), self.cutter.reached().commit_lsn);
        let (read_at, batch) = match self.cutter.pause() {
            Some(Pause::Describe(described)) => {
                let described = described.clone();
                let table = self.describe(described).await?;
                self.read_rewritten(&table).await?;
                (self.paused.take().unwrap_or(begun), self.cutter.describe(table)?)
            }
            Some(Pause::Reselect(asked)) => {
                let found = self.reselect(asked.clone()).await?;
                (self.paused.take().unwrap_or(begun), self.cutter.reselected(found)?)
            }
            Some(Pause::Signal(signal)) => {
                let signal = signal.clone();
                self.heed(signal).await?;
                (self.paused.take().unwrap_or(begun), self.cutter.resume()?)
            }
            Some(Pause::Passed | Pause::Full) => (self.paused.take().unwrap_or(begun), self.cutter.resume()?),
            Some(Pause::Joined) => {
                if self.opening.is_none() && self.feed.is_some() {
                    let reached = self.cutter.reached();
                    info!(place = %reached.alone_until, "the publication of the captured tables exists from here on");
                    self.reopen(Record { end_lsn: reached.end_lsn.max(reached.alone_until), ..reached }, None);
                }
                self.opened().await?;
                return Ok(None);
            }
            None => {
                let (read_at, arena) = self.read().await?;
                reach(Failpoint::SourceRead);
                // Cutting does not wait, so a dropped call cannot lose the chunk.
                (read_at, self.cutter.cut(&arena)?)
            }
        };
        if self.cutter.pause().is_some() {
            self.paused = Some(read_at);
        }
        self.joined |= !self.cutter.reads_alone() && self.cutter.reached().commit_lsn > before;
        Ok(batch.map(|mut batch| {
            self.stages.cut(&mut batch.messages, read_at, begun);
            reach(Failpoint::SourceCut);
            batch
        }))
    }

    /// Waits until a stream that is being opened is there.
    async fn opened(&mut self) -> Result<(), Error> {
        if let Some(opening) = &mut self.opening {
            let opened = opening.await;
            self.opening = None;
            let after_spill = std::mem::take(&mut self.after_spill);
            let started = opened.map_err(interrupted)?;
            self.go_on(started.map_err(|error| if after_spill { anew(error) } else { error })?);
        }
        Ok(())
    }

    /// The next messages, and when the first of them was read.
    async fn read(&mut self) -> Result<(Instant, bytes::Bytes), Error> {
        loop {
            self.opened().await?;
            let chunk = match &mut self.feed {
                Some(Feed::Stream(stream)) => tokio::select! {
                    biased;
                    error = self.watch.failed() => return Err(error),
                    chunk = stream.next() => chunk,
                },
                // Whatever has become of the slot, what was spilled is delivered first.
                Some(Feed::Spill(spill)) => match spill.next(self.acknowledged.record.end_lsn).await? {
                    Some(arena) => return Ok((Instant::now(), arena)),
                    None => {
                        info!(slot = self.options.slot, "what was spilled is delivered");
                        self.reopen(self.acknowledged.record, None);
                        self.after_spill = true;
                        continue;
                    }
                },
                None => {
                    let context = format!("slot {:?} is not being read since a rewind failed", self.options.slot);
                    return Err(Error::new(End::Source, Kind::Unavailable, context));
                }
            };
            match chunk {
                Err(_) if self.options.spill.as_ref().is_some_and(|spill| spill.holds_slot()) => {
                    self.reopen(self.cutter.reached(), None);
                }
                Err(error) if self.may_read_alone() && self.options.is_without_capture(&error) => {
                    info!(
                        "the slot is older than the publication of the captured tables: the outbox is read alone up to it"
                    );
                    self.reopen(self.cutter.reached(), Some(self.joins_at()));
                }
                Err(error) => return Err(stream_error(&self.options, error)),
                Ok(chunk) => return Ok((chunk.read_at(), chunk.into_bytes())),
            }
        }
    }

    /// Asks the catalog what a captured table is, off the runtime.
    async fn describe(&mut self, described: Described) -> Result<Table, Error> {
        let (sql, options, span) = (self.catalog.take(), Arc::clone(&self.options), Span::current());
        let asked = self.asked.get_or_insert_with(|| {
            tokio::task::spawn_blocking(move || {
                let _entered = span.entered();
                let mut sql = match sql {
                    Some(sql) => sql,
                    None => connect_sql(&options)?,
                };
                catalog::complete(&mut sql, &described).map(|table| (sql, table))
            })
        });
        let answer = asked.await;
        self.asked = None;
        let (sql, table) = answer.map_err(interrupted)??;
        self.catalog = Some(sql);
        Ok(table)
    }
}

impl Wal {
    /// Reads values that were not sent from their table, off the runtime.
    async fn reselect(&mut self, asked: Reselect) -> Result<Found, Error> {
        let (sql, options, span) = (self.catalog.take(), Arc::clone(&self.options), Span::current());
        let reading = self.reading_values.get_or_insert_with(|| {
            tokio::task::spawn_blocking(move || {
                let _entered = span.entered();
                let mut sql = match sql {
                    Some(sql) => sql,
                    None => connect_sql(&options)?,
                };
                asked.ask(&mut sql).map(|found| (sql, found))
            })
        });
        let answer = reading.await;
        self.reading_values = None;
        let (sql, found) = answer.map_err(interrupted)??;
        self.catalog = Some(sql);
        Ok(found)
    }
}

/// Ends a stream: the server must let go of the slot before it is opened again.
async fn leave(feed: Option<Feed>) {
    if let Some(Feed::Stream(stream)) = feed
        && let Err(error) = stream.stop().await
    {
        debug!(%error, "the stream did not end cleanly");
    }
}

impl Source for Wal {
    type Position = WalPosition;

    async fn next(&mut self) -> Result<Batch<WalPosition>, Error> {
        loop {
            if let Some(batch) = self.cut().await? {
                return Ok(batch);
            }
        }
    }

    async fn acknowledge(&mut self, position: WalPosition) -> Result<(), Error> {
        reach(Failpoint::SourceAcknowledge);
        self.acknowledged = Delivered { record: position.record, snapshot: position.snapshot };
        match &self.feed {
            Some(Feed::Stream(stream)) => {
                stream.confirm(position.record.end_lsn);
                self.stages.collect(stream);
            }
            Some(Feed::Spill(_)) => {
                self.options.spill.iter().for_each(|spill| spill.delivered(position.record.end_lsn));
            }
            None => {}
        }
        if !matches!(self.feed, Some(Feed::Spill(_))) {
            self.metrics.wal.slot_confirmed_lsn.set(position.record.end_lsn.as_u64() as i64);
        }
        self.options.accept_gap.store(false, Ordering::Relaxed);
        reach(Failpoint::SourceAcknowledged);
        Ok(())
    }

    async fn rewind(&mut self) -> Result<(), Error> {
        reach(Failpoint::SourceRewind);
        // A stream cannot be sent back: the connection is left, and the server starts again where we say. It must have
        // let go of the slot first.
        self.suspend().await;
        reach(Failpoint::SourceStopped);
        let Delivered { record, snapshot } = self.acknowledged.clone();
        let delivered = Some(record.end_lsn);
        let from = From { witness: Some(record), delivered, snapshot, alone_until: None, accept_gap: false };
        let started = start(Arc::clone(&self.options), from).await?;
        self.cutter.keep(self.acknowledged.snapshot.clone());
        self.go_on(started);
        reach(Failpoint::SourceRewound);
        Ok(())
    }

    async fn close(self) -> Result<(), Error> {
        reach(Failpoint::SourceClose);
        let Some(Feed::Stream(stream)) = self.feed else { return Ok(()) };
        stream.stop().await.map_err(|error| {
            Error::new(End::Source, Kind::Unavailable, "the last confirmation may not have reached Postgres")
                .because(error)
                .with_help("Nothing is lost: the progress record knows what was delivered.")
        })
    }
}
