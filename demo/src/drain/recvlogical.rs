//! Postgres's own client for a logical slot, the yardstick: it parses nothing and writes to `/dev/null`.
//! See <https://www.postgresql.org/docs/current/app-pgrecvlogical.html>.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use xtask::services::Postgres;

use crate::database::socket;
use crate::error::{Error, Result};

const PROGRAM: &str = "pg_recvlogical";

/// Finds the program.
pub(super) fn find() -> Result<PathBuf> {
    program(PROGRAM)
}

/// Finds a program of Postgres: beside the installed server, where Debian puts it, or in the path.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    let configured = Command::new("pg_config").arg("--bindir").stderr(Stdio::null()).output().ok();
    let configured = configured.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let mut debian: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|majors| majors.flatten().map(|major| major.path().join("bin")).collect())
        .unwrap_or_default();
    debian.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = configured.into_iter().chain(debian.into_iter().rev()).chain(std::env::split_paths(&path));
    folders.map(|folder| folder.join(name)).find(|program| program.is_file()).ok_or_else(|| {
        Error::Relay(format!("{name} was not found: it comes with the PostgreSQL server or client package"))
    })
}

/// The command that reads `slot` up to `end` and ends.
pub(super) fn command(program: &Path, postgres: &Postgres, database: &str, slot: &str, end: u64) -> Command {
    let mut command = Command::new(program);
    let host = socket(postgres).map_or_else(|| postgres.host.clone(), |folder| folder.display().to_string());
    command
        .args([
            "--start",
            "--no-loop",
            "--file",
            "/dev/null",
            "--option",
            "proto_version=1",
            "--option",
            "publication_names=postrider",
        ])
        .args(["--slot", slot, "--endpos", &format!("{:X}/{:X}", end >> 32, end & 0xFFFF_FFFF)])
        .args([
            "--host",
            &host,
            "--port",
            &postgres.port.to_string(),
            "--username",
            &postgres.user,
            "--dbname",
            database,
        ])
        .env("PGPASSWORD", &postgres.password)
        .stdin(Stdio::null());
    command
}
