//! The relay and its workers as a user runs them: a binary, a configuration file in a folder, `migrate`, `init` and `run`, `load` or
//! `invalidate`; and what no user does, a SIGKILL at any moment.

use std::fs::{self, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::error::{Doing, Error, Result};
use crate::procfs::Usage;

/// Names the relay's binary to use.
pub const BINARY_VARIABLE: &str = "POSTRIDER_RELAY_BINARY";

/// Tells the relay's verbs whom to connect as; in a variable, a password is in no list of processes.
const ADMIN_URL_VARIABLE: &str = "POSTRIDER_ADMIN_URL";

/// How many of the log's last lines an error shows.
const LOG_LINES_SHOWN: usize = 25;
/// How long the relay may take to end after SIGTERM: its own drain deadline and some.
const STOP_MAX: Duration = Duration::from_secs(40);

/// The verb of the relay itself.
const RUN: &str = "run";

/// A relay's binary with its configuration and the role it plays; at most one process of it runs at a time.
#[derive(Debug, Clone)]
pub struct Relay {
    binary: PathBuf,
    role: &'static str,
    admin_url: String,
    config: PathBuf,
    log: PathBuf,
    variables: Vec<(String, String)>,
}

/// A running relay process. Dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    role: &'static str,
    child: Child,
    started: Instant,
    usage: Usage,
    log: PathBuf,
}

impl Relay {
    /// The role of the worker that fills ClickHouse.
    pub const LOAD: &'static str = "load";
    /// The role of the worker that invalidates Redis.
    pub const INVALIDATE: &'static str = "invalidate";

    /// Takes the binary named by the environment and writes `config` as `postrider.toml` into `folder`.
    pub fn configure(folder: &Path, config: &Config<'_>) -> Result<Self> {
        Self::with_file(folder, &config.toml(), config.admin_url())
    }

    /// The same with the text of a `postrider.toml`, and the URL by which an administrator reaches the database.
    pub fn with_file(folder: &Path, toml: &str, admin_url: String) -> Result<Self> {
        Self::write(RUN, (&folder.join("postrider.toml"), toml), folder.join("relay.log"), admin_url)
    }

    /// A worker: `load` or `invalidate`, with a configuration file and a log that are called after it.
    pub fn worker(folder: &Path, role: &'static str, toml: &str) -> Result<Self> {
        let (config, log) = (folder.join(format!("{role}.toml")), folder.join(format!("{role}.log")));
        Self::write(role, (&config, toml), log, String::new())
    }

    fn write(role: &'static str, (config, toml): (&Path, &str), log: PathBuf, admin_url: String) -> Result<Self> {
        let binary = std::env::var_os(BINARY_VARIABLE).map(PathBuf::from).ok_or_else(|| {
            Error::Relay(format!(
                "{BINARY_VARIABLE} is not set: start this with `cargo xtask demo`, which builds the relay"
            ))
        })?;
        fs::write(config, toml).doing(format!("writing {}", config.display()))?;
        Ok(Self { binary, role, admin_url, config: config.to_owned(), log, variables: Vec::new() })
    }

    /// The verb that its processes run: `run`, `load` or `invalidate`.
    pub fn role(&self) -> &'static str {
        self.role
    }

    /// Sets a key by its variable, such as `POSTRIDER_KAFKA_LINGER_MS`.
    #[must_use]
    pub fn with(mut self, variable: &str, value: &str) -> Self {
        self.variables.push((variable.to_owned(), value.to_owned()));
        self
    }

    /// Where everything the relay's processes write is appended to.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Runs a verb that ends by itself, such as `init`, with an administrator's rights.
    pub fn complete(&self, verb: &str) -> Result<()> {
        self.ask(&[verb]).map(drop)
    }

    /// Runs words such as `dlq list --output json` to their end, with an administrator's rights; what they print.
    pub fn ask(&self, words: &[&str]) -> Result<String> {
        let mut command = self.command(words);
        if !self.admin_url.is_empty() {
            command.env(ADMIN_URL_VARIABLE, &self.admin_url);
        }
        let words = words.join(" ");
        let output = command.output().doing(format!("running postrider {words}"))?;
        let out = String::from_utf8_lossy(&output.stdout);
        if output.status.success() {
            return Ok(out.into_owned());
        }
        let err = String::from_utf8_lossy(&output.stderr);
        Err(Error::Relay(format!("postrider {words} ended with {}\n{out}{err}", output.status)))
    }

    /// Starts a process of its role.
    pub fn start(&self) -> Result<Process> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .doing(format!("opening {}", self.log.display()))?;
        let also = log.try_clone().doing("sharing the relay's log")?;
        let started = Instant::now();
        let child = self
            .command(&[self.role])
            .stdout(log)
            .stderr(also)
            .spawn()
            .doing(format!("starting {}", self.binary.display()))?;
        Ok(Process { role: self.role, child, started, usage: Usage::default(), log: self.log.clone() })
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(words).arg("--config").arg(&self.config).stdin(Stdio::null());
        // The relay refuses variables of its own prefix that it does not know, and must not be configured by ours.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"POSTRIDER_")) {
            command.env_remove(name);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl Process {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// When it was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Reads what it has used; an error if it has ended by itself, which a relay never does.
    pub fn check(&mut self) -> Result<Usage> {
        self.usage = self.usage.latest(Usage::of(self.pid()));
        match self.child.try_wait().doing("looking after the relay")? {
            None => Ok(self.usage),
            Some(status) => Err(self.ended(status)),
        }
    }

    /// Ends it by SIGKILL, as an out-of-memory killer would; what it had used until then.
    pub fn kill(mut self) -> Result<Usage> {
        self.check()?;
        self.child.kill().doing("killing the relay")?;
        // Not yet waited for, it still tells its CPU time.
        self.usage = self.usage.latest(Usage::of(self.pid()));
        self.child.wait().doing("waiting for the killed relay")?;
        Ok(self.usage)
    }

    /// Ends it by SIGTERM and waits until it has drained; what it had used.
    pub fn stop(mut self) -> Result<Usage> {
        self.check()?;
        let pid = self.pid().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().doing("sending SIGTERM to the relay")?;
        let deadline = Instant::now() + STOP_MAX;
        loop {
            let usage = Usage::of(self.pid());
            self.usage = self.usage.latest(usage);
            match self.child.try_wait().doing("waiting for the relay to drain")? {
                Some(status) if status.success() => return Ok(self.usage),
                Some(status) => return Err(self.ended(status)),
                None if Instant::now() > deadline => {
                    return Err(Error::Relay(format!(
                        "postrider {} did not end within {STOP_MAX:?} of SIGTERM\n{}",
                        self.role,
                        self.log_end()
                    )));
                }
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// Waits until it has ended by itself, as one does that reads a snapshot only; what it had used.
    pub fn finish(mut self, patience: Duration) -> Result<Usage> {
        let deadline = Instant::now() + patience;
        loop {
            self.usage = self.usage.latest(Usage::of(self.pid()));
            match self.child.try_wait().doing("waiting for the relay's end")? {
                Some(status) if status.success() => return Ok(self.usage),
                Some(status) => return Err(self.ended(status)),
                None if Instant::now() > deadline => {
                    return Err(Error::Relay(format!("the relay did not end within {patience:?}\n{}", self.log_end())));
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    fn ended(&self, status: ExitStatus) -> Error {
        let how = status.signal().map_or_else(|| status.to_string(), |signal| format!("signal {signal}"));
        let role = self.role;
        Error::Relay(format!("postrider {role} ended by itself with {how}; the end of its log:\n{}", self.log_end()))
    }

    fn log_end(&self) -> String {
        log_end(&self.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already ended is the usual case; then both do nothing.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The last lines of a log file.
pub fn log_end(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
}
