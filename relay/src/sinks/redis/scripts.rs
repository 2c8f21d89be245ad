//! The scripts that run in Redis: what must not be torn apart.

use redis::Script;

/// Every script of the invalidator.
#[derive(Debug, Clone)]
pub(super) struct Scripts {
    /// Raises generations.
    pub(super) invalidate: Script,
    /// Removes what a tag set names.
    pub(super) remove: Script,
    /// Keeps a set.
    pub(super) keep: Script,
    /// Adds to a set.
    pub(super) add: Script,
    /// Adds points.
    pub(super) score: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            invalidate: Script::new(include_str!("lua/invalidate.lua")),
            remove: Script::new(include_str!("lua/remove.lua")),
            keep: Script::new(include_str!("lua/keep.lua")),
            add: Script::new(include_str!("lua/add.lua")),
            score: Script::new(include_str!("lua/score.lua")),
        }
    }

    pub(super) fn all(&self) -> Vec<Script> {
        [&self.invalidate, &self.remove, &self.keep, &self.add, &self.score].map(Script::clone).into()
    }
}
