//! The source's sessions with Postgres: each question is one message and one transaction, so that a pooler between the two may
//! give every question another server's session.
//!
//! Guarantee: nothing is prepared, set or locked beyond a transaction; only the hint of a notification, if one is wanted, needs a
//! session of its own.

use std::sync::Arc;
use std::time::Duration;

use postgres_protocol::escape::escape_identifier as identifier;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use crate::pipeline::{End, Error, Kind};
use crate::postgres::options::ConnectOptions;
use crate::postgres::{self, session};

/// How long a question may take before the server counts as away; the server gives it up before that.
const QUESTION_MAX: Duration = Duration::from_secs(60);

/// What every transaction begins with. Values print as they do in the log's stream; the catalog's names are found whatever the
/// role's path; and no plan is chosen that reads the whole table because its statistics lag behind a queue.
pub(super) const SETTINGS: &str = "set local statement_timeout = '30s';
set local lock_timeout = '10s';
set local search_path = pg_catalog;
set local datestyle = 'ISO, MDY';
set local intervalstyle = 'postgres';
set local timezone = 'UTC';
set local extra_float_digits = 3;
set local bytea_output = 'hex';
set local enable_seqscan = off;
set local enable_bitmapscan = off;
set local max_parallel_workers_per_gather = 0;
set local jit = off;
";

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// All its statements see one moment, and it changes nothing.
    Read,
    /// It changes rows.
    Write,
    /// It notes deliveries: those of the last moment before a crash of the server may come again, so it waits for no disk.
    Mark,
}

/// An open session.
pub(super) struct Session {
    client: Client,
    user: String,
}

impl Session {
    /// Connects; with `channel`, `rung` is told of its notifications.
    pub(super) async fn open(connect: &ConnectOptions, channel: Option<(&str, &Arc<Notify>)>) -> Result<Self, Error> {
        let opened = match channel {
            Some((_, rung)) => session::connect_ringing(connect, Arc::clone(rung)).await,
            None => session::connect(connect).await,
        };
        let client = opened.map_err(|error| unreachable(connect, error))?;
        if let Some((channel, _)) = channel {
            let listen = client.batch_execute(&format!("listen {}", identifier(channel))).await;
            listen.map_err(|error| failed("listen for notifications", &connect.user, &error))?;
        }
        Ok(Self { client, user: connect.user.clone() })
    }

    /// Runs the statements of `sql` as one transaction; the rows of each statement that gives rows, in order.
    pub(super) async fn ask(
        &self,
        purpose: Purpose,
        action: &str,
        sql: &str,
    ) -> Result<Vec<Vec<SimpleQueryRow>>, Error> {
        let begin = match purpose {
            Purpose::Read => "begin isolation level repeatable read read only;\nset local row_security = off;\n",
            Purpose::Write => "begin;\n",
            Purpose::Mark => "begin;\nset local synchronous_commit = off;\n",
        };
        let question = format!("{begin}{SETTINGS}{sql};\ncommit");
        let answer = match timeout(QUESTION_MAX, self.client.simple_query(&question)).await {
            Ok(answer) => answer.map_err(|error| failed(action, &self.user, &error))?,
            Err(_) => {
                let context = format!("cannot {action}: no answer within {} s", QUESTION_MAX.as_secs());
                return Err(Error::new(End::Source, Kind::Unavailable, context));
            }
        };
        let mut sets: Vec<Vec<SimpleQueryRow>> = Vec::new();
        for message in answer {
            match message {
                SimpleQueryMessage::RowDescription(_) => sets.push(Vec::new()),
                SimpleQueryMessage::Row(row) => {
                    if let Some(set) = sets.last_mut() {
                        set.push(row);
                    }
                }
                _ => {}
            }
        }
        Ok(sets)
    }
}

/// The value of a column, if the row has it.
pub(super) fn value(row: &SimpleQueryRow, column: usize) -> Option<&str> {
    row.try_get(column).ok().flatten()
}

/// The number in a column.
pub(super) fn number<N: std::str::FromStr>(row: &SimpleQueryRow, column: usize) -> Option<N> {
    value(row, column)?.parse().ok()
}

/// Why there is no session.
pub(super) fn unreachable(connect: &ConnectOptions, error: postgres::error::Error) -> Error {
    use postgres::error::Kind as K;

    if let Some((context, help)) = error.barred(&connect.user) {
        return Error::new(End::Source, Kind::Setup, context).because(error).with_help(help);
    }
    let kind = match error.kind() {
        K::Rejected | K::Prerequisite => Kind::Setup,
        _ => Kind::Unavailable,
    };
    let context = format!("cannot connect to database {:?} to poll its outbox", connect.database);
    Error::new(End::Source, kind, context).because(error)
}

/// What a statement's error means. A report's detail may quote a row: only its code and its message are told.
pub(super) fn failed(action: &str, user: &str, error: &tokio_postgres::Error) -> Error {
    let context = format!("cannot {action}");
    match error.as_db_error() {
        Some(report) => refused(context, user, report),
        None => Error::new(End::Source, Kind::Unavailable, context).because(error.to_string()),
    }
}

fn refused(context: String, user: &str, report: &DbError) -> Error {
    let code = report.code();
    let told = format!("{} (SQLSTATE {})", report.message(), code.code());
    let help = match code {
        code if *code == SqlState::UNDEFINED_TABLE || *code == SqlState::UNDEFINED_COLUMN => {
            "The outbox table, its columns or postrider.leases are not as they must be for polling: check [polling] and \
             [outbox.columns], and run `postrider migrate`."
                .to_owned()
        }
        code if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
            format!("The role {user:?} lacks a right: run `postrider init`, which grants what polling needs.")
        }
        _ => return Error::new(End::Source, Kind::Unavailable, context).because(told),
    };
    Error::new(End::Source, Kind::Setup, context).because(told).with_help(help)
}
