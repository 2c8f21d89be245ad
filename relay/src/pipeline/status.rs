//! What a pipeline is doing now: written by the supervisor and the pump, read by whoever asks.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::Serialize;

use crate::pipeline::error::{End, Error};

/// Where a pipeline stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Opening its ends for the first time.
    Starting,
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

/// A pipeline's status at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatusSnapshot {
    /// What is read, for example `slot orders`.
    pub source: String,
    /// What is written, for example `kafka broker:9092`.
    pub sink: String,
    /// Where it stands.
    pub state: State,
    /// Whether events flow.
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
}

/// The shared status of one pipeline.
#[derive(Debug)]
pub struct Status(Mutex<StatusSnapshot>);

impl Status {
    /// The status of a pipeline that is about to open its ends.
    #[must_use]
    pub fn new(source: impl Into<String>, sink: impl Into<String>) -> Self {
        Self(Mutex::new(StatusSnapshot {
            source: source.into(),
            sink: sink.into(),
            state: State::Starting,
            ready: false,
            reason: Some("starting".into()),
            last_error: None,
            in_flight_batches: 0,
            in_flight_bytes: 0,
            delivered_messages: 0,
            acknowledged: None,
        }))
    }

    /// A copy of the present status.
    #[must_use]
    pub fn snapshot(&self) -> StatusSnapshot {
        self.lock().clone()
    }

    /// Enters another state.
    pub fn enter(&self, state: State) {
        let mut status = self.lock();
        status.state = state;
        status.ready = state == State::Streaming;
        status.reason = match state {
            State::Streaming => None,
            State::Starting => Some("starting".into()),
            State::Draining => Some("draining before the stop".into()),
            State::Stopped => Some("stopped".into()),
            State::Retrying => status.last_error.as_ref().map(|error| error.message.clone()),
        };
    }

    /// Notes a failure.
    pub fn failed(&self, error: &Error) {
        let at_ms = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        self.lock().last_error = Some(LastError {
            at_ms,
            end: match error.end() {
                End::Source => "source",
                End::Sink => "sink",
            },
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

    fn lock(&self) -> MutexGuard<'_, StatusSnapshot> {
        // Every holder leaves a whole value, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
