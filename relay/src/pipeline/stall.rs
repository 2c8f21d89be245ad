//! Tells when what is in flight does not become durable: a service that takes nothing and says nothing would else look
//! like a source where nothing happens.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::pipeline::status::Status;
use crate::telemetry::Metrics;

/// How long nothing may become durable while something is in flight. A broker that fails over needs some seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// While a stall lasts it is told again at most this often.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// Looks for ever; `help` is what a person can do. Cancel safe.
pub(super) async fn watch(status: &Status, metrics: &Metrics, help: &'static str) -> Infallible {
    let mut stall = Stall::new(Instant::now());
    loop {
        sleep(LOOK).await;
        let now = status.snapshot();
        match stall.look(now.in_flight_batches, now.delivered_messages, Instant::now()) {
            Told::Nothing => {}
            Told::Stalled(waited) => {
                let seconds = waited.as_secs();
                let (batches, bytes) = (now.in_flight_batches, now.in_flight_bytes);
                let sink = now.sink;
                warn!(sink, batches, bytes, seconds, help, "nothing becomes durable");
                metrics.flow.stalled.set(1);
                status.stalled(Some(format!(
                    "nothing has become durable at {sink} for {seconds} s, {batches} batches wait"
                )));
            }
            Told::Over => {
                info!(sink = now.sink, "delivery goes on");
                metrics.flow.stalled.set(0);
                status.stalled(None);
            }
        }
    }
}

/// What a look found that is worth telling.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Stalled(Duration),
    Over,
}

/// What the looks before found.
struct Stall {
    delivered: u64,
    moved_at: Instant,
    told_at: Option<Instant>,
}

impl Stall {
    fn new(now: Instant) -> Self {
        Self { delivered: 0, moved_at: now, told_at: None }
    }

    fn look(&mut self, in_flight: usize, delivered: u64, now: Instant) -> Told {
        if in_flight == 0 || delivered != self.delivered {
            (self.delivered, self.moved_at) = (delivered, now);
            return if self.told_at.take().is_some() { Told::Over } else { Told::Nothing };
        }
        let waited = now.duration_since(self.moved_at);
        if waited < PATIENCE || self.told_at.is_some_and(|at| now.duration_since(at) < TELL_AGAIN) {
            return Told::Nothing;
        }
        self.told_at = Some(now);
        Told::Stalled(waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_told_after_a_while_and_again_later_and_its_end_once() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut stall = Stall::new(begin);
        assert_eq!(stall.look(1, 0, at(9)), Told::Nothing);
        assert_eq!(stall.look(1, 0, at(10)), Told::Stalled(Duration::from_secs(10)));
        assert_eq!(stall.look(2, 0, at(69)), Told::Nothing, "told a moment ago");
        assert_eq!(stall.look(2, 0, at(70)), Told::Stalled(Duration::from_secs(70)));
        assert_eq!(stall.look(2, 5, at(71)), Told::Over);
        assert_eq!(stall.look(2, 5, at(80)), Told::Nothing, "something became durable nine seconds ago");
    }

    #[test]
    fn an_idle_outbox_is_no_stall() {
        let begin = Instant::now();
        let mut stall = Stall::new(begin);
        for minute in 0..5 {
            assert_eq!(stall.look(0, 7, begin + Duration::from_secs(60 * minute)), Told::Nothing);
        }
        assert_eq!(stall.look(1, 7, begin + Duration::from_secs(241)), Told::Nothing, "it was idle until now");
    }
}
