//! Where a measurement takes place: servers of its own, with or without TLS, and a relay configured for them.

use std::net::TcpListener;
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
pub(super) struct Place {
    pub(super) database: Database,
    pub(super) topics: Topics,
    pub(super) relay: Relay,
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
    pub(super) async fn open(connections: Connections) -> Result<Self> {
        let name = format!("latency_{:x}_{:x}", std::process::id(), now_us() / 1000 % 0x1000_0000);
        let folder = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&folder).doing(format!("creating {}", folder.display()))?;
        let mut postgres = PrivatePostgres::start(None, POSTGRES)?;
        let mut kafka = PrivateKafka::start(&[])?;
        let plain = kafka.bootstrap();
        let broker = match connections {
            Connections::Plain => Broker { bootstrap: plain.clone(), authority: None },
            Connections::Tls => {
                let authority = folder.join("authority.pem");
                let bootstrap = secure(&mut postgres, &mut kafka, &authority)?;
                Broker { bootstrap, authority: Some(authority) }
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
                .with("POSTRIDER_KAFKA_PROPERTIES", &format!("security.protocol=ssl;ssl.ca.location={authority}"));
        }
        relay.complete("migrate")?;
        relay.complete("init")?;
        topics.create(&plain).await?;
        Ok(Self { database, topics, relay, broker, folder, _servers: (postgres, kafka) })
    }

    /// What a Kafka client needs to connect as the relay does.
    pub(super) fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.broker.bootstrap);
        if let Some(authority) = &self.broker.authority {
            client.set("security.protocol", "ssl").set("ssl.ca.location", authority.display().to_string());
        }
        client
    }

    /// Removes everything.
    pub(super) async fn clear(self) -> Result<()> {
        self.database.drop().await?;
        std::fs::remove_dir_all(&self.folder).doing(format!("removing {}", self.folder.display()))
    }
}

/// Has both servers demand TLS of the relay, with certificates of an authority that is written to a file; the broker's
/// address for it.
fn secure(postgres: &mut PrivatePostgres, kafka: &mut PrivateKafka, authority_file: &Path) -> Result<String> {
    let unsigned = |error: CertificateError| Error::Relay(format!("no certificate can be made: {error}"));
    let authority = Authority::new("latency benchmark").map_err(unsigned)?;
    let certificate =
        authority.sign(Subject { common_name: HOST, names: &[HOST], expired: false }).map_err(unsigned)?;
    std::fs::write(authority_file, authority.pem()).doing(format!("writing {}", authority_file.display()))?;

    postgres.secure(&certificate.chain, &certificate.key, None)?;
    postgres.let_in(HBA)?;
    postgres.restart()?;
    let plain = kafka.bootstrap();
    kafka.stop();
    let bootstrap = listen_by_tls(kafka, &plain, &certificate)?;
    kafka.start_again()?;
    Ok(bootstrap)
}

/// Gives the broker a second listener, which speaks TLS; its address.
fn listen_by_tls(kafka: &mut PrivateKafka, plain: &str, certificate: &Certificate) -> Result<String> {
    let free = || -> Result<u16> {
        let listener = TcpListener::bind((HOST, 0)).doing("choosing a port")?;
        Ok(listener.local_addr().doing("choosing a port")?.port())
    };
    let (secure, controller) = (format!("{HOST}:{}", free()?), format!("{HOST}:{}", free()?));
    // PEM in a file of properties stands in one line.
    let line = |pem: &str| pem.trim_end().replace('\n', "\\n");
    let client_listeners = format!("PLAINTEXT://{plain},SSL://{secure}");
    for (name, value) in [
        ("listeners", format!("{client_listeners},CONTROLLER://{controller}")),
        ("advertised.listeners", client_listeners),
        ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,SSL:SSL,CONTROLLER:PLAINTEXT".to_owned()),
        ("controller.quorum.voters", format!("1@{controller}")),
        ("ssl.keystore.type", "PEM".to_owned()),
        ("ssl.keystore.certificate.chain", line(&certificate.chain)),
        ("ssl.keystore.key", line(&certificate.key)),
    ] {
        kafka.set(name, &value);
    }
    Ok(secure)
}
