//! A captured table as it is described: by the stream as far as it goes, for the rest by the catalog.

/// A captured table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The schema that it lies in.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its published columns, in the order in which tuples carry them.
    pub columns: Vec<Column>,
    /// The places in `columns` of those that make its key, in the key's order; none: it has no key.
    pub key: Vec<usize>,
    /// What an update or a delete tells of the row that was.
    pub identity: Identity,
}

/// What an update or a delete tells of the row that was:
/// <https://www.postgresql.org/docs/current/sql-altertable.html#SQL-ALTERTABLE-REPLICA-IDENTITY>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Identity {
    /// The columns of the primary key.
    #[default]
    Default,
    /// Every column.
    Full,
    /// The columns of a unique index.
    Index,
    /// Nothing: the table can only be inserted into while a publication has its updates and deletes.
    Nothing,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    pub of: DataType,
    /// The type's modifier, as `pg_attribute.atttypmod`; -1 is none.
    pub modifier: i32,
    /// Whether it can be null.
    pub optional: bool,
    /// The constant that is its default, as the type's output text; `None`: none, or not a constant.
    pub default: Option<String>,
    /// Whether it has a default that is a constant or the call of a function.
    pub has_default: bool,
    /// Whether it is computed from the others.
    pub generated: bool,
}

/// A type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataType {
    /// Its OID.
    pub oid: u32,
    /// The schema that it lies in.
    pub schema: String,
    /// Its name, as `pg_type.typname`.
    pub name: String,
    /// What kind of type it is.
    pub kind: TypeKind,
}

/// What kind of type one is: <https://www.postgresql.org/docs/current/catalog-pg-type.html>.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypeKind {
    /// A type with a form of its own.
    Base,
    /// One of a list of labels.
    Enum {
        /// They, in their order.
        labels: Vec<String>,
    },
    /// Another type, with constraints.
    Domain {
        /// It.
        base: Box<DataType>,
        /// Its modifier; -1 is none.
        modifier: i32,
    },
    /// Any number of elements of a type.
    Array {
        /// It.
        element: Box<DataType>,
    },
    /// A row.
    Composite {
        /// Its fields, in their order.
        fields: Vec<Field>,
    },
    /// From one value of a type to another.
    Range {
        /// It.
        subtype: Box<DataType>,
    },
    /// Several ranges of a type.
    Multirange {
        /// The range.
        range: Box<DataType>,
    },
    /// No type that a column could have.
    Pseudo,
}

/// A field of a composite type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type.
    pub of: DataType,
    /// The type's modifier; -1 is none.
    pub modifier: i32,
}
