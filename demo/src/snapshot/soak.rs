//! A snapshot that is killed again and again: it goes on, nothing is missing, and only what was in work comes twice.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde::Deserialize;
use xtask::services::Environment;

use crate::error::{Doing, Error, Result};
use crate::random::Random;
use crate::screen::Screen;
use crate::snapshot::contest::MODE;
use crate::snapshot::rows::{Rows, TABLE};
use crate::snapshot::verdict::{Judge, Keys, Verdict};
use crate::state::reader::TableTopics;
use crate::state::{Options, Site};

/// Rows of the table, and kills, if nobody says otherwise.
const ROWS: u64 = 5_000_000;
const KILLS: u64 = 5;

/// How long a snapshot may take.
const SNAPSHOT_MAX: Duration = Duration::from_secs(3_600);
/// How often the run looks how far it is.
const LOOK: Duration = Duration::from_millis(50);
/// How long nothing may arrive.
const NO_PROGRESS_MAX: Duration = Duration::from_secs(120);
/// How long the relay stays away after a kill: what it had sent arrives meanwhile.
const AWAY: Duration = Duration::from_secs(1);

/// Plays one run from nothing to the verdict. What it made is removed if the verdict is good, and kept to look at if it is not.
pub async fn soak(environment: &Environment, options: Options, keep: bool, screen: &Screen) -> Result<Verdict> {
    let site = Site::open(environment, "snapshot", "{table}").await?;
    let (rows, kills, seed) = (options.rows.unwrap_or(ROWS), options.kills.unwrap_or(KILLS).min(200), options.seed());
    let played = play(&site, environment, (rows, kills, seed), screen).await;
    match &played {
        Ok(verdict) if verdict.passed() && !keep => {
            topics(&site, environment).delete().await?;
            site.clear().await?;
        }
        _ => screen.say(&site.whereabouts()),
    }
    played
}

fn topics(site: &Site, environment: &Environment) -> TableTopics {
    TableTopics::new(&environment.kafka.bootstrap, &format!("{}.cdc.", site.database.name()), &[TABLE.to_owned()])
}

async fn play(
    site: &Site,
    environment: &Environment,
    (rows, kills, seed): (u64, u64, u64),
    screen: &Screen,
) -> Result<Verdict> {
    drop(Rows::create(site, rows, screen).await?);
    let topics = topics(site, environment);
    topics.create().await?;
    screen.say(&format!("the relay is killed {kills} times (seed {seed})"));
    let (mut judge, mut random, mut bounds) = (Judge::new(rows), Random::new(seed), Vec::new());
    let relay = site.relay.clone().with(MODE, "initial_only");
    let begun = Instant::now();
    let mut process = relay.start()?;
    for kill in 0..kills {
        let part = rows / (kills + 1);
        let at = part * kill + part / 2 + random.below(part.max(1));
        await_records(&topics, at, || process.check().map(drop)).await?;
        process.kill()?;
        tokio::time::sleep(AWAY).await;
        let noted = noted(&environment.kafka.bootstrap, &format!("{}.progress", site.database.name()))?;
        let known: u64 = noted.iter().map(|keys| keys.end.min(rows + 1) - keys.start).sum();
        screen.say(&format!("kill {} at {} records, {known} rows noted as delivered", kill + 1, topics.records()?));
        judge.killed(noted);
        bounds.push(topics.ends()?);
        process = relay.start()?;
    }
    process.finish(SNAPSHOT_MAX)?;
    let took = begun.elapsed();
    read(&environment.kafka.bootstrap, &topics, |partition, offset, key| {
        let run = bounds.iter().filter(|ends| ends[partition as usize] <= offset).count();
        judge.delivered(run, key);
    })?;
    Ok(judge.verdict(kills, took))
}

/// Waits until so many records are there.
async fn await_records(topics: &TableTopics, records: u64, mut check: impl FnMut() -> Result<()>) -> Result<()> {
    let (mut last, mut moved) = (0, Instant::now());
    loop {
        check()?;
        let now = topics.records()?;
        if now >= records {
            return Ok(());
        }
        if now > last {
            (last, moved) = (now, Instant::now());
        }
        if moved.elapsed() > NO_PROGRESS_MAX {
            return Err(Error::Relay(format!("nothing has arrived for {NO_PROGRESS_MAX:?}, {now} records are there")));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The progress record, as far as it is of interest here.
#[derive(Deserialize)]
struct Record {
    snapshot: Option<Snapshot>,
}

#[derive(Deserialize)]
struct Snapshot {
    #[serde(default)]
    tables: Vec<Table>,
}

#[derive(Deserialize)]
struct Table {
    read: Vec<Stretch>,
}

#[derive(Deserialize)]
struct Stretch {
    from: Option<Vec<String>>,
    to: Option<Vec<String>>,
}

/// The keys that the newest progress record says were delivered.
fn noted(bootstrap: &str, topic: &str) -> Result<Vec<Keys>> {
    let topics = TableTopics::new(bootstrap, "", &[topic.to_owned()]);
    let mut newest = None;
    each(bootstrap, &topics, 1, |_, _, _, value| newest = Some(value.to_vec()))?;
    let Some(newest) = newest else { return Ok(Vec::new()) };
    let record: Record = serde_json::from_slice(&newest)
        .map_err(|error| Error::Relay(format!("the progress record cannot be read: {error}")))?;
    let number = |key: &Option<Vec<String>>| key.as_ref()?.first()?.parse::<u64>().ok();
    let keys = |stretch: &Stretch| number(&stretch.from).unwrap_or(1)..number(&stretch.to).unwrap_or(u64::MAX);
    let tables = record.snapshot.map(|snapshot| snapshot.tables).unwrap_or_default();
    Ok(tables.iter().flat_map(|table| &table.read).map(keys).collect())
}

/// Reads every record that there is: partition, offset and the number in its key.
fn read(bootstrap: &str, topics: &TableTopics, mut deliver: impl FnMut(i32, i64, u64)) -> Result<()> {
    #[derive(Deserialize)]
    struct Key {
        id: u64,
    }
    let mut unreadable = 0_u64;
    each(bootstrap, topics, topics.ends()?.len(), |partition, offset, key, _| {
        match serde_json::from_slice::<Key>(key) {
            Ok(key) => deliver(partition, offset, key.id),
            Err(_) => unreadable += 1,
        }
    })?;
    match unreadable {
        0 => Ok(()),
        _ => Err(Error::Relay(format!("{unreadable} records have no key that names a row"))),
    }
}

/// Reads every record of the first partitions that there is by now.
fn each(
    bootstrap: &str,
    topics: &TableTopics,
    partitions: usize,
    mut take: impl FnMut(i32, i64, &[u8], &[u8]),
) -> Result<()> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "snapshot")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create()
        .doing("starting a consumer")?;
    let mut beginning = TopicPartitionList::new();
    for topic in topics.names() {
        for partition in 0..partitions {
            let added = beginning.add_partition_offset(topic, partition as i32, Offset::Beginning);
            added.doing("assigning partitions")?;
        }
    }
    consumer.assign(&beginning).doing("assigning partitions")?;
    let (mut open, mut moved) = (beginning.count(), Instant::now());
    while open > 0 {
        if moved.elapsed() > NO_PROGRESS_MAX {
            return Err(Error::Relay(format!("nothing could be read for {NO_PROGRESS_MAX:?}")));
        }
        match consumer.poll(Duration::from_millis(200)) {
            None => continue,
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Err(error)) => return Err(error).doing("reading records"),
            Some(Ok(message)) => take(
                message.partition(),
                message.offset(),
                message.key().unwrap_or_default(),
                message.payload().unwrap_or_default(),
            ),
        }
        moved = Instant::now();
    }
    Ok(())
}
