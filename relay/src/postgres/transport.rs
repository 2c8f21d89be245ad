//! The way under a connection: a Unix socket, TCP, or TLS over TCP; blocking until it streams.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mio::{Interest, Registry, Token};
use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use crate::postgres::tls::Channel;

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

/// Whether it is one of them.
pub(crate) fn is_usual_socket_directory(directory: &Path) -> bool {
    SOCKET_DIRECTORIES.iter().any(|usual| directory == Path::new(usual))
}

/// A connected, blocking socket.
#[derive(Debug)]
pub(crate) enum Transport {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(TcpStream, Channel),
}

impl Transport {
    pub(crate) fn unix(directory: &Path, port: u16, deadline: Instant) -> io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.connect_timeout(&SockAddr::unix(socket_path(directory, port))?, remaining(deadline)?)?;
        Ok(Self::Unix(socket.into()))
    }

    pub(crate) fn tcp(address: SocketAddr, user_timeout: Option<Duration>, deadline: Instant) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, remaining(deadline)?)?;
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        socket.set_tcp_keepalive(&KEEPALIVE)?;
        if let Some(timeout) = user_timeout {
            set_user_timeout(&socket, timeout)?;
        }
        Ok(Self::Tcp(stream))
    }

    /// The same way, secured; only TCP can be.
    ///
    /// # Errors
    /// The socket's, or a [`rustls::Error`] within one of kind `InvalidData`.
    pub(crate) fn secure(self, mut channel: Channel, deadline: Instant) -> io::Result<Self> {
        let Self::Tcp(mut stream) = self else { return Ok(self) };
        channel.shake_hands(&mut stream, |stream| set_timeouts(stream, Some(deadline)))?;
        Ok(Self::Tls(stream, channel))
    }

    /// The session of TLS, if there is one.
    pub(crate) fn channel(&self) -> Option<&Channel> {
        if let Self::Tls(_, channel) = self { Some(channel) } else { None }
    }

    /// Another hold on the same socket.
    pub(crate) fn twin(&self) -> io::Result<Twin> {
        match self {
            Self::Unix(stream) => stream.try_clone().map(Twin::Unix),
            Self::Tcp(stream) | Self::Tls(stream, _) => stream.try_clone().map(Twin::Tcp),
        }
    }

    /// Ends both directions at once, without a farewell.
    pub(crate) fn shut_down(&self) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
            Self::Tcp(stream) | Self::Tls(stream, _) => stream.shutdown(Shutdown::Both),
        }
    }

    /// Whether what is sent stays on this machine.
    pub(crate) fn is_unix(&self) -> bool {
        matches!(self, Self::Unix(_))
    }

    /// Reads and writes fail once `deadline` has passed; `None` waits for ever.
    pub(crate) fn set_deadline(&self, deadline: Option<Instant>) -> io::Result<()> {
        match self {
            Self::Unix(stream) => {
                let timeout = deadline.map(remaining).transpose()?;
                stream.set_read_timeout(timeout).and_then(|()| stream.set_write_timeout(timeout))
            }
            Self::Tcp(stream) | Self::Tls(stream, _) => set_timeouts(stream, deadline),
        }
    }
}

/// A hold on a socket that another thread reads.
#[derive(Debug)]
pub(crate) enum Twin {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Twin {
    /// Ends both directions at once: a read that waits in another thread returns.
    pub(crate) fn shut_down(&self) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
        }
    }
}

fn set_timeouts(stream: &TcpStream, deadline: Option<Instant>) -> io::Result<()> {
    let timeout = deadline.map(remaining).transpose()?;
    stream.set_read_timeout(timeout).and_then(|()| stream.set_write_timeout(timeout))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn set_user_timeout(socket: &SockRef<'_>, timeout: Duration) -> io::Result<()> {
    socket.set_tcp_user_timeout(Some(timeout))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn set_user_timeout(_: &SockRef<'_>, _: Duration) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this operating system has no tcp_user_timeout_ms; leave it out"))
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
            Self::Tls(stream, channel) => channel.read(stream, buffer),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(data),
            Self::Tcp(stream) => stream.write(data),
            Self::Tls(stream, channel) => channel.write(stream, data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Unix(_) | Self::Tcp(_) => Ok(()),
            Self::Tls(stream, channel) => channel.flush(stream),
        }
    }
}

/// The same socket while it streams: it never blocks.
#[derive(Debug)]
pub(crate) enum NonblockingTransport {
    Unix(mio::net::UnixStream),
    Tcp(mio::net::TcpStream),
    Tls(mio::net::TcpStream, Channel),
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
            Transport::Tls(stream, channel) => {
                stream.set_nonblocking(true)?;
                Ok(Self::Tls(mio::net::TcpStream::from_std(stream), channel))
            }
        }
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interests = Interest::READABLE | Interest::WRITABLE;
        match self {
            Self::Unix(stream) => registry.register(stream, token, interests),
            Self::Tcp(stream) | Self::Tls(stream, _) => registry.register(stream, token, interests),
        }
    }

    /// Whether something that was written waits for the socket: what TLS has sealed must leave as it is.
    pub(crate) fn has_unsent(&self) -> bool {
        matches!(self, Self::Tls(_, channel) if channel.has_unsent())
    }
}

impl Read for NonblockingTransport {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(buffer),
            Self::Tcp(stream) => stream.read(buffer),
            Self::Tls(stream, channel) => channel.read(stream, buffer),
        }
    }
}

impl Write for NonblockingTransport {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(data),
            Self::Tcp(stream) => stream.write(data),
            Self::Tls(stream, channel) => channel.write(stream, data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Unix(_) | Self::Tcp(_) => Ok(()),
            Self::Tls(stream, channel) => channel.flush(stream),
        }
    }
}
