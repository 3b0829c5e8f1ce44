//! MoldUDP64: numbered messages in UDP datagrams, as exchanges multicast them.
//!
//! Source of the format: Nasdaq, "MoldUDP64 Protocol Specification" 1.00. A datagram is [`HEADER_BYTES`] of header and
//! the messages, each after its length. [`Packet::parse`] looks at all of it once, so that nothing can fail later.
//! [`Arbiter`] makes one gapless sequence of messages of what several lines bring. Nothing here allocates after
//! construction, and nothing panics, whatever a datagram says.

mod arbiter;
mod hold;
mod repair;

pub use arbiter::{Arbiter, Event, LineCounters, Settings, State, StreamCounters};

use core::fmt;

/// Bytes before the first message: session, sequence number, count.
pub const HEADER_BYTES: usize = 20;

/// The count that says that the session is over.
pub const END_OF_SESSION: u16 = 0xFFFF;

/// The most messages that a datagram or a request can count.
pub const MAX_COUNT: u16 = END_OF_SESSION - 1;

/// The name of a session: ten characters, padded with blanks.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Session(pub [u8; 10]);

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.trim_ascii().escape_ascii())
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({self})")
    }
}

/// Why a datagram is not a MoldUDP64 packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// It ends inside its header.
    #[error("the datagram has {0} bytes, fewer than a header; check that the port carries MoldUDP64")]
    Short(usize),
    /// It ends inside a message, or before one that it counts.
    #[error("the datagram ends inside message {index} of {count}; check that it was received whole")]
    Truncated {
        /// Which message, from 0.
        index: u16,
        /// How many the header counts.
        count: u16,
    },
    /// Its messages would be numbered 0, or beyond 64 bits.
    #[error("the datagram's sequence number {sequence} with {count} messages is out of range")]
    Sequence {
        /// The number of the first.
        sequence: u64,
        /// How many.
        count: u16,
    },
}

/// What a packet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It carries messages.
    Messages,
    /// It carries none, and says which number comes next.
    Heartbeat,
    /// It says that no message will have its number, nor a greater one.
    EndOfSession,
}

/// A datagram whose every length was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Whose messages these are.
    pub session: Session,
    /// The number of its first message; of the next one to be sent, where it carries none.
    pub sequence: u64,
    /// How many messages it carries.
    pub count: u16,
    /// What it is for.
    pub kind: Kind,
    body: &'a [u8],
    padding: usize,
}

impl<'a> Packet<'a> {
    /// Reads a datagram. Bytes after the last message are padding, which some senders add.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, PacketError> {
        let Some((header, body)) = datagram.split_first_chunk::<HEADER_BYTES>() else {
            return Err(PacketError::Short(datagram.len()));
        };
        let (session, sequence, count) = read_header(header);
        let (kind, count) = match count {
            0 => (Kind::Heartbeat, 0),
            END_OF_SESSION => (Kind::EndOfSession, 0),
            count => (Kind::Messages, count),
        };
        if sequence == 0 || sequence.checked_add(count.into()).is_none() {
            return Err(PacketError::Sequence { sequence, count });
        }
        let mut rest = body;
        for index in 0..count {
            rest = split_message(rest).ok_or(PacketError::Truncated { index, count })?.1;
        }
        Ok(Self { session, sequence, count, kind, body, padding: rest.len() })
    }

    /// The number that follows its last message.
    pub fn end(&self) -> u64 {
        self.sequence + u64::from(self.count)
    }

    /// Its messages with their numbers.
    pub fn messages(&self) -> impl Iterator<Item = (u64, &'a [u8])> + use<'a> {
        let mut rest = self.body;
        (self.sequence..self.end()).map_while(move |sequence| {
            let (message, after) = split_message(rest)?;
            rest = after;
            Some((sequence, message))
        })
    }

    /// How many bytes follow its last message.
    pub fn padding(&self) -> usize {
        self.padding
    }
}

fn read_header(header: &[u8; HEADER_BYTES]) -> (Session, u64, u16) {
    let [session @ .., s0, s1, s2, s3, s4, s5, s6, s7, c0, c1] = *header;
    let sequence = u64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
    (Session(session), sequence, u16::from_be_bytes([c0, c1]))
}

/// The first message and what follows it.
fn split_message(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u16::from_be_bytes(*len).into())
}

/// Asks a retransmission server for messages. It answers with one packet, which may hold fewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Of which session.
    pub session: Session,
    /// The first message asked for.
    pub sequence: u64,
    /// How many are asked for, at most [`MAX_COUNT`].
    pub count: u16,
}

impl Request {
    /// The datagram to send.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut datagram = [0; HEADER_BYTES];
        datagram[..10].copy_from_slice(&self.session.0);
        datagram[10..18].copy_from_slice(&self.sequence.to_be_bytes());
        datagram[18..].copy_from_slice(&self.count.to_be_bytes());
        datagram
    }

    /// Reads a request, as a server does. `None` for anything else.
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        let (session, sequence, count) = read_header(datagram.try_into().ok()?);
        let sound = sequence > 0 && (1..=MAX_COUNT).contains(&count);
        sound.then_some(Self { session, sequence, count })
    }
}
