//! `cargo xtask fuzz`: every fuzz target in turn, for some seconds each, with what it found.
//!
//! What the fuzzers learn stays below `target/fuzz`; the tree's own corpus is only read. A finding is kept in
//! `fuzz/artifacts`, and the command that repeats it is printed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use clap::Args;

use crate::commands::{Failure, Outcome, cargo};

/// One input may take no longer than this, in seconds: more is a finding.
const INPUT_SECONDS_MAX: u32 = 20;

/// Memory that a target may take, in MiB: a frame may claim a gibibyte.
const MEMORY_MIB_MAX: u32 = 4096;

/// The kernel counts processor time in hundredths of a second (`USER_HZ`, which is the same on every platform of ours).
const TICKS_PER_SECOND: f64 = 100.0;

/// What to fuzz.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only this target: the name of a file in fuzz/fuzz_targets
    target: Option<String>,
    /// How long each target runs
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
}

/// What became of one target.
struct Verdict {
    inputs: u64,
    cpu_seconds: f64,
    passed: bool,
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let mut targets = targets()?;
    if let Some(only) = &arguments.target {
        if !targets.contains(only) {
            let known = targets.into_iter().collect::<Vec<_>>().join(", ");
            return Err(format!("there is no fuzz target {only:?}; there are: {known}").into());
        }
        targets = BTreeSet::from([only.clone()]);
    }
    let tools = obtain()?;
    say("building the fuzz targets\n")?;
    succeed(fuzz(&tools, "build").args(arguments.target.as_slice()))?;
    let mut failed = Vec::new();
    let (mut inputs, mut cpu_seconds) = (0, 0.0);
    for (number, target) in targets.iter().enumerate() {
        say(&format!("{:>2} of {}  {target:<12} {} s … ", number + 1, targets.len(), arguments.seconds))?;
        let verdict = fuzz_one(&tools, target, arguments.seconds)?;
        inputs += verdict.inputs;
        cpu_seconds += verdict.cpu_seconds;
        let word = if verdict.passed { "nothing found" } else { "FOUND" };
        say(&format!("{} inputs, {:.0} s of processor time: {word}\n", verdict.inputs, verdict.cpu_seconds))?;
        if !verdict.passed {
            failed.push(target.as_str());
        }
    }
    say(&format!("\n{} targets, {inputs} inputs, {:.2} h of processor time\n", targets.len(), cpu_seconds / 3600.0))?;
    match failed.as_slice() {
        [] => Ok(ExitCode::SUCCESS),
        failed => Err(format!(
            "found something in: {}; the inputs are in fuzz/artifacts, the words in {}; repeat one by: cargo fuzz run \
             --sanitizer none TARGET FILE",
            failed.join(", "),
            work("logs").display()
        )
        .into()),
    }
}

/// The targets of the tree.
fn targets() -> Result<BTreeSet<String>, Failure> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(xtask::root().join("fuzz/fuzz_targets"))? {
        names.extend(entry?.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    Ok(names)
}

/// Where everything that is made goes.
fn work(below: &str) -> PathBuf {
    xtask::root().join("target/fuzz").join(below)
}

/// A folder to put before the search path: that of cargo-fuzz, which is installed there unless somebody has it already.
fn obtain() -> Result<PathBuf, Failure> {
    let tools = work("tools");
    let has = |tools: &Path| {
        let mut version = fuzz(tools, "--version");
        version.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    if !has(&tools) {
        say("installing cargo-fuzz below target/fuzz/tools\n")?;
        let mut install = cargo::cargo();
        succeed(install.args(["install", "cargo-fuzz", "--locked", "--quiet", "--root"]).arg(&tools))?;
    }
    Ok(tools)
}

/// `cargo fuzz VERB`. Without a sanitizer: there is no unsafe code of ours that one could watch, and stable Rust has none.
fn fuzz(tools: &Path, verb: &str) -> Command {
    let mut command = cargo::cargo();
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(tools.join("bin")).chain(std::env::split_paths(&paths));
    if let Ok(paths) = std::env::join_paths(paths) {
        command.env("PATH", paths);
    }
    command.env("CARGO_TARGET_DIR", work("build")).args(["fuzz", verb]).stdin(Stdio::null());
    if verb != "--version" {
        command.args(["--sanitizer", "none"]);
    }
    command
}

fn fuzz_one(tools: &Path, target: &str, seconds: u32) -> Result<Verdict, Failure> {
    let (corpus, logs) = (work("corpus").join(target), work("logs"));
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&logs)?;
    let path = logs.join(format!("{target}.log"));
    let log = File::create(&path)?;
    let before = children_seconds();
    // What is new goes to the first of the two folders.
    let mut command = fuzz(tools, "run");
    command.arg(target).arg(&corpus).arg(xtask::root().join("fuzz/corpus").join(target)).arg("--").args([
        format!("-max_total_time={seconds}"),
        format!("-timeout={INPUT_SECONDS_MAX}"),
        format!("-rss_limit_mb={MEMORY_MIB_MAX}"),
        "-print_final_stats=1".to_owned(),
    ]);
    let status = command.stdout(log.try_clone()?).stderr(log).status()?;
    let said = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
    Ok(Verdict { inputs: inputs(&said), cpu_seconds: children_seconds() - before, passed: status.success() })
}

/// How many inputs were tried, in the words of libFuzzer.
fn inputs(said: &str) -> u64 {
    let line = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or_default()
}

/// Processor time of all children that have ended, in seconds; 0 where the system does not tell
/// (<https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>, `cutime` and `cstime`).
fn children_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is a name in parentheses, which may hold spaces.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace();
    fields.skip(13).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}

fn succeed(command: &mut Command) -> Result<(), Failure> {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("cargo ended with {status}").into()) }
}

fn say(text: &str) -> Result<(), Failure> {
    stdout().write_all(text.as_bytes())?;
    Ok(stdout().flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_inputs_is_read_from_the_words_of_the_fuzzer() {
        assert_eq!(inputs("Done 7 runs\nstat::number_of_executed_units: 1234\nstat::new_units_added: 2\n"), 1234);
        assert_eq!(inputs("it ended early"), 0);
    }

    #[test]
    fn a_target_that_is_not_there_is_answered_with_those_that_are() {
        let error = run(&Arguments { target: Some("frame".into()), seconds: 1 }).expect_err("no such target");
        assert!(error.to_string().contains("frames"), "{error}");
    }
}
