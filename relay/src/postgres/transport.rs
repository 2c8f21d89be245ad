//! The socket under a connection: a Unix socket or TCP, blocking until it streams.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mio::{Interest, Registry, Token};
use socket2::{Domain, SockAddr, Socket, TcpKeepalive, Type};

/// A peer that vanished without a word is noticed by the kernel after 10 s + 3 × 5 s.
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(10)).with_interval(Duration::from_secs(5)).with_retries(3);

/// Where Postgres puts its socket: Debian's choice, then the default of the sources.
const SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// The name of the socket for `port`: <https://www.postgresql.org/docs/current/runtime-config-connection.html>.
pub(crate) fn socket_path(directory: &Path, port: u16) -> PathBuf {
    directory.join(format!(".s.PGSQL.{port}"))
}

/// The first of the usual directories that holds a socket for `port`.
pub(crate) fn usual_socket_directory(port: u16) -> Option<PathBuf> {
    SOCKET_DIRECTORIES.iter().map(PathBuf::from).find(|directory| socket_path(directory, port).exists())
}

/// A connected, blocking socket.
#[derive(Debug)]
pub(crate) enum Transport {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Transport {
    pub(crate) fn unix(directory: &Path, port: u16, deadline: Instant) -> io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.connect_timeout(&SockAddr::unix(socket_path(directory, port))?, remaining(deadline)?)?;
        Ok(Self::Unix(socket.into()))
    }

    /// Tries every address of `host` until one answers.
    pub(crate) fn tcp(host: &str, port: u16, deadline: Instant) -> io::Result<Self> {
        let mut last = None;
        for address in (host, port).to_socket_addrs()? {
            match connect_tcp(address, deadline) {
                Ok(stream) => return Ok(Self::Tcp(stream)),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
    }

    /// Whether what is sent stays on this machine.
    pub(crate) fn is_unix(&self) -> bool {
        matches!(self, Self::Unix(_))
    }

    /// Reads and writes fail once `deadline` has passed; `None` waits for ever.
    pub(crate) fn set_deadline(&self, deadline: Option<Instant>) -> io::Result<()> {
        let timeout = deadline.map(remaining).transpose()?;
        match self {
            Self::Unix(stream) => stream.set_read_timeout(timeout).and_then(|()| stream.set_write_timeout(timeout)),
            Self::Tcp(stream) => stream.set_read_timeout(timeout).and_then(|()| stream.set_write_timeout(timeout)),
        }
    }
}

fn connect_tcp(address: SocketAddr, deadline: Instant) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, remaining(deadline)?)?;
    stream.set_nodelay(true)?;
    socket2::SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE)?;
    Ok(stream)
}

/// Time left; none left is an error, because sockets take a timeout of zero for "never".
fn remaining(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
    }
    Ok(left)
}

impl Read for Transport {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(buffer),
            Self::Tcp(stream) => stream.read(buffer),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(data),
            Self::Tcp(stream) => stream.write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The same socket while it streams: it never blocks.
#[derive(Debug)]
pub(crate) enum NonblockingTransport {
    Unix(mio::net::UnixStream),
    Tcp(mio::net::TcpStream),
}

impl NonblockingTransport {
    pub(crate) fn new(transport: Transport) -> io::Result<Self> {
        match transport {
            Transport::Unix(stream) => {
                stream.set_nonblocking(true)?;
                Ok(Self::Unix(mio::net::UnixStream::from_std(stream)))
            }
            Transport::Tcp(stream) => {
                stream.set_nonblocking(true)?;
                Ok(Self::Tcp(mio::net::TcpStream::from_std(stream)))
            }
        }
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interests = Interest::READABLE | Interest::WRITABLE;
        match self {
            Self::Unix(stream) => registry.register(stream, token, interests),
            Self::Tcp(stream) => registry.register(stream, token, interests),
        }
    }
}

impl Read for NonblockingTransport {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(buffer),
            Self::Tcp(stream) => stream.read(buffer),
        }
    }
}

impl Write for NonblockingTransport {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(data),
            Self::Tcp(stream) => stream.write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
