//! The block that says where and when a change comes from, and the times around it.

use crate::shape::change::row::{InTransaction, Stamp};
use crate::shape::json;

/// What is written as the version of the connector.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The constant parts of the block.
#[derive(Debug, Clone)]
pub(super) struct SourceTexts {
    /// Up to the first time.
    open: Vec<u8>,
    /// From the word on the snapshot to the sequence.
    database: Vec<u8>,
    /// From behind the times to the transaction's number.
    names: Vec<u8>,
}

impl SourceTexts {
    pub(super) fn new(prefix: &str, database: &str, schema: &str, table: &str) -> Self {
        let text = |pieces: &[(&str, &str)]| {
            let mut out = Vec::new();
            for (before, quoted) in pieces {
                out.extend_from_slice(before.as_bytes());
                json::quote(quoted, &mut out);
            }
            out
        };
        let mut open =
            text(&[(r#","source":{"version":"#, VERSION), (r#","connector":"#, "postgresql"), (r#","name":"#, prefix)]);
        open.extend_from_slice(br#","ts_ms":"#);
        let mut database = text(&[(r#"","db":"#, database)]);
        database.extend_from_slice(br#","sequence":"["#);
        let mut names = text(&[(r#","schema":"#, schema), (r#","table":"#, table)]);
        names.extend_from_slice(br#","txId":"#);
        Self { open, database, names }
    }

    /// Appends the block, from the comma before it on.
    #[inline]
    pub(super) fn write(&self, stamp: &Stamp<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.open);
        json::integer(stamp.commit_us.div_euclid(1000), out);
        out.extend_from_slice(br#","snapshot":""#);
        out.extend_from_slice(stamp.snapshot.as_str().as_bytes());
        out.extend_from_slice(&self.database);
        lsn_text(stamp.last_commit_lsn, out);
        out.push(b',');
        lsn_text(stamp.lsn, out);
        out.extend_from_slice(br#"]","ts_us":"#);
        micros_and_nanos(stamp.commit_us, out);
        out.extend_from_slice(&self.names);
        optional(stamp.xid.map(i64::from), out);
        out.extend_from_slice(br#","lsn":"#);
        optional(stamp.lsn.map(u64::cast_signed), out);
        out.extend_from_slice(br#","xmin":null,"origin":"#);
        match stamp.origin {
            Some(origin) => json::quote(origin, out),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(br#","origin_lsn":"#);
        optional(stamp.origin_lsn.map(u64::cast_signed), out);
        out.push(b'}');
    }
}

/// Appends the transaction's block, from the comma before it on; `later` is how many events of the same change come before.
#[inline]
pub(super) fn transaction(stamp: &Stamp<'_>, later: u64, out: &mut Vec<u8>) {
    let Some(InTransaction { total_order, data_collection_order }) = stamp.transaction else {
        out.extend_from_slice(br#","transaction":null"#);
        return;
    };
    out.extend_from_slice(br#","transaction":{"id":"#);
    transaction_id(stamp, out);
    out.extend_from_slice(br#","total_order":"#);
    json::integer(total_order.saturating_add(later).cast_signed(), out);
    out.extend_from_slice(br#","data_collection_order":"#);
    json::integer(data_collection_order.saturating_add(later).cast_signed(), out);
    out.push(b'}');
}

/// Appends what a transaction is called: its number, and where in the WAL it is spoken of.
pub(super) fn transaction_id(stamp: &Stamp<'_>, out: &mut Vec<u8>) {
    out.push(b'"');
    optional(stamp.xid.map(i64::from), out);
    out.push(b':');
    optional(stamp.lsn.map(u64::cast_signed), out);
    out.push(b'"');
}

/// Appends the time now three times, from the comma before it on.
#[inline]
pub(super) fn now(stamp: &Stamp<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(br#","ts_ms":"#);
    json::integer(stamp.now_us.div_euclid(1000), out);
    out.extend_from_slice(br#","ts_us":"#);
    micros_and_nanos(stamp.now_us, out);
}

/// A time in microseconds, and in nanoseconds.
fn micros_and_nanos(time_us: i64, out: &mut Vec<u8>) {
    let at = out.len();
    json::integer(time_us, out);
    let end = out.len();
    out.extend_from_slice(br#","ts_ns":"#);
    if time_us.checked_mul(1000).is_some() && time_us != 0 {
        out.extend_from_within(at..end);
        out.extend_from_slice(b"000");
    } else {
        json::integer(time_us.saturating_mul(1000), out);
    }
}

fn optional(value: Option<i64>, out: &mut Vec<u8>) {
    match value {
        Some(value) => json::integer(value, out),
        None => out.extend_from_slice(b"null"),
    }
}

/// An LSN in `source.sequence`, whose text is JSON within a string.
fn lsn_text(lsn: Option<u64>, out: &mut Vec<u8>) {
    match lsn {
        Some(lsn) => {
            out.extend_from_slice(br#"\""#);
            json::integer(lsn.cast_signed(), out);
            out.extend_from_slice(br#"\""#);
        }
        None => out.extend_from_slice(b"null"),
    }
}
