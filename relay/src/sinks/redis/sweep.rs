//! Searching for keys that match patterns: the last resort, for it looks at every key that there is.
//!
//! All patterns that are pending share one search; a pattern that comes while one is under way waits for the next, for it must
//! see the keys from the beginning. Matched here, rate-limited, one master after the other.

use std::collections::HashSet;
use std::time::Duration;

use redis::{Cmd, Value, cmd};
use tokio::time::{Instant, sleep_until};

use crate::pipeline::Error;
use crate::shape::rules::effects::Strategy;
use crate::shape::rules::glob::{Glob, common_prefix};
use crate::shape::rules::template;
use crate::sinks::redis::wire::{Node, Wire, number, text};
use crate::telemetry::Metrics;

/// Keys that one step looks at, about: a few milliseconds of the server's time at most.
const STEP_KEYS: u64 = 1000;

/// The patterns of one search, by the pass that asks.
pub(super) struct Patterns {
    pub(super) first: HashSet<String>,
    pub(super) second: HashSet<String>,
}

/// A search under way.
struct Search<'a> {
    first: Vec<Glob>,
    second: Vec<Glob>,
    wanted: String,
    pause: Duration,
    metrics: &'a Metrics,
}

/// Removes every key that matches one of `patterns`.
pub(super) async fn sweep(
    wire: &mut Wire,
    patterns: &Patterns,
    keys_per_second: u64,
    metrics: &Metrics,
) -> Result<(), Error> {
    let started = Instant::now();
    let globs = |patterns: &HashSet<String>| patterns.iter().map(|pattern| Glob::new(pattern)).collect::<Vec<_>>();
    let (first, second) = (globs(&patterns.first), globs(&patterns.second));
    let wanted = server_pattern(first.iter().chain(&second));
    let pause = Duration::from_secs_f64(STEP_KEYS as f64 / keys_per_second.max(1) as f64);
    let search = Search { first, second, wanted, pause, metrics };
    let (mut removed, mut hits) = (0, 0);
    for node in wire.nodes().await? {
        let (of_first, of_second) = search.node(wire, &node).await?;
        removed += of_first;
        hits += of_second;
    }
    metrics.redis.sweeps.inc();
    metrics.redis.sweep_seconds.observe(started.elapsed().as_secs_f64());
    metrics.redis.counted(Strategy::Pattern.word(), "removed", removed);
    metrics.redis.second_pass_hits.with_label_values(&[Strategy::Pattern.word()]).inc_by(hits);
    Ok(())
}

impl Search<'_> {
    /// Searches one node; how many keys the patterns of each pass removed.
    async fn node(&self, wire: &mut Wire, node: &Node) -> Result<(u64, u64), Error> {
        let (mut cursor, mut next) = ("0".to_owned(), Instant::now());
        let (mut removed, mut hits) = (0, 0);
        loop {
            sleep_until(next).await;
            next = Instant::now().max(next + self.pause);
            let mut command = cmd("SCAN");
            command.arg(&cursor).arg("MATCH").arg(&self.wanted).arg("COUNT").arg(STEP_KEYS);
            let step = wire.on("search keys", node, &command).await?;
            let Some([further, keys]) = step.as_sequence() else { return Ok((removed, hits)) };
            self.metrics.redis.sweep_keys.inc_by(STEP_KEYS);
            let keys: Vec<&[u8]> = keys.as_sequence().unwrap_or_default().iter().filter_map(bytes_of).collect();
            let matched = |globs: &[Glob], key: &[u8]| globs.iter().any(|glob| glob.matches(key));
            let (first, others): (Vec<&[u8]>, Vec<&[u8]>) = keys.into_iter().partition(|key| matched(&self.first, key));
            let second: Vec<&[u8]> = others.into_iter().filter(|key| matched(&self.second, key)).collect();
            removed += unlink(wire, &first).await?;
            hits += unlink(wire, &second).await?;
            cursor = text(further).unwrap_or_else(|| "0".to_owned());
            if cursor == "0" {
                return Ok((removed, hits));
            }
        }
    }
}

async fn unlink(wire: &mut Wire, keys: &[&[u8]]) -> Result<u64, Error> {
    let commands: Vec<Cmd> = keys
        .chunks(wire.keys_max())
        .map(|part| {
            let mut command = cmd("UNLINK");
            for key in part {
                command.arg(*key);
            }
            command
        })
        .collect();
    let values = wire.run("remove what a search found", &commands).await?;
    Ok(values.iter().filter_map(number).filter_map(|count| u64::try_from(count).ok()).sum())
}

/// What the server may leave out by itself: all that does not begin as every pattern does.
fn server_pattern<'a>(globs: impl Iterator<Item = &'a Glob>) -> String {
    let prefix = common_prefix(globs);
    let mut pattern = String::new();
    // A prefix that ends within a letter of several bytes ends before it.
    let whole = match str::from_utf8(&prefix) {
        Ok(text) => text,
        Err(error) => str::from_utf8(&prefix[..error.valid_up_to()]).unwrap_or_default(),
    };
    template::escape(&mut pattern, whole);
    pattern.push('*');
    pattern
}

fn bytes_of(value: &Value) -> Option<&[u8]> {
    if let Value::BulkString(bytes) = value { Some(bytes) } else { None }
}
