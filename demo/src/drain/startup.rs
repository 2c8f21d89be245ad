//! How long from the start of the relay's process until its first record can be read in Kafka, by a consumer that already waits.

use std::time::{Duration, Instant};

use xtask::services::Environment;

use crate::drain::backlog::{AGGREGATE_TYPES, Backlog};
use crate::error::{Doing, Error, Result};
use crate::screen::Screen;
use crate::topics::Topics;
use crate::watcher::Watcher;

/// How often it is measured.
const STARTS: u64 = 7;
/// Events that wait in the slot: something to deliver at once, nothing that takes time.
const PENDING: u64 = 10;
/// How long the consumer is given, after it has read what former starts left, to wait for its next record.
const CONSUMER_HEAD_START: Duration = Duration::from_millis(500);
/// How long a start may take.
const START_MAX: Duration = Duration::from_secs(30);

/// Start to first record, once for each start.
pub(super) async fn measure(environment: &Environment, backlog: &Backlog, screen: &Screen) -> Result<Vec<Duration>> {
    let pending = format!("{}_pending", backlog.name());
    let sql = "select pg_create_logical_replication_slot($1::text::name, 'pgoutput')";
    backlog.sql.execute(sql, &[&pending]).await.doing("creating a slot for the starts")?;
    backlog.fill(PENDING).await?;
    let topics = Topics::new(&pending, AGGREGATE_TYPES);
    topics.create(&environment.kafka.bootstrap).await?;
    let mut starts = Vec::new();
    for start in 0..STARTS {
        let slot = format!("{pending}_{start}");
        backlog.copy_slot_of(&pending, &slot).await?;
        let watcher = Watcher::start(&environment.kafka.bootstrap, &topics)?;
        let before = start * PENDING;
        wait_for(&watcher, before, || Ok(())).await?;
        tokio::time::sleep(CONSUMER_HEAD_START).await;
        let mut process =
            backlog.relay(&environment.postgres, &slot, &topics, &environment.kafka.bootstrap)?.start()?;
        wait_for(&watcher, before + 1, || process.check().map(|_| ())).await?;
        starts.push(Instant::now() - process.started());
        process.stop()?;
        watcher.finish()?;
        backlog.drop_slot(&slot).await?;
    }
    topics.delete(&environment.kafka.bootstrap).await?;
    let shown: Vec<String> = starts.iter().map(|start| format!("{:.0}", start.as_secs_f64() * 1000.0)).collect();
    screen.say(&format!("start to first record readable: {} ms", shown.join(", ")));
    Ok(starts)
}

/// Waits until so many records were read, or `check` finds that they never will be.
async fn wait_for(watcher: &Watcher, records: u64, mut check: impl FnMut() -> Result<()>) -> Result<()> {
    let begun = Instant::now();
    while watcher.seen().records() < records {
        check()?;
        if begun.elapsed() > START_MAX {
            return Err(Error::Relay(format!("no record arrived within {START_MAX:?} of a start")));
        }
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
    Ok(())
}
