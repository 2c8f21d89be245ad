//! The four who take turns on the same rows, and what each took.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use xtask::services::{Environment, Progress, producer_performance};

use crate::database::socket;
use crate::drain::program;
use crate::error::{Doing, Error, Result};
use crate::procfs::Usage;
use crate::screen::Screen;
use crate::snapshot::rows::{Rows, TABLE};
use crate::state::Site;
use crate::state::reader::TableTopics;

/// How long a snapshot may take.
const SNAPSHOT_MAX: Duration = Duration::from_secs(1_800);
/// How long a request to the broker may take.
const REQUEST_MAX: Duration = Duration::from_secs(15);
/// Records that the producer test is lent.
const LENT: usize = 2_000;

/// Someone who takes turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Racer {
    Copy,
    Nothing,
    Producer,
    Kafka,
}

impl Racer {
    pub(super) const ALL: [Self; 4] = [Self::Copy, Self::Nothing, Self::Producer, Self::Kafka];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Copy => "COPY to nothing, by psql",
            Self::Nothing => "postrider to nothing",
            Self::Producer => "kafka-producer-perf-test",
            Self::Kafka => "postrider to Kafka",
        }
    }
}

/// One turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lap {
    pub(super) rows_per_s: f64,
    pub(super) usage: Usage,
    /// Rows that did not arrive.
    pub(super) lost: u64,
}

/// One turn of each, in the order of [`Racer::ALL`].
pub(super) type Round = [Lap; Racer::ALL.len()];

/// Everyone, with what he needs.
#[derive(Debug)]
pub(super) struct Contest<'a> {
    site: &'a Site,
    environment: &'a Environment,
    rows: &'a Rows,
    /// Values of records as the relay published them; the producer test sends these.
    lent: Vec<Vec<u8>>,
}

impl<'a> Contest<'a> {
    pub(super) fn new(site: &'a Site, environment: &'a Environment, rows: &'a Rows) -> Self {
        Self { site, environment, rows, lent: Vec::new() }
    }

    /// Bytes of a record's value, on average.
    pub(super) fn record_bytes(&self) -> f64 {
        let bytes: usize = self.lent.iter().map(Vec::len).sum();
        bytes as f64 / self.lent.len().max(1) as f64
    }

    /// Lets each take his turn. Who of each pair begins changes from round to round.
    pub(super) async fn round(&mut self, round: u64, screen: &Screen) -> Result<Round> {
        if self.lent.is_empty() {
            // The producer test sends what the relay sends.
            screen.say("a first turn of the relay, for the records that the producer test is lent");
            self.kafka(u64::MAX).await?;
        }
        let mut laps = [None; Racer::ALL.len()];
        let order = if round.is_multiple_of(2) { [0, 1, 2, 3] } else { [1, 0, 3, 2] };
        for index in order {
            let racer = Racer::ALL[index];
            let lap = match racer {
                Racer::Copy => self.copy()?,
                Racer::Nothing => self.nothing()?,
                Racer::Producer => self.producer(round).await?,
                Racer::Kafka => self.kafka(round).await?,
            };
            screen.say(&format!(
                "round {}  {:<26} {:>9.0} rows/s  {:>6.2} CPU s  {:>6.1} MiB",
                round + 1,
                racer.name(),
                lap.rows_per_s,
                lap.usage.cpu.as_secs_f64(),
                lap.usage.rss_peak_mib()
            ));
            laps[index] = Some(lap);
        }
        Ok(laps.map(|lap| lap.expect("everyone has had his turn")))
    }

    fn lap(&self, seconds: f64, usage: Usage, lost: u64) -> Lap {
        Lap { rows_per_s: self.rows.rows as f64 / seconds, usage, lost }
    }

    /// From its start to its exit.
    fn copy(&self) -> Result<Lap> {
        let postgres = &self.environment.postgres;
        let host = socket(postgres).map_or_else(|| postgres.host.clone(), |folder| folder.display().to_string());
        let mut command = Command::new(program("psql")?);
        command
            .args(["--host", &host, "--port", &postgres.port.to_string(), "--username", &postgres.user])
            .args(["--dbname", self.site.database.name(), "--no-psqlrc", "--quiet"])
            .args(["--command", &format!("copy (select * from {TABLE}) to stdout")])
            .env("PGPASSWORD", &postgres.password)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let begun = Instant::now();
        let mut child = command.spawn().doing("starting psql")?;
        let mut usage = Usage::default();
        let status = loop {
            usage = usage.latest(Usage::of(child.id()));
            match child.try_wait().doing("waiting for psql")? {
                Some(status) => break status,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        match status.success() {
            true => Ok(self.lap(begun.elapsed().as_secs_f64(), usage, 0)),
            false => Err(Error::Relay(format!("psql ended with {status}"))),
        }
    }

    /// From its start to its exit, which follows when all is delivered.
    fn nothing(&self) -> Result<Lap> {
        let relay =
            self.site.relay.clone().with(MODE, "initial_only").with("POSTRIDER_KAFKA_BOOTSTRAP_SERVERS", "null:");
        let process = relay.start()?;
        let begun = process.started();
        let usage = process.finish(SNAPSHOT_MAX)?;
        Ok(self.lap(begun.elapsed().as_secs_f64(), usage, 0))
    }

    /// The same into Kafka, by a slot, a progress record and a topic of its own.
    async fn kafka(&mut self, round: u64) -> Result<Lap> {
        let name = format!("{}_{}", self.site.database.name(), round.wrapping_add(1));
        let sql = "select pg_create_logical_replication_slot($1::text::name, 'pgoutput')";
        self.rows.client.execute(sql, &[&name]).await.doing("creating a slot")?;
        let topics = self.topics(&name);
        topics.create().await?;
        let relay = self
            .site
            .relay
            .clone()
            .with(MODE, "initial_only")
            .with("POSTRIDER_SOURCE_SLOT", &name)
            .with("POSTRIDER_CAPTURE_TOPIC", &format!("{name}.{{table}}"))
            .with("POSTRIDER_KAFKA_PROGRESS_TOPIC", &format!("{name}.progress"));
        let process = relay.start()?;
        let begun = process.started();
        let usage = process.finish(SNAPSHOT_MAX)?;
        let seconds = begun.elapsed().as_secs_f64();
        let topic = format!("{name}.{TABLE}");
        let records = topics.records()?;
        if self.lent.is_empty() {
            self.lent = values(&self.environment.kafka.bootstrap, &topic)?;
        }
        topics.delete().await?;
        let progress = TableTopics::new(&self.environment.kafka.bootstrap, "", &[format!("{name}.progress")]);
        progress.delete().await?;
        self.rows.client.execute("select pg_drop_replication_slot($1)", &[&name]).await.doing("dropping a slot")?;
        if records > self.rows.rows {
            return Err(Error::Relay(format!("{records} records came of {} rows", self.rows.rows)));
        }
        Ok(self.lap(seconds, usage, self.rows.rows - records))
    }

    /// As it counts itself, its start left out.
    async fn producer(&self, round: u64) -> Result<Lap> {
        let name = format!("{}_producer_{round}", self.site.database.name());
        let topics = self.topics(&name);
        topics.create().await?;
        let file = std::env::temp_dir().join(&name);
        std::fs::write(&file, self.lent.join(&b'\n')).doing(format!("writing {}", file.display()))?;
        let rate = self.produce(&format!("{name}.{TABLE}"), &file);
        std::fs::remove_file(&file).doing(format!("removing {}", file.display()))?;
        topics.delete().await?;
        Ok(Lap { rows_per_s: rate?, usage: Usage::default(), lost: 0 })
    }

    fn produce(&self, topic: &str, file: &Path) -> Result<f64> {
        let mut command = producer_performance(&Progress::silent())?;
        let bootstrap = &self.environment.kafka.bootstrap;
        command.args(["--bootstrap-server", bootstrap, "--topic", topic, "--throughput", "-1"]);
        command.args(["--num-records", &self.rows.rows.to_string(), "--payload-file"]).arg(file);
        // What the relay is configured to by default.
        command.args(["--command-property", "acks=all", "compression.type=lz4"]);
        let output = command.output().doing("starting kafka-producer-perf-test")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let rate = said.lines().rev().find_map(rate);
        rate.filter(|_| output.status.success()).ok_or_else(|| {
            let errors = String::from_utf8_lossy(&output.stderr);
            Error::Relay(format!("kafka-producer-perf-test ended with {}\n{said}{errors}", output.status))
        })
    }

    fn topics(&self, name: &str) -> TableTopics {
        TableTopics::new(&self.environment.kafka.bootstrap, &format!("{name}."), &[TABLE.to_owned()])
    }
}

/// The variable of the snapshot's mode.
pub(super) const MODE: &str = "POSTRIDER_CAPTURE_SNAPSHOT_MODE";

/// `2000000 records sent, 345678.9 records/sec (…)` → 345678.9
fn rate(line: &str) -> Option<f64> {
    let (before, _) = line.split_once(" records/sec")?;
    before.rsplit(' ').next()?.parse().ok()
}

/// Some values of a topic's records.
fn values(bootstrap: &str, topic: &str) -> Result<Vec<Vec<u8>>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "snapshot")
        .set("enable.auto.commit", "false")
        .create()
        .doing("starting a consumer")?;
    let mut beginning = TopicPartitionList::new();
    beginning.add_partition_offset(topic, 0, Offset::Beginning).doing("assigning a partition")?;
    consumer.assign(&beginning).doing("assigning a partition")?;
    let (mut values, begun) = (Vec::new(), Instant::now());
    while values.len() < LENT && begun.elapsed() < REQUEST_MAX {
        let Some(polled) = consumer.poll(Duration::from_millis(200)) else {
            if values.is_empty() {
                continue;
            }
            break;
        };
        let message = polled.doing("reading records")?;
        values.extend(message.payload().map(<[u8]>::to_vec));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::rate;

    #[test]
    fn the_rate_of_the_producer_test_is_read_from_its_own_words() {
        let line =
            "50000 records sent, 12345.678901 records/sec (5.89 MB/sec), 30.00 ms avg latency, 100.00 ms max latency.";
        assert_eq!(rate(line), Some(12345.678901));
        assert_eq!(rate("no records"), None);
    }
}
