//! Opening the slot: what is asked before, where the stream starts, and what can stand in the way.

use std::sync::Arc;

use tracing::{Span, info, warn};

use crate::pipeline::{End, Error, Kind};
use crate::postgres;
use crate::postgres::connection::Connection;
use crate::postgres::lsn::{CommitLsn, EndLsn};
use crate::postgres::options::ConnectOptions;
use crate::postgres::replication::StartOptions;
use crate::postgres::stream::ReplicationStream;
use crate::sources::snapshot::SnapshotProgress;
use crate::sources::wal::cut::NotNull;
use crate::sources::wal::record::{Record, fingerprint};
use crate::sources::wal::resume::{Facts, resume};
use crate::sources::wal::spill::{SpillReader, explained, forget, insist_on_nothing};
use crate::sources::wal::trouble::interrupted;
use crate::sources::wal::{WalOptions, facts};

/// Which publications are read.
///
/// A publication does not exist for the WAL that is older than it. Where tables are captured beside an outbox whose slot is
/// older, the outbox is read alone until that WAL is behind; the record says up to where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Those of the outboxes and of the captured tables.
    All,
    /// Those of the outboxes only.
    Outboxes,
}

/// From where a stream shall go on.
#[derive(Debug, Clone, Default)]
pub(super) struct From {
    pub(super) witness: Option<Record>,
    /// All that ended before is durable, and recorded: a witness may be what was only read.
    pub(super) delivered: Option<EndLsn>,
    pub(super) snapshot: Option<Arc<SnapshotProgress>>,
    /// Up to where the outboxes are read alone, if the witness does not say it.
    pub(super) alone_until: Option<EndLsn>,
    pub(super) accept_gap: bool,
}

/// From where messages come.
pub(super) enum Feed {
    /// The slot.
    Stream(ReplicationStream),
    /// What was spilled of it.
    Spill(Box<SpillReader>),
}

/// What a start leads to: the feed, where it starts, and the SQL connection that goes on watching.
pub(super) struct Started {
    pub(super) feed: Feed,
    pub(super) from: Record,
    pub(super) sql: Connection,
    pub(super) not_null: NotNull,
    /// How far the log went when the publications were seen to be there.
    pub(super) flushed: EndLsn,
}

/// Starts streaming, off the runtime: connecting blocks.
pub(super) async fn start(options: Arc<WalOptions>, from: From) -> Result<Started, Error> {
    if let Some(spill) = &options.spill {
        spill.settled().await;
    }
    let span = Span::current();
    let start = move || span.in_scope(|| start_blocking(&options, &from));
    tokio::task::spawn_blocking(start).await.map_err(interrupted)?
}

fn start_blocking(options: &WalOptions, from: &From) -> Result<Started, Error> {
    let From { witness, delivered, accept_gap, .. } = from;
    let (witness, accept_gap) = (witness.as_ref(), *accept_gap);
    let slot = &options.slot;
    let server = |error| opening_error(options, error);
    let spilled =
        options.spill.as_ref().map(|spill| Ok::<_, Error>(spill.found(witness, *delivered)?.zip(Some(spill))));
    let spilled = spilled.transpose()?.flatten();
    let mut sql = connect_sql(options)?;
    let confirmed = match &spilled {
        // The slot is none of our business yet, whatever has become of it.
        Some((spilled, _)) => spilled.start,
        None => facts::slot(&mut sql, slot, witness.is_some())?,
    };
    facts::publications(&mut sql, options)?;
    let not_null = facts::not_null(&mut sql, &options.outboxes)?;

    let mut replication = Connection::connect(&options.connect).map_err(server)?;
    if spilled.is_none() {
        options.reader.send_replace(replication.backend_pid());
    }
    let identity = replication.identify_system().map_err(server)?;
    let history = match witness {
        Some(witness) if witness.timeline != identity.timeline => {
            replication.timeline_history(identity.timeline).map_err(server)?
        }
        _ => Vec::new(),
    };
    let alone_until = alone_until(options, from);
    let reading = if alone_until > EndLsn::ZERO { Reading::Outboxes } else { Reading::All };
    let facts = Facts {
        slot,
        confirmed,
        identity: &identity,
        history: &history,
        publications: match &spilled {
            Some((spilled, _)) => spilled.publications,
            None => fingerprint(options.publications(reading)),
        },
        alone_until,
        shown: from.snapshot.as_ref().map_or(CommitLsn::ZERO, |snapshot| snapshot.horizon()),
        next_xid: facts::next_xid(&mut sql)?,
        accept_gap,
    };
    if spilled.is_none() && witness.is_none() && !accept_gap {
        insist_on_nothing(&mut sql, slot)?;
    }
    let from = resume(&facts, witness).map_err(|gap| explained(gap, &mut sql, slot, witness))?;
    if witness.is_some_and(|witness| witness.epoch != from.epoch) {
        tell_of_epoch(slot, &from, accept_gap);
    }
    if let Some((spilled, spill)) = spilled {
        let from = spilled.begin(&identity, from)?;
        spill.note(&from, options.reads_messages());
        info!(slot, from = %from.end_lsn, epoch = from.epoch, "delivering what was spilled, and then the slot");
        let feed = Feed::Spill(Box::new(SpillReader::new(spill, from.end_lsn)));
        return Ok(Started { feed, from, sql, not_null, flushed: identity.flushed });
    }
    let start = StartOptions {
        slot: slot.clone(),
        start: from.end_lsn,
        publications: options.publications(reading).map(str::to_owned).collect(),
        // Messages are counted on to the end of a transaction that was half delivered with them.
        messages: options.reads_messages() || from.messages,
    };
    let stream = replication.start_logical(&start).map_err(server)?;

    // The server raises a start below the confirmed place without a word, and until now another reader could have
    // moved it: look again, now that the slot is ours.
    let now = facts::slot(&mut sql, slot, witness.is_some())?;
    resume(&Facts { confirmed: now, accept_gap: false, ..facts }, Some(&from))?;
    info!(slot, from = %from.end_lsn, confirmed = %now, epoch = from.epoch, "slot opened");
    if let Some(spill) = &options.spill {
        forget(&mut sql, slot);
        spill.reads_slot(stream.leaver(), &from, start.messages);
    }
    Ok(Started { feed: Feed::Stream(stream), from, sql, not_null, flushed: identity.flushed })
}

/// Says why positions begin anew.
fn tell_of_epoch(slot: &str, from: &Record, accept_gap: bool) {
    if accept_gap {
        warn!(slot, from = %from.end_lsn, epoch = from.epoch, "events may be missing, as was accepted");
    } else {
        info!(slot, from = %from.end_lsn, epoch = from.epoch, "going on where the outbox was polled");
    }
}

/// Up to where the outboxes are read alone; zero if they are not.
fn alone_until(options: &WalOptions, from: &From) -> EndLsn {
    let both = options.capture.is_some() && !options.outboxes.is_empty();
    let told = from.witness.map_or(EndLsn::ZERO, |witness| witness.alone_until);
    let place = if told > EndLsn::ZERO { told } else { from.alone_until.unwrap_or(EndLsn::ZERO) };
    let passed = from.witness.is_some_and(|witness| !witness.is_half() && witness.end_lsn >= place);
    if both && !passed { place } else { EndLsn::ZERO }
}

/// A connection for ordinary SQL, by which facts are read: some servers refuse SHOW and the like on a replication
/// connection. A lock held elsewhere keeps no backend waiting for longer than we do.
pub(super) fn connect_sql(options: &WalOptions) -> Result<Connection, Error> {
    let sql_options = ConnectOptions { replication: false, ..options.connect.clone() };
    let mut sql = Connection::connect(&sql_options).map_err(|error| opening_error(options, error))?;
    sql.simple_query("set statement_timeout = '30s'").map_err(|error| opening_error(options, error))?;
    Ok(sql)
}

/// An error while opening.
pub(super) fn opening_error(options: &WalOptions, error: postgres::error::Error) -> Error {
    use postgres::error::Kind as K;

    if let Some((context, help)) = error.barred(&options.connect.user) {
        return Error::new(End::Source, Kind::Setup, context).because(error).with_help(help);
    }
    let slot = &options.slot;
    let (kind, context, help) = match error.kind() {
        K::Unavailable => (Kind::Unavailable, "Postgres cannot be reached".to_owned(), None),
        K::SlotActive { pid } => {
            let by = pid.map_or(String::new(), |pid| format!(" by the backend with pid {pid}"));
            (
                Kind::Unavailable,
                format!("slot {slot:?} is in use{by}"),
                Some("One relay reads a slot: stop the other, or wait until it ends; this one keeps trying."),
            )
        }
        // It was there a moment ago: the next look tells what that means.
        K::SlotMissing => (Kind::Unavailable, format!("slot {slot:?} was dropped while it was opened"), None),
        K::PublicationMissing | K::Prerequisite => (
            Kind::Setup,
            format!("slot {slot:?} cannot be read"),
            Some("The server needs wal_level = logical and a valid slot of the pgoutput plugin: run `postrider init`."),
        ),
        K::Protocol => (Kind::Protocol, "Postgres sent what cannot be read".to_owned(), None),
        K::Rejected | K::Authentication | K::Tls => (
            Kind::Setup,
            format!("Postgres refused to open slot {slot:?} in database {:?}", options.connect.database),
            Some("Check [postgres] database and user; the role needs LOGIN and REPLICATION: run `postrider init`."),
        ),
    };
    let error = Error::new(End::Source, kind, context).because(error);
    match help {
        Some(help) => error.with_help(help),
        None => error,
    }
}
