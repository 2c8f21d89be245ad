//! Every interleaving of readers, writers and the invalidator that chance finds: no page older than its last invalidation is
//! ever valid, whatever Redis forgets meanwhile.

use postrider_cache::{Found, Opened, PageCache, PageOptions, generation_key};
use proptest::prelude::*;
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use tokio::runtime::Runtime;

use crate::invalidation::{Pass, invalidate};
use crate::server;

const READERS: usize = 2;

/// One step of somebody.
#[derive(Debug, Clone)]
enum Step {
    /// The database's log has a further version of the row …
    Commit,
    /// … which only now can be read.
    BecomeVisible,
    /// The invalidator hears of a version, this many before the last: late, again, or before it can be read.
    First(u8),
    /// The delayed pass over what can be read.
    Second,
    /// A reader looks into the cache …
    Open(usize),
    /// … then reads the database …
    Load(usize),
    /// … and stores what it read.
    Fill(usize),
    /// The generation expired, or was evicted.
    LoseGeneration,
    /// The page was evicted.
    LosePage,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Commit),
        3 => Just(Step::BecomeVisible),
        3 => (0_u8..3).prop_map(Step::First),
        2 => Just(Step::Second),
        12 => (0..READERS).prop_map(Step::Open),
        9 => (0..READERS).prop_map(Step::Load),
        9 => (0..READERS).prop_map(Step::Fill),
        1 => Just(Step::LoseGeneration),
        1 => Just(Step::LosePage),
    ]
}

/// What a reader holds.
#[derive(Debug, Default, Clone)]
struct Reader {
    opened: Option<Opened>,
    loaded: Option<u64>,
}

/// The truth beside the cache.
struct Model {
    connection: MultiplexedConnection,
    cache: PageCache<MultiplexedConnection>,
    tag: String,
    page: String,
    committed: u64,
    visible: u64,
    /// The newest version of which the invalidator heard.
    heard: u64,
    /// No valid page may be older: an invalidation of this version took place while it could be read.
    floor: u64,
    readers: Vec<Reader>,
    /// How often a fill was refused, and a page found valid.
    seen: (u32, u32),
}

impl Model {
    async fn new() -> Self {
        let connection = server::connect().await;
        let tag = server::tag("model");
        Self {
            cache: PageCache::new(connection.clone(), PageOptions::default()),
            connection,
            page: format!("page:{tag}"),
            tag,
            committed: 1,
            visible: 1,
            heard: 0,
            floor: 0,
            readers: vec![Reader::default(); READERS],
            seen: (0, 0),
        }
    }

    async fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Commit => self.committed += 1,
            Step::BecomeVisible => self.visible = self.committed,
            Step::First(before) => self.first(self.committed.saturating_sub(u64::from(before)).max(1)).await,
            Step::Second => {
                invalidate(&mut self.connection, &self.tag, u128::from(self.visible), Pass::Second).await;
                self.floor = self.floor.max(self.visible);
            }
            Step::Open(reader) => self.open(reader).await?,
            Step::Load(reader) => {
                if self.readers[reader].opened.is_some() {
                    self.readers[reader].loaded = Some(self.visible);
                }
            }
            Step::Fill(reader) => self.fill(reader).await,
            Step::LoseGeneration => self.connection.unlink::<_, ()>(generation_key(&self.tag)).await.unwrap(),
            Step::LosePage => self.connection.unlink::<_, ()>(&self.page).await.unwrap(),
        }
        Ok(())
    }

    async fn first(&mut self, version: u64) {
        let moved = invalidate(&mut self.connection, &self.tag, u128::from(version), Pass::First).await;
        // A version heard again is gated: what it promises, it promised the first time, or the second pass does.
        if version <= self.visible && (moved || version > self.heard) {
            self.floor = self.floor.max(version);
        }
        self.heard = self.heard.max(version);
    }

    async fn open(&mut self, reader: usize) -> Result<(), TestCaseError> {
        let opened = self.cache.open(&self.tag, &self.page).await.unwrap();
        if opened.found == Found::Hit {
            let version: u64 = String::from_utf8(opened.payload.clone()).unwrap().parse().unwrap();
            prop_assert!(version >= self.floor, "version {version} is served as valid after {}", self.floor);
            self.seen.1 += 1;
        }
        self.readers[reader] = Reader { opened: Some(opened), loaded: None };
        Ok(())
    }

    async fn fill(&mut self, reader: usize) {
        let Reader { opened: Some(opened), loaded: Some(version) } = std::mem::take(&mut self.readers[reader]) else {
            return;
        };
        let payload = version.to_string().into_bytes();
        if !self.cache.fill(&self.tag, &self.page, &opened, &payload).await.unwrap() {
            self.seen.0 += 1;
        }
    }
}

#[test]
fn no_page_older_than_its_last_invalidation_is_ever_valid() {
    let runtime = Runtime::new().unwrap();
    let totals = std::cell::Cell::new((0, 0));
    let steps = proptest::collection::vec(step(), 10..100);
    let config = ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(steps in steps)| {
        let seen = runtime.block_on(async {
            let mut model = Model::new().await;
            for step in &steps {
                model.take(step).await?;
            }
            Ok::<_, TestCaseError>(model.seen)
        })?;
        totals.set((totals.get().0 + seen.0, totals.get().1 + seen.1));
    });
    let (refused, hits) = totals.get();
    assert!(refused > 50 && hits > 50, "the interleavings reach too little: {refused} refused, {hits} hits");
}
