//! The program `postrider`: parse, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use postrider_relay::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().execute()
}
