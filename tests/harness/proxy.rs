//! A proxy before Postgres that understands just enough of the protocol to cut a replication stream between two of its messages.
//!
//! <https://www.postgresql.org/docs/current/protocol-replication.html>

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long a held stream waits for the client to confirm, before the cut comes anyway and the test fails.
const HOLD_MAX: Duration = Duration::from_secs(20);

/// What passes the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen<'m> {
    /// A replication stream began.
    Began,
    /// A pgoutput message is about to pass to the client.
    Wal(&'m [u8]),
    /// The client confirmed everything before this position.
    Confirmed(u64),
}

/// What is done with it. Only a message to the client can be kept back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It passes.
    Pass,
    /// The connection ends before it.
    Cut,
    /// The connection ends in the middle of it.
    CutInside,
    /// The connection ends before it, as soon as the client has confirmed this position.
    CutOnceConfirmed(u64),
}

type Script = Arc<Mutex<dyn FnMut(Seen<'_>) -> Verdict + Send>>;

/// A proxy; ends when dropped, with every connection through it.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Stands before the server at `port` of this host, and asks `script` about everything in a replication stream.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn start(port: u16, script: impl FnMut(Seen<'_>) -> Verdict + Send + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let own = listener.local_addr().expect("a listener has an address").port();
        let script: Script = Arc::new(Mutex::new(script));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(carry(client, port, Arc::clone(&script)));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { port: own, task }
    }

    /// Where it listens, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Carries one connection until one side, or the script, ends it.
async fn carry(mut client: TcpStream, port: u16, script: Script) -> io::Result<()> {
    let startup = read_startup(&mut client).await?;
    let server = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (confirmed, confirmations) = watch::channel(0);
    // Whichever ends first takes the other with it.
    tokio::select! {
        ended = upstream(from_client, to_server, startup, &script, &confirmed) => ended,
        ended = downstream(from_server, to_client, &script, confirmations) => ended,
    }
}

/// Client to server: passes everything, and notes what standby status updates confirm.
async fn upstream(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    startup: Vec<u8>,
    script: &Script,
    confirmed: &watch::Sender<u64>,
) -> io::Result<()> {
    let mut frame = startup;
    to.write_all(&frame).await?;
    loop {
        frame.clear();
        frame.push(from.read_u8().await?);
        read_body(&mut from, &mut frame).await?;
        if let Some(flushed) = flushed(&frame) {
            confirmed.send_replace(flushed);
            ask(script, Seen::Confirmed(flushed));
        }
        to.write_all(&frame).await?;
    }
}

/// Server to client: asks about each pgoutput message.
async fn downstream(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    script: &Script,
    mut confirmations: watch::Receiver<u64>,
) -> io::Result<()> {
    let mut from = BufReader::with_capacity(1 << 16, &mut from);
    let mut to = BufWriter::with_capacity(1 << 16, &mut to);
    let mut frame = Vec::new();
    loop {
        // What was read together is passed on together.
        if from.buffer().is_empty() {
            to.flush().await?;
        }
        frame.clear();
        frame.push(from.read_u8().await?);
        read_body(&mut from, &mut frame).await?;
        let verdict = match frame.first() {
            // CopyBothResponse
            Some(b'W') => ask(script, Seen::Began),
            _ => pgoutput(&frame).map_or(Verdict::Pass, |message| ask(script, Seen::Wal(message))),
        };
        match verdict {
            Verdict::Pass => to.write_all(&frame).await?,
            Verdict::Cut => return to.flush().await,
            Verdict::CutInside => {
                to.write_all(&frame[..frame.len() / 2]).await?;
                return to.flush().await;
            }
            Verdict::CutOnceConfirmed(position) => {
                to.flush().await?;
                let reached = confirmations.wait_for(|confirmed| *confirmed >= position);
                let _ = tokio::time::timeout(HOLD_MAX, reached).await;
                return Ok(());
            }
        }
    }
}

/// The startup packet, which alone has no type. What is not plain text could not be cut, so requests for encryption that
/// come before it are declined: <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL>.
async fn read_startup(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    /// An SSLRequest and a GSSENCRequest, each instead of a protocol's version.
    const ENCRYPTION: [[u8; 4]; 2] = [80_877_103_u32.to_be_bytes(), 80_877_104_u32.to_be_bytes()];
    let mut packet = Vec::new();
    loop {
        packet.clear();
        read_body(client, &mut packet).await?;
        if !ENCRYPTION.iter().any(|request| packet.get(4..) == Some(request)) {
            return Ok(packet);
        }
        client.write_all(b"N").await?;
    }
}

/// Appends a length and what it covers.
async fn read_body(from: &mut (impl AsyncReadExt + Unpin), frame: &mut Vec<u8>) -> io::Result<()> {
    let length = from.read_u32().await?;
    frame.extend_from_slice(&length.to_be_bytes());
    let start = frame.len();
    frame.resize(start + length.saturating_sub(4) as usize, 0);
    from.read_exact(&mut frame[start..]).await?;
    Ok(())
}

/// The pgoutput message in a CopyData frame that holds XLogData: type, length, 'w', and three numbers of eight bytes.
fn pgoutput(frame: &[u8]) -> Option<&[u8]> {
    let [b'd', _, _, _, _, b'w', rest @ ..] = frame else { return None };
    rest.get(24..)
}

/// The flushed position in a CopyData frame that holds a standby status update: 'r', written, flushed, ….
fn flushed(frame: &[u8]) -> Option<u64> {
    let [b'd', _, _, _, _, b'r', rest @ ..] = frame else { return None };
    Some(u64::from_be_bytes(rest.get(8..16)?.try_into().ok()?))
}

fn ask(script: &Script, seen: Seen<'_>) -> Verdict {
    let mut script = script.lock().unwrap_or_else(PoisonError::into_inner);
    script(seen)
}
