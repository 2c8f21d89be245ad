//! The three who take turns on the same rows, and what each took.

use std::time::{Duration, Instant};

use ureq::Agent;

use crate::chain::blocking;
use crate::config::quoted;
use crate::error::{Doing, Error, Result};
use crate::load::site::{MODEL, Site, from_file};
use crate::procfs::Usage;
use crate::relay::{Process, Relay};
use crate::screen::Screen;

/// How long a turn may take.
const LAP_MAX: Duration = Duration::from_secs(900);
/// How often the loader is asked how far it is: that changes the figure by less than a hundredth, and what answering takes is its own
/// time too.
const LOOK: Duration = Duration::from_millis(25);
/// How long it may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Rows that ClickHouse took from the loader.
const ROWS: &str = "postrider_load_rows_total";

/// Someone who takes turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Racer {
    Native,
    Json,
    Loader,
}

impl Racer {
    pub(super) const ALL: [Self; 3] = [Self::Native, Self::Json, Self::Loader];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Native => "INFILE, Native",
            Self::Json => "INFILE, JSONEachRow",
            Self::Loader => "postrider load",
        }
    }
}

/// One turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lap {
    pub(super) rows_per_s: f64,
    /// Of the loader.
    pub(super) usage: Usage,
    /// From its start to its first batch, of the loader.
    pub(super) first: Duration,
    /// Rows that are missing or there more than once.
    pub(super) wrong: u64,
}

/// One turn of each, in the order of [`Racer::ALL`].
pub(super) type Round = [Lap; Racer::ALL.len()];

/// Everyone, with what he needs.
#[derive(Debug)]
pub(super) struct Contest<'a> {
    site: &'a Site,
    rows: u64,
}

impl<'a> Contest<'a> {
    pub(super) fn new(site: &'a Site, rows: u64) -> Self {
        Self { site, rows }
    }

    /// Lets each take his turn. Who begins changes from round to round.
    pub(super) async fn round(&self, round: u64, screen: &Screen) -> Result<Round> {
        let mut laps = [None; Racer::ALL.len()];
        for turn in 0..Racer::ALL.len() {
            let index = (turn + round as usize) % Racer::ALL.len();
            let racer = Racer::ALL[index];
            let table = format!("lap_{round}_{index}");
            self.site.clickhouse.run(&format!("create table {table} as {MODEL}")).await?;
            let mut lap = match racer {
                Racer::Native => self.infile(&table, &self.site.native(), "Native").await?,
                Racer::Json => self.infile(&table, &self.site.json(), "JSONEachRow").await?,
                Racer::Loader => self.loader(&table).await?,
            };
            lap.wrong = self.wrong(&table).await?;
            self.site.clickhouse.run(&format!("drop table {table} sync")).await?;
            screen.say(&format!(
                "round {}  {:<20} {:>9.0} rows/s  {:>6.2} CPU s  {:>6.1} MiB",
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

    /// One statement, from its being sent to its answer.
    async fn infile(&self, table: &str, file: &std::path::Path, format: &str) -> Result<Lap> {
        let begun = Instant::now();
        self.site.clickhouse.run(&from_file(table, &file.display().to_string(), format)).await?;
        let rows_per_s = self.rows as f64 / begun.elapsed().as_secs_f64();
        Ok(Lap { rows_per_s, usage: Usage::default(), first: Duration::ZERO, wrong: 0 })
    }

    /// A group of its own, from the first batch that is in the table to the last: what joining a group takes is told beside it.
    async fn loader(&self, table: &str) -> Result<Lap> {
        let (site, port) = (self.site, free_port()?);
        let toml = format!(
            "[kafka]\nbootstrap_servers = {}\n\n[admin]\nlisten = \"127.0.0.1:{port}\"\n\n\
             [clickhouse]\nurl = {}\ndatabase = {}\ncompression = \"none\"\n\n[load]\ngroup = {}\n\n[dead_letter]\ntopic = {}\n\n\
             [load.tables.{table}]\ntopic = {}\nkind = \"append\"\nfrom = {{ event_id = \"header:id\", received_at = \"record:timestamp\" }}\n",
            quoted(&site.bootstrap),
            quoted(&site.server.url()),
            quoted(&site.name),
            quoted(&format!("{}.{table}", site.name)),
            quoted(&format!("{}.dlq", site.name)),
            quoted(&site.topic()),
        );
        let mut process = Relay::worker(&site.folder, Relay::LOAD, &toml)?.start()?;
        let url = format!("http://127.0.0.1:{port}/metrics");
        let (begun, before) = self.reach(&mut process, &url, 1).await?;
        let first = begun.duration_since(process.started());
        let (ended, _) = self.reach(&mut process, &url, self.rows).await?;
        let seconds = ended.duration_since(begun).as_secs_f64();
        let usage = process.stop()?;
        Ok(Lap { rows_per_s: (self.rows - before) as f64 / seconds.max(1e-3), usage, first, wrong: 0 })
    }

    /// Waits until ClickHouse took `wanted` rows: when that was, and how many it were.
    async fn reach(&self, process: &mut Process, url: &str, wanted: u64) -> Result<(Instant, u64)> {
        let deadline = Instant::now() + LAP_MAX;
        loop {
            process.check()?;
            let rows = rows(url).await;
            if rows >= wanted {
                return Ok((Instant::now(), rows));
            }
            if Instant::now() > deadline {
                return Err(Error::Relay(format!("the loader has loaded {rows} rows in {LAP_MAX:?}")));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn wrong(&self, table: &str) -> Result<u64> {
        let distinct = self.site.clickhouse.number(&format!("select uniqExact(event_id) from {table}")).await?;
        // The table may have merged some that are there twice: none is there more often than the engine shows.
        let all = self.site.clickhouse.number(&format!("select count() from {table}")).await?;
        Ok(self.rows.abs_diff(distinct) + all.abs_diff(distinct))
    }
}

/// What the loader's metrics say; 0 while it does not answer.
async fn rows(url: &str) -> u64 {
    let url = url.to_owned();
    let asked = blocking(move || {
        let agent: Agent = Agent::config_builder().timeout_global(Some(ANSWER_MAX)).build().into();
        let answer = agent.get(&url).call().and_then(|mut answer| answer.body_mut().read_to_string());
        Ok(answer.unwrap_or_default())
    });
    let text = asked.await.unwrap_or_default();
    let values = text.lines().filter(|line| line.starts_with(ROWS)).filter_map(|line| line.rsplit(' ').next());
    values.filter_map(|value| value.parse::<f64>().ok()).sum::<f64>() as u64
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").doing("looking for a free port")?;
    Ok(listener.local_addr().doing("looking for a free port")?.port())
}
