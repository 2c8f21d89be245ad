//! The initial snapshot: the rows that are there before the first change, read in parallel by COPY, published as reads.
//!
//! Guarantees: all rows of one run are read as they were at one moment in the WAL, and carry it; a chunk counts as read only when
//! every message of it is durable, since that is noted with the position of its last batch; what was not is read again after a
//! kill, as it is then.

mod flow;
pub(super) mod order;
mod plan;
mod progress;
mod report;
pub(super) mod requests;
mod session;
mod tables;
mod worker;

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use bytes::Bytes;
use tokio::sync::oneshot;
use tracing::{Span, info, warn};

use crate::pipeline::{Batch, End, Error, Kind, Messages, Status};
use crate::postgres::connection::Breaker;
use crate::postgres::options::ConnectOptions;
use crate::shape::change::Capture;
use crate::shape::change::options::CaptureOptions;
use crate::shape::change::row::Stamp;
use crate::shape::outbox::Shaped;
use crate::sources::snapshot::flow::{Flow, Look};
use crate::sources::snapshot::plan::{Missing, Planner};
use crate::sources::snapshot::progress::Account;
use crate::sources::snapshot::report::{Report, Tally};
use crate::sources::snapshot::session::{Shared, share};
use crate::sources::snapshot::tables::{Found, KeyColumn, published};
use crate::sources::snapshot::worker::{Closing, Moment, Reader, Shape, Worker};
use crate::sources::wal::{WalPosition, catalog};
use crate::telemetry::Metrics;
use crate::telemetry::failpoint::{Failpoint, reach};

pub use progress::{Key, SnapshotProgress, Stretch, TableProgress};

/// What a snapshot reads, and how.
#[derive(Debug, Clone)]
pub struct SnapshotOptions {
    /// How to reach the server.
    pub connect: ConnectOptions,
    /// The publication of the captured tables.
    pub publication: String,
    /// What becomes of their rows.
    pub shape: CaptureOptions,
    /// Of the captured tables, those that are read: patterns as the options of the capture have them; empty for all.
    pub tables: Vec<String>,
    /// The table whose inserted rows are signals, as schema and name: its rows are no data.
    pub signals: Option<(String, String)>,
    /// Connections that read at the same time, at least one.
    pub workers: usize,
    /// Rows of a chunk.
    pub chunk_rows: u32,
    /// Rows a second at most, of all connections together.
    pub rows_per_second: Option<NonZeroU64>,
}

/// A snapshot under way. Dropping it ends its threads and their sessions.
pub(in crate::sources) struct Snapshot {
    account: Account,
    /// Where it goes on when all is read, and whose it is.
    from: WalPosition,
    /// None if there was nothing left to read.
    reading: Option<Reading>,
    report: Report,
    metrics: Arc<Metrics>,
    /// Whether the batch that says so was handed out.
    is_over: bool,
}

/// The threads that read.
struct Reading {
    flow: Arc<Flow>,
    breakers: Vec<Breaker>,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.flow.stop();
        for breaker in &self.breakers {
            breaker.hang_up();
        }
    }
}

/// What is known before anything is read.
struct Begun {
    account: Account,
    tables: Arc<[Found]>,
    reading: Option<Reading>,
}

impl Snapshot {
    /// Begins to read what the position says is missing. Waits for the transactions that are writing now.
    ///
    /// # Errors
    /// `Unavailable` or `Broken` if the server does not answer; `Setup` if a table cannot be read or published.
    pub(in crate::sources) async fn begin(
        options: Arc<SnapshotOptions>,
        from: WalPosition,
        metrics: Arc<Metrics>,
        status: Option<Arc<Status>>,
    ) -> Result<Self, Error> {
        let (report, begun) = oneshot::channel();
        let (before, epoch) = (from.snapshot.clone().unwrap_or_default(), from.record.epoch);
        let (span, counted) = (Span::current(), Arc::clone(&metrics));
        // A thread of its own: what waits for a transaction's end shall keep nobody who stops.
        std::thread::spawn(move || {
            let begin = || begin(&options, &before, epoch, &counted);
            // Nobody listens any more if the source was dropped just now.
            drop(report.send(span.in_scope(begin)));
        });
        let begun = begun.await.map_err(|error| {
            Error::new(End::Source, Kind::Broken, "beginning the initial snapshot was interrupted").because(error)
        })??;
        let Begun { account, tables, reading } = begun;
        let tally = Tally::new(&tables, &account);
        let report = Report::begin(tally, Arc::clone(&metrics), status);
        Ok(Self { account, from, reading, report, metrics, is_over: false })
    }

    /// The next rows; `None` once all were handed out. Cancel safe.
    ///
    /// # Errors
    /// That of the thread that failed first.
    pub(in crate::sources) async fn next(&mut self) -> Result<Option<Batch<WalPosition>>, Error> {
        loop {
            let look = match &self.reading {
                Some(reading) => reading.flow.look(),
                None => Look::Over,
            };
            match look {
                Look::Item(item) => {
                    if let Some((place, stretch)) = item.ends {
                        self.account.note(item.table, place, stretch);
                        self.from.snapshot = Some(Arc::new(self.account.progress(false)));
                    }
                    self.metrics.snapshot.rows.inc_by(item.rows);
                    self.report.read(item.rows, self.account.tables_done());
                    reach(Failpoint::SnapshotBatch);
                    return Ok(Some(Batch { messages: item.messages, end: self.from.clone() }));
                }
                Look::Failed(error) => return Err(error),
                Look::Over if self.is_over => return Ok(None),
                Look::Over => {
                    self.is_over = true;
                    self.reading = None;
                    self.report.end();
                    self.from.snapshot = Some(Arc::new(self.account.progress(true)));
                    reach(Failpoint::SnapshotOver);
                    return Ok(Some(Batch { messages: Messages::over(Bytes::new()), end: self.from.clone() }));
                }
                Look::Nothing => {}
            }
            if let Some(reading) = &self.reading {
                reading.flow.arrived().await;
            }
        }
    }

    /// What was read, as the last batch says it.
    pub(in crate::sources) fn progress(&self) -> Arc<SnapshotProgress> {
        self.from.snapshot.clone().unwrap_or_default()
    }
}

fn begin(
    options: &SnapshotOptions,
    before: &SnapshotProgress,
    epoch: u16,
    metrics: &Arc<Metrics>,
) -> Result<Begun, Error> {
    let capture = capture(&options.shape)?;
    let chosen = match options.tables.is_empty() {
        true => None,
        false => Some(self::capture(&CaptureOptions { tables: options.tables.clone(), ..options.shape.clone() })?),
    };
    let mut session = session::open(&options.connect)?;
    let mut tables = published(&mut session, &options.publication)?;
    drop(session);
    tables.retain(|table| {
        let is_signals = |(schema, name): &(String, String)| (schema, name) == (&table.schema, &table.name);
        capture.captures(&table.schema, &table.name)
            && !options.signals.as_ref().is_some_and(is_signals)
            && chosen.as_ref().is_none_or(|chosen| chosen.captures(&table.schema, &table.name))
    });
    let tables: Arc<[Found]> = tables.into();
    let mut account = Account::default();
    for table in tables.iter() {
        let key: Vec<_> = table.key.iter().map(KeyColumn::order).collect();
        account.add(&table.schema, &table.name, &key, before);
    }
    let missing: Vec<_> = (0..tables.len())
        .map(|table| Missing { table, gaps: account.gaps(table), has_begun: account.has_begun(table) })
        .collect();
    if missing.iter().all(|missing| missing.gaps.is_empty()) {
        return Ok(Begun { account, tables, reading: None });
    }
    let locked: Vec<_> = missing.iter().filter(|m| !m.gaps.is_empty()).map(|m| &tables[m.table]).collect();
    let shared = share(&options.connect, &locked, options.workers.max(1))?;
    let reading = read(options, (&tables, &missing), shared, &capture, (epoch, metrics))?;
    Ok(Begun { account, tables, reading: Some(reading) })
}

/// Starts the threads.
fn read(
    options: &SnapshotOptions,
    (tables, missing): (&Arc<[Found]>, &[Missing]),
    mut shared: Shared,
    capture: &Capture,
    (epoch, metrics): (u16, &Arc<Metrics>),
) -> Result<Reading, Error> {
    let Shared { shows_before, taken_us, xid, .. } = shared;
    let shape = |table: &Found| shape(&mut shared.keeper, &options.publication, capture, table);
    let shapes: Arc<[Shape]> = tables.iter().map(shape).collect::<Result<Vec<_>, Error>>()?.into();
    info!(%shows_before, tables = tables.len(), workers = shared.sessions.len(), "the initial snapshot begins");
    let breaker = |session: &crate::postgres::connection::Connection| {
        session.breaker().map_err(|error| session::session_error("starting its threads", error))
    };
    let sessions = shared.sessions.iter().chain([&shared.keeper]);
    let breakers = sessions.map(breaker).collect::<Result<Vec<_>, Error>>()?;
    let begun: Vec<_> = missing.iter().map(|missing| missing.has_begun).collect();
    let flow = Arc::new(Flow::new(&begun, options.rows_per_second));
    let reading = Reading { flow: Arc::clone(&flow), breakers };
    let (span, numbers) = (Span::current(), Arc::new(AtomicU32::new(0)));
    for session in shared.sessions {
        let reader = Reader {
            tables: Arc::clone(tables),
            shapes: Arc::clone(&shapes),
            capture: capture.clone(),
            moment: Moment { epoch, shows_before, taken_us, xid },
            numbers: Arc::clone(&numbers),
            flow: Arc::clone(&flow),
            metrics: Arc::clone(metrics),
        };
        let (worker, span) = (Worker { reader, session }, span.clone());
        std::thread::spawn(move || span.in_scope(|| worker.run()));
    }
    let planner = Planner::new(shared.keeper, Arc::clone(tables), options.chunk_rows, Arc::clone(&flow));
    let missing: Vec<_> =
        missing.iter().map(|of| Missing { table: of.table, gaps: of.gaps.clone(), has_begun: of.has_begun }).collect();
    std::thread::spawn(move || {
        // The source must hear of the end even if this thread panics.
        let _closing = Closing::of(&flow);
        span.in_scope(|| {
            let keeper = planner.run(&missing);
            // Its locks hold the tables until the others have read them.
            flow.wait_until_read();
            session::end(keeper);
        });
    });
    Ok(reading)
}

fn capture(options: &CaptureOptions) -> Result<Capture, Error> {
    Capture::new(options).map_err(|error| {
        Error::new(End::Source, Kind::Setup, "tables cannot be captured as it is configured").because(error)
    })
}

fn shape(
    keeper: &mut crate::postgres::connection::Connection,
    publication: &str,
    capture: &Capture,
    table: &Found,
) -> Result<Shape, Error> {
    let described = catalog::table(keeper, publication, &table.schema, &table.name)?;
    let form = capture.describe(&described).map_err(|error| {
        let context = format!("table {} cannot be captured", table.title());
        Error::new(End::Source, Kind::Setup, context).because(error)
    })?;
    Ok(Shape { columns: described.columns.into_iter().map(|column| column.name).collect(), form })
}

/// Counts and logs what became of a row that was read.
pub(in crate::sources) fn account(metrics: &Metrics, shaped: &Shaped, stamp: &Stamp<'_>) {
    match shaped {
        Shaped::Whole | Shaped::HeadersMalformed => {}
        Shaped::Filtered => metrics.wal.filtered_events.inc(),
        Shaped::Unfit(why) => {
            metrics.wal.unfit_events.with_label_values(&[why.class()]).inc();
            warn!(position = %stamp.position, %why, "a row cannot become a record; its route's policy says what becomes of it");
        }
    }
}
