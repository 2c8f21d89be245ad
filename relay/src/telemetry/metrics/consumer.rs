//! Metrics of the source that reads Kafka. Topics come from the configuration, so that they may be a label here.

use prometheus::{GaugeVec, IntCounter, IntGauge, IntGaugeVec};

use crate::telemetry::metrics::section::section;

/// The label that names a topic of the configuration.
pub const TOPIC: &str = "topic";

section! {
    /// What is read from Kafka, and how far behind.
    ConsumerMetrics {
        lag_seconds: GaugeVec = gauges("cdc_lag_seconds", "Age of the oldest record that is not durable in the sink yet, by topic, of this process's partitions; 0 if there is none.", &[TOPIC]);
        lag_records: IntGaugeVec = levels("postrider_consumer_lag_records", "Records that are not durable in the sink yet, by topic, of this process's partitions; those of transaction markers included.", &[TOPIC]);
        commits: IntCounter = counter("cdc_offset_commits_total", "Offset commits that a broker took; one may be of several partitions.");
        commits_failed: IntCounter = counter("cdc_offset_commits_failed_total", "Offset commits that failed; they are repeated.");
        partitions: IntGauge = level("postrider_consumer_partitions", "Partitions that this process reads.");
        rebalances: IntCounter = counter("postrider_consumer_rebalances_total", "Times that partitions came to this process or went.");
        dropped_batches: IntCounter = counter("postrider_consumer_dropped_batches_total", "Batches given up because their partition went to another member of the group, which reads them again.");
        splits: IntCounter = counter("postrider_consumer_splits_total", "Batches that come again in two parts, because the sink refused them for what is in them.");
        missing_topics: IntGauge = level("postrider_consumer_missing_topics", "Topics of the configuration that do not exist.");
        gaps_accepted: IntCounter = counter("postrider_consumer_gaps_accepted_total", "Partitions that were read on although records were missing.");
        paused: IntGauge = level("postrider_consumer_paused", "1 while nothing is fetched because the sink is away.");
    }
}
