//! A sink that keeps nothing: every batch is durable at once. For measuring everything before it.

use std::time::Duration;

use crate::pipeline::{Error, Messages, Progress, Receipt, Sink};

/// Accepts everything, counts it and forgets it. Progress is forgotten as well: opened again it knows nothing.
#[derive(Debug, Default)]
pub struct Null {
    messages: u64,
    payload_bytes: u64,
}

impl Null {
    /// An empty one, with the progress it holds: none.
    #[must_use]
    pub fn open() -> (Self, Option<Progress>) {
        (Self::default(), None)
    }

    /// How many messages it was given.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// How many bytes of keys and values it was given.
    #[must_use]
    pub fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }
}

impl Sink for Null {
    async fn send(&mut self, messages: Messages) -> Result<Receipt, Error> {
        self.messages += messages.len() as u64;
        self.payload_bytes += messages.payload_bytes() as u64;
        Ok(Receipt::done())
    }

    async fn record(&mut self, _progress: Progress) -> Result<Receipt, Error> {
        Ok(Receipt::done())
    }

    async fn reset(&mut self) -> Result<(), Error> {
        Ok(())
    }

    async fn close(self, _deadline: Duration) -> Result<(), Error> {
        Ok(())
    }
}
