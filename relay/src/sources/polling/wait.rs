//! How long an idle source rests before it looks again: shortly after something came, longer and longer while nothing does.

use std::time::Duration;

/// The rest between two looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rest {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Rest {
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min), next: min }
    }

    /// Something was found: the next rest is the shortest.
    pub(super) fn found(&mut self) {
        self.next = self.min;
    }

    /// How long to rest now; the next rest is twice as long.
    pub(super) fn take(&mut self) -> Duration {
        let now = self.next;
        self.next = (now * 2).min(self.max);
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_double_up_to_the_longest_and_begin_anew_when_something_comes() {
        let mut rest = Rest::new(Duration::from_millis(10), Duration::from_millis(50));
        let taken: Vec<_> = (0..5).map(|_| rest.take().as_millis()).collect();
        assert_eq!(taken, [10, 20, 40, 50, 50]);
        rest.found();
        assert_eq!(rest.take(), Duration::from_millis(10));
        assert_eq!(Rest::new(Duration::from_secs(2), Duration::from_secs(1)).take(), Duration::from_secs(2));
    }
}
