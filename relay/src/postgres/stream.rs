//! A replication stream as its consumer sees it: chunks arrive in order, confirmations go back, and it ends when told to.
//!
//! Guarantee: the server hears from us in time whatever the consumer does, and is never told that more is durable than the
//! consumer confirmed.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::postgres::chunk::Chunk;
use crate::postgres::connection::Connection;
use crate::postgres::error::{Error, Kind};
use crate::postgres::handover::{Handover, Leave};
use crate::postgres::lsn::EndLsn;
use crate::postgres::reader::Reader;
use crate::postgres::traffic::Traffic;

/// Ends a stream from elsewhere than where it is read: whoever reads it is told that it has ended.
#[derive(Debug, Clone)]
pub struct Leaver(Arc<Handover>);

impl Leaver {
    /// Reports what is confirmed and ends the stream. Does not wait until the server has let go of the slot.
    pub fn leave(&self) {
        self.0.leave(Leave::Properly);
    }
}

/// A running stream; its own thread reads the socket. Dropping it closes the connection at once, without a last report.
#[derive(Debug)]
pub struct ReplicationStream {
    handover: Arc<Handover>,
    thread: Option<JoinHandle<()>>,
}

impl ReplicationStream {
    pub(crate) fn start(connection: Connection, wal_sender_timeout: Option<Duration>) -> Result<Self, Error> {
        let reader = Reader::new(connection, wal_sender_timeout)?;
        let handover = reader.handover();
        let thread = std::thread::Builder::new()
            .name("wal-reader".to_owned())
            .spawn(move || reader.run())
            .map_err(|error| Error::io("starting the thread that reads the WAL", error))?;
        Ok(Self { handover, thread: Some(thread) })
    }

    /// The next chunk. Cancel safe: what a cancelled call would have returned, the next call returns.
    ///
    /// # Errors
    ///
    /// Once every complete message that arrived before it was returned: what ended the stream. After that,
    /// [`Kind::Unavailable`].
    pub async fn next(&mut self) -> Result<Chunk, Error> {
        self.handover.take().await
    }

    /// Everything below `flushed` is durable elsewhere, and Postgres may forget it. It never goes back, wakes the reader and is
    /// reported within 100 ms.
    pub fn confirm(&self, flushed: EndLsn) {
        self.handover.confirm(flushed.as_u64());
    }

    /// By which it can be ended from elsewhere.
    #[must_use]
    pub fn leaver(&self) -> Leaver {
        Leaver(Arc::clone(&self.handover))
    }

    /// What went over it so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.handover.counted().traffic()
    }

    /// Reports what is confirmed, ends the stream and waits, 3 seconds at most, until the server has let go of the slot.
    /// Chunks not yet taken are dropped; nothing of them was confirmed.
    ///
    /// # Errors
    ///
    /// What ended the stream before, or [`Kind::Unavailable`] when the server did not end it in time: the last report may then
    /// be lost, and the slot in use for a little longer.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.handover.leave(Leave::Properly);
        let end = self.handover.ended().await;
        if let Some(thread) = self.thread.take() {
            // Closing the handover is the last thing it does: there is nothing to wait for.
            thread.join().map_err(|_| Error::new(Kind::Unavailable, "the thread that read the WAL panicked"))?;
        }
        end
    }
}

impl Drop for ReplicationStream {
    fn drop(&mut self) {
        self.handover.leave(Leave::AtOnce);
    }
}
