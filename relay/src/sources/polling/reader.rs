//! Looks for rows that wait, page by page, and cuts batches of them.
//!
//! Guarantees: a row whose transaction commits late is found, because the next look asks for what the moment of the last one did
//! not show; and rows of one key come in the order of `order` where each writer holds the key's lock until it commits: what one
//! moment shows comes before what only a later one shows. An open transaction holds back its own rows and no others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};
use tokio_postgres::SimpleQueryRow;

use crate::pipeline::{End, Error, Kind, Messages};
use crate::sources::polling::holds::{RowName, Shared, Turn};
use crate::sources::polling::moment::Moment;
use crate::sources::polling::options::PollingOptions;
use crate::sources::polling::rows::Shaper;
use crate::sources::polling::session::{Purpose, Session, number, value};
use crate::sources::polling::statement::{Page, Statements};
use crate::sources::polling::wait::Rest;
use crate::telemetry::Metrics;

/// Most bytes of a page, as the rows are stored.
pub(super) const PAGE_BYTES: usize = 1 << 20;

/// How long a source without buckets waits before it looks whether it has one.
const WITHOUT_BUCKETS: Duration = Duration::from_secs(1);

/// How many times as long as the last look took the reader rests at least when it has found all there is.
const LOOK_SHARE: u32 = 4;

/// What the reader cut.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) epoch: u64,
    pub(super) rows: Vec<RowName>,
    /// The tokens by which the rows' buckets were held.
    pub(super) tokens: Vec<(u16, i64)>,
    pub(super) messages: Messages,
}

/// One outbox, and how far it was looked through.
pub(super) struct Route {
    pub(super) statements: Statements,
    pub(super) shaper: Shaper,
    /// What it shows was read.
    pub(super) seen: Option<Moment>,
    /// A look that takes more than a page.
    pub(super) paging: Option<Paging>,
}

/// A look under way.
#[derive(Debug)]
pub(super) struct Paging {
    until: Moment,
    after: Option<i64>,
}

impl Route {
    fn begin_again(&mut self, delivered_below: Option<u64>) {
        self.seen = delivered_below.map(Moment::below);
        self.paging = None;
    }
}

/// Reads until the source is dropped.
pub(super) struct Reader {
    pub(super) options: Arc<PollingOptions>,
    pub(super) shared: Arc<Shared>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) session: Session,
    /// How long the last look took.
    pub(super) looked: Duration,
    /// Told of notifications.
    pub(super) rung: Arc<Notify>,
    pub(super) routes: Vec<Route>,
    pub(super) batches: mpsc::Sender<Cut>,
    pub(super) turn: Turn,
    /// Rows of transactions below this one were delivered before.
    pub(super) below: Option<u64>,
}

impl Reader {
    /// Reads on; what ends it is told to the source.
    pub(super) async fn run(mut self) {
        if let Err(error) = self.read().await {
            self.shared.fail(error);
        }
    }

    async fn read(&mut self) -> Result<(), Error> {
        let mut rest = Rest::new(self.options.idle_min, self.options.idle_max);
        let mut swept_at = Instant::now();
        let mut next = 0;
        self.begin_again();
        loop {
            let Ok(room) = self.batches.clone().reserve_owned().await else { return Ok(()) };
            let turn = self.shared.turn();
            let is_due = swept_at.elapsed() >= self.options.sweep_interval;
            if (turn.epoch, turn.sweep) != (self.turn.epoch, self.turn.sweep)
                || (is_due && self.routes.iter().all(|route| route.paging.is_none()))
            {
                self.begin_again();
                swept_at = Instant::now();
            }
            self.turn = turn;
            if self.turn.buckets.is_empty() {
                drop(room);
                self.rest(WITHOUT_BUCKETS).await;
                continue;
            }
            let mut found = None;
            for _ in 0..self.routes.len() {
                let at = next % self.routes.len();
                next = at + 1;
                found = self.look(at).await?;
                if found.is_some() {
                    break;
                }
            }
            self.metrics.polling.claimed_rows.set(self.shared.claimed() as i64);
            if let Some((cut, more)) = found {
                rest.found();
                room.send(cut);
                if more {
                    continue;
                }
            } else {
                drop(room);
            }
            self.pace().await;
            self.rest(rest.take()).await;
        }
    }

    fn begin_again(&mut self) {
        for route in &mut self.routes {
            route.begin_again(self.below);
        }
        self.metrics.polling.sweeps.inc();
    }

    /// Rests for several times as long as the look took, whatever happens: a server that is busy answers more slowly, and is then asked
    /// less often, for more rows at once.
    async fn pace(&self) {
        tokio::time::sleep((self.looked * LOOK_SHARE).min(self.options.idle_max)).await;
    }

    /// Rests, unless something happens.
    async fn rest(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.rung.notified() => self.metrics.polling.notifications.inc(),
            () = self.shared.turned.notified() => {}
        }
    }

    /// The next rows of an outbox, and whether there may be more at once.
    async fn look(&mut self, at: usize) -> Result<Option<(Cut, bool)>, Error> {
        loop {
            let read_at = Instant::now();
            let (rows, more) = if self.routes[at].statements.tells_transactions() {
                let Some(read) = self.page(at).await? else { continue };
                read
            } else {
                self.oldest(at).await?
            };
            self.looked = read_at.elapsed();
            self.metrics.polling.look_seconds.observe(self.looked.as_secs_f64());
            match self.cut(at, &rows, read_at)? {
                Some(cut) => return Ok(Some((cut, more))),
                // Nothing of this page is ours to publish; the next one may be.
                None if more && !self.shared.is_past(self.turn.epoch) => {}
                None => return Ok(None),
            }
        }
    }

    /// The rows that the last look did not show; `None` if there are more than a page, which the next call begins with.
    async fn page(&mut self, at: usize) -> Result<Option<(Vec<SimpleQueryRow>, bool)>, Error> {
        if self.routes[at].paging.is_none() && self.routes[at].seen.is_none() {
            let until = self.moment().await?;
            self.routes[at].paging = Some(Paging { until, after: None });
        }
        let limit = self.options.batch_rows_max;
        let route = &self.routes[at];
        let page = match (&route.paging, &route.seen) {
            (Some(Paging { until, after }), seen) => Page::Behind { since: seen.as_ref(), until, after: *after },
            (None, Some(seen)) => Page::Since(seen),
            (None, None) => return Ok(None),
        };
        let sql = route.statements.page(page, &self.turn.buckets, limit, PAGE_BYTES);
        let (now, rows) = self.ask(&sql).await?;
        let found = rows.first().and_then(|row| number(row, 3)).unwrap_or(0_usize);
        let is_whole = rows.len() == found;
        let route = &mut self.routes[at];
        let last = rows.last().and_then(|row| number::<i64>(row, 0));
        match &mut route.paging {
            Some(paging) if is_whole && found < limit => {
                route.seen = Some(paging.until.clone());
                route.paging = None;
                Ok(Some((rows, true)))
            }
            Some(paging) => {
                paging.after = last;
                Ok(Some((rows, true)))
            }
            None if is_whole && found <= limit => {
                self.metrics.polling.open_transactions.set(now.open().len() as i64);
                self.metrics.polling.xmin_age.set(i64::try_from(now.xmax() - now.xmin()).unwrap_or(i64::MAX));
                route.seen = Some(now);
                // A full page has probably a successor.
                Ok(Some((rows, found * 2 > limit)))
            }
            None => {
                route.paging = Some(Paging { until: now, after: None });
                Ok(None)
            }
        }
    }

    /// The oldest rows that wait, where rows do not tell their transaction.
    async fn oldest(&mut self, at: usize) -> Result<(Vec<SimpleQueryRow>, bool), Error> {
        let limit = self.options.batch_rows_max;
        let claimed = self.shared.on_their_way(u16::try_from(at).unwrap_or(u16::MAX));
        let sql = self.routes[at].statements.page(Page::Oldest { claimed }, &self.turn.buckets, limit, PAGE_BYTES);
        let (_, rows) = self.ask(&sql).await?;
        Ok((rows, false))
    }

    async fn moment(&self) -> Result<Moment, Error> {
        let sets = self.session.ask(Purpose::Read, "look at the outbox", "select pg_current_snapshot()::text").await?;
        moment(&sets)
    }

    async fn ask(&self, sql: &str) -> Result<(Moment, Vec<SimpleQueryRow>), Error> {
        self.shared.looks();
        let sql = format!("select pg_current_snapshot()::text;\n{sql}");
        let mut sets = self.session.ask(Purpose::Read, "look at the outbox", &sql).await?;
        let moment = moment(&sets)?;
        Ok((moment, sets.pop().unwrap_or_default()))
    }

    /// A batch of those rows that are on no way yet.
    fn cut(&mut self, at: usize, page: &[SimpleQueryRow], read_at: Instant) -> Result<Option<Cut>, Error> {
        let epoch = self.turn.epoch;
        let shaper = &mut self.routes[at].shaper;
        let names = shaper.names(page)?;
        let Some(wanted) = self.shared.claim(epoch, &names) else { return Ok(None) };
        let rows: Vec<RowName> =
            names.iter().zip(&wanted).filter(|(_, wanted)| **wanted).map(|(name, _)| *name).collect();
        if rows.is_empty() {
            return Ok(None);
        }
        let Some(tokens) = self.shared.tokens(rows.iter().map(|row| row.bucket)) else {
            return Err(Error::new(End::Source, Kind::Unavailable, "a lease on a part of the keys was lost"));
        };
        let messages = shaper.messages(page, &wanted, read_at);
        Ok(Some(Cut { epoch, rows, tokens: tokens.into_iter().collect(), messages }))
    }
}

fn moment(sets: &[Vec<SimpleQueryRow>]) -> Result<Moment, Error> {
    let text = sets.first().and_then(|set| set.first()).and_then(|row| value(row, 0));
    text.and_then(Moment::parse)
        .ok_or_else(|| Error::new(End::Source, Kind::Protocol, "the server described its snapshot in an unknown form"))
}
