//! What the reader's thread and its consumer share: chunks one way, confirmations and the order to stop the other.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mio::Waker;
use tokio::sync::Notify;

use crate::postgres::chunk::{BUFFER_BYTES, Chunk};
use crate::postgres::error::{Error, Kind};
use crate::postgres::traffic::Counted;

/// How much may wait for the consumer; beyond it the socket is left unread, and the server waits.
const WAITING_BYTES_MAX: usize = 8 * BUFFER_BYTES;

/// How many chunks may wait, so that very small ones do not cost more than their bytes.
const WAITING_CHUNKS_MAX: usize = 64;

/// How the consumer wants the stream to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// With a last report and a proper end.
    Properly,
    /// At once.
    AtOnce,
}

/// The meeting point of the two sides.
#[derive(Debug)]
pub(crate) struct Handover {
    queue: Mutex<Queue>,
    arrived: Notify,
    waker: Waker,
    confirmed: AtomicU64,
    /// A confirmation is waiting for its report: the reader has been woken for it.
    confirming: AtomicBool,
    counted: Counted,
}

#[derive(Debug, Default)]
struct Queue {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    /// The reader waits for room.
    stalled: bool,
    /// The reader holds frames back until the consumer has nothing left to do.
    held: bool,
    leave: Option<Leave>,
    ended: bool,
    end: Option<Result<(), Error>>,
}

impl Queue {
    fn is_full(&self) -> bool {
        self.bytes >= WAITING_BYTES_MAX || self.chunks.len() >= WAITING_CHUNKS_MAX
    }

    /// Far enough from full that waking the reader pays.
    fn has_drained(&self) -> bool {
        self.bytes <= WAITING_BYTES_MAX / 2 && self.chunks.len() <= WAITING_CHUNKS_MAX / 2
    }
}

impl Handover {
    pub(crate) fn new(waker: Waker) -> Self {
        Self {
            queue: Mutex::default(),
            arrived: Notify::new(),
            waker,
            confirmed: AtomicU64::new(0),
            confirming: AtomicBool::new(false),
            counted: Counted::default(),
        }
    }

    /// Both: what went over the stream.
    pub(crate) fn counted(&self) -> &Counted {
        &self.counted
    }

    /// Reader: whether another chunk may be read. If not, the reader is woken when it may.
    pub(crate) fn has_room(&self) -> bool {
        let mut queue = self.lock();
        queue.stalled = queue.is_full();
        !queue.stalled
    }

    /// Reader: whether the consumer has nothing left to do.
    pub(crate) fn is_hungry(&self) -> bool {
        self.lock().chunks.is_empty()
    }

    /// Reader: the same, about to wait. If the consumer has something left to do, it wakes the reader when it has not.
    pub(crate) fn is_hungry_or_will_wake(&self) -> bool {
        let mut queue = self.lock();
        queue.held = !queue.chunks.is_empty();
        !queue.held
    }

    /// Reader: hands a chunk on.
    pub(crate) fn offer(&self, chunk: Chunk) {
        let mut queue = self.lock();
        queue.bytes += chunk.memory();
        queue.chunks.push_back(chunk);
        drop(queue);
        self.arrived.notify_one();
    }

    /// Reader: nothing comes any more. The first end counts.
    pub(crate) fn close(&self, end: Result<(), Error>) {
        let mut queue = self.lock();
        if !queue.ended {
            queue.ended = true;
            queue.end = Some(end);
        }
        drop(queue);
        self.arrived.notify_one();
    }

    /// Reader: how the consumer wants to leave, if it does.
    pub(crate) fn leaving(&self) -> Option<Leave> {
        self.lock().leave
    }

    /// Reader: what is confirmed.
    pub(crate) fn confirmed(&self) -> u64 {
        self.confirmed.load(Ordering::Acquire)
    }

    /// Reader: what is confirmed, about to be reported; the next confirmation wakes the reader again.
    pub(crate) fn take_confirmed(&self) -> u64 {
        // Before the load: a confirmation that comes in between wakes once more, for nothing; none is missed.
        self.confirming.store(false, Ordering::SeqCst);
        self.confirmed.load(Ordering::SeqCst)
    }

    /// Consumer: the next chunk, or the end after the last. Cancel safe.
    pub(crate) async fn take(&self) -> Result<Chunk, Error> {
        loop {
            if let Some(next) = self.try_take() {
                return next;
            }
            self.arrived.notified().await;
        }
    }

    /// Consumer: waits until the reader is done, dropping what it still brings.
    pub(crate) async fn ended(&self) -> Result<(), Error> {
        loop {
            {
                let mut queue = self.lock();
                queue.chunks.clear();
                queue.bytes = 0;
                if queue.ended {
                    return queue.end.take().unwrap_or(Ok(()));
                }
            }
            self.arrived.notified().await;
        }
    }

    /// Consumer: everything below `position` is durable elsewhere.
    pub(crate) fn confirm(&self, position: u64) {
        if self.confirmed.fetch_max(position, Ordering::SeqCst) < position
            && !self.confirming.swap(true, Ordering::SeqCst)
        {
            self.counted.confirmed();
            self.wake();
        }
    }

    /// Consumer: tells the reader to end the stream.
    pub(crate) fn leave(&self, leave: Leave) {
        self.lock().leave = Some(leave);
        self.wake();
    }

    fn try_take(&self) -> Option<Result<Chunk, Error>> {
        let mut queue = self.lock();
        if let Some(chunk) = queue.chunks.pop_front() {
            queue.bytes -= chunk.memory();
            let room = queue.stalled && queue.has_drained();
            let hungry = queue.held && queue.chunks.is_empty();
            if room || hungry {
                queue.stalled &= !room;
                queue.held &= !hungry;
                drop(queue);
                self.wake();
            }
            return Some(Ok(chunk));
        }
        if !queue.ended {
            return None;
        }
        let end = queue.end.take().unwrap_or(Ok(()));
        Some(Err(end.err().unwrap_or_else(|| Error::new(Kind::Unavailable, "the stream has ended"))))
    }

    fn wake(&self) {
        // Waking writes to an event counter of this process; where that fails, the reader's timer wakes it within a second.
        self.waker.wake().ok();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mio::{Events, Poll, Token};

    use super::*;
    use crate::postgres::chunk::Intake;

    /// Both sides, and whether the reader was woken since the last look.
    fn sides() -> (Handover, impl FnMut() -> bool) {
        let mut poll = Poll::new().unwrap();
        let waker = Waker::new(poll.registry(), Token(0)).unwrap();
        let mut events = Events::with_capacity(1);
        let woken = move || {
            poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
            !events.is_empty()
        };
        (Handover::new(waker), woken)
    }

    fn chunk(bytes: usize) -> Chunk {
        let mut intake = Intake::new(&vec![0; bytes]);
        intake.mark_complete(bytes);
        intake.hand_over(0).expect("it holds something")
    }

    #[tokio::test]
    async fn what_waits_is_bounded_in_bytes_and_in_number_and_the_reader_is_woken_when_half_is_gone() {
        for (size, many) in [(BUFFER_BYTES, 8), (1, 64)] {
            let (handover, mut woken) = sides();
            for _ in 0..many {
                assert!(handover.has_room());
                handover.offer(chunk(size));
            }
            assert!(!handover.has_room());
            for taken in 1..=many {
                handover.take().await.unwrap();
                assert_eq!(woken(), taken == many / 2, "once, when it pays");
            }
            assert!(handover.is_hungry());
        }
    }

    #[tokio::test]
    async fn a_reader_that_holds_frames_back_is_woken_when_the_last_chunk_is_taken() {
        let (handover, mut woken) = sides();
        assert!(handover.is_hungry_or_will_wake());
        handover.offer(chunk(1));
        handover.offer(chunk(1));
        assert!(!handover.is_hungry_or_will_wake());
        handover.take().await.unwrap();
        assert!(!woken());
        handover.take().await.unwrap();
        assert!(woken());
        assert!(handover.is_hungry_or_will_wake());
    }

    #[tokio::test]
    async fn the_end_is_told_after_the_last_chunk_and_only_the_first_end_counts() {
        let (handover, _) = sides();
        handover.offer(chunk(3));
        handover.close(Err(Error::new(Kind::Protocol, "first")));
        handover.close(Err(Error::new(Kind::Unavailable, "second")));
        assert_eq!(handover.take().await.unwrap().len(), 3);
        assert_eq!(handover.take().await.unwrap_err().to_string(), "first");
        assert_eq!(handover.take().await.unwrap_err().to_string(), "the stream has ended");
    }

    #[test]
    fn confirmations_never_go_back_and_wake_the_reader_once_until_it_takes_them() {
        let (handover, mut woken) = sides();
        handover.confirm(7);
        assert!(woken());
        handover.confirm(8);
        handover.confirm(5);
        assert!(!woken());
        assert_eq!((handover.confirmed(), handover.take_confirmed()), (8, 8));
        handover.confirm(8);
        assert!(!woken(), "nothing new");
        handover.confirm(9);
        assert!(woken());
    }
}
