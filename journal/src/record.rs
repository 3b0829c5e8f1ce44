//! A record: something that the daemon took in, as it came, and when.
//!
//! In a block and in the queue it is a header of [`HEADER_BYTES`], its payload, and zeros up to a multiple of 8 bytes.
//! One that does not fit in what is left of a block goes on in the next: each part has the header, with the length of
//! that part. What is derived from frames (trades, candles) is in no record: it can be derived again.
//!
//! | byte | what |
//! |---|---|
//! | 0 | length of the payload, or of this part of it |
//! | 4 | [`Kind`] |
//! | 5 | flags: [`MORE`], [`REPEATED`] |
//! | 6 | number of the connection among those of its feed |
//! | 7 | zero |
//! | 8 | place of the feed in the configuration, 2 bytes |
//! | 10 | zeros |
//! | 12 | generation: which configuration of the run, from 1 |
//! | 16 | receive time, CLOCK_REALTIME in ns |
//! | 24 | receive time, CLOCK_MONOTONIC in ns |

use crate::block::{u32_at, u64_at};

/// Bytes before a record's payload.
pub const HEADER_BYTES: usize = 32;
/// The longest payload. More than any venue may send in a message.
pub const MAX_PAYLOAD_BYTES: usize = 32 << 20;
/// Set where the record goes on in the next block.
pub const MORE: u8 = 1;
/// Set for a record that stands at the head of a segment a second time, so that this can be read by itself. It has no
/// sequence of its own.
pub const REPEATED: u8 = 2;

/// What a record holds. The numbers are part of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// What the feeds of a generation are, as JSON. The first of each run and generation, and, repeated, of each
    /// segment. It tells also which run it is.
    Start = 1,
    /// A frame, as the venue sent it.
    Frame = 2,
    /// Records that were lost here since they found no room: [`Lost`](crate::queue::Lost).
    Gap = 3,
    /// A connection was there and subscribed.
    Connected = 4,
    /// A connection broke.
    Disconnected = 5,
    /// The day of a venue that tells the time of day only: i64, ms since 1970.
    Day = 6,
    /// A session of a transport that numbers its messages began: a byte with bit 0 whole, bit 1 proven.
    Begin = 7,
    /// Numbered messages that will not come: two u64, the first and the last.
    MessagesLost = 8,
    /// A book that was fetched.
    Book = 9,
    /// Trades that were fetched.
    Trades = 10,
    /// The engine looked for what did not come.
    Tick = 11,
}

impl Kind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::Start,
        Self::Frame,
        Self::Gap,
        Self::Connected,
        Self::Disconnected,
        Self::Day,
        Self::Begin,
        Self::MessagesLost,
        Self::Book,
        Self::Trades,
        Self::Tick,
    ];

    /// The kind of this number, if there is one.
    pub fn of(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).wrapping_sub(1)).copied()
    }

    /// The name that reports use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Frame => "frame",
            Self::Gap => "gap",
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Day => "day",
            Self::Begin => "begin",
            Self::MessagesLost => "messages_lost",
            Self::Book => "book",
            Self::Trades => "trades",
            Self::Tick => "tick",
        }
    }
}

/// When something came, by both clocks, in ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// CLOCK_REALTIME.
    pub real_ns: u64,
    /// CLOCK_MONOTONIC of the run.
    pub mono_ns: u64,
}

/// What a record says besides its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What it holds.
    pub kind: Kind,
    /// [`MORE`], [`REPEATED`].
    pub flags: u8,
    /// The number of its connection.
    pub line: u8,
    /// The place of its feed in its generation.
    pub feed: u16,
    /// Which configuration of the run, from 1.
    pub generation: u32,
    /// When it was received.
    pub stamp: Stamp,
}

/// A whole record, as it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its sequence: the number of all records before it. That of one that is repeated is the next one's.
    pub sequence: u64,
    /// What it says of itself.
    pub header: Header,
    /// What it holds.
    pub payload: &'a [u8],
}

impl Header {
    /// As bytes, for a payload of this length.
    pub fn encode(&self, payload_bytes: usize) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&(payload_bytes as u32).to_le_bytes());
        bytes[4..7].copy_from_slice(&[self.kind as u8, self.flags, self.line]);
        bytes[8..10].copy_from_slice(&self.feed.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.generation.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.stamp.real_ns.to_le_bytes());
        bytes[24..].copy_from_slice(&self.stamp.mono_ns.to_le_bytes());
        bytes
    }

    /// Reads what [`Header::encode`] wrote: the header and the payload's length. `None` if its kind is not known.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<(Self, usize)> {
        let header = Self {
            kind: Kind::of(bytes[4])?,
            flags: bytes[5],
            line: bytes[6],
            feed: u16::from_le_bytes([bytes[8], bytes[9]]),
            generation: u32_at(bytes, 12),
            stamp: Stamp { real_ns: u64_at(bytes, 16), mono_ns: u64_at(bytes, 24) },
        };
        Some((header, u32_at(bytes, 0) as usize))
    }
}

/// What a record with such a payload takes.
pub fn padded(payload_bytes: usize) -> usize {
    HEADER_BYTES + payload_bytes.next_multiple_of(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_known_by_its_number() {
        for number in 0..=u8::MAX {
            let named = Kind::ALL.into_iter().find(|kind| *kind as u8 == number);
            assert_eq!(Kind::of(number), named);
        }
    }
}
