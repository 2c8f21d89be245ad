//! How a transaction ends: committed with all that was accepted, or not at all.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use crate::pipeline::{Durable, End, Error, Kind, Receipt, ReceiptSender};
use crate::sinks::kafka::transactions::native::{Ended, abort, begin, commit};
use crate::sinks::kafka::transactions::{Broken, OPEN_PER_COMMIT, Open, Schedule, Shared, Transactions};
use crate::sinks::kafka::{REPORT_MAX, TROUBLE_LOOK};
use crate::telemetry::failpoint::{Failpoint, reach};

/// The labels of how transactions ended.
const COMMITTED: &str = "committed";
const ABORTED: &str = "aborted";

impl Transactions {
    /// Commits what was accepted, or, if that cannot be, ends the transaction without it; at most until `deadline`.
    pub(in crate::sinks::kafka) async fn close(&self, deadline: Instant) -> Result<(), Error> {
        let closed = tokio::time::timeout_at(deadline, async {
            let mut open = self.turn().await;
            self.shared.end(&mut open).await;
            if open.broken.is_none() && self.shared.deliveries.is_troubled() {
                // Readers of the committed would wait for it until the brokers give it up.
                self.shared.abort(&mut open).await;
            }
            open.broken.clone()
        });
        match closed.await {
            Ok(None) => Ok(()),
            Ok(Some(broken)) => Err(broken.into()),
            Err(_) => {
                Err(Error::new(End::Sink, Kind::Unavailable, "kafka did not commit the last transaction in time"))
            }
        }
    }

    /// Ends the transaction without what it holds. What it held is not delivered.
    ///
    /// # Errors
    /// The producer is beyond use: fenced, or its last transaction may have been committed.
    pub(super) async fn abort(&self, open: &mut Open) -> Result<(), Broken> {
        self.shared.give_up_half(open);
        self.shared.fail(open);
        self.shared.abort(open).await;
        open.broken.clone().map_or(Ok(()), Err)
    }
}

impl Shared {
    /// Commits what is accepted, if there is anything; each receipt hears of it.
    pub(super) async fn end(&self, open: &mut Open) {
        self.schedule.send_modify(|schedule| schedule.commit_at = None);
        self.give_up_half(open);
        if open.waiting.is_empty() || open.broken.is_some() {
            return self.fail(open);
        }
        let began = Instant::now();
        let senders = match self.delivered(open).await {
            Ok(senders) => senders,
            Err(error) => {
                debug!(error = error.chain(), "a transaction is not committed");
                // The report of what led to it may be behind those of what was purged for it.
                open.producer.drain(Instant::now() + REPORT_MAX).await;
                return self.fail(open);
            }
        };
        reach(Failpoint::KafkaCommit);
        let (producer, gone) = (open.producer.handle(), Arc::clone(&self.gone));
        let committing = tokio::task::spawn_blocking(move || {
            let ended = commit(&producer, || gone.load(Ordering::Relaxed));
            // At once: it costs nothing, and the next batch need not wait for it.
            let begun = if matches!(ended, Ended::Done) { begin(&producer) } else { Ok(()) };
            (ended, begun)
        });
        let (ended, begun) = match committing.await {
            Ok(outcome) => outcome,
            Err(error) => (Ended::Broken(Broken { fenced: false, reason: error.to_string() }), Ok(())),
        };
        match ended {
            Ended::Done => self.committed(open, senders, began),
            Ended::Spoilt(reason) => {
                self.deliveries.give_up(&reason);
                self.fail_all(senders);
            }
            Ended::Broken(broken) => {
                warn!(reason = broken.reason, "a transaction was not committed, or nobody knows");
                self.deliveries.give_up(&broken.reason);
                open.broken = Some(broken);
                self.fail_all(senders);
            }
            Ended::GivenUp => self.fail_all(senders),
        }
        if let Err(broken) = begun {
            open.broken = Some(broken);
        }
        (open.bytes, open.note_sent) = (0, true);
        open.note = None;
    }

    /// Everything that was accepted is committed.
    fn committed(&self, open: &mut Open, senders: Vec<ReceiptSender>, began: Instant) {
        reach(Failpoint::KafkaCommitted);
        if let Some(note) = open.note.take() {
            *self.newest() = Some(note);
        }
        let (now, took) = (Instant::now(), began.elapsed());
        let rest_from = now + (took * OPEN_PER_COMMIT).min(self.interval);
        self.schedule.send_modify(|schedule| *schedule = Schedule { commit_at: None, rest_from });
        self.count(COMMITTED, took);
        for sender in senders {
            sender.resolve(Ok(Durable::default()));
        }
    }

    fn count(&self, outcome: &str, took: Duration) {
        let metrics = &self.deliveries.metrics().kafka;
        metrics.transactions.with_label_values(&[outcome]).inc();
        metrics.transaction_seconds.observe(took.as_secs_f64());
    }

    /// Sends the newest note and waits until everything is delivered; who waits for the commit.
    async fn delivered(&self, open: &mut Open) -> Result<Vec<ReceiptSender>, Error> {
        if self.deliveries.is_troubled() {
            return Err(self.deliveries.trouble_error());
        }
        self.send_note(open).await?;
        for (sent, _) in &mut open.waiting {
            self.arrived(sent).await?;
        }
        Ok(open.waiting.drain(..).map(|(_, sender)| sender).collect())
    }

    /// Waits for a delivery, and no longer than until something failed.
    async fn arrived(&self, sent: &mut Receipt) -> Result<(), Error> {
        loop {
            if let Ok(fate) = timeout(TROUBLE_LOOK, &mut *sent).await {
                let refused = !fate?.refused.is_empty();
                return if refused { Err(self.deliveries.trouble_error()) } else { Ok(()) };
            }
            if self.deliveries.is_troubled() {
                return Err(self.deliveries.trouble_error());
            }
        }
    }

    /// Nothing that was accepted is delivered.
    fn fail(&self, open: &mut Open) {
        let senders = open.waiting.drain(..).map(|(_, sender)| sender).collect();
        self.fail_all(senders);
        (open.bytes, open.note, open.note_sent) = (0, None, true);
    }

    fn fail_all(&self, senders: Vec<ReceiptSender>) {
        for sender in senders {
            sender.resolve(Err(self.deliveries.trouble_error()));
        }
    }

    /// Tells the brokers that the transaction is over.
    async fn abort(&self, open: &mut Open) {
        if open.broken.is_some() {
            return;
        }
        let (producer, gone, began) = (open.producer.handle(), Arc::clone(&self.gone), Instant::now());
        let aborting = tokio::task::spawn_blocking(move || abort(&producer, || gone.load(Ordering::Relaxed)));
        match aborting.await {
            // What cannot be aborted either is ended by the producer that comes next.
            Ok(Ended::Done | Ended::Spoilt(_) | Ended::GivenUp) => self.count(ABORTED, began.elapsed()),
            Ok(Ended::Broken(broken)) if broken.fenced => open.broken = Some(broken),
            Ok(Ended::Broken(broken)) => debug!(reason = broken.reason, "a transaction is left to the next producer"),
            Err(error) => open.broken = Some(Broken { fenced: false, reason: error.to_string() }),
        }
    }
}
