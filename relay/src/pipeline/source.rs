//! The reading end: cuts batches, and is told when each is durable.

use std::future::Future;

use bytes::Bytes;

use crate::pipeline::error::Error;
use crate::pipeline::message::Messages;

/// What a source has cut: messages in order, and the position that they reach.
#[derive(Debug)]
pub struct Batch<P> {
    /// The messages, possibly none: an idle advance keeps its place in the order of acknowledgement.
    pub messages: Messages,
    /// Where the source stands once these messages are durable. A cut inside a long commit has a position too: it
    /// records how far delivery came, and lets nothing be forgotten yet.
    pub end: P,
}

/// A durable note of how far delivery came, kept by the sink: opaque to the pump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Whose progress this is; one key has one current value.
    pub key: Bytes,
    /// The position, in the source's own form.
    pub value: Bytes,
}

/// What a source needs in order to forget a batch. Dropped unacknowledged, it means: refused.
pub trait Position: Send + 'static {
    /// The note that must be durable before this position is acknowledged; `None` if the source keeps its own.
    fn progress(&self) -> Option<Progress>;
}

/// Reads batches in order and forgets what was delivered.
///
/// Called by the pump alone: [`next`](Source::next) again and again, [`acknowledge`](Source::acknowledge) once for
/// each batch in the order of cutting, and after any trouble [`rewind`](Source::rewind).
pub trait Source: Send {
    /// What [`acknowledge`](Source::acknowledge) takes.
    type Position: Position;

    /// The next batch. Waits while there is none. Cancel safe: a dropped call loses nothing.
    fn next(&mut self) -> impl Future<Output = Result<Batch<Self::Position>, Error>> + Send;

    /// Forgets everything up to and including this batch. Called only when it is durable, and its progress with it.
    fn acknowledge(&mut self, position: Self::Position) -> impl Future<Output = Result<(), Error>> + Send;

    /// Goes back to just after the last acknowledged batch: what was cut since then is cut again, in the same order,
    /// though not at the same places.
    fn rewind(&mut self) -> impl Future<Output = Result<(), Error>> + Send;

    /// Cuts this batch, which is not acknowledged, after so many messages when it comes again, and the rest of it apart. A
    /// source whose cuts need not be the same again does nothing.
    fn split(&mut self, position: Self::Position, after: usize) -> impl Future<Output = Result<(), Error>> + Send {
        let _ = (position, after);
        std::future::ready(Ok(()))
    }

    /// Stops fetching, or goes on: for an outage of the sink that lasts. What it holds, such as its part of a topic, it
    /// keeps.
    fn pause(&mut self, paused: bool) -> impl Future<Output = Result<(), Error>> + Send {
        let _ = paused;
        std::future::ready(Ok(()))
    }

    /// Reports the last acknowledgement and lets go of the source.
    fn close(self) -> impl Future<Output = Result<(), Error>> + Send;
}
