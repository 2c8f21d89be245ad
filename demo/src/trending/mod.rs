//! What is talked of, asked of many events: the table that the server refreshes each minute beside the same question over the raw events,
//! with Nova's own tables and views on a server of the bench's own.

mod report;

use std::time::{Duration, Instant};

use clap::Args;
use xtask::services::PrivateClickhouse;

use crate::chain::{ClickHouse, blocking};
use crate::error::{Doing, Result};
use crate::load::migrate;
use crate::screen::Screen;

pub use report::Report;

/// The options of `demo trending`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// How many events there are
    #[arg(long, default_value_t = 20_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub events: u64,
    /// Over how many hours they are spread, up to now; the question is about the last one
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=720))]
    pub hours: u64,
    /// How many posts they are about
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub posts: u64,
}

/// Events that are made by one statement.
const PART: u64 = 500_000;
/// How often the refreshed table is asked.
const ASKED: usize = 31;
/// How often the raw events are asked.
const SCANNED: usize = 3;

/// Fills the tables, asks, and removes everything again.
pub async fn bench(options: &Options, screen: &Screen) -> Result<Report> {
    let now = crate::watcher::now_us() / 1000 % 0x1000_0000;
    let name = format!("trending_{:x}_{now:x}", std::process::id());
    let folder = std::env::temp_dir().join(&name);
    std::fs::create_dir_all(&folder).doing(format!("creating {}", folder.display()))?;
    let server = blocking(|| Ok(PrivateClickhouse::start()?)).await?;
    migrate(&server, &name, &folder)?;
    std::fs::remove_dir_all(&folder).doing(format!("removing {}", folder.display()))?;
    let clickhouse = ClickHouse::new(&server.url(), &name);
    // The server must refresh when we look, and not when it likes: a refresh that runs beside a question would be measured with it.
    clickhouse.run("system stop view post_engagement_1h_refresh").await?;
    fill(&clickhouse, options, screen).await?;
    measure(&clickhouse, options, screen).await
}

/// Events as Nova's clients and tables make them, by the engine's own random numbers.
async fn fill(clickhouse: &ClickHouse, options: &Options, screen: &Screen) -> Result<()> {
    let begun = Instant::now();
    let (span, posts) = (options.hours * 3_600_000_000, options.posts);
    for (part, from) in (0..options.events).step_by(PART as usize).enumerate() {
        let rows = PART.min(options.events - from);
        let made = format!(
            "insert into post_events (event_time, event_id, user_id, post_id, action, event_type, dwell_ms, device, received_at) \
             with now64(6, 'UTC') - toIntervalMicrosecond(rand64(1) % {span}) as at \
             select at, generateUUIDv4(), reinterpretAsUUID(toUInt128(rand(2) % 1000000)), \
             reinterpretAsUUID(toUInt128(floor(pow(rand(3) / 4294967296, 2) * {posts}))), '', \
             ['post_view', 'post_view', 'post_view', 'post_view', 'post_view', 'post_impression', 'post_impression', 'post_like', \
             'post_comment', 'post_share'][rand(4) % 10 + 1], rand(5) % 60000, ['iOS', 'Android', 'web'][rand(6) % 3 + 1], at \
             from numbers({from}, {rows})"
        );
        clickhouse.run(&made).await?;
        if part % 10 == 9 {
            screen.say(&format!("          {} events after {:.0} s", from + rows, begun.elapsed().as_secs_f64()));
        }
    }
    Ok(())
}

async fn measure(clickhouse: &ClickHouse, options: &Options, screen: &Screen) -> Result<Report> {
    screen.say("          refreshing");
    clickhouse.run("system start view post_engagement_1h_refresh").await?;
    let begun = Instant::now();
    clickhouse.run("system refresh view post_engagement_1h_refresh").await?;
    clickhouse.run("system wait view post_engagement_1h_refresh").await?;
    let refresh = begun.elapsed();
    clickhouse.run("system stop view post_engagement_1h_refresh").await?;
    let kept = "select toString(rank), toString(post_id), toString(score) from trending_1h order by rank";
    let (asked, answer) = times(clickhouse, kept, ASKED).await?;
    // The same question about the same hour, of which the refreshed table knows the end.
    let raw = "with (select any(as_of) from post_engagement_1h) as end \
        select toString(row_number() over (order by score desc, post_id)), toString(post_id), toString(score) from (\
        select post_id, uniqExactIf(event_id, event_type = 'post_view') * 0.1 + uniqExactIf(event_id, event_type = 'post_like') * 2 \
        + uniqExactIf(event_id, event_type = 'post_comment') * 3 + uniqExactIf(event_id, event_type = 'post_share') * 5 as score \
        from post_events where event_time > end - interval 1 hour and event_time <= end group by post_id having score > 0) \
        order by score desc, post_id limit 50";
    screen.say("          asking the raw events");
    let (scanned, scan) = times(clickhouse, raw, SCANNED).await?;
    Ok(Report::new(options, refresh, asked, scanned, answer == scan))
}

/// How long each of `times` answers took, and the last one.
async fn times(clickhouse: &ClickHouse, sql: &str, times: usize) -> Result<(Vec<Duration>, Vec<Vec<Option<String>>>)> {
    let (mut took, mut answer) = (Vec::new(), Vec::new());
    for _ in 0..times {
        let begun = Instant::now();
        answer = clickhouse.rows(sql).await?;
        took.push(begun.elapsed());
    }
    Ok((took, answer))
}
