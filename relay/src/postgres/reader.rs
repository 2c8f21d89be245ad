//! The thread that reads the WAL: it alone touches the socket, so that neither a slow sink nor a busy runtime can keep the
//! server waiting for a sign of life.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};

use crate::postgres::chunk::{BUFFER_BYTES, Intake};
use crate::postgres::connection::Connection;
use crate::postgres::error::{Error, Kind};
use crate::postgres::handover::{Handover, Leave};
use crate::postgres::scan::scan;
use crate::postgres::status::{Due, PERIOD_MAX, Schedule, Status};
use crate::postgres::transport::NonblockingTransport;

const SOCKET: Token = Token(0);
const WAKER: Token = Token(1);

/// A read below this came from a socket that we emptied: waiting a little makes the next one larger.
const SHORT_READ_BYTES: usize = 64 * 1024;

/// How long to wait then. A walsender writes each message by itself; woken for each, a reader spends twice the processor time on
/// a third less throughput. A millisecond would be too long: a Unix socket is full after 1.4 ms.
const PAUSE: Duration = Duration::from_micros(200);

/// So many reads in a row must have found data within [`PAUSE`] before anything waits: more than one small transaction takes, so
/// that a quiet stream's transactions are handed over at once.
const BUSY_READS: u32 = 8;

/// How long frames are held back to be handed over together, on a busy stream or while their transaction is still arriving:
/// waking the consumer for each read costs more than what it reads.
const HOLD: Duration = Duration::from_millis(1);

/// How long the end of a stream may take.
const FAREWELL_MAX: Duration = Duration::from_secs(3);

/// A server that answers none of our requests for this many times its own timeout is gone.
const SILENCE_TIMEOUTS: u32 = 3;

/// That timeout is at least this long: a server may be busy with one large record.
const SILENCE_TIMEOUT_MIN: Duration = Duration::from_secs(10);

/// That timeout, where the server has none.
const SILENCE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

/// `CopyDone` and `Terminate`: <https://www.postgresql.org/docs/current/protocol-message-formats.html>.
const FAREWELL: [u8; 10] = *b"c\0\0\0\x04X\0\0\0\x04";

pub(crate) struct Reader {
    socket: NonblockingTransport,
    peer: String,
    poll: Poll,
    events: Events,
    handover: Arc<Handover>,
    intake: Intake,
    next_frame: usize,
    schedule: Schedule,
    received: u64,
    reply_requested: bool,
    /// Bytes that the socket has not taken yet: part of one status update at most, or the farewell.
    unsent: Vec<u8>,
    /// The socket takes no more; what the server said before that is still to be read.
    broken: Option<io::Error>,
    readable: bool,
    /// Whether the last frames stand inside a transaction.
    in_transaction: bool,
    /// How many reads in a row found data as soon as they looked.
    quick_reads: u32,
    /// When the last read, and the pause after it, were over.
    rested: Instant,
    /// When the first of the frames that are held back was read.
    held_since: Instant,
    heard: Instant,
    silence_max: Duration,
}

impl Reader {
    pub(crate) fn new(connection: Connection, wal_sender_timeout: Option<Duration>) -> Result<Self, Error> {
        let (transport, carried, peer) = connection.into_parts();
        let prepare = || {
            transport.set_deadline(None)?;
            let mut socket = NonblockingTransport::new(transport)?;
            let poll = Poll::new()?;
            socket.register(poll.registry(), SOCKET)?;
            let waker = Waker::new(poll.registry(), WAKER)?;
            Ok((socket, poll, waker))
        };
        let (socket, poll, waker) =
            prepare().map_err(|error| Error::io("preparing the socket for streaming", error))?;
        let now = Instant::now();
        let timeout = wal_sender_timeout.unwrap_or(SILENCE_TIMEOUT_DEFAULT).max(SILENCE_TIMEOUT_MIN);
        Ok(Self {
            socket,
            peer,
            poll,
            events: Events::with_capacity(2),
            handover: Arc::new(Handover::new(waker)),
            intake: Intake::new(&carried),
            next_frame: 0,
            schedule: Schedule::new(wal_sender_timeout, now),
            received: 0,
            reply_requested: false,
            unsent: Vec::new(),
            broken: None,
            readable: true,
            in_transaction: false,
            quick_reads: 0,
            rested: now,
            held_since: now,
            heard: now,
            silence_max: timeout * SILENCE_TIMEOUTS,
        })
    }

    pub(crate) fn handover(&self) -> Arc<Handover> {
        Arc::clone(&self.handover)
    }

    /// Reads until the stream ends, and says why.
    pub(crate) fn run(mut self) {
        // The consumer must hear of the end even if this thread panics.
        let closing = Closing(Arc::clone(&self.handover));
        let end = self.read_on();
        self.hand_over();
        // The connection is closed before the end is told: whoever hears of it may use the slot again.
        drop(self);
        closing.0.close(end);
    }

    fn read_on(&mut self) -> Result<(), Error> {
        // What arrived together with the answer that started the stream.
        self.look_through()?;
        loop {
            match self.handover.leaving() {
                Some(Leave::Properly) => return self.say_farewell(),
                Some(Leave::AtOnce) => return Ok(()),
                None => {}
            }
            let room = self.handover.has_room();
            let now = Instant::now();
            self.report(now, room);
            if room && self.readable {
                self.read(now)?;
                continue;
            }
            // What is held may stay while the consumer is busy: it wakes us when it has nothing left.
            if self.intake.complete() > 0 && !self.may_hold(now) && self.handover.is_hungry_or_will_wake() {
                self.hand_over();
            }
            self.check_silence(now, room)?;
            self.wait(now)?;
        }
    }

    /// Sends a status update if one is due.
    fn report(&mut self, now: Instant, room: bool) {
        if self.has_unsent() {
            self.send_on();
        }
        let due = self.schedule.due(now, self.handover.confirmed());
        if self.broken.is_some() || self.has_unsent() || (due.is_none() && !self.reply_requested) {
            return;
        }
        self.reply_requested = false;
        // Only the timer asks for an answer, and only if we would read it: answers to answers would never end.
        let flushed = self.queue_status(due == Some(Due::Timer) && room);
        self.schedule.sent(now, flushed, due);
        self.send_on();
    }

    fn queue_status(&mut self, reply: bool) -> u64 {
        let flushed = self.handover.take_confirmed();
        self.handover.counted().status_update();
        let status = Status { written: self.received, flushed, reply };
        self.unsent.extend_from_slice(&status.encode());
        flushed
    }

    fn send_on(&mut self) {
        while !self.unsent.is_empty() && self.broken.is_none() {
            match self.socket.write(&self.unsent) {
                Ok(sent) => drop(self.unsent.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The server may have said why before it hung up: reading goes on until that is read too.
                Err(error) => self.broken = Some(error),
            }
        }
        match self.socket.flush() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => self.broken = self.broken.take().or(Some(error)),
            _ => {}
        }
    }

    fn has_unsent(&self) -> bool {
        !self.unsent.is_empty() || self.socket.has_unsent()
    }

    fn read(&mut self, now: Instant) -> Result<(), Error> {
        match self.socket.read(self.intake.space()) {
            Ok(0) => Err(Error::new(Kind::Unavailable, format!("{} closed the connection", self.peer))),
            Ok(bytes) => {
                self.heard = now;
                self.handover.counted().received(bytes);
                let quick = now.saturating_duration_since(self.rested) < PAUSE;
                self.quick_reads = if quick { self.quick_reads.saturating_add(1) } else { 0 };
                if self.intake.complete() == 0 {
                    self.held_since = now;
                }
                self.intake.advance(bytes);
                self.look_through()?;
                if self.is_busy() && bytes < SHORT_READ_BYTES {
                    std::thread::sleep(PAUSE);
                }
                self.rested = Instant::now();
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.find_nothing(now),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(self.lost(error)),
        }
    }

    /// The socket is empty.
    fn find_nothing(&mut self, now: Instant) -> Result<(), Error> {
        if let Some(error) = self.broken.take() {
            return Err(self.lost(error));
        }
        if self.is_busy() && self.may_hold(now) {
            // More is on its way, and what is held may wait for it.
            std::thread::sleep(PAUSE);
            self.rested = Instant::now();
        } else {
            self.readable = false;
        }
        Ok(())
    }

    /// Finds the frames in what was read, and hands them over unless it pays to collect more first.
    fn look_through(&mut self) -> Result<(), Error> {
        let scan = scan(self.intake.unscanned());
        self.intake.mark_complete(scan.complete);
        self.next_frame = scan.next_frame;
        self.received = self.received.max(scan.received);
        self.reply_requested |= scan.reply_requested;
        self.in_transaction = scan.in_transaction.unwrap_or(self.in_transaction);
        let enough = self.intake.complete() >= SHORT_READ_BYTES || !self.intake.fits(self.next_frame);
        if enough || (!self.may_hold(Instant::now()) && self.handover.is_hungry()) {
            self.hand_over();
        }
        scan.end.map_or(Ok(()), Err)
    }

    fn is_busy(&self) -> bool {
        self.quick_reads >= BUSY_READS
    }

    fn may_hold(&self, now: Instant) -> bool {
        let waits_for_more = self.is_busy() || self.in_transaction;
        self.intake.complete() > 0 && waits_for_more && now.saturating_duration_since(self.held_since) < HOLD
    }

    fn hand_over(&mut self) {
        if let Some(chunk) = self.intake.hand_over(self.next_frame) {
            self.handover.offer(chunk.since(self.held_since));
        }
    }

    fn check_silence(&mut self, now: Instant, room: bool) -> Result<(), Error> {
        if !room {
            // We are the silent ones: nothing is read.
            self.heard = now;
        }
        let silence = now.saturating_duration_since(self.heard);
        if silence < self.silence_max {
            return Ok(());
        }
        let seconds = silence.as_secs();
        Err(Error::new(
            Kind::Unavailable,
            format!("{} has not answered for {seconds} s; the server or the network hangs", self.peer),
        ))
    }

    /// Waits until the socket has something, somebody wakes us, or a status update is due.
    fn wait(&mut self, now: Instant) -> Result<(), Error> {
        if self.may_hold(now) {
            return self.poll_until(HOLD);
        }
        let next = self.schedule.next(self.handover.confirmed());
        // A socket that takes nothing says when it does again.
        let sendable = !self.has_unsent() && self.broken.is_none();
        self.poll_until(if sendable { next.saturating_duration_since(now) } else { PERIOD_MAX })
    }

    fn poll_until(&mut self, timeout: Duration) -> Result<(), Error> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(Error::io("waiting for the replication socket", error)),
        }
        // Whatever it says of the socket: the next read or write finds out, and the end is told by a read too.
        self.readable |= self.events.iter().any(|event| event.token() == SOCKET);
        Ok(())
    }

    /// The last report, then the end of the stream and of the session; the server has let go of the slot when it hangs up.
    fn say_farewell(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + FAREWELL_MAX;
        self.queue_status(false);
        self.unsent.extend_from_slice(&FAREWELL);
        let mut waste = vec![0; BUFFER_BYTES];
        loop {
            self.send_on();
            if let Some(error) = self.broken.take() {
                return Err(self.lost(error));
            }
            match self.socket.read(&mut waste) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.poll_until(deadline.saturating_duration_since(Instant::now()))?;
                }
                // It hung up with our farewell half read: it was in the middle of leaving itself.
                Err(error) => return Err(self.lost(error)),
            }
            if Instant::now() >= deadline {
                let limit = FAREWELL_MAX.as_secs();
                return Err(Error::new(
                    Kind::Unavailable,
                    format!("{} did not end the stream within {limit} s", self.peer),
                ));
            }
        }
    }

    fn lost(&self, error: io::Error) -> Error {
        Error::io(format!("the connection to {} is lost", self.peer), error)
    }
}

/// Tells the consumer that the reader is gone, if nothing else did.
struct Closing(Arc<Handover>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close(Err(Error::new(Kind::Unavailable, "the thread that read the WAL panicked")));
    }
}
