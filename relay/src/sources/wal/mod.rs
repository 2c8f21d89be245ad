//! The WAL source: one logical replication slot, read natively, cut into batches of outbox events.
//!
//! Guarantee: an LSN is confirmed to Postgres only by [`Source::acknowledge`], hence only when every event of every
//! transaction before it is durable and the progress record that says so is durable too.

mod captured;
pub(crate) mod catalog;
mod columns;
mod cut;
mod facts;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod record;
mod resume;
mod stages;
mod verdict;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tracing::{Span, debug, info, warn};

use crate::pipeline::{Batch, End, Error, Kind, Progress, Source};
use crate::postgres;
use crate::postgres::chunk::Chunk;
use crate::postgres::connection::Connection;
use crate::postgres::options::ConnectOptions;
use crate::postgres::replication::StartOptions;
use crate::postgres::stream::ReplicationStream;
use crate::shape::change::table::Table;
use crate::sources::wal::captured::Captured;
use crate::sources::wal::catalog::Described;
use crate::sources::wal::cut::{Cutter, NotNull};
use crate::sources::wal::resume::{Facts, resume};
use crate::sources::wal::stages::Stages;
use crate::sources::wal::watch::Watch;
use crate::telemetry::Metrics;
use crate::telemetry::failpoint::{Failpoint, reach};

pub use captured::CaptureSource;
pub use columns::{OutboxColumns, OutboxSource, OutboxTable};
pub use record::{Record, RecordError, WalPosition, fingerprint};
pub use verdict::{Verdict, verdict};

/// What a WAL source reads, and how.
#[derive(Debug)]
pub struct WalOptions {
    /// How to reach the server.
    pub connect: ConnectOptions,
    /// The slot to read; it must exist.
    pub slot: String,
    /// The publication that carries the outbox; it must be older than the slot.
    pub publication: String,
    /// Where events come from and what becomes of them; each one's place is the number of its route.
    pub outboxes: Vec<OutboxSource>,
    /// What is captured beside them.
    pub capture: Option<CaptureSource>,
    /// Start at the slot's position although events may be missing. Holds until something is acknowledged, whose
    /// progress then knows of the gap: a later gap is another one.
    pub accept_gap: AtomicBool,
}

impl WalOptions {
    /// Whether logical messages are events of some outbox.
    fn reads_messages(&self) -> bool {
        let captured = self.capture.as_ref().is_some_and(|capture| !capture.shape.message_prefixes.is_empty());
        captured || self.outboxes.iter().any(|outbox| outbox.message_prefix.is_some())
    }

    /// The publications that are read: that of the outboxes, if there is any, and that of the captured tables.
    fn publications(&self) -> impl Iterator<Item = &str> {
        let outboxes = (!self.outboxes.is_empty()).then_some(self.publication.as_str());
        let capture = self.capture.as_ref().map(|capture| capture.publication.as_str());
        outboxes.into_iter().chain(capture.filter(|capture| Some(*capture) != outboxes))
    }
}

/// An open stream of outbox events.
pub struct Wal {
    options: Arc<WalOptions>,
    metrics: Arc<Metrics>,
    /// None after a rewind that failed: the old stream is closed, and there is no new one.
    stream: Option<ReplicationStream>,
    watch: Watch,
    cutter: Cutter,
    stages: Stages,
    acknowledged: Record,
    /// By which captured tables are described; opened when the first one is.
    catalog: Option<Connection>,
    /// When the chunk was read whose cutting waits for a description.
    paused: Option<Instant>,
}

/// What a start leads to: the stream, where it starts, and the SQL connection that goes on watching.
struct Started {
    stream: ReplicationStream,
    from: Record,
    sql: Connection,
    not_null: NotNull,
}

impl Wal {
    /// Opens the slot where `progress` ends, or at the slot's own position if there is none yet.
    ///
    /// # Errors
    /// `Unavailable` if the server cannot be reached or the slot is in use; `Setup` if slot, publication or table are
    /// not as they must be; `Gap` if events would be missing.
    pub async fn open(
        options: Arc<WalOptions>,
        progress: Option<Progress>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Error> {
        let witness = progress.map(|progress| Record::parse(&progress.value)).transpose().map_err(|error| {
            let context = format!("the progress record of slot {:?} cannot be read", options.slot);
            Error::new(End::Source, Kind::Setup, context).because(error).with_help(
                "Is another program writing to the progress topic? Give each its own [kafka] progress_topic.",
            )
        })?;
        let accept_gap = options.accept_gap.load(Ordering::Relaxed);
        let started = start(Arc::clone(&options), witness, accept_gap).await?;
        let slot = bytes::Bytes::copy_from_slice(options.slot.as_bytes());
        let captured = options.capture.as_ref().map(|capture| Captured::new(&capture.shape)).transpose()?;
        let cutter =
            Cutter::new(slot, &options.outboxes, Arc::clone(&metrics), started.from, started.not_null, captured)?;
        let watch = Watch::begin(started.sql, Arc::clone(&options), Arc::clone(&metrics));
        let stages = Stages::of_a_new_stream(&metrics);
        Ok(Self {
            options,
            metrics,
            stages,
            stream: Some(started.stream),
            watch,
            cutter,
            acknowledged: started.from,
            catalog: None,
            paused: None,
        })
    }

    /// The batch of the next chunk, or of the rest of one whose cutting waited for the description of a table; `None` if it
    /// moves nothing or waits.
    async fn cut(&mut self) -> Result<Option<Batch<WalPosition>>, Error> {
        let begun = Instant::now();
        let (read_at, batch) = match self.cutter.undescribed() {
            Some(described) => {
                let described = described.clone();
                let table = self.describe(described).await?;
                (self.paused.take().unwrap_or(begun), self.cutter.describe(&table)?)
            }
            None => {
                let chunk = self.read().await?;
                reach(Failpoint::SourceRead);
                // Cutting does not wait, so a dropped call cannot lose the chunk.
                (chunk.read_at(), self.cutter.cut(&chunk.into_bytes())?)
            }
        };
        if self.cutter.undescribed().is_some() {
            self.paused = Some(read_at);
        }
        Ok(batch.map(|mut batch| {
            self.stages.cut(&mut batch.messages, read_at, begun);
            reach(Failpoint::SourceCut);
            batch
        }))
    }

    async fn read(&mut self) -> Result<Chunk, Error> {
        let Some(stream) = &mut self.stream else {
            let context = format!("slot {:?} is not being read since a rewind failed", self.options.slot);
            return Err(Error::new(End::Source, Kind::Unavailable, context));
        };
        tokio::select! {
            biased;
            error = self.watch.failed() => Err(error),
            chunk = stream.next() => chunk.map_err(|error| stream_error(&self.options, error)),
        }
    }

    /// Asks the catalog what a captured table is, off the runtime. A dropped call asks again.
    async fn describe(&mut self, described: Described) -> Result<Table, Error> {
        let (sql, options) = (self.catalog.take(), Arc::clone(&self.options));
        let ask = move || {
            let mut sql = match sql {
                Some(sql) => sql,
                None => connect_sql(&options)?,
            };
            catalog::complete(&mut sql, &described).map(|table| (sql, table))
        };
        let asked = tokio::task::spawn_blocking(ask).await;
        let (sql, table) = asked.map_err(|error| {
            Error::new(End::Source, Kind::Broken, "asking what a captured table is was interrupted").because(error)
        })??;
        self.catalog = Some(sql);
        Ok(table)
    }
}

impl Source for Wal {
    type Position = WalPosition;

    async fn next(&mut self) -> Result<Batch<WalPosition>, Error> {
        loop {
            if let Some(batch) = self.cut().await? {
                return Ok(batch);
            }
        }
    }

    async fn acknowledge(&mut self, position: WalPosition) -> Result<(), Error> {
        reach(Failpoint::SourceAcknowledge);
        self.acknowledged = position.record;
        if let Some(stream) = &self.stream {
            stream.confirm(position.record.end_lsn);
            self.stages.collect(stream);
        }
        self.metrics.wal.slot_confirmed_lsn.set(position.record.end_lsn.as_u64() as i64);
        self.options.accept_gap.store(false, Ordering::Relaxed);
        reach(Failpoint::SourceAcknowledged);
        Ok(())
    }

    async fn rewind(&mut self) -> Result<(), Error> {
        reach(Failpoint::SourceRewind);
        // A stream cannot be sent back: the connection is left, and the server starts again where we say. It must have
        // let go of the slot first.
        if let Some(stream) = self.stream.take()
            && let Err(error) = stream.stop().await
        {
            debug!(%error, "the stream did not end cleanly");
        }
        reach(Failpoint::SourceStopped);
        let started = start(Arc::clone(&self.options), Some(self.acknowledged), false).await?;
        self.cutter.restart(started.from, started.not_null);
        self.stream = Some(started.stream);
        self.stages = Stages::of_a_new_stream(&self.metrics);
        self.watch = Watch::begin(started.sql, Arc::clone(&self.options), Arc::clone(&self.metrics));
        reach(Failpoint::SourceRewound);
        Ok(())
    }

    async fn close(self) -> Result<(), Error> {
        reach(Failpoint::SourceClose);
        let Some(stream) = self.stream else { return Ok(()) };
        stream.stop().await.map_err(|error| {
            Error::new(End::Source, Kind::Unavailable, "the last confirmation may not have reached Postgres")
                .because(error)
                .with_help("Nothing is lost: the progress record knows what was delivered.")
        })
    }
}

/// An error of the running stream.
fn stream_error(options: &WalOptions, error: postgres::error::Error) -> Error {
    let slot = &options.slot;
    match error.kind() {
        postgres::error::Kind::PublicationMissing => {
            let context = format!(
                "publication {:?} does not exist at the place in the WAL that slot {slot:?} reads: it was created \
                 after the slot, or dropped and created again",
                options.publication
            );
            Error::new(End::Source, Kind::Gap, context).because(error).with_help(
                "Postgres cannot decode what was written before the publication existed. Drop the slot, run \
                 `postrider init`, which creates the publication first, and start with --accept-gap; rows written since \
                 are in the outbox table.",
            )
        }
        postgres::error::Kind::Protocol => {
            Error::new(End::Source, Kind::Protocol, format!("slot {slot:?} sent what cannot be read")).because(error)
        }
        postgres::error::Kind::Prerequisite => {
            Error::new(End::Source, Kind::Setup, format!("slot {slot:?} cannot go on")).because(error)
        }
        // Whatever else ends a stream is examined when it is opened again.
        _ => Error::new(End::Source, Kind::Unavailable, format!("the stream of slot {slot:?} ended")).because(error),
    }
}

/// Starts streaming at `witness`, off the runtime: connecting blocks.
async fn start(options: Arc<WalOptions>, witness: Option<Record>, accept_gap: bool) -> Result<Started, Error> {
    let span = Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(|| start_blocking(&options, witness.as_ref(), accept_gap)))
        .await
        .map_err(|error| Error::new(End::Source, Kind::Broken, "opening the slot was interrupted").because(error))?
}

fn start_blocking(options: &WalOptions, witness: Option<&Record>, accept_gap: bool) -> Result<Started, Error> {
    let slot = &options.slot;
    let server = |error| opening_error(options, error);
    let mut sql = connect_sql(options)?;
    let confirmed = facts::slot(&mut sql, slot, witness.is_some())?;
    facts::publications(&mut sql, options)?;
    let not_null = facts::not_null(&mut sql, &options.outboxes)?;

    let mut replication = Connection::connect(&options.connect).map_err(server)?;
    let identity = replication.identify_system().map_err(server)?;
    let history = match witness {
        Some(witness) if witness.timeline != identity.timeline => {
            replication.timeline_history(identity.timeline).map_err(server)?
        }
        _ => Vec::new(),
    };
    let publications = fingerprint(options.publications());
    let facts = Facts { slot, confirmed, identity: &identity, history: &history, publications, accept_gap };
    let from = resume(&facts, witness)?;
    if witness.is_some_and(|witness| witness.epoch != from.epoch) {
        warn!(slot, from = %from.end_lsn, epoch = from.epoch, "events may be missing, as was accepted");
    }
    let start = StartOptions {
        slot: slot.clone(),
        start: from.end_lsn,
        publications: options.publications().map(str::to_owned).collect(),
        // Messages are counted on to the end of a transaction that was half delivered with them.
        messages: options.reads_messages() || from.messages,
    };
    let stream = replication.start_logical(&start).map_err(server)?;

    // The server raises a start below the confirmed place without a word, and until now another reader could have
    // moved it: look again, now that the slot is ours.
    let now = facts::slot(&mut sql, slot, witness.is_some())?;
    resume(&Facts { confirmed: now, accept_gap: false, ..facts }, Some(&from))?;
    info!(slot, from = %from.end_lsn, confirmed = %now, epoch = from.epoch, "slot opened");
    Ok(Started { stream, from, sql, not_null })
}

/// A connection for ordinary SQL, by which facts are read: some servers refuse SHOW and the like on a replication
/// connection. A lock held elsewhere keeps no backend waiting for longer than we do.
fn connect_sql(options: &WalOptions) -> Result<Connection, Error> {
    let sql_options = ConnectOptions { replication: false, ..options.connect.clone() };
    let mut sql = Connection::connect(&sql_options).map_err(|error| opening_error(options, error))?;
    sql.simple_query("set statement_timeout = '30s'").map_err(|error| opening_error(options, error))?;
    Ok(sql)
}

/// An error while opening.
fn opening_error(options: &WalOptions, error: postgres::error::Error) -> Error {
    use postgres::error::Kind as K;

    if let Some((context, help)) = error.barred(&options.connect.user) {
        return Error::new(End::Source, Kind::Setup, context).because(error).with_help(help);
    }
    let slot = &options.slot;
    let (kind, context, help) = match error.kind() {
        K::Unavailable => (Kind::Unavailable, "Postgres cannot be reached".to_owned(), None),
        K::SlotActive { pid } => {
            let by = pid.map_or(String::new(), |pid| format!(" by the backend with pid {pid}"));
            (
                Kind::Unavailable,
                format!("slot {slot:?} is in use{by}"),
                Some("One relay reads a slot: stop the other, or wait until it ends; this one keeps trying."),
            )
        }
        K::SlotMissing => (Kind::Setup, format!("slot {slot:?} does not exist"), Some("Run `postrider init`.")),
        K::PublicationMissing | K::Prerequisite => (
            Kind::Setup,
            format!("slot {slot:?} cannot be read"),
            Some("The server needs wal_level = logical and a valid slot of the pgoutput plugin: run `postrider init`."),
        ),
        K::Protocol => (Kind::Protocol, "Postgres sent what cannot be read".to_owned(), None),
        K::Rejected | K::Authentication | K::Tls => (
            Kind::Setup,
            format!("Postgres refused to open slot {slot:?} in database {:?}", options.connect.database),
            Some("Check [postgres] database and user; the role needs LOGIN and REPLICATION: run `postrider init`."),
        ),
    };
    let error = Error::new(End::Source, kind, context).because(error);
    match help {
        Some(help) => error.with_help(help),
        None => error,
    }
}
