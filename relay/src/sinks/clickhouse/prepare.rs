//! From messages to inserts: encodes a batch, and gets what is missing for it – a column, a table, rows to look at.

use std::time::Duration;

use tracing::info;

use crate::encode::native::Column;
use crate::pipeline::{Cut, End, Error, Kind, Messages, Refused};
use crate::sinks::clickhouse::client::Collapse;
use crate::sinks::clickhouse::encode::{self, Encoded, Fed, Need};
use crate::sinks::clickhouse::gather::Piece;
use crate::sinks::clickhouse::insert::Removal;
use crate::sinks::clickhouse::known::KnownRows;
use crate::sinks::clickhouse::{ClickHouse, evolve, look_up};

/// Records of a batch from which on it says something that none fits.
const MISTAKEN_MIN: usize = 20;

/// How old the knowledge of a table may be by which a record is refused.
const REFUSAL_AGE_MAX: Duration = Duration::from_secs(5);

/// How old the knowledge of a table may be by which fields are left out.
const FIELDS_AGE_MAX: Duration = Duration::from_secs(30);

/// A batch, or a part of one, encoded.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// The rows that it gives.
    pub(super) pieces: Vec<Piece>,
    /// What is removed after that.
    pub(super) removals: Vec<Removal>,
    /// The records that cannot be; then nothing is to be sent.
    pub(super) refused: Vec<Refused>,
    messages: usize,
    cut: Option<Cut>,
    payload_bytes: usize,
}

impl Prepared {
    /// Whether it was made of these messages.
    pub(super) fn is_for(&self, messages: &Messages) -> bool {
        self.messages == messages.len()
            && self.cut.as_ref() == messages.cut()
            && self.payload_bytes == messages.payload_bytes()
    }
}

impl ClickHouse {
    /// Encodes a batch. What it needs and is not there – a table, a column, what the table holds of a row – is got first.
    pub(super) async fn prepare(&mut self, messages: &Messages) -> Result<Prepared, Error> {
        if messages.is_empty() {
            return Ok(Prepared { cut: messages.cut().cloned(), ..Prepared::default() });
        }
        let mut places = self.places_of(messages)?;
        for place in &places {
            if self.slots[*place].fed.is_none()
                && evolve::create(&self.client, &self.database, &self.slots[*place].feed, messages, &self.metrics)
                    .await?
            {
                self.look_at(*place).await?;
            }
        }
        // A table that is not there yet is not needed by these.
        places.retain(|place| self.slots[*place].fed.is_some());
        self.look_again(&places, FIELDS_AGE_MAX, |fed| !fed.filler.ignored.is_empty()).await?;
        let mut encoded = self.encode(messages, &places).await?;
        // What does not fit may fit by now: a person may have altered the table, for a record that is delivered again.
        let is_of_table = |(_, label): &(Refused, &str)| matches!(*label, "misfit" | "missing" | "unknown_field");
        if encoded.refused.iter().any(is_of_table) {
            let age_max = if messages.salt() == 0 { REFUSAL_AGE_MAX } else { Duration::ZERO };
            if self.look_again(&places, age_max, |_| true).await? {
                encoded = self.encode(messages, &places).await?;
            }
        }
        self.nothing_fits(messages, &encoded)?;
        self.tell(&encoded, &places);
        Ok(self.pieces(messages, encoded, &places))
    }

    /// Looks again at tables that were looked at longer ago than that, if they are wanted. Whether it did.
    async fn look_again(
        &mut self,
        places: &[usize],
        age_max: Duration,
        wanted: impl Fn(&Fed) -> bool,
    ) -> Result<bool, Error> {
        let mut looked = false;
        for place in places {
            let slot = &self.slots[*place];
            if slot.looked_at.elapsed() >= age_max && slot.fed.as_ref().is_some_and(&wanted) {
                self.look_at(*place).await?;
                looked = true;
            }
        }
        Ok(looked)
    }

    /// Fills the blocks of the batch's tables.
    async fn encode(&mut self, messages: &Messages, places: &[usize]) -> Result<Encoded, Error> {
        let mut known = vec![KnownRows::default(); places.len()];
        loop {
            let mut feds = self.feds(places);
            match encode::encode(&mut feds, &mut known.clone(), messages) {
                Ok(encoded) => return Ok(encoded),
                Err(Need::Rows(lookups)) => {
                    self.settled(messages, lookups.iter().any(|lookup| lookup.across_keys)).await?;
                    for lookup in lookups {
                        let Some(fed) = &self.slots[places[lookup.fed]].fed else { continue };
                        known[lookup.fed] = look_up::rows(&self.client, fed, &lookup, &self.metrics).await?;
                    }
                }
                Err(Need::Column { fed, field, index }) => {
                    let place = places[fed];
                    if let (Some(fed), Some(message)) = (&self.slots[place].fed, messages.at(index)) {
                        evolve::add(&self.client, fed, &field, message, &self.metrics).await?;
                    }
                    self.look_at(place).await?;
                }
                Err(Need::Wider { fed, columns }) => {
                    let place = places[fed];
                    if let Some(fed) = &self.slots[place].fed {
                        evolve::widen(&self.client, fed, &columns, &self.metrics).await?;
                    }
                    self.look_at(place).await?;
                }
                Err(Need::Mend { what, help }) => {
                    return Err(Error::new(End::Sink, Kind::Setup, what).with_help(help));
                }
            }
        }
    }

    /// A table that never took a row, and of a whole batch cannot take one for the same reason, is of other types than the
    /// topic: that is for a person to mend, and no affair of each record.
    fn nothing_fits(&mut self, messages: &Messages, encoded: &Encoded) -> Result<(), Error> {
        let all = encoded.refused.len() == messages.len() && messages.len() >= MISTAKEN_MIN;
        let topic = messages.at(0).map_or("", |message| message.topic());
        if encoded.refused.len() < messages.len() {
            self.fitting.insert(topic.to_owned());
        }
        match encoded.refused.first() {
            Some((first, "misfit" | "missing")) if all && !self.fitting.contains(topic) => {
                if encoded.refused.iter().any(|(refused, _)| refused.reason != first.reason) {
                    return Ok(());
                }
                let context = format!("no record of topic {topic} fits its table: {}", first.reason);
                let help = first.help.clone().unwrap_or_default();
                Err(Error::new(End::Sink, Kind::Setup, context).with_help(help))
            }
            _ => Ok(()),
        }
    }

    /// Counts what was left out or made empty on the way.
    fn tell(&mut self, encoded: &Encoded, places: &[usize]) {
        let metrics = &self.metrics.clickhouse;
        if let Some((committed_us, written_ms)) = encoded.committed {
            let age_us = written_ms.saturating_mul(1000).saturating_sub(committed_us);
            if let Ok(age_us) = u64::try_from(age_us) {
                metrics.commit_to_kafka_seconds.observe(Duration::from_micros(age_us).as_secs_f64());
            }
        }
        for place in places {
            let Some(fed) = &mut self.slots[*place].fed else { continue };
            let emptied = fed.layout.block.columns.iter().map(Column::emptied).sum::<u64>();
            let ignored = fed.filler.ignored.len();
            metrics.emptied.inc_by(emptied.saturating_sub(fed.told.1));
            if ignored > fed.told.0 {
                metrics.ignored_fields.inc_by((ignored - fed.told.0) as u64);
                let fields = fed.filler.ignored.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                info!(table = %fed.table, fields, "the table has no columns for these fields; they are left out");
            }
            fed.told = (ignored, emptied);
        }
    }

    /// The feeds of the batch's topic.
    fn places_of(&self, messages: &Messages) -> Result<Vec<usize>, Error> {
        let topic = messages.at(0).map_or("", |message| message.topic());
        let places = self.slots.iter().enumerate().filter(|(_, slot)| *slot.feed.topic == *topic);
        let places: Vec<usize> = places.map(|(place, _)| place).collect();
        if places.is_empty() {
            let context = format!("no table is configured for topic {topic}");
            return Err(Error::new(End::Sink, Kind::Setup, context).with_help("Give it a section [load.tables.NAME]."));
        }
        Ok(places)
    }

    fn feds(&mut self, places: &[usize]) -> Vec<&mut Fed> {
        let slots = self.slots.iter_mut().enumerate().filter(|(place, _)| places.contains(place));
        slots.filter_map(|(_, slot)| slot.fed.as_mut()).collect()
    }

    /// What was encoded.
    fn pieces(&mut self, messages: &Messages, encoded: Encoded, places: &[usize]) -> Prepared {
        for (_, label) in &encoded.refused {
            self.metrics.clickhouse.refused.with_label_values(&[label]).inc();
        }
        let refused: Vec<Refused> = encoded.refused.into_iter().map(|(refused, _)| refused).collect();
        let mut pieces = Vec::new();
        if refused.is_empty() {
            pieces.extend(self.feds(places).into_iter().filter_map(piece));
        }
        let removals = encoded.truncated.iter().filter_map(|(fed, version)| {
            let fed = self.slots[places[*fed]].fed.as_ref()?;
            let column = fed.layout.version.map(|at| fed.layout.block.columns[at].name().to_owned())?;
            Some(Removal { table: fed.table.clone(), column, version: *version })
        });
        let removals = removals.collect();
        let (cut, payload_bytes) = (messages.cut().cloned(), messages.payload_bytes());
        Prepared { pieces, removals, refused, messages: messages.len(), cut, payload_bytes }
    }
}

/// The rows that were encoded for a table, if there are any.
fn piece(fed: &mut Fed) -> Option<Piece> {
    if fed.layout.block.whole_rows() == 0 {
        return None;
    }
    Some(Piece {
        feed: fed.feed.name.clone(),
        table: fed.table.clone(),
        may_refuse: fed.may_refuse,
        block: fed.layout.block.take(),
        collapse: if fed.is_current() { Collapse::AtOnce } else { Collapse::Later },
    })
}
