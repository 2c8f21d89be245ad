//! One source of the rows that were there and of what becomes of them: first the initial snapshot, if one is wanted and was not
//! taken, then the slot's changes, all under one progress record.
//!
//! Guarantee: between the two nothing is missing and nothing is shown twice, but for what a kill makes come again. The slot was
//! there before the rows are read, so that every change is in it; those that the rows show are left out by the place in the WAL at
//! which they were read.

mod incremental;
mod slot;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tracing::{Instrument, warn};

use crate::pipeline::{Batch, End, Error, Kind, Progress, Source, Status};
use crate::sources::capture::incremental::Incremental;
use crate::sources::snapshot::{Snapshot, SnapshotOptions};
use crate::sources::wal::{Record, Wal, WalOptions, WalPosition};
use crate::telemetry::Metrics;
use crate::telemetry::failpoint::{Failpoint, reach};

/// Whether the rows that are there already are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotMode {
    /// Once, before the first change.
    Initial,
    /// Never.
    NoData,
    /// Once, and nothing after it.
    InitialOnly,
    /// Once, and again where the slot has lost changes.
    WhenNeeded,
}

/// What is read.
#[derive(Debug)]
pub struct ChangesOptions {
    /// The slot.
    pub wal: Arc<WalOptions>,
    /// The rows that are there already; none: nothing is captured.
    pub snapshot: Option<(SnapshotMode, Arc<SnapshotOptions>)>,
    /// Where a snapshot shows how far it is.
    pub status: Option<Arc<Status>>,
    /// Told when nothing comes any more: after a snapshot of [`SnapshotMode::InitialOnly`] that is delivered.
    pub finished: Arc<Notify>,
}

impl ChangesOptions {
    fn mode(&self) -> SnapshotMode {
        self.snapshot.as_ref().map_or(SnapshotMode::NoData, |(mode, _)| *mode)
    }

    /// Whether reading the rows again makes good for lost changes: those of an outbox it would not bring back.
    fn may_begin_again(&self) -> bool {
        self.mode() == SnapshotMode::WhenNeeded && self.wal.outboxes.is_empty()
    }
}

/// What is read now.
enum Phase {
    Snapshot(Box<Snapshot>),
    Stream,
    /// Nothing any more.
    Over,
}

/// The rows of a database, and what becomes of them.
pub struct Changes {
    options: Arc<ChangesOptions>,
    metrics: Arc<Metrics>,
    wal: Box<Wal>,
    /// What is read beside the stream; none: nothing is captured.
    beside: Option<Box<Incremental>>,
    phase: Phase,
    /// An error that ended the stream, and the question whether that can be made good for. A dropped call leaves both.
    failing: Option<(Error, JoinHandle<bool>)>,
}

impl Changes {
    /// Opens the slot where `progress` ends, or goes on with the snapshot that it says is not complete.
    ///
    /// # Errors
    /// Those of [`Wal::open`]. In the mode [`SnapshotMode::WhenNeeded`], without an outbox, a gap is none: the slot is made anew if
    /// it must be, and the rows are read again.
    pub async fn open(
        options: Arc<ChangesOptions>,
        progress: Option<Progress>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Error> {
        let witness = progress.as_ref().and_then(|progress| Record::parse(&progress.value).ok());
        let mut wal = match Wal::open(Arc::clone(&options.wal), progress.clone(), Arc::clone(&metrics)).await {
            Err(error) if error.kind() == Kind::Gap && options.may_begin_again() => {
                warn!(error = error.chain(), "changes are missing: the rows of all captured tables are read again");
                slot::make_good(&options.wal).await?;
                options.wal.accept_gap.store(true, Ordering::Relaxed);
                Wal::open(Arc::clone(&options.wal), progress, Arc::clone(&metrics)).await?
            }
            opened => opened?,
        };
        let gap = witness.is_some_and(|witness| witness.epoch != wal.delivered().record.epoch);
        if gap && options.mode() == SnapshotMode::WhenNeeded {
            wal.forget_snapshot();
        }
        let beside = |(_, snapshot): &(SnapshotMode, Arc<SnapshotOptions>)| {
            Incremental::new(&options.wal.slot, Arc::clone(snapshot), Arc::clone(&metrics)).map(Box::new)
        };
        let beside = options.snapshot.as_ref().map(beside).transpose()?;
        let mut changes = Self { options, metrics, wal: Box::new(wal), beside, phase: Phase::Stream, failing: None };
        if changes.next_phase_is_stream() {
            return Ok(changes);
        }
        changes.wal.suspend().await;
        changes.enter().await?;
        Ok(changes)
    }

    fn next_phase_is_stream(&self) -> bool {
        let is_done = self.wal.delivered().snapshot.is_some_and(|snapshot| snapshot.done);
        match self.options.mode() {
            SnapshotMode::NoData => true,
            SnapshotMode::InitialOnly => false,
            SnapshotMode::Initial | SnapshotMode::WhenNeeded => is_done,
        }
    }

    /// Begins what comes before the stream, which is suspended.
    async fn enter(&mut self) -> Result<(), Error> {
        let delivered = self.wal.delivered();
        let Some((_, options)) = &self.options.snapshot else { return Ok(()) };
        if delivered.snapshot.as_ref().is_some_and(|snapshot| snapshot.done) {
            self.phase = Phase::Over;
            self.options.finished.notify_one();
            return Ok(());
        }
        let (options, status) = (Arc::clone(options), self.options.status.clone());
        let snapshot = Snapshot::begin(options, delivered, Arc::clone(&self.metrics), status).await?;
        self.phase = Phase::Snapshot(Box::new(snapshot));
        Ok(())
    }

    /// What becomes of an error. In the mode that makes good for them, lost changes are no reason to end: the source is opened
    /// anew. Cancel safe.
    async fn overcome(&mut self, error: Error) -> Error {
        if error.kind() != Kind::Gap || !self.options.may_begin_again() {
            return error;
        }
        let wal = Arc::clone(&self.options.wal);
        let is_gone = async move { slot::is_gone(&wal).await };
        self.failing = Some((error, tokio::spawn(is_gone.in_current_span())));
        self.overcoming().await.unwrap_or_else(|| Error::new(End::Source, Kind::Gap, "the slot has lost changes"))
    }

    /// What becomes of the error that waits for an answer, if one does. Cancel safe.
    async fn overcoming(&mut self) -> Option<Error> {
        let (_, is_gone) = self.failing.as_mut()?;
        let is_gone = is_gone.await.unwrap_or(false);
        let (error, _) = self.failing.take()?;
        Some(if is_gone { Error::new(End::Source, Kind::Unavailable, error.chain()) } else { error })
    }
}

impl Source for Changes {
    type Position = WalPosition;

    async fn next(&mut self) -> Result<Batch<WalPosition>, Error> {
        if let Some(error) = self.overcoming().await {
            return Err(error);
        }
        loop {
            let outcome = match &mut self.phase {
                Phase::Stream => match &mut self.beside {
                    Some(beside) => beside.next(&mut self.wal).await.map(Some),
                    None => self.wal.next().await.map(Some),
                },
                Phase::Over => std::future::pending().await,
                Phase::Snapshot(snapshot) => tokio::select! {
                    biased;
                    error = self.wal.failed() => Err(error),
                    batch = snapshot.next() => batch,
                },
            };
            match outcome {
                Ok(Some(batch)) => return Ok(batch),
                Err(error) => return Err(self.overcome(error).await),
                Ok(None) => {}
            }
            let Phase::Snapshot(snapshot) = &self.phase else { continue };
            reach(Failpoint::SnapshotStream);
            if self.options.mode() == SnapshotMode::InitialOnly {
                self.phase = Phase::Over;
            } else {
                self.wal.stream_after(snapshot.progress());
                self.phase = Phase::Stream;
            }
        }
    }

    async fn acknowledge(&mut self, position: WalPosition) -> Result<(), Error> {
        if let Some(beside) = &mut self.beside {
            beside.acknowledged(&position);
        }
        let is_over = position.snapshot.as_ref().is_some_and(|snapshot| snapshot.done);
        self.wal.acknowledge(position).await?;
        if is_over && self.options.mode() == SnapshotMode::InitialOnly {
            self.options.finished.notify_one();
        }
        Ok(())
    }

    async fn rewind(&mut self) -> Result<(), Error> {
        self.phase = Phase::Stream;
        self.failing = None;
        if let Some(beside) = &mut self.beside {
            beside.rewound();
        }
        if self.next_phase_is_stream() {
            return self.wal.rewind().await;
        }
        self.wal.suspend().await;
        self.enter().await
    }

    async fn close(self) -> Result<(), Error> {
        drop(self.phase);
        self.wal.close().await
    }
}
