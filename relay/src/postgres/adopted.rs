//! An open session as a new client sees it: its start-up packet is swallowed, and what the server said to ours is said again.

use std::io::{self, ErrorKind, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::postgres::tls::Channel;
use crate::postgres::transport::Transport;

/// The open session.
pub(crate) struct Adopted {
    socket: Socket,
    /// What is said before the socket is read.
    said: BytesMut,
    startup: Startup,
}

/// How far the client's start-up packet has been swallowed: its first four bytes are its length, theirs included.
#[derive(Debug, Default)]
struct Startup {
    length: [u8; 4],
    swallowed: usize,
}

impl Startup {
    /// How many of `data` belong to the packet.
    fn swallow(&mut self, data: &[u8]) -> usize {
        let before = self.swallowed;
        for &byte in data {
            if self.swallowed >= 4 && self.swallowed >= u32::from_be_bytes(self.length) as usize {
                break;
            }
            if let Some(place) = self.length.get_mut(self.swallowed) {
                *place = byte;
            }
            self.swallowed += 1;
        }
        self.swallowed - before
    }
}

impl Adopted {
    /// `said` is heard first, then what `socket` brings.
    pub(crate) fn new(socket: Socket, said: BytesMut) -> Self {
        Self { socket, said, startup: Startup::default() }
    }
}

impl AsyncRead for Adopted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.said.is_empty() {
            return Pin::new(&mut self.socket).poll_read(cx, buffer);
        }
        let bytes = self.said.len().min(buffer.remaining());
        buffer.put_slice(&self.said[..bytes]);
        self.said.advance(bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Adopted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.startup.swallow(data) {
            0 => Pin::new(&mut self.socket).poll_write(cx, data),
            swallowed => Poll::Ready(Ok(swallowed)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// The way under it, on the runtime.
pub(crate) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(TcpStream, Channel),
}

impl Socket {
    pub(crate) fn new(transport: Transport) -> io::Result<Self> {
        transport.set_deadline(None)?;
        Ok(match transport {
            Transport::Unix(stream) => {
                stream.set_nonblocking(true)?;
                Self::Unix(UnixStream::from_std(stream)?)
            }
            Transport::Tcp(stream) => {
                stream.set_nonblocking(true)?;
                Self::Tcp(TcpStream::from_std(stream)?)
            }
            Transport::Tls(stream, channel) => {
                stream.set_nonblocking(true)?;
                Self::Tls(TcpStream::from_std(stream)?, channel)
            }
        })
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream, channel) => {
                let read = channel.read(&mut Polled { stream, cx }, buffer.initialize_unfilled());
                buffer.advance(ready!(or_pending(read))?);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, data),
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, data),
            Self::Tls(stream, channel) => or_pending(channel.write(&mut Polled { stream, cx }, data)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream, channel) => or_pending(channel.flush(&mut Polled { stream, cx })),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tcp(stream) | Self::Tls(stream, _) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// A socket of the runtime for one poll: where it would wait, it has noted whom to wake.
struct Polled<'a, 'b> {
    stream: &'a mut TcpStream,
    cx: &'a mut Context<'b>,
}

impl Read for Polled<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(into);
        match Pin::new(&mut *self.stream).poll_read(self.cx, &mut buffer) {
            Poll::Ready(read) => read.map(|()| buffer.filled().len()),
            Poll::Pending => Err(ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Polled<'_, '_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match Pin::new(&mut *self.stream).poll_write(self.cx, data) {
            Poll::Ready(written) => written,
            Poll::Pending => Err(ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn or_pending<T>(result: io::Result<T>) -> Poll<io::Result<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_start_up_packet_is_swallowed_however_it_is_cut() {
        let written = [&[0, 0, 0, 9][..], b"user\0", b"Q\0\0\0\x04"].concat();
        for cut in 1..written.len() {
            let mut startup = Startup::default();
            let swallowed: usize = written.chunks(cut).map(|piece| startup.swallow(piece)).sum();
            assert_eq!(swallowed, 9, "in pieces of {cut}");
        }
    }
}
