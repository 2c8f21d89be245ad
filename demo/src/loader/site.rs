//! Where the loader plays alone: a topic, a group, a ClickHouse of its own with one table, and a folder.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ureq::Agent;
use xtask::services::{Environment, PrivateClickhouse};

use crate::chain::{ClickHouse, Group, blocking, letters};
use crate::config::quoted;
use crate::error::{Doing, Error, Result};
use crate::relay::{Process, Relay};
use crate::screen::Screen;
use crate::state::reader::TableTopics;

/// The table, and what the topic is called after the run's prefix.
const TABLE: &str = "clicks";

/// A table without room for what does not belong into it: [`super::poison`] mends it later.
const DDL: &str = "
create table clicks (
    event_id UUID,
    event_time DateTime64(3, 'UTC'),
    user_id UUID,
    dwell_ms UInt16,
    device LowCardinality(String),
    country FixedString(2)
)
engine = MergeTree
order by event_id
settings non_replicated_deduplication_window = 1000";

/// How long a worker may commit nothing before what is left counts as lost.
const NO_PROGRESS_MAX: Duration = Duration::from_secs(120);
/// How often the run looks how far the loader is.
const LOOK: Duration = Duration::from_millis(500);
/// How long a worker may take to answer for its metrics.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Everything that such a run made.
pub(super) struct Site {
    pub(super) name: String,
    pub(super) bootstrap: String,
    pub(super) server: PrivateClickhouse,
    pub(super) clickhouse: ClickHouse,
    pub(super) topics: TableTopics,
    pub(super) load: Relay,
    pub(super) letters: String,
    group: Group,
    metrics_url: String,
    folder: PathBuf,
}

impl Site {
    /// A server with the table, the topic, and a loader that is configured for them.
    pub(super) async fn open(environment: &Environment, what: &str) -> Result<Self> {
        let now = crate::watcher::now_us() / 1000 % 0x1000_0000;
        let name = format!("{what}_{:x}_{now:x}", std::process::id());
        let folder = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&folder).doing(format!("creating {}", folder.display()))?;
        let server = blocking(|| Ok(PrivateClickhouse::start()?)).await?;
        let clickhouse = ClickHouse::new(&server.url(), &name);
        clickhouse.create().await?;
        clickhouse.run(DDL).await?;
        let bootstrap = environment.kafka.bootstrap.clone();
        let topics = TableTopics::new(&bootstrap, &format!("{name}."), &[TABLE.to_owned()]);
        topics.create().await?;
        let (group, letters) = (format!("{name}.load"), format!("{name}.dlq"));
        let port = free_port()?;
        let toml = format!(
            "[kafka]\nbootstrap_servers = {}\n\n[consumer]\ninstance_id = \"load\"\n\n[dead_letter]\ntopic = {}\n\n[admin]\nlisten = \"127.0.0.1:{port}\"\n\n\
             [clickhouse]\nurl = {}\ndatabase = {}\n\n[load]\ngroup = {}\n\n[load.tables.{TABLE}]\ntopic = {}\nkind = \"append\"\n",
            quoted(&bootstrap),
            quoted(&letters),
            quoted(&server.url()),
            quoted(&name),
            quoted(&group),
            quoted(&format!("{name}.{TABLE}")),
        );
        let load = Relay::worker(&folder, Relay::LOAD, &toml)?;
        let partitions = topics.partitions().map(|(topic, partition)| (topic.to_owned(), partition)).collect();
        let group = Group::new(&bootstrap, &group, partitions);
        let metrics_url = format!("http://127.0.0.1:{port}/metrics");
        Ok(Self { name, bootstrap, server, clickhouse, topics, load, letters, group, metrics_url, folder })
    }

    /// The topic.
    pub(super) fn topic(&self) -> String {
        format!("{}.{TABLE}", self.name)
    }

    /// The metrics of the loader that runs; none if it does not answer.
    pub(super) async fn metrics(&self) -> Option<Metrics> {
        Metrics::ask(&self.metrics_url).await
    }

    /// How many records the loader has not committed yet.
    pub(super) async fn behind(&self) -> Result<u64> {
        self.group.behind().await
    }

    /// Waits until the loader has committed every record; how many it has not, if it makes no more progress.
    pub(super) async fn catch_up(&self, process: &mut Process, screen: &Screen) -> Result<u64> {
        let (mut last, mut moved, mut said) = (u64::MAX, Instant::now(), Instant::now());
        loop {
            process.check()?;
            let behind = self.behind().await?;
            if behind < last {
                (last, moved) = (behind, Instant::now());
            }
            if behind == 0 || moved.elapsed() > NO_PROGRESS_MAX {
                return Ok(behind);
            }
            if said.elapsed() > Duration::from_secs(5) {
                said = Instant::now();
                screen.say(&format!("          the loader has {behind} records to go"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// How many records the loader has given up.
    pub(super) async fn given_up(&self) -> Result<u64> {
        let (bootstrap, topic) = (self.bootstrap.clone(), self.letters.clone());
        blocking(move || letters::count(&bootstrap, &topic)).await
    }

    /// Rows of the table, and how many of them are of different events.
    pub(super) async fn rows(&self) -> Result<(u64, u64)> {
        let rows = self.clickhouse.number(&format!("select count() from {TABLE}")).await?;
        let distinct = self.clickhouse.number(&format!("select uniqExact(event_id) from {TABLE}")).await?;
        Ok((rows, distinct))
    }

    /// Removes everything.
    pub(super) async fn clear(self) -> Result<()> {
        self.topics.delete().await?;
        letters::delete(&self.bootstrap, &self.letters).await?;
        std::fs::remove_dir_all(&self.folder).doing(format!("removing {}", self.folder.display()))
    }

    /// Where to look after a bad run.
    pub(super) fn whereabouts(&self) -> String {
        let (name, log) = (&self.name, self.load.log().display());
        format!("          kept to look at: topics {name}.*, the loader's log {log}")
    }
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").doing("looking for a free port")?;
    Ok(listener.local_addr().doing("looking for a free port")?.port())
}

/// The numbers of a process, by their name with its labels.
#[derive(Debug, Default)]
pub(crate) struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Those that are served there; none if nobody answers.
    pub(crate) async fn ask(url: &str) -> Option<Self> {
        let url = url.to_owned();
        let asked = blocking(move || {
            let agent: Agent = Agent::config_builder().timeout_global(Some(ANSWER_MAX)).build().into();
            let answer = agent.get(&url).call().and_then(|mut answer| answer.body_mut().read_to_string());
            Ok(answer.ok())
        });
        asked.await.ok().flatten().map(|text| Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let number = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(number).collect())
    }

    /// The sum of a metric over its labels, of which each must be in the line's text; 0 if there is none.
    pub(crate) fn sum(&self, name: &str, label: &str) -> f64 {
        let of = |line: &str| line.split('{').next() == Some(name) && line.contains(label);
        // Adding to -0.0, which an empty sum is, would print its sign.
        self.0.iter().filter(|(line, _)| of(line)).map(|(_, value)| value).sum::<f64>() + 0.0
    }
}

/// Refuses a figure that cannot be.
pub(super) fn impossible(what: &str) -> Error {
    Error::Relay(format!("{what}: the verdict would mean nothing"))
}

#[cfg(test)]
mod tests {
    use crate::loader::site::Metrics;

    #[test]
    fn metrics_are_summed_over_their_labels() {
        let metrics = Metrics::parse("# HELP a b\na{end=\"sink\"} 2\na{end=\"source\"} 1\nab 7\n");
        assert_eq!(metrics.sum("a", ""), 3.0);
        assert_eq!(metrics.sum("a", "sink"), 2.0);
        assert_eq!(metrics.sum("c", "").to_string(), "0");
    }
}
