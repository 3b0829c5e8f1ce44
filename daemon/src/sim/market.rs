//! The simulated market: every symbol, stepped by a time given from outside.
//!
//! What holds: it reads no clock and draws chance from its seed only. It lives millisecond by millisecond, so
//! what it says depends on the seed, the symbols and the millisecond it began in, never on how often it is
//! stepped. Trades, books and klines come from one state, so they agree.

use super::SymbolSpec;
use super::book::{Diff, Top};
use super::klines::Bar;
use super::symbol::Symbol;

/// A trade. Price and quantity in units of 1e-8.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Trade {
    pub(super) id: i64,
    /// The aggregate trade this is part of: the fills of one order at one price.
    pub(super) aggregate: i64,
    pub(super) price: i64,
    pub(super) quantity: i64,
    pub(super) time_ms: i64,
    /// What the time has beyond its millisecond; the fills of one order share it.
    pub(super) micros: i64,
    /// The id of the change that this fill made to the book.
    pub(super) update: u64,
    /// Whether the seller was the taker.
    pub(super) buyer_is_maker: bool,
}

impl Trade {
    /// Price times quantity, in units of 1e-16.
    pub(super) fn quote(&self) -> i128 {
        i128::from(self.price) * i128::from(self.quantity)
    }

    /// The time in whole nanoseconds since the Unix epoch.
    pub(super) fn time_ns(&self) -> i64 {
        (self.time_ms * 1_000 + self.micros) * 1_000
    }
}

/// Consecutive fills of one order at one price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AggTrade {
    /// The first fill, its quantity replaced by the sum.
    pub(super) trade: Trade,
    pub(super) last_id: i64,
}

impl AggTrade {
    /// Sums up consecutive trades into their aggregates.
    pub(super) fn of<'t>(trades: impl Iterator<Item = &'t Trade>) -> Vec<Self> {
        let mut sums: Vec<Self> = Vec::new();
        for trade in trades {
            match sums.last_mut() {
                Some(sum) if sum.trade.aggregate == trade.aggregate => {
                    sum.trade.quantity += trade.quantity;
                    sum.last_id = trade.id;
                }
                _ => sums.push(Self { trade: *trade, last_id: trade.id }),
            }
        }
        sums
    }
}

/// How often the streams of book changes speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// Every millisecond in which something changed: Kraken's book.
    Each,
    /// Every 50 ms: Coinbase's batches.
    Batch,
    /// Every 100 ms: Binance's `@depth@100ms`.
    Fast,
    /// Every second: Binance's `@depth`.
    Slow,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Happening {
    Trade(Trade),
    AggTrade(AggTrade),
    /// All fills of one order, after each was told by itself.
    Order(Vec<Trade>),
    /// The best bid or ask changed; `update` is the id of the change.
    Quote {
        update: u64,
        top: Top,
    },
    Depth(Pace, Diff),
    Kline {
        interval: usize,
        bar: Bar,
        closed: bool,
    },
}

/// What happened, to which symbol and when.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    /// The symbol's place in [`Market::symbols`].
    pub(super) symbol: usize,
    pub(super) time_ms: i64,
    pub(super) happening: Happening,
}

#[derive(Debug)]
pub(super) struct Market {
    symbols: Vec<Symbol>,
    now_ms: i64,
}

impl Market {
    /// A market that opens at `start_ms` (UTC), each symbol trading `trades_per_second` on average.
    pub(super) fn new(seed: u64, specs: &[SymbolSpec], trades_per_second: f64, start_ms: i64) -> Self {
        let symbol =
            |(i, spec): (usize, &SymbolSpec)| Symbol::new(i, spec, seed, trades_per_second, start_ms);
        Self { symbols: specs.iter().enumerate().map(symbol).collect(), now_ms: start_ms }
    }

    /// Lives on to `now_ms` and appends what happened to `events`. Time that goes backwards does nothing.
    pub(super) fn step(&mut self, now_ms: i64, events: &mut Vec<Event>) {
        while self.now_ms < now_ms {
            self.now_ms += 1;
            for symbol in &mut self.symbols {
                symbol.live(self.now_ms, events);
            }
        }
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.now_ms
    }

    pub(super) fn symbols(&self) -> &[Symbol] {
        &self.symbols
    }
}
