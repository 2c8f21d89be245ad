//! From the configuration to a relay that polls: its source, and the two ends between which it moves events.

use std::sync::Arc;

use tracing::error;

use crate::app::worker::Worker;
use crate::app::{postgres, wal};
use crate::config::Config;
use crate::pipeline::{End, Ends, Error, Kind, Parking, ParkingOptions, Progress, Sink};
use crate::shape::outbox::FormOptions;
use crate::shape::row::Field;
use crate::shape::template::Template;
use crate::sinks::lots::{PostgresLot, PostgresLotOptions};
use crate::sinks::{Kafka, KafkaOptions, Null};
use crate::sources::polling::{After, Handed, KeyPart, PolledOutbox, Polling, PollingColumns, PollingOptions};
use crate::sources::wal::{OutboxColumns, OutboxSource, Record};
use crate::telemetry::Metrics;

/// What the source is told; what a slot delivered before, only the progress record tells.
pub(super) fn options(config: &Config) -> PollingOptions {
    let polling = &config.polling;
    let outboxes = wal::outboxes(config);
    PollingOptions {
        connect: postgres::options(&config.postgres, false),
        slot: config.source.slot.clone(),
        outboxes: outboxes.into_iter().map(polled).collect(),
        columns: PollingColumns {
            order: polling.order.clone(),
            xid: polling.xid.clone(),
            published_at: polling.published_at.clone(),
            created_at: polling.created_at.clone(),
        },
        after: if polling.deletes { After::Delete } else { After::Mark },
        buckets: polling.buckets,
        lease: polling.lease,
        idle_min: polling.idle_min,
        idle_max: polling.idle_max,
        sweep_interval: polling.sweep_interval,
        batch_rows_max: polling.batch_rows_max,
        channel: polling.notify_channel.clone(),
        handed: None,
        base: (0, 0),
    }
}

/// Says that the slot is lost and the table is polled instead.
pub(super) fn fall_back(config: &Config, worker: &Worker, gap: &Error) {
    let slot = &config.source.slot;
    error!(
        slot,
        error = gap.chain(),
        help = "Nothing is lost. `postrider slot recover` makes the slot anew once every polling relay is stopped; start them again then.",
        "the slot is lost: the outbox is polled instead (source.fallback)"
    );
    worker.metrics.polling.instead_of_slot.set(1);
    worker.status.reads(format!("outbox in database {}, polled because slot {slot} is lost", config.postgres.database));
}

/// An outbox without what only the log knows: an event has no position.
fn polled(mut source: OutboxSource) -> PolledOutbox {
    let key = match &mut source.shape.form {
        FormOptions::Native { key, headers, .. } => {
            headers.position = None;
            key_columns(key, &source.shape.further, &source.columns)
        }
        FormOptions::Debezium(router) => {
            router.position = None;
            source.columns.aggregate_id.clone().map(KeyPart::Column).into_iter().collect()
        }
    };
    // Without a key there is no order to keep, and the id spreads the work.
    let key = if key.is_empty() { source.columns.id.clone().map(KeyPart::Column).into_iter().collect() } else { key };
    PolledOutbox { source, key }
}

/// What the template of the key makes it of.
fn key_columns(key: &str, further: &[String], columns: &OutboxColumns) -> Vec<KeyPart> {
    let Ok(template) = Template::parse(key, further) else { return Vec::new() };
    let column = |field: Field| match field {
        Field::Id => columns.id.clone(),
        Field::AggregateType => columns.aggregate_type.clone(),
        Field::AggregateId => columns.aggregate_id.clone(),
        Field::EventType => columns.event_type.clone(),
        Field::Further(index) => further.get(usize::from(index)).cloned(),
    };
    let part = |part: Result<Field, &str>| match part {
        Ok(field) => column(field).map(KeyPart::Column),
        Err(text) => Some(KeyPart::Text(text.to_owned())),
    };
    template.parts().filter_map(part).collect()
}

/// What the witness of a slot says to a relay that goes on by polling.
fn handed(options: &PollingOptions, progress: &Progress) -> Result<PollingOptions, Error> {
    let record = Record::parse(&progress.value).map_err(|error| {
        Error::new(End::Source, Kind::Setup, format!("the progress record of {:?} cannot be read", options.slot))
            .because(error)
            .with_help("Give this relay a progress topic of its own by `kafka.progress_topic`.")
    })?;
    let Record { system_id, timeline, epoch, end_lsn, horizon, .. } = record;
    let handed = horizon.map(|horizon| Handed { system_id, timeline, below: horizon.below });
    Ok(PollingOptions { handed, base: (epoch, end_lsn.as_u64()), ..options.clone() })
}

/// A polled outbox to Kafka; what Kafka cannot take is parked in Postgres.
pub(super) struct PollingToKafka {
    pub(super) polling: Arc<PollingOptions>,
    pub(super) kafka: KafkaOptions,
    pub(super) lot: PostgresLotOptions,
    pub(super) parking: ParkingOptions,
    pub(super) metrics: Arc<Metrics>,
}

impl Ends for PollingToKafka {
    type Source = Polling;
    type Sink = Parking<Kafka, PostgresLot>;

    async fn open_sink(&self) -> Result<(Self::Sink, Option<Progress>), Error> {
        let (mut kafka, progress) =
            Kafka::open(self.kafka.clone(), Some(&self.polling.slot), Arc::clone(&self.metrics)).await?;
        let note =
            progress.as_ref().map(Record::handed_to_polling).transpose().map_err(|error| {
                Error::new(End::Sink, Kind::Setup, "the progress record cannot be read").because(error)
            })?;
        if let Some(note) = note.flatten() {
            // From now on a relay of the old slot knows that it is not the only one that delivered.
            kafka.record(note).await?.await?;
        }
        let lot = PostgresLot::new(self.lot.clone());
        Ok((Parking::open(kafka, lot, self.parking.clone()).await?, progress))
    }

    async fn open_source(&self, progress: Option<Progress>) -> Result<Polling, Error> {
        open(&self.polling, progress.as_ref(), &self.metrics).await
    }
}

/// A polled outbox to nowhere, for measuring everything before the broker.
pub(super) struct PollingToNull {
    pub(super) polling: Arc<PollingOptions>,
    pub(super) metrics: Arc<Metrics>,
}

impl Ends for PollingToNull {
    type Source = Polling;
    type Sink = Null;

    async fn open_sink(&self) -> Result<(Null, Option<Progress>), Error> {
        Ok(Null::open())
    }

    async fn open_source(&self, progress: Option<Progress>) -> Result<Polling, Error> {
        open(&self.polling, progress.as_ref(), &self.metrics).await
    }
}

async fn open(
    options: &Arc<PollingOptions>,
    progress: Option<&Progress>,
    metrics: &Arc<Metrics>,
) -> Result<Polling, Error> {
    let options = match progress {
        Some(progress) => Arc::new(handed(options, progress)?),
        None => Arc::clone(options),
    };
    Polling::open(options, Arc::clone(metrics)).await
}
