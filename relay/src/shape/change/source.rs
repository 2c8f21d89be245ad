//! The block that says where and when a change comes from, and the times around it.
//!
//! Most of it is the same for all changes of a transaction: it is written once, and copied.

use crate::shape::change::row::{InTransaction, Snapshot, Stamp};
use crate::shape::json;

/// What is written as the version of the connector.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The parts of the block that are always the same.
#[derive(Debug)]
pub(super) struct SourceTexts {
    /// Up to the first time.
    open: Vec<u8>,
    /// From the word on the snapshot to the sequence.
    database: Vec<u8>,
}

impl SourceTexts {
    pub(super) fn new(prefix: &str, database: &str) -> Self {
        let mut open = quoted(&[
            (r#","source":{"version":"#, VERSION),
            (r#","connector":"#, "postgresql"),
            (r#","name":"#, prefix),
        ]);
        open.extend_from_slice(br#","ts_ms":"#);
        let mut database = quoted(&[(r#"","db":"#, database)]);
        database.extend_from_slice(br#","sequence":"["#);
        Self { open, database }
    }
}

/// The part of the block that names a table: from behind the times to the transaction's number.
pub(super) fn names(schema: &str, table: &str) -> Vec<u8> {
    let mut names = quoted(&[(r#","schema":"#, schema), (r#","table":"#, table)]);
    names.extend_from_slice(br#","txId":"#);
    names
}

fn quoted(pieces: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (before, text) in pieces {
        out.extend_from_slice(before.as_bytes());
        json::quote(text, &mut out);
    }
    out
}

/// The texts of the newest stamp: of the next one, most are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Stamped {
    of: Option<Same>,
    /// Up to the place in the WAL.
    head: Vec<u8>,
    /// From behind the place to the table's names.
    times: Vec<u8>,
    /// The transaction's number, up to the place in the WAL.
    xid: Vec<u8>,
    /// The place.
    lsn: Vec<u8>,
    now_us: Option<i64>,
    /// The time now three times, from the comma before it on.
    now: Vec<u8>,
}

/// What changes of one transaction have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Same {
    commit_us: i64,
    snapshot: Snapshot,
    last_commit_lsn: Option<u64>,
    xid: Option<u32>,
}

impl Stamped {
    /// Takes a stamp over.
    #[inline]
    pub(super) fn stamp(&mut self, stamp: &Stamp<'_>, texts: &SourceTexts) {
        self.lsn.clear();
        optional(stamp.lsn.map(u64::cast_signed), &mut self.lsn);
        let Stamp { commit_us, snapshot, last_commit_lsn, xid, .. } = *stamp;
        let same = Some(Same { commit_us, snapshot, last_commit_lsn, xid });
        if self.of != same {
            self.of = same;
            self.transaction(stamp, texts);
        }
        if self.now_us != Some(stamp.now_us) {
            self.now_us = Some(stamp.now_us);
            self.now.clear();
            self.now.extend_from_slice(br#","ts_ms":"#);
            json::integer(stamp.now_us.div_euclid(1000), &mut self.now);
            self.now.extend_from_slice(br#","ts_us":"#);
            micros_and_nanos(stamp.now_us, &mut self.now);
        }
    }

    fn transaction(&mut self, stamp: &Stamp<'_>, texts: &SourceTexts) {
        let out = &mut self.head;
        out.clear();
        out.extend_from_slice(&texts.open);
        json::integer(stamp.commit_us.div_euclid(1000), out);
        out.extend_from_slice(br#","snapshot":""#);
        out.extend_from_slice(stamp.snapshot.as_str().as_bytes());
        out.extend_from_slice(&texts.database);
        match stamp.last_commit_lsn {
            Some(lsn) => {
                out.extend_from_slice(br#"\""#);
                json::integer(lsn.cast_signed(), out);
                out.extend_from_slice(br#"\","#);
            }
            None => out.extend_from_slice(b"null,"),
        }
        self.times.clear();
        self.times.extend_from_slice(br#"]","ts_us":"#);
        micros_and_nanos(stamp.commit_us, &mut self.times);
        self.xid.clear();
        optional(stamp.xid.map(i64::from), &mut self.xid);
        self.xid.extend_from_slice(br#","lsn":"#);
    }
}

/// A stamp, and the texts of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'s> {
    pub(super) stamp: &'s Stamp<'s>,
    pub(super) texts: &'s Stamped,
}

impl At<'_> {
    /// Appends the block of the table of these names, from the comma before it on.
    #[inline]
    pub(super) fn source(self, names: &[u8], out: &mut Vec<u8>) {
        let Self { stamp, texts } = self;
        out.extend_from_slice(&texts.head);
        if stamp.lsn.is_some() {
            out.extend_from_slice(br#"\""#);
            out.extend_from_slice(&texts.lsn);
            out.extend_from_slice(br#"\""#);
        } else {
            out.extend_from_slice(b"null");
        }
        out.extend_from_slice(&texts.times);
        out.extend_from_slice(names);
        if stamp.snapshot == Snapshot::Incremental {
            // Read beside the stream: the place is the stream's, and no change is there.
            out.extend_from_slice(br#"null,"lsn":null"#);
        } else {
            out.extend_from_slice(&texts.xid);
            out.extend_from_slice(&texts.lsn);
        }
        if stamp.origin.is_none() && stamp.origin_lsn.is_none() {
            out.extend_from_slice(br#","xmin":null,"origin":null,"origin_lsn":null}"#);
            return;
        }
        out.extend_from_slice(br#","xmin":null,"origin":"#);
        match stamp.origin {
            Some(origin) => json::quote(origin, out),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(br#","origin_lsn":"#);
        optional(stamp.origin_lsn.map(u64::cast_signed), out);
        out.push(b'}');
    }

    /// Appends the transaction's block, from the comma before it on; `later` is how many events of the same change come before.
    #[inline]
    pub(super) fn transaction(self, later: u64, out: &mut Vec<u8>) {
        let Some(InTransaction { total_order, data_collection_order }) = self.stamp.transaction else {
            out.extend_from_slice(br#","transaction":null"#);
            return;
        };
        out.extend_from_slice(br#","transaction":{"id":"#);
        transaction_id(self.stamp, out);
        out.extend_from_slice(br#","total_order":"#);
        json::integer(total_order.saturating_add(later).cast_signed(), out);
        out.extend_from_slice(br#","data_collection_order":"#);
        json::integer(data_collection_order.saturating_add(later).cast_signed(), out);
        out.push(b'}');
    }

    /// Appends the time now three times, from the comma before it on.
    #[inline]
    pub(super) fn now(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.texts.now);
    }
}

/// Appends what a transaction is called: its number, and where in the WAL it is spoken of.
pub(super) fn transaction_id(stamp: &Stamp<'_>, out: &mut Vec<u8>) {
    out.push(b'"');
    optional(stamp.xid.map(i64::from), out);
    out.push(b':');
    optional(stamp.lsn.map(u64::cast_signed), out);
    out.push(b'"');
}

/// A time in microseconds, and in nanoseconds.
fn micros_and_nanos(time_us: i64, out: &mut Vec<u8>) {
    json::integer(time_us, out);
    out.extend_from_slice(br#","ts_ns":"#);
    json::integer(time_us.saturating_mul(1000), out);
}

fn optional(value: Option<i64>, out: &mut Vec<u8>) {
    match value {
        Some(value) => json::integer(value, out),
        None => out.extend_from_slice(b"null"),
    }
}
