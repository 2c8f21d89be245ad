//! An outbox that is cut by days: old days leave whole, without a dead row, once they are delivered.
//!
//! [`run`] looks, plans and acts; any number of runs may come at once or be killed anywhere. The way out of a partition:
//! *closed* (no further row can get in), *detached* concurrently, *recorded* (where the log ended after that), *dropped* once every
//! slot has confirmed that position, no hold covers its days and none of its events is parked.

mod apply;
mod convert;
mod day;
mod found;
mod name;
mod plan;
mod rights;

use serde::Serialize;
use tokio_postgres::Client;

pub use crate::slots::outbox::partitions::{convert::convert, plan::Settings};
use crate::slots::{
    error::{Error, Refusal},
    outbox::partitions::{found::Layout, plan::Act},
    setup::Table,
};

/// The key of the advisory lock of a run: "postpart" in ASCII.
const LOCK_KEY: i64 = 0x706f_7374_7061_7274;

/// What is cared for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Care {
    /// The table above the partitions.
    pub table: Table,
    /// Its column with an event's id, by which parked events are found.
    pub id_column: String,
    /// Our slot, which must prove delivery.
    pub slot: String,
    /// How many days come and stay.
    pub settings: Settings,
}

/// What became of one act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// How it ended.
    pub state: State,
    /// The partition, where it is about one.
    pub partition: Option<String>,
    /// What was done, would be done, or why it cannot be yet.
    pub what: String,
}

/// How an act ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It was done.
    Done,
    /// It would be done, had the run been allowed to change anything.
    Planned,
    /// It has to wait.
    Waiting,
    /// It was tried and did not work; the next run tries again.
    Failed,
}

/// Looks after the partitions; without `changes` it only tells what it would do.
///
/// An act that fails for now, such as one that would have kept writers waiting, is an outcome and no error: the next run goes on.
///
/// # Errors
/// [`Error::Refused`] if the table is not cut by days, or the role may not change it; [`Error::Database`].
pub async fn run(client: &Client, care: &Care, changes: bool) -> Result<Vec<Outcome>, Error> {
    match found::layout(client, &care.table).await? {
        Layout::ByDay => {}
        layout => return Err(Error::Refused(vec![refuse(&care.table, layout)])),
    }
    if changes {
        rights::assume(client, &care.table).await?;
    }
    // Bounds are printed and read in the session's own form.
    execute(client, "set timezone = 'UTC'; set datestyle = 'ISO, MDY'").await?;
    if changes && !locked(client).await? {
        let what = "another run is at work; this one leaves it to that".to_owned();
        return Ok(vec![Outcome { state: State::Waiting, partition: None, what }]);
    }
    let outcomes = rounds(client, care, changes).await;
    if changes {
        execute(client, &format!("select pg_advisory_unlock({LOCK_KEY})")).await?;
    }
    outcomes
}

/// What is done may let more be done: a partition that was recorded can be dropped, if the slots have passed already.
async fn rounds(client: &Client, care: &Care, changes: bool) -> Result<Vec<Outcome>, Error> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    loop {
        let found = found::read(client, care).await?;
        let mut progress = false;
        // What waits is told as it stands in the end.
        outcomes.retain(|outcome| outcome.state != State::Waiting);
        let mut failed: Vec<Option<String>> = Vec::new();
        for act in plan::plan(care.settings, &found) {
            let partition = act.partition().map(str::to_owned);
            let mut outcome = Outcome { state: State::Planned, partition, what: act.told(&found.root) };
            if matches!(act, Act::Wait(..)) {
                outcome.state = State::Waiting;
            } else if changes && failed.contains(&outcome.partition) {
                // It rests on what has just failed.
                continue;
            } else if changes {
                outcome.state = State::Done;
                match apply::apply(client, &care.table, &act).await {
                    Ok(()) => progress = true,
                    Err(Error::Database { action, source }) if source.code().is_some() => {
                        failed.push(outcome.partition.clone());
                        outcome.state = State::Failed;
                        outcome.what = format!("{action}: {}", server_said(&source));
                    }
                    Err(error) => return Err(error),
                }
            }
            outcomes.push(outcome);
        }
        if !progress || !failed.is_empty() {
            return Ok(outcomes);
        }
    }
}

fn server_said(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}

fn refuse(table: &Table, layout: Layout) -> Refusal {
    let (what, mend) = match layout {
        Layout::Absent => (
            format!("table {} does not exist", table.quoted()),
            "run `postrider migrate`, or name another with `outbox.table`",
        ),
        Layout::Plain | Layout::ByDay => (
            format!("table {} is not partitioned", table.quoted()),
            "`postrider outbox prune` removes delivered rows of such a table; `postrider migrate --partition-by day` cuts it by days while it is empty",
        ),
        Layout::Other(what) => (what, "see docs/outbox-table.md for what can be cared for"),
    };
    Refusal { what, mend: mend.to_owned() }
}

async fn locked(client: &Client) -> Result<bool, Error> {
    let row = client.query_one("select pg_try_advisory_lock($1)", &[&LOCK_KEY]).await;
    Ok(row.map_err(failed)?.get(0))
}

async fn execute(client: &Client, sql: &str) -> Result<(), Error> {
    client.batch_execute(sql).await.map_err(failed)
}

fn failed(source: tokio_postgres::Error) -> Error {
    Error::Database { action: "cannot prepare the session".to_owned(), source }
}
