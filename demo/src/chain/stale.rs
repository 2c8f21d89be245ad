//! The verdict on Redis: every page that a reader would be given as fresh must be what Postgres holds now. It is judged when all changes
//! have been invalidated and nobody writes any more, so that a page that differs is older than its last invalidation.

use crate::chain::cache::Cache;
use crate::chain::feed::{Feeds, Place};
use crate::database::Database;
use crate::error::Result;

/// Examples that are kept.
const EXAMPLES_MAX: usize = 5;
/// Characters of a page in an example.
const EXAMPLE_LETTERS_MAX: usize = 160;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    /// Pages that lie in the cache, also those that nobody would be given any more.
    pub(crate) pages: u64,
    /// Of those, the ones that a reader is given as fresh.
    pub(crate) fresh: u64,
    /// Of those, the ones that differ from Postgres.
    pub(crate) stale: u64,
    /// Some of them.
    pub(crate) examples: Vec<String>,
}

impl Pages {
    /// Looks at every page of every feed.
    pub(crate) async fn judge(redis_url: &str, database: &Database) -> Result<Self> {
        let cache = Cache::open(redis_url).await?;
        let feeds = Feeds::new(database.connect().await?).await?;
        let mut found = Self::default();
        for key in cache.page_keys().await? {
            let Some(place) = Place::of_key(&key) else { continue };
            found.pages += 1;
            let Some(cached) = cache.valid(place).await? else { continue };
            found.fresh += 1;
            let held = feeds.page(place).await?;
            if cached != held.as_bytes() {
                found.stale += 1;
                if found.examples.len() < EXAMPLES_MAX {
                    let cached = String::from_utf8_lossy(&cached).into_owned();
                    found.examples.push(format!("{key} holds {} … {}", difference(&cached, &held), place.family()));
                }
            }
        }
        Ok(found)
    }
}

/// Where two pages begin to differ.
fn difference(cached: &str, held: &str) -> String {
    let same = cached.chars().zip(held.chars()).take_while(|(a, b)| a == b).count();
    let from = same.saturating_sub(60);
    let part = |text: &str| text.chars().skip(from).take(EXAMPLE_LETTERS_MAX).collect::<String>();
    format!("…{} but Postgres …{}", part(cached), part(held))
}
