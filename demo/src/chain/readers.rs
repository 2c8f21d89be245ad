//! Readers of feeds under load: each takes a page from the cache where it is fresh, and otherwise reads it from Postgres and stores it
//! through the helper. Every fill that an invalidation overtook is counted: a helper that stored it would leave a stale page.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use postrider_cache::State;
use tokio::task::JoinSet;

use crate::chain::cache::Cache;
use crate::chain::feed::{Feeds, LIMIT, Place};
use crate::database::Database;
use crate::error::{Error, Result};
use crate::nova::Public;
use crate::pace::Pace;
use crate::random::Random;

/// Readers, each with a connection of its own to Postgres.
const READERS: u64 = 16;
/// How long a service works on a page between reading its rows and storing it, in milliseconds, at most.
const RENDERING_MAX_MS: u64 = 30;
/// How long a reader waits after something was away.
const PAUSE: Duration = Duration::from_millis(100);
/// Of a thousand reads, how many are of a later page than the first.
const LATER_PER_MILLE: u64 = 200;

/// What the readers did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reads {
    /// Pages that were valid in the cache.
    pub(crate) hits: u64,
    /// Pages that were stored.
    pub(crate) stored: u64,
    /// Fills that were overtaken by an invalidation, so that the helper did not store them.
    pub(crate) racing: u64,
    /// Reads that found Postgres or Redis away.
    pub(crate) away: u64,
}

/// Readers at work.
pub(crate) struct Readers {
    cache: Cache,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Result<()>>,
}

/// What a reader needs.
struct Reader {
    database: Database,
    cache: Cache,
    public: Public,
    random: Random,
    pace: Arc<Pace>,
    stop: Arc<AtomicBool>,
}

impl Readers {
    /// Starts them: `reads_per_s` of all together.
    pub(crate) async fn start(
        database: &Database,
        redis_url: &str,
        public: &Public,
        (reads_per_s, seed): (f64, u64),
    ) -> Result<Self> {
        let (stop, pace) = (Arc::new(AtomicBool::new(false)), Arc::new(Pace::new(reads_per_s)));
        let (cache, random) = (Cache::open(redis_url).await?, Random::new(seed).fork(1 << 33));
        let mut tasks = JoinSet::new();
        for number in 0..READERS {
            let reader = Reader {
                database: database.clone(),
                cache: cache.clone(),
                public: public.clone(),
                random: random.fork(number),
                pace: Arc::clone(&pace),
                stop: Arc::clone(&stop),
            };
            tasks.spawn(reader.run());
        }
        Ok(Self { cache, stop, tasks })
    }

    /// Lets them end; what they did.
    pub(crate) async fn stop(mut self) -> Result<Reads> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap_or_else(|join| Err(Error::Relay(format!("a reader of feeds panicked: {join}"))))?;
        }
        let totals = self.cache.totals();
        let away = totals.bypassed + totals.failed + totals.stale;
        Ok(Reads { hits: totals.hits, stored: totals.filled, racing: totals.refused, away })
    }
}

impl Reader {
    async fn run(mut self) -> Result<()> {
        let mut feeds = None;
        while !self.stop.load(Ordering::Relaxed) {
            self.pace.wait_for(1).await;
            let Some(user) = self.public.user(&mut self.random) else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let later = if self.random.chance(LATER_PER_MILLE) { 1 + self.random.below(2).cast_signed() } else { 0 };
            let place = Place { user, offset: later * LIMIT };
            let rendering = Duration::from_millis(self.random.below(RENDERING_MAX_MS));
            let (database, open) = (&self.database, &mut feeds);
            // A service does without its cache and its database while they are away; what it must not do is store something old.
            let read = self.cache.read(place, move || load(database, open, place, rendering)).await;
            if !matches!(read, Ok(State::Hit | State::Filled | State::Refused)) {
                feeds = None;
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }
}

/// Reads a page from Postgres and works on it for a while.
async fn load(database: &Database, feeds: &mut Option<Feeds>, place: Place, rendering: Duration) -> Result<Vec<u8>> {
    let feeds = match feeds {
        Some(feeds) => feeds,
        None => feeds.insert(Feeds::new(database.connect().await?).await?),
    };
    let page = feeds.page(place).await?;
    tokio::time::sleep(rendering).await;
    Ok(page.into_bytes())
}
