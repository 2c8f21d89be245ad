//! Dropping a slot: what it holds is gone for its reader.

use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;

use crate::slots::change::{Found, Owner, foreign, literal, refusal, size, told};
use crate::slots::error::{Error, Refusal};
use crate::slots::facts::Reader;
use crate::slots::session::Direct;
use crate::slots::setup::{Step, Told, run};

/// How long the session of a reader may take to end, in milliseconds.
const END_MS_MAX: u32 = 10_000;

/// How long its reader is kept from coming back before the slot is dropped.
const COMES_BACK_MAX: Duration = Duration::from_secs(5);

/// What dropping a slot takes, and costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drop {
    /// The slot.
    pub slot: String,
    /// Who reads it, as a fragment.
    pub reader: Option<String>,
    /// Log that it keeps, in bytes.
    pub retained_bytes: i64,
    /// What is lost with it, as a sentence.
    pub lost: String,
    /// The steps: its reader's session ends first, if there is one.
    pub steps: Vec<Step>,
    /// Ends the session by which that reader came back meanwhile.
    pub(super) again: Option<String>,
}

/// What it takes to drop the slot.
///
/// # Errors
/// Why it is left alone. A slot that is read is dropped only by `force`.
pub fn drop(found: &Found, owner: Owner, force: bool) -> Result<Drop, Vec<Refusal>> {
    let slot = &found.slot;
    let name = &slot.name;
    let mut refusals: Vec<Refusal> = foreign(slot, owner).into_iter().collect();
    if slot.synced && found.server.standby {
        refusals.push(refusal(
            format!("slot {name} is this standby's copy of the primary's: the server keeps it in step"),
            "drop it at the primary; here it goes with it",
        ));
    }
    let reader = slot.reader.as_ref().map(told);
    if let Some(reader) = reader.as_ref().filter(|_| !force) {
        refusals.push(refusal(
            format!("slot {name} is being read: {reader}"),
            "stop its reader for good, and run this again; --force ends its session first, and it may come back",
        ));
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let mut steps = Vec::new();
    if let Some((who, reader)) = slot.reader.as_ref().zip(reader.as_ref()) {
        steps.push(Step::new(
            format!("end the session of {reader}"),
            format!("select pg_terminate_backend({}, {END_MS_MAX})", who.pid),
        ));
    }
    // A temporary slot goes with the session that made it.
    if !slot.temporary || slot.reader.is_none() {
        steps.push(Step::new(
            format!("drop slot {name}"),
            format!("select pg_drop_replication_slot({})", literal(name)),
        ));
    }
    Ok(Drop {
        slot: name.clone(),
        reader,
        retained_bytes: slot.retained_bytes.unwrap_or_default(),
        lost: lost(found, owner),
        steps,
        again: slot.reader.as_ref().map(|reader| again(name, reader)),
    })
}

/// Ends the session that reads the slot now, if it is of the same role and application as the one that was shown.
fn again(slot: &str, reader: &Reader) -> String {
    let is = |column: &str, value: Option<&String>| {
        value.map_or_else(String::new, |value| format!(" and a.{column} = {}", literal(value)))
    };
    format!(
        "select pg_terminate_backend(a.pid, {END_MS_MAX}) from pg_catalog.pg_replication_slots s \
         join pg_catalog.pg_stat_activity a on a.pid = s.active_pid where s.slot_name = {}{}{}",
        literal(slot),
        is("usename", reader.role.as_ref()),
        is("application_name", reader.application.as_ref()),
    )
}

/// What is gone with the slot.
fn lost(found: &Found, owner: Owner) -> String {
    let slot = &found.slot;
    if slot.is_lost() {
        return "nothing: the server has given the slot up already".to_owned();
    }
    if !slot.is_logical() {
        return "a standby or an archiver that reads by it may find the log gone that it needs next, and has to be built anew"
            .to_owned();
    }
    let Some(confirmed) = slot.confirmed_flush_lsn else { return "nothing: it was never read".to_owned() };
    let unread = match slot.lag_bytes.unwrap_or_default() {
        ..=0 => format!("its reader has confirmed all up to {confirmed}, and a new slot begins later"),
        lag => format!("its reader has not confirmed {} of log after {confirmed}", size(lag)),
    };
    match owner {
        Owner::Relay => format!(
            "{unread}; the rows of the outbox stay in their table: `postrider slot recover` makes the slot anew and publishes what is \
             missing"
        ),
        Owner::Declared | Owner::Foreign { .. } => format!("{unread}; it has to begin anew, from a copy of its tables"),
    }
}

impl Drop {
    /// Runs the steps.
    ///
    /// # Errors
    /// [`Error::Database`] with the step that failed: a reader that comes back again and again is named by the server.
    pub async fn run(&self, session: &Direct, told: Told<'_>) -> Result<(), Error> {
        let begun = Instant::now();
        for step in &self.steps {
            while let Err(error) = run(&session.client, step, told).await {
                let Some(again) = self.again.as_ref().filter(|_| is_in_use(&error)) else { return Err(error) };
                if begun.elapsed() > COMES_BACK_MAX {
                    return Err(error);
                }
                let ended = session.client.batch_execute(again).await;
                ended.map_err(|source| Error::Database { action: step.what.clone(), source })?;
            }
        }
        Ok(())
    }
}

/// Whether somebody reads the slot.
fn is_in_use(error: &Error) -> bool {
    matches!(error, Error::Database { source, .. } if source.code() == Some(&SqlState::OBJECT_IN_USE))
}
