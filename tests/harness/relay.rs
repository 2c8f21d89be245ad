//! The relay as a user runs it: a process with a configuration, probes, a log and an exit code; and what no user does, a SIGKILL.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use demo::procfs::Usage;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::binary;
use crate::wait::{LOOK_AGAIN, PATIENCE, until, until_or};

/// A relay that is about to be started.
#[derive(Debug, Clone)]
pub struct Launch {
    pub(crate) config: PathBuf,
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) arguments: Vec<String>,
    pub(crate) file_bytes_max: Option<u64>,
}

impl Launch {
    /// A relay with this configuration file.
    #[must_use]
    pub fn of(config: PathBuf) -> Self {
        Self { config, variables: Vec::new(), arguments: Vec::new(), file_bytes_max: None }
    }

    /// Sets a key by its variable, such as `POSTRIDER_RETRY_MAX_MS`.
    #[must_use]
    pub fn with(mut self, variable: &str, value: &str) -> Self {
        self.variables.push((variable.to_owned(), value.to_string()));
        self
    }

    /// Adds an argument after the verb.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Lets no file grow beyond so many bytes (a multiple of 512): what is written there fails in the middle, as on a full disk.
    #[must_use]
    pub fn file_bytes_max(mut self, bytes: u64) -> Self {
        self.file_bytes_max = Some(bytes);
        self
    }

    /// Starts `postrider run`.
    ///
    /// # Panics
    /// If the binary cannot be started.
    #[must_use]
    pub fn start(&self) -> Relay {
        self.start_as("run")
    }

    /// Starts a long-running role: `run`, `load` or `invalidate`.
    ///
    /// # Panics
    /// If the binary cannot be started.
    #[must_use]
    pub fn start_as(&self, role: &str) -> Relay {
        let mut child = self.command(role).stderr(Stdio::piped()).spawn().expect("the relay's binary starts");
        let stderr = child.stderr.take().expect("standard error is piped");
        let log = Arc::new(Mutex::new(String::new()));
        let shared = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = shared.lock().unwrap_or_else(PoisonError::into_inner);
                log.push_str(&line);
                log.push('\n');
            }
        });
        Relay { child, log }
    }

    /// Runs a verb that ends by itself, such as `init`.
    ///
    /// # Panics
    /// If the binary cannot be started.
    #[must_use]
    pub fn complete(&self, verb: &str) -> Ended {
        let output = self.command(verb).output().expect("the relay's binary starts");
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        Ended { status: output.status, said }
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = match self.file_bytes_max {
            // The signal is ignored by whoever is executed, too: it sees an error.
            Some(bytes) => {
                let limited = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", bytes / 512);
                let mut shell = Command::new("sh");
                shell.arg("-c").arg(limited).arg(binary::relay());
                shell
            }
            None => Command::new(binary::relay()),
        };
        command.arg(verb).arg("--config").arg(&self.config).args(&self.arguments).stdin(Stdio::null());
        // The relay refuses variables of its own prefix that it does not know, and must not be configured by ours.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"POSTRIDER_")) {
            command.env_remove(name);
        }
        command.env("NO_COLOR", "1").envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// How a process ended, and all that it said.
#[derive(Debug)]
pub struct Ended {
    status: ExitStatus,
    said: String,
}

impl Ended {
    /// Its exit code; none if a signal ended it.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// All that it wrote.
    #[must_use]
    pub fn said(&self) -> &str {
        &self.said
    }

    /// Insists on an exit code and on words that a person needs.
    ///
    /// # Panics
    /// If one of them is missing.
    #[track_caller]
    pub fn expect(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code(), Some(code), "{} (signal {:?})", self.said, self.status.signal());
        expect_words(&self.said, words);
    }
}

#[track_caller]
fn expect_words(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not said in:\n{text}");
    }
}

/// A running relay. Dropped, it is killed.
#[derive(Debug)]
pub struct Relay {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Relay {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has used so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage::of(self.pid())
    }

    /// Everything it logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until events flow.
    ///
    /// # Panics
    /// If it ends, or takes longer than a relay may.
    pub async fn ready(&mut self) {
        self.probe("the relay is ready", |code, body| code == 200 && body == "ready\n").await;
    }

    /// Waits until it stands by while another relay reads the slot; what it says of that one.
    ///
    /// # Panics
    /// If it ends, or takes longer than a relay may.
    pub async fn stands_by(&mut self) -> String {
        self.probe("the relay stands by", |code, body| code == 200 && body.starts_with("standby: ")).await
    }

    /// Stops it by SIGSTOP, as a debugger or a frozen container would.
    ///
    /// # Panics
    /// If it cannot be signalled.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on after [`Relay::freeze`].
    ///
    /// # Panics
    /// If it cannot be signalled.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("a child can be signalled");
    }

    /// Waits until it is not ready for a reason that holds all these words; the whole answer.
    ///
    /// # Panics
    /// If it ends, or never says so.
    pub async fn unready(&mut self, words: &[&str]) -> String {
        let what = format!("the relay is not ready and says {words:?}");
        self.probe(&what, |code, body| code == 503 && words.iter().all(|word| body.contains(word))).await
    }

    async fn probe(&mut self, what: &str, fits: impl Fn(u16, &str) -> bool) -> String {
        let mut last = None;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some((code, body)) = self.get("/ready").await {
                if fits(code, &body) {
                    return body;
                }
                last = Some(body);
            }
            let over = Instant::now() > deadline;
            let ended = self.child.try_wait().expect("the child is ours");
            assert!(!over && ended.is_none(), "{what}: ended {ended:?}, last answer {last:?}\n{}", self.log());
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits until its log holds all these words.
    ///
    /// # Panics
    /// If it never does.
    pub async fn logs(&self, words: &[&str]) {
        let says = async || words.iter().all(|word| self.log().contains(word)).then_some(());
        until_or(PATIENCE, says, || format!("the log says {words:?}\n{}", self.log())).await;
    }

    /// The value of a metric, summed over its labels; 0 if it does not show yet.
    ///
    /// # Panics
    /// If the metrics do not answer.
    pub async fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics").await.expect("the metrics answer");
        let series = text.lines().filter_map(|line| line.strip_prefix(name));
        let of_this_name = series.filter(|rest| rest.starts_with([' ', '{']));
        of_this_name.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Status code and body of a path of the admin server; nothing if it does not answer (yet).
    pub async fn get(&self, path: &str) -> Option<(u16, String)> {
        let address = self.admin()?;
        let mut stream = TcpStream::connect(address).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let code = answer.split(' ').nth(1)?.parse().ok()?;
        Some((code, answer.split_once("\r\n\r\n")?.1.to_owned()))
    }

    /// The address of the admin server, which took a free port and logs it.
    #[must_use]
    pub fn admin(&self) -> Option<SocketAddr> {
        let log = self.log();
        let line = log.lines().find(|line| line.contains("/ready") && line.contains("127.0.0.1:"))?;
        let port = line.split("127.0.0.1:").nth(1)?;
        let end = port.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(port.len());
        Some(SocketAddr::from(([127, 0, 0, 1], port[..end].parse().ok()?)))
    }

    /// Ends it by SIGKILL, as an out-of-memory killer would.
    ///
    /// # Panics
    /// If it had ended before by itself.
    pub fn kill(mut self) {
        let ended = self.child.try_wait().expect("the child is ours");
        assert!(ended.is_none(), "the relay ended by itself: {ended:?}\n{}", self.log());
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Asks it by SIGTERM to end, and waits until it has.
    ///
    /// # Panics
    /// If it does not end.
    pub async fn terminate(self) -> Ended {
        self.signal(Signal::TERM);
        self.ended().await
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// If it does not end.
    pub async fn ended(mut self) -> Ended {
        let log = Arc::clone(&self.log);
        let text = || log.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let ended = async || self.child.try_wait().expect("the child is ours");
        let status = until_or(PATIENCE, ended, || format!("the relay ends\n{}", text())).await;
        // The thread that reads the pipe lets go of the log at its end.
        until("the last words are read", PATIENCE, async || (Arc::strong_count(&log) == 2).then_some(())).await;
        Ended { status, said: text() }
    }
}

impl Drop for Relay {
    #[expect(clippy::print_stdout, reason = "the test runner shows it if the test fails")]
    fn drop(&mut self) {
        // Already ended is the usual case; then both do nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("the relay's log:\n{}", self.log());
        }
    }
}
