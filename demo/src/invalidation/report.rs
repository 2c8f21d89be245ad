//! What the measurements came to, as a table and as one JSON object.

use std::fmt;

use serde::Serialize;

use crate::figures::{ms, rounded};
use crate::invalidation::flood::Flood;
use crate::invalidation::sweep::Sweep;
use crate::latency::Percentiles;

/// What is wanted.
const RATIO_MIN: f64 = 0.5;
const P99_MS_MAX: f64 = 20.0;

/// The figures; the keys are a contract with those who read them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Names that reached Redis in a second in the first pass, of changes that name one each: none is saved by being named twice.
    invalidations_per_s: f64,
    /// That, beside `redis-benchmark -t set -P 100`.
    ratio_redis_benchmark: f64,
    /// From the commit to a key that is gone.
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    redis_benchmark_per_s: f64,
    records_per_s: f64,
    /// Changes that fan out over 50 followers: names that they made stale, and those that reached Redis, each once in what is
    /// done together.
    fan_out_records_per_s: f64,
    fan_out_named_per_s: f64,
    fan_out_invalidations_per_s: f64,
    fan_out_ratio: f64,
    cpu_s: f64,
    rss_peak_mb: f64,
    sweep_keys: u64,
    sweep_changes: u64,
    sweep_removed: u64,
    sweeps: f64,
    sweep_keys_per_s: f64,
    sweep_seconds: f64,
    sweep_others_p50_ms: f64,
    sweep_others_p99_ms: f64,
}

impl Report {
    pub(super) fn new(benchmark: f64, single: Flood, fan_out: Flood, commit: Percentiles, sweep: Sweep) -> Self {
        Self {
            invalidations_per_s: single.invalidations_per_s.round(),
            ratio_redis_benchmark: rounded(single.invalidations_per_s / benchmark),
            p50_ms: ms(commit.p50),
            p99_ms: ms(commit.p99),
            p999_ms: ms(commit.p999),
            redis_benchmark_per_s: benchmark.round(),
            records_per_s: single.records_per_s.round(),
            fan_out_records_per_s: fan_out.records_per_s.round(),
            fan_out_named_per_s: fan_out.named_per_s.round(),
            fan_out_invalidations_per_s: fan_out.invalidations_per_s.round(),
            fan_out_ratio: rounded(fan_out.named_per_s / benchmark),
            cpu_s: rounded(single.cpu_s + fan_out.cpu_s),
            rss_peak_mb: rounded(single.rss_peak_mb.max(fan_out.rss_peak_mb)),
            sweep_keys: sweep.keys,
            sweep_changes: sweep.changes,
            sweep_removed: sweep.removed,
            sweeps: sweep.sweeps,
            sweep_keys_per_s: sweep.keys_per_s.round(),
            sweep_seconds: rounded(sweep.seconds),
            sweep_others_p50_ms: ms(sweep.others.p50),
            sweep_others_p99_ms: ms(sweep.others.p99),
        }
    }

    /// One line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers are JSON")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let met = |met: bool| if met { "met" } else { "NOT MET" };
        writeln!(f, "\n  redis-benchmark -t set -P 100          {:>10.0} /s", self.redis_benchmark_per_s)?;
        writeln!(
            f,
            "  one name a change                      {:>10.0} invalidations/s, {:.0} records/s",
            self.invalidations_per_s, self.records_per_s
        )?;
        writeln!(
            f,
            "    ratio {:.3}   wanted \u{2265} {RATIO_MIN}   {}",
            self.ratio_redis_benchmark,
            met(self.ratio_redis_benchmark >= RATIO_MIN)
        )?;
        writeln!(
            f,
            "  changes that fan out over 50 followers {:>10.0} names made stale/s (ratio {:.3}), of which {:.0}/s reached Redis, {:.0} records/s",
            self.fan_out_named_per_s, self.fan_out_ratio, self.fan_out_invalidations_per_s, self.fan_out_records_per_s
        )?;
        writeln!(
            f,
            "  commit to key gone                     p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms   wanted p99 \u{2264} {P99_MS_MAX} ms   {}",
            self.p50_ms,
            self.p99_ms,
            self.p999_ms,
            met(self.p99_ms <= P99_MS_MAX)
        )?;
        writeln!(
            f,
            "  patterns in {} keys: {} changes in {:.1} s by {} searches of {:.0} keys/s, {} keys removed; another client waited p50 {:.2} ms, p99 {:.2} ms",
            self.sweep_keys,
            self.sweep_changes,
            self.sweep_seconds,
            self.sweeps,
            self.sweep_keys_per_s,
            self.sweep_removed,
            self.sweep_others_p50_ms,
            self.sweep_others_p99_ms
        )
    }
}
