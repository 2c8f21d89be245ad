//! All writers of a run together: started at once, stopped at once, their failures handed to whoever waits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::database::Database;
use crate::error::{Error, Result};
use crate::nova::clients::{self, Reported};
use crate::nova::ledger::{Ledger, Outcome};
use crate::nova::linger;
use crate::nova::pools::{Kind, Pools};
use crate::nova::writer::Writer;
use crate::pace::Pace;
use crate::random::Random;

/// How the crowd behaves.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Connections that write one transaction after the other.
    pub writers: u64,
    /// Connections that keep transactions open for seconds.
    pub lingerers: u64,
    /// Events a second, of all together.
    pub events_per_s: f64,
    /// Where the random choices begin.
    pub seed: u64,
    /// Whether a writer whose connection ended connects anew and goes on: where Postgres is restarted under it.
    pub steadfast: bool,
}

/// How long a writer waits before it tries to connect again.
const RECONNECT: Duration = Duration::from_millis(200);
/// How long after an error a connection may take to be known as ended.
const END_MAX: Duration = Duration::from_secs(2);
/// The part of the random choices that is the clients'.
const CLIENTS: u64 = 1 << 32;

/// What writers share.
#[derive(Debug)]
pub(super) struct Stage {
    database: Database,
    steadfast: bool,
    pub(super) pace: Pace,
    pub(super) pools: Pools,
    pub(super) ledger: Arc<Ledger>,
    closed: watch::Sender<bool>,
}

impl Stage {
    /// Whether no further transaction is to begin.
    pub(super) fn closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// A new connection in the place of one that ended with `error`, if that is to be borne; none if the stage was closed meanwhile.
    pub(super) async fn reconnect(&self, ended: &Client, error: Error) -> Result<Option<Client>> {
        let since = Instant::now();
        while self.steadfast && !ended.is_closed() && since.elapsed() < END_MAX {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if !self.steadfast || !ended.is_closed() {
            return Err(error);
        }
        while !self.closed() {
            if let Ok(client) = self.database.connect().await {
                return Ok(Some(client));
            }
            self.closing(RECONNECT).await;
        }
        Ok(None)
    }

    /// Waits until the stage is closed, `at_most` so long.
    pub(super) async fn closing(&self, at_most: Duration) {
        let mut closed = self.closed.subscribe();
        // Both ways to end are fine: the time is over or the stage is closed.
        tokio::time::timeout(at_most, closed.wait_for(|closed| *closed)).await.ok();
    }
}

/// Writers at work.
#[derive(Debug)]
pub struct Crowd {
    stage: Arc<Stage>,
    writers: JoinSet<Result<()>>,
    random: Random,
    clients: Option<JoinHandle<Result<Reported>>>,
}

/// Who there is in Nova, for those who only read.
#[derive(Debug, Clone)]
pub struct Public(Arc<Stage>);

impl Public {
    /// A user, popular ones more often; none if there are none yet.
    pub fn user(&self, random: &mut Random) -> Option<Uuid> {
        self.0.pools.pick(Kind::User, random)
    }
}

impl Crowd {
    /// Connects and starts all writers.
    pub async fn start(database: &Database, options: Options) -> Result<Self> {
        let random = Random::new(options.seed);
        let stage = Arc::new(Stage {
            database: database.clone(),
            steadfast: options.steadfast,
            pace: Pace::new(options.events_per_s),
            pools: Pools::default(),
            ledger: Arc::new(Ledger::default()),
            closed: watch::Sender::new(false),
        });
        let mut writers = JoinSet::new();
        for writer in 0..options.writers {
            writers.spawn(Writer::new(database.connect().await?, random.fork(writer), Arc::clone(&stage)).run());
        }
        for lingerer in 0..options.lingerers {
            let random = random.fork(options.writers + lingerer);
            writers.spawn(linger::run(database.connect().await?, random, Arc::clone(&stage)));
        }
        Ok(Self { stage, writers, random, clients: None })
    }

    /// Lets the users' clients report what they do, from now on and until all stop.
    pub fn report(&mut self, options: clients::Options) {
        let clients = clients::run(options, self.random.fork(CLIENTS), Arc::clone(&self.stage));
        self.clients = Some(tokio::spawn(clients));
    }

    /// Who there is.
    pub fn public(&self) -> Public {
        Public(Arc::clone(&self.stage))
    }

    /// What was written so far.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.stage.ledger
    }

    /// The failure of a writer; pending as long as all write. Cancel safe.
    pub async fn failure(&mut self) -> Error {
        while let Some(ended) = self.writers.join_next().await {
            if let Err(error) = flatten(ended) {
                return error;
            }
        }
        std::future::pending().await
    }

    /// Lets every open transaction end, then says what was written.
    pub async fn stop(mut self) -> Result<Outcome> {
        self.stage.closed.send_replace(true);
        while let Some(ended) = self.writers.join_next().await {
            flatten(ended)?;
        }
        let mut outcome = self.stage.ledger.outcome();
        if let Some(clients) = self.clients {
            outcome.reported = flatten(clients.await)?;
        }
        Ok(outcome)
    }
}

fn flatten<T>(ended: std::result::Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    ended.unwrap_or_else(|join| Err(Error::Relay(format!("a writer of Nova panicked: {join}"))))
}
