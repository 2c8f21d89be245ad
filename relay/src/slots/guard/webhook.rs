//! Tells somebody else's system of a change: one JSON object by HTTP POST. What fails is logged, and nothing waits for it.

use std::time::Duration;

use serde::Serialize;
use tracing::{debug, warn};
use ureq::Agent;

use crate::slots::guard::judge::Judgement;

/// How long the other side may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What is told. The field `text` alone is what chat systems show.
#[derive(Debug, Serialize)]
pub(super) struct Notice<'a> {
    /// The whole as a sentence.
    pub(super) text: &'a str,
    /// `calm`, `warned`, `over` or `released`.
    pub(super) level: &'a str,
    /// The slot.
    pub(super) slot: &'a str,
    /// Its database.
    pub(super) database: &'a str,
    /// WAL that the server keeps for it, in bytes.
    pub(super) retained_bytes: u64,
    /// The budget in bytes, if there is one.
    pub(super) budget_bytes: Option<u64>,
    /// The part of the budget that is used; 1 is all of it.
    pub(super) used: f64,
}

impl<'a> Notice<'a> {
    pub(super) fn new(
        text: &'a str,
        level: &'a str,
        (slot, database): (&'a str, &'a str),
        retained: u64,
        judgement: &Judgement,
    ) -> Self {
        Self {
            text,
            level,
            slot,
            database,
            retained_bytes: retained,
            budget_bytes: judgement.budget_bytes,
            used: (judgement.used * 1000.0).round() / 1000.0,
        }
    }

    /// Sends it, off the runtime; the address is in no message, for it may hold a secret.
    pub(super) fn send(&self, url: &str) {
        let (url, body) = (url.to_owned(), serde_json::to_vec(self).unwrap_or_default());
        tokio::task::spawn_blocking(move || {
            let agent: Agent = Agent::config_builder().timeout_global(Some(TIMEOUT)).build().into();
            match agent.post(&url).header("content-type", "application/json").send(&body[..]) {
                Ok(answer) => debug!(status = answer.status().as_u16(), "the webhook was told"),
                Err(ureq::Error::StatusCode(status)) => {
                    warn!(status, "the webhook of [guard] does not take what it is told");
                }
                Err(error) => warn!(error = told(&error), "the webhook of [guard] cannot be reached"),
            }
        });
    }
}

/// What happened, without the address.
fn told(error: &ureq::Error) -> &'static str {
    match error {
        ureq::Error::Timeout(_) => "no answer in time",
        ureq::Error::HostNotFound => "its host is not known",
        ureq::Error::ConnectionFailed => "no connection",
        ureq::Error::BadUri(_) => "its address is none",
        ureq::Error::Io(_) => "the connection failed",
        ureq::Error::Tls(_) | ureq::Error::TlsRequired => "TLS failed",
        _ => "it did not answer as a web server does",
    }
}
