//! ClickHouse's engine, natively: PyPI's chdb-core behind a small HTTP front that speaks ClickHouse's HTTP interface.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::services::client::{pip_install, wanted};
use crate::services::error::{IoContext, Result};
use crate::services::home::Home;
use crate::services::progress::Task;

/// The version of chdb-core, which is the engine's own.
pub(crate) const VERSION: &str = "26.9.0";

/// What the front needs beside the engine: blocks of the native protocol are LZ4 with a CityHash of version 1.0.2.
const BESIDE: [&str; 2] = ["lz4==4.4.5", "clickhouse-cityhash==1.0.2.6"];

/// The front; carried in this program, so that it also runs without the source tree.
const FRONT: &str = include_str!("clickhouse_front.py");

/// The engine and what its front needs, installed.
#[derive(Debug)]
pub(crate) struct Engine {
    python: PathBuf,
    packages: std::ffi::OsString,
}

impl Engine {
    /// Installs what is not there yet.
    pub(crate) fn get(home: &Home, task: &Task) -> Result<Self> {
        let engine = format!("chdb-core=={VERSION}");
        let folders: Vec<PathBuf> = std::iter::once(engine.as_str())
            .chain(BESIDE)
            .map(|requirement| pip_install(home, task, requirement))
            .collect::<Result<_>>()?;
        let packages = std::env::join_paths(folders).expect("the services' folder has no colon in its name");
        Ok(Self { python: wanted("python3", "apt-get install python3")?, packages })
    }

    /// The command that serves on `port` what is in `data`.
    pub(crate) fn command(&self, port: u16, data: &Path) -> Result<Command> {
        let front = data.join("front.py");
        fs::write(&front, FRONT).context("write", &front)?;
        let mut command = Command::new(&self.python);
        command.arg(&front).args(["--port", &port.to_string(), "--path"]).arg(data);
        command.env("PYTHONPATH", &self.packages).current_dir("/");
        Ok(command)
    }
}

/// Whether the front answers a ping.
pub(crate) fn is_ready(port: u16) -> bool {
    ping(port).is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

fn ping(port: u16) -> std::io::Result<String> {
    let patience = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
