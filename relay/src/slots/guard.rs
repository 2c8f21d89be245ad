//! The guard over the server's disk: looks at the slot again and again, in a session of its own that no slow broker can hold up,
//! and climbs a ladder when the slot holds back too much WAL.
//!
//! The rungs: it warns; it says that the budget is used up; and, where the configuration allows it, it has the slot read into files on
//! the relay's own disk, or releases the slot: ends the relay's own walsender and drops the slot, so that the server may remove that
//! WAL at its next checkpoint. The outbox table is the queue then. It never touches a slot that somebody else reads, nor one whose WAL an open transaction keeps: a new slot could not begin
//! before that transaction ends, so that dropping this one would only stop delivery.

mod judge;
mod relief;
mod webhook;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use postgres_protocol::escape::escape_literal;
use tokio_postgres::Client;
use tokio_postgres::types::Type;
use tracing::{debug, error, info, warn};

use crate::pipeline::Stop;
use crate::postgres::options::ConnectOptions;
use crate::postgres::retention::WalRate;
use crate::slots::error::Error;
use crate::slots::facts::{self, Facts, OldestTransaction, SlotFacts};
use crate::slots::guard::webhook::Notice;
use crate::slots::session;
use crate::telemetry::Metrics;

pub use judge::{Budget, By, Judgement, Level, Standing, judge};
pub use relief::Relief;

/// Over how many seconds the rate of WAL is taken.
const RATE_WINDOW_SECONDS: f64 = 30.0;
/// How long the server waits for the walsender to end, in milliseconds.
const TERMINATE_MS: i64 = 5_000;
/// Transactions that are open for less are not named as what keeps the WAL.
const YOUNG_SECONDS: f64 = 30.0;
/// What a released slot's level is called.
const RELEASED: &str = "released";

/// What the guard is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// How the relay connects for ordinary SQL.
    pub connect: ConnectOptions,
    /// The slot.
    pub slot: String,
    /// What it may cost.
    pub budget: Budget,
    /// Bytes that the WAL may take on the server's disk, if the operator said so.
    pub disk_bytes: Option<u64>,
    /// What is tried before the slot is released, if anything can be.
    pub relief: Option<Relief>,
    /// Whether the slot may be released.
    pub may_release: bool,
    /// How often it looks.
    pub interval: Duration,
    /// Who is told of a change.
    pub webhook_url: Option<String>,
}

/// Whether the guard has dropped the slot: shared with whoever makes it anew.
#[derive(Debug, Clone, Default)]
pub struct Released(Arc<AtomicBool>);

impl Released {
    /// Whether it has, and nobody has made it anew since.
    #[must_use]
    pub fn is_so(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// There is a slot again.
    pub fn over(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    fn begin(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Looks at once and then at every interval, until `stop` is ordered. What fails is tried again.
pub async fn keep(options: Options, released: Released, metrics: Arc<Metrics>, mut stop: Stop) {
    let mut guard = Guard {
        rate: WalRate::over(RATE_WINDOW_SECONDS),
        options,
        released,
        metrics,
        level: Level::Calm,
        pinned: false,
        over: None,
        client: None,
    };
    guard.metrics.guard.budget_bytes.set(-1);
    while !stop.is_ordered() {
        tokio::select! {
            looked = guard.look() => if let Err(error) = looked {
                guard.client = None;
                let source = std::error::Error::source(&error).map(ToString::to_string);
                debug!(error = %error, source, "the guard could not look at the slot");
            },
            () = stop.ordered() => {}
        }
        tokio::select! {
            () = tokio::time::sleep(guard.options.interval) => {}
            () = stop.ordered() => {}
        }
    }
}

/// What lasts from look to look.
struct Guard {
    options: Options,
    released: Released,
    metrics: Arc<Metrics>,
    rate: WalRate,
    level: Level,
    pinned: bool,
    /// How the slot stood at the last look, if that was beyond its budget.
    over: Option<Standing>,
    client: Option<Client>,
}

impl Guard {
    /// One look, and what follows from it.
    async fn look(&mut self) -> Result<(), Error> {
        let client = match self.client.take().filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => session::connect(&self.options.connect).await?,
        };
        let facts = facts::read(&client).await?;
        self.rate.add(facts.server.clock, facts.server.position.as_u64());
        let slot = facts.slots.iter().find(|slot| slot.name == self.options.slot);
        // Whoever opens it says that it is missing; one that was released is known to be.
        if let Some(slot) = slot.filter(|slot| !slot.is_lost()) {
            if self.released.is_so() && slot.reader.is_some() {
                self.released.over();
            }
            let standing = self.standing(slot, &facts);
            let judgement = judge(&self.options.budget, &standing);
            self.count(&judgement);
            self.tell(&facts, &standing, &judgement);
            let before = self.over.replace(standing).filter(|_| judgement.level == Level::Over);
            if judgement.level < Level::Over {
                self.over = None;
            }
            // A burst that is being delivered is over soon, also where the WAL of what is delivered is kept for a while.
            let grows = before.is_some_and(|before| {
                standing.retained >= before.retained && standing.unconfirmed >= before.unconfirmed
            });
            if grows && !judgement.pinned {
                match &self.options.relief {
                    Some(relief) if !relief.is_exhausted() => relief.ask(),
                    _ if self.options.may_release => self.release(&client, slot, &standing, &judgement).await?,
                    _ => {}
                }
            }
        }
        self.client = Some(client);
        Ok(())
    }

    fn standing(&self, slot: &SlotFacts, facts: &Facts) -> Standing {
        let bytes = |bytes: Option<i64>| bytes.and_then(|bytes| u64::try_from(bytes).ok());
        let retained = bytes(slot.retained_bytes).unwrap_or(0);
        let limit = u64::try_from(facts.server.keep_bytes).ok();
        let to_limit = bytes(slot.safe_wal_size);
        let to_disk = self.options.disk_bytes.map(|disk| disk.saturating_sub(retained));
        let left = to_limit.into_iter().chain(to_disk).min();
        let rate = self.rate.bytes_per_second().filter(|rate| *rate > 0.0);
        let seconds = left.zip(rate).map(|(left, rate)| left as f64 / rate);
        Standing {
            retained,
            unconfirmed: bytes(slot.lag_bytes).unwrap_or(retained),
            limit,
            time_left: seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        }
    }

    fn count(&self, judgement: &Judgement) {
        let metrics = &self.metrics.guard;
        metrics.level.set(judgement.level as i64);
        metrics.used.set(judgement.used);
        metrics.pinned.set(i64::from(judgement.pinned && judgement.level > Level::Calm));
        let budget = judgement.budget_bytes.and_then(|bytes| i64::try_from(bytes).ok());
        metrics.budget_bytes.set(budget.unwrap_or(-1));
    }

    /// Says what changed since the last look.
    fn tell(&mut self, facts: &Facts, standing: &Standing, judgement: &Judgement) {
        let pinned = judgement.pinned && judgement.level > Level::Calm;
        if (judgement.level, pinned) == (self.level, self.pinned) {
            return;
        }
        let rises = judgement.level > self.level || pinned && !self.pinned;
        (self.level, self.pinned) = (judgement.level, pinned);
        let slot = self.options.slot.as_str();
        let (retained, percent) = (standing.retained, (judgement.used * 100.0) as u64);
        let mut text = format!(
            "slot {slot:?} holds back {} MiB of WAL, {percent} % of its budget ({})",
            retained >> 20,
            judgement.by
        );
        if pinned {
            text.push_str(&pin(facts.server.oldest_transaction.as_ref(), facts.server.sees_all));
        }
        let left = standing.time_left.map(|left| left.as_secs());
        match (judgement.level, rises) {
            (Level::Over, true) => {
                error!(slot, retained_bytes = retained, seconds_to_limit = left, help = self.help(pinned), "{text}");
            }
            (_, true) => {
                warn!(slot, retained_bytes = retained, seconds_to_limit = left, help = self.help(pinned), "{text}");
            }
            (_, false) => info!(slot, retained_bytes = retained, "{text}"),
        }
        self.notify(&text, judgement.level.name(), retained, judgement);
    }

    fn help(&self, pinned: bool) -> &'static str {
        if pinned {
            "End that transaction; no delivery, and no other slot, frees what it keeps."
        } else if self.options.relief.as_ref().is_some_and(|relief| !relief.is_exhausted()) {
            "Is the broker up? At the whole budget the slot is spilled to this disk, and delivered from there."
        } else if self.options.may_release {
            "Is the broker up? At the whole budget the slot is released; what is written then is published from the table."
        } else {
            "Is the broker up? `postrider slot list` shows how long the server's limit is away; [guard] action = \"release\" \
             lets the relay drop the slot in time."
        }
    }

    fn notify(&self, text: &str, level: &str, retained: u64, judgement: &Judgement) {
        if let Some(url) = &self.options.webhook_url {
            let place = (self.options.slot.as_str(), self.options.connect.database.as_str());
            Notice::new(text, level, place, retained, judgement).send(url);
        }
    }

    /// Drops the slot, if nobody but this relay reads it.
    async fn release(
        &mut self,
        client: &Client,
        slot: &SlotFacts,
        standing: &Standing,
        judgement: &Judgement,
    ) -> Result<(), Error> {
        let ours = &self.options.connect;
        if let Some(reader) = &slot.reader {
            let is_ours = reader.role.as_deref() == Some(&ours.user)
                && reader.application.as_deref() == Some(&ours.application_name);
            if !is_ours {
                warn!(slot = slot.name, pid = reader.pid, "the slot is not released: another program reads it");
                return Ok(());
            }
            // From here on whoever opens the slot finds that it is gone on purpose.
            self.released.begin();
            let terminate = "select pg_terminate_backend($1, $2)";
            let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
                [(&reader.pid, Type::INT4), (&TERMINATE_MS, Type::INT8)];
            client.query_typed(terminate, &parameters).await.map_err(|source| failed("end the walsender", source))?;
        }
        self.released.begin();
        let name = escape_literal(&slot.name);
        // Not one that was made anew in between, nor one that somebody has begun to read.
        let drop = format!(
            "select pg_drop_replication_slot(slot_name) from pg_catalog.pg_replication_slots where slot_name = {name} and not active"
        );
        let dropped = client.query_typed(&drop, &[]).await.map_err(|source| failed("drop the slot", source))?;
        if dropped.is_empty() {
            return Ok(());
        }
        self.metrics.guard.releases.inc();
        self.metrics.guard.level.set(3);
        (self.level, self.pinned, self.over) = (Level::Calm, false, None);
        let text = format!(
            "slot {:?} was released: it held back {} MiB of WAL, beyond its budget ({}); events wait in the outbox table",
            slot.name,
            standing.retained >> 20,
            judgement.by
        );
        warn!(
            slot = slot.name,
            retained_bytes = standing.retained,
            help = "Nothing to do: when the broker takes events again, the relay makes a new slot and publishes what waits.",
            "{text}"
        );
        self.notify(&text, RELEASED, standing.retained, judgement);
        Ok(())
    }
}

/// Whose transaction keeps the WAL, as far as it can be seen. The server looks only every 15 seconds which transactions are over, so
/// that a young one proves nothing.
fn pin(oldest: Option<&OldestTransaction>, sees_all: bool) -> String {
    let old = oldest.and_then(|oldest| Some((oldest, oldest.seconds.filter(|seconds| *seconds >= YOUNG_SECONDS)?)));
    let Some((oldest, seconds)) = old else {
        let blind = if sees_all { "" } else { " (grant pg_read_all_stats to the relay's role to see whose)" };
        return format!("; most of it is delivered, and kept for transactions that are or just were open{blind}");
    };
    let whose = match (&oldest.prepared, oldest.pid) {
        (Some(prepared), _) => format!("the prepared transaction {prepared:?}"),
        (None, Some(pid)) => {
            format!("the transaction of pid {pid} ({})", oldest.application.as_deref().unwrap_or("without a name"))
        }
        (None, None) => "a transaction".to_owned(),
    };
    format!("; {whose}, open for {seconds:.0} s, keeps it, and delivery frees nothing")
}

fn failed(what: &str, source: tokio_postgres::Error) -> Error {
    Error::Database { action: format!("the guard cannot {what}"), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_the_log_is_named_if_it_is_old_and_can_be_seen() {
        let open = |pid, seconds| OldestTransaction {
            pid,
            role: Some("report".into()),
            application: Some("nightly".into()),
            state: None,
            prepared: pid.is_none().then(|| "two".to_owned()),
            database: None,
            transactions: 9,
            seconds: Some(seconds),
        };
        assert!(pin(Some(&open(Some(7), 90.0)), true).contains("pid 7 (nightly), open for 90 s"));
        assert!(pin(Some(&open(None, 90.0)), true).contains("prepared transaction \"two\""));
        for text in [pin(Some(&open(Some(7), 3.0)), true), pin(None, true)] {
            assert!(text.contains("just were open") && !text.contains("pid"), "{text}");
        }
        assert!(pin(None, false).contains("pg_read_all_stats"));
    }
}
