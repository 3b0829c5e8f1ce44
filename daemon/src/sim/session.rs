//! One WebSocket client's socket: what it may send, and how it stays alive or is let go.
//!
//! What holds: nothing here blocks; at most `queue_bytes` wait for the client; a client that leaves a ping
//! unanswered, sends too much or breaks the protocol is disconnected. A pong counts only if it carries the
//! payload of a ping: others are allowed, but prove nothing.

use super::faults::{Log, Ready, Shape};
use super::line::Line;
use super::random::Random;
use super::transport::Transport;
use super::venue::{Kind, Told, World};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Bytes, Error, Message, Utf8Bytes, WebSocket};

/// The longest message that a client may send, in bytes; 1,024 stream names fit.
const MAX_MESSAGE: usize = 65_536;
/// How much is gathered before it is written without waiting for the end of the turn.
const WRITE_CHUNK: usize = 16_384;
/// How many messages of one client are read in a turn.
const READS_A_TURN: usize = 32;
/// How many messages a second any venue but Binance takes.
const OTHER_VENUES: u32 = 20;
/// How long a client has to answer a close frame.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// What a client may do; see `SimConfig` for each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) ping_interval: Duration,
    pub(super) messages_per_second: u32,
    pub(super) queue_bytes: usize,
}

/// Why a session is over.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("the client closed the connection")]
    Closed,
    #[error("the client did not read what was sent to it")]
    TooSlow,
    #[error("the connection was broken on purpose")]
    Broken,
    #[error("the connection failed: {0}")]
    Failed(Box<Error>),
}

#[derive(Debug)]
pub(super) struct Session {
    socket: WebSocket<Transport>,
    line: Line,
    limits: Limits,
    next_ping: Instant,
    /// When a ping last stood between the frames of a message.
    cut_ping: Option<Instant>,
    unanswered: VecDeque<(Instant, Bytes)>,
    /// When the present second of the client's messages began, and how many came in it.
    second: (Instant, u32),
    /// When a close frame was sent.
    closing: Option<Instant>,
    /// Whether what the client sends can no longer be read as frames.
    broken: bool,
}

impl Session {
    /// Takes over a non-blocking `stream` after the handshake; `received` are bytes that came after it.
    pub(super) fn new(
        stream: Transport,
        received: Vec<u8>,
        limits: Limits,
        line: Line,
        now: Instant,
    ) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(4_096)
            .write_buffer_size(WRITE_CHUNK)
            .max_write_buffer_size(limits.queue_bytes)
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        Self {
            socket: WebSocket::from_partially_read(stream, received, Role::Server, Some(config)),
            line,
            limits,
            next_ping: now + limits.ping_interval,
            cut_ping: None,
            unanswered: VecDeque::new(),
            second: (now, 0),
            closing: None,
            broken: false,
        }
    }

    /// Lives through a millisecond of the market, and queues what it says to this client.
    pub(super) fn live(
        &mut self,
        told: &[Told<'_>],
        world: &World<'_>,
        log: &mut Log,
        now: Instant,
    ) -> Result<(), Ended> {
        self.line.live(told, world, log);
        self.deliver(now)
    }

    /// Queues what is due.
    fn deliver(&mut self, now: Instant) -> Result<(), Ended> {
        while let Some(ready) = self.line.take() {
            if self.closing.is_some() {
                continue;
            }
            match ready {
                Ready::Text { text, shape } => self.write(text, shape, now)?,
                Ready::Close { code, reason } => self.close(code.into(), reason, now)?,
                Ready::Abort => {
                    let _ = self.socket.get_mut().reset_at_end(); // Else it ends like any other.
                    return Err(Ended::Broken);
                }
                Ready::HalfRecord(text) => {
                    pending(self.socket.flush())?;
                    let _ = self.socket.get_mut().half_record(text.as_bytes()); // The end follows anyway.
                    return Err(Ended::Broken);
                }
            }
        }
        Ok(())
    }

    /// Queues a message, cut as it is to be.
    fn write(&mut self, text: Utf8Bytes, shape: Shape, now: Instant) -> Result<(), Ended> {
        if shape.segment.is_some() {
            self.socket.get_mut().cut(shape.segment);
        }
        let Some(seed) = shape.fragment.filter(|_| text.len() > 1) else {
            return pending(self.socket.write(Message::Text(text)));
        };
        let bytes = Bytes::from(text);
        let mut random = Random::new(seed, 0);
        let pieces = 2 + random.below(5);
        let mut cuts: Vec<usize> = (1..pieces).map(|_| random.below(bytes.len() as i64) as usize).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let last = cuts.len() - 2;
        for (i, cut) in cuts.windows(2).enumerate() {
            let code = OpCode::Data(if i == 0 { Data::Text } else { Data::Continue });
            let frame = Frame::message(bytes.slice(cut[0]..cut[1]), code, i == last);
            pending(self.socket.write(Message::Frame(frame)))?;
            // One a second at most: each is answered, and the client's messages are counted.
            if i == 0 && shape.ping && self.cut_ping.is_none_or(|then| now - then > Duration::from_secs(1)) {
                self.cut_ping = Some(now);
                pending(self.socket.write(Message::Ping(Bytes::from_static(b"between frames"))))?;
            }
        }
        Ok(())
    }

    /// Answers what came in, pings when it is time, and writes as much as the client takes.
    pub(super) fn turn(&mut self, now: Instant, world: &World<'_>, log: &mut Log) -> Result<(), Ended> {
        for _ in 0..READS_A_TURN {
            if self.broken {
                self.discard()?;
                break;
            }
            match self.socket.read() {
                Ok(message) => self.receive(message, now, world, log)?,
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => self.close_for(error, now)?,
            }
        }
        if self.closing.is_some_and(|since| now - since > CLOSE_TIME) {
            return Err(Ended::Closed);
        }
        self.keep_alive(now, world.now_ms())?;
        let flushed = self.socket.flush();
        if flushed.is_ok() {
            self.socket.get_mut().cut(None);
        }
        pending(flushed)
    }

    /// Says goodbye; the session ends when the client answers or takes too long.
    pub(super) fn close(&mut self, code: CloseCode, reason: &'static str, now: Instant) -> Result<(), Ended> {
        if self.closing.is_some() {
            return Ok(());
        }
        self.closing = Some(now);
        pending(self.socket.close(Some(CloseFrame { code, reason: reason.into() })))?;
        pending(self.socket.flush())
    }

    /// Tells the client what it did wrong, where the protocol has a word for it.
    fn close_for(&mut self, error: Error, now: Instant) -> Result<(), Ended> {
        let (code, reason) = match error {
            Error::Protocol(_) => (CloseCode::Protocol, "Invalid frame"),
            Error::Utf8(_) => (CloseCode::Invalid, "Text is not UTF-8"),
            Error::Capacity(_) => (CloseCode::Size, "Payload too long"),
            Error::ConnectionClosed | Error::AlreadyClosed => return Err(Ended::Closed),
            error => return Err(Ended::Failed(Box::new(error))),
        };
        self.broken = true;
        self.close(code, reason, now)
    }

    /// Throws away what a broken client still sends: ending over unread bytes would lose the goodbye.
    fn discard(&mut self) -> Result<(), Ended> {
        match self.socket.get_mut().read(&mut [0; 4_096]) {
            Ok(len) if len > 0 => Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            _ => Err(Ended::Closed),
        }
    }

    fn receive(
        &mut self,
        message: Message,
        now: Instant,
        world: &World<'_>,
        log: &mut Log,
    ) -> Result<(), Ended> {
        if self.closing.is_some() || message.is_close() {
            return Ok(()); // The socket answers a close frame by itself, then ends.
        }
        if now - self.second.0 >= Duration::from_secs(1) {
            self.second = (now, 0);
        }
        self.second.1 += 1;
        // Coinbase wants a message for each channel, so only Binance is strict.
        let binance = self.line.kind() == Kind::Binance;
        let most = self.limits.messages_per_second.max(if binance { 0 } else { OTHER_VENUES });
        if self.second.1 > most {
            return self.close(CloseCode::Policy, "Too many requests", now);
        }
        match message {
            Message::Text(text) => self.line.receive(text.as_bytes(), world, log),
            Message::Binary(bytes) => self.line.receive(&bytes, world, log),
            Message::Pong(payload) => {
                if let Some(place) = self.unanswered.iter().position(|(_, sent)| *sent == payload) {
                    self.unanswered.drain(..=place);
                }
            }
            _ => {}
        }
        self.deliver(now)
    }

    fn keep_alive(&mut self, now: Instant, now_ms: i64) -> Result<(), Ended> {
        if self.closing.is_some() || now < self.next_ping {
            return Ok(());
        }
        self.next_ping = now + self.limits.ping_interval;
        if self.unanswered.front().is_some_and(|(sent, _)| now - *sent >= 3 * self.limits.ping_interval) {
            return self.close(CloseCode::Policy, "Pong timeout", now);
        }
        let payload = Bytes::from(now_ms.to_string());
        self.unanswered.push_back((now, payload.clone()));
        pending(self.socket.write(Message::Ping(payload)))
    }
}

/// A write that must wait for the client is no error: the bytes are queued.
fn pending(written: Result<(), Error>) -> Result<(), Ended> {
    match written {
        Ok(()) => Ok(()),
        Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        Err(Error::WriteBufferFull(_)) => Err(Ended::TooSlow),
        Err(Error::ConnectionClosed | Error::AlreadyClosed) => Err(Ended::Closed),
        Err(error) => Err(Ended::Failed(Box::new(error))),
    }
}
