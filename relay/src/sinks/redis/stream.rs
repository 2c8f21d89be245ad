//! What is kept in Redis from the stream itself: what was seen, points, and sets to fan out over.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use redis::Cmd;

use crate::pipeline::Error;
use crate::pipeline::times::now_ms;
use crate::shape::rules::effects::Kept;
use crate::sinks::redis::keys;
use crate::sinks::redis::passes::{Tools, Work};
use crate::sinks::redis::tally;
use crate::sinks::redis::wire::{call, number};

/// Members of one call of a script.
const MEMBERS_MAX: usize = 100;

/// Where a batch comes from.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    /// The topic.
    pub(super) topic: Arc<str>,
    /// The partition.
    pub(super) partition: i32,
    /// The offsets of the first and the last record.
    pub(super) offsets: (i64, i64),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}-{}", self.topic, self.partition, self.offsets.0, self.offsets.1)
    }
}

/// Counts what is to be counted, and brings the kept sets up to date, before anything fans out over them.
pub(super) async fn apply(tools: &mut Tools, works: &mut [Work]) -> Result<(), Error> {
    count(tools, works).await?;
    let keeps: Vec<Kept> = works.iter_mut().flat_map(|work| std::mem::take(&mut work.effects.keeps)).collect();
    if keeps.is_empty() {
        return Ok(());
    }
    let commands = commands(tools, keeps);
    let values = tools.wire.run("keep a set", &commands).await?;
    let changed = values.iter().filter_map(number).filter_map(|changed| u64::try_from(changed).ok()).sum();
    tools.metrics.redis.kept.inc_by(changed);
    Ok(())
}

async fn count(tools: &mut Tools, works: &[Work]) -> Result<(), Error> {
    let batches = works.iter().map(|work| (&work.origin, work.effects.tallies.as_slice()));
    let commands = tally::commands(&tools.scripts, &tools.rules, batches, now_ms());
    if commands.is_empty() {
        return Ok(());
    }
    let values = tools.wire.run("count what was seen", &commands).await?;
    let counted = values.iter().filter_map(number).filter_map(|counted| u64::try_from(counted).ok()).sum();
    tools.metrics.redis.tallied.inc_by(counted);
    Ok(())
}

fn commands(tools: &Tools, keeps: Vec<Kept>) -> Vec<Cmd> {
    let mut sets: HashMap<String, Vec<Kept>> = HashMap::new();
    for kept in keeps {
        let rule = tools.rules.all().get(kept.rule).map(|rule| Arc::clone(&rule.name)).unwrap_or_default();
        sets.entry(keys::kept(&rule, &kept.set)).or_default().push(kept);
    }
    let mut commands = Vec::new();
    for (key, members) in sets {
        for part in members.chunks(MEMBERS_MAX) {
            let mut command = call(&tools.scripts.keep, 1);
            command.arg(&key);
            for kept in part {
                let sign = if kept.present { "+" } else { "-" };
                command.arg(&kept.member).arg(keys::position(Some(kept.position))).arg(sign);
            }
            commands.push(command);
        }
    }
    commands
}
