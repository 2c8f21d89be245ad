//! A Kafka broker that belongs to one test.

use std::path::Path;
use std::process::Child;
use std::time::Duration;

use crate::services::error::Result;
use crate::services::home::remove_tree;
use crate::services::kafka::{self, Broker, Distribution, Life};
use crate::services::port;
use crate::services::private::{Place, quiet_task, signal, start_on_free_ports};
use crate::services::process::{Process, Signal};

/// A Kafka broker of one's own, with the shared one's settings. Stopped, and its data removed, when dropped.
#[derive(Debug)]
pub struct PrivateKafka {
    place: Place,
    broker: Broker,
    settings: Vec<(String, String)>,
    /// Name, protocol and port of each listener beside the plain one.
    listeners: Vec<(String, String, u16)>,
    port: u16,
    server: Option<(Process, Child)>,
}

impl PrivateKafka {
    /// Starts one with further broker settings (`server.properties`), which win over ours.
    ///
    /// # Errors
    /// If the broker cannot be had, or does not accept these settings.
    pub fn start(settings: &[(&str, &str)]) -> Result<Self> {
        Self::start_with(&[], settings)
    }

    /// Starts one with further listeners, each a name and a protocol such as `SASL_SSL`, on `localhost`. What they demand
    /// is said by settings such as `listener.name.mtls.ssl.client.auth`; the plain listener stays open to everybody.
    ///
    /// # Errors
    /// As of [`PrivateKafka::start`].
    pub fn start_with(listeners: &[(&str, &str)], settings: &[(&str, &str)]) -> Result<Self> {
        Self::start_for(Life::Short, listeners, settings)
    }

    /// As [`PrivateKafka::start_with`], one that does not get in the way of what is measured.
    ///
    /// # Errors
    /// As of [`PrivateKafka::start`].
    pub fn start_measured(listeners: &[(&str, &str)], settings: &[(&str, &str)]) -> Result<Self> {
        Self::start_for(Life::Measured, listeners, settings)
    }

    fn start_for(life: Life, listeners: &[(&str, &str)], settings: &[(&str, &str)]) -> Result<Self> {
        let task = quiet_task("kafka");
        let place = Place::new("kafka")?;
        let broker = Broker {
            distribution: Distribution::get(&place.home, &task)?,
            data: place.folder.join("data"),
            log: place.log(),
            life,
        };
        broker.create()?;
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut kafka = Self { place, broker, settings, listeners: Vec::new(), port: 0, server: None };
        for (name, protocol) in listeners {
            // The port is free until it is listened on, so that it may be chosen twice.
            let port = loop {
                let port = port::choose(&[])?;
                if kafka.listeners.iter().all(|(_, _, taken)| *taken != port) {
                    break port;
                }
            };
            kafka.listeners.push(((*name).to_owned(), (*protocol).to_owned(), port));
        }
        kafka.start_on_a_free_port()?;
        Ok(kafka)
    }

    /// `host:port`, the same over its whole life.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `localhost:port` of the listener of this name.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn address(&self, listener: &str) -> String {
        let found = self.listeners.iter().find(|(name, _, _)| name == listener);
        let (_, _, port) = found.expect("the listener was asked for at the start");
        format!("localhost:{port}")
    }

    /// Gives a user this password for a mechanism such as `SCRAM-SHA-256`.
    ///
    /// # Errors
    /// If the broker does not take it.
    pub fn set_password(&self, mechanism: &str, user: &str, password: &str) -> Result<()> {
        self.broker.set_password(self.port, mechanism, user, password)
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
            let controller_port = port::choose(&[])?;
            let listening = self.listening(controller_port);
            let settings: Vec<(&str, &str)> =
                listening.iter().chain(&self.settings).map(|(name, value)| (name.as_str(), value.as_str())).collect();
            self.broker.configure(self.port, controller_port, &settings)?;
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

    /// The settings of the further listeners.
    fn listening(&self, controller_port: u16) -> Vec<(String, String)> {
        if self.listeners.is_empty() {
            return Vec::new();
        }
        let plain = format!("PLAINTEXT://127.0.0.1:{}", self.port);
        let mut listeners = format!("{plain},CONTROLLER://127.0.0.1:{controller_port}");
        let mut advertised = plain;
        let mut protocols = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
        for (name, protocol, port) in &self.listeners {
            listeners.push_str(&format!(",{name}://127.0.0.1:{port}"));
            advertised.push_str(&format!(",{name}://localhost:{port}"));
            protocols.push_str(&format!(",{name}:{protocol}"));
        }
        let settings = [
            ("listeners", listeners),
            ("advertised.listeners", advertised),
            ("listener.security.protocol.map", protocols),
            ("inter.broker.listener.name", "PLAINTEXT".to_owned()),
        ];
        settings.map(|(name, value)| (name.to_owned(), value)).into()
    }

    fn start_on_a_free_port(&mut self) -> Result<()> {
        start_on_free_ports(|| {
            self.port = port::choose(&[])?;
            self.start_again()
        })
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
