//! What a batch of records asks of the cache, before any of it is done.

use crate::shape::rules::template::Holed;

/// How a cached value is made to be gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Strategy {
    /// The family's generation rises: pages filled under an older one are superseded.
    Generation,
    /// The generation rises, and the keys that the family's set names are removed.
    Tags,
    /// The key is removed.
    Keys,
    /// Keys that match are searched and removed: the last resort.
    Pattern,
}

impl Strategy {
    /// Its word in configuration and metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Generation => "generation",
            Self::Tags => "tags",
            Self::Keys => "keys",
            Self::Pattern => "pattern",
        }
    }
}

/// One thing to invalidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forget {
    /// How.
    pub strategy: Strategy,
    /// The family, the key or the pattern.
    pub name: String,
    /// Where the change stands in its stream; `None` if that is not known, so that nothing is compared.
    pub position: Option<u128>,
}

/// Things to invalidate for each member of a set that is still to be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fan {
    /// The rule, by its place.
    pub rule: usize,
    /// The record's place in its batch.
    pub message: usize,
    /// What names the set: the query's parameters, or the kept set's name.
    pub of: Vec<String>,
    /// How.
    pub strategy: Strategy,
    /// What, for each member.
    pub names: Vec<Holed>,
    /// As in [`Forget`].
    pub position: Option<u128>,
}

/// A member that a kept set has from now on, or has no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The rule, by its place: it names the set's family.
    pub rule: usize,
    /// The set.
    pub set: String,
    /// The member.
    pub member: String,
    /// Whether it is in the set.
    pub present: bool,
    /// Where the change stands in its stream.
    pub position: u128,
}

/// A member to add to a set, or to give points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// The rule, by its place.
    pub rule: usize,
    /// The record's offset in its partition.
    pub offset: i64,
    /// When it happened, in milliseconds since 1970.
    pub time_ms: i64,
    /// The key.
    pub key: String,
    /// The member.
    pub member: String,
}

/// All that a batch asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effects {
    /// What to invalidate.
    pub forgets: Vec<Forget>,
    /// What to invalidate for each member of a set.
    pub fans: Vec<Fan>,
    /// What becomes of kept sets.
    pub keeps: Vec<Kept>,
    /// What to add to sets and scores.
    pub tallies: Vec<Tally>,
}

/// How far [`Effects`] were filled, so that a record that turns out to be refused leaves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark([usize; 4]);

impl Effects {
    /// How far they are filled.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark([self.forgets.len(), self.fans.len(), self.keeps.len(), self.tallies.len()])
    }

    /// Takes back what was added since.
    pub fn back_to(&mut self, Mark([forgets, fans, keeps, tallies]): Mark) {
        self.forgets.truncate(forgets);
        self.fans.truncate(fans);
        self.keeps.truncate(keeps);
        self.tallies.truncate(tallies);
    }

    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.forgets.is_empty() && self.fans.is_empty() && self.keeps.is_empty() && self.tallies.is_empty()
    }
}
