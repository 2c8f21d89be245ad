//! A rule as a person wrote it.

use std::time::Duration;

/// What a rule does, by its word in configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    /// Raises generations.
    Generation,
    /// Removes what tag sets name.
    Tags,
    /// Removes keys.
    Keys,
    /// Searches and removes keys.
    Pattern,
    /// Keeps a set of members as the stream says.
    Keep,
    /// Adds members to a set that expires.
    Add,
    /// Gives points to members of a sorted set.
    Score,
}

/// A rule as it was written; [`Rules::compile`](super::Rules::compile) checks it.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleOptions {
    /// Its name in configuration.
    pub name: String,
    /// The topic that it is for.
    pub topic: String,
    /// What must hold, all of it.
    pub when: Vec<String>,
    /// What it does.
    pub does: Does,
    /// What it invalidates: families, keys or patterns.
    pub targets: Vec<String>,
    /// A query whose first column is the members to fan out over.
    pub query: Option<String>,
    /// The fields that are the query's parameters, `$1` first.
    pub parameters: Vec<String>,
    /// The keep rule whose set is fanned out over.
    pub kept: Option<String>,
    /// The set (`keep`, and of `kept`) or the key (`add`, `score`).
    pub key: Option<String>,
    /// The member (`keep`, `add`, `score`).
    pub member: Option<String>,
    /// What must hold for the member to be in the set (`keep`).
    pub present: Vec<String>,
    /// Points that one record is worth (`score`).
    pub weight: f64,
    /// How far back points count (`score`).
    pub window: Duration,
    /// In what steps points are forgotten (`score`).
    pub bucket: Duration,
    /// Members that the sorted set keeps (`score`).
    pub top: u64,
    /// How long the set lives after its last change (`add`, `score`).
    pub ttl: Duration,
    /// Members that the set may have (`add`).
    pub members_max: u64,
}

/// What is wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongRule {
    /// The rule's name.
    pub rule: String,
    /// The key of its section.
    pub key: &'static str,
    /// What is wrong, following the key's name in a sentence.
    pub what: String,
}

impl std::fmt::Display for WrongRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`invalidate.rules.{}.{}` {}", self.rule, self.key, self.what)
    }
}
