//! The tables: with and without a key, with every replica identity, partitioned, with values that are stored out of line.

use crate::random::Random;
use crate::state::kind::{Kind, uuid};

/// Keys are made of the numbers below this, so that operations meet the same rows again.
pub(super) const KEYS: u64 = 400;

/// The labels that the enum begins with.
pub(super) const LABELS: u64 = 3;

/// The last table to be written: when its row arrives, everything was read.
pub(crate) const FENCE: &str = "fence";

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: Kind,
}

/// What an update or a delete tells of the row as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// The primary key.
    Default,
    /// The row.
    Full,
    /// The columns of a unique index.
    Index,
    /// Nothing.
    Nothing,
}

/// A table.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// The columns that name a row; none: nothing does.
    pub key: Vec<Column>,
    /// The other columns.
    pub columns: Vec<Column>,
    /// Its replica identity.
    pub identity: Identity,
    /// Whether `key` is the primary key.
    pub primary: bool,
    /// Whether it is cut into partitions.
    pub partitioned: bool,
}

impl Table {
    /// A table with that identity, whose key, if it has one, is its primary key unless an index identifies its rows.
    pub(crate) fn new(name: &'static str, key: &[(&str, Kind)], columns: &[(&str, Kind)], identity: Identity) -> Self {
        let of = |columns: &[(&str, Kind)]| {
            columns.iter().map(|(name, kind)| Column { name: (*name).to_owned(), kind: *kind }).collect()
        };
        let primary = !key.is_empty() && identity != Identity::Index;
        Self { name, key: of(key), columns: of(columns), identity, primary, partitioned: false }
    }

    /// The statement by which it gets an identity under which Postgres refuses updates and deletes, once it is published.
    pub(super) fn refusing(&self) -> Option<String> {
        let identity = if self.identity == Identity::Nothing { "nothing" } else { "default" };
        (!self.mutable()).then(|| format!("alter table {} replica identity {identity};\n", self.quoted()))
    }

    /// Whether Postgres lets its rows be updated and deleted: a published table needs an identity for that.
    pub fn mutable(&self) -> bool {
        match self.identity {
            Identity::Default => self.primary,
            Identity::Full | Identity::Index => true,
            Identity::Nothing => false,
        }
    }

    /// The table's name as SQL has it.
    pub fn quoted(&self) -> String {
        quoted(self.name)
    }

    /// Every column, those of the key first.
    pub fn all(&self) -> impl Iterator<Item = &Column> {
        self.key.iter().chain(&self.columns)
    }

    /// The values of the key that the number `n` stands for.
    pub fn key_values(&self, n: u64) -> Vec<String> {
        let two = self.key.len() > 1;
        let value = |column: &Column| match column.kind {
            Kind::Text => format!("k{}", if two { n % 20 } else { n }),
            Kind::Uuid => uuid(0x1234_5678_0000_4000_8000_0000_0000_0000 + u128::from(n)),
            _ => (if two { n / 20 } else { n }).to_string(),
        };
        self.key.iter().map(value).collect()
    }

    /// Random values of the columns that are no key.
    pub fn values(&self, random: &mut Random, labels: u64) -> Vec<Option<String>> {
        let mut value = |column: &Column| (!random.chance(80)).then(|| column.kind.value(random, labels));
        self.columns.iter().map(&mut value).collect()
    }

    /// The statements that create it.
    pub fn sql(&self) -> String {
        let name = self.quoted();
        let column =
            |column: &Column, not_null: &str| format!("{} {}{not_null}", quoted(&column.name), column.kind.sql());
        let mut parts: Vec<String> = self.key.iter().map(|key| column(key, " not null")).collect();
        parts.extend(self.columns.iter().map(|of| column(of, "")));
        let key = names(&self.key);
        if self.primary {
            parts.push(format!("primary key ({key})"));
        }
        let by = if self.partitioned { format!(" partition by range ({key})") } else { String::new() };
        let mut sql = format!("create table {name} ({}){by};\n", parts.join(", "));
        if self.partitioned {
            for (part, (from, to)) in [(0, 100), (100, 200), (200, 300)].into_iter().enumerate() {
                sql += &format!(
                    "create table {}_{part} partition of {name} for values from ({from}) to ({to});\n",
                    self.name
                );
            }
            sql += &format!("create table {}_rest partition of {name} default;\n", self.name);
        }
        match self.identity {
            Identity::Default if self.mutable() => {}
            // Those that let nothing be updated are refused by `postrider init`: see `refusing`.
            Identity::Full | Identity::Default | Identity::Nothing => {
                sql += &format!("alter table {name} replica identity full;\n");
            }
            Identity::Index => {
                let index = format!("{}_key", self.name);
                sql += &format!(
                    "create unique index {index} on {name} ({key});\nalter table {name} replica identity using index {index};\n"
                );
            }
        }
        sql
    }
}

/// An identifier in SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The names of columns, for a list in SQL.
pub(super) fn names<'c>(columns: impl IntoIterator<Item = &'c Column>) -> String {
    columns.into_iter().map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", ")
}

/// The tables and types as they are at the moment.
#[derive(Debug, Clone)]
pub struct Schema {
    /// The tables.
    pub tables: Vec<Table>,
    /// How many labels the enum has.
    pub labels: u64,
    /// Counts the names of new columns: none comes twice.
    pub(super) made: u64,
}

impl Schema {
    /// The schema that a run begins with.
    pub fn new() -> Self {
        use Kind as K;
        let every: Vec<(String, Kind)> =
            K::ALL.iter().map(|kind| (format!("{kind:?}").to_lowercase(), *kind)).collect();
        let every: Vec<(&str, Kind)> = every.iter().map(|(name, kind)| (name.as_str(), *kind)).collect();
        let article = [("title", K::Text), ("body", K::Long), ("more", K::Long), ("n", K::Int)];
        let few = [("note", K::Text), ("n", K::Int), ("at", K::Timestamptz), ("price", K::Price)];
        let tables = vec![
            Table::new("wide", &[("id", K::Int)], &every, Identity::Default),
            Table::new("wide_full", &[("id", K::Big)], &every, Identity::Full),
            Table::new("pair", &[("a", K::Int), ("b", K::Text)], &few, Identity::Default),
            Table::new("bag", &[], &[("id", K::Positive), ("note", K::Text), ("body", K::Long)], Identity::Full),
            Table::new("chosen", &[("code", K::Text)], &few, Identity::Index),
            Table::new("quiet", &[("id", K::Int)], &few, Identity::Nothing),
            Table::new("journal", &[], &few, Identity::Default),
            Table::new("article", &[("id", K::Uuid)], &article, Identity::Default),
            Table::new("article_full", &[("id", K::Int)], &article, Identity::Full),
            Table {
                partitioned: true,
                ..Table::new("parted", &[("id", K::Int)], &[("body", K::Long), ("n", K::Int)], Identity::Default)
            },
            Table::new("Mixed", &[("Größe", K::Int)], &[("a b", K::Text), ("select", K::Mood)], Identity::Default),
        ];
        Self { tables, labels: LABELS, made: 0 }
    }

    /// The statements that create everything.
    pub fn sql(&self) -> String {
        let labels = (0..self.labels).map(|label| format!("'m{label}'")).collect::<Vec<_>>().join(", ");
        let tables: String = self.tables.iter().map(Table::sql).collect();
        format!(
            "create type mood as enum ({labels});\ncreate domain positive as integer check (value > 0);\n{tables}\
             create table {FENCE} (id integer primary key, n integer);\n"
        )
    }
}

impl Default for Schema {
    fn default() -> Self {
        Self::new()
    }
}
