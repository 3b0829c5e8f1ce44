//! How what a socket brings becomes messages: the frames of a WebSocket, the packets of a stream, or datagrams.
//!
//! This is the seam for other protocols. One that cuts a stream into packets gives a [`PacketLength`]; one that lives
//! in datagrams gives nothing. Either way its packets reach the engine whole, as messages do.

use super::CloseReason;
use super::outbox::Outbox;
use super::ws::{Deframer, Event};
use std::io::Read;

/// How much of an encrypted stream is received at once, where receives are single: two TLS records.
const CIPHER_BYTES: usize = 32 << 10;
/// The largest datagram that there can be.
const DATAGRAM_BYTES: usize = 64 << 10;
/// The largest packet of a stream. Its length has two bytes in the protocols that are in use.
pub(crate) const MAX_PACKET_BYTES: usize = 66 << 10;
const STREAM_BYTES: usize = 4 * MAX_PACKET_BYTES;

/// What a socket brings.
pub(crate) enum Transport {
    /// The messages of a WebSocket, over TCP.
    WebSocket {
        /// Its TLS state, if it is encrypted.
        tls: Option<Box<rustls::ClientConnection>>,
        /// Decrypted bytes that came behind the handshake.
        residual: Vec<u8>,
        /// The largest message that is accepted.
        message_bytes: usize,
    },
    /// Packets that follow one another, over TCP.
    Stream {
        /// Where a packet ends.
        packet_length: PacketLength,
        /// Bytes that came behind the login, at most 128 KiB.
        residual: Vec<u8>,
    },
    /// Each datagram is a message, over UDP. An empty one is none.
    Datagrams,
}

/// How many bytes the first packet of a stream has, its header included; `None` until that can be told. It is asked
/// again and again with the same bytes and more behind them, and must not be slow.
pub(crate) type PacketLength = fn(&[u8]) -> Result<Option<usize>, BadPacket>;

/// A stream whose packets cannot be told apart any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server sent a packet that is not by the rules: {0}")]
pub struct BadPacket(pub &'static str);

/// Who gets the messages.
pub(super) type Sink<'a> = dyn FnMut(&[u8]) -> Result<(), CloseReason> + 'a;

/// The state of a transport.
pub(super) enum Reader {
    WebSocket(Box<WebSocket>),
    Stream(Stream),
    Datagrams {
        /// Where one is received to, where receives are single.
        one: Box<[u8]>,
    },
}

pub(super) struct WebSocket {
    deframer: Deframer,
    tls: Option<Tls>,
}

struct Tls {
    connection: Box<rustls::ClientConnection>,
    /// Where it is received to, where receives are single.
    cipher: Box<[u8]>,
}

pub(super) struct Stream {
    packet_length: PacketLength,
    window: Box<[u8]>,
    unread: std::ops::Range<usize>,
}

impl Reader {
    pub(super) fn new(transport: Transport) -> Self {
        match transport {
            Transport::WebSocket { tls, residual, message_bytes } => {
                let mut deframer = Deframer::new(message_bytes);
                deframer.space()[..residual.len()].copy_from_slice(&residual);
                deframer.received(residual.len());
                let tls = tls.map(|connection| Tls { connection, cipher: vec![0; CIPHER_BYTES].into() });
                Self::WebSocket(Box::new(WebSocket { deframer, tls }))
            }
            Transport::Stream { packet_length, residual } => {
                let mut window = vec![0; STREAM_BYTES].into_boxed_slice();
                window[..residual.len()].copy_from_slice(&residual);
                Self::Stream(Stream { packet_length, window, unread: 0..residual.len() })
            }
            Transport::Datagrams => Self::Datagrams { one: vec![0; DATAGRAM_BYTES].into() },
        }
    }

    /// Takes what was received before the hot thread had the connection.
    pub(super) fn begin(&mut self, outbox: &mut Outbox, sink: &mut Sink<'_>) -> Result<(), CloseReason> {
        match self {
            Self::WebSocket(socket) => socket.begin(outbox, sink),
            Self::Stream(stream) => stream.take_packets(sink),
            Self::Datagrams { .. } => Ok(()),
        }
    }

    /// Takes bytes in, and hands out each message that they complete.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        outbox: &mut Outbox,
        sink: &mut Sink<'_>,
    ) -> Result<(), CloseReason> {
        match self {
            Self::WebSocket(socket) => socket.take(bytes, outbox, sink),
            Self::Stream(stream) => stream.take(bytes, sink),
            Self::Datagrams { .. } => sink(bytes),
        }
    }

    /// Where a single receive is to go. It stays there until [`Reader::received`].
    pub(super) fn space(&mut self) -> &mut [u8] {
        match self {
            Self::WebSocket(socket) => match &mut socket.tls {
                Some(tls) => &mut tls.cipher,
                None => socket.deframer.space(),
            },
            Self::Stream(stream) => stream.space(),
            Self::Datagrams { one } => one,
        }
    }

    /// Takes in the first `len` bytes of [`Reader::space`], as [`Reader::take`] does.
    pub(super) fn received(
        &mut self,
        len: usize,
        outbox: &mut Outbox,
        sink: &mut Sink<'_>,
    ) -> Result<(), CloseReason> {
        match self {
            Self::WebSocket(socket) => socket.received(len, outbox, sink),
            Self::Stream(stream) => {
                stream.unread.end += len;
                stream.take_packets(sink)
            }
            Self::Datagrams { one } => sink(&one[..len]),
        }
    }

    /// What encrypts what is sent.
    pub(super) fn tls(&mut self) -> Option<&mut rustls::ClientConnection> {
        match self {
            Self::WebSocket(socket) => socket.tls.as_mut().map(|tls| &mut *tls.connection),
            _ => None,
        }
    }
}

impl WebSocket {
    fn begin(&mut self, outbox: &mut Outbox, sink: &mut Sink<'_>) -> Result<(), CloseReason> {
        take_events(&mut self.deframer, outbox, sink)?;
        let Some(tls) = &mut self.tls else { return Ok(()) };
        take_decrypted(&mut tls.connection, &mut self.deframer, outbox, sink)?;
        match tls.connection.process_new_packets()?.peer_has_closed() {
            true => Err(CloseReason::EndOfStream),
            false => Ok(()),
        }
    }

    fn take(
        &mut self,
        mut bytes: &[u8],
        outbox: &mut Outbox,
        sink: &mut Sink<'_>,
    ) -> Result<(), CloseReason> {
        if let Some(tls) = &mut self.tls {
            return take_encrypted(&mut tls.connection, bytes, &mut self.deframer, outbox, sink);
        }
        while !bytes.is_empty() {
            // The rest of a large message may leave less room than came; its end makes more.
            let space = self.deframer.space();
            let len = space.len().min(bytes.len());
            let (now, later) = bytes.split_at(len);
            space[..len].copy_from_slice(now);
            self.deframer.received(len);
            take_events(&mut self.deframer, outbox, sink)?;
            bytes = later;
        }
        Ok(())
    }

    fn received(&mut self, len: usize, outbox: &mut Outbox, sink: &mut Sink<'_>) -> Result<(), CloseReason> {
        let Self { deframer, tls } = self;
        match tls {
            Some(tls) => take_encrypted(&mut tls.connection, &tls.cipher[..len], deframer, outbox, sink),
            None => {
                deframer.received(len);
                take_events(deframer, outbox, sink)
            }
        }
    }
}

/// Has TLS take what came, and takes what it makes of it.
fn take_encrypted(
    connection: &mut rustls::ClientConnection,
    mut cipher: &[u8],
    deframer: &mut Deframer,
    outbox: &mut Outbox,
    sink: &mut Sink<'_>,
) -> Result<(), CloseReason> {
    while !cipher.is_empty() {
        connection.read_tls(&mut cipher)?;
        let outcome = connection.process_new_packets();
        // What was decrypted before an error or the end is as good as ever.
        take_decrypted(connection, deframer, outbox, sink)?;
        if outcome?.peer_has_closed() {
            return Err(CloseReason::EndOfStream);
        }
    }
    Ok(())
}

/// Takes all that is decrypted. More of it may be there than the window has room for: the events make room.
fn take_decrypted(
    connection: &mut rustls::ClientConnection,
    deframer: &mut Deframer,
    outbox: &mut Outbox,
    sink: &mut Sink<'_>,
) -> Result<(), CloseReason> {
    loop {
        match connection.reader().read(deframer.space()) {
            // The end shows in the state of the connection, behind all that came before it.
            Ok(0) => return Ok(()),
            Ok(len) => deframer.received(len),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        take_events(deframer, outbox, sink)?;
    }
}

/// Takes all events that are there.
fn take_events(deframer: &mut Deframer, outbox: &mut Outbox, sink: &mut Sink<'_>) -> Result<(), CloseReason> {
    loop {
        match deframer.next_event() {
            Ok(Some(Event::Message(payload))) => sink(payload)?,
            Ok(Some(Event::Ping(payload))) => outbox.pong(payload),
            Ok(Some(Event::Pong)) => {}
            Ok(Some(Event::Close(code))) => {
                outbox.close(code);
                return Err(CloseReason::ByServer(code));
            }
            Ok(None) => return Ok(()),
            Err(error) => {
                outbox.close(error.close_code());
                return Err(error.into());
            }
        }
    }
}

impl Stream {
    fn take(&mut self, mut bytes: &[u8], sink: &mut Sink<'_>) -> Result<(), CloseReason> {
        while !bytes.is_empty() {
            let space = self.space();
            let len = space.len().min(bytes.len());
            let (now, later) = bytes.split_at(len);
            space[..len].copy_from_slice(now);
            self.unread.end += len;
            self.take_packets(sink)?;
            bytes = later;
        }
        Ok(())
    }

    /// Never empty: a packet that is not whole takes a quarter of the window at the most.
    fn space(&mut self) -> &mut [u8] {
        if self.window.len() - self.unread.end < MAX_PACKET_BYTES {
            self.window.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        &mut self.window[self.unread.end..]
    }

    fn take_packets(&mut self, sink: &mut Sink<'_>) -> Result<(), CloseReason> {
        loop {
            let bytes = &self.window[self.unread.clone()];
            match (self.packet_length)(bytes)? {
                Some(0) => return Err(BadPacket("it has no bytes").into()),
                Some(len) if len > MAX_PACKET_BYTES => {
                    return Err(BadPacket("it is longer than 66 KiB").into());
                }
                Some(len) if len <= bytes.len() => {
                    self.unread.start += len;
                    sink(&bytes[..len])?;
                }
                None if bytes.len() >= MAX_PACKET_BYTES => {
                    return Err(BadPacket("its length cannot be told").into());
                }
                _ => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two bytes of length, which do not count themselves, as SoupBinTCP has them.
    fn soup(bytes: &[u8]) -> Result<Option<usize>, BadPacket> {
        Ok(bytes.first_chunk::<2>().map(|len| 2 + usize::from(u16::from_be_bytes(*len))))
    }

    fn packets(reader: &mut Reader, chunks: &[&[u8]], single: bool) -> Result<Vec<Vec<u8>>, CloseReason> {
        let (mut outbox, mut seen) = (Outbox::new(), Vec::new());
        let mut sink = |packet: &[u8]| {
            seen.push(packet.to_vec());
            Ok(())
        };
        for chunk in chunks {
            if !single {
                reader.take(chunk, &mut outbox, &mut sink)?;
                continue;
            }
            reader.space()[..chunk.len()].copy_from_slice(chunk);
            reader.received(chunk.len(), &mut outbox, &mut sink)?;
        }
        Ok(seen)
    }

    #[test]
    fn a_stream_is_cut_into_packets_wherever_its_bytes_are_cut() {
        let lengths = [0usize, 1, 2, 300, 65_535, 7, 0, 65_535, 65_535, 65_535, 5];
        let packet =
            |(at, len): (usize, &usize)| [&(*len as u16).to_be_bytes()[..], &vec![at as u8; *len]].concat();
        let expected: Vec<_> = lengths.iter().enumerate().map(packet).collect();
        let bytes = expected.concat();
        for step in [1, 2, 3, 1000, 16_384] {
            for single in [false, true] {
                let mut reader = Reader::new(Transport::Stream { packet_length: soup, residual: vec![] });
                let chunks: Vec<_> = bytes.chunks(step).collect();
                assert_eq!(packets(&mut reader, &chunks, single).unwrap(), expected, "in steps of {step}");
            }
        }
        let residual = bytes[..310].to_vec();
        let mut reader = Reader::new(Transport::Stream { packet_length: soup, residual });
        let mut seen = Vec::new();
        let mut sink = |packet: &[u8]| {
            seen.push(packet.to_vec());
            Ok(())
        };
        reader.begin(&mut Outbox::new(), &mut sink).unwrap();
        assert_eq!(seen, expected[..3], "of what came with the login");
        assert_eq!(packets(&mut reader, &[&bytes[310..]], false).unwrap(), expected[3..]);
    }

    #[test]
    fn a_stream_that_makes_no_sense_ends() {
        let lengths: [PacketLength; 4] = [
            |_| Ok(Some(0)),
            |_| Ok(Some(MAX_PACKET_BYTES + 1)),
            |_| Ok(None),
            |_| Err(BadPacket("of a test")),
        ];
        for packet_length in lengths {
            let mut reader = Reader::new(Transport::Stream { packet_length, residual: vec![] });
            let outcome = packets(&mut reader, &[&vec![1; MAX_PACKET_BYTES]], false);
            assert!(matches!(outcome, Err(CloseReason::Packet(_))), "{outcome:?}");
        }
    }

    #[test]
    fn each_datagram_is_a_message() {
        for single in [false, true] {
            let mut reader = Reader::new(Transport::Datagrams);
            let datagrams: [&[u8]; 3] = [b"one", &[2; 1400], b"3"];
            assert_eq!(packets(&mut reader, &datagrams, single).unwrap(), datagrams.map(<[u8]>::to_vec));
        }
    }
}
