//! One symbol: a fair price that wanders, makers who quote around it, and takers who trade against the book.
//!
//! What holds: a trade takes what rests in the book, at its price; trade ids, aggregate ids and update ids are
//! contiguous; after every millisecond the last quote told is the top of the book.

use super::SymbolSpec;
use super::activity::Activity;
use super::book::{Book, Changes, Side, Top};
use super::klines::Klines;
use super::market::{AggTrade, Event, Happening, Pace, Trade};
use super::random::Random;
use market::Timeframe;
use std::collections::VecDeque;

/// How many trades are kept for the REST endpoints.
const KEPT_TRADES: usize = 100_000;
/// How many levels a side has at least, and at most.
const MIN_LEVELS: usize = 100;
const MAX_LEVELS: usize = 150;
/// How many levels next to the fair price makers fill up whenever it moves.
const NEW_QUOTES: usize = 5;
/// How likely an order goes on to one more fill, which makes about 2.6 fills of one; and when it stops anyway.
const NEXT_FILL: f64 = 0.62;
const MAX_FILLS: usize = 40;
/// How many ms pass between moves of the fair price, and between acts of the makers, on average.
const MOVE_MS: f64 = 40.0;
const MAKER_MS: f64 = 25.0;
/// The same in seconds, under the root: how far a move goes of what a second does.
const MOVE_ROOT: f64 = 0.2;

#[derive(Debug)]
pub(super) struct Symbol {
    index: usize,
    spec: SymbolSpec,
    random: Random,
    activity: Activity,
    /// The price that makers believe in, in ticks.
    fair: f64,
    /// How wild the price is now, against what the spec says. Reverts to 1.
    wildness: f64,
    book: Book,
    /// What is still to be told of the book, by pace.
    untold: [(Pace, Changes); 4],
    /// The last top that was told.
    told: Option<Top>,
    klines: Klines,
    trades: VecDeque<Trade>,
    first_trade: i64,
    next_trade: i64,
    next_aggregate: i64,
}

impl Symbol {
    pub(super) fn new(
        index: usize,
        spec: &SymbolSpec,
        seed: u64,
        trades_per_second: f64,
        start_ms: i64,
    ) -> Self {
        let mut random = Random::new(seed, index as u64);
        let book = Book::new(1_000_000_000 + random.below(1_000_000_000) as u64);
        let first_trade = 1 + random.below(1_000_000_000);
        let mut symbol = Self {
            index,
            spec: spec.clone(),
            activity: Activity::new(trades_per_second * (1.0 - NEXT_FILL)),
            fair: spec.start_price as f64 / spec.tick as f64,
            wildness: 1.0,
            untold: [Pace::Each, Pace::Batch, Pace::Fast, Pace::Slow]
                .map(|pace| (pace, Changes::since(&book))),
            book,
            told: None,
            klines: Klines::new(start_ms, spec.start_price),
            trades: VecDeque::new(),
            first_trade,
            next_trade: first_trade,
            next_aggregate: 1 + random.below(500_000_000),
            random,
        };
        symbol.quote_around_fair();
        symbol.restock();
        symbol
    }

    /// Lives through the millisecond `now_ms`.
    pub(super) fn live(&mut self, now_ms: i64, events: &mut Vec<Event>) {
        self.close_bars(now_ms, events);
        for order in 0..self.activity.arrivals(&mut self.random) {
            self.take_order(now_ms, i64::from(order), events);
            self.restock();
            self.tell_quote(now_ms, events);
        }
        if !self.activity.is_quiet() && self.random.chance(1.0 / MOVE_MS) {
            self.move_fair();
            self.quote_around_fair();
            self.restock();
            self.tell_quote(now_ms, events);
        }
        if self.random.chance(1.0 / MAKER_MS) {
            self.change_level();
            self.restock();
            self.tell_quote(now_ms, events);
        }
        self.tell_depth(now_ms, events);
        self.tell_open_bars(now_ms, events);
    }

    pub(super) fn spec(&self) -> &SymbolSpec {
        &self.spec
    }

    pub(super) fn book(&self) -> &Book {
        &self.book
    }

    pub(super) fn klines(&self) -> &Klines {
        &self.klines
    }

    /// The trades that are kept, oldest first.
    pub(super) fn trades(&self) -> &VecDeque<Trade> {
        &self.trades
    }

    /// The id of the first trade ever.
    pub(super) fn first_trade(&self) -> i64 {
        self.first_trade
    }

    /// The id of the last trade; one below the first one's before there is any.
    pub(super) fn last_trade(&self) -> i64 {
        self.next_trade - 1
    }

    /// A market order that takes from one side of the book until it is filled.
    fn take_order(&mut self, now_ms: i64, order: i64, events: &mut Vec<Event>) {
        let buys = self.random.chance(0.5 + 0.4 * self.activity.lean());
        let side = if buys { Side::Ask } else { Side::Bid };
        let mut fills: Vec<Trade> = Vec::new();
        // Some microsecond in this order's tenth of the millisecond; orders beyond the tenth share the last.
        let micros = if order < 9 { order * 100 + self.next_trade % 100 } else { 999 };
        while fills.len() < MAX_FILLS && self.book.len(side) > 1 {
            let Some((price, resting)) = self.book.best(side) else {
                break;
            };
            let quantity = self.quantity(0.25).min(resting);
            self.set(side, price, resting - quantity);
            if fills.last().is_none_or(|last| last.price != price) {
                self.next_aggregate += 1;
            }
            fills.push(Trade {
                id: self.next_trade,
                aggregate: self.next_aggregate - 1,
                price,
                quantity,
                time_ms: now_ms,
                micros,
                update: self.book.update(),
                buyer_is_maker: !buys,
            });
            self.next_trade += 1;
            if !self.random.chance(NEXT_FILL) {
                break;
            }
        }
        for trade in &fills {
            self.klines.add(trade);
            if self.trades.len() == KEPT_TRADES {
                self.trades.pop_front();
            }
            self.trades.push_back(*trade);
            self.tell(now_ms, Happening::Trade(*trade), events);
        }
        for sum in AggTrade::of(fills.iter()) {
            self.tell(now_ms, Happening::AggTrade(sum), events);
        }
        if !fills.is_empty() {
            self.tell(now_ms, Happening::Order(fills), events);
        }
    }

    /// Moves the fair price, faster while the market is wild, and within a quarter and four times its start.
    fn move_fair(&mut self) {
        self.wildness += 0.002 * (1.0 - self.wildness) + 0.03 * self.wildness * self.random.normal();
        self.wildness = self.wildness.clamp(0.3, 4.0);
        let sigma = self.spec.volatility_ppm * 1e-6 * MOVE_ROOT * self.wildness;
        self.fair *= 1.0 + sigma * (self.random.normal() + self.activity.lean());
        let start = self.spec.start_price as f64 / self.spec.tick as f64;
        self.fair = self.fair.clamp(start / 4.0, start * 4.0);
    }

    /// Makers pull what the fair price has passed, and quote next to it again.
    fn quote_around_fair(&mut self) {
        let tick = self.spec.tick;
        let bid = self.fair as i64 * tick;
        let ask = bid + tick;
        for (side, limit) in [(Side::Ask, ask), (Side::Bid, bid)] {
            let passed = |price: i64| {
                if side == Side::Ask { price < limit } else { price > limit }
            };
            while let Some((price, _)) = self.book.best(side).filter(|&(price, _)| passed(price)) {
                self.set(side, price, 0);
            }
        }
        for (side, mut price, away) in [(Side::Bid, bid, -1), (Side::Ask, ask, 1)] {
            for _ in 0..NEW_QUOTES {
                if price >= tick && self.book.quantity(side, price) == 0 {
                    let quantity = self.quantity(1.0);
                    self.set(side, price, quantity);
                }
                price += away * self.gap();
            }
        }
    }

    /// One maker puts a level in, changes one or withdraws one; mostly near the top. More come than go, and
    /// the farthest make room for them, or orders would hollow out the book behind its top.
    fn change_level(&mut self) {
        let side = if self.random.chance(0.5) { Side::Bid } else { Side::Ask };
        let depth = self.random.heavy() * 4.0;
        let quantity = self.quantity(1.0);
        let Some((best, _)) = self.book.best(side) else {
            return;
        };
        let act = self.random.below(5);
        if act < 2 {
            let away = (depth * self.mean_gap() as f64) as i64 * self.spec.tick;
            let price = if side == Side::Bid { best - away } else { best + away };
            if price >= self.spec.tick {
                self.set(side, price, quantity);
            }
            return;
        }
        let depth = (depth as usize).min(self.book.len(side) - 1); // There is a best level, so there is one.
        let Some((price, _)) = self.book.best_first(side).nth(depth) else {
            return;
        };
        self.set(side, price, if act == 4 && depth > 0 { 0 } else { quantity });
    }

    /// Keeps the number of levels in bounds, at the far end of each side.
    fn restock(&mut self) {
        for side in [Side::Bid, Side::Ask] {
            while let Some((price, _)) = self.book.worst(side).filter(|_| self.book.len(side) > MAX_LEVELS) {
                self.set(side, price, 0);
            }
            while let Some((price, _)) = self.book.worst(side).filter(|_| self.book.len(side) < MIN_LEVELS) {
                let (quantity, update) = (self.quantity(1.0), self.book.update());
                self.set_behind(side, price, quantity);
                if self.book.update() == update {
                    break; // No room: the bids have come down to one tick.
                }
            }
        }
    }

    /// Puts a level a random gap behind `price`, where none is and there is room.
    fn set_behind(&mut self, side: Side, price: i64, quantity: i64) {
        let gap = self.gap();
        let price = if side == Side::Bid { price - gap } else { price + gap };
        if price >= self.spec.tick && self.book.quantity(side, price) == 0 {
            self.set(side, price, quantity);
        }
    }

    /// The only way to the book, so that no change goes untold.
    fn set(&mut self, side: Side, price: i64, quantity: i64) {
        if self.book.set(side, price, quantity) {
            self.untold.iter_mut().for_each(|(_, changes)| changes.touch(side, price));
        }
    }

    /// The distance between two levels.
    fn gap(&mut self) -> i64 {
        (1 + self.random.below(2 * self.mean_gap() - 1)) * self.spec.tick
    }

    /// The mean of it in ticks: about two millionths of the price.
    fn mean_gap(&self) -> i64 {
        (self.spec.start_price / self.spec.tick / 500_000).max(1)
    }

    /// A quantity of at least one lot, around `share` of the typical one.
    fn quantity(&mut self, share: f64) -> i64 {
        let lots = self.random.heavy() * share * self.spec.typical_quantity as f64 / self.spec.lot as f64;
        (lots as i64).max(1) * self.spec.lot
    }

    fn tell(&self, time_ms: i64, happening: Happening, events: &mut Vec<Event>) {
        events.push(Event { symbol: self.index, time_ms, happening });
    }

    fn tell_quote(&mut self, now_ms: i64, events: &mut Vec<Event>) {
        if let Some(top) = self.book.top().filter(|top| self.told != Some(*top)) {
            self.told = Some(top);
            self.tell(now_ms, Happening::Quote { update: self.book.update(), top }, events);
        }
    }

    /// Tells what changed in the book. Each symbol has its own beat, so that they do not all speak at once.
    fn tell_depth(&mut self, now_ms: i64, events: &mut Vec<Event>) {
        let beat_ms = now_ms + 37 * self.index as i64;
        for (pace, changes) in &mut self.untold {
            let every_ms = match pace {
                Pace::Each => 1,
                Pace::Batch => 50,
                Pace::Fast => 100,
                Pace::Slow => 1_000,
            };
            if beat_ms % every_ms == 0
                && let Some(diff) = changes.take(&self.book)
            {
                let happening = Happening::Depth(*pace, diff);
                events.push(Event { symbol: self.index, time_ms: now_ms, happening });
            }
        }
    }

    fn close_bars(&mut self, now_ms: i64, events: &mut Vec<Event>) {
        let symbol = self.index;
        self.klines.close_due(now_ms, |interval, bar| {
            let happening = Happening::Kline { interval, bar: bar.clone(), closed: true };
            events.push(Event { symbol, time_ms: now_ms, happening });
        });
    }

    /// Every two seconds, how the open bars stand; but one that only just opened waits, and `1s` bars are told
    /// when they close.
    fn tell_open_bars(&mut self, now_ms: i64, events: &mut Vec<Event>) {
        if now_ms % 2_000 != 0 {
            return;
        }
        for (interval, bar) in self.klines.open().iter().enumerate() {
            if Timeframe::ALL[interval] != Timeframe::S1 && bar.open_ms != now_ms {
                self.tell(now_ms, Happening::Kline { interval, bar: bar.clone(), closed: false }, events);
            }
        }
    }
}
