//! `cargo xtask test`: form, lints, documentation, services and every test, each step with the time it took.
//!
//! The first step that fails ends the run and is named; services that were not running before start empty and are stopped and
//! emptied again either way.

use std::io::{BufRead, BufReader, IsTerminal, Write, stderr, stdout};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use clap::Args;
use xtask::services::{self, MAJORS, Progress, UpOptions};

use crate::commands::demo::RELAY_BINARY;
use crate::commands::{Failure, Outcome, cargo};

/// Tells the end-to-end tests that their outages shall have their full length.
const SOAK: &str = "POSTRIDER_SOAK";

/// Every package, with every feature.
const EVERYTHING: [&str; 2] = ["--workspace", "--all-features"];

/// What to test.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only tests whose name contains this; form, lints and documentation are passed over
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
    /// Leave the services running
    #[arg(long)]
    keep: bool,
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let start = Instant::now();
    if arguments.filter.is_none() {
        step("fmt", || succeed(cargo::cargo().args(["fmt", "--all", "--check"])))?;
        let clippy = ["clippy", "--workspace", "--all-targets", "--all-features", "--quiet", "--", "-D", "warnings"];
        step("clippy", || succeed(cargo::cargo().args(clippy)))?;
        let sidecar =
            ["clippy", "--package", "postrider-relay", "--no-default-features", "--quiet", "--", "-D", "warnings"];
        step("clippy of a sidecar", || succeed(cargo::cargo().args(sidecar)))?;
        step("doc", documentation)?;
    }
    // What thousands of topics of an earlier run are worth is minutes of their recovery.
    let ours = if std::env::var_os(services::VARIABLE).is_none() { services::discard()? } else { Vec::new() };
    let counts = step("services", start_services)
        .and_then(|()| step("build", || cargo::build_tests(&EVERYTHING)))
        .and_then(|relay| step("test", || tests(&relay, &EVERYTHING, arguments.filter.as_slice(), false)));
    services::sweep()?;
    if !arguments.keep && !ours.is_empty() {
        step("stop", || Ok(services::down(&ours, true)?))?;
    }
    let counts = counts?;
    say(&format!("\nall steps passed in {:.0} s\n{}\n", start.elapsed().as_secs_f64(), counts.line()))?;
    Ok(ExitCode::SUCCESS)
}

/// The end-to-end tests (all, or those whose name contains the first of `filter`) with their outages in full length.
pub(crate) fn soak(filter: &[String]) -> Outcome {
    step("services", start_services)?;
    // With every feature: crashes need the failpoints.
    let what = ["--package", "postrider-relay", "--package", "end-to-end", "--all-features"];
    let relay = step("build", || cargo::build_tests(&what))?;
    let counts = step("soak", || tests(&relay, &["--package", "end-to-end"], filter, true))?;
    say(&format!("\n{}\n", counts.line()))?;
    Ok(ExitCode::SUCCESS)
}

/// Runs one step between two lines that name it; its error names it too.
fn step<T>(name: &str, run: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    say(&format!("== {name}\n"))?;
    let start = Instant::now();
    let outcome = run();
    let seconds = start.elapsed().as_secs_f64();
    match &outcome {
        Ok(_) => say(&format!("== {name}: passed in {seconds:.1} s\n"))?,
        Err(_) => say(&format!("== {name}: FAILED after {seconds:.1} s\n"))?,
    }
    outcome.map_err(|error| Failure::from(StepFailed { step: name.to_owned(), source: error }))
}

/// A step's error with the step's name.
#[derive(Debug, thiserror::Error)]
#[error("step `{step}` failed")]
struct StepFailed {
    step: String,
    source: Failure,
}

fn documentation() -> Result<(), Failure> {
    let flags = std::env::var("RUSTDOCFLAGS").unwrap_or_default();
    let mut doc = cargo::cargo();
    doc.args(["doc", "--workspace", "--no-deps", "--all-features", "--quiet"]);
    succeed(doc.env("RUSTDOCFLAGS", format!("{flags} -D warnings").trim_start()))
}

/// Starts what the tests share, and fetches what their private instances need: no test should wait for a download.
fn start_services() -> Result<(), Failure> {
    let progress = Progress::shown();
    services::obtain(&UpOptions { progress: progress.clone(), ..UpOptions::default() })?;
    services::fetch_postgres(&[*MAJORS.start(), *MAJORS.end()], &progress)?;
    services::promtool::promtool(&progress)?;
    Ok(())
}

fn tests(relay: &Path, what: &[&str], filter: &[String], soak: bool) -> Result<Counts, Failure> {
    let environment = serde_json::to_string(&services::current()?).expect("plain data is JSON");
    let mut command = cargo::cargo();
    command.args(["test", "--no-fail-fast"]).args(what).args(filter);
    if stdout().is_terminal() {
        command.args(["--", "--color", "always"]);
    }
    command.env(services::VARIABLE, environment).env(RELAY_BINARY, relay).stdin(Stdio::null()).stdout(Stdio::piped());
    if soak {
        command.env(SOAK, "1");
    }
    let mut child = command.spawn()?;
    let mut counts = Counts::default();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).split(b'\n') {
            let line = line?;
            counts.add(&String::from_utf8_lossy(&line));
            stdout().write_all(&line)?;
            stdout().write_all(b"\n")?;
        }
    }
    let status = child.wait()?;
    match status.success() {
        true if counts.passed == 0 => Err("no test ran".into()),
        true => Ok(counts),
        false => Err(format!("cargo test ended with {status}: {}", counts.line()).into()),
    }
}

/// The sums of all `test result:` lines.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Counts {
    fn add(&mut self, line: &str) {
        let Some((_, result)) = line.split_once("test result: ") else { return };
        let mut before = "";
        for word in result.split_ascii_whitespace() {
            let number = before.parse().unwrap_or(0);
            match word {
                "passed;" => self.passed += number,
                "failed;" => self.failed += number,
                "ignored;" => self.ignored += number,
                _ => {}
            }
            before = word;
        }
    }

    fn line(&self) -> String {
        format!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.ignored)
    }
}

fn succeed(command: &mut Command) -> Result<(), Failure> {
    let status = command.stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(format!("it ended with {status}").into()) }
}

fn say(text: &str) -> Result<(), Failure> {
    // Both streams usually end in one log: what was said before must stand before.
    stderr().flush()?;
    stdout().write_all(text.as_bytes())?;
    Ok(stdout().flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_all_result_lines_are_summed_with_and_without_colour() {
        let mut counts = Counts::default();
        counts.add("running 3 tests");
        counts.add("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s");
        counts.add("test result: \u{1b}[31mFAILED\u{1b}[0m. 4 passed; 2 failed; 0 ignored; 0 measured; 9 filtered out");
        assert_eq!(counts, Counts { passed: 7, failed: 2, ignored: 1 });
        assert_eq!(counts.line(), "7 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn a_failed_step_is_named_before_its_reason() {
        let error = step("lint", || Err::<(), Failure>("too long".into())).unwrap_err();
        assert_eq!(error.to_string(), "step `lint` failed");
        assert_eq!(error.source().unwrap().to_string(), "too long");
    }
}
