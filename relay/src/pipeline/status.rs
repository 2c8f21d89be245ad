//! What a pipeline is doing now: written by the supervisor and the pump, read by whoever asks.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use serde::Serialize;

use crate::pipeline::error::Error;

/// Where a pipeline stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Opening its ends for the first time.
    Starting,
    /// Another process works; this one waits, ready to take over.
    Standby,
    /// Both ends are open and events flow as they come.
    Streaming,
    /// Waiting after a failure, or opening an end again.
    Retrying,
    /// Told to stop: waiting for what is in flight.
    Draining,
    /// At its end.
    Stopped,
}

/// The newest failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastError {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// `source` or `sink`.
    pub end: &'static str,
    /// The failure with its causes.
    pub message: String,
    /// What a person can do about it.
    pub help: Option<String>,
}

/// How far the initial snapshot is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SnapshotStatus {
    /// Tables that are read.
    pub tables: usize,
    /// Those of them that were read whole.
    pub tables_done: usize,
    /// Rows that were read, those of earlier runs included.
    pub rows: u64,
    /// Rows of all tables, by their statistics.
    pub rows_estimated: Option<u64>,
    /// Rows read in a second, of this run.
    pub rows_per_second: u64,
    /// How long it may still take.
    pub seconds_left: Option<u64>,
}

/// Where the circuit breaker of an end stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BreakerStatus {
    /// `source` or `sink`.
    pub end: &'static str,
    /// `closed`, `open` or `half_open`.
    pub state: &'static str,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// How often it opened since the process started; one outage counts once.
    pub opened: u64,
    /// How long it leaves the service alone since then, if it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe_in_ms: Option<u64>,
}

/// What a process has to do with the lease by which one of several works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeaseStatus {
    /// `active`, `standby`, or `unleased` where the database keeps no leases.
    pub role: &'static str,
    /// The token of this process' claim, while it is active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<i64>,
    /// Who works instead, or why there is no lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// How often this process took over since it started.
    pub takeovers: u64,
}

/// A pipeline's status at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatusSnapshot {
    /// The slot that is read, if one is.
    pub slot: Option<String>,
    /// What is read, for example `slot orders`.
    pub source: String,
    /// What is written, for example `kafka broker:9092`.
    pub sink: String,
    /// Where it stands.
    pub state: State,
    /// Since when, in milliseconds since 1970.
    pub state_since_ms: u64,
    /// How long the process has been at work, in milliseconds.
    pub uptime_ms: u64,
    /// Whether events flow, or another process lets them flow and this one is ready to take over.
    pub ready: bool,
    /// Why not, if not.
    pub reason: Option<String>,
    /// The newest failure, even if it was overcome.
    pub last_error: Option<LastError>,
    /// Batches accepted by the sink and not durable yet.
    pub in_flight_batches: usize,
    /// Their bytes.
    pub in_flight_bytes: usize,
    /// Messages known to be durable since the process started.
    pub delivered_messages: u64,
    /// The newest acknowledged position in the source's own words.
    pub acknowledged: Option<String>,
    /// Events that are parked, those that wait behind another included.
    pub parked_events: usize,
    /// Keys whose events wait because an earlier one is parked, or a dead letter.
    pub held_keys: usize,
    /// Dead letters of the worker's group that are neither replayed nor dropped.
    pub dead_letters: usize,
    /// The initial snapshot, while one is being read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotStatus>,
    /// Whose turn it is, where one of several processes works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseStatus>,
    /// The circuit breakers of the ends, where there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub breakers: Vec<BreakerStatus>,
}

impl StatusSnapshot {
    /// Why a pipeline that tries again does not flow.
    fn why_not(&self) -> Option<String> {
        let error = self.last_error.as_ref().map(|error| error.message.clone());
        let broken = self.breakers.iter().find(|breaker| breaker.state != "closed");
        let Some(BreakerStatus { end, state, .. }) = broken else { return error };
        let state = state.replace('_', "-");
        Some(format!("the circuit breaker of the {end} is {state}: {}", error.unwrap_or_default()))
    }
}

/// The shared status of one pipeline.
#[derive(Debug)]
pub struct Status {
    began: Instant,
    shown: Mutex<StatusSnapshot>,
}

impl Status {
    /// The status of a pipeline that is about to open its ends.
    #[must_use]
    pub fn new(source: impl Into<String>, sink: impl Into<String>) -> Self {
        let shown = StatusSnapshot {
            slot: None,
            source: source.into(),
            sink: sink.into(),
            state: State::Starting,
            state_since_ms: now_ms(),
            uptime_ms: 0,
            ready: false,
            reason: Some("starting".into()),
            last_error: None,
            in_flight_batches: 0,
            in_flight_bytes: 0,
            delivered_messages: 0,
            acknowledged: None,
            parked_events: 0,
            held_keys: 0,
            dead_letters: 0,
            snapshot: None,
            lease: None,
            breakers: Vec::new(),
        };
        Self { began: Instant::now(), shown: Mutex::new(shown) }
    }

    /// The same, of a pipeline that reads `slot`.
    #[must_use]
    pub fn of_slot(self, slot: impl Into<String>) -> Self {
        self.lock().slot = Some(slot.into());
        self
    }

    /// Says where events are read from now on.
    pub fn reads(&self, source: impl Into<String>) {
        self.lock().source = source.into();
    }

    /// A copy of the present status.
    #[must_use]
    pub fn snapshot(&self) -> StatusSnapshot {
        let mut snapshot = self.lock().clone();
        snapshot.uptime_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        snapshot
    }

    /// Enters another state.
    pub fn enter(&self, state: State) {
        let mut status = self.lock();
        if status.state != state {
            status.state_since_ms = now_ms();
        }
        status.state = state;
        status.ready = matches!(state, State::Streaming | State::Standby);
        status.reason = match state {
            State::Streaming => None,
            State::Standby => status.lease.as_ref().and_then(|lease| lease.detail.clone()),
            State::Starting => Some("starting".into()),
            State::Draining => Some("draining before the stop".into()),
            State::Stopped => Some("stopped".into()),
            State::Retrying => status.why_not(),
        };
    }

    /// Notes that the pipeline is over while others of its process go on: by `error`, or because its work is done.
    pub fn ended(&self, error: Option<&Error>) {
        self.enter(State::Stopped);
        if let Some(error) = error {
            self.failed(error);
        }
        let mut status = self.lock();
        status.ready = error.is_none();
        status.reason = Some(match error {
            Some(error) => format!("stopped by an error: {}", error.chain()),
            None => "its work is done".into(),
        });
    }

    /// Notes that nothing becomes durable any more, and why that is thought; `None`: something does again.
    pub fn stalled(&self, reason: Option<String>) {
        let mut status = self.lock();
        if status.state == State::Streaming {
            status.ready = reason.is_none();
            status.reason = reason;
        }
    }

    /// Notes a failure.
    pub fn failed(&self, error: &Error) {
        let at_ms = now_ms();
        self.lock().last_error = Some(LastError {
            at_ms,
            end: error.end().name(),
            message: error.chain(),
            help: error.help().map(str::to_owned),
        });
    }

    /// Notes what is in flight.
    pub fn in_flight(&self, batches: usize, bytes: usize) {
        let mut status = self.lock();
        status.in_flight_batches = batches;
        status.in_flight_bytes = bytes;
    }

    /// Notes that `messages` more are durable.
    pub fn delivered(&self, messages: u64) {
        self.lock().delivered_messages += messages;
    }

    /// Notes the newest acknowledged position.
    pub fn acknowledged(&self, position: String) {
        self.lock().acknowledged = Some(position);
    }

    /// Notes what is parked.
    pub fn parked(&self, events: usize, held_keys: usize) {
        let mut status = self.lock();
        (status.parked_events, status.held_keys) = (events, held_keys);
    }

    /// Notes what was given up, and what waits for it.
    pub fn dead_letters(&self, letters: usize, held_keys: usize) {
        let mut status = self.lock();
        (status.dead_letters, status.held_keys) = (letters, held_keys);
    }

    /// Notes how far the initial snapshot is; `None`: none is being read.
    pub fn snapshotting(&self, snapshot: Option<SnapshotStatus>) {
        self.lock().snapshot = snapshot;
    }

    /// Notes whose turn it is.
    pub fn leased(&self, role: &'static str, token: Option<i64>, detail: Option<String>, takeovers: u64) {
        let mut status = self.lock();
        let same = status.lease.as_ref().filter(|known| known.role == role && known.token == token);
        let since_ms = same.map_or_else(now_ms, |known| known.since_ms);
        if status.state == State::Standby {
            status.reason.clone_from(&detail);
        }
        status.lease = Some(LeaseStatus { role, token, detail, since_ms, takeovers });
    }

    /// Notes where the breaker of an end stands.
    pub fn breaker(&self, breaker: BreakerStatus) {
        let mut status = self.lock();
        match status.breakers.iter_mut().find(|known| known.end == breaker.end) {
            Some(known) => *known = breaker,
            None => status.breakers.push(breaker),
        }
        if status.state == State::Retrying {
            status.reason = status.why_not();
        }
    }

    fn lock(&self) -> MutexGuard<'_, StatusSnapshot> {
        // Every holder leaves a whole value, so a panic elsewhere does not spoil it.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The present time, in milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
