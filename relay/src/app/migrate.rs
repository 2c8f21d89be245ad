//! The migrations that `postrider migrate` applies to ClickHouse.

use std::{path::Path, time::Duration};

use crate::app::clickhouse::options;
use crate::config::clickhouse::ClickHouse;
use crate::sinks::clickhouse::{ClickHouseOptions, migrations};

pub(crate) use crate::sinks::clickhouse::migrations::MigrateError;

/// How long one statement of a migration may take: one that fills a new table from an old one reads all of it.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(3_600);

/// Applies the migrations of `folder` to the configured database; tells the files of which it applied something.
///
/// # Errors
/// As [`migrations::read`] and [`migrations::run`].
pub(crate) async fn migrate(clickhouse: &ClickHouse, folder: &Path) -> Result<Vec<String>, MigrateError> {
    let files = migrations::read(folder)?;
    let options = ClickHouseOptions { query_timeout: STATEMENT_TIMEOUT, ..options(clickhouse) };
    migrations::run(&options, &files).await
}
