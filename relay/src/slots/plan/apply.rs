//! Runs a plan. A run that is cut off leaves whole steps: the next plan begins with what is missing.

use crate::postgres::connection::Connection;
use crate::postgres::options::ConnectOptions;
use crate::slots::error::Error;
use crate::slots::plan::{Plan, Wanted};
use crate::slots::session::Direct;
use crate::slots::setup::{self, Told, run, transact, unlimited};

/// How long a step waits for a lock: what queues up behind it waits as long.
const LOCK_TIMEOUT: &str = "set lock_timeout = '5s'";

/// What a run is given beside the plan.
#[derive(Debug, Clone, Copy)]
pub struct Means<'m> {
    /// The password of the relay's role, if it is to be created.
    pub password: Option<&'m str>,
    /// Whether what was not declared is dropped.
    pub prune: bool,
}

/// Runs every step, tells each once it stands, and returns what is left to be done by somebody else, if anything is.
///
/// # Errors
/// [`Error::Database`] with the step that failed, or [`Error::Replication`]. Those that were told are done.
pub async fn apply(
    session: &mut Direct,
    wanted: &Wanted,
    plan: &Plan,
    means: Means<'_>,
    told: Told<'_>,
) -> Result<Option<String>, Error> {
    if !plan.refusals.is_empty() {
        return Err(Error::Refused(plan.refusals.clone()));
    }
    let Direct { client, connect } = session;
    let limited = client.batch_execute(LOCK_TIMEOUT).await;
    limited.map_err(|source| Error::Database { action: "cannot limit waiting for locks".to_owned(), source })?;
    let mut left = None;
    match &wanted.relay {
        Some(relay) => left = setup::apply(client, &relay.setup, &plan.setup, means.password, told).await?,
        None => {
            transact(client, plan.setup.transaction.iter(), told).await?;
            unlimited(client).await?;
        }
    }
    for work in &plan.slots {
        if work.replication {
            command(connect, &work.step.sql, &work.step.what).await?;
            told(&work.step.what);
        } else {
            run(client, &work.step, told).await?;
        }
    }
    if means.prune {
        for step in plan.prune() {
            run(client, step, told).await?;
        }
    }
    Ok(left)
}

/// Sends one command over a replication connection.
async fn command(connect: &ConnectOptions, command: &str, what: &str) -> Result<(), Error> {
    let options = ConnectOptions { replication: true, ..connect.clone() };
    let command = command.to_owned();
    let sent = tokio::task::spawn_blocking(move || Connection::connect(&options)?.simple_query(&command).map(drop));
    let sent = sent.await.unwrap_or(Ok(()));
    sent.map_err(|source| Error::Replication { action: format!("cannot {what}"), source })
}
