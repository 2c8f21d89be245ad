//! One process that we started, known by its id *and* the moment it started, so that no other process is ever
//! signalled.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, kill_process};
use serde::{Deserialize, Serialize};

pub(crate) use rustix::process::Signal;

use crate::services::error::{Error, IoContext, Result};

/// How often a process or a service is looked at while something is awaited: short against every start, long against
/// its cost.
pub(crate) const POLL: Duration = Duration::from_millis(10);

/// A process's identity: ids are reused, an id together with its start is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pid: u32,
    /// Field 22 of `/proc/<pid>/stat`: clock ticks since boot.
    started_ticks: u64,
}

impl Process {
    /// The calling process.
    pub(crate) fn this() -> Result<Self> {
        Self::of(std::process::id())
    }

    /// The process that has this id now.
    fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/stat");
        let stat = fs::read_to_string(&path).context("read", Path::new(&path))?;
        let (_, started_ticks) = parse_stat(&stat)
            .ok_or_else(|| Error::Unsupported(format!("{path} has an unknown form; native services need Linux")))?;
        Ok(Self { pid, started_ticks })
    }

    /// Starts `command` in its own process group, so that Ctrl-C in a terminal does not reach it, with its output in `log`.
    ///
    /// What the command before it said moves to `<log>.old`. Who runs is noted in `<log>.pid` at once: should we be killed
    /// before the start is complete, the next start ends what this one left.
    pub(crate) fn spawn(command: &mut Command, log: &Path) -> Result<(Self, Child)> {
        if let Some(left) = Self::noted(log) {
            left.stop(Signal::INT, Duration::from_secs(30));
        }
        if log.exists() {
            fs::rename(log, beside(log, ".old")).context("rename", log)?;
        }
        let output = File::options().create(true).append(true).open(log).context("open", log)?;
        let errors = output.try_clone().context("open", log)?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(|source| Error::io("start", Path::new(command.get_program()), source))?;
        match Self::of(child.id()).and_then(|process| process.note(log)) {
            Ok(process) => Ok((process, child)),
            Err(error) => {
                // A child that nobody knows could never be stopped later.
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// The process that was last started with this `log`.
    pub(crate) fn noted(log: &Path) -> Option<Self> {
        let text = fs::read_to_string(beside(log, ".pid")).ok()?;
        serde_json::from_str(&text).ok()
    }

    fn note(self, log: &Path) -> Result<Self> {
        let path = beside(log, ".pid");
        let text = serde_json::to_string(&self).expect("numbers are JSON");
        fs::write(&path, text).context("write", &path)?;
        Ok(self)
    }

    /// The process id.
    pub(crate) fn pid(self) -> u32 {
        self.pid
    }

    /// Whether this very process still runs (a zombie does not).
    pub(crate) fn is_alive(self) -> bool {
        fs::read_to_string(format!("/proc/{}/stat", self.pid))
            .ok()
            .and_then(|stat| parse_stat(&stat))
            .is_some_and(|(state, started)| started == self.started_ticks && !matches!(state, 'Z' | 'X'))
    }

    /// Sends a signal if this very process still runs.
    pub(crate) fn signal(self, signal: Signal) {
        if !self.is_alive() {
            return;
        }
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            // It may end between the look and the signal: then there is nothing left to do.
            let _ = kill_process(pid, signal);
        }
    }

    /// Asks with `signal`, waits, and kills what has not ended after `patience`. A stopped process is continued first.
    pub(crate) fn stop(self, signal: Signal, patience: Duration) {
        self.signal(signal);
        self.signal(Signal::CONT);
        if !self.wait_for_end(patience) {
            self.signal(Signal::KILL);
            self.wait_for_end(Duration::from_secs(10));
        }
    }

    /// Whether the process ended within `patience`.
    pub(crate) fn wait_for_end(self, patience: Duration) -> bool {
        wait_until(patience, || !self.is_alive())
    }
}

fn beside(log: &Path, ending: &str) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Whether `condition` came true within `patience`.
pub(crate) fn wait_until(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if start.elapsed() >= patience {
            return false;
        }
        sleep(POLL);
    }
}

/// State and start (ticks) of a `/proc/<pid>/stat` line. The name in brackets may itself hold brackets and blanks:
/// the last bracket counts
/// (<https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>).
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let started = fields.nth(18)?.parse().ok()?;
    Some((state, started))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_from_its_last_bracket() {
        let line =
            "4242 (a) b (c)) S 1 4242 4242 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 1000 10 18446744073709551615";
        assert_eq!(parse_stat(line), Some(('S', 98765)));
        assert_eq!(parse_stat("4242 (cut"), None);
        assert_eq!(parse_stat("4242 (cut) S 1"), None);
    }

    #[test]
    fn this_process_is_alive_and_one_that_started_at_another_moment_is_not() {
        let this = Process::this().unwrap();
        assert!(this.is_alive());
        let other = Process { started_ticks: this.started_ticks + 1, ..this };
        assert!(!other.is_alive());
    }

    fn new_log(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("postrider-process-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder.join("log")
    }

    #[test]
    fn what_a_start_left_running_is_ended_by_the_next() {
        let log = new_log("left");
        let (left, mut left_child) = Process::spawn(Command::new("sleep").arg("600"), &log).unwrap();
        assert_eq!(Process::noted(&log), Some(left));
        let (next, mut next_child) = Process::spawn(Command::new("sleep").arg("600"), &log).unwrap();
        assert!(!left.is_alive() && next.is_alive());
        next.stop(Signal::TERM, Duration::from_secs(10));
        left_child.wait().unwrap();
        next_child.wait().unwrap();
        fs::remove_dir_all(log.parent().unwrap()).unwrap();
    }

    #[test]
    fn an_ended_child_is_not_alive_even_before_it_is_reaped() {
        let log = new_log("ended");
        let (process, mut child) = Process::spawn(Command::new("sleep").arg("600"), &log).unwrap();
        assert!(process.is_alive());
        process.stop(Signal::TERM, Duration::from_secs(10));
        assert!(!process.is_alive());
        child.wait().unwrap();
        fs::remove_dir_all(log.parent().unwrap()).unwrap();
    }
}
