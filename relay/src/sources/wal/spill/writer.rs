//! Reads the slot into the spill: one session of replication, whose every byte is on the disk before it is confirmed.
//!
//! Guarantee: whatever ends it, a process or a disk, what was confirmed is in the files; what is in them beyond that is cut off, or
//! comes again.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::{debug, info};

use crate::pipeline::{End, Error, Kind, Stop, Turn};
use crate::postgres;
use crate::postgres::connection::Connection;
use crate::postgres::lsn::EndLsn;
use crate::postgres::replication::StartOptions;
use crate::postgres::stream::ReplicationStream;
use crate::sources::wal::open::{Reading, connect_sql, opening_error};
use crate::sources::wal::record::fingerprint;
use crate::sources::wal::spill::folder::{Origin, Segment};
use crate::sources::wal::spill::follow::Follower;
use crate::sources::wal::spill::{Spill, block, note};
use crate::sources::wal::{WalOptions, facts};

/// What was written is made durable, and confirmed, at the latest after this long, or
const SYNC_EVERY: Duration = Duration::from_millis(100);
/// after this many bytes.
const SYNC_BYTES: u64 = 8 << 20;

/// How long the server may take to let go of a slot whose reader has left.
const FREE_MAX: Duration = Duration::from_secs(15);
const FREE_LOOK: Duration = Duration::from_millis(100);

/// The size of a segment, as a part of all, and its bounds: small enough to free the disk while a spill is delivered.
const SEGMENTS: u64 = 16;
const SEGMENT_BYTES_MIN: u64 = 256 << 10;
const SEGMENT_BYTES_MAX: u64 = 64 << 20;

/// Why a session ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The bound was reached.
    Full,
    /// The source wants the slot back.
    WantedBack,
    /// The relay stops, or passes the turn on.
    Stopped,
    /// It is another's turn.
    Deposed,
}

/// Reads the slot into the spill until something ends that.
///
/// # Errors
/// What ended it otherwise: the server, or the disk.
pub(super) async fn write(
    spill: &Arc<Spill>,
    options: &WalOptions,
    turn: &Turn,
    stop: &mut Stop,
) -> Result<Ended, Error> {
    let wanted_back = spill.changed.subscribe();
    let (mut stream, origin, start, sql) = open(spill, options)?;
    let mut session = Session::begin(spill, origin, start, sql)?;
    let ended = tokio::select! {
        biased;
        () = turn.over() => Ok(Ended::Deposed),
        () = stop.ordered() => Ok(Ended::Stopped),
        () = is_wanted_back(spill, wanted_back) => Ok(Ended::WantedBack),
        ended = session.read(&mut stream) => ended,
    };
    // The slot may be another's by now: nothing more is ours to confirm.
    let ended = match ended {
        Ok(ended) if ended != Ended::Deposed => session.confirm(&stream).map(|()| ended),
        ended => ended,
    };
    session.cut_off();
    if let Err(error) = stream.stop().await {
        debug!(%error, "the stream did not end cleanly");
    }
    ended
}

async fn is_wanted_back(spill: &Spill, mut changed: watch::Receiver<()>) {
    drop(changed.wait_for(|()| spill.state().wanted_back).await);
}

/// Opens the slot where the spill ends, or where it was confirmed if there is none.
fn open(spill: &Spill, options: &WalOptions) -> Result<(ReplicationStream, Origin, EndLsn, Connection), Error> {
    let slot = options.slot.as_str();
    let mut sql = connect_sql(options)?;
    facts::publications(&mut sql, options)?;
    let confirmed = facts::slot(&mut sql, slot, true)?;
    let (last, noted) = (spill.state().segments.back().cloned(), spill.folder.noted());
    if last.is_none()
        && let Some(error) = note::elsewhere(&mut sql, slot, spill.path(), noted.epoch)
    {
        return Err(error);
    }
    let start = last.as_ref().map_or(confirmed, |last| last.end);
    insist_on(confirmed, start, slot)?;
    let started = Instant::now();
    let messages = options.reads_messages() || noted.messages;
    let (stream, origin) = loop {
        match connect(options, start, messages, last.as_ref()) {
            Err(Opening::Server(error)) if is_in_use(&error) && started.elapsed() < FREE_MAX => {
                std::thread::sleep(FREE_LOOK);
            }
            Err(Opening::Server(error)) => return Err(opening_error(options, error)),
            Err(Opening::Ours(error)) => return Err(error),
            Ok(opened) => break opened,
        }
    };
    // Another reader could have moved it until now.
    insist_on(facts::slot(&mut sql, slot, true)?, start, slot)?;
    Ok((stream, origin, start, sql))
}

/// Insists that nothing is missing between what is known and where the slot goes on.
fn insist_on(confirmed: EndLsn, start: EndLsn, slot: &str) -> Result<(), Error> {
    if confirmed <= start {
        return Ok(());
    }
    let context = format!("slot {slot:?} was confirmed up to {confirmed}, but what was spilled of it ends at {start}");
    Err(Error::new(End::Source, Kind::Gap, context))
}

/// What stands in the way of a session.
enum Opening {
    Server(postgres::error::Error),
    Ours(Error),
}

impl From<postgres::error::Error> for Opening {
    fn from(error: postgres::error::Error) -> Self {
        Self::Server(error)
    }
}

fn is_in_use(error: &postgres::error::Error) -> bool {
    matches!(error.kind(), postgres::error::Kind::SlotActive { .. })
}

fn connect(
    options: &WalOptions,
    start: EndLsn,
    messages: bool,
    last: Option<&Segment>,
) -> Result<(ReplicationStream, Origin), Opening> {
    let mut replication = Connection::connect(&options.connect)?;
    options.reader.send_replace(replication.backend_pid());
    let identity = replication.identify_system()?;
    let publications: Vec<_> = options.publications(Reading::All).map(str::to_owned).collect();
    let counted = fingerprint(publications.iter().map(String::as_str));
    let origin = Origin::new(&options.slot, identity.system_id, identity.timeline, counted, messages);
    if last.is_some_and(|last| !last.origin.is_as(&origin)) {
        let context = "what is spilled already is of another server or timeline, or was read with other publications";
        let error = Error::new(End::Source, Kind::Setup, context)
            .with_help("It is delivered first, as soon as the broker takes events.");
        return Err(Opening::Ours(error));
    }
    let start = StartOptions { slot: options.slot.clone(), start, publications, messages };
    Ok((replication.start_logical(&start)?, origin))
}

/// A session while it is written.
struct Session<'s> {
    spill: &'s Spill,
    file: File,
    segment: Segment,
    follower: Follower,
    /// Bytes that were written since the last sync.
    unsynced: u64,
    synced_at: Instant,
    /// Where it began, and by which the database is told of it before anything is confirmed.
    untold: Option<(EndLsn, Connection)>,
    /// Up to where the segment is whole in the file, and how far that reaches; not durable yet.
    whole: (u64, EndLsn),
    segment_bytes_max: u64,
}

impl<'s> Session<'s> {
    fn begin(spill: &'s Spill, origin: Origin, start: EndLsn, sql: Connection) -> Result<Self, Error> {
        let number = spill.state().segments.back().map_or(0, |last| last.number + 1);
        let origin = origin.of_session(number);
        let (file, segment) = create(spill, number, &origin, start, &[])?;
        let segment_bytes_max = (spill.bytes_max / SEGMENTS).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        let whole = (segment.whole, segment.end);
        let follower = Follower::new(start);
        let synced_at = Instant::now();
        let untold = Some((start, sql));
        Ok(Self { spill, file, segment, follower, unsynced: 0, synced_at, untold, whole, segment_bytes_max })
    }

    /// Reads on until the bound is reached.
    async fn read(&mut self, stream: &mut ReplicationStream) -> Result<Ended, Error> {
        loop {
            let patience = SYNC_EVERY.saturating_sub(self.synced_at.elapsed());
            match tokio::time::timeout(patience, stream.next()).await {
                Ok(Ok(chunk)) => {
                    if !self.keep(&chunk)? {
                        return Ok(Ended::Full);
                    }
                }
                Ok(Err(error)) => {
                    self.sync()?;
                    let context = format!("the stream of slot {:?} ended", self.spill.slot);
                    return Err(Error::new(End::Source, Kind::Unavailable, context).because(error));
                }
                Err(_) => {}
            }
            if self.unsynced >= SYNC_BYTES || self.synced_at.elapsed() >= SYNC_EVERY {
                self.confirm(stream)?;
            }
        }
    }

    /// Writes what was read; false if there is no room for it.
    fn keep(&mut self, bytes: &[u8]) -> Result<bool, Error> {
        let room = self.spill.bytes_max.saturating_sub(self.spill.state().bytes());
        if (bytes.len() + 2 * block::HEAD_BYTES) as u64 > room {
            return Ok(false);
        }
        let between = self.follower.follow(bytes)?;
        let (ended, begun) = bytes.split_at(between);
        if !ended.is_empty() {
            self.append(ended, self.follower.reach())?;
            self.whole = (self.segment.bytes, self.follower.reach());
            if self.segment.bytes >= self.segment_bytes_max {
                self.next_segment()?;
            }
        }
        if !begun.is_empty() {
            self.append(begun, EndLsn::ZERO)?;
        }
        self.spill.change(|state| {
            if let Some(last) = state.segments.back_mut() {
                last.bytes = self.segment.bytes;
            }
        });
        Ok(true)
    }

    fn append(&mut self, payload: &[u8], reach: EndLsn) -> Result<(), Error> {
        let written = block::write(&mut self.file, payload, reach).map_err(|error| self.failed(error))?;
        self.segment.bytes += written;
        self.unsynced += written;
        self.spill.metrics.guard.spilled_bytes.inc_by(written);
        Ok(())
    }

    fn next_segment(&mut self) -> Result<(), Error> {
        self.sync()?;
        let (number, start) = (self.segment.number + 1, self.segment.end);
        let relations = self.follower.relations();
        (self.file, self.segment) = create(self.spill, number, &self.segment.origin, start, &relations)?;
        self.whole = (self.segment.whole, start);
        Ok(())
    }

    /// Makes durable what is written, and shows it to whoever reads.
    fn sync(&mut self) -> Result<(), Error> {
        self.synced_at = Instant::now();
        if self.whole.0 == self.segment.whole {
            return Ok(());
        }
        self.file.sync_data().map_err(|error| self.failed(error))?;
        self.unsynced = 0;
        (self.segment.whole, self.segment.end) = self.whole;
        self.spill.change(|state| {
            if let Some(last) = state.segments.back_mut() {
                *last = self.segment.clone();
            }
        });
        Ok(())
    }

    /// Confirms what is durable.
    fn confirm(&mut self, stream: &ReplicationStream) -> Result<(), Error> {
        self.sync()?;
        if let Some((_, mut sql)) = self.untold.take_if(|(start, _)| self.segment.end > *start) {
            note::write(&mut sql, &self.spill.slot, self.spill.path(), self.spill.folder.noted().epoch);
        }
        stream.confirm(self.segment.end);
        Ok(())
    }

    /// Cuts off what is not whole: it was never confirmed, and comes again.
    fn cut_off(&mut self) {
        let (whole, slot) = (self.segment.whole, self.spill.slot.as_str());
        if let Err(error) = self.file.set_len(whole).and_then(|()| self.file.sync_all()) {
            // What is behind the end is not read by this process, nor by the next one if anything follows it.
            debug!(%error, "what is not whole could not be cut off");
            return;
        }
        self.spill.change(|state| {
            if let Some(last) = state.segments.back_mut() {
                last.bytes = whole;
            }
        });
        info!(slot, to = %self.segment.end, "spilled up to here");
    }

    fn failed(&self, error: std::io::Error) -> Error {
        failed(&self.segment.path, error)
    }
}

fn failed(path: &std::path::Path, error: std::io::Error) -> Error {
    Error::new(End::Source, Kind::Unavailable, format!("{path:?} cannot be written"))
        .because(error)
        .with_help("Is the disk full? The spill goes on at the guard's next look that finds the slot over its budget.")
}

/// Makes a segment, durably, and shows it to whoever reads.
fn create(
    spill: &Spill,
    number: u64,
    origin: &Origin,
    start: EndLsn,
    relations: &[u8],
) -> Result<(File, Segment), Error> {
    let made = spill.folder.begin(number, origin, start, relations);
    let made = made.and_then(|(file, segment)| {
        file.sync_all()?;
        spill.folder.flush()?;
        Ok((file, segment))
    });
    let (file, segment) = made.map_err(|error| failed(spill.path(), error))?;
    spill.change(|state| state.segments.push_back(segment.clone()));
    Ok((file, segment))
}
