//! How old refreshable views are: <https://clickhouse.com/docs/materialized-view/refreshable-materialized-view>.

use std::time::Instant;

use serde::Deserialize;

use crate::sinks::clickhouse::client::Client;
use crate::sinks::clickhouse::errors::Failure;
use crate::telemetry::Metrics;

/// The age of the view that was refreshed longest ago, and the duration of the longest of the newest refreshes.
#[derive(Debug, Deserialize)]
struct Found {
    stale_seconds: f64,
    longest_seconds: f64,
}

/// Notes the age of the refreshable views of a database.
///
/// # Errors
/// The server's, with its class.
pub async fn look(client: &Client, database: &str, metrics: &Metrics) -> Result<(), Failure> {
    let sql = "select toFloat64(ifNull(max(dateDiff('second', last_success_time, now())), 0)) as stale_seconds, \
               toFloat64(ifNull(max(last_success_duration_ms), 0)) / 1000 as longest_seconds \
               from system.view_refreshes where database = {database:String} and last_success_time is not null";
    let begun = Instant::now();
    let found = client.rows::<Found>("ask how old the views are", sql, &[("database", database)]).await;
    let metrics = &metrics.clickhouse;
    metrics.query_seconds.observe(begun.elapsed().as_secs_f64());
    let found =
        found.inspect_err(|failure| metrics.query_errors.with_label_values(&[failure.class().as_str()]).inc())?;
    if let Some(found) = found.first() {
        metrics.view_staleness_seconds.set(found.stale_seconds);
        metrics.view_refresh_seconds.set(found.longest_seconds);
    }
    Ok(())
}
