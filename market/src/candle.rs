//! One candle: what is known of the trades in a span of exchange time, and how sure that is.

use crate::{Side, Timeframe, Trade};

/// What a candle knows about its span. Ordered by how much is in doubt: a candle folded from several takes the
/// most doubtful state among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum CandleState {
    /// The feed was alive and nothing traded: flat at the previous close.
    Quiet = 0,
    /// All trades of the span are in it.
    Traded = 1,
    /// The recording joined inside the span: what came before is not in it.
    Partial = 2,
    /// The feed was not proven alive throughout: trades may be missing. Without a trade it has no price.
    Gap = 3,
}

impl CandleState {
    /// The name that files and JSON use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Traded => "traded",
            Self::Partial => "partial",
            Self::Gap => "gap",
        }
    }

    /// The state whose number is `raw`.
    pub const fn from_raw(raw: u8) -> Option<Self> {
        Some(match raw {
            0 => Self::Quiet,
            1 => Self::Traded,
            2 => Self::Partial,
            3 => Self::Gap,
            _ => return None,
        })
    }
}

/// Open, high, low and close, in units of the instrument's price digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Ohlc {
    pub open: i64,
    pub high: i64,
    pub low: i64,
    pub close: i64,
}

impl Ohlc {
    /// All four at one price.
    pub const fn flat(price: i64) -> Self {
        Self { open: price, high: price, low: price, close: price }
    }
}

/// Where a trade stands in time: by exchange time, then by trade id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment {
    /// Exchange time.
    pub time_ms: i64,
    /// Trade id.
    pub id: u64,
}

/// The trades in `[open_ms, open_ms + length)` of exchange time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candle {
    /// Where the span begins.
    pub open_ms: i64,
    /// What is known of it.
    pub state: CandleState,
    /// How often it changed after it was closed.
    pub rev: u32,
    /// Prices; none where a gap holds no trade.
    pub ohlc: Option<Ohlc>,
    /// Sum of quantities, in units of the quantity digits.
    pub volume: i128,
    /// Sum of price × quantity, in units of price digits + quantity digits.
    pub quote_volume: i128,
    /// The part of `volume` whose taker bought.
    pub taker_buy_volume: i128,
    /// The part of `quote_volume` whose taker bought.
    pub taker_buy_quote_volume: i128,
    /// Number of trades.
    pub trades: u64,
    /// The earliest trade; meaningless without trades.
    pub first: Moment,
    /// The latest trade; meaningless without trades.
    pub last: Moment,
}

impl Candle {
    /// A candle without trades. A quiet one is flat at `close`; a gap has no price.
    pub fn empty(open_ms: i64, state: CandleState, close: Option<i64>) -> Self {
        Self {
            open_ms,
            state,
            rev: 0,
            ohlc: close.filter(|_| state != CandleState::Gap).map(Ohlc::flat),
            volume: 0,
            quote_volume: 0,
            taker_buy_volume: 0,
            taker_buy_quote_volume: 0,
            trades: 0,
            first: Moment::default(),
            last: Moment::default(),
        }
    }

    /// The candle of one trade, in the span that opens at `open_ms`.
    pub fn of_trade(open_ms: i64, trade: &Trade) -> Self {
        let volume = i128::from(trade.qty);
        let quote_volume = i128::from(trade.price) * volume;
        let bought = trade.taker == Side::Buy;
        Self {
            open_ms,
            state: CandleState::Traded,
            rev: 0,
            ohlc: Some(Ohlc::flat(trade.price)),
            volume,
            quote_volume,
            taker_buy_volume: if bought { volume } else { 0 },
            taker_buy_quote_volume: if bought { quote_volume } else { 0 },
            trades: trade.count(),
            first: Moment { time_ms: trade.time_ms, id: trade.first_id },
            last: Moment { time_ms: trade.time_ms, id: trade.last_id },
        }
    }

    /// Takes in what `other` knows about a part of the same span. The order of calls does not matter.
    ///
    /// Sums saturate at the ends of `i128`; the decoders refuse trades large enough to come near.
    pub fn absorb(&mut self, other: &Self) {
        self.ohlc = match (self.trades, other.trades) {
            (0, 0) => self.ohlc.or(other.ohlc),
            (0, _) => other.ohlc,
            (_, 0) => self.ohlc,
            _ => self.ohlc.zip(other.ohlc).map(|(mine, theirs)| Ohlc {
                open: if other.first < self.first { theirs.open } else { mine.open },
                high: mine.high.max(theirs.high),
                low: mine.low.min(theirs.low),
                close: if other.last > self.last { theirs.close } else { mine.close },
            }),
        };
        if other.trades > 0 {
            let alone = self.trades == 0;
            self.first = if alone { other.first } else { self.first.min(other.first) };
            self.last = if alone { other.last } else { self.last.max(other.last) };
        }
        self.trades = self.trades.saturating_add(other.trades);
        self.volume = self.volume.saturating_add(other.volume);
        self.quote_volume = self.quote_volume.saturating_add(other.quote_volume);
        self.taker_buy_volume = self.taker_buy_volume.saturating_add(other.taker_buy_volume);
        self.taker_buy_quote_volume =
            self.taker_buy_quote_volume.saturating_add(other.taker_buy_quote_volume);
        self.rev = self.rev.max(other.rev);
        self.doubt(other.state);
    }

    /// Raises the state to at least `state`. A gap without trades loses its price.
    pub(crate) fn doubt(&mut self, state: CandleState) {
        self.state = self.state.max(state);
        if self.state == CandleState::Gap && self.trades == 0 {
            self.ohlc = None;
        }
    }

    /// The closing price, where there is one.
    pub fn close(&self) -> Option<i64> {
        self.ohlc.map(|ohlc| ohlc.close)
    }
}

/// Puts longer candles together from consecutive shorter ones, as `bars` gives them, oldest first.
///
/// A first candle whose span begins before the first bar is `Partial`: what came before is not known here.
pub fn fold<'a>(bars: impl IntoIterator<Item = &'a Candle>, timeframe: Timeframe) -> Vec<Candle> {
    let mut folded: Vec<Candle> = Vec::new();
    for bar in bars {
        let open_ms = timeframe.open_ms(bar.open_ms);
        match folded.last_mut() {
            Some(last) if last.open_ms == open_ms => last.absorb(bar),
            previous => {
                let joined_inside = previous.is_none() && bar.open_ms != open_ms;
                let mut first = Candle { open_ms, ..*bar };
                if joined_inside {
                    first.doubt(CandleState::Partial);
                }
                folded.push(first);
            }
        }
    }
    folded
}
