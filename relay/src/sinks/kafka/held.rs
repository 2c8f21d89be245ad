//! Which events the topics hold, asked with the sink's own settings.

use std::collections::BTreeSet;
use std::sync::Arc;

use rdkafka::ClientConfig;

use crate::kafka::held::{self, Extent, Held, Seen, Sought};
use crate::kafka::reachability::Reachability;
use crate::pipeline::{End, Error, Kind};
use crate::sinks::kafka::inspector::{Found, Inspector};
use crate::sinks::kafka::options::KafkaOptions;
use crate::telemetry::Metrics;

/// Reads back which events stand in the topics, from a moment on, up to what is there now; at most `ids_max` are kept.
///
/// # Errors
/// `Unavailable` if no broker answers, or not in time; `Setup` if a secret or a right is missing, or there are more ids than may be kept.
pub async fn held(options: KafkaOptions, sought: Sought, ids_max: usize, metrics: Arc<Metrics>) -> Result<Held, Error> {
    let (options, reachability, config) = reader(options, metrics)?;
    blocking(move || held::read(&config, &options.security, &reachability, &sought, ids_max)).await
}

/// Shows every event of the topics to `each`, from a moment on, up to what is there now; what `each` has become, and what was read.
///
/// # Errors
/// As [`held()`]; and what `each` says.
pub async fn walk<E>(
    options: KafkaOptions,
    sought: Sought,
    mut each: E,
    metrics: Arc<Metrics>,
) -> Result<(E, Extent), Error>
where
    E: Observer + 'static,
{
    let (options, reachability, config) = reader(options, metrics)?;
    blocking(move || {
        let see = &mut |seen: &Seen<'_>| each.see(seen);
        let extent = held::walk(&config, &options.security, &reachability, &sought, see)?;
        Ok((each, extent))
    })
    .await
}

/// What looks at events.
pub trait Observer: Send {
    /// Looks at one.
    ///
    /// # Errors
    /// What ends the walk.
    fn see(&mut self, seen: &Seen<'_>) -> Result<(), Error>;
}

/// Those of these topics that are compacted, so that a record may be gone without being old.
///
/// # Errors
/// `Unavailable` if no broker answers.
pub async fn compacted(
    mut options: KafkaOptions,
    topics: impl IntoIterator<Item = &str>,
    metrics: Arc<Metrics>,
) -> Result<BTreeSet<String>, Error> {
    options.secured = options.security.properties()?;
    let secure = !options.secured.is_empty();
    let reachability = Arc::new(Reachability::new(&options.bootstrap_servers, secure, metrics));
    let names = topics.into_iter().map(Box::from).collect();
    let found = Inspector::new(&options, &reachability).describe(names).await?;
    let keyed = found.into_iter().filter_map(|(name, found)| match found {
        // Only what is compacted must have a key.
        Found::There(description) if description.limits.keyed => Some(name.into_string()),
        _ => None,
    });
    Ok(keyed.collect())
}

fn reader(
    mut options: KafkaOptions,
    metrics: Arc<Metrics>,
) -> Result<(KafkaOptions, Arc<Reachability>, ClientConfig), Error> {
    options.secured = options.security.properties()?;
    let secure = !options.secured.is_empty();
    let reachability = Arc::new(Reachability::new(&options.bootstrap_servers, secure, metrics));
    let mut config = options.reader();
    // Whole records come and are thrown away: a little at a time is enough.
    config.set("fetch.wait.max.ms", "100").set("queued.max.messages.kbytes", "16384");
    Ok((options, reachability, config))
}

async fn blocking<T: Send + 'static>(read: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    let interrupted = |_| Error::new(End::Sink, Kind::Broken, "reading the topics back was interrupted");
    tokio::task::spawn_blocking(read).await.map_err(interrupted)?
}
