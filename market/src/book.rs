//! An order book by price: the quantity at each price, best first.
//!
//! It is taken from a venue's snapshots and changes, in the instrument's integers. Its room is taken once: beyond it
//! the worst level is dropped. What holds: each side is sorted, no level has a quantity of zero, and a change costs a
//! search and a move of the levels that are better, which are few where books change.

use crate::Quote;
use crate::message::{BookSide, Level, Levels};

/// A book.
#[derive(Debug, Clone)]
pub struct Book {
    bids: Half,
    asks: Half,
    room: usize,
}

/// One side, the best level last: most changes are there.
#[derive(Debug, Clone)]
struct Half {
    levels: Vec<Level>,
    /// Levels that are worse than this one were not told, or dropped: what is known there has holes.
    known_to: Option<i64>,
}

impl Half {
    /// Notes that levels worse than the worst one are not known any more.
    fn forget(&mut self, better: impl Fn(i64) -> i64) {
        let Some(worst) = self.levels.first().map(|level| level.price) else { return };
        let known = self.known_to.filter(|known| better(*known) > better(worst));
        self.known_to = Some(known.unwrap_or(worst));
    }
}

impl Book {
    /// An empty book that keeps at most `room` levels on each side.
    pub fn new(room: usize) -> Self {
        let half = || Half { levels: Vec::with_capacity(room + 1), known_to: None };
        Self { bids: half(), asks: half(), room }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        for half in [&mut self.bids, &mut self.asks] {
            half.levels.clear();
            half.known_to = None;
        }
    }

    /// Takes over a venue's whole book. `limit` is the number of levels it tells at most, where that is less than all:
    /// a side that has so many goes on unseen.
    pub fn reset(&mut self, levels: &Levels<'_>, limit: Option<usize>) {
        self.clear();
        // Venues tell a whole book best first. Put in one by one, each level would move all that are there, and whole
        // books have tens of thousands; so each side is filled the other way round as long as that order holds.
        let mut is_turned = [true; 2];
        let room = self.room;
        levels.for_each(|side, level| {
            let is_worse = |best: &Level| (level.price < best.price) == (side == BookSide::Bid);
            let turned = &mut is_turned[side as usize];
            let half = self.half_mut(side);
            let last = half.levels.last();
            if *turned && level.qty > 0 && last.is_none_or(|last| is_worse(last) && last.price != level.price)
            {
                if half.levels.len() < room {
                    half.levels.push(level);
                } else {
                    half.known_to = last.map(|last| last.price);
                }
                return;
            }
            if core::mem::take(turned) {
                half.levels.reverse();
            }
            self.set(side, level);
        });
        for side in [BookSide::Bid, BookSide::Ask] {
            if is_turned[side as usize] {
                self.half_mut(side).levels.reverse();
            }
        }
        self.limit(limit);
    }

    /// Says that a snapshot that was just applied told at most `limit` levels of each side.
    pub fn limit(&mut self, limit: Option<usize>) {
        for half in [&mut self.bids, &mut self.asks] {
            if limit.is_some_and(|limit| half.levels.len() >= limit) {
                half.known_to = half.levels.first().map(|worst| worst.price);
            }
        }
    }

    /// Takes over changes, in their order.
    pub fn apply(&mut self, levels: &Levels<'_>) {
        levels.for_each(|side, level| self.set(side, level));
    }

    /// Puts a level in the place of the one at its price; one without quantity removes it.
    pub fn set(&mut self, side: BookSide, level: Level) {
        let room = self.room;
        let half = self.half_mut(side);
        let better = |price: i64| if side == BookSide::Bid { price } else { -price };
        let place = half.levels.partition_point(|other| better(other.price) < better(level.price));
        let is_there = half.levels.get(place).is_some_and(|other| other.price == level.price);
        match (is_there, level.qty > 0) {
            (true, true) => half.levels[place] = level,
            (true, false) => drop(half.levels.remove(place)),
            // What would give way at once is not put in.
            (false, true) if half.levels.len() == room && place == 0 => half.forget(better),
            (false, true) => half.levels.insert(place, level),
            (false, false) => {}
        }
        if half.levels.len() > room {
            half.levels.remove(0);
            half.forget(better);
        }
    }

    /// Keeps the best `depth` levels of each side, as a venue does that tells no more.
    pub fn truncate(&mut self, depth: usize) {
        for half in [&mut self.bids, &mut self.asks] {
            let extra = half.levels.len().saturating_sub(depth);
            half.levels.drain(..extra);
        }
    }

    /// The levels of a side, best first.
    pub fn best_first(&self, side: BookSide) -> impl ExactSizeIterator<Item = &Level> {
        self.half(side).levels.iter().rev()
    }

    /// The best bid and ask, once both are there.
    pub fn top(&self) -> Option<Quote> {
        let (bid, ask) = (self.bids.levels.last()?, self.asks.levels.last()?);
        Some(Quote { bid_price: bid.price, bid_qty: bid.qty, ask_price: ask.price, ask_qty: ask.qty })
    }

    /// Whether the best bid is not below the best ask, which no venue's book ever is.
    pub fn is_crossed(&self) -> bool {
        self.top().is_some_and(|top| top.bid_price >= top.ask_price)
    }

    /// How many levels of the thinner side are known without holes.
    pub fn known_depth(&self) -> usize {
        let known = |half: &Half, is_bid: bool| match half.known_to {
            None => usize::MAX,
            Some(to) => {
                let known = |level: &&Level| if is_bid { level.price >= to } else { level.price <= to };
                half.levels.iter().rev().take_while(known).count()
            }
        };
        known(&self.bids, true).min(known(&self.asks, false))
    }

    /// Whether the best levels are those that a venue tells, as far as both know them. The first level that differs
    /// counts, wherever it is.
    pub fn agrees_with(&self, told: &Levels<'_>) -> bool {
        let (mut bids, mut asks) = (self.best_first(BookSide::Bid), self.best_first(BookSide::Ask));
        let mut agrees = true;
        told.for_each(|side, level| {
            let ours = if side == BookSide::Bid { bids.next() } else { asks.next() };
            agrees &= ours.is_some_and(|ours| (ours.price, ours.qty) == (level.price, level.qty));
        });
        agrees
    }

    fn half(&self, side: BookSide) -> &Half {
        if side == BookSide::Bid { &self.bids } else { &self.asks }
    }

    fn half_mut(&mut self, side: BookSide) -> &mut Half {
        if side == BookSide::Bid { &mut self.bids } else { &mut self.asks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn level(price: i64, qty: i64) -> Level {
        Level { price, qty, printed: [0; 2] }
    }

    #[test]
    fn what_a_snapshot_did_not_tell_is_not_known() {
        let mut book = Book::new(100);
        for price in 1..=5 {
            book.set(BookSide::Bid, level(price, 1));
            book.set(BookSide::Ask, level(10 + price, 1));
        }
        assert_eq!(book.known_depth(), usize::MAX);
        book.limit(Some(5));
        assert_eq!(book.known_depth(), 5);
        book.set(BookSide::Bid, level(5, 0));
        book.set(BookSide::Bid, level(0, 7)); // Worse than all that was told: there may be others between.
        assert_eq!(book.known_depth(), 4);
        assert_eq!(book.top().unwrap().bid_price, 4);
    }

    #[test]
    fn the_worst_level_gives_way() {
        let mut book = Book::new(3);
        for price in [5, 3, 4, 6] {
            book.set(BookSide::Ask, level(price, 1));
        }
        let prices: Vec<_> = book.best_first(BookSide::Ask).map(|level| level.price).collect();
        assert_eq!(prices, [3, 4, 5]);
        book.set(BookSide::Bid, level(1, 1));
        assert_eq!(book.known_depth(), 3);
        assert!(!book.is_crossed());
        book.set(BookSide::Bid, level(3, 1));
        assert!(book.is_crossed());
    }

    proptest! {
        /// A whole book is what its levels are one by one, in whatever order a venue tells them.
        #[test]
        fn a_whole_book_is_its_levels_one_by_one(
            mut told in prop::collection::vec((any::<bool>(), 0..40i64, 0..5i64), 0..60),
            best_first in any::<bool>(),
            room in 1usize..12,
            limit in prop::option::of(0usize..12),
        ) {
            if best_first {
                told.sort_by_key(|(is_bid, price, _)| if *is_bid { -price } else { *price });
            }
            let text: Vec<_> = told.iter().map(|(is_bid, price, qty)| format!("{}{price} {qty}", u8::from(*is_bid))).collect();
            let text = text.join(",");
            let scale = crate::Scale { price_digits: 0, qty_digits: 0 };
            let levels = Levels::checked(text.as_bytes(), b"", scale, |text, _, _, take| {
                for part in core::str::from_utf8(text).unwrap().split(',') {
                    let (price, qty) = part[1..].split_once(' ').unwrap();
                    let side = if part.starts_with('1') { BookSide::Bid } else { BookSide::Ask };
                    take(side, level(price.parse().unwrap(), qty.parse().unwrap()));
                }
                Ok(())
            });
            let (mut whole, mut single) = (Book::new(room), Book::new(room));
            whole.set(BookSide::Bid, level(99, 1)); // Void from now on.
            whole.reset(&levels, limit);
            for (is_bid, price, qty) in told {
                single.set(if is_bid { BookSide::Bid } else { BookSide::Ask }, level(price, qty));
            }
            single.limit(limit);
            prop_assert_eq!(format!("{whole:?}"), format!("{single:?}"));
        }

        /// A sorted map is the independent judge.
        #[test]
        fn it_is_a_sorted_map(changes in prop::collection::vec((any::<bool>(), 0..20i64, 0..3i64), 0..200)) {
            let mut book = Book::new(64);
            let (mut bids, mut asks) = (BTreeMap::new(), BTreeMap::new());
            for (is_bid, price, qty) in changes {
                let (side, map) = if is_bid { (BookSide::Bid, &mut bids) } else { (BookSide::Ask, &mut asks) };
                book.set(side, level(price, qty));
                if qty > 0 { map.insert(price, qty); } else { map.remove(&price); }
            }
            let list = |side| book.best_first(side).map(|l| (l.price, l.qty)).collect::<Vec<_>>();
            prop_assert_eq!(list(BookSide::Bid), bids.into_iter().rev().collect::<Vec<_>>());
            prop_assert_eq!(list(BookSide::Ask), asks.into_iter().collect::<Vec<_>>());
        }
    }
}
