//! Where each column of a table is filled from: a feed of the configuration, matched with the table as it is.

use std::collections::{HashMap, HashSet};

use crate::encode::native::{Block, Column, Type};
use crate::sinks::clickhouse::options::{Feed, From, Rows};
use crate::sinks::clickhouse::table::{Table, TableColumn};

/// What takes the place of a value that a record has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// NULL.
    Null,
    /// The column's DEFAULT: the block holds NULL, and the server knows what it stands for.
    Default,
    /// Nothing: an empty list or map, which is the column's DEFAULT.
    Empty,
    /// Nothing may: the record is refused.
    Refused,
}

/// A column that is filled.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// What takes the place of a value that is not there.
    pub(super) missing: Missing,
    /// Whether it belongs to the key by which rows replace each other.
    pub(super) is_key: bool,
    /// The type that the table has.
    pub(super) of: Type,
}

/// Where each column of a table is filled from. Has the block, so that its room is used again.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// The columns, empty or being filled.
    pub(super) block: Block,
    /// What each of them is.
    pub(super) targets: Vec<Target>,
    /// The names of all columns of the table, those that are not filled too.
    pub(super) known: HashSet<Box<str>>,
    /// The columns that the field of a name fills, of the row as it is.
    pub(super) fields: HashMap<Box<str>, Vec<usize>>,
    /// The columns that the field of a name fills, of the row as it was.
    pub(super) befores: HashMap<Box<str>, Vec<usize>>,
    /// The columns that are filled from elsewhere.
    pub(super) others: Vec<(usize, From)>,
    /// The column of the version, in a table of current rows.
    pub(super) version: Option<usize>,
    /// The column of the mark of deleted rows, in a table of current rows.
    pub(super) deleted: Option<usize>,
}

/// Why a feed and a table do not go together, as a sentence and its mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mismatch {
    /// What is wrong.
    pub(super) what: String,
    /// How to mend it.
    pub(super) help: String,
}

impl Layout {
    /// Matches `feed` with `table`.
    pub(super) fn of(feed: &Feed, table: &Table) -> Result<Self, Mismatch> {
        let is_current = matches!(feed.rows, Rows::Current { .. });
        let (version, deleted) = of_engine(feed, table);
        let mut layout = Self {
            block: Block::default(),
            targets: Vec::new(),
            known: table.columns.iter().map(|column| column.name.as_str().into()).collect(),
            fields: HashMap::new(),
            befores: HashMap::new(),
            others: Vec::new(),
            version: None,
            deleted: None,
        };
        for column in wanted(feed, table)? {
            let at = layout.targets.len();
            let (block_column, target) = fillable(column, table, is_current)?;
            let own = Some(column.name.as_str());
            if is_current && own == version {
                layout.version = Some(at);
            } else if is_current && own == deleted {
                layout.deleted = Some(at);
            } else {
                layout.fill(at, feed, &column.name);
            }
            layout.block.columns.push(block_column);
            layout.targets.push(target);
        }
        Ok(layout)
    }

    fn fill(&mut self, at: usize, feed: &Feed, column: &str) {
        match feed.from.iter().find(|(name, _)| name == column).map(|(_, from)| from) {
            None => self.fields.entry(column.into()).or_default().push(at),
            Some(From::Field(field)) => self.fields.entry(field.as_str().into()).or_default().push(at),
            Some(From::Before(field)) => self.befores.entry(field.as_str().into()).or_default().push(at),
            Some(other) => self.others.push((at, other.clone())),
        }
    }

    /// Whether a record has to be understood; if not, its parts are taken as they are, whatever they are.
    pub(super) fn reads_records(&self) -> bool {
        let is_of_change = |from: &From| {
            use crate::sinks::clickhouse::options::Part::{Committed, Operation, Position};
            matches!(from, From::Part(Committed | Operation | Position))
        };
        self.version.is_some()
            || !self.fields.is_empty()
            || !self.befores.is_empty()
            || self.others.iter().any(|(_, from)| is_of_change(from))
    }
}

/// The columns of the version and of the mark of deleted rows.
fn of_engine<'t>(feed: &Feed, table: &'t Table) -> (Option<&'t str>, Option<&'t str>) {
    match feed.rows {
        Rows::Current { .. } => table.replacing().unwrap_or_default(),
        Rows::Append { .. } => (None, None),
    }
}

/// The columns that the feed fills, in the table's order.
fn wanted<'t>(feed: &Feed, table: &'t Table) -> Result<Vec<&'t TableColumn>, Mismatch> {
    let named = feed.columns.iter().flatten().chain(feed.from.iter().map(|(column, _)| column));
    for name in named {
        let what = match table.column(name) {
            Some(column) if is_fillable(column) => continue,
            Some(_) => format!("column {name} of {} is computed, and cannot be filled", table.name),
            None => format!("table {} has no column {name}", table.name),
        };
        let help = format!("Mend `columns` or `from` of [load.tables.{}], or add the column.", feed.name);
        return Err(Mismatch { what, help });
    }
    let (version, deleted) = of_engine(feed, table);
    let is_wanted = |column: &&TableColumn| {
        let name = &column.name;
        let own = Some(name.as_str());
        is_fillable(column)
            && (own == version
                || own == deleted
                || feed.from.iter().any(|(own, _)| own == name)
                || feed.columns.as_ref().is_none_or(|columns| columns.contains(name)))
    };
    Ok(table.columns.iter().filter(is_wanted).collect())
}

/// Whether the table stores what an insert says for the column.
fn is_fillable(column: &TableColumn) -> bool {
    column.is_writable() && column.default_kind != "EPHEMERAL"
}

/// A column of the block, and what is known of it.
fn fillable(column: &TableColumn, table: &Table, is_current: bool) -> Result<(Column, Target), Mismatch> {
    let of = Type::parse(&column.kind).map_err(|error| Mismatch {
        what: format!("column {} of {}: {error}", column.name, table.name),
        help: "Leave the column out of `columns`, or compute it in a materialized view.".to_owned(),
    })?;
    let missing = if of.is_nullable() {
        Missing::Null
    } else if column.has_default() && of.can_be_nullable() {
        Missing::Default
    } else if column.has_default() && is_empty_literal(&column.default_expression) {
        Missing::Empty
    } else {
        Missing::Refused
    };
    let in_block = if missing == Missing::Default { of.nullable() } else { of.clone() };
    let mut block_column = Column::new(column.name.clone(), in_block);
    if of.is_collection() {
        block_column = block_column.emptying_null();
    }
    Ok((block_column, Target { missing, is_key: is_current && column.in_sorting_key, of }))
}

fn is_empty_literal(expression: &str) -> bool {
    matches!(expression.replace(' ', "").as_str(), "[]" | "map()" | "array()")
}
