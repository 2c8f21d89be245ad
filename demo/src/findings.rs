//! What the judge found: counts, and a few examples of each defect to start looking from.

/// How many examples of each kind of defect are kept.
const EXAMPLES_MAX: u64 = 3;

/// A way in which what was delivered can differ from what was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// Committed, but never delivered.
    Lost,
    /// Delivered, but never committed.
    Phantom,
    /// A first occurrence that came after a later event of its key.
    Reordered,
    /// Delivered with other content, headers or position than it must have.
    Altered,
    /// One key on two partitions.
    Scattered,
    /// A first occurrence whose position is at or below its predecessor's of the same key.
    Backwards,
}

impl Defect {
    /// All of them, as they are reported.
    pub const ALL: [Self; 6] =
        [Self::Lost, Self::Phantom, Self::Reordered, Self::Altered, Self::Scattered, Self::Backwards];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Phantom => "phantom",
            Self::Reordered => "reordered",
            Self::Altered => "altered",
            Self::Scattered => "scattered",
            Self::Backwards => "backwards",
        }
    }
}

/// The judge's findings. Duplicates are counted, but are no defect: delivery is at least once.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// Events in the outbox.
    pub committed: u64,
    /// Of those, how many were read at least once.
    pub delivered: u64,
    /// Records beyond the first of their id.
    pub duplicated: u64,
    /// Records read in all.
    pub records: u64,
    defects: [u64; Defect::ALL.len()],
    examples: Vec<String>,
}

impl Findings {
    /// How many defects of this kind there are.
    pub fn count(&self, defect: Defect) -> u64 {
        self.defects[defect as usize]
    }

    /// Whether there is no defect of any kind.
    pub fn clean(&self) -> bool {
        self.defects.iter().all(|count| *count == 0)
    }

    /// The first few of each kind of defect, as sentences.
    pub fn examples(&self) -> &[String] {
        &self.examples
    }

    /// Counts a defect; `example` is only asked for if it will be shown.
    pub(crate) fn note(&mut self, defect: Defect, example: impl FnOnce() -> String) {
        let count = &mut self.defects[defect as usize];
        *count += 1;
        if *count <= EXAMPLES_MAX {
            self.examples.push(format!("{}: {}", defect.name(), example()));
        }
    }
}
