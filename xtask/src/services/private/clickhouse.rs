//! A ClickHouse that belongs to one test.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use serde::Serialize;

use crate::services::clickhouse::{self, Engine};
use crate::services::client::last_lines;
use crate::services::error::{Error, IoContext, Result};
use crate::services::home::{remove_tree, write_private};
use crate::services::port;
use crate::services::private::{Place, quiet_task, signal, start_on_free_ports};
use crate::services::process::{Process, Signal, wait_until};

/// Who may connect to a [`PrivateClickhouse`].
#[derive(Debug, Clone, Copy)]
pub struct ClickhouseUser<'a> {
    /// The name.
    pub name: &'a str,
    /// The password; an empty one lets in with any, as in the server.
    pub password: &'a str,
    /// May read and change settings, and no more (`readonly = 2`).
    pub reads_only: bool,
}

/// How its TLS port shows itself, and whom it lets in. All of it is PEM.
#[derive(Debug, Clone, Copy)]
pub struct ClickhouseTls<'a> {
    /// Its certificate, with the chain.
    pub chain: &'a str,
    /// Its key.
    pub key: &'a str,
    /// The authorities of which a client's certificate must be; without them a client needs none.
    pub clients: Option<&'a str>,
}

/// A ClickHouse of one's own: the engine of the shared one, on data of its own. Stopped, and its data removed, when
/// dropped.
///
/// Guarantee: what was acknowledged, and the tokens of what was inserted, survive [`Self::kill`]. They are in files that
/// were not forced to the disk (`fsync_after_insert = 0`, as the server's default is): a machine that loses its power
/// may lose them.
#[derive(Debug)]
pub struct PrivateClickhouse {
    place: Place,
    engine: Engine,
    port: u16,
    https_port: Option<u16>,
    has_client_authorities: bool,
    server: Option<(Process, Child)>,
}

impl PrivateClickhouse {
    /// Starts one that lets everybody in as `default`.
    ///
    /// # Errors
    /// If the engine cannot be had, or does not start.
    pub fn start() -> Result<Self> {
        Self::start_with(&[], None)
    }

    /// Starts one for these users alone (none: `default` without a password), and with a TLS port beside the plain one.
    ///
    /// # Errors
    /// As of [`PrivateClickhouse::start`].
    pub fn start_with(users: &[ClickhouseUser<'_>], tls: Option<ClickhouseTls<'_>>) -> Result<Self> {
        let task = quiet_task("clickhouse");
        let place = Place::new("clickhouse")?;
        let engine = Engine::get(&place.home, &task)?;
        fs::create_dir_all(place.folder.join("data")).context("create", &place.folder)?;
        let users = if users.is_empty() { &[ClickhouseUser::ANYBODY] } else { users };
        write_private(&place.folder.join(USERS), &known(users))?;
        let mut clickhouse = Self {
            place,
            engine,
            port: 0,
            https_port: None,
            has_client_authorities: tls.is_some_and(|tls| tls.clients.is_some()),
            server: None,
        };
        if let Some(tls) = tls {
            let folder = &clickhouse.place.folder;
            write_private(&folder.join(CERTIFICATE), tls.chain)?;
            write_private(&folder.join(KEY), tls.key)?;
            write_private(&folder.join(CLIENTS), tls.clients.unwrap_or_default())?;
            clickhouse.https_port = Some(port::choose(&[])?);
        }
        clickhouse.start_on_a_free_port()?;
        Ok(clickhouse)
    }

    /// The URL of its HTTP interface, the same over its whole life.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The same over TLS.
    ///
    /// # Panics
    /// If it was started without.
    #[must_use]
    pub fn https_url(&self) -> String {
        format!("https://localhost:{}", self.https_port.expect("TLS was asked for at the start"))
    }

    /// What the server said since its last start.
    #[must_use]
    pub fn log_path(&self) -> std::path::PathBuf {
        self.place.log()
    }

    /// A controlled shutdown: the request that is under way is answered.
    pub fn stop(&mut self) {
        self.end(Signal::TERM);
    }

    /// A crash: SIGKILL.
    pub fn kill(&mut self) {
        self.end(Signal::KILL);
    }

    /// Starts it after a stop: same ports, same data.
    ///
    /// # Errors
    /// If it does not come back.
    pub fn start_again(&mut self) -> Result<()> {
        if self.server.is_some() {
            return Ok(());
        }
        let log = self.place.log();
        let (process, mut child) = Process::spawn(&mut self.command()?, &log)?;
        let port = self.port;
        wait_until(Duration::from_secs(60), || clickhouse::is_ready(port) || !process.is_alive());
        if process.is_alive() && clickhouse::is_ready(port) {
            self.server = Some((process, child));
            return Ok(());
        }
        process.stop(Signal::KILL, Duration::from_secs(10));
        let _ = child.wait();
        let reason = fs::read_to_string(&log).map(|log| last_lines(&log)).unwrap_or_default();
        Err(Error::NotReady { service: "clickhouse", reason, log })
    }

    /// Freezes it (SIGSTOP): connections stay open and nothing is answered.
    pub fn pause(&self) {
        signal(&self.server, Signal::STOP);
    }

    /// Ends [`Self::pause`].
    pub fn resume(&self) {
        signal(&self.server, Signal::CONT);
    }

    fn command(&self) -> Result<Command> {
        let folder: &Path = &self.place.folder;
        let mut command = self.engine.command(self.port, &folder.join("data"))?;
        command.arg("--users").arg(folder.join(USERS));
        if let Some(port) = self.https_port {
            command.args(["--https-port", &port.to_string(), "--cert"]).arg(folder.join(CERTIFICATE));
            command.arg("--key").arg(folder.join(KEY));
            if self.has_client_authorities {
                command.arg("--ca").arg(folder.join(CLIENTS));
            }
        }
        Ok(command)
    }

    fn start_on_a_free_port(&mut self) -> Result<()> {
        start_on_free_ports(|| {
            self.port = port::choose(&[])?;
            self.start_again()
        })
    }

    fn end(&mut self, signal: Signal) {
        if let Some((process, mut child)) = self.server.take() {
            process.stop(signal, Duration::from_secs(20));
            let _ = child.wait();
        }
    }
}

impl Drop for PrivateClickhouse {
    fn drop(&mut self) {
        self.kill();
        let _ = remove_tree(&self.place.folder);
    }
}

/// Files in the instance's folder.
const USERS: &str = "users.json";
const CERTIFICATE: &str = "server.crt";
const KEY: &str = "server.key";
const CLIENTS: &str = "clients.crt";

impl ClickhouseUser<'static> {
    /// The user that a server has when nobody said anything of users.
    const ANYBODY: Self = Self { name: "default", password: "", reads_only: false };
}

/// A user as the front reads it.
#[derive(Serialize)]
struct Known<'a> {
    password: &'a str,
    readonly: u8,
}

fn known(users: &[ClickhouseUser<'_>]) -> String {
    let users: std::collections::BTreeMap<&str, Known<'_>> = users
        .iter()
        .map(|user| {
            let readonly = if user.reads_only { 2 } else { 0 };
            (user.name, Known { password: user.password, readonly })
        })
        .collect();
    serde_json::to_string(&users).expect("names and passwords are JSON")
}
