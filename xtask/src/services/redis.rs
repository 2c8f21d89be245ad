//! Redis, natively: the installed server, else Debian's.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::services::client::{apt_install, on_path, run};
use crate::services::error::{Error, Result};
use crate::services::home::Home;
use crate::services::progress::Task;

/// Finds the server, or installs it.
pub(crate) fn server(home: &Home, task: &Task) -> Result<PathBuf> {
    if let Some(server) = on_path("redis-server") {
        return Ok(server);
    }
    apt_install(home, task, "redis-server")?;
    on_path("redis-server")
        .ok_or_else(|| Error::Unsupported("Debian's redis-server is installed but not on PATH".to_owned()))
}

/// The command that serves on `port` from `data`.
pub(crate) fn command(server: &Path, port: u16, data: &Path) -> Command {
    let mut command = Command::new(server);
    command
        .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "yes", "--dir"])
        .arg(data);
    command.current_dir("/");
    command
}

/// Whether the server answers a ping.
pub(crate) fn is_ready(port: u16) -> bool {
    ping(port).is_ok_and(|answer| answer == *b"+PONG\r\n")
}

fn ping(port: u16) -> std::io::Result<[u8; 7]> {
    let patience = Duration::from_secs(1);
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0_u8; 7];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// The version that the server says of itself.
pub(crate) fn version(server: &Path) -> Result<String> {
    let said = run(Command::new(server).arg("--version"))?;
    let version = said.split_ascii_whitespace().find_map(|word| word.strip_prefix("v="));
    version
        .map(str::to_owned)
        .ok_or_else(|| Error::Unsupported(format!("redis-server says an unknown version: {}", said.trim())))
}
