//! What is to be invalidated at once: each name once, with the newest position that asked for it.

use std::collections::{HashMap, HashSet};

use redis::{Cmd, Value, cmd};

use crate::shape::rules::effects::{Forget, Strategy};
use crate::sinks::redis::keys;
use crate::sinks::redis::scripts::Scripts;
use crate::sinks::redis::wire::{call, number};
use crate::telemetry::metrics::RedisMetrics;

/// Which of the two passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// At once, where the position is newer than what was there.
    First,
    /// Later, whatever was there: for what was filled before the change was visible.
    Second,
}

/// Names to invalidate, by how.
#[derive(Debug, Default)]
pub(super) struct Targets {
    generations: HashMap<String, Option<u128>>,
    tags: HashSet<String>,
    keys: HashSet<String>,
    patterns: HashSet<String>,
    bytes: usize,
    coalesced: u64,
}

/// What a command of a plan was for.
#[derive(Debug, Clone, Copy)]
enum For {
    Generations,
    Tag,
    Keys(usize),
}

/// Commands in the order in which they must take effect.
#[derive(Debug, Default)]
pub(super) struct Commands {
    commands: Vec<Cmd>,
    purposes: Vec<For>,
    /// How many of them come first: in a cluster the others wait for them.
    pub(super) generations: usize,
}

impl Targets {
    /// Adds one; what is there already is made newer.
    pub(super) fn add(&mut self, forget: Forget) {
        let Forget { strategy, name, position } = forget;
        let len = name.len();
        let is_new = match strategy {
            Strategy::Generation => self.raise(name, position),
            Strategy::Tags => {
                let is_new = self.tags.insert(name.clone());
                self.raise(name, position);
                is_new
            }
            Strategy::Keys => self.keys.insert(name),
            Strategy::Pattern => self.patterns.insert(name),
        };
        if is_new {
            // A table's share and the second pass's copy of it.
            self.bytes += len + 64;
        } else {
            self.coalesced += 1;
        }
    }

    /// Adds all of another's.
    pub(super) fn merge(&mut self, other: Self) {
        if self.is_empty() {
            *self = Self { coalesced: self.coalesced + other.coalesced, ..other };
            return;
        }
        self.bytes += other.bytes;
        self.coalesced += other.coalesced;
        self.generations.reserve(other.generations.len());
        for (name, position) in other.generations {
            self.raise(name, position);
        }
        self.tags.extend(other.tags);
        self.keys.extend(other.keys);
        self.patterns.extend(other.patterns);
    }

    /// Takes out everything but the patterns, which are searched elsewhere.
    pub(super) fn take_names(&mut self) -> Self {
        let patterns = std::mem::take(&mut self.patterns);
        std::mem::replace(self, Self { patterns, ..Self::default() })
    }

    fn raise(&mut self, name: String, position: Option<u128>) -> bool {
        let mut is_new = false;
        let newest = self.generations.entry(name).or_insert_with(|| {
            is_new = true;
            position
        });
        // One that cannot be compared must take effect whatever was there.
        *newest = newest.zip(position).map(|(one, other)| one.max(other));
        is_new
    }

    /// The patterns, each once.
    pub(super) fn patterns(&self) -> &HashSet<String> {
        &self.patterns
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.generations.is_empty() && self.keys.is_empty() && self.patterns.is_empty()
    }

    /// How many names.
    pub(super) fn len(&self) -> usize {
        self.generations.len() + self.keys.len() + self.patterns.len()
    }

    /// Memory that the names hold, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many times a name was asked for again.
    pub(super) fn coalesced(&self) -> u64 {
        self.coalesced
    }

    /// The commands of a pass; a command names at most `keys_max` keys. Patterns are searched elsewhere.
    pub(super) fn commands(&self, pass: Pass, scripts: &Scripts, keys_max: usize) -> Commands {
        let mut plan = Commands::default();
        let generations: Vec<_> = self.generations.iter().collect();
        for part in generations.chunks(keys_max) {
            let mut command = call(&scripts.invalidate, part.len());
            for (tag, _) in part {
                command.arg(keys::generation(tag));
            }
            for (_, position) in part {
                command.arg(if pass == Pass::First { keys::position(**position) } else { String::new() });
            }
            plan.push(command, For::Generations);
        }
        plan.generations = plan.commands.len();
        for tag in &self.tags {
            let mut command = call(&scripts.remove, 1);
            command.arg(keys::tag_set(tag));
            plan.push(command, For::Tag);
        }
        let names: Vec<_> = self.keys.iter().collect();
        for part in names.chunks(keys_max) {
            let mut command = cmd("UNLINK");
            for key in part {
                command.arg(key);
            }
            plan.push(command, For::Keys(part.len()));
        }
        plan
    }
}

impl Commands {
    fn push(&mut self, command: Cmd, purpose: For) {
        self.commands.push(command);
        self.purposes.push(purpose);
    }

    /// The commands.
    pub(super) fn all(&self) -> &[Cmd] {
        &self.commands
    }

    /// Counts what was answered.
    pub(super) fn count(&self, pass: Pass, values: &[Value], metrics: &RedisMetrics) {
        let mut hits = [0; 3];
        for (purpose, value) in self.purposes.iter().zip(values) {
            match purpose {
                For::Generations => {
                    let counts: Vec<u64> = value.as_sequence().unwrap_or_default().iter().map(count).collect();
                    let [advanced, filled, passed, absent] = counts[..] else { continue };
                    hits[0] += filled;
                    if pass == Pass::First {
                        metrics.counted(Strategy::Generation.word(), "advanced", advanced);
                        metrics.counted(Strategy::Generation.word(), "passed", passed);
                        metrics.counted(Strategy::Generation.word(), "absent", absent);
                    }
                }
                For::Tag => {
                    hits[1] += count(value);
                    if pass == Pass::First {
                        metrics.counted(Strategy::Tags.word(), "removed", count(value));
                        metrics.counted(Strategy::Tags.word(), "absent", u64::from(count(value) == 0));
                    }
                }
                For::Keys(asked) => {
                    hits[2] += count(value);
                    if pass == Pass::First {
                        metrics.counted(Strategy::Keys.word(), "removed", count(value));
                        metrics.counted(Strategy::Keys.word(), "absent", (*asked as u64).saturating_sub(count(value)));
                    }
                }
            }
        }
        if pass == Pass::Second {
            for (strategy, hits) in [Strategy::Generation, Strategy::Tags, Strategy::Keys].iter().zip(hits) {
                metrics.second_pass_hits.with_label_values(&[strategy.word()]).inc_by(hits);
            }
        }
    }
}

fn count(value: &Value) -> u64 {
    number(value).and_then(|number| u64::try_from(number).ok()).unwrap_or_default()
}
