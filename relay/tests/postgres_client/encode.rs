//! The other direction, for tests alone: from what a message says to the bytes a server sends, and any such message.

use proptest::prelude::*;

use crate::postgres_client::model::{Cell, Said, SaidColumn};

impl Said {
    /// The bytes of this message.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Begin { final_lsn, time, xid } => {
                out.push(b'B');
                out.extend(final_lsn.to_be_bytes());
                out.extend(time.to_be_bytes());
                out.extend(xid.to_be_bytes());
            }
            Self::Commit { commit_lsn, end_lsn, time } => {
                out.extend([b'C', 0]);
                out.extend(commit_lsn.to_be_bytes());
                out.extend(end_lsn.to_be_bytes());
                out.extend(time.to_be_bytes());
            }
            Self::Origin { lsn, name } => {
                out.push(b'O');
                out.extend(lsn.to_be_bytes());
                text(&mut out, name);
            }
            Self::Relation { oid, namespace, name, identity, columns } => {
                out.push(b'R');
                out.extend(oid.to_be_bytes());
                text(&mut out, namespace);
                text(&mut out, name);
                out.push(*identity);
                relation_columns(&mut out, columns);
            }
            Self::Type { oid, namespace, name } => {
                out.push(b'Y');
                out.extend(oid.to_be_bytes());
                text(&mut out, namespace);
                text(&mut out, name);
            }
            Self::Insert { relation, new } => {
                out.push(b'I');
                out.extend(relation.to_be_bytes());
                tuple(&mut out, b'N', new);
            }
            Self::Update { relation, old, new } => {
                out.push(b'U');
                out.extend(relation.to_be_bytes());
                if let Some((kind, old)) = old {
                    tuple(&mut out, *kind, old);
                }
                tuple(&mut out, b'N', new);
            }
            Self::Delete { relation, old: (kind, old) } => {
                out.push(b'D');
                out.extend(relation.to_be_bytes());
                tuple(&mut out, *kind, old);
            }
            Self::Truncate { relations, flags } => {
                out.push(b'T');
                out.extend((relations.len() as u32).to_be_bytes());
                out.push(*flags);
                out.extend(relations.iter().flat_map(|oid| oid.to_be_bytes()));
            }
            Self::Message { transactional, lsn, prefix, content } => {
                out.extend([b'M', u8::from(*transactional)]);
                out.extend(lsn.to_be_bytes());
                text(&mut out, prefix);
                out.extend((content.len() as u32).to_be_bytes());
                out.extend(content);
            }
        }
        out
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend(text.as_bytes());
    out.push(0);
}

fn relation_columns(out: &mut Vec<u8>, columns: &[SaidColumn]) {
    out.extend((columns.len() as u16).to_be_bytes());
    for (key, name, type_oid, modifier) in columns {
        out.push(u8::from(*key));
        text(out, name);
        out.extend(type_oid.to_be_bytes());
        out.extend(modifier.to_be_bytes());
    }
}

fn tuple(out: &mut Vec<u8>, kind: u8, cells: &[Cell]) {
    out.push(kind);
    out.extend((cells.len() as u16).to_be_bytes());
    for cell in cells {
        match cell {
            Cell::Null => out.push(b'n'),
            Cell::Unchanged => out.push(b'u'),
            Cell::Text(value) => value_of(out, b't', value),
            Cell::Binary(value) => value_of(out, b'b', value),
        }
    }
}

fn value_of(out: &mut Vec<u8>, kind: u8, value: &[u8]) {
    out.push(kind);
    out.extend((value.len() as u32).to_be_bytes());
    out.extend(value);
}

/// Any message a server can send.
pub(crate) fn any_message() -> impl Strategy<Value = Said> {
    let old = || (prop_oneof![Just(b'K'), Just(b'O')], any_row());
    let row_change = prop_oneof![
        (any::<u32>(), any_row()).prop_map(|(relation, new)| Said::Insert { relation, new }),
        (any::<u32>(), proptest::option::of(old()), any_row()).prop_map(|(relation, old, new)| Said::Update {
            relation,
            old,
            new
        }),
        (any::<u32>(), old()).prop_map(|(relation, old)| Said::Delete { relation, old }),
        (proptest::collection::vec(any::<u32>(), 0..4), 0..4_u8)
            .prop_map(|(relations, flags)| Said::Truncate { relations, flags }),
    ];
    prop_oneof![row_change, any_frame_of_changes()]
}

fn any_frame_of_changes() -> impl Strategy<Value = Said> {
    let identity = prop_oneof![Just(b'd'), Just(b'n'), Just(b'f'), Just(b'i')];
    let column = (any::<bool>(), any_name(), any::<u32>(), any::<i32>());
    prop_oneof![
        (any::<u64>(), any_time(), any::<u32>()).prop_map(|(final_lsn, time, xid)| Said::Begin {
            final_lsn,
            time,
            xid
        }),
        (any::<u64>(), any::<u64>(), any_time()).prop_map(|(commit_lsn, end_lsn, time)| Said::Commit {
            commit_lsn,
            end_lsn,
            time
        }),
        (any::<u64>(), any_name()).prop_map(|(lsn, name)| Said::Origin { lsn, name }),
        (any::<u32>(), any_name(), any_name(), identity, proptest::collection::vec(column, 0..8)).prop_map(
            |(oid, namespace, name, identity, columns)| Said::Relation { oid, namespace, name, identity, columns }
        ),
        (any::<u32>(), any_name(), any_name()).prop_map(|(oid, namespace, name)| Said::Type { oid, namespace, name }),
        (any::<bool>(), any::<u64>(), any_name(), any_bytes()).prop_map(|(transactional, lsn, prefix, content)| {
            Said::Message { transactional, lsn, prefix, content }
        }),
    ]
}

fn any_row() -> impl Strategy<Value = Vec<Cell>> {
    let cell = prop_oneof![
        Just(Cell::Null),
        Just(Cell::Unchanged),
        any_bytes().prop_map(Cell::Text),
        any_bytes().prop_map(Cell::Binary),
    ];
    proptest::collection::vec(cell, 0..20)
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..40)
}

fn any_name() -> impl Strategy<Value = String> {
    "[^\0]{0,12}"
}

/// From 4714 BC to the year 10 000, well inside what fits.
fn any_time() -> impl Strategy<Value = i64> {
    -211_813_488_000_000_000_i64..252_455_616_000_000_000
}
