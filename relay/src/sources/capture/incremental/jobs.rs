//! What a snapshot asks Postgres, each question off the runtime and on a connection of its own.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::pipeline::{Error, Kind};
use crate::postgres;
use crate::postgres::connection::Connection;
use crate::postgres::options::ConnectOptions;
use crate::shape::change::Capture;
use crate::sources::capture::incremental::chunk::{self, Outcome};
use crate::sources::capture::incremental::table::{Readable, Refusal, Which};
use crate::sources::snapshot::SnapshotOptions;
use crate::sources::snapshot::requests::{self, Mark, Request};
use crate::sources::wal::window::Visible;

/// A connection that is opened when it is first used, and again when it was lost.
#[derive(Debug, Default)]
pub(super) struct Session(Option<Connection>);

/// Where snapshots are asked for, and what is read.
pub(super) struct Place {
    pub(super) slot: Arc<str>,
    pub(super) options: Arc<SnapshotOptions>,
}

/// What is to be written down at the next look.
#[derive(Debug, Clone, Default)]
pub(super) struct Notes {
    /// How far snapshots came that are durable.
    pub(super) marks: BTreeMap<u64, Mark>,
    /// Snapshots that failed: why, and the mend.
    pub(super) failed: BTreeMap<u64, (String, Option<&'static str>)>,
}

/// What a question came to.
pub(super) enum Done {
    Looked(Box<Polled>),
    Described(Result<Arc<Readable>, Refusal>),
    Read(Outcome),
}

/// What a look found.
pub(super) struct Polled {
    pub(super) requests: Vec<Request>,
    pub(super) sent: u64,
    pub(super) visible: Visible,
    /// The transactions that are running, if that was asked.
    pub(super) running: Option<HashSet<u32>>,
    /// What was written down.
    pub(super) written: Notes,
}

/// Why a question has no answer.
pub(super) enum Failure {
    /// Something is not set up.
    Setup(Error),
    /// It may have one later.
    Later(String),
    /// The server refuses to read the table so.
    Refused(String),
}

impl Notes {
    /// Forgets what was written down, unless there is something newer.
    pub(super) fn forget(&mut self, written: &Self) {
        self.marks.retain(|id, mark| written.marks.get(id) != Some(mark));
        self.failed.retain(|id, _| !written.failed.contains_key(id));
    }
}

impl Session {
    fn take(self, place: &Place) -> Result<Connection, Failure> {
        let open = || {
            let connect = ConnectOptions { replication: false, ..place.options.connect.clone() };
            let mut sql = Connection::connect(&connect)?;
            // Rows that a policy hides would be left out without a word; so the server refuses.
            sql.simple_query("set statement_timeout = '30s'; set row_security = off")?;
            Ok(sql)
        };
        self.0.map_or_else(open, Ok).map_err(|error: postgres::error::Error| Failure::Later(error.to_string()))
    }
}

/// Writes down what is known, and asks what is wanted.
pub(super) fn look(session: Session, place: &Place, notes: Notes, learn: bool) -> Result<(Session, Done), Failure> {
    let mut sql = session.take(place)?;
    let looked = look_with(&mut sql, place, notes, learn).map_err(|error| match error.kind() {
        Kind::Setup => Failure::Setup(error),
        _ => Failure::Later(error.chain()),
    })?;
    Ok((Session(Some(sql)), Done::Looked(Box::new(looked))))
}

fn look_with(sql: &mut Connection, place: &Place, notes: Notes, learn: bool) -> Result<Polled, Error> {
    let slot = &place.slot;
    for mark in notes.marks.values() {
        requests::advance(sql, slot, mark)?;
    }
    for (id, (why, help)) in &notes.failed {
        requests::fail(sql, slot, *id, why, *help)?;
    }
    let (requests, sent) = requests::wanted(sql, slot)?;
    let running = if learn { Some(requests::running(sql)?) } else { None };
    let visible = requests::visible(sql)?;
    Ok(Polled { requests, sent, visible, running, written: notes })
}

/// Asks what a table is, and writes that it is being read.
pub(super) fn describe(
    session: Session,
    place: &Place,
    capture: &Capture,
    request: &Request,
) -> Result<(Session, Done), Failure> {
    let mut sql = session.take(place)?;
    let later = |error: Error| match error.kind() {
        Kind::Broken => Failure::Refused(error.chain()),
        _ => Failure::Later(error.chain()),
    };
    let (schema, name, condition) = (&request.schema, &request.name, request.condition.as_deref());
    if let Some(why) = condition.and_then(|condition| postgres::condition::check(condition).err()) {
        let refusal = Refusal { why: format!("its condition {why}"), help: "Ask again with another condition." };
        return Ok((Session(Some(sql)), Done::Described(Err(refusal))));
    }
    let described =
        Readable::describe(&mut sql, capture, &place.options.publication, (schema, name), condition).map_err(later)?;
    if let Ok(table) = &described {
        requests::begin(&mut sql, &place.slot, request.id, Some(table.estimated_rows)).map_err(later)?;
    }
    Ok((Session(Some(sql)), Done::Described(described.map(Arc::new))))
}

/// Reads a chunk.
pub(super) fn read(
    session: Session,
    place: &Place,
    table: &Readable,
    which: &Which,
) -> Result<(Session, Done), Failure> {
    let mut sql = session.take(place)?;
    match chunk::read(&mut sql, &place.options.publication, table, which) {
        Ok(outcome) => Ok((Session(Some(sql)), Done::Read(outcome))),
        Err(error) => Err(refused(&error)),
    }
}

/// Whether a chunk can be read later, or never so. The server's own words may hold values of rows, which belong into no log.
fn refused(error: &postgres::error::Error) -> Failure {
    // Classes of SQLSTATE that are about the statement or its data, not about the moment:
    // https://www.postgresql.org/docs/current/errcodes-appendix.html
    const LASTING: [&str; 4] = ["22", "42", "0A", "2F"];
    match error.sqlstate() {
        // A table that is dropped or renamed is described anew, and then refused by name.
        Some("42P01") => Failure::Later("the table is gone".to_owned()),
        Some("42501") => Failure::Refused(
            "the relay's role may not read the table: run `postrider init`; or row-level security hides rows of it from the role: `alter role … bypassrls`".to_owned(),
        ),
        Some(code) if LASTING.iter().any(|class| code.starts_with(class)) => Failure::Refused(format!(
            "Postgres refuses to read the table so, with SQLSTATE {code}; the server's log has its words"
        )),
        _ => Failure::Later(error.to_string()),
    }
}
