//! Several relays in one process: each a supervised task of its own, shown together, stopped together.
//!
//! Guarantees: an outage, a gap or any error of one stops no other. One that ends by an error is logged with what helps, shown as
//! stopped with its reason, and counted; it stays stopped until the process is started anew. The process ends when all have
//! ended, and with an error if one of them did. What they may have in flight together is divided so that none starves another.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::JoinSet;
use tracing::{error, info};

use crate::admin::Shown;
use crate::app::worker::{Worker, order_at_signals, serve_admin};
use crate::app::{relay, status};
use crate::config::Config;
use crate::config::relays::OfRelay;
use crate::pipeline::{Budget, End, Error, Kind, Stop};

/// How one of them ended.
type Outcome = Result<(), Error>;

/// Runs all until each has ended.
pub(super) async fn run(relays: Vec<OfRelay<Config>>, accept_gap: bool) -> Outcome {
    let Some(process) = relays.first().map(|relay| relay.config.process.clone()) else { return Ok(()) };
    let (order, stop) = Stop::new();
    let order = Arc::new(order);
    order_at_signals(Arc::clone(&order))?;
    let (mut shown, mut ready) = (Vec::new(), Vec::new());
    let shares = Budget::divide(process.in_flight_bytes_max, relays.len());
    for (OfRelay { name, config }, share) in relays.into_iter().zip(shares) {
        let name = name.unwrap_or_default();
        let worker = Worker::beside(&process, status(&config), &config.source.slot, &name, &stop)?.sharing(share);
        shown.push(worker.shown(Some(&name)));
        ready.push((name, config, worker));
    }
    serve_admin(&process.admin, shown.clone(), stop.clone()).await?;
    info!(relays = ready.len(), "running several relays");
    let (mut running, mut names) = (JoinSet::new(), HashMap::new());
    for (name, config, worker) in ready {
        let task = running.spawn(relay(config, accept_gap, worker, Some(name.clone())));
        names.insert(task.id(), name);
    }
    let (all, mut failed) = (names.len(), Vec::new());
    while let Some(ended) = running.join_next_with_id().await {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, outcome),
            Err(panicked) => (panicked.id(), Err(defect(&panicked))),
        };
        let name = names.remove(&id).unwrap_or_default();
        if let Some(of) = shown.iter().find(|shown| shown.name.as_ref() == Some(&name)) {
            tell(&name, &outcome, of, stop.is_ordered());
        }
        failed.extend(outcome.err().map(|error| (name, error)));
    }
    conclude(all, failed)
}

/// Says and shows how one ended.
fn tell(name: &str, outcome: &Outcome, of: &Shown, stopping: bool) {
    match outcome {
        Ok(()) if stopping => info!(relay = name, "stopped"),
        Ok(()) => {
            info!(relay = name, "its work is done");
            of.status.ended(None);
        }
        Err(error) => {
            let (end, kind) = (error.end().name(), error.kind().name());
            error!(relay = name, error = error.chain(), help = error.help(), "ended by an error");
            of.metrics.flow.ended.with_label_values(&[end, &kind]).set(1);
            of.status.ended(Some(error));
        }
    }
}

/// What the process ends with: of several errors what each relay met, and what helps the first.
fn conclude(all: usize, failed: Vec<(String, Error)>) -> Outcome {
    let told: Vec<String> = failed.iter().map(|(name, error)| format!("{name}: {}", error.chain())).collect();
    let Some((_, first)) = failed.into_iter().next() else { return Ok(()) };
    let context = format!("{} of {all} relays ended by an error: {}", told.len(), told.join("; "));
    let error = Error::new(first.end(), first.kind(), context);
    match first.help() {
        Some(help) => Err(error.with_help(help)),
        None => Err(error),
    }
}

fn defect(panicked: &tokio::task::JoinError) -> Error {
    Error::new(End::Source, Kind::Broken, format!("the relay's task ended by a defect: {panicked}"))
        .with_help("Please report it; a new start goes on where delivery ended.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_ends_well_only_if_every_relay_did() {
        assert!(conclude(2, Vec::new()).is_ok());
        let gap = Error::new(End::Source, Kind::Gap, "events may be missing").with_help("Read them again.");
        let fenced = Error::new(End::Sink, Kind::Fenced, "fenced");
        let error = conclude(3, vec![("eu".into(), gap), ("us".into(), fenced)]).unwrap_err();
        assert_eq!(error.to_string(), "2 of 3 relays ended by an error: eu: events may be missing; us: fenced");
        assert_eq!((error.kind(), error.help()), (Kind::Gap, Some("Read them again.")));
    }

    #[test]
    fn one_that_ended_shows_why_and_one_whose_work_is_done_is_no_trouble() {
        use crate::pipeline::Status;
        use crate::telemetry::Metrics;
        let shown = || Shown {
            name: Some("eu".into()),
            status: Arc::new(Status::new("slot eu", "kafka")),
            metrics: Metrics::of_relay("eu"),
        };
        let failed = shown();
        tell("eu", &Err(Error::new(End::Source, Kind::Gap, "gone")), &failed, false);
        let snapshot = failed.status.snapshot();
        assert_eq!((snapshot.ready, snapshot.reason.as_deref()), (false, Some("stopped by an error: gone")));
        assert_eq!(failed.metrics.flow.ended.with_label_values(&["source", "gap"]).get(), 1);
        let done = shown();
        tell("eu", &Ok(()), &done, false);
        assert!(done.status.snapshot().ready);
    }
}
