//! A topic full of changes, and how fast the invalidator works it off: one name a record, and Nova's likes, each of which names the
//! actor's feed and those of all followers of the author.

use std::time::Duration;

use crate::error::{Doing, Result};
use crate::invalidation::Options;
use crate::invalidation::scene::{Records, Scene, Worker};
use crate::screen::Screen;

/// Users: every second one has a feed in the cache.
const USERS: u64 = 200_000;

/// Authors and their followers.
const AUTHORS: u64 = 2_000;
const FOLLOWERS: u64 = 50;

/// Commands of one pipeline.
const PIPELINE: u64 = 5_000;

/// What was worked off.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flood {
    pub(super) records_per_s: f64,
    /// Names that reached Redis in the first pass, each once in what is done together; all have a second pass a second later.
    pub(super) invalidations_per_s: f64,
    /// Names that records made stale.
    pub(super) named_per_s: f64,
    /// The invalidator's processor seconds and its most memory.
    pub(super) cpu_s: f64,
    pub(super) rss_peak_mb: f64,
}

/// Every record names one feed.
pub(super) async fn single(scene: &Scene, options: &Options, screen: &Screen) -> Result<Flood> {
    let topic = scene.topic("single");
    scene.create(&topic).await?;
    let mut records = Records::new(scene)?;
    for n in 0..options.records {
        let row =
            format!(r#"{{"id":{n},"user_id":{},"post_id":{},"created_at":1760783445123456}}"#, n % USERS, n % 50_000);
        records.created(&topic, "likes", &n.to_string(), &row).await?;
    }
    records.flush().await?;
    fill(scene).await?;
    let rules = format!(
        "[invalidate.rules.likes]\ntopic = \"{topic}\"\nstrategy = \"generation\"\ntargets = [\"feed:v1:{{user_id}}\"]\n"
    );
    let worker = scene.start("single", &[&topic], &rules)?;
    let flood = work_off(worker, options.records, 1).await?;
    screen.say(&format!(
        "one name a record: {:.0} records, {:.0} invalidations a second",
        flood.records_per_s, flood.invalidations_per_s
    ));
    scene.flush().await?;
    Ok(flood)
}

/// Every record names the actor's feed and those of the author's followers.
pub(super) async fn fan_out(scene: &Scene, options: &Options, screen: &Screen) -> Result<Flood> {
    let (likes, follows) = (scene.topic("likes"), scene.topic("follows"));
    scene.create(&likes).await?;
    scene.create(&follows).await?;
    let mut records = Records::new(scene)?;
    for n in 0..AUTHORS * FOLLOWERS {
        // Scattered, so that authors have other followers each.
        let (author, follower) = (n / FOLLOWERS, n * 7_919 % USERS);
        let row = format!(r#"{{"follower_id":{follower},"followee_id":{author},"status":"active"}}"#);
        records.created(&follows, "follows", &n.to_string(), &row).await?;
    }
    records.flush().await?;
    fill(scene).await?;
    let rules = format!(
        "[invalidate.rules.followers]\ntopic = \"{follows}\"\nstrategy = \"keep\"\nkey = \"{{followee_id}}\"\nmember = \"{{follower_id}}\"\npresent = [\"status = active\"]\n\n\
         [invalidate.rules.likes]\ntopic = \"{likes}\"\nstrategy = \"generation\"\ntargets = [\"feed:v1:{{user_id}}\", \"feed:v1:{{member}}\"]\nkept = \"followers\"\nkey = \"{{author_id}}\"\n"
    );
    let mut worker = scene.start("fan_out", &[&likes, &follows], &rules)?;
    worker.until(0).await?;
    worker.process.stop()?;

    let count = options.records / 3;
    for n in 0..count {
        let row = format!(
            r#"{{"id":{n},"user_id":{},"post_id":{},"author_id":{},"created_at":1760783445123456}}"#,
            n % USERS,
            n % 50_000,
            n * 31 % AUTHORS
        );
        records.created(&likes, "likes", &n.to_string(), &row).await?;
    }
    records.flush().await?;
    let worker = scene.start("fan_out", &[&likes, &follows], &rules)?;
    let flood = work_off(worker, count, 1 + FOLLOWERS).await?;
    screen.say(&format!(
        "{FOLLOWERS} followers a record: {:.0} records, {:.0} names made stale, {:.0} invalidations a second",
        flood.records_per_s, flood.named_per_s, flood.invalidations_per_s
    ));
    scene.flush().await?;
    Ok(flood)
}

/// From the first look that finds progress to the last record: the start of the process, and the second that each receipt waits
/// for its second pass, are in neither.
async fn work_off(mut worker: Worker, records: u64, names: u64) -> Result<Flood> {
    let (left, began) = worker.until(records - 1).await?;
    let (_, ended) = worker.until(0).await?;
    let metrics = worker.metrics().await?;
    let usage = worker.process.stop()?;
    let seconds = (ended - began).max(Duration::from_millis(1)).as_secs_f64();
    let all = metrics.sum("postrider_invalidations_total", "");
    Ok(Flood {
        records_per_s: left as f64 / seconds,
        named_per_s: (left * names) as f64 / seconds,
        invalidations_per_s: all * left as f64 / records as f64 / seconds,
        cpu_s: usage.cpu.as_secs_f64(),
        rss_peak_mb: usage.rss_peak_mib(),
    })
}

/// Gives every second user a generation, as a reader does who fills a page.
async fn fill(scene: &Scene) -> Result<()> {
    let mut connection = scene.connect().await?;
    let users: Vec<u64> = (0..USERS).step_by(2).collect();
    for part in users.chunks(PIPELINE as usize) {
        let mut pipeline = redis::pipe();
        for user in part {
            let generation = format!("{:045x}1", 1);
            pipeline
                .cmd("SET")
                .arg(format!("postrider:gen:{{feed:v1:{user}}}"))
                .arg(generation)
                .arg("PX")
                .arg(3_600_000)
                .ignore();
        }
        pipeline.query_async::<()>(&mut connection).await.doing("filling the cache")?;
    }
    Ok(())
}
