//! What was delivered by a snapshot that was killed: which rows are missing, which came twice, and which of those need not have.
//!
//! Knows no Kafka: it is told of each record's key, and of what the progress record said at each kill.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// Keys from one up to another, the latter left out.
pub(super) type Keys = std::ops::Range<u64>;

/// Judges keys from 1 on, as they come.
#[derive(Debug)]
pub(super) struct Judge {
    /// The run that delivered a key last, from 1; 0: none.
    last: Vec<u8>,
    /// What was noted as delivered when each run was killed.
    noted: Vec<Vec<Keys>>,
    doubled: u64,
    beyond: u64,
}

impl Judge {
    /// Of so many rows.
    pub(super) fn new(rows: u64) -> Self {
        Self { last: vec![0; rows as usize + 1], noted: Vec::new(), doubled: 0, beyond: 0 }
    }

    /// A run was killed, and this was noted as delivered.
    pub(super) fn killed(&mut self, noted: Vec<Keys>) {
        self.noted.push(noted);
    }

    /// The run of this number, from 0, delivered a key.
    pub(super) fn delivered(&mut self, run: usize, key: u64) {
        let number = u8::try_from(run + 1).unwrap_or(u8::MAX);
        let Some(last) = self.last.get_mut(key as usize) else {
            self.beyond += 1;
            return;
        };
        let before = std::mem::replace(last, number);
        if before == 0 {
            return;
        }
        self.doubled += 1;
        // Within a run nothing comes twice, and what was noted by then is not read again.
        let noted = self.noted.get(usize::from(before) - 1);
        let was_noted = noted.is_some_and(|noted| noted.iter().any(|keys| keys.contains(&key)));
        self.beyond += u64::from(before == number || was_noted);
    }

    pub(super) fn verdict(&self, kills: u64, took: Duration) -> Verdict {
        let lost = self.last.iter().skip(1).filter(|run| **run == 0).count() as u64;
        let rows = self.last.len() as u64 - 1;
        let seconds = (took.as_secs_f64() * 10.0).round() / 10.0;
        Verdict { rows, kills, lost, doubled: self.doubled, doubled_beyond: self.beyond, seconds }
    }
}

/// The verdict; its JSON keys are a contract with those who read it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    rows: u64,
    kills: u64,
    lost: u64,
    doubled: u64,
    /// Rows that came twice although they were noted as delivered, or within one run.
    doubled_beyond: u64,
    seconds: f64,
}

impl Verdict {
    /// It as one line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers are always JSON")
    }

    /// Whether nothing is missing, and nothing came twice but what was in work.
    pub fn passed(&self) -> bool {
        self.lost == 0 && self.doubled_beyond == 0
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, kills, lost, doubled, doubled_beyond, seconds } = self;
        writeln!(f, "\n  a snapshot of {rows} rows, killed {kills} times, in {seconds} s")?;
        writeln!(f, "  lost                          {lost:>10}")?;
        writeln!(f, "  twice, of the chunks in work  {:>10}", doubled - doubled_beyond)?;
        writeln!(f, "  twice beyond those            {doubled_beyond:>10}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(deliveries: &[(usize, u64)]) -> Verdict {
        let mut judge = Judge::new(4);
        judge.killed(std::iter::once(1..3).collect());
        deliveries.iter().for_each(|(run, key)| judge.delivered(*run, *key));
        judge.verdict(1, Duration::from_secs(1))
    }

    #[test]
    fn what_was_in_work_may_come_twice_and_what_was_noted_may_not() {
        let verdict = judged(&[(0, 1), (0, 2), (0, 3), (1, 3), (1, 4)]);
        assert_eq!((verdict.lost, verdict.doubled, verdict.doubled_beyond), (0, 1, 0));
        assert!(verdict.passed());
        for (planted, wanted) in [
            (vec![(0, 1), (0, 2), (1, 3)], (1, 0, 0)),
            (vec![(0, 1), (0, 2), (0, 3), (1, 2), (1, 4)], (0, 1, 1)),
            (vec![(0, 1), (0, 2), (1, 3), (1, 4), (1, 3)], (0, 1, 1)),
            (vec![(0, 1), (0, 2), (1, 3), (1, 4), (1, 5)], (0, 0, 1)),
        ] {
            let verdict = judged(&planted);
            assert_eq!((verdict.lost, verdict.doubled, verdict.doubled_beyond), wanted, "{planted:?}");
            assert!(!verdict.passed(), "{planted:?}");
        }
    }
}
