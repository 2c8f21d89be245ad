//! How much one request may carry, in bytes: less after each refusal that may mean any of its records.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// The bound of a request's batch, in bytes before compression. It shrinks when a broker refuses a request, down to one
/// record each: then a refusal says which record is meant.
#[derive(Debug)]
pub(super) struct BatchLimit {
    bytes: AtomicU32,
    shrink: AtomicBool,
    alone: AtomicBool,
}

impl BatchLimit {
    /// librdkafka's own default; a broker's default `message.max.bytes` is a little more.
    const FULL: u32 = 1_000_000;

    /// How fast it shrinks: seven refusals would be too patient, and two too rash.
    const STEP: u32 = 16;

    pub(super) fn new() -> Self {
        Self { bytes: AtomicU32::new(Self::FULL), shrink: AtomicBool::new(false), alone: AtomicBool::new(false) }
    }

    /// librdkafka's `batch.size`. A batch takes its first record whatever the bound, so that 1 means one record a request.
    pub(super) fn bytes(&self) -> u32 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether a refusal says which record is meant.
    pub(super) fn is_one_record(&self) -> bool {
        self.bytes() == 1 || self.alone.load(Ordering::Acquire)
    }

    /// Whether the next record is sent while nothing else is in flight.
    pub(super) fn set_alone(&self, alone: bool) {
        self.alone.store(alone, Ordering::Release);
    }

    /// Whether requests are smaller than usual.
    pub(super) fn is_reduced(&self) -> bool {
        self.bytes() < Self::FULL
    }

    /// Goes back to the usual size, from the next producer on.
    pub(super) fn restore(&self) {
        self.bytes.store(Self::FULL, Ordering::Relaxed);
    }

    /// Asks for smaller batches from the next producer on.
    pub(super) fn ask_for_less(&self) {
        self.shrink.store(true, Ordering::Relaxed);
    }

    /// Shrinks if that was asked for; true if it did.
    pub(super) fn shrink(&self) -> bool {
        if !self.shrink.swap(false, Ordering::Relaxed) || self.bytes() == 1 {
            return false;
        }
        let smaller = self.bytes() / Self::STEP;
        // Below some hundred bytes a batch has one record anyhow.
        self.bytes.store(if smaller < 1000 { 1 } else { smaller }, Ordering::Relaxed);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_shrinks_it_once_until_a_request_has_one_record() {
        let limit = BatchLimit::new();
        assert!(!limit.shrink(), "nobody asked");
        let mut seen = Vec::new();
        for _ in 0..5 {
            // A refused request fails with all its records, and each of them asks.
            limit.ask_for_less();
            limit.ask_for_less();
            limit.shrink();
            assert!(!limit.shrink(), "shrunk already");
            seen.push(limit.bytes());
        }
        assert_eq!(seen, [62_500, 3906, 1, 1, 1]);
        assert!(limit.is_one_record() && limit.is_reduced());
        limit.restore();
        assert!(!limit.is_reduced());
    }
}
