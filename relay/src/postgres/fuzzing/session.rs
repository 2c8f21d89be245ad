//! A server that says anything while a session starts and runs: the client ends with an error, or has a session.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};

use crate::postgres::connection::Connection;
use crate::postgres::options::{ConnectOptions, Host, Secret};

/// How long the server waits for an answer that may not come.
const ANSWER_MAX: Duration = Duration::from_millis(5);

/// What the server does next.
#[derive(Debug, Arbitrary)]
enum Step {
    /// Bytes that need not be a message.
    Bytes(Vec<u8>),
    /// A message of any kind and content.
    Message(u8, Vec<u8>),
    /// An authentication request of any kind.
    Authentication(u8, Vec<u8>),
    /// It asks for a password by SCRAM.
    Sasl,
    /// Its challenge, made of what the client sent: the nonce continues the client's.
    Challenge {
        nonce: String,
        salt: [u8; 3],
        iterations: u16,
    },
    /// Its proof, or what it says instead.
    Proof(Vec<u8>),
    /// The client is in.
    Granted,
    Parameter(String, String),
    Key(i32),
    Row(Vec<Option<Vec<u8>>>),
    Columns,
    Complete,
    Ready,
    Error(Vec<(u8, String)>),
    Notice(Vec<(u8, String)>),
}

/// A server follows the script in `data` for one session.
///
/// # Panics
/// If an error says nothing.
pub fn talk(data: &[u8]) {
    let Ok(script) = Vec::<Step>::arbitrary(&mut Unstructured::new(data)) else { return };
    let (directory, server) = server();
    server.lock().unwrap_or_else(PoisonError::into_inner).send(script).expect("the server lives as long as we do");
    let mut options = ConnectOptions::new(Host::Socket(directory.clone()), 5432, "shop", "relay");
    options.password = Some(Secret::new("correct-horse"));
    options.connect_timeout = Duration::from_secs(5);
    let mut said = Vec::new();
    match Connection::connect(&options) {
        Err(error) => said.push(error),
        Ok(mut connection) => {
            let _ = connection.server_major();
            said.extend(connection.simple_query("select 1").err());
            said.extend(connection.identify_system().err());
            said.extend(connection.timeline_history(2).err());
        }
    }
    for error in said {
        let shown = format!("{error:?}");
        assert!(!error.to_string().is_empty() && !shown.contains("correct-horse"));
    }
}

/// One server for all, in a thread of its own, which takes one session for each script.
fn server() -> &'static (PathBuf, Mutex<Sender<Vec<Step>>>) {
    static SERVER: OnceLock<(PathBuf, Mutex<Sender<Vec<Step>>>)> = OnceLock::new();
    SERVER.get_or_init(|| {
        let directory = std::env::temp_dir().join(format!("postrider-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("the temporary folder can be written");
        let socket = directory.join(".s.PGSQL.5432");
        // Of a process that had our id before us.
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).expect("a socket can be made in a folder of our own");
        let (sender, scripts) = mpsc::channel::<Vec<Step>>();
        std::thread::spawn(move || {
            while let Ok(script) = scripts.recv() {
                let Ok((stream, _)) = listener.accept() else { return };
                // A client that has left is the usual end.
                let _ = follow(stream, script);
            }
        });
        (directory, Mutex::new(sender))
    })
}

fn follow(mut stream: UnixStream, script: Vec<Step>) -> std::io::Result<()> {
    let mut heard = [0; 4096];
    let mut length = stream.read(&mut heard)?;
    // From here on the client may be waiting for us, too.
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    for step in script {
        match step {
            Step::Bytes(bytes) => stream.write_all(&bytes)?,
            Step::Message(tag, body) => message(&mut stream, tag, &body)?,
            Step::Authentication(kind, body) => authentication(&mut stream, kind.into(), &body)?,
            Step::Sasl => {
                authentication(&mut stream, 10, b"SCRAM-SHA-256\0\0")?;
                length = stream.read(&mut heard).unwrap_or_default();
            }
            Step::Challenge { nonce, salt, iterations } => {
                let text = String::from_utf8_lossy(&heard[..length]);
                let client = text.split("r=").nth(1).unwrap_or_default();
                let salt: String = salt.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
                authentication(&mut stream, 11, format!("r={client}{nonce},s={salt}A,i={iterations}").as_bytes())?;
                length = stream.read(&mut heard).unwrap_or_default();
            }
            Step::Proof(proof) => authentication(&mut stream, 12, &[b"v=", &proof[..]].concat())?,
            Step::Granted => authentication(&mut stream, 0, b"")?,
            Step::Parameter(name, value) => message(&mut stream, b'S', format!("{name}\0{value}\0").as_bytes())?,
            Step::Key(pid) => message(&mut stream, b'K', &[pid.to_be_bytes(), [1; 4]].concat())?,
            Step::Row(values) => message(&mut stream, b'D', &row(&values))?,
            Step::Columns => message(&mut stream, b'T', b"\0\0")?,
            Step::Complete => message(&mut stream, b'C', b"SELECT 1\0")?,
            Step::Ready => message(&mut stream, b'Z', b"I")?,
            Step::Error(fields) => message(&mut stream, b'E', &report(&fields))?,
            Step::Notice(fields) => message(&mut stream, b'N', &report(&fields))?,
        }
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    // What the client still says is taken, so that it reads our end and not a reset.
    while stream.read(&mut heard)? > 0 {}
    Ok(())
}

fn message(stream: &mut UnixStream, tag: u8, body: &[u8]) -> std::io::Result<()> {
    stream.write_all(&[&[tag][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat())
}

fn authentication(stream: &mut UnixStream, kind: u32, body: &[u8]) -> std::io::Result<()> {
    message(stream, b'R', &[&kind.to_be_bytes()[..], body].concat())
}

fn row(values: &[Option<Vec<u8>>]) -> Vec<u8> {
    let mut body = (values.len() as u16).to_be_bytes().to_vec();
    for value in values {
        let length = value.as_ref().map_or(-1, |value| value.len() as i32);
        body.extend(length.to_be_bytes());
        body.extend(value.iter().flatten());
    }
    body
}

fn report(fields: &[(u8, String)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, text) in fields {
        body.push(*kind);
        body.extend(text.bytes().filter(|byte| *byte != 0));
        body.push(0);
    }
    body.push(0);
    body
}
