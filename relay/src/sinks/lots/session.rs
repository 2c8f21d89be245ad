//! The lot's session with Postgres: opened when it is needed, bounded in time, let go when nothing is parked.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::error::{DbError, SqlState};

use crate::pipeline::{End, Error, Kind};
use crate::postgres::options::ConnectOptions;
use crate::postgres::{self, session};

/// How long one operation may take before the server counts as away; the server gives a statement up before that.
const OPERATION_MAX: Duration = Duration::from_secs(60);

/// A parked event counts as delivered: it must not be lost with a crash, whatever the role's settings say. And a lock
/// held elsewhere keeps no backend waiting for longer than we do.
const PREPARE: &str = "
set statement_timeout = '30s';
select set_config('synchronous_commit', 'on', false)
where current_setting('synchronous_commit') in ('off', 'local')";

/// A session that is opened when it is first used, and again when it was lost.
pub(super) struct Session {
    options: ConnectOptions,
    client: Option<Arc<Client>>,
}

impl Session {
    pub(super) fn new(options: ConnectOptions) -> Self {
        Self { options, client: None }
    }

    /// The open session.
    pub(super) async fn client(&mut self) -> Result<Arc<Client>, Error> {
        if let Some(client) = self.client.as_ref().filter(|client| !client.is_closed()) {
            return Ok(Arc::clone(client));
        }
        let client = session::connect(&self.options).await.map_err(|error| unreachable(&self.options, error))?;
        within("prepare the session", client.batch_execute(PREPARE)).await?;
        let client = Arc::new(client);
        self.client = Some(Arc::clone(&client));
        Ok(client)
    }

    /// Lets go of it.
    pub(super) fn close(&mut self) {
        self.client = None;
    }
}

/// Why there is no session. What only a person can mend ends the process, as it does when the slot is opened.
fn unreachable(options: &ConnectOptions, error: postgres::error::Error) -> Error {
    use postgres::error::Kind as K;

    if let Some((context, help)) = error.barred(&options.user) {
        return Error::new(End::Sink, Kind::Setup, context).because(error).with_help(help);
    }
    let (kind, context, help) = match error.kind() {
        K::Rejected => (
            Kind::Setup,
            format!("Postgres refused a session in database {:?}", options.database),
            Some("Check [postgres] database and user; the role needs LOGIN and CONNECT: run `postrider init`."),
        ),
        K::Prerequisite => (Kind::Setup, "Postgres cannot be used as it is set up".to_owned(), None),
        _ => (Kind::Unavailable, "Postgres cannot be reached for the table of parked events".to_owned(), None),
    };
    let error = Error::new(End::Sink, kind, context).because(error);
    match help {
        Some(help) => error.with_help(help),
        None => error,
    }
}

/// What a statement gives, within the time that it may take.
pub(super) async fn within<T>(
    action: &str,
    statement: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Error> {
    match timeout(OPERATION_MAX, statement).await {
        Ok(outcome) => outcome.map_err(|error| failed(action, error)),
        Err(_) => {
            let context = format!("cannot {action}: no answer within {} s", OPERATION_MAX.as_secs());
            Err(Error::new(End::Sink, Kind::Unavailable, context))
        }
    }
}

/// What a statement's error means: either way the stream waits, and nothing is lost.
fn failed(action: &str, error: tokio_postgres::Error) -> Error {
    let context = format!("cannot {action}");
    // A report's detail may quote the row: only its code and its message are told.
    if let Some(report) = error.as_db_error() {
        return refused(context, report);
    }
    Error::new(End::Sink, Kind::Unavailable, context).because(error)
}

fn refused(context: String, report: &DbError) -> Error {
    let code = report.code();
    let told = format!("{} (SQLSTATE {})", report.message(), code.code());
    let help = match code {
        code if *code == SqlState::UNDEFINED_TABLE || *code == SqlState::UNDEFINED_COLUMN => {
            "The table postrider.parked is not as this version needs it: run `postrider migrate`."
        }
        code if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
            "The relay's role lacks rights on postrider.parked: run `postrider init`."
        }
        // Away, restarting, out of something, in conflict, or told to give up: classes 08, 53, 55, 57, 58 and 40.
        code if ["08", "53", "55", "57", "58", "40"].contains(&&code.code()[..2]) => {
            return Error::new(End::Sink, Kind::Unavailable, context).because(told);
        }
        _ => "The stream waits here. The server's log says more.",
    };
    Error::new(End::Sink, Kind::Refused, context).because(told).with_help(help)
}
