//! A Kafka broker that belongs to one test.

use std::path::Path;
use std::process::Child;
use std::time::Duration;

use crate::services::error::{Error, Result};
use crate::services::home::remove_tree;
use crate::services::kafka::{self, Broker, Distribution, Life};
use crate::services::port;
use crate::services::private::{Place, START_TRIES_MAX, quiet_task, signal};
use crate::services::process::{Process, Signal};

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
            log: place.log(),
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
            self.server = Some(self.broker.start(self.port)?);
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
