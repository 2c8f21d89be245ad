//! From the commit to a key that is gone: events at a steady rate, each of which removes one key, and a client of Redis that is
//! told of each removal.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::timeout;

use crate::error::{Doing, Error, Result};
use crate::invalidation::Options;
use crate::invalidation::scene::Scene;
use crate::latency::bench::committed;
use crate::latency::writers::{Schedule, write};
use crate::latency::{Latencies, Percentiles};
use crate::screen::Screen;
use crate::watcher::now_us;

/// Seconds before those that count.
const WARM_UP_SECONDS: u64 = 3;

/// What Redis tells of, as a message on this channel
/// (<https://redis.io/docs/latest/develop/pubsub/keyspace-notifications/>).
const REMOVALS: &str = "__keyevent@0__:del";

/// How long a removal may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures it.
pub(super) async fn measure(scene: &Scene, options: &Options, screen: &Screen) -> Result<Percentiles> {
    let events = options.rate * (WARM_UP_SECONDS + options.seconds);
    fill(scene, events).await?;
    let topic = scene.topic("outbox.event.order");
    let rules =
        format!("[invalidate.rules.pages]\ntopic = \"{topic}\"\nstrategy = \"keys\"\ntargets = [\"page:{{n}}\"]\n");
    let worker = scene.start("commit", &[&topic], &rules)?;
    let relay = scene.place.relay.start()?;
    let client = redis::Client::open(scene.redis.url()).doing("reading the address of Redis")?;
    let mut told = client.get_async_pubsub().await.doing("connecting to Redis")?;
    told.subscribe(REMOVALS).await.doing("asking for removals")?;

    // One event, to know that all is connected before the first that counts is due.
    write(&scene.place, Schedule::at_once(1)).await?;
    let mut gone = HashMap::new();
    {
        let mut messages = told.on_message();
        wait(&mut messages, &mut gone, 1).await?;
        screen.say(&format!("{} events a second for {} s", options.rate, WARM_UP_SECONDS + options.seconds));
        let schedule = Schedule::from_now(options.rate, events);
        let (written, waited) =
            tokio::join!(write(&scene.place, schedule), wait(&mut messages, &mut gone, events as usize + 1));
        written?;
        waited?;
    }
    relay.stop()?;
    worker.process.stop()?;
    let committed = committed(&scene.place).await?;
    let mut latencies = Latencies::default();
    for number in options.rate * WARM_UP_SECONDS + 1..=events {
        let (Some(gone), Some(committed)) = (gone.get(&number), committed.get(&number)) else {
            return Err(Error::Relay(format!("the key of event {number} was never removed")));
        };
        latencies.record(u64::try_from(gone - committed).unwrap_or(0));
    }
    scene.flush().await?;
    Ok(latencies.percentiles())
}

/// Notes when each key was gone, until so many are.
async fn wait(
    messages: &mut (impl futures_util::Stream<Item = redis::Msg> + Unpin),
    gone: &mut HashMap<u64, i64>,
    count: usize,
) -> Result<()> {
    while gone.len() < count {
        let message = timeout(PATIENCE, messages.next()).await.ok().flatten();
        let message = message.ok_or_else(|| {
            Error::Relay(format!("only {} of {count} keys were removed within {PATIENCE:?}", gone.len()))
        })?;
        let now = now_us();
        let key: String = message.get_payload().doing("reading what Redis tells")?;
        if let Some(number) = key.strip_prefix("page:").and_then(|number| number.parse().ok()) {
            gone.entry(number).or_insert(now);
        }
    }
    Ok(())
}

/// A page for every event.
async fn fill(scene: &Scene, events: u64) -> Result<()> {
    let mut connection = scene.connect().await?;
    let numbers: Vec<u64> = (0..=events).collect();
    for part in numbers.chunks(5_000) {
        let mut pipeline = redis::pipe();
        for number in part {
            pipeline.cmd("SET").arg(format!("page:{number}")).arg("a page").ignore();
        }
        pipeline.query_async::<()>(&mut connection).await.doing("filling the cache")?;
    }
    Ok(())
}
