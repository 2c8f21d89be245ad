//! A batch becomes a block for each table that its topic fills.
//!
//! Guarantee: a record gives a row to every table that it feeds, or it is refused and gives none.

use std::collections::HashSet;
use std::sync::Arc;

use tracing::warn;

use crate::encode::native::derive::{Growth, column_type, growth};
use crate::pipeline::{MessageRef, Messages, Refused};
use crate::shape::record::{Change, Op, Raw, Record, Row};
use crate::sinks::clickhouse::client::{TableName, quoted};
use crate::sinks::clickhouse::known::{KnownRow, KnownRows, KnownValue};
use crate::sinks::clickhouse::layout::Layout;
use crate::sinks::clickhouse::options::{Feed, OnTruncate, Rows, Unknown};
use crate::sinks::clickhouse::readings::Readings;
use crate::sinks::clickhouse::rows::{Content, Filler, Halt};
use crate::sinks::clickhouse::unfit::Unfit;

/// A table that is being fed, and what is kept of it from batch to batch.
#[derive(Debug)]
pub(super) struct Fed {
    /// What was configured.
    pub(super) feed: Arc<Feed>,
    /// The table.
    pub(super) table: TableName,
    /// Whether the table may refuse rows that fit its columns: it has constraints.
    pub(super) may_refuse: bool,
    /// Where its columns are filled from.
    pub(super) layout: Layout,
    /// The columns of its key, in the order of their names.
    pub(super) key: Vec<String>,
    /// Whether a record's key was seen to be the table's.
    pub(super) key_is_right: bool,
    /// How values are read.
    pub(super) readings: Readings,
    /// What fills rows.
    pub(super) filler: Filler,
    /// Fields that were told to be left out, and nulls that were told to be empty, so far.
    pub(super) told: (usize, u64),
}

/// What came of a batch.
#[derive(Debug, Default)]
pub(super) struct Encoded {
    /// The records that no table gets, and why each is a kind of its own.
    pub(super) refused: Vec<(Refused, &'static str)>,
    /// When the batch's first change was committed, in microseconds, and its record written, in milliseconds since 1970.
    pub(super) committed: Option<(i64, i64)>,
    /// The newest version at which a captured table was emptied, by feed.
    pub(super) truncated: Vec<(usize, u128)>,
}

/// What a batch needs before it can be encoded.
pub(super) enum Need {
    /// Wider types for columns of the feed at this place, each with the type's text.
    Wider { fed: usize, columns: Vec<(String, String)> },
    /// A column for this field, of the feed at this place, as the message at this index has it.
    Column { fed: usize, field: String, index: usize },
    /// The table's version of rows of which values were left out.
    Rows(Vec<Lookup>),
    /// A mend by a person: a record is not what the table is for.
    Mend { what: String, help: String },
}

/// Rows of one table that must be looked up.
#[derive(Debug, Clone, Default)]
pub(super) struct Lookup {
    /// The place of the feed.
    pub(super) fed: usize,
    /// The columns of which values were left out.
    pub(super) columns: Vec<usize>,
    /// The keys of the rows, as the records have them.
    pub(super) keys: HashSet<Vec<String>>,
    /// Whether there are old keys among them, whose records may lie in other partitions.
    pub(super) across_keys: bool,
}

/// What a record says, read once for all tables.
enum Said<'r> {
    /// Nobody asked.
    Unread,
    Nothing,
    Event(Row<'r>),
    Change {
        change: Change<'r>,
        key: Option<&'r [u8]>,
    },
}

/// Fills the blocks of `feds` with the rows of a batch.
pub(super) fn encode(feds: &mut [&mut Fed], known: &mut [KnownRows], messages: &Messages) -> Result<Encoded, Need> {
    let mut encoded = Encoded::default();
    let mut lookups: Vec<Lookup> = Vec::new();
    feds.iter_mut().for_each(|fed| fed.layout.block.clear());
    let mut marks = Vec::with_capacity(feds.len());
    let reads = feds.iter().any(|fed| fed.layout.reads_records());
    for (index, message) in messages.iter().enumerate() {
        let said = match if reads { Said::of(&message) } else { Ok(Said::Unread) } {
            Ok(said) => said,
            Err(unfit) => {
                encoded.refuse(index, &unfit, &feds[0].table);
                continue;
            }
        };
        if let (Said::Change { change, .. }, None) = (&said, encoded.committed) {
            encoded.committed = change.committed_us.map(|us| (us, message.timestamp_ms()));
        }
        marks.clear();
        for at in 0..feds.len() {
            marks.push(feds[at].layout.block.whole_rows());
            match feds[at].take(message, &said, known.get_mut(at)) {
                Ok(Taken::Row | Taken::Nothing) => {}
                Ok(Taken::Truncated(version)) => encoded.truncated(at, version),
                Err(Stop::Wider(columns)) => return Err(Need::Wider { fed: at, columns }),
                Err(Stop::Mend { what, help }) => return Err(Need::Mend { what, help }),
                Err(Stop::Halt(Halt::Superseded)) => {}
                Err(Stop::Halt(Halt::Unknown(field))) => return Err(Need::Column { fed: at, field, index }),
                Err(Stop::Halt(Halt::LeftOut(column)))
                    if feds[at].look_up((at, column), &message, &said, &mut lookups) => {}
                Err(Stop::Halt(halt)) => {
                    encoded.refuse(index, &feds[at].unfit_of(halt), &feds[at].table);
                    for (fed, rows) in feds.iter_mut().zip(&marks) {
                        fed.layout.block.truncate(*rows);
                    }
                    break;
                }
            }
        }
    }
    if lookups.is_empty() { Ok(encoded) } else { Err(Need::Rows(lookups)) }
}

impl Encoded {
    fn refuse(&mut self, index: usize, unfit: &Unfit, table: &TableName) {
        let mut refused = Refused::new(index, unfit.to_string()).with_code(unfit.code());
        refused.help = unfit.help(table);
        refused.depends = unfit.depends();
        self.refused.push((refused, unfit.label()));
    }

    fn truncated(&mut self, at: usize, version: u128) {
        match self.truncated.iter_mut().find(|(fed, _)| *fed == at) {
            Some((_, newest)) => *newest = version.max(*newest),
            None => self.truncated.push((at, version)),
        }
    }
}

enum Taken {
    Row,
    Nothing,
    Truncated(u128),
}

enum Stop {
    Halt(Halt),
    Wider(Vec<(String, String)>),
    Mend { what: String, help: String },
}

impl<E: Into<Halt>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Halt(error.into())
    }
}

impl<'r> Said<'r> {
    fn of(message: &MessageRef<'r>) -> Result<Self, Unfit> {
        Ok(match Record::read(message)? {
            Record::Tombstone => Self::Nothing,
            Record::Event(row) => Self::Event(row),
            Record::Change(change) => Self::Change { change, key: message.key() },
        })
    }
}

/// A value of a key as it is told from others: of the ways to write a text one.
fn plain(value: &str) -> String {
    let text = if value.contains('\\') { serde_json::from_str::<String>(value).ok() } else { None };
    text.map_or_else(|| value.to_owned(), |text| serde_json::Value::from(text).to_string())
}

/// The fields of a record's key, bare or beside their schema.
pub(super) fn key_row(key: &[u8]) -> Option<Row<'_>> {
    let row = Row::parse(key).ok()?;
    match (row.len(), row.get("schema"), row.get("payload")) {
        (2, Some(_), Some(payload)) => Row::of(payload).ok(),
        _ => Some(row),
    }
}

impl Fed {
    /// Whether rows replace each other by their key.
    pub(super) fn is_current(&self) -> bool {
        matches!(self.feed.rows, Rows::Current { .. })
    }

    /// Whether the record gives this table a row.
    fn makes_row(&self, said: &Said<'_>) -> bool {
        match (said, &self.feed.rows) {
            (_, _) if !self.layout.reads_records() => true,
            (Said::Unread, _) => true,
            (Said::Nothing, _) => false,
            (Said::Event(_), rows) => matches!(rows, Rows::Append { .. }),
            (Said::Change { change, .. }, rows) => match change.op {
                Op::Truncate | Op::Message => false,
                _ => match rows {
                    Rows::Current { .. } => true,
                    Rows::Append { operations } => operations.iter().any(|of| change.op.letter().starts_with(*of)),
                },
            },
        }
    }

    fn take(&mut self, message: MessageRef<'_>, said: &Said<'_>, known: Option<&mut KnownRows>) -> Result<Taken, Stop> {
        if !self.makes_row(said) {
            return match said {
                Said::Event(_) => Err(Unfit::NoChange.into()),
                Said::Change { change, .. } if change.op == Op::Truncate => self.truncate(change),
                _ => Ok(Taken::Nothing),
            };
        }
        let plain = Content {
            message,
            change: None,
            row: None,
            before: None,
            is_deleted: false,
            taken_along: &[],
            known: None,
        };
        match said {
            Said::Event(row) => {
                self.readings.of_event();
                self.add(&Content { row: Some(row), ..plain })?;
            }
            Said::Change { change, key } if self.layout.reads_records() => {
                if self.readings.of_change(change.fields.map(Raw::get)) {
                    self.check_types()?;
                }
                let is_current = self.is_current();
                // Read only where it is of use: once, and for a deletion that tells nothing else.
                let wants_key =
                    is_current && (!self.key_is_right || (change.op == Op::Delete && change.before.is_none()));
                let of_key = key.filter(|_| wants_key).and_then(key_row);
                self.check_key(of_key.as_ref())?;
                self.take_change(message, change, of_key.as_ref(), known)?;
            }
            _ => self.add(&plain)?,
        }
        Ok(Taken::Row)
    }

    fn take_change(
        &mut self,
        message: MessageRef<'_>,
        change: &Change<'_>,
        of_key: Option<&Row<'_>>,
        known: Option<&mut KnownRows>,
    ) -> Result<(), Stop> {
        let is_deleted = change.op == Op::Delete;
        let row = change.image(of_key);
        let Some(row) = row else { return Err(Unfit::NoImage(if is_deleted { "before" } else { "after" }).into()) };
        let known = known.filter(|known| !known.columns.is_empty());
        let key = if known.is_some() { self.key_of(row) } else { None };
        let mut found = known.as_ref().and_then(|known| known.rows.get(key.as_ref()?)).cloned();
        let is_behind = found.as_ref().is_some_and(|row| row.version < change.version);
        let old_key = if is_behind { self.came_from(&message, change) } else { None };
        if let (Some(known), Some(old_key)) = (&known, &old_key) {
            let old = known.rows.get(old_key);
            found = Some(old.map(|old| self.found_by(&message, change.version, old)).unwrap_or_default());
        }
        let is_deleted = is_deleted && self.is_current();
        let content = Content {
            message,
            change: Some(change),
            row: Some(row),
            before: change.before.as_ref(),
            is_deleted,
            taken_along: &self.taken_along(&message, change, row),
            known: found.as_ref(),
        };
        self.add(&content).map_err(|halt| match halt {
            Halt::Unfit(Unfit::Unchanged(column)) if old_key.is_some() => Unfit::Moved(column).into(),
            halt => halt,
        })?;
        if let (Some(known), Some(key), Some(mut found)) = (known, key, found) {
            self.follow(&mut found, change, (row, is_deleted), &known.columns);
            known.rows.insert(key, found);
        }
        Ok(())
    }

    fn add(&mut self, content: &Content<'_>) -> Result<(), Halt> {
        self.filler.add(&mut self.layout, content, &self.readings, self.feed.unknown)
    }

    fn truncate(&self, change: &Change<'_>) -> Result<Taken, Stop> {
        match self.feed.on_truncate {
            OnTruncate::Ignore => Ok(Taken::Nothing),
            OnTruncate::Refuse => Err(Unfit::Truncated.into()),
            OnTruncate::Delete => Ok(Taken::Truncated(change.version.ok_or(Unfit::NoVersion)?)),
        }
    }

    /// Whether the columns hold what a schema, which was not seen before, says of the values. Those that do not are to be
    /// widened, if the table is the loader's to alter; else a value that does not fit is refused when it comes.
    fn check_types(&self) -> Result<(), Stop> {
        let mut wider = Vec::new();
        for field in self.readings.schema().iter().flat_map(|schema| &schema.fields) {
            let columns = field.field.as_deref().and_then(|name| self.layout.fields.get(name));
            for at in columns.into_iter().flatten() {
                let (target, column) = (&self.layout.targets[*at], self.layout.block.columns[*at].name());
                let wanted = column_type(field, target.is_key);
                match growth(&target.of, &wanted) {
                    Growth::None => {}
                    Growth::Widen(of) if self.feed.unknown == Unknown::Add && !target.is_key => {
                        wider.push((column.to_owned(), of.text().to_owned()));
                    }
                    Growth::Widen(_) | Growth::Refused if target.is_key => {
                        return Err(self.other_key(column, target.of.text(), wanted.text()));
                    }
                    Growth::Widen(_) | Growth::Refused => {
                        let (has, wanted) = (target.of.text(), wanted.text());
                        warn!(table = %self.table, column, has, wanted, "a column does not hold every value that its field may have; those that do not fit are refused");
                    }
                }
            }
        }
        if wider.is_empty() { Ok(()) } else { Err(Stop::Wider(wider)) }
    }

    fn other_key(&self, column: &str, has: &str, wanted: &str) -> Stop {
        Stop::Mend {
            what: format!(
                "column {column} of {}, which belongs to its key, is {has}, and the records of topic {} have {wanted}",
                self.table, self.feed.topic
            ),
            help: format!(
                "Make a table in which {} is {wanted}, and name it in [load.tables.{}]; the type of a key's column cannot be altered.",
                quoted(column),
                self.feed.name
            ),
        }
    }

    /// Whether rows replace each other by what the source knows them by. Looked at once.
    fn check_key(&mut self, of_key: Option<&Row<'_>>) -> Result<(), Stop> {
        let (false, Some(of_key), Rows::Current { .. }) = (self.key_is_right, of_key, &self.feed.rows) else {
            return Ok(());
        };
        let columns = of_key.iter().flat_map(|(field, _)| self.layout.fields.get(field).into_iter().flatten());
        let mut columns: Vec<String> = columns.map(|at| self.layout.block.columns[*at].name().to_owned()).collect();
        columns.sort_unstable();
        if columns == self.key && of_key.len() == columns.len() {
            self.key_is_right = true;
            return Ok(());
        }
        let fields: Vec<&str> = of_key.iter().map(|(name, _)| name).collect();
        let what = format!(
            "table {} is sorted by ({}), but the records of topic {} have the key ({}): rows would not replace each other as they do in the captured table",
            self.table,
            self.key.join(", "),
            self.feed.topic,
            fields.join(", ")
        );
        let help = format!(
            "Make a table with ORDER BY ({}), fill it from a snapshot, and name it in [load.tables.{}]; a sorting key cannot be altered.",
            fields.join(", "),
            self.feed.name
        );
        Err(Stop::Mend { what, help })
    }

    /// The texts of the row's key, in the order of the key's columns.
    pub(super) fn key_of(&self, row: &Row<'_>) -> Option<Vec<String>> {
        let field_of = |column: &String| {
            let fills = |at: &usize| self.layout.block.columns[*at].name() == column;
            let mut fields = self.layout.fields.iter().filter(|(_, columns)| columns.iter().any(fills));
            fields.next().map(|(field, _)| field)
        };
        let values = self.key.iter().map(|column| row.get(field_of(column)?).map(|value| plain(value.get())));
        values.collect()
    }

    /// What makes a record unfit that halted so.
    fn unfit_of(&self, halt: Halt) -> Unfit {
        match halt {
            Halt::Unfit(unfit) => unfit,
            Halt::Unknown(field) => Unfit::UnknownField(field),
            Halt::LeftOut(at) => Unfit::Unchanged(self.layout.block.columns[at].name().to_owned()),
            Halt::Superseded => Unfit::NoVersion,
        }
    }

    /// Notes that rows must be looked up for the column of the feed at this place; false if they cannot be.
    fn look_up(
        &self,
        (at, column): (usize, usize),
        message: &MessageRef<'_>,
        said: &Said<'_>,
        lookups: &mut Vec<Lookup>,
    ) -> bool {
        let (Said::Change { change, key }, true) = (said, self.is_current()) else { return false };
        let of_key = key.and_then(key_row);
        let Some(row) = change.image(of_key.as_ref()) else { return false };
        let Some(key) = self.key_of(row) else { return false };
        let place = lookups.iter().position(|lookup| lookup.fed == at).unwrap_or_else(|| {
            lookups.push(Lookup { fed: at, ..Lookup::default() });
            lookups.len() - 1
        });
        let lookup = &mut lookups[place];
        // Every column that this record leaves out, so that one look suffices.
        let left_out = row.iter().filter(|(_, value)| self.readings.is_left_out(value.get()));
        let columns = left_out.flat_map(|(field, _)| self.layout.fields.get(field).into_iter().flatten().copied());
        for column in columns.chain(self.taken_along(message, change, row)).chain([column]) {
            if !lookup.columns.contains(&column) {
                lookup.columns.push(column);
            }
        }
        let old_key = self.came_from(message, change);
        lookup.across_keys |= old_key.is_some();
        lookup.keys.extend([key].into_iter().chain(old_key));
        true
    }

    /// Follows a row through the batch: what a change says of it is what a later one leaves out.
    fn follow(
        &self,
        found: &mut KnownRow,
        change: &Change<'_>,
        (row, is_deleted): (&Row<'_>, bool),
        columns: &[usize],
    ) {
        if found.version > change.version {
            return;
        }
        if !found.is_live && found.version != change.version {
            // It is another row than the one that was deleted.
            found.values.clear();
        }
        found.version = change.version;
        found.is_live = !is_deleted;
        if is_deleted {
            // It tells the key alone; what the row held may live on under another one.
            return;
        }
        for (field, value) in row.iter().filter(|(_, value)| !self.readings.is_left_out(value.get())) {
            for at in self.layout.fields.get(field).into_iter().flatten().filter(|at| columns.contains(at)) {
                let (json, reading) = (value.get().to_owned(), self.readings.of(field).clone());
                found.values.insert(*at, KnownValue { json, reading });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_however_its_text_is_written() {
        for (value, as_written) in
            [(r#""a\u00e9\/b""#, r#""aé/b""#), (r#""a\"b""#, r#""a\"b""#), ("7", "7"), ("null", "null")]
        {
            assert_eq!(plain(value), as_written);
        }
    }
}
