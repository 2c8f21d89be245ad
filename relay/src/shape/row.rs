//! A row of an outbox, or a message that stands for one: the values of its mapped columns, and what types they have.

/// Columns beside the mapped ones that an outbox can read at most.
pub const FURTHER_MAX: usize = 64;

/// The columns of one outbox row, in the text form in which Postgres sends them; `None` is SQL null.
#[derive(Debug, Clone, Copy, Default)]
pub struct OutboxRow<'r> {
    /// The event's id.
    pub id: Option<&'r [u8]>,
    /// The kind of thing that the event is about.
    pub aggregate_type: Option<&'r [u8]>,
    /// The thing that the event is about.
    pub aggregate_id: Option<&'r [u8]>,
    /// The event's type.
    pub event_type: Option<&'r [u8]>,
    /// The payload as text, or in the hex form of `bytea` if its column has that type.
    pub payload: Option<&'r [u8]>,
    /// The payload as `bytea` in hex form, used where `payload` is null.
    pub payload_bytes: Option<&'r [u8]>,
    /// The event's own headers, a JSON object.
    pub headers: Option<&'r [u8]>,
    /// The further columns, in the order in which the outbox asked for them.
    pub further: &'r [Option<&'r [u8]>],
}

impl<'r> OutboxRow<'r> {
    /// The value of a column.
    #[must_use]
    pub fn get(&self, field: Field) -> Option<&'r [u8]> {
        match field {
            Field::Id => self.id,
            Field::AggregateType => self.aggregate_type,
            Field::AggregateId => self.aggregate_id,
            Field::EventType => self.event_type,
            Field::Further(index) => self.further.get(usize::from(index)).copied().flatten(),
        }
    }
}

/// A column that a template or a header can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The event's id.
    Id,
    /// The kind of thing that the event is about.
    AggregateType,
    /// The thing that the event is about.
    AggregateId,
    /// The event's type.
    EventType,
    /// A further column, by its place among those that the outbox asked for.
    Further(u16),
}

/// What a column is, as far as its value's form depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Type {
    /// `boolean`.
    Boolean,
    /// `smallint`.
    Int16,
    /// `integer`.
    Int32,
    /// `bigint`.
    Int64,
    /// `bytea`.
    Bytes,
    /// `uuid`.
    Uuid,
    /// `json` or `jsonb`.
    Json,
    /// `timestamp`, without a time zone.
    Timestamp,
    /// `timestamptz`.
    TimestampTz,
    /// `text`, `varchar`, `char`.
    #[default]
    Text,
    /// Anything else, by its OID.
    Other(u32),
}

impl Type {
    /// The type with this OID: <https://github.com/postgres/postgres/blob/master/src/include/catalog/pg_type.dat>.
    #[must_use]
    pub fn of(oid: u32) -> Self {
        match oid {
            16 => Self::Boolean,
            17 => Self::Bytes,
            20 => Self::Int64,
            21 => Self::Int16,
            23 => Self::Int32,
            25 | 1042 | 1043 => Self::Text,
            114 | 3802 => Self::Json,
            1114 => Self::Timestamp,
            1184 => Self::TimestampTz,
            2950 => Self::Uuid,
            other => Self::Other(other),
        }
    }
}

/// A column's type, and whether it can be null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its type.
    pub of: Type,
    /// Whether it can be null.
    pub optional: bool,
}

impl Default for Column {
    fn default() -> Self {
        Self { of: Type::Text, optional: true }
    }
}

/// The types of an outbox' columns: what it looks like until it is described anew.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RowTypes {
    /// Of the event's id.
    pub id: Column,
    /// Of the kind of thing.
    pub aggregate_type: Column,
    /// Of the thing.
    pub aggregate_id: Column,
    /// Of the payload.
    pub payload: Column,
    /// Of the further columns; `None` where the table has no such column.
    pub further: Vec<Option<Column>>,
}
