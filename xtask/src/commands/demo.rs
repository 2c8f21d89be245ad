//! `cargo xtask demo|bench|compare|soak`: starts the services, builds the relay and the `demo` binary in release, and hands
//! over to it.

use std::io::{Write, stdout};
use std::process::{Command, ExitCode, ExitStatus};

use clap::Args;
use xtask::services::{self, Progress, Service, UpOptions};

use crate::commands::{Outcome, cargo, test};

/// Where the relay's binary is, for the demo and the tests.
pub(crate) const RELAY_BINARY: &str = "POSTRIDER_RELAY_BINARY";

/// The soak that is no matter of the demo.
const TESTS: &str = "tests";

/// What is passed through.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// What the demo takes: --seconds N, --rate R, --kills K, --output json, --help
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) rest: Vec<String>,
}

/// A bench or soak by its name, and what is passed through.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Which one
    name: String,
    /// What it takes
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// `cargo xtask demo …` is `demo run …`.
pub(crate) fn demo(arguments: &Arguments) -> Outcome {
    hand_over(&["run"], &arguments.rest)
}

/// `cargo xtask bench NAME …` is `demo NAME …`.
pub(crate) fn bench(arguments: &Named) -> Outcome {
    hand_over(&[&arguments.name], &arguments.rest)
}

/// `cargo xtask compare NAME …` is `demo compare NAME …`.
pub(crate) fn compare(arguments: &Named) -> Outcome {
    hand_over(&["compare", &arguments.name], &arguments.rest)
}

/// `cargo xtask soak NAME …` is `demo soak NAME …`, but for `tests`: those are the end-to-end tests with their
/// outages in full length.
pub(crate) fn soak(arguments: &Named) -> Outcome {
    match arguments.name.as_str() {
        TESTS => test::soak(&arguments.rest),
        "list" => {
            let [demo] = cargo::build([cargo::DEMO], "release")?;
            let list = Command::new(demo).args(["soak", "list"]).status()?;
            writeln!(stdout(), "{TESTS:<10} the end-to-end tests, with their outages in full length")?;
            Ok(exit_code(list))
        }
        name => hand_over(&["soak", name], &arguments.rest),
    }
}

fn hand_over(verb: &[&str], rest: &[String]) -> Outcome {
    let mut demo = if rest.iter().any(|word| word == "--help" || word == "-h") {
        // Nobody wants to wait for services in order to read.
        let [demo] = cargo::build([cargo::DEMO], "release")?;
        Command::new(demo)
    } else {
        let only = vec![Service::Postgres, Service::Kafka];
        let wanted = UpOptions { only, progress: Progress::shown(), ..UpOptions::default() };
        let environment = services::obtain(&wanted)?;
        let [relay, demo] = cargo::build([cargo::RELAY, cargo::DEMO], "release")?;
        let environment = serde_json::to_string(&environment).expect("plain data is JSON");
        let mut demo = Command::new(demo);
        demo.env(services::VARIABLE, environment).env(RELAY_BINARY, relay);
        demo
    };
    Ok(exit_code(demo.args(verb).args(rest).status()?))
}

/// The code to end with; what was killed by a signal has none of its own.
fn exit_code(status: ExitStatus) -> ExitCode {
    ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
