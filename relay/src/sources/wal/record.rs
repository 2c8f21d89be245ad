//! The progress record: the witness of what was delivered. The slot only decides what Postgres may forget.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::pipeline::{Position, Progress};
use crate::postgres::lsn::{CommitLsn, EndLsn};
use crate::postgres::replication::SystemIdentity;
use crate::sources::snapshot::SnapshotProgress;
use crate::sources::snapshot::requests::Mark;
use crate::sources::wal::horizon::{Horizon, HorizonText};

/// The form of the record that this version writes.
const VERSION: u32 = 1;

/// How far delivery came: every row change up to (`commit_lsn`, `ordinal`), and all WAL before `end_lsn`.
///
/// The two LSNs are never compared with each other: the first names a transaction, the second a place to go on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The cluster, from IDENTIFY_SYSTEM.
    pub system_id: u64,
    /// The timeline on which this was read.
    pub timeline: u32,
    /// How often LSNs have started anew for this slot name: the highest part of an event's position.
    pub epoch: u16,
    /// The newest transaction of which anything was delivered.
    pub commit_lsn: CommitLsn,
    /// The last row change of it that was delivered, counted from 0 as received.
    pub ordinal: u64,
    /// Whether that ordinal counts logical messages beside row changes: they are only asked for where an outbox needs them,
    /// and a transaction that was half delivered must be counted on as it was begun.
    pub messages: bool,
    /// Where the stream goes on: all transactions that ended before it are delivered whole.
    pub end_lsn: EndLsn,
    /// What the ordinal counts, the publications above all, as [`fingerprint`] tells; 0 if that was not written down.
    pub publications: u64,
    /// Where the publication of the captured tables begins to exist, if the outboxes are read alone up to there; else zero.
    pub alone_until: EndLsn,
    /// What is delivered in the table's own terms: the newest sample that was passed; none was in a record of former versions.
    pub horizon: Option<Horizon>,
    /// Whether a polling relay took over from here: what came after was delivered from the table, in no order of the log.
    pub polled: bool,
}

impl Record {
    /// That nothing was delivered yet of a slot on this server, which is read from `end_lsn` on.
    #[must_use]
    pub fn fresh(server: &SystemIdentity, end_lsn: EndLsn) -> Self {
        Self {
            system_id: server.system_id,
            timeline: server.timeline,
            epoch: 1,
            commit_lsn: CommitLsn::ZERO,
            ordinal: 0,
            messages: false,
            end_lsn,
            publications: 0,
            alone_until: EndLsn::ZERO,
            horizon: None,
            polled: false,
        }
    }

    /// Whether the row change `ordinal` of the transaction `commit_lsn` was delivered before.
    #[must_use]
    pub fn covers(&self, commit_lsn: CommitLsn, ordinal: u64) -> bool {
        (commit_lsn, ordinal) <= (self.commit_lsn, self.ordinal)
    }

    /// Whether what was delivered goes beyond the WAL that ends at `end`: this asks where a commit record lies in the log,
    /// not whether one transaction comes before another. Inside a long commit the record's `end_lsn` is still that of the
    /// commit before, so it alone would not tell.
    #[must_use]
    pub fn is_beyond(&self, end: EndLsn) -> bool {
        self.end_lsn > end || self.commit_lsn.as_u64() >= end.as_u64()
    }

    /// Whether the record `value` reached further than the record `than`. What cannot be read counts as further: it is
    /// for [`Record::parse`] to refuse it.
    #[must_use]
    pub fn is_newer(value: &[u8], than: &[u8]) -> bool {
        let (Ok(value), Ok(than)) = (Self::parse(value), Self::parse(than)) else { return true };
        value.reach() >= than.reach()
    }

    /// Whether its newest transaction was delivered in part only. This asks where a commit record lies in the log: the stream
    /// goes on behind it only when it was delivered whole.
    #[must_use]
    pub fn is_half(&self) -> bool {
        self.end_lsn.as_u64() <= self.commit_lsn.as_u64()
    }

    /// What grows with delivery, in the order of its weight.
    fn reach(&self) -> (u16, CommitLsn, u64, EndLsn) {
        (self.epoch, self.commit_lsn, self.ordinal, self.end_lsn)
    }

    /// Reads a record from the sink's bytes.
    pub fn parse(value: &[u8]) -> Result<Self, RecordError> {
        Self::parse_whole(value).map(|(record, _)| record)
    }

    /// Reads a record with what it says of a snapshot. A relay that takes none keeps that as it is; one that is older than
    /// snapshots drops it, and the snapshot is taken again.
    pub fn parse_whole(value: &[u8]) -> Result<(Self, Option<SnapshotProgress>), RecordError> {
        let mut text: Text = serde_json::from_slice(value)?;
        let snapshot = text.snapshot.take();
        Self::read(&text).map(|record| (record, snapshot))
    }

    fn read(text: &Text) -> Result<Self, RecordError> {
        if text.version != VERSION {
            return Err(RecordError::Version { found: text.version });
        }
        let number = |name, text: &str| text.parse().map_err(|_| RecordError::Field { name });
        Ok(Self {
            system_id: number("system_id", &text.system_id)?,
            timeline: text.timeline,
            epoch: text.epoch,
            commit_lsn: text.commit_lsn.parse().map_err(|_| RecordError::Field { name: "commit_lsn" })?,
            ordinal: text.ordinal,
            messages: text.messages,
            end_lsn: text.end_lsn.parse().map_err(|_| RecordError::Field { name: "end_lsn" })?,
            publications: u64::from_str_radix(&text.publications, 16)
                .map_err(|_| RecordError::Field { name: "publications" })?,
            alone_until: match &text.alone_until {
                Some(place) => place.parse().map_err(|_| RecordError::Field { name: "alone_until" })?,
                None => EndLsn::ZERO,
            },
            horizon: text.horizon.as_ref().map(HorizonText::read).transpose()?,
            polled: text.polled,
        })
    }

    /// The note of a relay that goes on by polling where this one ended, if it does not say so already.
    pub fn handed_to_polling(progress: &Progress) -> Result<Option<Progress>, RecordError> {
        let (record, snapshot) = Self::parse_whole(&progress.value)?;
        let value = Self { polled: true, ..record }.to_json(snapshot.as_ref());
        Ok((!record.polled).then(|| Progress { key: progress.key.clone(), value: value.into() }))
    }

    /// The record as the sink keeps it, with what was delivered of a snapshot.
    #[must_use]
    pub fn to_json(self, snapshot: Option<&SnapshotProgress>) -> Vec<u8> {
        let text = Text {
            version: VERSION,
            system_id: self.system_id.to_string(),
            timeline: self.timeline,
            epoch: self.epoch,
            commit_lsn: self.commit_lsn.to_string(),
            ordinal: self.ordinal,
            messages: self.messages,
            end_lsn: self.end_lsn.to_string(),
            publications: format!("{:016x}", self.publications),
            alone_until: (self.alone_until > EndLsn::ZERO).then(|| self.alone_until.to_string()),
            horizon: self.horizon.map(HorizonText::from),
            polled: self.polled,
            snapshot: snapshot.cloned(),
        };
        serde_json::to_vec(&text).expect("numbers and strings always have a JSON form")
    }
}

/// Why bytes are not a progress record.
#[derive(Debug, Error)]
pub enum RecordError {
    /// Not JSON, or not these fields.
    #[error("the progress record is not in the form that this version reads")]
    Form(#[from] serde_json::Error),
    /// A version from the future.
    #[error("the progress record has version {found}; this relay reads version {VERSION}")]
    Version {
        /// What it says.
        found: u32,
    },
    /// A field that does not parse.
    #[error("the progress record's {name} is not what it should be")]
    Field {
        /// Which.
        name: &'static str,
    },
}

/// The record as JSON: LSNs as Postgres prints them, for people who read the topic.
#[derive(Serialize, Deserialize)]
struct Text {
    version: u32,
    system_id: String,
    timeline: u32,
    epoch: u16,
    commit_lsn: String,
    ordinal: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    messages: bool,
    end_lsn: String,
    #[serde(default = "unknown", skip_serializing_if = "is_unknown")]
    publications: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alone_until: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    horizon: Option<HorizonText>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    polled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    snapshot: Option<SnapshotProgress>,
}

fn unknown() -> String {
    "0".to_owned()
}

fn is_unknown(publications: &str) -> bool {
    publications.bytes().all(|digit| digit == b'0')
}

/// Tells lists of publications apart: the 64-bit FNV-1a of their names, never 0
/// (<https://datatracker.ietf.org/doc/html/rfc9923>).
#[must_use]
pub fn fingerprint<'n>(publications: impl IntoIterator<Item = &'n str>) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(PRIME);
    let names = publications.into_iter().flat_map(|name| name.bytes().chain([0]));
    names.fold(OFFSET, step).max(1)
}

/// The position of a batch from the WAL, or of rows that were read before it: its record, and whose it is.
#[derive(Debug, Clone)]
pub struct WalPosition {
    pub(in crate::sources) slot: Bytes,
    pub(in crate::sources) record: Record,
    /// What was delivered of the snapshot, if one was begun.
    pub(in crate::sources) snapshot: Option<Arc<SnapshotProgress>>,
    /// How far a snapshot beside the stream came with the batch, if its rows are of one. It is kept in the database.
    pub(in crate::sources) chunk: Option<Arc<Mark>>,
}

impl Position for WalPosition {
    fn progress(&self) -> Option<Progress> {
        Some(Progress { key: self.slot.clone(), value: self.record.to_json(self.snapshot.as_deref()).into() })
    }
}

impl fmt::Display for WalPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Record { commit_lsn, ordinal, end_lsn, .. } = self.record;
        write!(f, "commit {commit_lsn} ordinal {ordinal}, end {end_lsn}")?;
        match &self.snapshot {
            Some(snapshot) if !snapshot.done => write!(f, ", in the initial snapshot"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: Record = Record {
        system_id: 7_300_000_000_000_000_001,
        timeline: 3,
        epoch: 2,
        commit_lsn: CommitLsn::new(0x1_0000_0010),
        ordinal: 12,
        messages: true,
        end_lsn: EndLsn::new(0x1_0000_0040),
        publications: 0xabc,
        alone_until: EndLsn::new(0x1_0000_0080),
        horizon: Some(Horizon { below: 801, at: EndLsn::new(0x1_0000_0020), time_ms: 1_790_000_000_000 }),
        polled: false,
    };

    #[test]
    fn a_record_reads_back_as_written() {
        assert_eq!(Record::parse(&RECORD.to_json(None)).expect("own form"), RECORD);
    }

    #[test]
    fn one_without_publications_is_read_too() {
        let record = Record { publications: 0, ..RECORD };
        let text = String::from_utf8(record.to_json(None)).expect("JSON");
        assert!(!text.contains("publications"), "{text}");
        assert_eq!(Record::parse(text.as_bytes()).expect("own form"), record);
    }

    #[test]
    fn one_without_a_horizon_is_read_too() {
        let record = Record { horizon: None, ..RECORD };
        let text = String::from_utf8(record.to_json(None)).expect("JSON");
        assert!(!text.contains("horizon"), "{text}");
        assert_eq!(Record::parse(text.as_bytes()).expect("own form"), record);
    }

    #[test]
    fn lists_of_publications_are_told_apart() {
        let lists: [&[&str]; 5] = [&[], &["a"], &["a", "b"], &["ab"], &["b", "a"]];
        for (index, list) in lists.iter().enumerate() {
            let same = |other: &[&str]| fingerprint(other.iter().copied()) == fingerprint(list.iter().copied());
            assert_eq!(lists.iter().filter(|other| same(other)).count(), 1, "{index}");
        }
    }

    #[test]
    fn it_is_half_until_the_stream_goes_on_behind_the_commit() {
        let record = |commit, end| Record { commit_lsn: CommitLsn::new(commit), end_lsn: EndLsn::new(end), ..RECORD };
        assert!(record(0x100, 0x80).is_half());
        assert!(record(0x100, 0x100).is_half(), "the record starts where the one before ended");
        assert!(!record(0x100, 0x130).is_half());
    }

    #[test]
    fn what_it_says_of_a_snapshot_travels_with_it() {
        let before = RECORD.to_json(None);
        assert_eq!(Record::parse_whole(&before).expect("one that is older than snapshots"), (RECORD, None));
        let over = SnapshotProgress::over();
        let value = RECORD.to_json(Some(&over));
        assert_eq!(Record::parse_whole(&value).expect("own form"), (RECORD, Some(over)));
        assert_eq!(Record::parse(&value).expect("own form"), RECORD);
        assert!(Record::is_newer(&value, &before), "the one that was written last");
    }

    #[test]
    fn a_foreign_value_is_refused_with_the_reason() {
        let future = String::from_utf8(RECORD.to_json(None)).expect("JSON").replace("\"version\":1", "\"version\":2");
        for (value, says) in [
            (&b"junk"[..], "not in the form"),
            (b"{}", "not in the form"),
            (future.as_bytes(), "version 2"),
            (br#"{"version":1,"system_id":"x","timeline":1,"epoch":1,"commit_lsn":"0/0","ordinal":0,"end_lsn":"0/0"}"#, "system_id"),
            (br#"{"version":1,"system_id":"1","timeline":1,"epoch":1,"commit_lsn":"0/0","ordinal":0,"end_lsn":"0"}"#, "end_lsn"),
        ] {
            let error = Record::parse(value).expect_err(says);
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn the_one_that_reached_further_is_newer_whichever_was_written_last() {
        let further = [
            Record { end_lsn: EndLsn::new(0x2_0000_0000), ..RECORD },
            Record { ordinal: 13, ..RECORD },
            Record { commit_lsn: CommitLsn::new(0x1_0000_0040), ordinal: 0, ..RECORD },
            Record { epoch: 3, commit_lsn: CommitLsn::ZERO, ordinal: 0, end_lsn: EndLsn::ZERO, ..RECORD },
        ];
        for record in further {
            assert!(Record::is_newer(&record.to_json(None), &RECORD.to_json(None)), "{record:?}");
            assert!(!Record::is_newer(&RECORD.to_json(None), &record.to_json(None)), "{record:?}");
        }
        assert!(Record::is_newer(&RECORD.to_json(None), &RECORD.to_json(None)));
        assert!(Record::is_newer(b"junk", &RECORD.to_json(None)), "it must be seen, not skipped");
    }

    #[test]
    fn it_covers_what_stands_at_or_before_it_in_commit_order() {
        for (commit, ordinal, covered) in [
            (0x1_0000_000F, 99, true),
            (0x1_0000_0010, 12, true),
            (0x1_0000_0010, 13, false),
            (0x1_0000_0011, 0, false),
            // A commit record that starts exactly at the predecessor's end is a new transaction, whatever the LSNs look like.
            (0x1_0000_0040, 0, false),
        ] {
            assert_eq!(RECORD.covers(CommitLsn::new(commit), ordinal), covered, "{commit:x} {ordinal}");
        }
    }
}
