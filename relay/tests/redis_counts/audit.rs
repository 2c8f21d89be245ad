//! The auditor: pages that are still served although what they depend on changed, found against a real database.

use std::sync::Arc;
use std::time::Duration;

use postrider_cache::{PageCache, PageOptions, State, generation_key};
use postrider_relay::postgres::options::ConnectOptions;
use postrider_relay::shape::rules::page::PageName;
use postrider_relay::sinks::redis::audit::{Audit, AuditOptions, Auditor};
use postrider_relay::telemetry::Metrics;
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;

use super::scene::{connect, server, shared, unique};
use crate::postgres_client::database::Database;

/// When the row of a user last changed; a table of the test's own.
const QUERY: &str = "select changed_at from profile where user_id = $1::bigint";

struct Scene {
    database: Database,
    prefix: String,
    cache: PageCache<MultiplexedConnection>,
    metrics: Arc<Metrics>,
}

impl Scene {
    async fn new(test: &str) -> Self {
        let database = Database::new(test);
        database.run("create table profile (user_id bigint primary key, changed_at timestamptz)");
        let cache = PageCache::new(connect().await, PageOptions::default());
        Self { database, prefix: unique("profile"), cache, metrics: Metrics::new() }
    }

    /// A row that changed so many seconds ago.
    fn changed(&self, user: u32, seconds_ago: u32) {
        let sql = format!(
            "insert into profile values ({user}, clock_timestamp() - interval '{seconds_ago} s') \
             on conflict (user_id) do update set changed_at = excluded.changed_at"
        );
        self.database.run(&sql);
    }

    fn names(&self, user: u32) -> (String, String) {
        (format!("{}:tag:{user}", self.prefix), format!("{}:{user}:card", self.prefix))
    }

    /// A page that was filled so long ago, as its frame says.
    async fn fill(&self, user: u32, seconds_ago: u64) {
        let (tag, page) = self.names(user);
        let load = || async { Ok::<_, std::io::Error>(b"a profile".to_vec()) };
        assert_eq!(self.cache.read(&tag, &page, load).await.unwrap().state, State::Filled);
        let mut connection = connect().await;
        let frame: String = connection.get(&page).await.unwrap();
        let begun = u64::from_str_radix(&frame[45..56], 16).unwrap() - seconds_ago * 1000;
        connection.setrange::<_, _, ()>(&page, 45, format!("{begun:011x}")).await.unwrap();
    }

    fn auditor(&self) -> Auditor {
        let audit = Audit {
            name: "profiles".to_owned(),
            pages: PageName::parse(&format!("{}:{{user}}:*", self.prefix)).unwrap(),
            tag: PageName::parse(&format!("{}:tag:{{user}}", self.prefix)).unwrap(),
            query: QUERY.to_owned(),
            parameters: vec!["user".to_owned()],
        };
        let options = AuditOptions {
            redis: server(&shared()),
            postgres: Some(ConnectOptions { replication: false, ..self.database.options() }),
            every: Duration::from_millis(100),
            pages: 1000,
            audits: vec![audit],
        };
        Auditor::new(options, Arc::clone(&self.metrics))
    }

    fn stale(&self) -> [u64; 3] {
        ["1m", "5m", "10m"].map(|window| self.metrics.redis.stale_detected.with_label_values(&[window]).get())
    }

    /// Samples until every page of this test was looked at, some of them several times: others fill the shared Redis meanwhile.
    async fn audit(&self, auditor: &mut Auditor, pages: usize) {
        let mut looked_at = 0;
        for _ in 0..1000 {
            looked_at += auditor.sample().await.unwrap();
            if looked_at >= 3 * pages {
                return;
            }
        }
        panic!("only {looked_at} of {pages} pages were looked at");
    }
}

#[tokio::test]
async fn a_page_that_missed_a_change_is_counted_once_for_each_window_that_passed() {
    let scene = Scene::new("audit_missed").await;
    // Filled before the change, and still valid: nobody invalidated it.
    scene.fill(1, 900).await;
    scene.changed(1, 400);
    // Filled after it.
    scene.fill(2, 100).await;
    scene.changed(2, 400);
    // Missed, but too short a time ago to be told from a change on its way.
    scene.fill(3, 60).await;
    scene.changed(3, 5);
    // Of nobody.
    scene.fill(4, 900).await;
    let mut auditor = scene.auditor();
    scene.audit(&mut auditor, 4).await;
    assert_eq!(scene.stale(), [1, 1, 0]);
}

#[tokio::test]
async fn a_page_that_was_invalidated_or_is_past_its_time_is_served_to_nobody_as_valid() {
    let scene = Scene::new("audit_valid").await;
    for user in [1, 2, 3] {
        scene.fill(user, 900).await;
        scene.changed(user, 700);
    }
    let mut connection = connect().await;
    connection.setrange::<_, _, ()>(generation_key(&scene.names(1).0), 0, "1").await.unwrap();
    connection.setrange::<_, _, ()>(scene.names(2).1, 56, format!("{:011x}", 1)).await.unwrap();
    scene.audit(&mut scene.auditor(), 1).await;
    assert_eq!(scene.stale(), [1, 1, 1], "only the third");
}
