//! Looks after the partitions for as long as the relay runs, in a session of its own: nothing waits for it, and it waits for nothing.

use std::{sync::Arc, time::Duration};

use tracing::{info, warn};

use crate::{
    pipeline::Stop,
    postgres::options::ConnectOptions,
    slots::{
        error::Error,
        outbox::partitions::{self, Care, State},
        session,
    },
    telemetry::Metrics,
};

/// Runs at once and then at every `interval`, until `stop` is ordered. What fails is logged and counted, and tried again.
pub async fn keep(connect: ConnectOptions, care: Care, interval: Duration, metrics: Arc<Metrics>, mut stop: Stop) {
    while !stop.is_ordered() {
        tokio::select! {
            looked = look(&connect, &care) => match looked {
                Ok((failures, waiting)) => {
                    metrics.outbox.partition_failures.inc_by(failures);
                    metrics.outbox.partitions_waiting.set(waiting);
                }
                Err(error) => {
                    metrics.outbox.partition_failures.inc();
                    let source = std::error::Error::source(&error).map(ToString::to_string);
                    warn!(error = %error, source, help = error.help(), "the outbox's partitions could not be looked after");
                }
            },
            () = stop.ordered() => {}
        }
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = stop.ordered() => {}
        }
    }
}

/// One look; returns how many acts failed, and how many partitions wait.
async fn look(connect: &ConnectOptions, care: &Care) -> Result<(u64, i64), Error> {
    let client = session::connect(connect).await?;
    let (mut failures, mut waiting) = (0, 0);
    for outcome in partitions::run(&client, care, true).await? {
        match outcome.state {
            State::Done => info!(table = %care.table.quoted(), what = outcome.what, "the outbox's partitions"),
            State::Failed => {
                failures += 1;
                warn!(table = %care.table.quoted(), what = outcome.what, "the outbox's partitions; tried again later");
            }
            State::Waiting | State::Planned => {
                waiting += i64::from(outcome.partition.is_some());
                info!(table = %care.table.quoted(), what = outcome.what, "the outbox's partitions");
            }
        }
    }
    Ok((failures, waiting))
}
