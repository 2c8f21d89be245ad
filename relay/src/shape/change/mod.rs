//! A change of a captured table becomes messages in Debezium's envelope. Pure, and without an allocation per row.
//!
//! Guarantees: a change of a captured table is one or more messages, or told apart as unfit, or left out because the options
//! say so; nothing is dropped otherwise. The messages of one change carry positions that rise. What a table is like is read
//! once, by [`Capture::describe`]; what cannot be published is an error there, not at a row. `docs/change-data-capture.md`
//! compares the messages with Debezium's; a test holds them against what its connector wrote.

mod context;
mod envelope;
mod form;
mod hash_map;
mod logical;
mod mask;
pub mod options;
mod pattern;
mod record;
pub mod row;
mod source;
pub mod table;
mod topic;
pub mod transaction;
pub mod types;

use std::sync::Arc;

use crate::pipeline::Messages;
use crate::shape::change::context::Context;
use crate::shape::change::logical::LogicalMessages;
use crate::shape::change::mask::Mask;
use crate::shape::change::options::{CaptureError, CaptureOptions, Unsupported};
use crate::shape::change::pattern::{ColumnPattern, TablePattern};
use crate::shape::change::record::{Key, Record, key, recovered};
use crate::shape::change::row::{Change, Old, Stamp, Value};
use crate::shape::change::source::{At, SourceTexts, Stamped};
use crate::shape::change::table::Table;
use crate::shape::change::topic::TopicTemplate;
use crate::shape::change::transaction::Boundaries;
use crate::shape::outbox::Shaped;
use crate::shape::record::{NEW_KEY, OLD_KEY};
use crate::shape::unfit::Unshapable;

pub use crate::shape::change::form::Form;

/// Shapes the changes of captured tables. A clone costs little: each reader of a snapshot has its own.
#[derive(Debug, Clone)]
pub struct Capture {
    set: Arc<Set>,
    stamped: Stamped,
}

/// What the options say, read.
#[derive(Debug)]
struct Set {
    options: CaptureOptions,
    topic: TopicTemplate,
    tables: Vec<TablePattern>,
    tables_except: Vec<TablePattern>,
    columns_only: Vec<ColumnPattern>,
    columns_except: Vec<ColumnPattern>,
    masks: Vec<(ColumnPattern, Mask)>,
    keys: Vec<(TablePattern, Vec<String>)>,
    context: Option<Context>,
    boundaries: Option<Boundaries>,
    logical: LogicalMessages,
    source: SourceTexts,
}

impl Set {
    fn read(options: &CaptureOptions) -> Result<Self, CaptureError> {
        if !options.columns_only.is_empty() && !options.columns_except.is_empty() {
            return Err(CaptureError::BothColumnLists);
        }
        let mut masks = Vec::new();
        for mask in &options.masks {
            masks.push((ColumnPattern::parse(&mask.columns)?, Mask::new(&mask.mask)?));
        }
        let mut keys = Vec::new();
        for key in &options.keys {
            if key.columns.is_empty() {
                return Err(CaptureError::EmptyKey { tables: key.tables.clone() });
            }
            keys.push((TablePattern::parse(&key.tables)?, key.columns.clone()));
        }
        Ok(Self {
            topic: TopicTemplate::parse(&options.topic)?,
            tables: tables(&options.tables)?,
            tables_except: tables(&options.tables_except)?,
            columns_only: columns(&options.columns_only)?,
            columns_except: columns(&options.columns_except)?,
            masks,
            keys,
            context: Context::new(options),
            boundaries: Boundaries::new(options),
            logical: LogicalMessages::new(options),
            source: SourceTexts::new(&options.prefix, &options.database),
            options: options.clone(),
        })
    }
}

fn tables(texts: &[String]) -> Result<Vec<TablePattern>, CaptureError> {
    texts.iter().map(|text| TablePattern::parse(text)).collect()
}

fn columns(texts: &[String]) -> Result<Vec<ColumnPattern>, CaptureError> {
    texts.iter().map(|text| ColumnPattern::parse(text)).collect()
}

impl Capture {
    /// A shaper of what `options` say.
    ///
    /// # Errors
    /// A template, a pattern or a hash that is none, and options that exclude each other.
    pub fn new(options: &CaptureOptions) -> Result<Self, CaptureError> {
        Ok(Self { set: Arc::new(Set::read(options)?), stamped: Stamped::default() })
    }

    /// Whether a table is captured.
    #[must_use]
    pub fn captures(&self, schema: &str, table: &str) -> bool {
        let any = |patterns: &[TablePattern]| patterns.iter().any(|pattern| pattern.matches(schema, table));
        any(&self.set.tables) && !any(&self.set.tables_except)
    }

    /// Compiles a table's form: once whenever it is described.
    ///
    /// # Errors
    /// What cannot be published as it is, and how to mend that.
    pub fn describe(&self, table: &Table) -> Result<Form, Unsupported> {
        Form::compile(table, &self.set)
    }

    /// Adds the messages of a change of the table that `form` was made for. They take the parts 0 to 2 of the stamp's position:
    /// a deletion, its tombstone, and the creation under a new key; what is alone takes part 0.
    pub fn shape(&mut self, form: &Form, change: Change<'_>, stamp: &Stamp<'_>, messages: &mut Messages) -> Shaped {
        self.stamped.stamp(stamp, &self.set.source);
        let (set, at) = (&*self.set, At { stamp, texts: &self.stamped });
        if !fits(form, &change) {
            return set.misfit(form, at, messages);
        }
        if set.skips(form, &change) {
            return Shaped::Filtered;
        }
        match change {
            Change::Insert { new } => set.single(form, b'c', new, at, messages),
            Change::Read { row } => set.single(form, b'r', row, at, messages),
            Change::Truncate => {
                let key = Key { span: None, unfit: None };
                let record = Record { before: None, after: None, ..set.blank(b't', &key) };
                set.record(form, &record, at, messages)
            }
            Change::Delete { old } => {
                let key = key(form, old.values, None, old.whole, messages);
                let record = Record { before: Some(old.values), ..set.blank(b'd', &key) };
                let shaped = set.record(form, &record, at, messages);
                set.tombstone(form, &record, at, messages);
                shaped
            }
            Change::Update { old: Some(old), new } if moves(form, old, new) => {
                set.moved(form, (old, new), at, messages)
            }
            Change::Update { old, new } => {
                let key = key(form, new, old, true, messages);
                let before = old.map(|old| old.values);
                let record = Record { before, after: Some(new), old, ..set.blank(b'u', &key) };
                set.record(form, &record, at, messages)
            }
        }
    }

    /// How many events [`Capture::shape`] makes of a change: tombstones are none. [`transaction::EventCounts`] counts them.
    #[must_use]
    pub fn events(&self, form: &Form, change: &Change<'_>) -> u64 {
        if !fits(form, change) || self.set.skips(form, change) {
            return 0;
        }
        match change {
            Change::Update { old: Some(old), new } if moves(form, *old, new) => {
                let skipped = &self.set.options.skipped;
                u64::from(!skipped.delete) + u64::from(!skipped.create)
            }
            _ => 1,
        }
    }

    /// The places of the published columns whose values a change did not send and its old row does not tell: they would have to be
    /// read anew. Costs nothing where all values were sent.
    pub fn unavailable<'c>(&self, form: &'c Form, change: &Change<'c>) -> impl Iterator<Item = usize> + use<'c> {
        let (new, old) = match *change {
            Change::Insert { new } => (new, None),
            Change::Update { old, new } => (new, old),
            Change::Delete { .. } | Change::Truncate | Change::Read { .. } => (&[][..], None),
        };
        let is_unknown = move |place: &usize| {
            new.get(*place).is_some_and(|value| recovered(*value, old, *place) == Value::Unchanged)
        };
        form.columns.iter().map(|slot| slot.place).filter(is_unknown)
    }
}

impl Set {
    fn blank<'a, 'r>(&self, op: u8, key: &'a Key) -> Record<'a, 'r> {
        Record { op, key, before: None, after: None, old: None, moved: None, part: 0, later: 0 }
    }

    /// A row that is there: written, or read.
    #[inline]
    fn single(&self, form: &Form, op: u8, row: &[Value<'_>], at: At<'_>, messages: &mut Messages) -> Shaped {
        let key = key(form, row, None, true, messages);
        let record = Record { after: Some(row), ..self.blank(op, &key) };
        self.record(form, &record, at, messages)
    }

    /// A row that got another key: it is deleted under the old one, and created under the new one.
    fn moved(&self, form: &Form, (old, new): (Old<'_>, &[Value<'_>]), at: At<'_>, messages: &mut Messages) -> Shaped {
        let skipped = &self.options.skipped;
        let old_key = key(form, old.values, None, old.whole, messages);
        let new_key = key(form, new, Some(old), true, messages);
        let mut shaped = Shaped::Filtered;
        if !skipped.delete {
            let moved = Some((NEW_KEY, &new_key));
            let record = Record { before: Some(old.values), moved, ..self.blank(b'd', &old_key) };
            shaped = self.record(form, &record, at, messages);
            self.tombstone(form, &record, at, messages);
        }
        if !skipped.create {
            let later = u64::from(!skipped.delete);
            let moved = old_key.unfit.is_none().then_some((OLD_KEY, &old_key));
            let record =
                Record { after: Some(new), old: Some(old), moved, part: 2, later, ..self.blank(b'c', &new_key) };
            let created = self.record(form, &record, at, messages);
            if !matches!(shaped, Shaped::Unfit(_)) {
                shaped = created;
            }
        }
        shaped
    }

    /// Whether the options leave a change out.
    fn skips(&self, form: &Form, change: &Change<'_>) -> bool {
        let skipped = &self.options.skipped;
        match change {
            Change::Insert { .. } => skipped.create,
            Change::Delete { .. } => skipped.delete,
            Change::Truncate => skipped.truncate,
            Change::Read { .. } => false,
            Change::Update { .. } if skipped.update => true,
            Change::Update { old: Some(old), new } if moves(form, *old, new) => skipped.delete && skipped.create,
            Change::Update { old: Some(old), new } => self.options.skip_unchanged && is_same(form, *old, new),
            Change::Update { old: None, .. } => false,
        }
    }

    #[cold]
    fn misfit(&self, form: &Form, at: At<'_>, messages: &mut Messages) -> Shaped {
        let why = format!("it has another number of columns than {} was described with", form.table());
        let why = Unshapable::UnreadableValue(why);
        let mark = messages.header_mark();
        let message = self.message(&form.topic, (None, None), mark, 0, at, messages);
        messages.push_unfit(message, why.to_string());
        Shaped::Unfit(why)
    }
}

/// Whether an update gives the row another key, or does not tell the old one.
#[inline]
fn moves(form: &Form, old: Old<'_>, new: &[Value<'_>]) -> bool {
    form.key.iter().any(|slot| match new[slot.place] {
        Value::Unchanged => false,
        value => old.values[slot.place] != value,
    })
}

/// Whether an update changed nothing that is published.
fn is_same(form: &Form, old: Old<'_>, new: &[Value<'_>]) -> bool {
    old.whole
        && form.columns.iter().all(|slot| match (new[slot.place], old.values[slot.place], &slot.mask) {
            (Value::Unchanged, _, _) => true,
            (Value::Text(one), Value::Text(other), Some(mask)) => mask.hides(one, other),
            (_, _, Some(Mask::Asterisks(_))) => true,
            (new, old, _) => new == old,
        })
}

/// Whether a change's tuples are of the table that `form` was made for.
#[inline]
fn fits(form: &Form, change: &Change<'_>) -> bool {
    let fits = |values: &[Value<'_>]| values.len() == form.width;
    match change {
        Change::Insert { new } => fits(new),
        Change::Update { old, new } => fits(new) && old.is_none_or(|old| fits(old.values)),
        Change::Delete { old } => fits(old.values),
        Change::Read { row } => fits(row),
        Change::Truncate => true,
    }
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;

#[cfg(test)]
mod recorded_tests;
