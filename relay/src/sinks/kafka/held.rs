//! Which events the topics hold, asked with the sink's own settings.

use std::sync::Arc;

use crate::kafka::held::{self, Held, Sought};
use crate::kafka::reachability::Reachability;
use crate::pipeline::{End, Error, Kind};
use crate::sinks::kafka::KafkaOptions;
use crate::telemetry::Metrics;

/// Reads back which events stand in the topics, from a moment on, up to what is there now.
///
/// # Errors
/// `Unavailable` if no broker answers, or not in time; `Setup` if a secret or a right is missing, or there are more ids than may be kept.
pub async fn held(mut options: KafkaOptions, sought: Sought, metrics: Arc<Metrics>) -> Result<Held, Error> {
    options.secured = options.security.properties()?;
    let secure = !options.secured.is_empty();
    let reachability = Arc::new(Reachability::new(&options.bootstrap_servers, secure, metrics));
    let mut config = options.reader();
    // Whole records come and are thrown away: a little at a time is enough.
    config.set("fetch.wait.max.ms", "100").set("queued.max.messages.kbytes", "16384");
    let read = move || held::read(&config, &options.security, &reachability, &sought);
    let interrupted = |_| Error::new(End::Sink, Kind::Broken, "reading the topics back was interrupted");
    tokio::task::spawn_blocking(read).await.map_err(interrupted)?
}
