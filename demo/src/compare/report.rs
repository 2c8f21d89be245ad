//! What the comparison came to, as a table and as one JSON object.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::compare::Options;
use crate::compare::ledger::Findings;
use crate::compare::rules::RULES;
use crate::compare::workload::Workload;

/// How many kinds of unexplained differences the table lists.
const KINDS_SHOWN_MAX: usize = 80;

/// The outcome of a comparison.
#[derive(Debug)]
pub struct Report {
    findings: Findings,
    /// Types that never had a value.
    uncovered: Vec<String>,
    seed: u64,
    took: Duration,
}

/// The JSON form; its keys are a contract with those who read it.
#[derive(Debug, Serialize)]
struct Figures<'r> {
    records: u64,
    types_covered: usize,
    differences_unexplained: u64,
    differences_explained: u64,
    rules: Vec<RuleFigures<'r>>,
}

#[derive(Debug, Serialize)]
struct RuleFigures<'r> {
    rule: &'r str,
    count: u64,
}

impl Report {
    pub(super) fn new(options: &Options, workload: &Workload, findings: Findings, took: Duration) -> Self {
        let uncovered = workload.types.difference(&findings.types).cloned().collect();
        Self { findings, uncovered, seed: options.seed, took }
    }

    /// Whether every difference is explained.
    pub fn passed(&self) -> bool {
        self.findings.unexplained == 0 && self.findings.records > 0
    }

    /// The figures as one line of JSON.
    pub fn json(&self) -> String {
        let count = |name| self.findings.explained.get(name).copied().unwrap_or_default();
        let rules: Vec<RuleFigures<'_>> =
            RULES.iter().map(|rule| RuleFigures { rule: rule.name, count: count(rule.name) }).collect();
        let figures = Figures {
            records: self.findings.records,
            types_covered: self.findings.types.len(),
            differences_unexplained: self.findings.unexplained,
            differences_explained: rules.iter().map(|rule| rule.count).sum(),
            rules,
        };
        serde_json::to_string(&figures).expect("numbers and names are always JSON")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let findings = &self.findings;
        for shown in &findings.shown {
            writeln!(f, "\n{shown}")?;
        }
        if !findings.kinds.is_empty() {
            writeln!(f, "\n  unexplained   place")?;
        }
        let mut kinds: Vec<_> = findings.kinds.iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (kind, count) in kinds.iter().take(KINDS_SHOWN_MAX) {
            writeln!(f, "  {count:>11}   {kind}")?;
        }
        writeln!(f, "\n  seed {}, {:.1} s", self.seed, self.took.as_secs_f64())?;
        let operations: Vec<String> = findings.operations.iter().map(|(op, count)| format!("{op} {count}")).collect();
        writeln!(f, "  {} records compared: {}", findings.records, operations.join(", "))?;
        writeln!(f, "  {} types covered", findings.types.len())?;
        if !self.uncovered.is_empty() {
            writeln!(f, "  types without a value: {}", self.uncovered.join(", "))?;
        }
        for rule in &RULES {
            if let Some(count) = findings.explained.get(rule.name) {
                writeln!(f, "  {count:>11}   explained by {}: {}", rule.name, rule.reason)?;
            }
        }
        writeln!(f, "  {} differences unexplained", findings.unexplained)
    }
}
