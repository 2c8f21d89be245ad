//! Runs a plan: roles, grants and publications in one transaction, then the slot.

use std::time::Duration;

use postgres_protocol::{escape::escape_identifier, escape::escape_literal, password::scram_sha_256};
use tokio_postgres::{Client, error::SqlState};

use crate::slots::{
    error::Error,
    setup::{BacklogPlan, Plan, Step, Wanted, backlog, pass},
};

/// The key of the advisory lock under which a database is set up: "postinit" in ASCII.
const LOCK_KEY: i64 = 0x706f_7374_696e_6974;

/// How often the table's lock is tried; each try waits 2 s at most, and lets writers through before the next.
const LOCK_ATTEMPTS: usize = 15;

/// Between two tries. Writers that queued up behind the last one go on meanwhile.
const LOCK_PAUSE: Duration = Duration::from_millis(500);

/// Waits until no other session sets this database up, and keeps others waiting until this one ends.
///
/// Roles belong to the whole server: two databases that are set up at once may still meet there.
///
/// # Errors
/// [`Error::Database`].
pub async fn exclusively(client: &Client) -> Result<(), Error> {
    let locked = client.execute("select pg_advisory_lock($1)", &[&LOCK_KEY]).await;
    locked.map(drop).map_err(|source| failed("wait for another set-up to end", source))
}

/// What is told as soon as it is done: each step, as a fragment.
pub type Told<'t> = &'t mut (dyn FnMut(&str) + Send);

/// Runs what is missing, tells each step once it stands, and returns what is left to be done by somebody else, if anything is.
///
/// `password` becomes that of the relay's role if the plan creates it; it leaves this process as a SCRAM verifier, so
/// that no log of the server holds it. The password of a role that is there already is left alone.
///
/// Creating a slot waits for the transactions that are open at that moment. Rows that are older than the slot are published anew, where
/// the plan says so, while writers of the table wait; that is tried again while somebody holds the table.
///
/// # Errors
/// [`Error::Database`], with the step that failed. Either all of the transaction is done or nothing of it.
pub async fn apply(
    client: &mut Client,
    wanted: &Wanted,
    plan: &Plan,
    password: Option<&str>,
    told: Told<'_>,
) -> Result<Option<String>, Error> {
    let password = password.filter(|_| plan.creates_relay_role);
    let password = password.map(|password| set_password(&wanted.relay_role, password));
    transact(client, plan.transaction.iter().chain(&password), told).await?;
    unlimited(client).await?;
    let mut left = None;
    if plan.passes {
        left = pass::pass(client, wanted).await.map_err(|source| failed("see whether the slot passes", source))?;
    }
    if let Some(step) = &plan.slot {
        run(client, step, told).await?;
    }
    if let Some(plan) = &plan.backlog {
        create_with_backlog(client, plan, told).await?;
    }
    Ok(left)
}

/// Takes back a limit on waiting for locks: a slot waits for the transactions that are open, as long as they take.
///
/// # Errors
/// As [`apply`].
pub(in crate::slots) async fn unlimited(client: &Client) -> Result<(), Error> {
    let reset = client.batch_execute("reset lock_timeout").await;
    reset.map_err(|source| failed("take back the limit on waiting for locks", source))
}

/// Runs steps in one transaction, and tells them when it is committed.
///
/// # Errors
/// As [`apply`].
pub(in crate::slots) async fn transact(
    client: &mut Client,
    steps: impl Iterator<Item = &Step> + Clone,
    told: Told<'_>,
) -> Result<(), Error> {
    if steps.clone().next().is_none() {
        return Ok(());
    }
    let transaction = client.transaction().await.map_err(|source| failed("begin", source))?;
    for step in steps.clone() {
        transaction.batch_execute(&step.sql).await.map_err(|source| failed(&step.what, source))?;
    }
    transaction.commit().await.map_err(|source| failed("commit", source))?;
    steps.for_each(|step| told(&step.what));
    Ok(())
}

/// Runs one step by itself.
///
/// # Errors
/// As [`apply`].
pub(in crate::slots) async fn run(client: &Client, step: &Step, told: Told<'_>) -> Result<(), Error> {
    client.batch_execute(&step.sql).await.map_err(|source| failed(&step.what, source))?;
    told(&step.what);
    Ok(())
}

/// Makes a slot that begins with the rows that are there. A failure leaves neither slot nor change: the held place goes with the session.
async fn create_with_backlog(client: &Client, plan: &BacklogPlan, told: Told<'_>) -> Result<(), Error> {
    let run = async |step: &Step| client.batch_execute(&step.sql).await.map_err(|source| failed(&step.what, source));
    run(&plan.hold).await?;
    let any = client.query_one(&plan.any, &[]).await.map_err(|source| failed("look for older rows", source))?;
    if any.get(0) {
        publish(client, &plan.publish).await?;
        let rows = client.query_one(&format!("select current_setting('{}')", backlog::ROWS), &[]).await;
        let rows: String = rows.map_err(|source| failed("read how many rows were published", source))?.get(0);
        told(&format!("{}: {rows}", plan.publish.what));
        run(&plan.advance).await?;
    }
    run(&plan.create).await?;
    told(&plan.create.what);
    run(&plan.release).await
}

/// Publishes the rows anew. The lock that keeps writers out is tried briefly and again, so that they never queue for long behind it.
async fn publish(client: &Client, step: &Step) -> Result<(), Error> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let Err(source) = client.batch_execute(&step.sql).await else { return Ok(()) };
        client.batch_execute("rollback").await.map_err(|source| failed("roll back", source))?;
        let locked = source.code() == Some(&SqlState::LOCK_NOT_AVAILABLE);
        if !locked || attempt == LOCK_ATTEMPTS {
            return Err(failed(&step.what, source));
        }
        tokio::time::sleep(LOCK_PAUSE).await;
    }
}

fn set_password(role: &str, password: &str) -> Step {
    let verifier = escape_literal(&scram_sha_256(password.as_bytes()));
    Step {
        what: format!("set the password of role {role}"),
        sql: format!("alter role {} password {verifier}", escape_identifier(role)),
    }
}

fn failed(what: &str, source: tokio_postgres::Error) -> Error {
    Error::Database { action: format!("cannot {what}"), source }
}
