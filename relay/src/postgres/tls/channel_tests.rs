//! The channel against a server in the same thread, over a wire that gives and takes as little as a test wants.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ServerConfig, ServerConnection};
use xtask::services::certificates::{Authority, Subject};

use crate::postgres::options::{Tls, TlsMode};
use crate::postgres::tls::{Channel, client_config};

/// The client's socket, with the server behind it.
struct Wire {
    server: ServerConnection,
    /// On its way to the client.
    coming: Vec<u8>,
    /// How much one read gives at most.
    piece: usize,
    /// Whether the socket takes anything.
    takes: bool,
    /// What the server understood.
    heard: Vec<u8>,
    ended: bool,
}

impl Wire {
    fn say(&mut self, text: &[u8]) {
        self.server.writer().write_all(text).expect("without limit");
        self.carry();
    }

    fn carry(&mut self) {
        while self.server.wants_write() {
            self.server.write_tls(&mut self.coming).expect("memory takes everything");
        }
    }
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.carry();
        if self.coming.is_empty() {
            return if self.ended { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        let bytes = self.piece.min(into.len()).min(self.coming.len());
        into[..bytes].copy_from_slice(&self.coming[..bytes]);
        self.coming.drain(..bytes);
        Ok(bytes)
    }
}

impl Write for Wire {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if !self.takes {
            return Err(ErrorKind::WouldBlock.into());
        }
        let taken = self.server.read_tls(&mut &data[..])?;
        self.server.process_new_packets().map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        match self.server.reader().read_to_end(&mut self.heard) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Both ends after their handshake.
fn connected() -> (Channel, Wire) {
    let signed = Authority::new("authority")
        .and_then(|authority| authority.sign(Subject { common_name: "server", names: &["server"], expired: false }));
    let signed = signed.expect("a certificate");
    let chain = CertificateDer::pem_slice_iter(signed.chain.as_bytes()).collect::<Result<_, _>>().expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(signed.key.as_bytes()).expect("PEM");
    let config = ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .expect("a server");
    let mut server = ServerConnection::new(Arc::new(config)).expect("a server");
    server.set_buffer_limit(None);
    let mut wire = Wire { server, coming: Vec::new(), piece: 7, takes: true, heard: Vec::new(), ended: false };

    let config = client_config(&Tls { mode: TlsMode::Require, ca_file: None, identity: None }).expect("a client");
    let mut channel = Channel::new(config, ServerName::try_from("server").expect("a name")).expect("a client");
    channel.shake_hands(&mut wire, |_| Ok(())).expect("they agree");
    assert_eq!(channel.version(), "1.3");
    assert_eq!(channel.end_point().map(|hash| hash.len()), Some(32));
    (channel, wire)
}

/// Everything that can be read now, through a buffer of this size.
fn read_all(channel: &mut Channel, wire: &mut Wire, buffer: usize) -> Vec<u8> {
    let mut all = Vec::new();
    let mut into = vec![0; buffer];
    loop {
        match channel.read(wire, &mut into) {
            Ok(0) => return all,
            Ok(bytes) => all.extend_from_slice(&into[..bytes]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return all,
            Err(error) => panic!("{error}"),
        }
    }
}

fn text(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at % 251) as u8).collect()
}

#[test]
fn what_was_sent_is_read_whole_however_it_is_cut() {
    let (mut channel, mut wire) = connected();
    for (piece, buffer, records) in [(1, 3, 10), (1000, 16, 100), (70_000, 4096, 1000), (1 << 20, 300_000, 2000)] {
        wire.piece = piece;
        let sent = text(records * 37);
        // Each by itself, as the server of Postgres does.
        for record in sent.chunks(37) {
            wire.say(record);
        }
        assert_eq!(read_all(&mut channel, &mut wire, buffer), sent, "{piece} {buffer}");
    }
    wire.piece = 1 << 20;
    let large = text(1_000_000);
    wire.say(&large);
    assert_eq!(read_all(&mut channel, &mut wire, 256 * 1024), large);
}

#[test]
fn a_socket_that_takes_nothing_does_not_stop_the_reading_and_nothing_is_sent_twice() {
    let (mut channel, mut wire) = connected();
    wire.takes = false;
    assert_eq!(channel.write(&mut wire, b"first").expect("one message waits"), 5);
    assert!(channel.has_unsent());
    let full = channel.write(&mut wire, b"second").expect_err("and no more than one");
    assert_eq!(full.kind(), ErrorKind::WouldBlock);

    let sent = text(3_000_000);
    wire.piece = 100_000;
    wire.say(&sent);
    assert_eq!(read_all(&mut channel, &mut wire, 10_000), sent);

    wire.takes = true;
    channel.flush(&mut wire).expect("now it takes everything");
    assert!(!channel.has_unsent());
    assert_eq!(channel.write(&mut wire, b"second").expect("there is room again"), 6);
    assert_eq!(wire.heard, b"firstsecond");
}

#[test]
fn what_came_before_a_broken_record_is_read_and_the_break_is_an_error_for_ever() {
    let (mut channel, mut wire) = connected();
    wire.piece = 1 << 20;
    wire.say(b"whole");
    let whole = wire.coming.len();
    wire.say(b"broken");
    wire.coming[whole + 8] ^= 1;
    let mut into = [0; 100];
    assert_eq!(channel.read(&mut wire, &mut into).expect("what is whole"), 5);
    for _ in 0..2 {
        let error = channel.read(&mut wire, &mut into).expect_err("what is broken");
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()).is_some(), "{error}");
    }
}

#[test]
fn the_end_is_told_once_everything_before_it_is_read_with_a_goodbye_and_without() {
    for goodbye in [true, false] {
        let (mut channel, mut wire) = connected();
        wire.piece = 1 << 20;
        wire.say(b"last words");
        if goodbye {
            wire.server.send_close_notify();
        }
        wire.ended = true;
        let mut into = [0; 100];
        assert_eq!(channel.read(&mut wire, &mut into).expect("the last words"), 10);
        assert_eq!(channel.read(&mut wire, &mut into).expect("the end"), 0);
    }
}
