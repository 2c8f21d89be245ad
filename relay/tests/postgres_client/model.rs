//! What a pgoutput message says, in owned values that two decoders and an encoder can be compared by.

use pg_walstream::{ColumnData, LogicalReplicationMessage, TupleData};
use postrider_relay::postgres::pgoutput::{Column, Message, OldTuple, ReplicaIdentity, Tuple};

/// One message, in protocol order of its fields; times in microseconds since 2000-01-01.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Begin { final_lsn: u64, time: i64, xid: u32 },
    Commit { commit_lsn: u64, end_lsn: u64, time: i64 },
    Origin { lsn: u64, name: String },
    Relation { oid: u32, namespace: String, name: String, identity: u8, columns: Vec<SaidColumn> },
    Type { oid: u32, namespace: String, name: String },
    Insert { relation: u32, new: Vec<Cell> },
    Update { relation: u32, old: Option<(u8, Vec<Cell>)>, new: Vec<Cell> },
    Delete { relation: u32, old: (u8, Vec<Cell>) },
    Truncate { relations: Vec<u32>, flags: u8 },
    Message { transactional: bool, lsn: u64, prefix: String, content: Vec<u8> },
}

/// A column of a relation: in the key, name, type, modifier.
pub(crate) type SaidColumn = (bool, String, u32, i32);

/// One value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cell {
    Null,
    Unchanged,
    Text(Vec<u8>),
    Binary(Vec<u8>),
}

impl Said {
    /// What our decoder understood.
    pub(crate) fn by_us(message: &Message<'_>) -> Self {
        match *message {
            Message::Begin(begin) => Self::Begin {
                final_lsn: begin.final_lsn.as_u64(),
                time: since_2000(begin.commit_time_us),
                xid: begin.xid,
            },
            Message::Commit(commit) => Self::Commit {
                commit_lsn: commit.commit_lsn.as_u64(),
                end_lsn: commit.end_lsn.as_u64(),
                time: since_2000(commit.commit_time_us),
            },
            Message::Origin(origin) => Self::Origin { lsn: origin.lsn.as_u64(), name: origin.name.into() },
            Message::Relation(relation) => Self::Relation {
                oid: relation.oid,
                namespace: relation.namespace.into(),
                name: relation.name.into(),
                identity: identity(relation.replica_identity),
                columns: relation
                    .columns()
                    .map(|column| (column.key, column.name.into(), column.type_oid, column.type_modifier))
                    .collect(),
            },
            Message::Type(kind) => {
                Self::Type { oid: kind.oid, namespace: kind.namespace.into(), name: kind.name.into() }
            }
            Message::Insert(insert) => Self::Insert { relation: insert.relation, new: cells(insert.new) },
            Message::Update(update) => {
                Self::Update { relation: update.relation, old: update.old.map(old), new: cells(update.new) }
            }
            Message::Delete(delete) => Self::Delete { relation: delete.relation, old: old(delete.old) },
            Message::Truncate(truncate) => Self::Truncate {
                relations: truncate.relations().collect(),
                flags: u8::from(truncate.cascade) | u8::from(truncate.restart_identity) << 1,
            },
            Message::Message(message) => Self::Message {
                transactional: message.transactional,
                lsn: message.lsn.as_u64(),
                prefix: message.prefix.into(),
                content: message.content.into(),
            },
        }
    }

    /// What `pg_walstream` understood.
    pub(crate) fn by_the_oracle(message: LogicalReplicationMessage) -> Self {
        use LogicalReplicationMessage as M;
        match message {
            M::Begin { final_lsn, timestamp, xid } => Self::Begin { final_lsn, time: timestamp, xid },
            M::Commit { commit_lsn, end_lsn, timestamp, .. } => Self::Commit { commit_lsn, end_lsn, time: timestamp },
            M::Origin { origin_lsn, origin_name } => Self::Origin { lsn: origin_lsn, name: origin_name },
            M::Relation { relation_id, namespace, relation_name, replica_identity, columns } => Self::Relation {
                oid: relation_id,
                namespace: namespace.to_string(),
                name: relation_name.to_string(),
                identity: replica_identity,
                columns: columns
                    .into_iter()
                    .map(|column| (column.is_key(), column.name.to_string(), column.type_id, column.type_modifier))
                    .collect(),
            },
            M::Type { type_id, namespace, type_name } => Self::Type { oid: type_id, namespace, name: type_name },
            M::Insert { relation_id, tuple } => Self::Insert { relation: relation_id, new: oracle_cells(&tuple) },
            M::Update { relation_id, old_tuple, new_tuple, key_type } => Self::Update {
                relation: relation_id,
                old: key_type.zip(old_tuple).map(|(kind, tuple)| (kind as u8, oracle_cells(&tuple))),
                new: oracle_cells(&new_tuple),
            },
            M::Delete { relation_id, old_tuple, key_type } => {
                Self::Delete { relation: relation_id, old: (key_type as u8, oracle_cells(&old_tuple)) }
            }
            M::Truncate { relation_ids, flags } => Self::Truncate { relations: relation_ids, flags },
            M::Message { flags, lsn, prefix, content } => {
                Self::Message { transactional: flags & 1 != 0, lsn, prefix, content: content.to_vec() }
            }
            other => panic!("the oracle saw a message that protocol version 1 does not have: {other:?}"),
        }
    }
}

/// Microseconds from 1970-01-01 to 2000-01-01.
fn since_2000(unix_us: i64) -> i64 {
    unix_us - 946_684_800_000_000
}

fn identity(identity: ReplicaIdentity) -> u8 {
    match identity {
        ReplicaIdentity::Default => b'd',
        ReplicaIdentity::Nothing => b'n',
        ReplicaIdentity::Full => b'f',
        ReplicaIdentity::Index => b'i',
    }
}

fn old(old: OldTuple<'_>) -> (u8, Vec<Cell>) {
    let kind = if matches!(old, OldTuple::Key(_)) { b'K' } else { b'O' };
    (kind, cells(old.tuple()))
}

fn cells(tuple: Tuple<'_>) -> Vec<Cell> {
    let cells: Vec<Cell> = tuple
        .columns()
        .map(|column| match column {
            Column::Null => Cell::Null,
            Column::Unchanged => Cell::Unchanged,
            Column::Text(value) => Cell::Text(value.into()),
            Column::Binary(value) => Cell::Binary(value.into()),
        })
        .collect();
    assert_eq!(cells.len(), tuple.len(), "a tuple yields as many columns as it says");
    cells
}

fn oracle_cells(tuple: &TupleData) -> Vec<Cell> {
    let cell = |column: &ColumnData| {
        let value = column.as_bytes().to_vec();
        match column.data_type {
            b'n' => Cell::Null,
            b'u' => Cell::Unchanged,
            b't' => Cell::Text(value),
            b'b' => Cell::Binary(value),
            other => panic!("the oracle saw a column of kind {other}"),
        }
    };
    tuple.columns.iter().map(cell).collect()
}
