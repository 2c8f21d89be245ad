//! What a run needs behind Kafka: a database of ClickHouse, a logical database of Redis, the topic of the clients' events, and the two
//! workers with their configuration and groups.

use std::path::Path;
use std::time::{Duration, Instant};

use redis::AsyncCommands;
use xtask::services::Environment;

use crate::chain::clickhouse::ClickHouse;
use crate::chain::config::{self, Names};
use crate::chain::lag::Group;
use crate::chain::letters;
use crate::chain::services::blocking;
use crate::error::{Doing, Error, Result};
use crate::relay::Relay;
use crate::state::reader::TableTopics;

/// The logical databases of Redis that runs take; 0 is left to everybody else.
const DATABASES: std::ops::RangeInclusive<u32> = 1..=15;
/// How long a logical database belongs to a run that did not give it back, in seconds.
const CLAIM_S: u64 = 7_200;
/// How long a topic that was created may take to be known.
const VISIBLE_MAX: Duration = Duration::from_secs(30);
/// Says whose a logical database is.
const CLAIM: &str = "nova:claimed";

/// Everything behind Kafka that a run made.
#[derive(Debug)]
pub(crate) struct Downstream {
    pub(crate) clickhouse: ClickHouse,
    /// With the logical database.
    pub(crate) redis_url: String,
    /// The clients' events.
    pub(crate) events: TableTopics,
    pub(crate) load: Relay,
    pub(crate) invalidate: Relay,
    /// Of the loader and of the invalidator.
    pub(crate) groups: [Group; 2],
    letters: String,
    bootstrap: String,
}

impl Downstream {
    /// Takes what the run needs and configures the workers; `tables` are the topics of the captured tables.
    pub(crate) async fn open(
        environment: &Environment,
        run: &str,
        folder: &Path,
        tables: &TableTopics,
    ) -> Result<Self> {
        let url = environment.clickhouse_url.as_deref().ok_or_else(|| missing("ClickHouse"))?;
        let redis = environment.redis_url.as_deref().ok_or_else(|| missing("Redis"))?;
        let (clickhouse, redis_url) = (ClickHouse::new(url, run), claim(redis, run).await?);
        let bootstrap = &environment.kafka.bootstrap;
        let names = Names { run, environment, redis_url: &redis_url };
        let events = TableTopics::new(bootstrap, &format!("{run}."), &[config::EVENTS.to_owned()]);
        let read = || tables.partitions().chain(events.partitions()).map(|(topic, at)| (topic.to_owned(), at));
        let groups = [Relay::LOAD, Relay::INVALIDATE].map(|role| {
            Group::new(bootstrap, &names.group(role), read().filter(|(topic, _)| config::reads(role, topic)).collect())
        });
        Ok(Self {
            load: Relay::worker(folder, Relay::LOAD, &config::load(&names))?,
            invalidate: Relay::worker(folder, Relay::INVALIDATE, &config::invalidate(&names))?,
            letters: names.letters(),
            bootstrap: bootstrap.clone(),
            clickhouse,
            redis_url,
            events,
            groups,
        })
    }

    /// Waits until everybody is told of the topics: a worker that starts before would read them a moment later.
    async fn visible(&self) -> Result<()> {
        let (events, since) = (self.events.clone(), Instant::now());
        blocking(move || {
            while let Err(error) = events.ends() {
                if since.elapsed() > VISIBLE_MAX {
                    return Err(error);
                }
            }
            Ok(())
        })
        .await
    }

    /// The database of ClickHouse with its tables, and the topic of the clients' events.
    pub(crate) async fn furnish(&self) -> Result<()> {
        self.events.create().await?;
        self.visible().await?;
        let folder = xtask::root().join("clickhouse").display().to_string();
        self.load.ask(&["migrate", "--clickhouse", &folder]).map(drop)
    }

    /// Removes everything.
    pub(crate) async fn clear(&self) -> Result<()> {
        self.clickhouse.drop().await?;
        self.events.delete().await?;
        letters::delete(&self.bootstrap, &self.letters).await?;
        let mut redis = connect(&self.redis_url).await?;
        redis::cmd("FLUSHDB").exec_async(&mut redis).await.doing("emptying the run's database of Redis")
    }

    /// The topic of the clients' events.
    pub(crate) fn events_topic(&self) -> String {
        self.events.names().map(str::to_owned).collect()
    }

    /// Where to look after a bad run.
    pub(crate) fn whereabouts(&self) -> String {
        format!(
            "          and ClickHouse's database {}, {}, worker logs {} and {}",
            self.clickhouse.database(),
            self.redis_url,
            self.load.log().display(),
            self.invalidate.log().display()
        )
    }

    /// How many records the workers have given up.
    pub(crate) async fn given_up(&self) -> Result<u64> {
        let (bootstrap, topic) = (self.bootstrap.clone(), self.letters.clone());
        blocking(move || letters::count(&bootstrap, &topic)).await
    }
}

fn missing(service: &str) -> Error {
    Error::Relay(format!("the environment names no {service}: `cargo xtask services up` starts one"))
}

async fn connect(url: &str) -> Result<redis::aio::MultiplexedConnection> {
    let client = redis::Client::open(url).doing("reading the URL of Redis")?;
    client.get_multiplexed_async_connection().await.doing("connecting to Redis")
}

/// The URL of an empty logical database that is this run's from now on.
async fn claim(redis: &str, run: &str) -> Result<String> {
    for number in DATABASES.rev() {
        let url = format!("{}/{number}", redis.trim_end_matches('/'));
        let mut connection = connect(&url).await?;
        let keys: u64 = redis::cmd("DBSIZE").query_async(&mut connection).await.doing("looking into Redis")?;
        if keys > 0 {
            continue;
        }
        let options = redis::SetOptions::default()
            .conditional_set(redis::ExistenceCheck::NX)
            .with_expiration(redis::SetExpiry::EX(CLAIM_S));
        let claimed: bool = connection.set_options(CLAIM, run, options).await.doing("claiming a database of Redis")?;
        if claimed {
            return Ok(url);
        }
    }
    Err(Error::Relay("every logical database of Redis from 1 to 15 holds something: empty one".to_owned()))
}
