//! One command a file.

pub(crate) mod cargo;
pub(crate) mod demo;
pub(crate) mod services;
pub(crate) mod test;

/// What a command ends with: an exit code, or an error for a person.
pub(crate) type Outcome = Result<std::process::ExitCode, Box<dyn std::error::Error>>;
