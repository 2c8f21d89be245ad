//! Logs: one line an event on standard error, for people or for machines.

use std::borrow::Cow;
use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::util::SubscriberInitExt;

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The level is not a level, nor a list of `target=level`.
    #[error("log level {level:?} is not understood")]
    Level {
        /// What was asked for.
        level: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The process logs already.
    #[error("logging is set up already")]
    Again(#[from] tracing_subscriber::util::TryInitError),
}

/// Starts logging to standard error. `level` is `off`, `error`, `warn`, `info`, `debug`, `trace`, or a list of
/// `target=level` such as `info,postrider_relay::sinks=debug`.
///
/// A single level below `info` holds for our own code only: some libraries log a statement's parameters there, which are
/// row values.
pub fn init(format: LogFormat, level: &str) -> Result<(), LoggingError> {
    let filter = EnvFilter::builder()
        .parse(directives(level))
        .map_err(|source| LoggingError::Level { level: level.to_owned(), source })?;
    // Colours are for people at a terminal, not for files.
    let builder = fmt().with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).with_env_filter(filter);
    match format {
        LogFormat::Text => builder.with_target(false).finish().try_init()?,
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init()?,
    }
    Ok(())
}

/// What a level means for our own code and for that of others.
fn directives(level: &str) -> Cow<'_, str> {
    match level {
        "debug" | "trace" => format!("info,postrider_relay={level},postrider={level}").into(),
        level => level.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_talkative_level_does_not_hold_for_libraries() {
        assert_eq!(directives("debug"), "info,postrider_relay=debug,postrider=debug");
        assert_eq!(directives("warn"), "warn");
        assert_eq!(directives("info,hyper=trace"), "info,hyper=trace");
    }

    #[test]
    fn a_level_that_is_none_is_refused_with_its_name() {
        let error = init(LogFormat::Text, "postrider=loud").expect_err("not a level");
        assert_eq!(error.to_string(), "log level \"postrider=loud\" is not understood");
    }
}
