//! Rows by the positions of their records, which only Kafka knows.

use std::collections::HashSet;

use uuid::Uuid;

use crate::app::chosen;
use crate::app::recover::{READ_BACK_MAX, topics_of};
use crate::config::Config;
use crate::config::outbox::Outbox;
use crate::kafka::held::{Seen, Sought, number};
use crate::kafka::ledger::{REPLAY, ROWS_MAX};
use crate::pipeline::{End, Error, Kind};
use crate::postgres::lsn::CommitLsn;
use crate::shape::position::EventPosition;
use crate::sinks::kafka::check::newest_progress;
use crate::sinks::kafka::{Observer, walk};
use crate::sources::wal::Record;
use crate::telemetry::Metrics;

/// Where a range of positions begins or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A position, as the header has it.
    Position(u128),
    /// A transaction by its commit record, in the newest epoch; the whole of it.
    Commit(CommitLsn),
    /// Where the topics begin or end.
    Open,
}

impl Place {
    /// Reads 32 hexadecimal digits, or a place in the log such as `16/B374D848`.
    ///
    /// # Errors
    /// What would be one.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hex && let Ok(position) = u128::from_str_radix(text, 16) {
            return Ok(Self::Position(position));
        }
        text.parse().map(Self::Commit).map_err(|_| {
            "a position has 32 hexadecimal digits, as the header postrider-position shows it; or it is the LSN of a commit, such as 16/B374D848"
        })
    }

    /// As a number; `last` is that of the end of a range.
    fn number(self, epoch: u16, last: bool) -> u128 {
        match (self, last) {
            (Self::Position(position), _) => position,
            (Self::Commit(lsn), false) => EventPosition::new(epoch, lsn.as_u64(), 0).as_u128(),
            (Self::Commit(lsn), true) => EventPosition::new(epoch, lsn.as_u64(), u64::MAX).as_u128(),
            (Self::Open, false) => 0,
            (Self::Open, true) => u128::MAX,
        }
    }
}

/// A row whose record was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Located {
    pub(super) id: Box<str>,
    pub(super) position: u128,
}

/// The rows whose records stand between two places, in the order of their positions, and whether the topics still hold everything.
pub(super) async fn locate(
    config: &Config,
    outbox: &Outbox,
    from: Place,
    to: Place,
) -> Result<(Vec<Located>, bool), Error> {
    let topics = topics_of(outbox);
    let Some(position_header) = outbox.headers.position.clone().filter(|_| !topics.is_empty()) else {
        let context = format!("the records of the outbox {:?} carry no id or no position", outbox.name);
        return Err(Error::new(End::Sink, Kind::Setup, context).with_help(
            "Choose rows by --id, --key or --since; positions need the headers of [outbox.headers] id and position.",
        ));
    };
    let options = chosen::kafka_options(config)?;
    let epoch = if [from, to].iter().any(|place| matches!(place, Place::Commit(_))) {
        epoch(config, newest_progress(&options, &config.source.slot).await?.as_deref())?
    } else {
        0
    };
    let (from, to) = (from.number(epoch, false), to.number(epoch, true));
    let sought = Sought {
        topics,
        except: config.kafka.progress_topic.clone(),
        position_header: Some(position_header),
        from_ms: None,
        patience: config.kafka.request_timeout,
        within: READ_BACK_MAX,
    };
    let range = Range { from, to, found: Vec::new(), known: HashSet::new() };
    let (range, extent) = walk(options, sought, range, Metrics::new()).await?;
    let mut found = range.found;
    found.sort_unstable_by_key(|located| located.position);
    Ok((found, extent.complete))
}

fn epoch(config: &Config, record: Option<&[u8]>) -> Result<u16, Error> {
    let record = record.and_then(|record| Record::parse(record).ok());
    record.map(|record| record.epoch).ok_or_else(|| {
        let slot = &config.source.slot;
        Error::new(
            End::Sink,
            Kind::Setup,
            format!("slot {slot:?} has no progress record that tells the epoch of an LSN"),
        )
        .with_help("Name positions as the header postrider-position has them: 32 hexadecimal digits.")
    })
}

/// Gathers what stands in a range.
struct Range {
    from: u128,
    to: u128,
    found: Vec<Located>,
    known: HashSet<u128>,
}

impl Observer for Range {
    fn see(&mut self, seen: &Seen<'_>) -> Result<(), Error> {
        let (Some(id), Some(position)) = (&seen.id, seen.position) else { return Ok(()) };
        let again = seen.headers.iter().any(|(name, _)| *name == REPLAY);
        // Another service may number its events alike; and a text that is no UUID could not be looked for in a column of them.
        let is_ours = !again && Uuid::try_parse(id).is_ok();
        if !is_ours || position < self.from || position > self.to || !self.known.insert(number(id.as_bytes())) {
            return Ok(());
        }
        self.found.push(Located { id: Box::from(&**id), position });
        if self.found.len() > ROWS_MAX {
            let context = format!("more than {ROWS_MAX} events stand between the two positions");
            return Err(Error::new(End::Sink, Kind::Setup, context)
                .with_help("Take them in parts, by --from-position and --to-position."));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_position_or_a_whole_transaction() {
        let position = "000100000000016b3748000000000002";
        let Ok(Place::Position(number)) = Place::parse(position) else { panic!("a position") };
        assert_eq!(format!("{number:032x}"), position);
        let commit = Place::parse("0/16B3748").expect("an LSN");
        let (first, last) = (commit.number(1, false), commit.number(1, true));
        assert!(first < number && number < last);
        assert!(commit.number(2, false) > last && Place::Open.number(9, true) > last);
        for text in ["", "1", "0001", "16B3748", "x/y", &position[1..], &format!("{position}0")] {
            assert!(Place::parse(text).is_err(), "{text}");
        }
    }
}
