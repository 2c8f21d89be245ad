//! Writers on a schedule: an event is due when its turn comes, whether or not those before it are done.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::error::{Doing, Result};
use crate::latency::place::Place;
use crate::watcher::now_us;

/// Connections that write in turn: a commit that waits for the disk holds up only every eighth event.
const WRITERS: usize = 8;

/// Different keys.
const KEYS: u64 = 1000;

/// Text that makes an event as large as one of an order, about 400 bytes in all.
const FILLER: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_0123456789abcdefghijklmnopqrstuvwxyz\
                      0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_0123456789abcdefghijklmnopqrstuvwxyz";

const INSERT: &str = "select postrider.emit('order', $1, 'OrderPlaced', $2::text::jsonb)";

/// When each event is due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    start: Instant,
    start_us: i64,
    interval: Duration,
    first: u64,
    /// How many there are.
    pub(crate) events: u64,
}

impl Schedule {
    /// All of them now, numbered from 0.
    pub(crate) fn at_once(events: u64) -> Self {
        Self { start: Instant::now(), start_us: now_us(), interval: Duration::ZERO, first: 0, events }
    }

    /// `events` events at `per_s` a second from now on, numbered after the one that was written before.
    pub(crate) fn from_now(per_s: u64, events: u64) -> Self {
        let interval = Duration::from_secs_f64(1.0 / per_s as f64);
        Self { start: Instant::now(), start_us: now_us(), interval, first: 1, events }
    }

    /// The number in the payload of event `n`.
    pub(crate) fn number(&self, n: u64) -> u64 {
        self.first + n
    }

    /// When event `n` is due, in microseconds since 1970.
    pub(crate) fn due_us(&self, n: u64) -> i64 {
        self.start_us + i64::try_from(self.after(n).as_micros()).unwrap_or(i64::MAX)
    }

    fn after(&self, n: u64) -> Duration {
        self.interval.mul_f64(n as f64)
    }
}

/// Writes every event when it is due; how long all of it took.
pub(crate) async fn write(place: &Place, schedule: Schedule) -> Result<Duration> {
    let mut turns = Vec::new();
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..WRITERS.min(schedule.events as usize) {
        let (turn, mut due) = mpsc::unbounded_channel::<u64>();
        let client = place.database.connect().await?;
        let insert = client.prepare(INSERT).await.doing("preparing the event's statement")?;
        turns.push(turn);
        writers.spawn(async move {
            while let Some(number) = due.recv().await {
                let (key, payload) = (format!("order-{}", number % KEYS), payload(number));
                client.execute(&insert, &[&key, &payload]).await.doing("writing an event")?;
            }
            Ok::<(), crate::error::Error>(())
        });
    }
    // A thread of its own, because a sleeping thread is woken in time to some ten microseconds, and a runtime's timer to one millisecond.
    let clock = std::thread::spawn(move || {
        for n in 0..schedule.events {
            std::thread::sleep((schedule.start + schedule.after(n)).saturating_duration_since(Instant::now()));
            // A writer that failed has left; its error is told below.
            turns[n as usize % turns.len()].send(schedule.number(n)).ok();
        }
    });
    while let Some(written) = writers.join_next().await {
        written.expect("writing does not panic")?;
    }
    clock.join().expect("the clock does not panic");
    Ok(schedule.start.elapsed())
}

fn payload(number: u64) -> String {
    format!("{{\"n\": {number}, \"total_cents\": 1999, \"text\": \"{FILLER}\"}}")
}
