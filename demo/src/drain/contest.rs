//! The readers, one after the other on the same backlog, and what each took.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::BaseConsumer;
use xtask::services::Environment;

use crate::drain::backlog::{AGGREGATE_TYPES, Backlog};
use crate::drain::gauge::{Approach, Gauge};
use crate::drain::recvlogical;
use crate::error::{Doing, Error, Result};
use crate::procfs::Usage;
use crate::screen::Screen;
use crate::topics::Topics;

/// What tells the relay to acknowledge everything at once and send nothing.
const NO_KAFKA: &str = "null:";
/// How long a request for offsets may take.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// Someone who drains the backlog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    Recvlogical,
    Nothing,
    Kafka,
}

impl Reader {
    pub(super) const ALL: [Self; 3] = [Self::Recvlogical, Self::Nothing, Self::Kafka];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Recvlogical => "pg_recvlogical to /dev/null",
            Self::Nothing => "postrider to nothing",
            Self::Kafka => "postrider to Kafka",
        }
    }

    fn slot_suffix(self) -> &'static str {
        match self {
            Self::Recvlogical => "recvlogical",
            Self::Nothing => "nothing",
            Self::Kafka => "kafka",
        }
    }
}

/// How one reader drained the backlog once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lap {
    pub(super) events_per_s: f64,
    pub(super) usage: Usage,
}

/// One lap of each reader, in the order of [`Reader::ALL`].
pub(super) type Round = [Lap; Reader::ALL.len()];

/// The readers with what they need.
#[derive(Debug)]
pub(super) struct Contest<'a> {
    environment: &'a Environment,
    backlog: &'a Backlog,
    recvlogical: PathBuf,
}

impl<'a> Contest<'a> {
    pub(super) fn new(environment: &'a Environment, backlog: &'a Backlog) -> Result<Self> {
        Ok(Self { environment, backlog, recvlogical: recvlogical::find()? })
    }

    /// Lets each reader drain its own copy of the slot once. Who begins changes from round to round.
    pub(super) async fn round(&self, round: u64, screen: &Screen) -> Result<Round> {
        let mut laps = [None; Reader::ALL.len()];
        for turn in 0..Reader::ALL.len() {
            let index = (turn + round as usize) % Reader::ALL.len();
            let reader = Reader::ALL[index];
            let slot = format!("{}_{}_{round}", self.backlog.name(), reader.slot_suffix());
            self.backlog.copy_slot(&slot).await?;
            let lap = match reader {
                Reader::Recvlogical => self.recvlogical(&slot).await?,
                Reader::Nothing => self.nothing(&slot).await?,
                Reader::Kafka => self.kafka(&slot).await?,
            };
            self.backlog.drop_slot(&slot).await?;
            screen.say(&format!(
                "round {}  {:<28} {:>9.0} events/s  {:>6.2} CPU s  {:>6.1} MiB",
                round + 1,
                reader.name(),
                lap.events_per_s,
                lap.usage.cpu.as_secs_f64(),
                lap.usage.rss_peak_mib()
            ));
            laps[index] = Some(lap);
        }
        Ok(laps.map(|lap| lap.expect("every reader has had its turn")))
    }

    /// From its first event to its exit, which follows the last.
    async fn recvlogical(&self, slot: &str) -> Result<Lap> {
        let Backlog { sql, end, .. } = self.backlog;
        let mut command =
            recvlogical::command(&self.recvlogical, &self.environment.postgres, self.backlog.name(), slot, *end);
        let mut child = command.spawn().doing("starting pg_recvlogical")?;
        let first = Gauge::new(sql, slot, *end).first().await?;
        let mut usage = Usage::default();
        let status = loop {
            usage = usage.latest(Usage::of(child.id()));
            match child.try_wait().doing("waiting for pg_recvlogical")? {
                Some(status) => break status,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        let last = Instant::now();
        if !status.success() {
            return Err(Error::Relay(format!("pg_recvlogical ended with {status}")));
        }
        Ok(self.lap(first, last, usage))
    }

    /// From its first event to the confirmation of the last. The relay confirms at most every 100 ms, which is counted against it.
    async fn nothing(&self, slot: &str) -> Result<Lap> {
        let topics = Topics::new(slot, AGGREGATE_TYPES);
        let relay = self.backlog.relay(&self.environment.postgres, slot, &topics, NO_KAFKA)?;
        let gauge = Gauge::new(&self.backlog.sql, slot, self.backlog.end);
        let mut process = relay.start()?;
        let first = gauge.first().await?;
        let last = gauge.confirmed(|| process.check().map(|_| ())).await?;
        let usage = process.check()?;
        process.stop()?;
        Ok(self.lap(first, last, usage))
    }

    /// From its first event until all can be read in Kafka. That it delivers each event exactly once is checked by the way.
    async fn kafka(&self, slot: &str) -> Result<Lap> {
        let bootstrap = &self.environment.kafka.bootstrap;
        let topics = Topics::new(slot, AGGREGATE_TYPES);
        topics.create(bootstrap).await?;
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", bootstrap).create().doing("connecting to Kafka")?;
        let relay = self.backlog.relay(&self.environment.postgres, slot, &topics, bootstrap)?;
        let gauge = Gauge::new(&self.backlog.sql, slot, self.backlog.end);
        let mut process = relay.start()?;
        let first = gauge.first().await?;
        let mut approach = Approach::new(self.backlog.events);
        while let Some(wait) = approach.wait(topics.records(&consumer, REQUEST_MAX)?) {
            process.check()?;
            if approach.stuck() {
                return Err(Error::Relay("the relay has delivered nothing more for too long".into()));
            }
            tokio::time::sleep(wait).await;
        }
        let last = Instant::now();
        let usage = process.check()?;
        process.stop()?;
        let (records, events) = (topics.records(&consumer, REQUEST_MAX)?, self.backlog.events);
        topics.delete(bootstrap).await?;
        match records == events {
            true => Ok(self.lap(first, last, usage)),
            false => {
                Err(Error::Relay(format!("{records} records were delivered of {events} events, without any restart")))
            }
        }
    }

    fn lap(&self, first: Instant, last: Instant, usage: Usage) -> Lap {
        Lap { events_per_s: self.backlog.events as f64 / last.duration_since(first).as_secs_f64(), usage }
    }
}
