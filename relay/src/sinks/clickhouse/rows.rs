//! A record becomes a row: each column of the layout gets one value, or the record is unfit and leaves nothing behind.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::encode::native::{Column, Misfit, Reading, Unit, What};
use crate::pipeline::MessageRef;
use crate::shape::record::{Change, Raw, Row};
use crate::sinks::clickhouse::known::KnownRow;
use crate::sinks::clickhouse::layout::{Layout, Missing, Target};
use crate::sinks::clickhouse::options::{From, Part, Unknown};
use crate::sinks::clickhouse::readings::Readings;
use crate::sinks::clickhouse::unfit::Unfit;

/// What a row is made of.
pub(super) struct Content<'r> {
    /// The record.
    pub(super) message: MessageRef<'r>,
    /// The change that it tells, if it does.
    pub(super) change: Option<&'r Change<'r>>,
    /// The row as it is, or was if it is gone; the event.
    pub(super) row: Option<&'r Row<'r>>,
    /// The row as it was, as far as it is known.
    pub(super) before: Option<&'r Row<'r>>,
    /// Whether the row marks a deleted one: what is not known of it is empty, and never read.
    pub(super) is_deleted: bool,
    /// The columns that are known of it all the same, because it lives on under another key.
    pub(super) taken_along: &'r [usize],
    /// What is known of the row in the table, if that was looked up.
    pub(super) known: Option<&'r KnownRow>,
}

/// What filling the rows of one table needs beside the layout, and keeps between records.
#[derive(Debug, Default)]
pub(super) struct Filler {
    /// Attempts at a row so far.
    attempts: u64,
    /// The attempt in which each column was filled last, from 1.
    filled: Vec<u64>,
    /// The fields of the last record and the columns that each filled: the next one has mostly the same.
    order: Vec<(Option<Box<str>>, Vec<usize>)>,
    /// Fields without a column that were told.
    pub(super) ignored: BTreeSet<String>,
    scratch: String,
}

/// Why a row was not made.
pub(super) enum Halt {
    /// The record is unfit.
    Unfit(Unfit),
    /// It left a value out that is not in it, for this column.
    LeftOut(usize),
    /// It left a value out, and the table has a newer version of the row.
    Superseded,
    /// It has a field for which a column shall be added.
    Unknown(String),
}

impl<E: Into<Unfit>> std::convert::From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Unfit(error.into())
    }
}

impl Filler {
    /// Adds a row; if it cannot, the block is as it was.
    pub(super) fn add(
        &mut self,
        layout: &mut Layout,
        content: &Content<'_>,
        readings: &Readings,
        unknown: Unknown,
    ) -> Result<(), Halt> {
        let rows = layout.block.whole_rows();
        self.filled.resize(layout.targets.len(), 0);
        self.attempts += 1;
        let added = self.fill(layout, self.attempts, content, readings, unknown);
        if added.is_err() {
            layout.block.truncate(rows);
        }
        added
    }

    fn fill(
        &mut self,
        layout: &mut Layout,
        row: u64,
        content: &Content<'_>,
        readings: &Readings,
        unknown: Unknown,
    ) -> Result<(), Halt> {
        if let Some(fields) = content.row {
            self.fill_fields(layout, row, fields, content, readings, unknown)?;
        }
        if !layout.befores.is_empty()
            && let Some(before) = content.before
        {
            self.fill_befores(layout, row, before, readings)?;
        }
        let Layout { block, others, .. } = &mut *layout;
        for (at, from) in others.iter() {
            if self.part(&mut block.columns[*at], from, content)? {
                self.filled[*at] = row;
            }
        }
        self.mark(layout, row, content)?;
        for (at, target) in layout.targets.iter().enumerate() {
            if self.filled[at] != row {
                missing(at, &mut layout.block.columns[at], target, content)?;
            }
        }
        Ok(())
    }

    /// The version of the row, and whether it is gone.
    fn mark(&mut self, layout: &mut Layout, row: u64, content: &Content<'_>) -> Result<(), Halt> {
        if let Some(at) = layout.version {
            let version = content.change.and_then(|change| change.version).ok_or(Unfit::NoVersion)?;
            layout.block.columns[at].push_u128(version).map_err(Unfit::from)?;
            self.filled[at] = row;
        }
        if let Some(at) = layout.deleted {
            layout.block.columns[at].push_u128(u128::from(content.is_deleted)).map_err(Unfit::from)?;
            self.filled[at] = row;
        }
        Ok(())
    }

    fn fill_fields(
        &mut self,
        layout: &mut Layout,
        row: u64,
        fields: &Row<'_>,
        content: &Content<'_>,
        readings: &Readings,
        unknown: Unknown,
    ) -> Result<(), Halt> {
        for (place, (name, value)) in fields.iter().enumerate() {
            if self.order.get(place).is_none_or(|(known, _)| known.as_deref() != Some(name)) {
                let is_bare = value.get() == "null" && !readings.knows(name);
                self.look_up(layout, place, name, is_bare, unknown)?;
            }
            for at in &self.order[place].1 {
                let at = *at;
                if self.filled[at] == row {
                    return Err(Unfit::Twice(name.to_owned()).into());
                }
                put(layout, at, name, value.get(), content, readings)?;
                self.filled[at] = row;
            }
        }
        Ok(())
    }

    /// Finds the columns of a field, and notes them at its place.
    fn look_up(
        &mut self,
        layout: &Layout,
        place: usize,
        name: &str,
        is_bare: bool,
        unknown: Unknown,
    ) -> Result<(), Halt> {
        let columns = layout.fields.get(name).cloned().unwrap_or_default();
        let mut known = Some(Box::from(name));
        if columns.is_empty() && !layout.befores.contains_key(name) && !layout.known.contains(name) {
            match unknown {
                Unknown::Ignore => drop(self.ignored.insert(name.to_owned())),
                Unknown::Refuse => return Err(Unfit::UnknownField(name.to_owned()).into()),
                // What is null and has no schema has no type yet; the next value will, so it is looked up again.
                Unknown::Add if is_bare => known = None,
                Unknown::Add => return Err(Halt::Unknown(name.to_owned())),
            }
        }
        self.order.truncate(place);
        self.order.push((known, columns));
        Ok(())
    }

    fn fill_befores(
        &mut self,
        layout: &mut Layout,
        row: u64,
        before: &Row<'_>,
        readings: &Readings,
    ) -> Result<(), Halt> {
        for (name, value) in before.iter() {
            let Some(columns) = layout.befores.get(name) else { continue };
            for at in columns {
                if self.filled[*at] == row {
                    return Err(Unfit::Twice(name.to_owned()).into());
                }
                let reading = readings.of(name);
                store(&mut layout.block.columns[*at], &layout.targets[*at], value.get(), reading)?;
                self.filled[*at] = row;
            }
        }
        Ok(())
    }

    /// Puts a part of the record into its column; false if the record has none.
    fn part(&mut self, column: &mut Column, from: &From, content: &Content<'_>) -> Result<bool, Halt> {
        let message = &content.message;
        let pushed = match from {
            From::Field(_) | From::Before(_) => return Ok(false),
            From::Constant(text) => column.push_str(text),
            From::Header(name) => match message.header(name) {
                None => return Ok(false),
                Some(value) => push_text(column, value),
            },
            From::Part(Part::Topic) => column.push_str(message.topic()),
            // Not `partition()`, which is where a message is sent.
            From::Part(Part::Partition) => match message.cut() {
                None => return Ok(false),
                Some(cut) => column.push_i64(i64::from(cut.partition)),
            },
            From::Part(Part::Offset) => column.push_u128(message.position()),
            From::Part(Part::Timestamp) => {
                self.number(column, i128::from(message.timestamp_ms()), &Reading::Timestamp(Unit::Milliseconds))
            }
            From::Part(Part::Key) => match message.key() {
                None => return Ok(false),
                Some(key) => push_text(column, key),
            },
            From::Part(Part::Value) => match message.value() {
                None => return Ok(false),
                Some(value) => push_text(column, value),
            },
            From::Part(Part::Headers) => {
                self.scratch.clear();
                headers(message, &mut self.scratch)?;
                column.push_json(&self.scratch, &Reading::Plain)
            }
            From::Part(Part::Operation) => match content.change {
                None => return Ok(false),
                Some(change) => column.push_str(change.op.letter()),
            },
            From::Part(Part::Position) => match content.change.and_then(|change| change.version) {
                None => return Ok(false),
                Some(version) => column.push_u128(version),
            },
            From::Part(Part::Committed) => match content.change.and_then(|change| change.committed_us) {
                None => return Ok(false),
                Some(us) => self.number(column, i128::from(us), &Reading::Timestamp(Unit::Microseconds)),
            },
        };
        pushed.map_err(Unfit::from)?;
        Ok(true)
    }

    fn number(&mut self, column: &mut Column, number: i128, reading: &Reading) -> Result<(), Misfit> {
        self.scratch.clear();
        // Writing to a string does not fail.
        let _ = write!(self.scratch, "{number}");
        column.push_json(&self.scratch, reading)
    }
}

/// Puts a field of the row into its column: as it is, or as it was if it was left out because it did not change.
#[inline]
fn put(
    layout: &mut Layout,
    at: usize,
    name: &str,
    value: &str,
    content: &Content<'_>,
    readings: &Readings,
) -> Result<(), Halt> {
    let (column, target) = (&mut layout.block.columns[at], &layout.targets[at]);
    if content.change.is_none() {
        return store(column, target, value, readings.of(name));
    }
    if content.taken_along.contains(&at) {
        return take_along(at, column, content);
    }
    if content.is_deleted {
        return store_deleted(column, target, value, readings.of(name));
    }
    if !readings.is_left_out(value) {
        return store(column, target, value, readings.of(name));
    }
    let was = content.before.and_then(|before| before.get(name)).map(Raw::get);
    match was.filter(|was| !readings.is_left_out(was)) {
        // An old row of a narrow identity has null for what it does not tell; a value that was left out is never null.
        Some(was) if was != "null" => store(column, target, was, readings.of(name)),
        _ => match content.known {
            None => Err(Halt::LeftOut(at)),
            Some(known) => known.put(at, column, content.change.and_then(|change| change.version)),
        },
    }
}

/// Stores a value. NULL in the place of a DEFAULT is what is missing; a null that the record says is none.
#[inline]
fn store(column: &mut Column, target: &Target, value: &str, reading: &Reading) -> Result<(), Halt> {
    if target.missing == Missing::Default && value == "null" {
        let (column, wanted) = (column.name().to_owned(), target.of.text().to_owned());
        return Err(Unfit::Misfit(Misfit { column, wanted, what: What::Null }).into());
    }
    column.push_json(value, reading).map_err(|misfit| Halt::Unfit(Unfit::Misfit(misfit)))
}

/// Stores what is known of a deleted row: its key as it is; of the rest, what does not fit is never read.
fn store_deleted(column: &mut Column, target: &Target, value: &str, reading: &Reading) -> Result<(), Halt> {
    if target.is_key {
        return store(column, target, value, reading);
    }
    if value == "null" && target.missing != Missing::Null {
        column.push_empty();
        return Ok(());
    }
    if column.push_json(value, reading).is_err() {
        column.push_empty();
    }
    Ok(())
}

/// Stores what a row held that lives on under another key.
fn take_along(at: usize, column: &mut Column, content: &Content<'_>) -> Result<(), Halt> {
    let known = content.known.ok_or(Halt::LeftOut(at))?;
    known.leave(at, column, content.change.and_then(|change| change.version));
    Ok(())
}

/// Fills a column for which the record has nothing.
fn missing(at: usize, column: &mut Column, target: &Target, content: &Content<'_>) -> Result<(), Halt> {
    if target.is_key {
        return Err(Unfit::NoKey(column.name().to_owned()).into());
    }
    if content.taken_along.contains(&at) {
        return take_along(at, column, content);
    }
    if content.is_deleted {
        column.push_empty();
        return Ok(());
    }
    match target.missing {
        Missing::Null | Missing::Default => column.push_null().map_err(|misfit| Halt::Unfit(Unfit::Misfit(misfit))),
        Missing::Empty => {
            column.push_empty();
            Ok(())
        }
        Missing::Refused => Err(Unfit::Missing(column.name().to_owned()).into()),
    }
}

/// Bytes as a text if they are one, else as they are.
fn push_text(column: &mut Column, bytes: &[u8]) -> Result<(), Misfit> {
    match str::from_utf8(bytes) {
        Ok(text) => column.push_str(text),
        Err(_) => column.push_bytes(bytes),
    }
}

/// The headers as a list of pairs: a name may be there twice, and a value may be null.
fn headers(message: &MessageRef<'_>, json: &mut String) -> Result<(), Unfit> {
    json.push('[');
    for (at, (name, value)) in message.headers().enumerate() {
        let value = match value.map(str::from_utf8) {
            None => serde_json::Value::Null,
            Some(Ok(text)) => text.into(),
            Some(Err(_)) => return Err(Unfit::Header(name.to_owned())),
        };
        let comma = if at == 0 { "" } else { "," };
        // Writing to a string does not fail.
        let _ = write!(json, "{comma}[{},{value}]", serde_json::Value::from(name));
    }
    json.push(']');
    Ok(())
}
