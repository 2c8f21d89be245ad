//! A Postgres that belongs to one test.

mod copies;

use std::path::Path;
use std::process::Child;

use crate::services::environment::Postgres;
use crate::services::error::Result;
use crate::services::home::{Home, remove_tree};
use crate::services::port;
use crate::services::postgres::binaries::Binaries;
use crate::services::postgres::cluster::{self, Cluster};
use crate::services::private::{Place, quiet_task, signal, start_on_free_ports};
use crate::services::process::{Process, Signal};
use crate::services::progress::Task;

pub use copies::Backup;

/// A Postgres of one's own: superuser `postgres`, trust on its socket, SCRAM over TCP, the shared one's settings but
/// `fsync=off`.
///
/// Stopped, and its data removed, when dropped.
#[derive(Debug)]
pub struct PrivatePostgres {
    place: Place,
    cluster: Cluster,
    settings: Vec<(String, String)>,
    port: u16,
    password: String,
    server: Option<(Process, Child)>,
}

impl PrivatePostgres {
    /// Starts one of the given major (none: the installed one) with further settings, which win over ours.
    ///
    /// # Errors
    /// If its binaries cannot be had, or it does not accept these settings.
    pub fn start(major: Option<u16>, settings: &[(&str, &str)]) -> Result<Self> {
        Self::start_of(major, settings, Cluster::create)
    }

    /// The same with a system identifier of its own, as every server in the world has: the others are copies of one
    /// template, and share it. Takes the seconds that `initdb` takes.
    ///
    /// # Errors
    /// As of [`PrivatePostgres::start`].
    pub fn start_afresh(major: Option<u16>, settings: &[(&str, &str)]) -> Result<Self> {
        Self::start_of(major, settings, |cluster, home, _| cluster.create_afresh(home))
    }

    fn start_of(
        major: Option<u16>,
        settings: &[(&str, &str)],
        create: impl FnOnce(&Cluster, &Home, &Task) -> Result<()>,
    ) -> Result<Self> {
        let task = quiet_task("postgres");
        let place = Place::new("postgres")?;
        let binaries = Binaries::find(&place.home, &task, major)?;
        let cluster =
            Cluster { binaries, data: place.folder.join("data"), sockets: place.folder.join("s"), log: place.log() };
        create(&cluster, &place.home, &task)?;
        let password = place.home.password()?;
        let mut all = vec![("fsync".to_owned(), "off".to_owned())];
        all.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let mut postgres = Self { place, cluster, settings: all, port: 0, password, server: None };
        postgres.start_on_a_free_port()?;
        Ok(postgres)
    }

    /// How it is reached.
    #[must_use]
    pub fn environment(&self) -> Postgres {
        self.cluster.address(self.port, self.password.clone())
    }

    /// Where its programs are (`pg_recvlogical` and the like, where the source has them).
    #[must_use]
    pub fn bin_dir(&self) -> Option<&Path> {
        Some(&self.cluster.binaries.bin)
    }

    /// Its data directory, for tests that look at what an operator sees.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.cluster.data
    }

    /// What the server said since its last start.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.cluster.log
    }

    /// Stops it fast (sessions ended, all written) and starts it again: same port, same data.
    ///
    /// # Errors
    /// If it does not come back.
    pub fn restart(&mut self) -> Result<()> {
        self.stop();
        self.start_again()
    }

    /// A fast shutdown.
    pub fn stop(&mut self) {
        self.end(cluster::stop_fast);
    }

    /// An immediate shutdown, as in a crash.
    pub fn stop_immediate(&mut self) {
        self.end(cluster::stop_immediate);
    }

    /// Adds or replaces a setting; it holds from the next start on.
    ///
    /// # Errors
    /// If the configuration file cannot be written.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        self.add(name, value);
        self.configure()
    }

    fn add(&mut self, name: &str, value: &str) {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    /// Speaks TLS, from the next start on: with this certificate and key, and believing clients' certificates of `clients`.
    /// All of them are PEM.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn secure(&mut self, chain: &str, key: &str, clients: Option<&str>) -> Result<()> {
        for (setting, name, text) in [
            ("ssl_cert_file", "server.crt", Some(chain)),
            ("ssl_key_file", "server.key", Some(key)),
            ("ssl_ca_file", "clients.crt", clients),
        ] {
            let Some(text) = text else { continue };
            // The server insists that its key is its own user's and nobody else's to read.
            self.cluster.write_own(&self.place.home, name, text)?;
            self.set(setting, name)?;
        }
        self.set("ssl", "on")
    }

    /// Lets in over TCP whom these lines of `pg_hba.conf` let in, and nobody else, from the next start on; the socket goes
    /// on trusting.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn let_in(&self, lines: &str) -> Result<()> {
        self.cluster.write_own(&self.place.home, "pg_hba.conf", &format!("local all all trust\n{lines}\n"))
    }

    /// Makes it a standby without a primary, from the next start on: it can be read, and waits for WAL that never comes.
    ///
    /// # Errors
    /// If the file that says so cannot be written.
    pub fn make_standby(&self) -> Result<()> {
        self.cluster.write_own(&self.place.home, "standby.signal", "")
    }

    /// Starts it after a stop: same port, same data.
    ///
    /// # Errors
    /// If it does not come back.
    pub fn start_again(&mut self) -> Result<()> {
        if self.server.is_none() {
            self.server = Some(self.cluster.start(&self.place.home)?);
        }
        Ok(())
    }

    /// Freezes the postmaster: new connections hang, those that exist go on.
    pub fn pause(&self) {
        signal(&self.server, Signal::STOP);
    }

    /// Ends [`Self::pause`].
    pub fn resume(&self) {
        signal(&self.server, Signal::CONT);
    }

    fn start_on_a_free_port(&mut self) -> Result<()> {
        start_on_free_ports(|| {
            self.port = port::choose(&[])?;
            self.configure()?;
            self.start_again()
        })
    }

    fn configure(&self) -> Result<()> {
        let settings: Vec<(&str, &str)> =
            self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.cluster.configure(&self.place.home, self.port, &settings)
    }

    fn end(&mut self, stop: fn(Process)) {
        if let Some((process, mut child)) = self.server.take() {
            stop(process);
            let _ = child.wait();
        }
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        self.stop_immediate();
        let _ = remove_tree(&self.place.folder);
    }
}
