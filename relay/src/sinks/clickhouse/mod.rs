//! The sink that loads tables of ClickHouse: a batch of one partition becomes one insert for each table that its topic fills.
//!
//! # Guarantees
//! *Exactly once in what is read.* A batch that comes again as it was cut has the same rows and the same tokens, so that
//! ClickHouse, and every view with a deduplication window, takes it once; a `current` table is right besides even if batches are cut
//! otherwise, because a row of an older version never replaces a newer one. (One way leads around it: a topic that feeds an append
//! table and a `current` one, of which a record was taken at first and is refused when it comes again, because the row from which it
//! takes what it left out is another by then.)
//!
//! *Nothing is bent to fit.* What a column cannot hold as it is refuses its record ([`Sink::admit`]), before anything of the
//! batch is sent; null stays null; a value that was left out because it had not changed is looked up, never made up.
//!
//! *In order for each partition.* Batches of one partition are inserted one after the other; those of different partitions at
//! the same time, as many as [`LoadOptions::inserts_in_flight_max`].
//!
//! A large batch for tables of kind `append` comes in parts, which are encoded as they come and are inserted together, as one block.
//! The next batch is encoded while the last is inserted: encoding is done where the pump calls, inserts are tasks of their own.

mod checks;
mod client;
mod encode;
mod errors;
mod evolve;
mod gather;
mod insert;
mod known;
mod layout;
mod look_up;
pub mod migrations;
mod moved;
mod options;
mod prepare;
mod readings;
pub mod refreshes;
mod rows;
mod table;
mod tls;
mod token;
mod unfit;
mod views;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tracing::{debug, info};

use crate::pipeline::{End, Error, Kind, Messages, Progress, Receipt, Refused, Sink};
use crate::sinks::clickhouse::encode::Fed;
use crate::sinks::clickhouse::gather::Gathering;
use crate::sinks::clickhouse::insert::{Carrier, Work};
use crate::sinks::clickhouse::prepare::Prepared;
use crate::telemetry::Metrics;

pub use client::{ClickHouseOptions, Client, Collapse, TableName, quoted};
pub use errors::{Class, Failure};
pub use options::{Feed, From, LoadOptions, OnTruncate, Part, Rows, Unknown};
pub use table::{Table, TableColumn, View};

/// The header that carries an event's correlation id.
const CORRELATION: &str = "correlation-id";

/// Most correlation ids in one line of the log.
const IDS_IN_A_LINE_MAX: usize = 32;

/// Loads tables of ClickHouse.
#[derive(Debug)]
pub struct ClickHouse {
    client: Client,
    options: Arc<LoadOptions>,
    metrics: Arc<Metrics>,
    database: String,
    slots: Vec<Slot>,
    carrier: Carrier,
    permits: Arc<Semaphore>,
    /// The newest batch of each partition, while it may be on its way.
    tails: HashMap<(Arc<str>, i32), oneshot::Receiver<()>>,
    tasks: JoinSet<()>,
    /// Topics of which some record fitted.
    fitting: HashSet<String>,
    /// What was admitted last and is not sent yet.
    prepared: Option<Prepared>,
    /// What came of batches whose last part has not come.
    gathering: HashMap<(Arc<str>, i32), Gathering>,
}

/// A feed, and its table once that is there.
#[derive(Debug)]
struct Slot {
    feed: Arc<Feed>,
    fed: Option<Fed>,
    looked_at: Instant,
}

impl ClickHouse {
    /// Connects, and looks whether every table is as exactly-once results need it.
    ///
    /// # Errors
    /// If ClickHouse is away; if the user may not what it has to; if a table, or one behind a view of it, is not as it must be:
    /// of kind `Setup`, with the statement that mends it.
    pub async fn open(server: &ClickHouseOptions, options: LoadOptions, metrics: Arc<Metrics>) -> Result<Self, Error> {
        let mut client = Client::new(server).map_err(|failure| insert::failed(&failure))?;
        checks::server(&mut client).await?;
        let halted = Arc::new(AtomicBool::new(false));
        let carrier = Carrier { client: client.clone(), metrics: Arc::clone(&metrics), halted };
        let permits = Arc::new(Semaphore::new(options.inserts_in_flight_max));
        let slots = options
            .feeds
            .iter()
            .map(|feed| Slot { feed: Arc::new(feed.clone()), fed: None, looked_at: Instant::now() })
            .collect();
        let mut sink = Self {
            client,
            options: Arc::new(options),
            metrics,
            database: server.database.clone(),
            slots,
            carrier,
            permits,
            tails: HashMap::new(),
            tasks: JoinSet::new(),
            fitting: HashSet::new(),
            prepared: None,
            gathering: HashMap::new(),
        };
        for at in 0..sink.slots.len() {
            sink.look_at(at).await?;
        }
        info!(tables = sink.slots.len(), "ClickHouse is ready");
        Ok(sink)
    }

    /// Looks at a feed's table, and notes how it is filled. One that is not there yet, and may be made, is left for later.
    async fn look_at(&mut self, at: usize) -> Result<(), Error> {
        let feed = Arc::clone(&self.slots[at].feed);
        self.slots[at].looked_at = Instant::now();
        self.slots[at].fed = checks::table(&self.client, &self.database, &feed).await?;
        if let Some(fed) = &self.slots[at].fed {
            views::keep(&self.client, fed, &self.metrics).await?;
        }
        Ok(())
    }

    /// What is prepared for these messages: by admission just now, or else made.
    async fn take_prepared(&mut self, messages: &Messages) -> Result<Prepared, Error> {
        match self.prepared.take().filter(|prepared| prepared.is_for(messages)) {
            Some(prepared) => Ok(prepared),
            None => self.prepare(messages).await,
        }
    }

    /// Puts a part to those of its batch that came before; the batch, once it is complete.
    fn gather(
        &mut self,
        partition: &(Arc<str>, i32),
        prepared: Prepared,
        messages: &Messages,
    ) -> Result<Option<Work>, Error> {
        let (part, gathered) = (messages.part(), &self.options.gathered);
        // What is delivered again, at somebody's wish, comes between the parts of another batch.
        let begun = if messages.salt() == 0 { self.gathering.remove(partition) } else { None };
        if begun.is_some() {
            gathered.release(partition);
        }
        let mut gathering = match begun.filter(|_| !part.begins()) {
            Some(gathering) => gathering,
            None if part.begins() => Gathering::beginning_with(messages, &self.options.salt),
            None => return Err(gather::again("the first parts of a batch were given up")),
        };
        gathering.add(prepared, messages)?;
        if !part.more {
            return Ok(Some(gathering.close(messages.cut())));
        }
        // Whoever was given a partition reads its batches from their first part.
        let assigned = &self.options.assigned;
        self.gathering.retain(|(topic, partition), _| assigned.holds(topic, *partition));
        gathered.hold(partition, gathering.bytes());
        self.gathering.insert((Arc::clone(&partition.0), partition.1), gathering);
        Ok(None)
    }

    /// The partition that a batch is of; batches of a source without partitions are all of one.
    fn partition_of(messages: &Messages) -> Option<(Arc<str>, i32)> {
        match messages.cut() {
            Some(cut) => Some((Arc::clone(&cut.topic), cut.partition)),
            None => messages.at(0).map(|first| (Arc::from(first.topic()), -1)),
        }
    }

    /// Waits until the batches on their way of the partition, or of its whole topic, are durable.
    ///
    /// # Errors
    /// If one of them failed: then nothing may follow it.
    async fn settled(&mut self, messages: &Messages, whole_topic: bool) -> Result<(), Error> {
        let Some((topic, partition)) = Self::partition_of(messages) else { return Ok(()) };
        let is_wanted = |of: &(Arc<str>, i32)| of.0 == topic && (whole_topic || of.1 == partition);
        let wanted: Vec<_> = self.tails.keys().filter(|of| is_wanted(of)).cloned().collect();
        for of in wanted {
            let Some(tail) = self.tails.get_mut(&of) else { continue };
            let ended = tail.await;
            self.tails.remove(&of);
            match ended {
                Ok(()) => {}
                Err(_) if of.1 == partition => {
                    return Err(insert::given_up("the batch before it of its partition did not become durable"));
                }
                // Its own fate says why, and is waited for before anything is sent again.
                Err(_) => {
                    return Err(gather::again("a batch of another partition that it builds on did not become durable"));
                }
            }
        }
        Ok(())
    }
}

impl Sink for ClickHouse {
    async fn admit(&mut self, messages: &Messages) -> Result<Vec<Refused>, Error> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let mut prepared = self.prepare(messages).await?;
        let refused = std::mem::take(&mut prepared.refused);
        if refused.is_empty() {
            self.prepared = Some(prepared);
        }
        Ok(refused)
    }

    async fn send(&mut self, messages: Messages) -> Result<Receipt, Error> {
        let Some(partition) = Self::partition_of(&messages) else { return Ok(Receipt::done()) };
        let prepared = self.take_prepared(&messages).await?;
        if let Some(refused) = prepared.refused.first() {
            let error = Error::new(End::Sink, Kind::Refused, format!("a record cannot be loaded: {}", refused.reason));
            return Err(match &refused.help {
                Some(help) => error.with_help(help.clone()),
                None => error,
            });
        }
        let work = self.gather(&partition, prepared, &messages)?;
        log_correlation(&messages);
        drop(messages);
        let Some(mut work) = work else { return Ok(Receipt::done().holding(0)) };
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let Ok(permit) = permit else {
            return Err(Error::new(End::Sink, Kind::Broken, "the sink is closed"));
        };
        while self.tasks.try_join_next().is_some() {}
        let (durable, tail) = oneshot::channel();
        work.previous = self.tails.insert(partition, tail);
        let (sender, receipt) = Receipt::pending();
        let receipt = receipt.holding(work.inserts.iter().map(|insert| insert.block.len()).sum());
        let carrier = self.carrier.clone();
        self.tasks.spawn(async move {
            let fate = carrier.carry(work).await;
            if fate.as_ref().is_ok_and(|fate| fate.split.is_none()) {
                // Nobody may wait for it.
                let _ = durable.send(());
            }
            sender.resolve(fate);
            drop(permit);
        });
        Ok(receipt)
    }

    async fn record(&mut self, _: Progress) -> Result<Receipt, Error> {
        // What was delivered, the consumer group remembers.
        Ok(Receipt::done())
    }

    async fn reset(&mut self) -> Result<(), Error> {
        self.carrier.halted.store(true, Ordering::Release);
        self.prepared = None;
        self.gathering.clear();
        self.options.gathered.clear();
        // What ClickHouse was given may still be written: it is waited for, at most as long as an insert may take.
        while self.tasks.join_next().await.is_some() {}
        self.tails.clear();
        self.carrier.halted.store(false, Ordering::Release);
        Ok(())
    }

    async fn probe(&mut self) -> Result<(), Error> {
        self.client.ping().await.map_err(|failure| insert::failed(&failure))
    }

    async fn close(mut self, deadline: Duration) -> Result<(), Error> {
        let waited = tokio::time::timeout(deadline, async { while self.tasks.join_next().await.is_some() {} });
        waited.await.map_err(|_| {
            Error::new(End::Sink, Kind::Unavailable, "inserts were still on their way when the deadline passed")
                .with_help("They are sent again after the next start, and ClickHouse knows them by their tokens.")
        })
    }
}

/// Tells which requests the batch is of: an id leads from the line of the service that wrote the event to this one.
fn log_correlation(messages: &Messages) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let mut ids: Vec<&str> = Vec::new();
    for message in messages.iter() {
        let id = message.header(CORRELATION).and_then(|id| str::from_utf8(id).ok());
        ids.extend(id.filter(|id| ids.last() != Some(id)));
    }
    let (first, last) = messages.cut().map_or((0, 0), |cut| (cut.first, cut.last));
    let partition = messages.cut().map_or(-1, |cut| cut.partition);
    let topic = messages.at(0).map_or("", |message| message.topic());
    for ids in ids.chunks(IDS_IN_A_LINE_MAX) {
        debug!(topic, partition, first, last, correlation_ids = ids.join(" "), "inserting");
    }
}
