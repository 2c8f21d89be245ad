//! The Kafka sink with transactions: how it is opened, sends, and goes on after a failure.

use std::sync::Arc;
use std::time::Instant as Moment;

use tokio::time::timeout;
use tracing::{info, warn};

use crate::pipeline::{End, Error, Kind, Messages, Progress, Receipt};
use crate::sinks::kafka::progress::Reader;
use crate::sinks::kafka::transactions::native::{begin, init};
use crate::sinks::kafka::transactions::{Broken, Claim, Open, Parts, TransactionOptions, Transactions};
use crate::sinks::kafka::{Kafka, OVERCOME_AFTER, blocking, start_producer};
use crate::telemetry::failpoint::{Failpoint, reach};

impl Kafka {
    /// Takes the transactional id over, says so, and only then reads the newest progress record of `key`: nobody can add one
    /// behind it.
    pub(in crate::sinks::kafka) async fn take_over(
        &mut self,
        key: Option<&str>,
        options: &TransactionOptions,
    ) -> Result<Option<Progress>, Error> {
        let reader = self.reader().await?;
        self.await_broker().await?;
        self.begin_first(Arc::clone(&self.producer), options).await?;
        let claim = Claim::new();
        let record = claim.record(&options.id);
        let transactions = Arc::new(Transactions::start(Parts {
            options,
            claim,
            producer: Arc::clone(&self.producer),
            deliveries: &self.deliveries,
            sequence: &self.sequence,
            progress_topic: &self.options.progress_topic,
            bytes_max: self.options.queue_bytes_max,
        }));
        let claimed = {
            let mut open = transactions.turn().await;
            transactions.enter(&mut open)?;
            transactions.record(&mut open, &record).await?
        };
        transactions.rest();
        timeout(self.options.connect_timeout, claimed).await.map_err(|_| silent(options))??;
        reach(Failpoint::KafkaClaimed);
        let key = key.map(|key| key.as_bytes().to_vec());
        let newest = blocking(move || {
            reader.await_record(&record)?;
            key.map_or(Ok(None), |key| reader.newest(&key))
        });
        let newest = newest.await?;
        info!(transactional_id = options.id, "took the transactional id over; nobody else delivers for this slot");
        transactions.found(newest.clone());
        self.transactions = Some(transactions);
        Ok(newest)
    }

    /// Sends a batch within the transaction that is open.
    pub(in crate::sinks::kafka) async fn send_within(
        &mut self,
        transactions: &Transactions,
        messages: Messages,
    ) -> Result<Receipt, Error> {
        let note = self.cover.take();
        if messages.is_empty() && note.is_none() {
            return Ok(Receipt::done());
        }
        let mut open = transactions.turn().await;
        if let Some(failed) = self.deliveries.follow() {
            transactions.hurry();
            return Ok(failed);
        }
        if open.is_empty() && self.batches.is_reduced() && self.accepted >= OVERCOME_AFTER {
            self.batches.restore();
            self.renew_within(&mut open).await?;
        }
        transactions.enter(&mut open)?;
        let bytes = messages.bytes();
        let sent = if messages.is_empty() {
            None
        } else {
            match self.hand_over(messages).await {
                Err(error) if error.kind() == Kind::Refused => {
                    // Before any of it was accepted.
                    Transactions::leave(&mut open);
                    return Err(error);
                }
                sent => Some(sent?),
            }
        };
        transactions.accept(&mut open, (sent, bytes), note).await
    }

    /// Aborts what is not committed and goes on with a new producer.
    ///
    /// # Errors
    /// Another producer has the id, or it is not known what was committed: then the sink must be opened anew, which tells.
    pub(in crate::sinks::kafka) async fn reset_within(&mut self, transactions: &Transactions) -> Result<(), Error> {
        self.cover = None;
        let mut open = transactions.turn().await;
        let fenced = self.deliveries.is_fenced() || self.producer.fatal().is_some_and(|e| e.kind() == Kind::Fenced);
        let aborted = transactions.abort(&mut open).await;
        self.producer.purge_all().await;
        match aborted {
            Err(broken) => return Err(self.lost(transactions, &broken).await),
            Ok(()) if fenced => {
                let broken = Broken { fenced, reason: "the brokers refused it as an old producer".to_owned() };
                return Err(self.lost(transactions, &broken).await);
            }
            Ok(()) => {}
        }
        self.narrow();
        self.renew_within(&mut open).await?;
        self.overcome();
        Ok(())
    }

    /// Puts a new producer of the same id in the place of the old one.
    async fn renew_within(&mut self, open: &mut Open) -> Result<(), Error> {
        let Some(options) = self.options.transactions.clone() else { return Ok(()) };
        let producer = start_producer(&self.options, &self.deliveries, &self.reachability, &self.batches)?;
        let producer = Arc::new(producer);
        self.begin_first(Arc::clone(&producer), &options).await?;
        open.renew(Arc::clone(&producer));
        self.producer = producer;
        self.topics.renewed();
        self.accepted = 0;
        Ok(())
    }

    /// Makes this producer the only one of its id, and begins its first transaction.
    async fn begin_first(
        &self,
        producer: Arc<crate::sinks::kafka::producer::Producer>,
        options: &TransactionOptions,
    ) -> Result<(), Error> {
        let (native, options) = (producer.handle(), options.clone());
        let deadline = Moment::now() + self.options.connect_timeout;
        blocking(move || {
            init(&native, &options, deadline)?;
            begin(&native).map_err(Error::from)
        })
        .await
    }

    /// What it means that the producer is beyond use.
    async fn lost(&self, transactions: &Transactions, broken: &Broken) -> Error {
        let Some(options) = self.options.transactions.as_ref().filter(|_| broken.fenced) else {
            return Error::new(End::Sink, Kind::Broken, "it is not known whether the last transaction was committed")
                .because(broken.reason.clone())
                .with_help("The sink is opened anew and reads what was.");
        };
        let id = &options.id;
        let (reading, topic) = (self.options.clone(), self.options.progress_topic.clone());
        let (reachability, key) = (Arc::clone(&self.reachability), Claim::key(id));
        let holder = blocking(move || Reader::start(reading, reachability)?.newest(&key)).await;
        let holder = holder.inspect_err(|error| warn!(error = error.chain(), topic, "nobody tells who has the id"));
        let holder = holder.ok().flatten().and_then(|record| Claim::parse(&record.value));
        let fenced = |by: &str| {
            Error::new(End::Sink, Kind::Fenced, format!("{by} delivers with the transactional id {id:?} now"))
                .because(broken.reason.clone())
                .with_help(
                    "One relay at a time delivers for a slot. Stop the other one, or let them take turns by [standby].",
                )
        };
        match holder {
            Some(holder) if holder == transactions.claim => {
                let context = format!(
                    "the brokers gave up a transaction of {id:?}: it was open for longer than kafka.transaction_timeout_ms, {} ms",
                    options.timeout.as_millis()
                );
                Error::new(End::Sink, Kind::Broken, context)
                    .because(broken.reason.clone())
                    .with_help("Nothing is lost or repeated; the sink is opened anew.")
            }
            Some(holder) => fenced(&format!("another relay, {},", holder.who())),
            None => fenced("another relay"),
        }
    }
}

/// The first commit was not answered.
fn silent(options: &TransactionOptions) -> Error {
    let context = format!("kafka did not commit the first transaction of {:?} in time", options.id);
    Error::new(End::Sink, Kind::Unavailable, context).with_help(
        "Transactions need the topic __transaction_state: has it as many replicas in sync as \
         transaction.state.log.min.isr demands?",
    )
}
