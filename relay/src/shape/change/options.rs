//! How captured tables become messages: plain data.

use thiserror::Error;

use crate::shape::change::types::TypeOptions;

/// How captured tables become messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureOptions {
    /// The number of the route, which messages carry.
    pub route: u16,
    /// The database's name, `source.db`.
    pub database: String,
    /// The logical name of the database: `source.name`, and what Debezium's topics begin with.
    pub prefix: String,
    /// The topic template; it knows `{schema}`, `{table}`, `{database}` and `{prefix}`.
    pub topic: String,
    /// In whose form.
    pub form: ChangeForm,
    /// Whether each key and value carries its schema.
    pub schemas: bool,
    /// Whether a record without value follows each delete.
    pub tombstones: bool,
    /// How values of each type are written.
    pub types: TypeOptions,
    /// The tables that are captured: patterns `schema.table`, `*` standing for any part of a name.
    pub tables: Vec<String>,
    /// Those that are not, although `tables` names them.
    pub tables_except: Vec<String>,
    /// If there is any, the only columns that are published: patterns `schema.table.column`. Key columns always are.
    pub columns_only: Vec<String>,
    /// The columns that are not published; not together with `columns_only`. A key column can be left out of the value only.
    pub columns_except: Vec<String>,
    /// Masks of columns; the first that names a column counts.
    pub masks: Vec<MaskOptions>,
    /// The key columns of tables, instead of their primary key; the first that names a table counts.
    pub keys: Vec<KeyOptions>,
    /// What is not published.
    pub skipped: Skipped,
    /// Whether an update that changed no published column is left out; it shows only under REPLICA IDENTITY FULL.
    pub skip_unchanged: bool,
    /// The topic of transactions' begins and ends; none: they are not told, and events do not tell their place.
    pub transaction_topic: Option<String>,
    /// The prefixes of logical messages that are published, `*` standing for any part of one.
    pub message_prefixes: Vec<String>,
    /// Their topic.
    pub message_topic: String,
    /// In Debezium's form, how the values of headers are written.
    pub headers: HeaderForm,
    /// In Debezium's form, what the context headers call this run; `None`: there are no context headers.
    pub run_id: Option<String>,
}

impl CaptureOptions {
    /// Every table in our own form, to the topics that `topic` names.
    #[must_use]
    pub fn usual(database: &str, prefix: &str, topic: &str) -> Self {
        Self {
            route: 0,
            database: database.to_owned(),
            prefix: prefix.to_owned(),
            topic: topic.to_owned(),
            form: ChangeForm::Native,
            schemas: false,
            tombstones: true,
            types: TypeOptions::default(),
            tables: vec!["*.*".to_owned()],
            tables_except: Vec::new(),
            columns_only: Vec::new(),
            columns_except: Vec::new(),
            masks: Vec::new(),
            keys: Vec::new(),
            skipped: Skipped::default(),
            skip_unchanged: false,
            transaction_topic: None,
            message_prefixes: Vec::new(),
            message_topic: format!("{prefix}.message"),
            headers: HeaderForm::default(),
            run_id: None,
        }
    }
}

/// In whose form changes are published: the envelope is the same, timestamps and headers are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChangeForm {
    /// Ours: the record's time is the commit's, and a header tells the position.
    #[default]
    Native,
    /// Debezium's, to the byte.
    Debezium,
}

/// How the values of headers are written: which of Kafka Connect's header converters does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeaderForm {
    /// `SimpleHeaderConverter`, the usual one: a text as it is, a key as an object.
    #[default]
    Simple,
    /// `JsonConverter`, with schemas where keys and values have them.
    Json,
}

/// Which operations are not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Skipped {
    /// `c`.
    pub create: bool,
    /// `u`, whatever it changed.
    pub update: bool,
    /// `d`.
    pub delete: bool,
    /// `t`.
    pub truncate: bool,
}

/// A mask of columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskOptions {
    /// The pattern of the columns, `schema.table.column`.
    pub columns: String,
    /// What becomes of their values.
    pub mask: MaskForm,
}

/// What becomes of a value of a masked column.
#[derive(Clone, PartialEq, Eq)]
pub enum MaskForm {
    /// It is cut after this many characters.
    Truncate(usize),
    /// It is this many asterisks.
    Asterisks(usize),
    /// It is a salted hash, in hexadecimal digits.
    Hash {
        /// The name of the algorithm, as Java knows it: `SHA-256`.
        algorithm: String,
        /// The salt: a secret.
        salt: String,
    },
}

impl std::fmt::Debug for MaskForm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Truncate(letters) => write!(f, "Truncate({letters})"),
            Self::Asterisks(count) => write!(f, "Asterisks({count})"),
            Self::Hash { algorithm, .. } => write!(f, "Hash({algorithm})"),
        }
    }
}

/// The key of tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyOptions {
    /// The pattern of the tables, `schema.table`.
    pub tables: String,
    /// Their key columns, in order.
    pub columns: Vec<String>,
}

/// Why changes cannot be shaped as the options say.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CaptureError {
    /// A template that is none.
    #[error("a topic template knows {{schema}}, {{table}}, {{database}} and {{prefix}}; found {found:?}")]
    Template {
        /// From the brace on.
        found: String,
    },
    /// Nothing to name a topic by.
    #[error("a topic template must not be empty")]
    EmptyTemplate,
    /// A pattern without the parts that it needs.
    #[error("{found:?} names no {what}: write {form}")]
    Pattern {
        /// The pattern.
        found: String,
        /// What it should name.
        what: &'static str,
        /// How.
        form: &'static str,
    },
    /// Two lists that exclude each other.
    #[error("columns are either listed or excepted: columns_only and columns_except exclude each other")]
    BothColumnLists,
    /// A hash that is none, or not known.
    #[error("no hash is called {found:?}: write {known}")]
    Hash {
        /// The name.
        found: String,
        /// Those that there are.
        known: &'static str,
    },
    /// A key of no columns.
    #[error("the key of {tables:?} names no column")]
    EmptyKey {
        /// The pattern.
        tables: String,
    },
}

/// Why a table cannot be captured as it is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unsupported {
    /// A column of a type that has no form.
    #[error(
        "column {column:?} of {table} has the type {of}, which cannot be published{why}: leave it out with columns_except \
         = [\"{table}.{column}\"], or take it out of the publication's column list"
    )]
    Type {
        /// The table, with its schema.
        table: String,
        /// The column.
        column: String,
        /// Its type.
        of: String,
        /// Why not, after a blank; or nothing.
        why: String,
    },
    /// A mask of a key column: the key would not name the row any more.
    #[error(
        "column {column:?} is masked, and it is part of the key of {table}: two rows could get one key, and what should \
         be hidden would be there in the clear; mask another column, or choose the key with key_columns"
    )]
    MaskedKey {
        /// The table, with its schema.
        table: String,
        /// The column.
        column: String,
    },
    /// A mask that the column's type cannot take.
    #[error(
        "column {column:?} of {table} has the type {of}, which no mask fits (masks are of text columns): leave it out \
         with columns_except"
    )]
    MaskedType {
        /// The table, with its schema.
        table: String,
        /// The column.
        column: String,
        /// Its type.
        of: String,
    },
    /// A key column that an update or a delete would not tell.
    #[error(
        "key_columns names column {column:?} of {table}, which is no part of its primary key: an update or a delete would not \
         tell its old value; say ALTER TABLE {table} REPLICA IDENTITY FULL"
    )]
    KeyNotTold {
        /// The table, with its schema.
        table: String,
        /// The column.
        column: String,
    },
    /// A key column that is not there.
    #[error("key_columns names column {column:?} of {table}, which has none of that name among its published columns")]
    NoKeyColumn {
        /// The table, with its schema.
        table: String,
        /// The column.
        column: String,
    },
}
