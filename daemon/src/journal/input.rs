//! What an engine takes in, as records of the journal, and back.
//!
//! What holds: what is read back is what was recorded, and the same bytes give the same input for ever. Recording
//! allocates nothing. Reading takes no more memory than the record has bytes, and refuses what no chartd has written.
//!
//! A frame's payload is the frame. [`Kind::Connected`], [`Kind::Disconnected`] and [`Kind::Tick`] have none. Those of
//! [`Kind::Day`], [`Kind::Begin`] and [`Kind::MessagesLost`] are described there. All numbers are little-endian; prices
//! and quantities count units of the instrument's decimal places, as [`Kind::Start`] tells them.
//!
//! [`Kind::Book`]:
//!
//! | byte | what |
//! |---|---|
//! | 0 | place of the instrument in its feed, 2 bytes |
//! | 2 | zeros |
//! | 4 | how many bids, 4 bytes |
//! | 8 | how many asks, 4 bytes |
//! | 12 | zeros |
//! | 16 | number of the last update in it |
//! | 24 | how many levels of a side it has at most; all ones if it is whole |
//! | 32 | the bids, best first, then the asks, 18 bytes each |
//!
//! A level is its price (i64), its quantity (i64), and how many decimals the venue printed of each (2 × u8).
//!
//! [`Kind::Trades`]:
//!
//! | byte | what |
//! |---|---|
//! | 0 | place of the instrument in its feed, 2 bytes |
//! | 2 | 1 if nothing more will come, else 0 |
//! | 3 | zero |
//! | 4 | how many trades, 4 bytes |
//! | 8 | number of the first one that was missing |
//! | 16 | number of the last one |
//! | 24 | when they happened by the venue's clock in ms: from (i64) |
//! | 32 | until, which does not count any more (i64) |
//! | 40 | the trades, 41 bytes each |
//!
//! A trade is the numbers of the first and the last one in it, its time in ms (i64), its price (i64), its quantity
//! (i64), and who took: 0 the buyer, 1 the seller.

use crate::engine::Input;
use journal::{Header, Kind};
use market::protocol::{Missing, Snapshot};
use market::{InstrumentId, Level, Side, Trade};

const BOOK_BYTES: usize = 32;
const LEVEL_BYTES: usize = 18;
const TRADES_BYTES: usize = 40;
const TRADE_BYTES: usize = 41;
/// The latest time of a trade: no venue's reader lets a later one through.
const MAX_TIME_MS: i64 = 4_102_444_799_999;

/// The product of price and quantity is below this.
const MAX_TRADE_VALUE: i128 = 1 << 96;

/// A record that is no input, though its kind says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadInput {
    /// Too short or too long for what it says of itself.
    #[error("its payload of {0} bytes has not the length that its kind needs")]
    Length(usize),
    /// A value that cannot be.
    #[error("{0} cannot be")]
    Value(&'static str),
}

/// Memory for what is read, used again and again.
#[derive(Debug, Default)]
pub struct Scratch {
    snapshot: Snapshot,
    trades: Vec<Trade>,
    missing: Option<Missing>,
}

/// Of which kind the record of an input is.
pub fn kind(input: &Input<'_>) -> Kind {
    match input {
        Input::Frame { .. } => Kind::Frame,
        Input::Connected { .. } => Kind::Connected,
        Input::Disconnected { .. } => Kind::Disconnected,
        Input::Day { .. } => Kind::Day,
        Input::Begin { .. } => Kind::Begin,
        Input::Lost { .. } => Kind::MessagesLost,
        Input::Book { .. } => Kind::Book,
        Input::Trades { .. } => Kind::Trades,
        Input::Tick => Kind::Tick,
    }
}

/// The connection that the record of an input names; 0 where it has none.
pub fn line(input: &Input<'_>) -> usize {
    match *input {
        Input::Frame { line, .. } | Input::Connected { line, .. } | Input::Disconnected { line, .. } => line,
        _ => 0,
    }
}

/// How long the payload is that [`write`] puts.
pub fn payload_bytes(input: &Input<'_>) -> usize {
    match input {
        Input::Frame { frame, .. } => frame.len(),
        Input::Connected { .. } | Input::Disconnected { .. } | Input::Tick => 0,
        Input::Day { .. } => 8,
        Input::Begin { .. } => 1,
        Input::Lost { .. } => 16,
        Input::Book { snapshot, .. } => {
            BOOK_BYTES + (snapshot.bids.len() + snapshot.asks.len()) * LEVEL_BYTES
        }
        Input::Trades { trades, .. } => TRADES_BYTES + trades.len() * TRADE_BYTES,
    }
}

/// Puts the payload of an input's record, piece by piece.
pub fn write(input: &Input<'_>, put: &mut dyn FnMut(&[u8])) {
    match *input {
        Input::Frame { frame, .. } => put(frame),
        Input::Connected { .. } | Input::Disconnected { .. } | Input::Tick => {}
        Input::Day { midnight_ms, .. } => put(&midnight_ms.to_le_bytes()),
        Input::Begin { is_whole, is_proven, .. } => put(&[u8::from(is_whole) | u8::from(is_proven) << 1]),
        Input::Lost { from, to, .. } => [from, to].iter().for_each(|number| put(&number.to_le_bytes())),
        Input::Book { instrument, snapshot, .. } => write_book(instrument, snapshot, put),
        Input::Trades { instrument, missing, trades, is_final, .. } => {
            let mut head = [0; TRADES_BYTES];
            head[..2].copy_from_slice(&instrument.0.to_le_bytes());
            head[2] = is_final.into();
            head[4..8].copy_from_slice(&(trades.len() as u32).to_le_bytes());
            head[8..16].copy_from_slice(&missing.from.to_le_bytes());
            head[16..24].copy_from_slice(&missing.to.to_le_bytes());
            head[24..32].copy_from_slice(&missing.span_ms.start.to_le_bytes());
            head[32..].copy_from_slice(&missing.span_ms.end.to_le_bytes());
            put(&head);
            trades.iter().for_each(|trade| put(&trade_bytes(trade)));
        }
    }
}

fn write_book(instrument: InstrumentId, snapshot: &Snapshot, put: &mut dyn FnMut(&[u8])) {
    let mut head = [0; BOOK_BYTES];
    head[..2].copy_from_slice(&instrument.0.to_le_bytes());
    head[4..8].copy_from_slice(&(snapshot.bids.len() as u32).to_le_bytes());
    head[8..12].copy_from_slice(&(snapshot.asks.len() as u32).to_le_bytes());
    head[16..24].copy_from_slice(&snapshot.last_id.to_le_bytes());
    let limit = snapshot.limit.map_or(u64::MAX, |limit| limit as u64);
    head[24..].copy_from_slice(&limit.to_le_bytes());
    put(&head);
    for level in snapshot.bids.iter().chain(&snapshot.asks) {
        let mut bytes = [0; LEVEL_BYTES];
        bytes[..8].copy_from_slice(&level.price.to_le_bytes());
        bytes[8..16].copy_from_slice(&level.qty.to_le_bytes());
        bytes[16..].copy_from_slice(&level.printed);
        put(&bytes);
    }
}

fn trade_bytes(trade: &Trade) -> [u8; TRADE_BYTES] {
    let mut bytes = [0; TRADE_BYTES];
    bytes[..8].copy_from_slice(&trade.first_id.to_le_bytes());
    bytes[8..16].copy_from_slice(&trade.last_id.to_le_bytes());
    bytes[16..24].copy_from_slice(&trade.time_ms.to_le_bytes());
    bytes[24..32].copy_from_slice(&trade.price.to_le_bytes());
    bytes[32..40].copy_from_slice(&trade.qty.to_le_bytes());
    bytes[40] = (trade.taker == Side::Sell).into();
    bytes
}

/// Reads the input that a record holds. `None` for [`Kind::Start`] and [`Kind::Gap`], which are for whoever reads the
/// journal.
#[inline]
pub fn read<'a>(
    header: &Header,
    payload: &'a [u8],
    scratch: &'a mut Scratch,
) -> Result<Option<Input<'a>>, BadInput> {
    let (feed, line) = (usize::from(header.feed), usize::from(header.line));
    let exactly = |len| if payload.len() == len { Ok(()) } else { Err(BadInput::Length(payload.len())) };
    Ok(Some(match header.kind {
        Kind::Frame => Input::Frame { feed, line, frame: payload },
        Kind::Start | Kind::Gap => return Ok(None),
        Kind::Book => return read_book(feed, payload, scratch).map(Some),
        Kind::Trades => return read_trades(feed, payload, scratch).map(Some),
        Kind::Connected => exactly(0).map(|()| Input::Connected { feed, line })?,
        Kind::Disconnected => exactly(0).map(|()| Input::Disconnected { feed, line })?,
        Kind::Tick => exactly(0).map(|()| Input::Tick)?,
        Kind::Day => {
            exactly(8)?;
            Input::Day { feed, midnight_ms: i64_at(payload, 0) }
        }
        Kind::Begin => {
            exactly(1)?;
            Input::Begin { feed, is_whole: payload[0] & 1 > 0, is_proven: payload[0] & 2 > 0 }
        }
        Kind::MessagesLost => {
            exactly(16)?;
            Input::Lost { feed, from: u64_at(payload, 0), to: u64_at(payload, 8) }
        }
    }))
}

fn read_book<'a>(feed: usize, payload: &[u8], scratch: &'a mut Scratch) -> Result<Input<'a>, BadInput> {
    let wrong = BadInput::Length(payload.len());
    let (head, rest) = payload.split_at_checked(BOOK_BYTES).ok_or(wrong)?;
    let [bids, asks] = [u32_at(head, 4) as usize, u32_at(head, 8) as usize];
    // Not looked at before it is known that they are there.
    if (bids + asks).checked_mul(LEVEL_BYTES) != Some(rest.len()) {
        return Err(wrong);
    }
    let snapshot = &mut scratch.snapshot;
    snapshot.last_id = u64_at(head, 16);
    snapshot.limit = Some(u64_at(head, 24)).filter(|limit| *limit != u64::MAX).map(|limit| limit as usize);
    let (bid_bytes, ask_bytes) = rest.split_at(bids * LEVEL_BYTES);
    for (levels, bytes) in [(&mut snapshot.bids, bid_bytes), (&mut snapshot.asks, ask_bytes)] {
        levels.clear();
        for level in bytes.chunks_exact(LEVEL_BYTES) {
            let level =
                Level { price: i64_at(level, 0), qty: i64_at(level, 8), printed: [level[16], level[17]] };
            if level.price < 0 || level.qty < 0 {
                return Err(BadInput::Value("a level below zero"));
            }
            levels.push(level);
        }
    }
    Ok(Input::Book { feed, instrument: InstrumentId(u16_at(head, 0)), snapshot: &scratch.snapshot })
}

fn read_trades<'a>(feed: usize, payload: &[u8], scratch: &'a mut Scratch) -> Result<Input<'a>, BadInput> {
    let wrong = BadInput::Length(payload.len());
    let (head, rest) = payload.split_at_checked(TRADES_BYTES).ok_or(wrong)?;
    if (u32_at(head, 4) as usize).checked_mul(TRADE_BYTES) != Some(rest.len()) {
        return Err(wrong);
    }
    scratch.trades.clear();
    for bytes in rest.chunks_exact(TRADE_BYTES) {
        let trade = Trade {
            first_id: u64_at(bytes, 0),
            last_id: u64_at(bytes, 8),
            time_ms: i64_at(bytes, 16),
            price: i64_at(bytes, 24),
            qty: i64_at(bytes, 32),
            taker: if bytes[40] == 1 { Side::Sell } else { Side::Buy },
        };
        if !can_be(&trade) {
            return Err(BadInput::Value("a trade whose numbers, time, price or quantity make no sense"));
        }
        scratch.trades.push(trade);
    }
    let missing = scratch.missing.insert(Missing {
        from: u64_at(head, 8),
        to: u64_at(head, 16),
        span_ms: i64_at(head, 24)..i64_at(head, 32),
    });
    Ok(Input::Trades {
        feed,
        instrument: InstrumentId(u16_at(head, 0)),
        missing,
        trades: &scratch.trades,
        is_final: head[2] == 1,
    })
}

/// What the readers of all venues demand of a trade, too.
fn can_be(trade: &Trade) -> bool {
    trade.first_id <= trade.last_id
        && trade.last_id < u64::MAX
        && (0..=MAX_TIME_MS).contains(&trade.time_ms)
        && trade.price > 0
        && trade.qty > 0
        && i128::from(trade.price) * i128::from(trade.qty) < MAX_TRADE_VALUE
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    u64_at(bytes, at) as i64
}

#[cfg(test)]
mod tests;
