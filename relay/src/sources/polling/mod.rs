//! The polling source: outbox tables that are looked at again and again, for databases without a slot, or behind a pooler.
//!
//! Guarantees: every committed row is delivered at least once, however late it commits; the rows of a key come in the order of
//! insertion where each writer holds a lock of that key until it commits, however many relays share the work. A row is noted as
//! delivered only by [`Source::acknowledge`], hence only when it is durable. No transaction of a relay outlasts one statement on a
//! page of rows, and no row is locked while it is published.
//!
//! The parts: the reader looks for rows (`reader.rs`, by the statements of `statement.rs`), the clerk notes deliveries (`clerk.rs`),
//! the keeper holds the relay's part of the keys (`keeper.rs`); each has a session of its own, through which nothing is prepared or
//! set beyond a transaction (`session.rs`). What they share is in `shared.rs`.

mod chosen;
mod clerk;
mod holds;
mod keeper;
mod moment;
mod options;
mod reader;
mod rows;
mod session;
mod statement;
mod wait;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use postgres_protocol::escape::escape_literal as literal;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_postgres::SimpleQueryRow;
use tracing::{Instrument, Span, info, warn};
use uuid::Uuid;

use crate::pipeline::{Batch, End, Error, Kind, Position, Progress, Source};
use crate::sources::polling::clerk::{Clerk, Delivered};
use crate::sources::polling::holds::{RowName, Shared};
use crate::sources::polling::keeper::{Keeper, Leases};
use crate::sources::polling::reader::{Cut, Reader, Route};
use crate::sources::polling::rows::{Found, Shaper};
use crate::sources::polling::session::{Purpose, Session, number, value};
use crate::sources::polling::statement::{Statements, describe};
use crate::sources::wal::OutboxTable;
use crate::telemetry::Metrics;

pub use chosen::{Choice, Chosen, ChosenRow, Fate, Page as ChosenPage, Rows};
pub use options::{After, Handed, KeyPart, PolledOutbox, PollingColumns, PollingOptions};

/// Pages that are read ahead.
const PAGES_AHEAD: usize = 2;

/// How long the last deliveries may take to be noted when the source is closed.
const CLOSE_MAX: Duration = Duration::from_secs(10);

/// OIDs of the types of whole numbers: `bigint`, `smallint`, `integer`.
const WHOLE_NUMBERS: [u32; 3] = [20, 21, 23];

/// The OID of `xid8`.
const XID8: u32 = 5069;

/// Rows of an outbox that were read together.
#[derive(Debug)]
pub struct PollingPosition {
    epoch: u64,
    rows: Vec<RowName>,
    tokens: Vec<(u16, i64)>,
}

impl Position for PollingPosition {
    /// The rows themselves say that they were delivered.
    fn progress(&self) -> Option<Progress> {
        None
    }
}

impl fmt::Display for PollingPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rows.last() {
            Some(row) => write!(f, "row {} of outbox {}", row.order, row.route),
            None => f.write_str("no row"),
        }
    }
}

/// Outbox tables that are polled.
pub struct Polling {
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    cuts: mpsc::Receiver<Cut>,
    delivered: mpsc::UnboundedSender<Delivered>,
    reader: JoinHandle<()>,
    clerk: JoinHandle<()>,
    keeper: JoinHandle<()>,
}

impl Drop for Polling {
    fn drop(&mut self) {
        // The clerk notes what it was told and goes; then the keeper gives the leases back.
        self.reader.abort();
    }
}

impl Polling {
    /// Looks at the tables, takes a part of the keys, and begins to read.
    ///
    /// # Errors
    /// `Unavailable` if the server cannot be reached; `Setup` if tables, columns, rights or leases are not as they must be.
    pub async fn open(options: Arc<PollingOptions>, metrics: Arc<Metrics>) -> Result<Self, Error> {
        let rung = Arc::new(Notify::new());
        let channel = options.channel.as_deref().map(|channel| (channel, &rung));
        let reading = Session::open(&options.connect, channel).await?;
        let mut routes = Vec::new();
        for outbox in &options.outboxes {
            routes.push(route(&options, outbox, &reading, &metrics).await?);
        }
        let below = handed_below(&options, &reading).await?;
        let statements: Vec<Statements> = routes.iter().map(|route| route.statements.clone()).collect();
        let shared = Arc::new(Shared::new());
        let leases =
            Leases { slot: options.slot.clone(), holder: Uuid::now_v7(), buckets: options.buckets, ttl: options.lease };
        let session = Session::open(&options.connect, None).await?;
        let keeper = Keeper::open(leases.clone(), Arc::clone(&shared), Arc::clone(&metrics), session).await?;
        let (gone, is_gone) = oneshot::channel();
        let keeper = tokio::spawn(keeper.run(is_gone).instrument(Span::current()));
        let session = Session::open(&options.connect, None).await?;
        let (delivered, told) = mpsc::unbounded_channel();
        let clerk = Clerk {
            shared: Arc::clone(&shared),
            metrics: Arc::clone(&metrics),
            session,
            leases,
            statements,
            below,
            delivered: told,
        };
        let clerk = async move {
            clerk.run().await;
            drop(gone);
        };
        let clerk = tokio::spawn(clerk.instrument(Span::current()));
        let (batches, cuts) = mpsc::channel(PAGES_AHEAD);
        let turn = shared.turn();
        let (reading_metrics, reading_shared) = (Arc::clone(&metrics), Arc::clone(&shared));
        let reader = Reader {
            looked: Duration::ZERO,
            options: Arc::clone(&options),
            shared: reading_shared,
            metrics: reading_metrics,
            session: reading,
            rung,
            routes,
            batches,
            turn,
            below,
        };
        let reader = tokio::spawn(reader.run().instrument(Span::current()));
        info!(buckets = shared.holds().len(), of = options.buckets, delivered_below = below, "polling the outbox");
        Ok(Self { shared, metrics, cuts, delivered, reader, clerk, keeper })
    }

    /// Waits until the leases hold for certain, or until the source has failed.
    async fn valid(&self) -> Result<(), Error> {
        loop {
            if let Some(error) = self.shared.failure() {
                return Err(error);
            }
            if self.shared.is_valid() {
                return Ok(());
            }
            self.shared.rung.notified().await;
        }
    }
}

impl Source for Polling {
    type Position = PollingPosition;

    async fn next(&mut self) -> Result<Batch<PollingPosition>, Error> {
        loop {
            self.valid().await?;
            let cut = tokio::select! {
                biased;
                () = self.shared.rung.notified() => continue,
                cut = self.cuts.recv() => cut,
            };
            let Some(Cut { epoch, rows, tokens, messages }) = cut else {
                let gone = || Error::new(End::Source, Kind::Broken, "the reader of the outbox ended");
                return Err(self.shared.failure().unwrap_or_else(gone));
            };
            if self.shared.is_past(epoch) {
                // Cut before the source went back: it comes again.
                continue;
            }
            if !self.shared.is_valid() {
                // Time passed since it was cut, and another relay may have these rows by now.
                self.shared.rewind();
                continue;
            }
            return Ok(Batch { messages, end: PollingPosition { epoch, rows, tokens } });
        }
    }

    async fn acknowledge(&mut self, position: PollingPosition) -> Result<(), Error> {
        if self.shared.is_past(position.epoch) {
            return Ok(());
        }
        self.shared.acknowledge(&position.rows);
        let PollingPosition { rows, tokens, .. } = position;
        if self.delivered.send(Delivered { rows, tokens }).is_err() {
            let gone = || Error::new(End::Source, Kind::Broken, "nobody notes in the outbox what is delivered");
            return Err(self.shared.failure().unwrap_or_else(gone));
        }
        Ok(())
    }

    async fn rewind(&mut self) -> Result<(), Error> {
        self.shared.rewind();
        while self.cuts.try_recv().is_ok() {}
        Ok(())
    }

    async fn close(self) -> Result<(), Error> {
        let mut this = self;
        this.reader.abort();
        // Without a sender the clerk ends once everything is noted, and then the keeper.
        this.delivered = mpsc::unbounded_channel().0;
        let ended = async {
            let _ = (&mut this.clerk).await;
            let _ = (&mut this.keeper).await;
        };
        if tokio::time::timeout(CLOSE_MAX, ended).await.is_err() {
            let context = "the last deliveries were not noted in the outbox in time";
            return Err(Error::new(End::Source, Kind::Unavailable, context)
                .with_help("They are delivered once more after the next start."));
        }
        this.metrics.polling.claimed_rows.set(0);
        this.shared.failure().map_or(Ok(()), Err)
    }
}

/// Below which transaction a slot delivered every row, if that can be believed of this server. A slot that is read now is none
/// that was left.
async fn handed_below(options: &PollingOptions, session: &Session) -> Result<Option<u64>, Error> {
    let sql = format!(
        "select coalesce(bool_or(active), false) from pg_replication_slots where slot_name = {};\n\
         select case when has_function_privilege('pg_control_system()', 'execute') \
         then (select system_identifier::text from pg_control_system()) end, \
         case when has_function_privilege('pg_control_checkpoint()', 'execute') \
         then (select timeline_id::text from pg_control_checkpoint()) end",
        literal(&options.slot)
    );
    let sets = session.ask(Purpose::Read, "ask the server who it is", &sql).await?;
    let row = |set: usize| sets.get(set).and_then(|set| set.first());
    if row(0).and_then(|row| value(row, 0)) == Some("t") {
        let context =
            format!("slot {:?} is being read: its relay and this one would both deliver every event", options.slot);
        return Err(Error::new(End::Source, Kind::Unavailable, context)
            .with_help("Stop the relay of the slot; this one waits until it has ended."));
    }
    let Some(handed) = options.handed else { return Ok(None) };
    let identity = row(1).and_then(|row| Some((number::<u64>(row, 0)?, number::<u32>(row, 1)?)));
    if identity == Some((handed.system_id, handed.timeline)) {
        return Ok(Some(handed.below));
    }
    warn!(
        "the progress record of the slot is of another server or timeline, or the server does not say which it is: every row \
         that is not marked is delivered, though the slot may have delivered it before"
    );
    Ok(None)
}

/// An outbox as its table is now.
async fn route(
    options: &PollingOptions,
    outbox: &PolledOutbox,
    session: &Session,
    metrics: &Arc<Metrics>,
) -> Result<Route, Error> {
    let source = &outbox.source;
    let Some(table) = &source.table else {
        let context = format!("the outbox {:?} has no table, and messages in the log cannot be polled", source.name);
        return Err(Error::new(End::Source, Kind::Setup, context));
    };
    let sets = session.ask(Purpose::Read, "look at the outbox table", &describe(&table.schema, &table.name)).await?;
    let columns = found(table, sets.last().into_iter().flatten())?;
    check(options, &source.name, &columns)?;
    let has = |name: &str| columns.iter().any(|column| column.name == name);
    let statements = Statements::new(options, outbox, has);
    let shaper = Shaper::new(options, outbox, &statements, &columns, metrics)?;
    Ok(Route { statements, shaper, seen: None, paging: None })
}

/// The columns of a table, as the answer to [`describe`] tells them.
fn found<'r>(table: &OutboxTable, rows: impl Iterator<Item = &'r SimpleQueryRow>) -> Result<Vec<Found>, Error> {
    let column = |row| {
        let optional = value(row, 2) == Some("t");
        Some(Found { name: value(row, 0)?.to_owned(), oid: number(row, 1)?, optional })
    };
    let columns: Vec<Found> = rows.filter_map(column).collect();
    if columns.is_empty() {
        let context = format!("there is no table {}.{}", table.schema, table.name);
        return Err(Error::new(End::Source, Kind::Setup, context)
            .with_help("`postrider init` makes the outbox, or name another one by [outbox] table."));
    }
    Ok(columns)
}

/// Whether the columns by which rows are found are there.
fn check(options: &PollingOptions, outbox: &str, columns: &[Found]) -> Result<(), Error> {
    let found = |name: &str| columns.iter().find(|column| column.name == name);
    let of = &options.columns;
    let wrong = |name: &str, what: &str, help: &str| {
        let context = format!("the table of the outbox {outbox:?} has no column {name:?} {what}");
        Err(Error::new(End::Source, Kind::Setup, context).with_help(help))
    };
    if !found(&of.order).is_some_and(|column| WHOLE_NUMBERS.contains(&column.oid)) {
        let help = "Name a unique column of whole numbers by [polling] order_column, or add one: \
                    `alter table … add column seq bigint generated always as identity`, with an index.";
        return wrong(&of.order, "of whole numbers", help);
    }
    if let Some(name) = &of.xid
        && found(name).is_some_and(|column| column.oid != XID8)
    {
        let help =
            "[polling] xid_column must name a column of type xid8 with the default pg_current_xact_id(), or be \"\".";
        return wrong(name, "of type xid8", help);
    }
    if options.after == After::Mark && of.published_at.as_ref().is_none_or(|name| found(name).is_none()) {
        let name = of.published_at.as_deref().unwrap_or("published_at");
        let help = "Add it (timestamptz, null), name another by [polling] published_at_column, or let delivered rows be \
                    deleted by [polling] after = \"delete\".";
        return wrong(name, "to mark what was delivered", help);
    }
    Ok(())
}
