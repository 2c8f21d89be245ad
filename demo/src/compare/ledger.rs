//! Pairs the records of both sides and keeps account of what differs.
//!
//! Every topic has one partition, so both sides must tell the changes of a table in the same order: records are paired as they
//! come, and the first that is of another change holds its lane until the end, when what is missing, added or moved is found out.
//! Snapshot rows have a lane for each key.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use crate::compare::difference::Difference;
use crate::compare::json::Json;
use crate::compare::record::{Identity, Record};
use crate::compare::rules::{RULES, Rule};

/// How many unexplained records are kept to be shown.
const SHOWN_MAX: usize = 40;
/// How many of one kind are, so that the first kind does not hide the others.
const SHOWN_OF_A_KIND_MAX: usize = 2;

/// Whose record it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Debezium,
    Other,
}

/// Records of one side that wait for the other's.
type Waiting = VecDeque<Record>;

/// The account.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    lanes: HashMap<(String, Option<String>), [Waiting; 2]>,
    /// The names of columns that stand for a type, so that it can be told which types were seen.
    types: BTreeSet<String>,
    pub(super) findings: Findings,
}

/// What the comparison came to.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Pairs of records that were compared.
    pub(super) records: u64,
    /// Of each operation.
    pub(super) operations: BTreeMap<String, u64>,
    /// Types of which the other side carries a value; what Debezium makes of it was compared.
    pub(super) types: BTreeSet<String>,
    /// Differences that a rule explains, by the rule's name.
    pub(super) explained: BTreeMap<&'static str, u64>,
    /// How many no rule explains.
    pub(super) unexplained: u64,
    /// Of each kind (path; old and new rows are one), how many no rule explains.
    pub(super) kinds: BTreeMap<String, u64>,
    /// The first of each kind, as text.
    pub(super) shown: Vec<String>,
}

impl Ledger {
    /// An account that looks out for values of these columns.
    pub(super) fn new(types: BTreeSet<String>) -> Self {
        Self { types, ..Self::default() }
    }

    /// Takes a record in, and compares what has become a pair.
    pub(super) fn add(&mut self, side: Side, record: Record) {
        let row = match &record.identity {
            Identity::Row(key) => Some(key.clone()),
            _ => None,
        };
        let lane = self.lanes.entry((record.topic.clone(), row)).or_default();
        lane[side as usize].push_back(record);
        while let [Some(left), Some(right)] = [lane[0].front(), lane[1].front()] {
            if left.identity != right.identity {
                break;
            }
            self.findings.pair(left, right, &self.types);
            lane.iter_mut().for_each(|waiting| drop(waiting.pop_front()));
        }
    }

    /// Says of every record that waits why it has no counterpart; nothing more is to come.
    pub(super) fn close(mut self) -> Findings {
        let mut lanes: Vec<_> = std::mem::take(&mut self.lanes).into_iter().collect();
        lanes.sort_by(|left, right| left.0.cmp(&right.0));
        for (_, [mut left, mut right]) in lanes {
            self.align(&mut left, &mut right);
        }
        self.findings
    }

    fn align(&mut self, left: &mut Waiting, right: &mut Waiting) {
        let count = |waiting: &Waiting| {
            waiting.iter().fold(HashMap::new(), |mut counts: HashMap<Identity, u64>, record| {
                *counts.entry(record.identity.clone()).or_default() += 1;
                counts
            })
        };
        let (mut lefts, mut rights) = (count(left), count(right));
        loop {
            match (left.front(), right.front()) {
                (Some(l), Some(r)) if l.identity == r.identity => {
                    self.findings.pair(l, r, &self.types);
                    take(&mut lefts, left.pop_front());
                    take(&mut rights, right.pop_front());
                }
                // The other side does not have it any more: it is missing there.
                (Some(l), _) if rights.get(&l.identity).is_none_or(|left| *left == 0) => {
                    self.findings.alone(l, Side::Debezium);
                    take(&mut lefts, left.pop_front());
                }
                // The other side has it, but later: what stands before it there is added or moved.
                (_, Some(r)) => {
                    self.findings.alone(r, Side::Other);
                    take(&mut rights, right.pop_front());
                }
                (_, None) => break,
            }
        }
    }
}

/// One record of this identity fewer.
fn take(counts: &mut HashMap<Identity, u64>, record: Option<Record>) {
    if let Some(count) = record.and_then(|record| counts.get_mut(&record.identity)) {
        *count -= 1;
    }
}

impl Findings {
    fn pair(&mut self, left: &Record, right: &Record, types: &BTreeSet<String>) {
        self.records += 1;
        *self.operations.entry(left.op().to_owned()).or_default() += 1;
        self.cover(right, types);
        let mut unexplained = left.differences(right);
        unexplained.retain(|difference| match Rule::of(&RULES, difference, left.op()) {
            Some(rule) => {
                *self.explained.entry(rule.name).or_default() += 1;
                false
            }
            None => true,
        });
        for difference in &unexplained {
            let kind = difference.path.replace(".before.", ".row.").replace(".after.", ".row.");
            self.unexplained(kind, || shown(difference, left, Some(right)));
        }
    }

    fn alone(&mut self, record: &Record, of: Side) {
        let what = match of {
            Side::Debezium => "missing or out of order",
            Side::Other => "added or out of order",
        };
        let topic = Some(Json::Text(record.topic.clone()));
        let (left, right) = if of == Side::Debezium { (topic, None) } else { (None, topic) };
        let difference = Difference { path: "record".to_owned(), left, right };
        if let Some(rule) = Rule::of(&RULES, &difference, record.op()) {
            *self.explained.entry(rule.name).or_default() += 1;
            return;
        }
        let key = record.key.as_ref().map_or_else(|| "null".to_owned(), Json::to_string);
        let value = record.value.as_ref().map_or_else(|| "null".to_owned(), Json::to_string);
        self.unexplained(format!("{} record {what} in {}", record.op(), record.topic), || {
            format!("{} {:?} is {what}\n    key {key}\n    value {value}", record.topic, record.identity)
        });
    }

    fn unexplained(&mut self, kind: String, text: impl FnOnce() -> String) {
        self.unexplained += 1;
        let count = self.kinds.entry(kind).or_default();
        *count += 1;
        if *count <= SHOWN_OF_A_KIND_MAX as u64 && self.shown.len() < SHOWN_MAX {
            self.shown.push(text());
        }
    }

    /// Notes the types of which the other side carries a value.
    fn cover(&mut self, right: &Record, types: &BTreeSet<String>) {
        let Some(Json::Object(after)) = right.value.as_ref().and_then(|value| value.get("after")) else { return };
        let seen = after.iter().filter(|(name, value)| *value != Json::Null && types.contains(name));
        self.types.extend(seen.map(|(name, _)| name.clone()));
    }
}

fn shown(difference: &Difference, left: &Record, right: Option<&Record>) -> String {
    let key = left.key.as_ref().map_or_else(|| "null".to_owned(), Json::to_string);
    let both = right.is_some_and(|right| right.key == left.key);
    format!(
        "{} {:?}, key {key}{}\n    {}\n      Debezium {}\n      other    {}",
        left.topic,
        left.identity,
        if both { "" } else { " (the other's differs)" },
        difference.path,
        text(difference.left.as_ref()),
        text(difference.right.as_ref()),
    )
}

/// How much of a value is shown.
const VALUE_SHOWN_MAX: usize = 300;

fn text(json: Option<&Json>) -> String {
    let text = json.map_or_else(|| "(absent)".to_owned(), Json::to_string);
    text.char_indices().nth(VALUE_SHOWN_MAX).map_or_else(|| text.clone(), |(end, _)| format!("{}…", &text[..end]))
}
