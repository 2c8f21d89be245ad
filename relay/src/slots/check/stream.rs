//! A try of the stream itself: a replication connection as the relay opens it. It confirms nothing and reads next to
//! nothing.

use std::time::Duration;

use crate::finding::{Finding, Rule, Severity};
use crate::postgres::chunk::Frame;
use crate::postgres::connection::Connection;
use crate::postgres::error::{Error, Kind};
use crate::postgres::lsn::EndLsn;
use crate::postgres::options::ConnectOptions;
use crate::postgres::replication::{StartOptions, SystemIdentity, TimelineSwitch};
use crate::postgres::stream::ReplicationStream;
use crate::slots::check::connect::literal;
use crate::slots::check::slot::{INIT, SKIP, Slot};
use crate::slots::check::{Expected, capture};

/// How long a slot is read that is older than its publication, if nothing comes.
const LOOK: Duration = Duration::from_millis(1500);

static REPLICATION_CONNECTION: Rule = Rule {
    code: "replication-connection",
    severity: Severity::Error,
    why: "The relay reads through a replication connection, which the server refuses although it lets the role's SQL in.",
    mend: "Connect to the server itself: a pooler does not know the replication protocol.",
};
static SLOT_OLDER: Rule = Rule {
    code: "slot-before-publication",
    severity: Severity::Error,
    why: "A slot decodes with the catalog of its own past, where the publication does not exist: the stream ends there, or skips what was written.",
    mend: "`postrider slot recover --anew`; where nothing was delivered through it, `select pg_drop_replication_slot(…)` and `postrider init`.",
};

pub(super) const RULES: &[&Rule] = &[&REPLICATION_CONNECTION, &SLOT_OLDER];

/// Connects, and reads the slot for a moment if that can tell something.
pub(super) async fn probe(expected: &Expected, slot: Option<&Slot>) -> Vec<Finding> {
    let options = ConnectOptions { replication: true, ..expected.connect.clone() };
    // Only a slot that is free, ours and older than a publication can be one that does not know it.
    let start = slot.and_then(|slot| {
        let doubtful = slot.is_free() && slot.is_ours(expected) && !slot.older_than.is_empty();
        slot.confirmed.filter(|_| doubtful).map(|start| StartOptions {
            slot: expected.slot.clone(),
            start,
            publications: slot.older_than.clone(),
            messages: false,
        })
    });
    let connected = tokio::task::spawn_blocking(move || open(&options, start.as_ref())).await;
    let stream = match connected {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return vec![refused(expected, &error)],
        Err(_) => return Vec::new(),
    };
    let mut findings = Vec::new();
    let Some(missing) = (match stream {
        Some(stream) => publication_unknown(stream).await,
        None => None,
    }) else {
        return findings;
    };
    let of_capture = |name: &str| missing.contains(&format!("{name:?}"));
    if let Some(capture) = expected.capture.as_ref().filter(|capture| of_capture(&capture.wanted.publication)) {
        findings.push(capture::younger(expected, capture));
    } else {
        let (slot, publication) = (&expected.slot, &expected.publication);
        findings.push(
            SLOT_OLDER
                .found(format!("slot {slot:?} has to read what was written before publication {publication:?} existed"))
                .sql(format!("select pg_drop_replication_slot({})", literal(slot)))
                .command(INIT)
                .words(SKIP)
                .words("if events were delivered through it before: `postrider slot recover --anew` instead, which publishes what is missing"),
        );
    }
    findings
}

fn open(options: &ConnectOptions, start: Option<&StartOptions>) -> Result<Option<ReplicationStream>, Error> {
    let connection = Connection::connect(options)?;
    // A slot that is taken meanwhile, or cannot be read, is told by what the catalog says of it.
    Ok(start.and_then(|start| connection.start_logical(start).ok()))
}

/// Who the server is, how far its log is flushed now, and the ancestors of its timeline; none if it does not say.
///
/// What is compared with it must have been read before: only then has the log grown beyond it.
pub async fn identify(expected: &Expected) -> Option<(SystemIdentity, Vec<TimelineSwitch>)> {
    let options = ConnectOptions { replication: true, ..expected.connect.clone() };
    let ask = move || -> Result<_, Error> {
        let mut connection = Connection::connect(&options)?;
        let identity = connection.identify_system()?;
        let history = connection.timeline_history(identity.timeline)?;
        Ok((identity, history))
    };
    tokio::task::spawn_blocking(ask).await.ok()?.ok()
}

/// Reads a free slot for a moment, from what it has confirmed: whether it has to read what is older than one of the publications.
/// Nothing is confirmed. `None` where it cannot be told.
pub(in crate::slots) async fn precedes(
    connect: &ConnectOptions,
    slot: &str,
    confirmed: EndLsn,
    publications: &[String],
) -> Option<String> {
    let options = ConnectOptions { replication: true, ..connect.clone() };
    let start =
        StartOptions { slot: slot.to_owned(), start: confirmed, publications: publications.to_vec(), messages: false };
    let stream = tokio::task::spawn_blocking(move || open(&options, Some(&start))).await.ok()?.ok()??;
    publication_unknown(stream).await
}

/// Reads until something comes, or nothing for a while, and lets go of the slot; what the server says of a publication
/// that the slot does not know.
async fn publication_unknown(mut stream: ReplicationStream) -> Option<String> {
    let look = async {
        loop {
            match stream.next().await {
                // A keepalive says nothing of the publication, and a row that was decoded says that it is known.
                Ok(chunk) if chunk.frames().any(|frame| matches!(frame, Frame::XLogData { .. })) => return None,
                Ok(_) => {}
                Err(error) if error.kind() == Kind::PublicationMissing => {
                    return Some(error.server_error().map_or_else(String::new, |server| server.message.clone()));
                }
                Err(_) => return None,
            }
        }
    };
    let missing = tokio::time::timeout(LOOK, look).await.unwrap_or_default();
    // Whatever ended it, nothing was confirmed.
    drop(stream.stop().await);
    missing
}

fn refused(expected: &Expected, error: &Error) -> Finding {
    let reason = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    let what = format!("role {:?} gets no replication connection: {reason}", expected.connect.user);
    REPLICATION_CONNECTION
        .found(what)
        .words("name the server itself in `postgres.host`, not a pooler; see the server's log for its reason")
}
