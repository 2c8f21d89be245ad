//! A pooler in transaction mode, as small as can be: each question of a client goes to another one of its server sessions, once
//! the one before has ended its transaction. What relies on a session of its own fails here at once.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Server sessions of each client.
const SESSIONS: usize = 2;

/// The code of a request for TLS: <https://www.postgresql.org/docs/current/protocol-message-formats.html>.
const SSL_REQUEST: u32 = 80_877_103;

/// Listens on a port of its own, and goes with the process.
pub(super) fn start(socket: PathBuf) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("it listens").port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let socket = socket.clone();
            // A client that goes away is no fault.
            std::thread::spawn(move || serve(client, &socket).ok());
        }
    });
    port
}

fn serve(mut client: TcpStream, socket: &Path) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let startup = loop {
        let packet = packet(&mut client)?;
        if packet.get(4..8) != Some(&SSL_REQUEST.to_be_bytes()) {
            break packet;
        }
        client.write_all(b"N")?;
    };
    let mut servers = Vec::new();
    let mut greeting = Vec::new();
    for _ in 0..SESSIONS {
        let mut server = UnixStream::connect(socket)?;
        server.write_all(&startup)?;
        greeting = answer(&mut server)?.0;
        servers.push(server);
    }
    client.write_all(&greeting)?;
    let (mut turn, mut question) = (0, Vec::new());
    loop {
        let message = message(&mut client)?;
        let tag = message[0];
        if tag == b'X' {
            return Ok(());
        }
        question.extend(message);
        // A simple query, or the end of an extended one.
        if tag == b'Q' || tag == b'S' {
            servers[turn].write_all(&std::mem::take(&mut question))?;
            let (answer, status) = answer(&mut servers[turn])?;
            client.write_all(&answer)?;
            if status == b'I' {
                turn = (turn + 1) % SESSIONS;
            }
        }
    }
}

/// What a server says until it is ready, and in which state it is then.
fn answer(server: &mut UnixStream) -> std::io::Result<(Vec<u8>, u8)> {
    let mut all = Vec::new();
    loop {
        let message = message(server)?;
        all.extend(&message);
        if message[0] == b'Z' {
            return Ok((all, message[5]));
        }
    }
}

fn message(from: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut tag = [0];
    from.read_exact(&mut tag)?;
    let mut message = tag.to_vec();
    message.extend(packet(from)?);
    Ok(message)
}

/// A length and what it counts, itself among it.
fn packet(from: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut packet = length.to_vec();
    packet.resize((u32::from_be_bytes(length) as usize).max(4), 0);
    from.read_exact(&mut packet[4..])?;
    Ok(packet)
}
