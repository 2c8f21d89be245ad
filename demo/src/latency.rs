//! Latencies collected one by one and summed up as percentiles (nearest rank, so every figure is one that was measured); and
//! the benchmark that measures them from the commit to the consumer at a steady rate.

mod arrivals;
pub(crate) mod bench;
pub(crate) mod place;
mod report;
pub(crate) mod writers;

use std::time::Duration;

pub(crate) use bench::measure;
pub use bench::{Connections, Options, bench};
pub use report::Report;

/// Every measured latency, in microseconds. Eight bytes each: ten million events cost 80 MB, and no figure is rounded to a bucket.
#[derive(Debug, Clone, Default)]
pub struct Latencies {
    micros: Vec<u64>,
}

/// What a set of latencies comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Percentiles {
    /// How many were measured.
    pub count: usize,
    /// Half were no slower.
    pub p50: Duration,
    /// 99 of 100 were no slower.
    pub p99: Duration,
    /// 999 of 1000 were no slower.
    pub p999: Duration,
    /// The slowest.
    pub max: Duration,
}

impl Latencies {
    /// Adds one measurement, in microseconds.
    pub fn record(&mut self, micros: u64) {
        self.micros.push(micros);
    }

    /// The percentiles of what was recorded; all zero if nothing was.
    pub fn percentiles(mut self) -> Percentiles {
        self.micros.sort_unstable();
        let at = |per_mille: usize| Duration::from_micros(nearest_rank(&self.micros, per_mille));
        Percentiles { count: self.micros.len(), p50: at(500), p99: at(990), p999: at(999), max: at(1000) }
    }
}

/// The smallest value such that `per_mille` of a thousand are no greater.
fn nearest_rank(sorted: &[u64], per_mille: usize) -> u64 {
    let rank = (sorted.len() * per_mille).div_ceil(1000);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::latency::{Latencies, Percentiles};

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let mut latencies = Latencies::default();
        for micros in (1..=1000).rev() {
            latencies.record(micros);
        }
        let summed = latencies.percentiles();
        assert_eq!(summed.count, 1000);
        assert_eq!(summed.p50, Duration::from_micros(500));
        assert_eq!(summed.p99, Duration::from_micros(990));
        assert_eq!(summed.p999, Duration::from_micros(999));
        assert_eq!(summed.max, Duration::from_micros(1000));
    }

    #[test]
    fn one_slow_event_of_few_is_not_hidden() {
        let mut latencies = Latencies::default();
        latencies.record(10);
        latencies.record(9_000_000);
        assert_eq!(latencies.percentiles().p99, Duration::from_secs(9));
    }

    #[test]
    fn nothing_measured_is_all_zero() {
        assert_eq!(Latencies::default().percentiles(), Percentiles::default());
    }
}
