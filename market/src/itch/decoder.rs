//! Orders kept, and what follows from them: trades with their prices, and price levels.

use super::event::{Counters, Cross, Event, Execution, Level};
use super::table::Table;
use super::{Body, BookSide, ItchError, Message, Symbol, decode};
use crate::Side;
use core::num::NonZeroU64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Order {
    locate: u16,
    side: BookSide,
    price: u32,
    /// Never 0.
    shares: u32,
}

#[derive(Clone, Copy, Default)]
struct Stock {
    symbol: Option<Symbol>,
    untrusted: bool,
}

/// Keeps stocks, orders and price levels.
///
/// What holds, as long as a stock's book is trusted ([`Decoder::is_trusted`]):
///
/// - Who starts with an empty book and puts each [`Level`]'s `qty` in the place of what was at its price has exactly
///   what NASDAQ displays; so has who adds each `change` instead. Quantities are `i64`: at most 2^32 shares in each of
///   the orders, whose number is bounded, cannot overflow it.
/// - The events of one message belong together; between them the book is half changed.
///
/// A book loses trust for the rest of the session by an order that is not known, does not fit, or finds no room; and by
/// [`Decoder::distrust`], which is for losses of the transport. Levels still come, for a reader who prefers an
/// incomplete book to none.
///
/// Match numbers rise through the day, over all stocks. So those of one stock are not contiguous, and prove nothing
/// about missing trades: that proof is the transport's, whose messages are numbered without gaps.
pub struct Decoder {
    stocks: Box<[Stock]>,
    orders: Table<Order>,
    /// Shares by [`level_key`]. There are never more levels than orders.
    levels: Table<NonZeroU64>,
    all_untrusted: bool,
    counters: Counters,
}

impl Decoder {
    /// A decoder for at most so many orders at a time. It sets aside 80 to 160 bytes for each.
    pub fn new(max_orders: usize) -> Self {
        Self {
            stocks: vec![Stock::default(); 1 << 16].into(),
            orders: Table::new(max_orders),
            levels: Table::new(max_orders),
            all_untrusted: false,
            counters: Counters::default(),
        }
    }

    /// Forgets stocks, orders and levels: a new session begins. Takes milliseconds.
    pub fn clear(&mut self) {
        self.stocks.fill(Stock::default());
        self.orders.clear();
        self.levels.clear();
        self.all_untrusted = false;
    }

    /// The session was not followed from its beginning, or messages were lost: no book can be trusted until
    /// [`Decoder::clear`].
    pub fn distrust(&mut self) {
        self.all_untrusted = true;
    }

    /// Messages about one stock were not given to this decoder.
    pub fn distrust_stock(&mut self, locate: u16) {
        self.stocks[usize::from(locate)].untrusted = true;
    }

    /// Whether a stock's levels are what NASDAQ displays.
    pub fn is_trusted(&self, locate: u16) -> bool {
        !self.all_untrusted && !self.stocks[usize::from(locate)].untrusted
    }

    /// The symbol of a number.
    pub fn symbol(&self, locate: u16) -> Option<Symbol> {
        self.stocks[usize::from(locate)].symbol
    }

    /// What went through it.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// How many orders are kept.
    pub fn orders(&self) -> usize {
        self.orders.len()
    }

    /// Shares displayed at a price.
    pub fn level(&self, locate: u16, side: BookSide, price: u32) -> i64 {
        self.levels.get(level_key(locate, side, price)).map_or(0, |qty| qty.get() as i64)
    }

    /// Calls `take` with each price level that is displayed, in no order: stock, side, price, shares.
    pub fn for_each_level(&self, mut take: impl FnMut(u16, BookSide, u32, i64)) {
        self.levels.for_each(|key, qty| {
            let side = if key >> 32 & 1 == 0 { BookSide::Bid } else { BookSide::Ask };
            take((key >> 33) as u16, side, key as u32, qty.get() as i64);
        });
    }

    /// Takes a message.
    pub fn message(&mut self, bytes: &[u8], emit: &mut impl FnMut(Event)) -> Result<(), ItchError> {
        self.counters.messages += 1;
        match decode(bytes) {
            Ok(message) => {
                self.apply(&message, emit);
                Ok(())
            }
            Err(error) => {
                self.counters.malformed += 1;
                self.distrust_malformed(bytes, emit);
                Err(error)
            }
        }
    }

    /// A message about orders that cannot be read leaves a book wrong.
    fn distrust_malformed(&mut self, bytes: &[u8], emit: &mut impl FnMut(Event)) {
        match bytes {
            [b'A' | b'F' | b'E' | b'C' | b'X' | b'D' | b'U', high, low, ..] => {
                self.distrust_one(u16::from_be_bytes([*high, *low]), emit);
            }
            [] | [b'A' | b'F' | b'E' | b'C' | b'X' | b'D' | b'U', ..] => self.distrust(),
            _ => {}
        }
    }

    fn apply(&mut self, message: &Message, emit: &mut impl FnMut(Event)) {
        let Message { locate, time_ns, .. } = *message;
        match message.body {
            Body::System { code } => emit(Event::System { time_ns, code }),
            Body::Directory { symbol, .. } => self.learn(locate, symbol, emit),
            Body::Status { symbol, state, .. } => {
                self.learn(locate, symbol, emit);
                emit(Event::Status { locate, time_ns, state });
            }
            Body::Add { reference, side, shares, symbol, price, .. } => {
                self.learn(locate, symbol, emit);
                self.add(message, reference, Order { locate, side, price, shares }, emit);
            }
            Body::Executed { reference, shares, match_number } => {
                match self.orders.get(reference) {
                    Some(order) => {
                        self.trade(message, match_number, order.price, shares, Some(order.side), emit)
                    }
                    None => {
                        self.counters.unpriced += 1;
                        emit(Event::Unpriced { locate, match_number, time_ns, qty: shares.into() });
                    }
                }
                self.reduce(message, reference, shares, emit);
            }
            Body::ExecutedAt { reference, shares, match_number, printable, price } => {
                if printable {
                    let side = self.orders.get(reference).map(|order| order.side);
                    self.trade(message, match_number, price, shares, side, emit);
                } else {
                    self.counters.not_printable += 1;
                }
                self.reduce(message, reference, shares, emit);
            }
            Body::Cancel { reference, shares } => self.reduce(message, reference, shares, emit),
            Body::Delete { reference } => {
                self.remove(message, reference, emit);
            }
            Body::Replace { reference, new_reference, shares, price } => {
                if let Some(old) = self.remove(message, reference, emit) {
                    self.add(message, new_reference, Order { price, shares, ..old }, emit);
                }
            }
            Body::Trade { shares, symbol, price, match_number, .. } => {
                self.learn(locate, symbol, emit);
                self.trade(message, match_number, price, shares, None, emit);
            }
            Body::Cross { shares, symbol, price, match_number, kind } => {
                self.learn(locate, symbol, emit);
                emit(Event::Cross(Cross {
                    locate,
                    match_number,
                    time_ns,
                    price: price.into(),
                    shares,
                    kind,
                }));
            }
            Body::Broken { match_number } => emit(Event::Broken { locate, match_number, time_ns }),
            Body::Other { .. } => {}
            Body::Unknown { .. } => self.counters.unknown_types += 1,
        }
    }

    /// Learns a stock's number, from the directory or, in a session joined late, from whatever names both.
    fn learn(&mut self, locate: u16, symbol: Symbol, emit: &mut impl FnMut(Event)) {
        let known = &mut self.stocks[usize::from(locate)].symbol;
        if *known != Some(symbol) {
            *known = Some(symbol);
            emit(Event::Stock { locate, symbol });
        }
    }

    fn distrust_one(&mut self, locate: u16, emit: &mut impl FnMut(Event)) {
        let untrusted = &mut self.stocks[usize::from(locate)].untrusted;
        if !*untrusted {
            *untrusted = true;
            emit(Event::Untrusted { locate });
        }
    }

    fn contradicted(&mut self, locate: u16, emit: &mut impl FnMut(Event)) {
        self.counters.inconsistent += 1;
        self.distrust_one(locate, emit);
    }

    /// A trade with a resting order, on whose side nobody took.
    fn trade(
        &mut self,
        message: &Message,
        match_number: u64,
        price: u32,
        shares: u32,
        resting: Option<BookSide>,
        emit: &mut impl FnMut(Event),
    ) {
        let &Message { locate, time_ns, .. } = message;
        if price == 0 || shares == 0 {
            return self.contradicted(locate, emit);
        }
        let taker = resting.map(|side| match side {
            BookSide::Bid => Side::Sell,
            BookSide::Ask => Side::Buy,
        });
        self.counters.trades += 1;
        let (price, qty) = (price.into(), shares.into());
        emit(Event::Trade(Execution { locate, match_number, time_ns, price, qty, taker }));
    }

    fn add(&mut self, message: &Message, reference: u64, order: Order, emit: &mut impl FnMut(Event)) {
        if order.shares == 0 || order.price == 0 {
            return self.contradicted(order.locate, emit);
        }
        if let Some(old) = self.orders.get(reference) {
            self.contradicted(order.locate, emit);
            self.distrust_one(old.locate, emit);
            self.remove(message, reference, emit);
        }
        if self.orders.set(reference, order) {
            self.change(message, order, order.shares.into(), emit);
        } else {
            self.counters.orders_full += 1;
            self.distrust_one(order.locate, emit);
        }
    }

    fn remove(&mut self, message: &Message, reference: u64, emit: &mut impl FnMut(Event)) -> Option<Order> {
        let order = self.known(message, reference, emit)?;
        self.orders.remove(reference);
        self.change(message, order, -i64::from(order.shares), emit);
        Some(order)
    }

    fn reduce(&mut self, message: &Message, reference: u64, shares: u32, emit: &mut impl FnMut(Event)) {
        let Some(order) = self.known(message, reference, emit) else { return };
        if shares == 0 || shares > order.shares {
            self.contradicted(order.locate, emit);
        }
        let taken = shares.min(order.shares);
        if taken == order.shares {
            self.orders.remove(reference);
        } else {
            self.orders.set(reference, Order { shares: order.shares - taken, ..order });
        }
        if taken > 0 {
            self.change(message, order, -i64::from(taken), emit);
        }
    }

    /// The order that a message is about.
    fn known(&mut self, message: &Message, reference: u64, emit: &mut impl FnMut(Event)) -> Option<Order> {
        let order = self.orders.get(reference);
        match order {
            Some(order) if order.locate != message.locate => {
                self.contradicted(order.locate, emit);
                self.distrust_one(message.locate, emit);
            }
            Some(_) => {}
            None => {
                self.counters.orders_unknown += 1;
                self.distrust_one(message.locate, emit);
            }
        }
        order
    }

    /// Changes what is displayed at an order's price.
    fn change(&mut self, message: &Message, order: Order, change: i64, emit: &mut impl FnMut(Event)) {
        let Order { locate, side, price, .. } = order;
        let key = level_key(locate, side, price);
        let qty = self.levels.get(key).map_or(0, NonZeroU64::get).saturating_add_signed(change);
        match NonZeroU64::new(qty) {
            Some(qty) => {
                self.levels.set(key, qty);
            }
            None => {
                self.levels.remove(key);
            }
        }
        let (time_ns, price, qty) = (message.time_ns, price.into(), qty as i64);
        emit(Event::Level(Level { locate, time_ns, side, price, qty, change }));
    }
}

fn level_key(locate: u16, side: BookSide, price: u32) -> u64 {
    u64::from(locate) << 33 | (side as u64) << 32 | u64::from(price)
}
