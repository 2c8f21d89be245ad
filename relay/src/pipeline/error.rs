//! Why a pipeline stopped: one error type whose kind alone decides what happens next.

use std::fmt;

/// Which end failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The reading end.
    Source,
    /// The writing end.
    Sink,
}

/// What went wrong, as far as it decides what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The service is away, busy or restarting.
    Unavailable,
    /// The connection or client is beyond use, though the service may be well.
    Broken,
    /// The broker will not take a record that the source insists on.
    Refused,
    /// Another process took over.
    Fenced,
    /// It is no longer this process' turn.
    Deposed,
    /// Events are missing, or nobody can tell that none is.
    Gap,
    /// The set-up is wrong: a person must mend it.
    Setup,
    /// What the peer sent is not what its protocol allows.
    Protocol,
}

impl End {
    /// As metrics and reports call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Sink => "sink",
        }
    }
}

impl Kind {
    /// As metrics call it.
    #[must_use]
    pub fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// What follows from an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Wait, rewind and go on with the same ends.
    Retry,
    /// Wait, open the failed end anew and go on.
    Rebuild,
    /// Let go of both ends, and wait for the next turn.
    StandBy,
    /// End the process: going on could lose events or change nothing.
    Stop,
}

/// An error of one end of a pipeline.
#[derive(Debug)]
pub struct Error {
    end: End,
    kind: Kind,
    context: String,
    help: Option<String>,
    at_once: bool,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `end`; `context` says what could not be done and where, as a lowercase fragment.
    pub fn new(end: End, kind: Kind, context: impl Into<String>) -> Self {
        Self { end, kind, context: context.into(), help: None, at_once: false, source: None }
    }

    /// Adds what caused it.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds what a person can do about it, as a sentence.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Says that the next attempt differs from this one, so that waiting before it would change nothing.
    #[must_use]
    pub fn at_once(mut self) -> Self {
        self.at_once = true;
        self
    }

    /// Whether the next attempt need not wait.
    #[must_use]
    pub fn is_retried_at_once(&self) -> bool {
        self.at_once
    }

    /// Which end failed.
    #[must_use]
    pub fn end(&self) -> End {
        self.end
    }

    /// What kind of failure.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What a person can do about it.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// What follows; the only place that decides it.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self.kind {
            Kind::Refused => Disposition::Retry,
            Kind::Unavailable | Kind::Broken | Kind::Protocol => Disposition::Rebuild,
            Kind::Deposed => Disposition::StandBy,
            Kind::Fenced | Kind::Gap | Kind::Setup => Disposition::Stop,
        }
    }

    /// The whole chain in one line: the context and each cause.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
