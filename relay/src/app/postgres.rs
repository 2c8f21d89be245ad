//! From the configuration's `[postgres]` to the options of a connection.

use crate::config::postgres as config;
use crate::postgres::options::{ChannelBinding, ConnectOptions, Host, Identity, Secret, Server, Target, Tls, TlsMode};

/// How to reach the database, with replication commands or only with SQL.
pub(crate) fn options(postgres: &config::Postgres, replication: bool) -> ConnectOptions {
    ConnectOptions {
        servers: postgres.servers.iter().map(server).collect(),
        target: match postgres.target {
            config::Target::Any => Target::Any,
            config::Target::ReadWrite => Target::ReadWrite,
            config::Target::Primary => Target::Primary,
            config::Target::Standby => Target::Standby,
        },
        database: postgres.database.clone(),
        user: postgres.user.clone(),
        password: postgres.password.as_ref().map(|password| Secret::new(password.expose())),
        passfile: postgres.passfile.clone(),
        tls: tls(&postgres.tls),
        channel_binding: match postgres.channel_binding {
            config::ChannelBinding::Prefer => ChannelBinding::Prefer,
            config::ChannelBinding::Require => ChannelBinding::Require,
        },
        application_name: postgres.application_name.clone(),
        connect_timeout: postgres.connect_timeout,
        tcp_user_timeout: postgres.tcp_user_timeout,
        replication,
    }
}

fn server(server: &config::Server) -> Server {
    let host = match &server.host {
        config::Host::Socket(directory) => Host::Socket(directory.clone()),
        config::Host::Tcp(name) => Host::parse(name),
    };
    Server { host, port: server.port }
}

fn tls(tls: &config::Tls) -> Tls {
    let identity = |(certificate_file, key_file): &(_, _)| Identity {
        certificate_file: std::path::PathBuf::clone(certificate_file),
        key_file: std::path::PathBuf::clone(key_file),
    };
    Tls {
        mode: match tls.mode {
            config::TlsMode::Disable => TlsMode::Disable,
            config::TlsMode::Prefer => TlsMode::Prefer,
            config::TlsMode::Require => TlsMode::Require,
            config::TlsMode::VerifyCa => TlsMode::VerifyCa,
            config::TlsMode::VerifyFull => TlsMode::VerifyFull,
        },
        ca_file: tls.ca_file.clone(),
        identity: tls.identity.as_ref().map(identity),
    }
}
