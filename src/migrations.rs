//! Creates and upgrades what the outbox needs in Postgres: the files of `migrations/`, run through refinery.
//!
//! Any number of processes may run them at once; one does the work, the others wait and find it done. Each file is one transaction,
//! and opens with a note to the operator: what it locks, which rights it needs.

use refinery::{Migration, Runner};
use tokio_postgres::Client;

use crate::error::Error;

/// Where refinery records what was applied.
const HISTORY: &str = "postrider.migrations";

/// The key of the advisory lock under which migrations run: "postride" in ASCII.
const LOCK_KEY: i64 = 0x706f_7374_7269_6465;

/// Every migration, in order: its name, which is its file's, and its SQL.
const FILES: [(&str, &str); 9] = [
    ("V1__outbox", include_str!("../migrations/V1__outbox.sql")),
    ("V2__emit", include_str!("../migrations/V2__emit.sql")),
    ("V3__inbox", include_str!("../migrations/V3__inbox.sql")),
    ("V4__soft_delete", include_str!("../migrations/V4__soft_delete.sql")),
    ("V5__parked", include_str!("../migrations/V5__parked.sql")),
    ("V6__emit_message", include_str!("../migrations/V6__emit_message.sql")),
    ("V7__outbox_care", include_str!("../migrations/V7__outbox_care.sql")),
    ("V8__snapshots", include_str!("../migrations/V8__snapshots.sql")),
    ("V9__leases", include_str!("../migrations/V9__leases.sql")),
];

/// Every migration as `(name, SQL)`, in the order in which they run, for those who apply them by other means.
#[must_use]
pub fn files() -> &'static [(&'static str, &'static str)] {
    &FILES
}

/// Applies the migrations that the database lacks, and returns their names.
///
/// The client must be connected to Postgres itself: a pooler in transaction mode cannot hold the advisory lock that keeps two runs
/// apart. Waiting for that lock ends with the session's `lock_timeout`, if it has one. A database that a newer version of the
/// library migrated is left as it is. If the future is dropped, the lock stays until the session ends.
///
/// # Errors
/// [`Error::Migration`] if a migration fails or an applied one is not the same as this library's; [`Error::Database`] if the
/// database cannot be used at all.
pub async fn run(client: &mut Client) -> Result<Vec<String>, Error> {
    let lock = "select pg_advisory_lock($1)";
    client.execute(lock, &[&LOCK_KEY]).await.map_err(|source| database("locking the migrations", source))?;
    let result = run_locked(client).await;
    let unlock = "select pg_advisory_unlock($1)";
    let unlocked = client.execute(unlock, &[&LOCK_KEY]).await;
    let applied = result?;
    unlocked.map_err(|source| database("unlocking the migrations", source))?;
    Ok(applied)
}

async fn run_locked(client: &mut Client) -> Result<Vec<String>, Error> {
    // The history lives in the schema, so the schema comes first. Asking before creating spares those who may not create it.
    let exists = client.query_one("select to_regnamespace('postrider') is not null", &[]).await;
    let exists: bool = exists.map_err(|source| database("looking for the schema postrider", source))?.get(0);
    if !exists {
        let created = client.batch_execute("create schema if not exists postrider").await;
        created.map_err(|source| database("creating the schema postrider", source))?;
    }
    let migrations = FILES
        .iter()
        .map(|(name, sql)| Migration::unapplied(name, sql))
        .collect::<Result<Vec<_>, _>>()
        .map_err(migration)?;
    let mut runner = Runner::new(&migrations).set_abort_missing(false);
    runner.set_migration_table_name(HISTORY);
    let report = runner.run_async(client).await.map_err(migration)?;
    Ok(report.applied_migrations().iter().map(ToString::to_string).collect())
}

fn database(action: &'static str, source: tokio_postgres::Error) -> Error {
    Error::Database { action, sqlstate: source.code().map(|state| state.code().to_owned()), source: Box::new(source) }
}

fn migration(error: refinery::Error) -> Error {
    Error::Migration(Box::new(error))
}
