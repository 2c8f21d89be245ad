//! `cargo xtask demo|bench|compare|drill|soak`: starts the services, builds the relay and the `demo` binary in release, and hands
//! over to it.

use std::io::{Write, stdout};
use std::process::{Command, ExitCode, ExitStatus};

use clap::Args;
use xtask::services::{self, MAJORS, PrivatePostgres, Progress, Service, UpOptions};

use crate::commands::{Failure, Outcome, cargo, test};

/// Where the relay's binary is, for the demo and the tests.
pub(crate) const RELAY_BINARY: &str = "POSTRIDER_RELAY_BINARY";

/// The soak that is no matter of the demo.
const TESTS: &str = "tests";

/// The verb that takes `--postgres` itself.
const COMPARE: &str = "compare";

/// What asks for another version of Postgres than the one that is there.
const VERSION: &str = "--postgres";

/// What a server needs whose slots are read.
const SETTINGS: &[(&str, &str)] = &[("wal_level", "logical")];

/// What is passed through.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// What the demo takes: --seconds N, --rate R, --kills K, --output json, --help; and --postgres MAJOR for a server of its own
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) rest: Vec<String>,
}

/// A bench or soak by its name, and what is passed through.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Which one
    name: String,
    /// What it takes; and --postgres MAJOR for a server of its own, of that version
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

/// `cargo xtask compare NAME …` is `demo compare NAME …`, which starts a server of its own in any case, also of another version.
pub(crate) fn compare(arguments: &Named) -> Outcome {
    hand_over(&[COMPARE, &arguments.name], &arguments.rest)
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

/// `cargo xtask drill NAME …` is `demo drill NAME …`; the list of drills needs no services.
pub(crate) fn drill(arguments: &Arguments) -> Outcome {
    if arguments.rest.iter().any(|word| word == "--list") {
        let [demo] = cargo::build([cargo::DEMO], "release")?;
        return Ok(exit_code(Command::new(demo).args(["drill", "--list"]).status()?));
    }
    hand_over(&["drill"], &arguments.rest)
}

fn hand_over(verb: &[&str], rest: &[String]) -> Outcome {
    let (major, rest) = match verb {
        [COMPARE, ..] => (None, rest.to_vec()),
        _ => take_major(rest)?,
    };
    let _server;
    let mut demo = if rest.iter().any(|word| word == "--help" || word == "-h") {
        // Nobody wants to wait for services in order to read.
        let [demo] = cargo::build([cargo::DEMO], "release")?;
        Command::new(demo)
    } else {
        let only = needed(verb);
        let wanted = UpOptions { only, progress: Progress::shown(), ..UpOptions::default() };
        let mut environment = services::obtain(&wanted)?;
        // Kept until the demo has ended.
        _server = match &major {
            Some(major) => {
                let server = PrivatePostgres::start(Some(*major), SETTINGS)?;
                environment.postgres = server.environment();
                Some(server)
            }
            None => None,
        };
        let [relay, demo] = cargo::build([cargo::RELAY, cargo::DEMO], "release")?;
        let environment = serde_json::to_string(&environment).expect("plain data is JSON");
        let mut demo = Command::new(demo);
        demo.env(services::VARIABLE, environment).env(RELAY_BINARY, relay);
        demo
    };
    Ok(exit_code(demo.args(verb).args(rest).status()?))
}

/// The services that a verb needs: the demo goes on behind Kafka; soaks that need ClickHouse or Redis have their own.
fn needed(verb: &[&str]) -> Vec<Service> {
    match verb {
        ["run"] => Service::ALL.to_vec(),
        _ => vec![Service::Postgres, Service::Kafka],
    }
}

/// Takes `--postgres MAJOR` out of what is passed on.
fn take_major(rest: &[String]) -> Result<(Option<u16>, Vec<String>), Failure> {
    let mut rest = rest.to_vec();
    let Some(at) = rest.iter().position(|word| word == VERSION) else { return Ok((None, rest)) };
    let major = rest.get(at + 1).and_then(|word| word.parse().ok()).filter(|major| MAJORS.contains(major));
    let major =
        major.ok_or_else(|| format!("{VERSION} takes a version from {} to {}", MAJORS.start(), MAJORS.end()))?;
    rest.drain(at..=at + 1);
    Ok((Some(major), rest))
}

/// The code to end with; what was killed by a signal has none of its own.
fn exit_code(status: ExitStatus) -> ExitCode {
    ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use crate::commands::demo::take_major;

    #[test]
    fn a_version_is_taken_out_of_what_is_passed_on() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let taken = |text| take_major(&words(text)).ok();
        assert_eq!(taken("--kills 3"), Some((None, words("--kills 3"))));
        assert_eq!(taken("--kills 3 --postgres 17 --keep"), Some((Some(17), words("--kills 3 --keep"))));
        assert_eq!((taken("--postgres"), taken("--postgres 9"), taken("--postgres new")), (None, None, None));
    }
}
