//! Writers at work: small transactions, each key with its own counter, some rolled back, until told to stop.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::{Client, Error};

use crate::site::Site;

/// Keys of one writer: several, so that their events lie on several partitions.
const KEYS: u64 = 7;

/// Every so many transactions one is rolled back: what it wrote must never be seen.
const ROLLED_BACK: u64 = 11;

/// Writers that write until they are told to stop.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    writers: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts `writers` of them, each pausing this long between two transactions. They outlive a server that goes away.
    pub async fn start(site: &Site, writers: u64, pause: Duration) -> Self {
        Self::of(site, 0..writers, pause).await
    }

    /// Starts the writers of these numbers: each number has keys of its own, whose counters begin at 1.
    pub async fn of(site: &Site, writers: Range<u64>, pause: Duration) -> Self {
        Self::at(site, &site.server().url(site.name()), writers, pause).await
    }

    /// The same with another URL for those that lost their connection: it may name several hosts.
    pub async fn at(site: &Site, url: &str, writers: Range<u64>, pause: Duration) -> Self {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut tasks = Vec::new();
        for number in writers {
            let writer =
                Writer { url: url.to_owned(), number, pause, stop: Arc::clone(&stop), written: Arc::clone(&written) };
            tasks.push(tokio::spawn(writer.write(site.connect().await)));
        }
        Self { stop, written, writers: tasks }
    }

    /// Events that are known to be committed.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Lets the writers end their transactions; how many events are known to be committed.
    ///
    /// # Panics
    /// If a writer did.
    pub async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for writer in self.writers {
            writer.await.expect("a writer does not panic");
        }
        self.written.load(Ordering::Relaxed)
    }
}

struct Writer {
    url: String,
    number: u64,
    pause: Duration,
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
}

impl Writer {
    async fn write(self, mut client: Client) {
        let mut n = 0;
        while !self.stop.load(Ordering::Relaxed) {
            n += 1;
            match transaction(&client, self.number, n).await {
                Ok(events) => drop(self.written.fetch_add(events, Ordering::Relaxed)),
                // Whether it was committed is not known; the counter moves on, and the outbox will tell.
                Err(_) => client = self.connect(client).await,
            }
            tokio::time::sleep(self.pause).await;
        }
    }

    async fn connect(&self, old: Client) -> Client {
        while !self.stop.load(Ordering::Relaxed) {
            if let Ok((client, connection)) = tokio_postgres::connect(&self.url, tokio_postgres::NoTls).await {
                tokio::spawn(connection);
                return client;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        old
    }
}

/// One to three events of as many keys; how many were committed.
async fn transaction(client: &Client, writer: u64, n: u64) -> Result<u64, Error> {
    let events = 1 + n % 3;
    let insert = format!(
        "insert into outbox_events (id, aggregate_type, aggregate_id, event_type, payload, headers)
         select gen_random_uuid(), case k % 2 when 0 then 'order' else 'parcel' end, format('w{writer}-%s', k), 'Changed',
                jsonb_build_object('n', {n}, 'text', repeat('x', 40)), jsonb_build_object('correlation-id', 'c{n}')
         from (select ({n} + i) % {KEYS} k from generate_series(1, {events}) i) keys"
    );
    if n.is_multiple_of(ROLLED_BACK) {
        client.batch_execute(&format!("begin; {insert}; rollback")).await?;
        return Ok(0);
    }
    client.execute(insert.as_str(), &[]).await
}
