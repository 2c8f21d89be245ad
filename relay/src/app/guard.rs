//! From the configuration's `[guard]` to the guard that runs beside the pipeline, and the way back after it released the slot.

use std::sync::Arc;

use tracing::{Instrument, Span, info, warn};

use crate::app::recover::Range;
use crate::app::{postgres, recover};
use crate::config::Config;
use crate::pipeline::{End, Error, Kind, Stop};
use crate::slots::guard::{self, Budget, Options, Released, Relief};
use crate::slots::{facts, session};
use crate::sources::wal::{Spill, SpillOptions, WalOptions};
use crate::telemetry::Metrics;

/// The spill of the slot of `config`, if there may be one.
///
/// # Errors
/// `Setup` if nothing can be written to its folder.
pub(super) fn spill(config: &Config, metrics: &Arc<Metrics>) -> Result<Option<Arc<Spill>>, Error> {
    let Some(spill) = &config.guard.spill else { return Ok(None) };
    let (slot, folder) = (config.source.slot.clone(), spill.folder.clone());
    let options = SpillOptions { slot, folder, bytes_max: spill.bytes_max };
    Spill::new(&options, Arc::clone(metrics)).map(|spill| Some(Arc::new(spill)))
}

/// Spills the slot whenever the guard asks for it.
pub(super) fn relieve(wal: &Arc<WalOptions>, relief: Option<Relief>, stop: &Stop, span: Span) {
    let Some((spill, relief)) = wal.spill.clone().zip(relief) else { return };
    let (wal, mut stop) = (Arc::clone(wal), stop.clone());
    let relieve = async move {
        while !stop.is_ordered() {
            tokio::select! {
                () = relief.asked() => spill.relieve(&wal, stop.clone()).await,
                () = stop.ordered() => {}
            }
        }
    };
    tokio::spawn(relieve.instrument(span));
}

/// Starts the guard over the slot of `config`; the handle tells whether it has released the slot.
pub(super) fn keep(config: &Config, relief: Option<Relief>, metrics: &Arc<Metrics>, stop: &Stop) -> Released {
    let guard = &config.guard;
    let released = Released::default();
    let options = Options {
        connect: postgres::options(&config.postgres, false),
        slot: config.source.slot.clone(),
        budget: Budget {
            bytes: guard.wal_bytes_max,
            percent: guard.wal_percent_max,
            time_left: guard.time_left_min,
            warn_percent: guard.warn_percent,
        },
        disk_bytes: config.postgres.wal_disk_bytes.and_then(|bytes| u64::try_from(bytes).ok()),
        relief,
        may_release: guard.may_release,
        interval: guard.interval,
        webhook_url: guard.webhook_url.as_ref().map(|url| url.expose().to_owned()),
    };
    tokio::spawn(guard::keep(options, released.clone(), Arc::clone(metrics), stop.clone()));
    released
}

/// Whether opening the slot may have failed with `error` because it was released. With nothing recorded, a slot that is missing looks
/// as if it had never been made.
pub(super) fn may_be_released(error: &Error, released: &Released) -> bool {
    error.kind() == Kind::Gap || error.kind() == Kind::Setup && released.is_so()
}

/// Makes the slot anew that the guard, or an earlier process' guard, has released, so that what waits in the table is published.
///
/// `error` is what opening the slot said. It is returned when the slot is there and well, since then it is about something else. When
/// there is a new slot it is returned as a gap: the supervisor then reads the progress record.
pub(super) async fn recover(config: &Config, released: &Released, error: Error) -> Error {
    match is_gone(config).await {
        Err(error) => return error,
        Ok(false) => {
            released.over();
            return error;
        }
        Ok(true) => {}
    }
    info!(
        slot = config.source.slot,
        "the slot was released: making a new one, and publishing what waits in the outbox"
    );
    // The slot that was released under this relay's eyes was its own: if there is no record, it had not come to write one.
    let may_lack_record = released.is_so();
    let options = recover::Options { holds_lease: true, may_lack_record, ..recover::Options::default() };
    match Box::pin(recover::recover(config, options)).await {
        Ok(report) => {
            released.over();
            for Range { what, from_lsn, to_lsn, .. } in &report.ranges {
                warn!(
                    slot = config.source.slot,
                    from_lsn, to_lsn, "what no table holds was given up with the slot: {what}"
                );
            }
            if !report.snapshots.is_empty() || !report.not_read.is_empty() {
                let (tables, not_read) = (report.snapshots.join(", "), report.not_read.join("; "));
                warn!(
                    slot = config.source.slot,
                    tables, not_read, "the captured tables are read again beside the stream"
                );
            }
            info!(slot = config.source.slot, republished = report.republished, "the slot is there again");
            if error.kind() == Kind::Gap {
                return error;
            }
            Error::new(End::Source, Kind::Gap, "the slot was released").because(error)
        }
        Err(recover::Error::Relay(error)) => error,
        Err(recover::Error::Database(error)) => of_database(error),
    }
}

/// Whether the slot must be made anew. A database that does not answer is asked again by whoever opens the slot.
pub(super) async fn has_released(config: &Config) -> bool {
    is_gone(config).await.unwrap_or(true)
}

/// Whether there is no slot, or none that can be read any more.
async fn is_gone(config: &Config) -> Result<bool, Error> {
    let client = session::connect(&postgres::options(&config.postgres, false)).await.map_err(of_database)?;
    let slot = facts::slot(&client, &config.source.slot).await.map_err(|error| {
        Error::new(End::Source, Kind::Unavailable, "Postgres did not say whether the slot exists").because(error)
    })?;
    Ok(slot.is_none_or(|slot| slot.is_lost()))
}

/// What the database refuses, a person must mend; what it cannot do now, it may do later.
fn of_database(error: crate::slots::error::Error) -> Error {
    use crate::slots::error::Error as Slots;
    let kind = match &error {
        Slots::Refused(_) => Kind::Setup,
        Slots::Database { source, .. }
            if source.as_db_error().is_some_and(|error| error.code().code().starts_with("42")) =>
        {
            Kind::Setup
        }
        _ => Kind::Unavailable,
    };
    let help = error.help();
    let error = Error::new(End::Source, kind, "the released slot cannot be made anew").because(error);
    match help {
        Some(help) => error.with_help(help),
        None => error,
    }
}
