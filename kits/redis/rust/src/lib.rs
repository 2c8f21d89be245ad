//! Reads and fills pages in Redis that `postrider invalidate` invalidates.
//!
//! A page depends on one *tag*, such as `feed:42`, which an invalidation rule names too. [`PageCache::read`] is all that a
//! service needs:
//!
//! ```no_run
//! # async fn read(connection: redis::aio::MultiplexedConnection) -> Result<(), Box<dyn std::error::Error>> {
//! use postrider_cache::{PageCache, PageOptions};
//!
//! let cache = PageCache::new(connection, PageOptions::default());
//! let page = cache.read("feed:42", "feed:v1:42:0:20", || async { load_feed(42).await }).await?;
//! # let _ = page; Ok(()) }
//! # async fn load_feed(_: i32) -> Result<Vec<u8>, std::io::Error> { Ok(Vec::new()) }
//! ```
//!
//! Guarantee: what was read from the database before an invalidation never lies in the cache as valid after it, however long
//! the reader took in between. Where the database cannot be asked, the page as it was before is served, marked
//! [`State::Stale`]; where Redis cannot be asked, the database is.
//!
//! The two steps are scripts, [`OPEN`] and [`FILL`], the same for every language.

mod counts;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::ConnectionLike;
use redis::{RedisError, Script};

pub use counts::{Counts, Totals};

/// Reads a page and begins to fill it; `kits/redis/open.lua`.
pub const OPEN: &str = include_str!("../../open.lua");

/// Stores a page if nothing was invalidated since; `kits/redis/fill.lua`.
pub const FILL: &str = include_str!("../../fill.lua");

/// For how long pages are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageOptions {
    /// How long a page is fresh, unless it is invalidated before.
    pub fresh: Duration,
    /// At most so much is added to that, at random, so that pages filled together do not end together.
    pub jitter: Duration,
    /// How long after that a page can still be served as stale.
    pub stale: Duration,
    /// How long a tag is remembered of which no page is stored.
    pub generation: Duration,
}

impl Default for PageOptions {
    /// Fresh for 120 to 150 s, and then 10 minutes to be served as stale.
    fn default() -> Self {
        Self {
            fresh: Duration::from_secs(120),
            jitter: Duration::from_secs(30),
            stale: Duration::from_secs(600),
            generation: Duration::from_secs(3600),
        }
    }
}

/// A page as it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Where it comes from.
    pub state: State,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// Where a served page comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// From the cache, and nothing was invalidated since.
    Hit,
    /// From the database, and it is in the cache now.
    Filled,
    /// From the database, and not in the cache: it was invalidated while it was read.
    Refused,
    /// From the cache, invalidated since or past its time, because the database could not be asked; read so long ago.
    Stale(Duration),
    /// From the database, because Redis could not be asked.
    Bypassed,
}

/// What lies in the cache, and the right to replace it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Whether `payload` is valid.
    pub found: Found,
    /// The page's bytes; empty if there is none.
    pub payload: Vec<u8>,
    /// What [`PageCache::fill`] wants back.
    token: Vec<u8>,
}

/// What [`PageCache::open`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A valid page.
    Hit,
    /// A page that was invalidated since or is past its time, read so long ago.
    Stale(Duration),
    /// None.
    Miss,
}

/// Pages in one Redis, alone or a cluster. Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub struct PageCache<C> {
    connection: C,
    options: PageOptions,
    scripts: Arc<Scripts>,
    counts: Arc<Counts>,
}

#[derive(Debug)]
struct Scripts {
    open: Script,
    fill: Script,
}

impl<C: ConnectionLike + Clone> PageCache<C> {
    /// Pages behind this connection, which should be one that reconnects and has a short time limit: a `ConnectionManager` or
    /// a `ClusterConnection`.
    #[must_use]
    pub fn new(connection: C, options: PageOptions) -> Self {
        let scripts = Scripts { open: Script::new(OPEN), fill: Script::new(FILL) };
        Self { connection, options, scripts: Arc::new(scripts), counts: Arc::default() }
    }

    /// How its pages were served until now: the source of a `cache_hit_ratio`.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Serves a page: from the cache if it is valid there, else from `load`, which reads the database and whose result is
    /// stored for the next reader unless it was invalidated meanwhile.
    ///
    /// # Errors
    /// That of `load`, if there is not even a stale page.
    pub async fn read<L, F, E>(&self, tag: &str, page: &str, load: L) -> Result<Page, E>
    where
        L: FnOnce() -> F,
        F: Future<Output = Result<Vec<u8>, E>>,
    {
        let Ok(opened) = self.open(tag, page).await else {
            let payload = load().await.inspect_err(|_| self.counts.failed())?;
            return Ok(self.served(State::Bypassed, payload));
        };
        if opened.found == Found::Hit {
            return Ok(self.served(State::Hit, opened.payload));
        }
        match load().await {
            Ok(payload) => {
                // Not stored for want of Redis is not stored: the page itself is right.
                let stored = self.fill(tag, page, &opened, &payload).await.unwrap_or(false);
                Ok(self.served(if stored { State::Filled } else { State::Refused }, payload))
            }
            Err(error) => match opened.found {
                Found::Stale(age) => Ok(self.served(State::Stale(age), opened.payload)),
                _ => {
                    self.counts.failed();
                    Err(error)
                }
            },
        }
    }

    /// Reads a page and begins to fill it: to be called BEFORE the database is read.
    ///
    /// # Errors
    /// If Redis does not answer.
    pub async fn open(&self, tag: &str, page: &str) -> Result<Opened, RedisError> {
        let mut call = self.scripts.open.prepare_invoke();
        call.key(generation_key(tag)).key(page).arg(milliseconds(self.options.generation)).arg("framed");
        let answer = call.invoke_async::<(String, Vec<u8>, Vec<u8>, String)>(&mut self.connection.clone()).await?;
        let (state, token, payload, age) = answer;
        let found = match state.as_str() {
            "hit" => Found::Hit,
            "stale" => Found::Stale(Duration::from_millis(age.parse().unwrap_or_default())),
            _ => Found::Miss,
        };
        Ok(Opened { found, payload, token })
    }

    /// Stores what was read from the database since `opened`, and tells whether it is stored: not if it was invalidated since.
    ///
    /// # Errors
    /// If Redis does not answer; then it is stored or not.
    pub async fn fill(&self, tag: &str, page: &str, opened: &Opened, payload: &[u8]) -> Result<bool, RedisError> {
        let mut call = self.scripts.fill.prepare_invoke();
        call.key(generation_key(tag)).key(page).arg(&opened.token).arg(payload);
        for duration in [self.options.fresh, self.options.jitter, self.options.stale] {
            call.arg(milliseconds(duration));
        }
        call.arg("framed").invoke_async(&mut self.connection.clone()).await
    }

    fn served(&self, state: State, payload: Vec<u8>) -> Page {
        self.counts.served(state);
        Page { state, payload }
    }
}

/// The key that holds a tag's generation. The tag's own hash tag stands; a tag without one becomes one, so that in a cluster
/// everything of it has one place (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags>).
#[must_use]
pub fn generation_key(tag: &str) -> String {
    let own = tag.split_once('{').and_then(|(_, rest)| rest.split_once('}')).is_some_and(|(name, _)| !name.is_empty());
    if own { format!("postrider:gen:{tag}") } else { format!("postrider:gen:{{{tag}}}") }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_without_a_hash_tag_becomes_one() {
        assert_eq!(generation_key("feed:42"), "postrider:gen:{feed:42}");
        assert_eq!(generation_key("feed:{42}"), "postrider:gen:feed:{42}");
        assert_eq!(generation_key("feed:{}"), "postrider:gen:{feed:{}}");
    }
}
