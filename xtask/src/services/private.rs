//! Instances that belong to one test: it may stop, freeze, restart and reconfigure them, and nobody else notices.
//!
//! Each leaves a note of who owns it; the next `up`, `down` or start removes those whose owner is gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::services::environment::Postgres;
use crate::services::error::{Error, IoContext, Result};
use crate::services::home::{Home, remove_tree, write_private};
use crate::services::kafka::{self, Broker, Distribution, Life};
use crate::services::port;
use crate::services::postgres::binaries::Binaries;
use crate::services::postgres::cluster::{self, Cluster};
use crate::services::process::{Process, Signal};
use crate::services::progress::{Progress, Task};

/// A port may be taken between its choice and the start; three such accidents in a row are none.
const START_TRIES_MAX: u32 = 3;

/// Distinguishes the instances of one process.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// What is noted about an instance, for the case that its owner cannot clean up.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    owner: Process,
    server: Option<Process>,
}

/// The folder of one instance.
#[derive(Debug)]
struct Place {
    home: Home,
    folder: PathBuf,
}

impl Place {
    fn new(kind: &str) -> Result<Self> {
        let home = Home::open()?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = home.folder(&format!("private/{kind}-{}-{number}", std::process::id()))?;
        let place = Self { home, folder };
        place.note(None)?;
        Ok(place)
    }

    fn note(&self, server: Option<Process>) -> Result<()> {
        let text = serde_json::to_string(&Note { owner: Process::this()?, server }).expect("numbers are JSON");
        write_private(&self.folder.join("note.json"), &text)
    }
}

/// Ends and removes the instances whose owner is gone.
pub(crate) fn sweep(home: &Home) -> Result<()> {
    let folder = home.path("private");
    for entry in fs::read_dir(&folder).context("list", &folder)? {
        let path = entry.context("list", &folder)?.path();
        // A folder without a readable note is just being made, or is being removed by its owner.
        let Ok(text) = fs::read_to_string(path.join("note.json")) else { continue };
        let Ok(note) = serde_json::from_str::<Note>(&text) else { continue };
        if !note.owner.is_alive() {
            if let Some(server) = note.server {
                server.stop(Signal::QUIT, Duration::from_millis(500));
            }
            remove_tree(&path)?;
        }
    }
    Ok(())
}

fn quiet_task(name: &str) -> Task {
    Progress::silent().task(name)
}

/// A Postgres of one's own: superuser `postgres`, trust on its socket, SCRAM over TCP, the shared one's settings but `fsync=off`.
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
        let task = quiet_task("postgres");
        let place = Place::new("postgres")?;
        let binaries = Binaries::find(&place.home, &task, major)?;
        let cluster = Cluster {
            binaries,
            data: place.folder.join("data"),
            sockets: place.folder.join("s"),
            log: place.folder.join("log"),
        };
        cluster.create(&place.home, &task)?;
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
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_owned(), value.to_owned()));
        self.configure()
    }

    /// Starts it after a stop: same port, same data.
    ///
    /// # Errors
    /// If it does not come back.
    pub fn start_again(&mut self) -> Result<()> {
        if self.server.is_none() {
            let server = self.cluster.start(&self.place.home)?;
            self.place.note(Some(server.0))?;
            self.server = Some(server);
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
        let mut tries = 1;
        loop {
            self.port = port::choose(&[])?;
            self.configure()?;
            match self.start_again() {
                Err(Error::NotReady { reason, .. }) if tries < START_TRIES_MAX && reason.contains("in use") => {
                    tries += 1;
                }
                outcome => return outcome,
            }
        }
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

/// A Kafka broker of one's own, with the shared one's settings. Stopped, and its data removed, when dropped.
#[derive(Debug)]
pub struct PrivateKafka {
    place: Place,
    broker: Broker,
    settings: Vec<(String, String)>,
    port: u16,
    server: Option<(Process, Child)>,
}

impl PrivateKafka {
    /// Starts one with further broker settings (`server.properties`), which win over ours.
    ///
    /// # Errors
    /// If the broker cannot be had, or does not accept these settings.
    pub fn start(settings: &[(&str, &str)]) -> Result<Self> {
        let task = quiet_task("kafka");
        let place = Place::new("kafka")?;
        let broker = Broker {
            distribution: Distribution::get(&place.home, &task)?,
            data: place.folder.join("data"),
            log: place.folder.join("log"),
            life: Life::Short,
        };
        broker.create()?;
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut kafka = Self { place, broker, settings, port: 0, server: None };
        kafka.start_on_a_free_port()?;
        Ok(kafka)
    }

    /// `host:port`, the same over its whole life.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What the broker said since its last start.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.broker.log
    }

    /// A controlled shutdown.
    pub fn stop(&mut self) {
        self.end(kafka::stop);
    }

    /// A crash: SIGKILL.
    pub fn kill(&mut self) {
        self.end(|process| process.stop(Signal::KILL, Duration::from_secs(10)));
    }

    /// Starts it after a stop: same port, same data.
    ///
    /// # Errors
    /// If it does not come back.
    pub fn start_again(&mut self) -> Result<()> {
        if self.server.is_none() {
            let settings: Vec<(&str, &str)> =
                self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            self.broker.configure(self.port, port::choose(&[])?, &settings)?;
            let server = self.broker.start(self.port)?;
            self.place.note(Some(server.0))?;
            self.server = Some(server);
        }
        Ok(())
    }

    /// Adds or replaces a broker setting; it holds from the next start on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    /// Freezes it (SIGSTOP): connections stay open and nothing is answered.
    pub fn pause(&self) {
        signal(&self.server, Signal::STOP);
    }

    /// Ends [`Self::pause`].
    pub fn resume(&self) {
        signal(&self.server, Signal::CONT);
    }

    fn start_on_a_free_port(&mut self) -> Result<()> {
        let mut tries = 1;
        loop {
            self.port = port::choose(&[])?;
            match self.start_again() {
                Err(Error::NotReady { reason, .. }) if tries < START_TRIES_MAX && reason.contains("in use") => {
                    tries += 1;
                }
                outcome => return outcome,
            }
        }
    }

    fn end(&mut self, stop: fn(Process)) {
        if let Some((process, mut child)) = self.server.take() {
            stop(process);
            let _ = child.wait();
        }
    }
}

impl Drop for PrivateKafka {
    fn drop(&mut self) {
        self.kill();
        let _ = remove_tree(&self.place.folder);
    }
}

fn signal(server: &Option<(Process, Child)>, signal: Signal) {
    if let Some((process, _)) = server {
        process.signal(signal);
    }
}
