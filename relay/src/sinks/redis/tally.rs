//! What is counted from the stream: sets of what was seen, and sorted sets of the recent past by points.
//!
//! Guarantee: a record counts once, however often it is delivered. A set takes a member twice as once; points are gated by
//! the record's offset, in the same script that adds them: the records of a partition come in order, and again only from
//! some record on, so that one number for each partition tells which were counted. It needs no memory for each event.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::Cmd;

use crate::shape::rules::Rules;
use crate::shape::rules::effects::Tally;
use crate::shape::rules::options::{Does, RuleOptions};
use crate::sinks::redis::keys;
use crate::sinks::redis::scripts::Scripts;
use crate::sinks::redis::stream::Origin;
use crate::sinks::redis::wire::call;

/// Members that one call of a script adds to a set.
const MEMBERS_MAX: usize = 1000;

/// Points are counted in thousandths: whole numbers, whose sum is exact in whatever order they come and go.
const THOUSANDTHS: f64 = 1000.0;

/// The commands that count what some batches ask for; to be run again until they succeed. All batches of one partition must
/// come together or one after the other, in its order.
pub(super) fn commands<'a>(
    scripts: &Scripts,
    rules: &Rules,
    batches: impl Iterator<Item = (&'a Origin, &'a [Tally])>,
    now_ms: i64,
) -> Vec<Cmd> {
    let mut sets: BTreeMap<&str, Set<'_>> = BTreeMap::new();
    let mut scores: BTreeMap<(&str, String), Score<'_>> = BTreeMap::new();
    for (origin, tallies) in batches {
        for tally in tallies {
            let Some(rule) = rules.all().get(tally.rule) else { continue };
            if rule.options.does == Does::Add {
                // What it adds has left the set again by now, if the set lived on.
                if now_ms.saturating_sub(tally.time_ms) < milliseconds(rule.options.ttl) {
                    sets.entry(&tally.key).or_insert_with(|| Set::new(&rule.options)).members.push(&tally.member);
                }
            } else {
                let partition = format!("{}/{}", origin.topic, origin.partition);
                let score = scores.entry((&tally.key, partition)).or_insert_with(|| Score::new(&rule.options));
                score.last = score.last.max(origin.offsets.1);
                score.points.push(Points { tally, thousandths: thousandths(rule.options.weight) });
            }
        }
    }
    let mut commands = Vec::new();
    for (key, set) in sets {
        commands.extend(set.members.chunks(MEMBERS_MAX).map(|members| add(scripts, key, set.options, members)));
    }
    commands.extend(scores.iter().map(|((key, partition), score)| self::score(scripts, key, partition, score)));
    commands
}

/// A weight in thousandths.
fn thousandths(weight: f64) -> i64 {
    (weight * THOUSANDTHS).round() as i64
}

struct Set<'a> {
    options: &'a RuleOptions,
    members: Vec<&'a str>,
}

impl<'a> Set<'a> {
    fn new(options: &'a RuleOptions) -> Self {
        Self { options, members: Vec::new() }
    }
}

struct Score<'a> {
    /// Of the first rule that names the key: they agree.
    options: &'a RuleOptions,
    last: i64,
    points: Vec<Points<'a>>,
}

struct Points<'a> {
    tally: &'a Tally,
    thousandths: i64,
}

impl<'a> Score<'a> {
    fn new(options: &'a RuleOptions) -> Self {
        Self { options, last: -1, points: Vec::new() }
    }
}

fn add(scripts: &Scripts, key: &str, options: &RuleOptions, members: &[&str]) -> Cmd {
    let mut command = call(&scripts.add, 1);
    command.arg(key).arg(milliseconds(options.ttl)).arg(options.members_max).arg(members);
    command
}

/// All points of a key that come from one partition go in one call: a second one would begin behind the first one's end.
fn score(scripts: &Scripts, key: &str, partition: &str, score: &Score<'_>) -> Cmd {
    let options = score.options;
    let mut command = call(&scripts.score, 5);
    command.arg(key);
    for part in ["sum", "buckets", "counted", "bucket:"] {
        command.arg(keys::score(key, part));
    }
    let bucket_ms = milliseconds(options.bucket).max(1);
    let buckets = milliseconds(options.window) / bucket_ms;
    command.arg(partition).arg(score.last).arg(bucket_ms).arg(buckets.max(1)).arg(options.top);
    command.arg(milliseconds(options.ttl));
    for points in &score.points {
        let tally = points.tally;
        command.arg(tally.offset).arg(tally.time_ms).arg(points.thousandths).arg(&tally.member);
    }
    command
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
