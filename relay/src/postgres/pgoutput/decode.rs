//! From one message's bytes to its meaning.

use crate::postgres::cursor::Cursor;
use crate::postgres::error::{DecodeError, Fault};
use crate::postgres::lsn::{CommitLsn, EndLsn, RecordLsn};
use crate::postgres::pgoutput::message::{
    Begin, Commit, Delete, Insert, LogicalMessage, Message, OldTuple, Origin, Truncate, Type, Update,
};
use crate::postgres::pgoutput::relation::Relation;
use crate::postgres::pgoutput::tuple::Tuple;

/// Microseconds from 1970-01-01 to 2000-01-01, where Postgres' clock starts.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

/// Reads one message, the payload of one `XLogData`.
///
/// # Errors
///
/// Anything that is not exactly one message of protocol version 1, with the offset where it stops being one.
#[inline]
pub fn decode(data: &[u8]) -> Result<Message<'_>, DecodeError> {
    let mut cursor = Cursor::new(data);
    let message = match cursor.u8()? {
        b'I' => Message::Insert(insert(&mut cursor)?),
        b'B' => Message::Begin(begin(&mut cursor)?),
        b'C' => Message::Commit(commit(&mut cursor)?),
        b'U' => Message::Update(update(&mut cursor)?),
        b'D' => Message::Delete(delete(&mut cursor)?),
        b'T' => Message::Truncate(truncate(&mut cursor)?),
        b'R' => Message::Relation(Relation::decode(&mut cursor)?),
        b'M' => Message::Message(logical_message(&mut cursor)?),
        b'O' => Message::Origin(Origin { lsn: RecordLsn::new(cursor.u64()?), name: cursor.text()? }),
        b'Y' => Message::Type(Type { oid: cursor.u32()?, namespace: cursor.text()?, name: cursor.text()? }),
        found => return Err(unknown(0, "message", found)),
    };
    cursor.finish()?;
    Ok(message)
}

fn begin(cursor: &mut Cursor<'_>) -> Result<Begin, DecodeError> {
    Ok(Begin { final_lsn: CommitLsn::new(cursor.u64()?), commit_time_us: time(cursor)?, xid: cursor.u32()? })
}

fn commit(cursor: &mut Cursor<'_>) -> Result<Commit, DecodeError> {
    // No flag is defined in this version.
    cursor.u8()?;
    Ok(Commit {
        commit_lsn: CommitLsn::new(cursor.u64()?),
        end_lsn: EndLsn::new(cursor.u64()?),
        commit_time_us: time(cursor)?,
    })
}

#[inline]
fn insert<'a>(cursor: &mut Cursor<'a>) -> Result<Insert<'a>, DecodeError> {
    let relation = cursor.u32()?;
    new_tuple_tag(cursor)?;
    Ok(Insert { relation, new: Tuple::decode(cursor)? })
}

fn update<'a>(cursor: &mut Cursor<'a>) -> Result<Update<'a>, DecodeError> {
    let relation = cursor.u32()?;
    let old = match cursor.rest().first() {
        Some(b'K' | b'O') => Some(old_tuple(cursor)?),
        _ => None,
    };
    new_tuple_tag(cursor)?;
    Ok(Update { relation, old, new: Tuple::decode(cursor)? })
}

fn delete<'a>(cursor: &mut Cursor<'a>) -> Result<Delete<'a>, DecodeError> {
    Ok(Delete { relation: cursor.u32()?, old: old_tuple(cursor)? })
}

fn old_tuple<'a>(cursor: &mut Cursor<'a>) -> Result<OldTuple<'a>, DecodeError> {
    let at = cursor.offset();
    match cursor.u8()? {
        b'K' => Ok(OldTuple::Key(Tuple::decode(cursor)?)),
        b'O' => Ok(OldTuple::Full(Tuple::decode(cursor)?)),
        found => Err(unknown(at, "kind of tuple", found)),
    }
}

#[inline]
fn new_tuple_tag(cursor: &mut Cursor<'_>) -> Result<(), DecodeError> {
    let at = cursor.offset();
    match cursor.u8()? {
        b'N' => Ok(()),
        found => Err(unknown(at, "kind of tuple", found)),
    }
}

fn truncate<'a>(cursor: &mut Cursor<'a>) -> Result<Truncate<'a>, DecodeError> {
    let count = cursor.length()?;
    let options = cursor.u8()?;
    // A count that overflows is more than any message holds.
    let relations = cursor.take(count.saturating_mul(size_of::<u32>()))?;
    Ok(Truncate { cascade: options & 1 != 0, restart_identity: options & 2 != 0, relations })
}

fn logical_message<'a>(cursor: &mut Cursor<'a>) -> Result<LogicalMessage<'a>, DecodeError> {
    let transactional = cursor.u8()? & 1 != 0;
    let lsn = RecordLsn::new(cursor.u64()?);
    let prefix = cursor.text()?;
    let length = cursor.length()?;
    Ok(LogicalMessage { transactional, lsn, prefix, content: cursor.take(length)? })
}

fn time(cursor: &mut Cursor<'_>) -> Result<i64, DecodeError> {
    let at = cursor.offset();
    let micros = cursor.i64()?;
    micros.checked_add(POSTGRES_EPOCH_US).ok_or(DecodeError::new(at, Fault::TimeOutOfRange { micros }))
}

fn unknown(offset: usize, what: &'static str, found: u8) -> DecodeError {
    DecodeError::new(offset, Fault::Unknown { what, found })
}
