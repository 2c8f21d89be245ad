//! Services: each writes events of its own keys, numbered per key, and remembers what it was told to be committed.
//!
//! A key has one writer, which writes its next event only when it knows what became of the one before: so the numbers of a key are its
//! order. A server that goes away is waited for, and another may take its place meanwhile.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls, Statement};
use xtask::services::Postgres;

use crate::database::socket;
use crate::error::{Error, Result};
use crate::pace::Pace;
use crate::random::Random;

/// How long a writer waits before it connects again.
const AGAIN: Duration = Duration::from_millis(20);
/// A statement that hangs for longer, on a server that is frozen or waits for a standby, is given up by its writer.
const STATEMENT_MAX: Duration = Duration::from_secs(10);

/// What is in an event's payload: its key and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Stamp {
    pub(crate) key: u64,
    pub(crate) n: u64,
}

impl Stamp {
    /// Reads it from a payload, however Postgres prints it; or from a JSON string that holds it, as Debezium's converter writes it.
    pub(crate) fn of(payload: &[u8]) -> Option<Self> {
        #[derive(serde::Deserialize)]
        struct Text {
            k: u64,
            n: u64,
        }
        let Text { k, n } = match payload.first()? {
            b'"' => serde_json::from_str(&serde_json::from_slice::<String>(payload).ok()?).ok()?,
            _ => serde_json::from_slice(payload).ok()?,
        };
        Some(Self { key: k, n })
    }
}

/// What was committed, as far as the writers were told.
#[derive(Debug, Clone, Default)]
pub struct Committed(Vec<Stamp>);

impl Committed {
    /// How many events.
    pub fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many of them are not among `others`.
    pub(crate) fn without(&self, others: &Self) -> u64 {
        let others: std::collections::HashSet<&Stamp> = others.iter().collect();
        self.iter().filter(|stamp| !others.contains(stamp)).count() as u64
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Stamp> {
        self.0.iter()
    }
}

impl FromIterator<Stamp> for Committed {
    fn from_iter<I: IntoIterator<Item = Stamp>>(stamps: I) -> Self {
        Self(stamps.into_iter().collect())
    }
}

/// How much is written.
#[derive(Debug, Clone)]
pub struct Load {
    /// Events a second over all writers.
    pub rate: u64,
    /// Keys over all writers.
    pub keys: u64,
    /// The number of the first key.
    pub first_key: u64,
    /// Writers at once.
    pub writers: u64,
    /// Events of a key that are written in one transaction, each with the next number.
    pub together: u64,
    /// The aggregate type of all events.
    pub aggregate_type: &'static str,
    /// The outbox table.
    pub table: &'static str,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            rate: 2000,
            keys: 1000,
            first_key: 0,
            writers: 4,
            together: 1,
            aggregate_type: "order",
            table: "public.outbox_events",
        }
    }
}

/// Writers at work.
#[derive(Debug)]
pub struct Writers {
    shared: Arc<Shared>,
    tasks: JoinSet<Vec<Stamp>>,
}

#[derive(Debug)]
struct Shared {
    server: Mutex<Postgres>,
    database: String,
    load: Load,
    pace: Pace,
    stop: AtomicBool,
    hold: AtomicBool,
    busy: AtomicU64,
    committed: AtomicU64,
}

impl Writers {
    /// Starts to write to `database` on `server`.
    pub fn start(server: &Postgres, database: &str, load: Load) -> Self {
        let shared = Arc::new(Shared {
            server: Mutex::new(server.clone()),
            database: database.to_owned(),
            pace: Pace::new(load.rate as f64),
            load,
            stop: AtomicBool::new(false),
            hold: AtomicBool::new(false),
            busy: AtomicU64::new(0),
            committed: AtomicU64::new(0),
        });
        let mut tasks = JoinSet::new();
        for writer in 0..shared.load.writers {
            tasks.spawn(write(Arc::clone(&shared), writer));
        }
        Self { shared, tasks }
    }

    /// From now on they connect to another server, as services do behind a name that moved.
    pub fn move_to(&self, server: &Postgres) {
        *self.shared.server.lock().unwrap_or_else(PoisonError::into_inner) = server.clone();
    }

    /// How many events are known to be committed.
    pub fn committed(&self) -> u64 {
        self.shared.committed.load(Ordering::Relaxed)
    }

    /// Waits until `more` further events are committed.
    ///
    /// # Errors
    /// If they are not within `patience`.
    pub async fn write_more(&self, more: u64, patience: Duration) -> Result<()> {
        let (before, begun) = (self.committed(), Instant::now());
        while self.committed() < before + more {
            if begun.elapsed() > patience {
                let written = self.committed() - before;
                return Err(Error::Relay(format!(
                    "the writers committed {written} events within {patience:?}, not {more}"
                )));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Makes them wait, and returns when none is in a transaction; [`Self::release`] lets them go on.
    pub async fn hold(&self) {
        self.shared.hold.store(true, Ordering::SeqCst);
        while self.shared.busy.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Ends [`Self::hold`].
    pub fn release(&self) {
        self.shared.hold.store(false, Ordering::SeqCst);
    }

    /// Stops them after what they are at; what they were told to be committed.
    ///
    /// # Errors
    /// If one of them panicked.
    pub async fn stop(mut self) -> Result<Committed> {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.release();
        let mut all = Vec::new();
        while let Some(written) = self.tasks.join_next().await {
            all.extend(written.map_err(|error| Error::Relay(format!("a writer ended badly: {error}")))?);
        }
        Ok(Committed(all))
    }
}

/// One writer: numbers of a key rise, also after a commit whose outcome it never learned.
async fn write(shared: Arc<Shared>, writer: u64) -> Vec<Stamp> {
    let Load { keys, first_key, writers, aggregate_type, table, together, .. } = shared.load;
    let insert = format!(
        "insert into {table} (aggregate_type, aggregate_id, event_type, payload) \
         select '{aggregate_type}', $1, 'Happened', jsonb_build_object('k', $2::bigint, 'n', n) \
         from generate_series($3::bigint, $3 + {together} - 1) n"
    );
    let own: Vec<u64> = (first_key..first_key + keys).filter(|key| key % writers == writer).collect();
    let (mut numbers, mut written) = (vec![0_u64; own.len()], Vec::new());
    let mut random = Random::new(writer);
    let mut session = None;
    while !shared.stop.load(Ordering::SeqCst) && !own.is_empty() {
        shared.pace.wait_for(together).await;
        shared.busy.fetch_add(1, Ordering::SeqCst);
        if !shared.hold.load(Ordering::SeqCst) {
            let place = random.below(own.len() as u64) as usize;
            let first = Stamp { key: own[place], n: numbers[place] + 1 };
            numbers[place] += together;
            match insert_some(&shared, &mut session, &insert, first).await {
                Some(()) => {
                    written.extend((first.n..first.n + together).map(|n| Stamp { n, ..first }));
                    shared.committed.fetch_add(together, Ordering::Relaxed);
                }
                None => session = None,
            }
        }
        shared.busy.fetch_sub(1, Ordering::SeqCst);
        if session.is_none() {
            tokio::time::sleep(AGAIN).await;
        }
    }
    written
}

/// A session with the one statement that it is for: prepared once, as a service's driver does it.
struct Session {
    client: Client,
    insert: Statement,
}

/// Commits the events of one transaction, from this one on; `None` if they are not known to be committed.
async fn insert_some(shared: &Shared, session: &mut Option<Session>, insert: &str, first: Stamp) -> Option<()> {
    if session.as_ref().is_none_or(|session| session.client.is_closed()) {
        let server = shared.server.lock().unwrap_or_else(PoisonError::into_inner).clone();
        *session = tokio::time::timeout(STATEMENT_MAX, connect(&server, &shared.database, insert)).await.ok()?;
    }
    let Session { client, insert } = session.as_ref()?;
    let (key, n) = (i64::try_from(first.key).ok()?, i64::try_from(first.n).ok()?);
    let name = format!("key-{key}");
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&name, &key, &n];
    let done = tokio::time::timeout(STATEMENT_MAX, client.execute(insert, &parameters)).await;
    matches!(done, Ok(Ok(rows)) if rows == shared.load.together).then_some(())
}

async fn connect(server: &Postgres, database: &str, insert: &str) -> Option<Session> {
    let mut config = tokio_postgres::Config::new();
    match socket(server) {
        Some(folder) => config.host_path(folder),
        None => config.host(&server.host),
    };
    config.port(server.port).user(&server.user).password(&server.password).dbname(database);
    let (client, connection) = config.application_name("service").connect(NoTls).await.ok()?;
    tokio::spawn(async move { connection.await.ok() });
    let insert = client.prepare(insert).await.ok()?;
    Some(Session { client, insert })
}

#[cfg(test)]
mod tests {
    use crate::drill::writers::Stamp;

    #[test]
    fn a_stamp_is_read_from_an_object_and_from_a_string_that_holds_one() {
        let stamp = Some(Stamp { key: 7, n: 3 });
        assert_eq!(Stamp::of(br#"{"k": 7, "n": 3}"#), stamp);
        assert_eq!(Stamp::of(br#""{\"k\": 7, \"n\": 3}""#), stamp);
        assert_eq!(Stamp::of(b""), None);
        assert_eq!(Stamp::of(b"null"), None);
    }
}
