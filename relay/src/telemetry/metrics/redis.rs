//! Metrics of the invalidator: what it made stale, and how soon after the commit.

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge};

use crate::telemetry::metrics::section::section;

/// The label that names a strategy: `generation`, `tags`, `keys` or `pattern`.
pub const STRATEGY: &str = "strategy";
/// The label that says what became of an invalidation: a generation `advanced`, or was `passed` over because a newer change had
/// been there; keys were `removed`; or the name was `absent`, so that nothing was cached.
pub const RESULT: &str = "result";
/// The label that says how long ago the change was that a page missed: `1m`, `5m` or `10m` at least.
pub(super) const WINDOW: &str = "window";
/// The label that names a pass: `first` or `second`.
pub const PASS: &str = "pass";

/// Upper bounds of the buckets of a lag, in milliseconds.
const LAG_BUCKETS_MS: [f64; 16] =
    [1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0, 100.0, 250.0, 1_000.0, 5_000.0, 30_000.0, 300_000.0];

/// Upper bounds of the buckets of a duration in Redis or Postgres, in seconds.
const BUCKETS_SECONDS: [f64; 12] = [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0, 10.0];

section! {
    /// What is invalidated in Redis.
    RedisMetrics {
        lag_ms: Histogram = histogram("cache_invalidation_lag_ms", "From the commit of a change until what it makes stale was gone from Redis, in milliseconds.", &LAG_BUCKETS_MS);
        invalidations: IntCounterVec = family("postrider_invalidations_total", "Invalidations of the first pass, by strategy and result.", &[STRATEGY, RESULT]);
        coalesced: IntCounter = counter("postrider_invalidations_coalesced_total", "Invalidations that were left out because the same name was invalidated with them.");
        second_pass_hits: IntCounterVec = family("postrider_second_pass_hits_total", "What the second pass found filled since the first: at most that many pages were filled before the change was visible.", &[STRATEGY]);
        pending: IntGauge = level("postrider_invalidations_pending", "Names that wait for their second pass.");
        pending_bytes: IntGauge = level("postrider_invalidations_pending_bytes", "Memory of the names that wait for their second pass, in bytes.");
        pass_seconds: HistogramVec = histograms("postrider_invalidation_pass_seconds", "How long Redis took for a pass.", &BUCKETS_SECONDS, &[PASS]);
        fan_out_seconds: Histogram = histogram("postrider_fan_out_seconds", "How long asking for the members of a batch's fan-outs took.", &BUCKETS_SECONDS);
        fan_out_members: IntCounter = counter("postrider_fan_out_members_total", "Members that fan-outs named.");
        kept: IntCounter = counter("postrider_kept_members_total", "Members of kept sets that changed.");
        tallied: IntCounter = counter("postrider_tallied_members_total", "Members that were added to sets, and records that were given points.");
        audited_pages: IntCounter = counter("postrider_audited_pages_total", "Cached pages that the auditor held against the database.");
        audit_failures: IntCounter = counter("postrider_audit_failures_total", "Samples of the auditor that failed, because Redis or Postgres did not answer or did not take its question.");
        stale_detected: IntCounterVec = family("stale_detected_total", "Pages that were still served as valid so long after something that they depend on had changed: an invalidation was missed. Each page and window once.", &[WINDOW]);
        sweeps: IntCounter = counter("postrider_sweeps_total", "Searches of all keys for patterns.");
        sweep_keys: IntCounter = counter("postrider_sweep_keys_total", "Keys that searches looked at.");
        sweep_seconds: Histogram = histogram("postrider_sweep_seconds", "How long a search took.", &[0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 120.0]);
    }
}

impl RedisMetrics {
    /// Counts invalidations.
    pub fn counted(&self, strategy: &str, result: &str, count: u64) {
        if count > 0 {
            self.invalidations.with_label_values(&[strategy, result]).inc_by(count);
        }
    }
}
