//! Folds the records of captured tables back into tables, as a consumer would that keeps a copy of each.
//!
//! It takes records as they come, checks the order of each key and counts what came twice; at the end every table's records are
//! applied in the order of their positions, which is the order of the commits. It knows neither Kafka nor Postgres, so its tests
//! can show that each fault is found.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

/// What stands for a value that was not sent.
const UNAVAILABLE: &str = "__debezium_unavailable_value";

/// Examples of findings that are kept.
const EXAMPLES_MAX: usize = 12;

/// A row as records tell it.
pub type Row = Map<String, Value>;

/// A record as it was read.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// The table, after its topic.
    pub table: String,
    /// The partition.
    pub partition: i32,
    /// The header `postrider-position`, as a number.
    pub position: Option<u128>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// The key that the row had before, of a row that was given another one.
    pub old_key: Option<Vec<u8>>,
}

/// What was wrong with the records, apart from what they say.
#[derive(Debug, Clone, Default)]
pub struct Flaws {
    /// Records that were read.
    pub records: u64,
    /// Records whose position had been read before.
    pub duplicated: u64,
    /// First occurrences below one that its key had already.
    pub reordered: u64,
    /// Keys that came by another partition than before.
    pub scattered: u64,
    /// Records that a consumer cannot apply: the row is not as the record takes it to be, or the record is none.
    pub inconsistent: u64,
    /// Some of them.
    pub examples: Vec<String>,
}

impl Flaws {
    /// Whether nothing is wrong: duplicates are what at least once means.
    pub fn none(&self) -> bool {
        self.reordered + self.scattered + self.inconsistent == 0
    }

    fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(text());
        }
    }

    fn inconsistent(&mut self, text: impl FnOnce() -> String) {
        self.inconsistent += 1;
        self.example(text);
    }
}

/// Keeps every record until the end.
#[derive(Debug, Default)]
pub struct Folder {
    tables: BTreeMap<String, Journal>,
    flaws: Flaws,
}

#[derive(Debug, Default)]
struct Journal {
    records: BTreeMap<u128, Kept>,
    keys: HashMap<Vec<u8>, (i32, u128)>,
}

#[derive(Debug, PartialEq, Eq)]
struct Kept {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    old_key: Option<Vec<u8>>,
}

impl Folder {
    /// Takes in one record; true if it had not been read before.
    pub fn observe(&mut self, record: Record) -> bool {
        let Record { table, partition, position, key, value, old_key } = record;
        self.flaws.records += 1;
        let Some(position) = position else {
            self.flaws.inconsistent(|| format!("a record of {table} has no position"));
            return false;
        };
        let journal = self.tables.entry(table.clone()).or_default();
        let kept = Kept { key, value, old_key };
        match journal.records.entry(position) {
            Entry::Occupied(first) => {
                self.flaws.duplicated += 1;
                // The times of processing may differ, and nothing else.
                let same = first.get().key == kept.key && first.get().old_key == kept.old_key;
                if !same || timeless(first.get().value.as_deref()) != timeless(kept.value.as_deref()) {
                    self.flaws.inconsistent(|| format!("{table}: position {position:032x} came twice and differs"));
                }
                return false;
            }
            Entry::Vacant(place) => {
                if let Some(key) = &kept.key {
                    let (known, last) = *journal.keys.get(key).unwrap_or(&(partition, 0));
                    if known != partition {
                        self.flaws.scattered += 1;
                        self.flaws.example(|| format!("{table}: a key came by the partitions {known} and {partition}"));
                    }
                    if position < last {
                        self.flaws.reordered += 1;
                        self.flaws
                            .example(|| format!("{table}: position {position:032x} came after {last:032x} of its key"));
                    }
                    journal.keys.insert(key.clone(), (partition, last.max(position)));
                }
                place.insert(kept);
            }
        }
        true
    }

    /// The tables that the records make, and what was wrong with them.
    pub fn fold(self) -> (BTreeMap<String, Vec<Row>>, Flaws) {
        let mut flaws = self.flaws;
        let fold = |(name, journal): (String, Journal)| {
            let mut table = Folded {
                name: &name,
                flaws: &mut flaws,
                rows: HashMap::new(),
                gone: HashMap::new(),
                bag: HashMap::new(),
            };
            journal.records.into_iter().for_each(|(position, kept)| table.apply(position, kept));
            let rows = table.rows.into_values().chain(table.bag.into_values().flatten()).collect();
            (name, rows)
        };
        let tables = self.tables.into_iter().map(fold).collect();
        (tables, flaws)
    }
}

/// A value without the times at which the record was made.
fn timeless(value: Option<&[u8]>) -> Option<Value> {
    let mut value: Value = serde_json::from_slice(value?).ok()?;
    let envelope = value.as_object_mut()?;
    ["ts_ms", "ts_us", "ts_ns"].iter().for_each(|name| drop(envelope.remove(*name)));
    // The commit that was read before is not known to a stream that has just begun.
    envelope.get_mut("source").and_then(Value::as_object_mut).and_then(|source| source.remove("sequence"));
    Some(value)
}

/// One table on its way.
struct Folded<'f> {
    name: &'f str,
    flaws: &'f mut Flaws,
    rows: HashMap<Vec<u8>, Row>,
    /// What a key's row was when it was deleted.
    gone: HashMap<Vec<u8>, Row>,
    /// Rows that no key names, by what they hold.
    bag: HashMap<String, Vec<Row>>,
}

impl Folded<'_> {
    fn apply(&mut self, position: u128, kept: Kept) {
        let wrong = |what: &str| format!("{what} at {position:032x}");
        let Some(value) = kept.value else {
            let lives = kept.key.as_ref().is_none_or(|key| self.rows.contains_key(key));
            return self.check(!lives, || wrong("a tombstone of a row that lives, or without a key,"));
        };
        let Ok(mut envelope) = serde_json::from_slice::<Row>(&value) else {
            return self.check(false, || wrong("a value that is no envelope"));
        };
        let before = row(envelope.remove("before"));
        let after = row(envelope.remove("after"));
        match (envelope.get("op").and_then(Value::as_str).unwrap_or_default(), kept.key, after) {
            ("t", _, None) => {
                self.rows.clear();
                self.bag.clear();
            }
            ("c" | "u" | "r", None, Some(after)) => {
                if let Some(before) = &before {
                    let found = self.take(before);
                    self.check(found, || wrong("an update of a row that is not there"));
                }
                self.bag.entry(content(&after)).or_default().push(after);
            }
            ("d", None, None) => {
                let found = before.is_some_and(|before| self.take(&before));
                self.check(found, || wrong("a delete of a row that is not there"));
            }
            (op @ ("c" | "u" | "r"), Some(key), Some(mut after)) => {
                let names = names_row(&key, &after);
                self.check(names, || wrong("a key that is not its row's"));
                let last = match (&kept.old_key, op) {
                    (Some(old), _) => self.gone.get(old),
                    (None, "u") => self.rows.get(&key),
                    (None, _) => None,
                };
                complete(&mut after, last);
                let agrees = before.is_none_or(|before| agree(&before, self.rows.get(&key)));
                self.check(agrees, || wrong("a `before` that is not what was there"));
                let there = self.rows.insert(key, after).is_some();
                self.check(there == (op == "u") || op == "r", || {
                    wrong(&format!("a {op} of a row that is (not) there"))
                });
            }
            ("d", Some(key), None) => {
                let gone = self.rows.remove(&key);
                self.check(gone.is_some(), || wrong("a delete of a row that is not there"));
                let agrees = before.is_none_or(|before| agree(&before, gone.as_ref()));
                self.check(agrees, || wrong("a delete whose `before` is not what was there"));
                if let Some(gone) = gone {
                    self.gone.insert(key, gone);
                }
            }
            (op, ..) => self.check(false, || wrong(&format!("a record that cannot be, with the op {op:?},"))),
        }
    }

    fn check(&mut self, good: bool, what: impl FnOnce() -> String) {
        if !good {
            let name = self.name;
            self.flaws.inconsistent(|| format!("{name}: {}", what()));
        }
    }

    /// Takes one row that is like `row` out of the bag. Columns that rows have no more are forgotten first.
    fn take(&mut self, row: &Row) -> bool {
        let dropped = |known: &Row| known.keys().any(|name| !row.contains_key(name));
        if self.bag.values().flatten().next().is_some_and(dropped) {
            let rows = std::mem::take(&mut self.bag).into_values().flatten();
            for mut known in rows {
                known.retain(|name, _| row.contains_key(name));
                self.bag.entry(content(&known)).or_default().push(known);
            }
        }
        let content = content(row);
        let Some(rows) = self.bag.get_mut(&content) else { return false };
        rows.pop();
        if rows.is_empty() {
            self.bag.remove(&content);
        }
        true
    }
}

fn row(value: Option<Value>) -> Option<Row> {
    match value {
        Some(Value::Object(row)) => Some(row),
        _ => None,
    }
}

/// What tells rows apart that have no key: a column that a row does not have yet is null in it.
fn content(row: &Row) -> String {
    let known: BTreeMap<&str, &Value> =
        row.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.as_str(), value)).collect();
    serde_json::to_string(&known).unwrap_or_default()
}

/// Whether the key's columns hold what the row holds.
fn names_row(key: &[u8], row: &Row) -> bool {
    let Ok(key) = serde_json::from_slice::<Row>(key) else { return false };
    !key.is_empty() && key.iter().all(|(name, value)| row.get(name) == Some(value))
}

/// Puts what was known in the place of what was not sent.
fn complete(row: &mut Row, last: Option<&Row>) {
    let Some(last) = last else { return };
    for (name, value) in row.iter_mut().filter(|(_, value)| value.as_str() == Some(UNAVAILABLE)) {
        if let Some(known) = last.get(name) {
            *value = known.clone();
        }
    }
}

/// Whether `before` says nothing else than what was there. What has another form since has another type, and null is what the
/// columns beside the identity's are.
fn agree(before: &Row, there: Option<&Row>) -> bool {
    let Some(there) = there else { return true };
    let same = |(name, value): (&String, &Value)| {
        let known = there.get(name);
        let comparable = known.is_some_and(|known| std::mem::discriminant(known) == std::mem::discriminant(value));
        !comparable || known == Some(value)
    };
    before.iter().all(same)
}

#[cfg(test)]
#[path = "fold_tests.rs"]
mod tests;
