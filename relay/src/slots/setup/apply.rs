//! Runs a plan: roles, grants and publication in one transaction, then the slot.

use postgres_protocol::{escape::escape_identifier, escape::escape_literal, password::scram_sha_256};
use tokio_postgres::Client;

use crate::slots::{
    error::Error,
    setup::{Plan, Step, Wanted},
};

/// Runs what is missing and returns what was done, step by step.
///
/// `password` becomes that of the relay's role if the plan creates it; it leaves this process as a SCRAM verifier, so
/// that no log of the server holds it. The password of a role that is there already is left alone.
///
/// Creating a slot waits for the transactions that are open at that moment.
///
/// # Errors
/// [`Error::Database`], with the step that failed. Either all of the transaction is done or nothing of it.
pub async fn apply(
    client: &mut Client,
    wanted: &Wanted,
    plan: &Plan,
    password: Option<&str>,
) -> Result<Vec<String>, Error> {
    let mut done = Vec::new();
    if !plan.transaction.is_empty() {
        let transaction = client.transaction().await.map_err(|source| failed("begin", source))?;
        for step in &plan.transaction {
            transaction.batch_execute(&step.sql).await.map_err(|source| failed(&step.what, source))?;
            done.push(step.what.clone());
        }
        if let Some(password) = password.filter(|_| plan.creates_relay_role) {
            let step = set_password(&wanted.relay_role, password);
            transaction.batch_execute(&step.sql).await.map_err(|source| failed(&step.what, source))?;
            done.push(step.what);
        }
        transaction.commit().await.map_err(|source| failed("commit", source))?;
    }
    if let Some(step) = &plan.slot {
        client.batch_execute(&step.sql).await.map_err(|source| failed(&step.what, source))?;
        done.push(step.what.clone());
    }
    Ok(done)
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
