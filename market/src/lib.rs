//! Market data as chartd understands it: instruments, exact numbers, trades, candles, indicators, and the venues'
//! wire formats.
//!
//! Everything here is pure: no clock, no socket, no thread. What holds:
//!
//! - Prices and quantities are integers in the instrument's own decimal places, from the wire to the candle.
//!   A number that does not fit is an error, never a rounding. Only the values of an [`indicator`] are floating point.
//! - The per-message path (each venue's [`protocol::Decoder`], [`Book::apply`], [`Series::trade`]) does not allocate.
//! - Time is the venue's, in milliseconds since the Unix epoch, UTC. No function reads a clock.
//! - A candle says what it knows: see [`CandleState`].

pub mod binance;
mod book;
mod candle;
pub mod coinbase;
pub mod coinbase_advanced;
pub mod decimal;
mod doubts;
pub mod indicator;
mod instrument;
pub mod itch;
pub mod json;
mod keeper;
pub mod kraken;
mod message;
pub mod moldudp64;
mod profile;
pub mod protocol;
mod rest;
mod sequence;
mod series;
pub mod soupbintcp;
mod time;
mod timeframe;
mod trade;
mod wire;

pub use book::Book;
pub use candle::{Candle, CandleState, Moment, Ohlc, fold};
pub use instrument::{
    ChartName, ChartNameError, Instrument, InstrumentId, Instruments, MAX_SYMBOL_BYTES, Venue, is_symbol,
};
pub use keeper::Keeper;
pub use message::{BookChange, BookSide, DecodeError, Kline, Level, Levels, Message, ReadLevels, Scale};
pub use profile::{Bin, ProfileError, Traded, ValueArea, VolumeProfile};
pub use sequence::{Checked, Filled, Hole, Integrity, MAX_HOLES, TradeSequence};
pub use series::{GRACE_MS, Outcome, Series};
pub use timeframe::{Timeframe, TimeframeError, civil_date};
pub use trade::{Quote, Side, Trade};
