//! What the server does for `redis-benchmark`, a hundred commands at a time.

use std::process::Command;

use crate::error::{Doing, Error, Result};
use crate::figures::median;
use crate::invalidation::scene::Scene;
use crate::screen::Screen;

/// How often it runs; the median counts.
const RUNS: usize = 3;

/// Commands a second of `SET` with a hundred thousand different keys, by fifty clients with a hundred commands on the way each
/// (<https://redis.io/docs/latest/operate/oss_and_stack/management/optimization/benchmarks/>).
pub(super) async fn measure(scene: &Scene, screen: &Screen) -> Result<f64> {
    let mut rates = Vec::new();
    for _ in 0..RUNS {
        let port = scene.redis.port().to_string();
        let run = move || {
            let mut command = Command::new("redis-benchmark");
            command.args(["-p", &port, "-t", "set", "-n", "1000000", "-r", "100000", "-P", "100", "-c", "50", "--csv"]);
            command.output().doing("running redis-benchmark, which comes with Debian's redis-tools")
        };
        let output = crate::chain::blocking(run).await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let rate = rate(&text).ok_or_else(|| Error::Relay(format!("redis-benchmark said: {text}")))?;
        screen.say(&format!("redis-benchmark -t set -P 100: {rate:.0} a second"));
        rates.push(rate);
    }
    scene.flush().await?;
    Ok(median(&rates))
}

/// The rate of the line of `SET`.
fn rate(csv: &str) -> Option<f64> {
    let line = csv.lines().find(|line| line.starts_with("\"SET\""))?;
    line.split(',').nth(1)?.trim_matches('"').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::rate;

    #[test]
    fn the_rate_is_read_from_the_line_of_its_command() {
        let csv = "\"test\",\"rps\",\"avg_latency_ms\"\n\"SET\",\"1234567.88\",\"0.3\"\n";
        assert_eq!((rate(csv), rate("")), (Some(1_234_567.88), None));
    }
}
