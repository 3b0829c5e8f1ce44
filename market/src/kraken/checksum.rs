//! Kraken's checksum of the best ten levels, by which a book is known to be the venue's.
//!
//! Source: Kraken, "Book checksum (WebSocket v2)". It is the CRC-32 of the text of the asks from low to high, then of
//! the bids from high to low: of each level the price and the quantity as the venue printed them, without the point
//! and without leading zeros.

use crate::message::{BookSide, Scale};
use crate::{Book, decimal};

/// Levels of each side that are in it.
const LEVELS: usize = 10;

/// The checksum of a book whose numbers are of that scale.
pub fn checksum(book: &Book, scale: Scale) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    for side in [BookSide::Ask, BookSide::Bid] {
        for level in book.best_first(side).take(LEVELS) {
            add(&mut crc, level.price, scale.price_digits, level.printed[0]);
            add(&mut crc, level.qty, scale.qty_digits, level.printed[1]);
        }
    }
    crc.finalize()
}

/// Adds a number of `digits` decimals that was printed with `printed`.
fn add(crc: &mut crc32fast::Hasher, value: i64, digits: u8, printed: u8) {
    let mut text = [0; 20];
    // What was not printed is zeros; so is what was printed beyond the instrument's digits.
    let mut rest = value.unsigned_abs() / 10u64.pow(digits.saturating_sub(printed).into());
    let mut at = text.len();
    while rest > 0 {
        at -= 1;
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    crc.update(&text[at..]);
    if at < text.len() {
        for _ in digits..printed {
            crc.update(b"0");
        }
    }
}

// 10^MAX_DIGITS must be a u64.
const _: () = assert!(10u64.checked_pow(decimal::MAX_DIGITS as u32).is_some());

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Level;
    use proptest::prelude::*;

    proptest! {
        /// The documentation's way, on texts, is the judge.
        #[test]
        fn it_is_made_of_what_was_printed(
            levels in prop::collection::vec((1u32..1_000_000, 1u64..1_000_000_000, 0usize..4, 0usize..12), 0..30),
        ) {
            let scale = Scale { price_digits: 4, qty_digits: 9 };
            let mut book = Book::new(100);
            let mut texts = std::collections::BTreeMap::new();
            for (price, qty, price_decimals, qty_decimals) in levels {
                let price = f64::from(price) / 1_000.0; // Exact at so few digits, and another way to print.
                let price = format!("{price:.price_decimals$}");
                let (whole, fraction) = (qty / 1_000, format!("{:09}00", qty * 7 % 1_000_000_000));
                let qty = format!("{whole}.{}", &fraction[..qty_decimals]);
                let qty = qty.trim_end_matches('.').to_owned();
                let parse = |text: &str, digits| decimal::parse(text.as_bytes(), digits).unwrap();
                let level = Level {
                    price: parse(&price, 4),
                    qty: parse(&qty, 9),
                    printed: [price_decimals as u8, qty_decimals as u8],
                };
                if level.price > 0 {
                    book.set(BookSide::Ask, level);
                    texts.insert(level.price, format!("{price} {qty}"));
                }
            }
            let digits = |text: &str| text.replace('.', "").trim_start_matches('0').to_owned();
            let text: String = texts.values().take(10).flat_map(|level| level.split(' ')).map(digits).collect();
            prop_assert_eq!(checksum(&book, scale), crc32fast::hash(text.as_bytes()));
        }
    }
}
