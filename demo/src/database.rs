//! A database of its own for each run, so that nothing is left of it and two runs never meet.

use std::path::PathBuf;

use tokio_postgres::{Client, NoTls};
use xtask::services::Postgres;

use crate::error::{Doing, Result};

/// A database that this run created.
#[derive(Debug, Clone)]
pub struct Database {
    server: Postgres,
    name: String,
}

impl Database {
    /// Creates the database `name`, which must not exist.
    pub async fn create(server: &Postgres, name: &str) -> Result<Self> {
        let admin = connect(server, "postgres").await?;
        admin.batch_execute(&format!("create database {name}")).await.doing(format!("creating the database {name}"))?;
        Ok(Self { server: server.clone(), name: name.to_owned() })
    }

    /// The same database on another server: on a standby that was promoted, or where it was restored.
    #[must_use]
    pub fn on(&self, server: &Postgres) -> Self {
        Self { server: server.clone(), name: self.name.clone() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The server it is on.
    pub fn server(&self) -> &Postgres {
        &self.server
    }

    /// A new connection, as the service's own user.
    pub async fn connect(&self) -> Result<Client> {
        connect(&self.server, &self.name).await
    }

    /// Ends what is still connected, drops the database's replication slots and then the database.
    pub async fn drop(self) -> Result<()> {
        let admin = connect(&self.server, "postgres").await?;
        let slots = admin
            .query("select slot_name::text, active_pid from pg_replication_slots where database = $1", &[&self.name])
            .await
            .doing("listing the run's slots")?;
        for slot in slots {
            let (name, pid): (String, Option<i32>) = (slot.get(0), slot.get(1));
            if let Some(pid) = pid {
                // Waits up to ten seconds for the backend to be gone: an active slot cannot be dropped.
                admin
                    .execute("select pg_terminate_backend($1, 10000)", &[&pid])
                    .await
                    .doing("ending the slot's reader")?;
            }
            admin
                .execute("select pg_drop_replication_slot($1)", &[&name])
                .await
                .doing(format!("dropping the slot {name}"))?;
        }
        admin
            .batch_execute(&format!("drop database {} with (force)", self.name))
            .await
            .doing(format!("dropping the database {}", self.name))
    }
}

/// The socket folder if it can be used from here, else nothing: TCP is used then.
pub fn socket(server: &Postgres) -> Option<PathBuf> {
    let there = server.socket_dir.join(format!(".s.PGSQL.{}", server.port)).exists();
    there.then(|| server.socket_dir.clone())
}

async fn connect(server: &Postgres, database: &str) -> Result<Client> {
    let mut config = tokio_postgres::Config::new();
    match socket(server) {
        Some(folder) => config.host_path(folder),
        None => config.host(&server.host),
    };
    config.port(server.port).user(&server.user).password(&server.password).dbname(database).application_name("nova");
    let (client, connection) = config.connect(NoTls).await.doing(format!("connecting to the database {database}"))?;
    // The connection's error reaches whoever waits for a query; there is nobody else to tell.
    tokio::spawn(async move { connection.await.ok() });
    Ok(client)
}
