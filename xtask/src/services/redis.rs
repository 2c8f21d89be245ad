//! Redis, natively: the installed server, else Debian's.

use std::io::{BufRead, BufReader, Read, Write};
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

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether the server answers a ping, be it with a demand for a password.
pub(crate) fn is_ready(port: u16) -> bool {
    ping(port).is_ok_and(|answer| answer == *b"+PONG\r\n" || answer == *b"-NOAUTH")
}

fn ping(port: u16) -> std::io::Result<[u8; 7]> {
    let mut stream = connect(port)?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0_u8; 7];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Has the server run one command, written as one line of words, and gives its answer if that is a line or a text
/// (<https://redis.io/docs/latest/develop/reference/protocol-spec/>).
pub(crate) fn command_line(port: u16, line: &str) -> Result<String> {
    let failed = |reason: String| Error::Command { command: format!("redis-cli -p {port} {line}"), reason };
    match ask(port, line) {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(reason)) => Err(failed(reason)),
        Err(error) => Err(failed(error.to_string())),
    }
}

fn ask(port: u16, line: &str) -> std::io::Result<std::result::Result<String, String>> {
    let mut stream = BufReader::new(connect(port)?);
    stream.get_mut().write_all(format!("{line}\r\n").as_bytes())?;
    let mut head = String::new();
    stream.read_line(&mut head)?;
    let head = head.trim_end();
    if let Some(reason) = head.strip_prefix('-') {
        return Ok(Err(reason.to_owned()));
    }
    if let Some(bytes) = head.strip_prefix('$').and_then(|bytes| bytes.parse::<usize>().ok()) {
        let mut text = vec![0; bytes];
        stream.read_exact(&mut text)?;
        return Ok(Ok(String::from_utf8_lossy(&text).into_owned()));
    }
    Ok(Ok(head.get(1..).unwrap_or_default().to_owned()))
}

/// The version that the server says of itself.
pub(crate) fn version(server: &Path) -> Result<String> {
    let said = run(Command::new(server).arg("--version"))?;
    let version = said.split_ascii_whitespace().find_map(|word| word.strip_prefix("v="));
    version
        .map(str::to_owned)
        .ok_or_else(|| Error::Unsupported(format!("redis-server says an unknown version: {}", said.trim())))
}
