//! What can go wrong while services are found, installed, started or stopped; each text says what to do about it.

use std::path::{Path, PathBuf};

/// A result of this library.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a service could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A program or package is not on this machine and could not be installed by itself.
    #[error("{what} is missing and could not be installed here; `{install}` would install it")]
    Missing {
        /// What is missing.
        what: String,
        /// The command that would install it.
        install: String,
    },
    /// A command that was needed ended with a failure.
    #[error("`{command}` failed: {reason}")]
    Command {
        /// The command as typed.
        command: String,
        /// Its status and its last words.
        reason: String,
    },
    /// A service was started and did not become ready.
    #[error("{service} did not become ready: {reason}; its log is {}", log.display())]
    NotReady {
        /// Which service.
        service: &'static str,
        /// What was seen, with the end of the log.
        reason: String,
        /// Where the whole log is.
        log: PathBuf,
    },
    /// Services are wanted that nobody has started.
    #[error("{service} is not running; start it with `cargo xtask services up`")]
    NotRunning {
        /// Which service.
        service: &'static str,
    },
    /// What was asked for cannot be.
    #[error("{0}")]
    Unsupported(String),
    /// A text that says where services are, or what runs, cannot be understood.
    #[error("{what} cannot be read as JSON: {source}")]
    Malformed {
        /// Which text.
        what: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The file system or the kernel refused.
    #[error("cannot {action}")]
    Io {
        /// What was tried, with the path.
        action: String,
        /// What was answered.
        source: std::io::Error,
    },
}

impl Error {
    /// An I/O failure while doing `verb` to `path`.
    pub(crate) fn io(verb: &str, path: &Path, source: std::io::Error) -> Self {
        Self::Io { action: format!("{verb} {}", path.display()), source }
    }
}

/// Adds what was tried, and on which path, to an I/O error.
pub(crate) trait IoContext<T> {
    /// "cannot {verb} {path}".
    fn context(self, verb: &str, path: &Path) -> Result<T>;
}

impl<T> IoContext<T> for std::io::Result<T> {
    fn context(self, verb: &str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::io(verb, path, source))
    }
}
