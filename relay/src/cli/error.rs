//! Why a verb failed, how it is told, and which exit code that is.

use std::{
    error::Error as _,
    io::{self, Write},
    process::ExitCode,
};

use crate::{
    config::{error::ConfigError, postgres::UrlError},
    pipeline, slots,
    telemetry::logging::LoggingError,
    top::EndpointError,
};

/// What a verb fails with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot be used.
    #[error("the configuration cannot be used\n{0}")]
    Config(ConfigError),
    /// The URL of --admin-url cannot be used; its text may hold a password and is not shown.
    #[error("the admin URL {0}")]
    AdminUrl(UrlError),
    /// The URL of --url or --admin-url cannot be used; its text may hold a password and is not shown.
    #[error("the URL of --url or --admin-url {0}")]
    PlaceUrl(UrlError),
    /// Some places could not be looked at; why is printed already.
    #[error("{unseen} of the places did not answer")]
    Unseen {
        /// How many.
        unseen: usize,
    },
    /// There is no such slot.
    #[error("no slot is called {name:?}")]
    NoSlot {
        /// The name.
        name: String,
    },
    /// A watch over slots is over.
    #[error("{0}")]
    SlotAlarm(String),
    /// The database could not be set up.
    #[error(transparent)]
    Setup(#[from] slots::error::Error),
    /// A migration failed.
    #[error("cannot migrate")]
    Migrate(#[source] postrider::Error),
    /// ClickHouse's tables could not be made, or not all of them.
    #[cfg(feature = "downstream")]
    #[error("cannot migrate ClickHouse")]
    MigrateClickHouse(#[source] Box<crate::app::migrate::MigrateError>),
    /// ClickHouse is asked for, and this program was built without it.
    #[cfg(not(feature = "downstream"))]
    #[error("this program was built without ClickHouse (its feature `downstream`)")]
    WithoutClickHouse,
    /// No folder of migrations is named.
    #[cfg(feature = "downstream")]
    #[error("no folder of migrations: name one with --clickhouse FOLDER, or with `clickhouse.migrations`")]
    NoMigrations,
    /// The relay stopped because going on would lose events or change nothing.
    #[error("{error}")]
    Run {
        /// What stopped it.
        #[source]
        error: pipeline::Error,
        /// Whether standard error is a log of JSON lines, into which no other text must be mixed.
        json: bool,
    },
    /// A relay could not be asked.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// A relay answered that events do not flow.
    #[error("the relay is not ready: {reason}")]
    NotReady {
        /// What it says.
        reason: String,
    },
    /// A check found what must be mended; it is printed already.
    #[error("the check found {errors} errors and {warnings} warnings")]
    Check {
        /// How many errors.
        errors: usize,
        /// How many warnings.
        warnings: usize,
    },
    /// Rows of the outbox are not in Kafka as they should be; which is printed already.
    #[error("of the rows {missing} are missing, {differing} differ and {out_of_order} are out of order")]
    Verified {
        /// Rows without a record.
        missing: u64,
        /// Rows whose records are not what the relay writes.
        differing: u64,
        /// Rows delivered after a later one of their key.
        out_of_order: u64,
    },
    /// It was told to stop before it was through; how to go on is printed already.
    #[error("stopped before the end")]
    Stopped,
    /// A plan has steps, which are printed already, and somebody asked to be told by the exit code.
    #[error("there is something to do")]
    Planned,
    /// Another program's configuration cannot be read.
    #[error("cannot read the connector {name}")]
    Connector {
        /// The file.
        name: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing was taken over.
    #[error("{0}")]
    Adopt(String),
    /// A file could not be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Logging could not be set up.
    #[error("cannot set up logging")]
    Logging(#[source] LoggingError),
    /// There is no such failpoint.
    #[cfg(feature = "failpoints")]
    #[error(transparent)]
    Failpoint(#[from] crate::telemetry::failpoint::NoSuchFailpoint),
    /// The threads could not be had.
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    /// The result could not be printed.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
}

impl Error {
    /// Tells a person on standard error, or the log where standard error is one.
    pub fn tell(&self) {
        match self {
            Self::Run { error, json: true } => tracing::error!(error = error.chain(), help = error.help(), "failed"),
            Self::Planned => {}
            // Where standard error is closed, the exit code is all that can still be said.
            _ => drop(writeln!(io::stderr(), "{}", self.report())),
        }
    }

    /// The error, each cause, and what to do about it; several lines, the first of which begins with `error:`.
    fn report(&self) -> String {
        let mut report = format!("error: {self}");
        let mut said = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Some errors repeat their cause's text as their own, and tokio-postgres calls what the server said `db error`.
            if !said.contains(&text) && text != "db error" {
                report.push_str(&format!("\n  caused by: {text}"));
            }
            said = text;
            cause = error.source();
        }
        if let Some(help) = self.help() {
            report.push_str(&format!("\n  help: {help}"));
        }
        report
    }

    /// 2 for a wrong configuration or URL, 3 for a plan that has steps, 1 for all else. Wrong usage never comes here: clap ends the
    /// process with 2.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Config(_) | Self::AdminUrl(_) | Self::PlaceUrl(_) => 2,
            Self::Planned => 3,
            _ => 1,
        })
    }

    fn help(&self) -> Option<&str> {
        match self {
            Self::Setup(error) => error.help(),
            Self::Run { error, .. } => error.help(),
            Self::Endpoint(error) => Some(error.help()),
            _ => None,
        }
    }
}
