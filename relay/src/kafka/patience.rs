//! How long a question to the brokers may take.

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, KafkaResult};
use tracing::debug;

/// How long one question waits at first, and at last.
const QUESTION: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// How long to wait before asking a broker again for what it does not know yet.
pub(crate) const ASK_AGAIN: Duration = Duration::from_millis(10);

/// The time for an answer, in which the question is asked more than once: librdkafka exchanges its first connections for those that
/// the cluster names, and what it asks meanwhile may wait for an answer in vain, for as long as it is allowed to.
#[derive(Debug)]
pub(crate) struct Patience {
    deadline: Instant,
    question: Duration,
}

impl Patience {
    pub(crate) fn until(deadline: Instant) -> Self {
        Self { deadline, question: QUESTION.0 }
    }

    /// Asks until there is an answer, or a failure that is not `worth` another question; the last one if there is no time. Blocks.
    pub(crate) fn ask<T>(
        mut self,
        worth: impl Fn(&KafkaError) -> bool,
        mut ask: impl FnMut(Duration) -> KafkaResult<T>,
    ) -> KafkaResult<T> {
        loop {
            match ask(self.question()) {
                Err(error) if !self.is_over() && worth(&error) => {
                    debug!(%error, "asking the brokers again");
                    std::thread::sleep(ASK_AGAIN);
                }
                outcome => return outcome,
            }
        }
    }

    /// How long the next question waits: twice as long as the one before it, within the time that is left. At least for one look,
    /// since librdkafka takes zero for "do not wait at all".
    pub(crate) fn question(&mut self) -> Duration {
        let longer = (self.question * 2).min(QUESTION.1);
        let question = std::mem::replace(&mut self.question, longer);
        question.min(self.deadline.saturating_duration_since(Instant::now())).max(Duration::from_millis(1))
    }

    /// Whether there is no time for another question.
    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_grow_longer_and_never_reach_beyond_the_deadline() {
        let mut long = Patience::until(Instant::now() + Duration::from_secs(600));
        let seconds: Vec<u64> = (0..5).map(|_| long.question().as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 5, 5]);
        assert!(!long.is_over());
        let mut over = Patience::until(Instant::now());
        assert_eq!(over.question(), Duration::from_millis(1));
        assert!(over.is_over());
    }
}
