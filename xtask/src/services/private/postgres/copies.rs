//! Copies of a private Postgres: a base backup that may be put back, and a physical standby that may be promoted.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::services::client::run;
use crate::services::error::{Error, IoContext, Result};
use crate::services::home::{partial_of, remove_tree};
use crate::services::postgres::cluster::{Cluster, USER};
use crate::services::private::postgres::PrivatePostgres;
use crate::services::private::{Place, quiet_task};

/// Distinguishes the backups of one process.
static BACKUP: AtomicU32 = AtomicU32::new(0);

/// A copy of a data directory, as it was at one moment; removed when dropped.
#[derive(Debug)]
pub struct Backup {
    folder: PathBuf,
}

impl Drop for Backup {
    fn drop(&mut self) {
        let _ = remove_tree(&self.folder);
    }
}

impl PrivatePostgres {
    /// A command for one of its programs (`pg_dump`, `pg_recvlogical`), run as the user that the server runs as and told
    /// how to reach it as superuser by its socket.
    ///
    /// # Errors
    /// If the source of its binaries has no such program.
    pub fn program(&self, name: &str) -> Result<Command> {
        let Cluster { binaries, sockets, .. } = &self.cluster;
        if !binaries.bin.join(name).is_file() {
            return Err(Error::Missing {
                what: format!("{name} of Postgres {}", binaries.version),
                install: "apt-get install postgresql-client".to_owned(),
            });
        }
        let mut command = binaries.command(name, self.place.home.user());
        command.env("PGHOST", sockets).env("PGPORT", self.port.to_string()).env("PGUSER", USER);
        Ok(command)
    }

    /// A physical standby that streams through a slot called `name`, which is made on this server; it starts as a copy
    /// (`pg_basebackup`) and sends its feedback. The given settings come last and win.
    ///
    /// From PostgreSQL 17 on it also keeps the slots that are made to outlive a failover: `sync_replication_slots`, whose
    /// worker needs a database in `primary_conninfo`.
    /// <https://www.postgresql.org/docs/current/logicaldecoding-explanation.html#LOGICALDECODING-REPLICATION-SLOTS-SYNCHRONIZATION>
    ///
    /// # Errors
    /// If it cannot be copied, or does not start.
    pub fn standby(&self, name: &str, settings: &[(&str, &str)]) -> Result<Self> {
        let place = Place::new("postgres")?;
        let cluster = Cluster {
            binaries: self.cluster.binaries.clone(),
            data: place.folder.join("data"),
            sockets: place.folder.join("s"),
            log: place.log(),
        };
        self.copy_to(&place, &cluster.data, &["--create-slot", "--slot", name])?;
        cluster.create(&place.home, &quiet_task("postgres"))?;
        let mut standby = Self {
            place,
            cluster,
            settings: self.settings.clone(),
            port: 0,
            password: self.password.clone(),
            server: None,
        };
        standby.add("hot_standby_feedback", "on");
        if standby.cluster.binaries.major >= 17 {
            standby.add("sync_replication_slots", "on");
        }
        standby.stream_from(self, name)?;
        settings.iter().for_each(|(name, value)| standby.add(name, value));
        standby.start_on_a_free_port()?;
        Ok(standby)
    }

    /// Makes it, from the next start on, a standby of `primary`, through its slot `name`.
    ///
    /// # Errors
    /// If the file that says so cannot be written.
    pub fn stream_from(&mut self, primary: &Self, name: &str) -> Result<()> {
        let (sockets, port) = (primary.cluster.sockets.display(), primary.port);
        let way = format!("host={sockets} port={port} user={USER} dbname=postgres application_name={name}");
        self.add("primary_conninfo", &way);
        self.add("primary_slot_name", name);
        self.make_standby()
    }

    /// Makes a standby a primary, and waits until it takes writes.
    ///
    /// # Errors
    /// If it is none, or does not become one within a minute.
    pub fn promote(&self) -> Result<()> {
        let mut command = self.cluster.binaries.command("pg_ctl", self.place.home.user());
        run(command.args(["promote", "--wait", "--timeout=60", "--silent", "--pgdata"]).arg(&self.cluster.data))
            .map(drop)
    }

    /// A copy of the stopped server's data with all its slots, as a snapshot of the disk is; the server is started again.
    ///
    /// # Errors
    /// If it cannot be copied, or the server does not come back.
    pub fn backup(&mut self) -> Result<Backup> {
        let number = BACKUP.fetch_add(1, Ordering::Relaxed);
        let folder = self.place.folder.join(format!("backup-{number}"));
        let running = self.server.is_some();
        self.stop();
        let backup = Backup { folder };
        copy(&self.cluster.data, &backup.folder)?;
        if running {
            self.start_again()?;
        }
        Ok(backup)
    }

    /// Puts a backup in place of the data of a server, which is stopped for it and left so.
    ///
    /// # Errors
    /// If it cannot be copied.
    pub fn restore(&mut self, backup: &Backup) -> Result<()> {
        self.stop();
        remove_tree(&self.cluster.data)?;
        copy(&backup.folder, &self.cluster.data)?;
        self.configure()
    }

    /// A base backup of the running server into `data`, by the user that the server runs as.
    fn copy_to(&self, place: &Place, data: &std::path::Path, more: &[&str]) -> Result<()> {
        place.home.service_folder(data)?;
        let mut command = self.program("pg_basebackup")?;
        command.args(["--checkpoint=fast", "--no-sync", "--wal-method=stream"]).args(more);
        run(command.arg("--pgdata").arg(data)).map(drop)
    }
}

/// Copies a data directory with owners and modes; whole or not at all.
fn copy(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    let partial = partial_of(to);
    remove_tree(&partial)?;
    run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(from).arg(&partial))?;
    std::fs::rename(&partial, to).context("rename", &partial)
}
