//! What is shown: one pipeline, or several under their names.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::StatusCode;
use serde::Serialize;

use crate::admin::page::Page;
use crate::pipeline::Status;
use crate::pipeline::status::{State as Stage, StatusSnapshot};
use crate::telemetry::Metrics;

/// What one pipeline shows of itself.
#[derive(Debug, Clone)]
pub struct Shown {
    /// What it is called, where the process has several.
    pub name: Option<String>,
    /// Where it stands.
    pub status: Arc<Status>,
    /// What it counted.
    pub metrics: Arc<Metrics>,
}

/// The answer of `/status`. Its keys are a contract with those who read it; new ones may be added.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Answer {
    /// Of the only pipeline.
    One(Box<Page>),
    /// Of each, by its name.
    Several {
        /// The relay's version.
        version: &'static str,
        /// Whether each is ready.
        ready: bool,
        /// Which are not, and why.
        reason: Option<String>,
        /// Its status.
        relays: BTreeMap<String, Page>,
    },
}

impl Shown {
    fn page(&self) -> Page {
        Page::of(&self.status, &self.metrics)
    }
}

/// All of them as the answer of `/status`.
pub(super) fn status(all: &[Shown]) -> Answer {
    if let [only] = all {
        return Answer::One(Box::new(only.page()));
    }
    let reason = why_not(all);
    let named = all.iter().map(|shown| (shown.name.clone().unwrap_or_default(), shown.page()));
    Answer::Several { version: env!("CARGO_PKG_VERSION"), ready: reason.is_none(), reason, relays: named.collect() }
}

/// All of them as one text of metrics.
pub(super) fn metrics(all: &[Shown]) -> String {
    let all: Vec<&Metrics> = all.iter().map(|shown| &*shown.metrics).collect();
    Metrics::encode_all(&all)
}

/// Whether each of them is ready, and which are not.
pub(super) fn ready(all: &[Shown]) -> (StatusCode, String) {
    if let Some(why) = why_not(all) {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n"));
    }
    let standing_by: Vec<String> = all
        .iter()
        .filter_map(|shown| {
            let snapshot = shown.status.snapshot();
            // Ready for what it is there for: else a rolling update would wait for it, and it for the process that is to end.
            (snapshot.state == Stage::Standby).then(|| named(all, shown, snapshot.reason.unwrap_or_default()))
        })
        .collect();
    if standing_by.is_empty() {
        return (StatusCode::OK, "ready\n".into());
    }
    (StatusCode::OK, format!("standby: {}\n", standing_by.join("; ")))
}

/// Which are not ready, each with its reason; `None` if all are.
fn why_not(all: &[Shown]) -> Option<String> {
    let unready = |shown: &Shown| {
        let StatusSnapshot { state, ready, reason, .. } = shown.status.snapshot();
        let flows = ready || state == Stage::Standby;
        (!flows).then(|| named(all, shown, reason.unwrap_or_else(|| "not streaming".into())))
    };
    let unready: Vec<String> = all.iter().filter_map(unready).collect();
    (!unready.is_empty()).then(|| unready.join("; "))
}

/// What is said of one, with its name if there are others.
fn named(all: &[Shown], of: &Shown, what: String) -> String {
    match &of.name {
        Some(name) if all.len() > 1 => format!("{name}: {what}"),
        _ => what,
    }
}
