//! Quantiles of a histogram, as PromQL's
//! [`histogram_quantile`](https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile) estimates
//! them: linear within the bucket that holds the rank.

use prometheus::Histogram;
use prometheus::core::Metric;

/// What a histogram comes to since the process started.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Summary {
    /// How often something was observed.
    pub count: u64,
    /// Half were no slower, in milliseconds; `None` before the first.
    pub p50_ms: Option<f64>,
    /// 99 of 100 were no slower, in milliseconds.
    pub p99_ms: Option<f64>,
}

impl Summary {
    /// Of a histogram of seconds.
    #[must_use]
    pub fn of(histogram: &Histogram) -> Self {
        let metric = histogram.metric();
        let observed = metric.get_histogram();
        let count = observed.get_sample_count();
        let mut buckets: Vec<(f64, f64)> = observed
            .get_bucket()
            .iter()
            .map(|bucket| (bucket.upper_bound(), bucket.cumulative_count() as f64))
            .collect();
        buckets.push((f64::INFINITY, count as f64));
        // To a microsecond: finer is not measured.
        let ms = |share| quantile(&buckets, share).map(|seconds| (seconds * 1e6).round() / 1e3);
        Self { count, p50_ms: ms(0.5), p99_ms: ms(0.99) }
    }
}

/// The `quantile` (0 to 1) of a histogram given as `(upper bound, how many up to it)` in rising order. The last bound may
/// be infinite; a quantile that falls there is the greatest finite bound. `None` if nothing was observed.
#[must_use]
pub fn quantile(buckets: &[(f64, f64)], quantile: f64) -> Option<f64> {
    let total = buckets.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
    let rank = quantile.clamp(0.0, 1.0) * total;
    let at = buckets.iter().position(|(_, count)| *count >= rank)?;
    let (bound, count) = buckets[at];
    let (below_bound, below_count) = if at == 0 { (0.0, 0.0) } else { buckets[at - 1] };
    if bound.is_infinite() {
        return Some(below_bound);
    }
    let within = count - below_count;
    let share = if within > 0.0 { (rank - below_count) / within } else { 1.0 };
    Some(below_bound + (bound - below_bound) * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUCKETS: [(f64, f64); 4] = [(1.0, 50.0), (2.0, 90.0), (10.0, 99.0), (f64::INFINITY, 100.0)];

    #[test]
    fn a_quantile_lies_within_the_bucket_that_holds_its_rank() {
        assert_eq!(quantile(&BUCKETS, 0.5), Some(1.0));
        assert_eq!(quantile(&BUCKETS, 0.7), Some(1.5));
        assert_eq!(quantile(&BUCKETS, 0.99), Some(10.0));
    }

    #[test]
    fn beyond_the_last_bound_nothing_finer_is_known() {
        assert_eq!(quantile(&BUCKETS, 0.999), Some(10.0));
    }

    #[test]
    fn nothing_observed_has_no_quantile() {
        assert_eq!(quantile(&[(1.0, 0.0), (f64::INFINITY, 0.0)], 0.5), None);
        assert_eq!(quantile(&[], 0.5), None);
    }
}
