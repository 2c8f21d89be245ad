//! A batch on its way: its inserts, table by table, and what their failure means for it.
//!
//! Guarantee: a batch is cut smaller, or a record of it refused, only if nothing of it was written. A view that fails leaves
//! the table's own rows written (measured on 26.9); then the same batch is tried with the same tokens until the view is
//! mended, so that nothing is counted twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;
use tracing::{debug, warn};

use crate::pipeline::times::now_ms;
use crate::pipeline::{Durable, End, Error, Kind, Refused, Split};
use crate::sinks::clickhouse::client::{Client, Collapse, TableName, quoted};
use crate::sinks::clickhouse::errors::{Class, Failure};
use crate::telemetry::Metrics;

/// How often a record is sent alone before it is refused for what is in it.
const TRIES: u32 = 3;

/// How long to wait between two of these.
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

/// No such column: the table was altered since it was looked at.
const NO_SUCH_COLUMN: u32 = 16;

/// The rows of one table.
#[derive(Debug)]
pub(super) struct Insert {
    /// The table.
    pub(super) table: TableName,
    /// The columns, in the block's order.
    pub(super) columns: Vec<String>,
    /// How ClickHouse knows the insert again.
    pub(super) token: String,
    /// The block.
    pub(super) block: Bytes,
    /// How many rows it has.
    pub(super) rows: usize,
    /// When those that replace each other do so.
    pub(super) collapse: Collapse,
}

/// Rows of one table that a TRUNCATE removes.
#[derive(Debug)]
pub(super) struct Removal {
    /// The table.
    pub(super) table: TableName,
    /// The column of the version.
    pub(super) column: String,
    /// Rows of older versions go.
    pub(super) version: u128,
}

/// A batch on its way.
#[derive(Debug)]
pub(super) struct Work {
    /// What is inserted, in this order.
    pub(super) inserts: Vec<Insert>,
    /// What is removed after that.
    pub(super) removals: Vec<Removal>,
    /// How many messages the batch has.
    pub(super) messages: usize,
    /// The time of its oldest record, in milliseconds since 1970, if it has any.
    pub(super) oldest_ms: Option<i64>,
    /// Resolves once the partition's batch before is durable; dropped if it is not.
    pub(super) previous: Option<oneshot::Receiver<()>>,
}

/// What carries batches out.
#[derive(Debug, Clone)]
pub(super) struct Carrier {
    pub(super) client: Client,
    pub(super) metrics: Arc<Metrics>,
    /// Set while nothing new may begin.
    pub(super) halted: Arc<AtomicBool>,
}

impl Carrier {
    /// Carries a batch out, after the one before it of its partition.
    pub(super) async fn carry(&self, work: Work) -> Result<Durable, Error> {
        let begun = Instant::now();
        let outcome = self.carry_out(work).await;
        match &outcome {
            Ok(fate) if fate.split.is_none() => {
                self.metrics.worker.processing_seconds.observe(begun.elapsed().as_secs_f64());
            }
            Ok(_) => self.failed("data"),
            Err(error) => self.failed(if error.kind() == Kind::Setup { "setup" } else { "away" }),
        }
        outcome
    }

    fn failed(&self, class: &str) {
        self.metrics.worker.processing_errors.with_label_values(&[class]).inc();
    }

    async fn carry_out(&self, mut work: Work) -> Result<Durable, Error> {
        if let Some(previous) = work.previous.take()
            && previous.await.is_err()
        {
            return Err(given_up("the batch before it of its partition did not become durable"));
        }
        let mut written = false;
        for insert in &work.inserts {
            if self.halted.load(Ordering::Acquire) {
                return Err(given_up("it was given up"));
            }
            if let Err(error) = self.insert(insert, work.messages == 1).await {
                return self.fate(&error, insert, &work, written);
            }
            written = true;
        }
        for removal in &work.removals {
            self.remove(removal).await?;
        }
        // Of a batch that is dead letters alone there is nothing to tell.
        if let Some(Ok(age_ms)) = work.oldest_ms.map(|oldest_ms| u64::try_from(now_ms() - oldest_ms)) {
            let age = Duration::from_millis(age_ms).as_secs_f64();
            self.metrics.clickhouse.kafka_to_clickhouse_seconds.observe(age);
        }
        Ok(Durable::default())
    }

    /// Inserts; what is refused for what is in it, and is one record, is tried again.
    async fn insert(&self, insert: &Insert, alone: bool) -> Result<(), Failure> {
        let metrics = &self.metrics.clickhouse;
        let mut tries = 1;
        loop {
            let begun = Instant::now();
            let columns: Vec<&str> = insert.columns.iter().map(String::as_str).collect();
            let (token, block) = (&insert.token, insert.block.clone());
            let outcome = self.client.insert(&insert.table, &columns, token, block, insert.collapse).await;
            metrics.insert_seconds.observe(begun.elapsed().as_secs_f64());
            let Err(error) = outcome else {
                metrics.rows.inc_by(insert.rows as u64);
                metrics.bytes.inc_by(insert.block.len() as u64);
                debug!(table = %insert.table, rows = insert.rows, token = insert.token, "inserted");
                return Ok(());
            };
            metrics.errors.with_label_values(&[error.class().as_str()]).inc();
            let again = alone && error.class() == Class::Data && error.of_view().is_none() && tries < TRIES;
            if !again || self.halted.load(Ordering::Acquire) {
                return Err(error);
            }
            tries += 1;
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
    }

    /// What the failure of an insert means for its batch.
    fn fate(&self, error: &Failure, insert: &Insert, work: &Work, written: bool) -> Result<Durable, Error> {
        if error.class() != Class::Data {
            return Err(failed(error));
        }
        if let Some(view) = error.of_view() {
            let help = format!(
                "Mend the view {view}, or drop it. The table's own rows are written already: the same batch follows with the same token, so that none is counted twice."
            );
            let context = format!("the view {view}, which depends on {}, refuses the rows: {error}", insert.table);
            return Err(Error::new(End::Sink, Kind::Unavailable, context).with_help(help));
        }
        if written {
            let help = format!(
                "Mend {}, for instance its constraint: another table of the topic has the batch's rows already, so the batch cannot be cut.",
                insert.table
            );
            let context = format!("table {} refuses a batch that another table took: {error}", insert.table);
            return Err(Error::new(End::Sink, Kind::Unavailable, context).with_help(help));
        }
        if work.messages <= 1 {
            let mut refused = Refused::new(0, format!("table {} refuses the row: {error}", insert.table));
            refused.help = Some(format!("Mend the record or the table {}, then replay the record.", insert.table));
            return Ok(Durable { refused: vec![refused], split: None });
        }
        self.metrics.clickhouse.splits.inc();
        let after = work.messages / 2;
        warn!(table = %insert.table, messages = work.messages, after, %error, "a batch is refused for what is in it; it is cut in two");
        Ok(Durable { refused: Vec::new(), split: Some(Split { after, reason: error.to_string() }) })
    }

    /// Removes what a TRUNCATE removed: every row of an older version. Said twice, it removes nothing more.
    async fn remove(&self, removal: &Removal) -> Result<(), Error> {
        let Removal { table, column, version } = removal;
        let sql = format!(
            "delete from {} where {} < toUInt128('{version}') settings lightweight_deletes_sync = 2",
            table.quoted(),
            quoted(column)
        );
        let what = format!("remove from {table} what a TRUNCATE removed");
        self.client.command(&what, &sql).await.map_err(|failure| failed(&failure))
    }
}

pub(super) fn given_up(why: &str) -> Error {
    Error::new(End::Sink, Kind::Unavailable, format!("a batch was not inserted: {why}"))
}

/// What a failure at ClickHouse means for the pipeline.
pub(super) fn failed(failure: &Failure) -> Error {
    let kind = match failure.class() {
        Class::Setup if failure.code() == Some(NO_SUCH_COLUMN) => Kind::Broken,
        Class::Setup => Kind::Setup,
        _ => Kind::Unavailable,
    };
    Error::new(End::Sink, kind, failure.to_string())
}
