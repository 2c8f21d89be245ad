//! From a record to what it invalidates: rules of topic and condition, and templates over the record's fields.
//!
//! Pure: nothing is asked and nothing is done here. Guarantees: what a rule makes begins with text of its own, is never
//! empty, and where it is a pattern a record's value matches only itself; so no record can name what its rule did not mean.

mod compile;
pub mod condition;
pub mod effects;
pub mod field;
pub mod glob;
pub mod options;
pub mod page;
pub mod template;

use std::sync::Arc;

use crate::shape::rules::condition::Condition;
use crate::shape::rules::effects::{Effects, Fan, Forget, Kept, Strategy, Tally};
use crate::shape::rules::field::Facts;
use crate::shape::rules::options::RuleOptions;
use crate::shape::rules::template::Template;

/// Where the members come from over which a rule fans out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FanOut {
    /// A query against the database.
    Query {
        /// The query; its first column is the member, as text.
        query: String,
        /// Its parameters.
        parameters: Vec<Template>,
    },
    /// A set that another rule keeps from the stream.
    Kept {
        /// That rule, by its place.
        keeper: usize,
        /// The set.
        set: Template,
    },
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Invalidates.
    Forget {
        /// How.
        strategy: Strategy,
        /// What.
        targets: Vec<Template>,
        /// For whom.
        fan_out: Option<FanOut>,
    },
    /// Keeps a set.
    Keep {
        /// The set.
        set: Template,
        /// The member.
        member: Template,
        /// What must hold for the member to be in it.
        present: Vec<Condition>,
    },
    /// Adds to a set or a score.
    Tally {
        /// The key.
        key: Template,
        /// The member.
        member: Template,
    },
}

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Its name in configuration.
    pub name: Arc<str>,
    /// The topic that it is for.
    pub topic: Arc<str>,
    when: Vec<Condition>,
    /// Whether `when` says which operations are meant.
    chooses_op: bool,
    /// What it does.
    pub action: Action,
    /// As it was written.
    pub options: RuleOptions,
}

/// All rules.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    rules: Vec<Rule>,
}

/// One record of a batch, as far as rules look at it.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// What it says.
    pub facts: Facts<'a>,
    /// Where it stands in its stream of changes, if that is known.
    pub position: Option<u128>,
    /// Its place in its batch.
    pub message: usize,
    /// Its offset in its partition.
    pub offset: i64,
    /// When it was committed, or made, in milliseconds since 1970: the record's own time.
    pub time_ms: i64,
}

impl Rules {
    /// Every rule, in the order of configuration.
    #[must_use]
    pub fn all(&self) -> &[Rule] {
        &self.rules
    }

    /// The topics that rules are for, each once.
    #[must_use]
    pub fn topics(&self) -> Vec<Arc<str>> {
        let mut topics: Vec<Arc<str>> = self.rules.iter().map(|rule| Arc::clone(&rule.topic)).collect();
        topics.sort();
        topics.dedup();
        topics
    }

    /// Whether there is any rule for a topic.
    #[must_use]
    pub fn are_for(&self, topic: &str) -> bool {
        self.rules.iter().any(|rule| &*rule.topic == topic)
    }

    /// Adds to `effects` what the rules of `topic` make of a record.
    ///
    /// # Errors
    /// Why a rule that is for this record cannot be applied to it, without any value; then nothing was added.
    pub fn apply(&self, topic: &str, seen: Seen<'_>, effects: &mut Effects) -> Result<(), String> {
        let mark = effects.mark();
        for (place, rule) in self.rules.iter().enumerate().filter(|(_, rule)| &*rule.topic == topic) {
            if let Err(why) = rule.apply(place, seen, effects) {
                effects.back_to(mark);
                return Err(format!("the rule `{}` cannot be applied: {why}", rule.name));
            }
        }
        Ok(())
    }
}

impl Rule {
    fn apply(&self, place: usize, seen: Seen<'_>, effects: &mut Effects) -> Result<(), String> {
        if !self.is_for(&seen)? {
            return Ok(());
        }
        match &self.action {
            Action::Forget { strategy, targets, fan_out: None } => {
                for target in targets {
                    let Some(name) = target.text(&seen.facts)? else { continue };
                    effects.forgets.push(Forget { strategy: *strategy, name, position: seen.position });
                }
                Ok(())
            }
            Action::Forget { strategy, targets, fan_out: Some(fan_out) } => {
                fan(place, *strategy, (targets, fan_out), seen, effects)
            }
            Action::Keep { set, member, present } => {
                let position = seen.position.ok_or("its topic carries no positions, which a kept set is ordered by")?;
                let present = seen.facts.after.is_some() && all(present, &seen.facts)?;
                keep(place, (set, member), present, position, (seen, effects))
            }
            Action::Tally { key, member } => {
                if let (Some(key), Some(member)) = (key.text(&seen.facts)?, member.text(&seen.facts)?) {
                    let Seen { offset, time_ms, .. } = seen;
                    effects.tallies.push(Tally { rule: place, offset, time_ms, key, member });
                }
                Ok(())
            }
        }
    }

    /// Whether the record meets the rule's conditions. A row that was merely read, by a snapshot, is no change: it is
    /// meant only where a condition says so, and where a set is kept.
    fn is_for(&self, seen: &Seen<'_>) -> Result<bool, String> {
        if seen.facts.op == Some('r') && !self.chooses_op && !matches!(self.action, Action::Keep { .. }) {
            return Ok(false);
        }
        all(&self.when, &seen.facts)
    }
}

fn all(conditions: &[Condition], facts: &Facts<'_>) -> Result<bool, String> {
    for condition in conditions {
        if !condition.holds(facts)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn fan(
    place: usize,
    strategy: Strategy,
    (targets, fan_out): (&[Template], &FanOut),
    seen: Seen<'_>,
    effects: &mut Effects,
) -> Result<(), String> {
    let sources = match fan_out {
        FanOut::Query { parameters, .. } => parameters.iter().collect(),
        FanOut::Kept { set, .. } => vec![set],
    };
    let mut of = Vec::with_capacity(sources.len());
    for source in sources {
        let Some(text) = source.text(&seen.facts)? else { return Ok(()) };
        if text.contains('\0') {
            return Err("a parameter of its query holds a null byte, which no text of the database can".to_owned());
        }
        of.push(text);
    }
    let mut names = Vec::with_capacity(targets.len());
    for target in targets {
        let Some(name) = target.render(&seen.facts)? else { continue };
        if name.has_hole() {
            names.push(name);
        } else {
            effects.forgets.push(Forget { strategy, name: name.with("")?, position: seen.position });
        }
    }
    if !names.is_empty() {
        effects.fans.push(Fan { rule: place, message: seen.message, of, strategy, names, position: seen.position });
    }
    Ok(())
}

/// The set and member after the change, and those before it where they were others.
fn keep(
    place: usize,
    (set, member): (&Template, &Template),
    present: bool,
    position: u128,
    (seen, effects): (Seen<'_>, &mut Effects),
) -> Result<(), String> {
    let now = (set.text(&seen.facts)?, member.text(&seen.facts)?);
    let earlier = match (seen.facts.before, seen.facts.after) {
        (Some(before), Some(_)) => {
            let facts = Facts { after: Some(before), before: None, ..seen.facts };
            // A table that sends only its key tells nothing of the other columns before.
            (set.text(&facts).ok().flatten(), member.text(&facts).ok().flatten())
        }
        _ => (None, None),
    };
    if let ((Some(set), Some(member)), true) = (&earlier, earlier != now) {
        let (set, member) = (set.clone(), member.clone());
        effects.keeps.push(Kept { rule: place, set, member, present: false, position });
    }
    if let (Some(set), Some(member)) = now {
        effects.keeps.push(Kept { rule: place, set, member, present, position });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
