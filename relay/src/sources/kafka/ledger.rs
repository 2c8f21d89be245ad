//! The accounts of one partition: what is acknowledged, where its batches are cut, and which of those cuts are durable.
//!
//! Guarantees, where cuts must be repeatable: a batch is handed over only when its end is durable in the [`Note`], so that
//! whoever reads from the committed offset cuts the same batches again, after a rewind, a restart or a rebalance; a batch that
//! was split comes in its parts, and only after the new cut is durable. What is acknowledged never comes again.
//!
//! Pure: offsets in, decisions out.

use std::collections::VecDeque;

use crate::sources::kafka::note::Note;

/// A batch of consecutive records of the partition: offsets, both inclusive. Between them may be offsets without a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// The offset of the first record; of a cut without records the first that it might have had.
    pub(super) first: i64,
    /// Where the cut ends.
    pub(super) last: i64,
}

/// What becomes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was read before.
    Known,
    /// It belongs to the cut that is open.
    Belongs,
    /// It lies behind the end of the open cut, which must be closed first.
    Behind,
}

/// What is sent to be committed, to be compared when the answer comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sent {
    /// The offset to commit.
    pub(super) offset: i64,
    /// The note beside it.
    pub(super) note: Note,
    revision: u64,
    version: u64,
}

/// The cut that is being filled.
#[derive(Debug, Clone, Copy)]
struct Open {
    first: i64,
    last: i64,
    records: usize,
}

/// The accounts.
#[derive(Debug)]
pub(super) struct Ledger {
    repeatable: bool,
    /// Everything before this offset is acknowledged.
    base: i64,
    /// The fingerprint of the last acknowledged record.
    last: Option<u64>,
    /// The ends of the cuts from `base` on: those taken, those closed, then those that a note promised.
    plan: VecDeque<i64>,
    /// Cuts that were handed over and are not acknowledged.
    taken: VecDeque<Extent>,
    /// Cuts that are complete and not handed over.
    closed: VecDeque<Extent>,
    open: Option<Open>,
    /// The first cut shall end after so many records.
    halve: Option<usize>,
    /// No record before this offset is wanted any more.
    next: i64,
    /// Cuts that end up to here are durable.
    recorded: i64,
    /// Rises with everything that the note says.
    revision: u64,
    /// The revision that is durable.
    durable: u64,
    /// Rises when ends that may be durable become wrong.
    version: u64,
}

impl Ledger {
    /// The accounts of a partition that was committed at `base` with this note.
    pub(super) fn at(base: i64, note: Note, repeatable: bool) -> Self {
        Self {
            repeatable,
            base,
            last: note.last,
            recorded: note.ends.last().copied().unwrap_or(base - 1),
            plan: note.ends.into(),
            taken: VecDeque::new(),
            closed: VecDeque::new(),
            open: None,
            halve: None,
            next: base,
            revision: 0,
            durable: 0,
            version: 0,
        }
    }

    /// The accounts of a partition that nothing was committed for: where it begins shall be remembered.
    pub(super) fn beginning_at(base: i64, repeatable: bool) -> Self {
        Self { revision: 1, ..Self::at(base, Note::default(), repeatable) }
    }

    /// Everything before this offset is acknowledged.
    pub(super) fn base(&self) -> i64 {
        self.base
    }

    /// No record before this offset is wanted any more.
    pub(super) fn next(&self) -> i64 {
        self.next
    }

    /// Whether the open cut must reach an end that was promised.
    pub(super) fn is_planned(&self) -> bool {
        self.planned_end().is_some()
    }

    /// How many records the open cut has; `None` if none is open.
    pub(super) fn open_records(&self) -> Option<usize> {
        self.open.map(|open| open.records)
    }

    /// How many cuts are complete and not handed over.
    #[cfg(test)]
    pub(super) fn closed(&self) -> usize {
        self.closed.len()
    }

    /// How many cuts are handed over and not acknowledged.
    pub(super) fn taken(&self) -> usize {
        self.taken.len()
    }

    /// What to do with the record at this offset.
    pub(super) fn judge(&self, offset: i64) -> Fate {
        if offset < self.next {
            return Fate::Known;
        }
        match self.planned_end() {
            Some(end) if offset > end => Fate::Behind,
            _ => Fate::Belongs,
        }
    }

    /// The record at this offset was put into the open cut. Whether that is complete now, by what was promised.
    pub(super) fn append(&mut self, offset: i64) -> bool {
        self.next = offset + 1;
        let open = self.open.get_or_insert(Open { first: offset, last: offset, records: 0 });
        open.last = offset;
        open.records += 1;
        let records = open.records;
        let is_half = self.halve == Some(records) && self.filling() == 0;
        if is_half {
            self.halve = None;
            if self.plan.front() != Some(&offset) {
                self.plan.push_front(offset);
                self.changed();
            }
        }
        self.planned_end() == Some(offset)
    }

    /// Closes the cut that is being filled. One that was promised ends where it was promised, even without a record.
    pub(super) fn close(&mut self) -> Option<Extent> {
        let planned = self.planned_end();
        let (open, last) = match (self.open.take(), planned) {
            (Some(open), None) => (Some(open), open.last),
            (open, Some(end)) => (open, end),
            (None, None) => return None,
        };
        if planned.is_none() {
            self.plan.push_back(last);
            if self.repeatable {
                self.changed();
            }
        }
        if self.filling() == 0 {
            self.halve = None;
        }
        let extent = Extent { first: open.map_or(self.next.min(last), |open| open.first), last };
        self.next = self.next.max(last + 1);
        self.closed.push_back(extent);
        Some(extent)
    }

    /// Whether the first complete cut may be handed over while at most `taken_max` may be unacknowledged.
    pub(super) fn may_take(&self, taken_max: usize) -> bool {
        let is_durable = |cut: &Extent| !self.repeatable || cut.last <= self.recorded;
        self.taken.len() < taken_max && self.closed.front().is_some_and(is_durable)
    }

    /// Hands the first complete cut over.
    pub(super) fn take(&mut self) -> Option<Extent> {
        let cut = self.closed.pop_front()?;
        self.taken.push_back(cut);
        Some(cut)
    }

    /// The cut that was taken first is durable at the sink. `false` if it is not that one: it was given up meanwhile.
    pub(super) fn acknowledge(&mut self, cut: Extent, last: Option<u64>) -> bool {
        if self.taken.front() != Some(&cut) {
            return false;
        }
        self.taken.pop_front();
        self.plan.pop_front();
        self.base = cut.last + 1;
        self.last = last.or(self.last);
        self.changed();
        true
    }

    /// This cut, which is taken, shall come again in two parts, the first of so many records.
    pub(super) fn split(&mut self, cut: Extent, after: usize) {
        if self.taken.front() != Some(&cut) || after == 0 {
            return;
        }
        self.halve = Some(after);
        // Nothing leaves before the new cut is durable.
        self.recorded = self.base - 1;
        self.version += 1;
        self.changed();
    }

    /// Forgets what is not acknowledged; where to read again.
    pub(super) fn rewind(&mut self) -> i64 {
        self.taken.clear();
        self.closed.clear();
        self.open = None;
        self.next = self.base;
        self.base
    }

    /// Whether the durable note says less than is known. Where a cut shall be halved is known when its records are there
    /// again: until then the note stays as it is.
    pub(super) fn is_dirty(&self) -> bool {
        self.revision != self.durable && self.halve.is_none()
    }

    /// Whether a complete cut waits for its end to become durable.
    pub(super) fn is_urgent(&self) -> bool {
        self.is_dirty() && self.repeatable && self.closed.front().is_some_and(|cut| cut.last > self.recorded)
    }

    /// What shall be committed.
    pub(super) fn to_commit(&self) -> Sent {
        let ends = if self.repeatable { self.plan.iter().copied().collect() } else { Vec::new() };
        Sent { offset: self.base, note: Note { last: self.last, ends }, revision: self.revision, version: self.version }
    }

    /// This is durable.
    pub(super) fn committed(&mut self, sent: &Sent) {
        self.durable = self.durable.max(sent.revision);
        if sent.version == self.version
            && let Some(end) = sent.note.ends.last()
        {
            self.recorded = self.recorded.max(*end);
        }
    }

    /// The number, in the plan, of the cut that is being filled.
    fn filling(&self) -> usize {
        self.taken.len() + self.closed.len()
    }

    fn planned_end(&self) -> Option<i64> {
        self.plan.get(self.filling()).copied()
    }

    fn changed(&mut self) {
        self.revision += 1;
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
