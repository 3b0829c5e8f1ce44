//! One symbol's order book: quantities at integer price levels, and the update ids that number its changes.
//!
//! What holds: every bid is below every ask; no level holds a quantity of zero or less; each change has the
//! update id one above the change before it.

use std::collections::{BTreeMap, BTreeSet};

/// A side of the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Bid,
    Ask,
}

/// A price and the quantity resting there, both in units of 1e-8.
pub(super) type Level = (i64, i64);

/// The best level of each side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Top {
    pub(super) bid: Level,
    pub(super) ask: Level,
}

/// What changed between two moments: absolute quantities, best price first; a quantity of 0 removes the level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Diff {
    pub(super) first_update: u64,
    pub(super) last_update: u64,
    pub(super) bids: Vec<Level>,
    pub(super) asks: Vec<Level>,
}

#[derive(Debug)]
pub(super) struct Book {
    bids: BTreeMap<i64, i64>,
    asks: BTreeMap<i64, i64>,
    update: u64,
}

impl Book {
    /// An empty book, whose first change will be number `update + 1`.
    pub(super) fn new(update: u64) -> Self {
        Self { bids: BTreeMap::new(), asks: BTreeMap::new(), update }
    }

    /// The id of the last change.
    pub(super) fn update(&self) -> u64 {
        self.update
    }

    /// Puts `quantity` at `price`; 0 or less removes the level. Does nothing, and says so by `false`, where
    /// nothing would change or the book would be crossed.
    pub(super) fn set(&mut self, side: Side, price: i64, quantity: i64) -> bool {
        let crosses = match side {
            Side::Bid => self.best(Side::Ask).is_some_and(|(ask, _)| price >= ask),
            Side::Ask => self.best(Side::Bid).is_some_and(|(bid, _)| price <= bid),
        };
        let quantity = quantity.max(0);
        if self.quantity(side, price) == quantity || (crosses && quantity > 0) {
            return false;
        }
        let levels = self.levels_mut(side);
        if quantity == 0 {
            levels.remove(&price)
        } else {
            levels.insert(price, quantity)
        };
        self.update += 1;
        true
    }

    /// What rests at `price`, 0 where nothing does.
    pub(super) fn quantity(&self, side: Side, price: i64) -> i64 {
        self.levels(side).get(&price).copied().unwrap_or(0)
    }

    /// The levels of a side, best first.
    pub(super) fn best_first(&self, side: Side) -> Box<dyn Iterator<Item = Level> + '_> {
        let levels = self.levels(side).iter().map(|(&price, &quantity)| (price, quantity));
        match side {
            Side::Bid => Box::new(levels.rev()),
            Side::Ask => Box::new(levels),
        }
    }

    pub(super) fn best(&self, side: Side) -> Option<Level> {
        self.best_first(side).next()
    }

    /// The level farthest from the other side.
    pub(super) fn worst(&self, side: Side) -> Option<Level> {
        let levels = self.levels(side);
        let worst = if side == Side::Bid { levels.first_key_value() } else { levels.last_key_value() };
        worst.map(|(&price, &quantity)| (price, quantity))
    }

    pub(super) fn top(&self) -> Option<Top> {
        Some(Top { bid: self.best(Side::Bid)?, ask: self.best(Side::Ask)? })
    }

    pub(super) fn len(&self, side: Side) -> usize {
        self.levels(side).len()
    }

    fn levels(&self, side: Side) -> &BTreeMap<i64, i64> {
        if side == Side::Bid { &self.bids } else { &self.asks }
    }

    fn levels_mut(&mut self, side: Side) -> &mut BTreeMap<i64, i64> {
        if side == Side::Bid { &mut self.bids } else { &mut self.asks }
    }
}

/// The prices touched since the last diff; one for each pace at which diffs are sent.
#[derive(Debug)]
pub(super) struct Changes {
    sent_update: u64,
    bids: BTreeSet<i64>,
    asks: BTreeSet<i64>,
}

impl Changes {
    /// Begins at the book's present state.
    pub(super) fn since(book: &Book) -> Self {
        Self { sent_update: book.update(), bids: BTreeSet::new(), asks: BTreeSet::new() }
    }

    pub(super) fn touch(&mut self, side: Side, price: i64) {
        if side == Side::Bid {
            self.bids.insert(price)
        } else {
            self.asks.insert(price)
        };
    }

    /// What changed since the last call, if anything did.
    pub(super) fn take(&mut self, book: &Book) -> Option<Diff> {
        if self.sent_update == book.update() {
            return None;
        }
        let first_update = self.sent_update + 1;
        self.sent_update = book.update();
        let now = |side, price: &i64| (*price, book.quantity(side, *price));
        let bids = self.bids.iter().rev().map(|price| now(Side::Bid, price)).collect();
        let asks = self.asks.iter().map(|price| now(Side::Ask, price)).collect();
        self.bids.clear();
        self.asks.clear();
        Some(Diff { first_update, last_update: book.update(), bids, asks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_book_refuses_to_cross_and_numbers_each_change() {
        let mut book = Book::new(7);
        assert!(book.set(Side::Bid, 100, 5) && book.set(Side::Ask, 101, 4));
        assert!(!book.set(Side::Bid, 101, 1), "would cross");
        assert!(!book.set(Side::Ask, 100, 1), "would cross");
        assert!(!book.set(Side::Bid, 100, 5), "no change");
        assert!(!book.set(Side::Bid, 99, 0), "nothing to remove");
        assert_eq!((book.update(), book.top()), (9, Some(Top { bid: (100, 5), ask: (101, 4) })));
    }

    #[test]
    fn changes_are_absolute_contiguous_and_best_first() {
        let mut book = Book::new(0);
        let mut changes = Changes::since(&book);
        let set = |book: &mut Book, changes: &mut Changes, side, price, quantity| {
            assert!(book.set(side, price, quantity));
            changes.touch(side, price);
        };
        for price in [90, 95, 92] {
            set(&mut book, &mut changes, Side::Bid, price, 1);
        }
        set(&mut book, &mut changes, Side::Bid, 92, 0);
        set(&mut book, &mut changes, Side::Ask, 99, 2);
        let diff = changes.take(&book).unwrap();
        assert_eq!((diff.first_update, diff.last_update), (1, 5));
        assert_eq!(diff.bids, [(95, 1), (92, 0), (90, 1)]);
        assert_eq!(diff.asks, [(99, 2)]);
        assert_eq!(changes.take(&book), None);
    }
}
