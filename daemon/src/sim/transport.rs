//! The bytes beneath a connection: TCP, in the clear or under TLS, whole or cut into small segments.
//!
//! What holds: nothing here blocks; the handshake of TLS takes place as bytes are read and written.

use super::random::Random;
use nix::sys::socket::{setsockopt, sockopt};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

/// A socket that can write in small pieces. With `TCP_NODELAY` each becomes a segment.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    cut: Option<Random>,
}

impl Read for Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stream.read(into)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = match &mut self.cut {
            // Long messages in longer pieces, so that none takes more than about a hundred.
            Some(random) => 1 + random.below((40 + bytes.len() / 40) as i64) as usize,
            None => bytes.len(),
        };
        self.stream.write(&bytes[..len.min(bytes.len())])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[derive(Debug)]
pub(super) enum Transport {
    Plain(Socket),
    Tls(Box<StreamOwned<ServerConnection, Socket>>),
}

impl Transport {
    pub(super) fn new(stream: TcpStream, tls: Option<&Arc<ServerConfig>>) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let socket = Socket { stream, cut: None };
        Ok(match tls {
            None => Self::Plain(socket),
            Some(config) => {
                let session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
                Self::Tls(Box::new(StreamOwned::new(session, socket)))
            }
        })
    }

    /// Says that nothing more will be written.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.stream.shutdown(Shutdown::Write),
            Self::Tls(tls) => {
                tls.conn.send_close_notify();
                match tls.flush() {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
                    flushed => flushed,
                }
            }
        }
    }

    /// Whether what is written from now on leaves in small segments; the seed says where they end.
    pub(super) fn cut(&mut self, seed: Option<u64>) {
        self.socket().cut = seed.map(|seed| Random::new(seed, 1));
    }

    /// Makes the end of this connection a reset.
    pub(super) fn reset_at_end(&mut self) -> io::Result<()> {
        let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&self.socket().stream, sockopt::Linger, &at_once).map_err(io::Error::from)
    }

    /// Writes half of the TLS record that holds these bytes; without TLS, nothing.
    pub(super) fn half_record(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Self::Tls(tls) = self else {
            return Ok(());
        };
        tls.conn.writer().write_all(bytes)?;
        let mut records = Vec::new();
        while tls.conn.wants_write() {
            tls.conn.write_tls(&mut records)?;
        }
        tls.sock.stream.write_all(&records[..records.len() / 2])
    }

    fn socket(&mut self) -> &mut Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => &mut tls.sock,
        }
    }
}

impl Read for Transport {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(into),
            Self::Tls(tls) => tls.read(into),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn bytes_leave_in_small_pieces_while_they_are_to() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut server = Transport::new(listener.accept().unwrap().0, None).unwrap();
        let bytes: Vec<u8> = (0..=255).cycle().take(2_000).collect();
        assert_eq!(server.write(&bytes).unwrap(), 2_000);
        server.cut(Some(7));
        let (mut left, mut pieces) = (&bytes[..], Vec::new());
        while !left.is_empty() {
            pieces.push(server.write(left).unwrap());
            left = &left[pieces[pieces.len() - 1]..];
        }
        assert!(pieces.len() > 20 && pieces.iter().all(|len| *len <= 90), "{pieces:?}");
        server.cut(None);
        assert_eq!(server.write(&bytes).unwrap(), 2_000);
        let mut received = vec![0; 6_000];
        client.read_exact(&mut received).unwrap();
        assert_eq!(received, bytes.repeat(3));
    }
}
