//! Why the database could not be set up: what was tried, and what to do about it.

use std::fmt;

use tokio_postgres::error::SqlState;

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
    /// The URL is none; its text may hold a password and is not shown.
    #[error("the admin URL is not of the form postgres://user@host:port/database")]
    Url,
    /// The server did what it was asked no longer, or never did.
    #[error("{action}")]
    Database {
        /// What was being done, with where.
        action: String,
        /// What the server or the connection said.
        source: tokio_postgres::Error,
    },
}

impl Error {
    /// What a person can do about it, where that is known and not said by the error itself.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        let Self::Database { source, .. } = self else { return None };
        let help = match source.code() {
            Some(code)
                if *code == SqlState::INVALID_PASSWORD || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION =>
            {
                "check the user and the password: `postgres.user` with `postgres.password` or `password_file`, or those of --admin-url"
            }
            Some(code) if *code == SqlState::INVALID_CATALOG_NAME => {
                "create the database, or name another with `postgres.database`"
            }
            Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
                "connect as a superuser or the owner of the outbox table with --admin-url, or have one run what `postrider init --print` prints"
            }
            Some(code) if *code == SqlState::LOCK_NOT_AVAILABLE || *code == SqlState::QUERY_CANCELED => {
                "something held a lock for too long: run it again"
            }
            Some(_) => return None,
            None if source.is_closed() => "the server closed the connection: its log says why",
            None => {
                "check that the server runs and listens there: `postgres.host` and `postgres.port`, or those of --admin-url"
            }
        };
        Some(help)
    }
}

fn join(refusals: &[Refusal]) -> String {
    refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
