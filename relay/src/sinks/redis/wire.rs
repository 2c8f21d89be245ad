//! The connection: one to a server or one to each node of a cluster, multiplexed, with every wait bounded.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{RoutingInfo, SingleNodeRoutingInfo};
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, RedisResult, Script, TlsCertificates, TlsMode, Value, cmd, pipe,
};

use crate::pipeline::{End, Error, Kind};
use crate::sinks::redis::errors::{failed, is_unknown_script, unreachable};
use crate::sinks::redis::options::{Password, RedisOptions, RedisTls};

/// Commands of one pipeline.
pub const PIPELINE_MAX: usize = 1000;

/// Keys of one command or script, where there is no cluster: a call keeps the server from everything else.
const KEYS_MAX: usize = 100;

/// Tries of a command in a cluster: what was moved is followed, what is down is the pipeline's business.
const CLUSTER_RETRIES: u32 = 3;

/// A connection that many tasks may use at once.
#[derive(Clone)]
pub struct Wire {
    connection: Connection,
    place: Arc<str>,
    /// Scripts that are loaded again where the server does not know them.
    scripts: Arc<[Script]>,
}

#[derive(Clone)]
enum Connection {
    Single(MultiplexedConnection),
    Cluster(Box<ClusterConnection>),
}

/// The node of a cluster, or the server itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// The only one.
    Only,
    /// A master, by its address.
    At(String, u16),
}

impl Wire {
    /// Connects, and loads `scripts`.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] if nobody answers, [`Kind::Setup`] if a person must mend it.
    pub async fn open(options: &RedisOptions, scripts: Vec<Script>) -> Result<Self, Error> {
        // Only the first one counts in a process: another part may have chosen already, and the same.
        drop(rustls::crypto::ring::default_provider().install_default());
        let place: Vec<String> = options.servers.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        let place: Arc<str> = place.join(",").into();
        let certificates = options.tls.as_ref().map(certificates).transpose()?;
        let settings = settings(options)?;
        let connection = if options.cluster {
            let builder = cluster(options, &settings, certificates);
            let client = builder.map_err(|error| unreachable(&place, &error))?;
            let connecting = client.get_async_connection();
            Connection::Cluster(Box::new(connect(options, &place, connecting).await?))
        } else {
            let client = single(options, settings, certificates).map_err(|error| unreachable(&place, &error))?;
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(options.connect_timeout))
                .set_response_timeout(Some(options.timeout));
            let connecting = client.get_multiplexed_async_connection_with_config(&config);
            Connection::Single(connect(options, &place, connecting).await?)
        };
        let mut wire = Self { connection, place, scripts: scripts.into() };
        wire.load().await.map_err(|error| wire.failed("load the scripts", &error))?;
        Ok(wire)
    }

    /// How many keys one command may name: in a cluster those of one slot only, and which those are only the cluster knows.
    #[must_use]
    pub fn keys_max(&self) -> usize {
        match self.connection {
            Connection::Single(_) => KEYS_MAX,
            Connection::Cluster(_) => 1,
        }
    }

    /// Where it leads.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Runs commands, [`PIPELINE_MAX`] at a time; their values in order. All of them must be such that running them again does
    /// no harm: where a script is not known any more it is loaded, and what was sent with it is sent again.
    ///
    /// # Errors
    /// The first command's that failed: `action` says what for.
    pub async fn run(&mut self, action: &str, commands: &[Cmd]) -> Result<Vec<Value>, Error> {
        let mut values = Vec::with_capacity(commands.len());
        for part in commands.chunks(PIPELINE_MAX) {
            let mut outcome = self.part(part).await;
            if outcome.as_ref().is_err_and(is_unknown_script) {
                self.load().await.map_err(|error| self.failed("load the scripts", &error))?;
                outcome = self.part(part).await;
            }
            values.extend(outcome.map_err(|error| self.failed(action, &error))?);
        }
        Ok(values)
    }

    /// The masters, each of which holds a part of the keys.
    ///
    /// # Errors
    /// As of [`Wire::run`].
    pub async fn nodes(&mut self) -> Result<Vec<Node>, Error> {
        if matches!(self.connection, Connection::Single(_)) {
            return Ok(vec![Node::Only]);
        }
        let mut command = cmd("CLUSTER");
        command.arg("SLOTS");
        let ranges = self.run("ask for the nodes", std::slice::from_ref(&command)).await?;
        let mut nodes = Vec::new();
        for range in ranges.first().and_then(Value::as_sequence).unwrap_or_default() {
            let Some([_, _, master, ..]) = range.as_sequence() else { continue };
            let Some([host, port, ..]) = master.as_sequence() else { continue };
            let (Some(host), Some(port)) = (text(host), number(port)) else { continue };
            let node = Node::At(host, port as u16);
            if !nodes.contains(&node) {
                nodes.push(node);
            }
        }
        Ok(nodes)
    }

    /// Runs a command on one node.
    ///
    /// # Errors
    /// As of [`Wire::run`].
    pub async fn on(&mut self, action: &str, node: &Node, command: &Cmd) -> Result<Value, Error> {
        let outcome = match (&mut self.connection, node) {
            (Connection::Cluster(cluster), Node::At(host, port)) => {
                let route = SingleNodeRoutingInfo::ByAddress { host: host.clone(), port: *port };
                cluster.route_command(command.clone(), RoutingInfo::SingleNode(route)).await
            }
            (Connection::Cluster(cluster), Node::Only) => command.query_async(&mut **cluster).await,
            (Connection::Single(single), _) => single.send_packed_command(command).await,
        };
        outcome.and_then(Value::extract_error).map_err(|error| self.failed(action, &error))
    }

    async fn part(&mut self, commands: &[Cmd]) -> RedisResult<Vec<Value>> {
        match &mut self.connection {
            Connection::Single(single) => {
                let mut pipeline = pipe();
                for command in commands {
                    pipeline.add_command(command.clone());
                }
                let values = single.send_packed_commands(&pipeline, 0, commands.len()).await?;
                values.into_iter().map(Value::extract_error).collect()
            }
            // Each goes to its own node; the connection to a node sends what is waiting together.
            Connection::Cluster(cluster) => {
                let each = commands.iter().map(|command| {
                    let mut cluster = cluster.clone();
                    async move { command.query_async::<Value>(&mut *cluster).await }
                });
                join_all(each).await.into_iter().collect()
            }
        }
    }

    async fn load(&mut self) -> RedisResult<()> {
        for script in Arc::clone(&self.scripts).iter() {
            match &mut self.connection {
                Connection::Single(single) => script.prepare_invoke().load_async(single).await?,
                Connection::Cluster(cluster) => script.prepare_invoke().load_async(&mut **cluster).await?,
            };
        }
        Ok(())
    }

    fn failed(&self, action: &str, error: &RedisError) -> Error {
        failed(action, matches!(self.connection, Connection::Cluster(_)), error)
    }
}

/// A call of a script by its hash.
#[must_use]
pub fn call(script: &Script, keys: usize) -> Cmd {
    let mut command = cmd("EVALSHA");
    command.arg(script.get_hash()).arg(keys);
    command
}

/// A whole number that was answered.
#[must_use]
pub fn number(value: &Value) -> Option<i64> {
    if let Value::Int(number) = value { Some(*number) } else { None }
}

/// A text that was answered.
#[must_use]
pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    }
}

async fn connect<C>(
    options: &RedisOptions,
    place: &str,
    connecting: impl Future<Output = RedisResult<C>>,
) -> Result<C, Error> {
    // A cluster asks several nodes, one after the other.
    let patience = options.connect_timeout * if options.cluster { 4 } else { 1 } + Duration::from_millis(100);
    match tokio::time::timeout(patience, connecting).await {
        Ok(outcome) => outcome.map_err(|error| unreachable(place, &error)),
        Err(_) => {
            let context = format!("redis at {place} does not answer within {} s", patience.as_secs_f32());
            Err(Error::new(End::Sink, Kind::Unavailable, context))
        }
    }
}

fn single(
    options: &RedisOptions,
    settings: RedisConnectionInfo,
    certificates: Option<TlsCertificates>,
) -> RedisResult<Client> {
    let (host, port) = options.servers.first().cloned().unwrap_or_default();
    let info = info(options, host, port)?.set_redis_settings(settings.set_db(options.database));
    match certificates {
        Some(certificates) => Client::build_with_tls(info, certificates),
        None => Client::open(info),
    }
}

fn cluster(
    options: &RedisOptions,
    settings: &RedisConnectionInfo,
    certificates: Option<TlsCertificates>,
) -> RedisResult<ClusterClient> {
    let nodes: RedisResult<Vec<ConnectionInfo>> = options
        .servers
        .iter()
        .map(|(host, port)| Ok(info(options, host.clone(), *port)?.set_redis_settings(settings.clone())))
        .collect();
    let mut builder = ClusterClientBuilder::new(nodes?)
        .retries(CLUSTER_RETRIES)
        .connection_timeout(options.connect_timeout)
        .response_timeout(options.timeout)
        .tcp_settings(TcpSettings::default().set_nodelay(true));
    if let Some(certificates) = certificates {
        builder = builder.tls(TlsMode::Secure).certs(certificates);
    }
    builder.build()
}

fn info(options: &RedisOptions, host: String, port: u16) -> RedisResult<ConnectionInfo> {
    let address = match options.tls {
        Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        None => ConnectionAddr::Tcp(host, port),
    };
    Ok(address.into_connection_info()?.set_tcp_settings(TcpSettings::default().set_nodelay(true)))
}

fn settings(options: &RedisOptions) -> Result<RedisConnectionInfo, Error> {
    let mut settings = RedisConnectionInfo::default().set_lib_name("postrider", env!("CARGO_PKG_VERSION"));
    if let Some(user) = &options.user {
        settings = settings.set_username(user);
    }
    match &options.password {
        None => {}
        Some(Password::Given(secret)) => settings = settings.set_password(secret.expose()),
        Some(Password::File(path)) => {
            let text = String::from_utf8_lossy(&read(path, "password_file")?).into_owned();
            settings = settings.set_password(text.trim_end_matches(['\n', '\r']));
        }
    }
    Ok(settings)
}

fn certificates(tls: &RedisTls) -> Result<TlsCertificates, Error> {
    let root_cert = tls.ca_file.as_deref().map(|path| read(path, "ca_file")).transpose()?;
    let client_tls = match &tls.identity {
        Some((certificate, key)) => Some(ClientTlsConfig {
            client_cert: read(certificate, "certificate_file")?,
            client_key: read(key, "key_file")?,
        }),
        None => None,
    };
    Ok(TlsCertificates { client_tls, root_cert })
}

fn read(path: &Path, key: &str) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error| {
        let context = format!("`redis.{key}` names {}, which cannot be read", path.display());
        Error::new(End::Sink, Kind::Setup, context).because(error)
    })
}
