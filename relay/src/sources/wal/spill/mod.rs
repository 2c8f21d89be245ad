//! A spill: what the slot holds while nobody takes events, kept in files of the relay's own disk instead of the server's WAL.
//!
//! What is kept are the messages of the replication stream as the server sent them. So it is the same code that makes records of
//! them, from a file as from the socket: positions, ordinals, transactions and values that were not sent come out as they would
//! have, and the catalog is asked when a change is published, as for any slot that lags. Kept as records instead, they would bind
//! what is on the disk to a form, a configuration and an encoding, and a snapshot beside the stream could not look at them.
//! While nothing is spilled, none of this is on the way of an event: a source either reads its slot or reads a spill.
//!
//! Guarantees: a place is confirmed to Postgres only when all that ended before it is on this disk, file and folder. What is on
//! the disk is removed only when the progress record that covers it is durable. The source begins with the spill, and comes to the
//! slot only when all of it is delivered. A slot that was confirmed beyond what is known to be delivered *and* spilled is a
//! gap, which is refused as ever.
//!
//! A spill is a sequence of sessions, each of which starts exactly where the one before ended, between two transactions. The
//! descriptions of relations, which the server sends once in each, are repeated at the head of each segment, so that a segment
//! needs none of those before, and can be removed when it is delivered.

mod block;
mod folder;
mod follow;
mod note;
mod reader;
mod writer;

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use crate::pipeline::{End, Error, Kind, Stop, Turn};
use crate::postgres::lsn::EndLsn;
use crate::postgres::replication::SystemIdentity;
use crate::postgres::stream::Leaver;
use crate::sources::wal::WalOptions;
use crate::sources::wal::record::Record;
use crate::telemetry::Metrics;

use folder::{Folder, Noted, Origin, Segment};
use writer::Ended;

pub(in crate::sources::wal) use note::{explained, forget, insist_on_nothing};
pub(in crate::sources::wal) use reader::SpillReader;

/// How long the next relay's turn waits for this one's last confirmation.
const LEAVE_MAX: Duration = Duration::from_secs(5);

/// Where a slot is spilled to.
#[derive(Debug, Clone)]
pub struct SpillOptions {
    /// The slot.
    pub slot: String,
    /// The folder in which each slot has one of its own.
    pub folder: PathBuf,
    /// Bytes that it may take.
    pub bytes_max: u64,
}

/// The spill of one slot: shared by whoever writes to it, the source that reads it, and whoever wants it to begin.
#[derive(Debug)]
pub struct Spill {
    slot: String,
    folder: Folder,
    bytes_max: u64,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
    /// Told whenever the state changes.
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Held for as long as this process may write to the folder.
    lock: Option<File>,
    segments: VecDeque<Segment>,
    /// A file that cannot be read, and what follows it.
    broken: Option<PathBuf>,
    /// The slot is, or is about to be, read into the spill.
    held: bool,
    /// All that was spilled is delivered: the slot is wanted back.
    wanted_back: bool,
    /// The bound was reached.
    full: bool,
    /// The stream of the source, while it reads the slot itself.
    stream: Option<Leaver>,
    turn: Option<Arc<Turn>>,
}

impl State {
    fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }
}

/// Where a source finds itself that opens a slot.
pub(in crate::sources::wal) struct Spilled {
    /// Where the spill begins in the log.
    pub(in crate::sources::wal) start: EndLsn,
    system_id: u64,
    timeline: u32,
    pub(in crate::sources::wal) publications: u64,
    messages: bool,
}

/// The folder of `slot` below `root`, if anything that was spilled is in it.
#[must_use]
pub fn spilled(root: &Path, slot: &str) -> Option<PathBuf> {
    let folder = Folder::of(root, slot);
    folder.is_empty().is_ok_and(|empty| !empty).then(|| folder.path().to_owned())
}

impl Spilled {
    /// Where to go on from `from`, by the history that was spilled: the server may have another one by now, which is looked at when
    /// the slot is opened.
    pub(in crate::sources::wal) fn begin(&self, identity: &SystemIdentity, from: Record) -> Result<Record, Error> {
        if self.system_id == identity.system_id {
            return Ok(Record { timeline: self.timeline, ..from });
        }
        let context = format!(
            "what was spilled is of cluster {}, but the server is cluster {}: another one, or one restored from a dump",
            self.system_id, identity.system_id
        );
        Err(Error::new(End::Source, Kind::Gap, context).with_help(
            "Correct [postgres] or [guard] spill_dir. If the slot was recovered on that server, move the folder away.",
        ))
    }
}

impl Spill {
    /// The spill of a slot, whose folder is made if it is not there.
    ///
    /// # Errors
    /// `Setup` if nothing can be written to that folder.
    pub fn new(options: &SpillOptions, metrics: Arc<Metrics>) -> Result<Self, Error> {
        let folder = Folder::make(&options.folder, &options.slot)?;
        metrics.guard.spill_limit_bytes.set(i64::try_from(options.bytes_max).unwrap_or(i64::MAX));
        Ok(Self {
            slot: options.slot.clone(),
            folder,
            bytes_max: options.bytes_max,
            metrics,
            state: Mutex::default(),
            changed: watch::Sender::new(()),
        })
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Whether the bound was reached, and not much of what is spilled is delivered since.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.state().full
    }

    /// It is this process' turn: what is in the folder is its to deliver.
    ///
    /// # Errors
    /// `Unavailable` if another process has the folder and something is in it, or if the folder cannot be read.
    pub async fn begin_turn(self: &Arc<Self>, turn: Arc<Turn>) -> Result<(), Error> {
        let spill = Arc::clone(self);
        let found = tokio::task::spawn_blocking(move || spill.find()).await;
        found.map_err(|error| {
            Error::new(End::Source, Kind::Broken, "looking for a spill was interrupted").because(error)
        })??;
        self.state().turn = Some(turn);
        Ok(())
    }

    /// It is another's: what is being read is kept and confirmed, and the slot and the folder are let go of.
    pub async fn end_turn(&self) {
        let mut changed = self.changed.subscribe();
        self.change(|state| (state.turn, state.wanted_back) = (None, true));
        let let_go = async { changed.wait_for(|()| !self.state().held).await.is_ok() };
        drop(tokio::time::timeout(LEAVE_MAX, let_go).await);
        let mut state = self.state();
        if !state.held {
            *state = State::default();
        }
    }

    /// Looks what is in the folder, if this process does not know that already.
    fn find(&self) -> Result<(), Error> {
        let mut state = self.state();
        if state.lock.is_none() && !self.folder.is_empty()? {
            self.take_folder(&mut state)?;
        }
        Ok(())
    }

    /// Makes sure that this process, and no other, has the folder, and knows what is in it.
    fn take_folder(&self, state: &mut State) -> Result<(), Error> {
        if state.lock.is_some() {
            return Ok(());
        }
        let lock = self.folder.lock()?.ok_or_else(|| {
            let context = format!("the folder {:?} is used by another process", self.path());
            Error::new(End::Source, Kind::Unavailable, context)
                .with_help("One relay spills to a folder: give each its own [guard] spill_dir.")
        })?;
        let (segments, broken) = self.folder.segments()?;
        if let Some(path) = &broken {
            error!(
                slot = self.slot, file = %path.display(),
                help = "What comes before it is delivered. For the rest there is `postrider slot recover`.",
                "a file of the spill is damaged: what is in it, and in those after it, cannot be read"
            );
        }
        if let (Some(first), Some(last)) = (segments.first(), segments.last()) {
            info!(slot = self.slot, from = %first.start, to = %last.end, folder = %self.path().display(), "a spill was found");
        }
        (state.lock, state.segments, state.broken) = (Some(lock), segments.into(), broken);
        self.show(state);
        Ok(())
    }

    /// Spills the slot until it is wanted back, the bound is reached, or it is no longer this process' turn. Does nothing while it
    /// is not its turn.
    pub async fn relieve(self: &Arc<Self>, options: &Arc<WalOptions>, mut stop: Stop) {
        let Some(turn) = self.state().turn.clone().filter(|turn| !turn.is_over()) else { return };
        if self.is_full() {
            return;
        }
        if let Err(error) = self.prepare() {
            warn!(error = error.chain(), help = error.help(), "the slot cannot be spilled");
            return;
        }
        info!(slot = self.slot, folder = %self.path().display(), bytes_max = self.bytes_max, "the slot is being spilled to this disk");
        let (spill, options) = (Arc::clone(self), Arc::clone(options));
        let runtime = tokio::runtime::Handle::current();
        // Files are written, and synced, where that may take its time.
        let written =
            tokio::task::spawn_blocking(move || runtime.block_on(writer::write(&spill, &options, &turn, &mut stop)));
        let ended = written.await;
        self.change(|state| {
            (state.held, state.wanted_back) = (false, false);
            state.full |= matches!(ended, Ok(Ok(Ended::Full)));
        });
        self.tell(ended.unwrap_or_else(|error| {
            Err(Error::new(End::Source, Kind::Broken, "spilling was interrupted").because(error))
        }));
    }

    /// Makes sure that the folder is ours, and takes the slot from the source.
    fn prepare(&self) -> Result<(), Error> {
        let mut state = self.state();
        self.take_folder(&mut state)?;
        if let Some(path) = &state.broken {
            return Err(Error::new(End::Source, Kind::Gap, format!("the file {path:?} of the spill is damaged")));
        }
        (state.held, state.wanted_back) = (true, false);
        if let Some(stream) = state.stream.take() {
            stream.leave();
        }
        drop(state);
        self.changed.send_replace(());
        Ok(())
    }

    fn tell(&self, ended: Result<Ended, Error>) {
        let slot = self.slot.as_str();
        let (bytes, folder) = (self.state().bytes(), self.path().display());
        match ended {
            Ok(Ended::Full) => error!(
                slot,
                bytes,
                help = "Is the broker up? From here on the server keeps the WAL again. A larger [guard] spill_bytes_max counts \
                        from the next start on.",
                "the spill in {folder} is full"
            ),
            Ok(Ended::WantedBack) => info!(slot, "the spill is delivered but for its last part"),
            Ok(Ended::Stopped | Ended::Deposed) => {
                info!(slot, bytes, "what was spilled is in {folder} and is delivered first");
            }
            Err(error) => error!(
                slot,
                bytes,
                error = error.chain(),
                help = error.help(),
                "spilling to {folder} ended; nothing more was confirmed, and the server keeps the WAL"
            ),
        }
    }

    /// Waits until there is something in the spill, or the slot is free. Cancel safe.
    pub(in crate::sources::wal) async fn settled(&self) {
        let mut changed = self.changed.subscribe();
        let settled = |state: &State| !state.held || !state.segments.is_empty();
        // It ends with the spill itself at the latest.
        drop(changed.wait_for(|()| settled(&self.state())).await);
    }

    /// What must be delivered before the slot is read, if there is anything. `witness` is where to go on, and `delivered` up to where
    /// all is recorded as delivered, which is less where more was read.
    pub(in crate::sources::wal) fn found(
        &self,
        witness: Option<&Record>,
        delivered: Option<EndLsn>,
    ) -> Result<Option<Spilled>, Error> {
        if let Some(record) = witness {
            let noted = self.folder.noted();
            let is_later = record.polled || noted.epoch > 0 && record.epoch > noted.epoch;
            if is_later && !self.state().segments.is_empty() {
                return Err(self.recovered_since(record, noted));
            }
        }
        if let Some(end) = delivered {
            self.delivered(end);
        }
        let state = self.state();
        let Some(first) = state.segments.front() else { return Ok(None) };
        let Origin { system_id, timeline, publications, messages, .. } = first.origin;
        let spilled = Spilled { start: first.start, system_id, timeline, publications, messages };
        match witness {
            Some(record) if record.is_half() && record.messages && !spilled.messages => Err(self.without_messages()),
            _ => Ok(Some(spilled)),
        }
    }

    fn recovered_since(&self, record: &Record, noted: Noted) -> Error {
        let context = format!(
            "slot {:?} was recovered, or its table polled, since it was spilled to {:?}: the spill is of epoch {}, the progress record \
             of epoch {}",
            self.slot,
            self.path(),
            noted.epoch,
            record.epoch
        );
        Error::new(End::Source, Kind::Setup, context)
            .with_help("Move that folder away; what is in it was made good for since.")
    }

    fn without_messages(&self) -> Error {
        let context =
            format!("slot {:?} was spilled without the messages that its last transaction is counted with", self.slot);
        Error::new(End::Source, Kind::Gap, context).with_help("Run `postrider slot recover`.")
    }

    /// Whether the slot is being spilled, so that nobody else may open it.
    pub(in crate::sources::wal) fn holds_slot(&self) -> bool {
        self.state().held
    }

    /// The source reads the slot by itself, in this epoch.
    pub(in crate::sources::wal) fn reads_slot(&self, stream: Leaver, from: &Record, messages: bool) {
        self.note(from, messages);
        let mut state = self.state();
        if state.held {
            stream.leave();
        } else {
            state.stream = Some(stream);
        }
    }

    /// Keeps what must be known of the slot by a relay that starts while nobody can be asked for its progress.
    pub(in crate::sources::wal) fn note(&self, from: &Record, messages: bool) {
        if let Err(error) = self.folder.note(Noted { epoch: from.epoch, messages: messages || from.messages }) {
            warn!(%error, folder = %self.path().display(), "the spill's folder cannot be written to");
        }
    }

    /// All that ended before `end` is delivered, and the progress record says so: it need not be kept.
    pub(in crate::sources::wal) fn delivered(&self, end: EndLsn) {
        let mut state = self.state();
        let before = state.segments.len();
        while state.segments.len() > usize::from(state.held)
            && let Some(segment) = state.segments.pop_front_if(|segment| segment.end <= end)
        {
            self.remove(&segment.path);
        }
        if state.segments.len() < before {
            state.full &= state.bytes() > self.bytes_max / 4 * 3;
            self.show(&state);
        }
    }

    fn remove(&self, path: &Path) {
        // One that stays is found again, and known to be delivered.
        match fs::remove_file(path) {
            Ok(()) => debug!(slot = self.slot, file = %path.display(), "a segment is delivered"),
            Err(error) => warn!(%error, file = %path.display(), "a delivered segment cannot be removed"),
        }
    }

    /// Asks whoever spills to let go of the slot.
    fn want_slot_back(&self) {
        if !self.state().wanted_back {
            self.change(|state| state.wanted_back = true);
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        self.show(&state);
        drop(state);
        self.changed.send_replace(());
    }

    fn show(&self, state: &State) {
        let metrics = &self.metrics.guard;
        metrics.spilling.set(i64::from(state.held));
        metrics.spill_segments.set(i64::try_from(state.segments.len()).unwrap_or(i64::MAX));
        metrics.spill_bytes.set(i64::try_from(state.bytes()).unwrap_or(i64::MAX));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
