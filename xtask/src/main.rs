//! `cargo xtask …`: reads the arguments, runs one command, turns its outcome into an exit code (0 done, 1 failed, 2
//! wrong usage).

mod commands;

use std::io::{Write, stderr};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands::{demo, fuzz, services, test};

/// The workspace's own commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start, stop and look at the services that tests and the demo use
    Services(services::Arguments),
    /// Start the services, run Nova's writers beside a relay that is killed, and judge what arrives
    Demo(demo::Arguments),
    /// Measure: `bench drain` reads a backlog beside pg_recvlogical, `bench latency` times events from commit to consumer
    Bench(demo::Named),
    /// Run somebody else's relay and ours on the same changes, and compare record by record: `compare debezium`
    Compare(demo::Named),
    /// Break something under load, do what the documentation tells, and count what it cost: `drill --list` names them all
    Drill(demo::Arguments),
    /// Feed every parser with what nobody would send, target by target
    Fuzz(fuzz::Arguments),
    /// Run the long form of a test
    Soak(demo::Named),
    /// Check everything: form, lints, documentation, services and every test
    Test(test::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Services(arguments) => services::run(arguments),
        Command::Demo(arguments) => demo::demo(&arguments),
        Command::Bench(arguments) => demo::bench(&arguments),
        Command::Compare(arguments) => demo::compare(&arguments),
        Command::Drill(arguments) => demo::drill(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Soak(arguments) => demo::soak(&arguments),
        Command::Test(arguments) => test::run(&arguments),
    };
    outcome.unwrap_or_else(|error| {
        report(error.as_ref());
        ExitCode::FAILURE
    })
}

/// One line for the error and one for each of its causes.
fn report(error: &dyn std::error::Error) {
    let mut text = format!("error: {error}\n");
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!("  because: {error}\n"));
        cause = error.source();
    }
    // A closed standard error is no reason to panic.
    let _ = stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn only_some_services_can_be_asked_for_by_a_comma_list() {
        let wrong = ["xtask", "services", "up", "--only", "postgres,rabbit"];
        assert!(Arguments::try_parse_from(wrong).is_err());
        let right = ["xtask", "services", "up", "--only", "postgres,kafka", "--postgres", "18", "--output", "json"];
        assert!(Arguments::try_parse_from(right).is_ok());
    }

    #[test]
    fn an_unsupported_postgres_is_wrong_usage() {
        assert!(Arguments::try_parse_from(["xtask", "services", "up", "--postgres", "14"]).is_err());
    }

    #[test]
    fn what_follows_demo_is_left_to_the_demo() {
        let parsed = Arguments::try_parse_from(["xtask", "demo", "--kills", "200", "--output", "json"]).unwrap();
        let Command::Demo(demo) = parsed.command else { panic!("demo was asked for") };
        assert_eq!(demo.rest, ["--kills", "200", "--output", "json"]);
    }
}
