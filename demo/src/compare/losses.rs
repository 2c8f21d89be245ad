//! Where Debezium is known to lose changes over a restart: the scenarios played to both, each killed in the middle of it.
//!
//! Debezium resumes inside a transaction, by the place of a change in the log. Two changes can have the same place (a COPY writes many
//! rows by one record of the log), and a commit's end can be the place of another transaction's first change. The relay resumes
//! after whole transactions, or at the ordinal of a change inside of one.
//!
//! Debezium dies by itself where the scenario wants it, with its offsets stored; the relay is killed by SIGKILL as soon as a record of it can be read.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use serde::Serialize;
use xtask::services::Environment;

use crate::compare::debezium::Engine;
use crate::compare::json::Json;
use crate::compare::place::Place;
use crate::compare::{LOOK_EVERY, Options, STILL_MAX, ours};
use crate::error::{Doing, Error, Result};
use crate::screen::Screen;

/// The version whose log the crossed commits need; the COPY takes any.
const POSTGRES: u16 = 17;
/// The table of the rows.
const TABLE: &str = "public.rows";
/// How long one request to Kafka may take.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// What is played, and where Debezium dies of it.
struct Scenario {
    name: &'static str,
    about: &'static str,
    /// Statements of two sessions, in their order.
    script: &'static [(usize, &'static str)],
    rows: u64,
    /// After how many records Debezium dies, those of transactions counted.
    dies_after: &'static str,
    /// How many records Debezium delivers at once, and stores its offsets after them.
    batch: &'static str,
    transactions: bool,
}

const SCENARIOS: [Scenario; 2] = [
    Scenario {
        name: "copy",
        about: "a COPY, killed between rows of one record of the log",
        // COPY from a program of the server needs no client's data; the rows are the same as from any client.
        script: &[(0, "copy rows from program 'seq 1 100000'")],
        rows: 100_000,
        dies_after: "1000",
        batch: "500",
        transactions: false,
    },
    Scenario {
        name: "crossed",
        about: "a transaction with changes before and right behind another's commit, killed at that commit",
        script: &[
            (0, "begin; insert into rows values (1)"),
            (1, "begin; insert into rows values (2)"),
            (0, "commit"),
            // Its place in the log is where the other's commit ends.
            (1, "insert into rows values (3)"),
            (1, "insert into rows values (4)"),
            (1, "commit"),
        ],
        rows: 4,
        // The begin, the row and the end of the first transaction.
        dies_after: "3",
        batch: "1",
        transactions: true,
    },
];

/// What each scenario lost on each side.
#[derive(Debug, Serialize)]
pub struct Losses {
    scenarios: Vec<Loss>,
}

#[derive(Debug, Serialize)]
struct Loss {
    scenario: &'static str,
    #[serde(skip)]
    about: &'static str,
    rows: u64,
    debezium_lost: u64,
    postrider_lost: u64,
}

impl Losses {
    /// Whether the relay lost nothing.
    pub fn passed(&self) -> bool {
        self.scenarios.iter().all(|loss| loss.postrider_lost == 0)
    }

    /// The losses as one line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers and names are always JSON")
    }
}

impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n  scenario        rows   Debezium lost   Postrider lost")?;
        for Loss { scenario, about, rows, debezium_lost, postrider_lost } in &self.scenarios {
            writeln!(f, "  {scenario:<10} {rows:>9} {debezium_lost:>15} {postrider_lost:>16}   {about}")?;
        }
        Ok(())
    }
}

/// Plays every scenario.
pub async fn run(environment: &Environment, options: &Options, screen: &Screen) -> Result<Losses> {
    let mut scenarios = Vec::new();
    for scenario in &SCENARIOS {
        screen.say(&format!("{}: {}", scenario.name, scenario.about));
        let topics = [TABLE, "public.marker", "transaction"].map(str::to_owned).into();
        let place = Place::open(environment, options.postgres.or(Some(POSTGRES)), &topics).await?;
        let options = Options { no_snapshot: true, transactions: scenario.transactions, ..options.clone() };
        let [debezium, ours] = play(&place, scenario, &options).await?;
        let lost = |seen: BTreeSet<String>| scenario.rows - seen.len() as u64;
        scenarios.push(Loss {
            scenario: scenario.name,
            about: scenario.about,
            rows: scenario.rows,
            debezium_lost: lost(debezium),
            postrider_lost: lost(ours),
        });
        place.clear().await?;
    }
    Ok(Losses { scenarios })
}

/// The numbers of the rows that each side has delivered at last.
async fn play(place: &Place, scenario: &Scenario, options: &Options) -> Result<[BTreeSet<String>; 2]> {
    let sql = [place.database.connect().await?, place.database.connect().await?];
    sql[0]
        .batch_execute("create table rows (id int primary key); create table marker (id int primary key)")
        .await
        .doing("making the tables")?;
    place.publish().await?;
    let offsets = place.folder("offsets")?.join("offsets.dat").display().to_string();
    let stored = [
        ("offset.storage", "org.apache.kafka.connect.storage.FileOffsetBackingStore"),
        ("offset.storage.file.filename", offsets.as_str()),
        ("offset.flush.interval.ms", "0"),
        ("max.batch.size", scenario.batch),
    ];
    let dying: Vec<_> = stored.iter().copied().chain([("halt.after", scenario.dies_after)]).collect();
    let [left, right] = &place.prefixes;
    let engine = Engine::start_with(place, left, options, &dying)?;
    let relay = ours::start(place, right, options)?;
    place.until_both_stream().await?;
    for (session, statement) in scenario.script {
        sql[*session].batch_execute(statement).await.doing(format!("running `{statement}`"))?;
    }
    let rows = [format!("{left}.{TABLE}"), format!("{right}.{TABLE}")];
    until_any(place, &rows[1]).await?;
    relay.kill()?;
    tokio::task::block_in_place(|| engine.wait())?;

    let engine = Engine::start_with(place, left, options, &stored)?;
    let relay = ours::start(place, right, options)?;
    sql[0].batch_execute("insert into marker values (1)").await.doing("writing the marker")?;
    for prefix in &place.prefixes {
        until_any(place, &format!("{prefix}.public.marker")).await?;
    }
    engine.stop()?;
    relay.stop()?;
    Ok([numbers(place, &rows[0])?, numbers(place, &rows[1])?])
}

fn consumer(place: &Place) -> Result<BaseConsumer> {
    ClientConfig::new()
        .set("bootstrap.servers", &place.bootstrap)
        .set("group.id", &place.prefixes[0])
        .set("enable.auto.commit", "false")
        .create()
        .doing("connecting to Kafka")
}

fn end(consumer: &BaseConsumer, topic: &str) -> Result<i64> {
    let (_, high) = consumer.fetch_watermarks(topic, 0, REQUEST_MAX).doing(format!("asking for the end of {topic}"))?;
    Ok(high)
}

/// Waits until the topic has a record.
async fn until_any(place: &Place, topic: &str) -> Result<()> {
    let (consumer, deadline) = (consumer(place)?, Instant::now() + STILL_MAX);
    while end(&consumer, topic)? == 0 {
        if Instant::now() > deadline {
            return Err(Error::Relay(format!("nothing arrives in {topic}; logs are in {}", place.whereabouts())));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// The numbers of the rows in a topic.
fn numbers(place: &Place, topic: &str) -> Result<BTreeSet<String>> {
    let consumer = consumer(place)?;
    let end = end(&consumer, topic)?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning).doing("naming a topic")?;
    consumer.assign(&list).doing("reading the rows")?;
    let mut numbers = BTreeSet::new();
    let mut next = 0;
    while next < end {
        let Some(message) = consumer.poll(REQUEST_MAX) else { continue };
        let message = message.doing("reading the rows")?;
        next = message.offset() + 1;
        let value = Json::parse(&String::from_utf8_lossy(message.payload().unwrap_or_default()));
        let id = value.as_ref().and_then(|value| value.at(&["after", "id"])).and_then(Json::number);
        numbers.extend(id.map(str::to_owned));
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use crate::compare::losses::{Loss, Losses};

    #[test]
    fn only_what_the_relay_loses_is_a_failure() {
        let loss = |debezium_lost, postrider_lost| Losses {
            scenarios: vec![Loss { scenario: "copy", about: "", rows: 9, debezium_lost, postrider_lost }],
        };
        assert!(loss(3, 0).passed() && !loss(0, 1).passed());
        let expected = r#"{"scenarios":[{"scenario":"copy","rows":9,"debezium_lost":3,"postrider_lost":0}]}"#;
        assert_eq!(loss(3, 0).json(), expected);
    }
}
