//! Where a measurement takes place: servers of its own, with or without TLS, and a relay configured for them.

use std::path::{Path, PathBuf};

use rdkafka::ClientConfig;
use xtask::services::certificates::{Authority, Certificate, CertificateError, Subject};
use xtask::services::{PrivateKafka, PrivatePostgres};

use crate::config::Config;
use crate::database::Database;
use crate::error::{Doing, Error, Result};
use crate::latency::bench::Connections;
use crate::relay::Relay;
use crate::topics::Topics;
use crate::watcher::now_us;

/// The kinds of things that events are about.
const AGGREGATE_TYPES: &[&str] = &["order"];

/// Settings of the server: what is acknowledged is on the disk, and the time of each commit is kept to the microsecond.
const POSTGRES: &[(&str, &str)] = &[("fsync", "on"), ("track_commit_timestamp", "on")];

/// Where both servers listen, and what their certificates are valid for.
const HOST: &str = "127.0.0.1";

/// Who is let in over TCP where TLS is demanded: the relay only so; the superuser also otherwise, to set things up.
const HBA: &str = "hostssl all postrider 127.0.0.1/32 scram-sha-256\nhost all postgres 127.0.0.1/32 scram-sha-256";

/// Everything that a measurement needs.
pub(crate) struct Place {
    pub(crate) database: Database,
    pub(crate) topics: Topics,
    pub(crate) relay: Relay,
    broker: Broker,
    folder: PathBuf,
    /// Last, so that they outlive what is connected to them.
    _servers: (PrivatePostgres, PrivateKafka),
}

/// How clients reach the broker.
struct Broker {
    bootstrap: String,
    /// What they must trust, if they connect by TLS.
    authority: Option<PathBuf>,
}

impl Place {
    /// Starts the servers, and sets up outbox, slot and topics.
    pub(crate) async fn open(connections: Connections) -> Result<Self> {
        let name = format!("latency_{:x}_{:x}", std::process::id(), now_us() / 1000 % 0x1000_0000);
        let folder = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&folder).doing(format!("creating {}", folder.display()))?;
        let mut postgres = PrivatePostgres::start(None, POSTGRES)?;
        let (kafka, broker) = match connections {
            Connections::Plain => {
                let kafka = PrivateKafka::start_measured(&[], &[])?;
                let bootstrap = kafka.bootstrap();
                (kafka, Broker { bootstrap, authority: None })
            }
            Connections::Tls => {
                let (authority, certificate) = certificates()?;
                let file = folder.join("authority.pem");
                std::fs::write(&file, authority.pem()).doing(format!("writing {}", file.display()))?;
                secure(&mut postgres, &certificate)?;
                let kafka = secure_broker(&certificate)?;
                let bootstrap = kafka.address(LISTENER);
                (kafka, Broker { bootstrap, authority: Some(file) })
            }
        };
        let server = postgres.environment();
        let topics = Topics::new(&name, AGGREGATE_TYPES);
        let database = Database::create(&server, &name).await?;
        let config = Config {
            postgres: &server,
            database: &name,
            slot: &name,
            topic: &topics.template(),
            bootstrap_servers: &broker.bootstrap,
            progress_topic: &topics.progress(),
        };
        let mut relay = Relay::configure(&folder, &config)?;
        if let Some(authority) = &broker.authority {
            let authority = authority.display().to_string();
            relay = relay
                .with("POSTRIDER_POSTGRES_HOST", HOST)
                .with("POSTRIDER_POSTGRES_PASSWORD", &server.password)
                .with("POSTRIDER_POSTGRES_TLS", "verify-full")
                .with("POSTRIDER_POSTGRES_TLS_CA_FILE", &authority)
                .with("POSTRIDER_KAFKA_TLS", "true")
                .with("POSTRIDER_KAFKA_TLS_CA_FILE", &authority);
        }
        relay.complete("migrate")?;
        relay.complete("init")?;
        topics.create(&kafka.bootstrap()).await?;
        Ok(Self { database, topics, relay, broker, folder, _servers: (postgres, kafka) })
    }

    /// What a Kafka client needs to connect as the relay does.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.broker.bootstrap);
        if let Some(authority) = &self.broker.authority {
            client.set("security.protocol", "ssl").set("ssl.ca.location", authority.display().to_string());
        }
        client
    }

    /// Where the broker is.
    pub(crate) fn bootstrap(&self) -> &str {
        &self.broker.bootstrap
    }

    /// A folder of the measurement's own, which [`Place::clear`] removes.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Removes everything.
    pub(crate) async fn clear(self) -> Result<()> {
        self.database.drop().await?;
        std::fs::remove_dir_all(&self.folder).doing(format!("removing {}", self.folder.display()))
    }
}

/// The name of the broker's listener that speaks TLS.
const LISTENER: &str = "TLS";

/// An authority, and what it signed for both servers.
fn certificates() -> Result<(Authority, Certificate)> {
    let unsigned = |error: CertificateError| Error::Relay(format!("no certificate can be made: {error}"));
    let authority = Authority::new("latency benchmark").map_err(unsigned)?;
    let subject = Subject { common_name: HOST, names: &[HOST, "localhost"], expired: false };
    let certificate = authority.sign(subject).map_err(unsigned)?;
    Ok((authority, certificate))
}

/// Has Postgres demand TLS of the relay.
fn secure(postgres: &mut PrivatePostgres, certificate: &Certificate) -> Result<()> {
    postgres.secure(&certificate.chain, &certificate.key, None)?;
    postgres.let_in(HBA)?;
    Ok(postgres.restart()?)
}

/// A broker with a second listener, which speaks TLS.
fn secure_broker(certificate: &Certificate) -> Result<PrivateKafka> {
    let of = |name: &str| format!("listener.name.{}.ssl.{name}", LISTENER.to_lowercase());
    let settings = [
        (of("keystore.type"), "PEM"),
        (of("keystore.certificate.chain"), certificate.chain.as_str()),
        (of("keystore.key"), certificate.key.as_str()),
    ];
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    Ok(PrivateKafka::start_measured(&[(LISTENER, "SSL")], &settings)?)
}
