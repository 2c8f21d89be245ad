//! The bytes through TLS, over any socket, blocking or not: opened straight into the reader's buffer.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ProtocolVersion};

use crate::postgres::tls::end_point::end_point;

/// How much is read from the socket at once: at first, for a session of a few statements …
const SEALED_BYTES_MIN: usize = 16 * 1024;

/// … and at most, for a stream. Postgres seals each message by itself, so that one read holds hundreds of records.
const SEALED_BYTES_MAX: usize = 256 * 1024;

/// One TLS session. It does no I/O of its own: each call is given the socket.
pub(crate) struct Channel {
    session: Box<ClientConnection>,
    /// Read from the socket; what lies in `opened..filled` the session has not taken yet.
    sealed: Vec<u8>,
    opened: usize,
    filled: usize,
    /// Why nothing can be read any more, once what came before it is.
    failed: Option<rustls::Error>,
}

impl Channel {
    pub(crate) fn new(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, rustls::Error> {
        let session = Box::new(ClientConnection::new(config, name)?);
        Ok(Self { session, sealed: vec![0; SEALED_BYTES_MIN], opened: 0, filled: 0, failed: None })
    }

    /// Shakes hands over a blocking socket; `before` prepares each use of it.
    ///
    /// # Errors
    /// The socket's, or a [`rustls::Error`] within one of kind `InvalidData`.
    pub(crate) fn shake_hands<S: Read + Write>(
        &mut self,
        socket: &mut S,
        before: impl Fn(&S) -> io::Result<()>,
    ) -> io::Result<()> {
        while self.session.is_handshaking() {
            before(socket)?;
            self.flush(socket)?;
            if self.opened == self.filled && self.session.is_handshaking() {
                before(socket)?;
                match self.fill(socket) {
                    Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                    Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                    _ => {}
                }
            }
            // What follows the handshake stays sealed until it is asked for.
            while self.opened < self.filled && self.session.is_handshaking() && self.failed.is_none() {
                self.open_some()?;
            }
            if let Some(error) = &self.failed {
                let error = invalid(error.clone());
                // The server should hear why; if it cannot, we know anyway.
                self.flush(socket).ok();
                return Err(error);
            }
        }
        before(socket)?;
        self.flush(socket)
    }

    /// Reads what was sent, as much as is there and `into` takes, with one read of the socket at most. 0 is the end, as for a
    /// socket: whether the peer said goodbye or not, the protocol above knows what is whole.
    ///
    /// # Errors
    /// As the socket's; `WouldBlock` only if nothing that was read is left.
    pub(crate) fn read<S: Read + Write>(&mut self, socket: &mut S, into: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        loop {
            match self.session.reader().read(&mut into[read..]) {
                // Either the buffer is full or the peer has said goodbye.
                Ok(0) => return Ok(read),
                Ok(bytes) => read += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if read == into.len() {
                return Ok(read);
            }
            if self.opened == self.filled {
                if read > 0 {
                    return Ok(read);
                }
                if let Some(error) = &self.failed {
                    return Err(invalid(error.clone()));
                }
                if self.fill(socket)? == 0 {
                    return Ok(0);
                }
            }
            self.open_some()?;
        }
    }

    /// Seals `data` and sends it. What the socket does not take at once waits, and nothing more is accepted until it is sent:
    /// never more than one call's data waits.
    ///
    /// # Errors
    /// As the socket's.
    pub(crate) fn write<S: Write>(&mut self, socket: &mut S, data: &[u8]) -> io::Result<usize> {
        self.flush(socket)?;
        let taken = self.session.writer().write(data)?;
        match self.flush(socket) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    /// Sends what waits.
    ///
    /// # Errors
    /// As the socket's; `WouldBlock` if something still waits.
    pub(crate) fn flush<S: Write>(&mut self, socket: &mut S) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(socket) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether something waits to be sent: an answer of the session itself, too.
    pub(crate) fn has_unsent(&self) -> bool {
        self.session.wants_write()
    }

    /// The version that was agreed on.
    pub(crate) fn version(&self) -> &'static str {
        match self.session.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "1.3",
            Some(ProtocolVersion::TLSv1_2) => "1.2",
            _ => "unknown",
        }
    }

    /// What a password exchange can be bound to, if the server's certificate allows it.
    pub(crate) fn end_point(&self) -> Option<Vec<u8>> {
        end_point(self.session.peer_certificates()?.first()?)
    }

    fn fill<S: Read>(&mut self, socket: &mut S) -> io::Result<usize> {
        (self.opened, self.filled) = (0, 0);
        self.filled = socket.read(&mut self.sealed)?;
        let read = self.filled;
        if read == self.sealed.len() && read < SEALED_BYTES_MAX {
            // The peer is faster than our reads are large.
            self.sealed.resize(read * 2, 0);
        }
        Ok(read)
    }

    /// Has the session take some of what was read, and open it.
    fn open_some(&mut self) -> io::Result<()> {
        let taken = self.session.read_tls(&mut &self.sealed[self.opened..self.filled])?;
        // After the peer's goodbye it takes nothing: nothing may follow.
        self.opened = if taken == 0 { self.filled } else { self.opened + taken };
        if let Err(error) = self.session.process_new_packets() {
            self.opened = self.filled;
            self.failed = Some(error);
        }
        Ok(())
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither keys nor what was read.
        write!(f, "Channel(TLS {})", self.version())
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}
