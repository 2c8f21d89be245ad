//! Migrations of ClickHouse: the files of a folder, each applied once, statement by statement.
//!
//! Guarantee: a statement is recorded after the server took it, so that a run that was cut off goes on where it ended; the one
//! whose end nobody saw runs again, which is why each must be one that can (`folder.rs` refuses the others). ClickHouse has no
//! lock that could keep two runs apart: they do the same twice, which is harmless for the same reason.

mod folder;
mod plan;
mod script;

use serde::Deserialize;

use crate::sinks::clickhouse::{ClickHouseOptions, Client, Failure, quoted};
use plan::{Applied, Step};

pub use folder::{FolderError, Migration, read};
pub use plan::PlanError;
pub use script::{Statement, Unended};

/// The table of what was applied, in the database that is migrated.
const HISTORY: &str = "postrider_migrations";

/// Every server has it, whatever else there is.
const SYSTEM: &str = "system";

/// Why a database was not migrated, or not to the end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// The folder of migrations cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// What was applied earlier is another now.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The server failed while the runner did its own.
    #[error(transparent)]
    Server(#[from] Failure),
    /// The server did not take a statement. Those before it are applied and recorded.
    #[error("{name}.sql, line {line}: the statement failed; mend it and run again, which goes on from here")]
    Statement {
        /// The file.
        name: String,
        /// Where the statement begins.
        line: usize,
        /// What the server said.
        source: Failure,
    },
}

/// Applies what the database lacks, and tells the files of which it applied something, in order. The database is made if it is
/// not there.
///
/// # Errors
/// If something that was applied is another now, then nothing runs; or the server's, with the statement.
pub async fn run(options: &ClickHouseOptions, migrations: &[Migration]) -> Result<Vec<String>, MigrateError> {
    create_database(options).await?;
    let client = Client::new(options)?;
    let create = format!(
        "create table if not exists {HISTORY} (version UInt32, statement UInt32, statements UInt32, name String, checksum String, \
         applied_at DateTime64(3, 'UTC') default now64(3)) engine = ReplacingMergeTree order by (version, statement)"
    );
    client.command("create the table of applied migrations", &create).await?;
    let applied = applied(&client).await?;
    let mut names: Vec<String> = Vec::new();
    for step in plan::plan(migrations, &applied)? {
        apply(&client, step).await?;
        if names.last() != Some(&step.migration.name) {
            names.push(step.migration.name.clone());
        }
    }
    Ok(names)
}

/// Makes the database, with the server's own engine for new ones (Atomic), if it is not there. Asking first spares those who may
/// not create it.
async fn create_database(options: &ClickHouseOptions) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Found {}
    let client = Client::new(&ClickHouseOptions { database: SYSTEM.to_owned(), ..options.clone() })?;
    let sql = "select name from system.databases where name = {name:String}";
    let found: Vec<Found> = client.rows("look for the database", sql, &[("name", &options.database)]).await?;
    if found.is_empty() {
        let create = format!("create database if not exists {}", quoted(&options.database));
        client.command("create the database", &create).await?;
    }
    Ok(())
}

/// What earlier runs applied.
async fn applied(client: &Client) -> Result<Vec<Applied>, Failure> {
    let sql = format!(
        "select version, statement, statements, name, checksum from {HISTORY} final order by version, statement"
    );
    client.rows("read what was applied", &sql, &[]).await
}

async fn apply(client: &Client, Step { migration, statement: at }: Step<'_>) -> Result<(), MigrateError> {
    let statement = &migration.statements[at];
    client.command("migrate", &statement.text).await.map_err(|source| {
        let (name, line) = (migration.name.clone(), statement.line);
        MigrateError::Statement { name, line, source }
    })?;
    let record = format!(
        "insert into {HISTORY} (version, statement, statements, name, checksum) \
         select {}, {}, {}, {{name:String}}, {{checksum:String}}",
        migration.version,
        at + 1,
        migration.statements.len()
    );
    let parameters = [("name", migration.name.as_str()), ("checksum", &plan::checksum(&statement.text))];
    client.bytes("record what was applied", &record, "TabSeparated", &parameters).await?;
    Ok(())
}
