//! One transaction of millions of rows of a captured table: how much memory the relay takes for it, and whether a relay that is
//! killed in the middle of it goes on in the middle.
//!
//! Postgres sends a transaction when it has committed, and all of it again to whoever did not confirm it: the relay leaves out
//! what its progress record says was delivered. That is what is counted here.

pub(crate) mod reader;
mod report;

use std::time::{Duration, Instant};

use xtask::services::Environment;

use crate::error::{Doing, Error, Result};
use crate::procfs::Usage;
use crate::screen::Screen;
use crate::state::{Options, Site};

use reader::Rows;
pub use report::Report;

/// The table, and its topic.
const TABLE: &str = "large";
/// How often the run looks around.
const TICK: Duration = Duration::from_millis(20);
/// How long nothing new may arrive before the rest counts as lost: decoding starts at the transaction's first row each time.
const NO_PROGRESS_MAX: Duration = Duration::from_secs(120);

/// Plays one run from nothing to the verdict.
pub async fn run(environment: &Environment, options: Options, keep: bool, screen: &Screen) -> Result<Report> {
    let site = Site::open(environment, "large", "{table}").await?;
    let played = play(&site, options, screen).await;
    match &played {
        Ok(report) if report.passed() && !keep => site.clear().await?,
        _ => screen.say(&site.whereabouts()),
    }
    played
}

async fn play(site: &Site, options: Options, screen: &Screen) -> Result<Report> {
    let (rows, kills) = (options.rows(), options.kills.unwrap_or(1));
    let client = site.database.connect().await?;
    site.relay.complete("migrate")?;
    let table = format!("create table {TABLE} (id bigint primary key, note text)");
    client.batch_execute(&table).await.doing("creating the table")?;
    site.init().await?;
    let topics = site.topics(&[TABLE.to_owned()]);
    topics.create().await?;
    let reader = Rows::read(&topics, rows)?;
    let mut process = site.relay.start()?;

    screen.say(&format!(
        "          one transaction of {rows} rows; the relay is killed {kills} times in the middle of it"
    ));
    let insert =
        format!("insert into {TABLE} select n, md5(n::text) || md5((-n)::text) from generate_series(1, {rows}) n");
    client.batch_execute(&insert).await.doing("writing the transaction")?;
    let committed = Instant::now();
    let (mut used, mut killed_at) = (Usage::default(), Vec::new());
    let mut last = (0, Instant::now(), Instant::now());
    while reader.seen().distinct() < rows {
        process.check()?;
        let distinct = reader.seen().distinct();
        // The first kill is half-way through, the next half-way through the rest.
        let part = rows - rows / (1 << (killed_at.len() + 1).min(16));
        if killed_at.len() < kills as usize && distinct >= part {
            used = used.then(process.kill()?);
            killed_at.push(distinct);
            screen.say(&format!("          SIGKILL after {distinct} rows"));
            process = site.relay.start()?;
        }
        if distinct > last.0 {
            (last.0, last.1) = (distinct, Instant::now());
        }
        if last.1.elapsed() > NO_PROGRESS_MAX {
            screen.say(&format!("          nothing new has arrived for {NO_PROGRESS_MAX:?}: the rest counts as lost"));
            break;
        }
        if last.2.elapsed() > Duration::from_secs(5) {
            last.2 = Instant::now();
            screen.say(&format!("          {distinct} rows of {rows}, {:.1} MiB", process.check()?.rss_peak_mib()));
        }
        tokio::time::sleep(TICK).await;
    }
    let seconds = committed.elapsed();
    let usage = used.then(process.stop()?);
    let found = reader.finish()?;
    topics.delete().await?;
    if found.distinct > rows {
        return Err(Error::Relay(format!("{} rows arrived, and {rows} were written", found.distinct)));
    }
    Ok(Report { rows, found, killed_at, usage, seconds })
}
