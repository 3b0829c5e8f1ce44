//! ITCH 5.0: the book's changes as orders that are added, executed, reduced, replaced and deleted.
//!
//! What holds: each level of the book is one order; a receiver that applies every message has the venue's book
//! after each millisecond. Prices have four decimals, and a share is a lot. Match numbers are the trades' ids.
//! Times are ns since midnight in New York. Lengths and fields: Nasdaq TotalView-ITCH 5.0.

use super::super::SymbolSpec;
use super::super::book::{Diff, Side};
use super::super::market::{Event, Happening, Market, Pace, Trade};
use std::collections::BTreeMap;

/// What a price of one unit of the fourth decimal is in ours.
const PRICE: i64 = 10_000;
/// Every so many orders trade against a hidden one, which is told as a trade, not an execution.
const HIDDEN: i64 = 8;

/// Takes a message.
type Sink<'s> = &'s mut dyn FnMut(Vec<u8>);

/// An order of the book, and how much of it is left.
#[derive(Debug, Clone, Copy)]
struct Order {
    reference: u64,
    shares: u32,
}

#[derive(Debug)]
struct Stock {
    locate: u16,
    name: [u8; 8],
    lot: i64,
    bids: BTreeMap<i64, Order>,
    asks: BTreeMap<i64, Order>,
}

#[derive(Debug)]
pub(super) struct Itch {
    stocks: Vec<Stock>,
    next_reference: u64,
    /// How far New York's clocks are ahead of UTC when the session begins; it keeps that.
    zone_ns: i64,
    /// The time of the last message: symbols live one after the other, but no time goes backwards.
    last_ns: i64,
}

/// Why a symbol cannot be told, if so.
pub(super) fn fault(spec: &SymbolSpec) -> Option<&'static str> {
    // The fair price stays within four times its start, and asks close by.
    let highest = spec.start_price.saturating_mul(5) / PRICE;
    if spec.name().len() > 8 {
        Some("an ITCH stock has at most eight characters")
    } else if spec.tick % PRICE != 0 {
        Some("an ITCH price has four decimals")
    } else if highest > i64::from(u32::MAX) {
        Some("an ITCH price is at most 429496.7295, so one may start at 85899 at most")
    } else {
        None
    }
}

/// The beginning of every message: type, stock, tracking number, time.
fn head(kind: u8, locate: u16, time_ns: i64) -> Vec<u8> {
    let mut message = vec![kind];
    message.extend(locate.to_be_bytes());
    message.extend([0, 0]);
    message.extend(&(time_ns % 86_400_000_000_000).to_be_bytes()[2..]);
    message
}

fn system(code: u8, time_ns: i64) -> Vec<u8> {
    let mut message = head(b'S', 0, time_ns);
    message.push(code);
    message
}

fn price(units: i64) -> [u8; 4] {
    u32::try_from(units / PRICE).unwrap_or(u32::MAX).to_be_bytes()
}

fn letter(side: Side) -> u8 {
    if side == Side::Bid { b'B' } else { b'S' }
}

impl Stock {
    fn shares(&self, quantity: i64) -> u32 {
        u32::try_from(quantity / self.lot).unwrap_or(u32::MAX)
    }

    fn orders(&mut self, side: Side) -> &mut BTreeMap<i64, Order> {
        if side == Side::Bid { &mut self.bids } else { &mut self.asks }
    }

    fn directory(&self, time_ns: i64) -> Vec<u8> {
        let mut message = head(b'R', self.locate, time_ns);
        message.extend(self.name);
        message.extend(b"Q "); // Market category, financial status: not available.
        message.extend(1_u32.to_be_bytes()); // Round lot.
        message.extend(b"NCZ P NN"); // Any lot; common stock; production; no threshold, no IPO, no tier.
        message.push(b'N'); // No fund.
        message.extend(0_u32.to_be_bytes());
        message.push(b'N');
        message
    }

    /// Makes the order at a price have so many shares, in one message or none.
    fn settle(&mut self, side: Side, at: i64, shares: u32, time_ns: i64, next: &mut u64, sink: Sink<'_>) {
        let before = self.orders(side).get(&at).copied();
        let locate = self.locate;
        let mut fresh = || {
            *next += 1;
            *next
        };
        let after = match before {
            None if shares == 0 => return,
            None => {
                let reference = fresh();
                let mut message = head(b'A', locate, time_ns);
                message.extend(reference.to_be_bytes());
                message.push(letter(side));
                message.extend(shares.to_be_bytes());
                message.extend(self.name);
                message.extend(price(at));
                sink(message);
                Some(Order { reference, shares })
            }
            Some(order) if shares == order.shares => return,
            Some(order) if shares == 0 => {
                let mut message = head(b'D', locate, time_ns);
                message.extend(order.reference.to_be_bytes());
                sink(message);
                None
            }
            Some(order) if shares < order.shares => {
                let mut message = head(b'X', locate, time_ns);
                message.extend(order.reference.to_be_bytes());
                message.extend((order.shares - shares).to_be_bytes());
                sink(message);
                Some(Order { shares, ..order })
            }
            Some(order) => {
                let reference = fresh();
                let mut message = head(b'U', locate, time_ns);
                message.extend(order.reference.to_be_bytes());
                message.extend(reference.to_be_bytes());
                message.extend(shares.to_be_bytes());
                message.extend(price(at));
                sink(message);
                Some(Order { reference, shares })
            }
        };
        match after {
            Some(order) => self.orders(side).insert(at, order),
            None => self.orders(side).remove(&at),
        };
    }

    fn trade(&mut self, trade: &Trade, time_ns: i64, next: &mut u64, sink: Sink<'_>) {
        let side = if trade.buyer_is_maker { Side::Bid } else { Side::Ask };
        let shares = self.shares(trade.quantity);
        if trade.aggregate % HIDDEN == 0 {
            let mut message = head(b'P', self.locate, time_ns);
            message.extend(0_u64.to_be_bytes());
            message.push(letter(side));
            message.extend(shares.to_be_bytes());
            message.extend(self.name);
            message.extend(price(trade.price));
            message.extend(trade.id.to_be_bytes());
            return sink(message);
        }
        // What was quoted within this millisecond is not told yet.
        if self.orders(side).get(&trade.price).is_none_or(|order| order.shares < shares) {
            self.settle(side, trade.price, shares, time_ns, next, sink);
        }
        let Some(order) = self.orders(side).get_mut(&trade.price) else {
            return;
        };
        let reference = order.reference;
        order.shares -= shares;
        if order.shares == 0 {
            self.orders(side).remove(&trade.price);
        }
        let mut message = head(b'E', self.locate, time_ns);
        message.extend(reference.to_be_bytes());
        message.extend(shares.to_be_bytes());
        message.extend(trade.id.to_be_bytes());
        sink(message);
    }

    fn change(&mut self, diff: &Diff, time_ns: i64, next: &mut u64, sink: Sink<'_>) {
        for (side, levels) in [(Side::Bid, &diff.bids), (Side::Ask, &diff.asks)] {
            // What goes makes room for what comes, or the book would be crossed in between.
            for &(at, _) in levels.iter().filter(|(_, quantity)| *quantity == 0) {
                self.settle(side, at, 0, time_ns, next, sink);
            }
        }
        for (side, levels) in [(Side::Bid, &diff.bids), (Side::Ask, &diff.asks)] {
            for &(at, quantity) in levels.iter().filter(|(_, quantity)| *quantity > 0) {
                let shares = self.shares(quantity);
                self.settle(side, at, shares, time_ns, next, sink);
            }
        }
    }
}

impl Itch {
    pub(super) fn new(specs: &[SymbolSpec]) -> Self {
        let stock = |(i, spec): (usize, &SymbolSpec)| {
            let mut name = [b' '; 8];
            name.iter_mut().zip(spec.name().bytes()).for_each(|(to, from)| *to = from);
            let locate = i as u16 + 1; // At most 64 symbols.
            Stock { locate, name, lot: spec.lot, bids: BTreeMap::new(), asks: BTreeMap::new() }
        };
        Self {
            stocks: specs.iter().enumerate().map(stock).collect(),
            next_reference: 0,
            zone_ns: 0,
            last_ns: 0,
        }
    }

    /// Messages begin, the stocks, hours begin, the market opens, and what rests in the books.
    pub(super) fn begin(&mut self, market: &Market, sink: Sink<'_>) {
        self.zone_ns = zone_ns(market.now_ms());
        let time_ns = market.now_ms() * 1_000_000 + self.zone_ns;
        sink(system(b'O', time_ns));
        self.stocks.iter().for_each(|stock| sink(stock.directory(time_ns)));
        sink(system(b'S', time_ns));
        sink(system(b'Q', time_ns));
        for (stock, symbol) in self.stocks.iter_mut().zip(market.symbols()) {
            for side in [Side::Bid, Side::Ask] {
                for (at, quantity) in symbol.book().best_first(side) {
                    let shares = stock.shares(quantity);
                    stock.settle(side, at, shares, time_ns, &mut self.next_reference, sink);
                }
            }
        }
    }

    pub(super) fn tell(&mut self, event: &Event, sink: Sink<'_>) {
        let (stock, next) = (&mut self.stocks[event.symbol], &mut self.next_reference);
        match &event.happening {
            Happening::Trade(trade) => {
                self.last_ns = self.last_ns.max(trade.time_ns() + self.zone_ns);
                stock.trade(trade, self.last_ns, next, sink);
            }
            Happening::Depth(Pace::Each, diff) => {
                self.last_ns = self.last_ns.max(event.time_ms * 1_000_000 + self.zone_ns);
                stock.change(diff, self.last_ns, next, sink);
            }
            _ => {}
        }
    }

    /// The market closes, hours end, messages end.
    pub(super) fn end(&self, now_ms: i64, sink: Sink<'_>) {
        for code in *b"MEC" {
            sink(system(code, now_ms * 1_000_000 + 999_999 + self.zone_ns));
        }
    }
}

fn zone_ns(now_ms: i64) -> i64 {
    let time = jiff::Timestamp::from_millisecond(now_ms).ok();
    let zone = jiff::tz::TimeZone::get("America/New_York").ok();
    time.zip(zone).map_or(0, |(time, zone)| i64::from(zone.to_offset(time).seconds()) * 1_000_000_000)
}
