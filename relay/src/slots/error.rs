//! Why the database could not be set up: what was tried, and what to do about it.

use std::fmt;

use tokio_postgres::error::SqlState;

use crate::postgres::error as postgres;

/// Something in the database that is not as the relay needs it, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What is there.
    pub what: String,
    /// What to do.
    pub mend: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  help: {}", self.what, self.mend)
    }
}

/// A set-up that was not done, or not wholly; running it again goes on where it stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database holds something that the relay cannot work with. Nothing was changed.
    #[error("{}", join(.0))]
    Refused(Vec<Refusal>),
    /// No session could be opened.
    #[error("cannot connect as role {user} to database {database}")]
    Connect {
        /// The role that was tried.
        user: String,
        /// The database that was tried.
        database: String,
        /// Why.
        source: postgres::Error,
    },
    /// A replication connection was not had, or did not do what it was asked.
    #[error("{action}")]
    Replication {
        /// What was being done.
        action: String,
        /// What the server or the connection said.
        source: postgres::Error,
    },
    /// The server did what it was asked no longer, or never did.
    #[error("{action}")]
    Database {
        /// What was being done, with where.
        action: String,
        /// What the server or the connection said.
        source: tokio_postgres::Error,
    },
    /// The server, or what stands between, took the questions and said nothing.
    #[error("no answer came within {seconds} s")]
    Silent {
        /// How long was waited.
        seconds: u64,
    },
}

impl Error {
    /// What a person can do about it, where that is known and not said by the error itself.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        let source = match self {
            Self::Refused(_) => return None,
            Self::Silent { .. } => return Some("see what the server does: select * from pg_stat_activity"),
            Self::Connect { source, .. } => return help_to_connect(source),
            Self::Replication { .. } => {
                return Some("only a role with the REPLICATION attribute, connected to the server itself, may do this");
            }
            Self::Database { source, .. } => source,
        };
        let help = match source.code() {
            Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
                "connect as a superuser or the owner of the outbox table with --admin-url, or have one run what `postrider init --print` prints"
            }
            Some(code) if *code == SqlState::UNDEFINED_TABLE => "run `postrider migrate`",
            Some(code) if *code == SqlState::LOCK_NOT_AVAILABLE || *code == SqlState::QUERY_CANCELED => {
                "something held a lock for too long: run it again"
            }
            Some(_) => return None,
            None if source.is_closed() => "the server closed the connection: its log says why",
            None => return None,
        };
        Some(help)
    }
}

fn help_to_connect(error: &postgres::Error) -> Option<&'static str> {
    match error.kind() {
        postgres::Kind::Authentication => Some(
            "check the user and the password: `postgres.user` with `postgres.password`, `password_file` or `passfile`, or those of --admin-url",
        ),
        postgres::Kind::Tls => Some(
            "check `postgres.tls` and the files named beside it, or sslmode and sslrootcert of --admin-url: docs/operations.md, \"Secure connections\"",
        ),
        postgres::Kind::Unavailable => Some(
            "check that the server runs and listens there: `postgres.host` and `postgres.port`, or those of --admin-url",
        ),
        _ if error.sqlstate() == Some("3D000") => Some("create the database, or name another with `postgres.database`"),
        _ => None,
    }
}

fn join(refusals: &[Refusal]) -> String {
    refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
