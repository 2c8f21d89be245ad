//! How much several pipelines of one process may have in flight together, and how that is divided: half of it in equal parts that
//! are each one's own, half for those that need more, in equal parts among them.
//!
//! Guarantees: a pipeline that is below its own part may read, whatever the others hold, so that one with a backlog, or whose broker
//! is away, never stops another. All together hold no more than the bound and one batch each.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The bound of a process.
#[derive(Debug)]
pub struct Budget {
    /// What is each one's own.
    part: usize,
    /// What is for those that need more.
    common: usize,
    used: Mutex<Used>,
}

/// What is used of the common half.
#[derive(Debug, Default)]
struct Used {
    bytes: usize,
    /// How many hold their own part or more: those that need more.
    needing: usize,
}

/// What one pipeline holds of the bound. Dropped, it holds nothing.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    held: Mutex<usize>,
}

impl Budget {
    /// A share for each of `pipelines` of at most `bytes_max` in all.
    #[must_use]
    pub fn divide(bytes_max: usize, pipelines: usize) -> Vec<Share> {
        let part = (bytes_max / 2 / pipelines.max(1)).max(1);
        let common = bytes_max.saturating_sub(part * pipelines);
        let budget = Arc::new(Self { part, common, used: Mutex::default() });
        (0..pipelines).map(|_| Share { budget: Arc::clone(&budget), held: Mutex::new(0) }).collect()
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        // Every holder leaves whole values, so a panic elsewhere does not spoil them.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Whether one batch more may be read.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let held = *self.held();
        let Some(beyond) = held.checked_sub(self.budget.part) else { return true };
        let used = self.budget.used();
        used.bytes < self.budget.common && beyond < self.budget.common / used.needing.max(1)
    }

    /// Notes how much is in flight now.
    pub fn hold(&self, bytes: usize) {
        let mut held = self.held();
        let part = self.budget.part;
        let (before, now) = (*held, bytes);
        if before < part && now < part {
            *held = now;
            return;
        }
        let mut used = self.budget.used();
        used.bytes = used.bytes - before.saturating_sub(part) + now.saturating_sub(part);
        used.needing = used.needing - usize::from(before >= part) + usize::from(now >= part);
        *held = now;
    }

    fn held(&self) -> MutexGuard<'_, usize> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.hold(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads batches of `bytes` as long as there is room; how much is held then.
    fn fill(share: &Share, bytes: usize) -> usize {
        while share.has_room() {
            let held = *share.held();
            share.hold(held + bytes);
        }
        *share.held()
    }

    #[test]
    fn one_that_is_alone_at_work_has_its_part_and_the_common_half() {
        let shares = Budget::divide(800, 4);
        assert_eq!(fill(&shares[0], 10), 500, "an eighth of its own, and the half");
    }

    #[test]
    fn nobody_can_take_what_is_anothers_own() {
        let shares = Budget::divide(800, 4);
        fill(&shares[0], 10);
        for share in &shares[1..] {
            assert_eq!(fill(share, 10), 100, "its own part, though the common half is taken");
        }
        let all: usize = shares.iter().map(|share| *share.held()).sum();
        assert_eq!(all, 800);
    }

    #[test]
    fn those_that_need_more_come_to_equal_parts_of_the_common_half() {
        let shares = Budget::divide(800, 4);
        fill(&shares[0], 10);
        fill(&shares[1], 10);
        for _ in 0..100 {
            for share in &shares[..2] {
                // Something becomes durable, and as much as there is room for is read.
                let held = *share.held();
                share.hold(held - 10);
                fill(share, 10);
            }
        }
        assert_eq!([*shares[0].held(), *shares[1].held()], [300, 300]);
        shares[1].hold(0);
        assert_eq!(fill(&shares[0], 10), 500, "what nobody needs any more is there again");
    }

    #[test]
    fn what_a_pipeline_held_is_free_when_it_is_gone() {
        let mut shares = Budget::divide(800, 2);
        fill(&shares[1], 10);
        assert!(!shares[0].has_room() || fill(&shares[0], 10) == 200);
        drop(shares.pop());
        assert_eq!(fill(&shares[0], 10), 600);
    }

    #[test]
    fn a_batch_beyond_the_bound_passes_alone() {
        let shares = Budget::divide(800, 2);
        shares[0].hold(5000);
        assert!(!shares[0].has_room() && shares[1].has_room());
        shares[0].hold(0);
        assert!(shares[0].has_room());
    }
}
