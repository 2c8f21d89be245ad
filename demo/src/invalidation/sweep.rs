//! Patterns in a Redis of a million keys: the last resort, and what it costs whoever else uses the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Doing, Result};
use crate::invalidation::Options;
use crate::invalidation::scene::{Records, Scene};
use crate::latency::{Latencies, Percentiles};
use crate::screen::Screen;

/// Pages of a user.
const PAGES: u64 = 20;

/// Changes, and the pause after each.
const CHANGES: u64 = 100;
const PAUSE: Duration = Duration::from_millis(50);

/// Commands of one pipeline.
const PIPELINE: usize = 10_000;

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sweep {
    pub(super) keys: u64,
    pub(super) changes: u64,
    /// Keys that were removed.
    pub(super) removed: u64,
    /// Searches of all keys: one serves all patterns that wait.
    pub(super) sweeps: f64,
    pub(super) keys_per_s: f64,
    pub(super) seconds: f64,
    /// How long another client waited for an answer meanwhile.
    pub(super) others: Percentiles,
}

/// Measures it.
pub(super) async fn measure(scene: &Scene, options: &Options, screen: &Screen) -> Result<Sweep> {
    screen.say(&format!("filling Redis with {} keys", options.keys));
    fill(scene, options.keys).await?;
    let topic = scene.topic("posts");
    scene.create(&topic).await?;
    let rules = format!(
        "[invalidate.rules.posts]\ntopic = \"{topic}\"\nstrategy = \"pattern\"\ntargets = [\"feed:v1:{{author_id}}:*\"]\n"
    );
    let mut worker = scene.start("sweep", &[&topic], &rules)?;
    let mut records = Records::new(scene)?;
    let before = keys(scene).await?;
    let other = Other::start(scene).await?;
    let began = Instant::now();
    for n in 0..CHANGES {
        let row = format!(r#"{{"id":{n},"author_id":{}}}"#, n * (options.keys / PAGES / CHANGES).max(1));
        records.created(&topic, "posts", &n.to_string(), &row).await?;
        tokio::time::sleep(PAUSE).await;
    }
    records.flush().await?;
    worker.until(0).await?;
    let seconds = began.elapsed().as_secs_f64();
    let others = other.finish().await?;
    let metrics = worker.metrics().await?;
    worker.process.stop()?;
    let removed = before - keys(scene).await?;
    let looked_at = metrics.sum("postrider_sweep_keys_total", "");
    let searching = metrics.sum("postrider_sweep_seconds_sum", "");
    scene.flush().await?;
    Ok(Sweep {
        keys: options.keys,
        changes: CHANGES,
        removed,
        sweeps: metrics.sum("postrider_sweeps_total", ""),
        keys_per_s: looked_at / searching.max(0.001),
        seconds,
        others,
    })
}

/// A client that asks for one key again and again.
struct Other {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Result<Latencies>>,
}

impl Other {
    async fn start(scene: &Scene) -> Result<Self> {
        let mut connection = scene.connect().await?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut latencies = Latencies::default();
            while !told.load(Ordering::Relaxed) {
                let asked = Instant::now();
                redis::cmd("GET").arg("other").query_async::<()>(&mut connection).await.doing("asking Redis")?;
                latencies.record(asked.elapsed().as_micros() as u64);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok(latencies)
        });
        Ok(Self { stop, task })
    }

    async fn finish(self) -> Result<Percentiles> {
        self.stop.store(true, Ordering::Relaxed);
        Ok(self.task.await.expect("asking does not panic")?.percentiles())
    }
}

async fn keys(scene: &Scene) -> Result<u64> {
    let mut connection = scene.connect().await?;
    redis::cmd("DBSIZE").query_async(&mut connection).await.doing("counting the keys")
}

async fn fill(scene: &Scene, keys: u64) -> Result<()> {
    let mut connection = scene.connect().await?;
    let numbers: Vec<u64> = (0..keys).collect();
    for part in numbers.chunks(PIPELINE) {
        let mut pipeline = redis::pipe();
        for number in part {
            let (user, page) = (number / PAGES, number % PAGES * 20);
            pipeline.cmd("SET").arg(format!("feed:v1:{user}:{page}:20")).arg("a page").ignore();
        }
        pipeline.query_async::<()>(&mut connection).await.doing("filling the cache")?;
    }
    Ok(())
}
