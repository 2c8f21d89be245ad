//! What is known of a table before any of its rows comes: its topic, its columns' writers, and every text between them.

use std::sync::Arc;

use crate::shape::change::Set;
use crate::shape::change::envelope::{around, key_schema, quoted, value_schema};
use crate::shape::change::mask::{self, Mask};
use crate::shape::change::options::{ChangeForm, Unsupported};
use crate::shape::change::pattern::ColumnPattern;
use crate::shape::change::source;
use crate::shape::change::table::{Column, Identity, Table};
use crate::shape::change::topic::{Names, legal};
use crate::shape::change::types::{ColumnWriter, UnsupportedType};
use crate::shape::json;

/// How the changes of a table are written, compiled when the table is described.
#[derive(Debug, Clone)]
pub struct Form {
    pub(super) topic: Arc<str>,
    identity: Identity,
    /// `schema.table`.
    pub(super) table: String,
    /// How many values a tuple has.
    pub(super) width: usize,
    pub(super) columns: Vec<Slot>,
    pub(super) key: Vec<Slot>,
    /// From the beginning of a value to its `before`.
    pub(super) open: Vec<u8>,
    /// Behind the last time.
    pub(super) close: Vec<u8>,
    /// What names it in a change's source.
    pub(super) names: Vec<u8>,
    /// Before and behind a key's object.
    pub(super) around_key: (Vec<u8>, Vec<u8>),
}

/// A column of a record.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    /// Its place in a tuple.
    pub(super) place: usize,
    /// What opens the object or parts it from the column before, its name, and a colon.
    pub(super) name: Vec<u8>,
    pub(super) writer: ColumnWriter,
    pub(super) mask: Option<Mask>,
    /// What a null becomes.
    pub(super) null: Vec<u8>,
    /// What stands for a value that was not sent, because it did not change.
    pub(super) unchanged: Vec<u8>,
    /// Its schema.
    pub(super) schema: String,
    /// What it is called in a reason.
    pub(super) called: String,
}

impl Form {
    /// The topic of the table's changes.
    #[must_use]
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// Whether records of the table have a key.
    #[must_use]
    pub fn has_key(&self) -> bool {
        !self.key.is_empty()
    }

    /// The published columns whose values are the texts of types that have no form of their own, as a reason calls them.
    pub fn others(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().filter(|slot| slot.writer.is_other()).map(|slot| slot.called.as_str())
    }

    /// The table's name with its schema, as transactions' ends name it.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }

    /// What an update or a delete tells of the row that was.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    pub(super) fn compile(table: &Table, set: &Set) -> Result<Self, Unsupported> {
        let options = &set.options;
        let described = Described { name: format!("{}.{}", table.schema, table.name), table, set };
        let key = described.key()?;
        let columns = described.columns()?;
        let topic = set.topic.render(Names {
            schema: &table.schema,
            table: &table.name,
            database: &options.database,
            prefix: &options.prefix,
        });
        let schemas = legal(&format!("{}.{}", options.prefix, described.name));
        let (mut open, mut close) = around(options.schemas, &value_schema(&columns, &schemas));
        open.extend_from_slice(br#"{"before":"#);
        close.insert(0, b'}');
        Ok(Self {
            topic: Arc::from(topic),
            identity: table.identity,
            width: table.columns.len(),
            open,
            close,
            names: source::names(&table.schema, &table.name),
            around_key: around(options.schemas, &key_schema(&key, &schemas)),
            table: described.name,
            columns,
            key,
        })
    }
}

/// A table, and what the options say of tables.
struct Described<'t> {
    name: String,
    table: &'t Table,
    set: &'t Set,
}

impl Described<'_> {
    fn names(&self, patterns: &[ColumnPattern], column: &Column) -> bool {
        patterns.iter().any(|pattern| pattern.matches(&self.table.schema, &self.table.name, &column.name))
    }

    /// Whether a column is part of the value.
    fn publishes(&self, column: &Column) -> bool {
        let listed = self.set.columns_only.is_empty() || self.names(&self.set.columns_only, column);
        listed && !self.names(&self.set.columns_except, column)
    }

    fn columns(&self) -> Result<Vec<Slot>, Unsupported> {
        let mut slots = Vec::new();
        for (place, column) in self.table.columns.iter().enumerate() {
            if self.publishes(column) {
                let mask = self.mask(column)?;
                slots.push(self.slot(column, place, slots.is_empty(), mask)?);
            }
        }
        Ok(slots)
    }

    /// The mask that the options put on a column.
    fn masked(&self, column: &Column) -> Option<&Mask> {
        let Table { schema, name, .. } = self.table;
        let found = self.set.masks.iter().find(|(pattern, _)| pattern.matches(schema, name, &column.name));
        found.map(|(_, mask)| mask)
    }

    fn mask(&self, column: &Column) -> Result<Option<Mask>, Unsupported> {
        let Some(mask) = self.masked(column) else { return Ok(None) };
        if !mask::fits(&column.of) {
            let (table, column, of) = (self.name.clone(), column.name.clone(), column.of.name.clone());
            return Err(Unsupported::MaskedType { table, column, of });
        }
        Ok(Some(mask.of(column)))
    }

    fn key(&self) -> Result<Vec<Slot>, Unsupported> {
        let mut slots = Vec::new();
        for place in self.key_places()? {
            let Some(column) = self.table.columns.get(place) else { continue };
            if self.masked(column).is_some() {
                return Err(Unsupported::MaskedKey { table: self.name.clone(), column: column.name.clone() });
            }
            // Of a column that it leaves out, Debezium does not ask whether it can be null.
            let forgets = self.set.options.form == ChangeForm::Debezium && !self.publishes(column);
            let column = Column { optional: column.optional || forgets, ..column.clone() };
            slots.push(self.slot(&column, place, slots.is_empty(), None)?);
        }
        Ok(slots)
    }

    fn key_places(&self) -> Result<Vec<usize>, Unsupported> {
        let Table { schema, name, columns, key, identity } = self.table;
        let Some((_, chosen)) = self.set.keys.iter().find(|(pattern, _)| pattern.matches(schema, name)) else {
            return Ok(key.clone());
        };
        let mut places = Vec::new();
        for column in chosen {
            let (table, column) = (self.name.clone(), column.clone());
            let Some(place) = columns.iter().position(|found| found.name == column) else {
                return Err(Unsupported::NoKeyColumn { table, column });
            };
            if *identity == Identity::Default && !key.is_empty() && !key.contains(&place) {
                return Err(Unsupported::KeyNotTold { table, column });
            }
            places.push(place);
        }
        Ok(places)
    }

    fn slot(&self, column: &Column, place: usize, is_first: bool, mask: Option<Mask>) -> Result<Slot, Unsupported> {
        let options = &self.set.options;
        let unsupported = |UnsupportedType { name: of, why }| {
            let why = if why.is_empty() { why } else { format!(" ({why})") };
            Unsupported::Type { table: self.name.clone(), column: column.name.clone(), of, why }
        };
        let writer = ColumnWriter::new(column, &options.types).map_err(unsupported)?;
        let mut name = vec![if is_first { b'{' } else { b',' }];
        json::quote(&column.name, &mut name);
        name.push(b':');
        let mut null = null(column, &writer, options.form, options.schemas).into_bytes();
        let mut unchanged = Vec::new();
        writer.placeholder(&mut unchanged);
        if let Some(mask) = &mask {
            null = mask.constant(&null);
            // Debezium takes what stands for the value for the value.
            if options.form == ChangeForm::Debezium || matches!(mask, Mask::Asterisks(_)) {
                unchanged = mask.constant(&unchanged);
            }
        }
        let mut schema = writer.schema(Some(&column.name));
        if let Some(mask) = &mask {
            schema = mask.schema(&schema);
        }
        let called = format!("column {} of {}", quoted(&column.name), self.name);
        Ok(Slot { place, name, writer, mask, null, unchanged, schema, called })
    }
}

/// What a null becomes. Kafka Connect's converter publishes a column's default instead; and where a null is not allowed,
/// because the value is not known, Debezium writes a zero. We write neither, unless a schema says that there must be a value.
fn null(column: &Column, writer: &ColumnWriter, form: ChangeForm, schemas: bool) -> String {
    let value = || writer.default_json().unwrap_or_else(|| writer.zero_json());
    match form {
        ChangeForm::Debezium if column.optional => writer.default_json().unwrap_or_else(|| "null".to_owned()),
        ChangeForm::Debezium => value(),
        ChangeForm::Native if schemas && !column.optional => value(),
        ChangeForm::Native => "null".to_owned(),
    }
}
