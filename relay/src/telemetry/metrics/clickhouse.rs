//! Metrics of the loader: what ClickHouse took and how long it needed, what it refused, and how old the rows are when they
//! can be read.

use prometheus::{Gauge, Histogram, IntCounter, IntCounterVec};

use crate::telemetry::metrics::section::section;

/// The label that says what an error of ClickHouse means: `away`, `busy`, `data`, `setup` or `unknown`.
pub const CLASS: &str = "class";
/// The label that says why a record was refused before it was sent: `unreadable`, `misfit`, `missing`, `unknown_field`,
/// `unchanged` or `truncate`; or why it became a dead letter.
pub const REASON: &str = "reason";

/// Upper bounds of the buckets of a statement's duration, in seconds: from a select of one row to an outage.
const STATEMENT_BUCKETS_SECONDS: [f64; 13] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// Upper bounds of the buckets of an age, in seconds: from a hop on one host to a backlog of hours.
const AGE_BUCKETS_SECONDS: [f64; 15] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1_800.0, 7_200.0];

section! {
    /// What is loaded into ClickHouse.
    ClickHouseMetrics {
        insert_seconds: Histogram = histogram("clickhouse_batch_insert_duration_seconds", "How long ClickHouse took to insert a batch into a table, its views included.", &STATEMENT_BUCKETS_SECONDS);
        query_seconds: Histogram = histogram("clickhouse_query_duration_seconds", "How long ClickHouse took for anything else that was asked of it.", &STATEMENT_BUCKETS_SECONDS);
        errors: IntCounterVec = family("clickhouse_errors_total", "Inserts that failed, by what the error means.", &[CLASS]);
        query_errors: IntCounterVec = family("clickhouse_query_errors_total", "Other statements that failed, by what the error means.", &[CLASS]);
        rows: IntCounter = counter("postrider_load_rows_total", "Rows that ClickHouse acknowledged, those it knew already included.");
        bytes: IntCounter = counter("postrider_load_bytes_total", "Bytes of those rows in columns, before they were packed.");
        splits: IntCounter = counter("postrider_load_splits_total", "Batches that ClickHouse refused for what was in them, and that were cut in two.");
        refused: IntCounterVec = family("postrider_load_refused_total", "Records that were refused before they were sent, by reason.", &[REASON]);
        unchanged: IntCounter = counter("postrider_load_unchanged_values_total", "Values that a record left out because they had not changed, and that were read from the table.");
        emptied: IntCounter = counter("postrider_load_null_arrays_total", "NULL arrays and maps that were written as empty ones, because ClickHouse has no other.");
        ignored_fields: IntCounter = counter("postrider_load_ignored_fields_total", "Kinds of fields that were left out because their table has no column for them: each name of a table once.");
        altered: IntCounter = counter("postrider_load_schema_changes_total", "Columns that were added or widened, and tables and views that were made.");
        commit_to_kafka_seconds: Histogram = histogram("postrider_freshness_kafka_seconds", "From the commit of a batch's oldest change until it stood in Kafka, where records tell both.", &AGE_BUCKETS_SECONDS);
        kafka_to_clickhouse_seconds: Histogram = histogram("postrider_freshness_clickhouse_seconds", "From the moment when a batch's oldest record stood in Kafka until ClickHouse had it.", &AGE_BUCKETS_SECONDS);
        view_staleness_seconds: Gauge = gauge("mv_staleness_seconds", "Age of the newest refresh of the refreshable view that was refreshed longest ago; 0 if there is none.");
        view_refresh_seconds: Gauge = gauge("mv_refresh_duration_seconds", "How long the newest refresh of the slowest refreshable view took; 0 if there is none.");
    }
}
