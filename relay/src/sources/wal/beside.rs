//! What the stream does for those who read tables beside it, and what it asks of them.

use std::collections::HashSet;
use std::sync::Arc;

use tracing::{Span, info, warn};

use crate::pipeline::{Error, Kind};
use crate::postgres::connection::Connection;
use crate::shape::change::table::Table;
use crate::sources::snapshot::order::Order;
use crate::sources::snapshot::requests;
use crate::sources::wal::cut::Pause;
use crate::sources::wal::record::WalPosition;
use crate::sources::wal::signal::Signal;
use crate::sources::wal::window::{Again, Fate, RowKey, Visible};
use crate::sources::wal::{Wal, WalOptions, connect_sql, interrupted};
use crate::telemetry::failpoint::{Failpoint, reach};

impl Wal {
    /// Where the stream stands, if that is between two transactions.
    pub(in crate::sources) fn between(&self) -> Option<WalPosition> {
        self.cutter.place()
    }

    /// Begins to watch a table for somebody who reads it, whose rows are told apart by the columns of `key`, and opens the
    /// window for its first chunk.
    pub(in crate::sources) fn watch_table(&mut self, oid: u32, key: Vec<String>) {
        self.cutter.watch(oid, key);
    }

    /// Opens the window for the next chunk; false if the table is not watched any more, as after a rewind.
    pub(in crate::sources) fn open_window(&mut self, oid: u32) -> bool {
        self.cutter.open_window(oid)
    }

    /// Nobody reads any more.
    pub(in crate::sources) fn look_away(&mut self) {
        self.cutter.lookout().look_away();
    }

    /// A chunk was read; see [`Lookout::arrive`](crate::sources::wal::lookout::Lookout::arrive).
    ///
    /// # Errors
    /// It must be read again; `None`: the table is not watched any more.
    pub(in crate::sources) fn arrive(
        &mut self,
        oid: u32,
        at: (Visible, u64),
        writers: &HashSet<u32>,
        keys: Vec<RowKey>,
    ) -> Result<(), Option<Again>> {
        self.cutter.lookout().arrive(oid, at, writers, keys)
    }

    /// Whether a table is watched.
    pub(in crate::sources) fn is_watching(&mut self) -> bool {
        self.cutter.lookout().is_watching()
    }

    /// Whether the chunk that arrived can be published, or is spoiled, where the stream stands.
    pub(in crate::sources) fn is_passed_at(&mut self, place: &WalPosition) -> bool {
        self.cutter.lookout().is_passed_at(place.record.end_lsn.as_u64())
    }

    /// What becomes of the rows of the chunk that arrived.
    ///
    /// # Errors
    /// The chunk must be read again.
    pub(in crate::sources) fn settle(&mut self) -> Result<Vec<Fate>, Again> {
        self.cutter.lookout().settle()
    }

    /// The rows that moved since this was asked last; `None` if they were too many to be kept.
    pub(in crate::sources) fn moved(&mut self) -> Option<Vec<RowKey>> {
        self.cutter.lookout().moved()
    }

    /// Whether it is known which of the transactions delivered may not be visible yet.
    pub(in crate::sources) fn knows_recent(&mut self) -> bool {
        self.cutter.lookout().recent().is_known()
    }

    /// Learns which transactions are running, and what a snapshot sees.
    pub(in crate::sources) fn learn(&mut self, running: Option<HashSet<u32>>, visible: &Visible) {
        let recent = self.cutter.lookout().recent();
        if let Some(running) = running {
            recent.learn(running);
        }
        recent.forget(visible);
    }

    /// How many keys and transactions are noted.
    pub(in crate::sources) fn noted(&mut self) -> (usize, usize) {
        self.cutter.lookout().noted()
    }

    /// Does what a signal asks for. A dropped call leaves it, and the next one waits for its end.
    ///
    /// # Errors
    /// The server does not answer. A signal that cannot be understood, or not be followed, stops nothing.
    pub(super) async fn heed(&mut self, signal: Signal) -> Result<(), Error> {
        let (sql, options, span) = (self.catalog.take(), Arc::clone(&self.options), Span::current());
        let metrics = Arc::clone(&self.metrics);
        let heeding = self.heeding.get_or_insert_with(|| {
            tokio::task::spawn_blocking(move || {
                let _entered = span.entered();
                let order = match Order::read(&signal.kind, signal.data.as_deref()) {
                    Ok(order) => order,
                    Err(why) => {
                        metrics.incremental.unreadable_signals.inc();
                        warn!(
                            position = signal.position, %why,
                            help = "docs/snapshots.md, \"Signals\", shows the form of each; write the signal again.",
                            "a signal cannot be understood and is left out"
                        );
                        return Ok(sql);
                    }
                };
                metrics.incremental.signals.inc();
                follow(sql, &options, &signal, &order)
            })
        });
        let followed = heeding.await;
        self.heeding = None;
        self.catalog = followed.map_err(interrupted)??;
        reach(Failpoint::SourceSignal);
        Ok(())
    }

    /// Asks for a table to be read whose rows are others by a change of its columns, as far as that shows.
    ///
    /// # Errors
    /// The server does not answer.
    pub(super) async fn read_rewritten(&mut self, table: &Table) -> Result<(), Error> {
        let wanted = self.options.capture.as_ref().is_some_and(|capture| capture.rereads_rewritten);
        let Some(Pause::Describe(described)) = self.cutter.pause().filter(|_| wanted) else { return Ok(()) };
        if !self.cutter.is_rewritten(table, described.oid) {
            return Ok(());
        }
        let (sql, options) = (self.catalog.take(), Arc::clone(&self.options));
        let (schema, name) = (table.schema.clone(), table.name.clone());
        // Of two changes in one place the second is the first.
        let position = self.cutter.place_of_change();
        let ask = move || {
            let mut sql = sql.map_or_else(|| connect_sql(&options), Ok)?;
            let asked = requests::request_rewritten(&mut sql, &options.slot, &position, (&schema, &name));
            kept(asked, "a table whose columns were changed is not read again").map(|asked| {
                if asked.is_some_and(|asked| asked > 0) {
                    info!(schema, table = name, "a column was added or has another type: the table is read again");
                }
                sql
            })
        };
        self.catalog = Some(tokio::task::spawn_blocking(ask).await.map_err(interrupted)??);
        Ok(())
    }
}

fn follow(
    sql: Option<Connection>,
    options: &WalOptions,
    signal: &Signal,
    order: &Order,
) -> Result<Option<Connection>, Error> {
    if let Order::Log(message) = order {
        info!(position = signal.position, id = signal.id, message, "signal");
        return Ok(sql);
    }
    let publication = options.capture.as_ref().map_or("", |capture| capture.publication.as_str());
    let mut sql = sql.map_or_else(|| connect_sql(options), Ok)?;
    let followed = requests::follow(&mut sql, (&options.slot, publication), &signal.position, order);
    if let Some(snapshots) = kept(followed, "a signal cannot be followed")? {
        info!(position = signal.position, id = signal.id, kind = signal.kind, snapshots, "a signal was followed");
    }
    Ok(Some(sql))
}

/// What came of a statement. That something is not set up for it stops nothing; that the server is away does, for then it will
/// be asked again.
fn kept<T>(result: Result<T, Error>, what: &'static str) -> Result<Option<T>, Error> {
    match result {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.kind() == Kind::Unavailable => Err(error),
        Err(error) => {
            warn!(error = error.chain(), help = error.help(), "{what}");
            Ok(None)
        }
    }
}
