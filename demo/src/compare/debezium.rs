//! Debezium as its users run it: pgoutput, its defaults, and only what a comparison needs beside them.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use xtask::services::Progress;
use xtask::services::debezium::Debezium;

use crate::compare::Options;
use crate::compare::place::Place;
use crate::error::{Doing, Error, Result};
use crate::relay::log_end;

/// How long it may take to deliver what it has read.
const STOP_MAX: Duration = Duration::from_secs(40);

/// How long it may take to come to where it shall die.
const HALT_MAX: Duration = Duration::from_secs(60);
/// How many lines about the reason an error shows.
const REASONS_MAX: usize = 6;

/// A running engine. Dropped, it is killed.
pub(crate) struct Engine {
    child: Child,
    log: PathBuf,
}

impl Engine {
    /// Starts one whose slot and topics are named `prefix`.
    pub(super) fn start(place: &Place, prefix: &str, options: &Options) -> Result<Self> {
        Self::start_with(place, prefix, options, &[])
    }

    /// The same with further properties, which win over ours.
    pub(super) fn start_with(place: &Place, prefix: &str, options: &Options, more: &[(&str, &str)]) -> Result<Self> {
        let mut properties = properties(place, prefix, options);
        properties.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Self::run(&place.folder(prefix)?, &properties)
    }

    /// Starts one with exactly these properties; its files and its log are in `folder`.
    pub(crate) fn run(folder: &Path, properties: &[(String, String)]) -> Result<Self> {
        let debezium = Debezium::get(&Progress::silent())?;
        let mut command = debezium.command(folder, properties)?;
        let log = folder.join("log");
        let output =
            OpenOptions::new().create(true).append(true).open(&log).doing(format!("opening {}", log.display()))?;
        let also = output.try_clone().doing("sharing the engine's log")?;
        let child =
            command.stdin(Stdio::piped()).stdout(output).stderr(also).spawn().doing("starting Debezium's engine")?;
        Ok(Self { child, log })
    }

    /// An error if it has ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait().doing("looking after Debezium's engine")? {
            None => Ok(()),
            Some(status) => Err(Error::Relay(format!("Debezium ended by itself with {status}\n{}", why(&self.log)))),
        }
    }

    /// Waits until it has ended by itself, which is a failure elsewhere.
    pub(super) fn wait(mut self) -> Result<()> {
        self.wait_for_end(HALT_MAX)
    }

    /// Ends its input, and waits until it has delivered what it had read.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.check()?;
        drop(self.child.stdin.take());
        self.wait_for_end(STOP_MAX)
    }

    fn wait_for_end(&mut self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        while self.child.try_wait().doing("waiting for Debezium's end")?.is_none() {
            if Instant::now() > deadline {
                return Err(Error::Relay(format!("Debezium did not end within {patience:?}\n{}", log_end(&self.log))));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Already ended is the usual case; then both do nothing.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn properties(place: &Place, prefix: &str, options: &Options) -> Vec<(String, String)> {
    let server = place.server();
    let port = server.port.to_string();
    let (schemas, transactions) = (options.schemas.to_string(), options.transactions.to_string());
    let properties = [
        ("name", prefix),
        ("connector.class", "io.debezium.connector.postgresql.PostgresConnector"),
        ("database.hostname", &server.host),
        ("database.port", &port),
        ("database.user", &server.user),
        ("database.password", &server.password),
        ("database.dbname", place.database.name()),
        ("topic.prefix", prefix),
        ("plugin.name", "pgoutput"),
        ("slot.name", prefix),
        ("publication.name", prefix),
        ("publication.autocreate.mode", "disabled"),
        ("snapshot.mode", if options.no_snapshot { "no_data" } else { "initial" }),
        // The default is to drop truncations.
        ("skipped.operations", "none"),
        // The default waits half a second for each batch to become full, at each of the many barriers.
        ("poll.interval.ms", "5"),
        ("offset.storage", "org.apache.kafka.connect.storage.MemoryOffsetBackingStore"),
        ("offset.flush.interval.ms", "1000"),
        ("provide.transaction.metadata", &transactions),
        ("decimal.handling.mode", &options.modes.decimal),
        ("time.precision.mode", &options.modes.time),
        ("interval.handling.mode", &options.modes.interval),
        ("binary.handling.mode", &options.modes.binary),
        ("hstore.handling.mode", &options.modes.hstore),
        ("converter.schemas.enable", &schemas),
        ("producer.bootstrap.servers", &place.bootstrap),
        ("producer.linger.ms", "1"),
        ("producer.compression.type", "lz4"),
        ("producer.max.request.size", "10485760"),
    ];
    properties.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

/// What a failed engine says of the reason, without the frames of its stack traces.
fn why(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let is_reason = |line: &&str| line.contains("Caused by") || line.contains("Exception");
    let mut reasons: Vec<&str> = text.lines().filter(|line| !line.starts_with("\tat ")).filter(is_reason).collect();
    reasons.dedup();
    reasons[reasons.len().saturating_sub(REASONS_MAX)..].join("\n")
}
