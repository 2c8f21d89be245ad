//! One Postgres cluster: copied from a template that `initdb` made once, configured, started, stopped.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::services::client::{last_lines, run};
use crate::services::environment::Postgres;
use crate::services::error::{Error, IoContext, Result};
use crate::services::home::{Home, partial_of, remove_tree, write_private};
use crate::services::postgres::binaries::Binaries;
use crate::services::process::{Process, Signal, wait_until};
use crate::services::progress::Task;

/// The superuser of every cluster.
pub(crate) const USER: &str = "postgres";

/// Crash recovery of a large backlog may take minutes; a start without one takes a tenth of a second.
const START_PATIENCE: Duration = Duration::from_secs(180);

/// How long what is left of a crashed server may hold its data.
const RELEASE_PATIENCE: Duration = Duration::from_secs(10);

/// A fast shutdown writes a checkpoint.
const STOP_PATIENCE: Duration = Duration::from_secs(60);

/// A data directory with the binaries it belongs to.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) binaries: Binaries,
    pub(crate) data: PathBuf,
    /// Where the socket is; open to the cluster's own user (and root) only, because the socket trusts.
    pub(crate) sockets: PathBuf,
    pub(crate) log: PathBuf,
}

impl Cluster {
    /// The data directory, copied from the template if it is not there yet.
    pub(crate) fn create(&self, home: &Home, task: &Task) -> Result<()> {
        if !self.data.join("PG_VERSION").exists() {
            let template = template(home, task, &self.binaries)?;
            remove_tree(&self.data)?;
            let partial = partial_of(&self.data);
            remove_tree(&partial)?;
            run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(&template).arg(&partial))?;
            fs::rename(&partial, &self.data).context("rename", &partial)?;
        }
        home.service_folder(&self.sockets)
    }

    /// The same by an `initdb` of its own: a cluster with another system identifier than all that come of the template.
    pub(crate) fn create_afresh(&self, home: &Home) -> Result<()> {
        initialise(home, &self.binaries, &home.password()?, &self.data)?;
        home.service_folder(&self.sockets)
    }

    /// Writes the settings of this start, the given ones last so that they win.
    pub(crate) fn configure(&self, home: &Home, port: u16, settings: &[(&str, &str)]) -> Result<()> {
        let sockets = self.sockets.display().to_string();
        let port = port.to_string();
        let ours = [
            ("listen_addresses", "127.0.0.1"),
            ("port", port.as_str()),
            ("unix_socket_directories", sockets.as_str()),
            ("wal_level", "logical"),
            ("max_replication_slots", "64"),
            ("max_wal_senders", "64"),
            ("max_connections", "200"),
            ("max_prepared_transactions", "10"),
            ("password_encryption", "scram-sha-256"),
        ];
        let text = ours.iter().chain(settings).map(|(name, value)| setting(name, value)).collect::<String>();
        self.write_own(home, "postrider.conf", &text)
    }

    /// Writes a file in the data directory that only the server may read.
    pub(crate) fn write_own(&self, home: &Home, name: &str, text: &str) -> Result<()> {
        let path = self.data.join(name);
        write_private(&path, text)?;
        home.user().own(&path)
    }

    /// Starts the server and waits until it accepts connections. After a crash of the postmaster alone its children,
    /// or its
    /// unreaped process, hold the data directory for a moment longer.
    pub(crate) fn start(&self, home: &Home) -> Result<(Process, Child)> {
        let since = Instant::now();
        loop {
            match self.try_start(home) {
                Err(Error::NotReady { reason, .. }) if is_held(&reason) && since.elapsed() < RELEASE_PATIENCE => {
                    sleep(Duration::from_millis(100));
                }
                outcome => return outcome,
            }
        }
    }

    fn try_start(&self, home: &Home) -> Result<(Process, Child)> {
        let mut command = self.binaries.command("postgres", home.user());
        let (process, mut child) = Process::spawn(command.arg("-D").arg(&self.data), &self.log)?;
        wait_until(START_PATIENCE, || self.is_ready(process) || !process.is_alive());
        if self.is_ready(process) && process.is_alive() {
            return Ok((process, child));
        }
        process.stop(Signal::QUIT, Duration::from_secs(5));
        let _ = child.wait();
        let end = fs::read_to_string(&self.log).map(|log| last_lines(&log)).unwrap_or_default();
        Err(Error::NotReady { service: "postgres", reason: end, log: self.log.clone() })
    }

    /// Whether the server says that it accepts connections: the eighth line of `postmaster.pid`, which is what
    /// `pg_ctl` looks at.
    pub(crate) fn is_ready(&self, process: Process) -> bool {
        fs::read_to_string(self.data.join("postmaster.pid")).is_ok_and(|text| says_ready(&text, process.pid()))
    }

    /// Its address.
    pub(crate) fn address(&self, port: u16, password: String) -> Postgres {
        address(port, self.sockets.clone(), password)
    }
}

/// How one of our clusters is reached.
pub(crate) fn address(port: u16, socket_dir: PathBuf, password: String) -> Postgres {
    Postgres { host: "127.0.0.1".to_owned(), port, socket_dir, user: USER.to_owned(), password }
}

/// A fast shutdown: sessions are ended, everything is written.
pub(crate) fn stop_fast(process: Process) {
    process.stop(Signal::INT, STOP_PATIENCE);
}

/// An immediate shutdown, as in a crash: the next start recovers from the WAL.
pub(crate) fn stop_immediate(process: Process) {
    process.stop(Signal::QUIT, Duration::from_secs(10));
}

/// The template of this version, made by `initdb` at its first use. What is copied from it has its system identifier.
fn template(home: &Home, task: &Task, binaries: &Binaries) -> Result<PathBuf> {
    let folder = home.path("cache").join(format!("template-postgres-{}", binaries.version));
    if folder.exists() {
        return Ok(folder);
    }
    let password = home.password()?;
    let _lock = home.lock("template-postgres")?;
    if folder.exists() {
        return Ok(folder);
    }
    task.say(&format!("initdb of Postgres {}", binaries.version));
    initialise(home, binaries, &password, &folder)?;
    Ok(folder)
}

/// Makes a data directory by `initdb`, whole or not at all.
fn initialise(home: &Home, binaries: &Binaries, password: &str, folder: &Path) -> Result<()> {
    let partial = partial_of(folder);
    remove_tree(&partial)?;
    home.service_folder(&partial)?;
    let password_file = partial.with_extension("password");
    write_private(&password_file, password)?;
    home.user().own(&password_file)?;
    let mut initdb = binaries.command("initdb", home.user());
    initdb.args(["--no-sync", "--encoding=UTF8", "--no-locale", "--auth-local=trust", "--auth-host=scram-sha-256"]);
    initdb.arg(format!("--username={USER}")).arg("--pwfile").arg(&password_file).arg("-D").arg(&partial);
    let made = run(&mut initdb);
    fs::remove_file(&password_file).context("remove", &password_file)?;
    made?;
    let main = partial.join("postgresql.conf");
    let text = fs::read_to_string(&main).context("read", &main)?;
    fs::write(&main, format!("{text}\ninclude 'postrider.conf'\n")).context("write", &main)?;
    fs::rename(&partial, folder).context("rename", &partial)
}

/// One line of a configuration file, the value quoted as
/// <https://www.postgresql.org/docs/current/config-setting.html> says.
fn setting(name: &str, value: &str) -> String {
    format!("{name} = '{}'\n", value.replace('\\', "\\\\").replace('\'', "''"))
}

fn says_ready(postmaster_pid: &str, pid: u32) -> bool {
    let mut lines = postmaster_pid.lines();
    let ours = lines.next().is_some_and(|line| line.trim() == pid.to_string());
    ours && lines.nth(6).is_some_and(|line| line.trim() == "ready")
}

/// Whether a start failed because somebody still has the data directory.
fn is_held(reason: &str) -> bool {
    reason.contains("lock file \"postmaster.pid\" already exists") || reason.contains("shared memory block")
}

/// Whether the cluster in `data` is served by `process` and accepts connections.
pub(crate) fn serves(data: &Path, process: Process) -> bool {
    process.is_alive()
        && fs::read_to_string(data.join("postmaster.pid")).is_ok_and(|text| says_ready(&text, process.pid()))
}

/// Whether a server answers on that port: every one answers a request for TLS with one letter
/// (<https://www.postgresql.org/docs/current/protocol-flow.html>).
pub(crate) fn answers(port: u16) -> bool {
    let patience = Duration::from_secs(2);
    let ask = || -> std::io::Result<u8> {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.write_all(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f])?;
        let mut answer = [0_u8];
        stream.read_exact(&mut answer)?;
        Ok(answer[0])
    };
    ask().is_ok_and(|answer| matches!(answer, b'S' | b'N'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_ready_when_its_own_pid_file_says_so() {
        let file = "4242\n/data\n1700000000\n25432\n/sockets\n127.0.0.1\n 123 456\nready   \n";
        assert!(says_ready(file, 4242));
        assert!(!says_ready(file, 4243));
        assert!(!says_ready(&file.replace("ready   ", "starting"), 4242));
        assert!(!says_ready("4242\n/data\n", 4242));
    }

    #[test]
    fn a_setting_is_quoted_so_that_any_value_survives() {
        assert_eq!(setting("search_path", r"a\b'c"), "search_path = 'a\\\\b''c'\n");
    }
}
