//! A book as a Kraken client holds it: so many levels of each side, and the checksum over them.
//!
//! What holds: a client that applies every update and then truncates to its depth has exactly these levels.

use super::super::book::{Book, Level, Side};
use super::super::words::Places;

/// How many levels of each side the checksum covers.
const CHECKED: usize = 10;

/// What one subscriber has been told of a book, best first.
#[derive(Debug)]
pub(super) struct View {
    pub(super) depth: usize,
    pub(super) bids: Vec<Level>,
    pub(super) asks: Vec<Level>,
}

impl View {
    pub(super) fn of(book: &Book, depth: usize) -> Self {
        let side = |side| book.best_first(side).take(depth).collect();
        Self { depth, bids: side(Side::Bid), asks: side(Side::Ask) }
    }

    /// Goes on to the book as it is now: the changed levels of both sides, if any did change.
    pub(super) fn advance(&mut self, book: &Book) -> Option<[Vec<Level>; 2]> {
        let next = Self::of(book, self.depth);
        let changes = [
            changes(book, Side::Bid, &self.bids, &next.bids),
            changes(book, Side::Ask, &self.asks, &next.asks),
        ];
        *self = next;
        changes.iter().any(|side| !side.is_empty()).then_some(changes)
    }

    pub(super) fn checksum(&self, places: usize) -> u32 {
        checksum(&self.asks, &self.bids, places)
    }
}

/// What leads from `old` to `new`: first what is gone, as quantity 0, then what is new or different, so that
/// levels which come into sight from below are told. A level that was only pushed out of sight is not mentioned.
fn changes(book: &Book, side: Side, old: &[Level], new: &[Level]) -> Vec<Level> {
    let place = |levels: &[Level], price: i64| {
        let found = match side {
            Side::Bid => levels.binary_search_by(|level| price.cmp(&level.0)),
            Side::Ask => levels.binary_search_by(|level| level.0.cmp(&price)),
        };
        found.ok().map(|i| levels[i].1)
    };
    let gone = old.iter().filter(|(price, _)| book.quantity(side, *price) == 0).map(|&(price, _)| (price, 0));
    let set = new.iter().filter(|&&(price, quantity)| place(old, price) != Some(quantity));
    gone.chain(set.copied()).collect()
}

/// Kraken's checksum: of the ten best asks, then the ten best bids, each price and quantity as its text without
/// the point and without zeros at its beginning.
pub(in crate::sim) fn checksum(asks: &[Level], bids: &[Level], places: usize) -> u32 {
    let mut text = String::new();
    for &(price, quantity) in asks.iter().take(CHECKED).chain(bids.iter().take(CHECKED)) {
        for number in [Places(price.into(), places).to_string(), Places(quantity.into(), 8).to_string()] {
            text.push_str(number.replace('.', "").trim_start_matches('0'));
        }
    }
    crc32(text.as_bytes())
}

/// CRC-32 of ISO 3309, the one of gzip and Ethernet.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)])
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let (mut crc, mut bit) = (i as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn levels_come_into_sight_from_below_and_leave_it_silently() {
        let mut book = Book::new(0);
        for price in [50, 49, 48, 47] {
            book.set(Side::Bid, price, 5);
        }
        book.set(Side::Ask, 60, 1);
        let mut view = View::of(&book, 3);
        assert_eq!(view.advance(&book), None);
        book.set(Side::Bid, 50, 0);
        assert_eq!(view.advance(&book), Some([vec![(50, 0), (47, 5)], vec![]]));
        book.set(Side::Bid, 51, 2);
        assert_eq!(view.advance(&book), Some([vec![(51, 2)], vec![]]), "47 is out of sight, and not gone");
        book.set(Side::Bid, 47, 9);
        assert_eq!(view.advance(&book), None, "nobody sees 47");
    }
}
