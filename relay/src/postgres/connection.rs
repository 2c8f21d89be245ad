//! One blocking session: connecting, sending, receiving and simple queries. Streaming leaves it behind.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use postgres_protocol::message::frontend;

use crate::postgres::chunk::HEADER_BYTES;
use crate::postgres::cursor::Cursor;
use crate::postgres::dial;
use crate::postgres::error::{During, Error, Kind, ServerError};
use crate::postgres::options::{Check, ConnectOptions};
use crate::postgres::security::{Method, Secured, Security};
use crate::postgres::startup::{self, Applicant, PINNED_SETTINGS};
use crate::postgres::tls::explain;
use crate::postgres::transport::{Transport, Twin};

/// The longest a command may take that has nothing to wait for. Creating a slot may wait for old transactions, and has no limit.
pub(crate) const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest answer to a command; rows of the catalogue are far below it.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How much is read at once before streaming.
const READ_BYTES: usize = 8 * 1024;

/// A row of text values; `None` is null.
pub type Row = Vec<Option<String>>;

/// A session with the server. Its methods block: call them from a thread that may.
#[derive(Debug)]
pub struct Connection {
    transport: Transport,
    peer: String,
    security: Security,
    parameters: HashMap<String, String>,
    backend_pid: i32,
    received: BytesMut,
    deadline: Option<Instant>,
}

/// Ends a session that another thread uses.
#[derive(Debug)]
pub struct Breaker {
    transport: Twin,
}

impl Breaker {
    /// Ends it: whoever waits for the server hears that the connection is lost.
    pub fn hang_up(&self) {
        // One that is gone already needs no ending.
        let _ = self.transport.shut_down();
    }
}

/// One message of the server.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) tag: u8,
    pub(crate) body: BytesMut,
}

impl Connection {
    /// Connects to the first server that will do and authenticates; the session is ready when this returns.
    ///
    /// # Errors
    ///
    /// [`Kind::Unavailable`] when nobody answers in time, the server is not ready, or none is of the wanted kind;
    /// [`Kind::Tls`] when the way cannot be made as safe as demanded; [`Kind::Authentication`] when the server does not let us
    /// in; [`Kind::Rejected`] when there is no such database.
    pub fn connect(options: &ConnectOptions) -> Result<Self, Error> {
        dial::dial(options, PINNED_SETTINGS)
    }

    /// A session on a way that was made.
    pub(crate) fn start(
        transport: Transport,
        peer: String,
        deadline: Instant,
        check: Check,
        applicant: &Applicant<'_>,
    ) -> Result<Self, Error> {
        let tls = transport.channel().map(|channel| Secured { version: channel.version(), check });
        let mut connection = Self {
            transport,
            peer,
            security: Security { tls, method: Method::NoPassword },
            parameters: HashMap::new(),
            backend_pid: 0,
            received: BytesMut::new(),
            deadline: Some(deadline),
        };
        startup::start_up(&mut connection, applicant)?;
        connection.deadline = None;
        Ok(connection)
    }

    /// The value of a parameter that the server reports by itself, such as `server_version`:
    /// <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-ASYNC>.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// The server's major version; 0 if it does not tell.
    #[must_use]
    pub fn server_major(&self) -> u32 {
        let version = self.parameter("server_version").unwrap_or_default();
        let digits = version.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        digits.parse().unwrap_or(0)
    }

    /// The process id of the server's backend for this session.
    #[must_use]
    pub fn backend_pid(&self) -> i32 {
        self.backend_pid
    }

    /// How the session is secured.
    #[must_use]
    pub fn security(&self) -> Security {
        self.security
    }

    /// The server's address, for logs and errors.
    #[must_use]
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// Runs SQL or a replication command and returns the rows of its last result, as text.
    ///
    /// # Errors
    ///
    /// What the server reports, or a lost connection. After a report the session can still be used.
    pub fn simple_query(&mut self, sql: &str) -> Result<Vec<Row>, Error> {
        self.command(sql, During::Query, "running a query", Some(COMMAND_TIMEOUT))
    }

    /// The same for what may take as long as it takes, such as a lock.
    ///
    /// # Errors
    ///
    /// As [`Connection::simple_query`] has them.
    pub fn patient_query(&mut self, sql: &str) -> Result<Vec<Row>, Error> {
        self.command(sql, During::Query, "running a query", None)
    }

    pub(crate) fn command(
        &mut self,
        command: &str,
        during: During,
        context: &str,
        timeout: Option<Duration>,
    ) -> Result<Vec<Row>, Error> {
        self.send_query(command, timeout)?;
        let mut rows = Vec::new();
        let mut failure = None;
        loop {
            let received = self.receive()?;
            match received.tag {
                b'T' => rows.clear(),
                b'D' => rows.push(read_row(&received.body)?),
                b'E' => failure = Some(self.report(&received)?),
                b'S' => self.keep_parameter(&received.body)?,
                b'C' | b'I' | b'N' => {}
                b'Z' => break,
                tag => return Err(self.unexpected(tag, context)),
            }
        }
        self.deadline = None;
        match failure {
            None => Ok(rows),
            Some(report) => Err(Error::server(context.to_owned(), during, report)),
        }
    }

    pub(crate) fn send_query(&mut self, command: &str, timeout: Option<Duration>) -> Result<(), Error> {
        self.deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut message = BytesMut::new();
        frontend::query(command, &mut message)
            .map_err(|error| Error::with_source(Kind::Rejected, "the command holds a zero byte", error))?;
        self.send(&message)
    }

    pub(crate) fn is_unix(&self) -> bool {
        self.transport.is_unix()
    }

    /// Whether TLS hides what is sent.
    pub(crate) fn is_secured(&self) -> bool {
        self.security.tls.is_some()
    }

    /// What a password exchange can be bound to.
    pub(crate) fn end_point(&self) -> Option<Vec<u8>> {
        self.transport.channel()?.end_point()
    }

    pub(crate) fn keep_method(&mut self, method: Method) {
        self.security.method = method;
    }

    pub(crate) fn send(&mut self, message: &[u8]) -> Result<(), Error> {
        let sent = self.transport.set_deadline(self.deadline).and_then(|()| self.transport.write_all(message));
        sent.map_err(|error| self.lost(error))
    }

    /// The next message, whichever it is.
    pub(crate) fn receive(&mut self) -> Result<Received, Error> {
        self.fill(HEADER_BYTES)?;
        let length = u32::from_be_bytes([self.received[1], self.received[2], self.received[3], self.received[4]]);
        let total = (length as usize).saturating_add(1);
        if !(HEADER_BYTES..=MESSAGE_BYTES_MAX).contains(&total) {
            return Err(Error::new(Kind::Protocol, format!("{} sent a message of {length} bytes", self.peer)));
        }
        self.fill(total)?;
        let mut body = self.received.split_to(total);
        let tag = body[0];
        let body = body.split_off(HEADER_BYTES);
        Ok(Received { tag, body })
    }

    /// What the server reports in an `ErrorResponse`.
    pub(crate) fn report(&self, received: &Received) -> Result<ServerError, Error> {
        ServerError::parse(&received.body)
            .map_err(|error| Error::protocol(format!("reading an error report of {}", self.peer), error))
    }

    pub(crate) fn unexpected(&self, tag: u8, context: &str) -> Error {
        Error::new(Kind::Protocol, format!("{} sent message {:?} {context}", self.peer, char::from(tag)))
    }

    pub(crate) fn keep_parameter(&mut self, body: &[u8]) -> Result<(), Error> {
        let mut cursor = Cursor::new(body);
        let (name, value) = cursor
            .text()
            .and_then(|name| Ok((name, cursor.text()?)))
            .map_err(|error| Error::protocol("reading a parameter of the session", error))?;
        self.parameters.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    pub(crate) fn keep_backend_key(&mut self, body: &[u8]) -> Result<(), Error> {
        self.backend_pid =
            Cursor::new(body).i32().map_err(|error| Error::protocol("reading the session's process id", error))?;
        Ok(())
    }

    /// The socket, and what has been read from it already.
    pub(crate) fn into_parts(self) -> (Transport, BytesMut, String) {
        (self.transport, self.received, self.peer)
    }

    /// What has been read and belongs to no message yet.
    pub(crate) fn take_received(&mut self) -> BytesMut {
        self.received.split()
    }

    /// Reads what comes next, past every message that was received.
    pub(crate) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.transport.read(into)
    }

    /// Ends the session without a word: whoever reads or writes it, now or later, gets an error.
    pub(crate) fn hang_up(&self) {
        // One that is gone already needs no farewell.
        let _ = self.transport.shut_down();
    }

    /// Something that ends the session from elsewhere, while this thread waits for the server.
    ///
    /// # Errors
    /// The process has no file descriptor left.
    pub fn breaker(&self) -> Result<Breaker, Error> {
        let transport = self.transport.twin().map_err(|error| Error::io("sharing a connection's socket", error))?;
        Ok(Breaker { transport })
    }

    pub(crate) fn closed(&self) -> Error {
        Error::new(Kind::Unavailable, format!("{} closed the connection", self.peer))
    }

    /// Every parameter that the server reported.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn fill(&mut self, wanted: usize) -> Result<(), Error> {
        while self.received.len() < wanted {
            let filled = self.received.len();
            self.received.resize(filled + READ_BYTES.max(wanted - filled), 0);
            let read = self
                .transport
                .set_deadline(self.deadline)
                .and_then(|()| self.transport.read(&mut self.received[filled..]));
            match read {
                Ok(0) => {
                    self.received.truncate(filled);
                    return Err(self.closed());
                }
                Ok(bytes) => self.received.truncate(filled + bytes),
                Err(error) => {
                    self.received.truncate(filled);
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(self.lost(error));
                    }
                }
            }
        }
        Ok(())
    }

    pub(crate) fn lost(&self, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                Error::new(Kind::Unavailable, format!("{} did not answer in time", self.peer))
            }
            _ => explain(&self.peer, &error)
                .unwrap_or_else(|| Error::io(format!("the connection to {} is lost", self.peer), error)),
        }
    }
}

fn read_row(body: &[u8]) -> Result<Row, Error> {
    let mut cursor = Cursor::new(body);
    let mut read = || {
        let columns = cursor.u16()?;
        let mut row = Vec::with_capacity(columns.into());
        for _ in 0..columns {
            row.push(match cursor.i32()? {
                -1 => None,
                length => Some(cursor.take(usize::try_from(length).unwrap_or(usize::MAX))?.to_vec()),
            });
        }
        cursor.finish()?;
        Ok(row)
    };
    let row = read().map_err(|error| Error::protocol("reading a row of a result", error))?;
    let text = |value: Vec<u8>| {
        String::from_utf8(value)
            .map_err(|error| Error::with_source(Kind::Protocol, "a value of a result is not UTF-8", error.utf8_error()))
    };
    row.into_iter().map(|value| value.map(text).transpose()).collect()
}
