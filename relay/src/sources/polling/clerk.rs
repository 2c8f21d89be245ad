//! Notes deliveries in the table: marks rows, or deletes them.
//!
//! Guarantees: a row is noted only when it is durable, in statements of bounded size, each a transaction of its own; and only
//! while the leases hold by which its bucket was read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::pipeline::{End, Error, Kind};
use crate::sources::polling::holds::{RowName, Shared};
use crate::sources::polling::keeper::Leases;
use crate::sources::polling::session::{Purpose, Session, value};
use crate::sources::polling::statement::Statements;
use crate::telemetry::Metrics;

/// Rows that one statement notes at most, unless one batch has more.
const ROWS_AT_ONCE: usize = 2_000;

/// Rows that a slot delivered and that are noted at once.
const BELOW_AT_ONCE: usize = 2_000;

/// How many times as long as it took to note something the clerk rests, if there was little to be noted.
const NOTE_SHARE: u32 = 2;

/// How long it rests at most.
const NOTE_REST_MAX: Duration = Duration::from_millis(50);

/// A batch that is delivered.
#[derive(Debug)]
pub(super) struct Delivered {
    pub(super) rows: Vec<RowName>,
    pub(super) tokens: Vec<(u16, i64)>,
}

/// Notes what it is told.
pub(super) struct Clerk {
    pub(super) shared: Arc<Shared>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) session: Session,
    pub(super) leases: Leases,
    pub(super) statements: Vec<Statements>,
    /// Rows of transactions below this one were delivered by a slot, and are still to be noted.
    pub(super) below: Option<u64>,
    pub(super) delivered: mpsc::UnboundedReceiver<Delivered>,
}

impl Clerk {
    /// Notes until nobody can tell it anything any more, and everything is noted.
    pub(super) async fn run(mut self) {
        if let Err(error) = self.work().await {
            self.shared.fail(error);
        }
    }

    async fn work(&mut self) -> Result<(), Error> {
        loop {
            let told = if self.below.is_some() {
                tokio::select! {
                    biased;
                    told = self.delivered.recv() => told,
                    noted = note_below(&self.session, &self.statements, &self.shared, self.below) => {
                        if noted? {
                            self.below = None;
                        }
                        continue;
                    }
                }
            } else {
                self.delivered.recv().await
            };
            let Some(first) = told else { return Ok(()) };
            let mut count = first.rows.len();
            let mut batch = vec![first];
            while count < ROWS_AT_ONCE
                && let Ok(next) = self.delivered.try_recv()
            {
                count += next.rows.len();
                batch.push(next);
            }
            let began = Instant::now();
            self.note(&batch).await?;
            if count < ROWS_AT_ONCE {
                // Each statement ends with a commit: what is delivered meanwhile shares the next one.
                tokio::time::sleep((began.elapsed() * NOTE_SHARE).min(NOTE_REST_MAX)).await;
            }
        }
    }

    async fn note(&self, batch: &[Delivered]) -> Result<(), Error> {
        let began = Instant::now();
        let tokens: BTreeMap<u16, i64> = batch.iter().flat_map(|delivered| &delivered.tokens).copied().collect();
        let holds = self.leases.holds(&tokens);
        let mut by_route: BTreeMap<u16, Vec<i64>> = BTreeMap::new();
        for row in batch.iter().flat_map(|delivered| &delivered.rows) {
            by_route.entry(row.route).or_default().push(row.order);
        }
        for (route, orders) in by_route {
            let Some(statements) = self.statements.get(usize::from(route)) else { continue };
            let sql = statements.deliver(&orders, &holds);
            let sets = self.session.ask(Purpose::Mark, "note in the outbox what was delivered", &sql).await?;
            let row = sets.last().and_then(|set| set.first());
            if row.and_then(|row| value(row, 0)) != Some("t") {
                let context = "a lease on a part of the keys was lost before its deliveries were noted";
                return Err(Error::new(End::Source, Kind::Unavailable, context)
                    .with_help("Another relay has the part now and delivers these events once more."));
            }
            let noted = row.and_then(|row| value(row, 1)?.parse().ok()).unwrap_or(0);
            self.metrics.polling.marked_rows.inc_by(noted);
        }
        self.metrics.polling.mark_seconds.observe(began.elapsed().as_secs_f64());
        for delivered in batch {
            self.shared.marked(&delivered.rows);
        }
        Ok(())
    }
}

/// Notes some of what a slot delivered before; true if that was all. The relay that has the first bucket does it for all.
async fn note_below(
    session: &Session,
    statements: &[Statements],
    shared: &Shared,
    below: Option<u64>,
) -> Result<bool, Error> {
    let Some(below) = below else { return Ok(true) };
    if !shared.holds().contains_key(&0) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        return Ok(false);
    }
    let mut is_all = true;
    for statements in statements {
        let Some(sql) = statements.deliver_below(below, BELOW_AT_ONCE) else { continue };
        let counted = format!("with done as ({sql} returning 1) select count(*) from done");
        let sets = session.ask(Purpose::Mark, "note in the outbox what a slot delivered", &counted).await?;
        let noted = sets.last().and_then(|set| value(set.first()?, 0)?.parse().ok()).unwrap_or(0_usize);
        is_all &= noted == 0;
    }
    Ok(is_all)
}
