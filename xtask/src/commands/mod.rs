//! One command a file.

pub(crate) mod cargo;
pub(crate) mod demo;
pub(crate) mod fuzz;
pub(crate) mod services;
pub(crate) mod test;

/// Any error that a person shall read.
pub(crate) type Failure = Box<dyn std::error::Error>;

/// What a command ends with: an exit code, or an error.
pub(crate) type Outcome = Result<std::process::ExitCode, Failure>;
