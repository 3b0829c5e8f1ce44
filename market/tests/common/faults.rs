//! Ways in which a client of books goes wrong. Each check of a book must notice those that it is there for: tests
//! break the client on purpose and look.

use market::{Book, BookChange, BookSide, Level, Levels, Scale, decimal};

/// What is done wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// Levels of no quantity stay.
    ZeroesKept,
    /// Bids are taken for asks.
    SidesSwapped,
    /// The change of that number is lost.
    ChangeDropped(usize),
    /// Only so many levels of the snapshot are taken, as if the venue had been asked for no more.
    ShallowSeed(usize),
    /// The book is not cut to the depth that the venue tells.
    NotTruncated,
    /// Numbers go through a `f64` and back to text.
    ThroughFloats,
}

/// Takes over a change, rightly or not.
pub(crate) fn take_over(book: &mut Book, change: &BookChange<'_>, scale: Scale, fault: Fault) {
    if change.is_snapshot {
        take_over_snapshot(book, &change.levels, scale, fault);
    } else {
        change.levels.for_each(|side, level| set(book, side, level, scale, fault));
    }
}

fn take_over_snapshot(book: &mut Book, levels: &Levels<'_>, scale: Scale, fault: Fault) {
    if fault == Fault::None {
        return book.reset(levels, None);
    }
    book.clear();
    let mut told = [0; 2];
    levels.for_each(|side, level| {
        told[side as usize] += 1;
        if !matches!(fault, Fault::ShallowSeed(most) if told[side as usize] > most) {
            set(book, side, level, scale, fault);
        }
    });
}

/// Puts in one level, rightly or not.
pub(crate) fn set(book: &mut Book, side: BookSide, mut level: Level, scale: Scale, fault: Fault) {
    let side = match (fault, side) {
        (Fault::SidesSwapped, BookSide::Bid) => BookSide::Ask,
        (Fault::SidesSwapped, BookSide::Ask) => BookSide::Bid,
        (_, side) => side,
    };
    if fault == Fault::ZeroesKept && level.qty == 0 {
        return;
    }
    if fault == Fault::ThroughFloats {
        let (price, price_printed) = through_float(level.price, scale.price_digits);
        let (qty, qty_printed) = through_float(level.qty, scale.qty_digits);
        level = Level { price, qty, printed: [price_printed, qty_printed] };
    }
    book.set(side, level);
}

/// A number as a client has it that reads JSON into floats and prints them: the value may be right, the text is not.
fn through_float(value: i64, digits: u8) -> (i64, u8) {
    let float: f64 = decimal::display(value, digits).to_string().parse().unwrap();
    let text = float.to_string();
    let decimals = text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    (decimal::parse(text.as_bytes(), digits).unwrap(), decimals as u8)
}
