//! What a relation looks like, its columns read in place.

use crate::postgres::cursor::Cursor;
use crate::postgres::error::{DecodeError, Fault};

/// What a relation looks like from here on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relation<'a> {
    /// Its OID, as changes refer to it.
    pub oid: u32,
    /// Its schema; empty for `pg_catalog`.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// What an update or delete tells about the row as it was.
    pub replica_identity: ReplicaIdentity,
    columns: RelationColumns<'a>,
}

impl<'a> Relation<'a> {
    /// Its columns, in the order of every tuple that follows.
    #[must_use]
    pub fn columns(&self) -> RelationColumns<'a> {
        self.columns
    }

    pub(crate) fn decode(cursor: &mut Cursor<'a>) -> Result<Self, DecodeError> {
        let oid = cursor.u32()?;
        let namespace = cursor.text()?;
        let name = cursor.text()?;
        let at = cursor.offset();
        let replica_identity = match cursor.u8()? {
            b'd' => ReplicaIdentity::Default,
            b'n' => ReplicaIdentity::Nothing,
            b'f' => ReplicaIdentity::Full,
            b'i' => ReplicaIdentity::Index,
            found => return Err(DecodeError::new(at, Fault::Unknown { what: "replica identity", found })),
        };
        let remaining = cursor.u16()?;
        let columns = RelationColumns { remaining, cursor: *cursor };
        // Once through now, so that iterating cannot fail later.
        for _ in 0..remaining {
            RelationColumn::decode(cursor)?;
        }
        Ok(Self { oid, namespace, name, replica_identity, columns })
    }
}

/// What an update or delete tells about the row as it was:
/// <https://www.postgresql.org/docs/current/sql-altertable.html#SQL-ALTERTABLE-REPLICA-IDENTITY>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicaIdentity {
    /// The primary key.
    Default,
    /// Nothing.
    Nothing,
    /// Every column.
    Full,
    /// The columns of a chosen unique index.
    Index,
}

/// One column of a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelationColumn<'a> {
    /// Whether it belongs to the replica identity.
    pub key: bool,
    /// Its name.
    pub name: &'a str,
    /// Its type's OID.
    pub type_oid: u32,
    /// Its type's modifier, such as a length; -1 for none.
    pub type_modifier: i32,
}

impl<'a> RelationColumn<'a> {
    fn decode(cursor: &mut Cursor<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            key: cursor.u8()? & 1 == 1,
            name: cursor.text()?,
            type_oid: cursor.u32()?,
            type_modifier: cursor.i32()?,
        })
    }
}

/// The columns of a relation, in order.
#[derive(Debug, Clone, Copy)]
pub struct RelationColumns<'a> {
    remaining: u16,
    cursor: Cursor<'a>,
}

impl<'a> Iterator for RelationColumns<'a> {
    type Item = RelationColumn<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.remaining = self.remaining.checked_sub(1)?;
        RelationColumn::decode(&mut self.cursor).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining.into(), Some(self.remaining.into()))
    }
}

impl ExactSizeIterator for RelationColumns<'_> {}

impl PartialEq for RelationColumns<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.remaining == other.remaining && Iterator::eq(*self, *other)
    }
}

impl Eq for RelationColumns<'_> {}
