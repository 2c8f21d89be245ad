//! A Redis that belongs to one test, alone or as three masters of a cluster.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use crate::services::client::last_lines;
use crate::services::error::{Error, IoContext, Result};
use crate::services::home::{remove_tree, write_private};
use crate::services::port;
use crate::services::private::{Place, quiet_task, signal, start_on_free_ports};
use crate::services::process::{Process, Signal, wait_until};
use crate::services::redis;

const START_PATIENCE: Duration = Duration::from_secs(60);
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// Slots of a cluster (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>).
const SLOTS: u32 = 16_384;

/// A Redis of one's own, which keeps what it was told over a stop and a kill. Stopped, and its data removed, when dropped.
#[derive(Debug)]
pub struct PrivateRedis {
    place: Place,
    settings: Vec<(String, String)>,
    port: u16,
    tls_port: Option<u16>,
    bus_port: Option<u16>,
    server: Option<(Process, Child)>,
}

/// How a Redis speaks TLS, all of it PEM.
#[derive(Debug, Clone, Copy)]
pub struct RedisTls<'a> {
    /// The server's certificate and those above it.
    pub chain: &'a str,
    /// Its key.
    pub key: &'a str,
    /// Whose certificates of clients it demands and believes; without, it demands none.
    pub clients: Option<&'a str>,
}

impl PrivateRedis {
    /// Starts one with further lines of `redis.conf`, each a name and the rest of its line, which win over ours. A user is such
    /// a line: `("user", "worker on >password ~feed:* +@all")`.
    ///
    /// # Errors
    /// If the server cannot be had, or does not accept these settings.
    pub fn start(settings: &[(&str, &str)]) -> Result<Self> {
        Self::prepared(settings)?.started()
    }

    /// Starts one that speaks TLS on a port of its own, [`tls_port`](Self::tls_port), beside the plain one.
    ///
    /// # Errors
    /// As of [`PrivateRedis::start`], and if the certificate cannot be read.
    pub fn start_secure(tls: RedisTls<'_>, settings: &[(&str, &str)]) -> Result<Self> {
        let mut redis = Self::prepared(settings)?;
        let folder = redis.place.folder.clone();
        for (setting, name, text) in [
            ("tls-cert-file", "server.crt", tls.chain),
            ("tls-key-file", "server.key", tls.key),
            // The server wants to know an authority even where it asks no client for a certificate.
            ("tls-ca-cert-file", "clients.crt", tls.clients.unwrap_or(tls.chain)),
        ] {
            let path = folder.join(name);
            write_private(&path, text)?;
            redis.set(setting, &path.display().to_string());
        }
        redis.set("tls-auth-clients", if tls.clients.is_some() { "yes" } else { "no" });
        redis.tls_port = Some(0);
        redis.started()
    }

    /// Its plain port, the same over its whole life.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its TLS port, the same over its whole life.
    ///
    /// # Panics
    /// If it was not started by [`PrivateRedis::start_secure`].
    #[must_use]
    pub fn tls_port(&self) -> u16 {
        self.tls_port.expect("TLS was asked for at the start")
    }

    /// `redis://127.0.0.1:port/`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// What the server said since its last start.
    #[must_use]
    pub fn log_path(&self) -> std::path::PathBuf {
        self.place.log()
    }

    /// Adds or replaces a line of `redis.conf`; it holds from the next start on. Lines that may be repeated are added by a
    /// start alone.
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    /// An orderly shutdown.
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
        if self.server.is_none() {
            self.server = Some(self.run()?);
        }
        Ok(())
    }

    /// Freezes it (SIGSTOP): connections stay open and nothing is answered.
    pub fn pause(&self) {
        signal(&self.server, Signal::STOP);
    }

    /// Ends [`Self::pause`].
    pub fn resume(&self) {
        signal(&self.server, Signal::CONT);
    }

    /// A place and settings, and nothing that runs.
    fn prepared(settings: &[(&str, &str)]) -> Result<Self> {
        let place = Place::new("redis")?;
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Ok(Self { place, settings, port: 0, tls_port: None, bus_port: None, server: None })
    }

    /// Starts it on free ports.
    fn started(mut self) -> Result<Self> {
        start_on_free_ports(|| {
            let mut taken = Vec::new();
            self.port = another(&mut taken)?;
            self.tls_port = self.tls_port.map(|_| another(&mut taken)).transpose()?;
            self.bus_port = self.bus_port.map(|_| another(&mut taken)).transpose()?;
            self.start_again()
        })?;
        Ok(self)
    }

    fn run(&self) -> Result<(Process, Child)> {
        let program = redis::server(&self.place.home, &quiet_task("redis"))?;
        let data = self.place.folder.join("data");
        fs::create_dir_all(&data).context("create", &data)?;
        let file = self.place.folder.join("redis.conf");
        write_private(&file, &self.configuration(&data))?;
        let mut command = Command::new(program);
        command.arg(&file).current_dir("/");
        let log = self.place.log();
        let (process, mut child) = Process::spawn(&mut command, &log)?;
        let is_ready = || redis::is_ready(self.port) || !process.is_alive();
        if wait_until(START_PATIENCE, is_ready) && process.is_alive() {
            return Ok((process, child));
        }
        process.stop(Signal::KILL, STOP_PATIENCE);
        let _ = child.wait();
        let reason = fs::read_to_string(&log).map(|log| last_lines(&log)).unwrap_or_default();
        Err(Error::NotReady { service: "redis", reason, log })
    }

    /// `redis.conf`; the given lines last, so that they win.
    fn configuration(&self, data: &Path) -> String {
        let mut text =
            format!("bind 127.0.0.1\nport {}\nsave \"\"\nappendonly yes\ndir \"{}\"\n", self.port, data.display());
        if let Some(port) = self.tls_port {
            text.push_str(&format!("tls-port {port}\n"));
        }
        if let Some(port) = self.bus_port {
            text.push_str(&format!("cluster-enabled yes\ncluster-port {port}\ncluster-node-timeout 2000\n"));
        }
        for (name, value) in &self.settings {
            text.push_str(&format!("{name} {value}\n"));
        }
        text
    }

    fn end(&mut self, ask: Signal) {
        if let Some((process, mut child)) = self.server.take() {
            process.stop(ask, STOP_PATIENCE);
            let _ = child.wait();
        }
    }
}

impl Drop for PrivateRedis {
    fn drop(&mut self) {
        self.kill();
        let _ = remove_tree(&self.place.folder);
    }
}

/// A free port beside those already `taken`: a port is free until it is listened on.
fn another(taken: &mut Vec<u16>) -> Result<u16> {
    loop {
        let port = port::choose(&[])?;
        if !taken.contains(&port) {
            taken.push(port);
            return Ok(port);
        }
    }
}

/// Three masters of one's own that share the slots of a cluster, without replicas.
#[derive(Debug)]
pub struct PrivateRedisCluster {
    nodes: Vec<PrivateRedis>,
}

impl PrivateRedisCluster {
    /// Starts three with further lines of `redis.conf`, as [`PrivateRedis::start`] takes them, and makes them a cluster.
    ///
    /// # Errors
    /// If one does not start, or they do not agree within a minute.
    pub fn start(settings: &[(&str, &str)]) -> Result<Self> {
        let node = || {
            let mut redis = PrivateRedis::prepared(settings)?;
            redis.bus_port = Some(0);
            redis.started()
        };
        let cluster = Self { nodes: vec![node()?, node()?, node()?] };
        cluster.join()?;
        Ok(cluster)
    }

    /// The URLs of its nodes.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(PrivateRedis::url).collect()
    }

    /// Its nodes, to be stopped, frozen and started one by one.
    pub fn nodes(&mut self) -> &mut [PrivateRedis] {
        &mut self.nodes
    }

    /// Gives each node its share of the slots, introduces them, and waits until all see a whole cluster.
    fn join(&self) -> Result<()> {
        let count = u32::try_from(self.nodes.len()).expect("three");
        let mut first = 0;
        for (number, node) in (1_u32..).zip(&self.nodes) {
            let end = SLOTS * number / count;
            redis::command_line(node.port, &format!("CLUSTER ADDSLOTSRANGE {first} {}", end - 1))?;
            redis::command_line(node.port, &format!("CLUSTER SET-CONFIG-EPOCH {number}"))?;
            first = end;
        }
        for node in &self.nodes[1..] {
            let bus = node.bus_port.expect("a node of a cluster has a bus");
            let meet = format!("CLUSTER MEET 127.0.0.1 {} {bus}", node.port);
            redis::command_line(self.nodes[0].port, &meet)?;
        }
        let is_whole = |node: &PrivateRedis| {
            redis::command_line(node.port, "CLUSTER INFO").is_ok_and(|info| {
                info.contains("cluster_state:ok") && info.contains(&format!("cluster_known_nodes:{count}"))
            })
        };
        if wait_until(START_PATIENCE, || self.nodes.iter().all(is_whole)) {
            return Ok(());
        }
        let log = self.nodes[0].log_path();
        Err(Error::NotReady { service: "redis", reason: "its three masters do not agree on a cluster".to_owned(), log })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_survives_a_crash_and_a_pause() {
        let mut redis = PrivateRedis::start(&[]).unwrap();
        redis::command_line(redis.port(), "SET a 1").unwrap();
        redis.kill();
        assert!(redis::command_line(redis.port(), "GET a").is_err());
        redis.start_again().unwrap();
        assert_eq!(redis::command_line(redis.port(), "GET a").unwrap(), "1");
        redis.pause();
        assert!(!redis::is_ready(redis.port()));
        redis.resume();
        assert_eq!(redis::command_line(redis.port(), "GET a").unwrap(), "1");
    }

    #[test]
    fn a_user_without_a_password_is_refused() {
        let users = [("user", "default off"), ("user", "worker on >secret ~* +@all")];
        let redis = PrivateRedis::start(&users).unwrap();
        assert!(redis::command_line(redis.port(), "GET a").unwrap_err().to_string().contains("NOAUTH"));
    }

    #[test]
    fn three_masters_are_a_cluster() {
        let mut cluster = PrivateRedisCluster::start(&[]).unwrap();
        let answers: Vec<_> =
            cluster.nodes().iter().map(|node| redis::command_line(node.port(), "SET {a}b 1").is_ok()).collect();
        assert_eq!(answers.iter().filter(|taken| **taken).count(), 1, "one of three owns the slot");
    }

    #[cfg(feature = "certificates")]
    #[test]
    fn a_secure_one_listens_on_both_its_ports() {
        use crate::services::certificates::{Authority, Subject};

        let authority = Authority::new("test authority").unwrap();
        let subject = Subject { common_name: "redis", names: &["localhost", "127.0.0.1"], expired: false };
        let server = authority.sign(subject).unwrap();
        let clients = authority.pem();
        let tls = RedisTls { chain: &server.chain, key: &server.key, clients: Some(&clients) };
        let redis = PrivateRedis::start_secure(tls, &[]).unwrap();
        assert!(!port::is_free(redis.tls_port()) && redis::is_ready(redis.port()));
        assert!(!redis::is_ready(redis.tls_port()), "no plain text is answered there");
    }
}
