//! What venues report: trades and the best bid and ask.

/// Who took liquidity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Side {
    /// The taker bought: the price was the ask.
    Buy,
    /// The taker sold: the price was the bid.
    Sell,
}

/// One trade, or several at one price that the venue reports as one.
///
/// Prices and quantities are in units of the instrument's decimal places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trade {
    /// The venue's number of the first trade in this report.
    pub first_id: u64,
    /// The number of the last one: equal to `first_id` for a single trade.
    pub last_id: u64,
    /// When it happened, by the venue's clock.
    pub time_ms: i64,
    /// Price.
    pub price: i64,
    /// Quantity of the base asset.
    pub qty: i64,
    /// Who took.
    pub taker: Side,
}

impl Trade {
    /// How many trades the report stands for.
    pub fn count(&self) -> u64 {
        self.last_id - self.first_id + 1
    }
}

/// The best bid and ask, with the quantity at each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quote {
    /// Best bid.
    pub bid_price: i64,
    /// Quantity there.
    pub bid_qty: i64,
    /// Best ask.
    pub ask_price: i64,
    /// Quantity there.
    pub ask_qty: i64,
}
