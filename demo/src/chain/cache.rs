//! Redis as a service of Nova uses it: through the reader helper of `kits/redis/rust`.

use std::time::Duration;

use postrider_cache::{Found, Opened, PageCache, PageOptions, State};
use redis::AsyncCommands;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};

use crate::chain::feed::Place;
use crate::error::{Doing, Result};

/// How long Redis may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How long to wait at most between two attempts to connect.
const RECONNECT_MAX: Duration = Duration::from_millis(500);

/// A cache of pages. Clones share one connection.
#[derive(Clone)]
pub(super) struct Cache {
    connection: ConnectionManager,
    pages: PageCache<ConnectionManager>,
}

impl Cache {
    /// Pages are fresh for 120 s and up to 30 s more, as Nova has them.
    pub(super) async fn open(url: &str) -> Result<Self> {
        let client = redis::Client::open(url).doing("reading the URL of Redis")?;
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(ANSWER_MAX))
            .set_connection_timeout(Some(ANSWER_MAX))
            .set_max_delay(RECONNECT_MAX);
        let connection = client.get_connection_manager_with_config(config).await.doing("connecting to Redis")?;
        let pages = PageCache::new(connection.clone(), PageOptions::default());
        Ok(Self { connection, pages })
    }

    /// Serves a page, from the cache or by `load`.
    pub(super) async fn read<F: Future<Output = Result<Vec<u8>>>>(
        &self,
        place: Place,
        load: impl FnOnce() -> F,
    ) -> Result<State> {
        Ok(self.pages.read(&place.family(), &place.key(), load).await?.state)
    }

    /// The page that a reader would be given as valid, if there is one.
    pub(super) async fn valid(&self, place: Place) -> Result<Option<Vec<u8>>> {
        let opened = self.pages.open(&place.family(), &place.key()).await.doing("opening a page in Redis")?;
        let Opened { found, payload, .. } = opened;
        Ok((found == Found::Hit).then_some(payload))
    }

    /// How the pages were served.
    pub(super) fn totals(&self) -> postrider_cache::Totals {
        self.pages.counts().totals()
    }

    /// The keys of all pages.
    pub(super) async fn page_keys(&self) -> Result<Vec<String>> {
        let mut connection = self.connection.clone();
        let mut scan = connection.scan_match::<_, String>("feed:v1:*").await.doing("listing the pages in Redis")?;
        let mut keys = Vec::new();
        while let Some(key) = scan.next_item().await {
            keys.push(key.doing("listing the pages in Redis")?);
        }
        keys.sort();
        keys.dedup();
        Ok(keys)
    }
}
