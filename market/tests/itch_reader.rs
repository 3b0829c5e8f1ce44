//! ITCH in the vocabulary of all venues: what a day's messages say, and what they do not say when some are missing.

use market::protocol::Decoder;
use market::{
    Book, BookSide, DecodeError, Instrument, InstrumentId, Instruments, Levels, Message, Quote, Side, Venue,
};

/// Midnight of the tests' day.
const MIDNIGHT_MS: i64 = 1_795_496_400_000;
/// Half past nine.
const OPEN_NS: u64 = 34_200_000_000_000;
const AAPL: u16 = 7;
const OTHER: u16 = 8;

fn head(kind: u8, locate: u16, time_ns: u64) -> Vec<u8> {
    [&[kind][..], &locate.to_be_bytes(), &[0, 0], &time_ns.to_be_bytes()[2..]].concat()
}

fn directory(locate: u16, symbol: &str) -> Vec<u8> {
    let mut message = head(b'R', locate, OPEN_NS);
    message.extend(format!("{symbol:<8}").bytes());
    message.resize(39, b' ');
    message
}

fn add(locate: u16, reference: u64, side: u8, shares: u32, price: u32) -> Vec<u8> {
    let symbol = if locate == AAPL { b"AAPL    " } else { b"MSFT    " };
    let mut message = head(b'A', locate, OPEN_NS + reference * 1_000_000);
    message.extend(reference.to_be_bytes());
    message.push(side);
    message.extend(shares.to_be_bytes());
    message.extend(symbol);
    message.extend(price.to_be_bytes());
    message
}

fn executed(reference: u64, shares: u32, number: u64, time_ns: u64) -> Vec<u8> {
    let mut message = head(b'E', AAPL, time_ns);
    message.extend(reference.to_be_bytes());
    message.extend(shares.to_be_bytes());
    message.extend(number.to_be_bytes());
    message
}

/// A trade against an order that is not displayed.
fn hidden(shares: u32, price: u32, number: u64) -> Vec<u8> {
    let mut message = head(b'P', AAPL, OPEN_NS + 50_000_000);
    message.extend(0u64.to_be_bytes());
    message.push(b'B');
    message.extend(shares.to_be_bytes());
    message.extend(b"AAPL    ");
    message.extend(price.to_be_bytes());
    message.extend(number.to_be_bytes());
    message
}

fn cross(shares: u64, price: u32, number: u64) -> Vec<u8> {
    let mut message = head(b'Q', AAPL, OPEN_NS + 60_000_000);
    message.extend(shares.to_be_bytes());
    message.extend(b"AAPL    ");
    message.extend(price.to_be_bytes());
    message.extend(number.to_be_bytes());
    message.push(b'O');
    message
}

fn table(price_digits: u8, qty_digits: u8) -> Instruments {
    let mut table = Instruments::default();
    for symbol in ["ZZZ", "AAPL"] {
        table.add(Instrument { price_digits, qty_digits, ..Instrument::new(Venue::Itch, symbol) });
    }
    table
}

/// A reader of the table's stocks, and what it has said: trades, quotes, the book as it was told, and what is missing.
struct Day {
    reader: Box<dyn Decoder>,
    table: Instruments,
    trades: Vec<(i64, i64, i64, Side)>,
    quotes: Vec<Quote>,
    book: Option<Book>,
    missed: usize,
    lost_books: usize,
    time_ms: i64,
}

impl Day {
    fn new(table: Instruments) -> Self {
        let mut reader = Venue::Itch.protocol().decoder();
        reader.prepare(&table);
        reader.day(MIDNIGHT_MS);
        let (trades, quotes) = (vec![], vec![]);
        Self { reader, table, trades, quotes, book: None, missed: 0, lost_books: 0, time_ms: 0 }
    }

    fn whole() -> Self {
        let mut day = Self::new(table(4, 0));
        day.reader.begin(true);
        day.take(&directory(AAPL, "AAPL")).unwrap();
        day
    }

    fn take(&mut self, message: &[u8]) -> Result<(), DecodeError> {
        let Self { reader, table, trades, quotes, book, missed, lost_books, time_ms } = self;
        reader.decode(message, table, &mut |message| match message {
            Message::Trade { instrument: InstrumentId(1), event_ms, trade, is_past: false } => {
                assert_eq!((trade.first_id, trade.time_ms), (trade.last_id, event_ms));
                trades.push((trade.time_ms, trade.price, trade.qty, trade.taker));
            }
            Message::Quote { instrument: InstrumentId(1), quote, .. } => quotes.push(quote),
            Message::Book { instrument: InstrumentId(1), change, .. } if change.is_snapshot => {
                book.get_or_insert_with(|| Book::new(100)).reset(&change.levels, None);
            }
            Message::Book { instrument: InstrumentId(1), change, .. } => {
                book.as_mut().expect("a book begins with a snapshot").apply(&change.levels);
            }
            Message::BookLost { instrument: InstrumentId(1) } => {
                *book = None;
                *lost_books += 1;
            }
            Message::TradeMissed { instrument: InstrumentId(1), .. } => *missed += 1,
            Message::Alive { instrument: None, event_ms: Some(event_ms), last_trade_id: None } => {
                *time_ms = event_ms;
            }
            other => panic!("{other:?}"),
        })
    }

    fn levels(&self, side: BookSide) -> Vec<(i64, i64)> {
        self.book.as_ref().unwrap().best_first(side).map(|level| (level.price, level.qty)).collect()
    }
}

#[test]
fn a_day_is_told_from_its_beginning() {
    let mut day = Day::whole();
    for message in [
        add(AAPL, 1, b'B', 100, 1_000_000),
        add(AAPL, 2, b'S', 200, 1_000_100),
        add(AAPL, 3, b'B', 50, 999_900),
        executed(2, 30, 900, OPEN_NS + 40_000_000),
    ] {
        day.take(&message).unwrap();
    }
    assert_eq!(day.levels(BookSide::Bid), [(1_000_000, 100), (999_900, 50)]);
    assert_eq!(day.levels(BookSide::Ask), [(1_000_100, 170)]);
    let ms = MIDNIGHT_MS + (OPEN_NS / 1_000_000) as i64;
    assert_eq!(day.trades, [(ms + 40, 1_000_100, 30, Side::Buy)]);
    // The third order is behind the best bid: no quote.
    let quote = |ask_qty| Quote { bid_price: 1_000_000, bid_qty: 100, ask_price: 1_000_100, ask_qty };
    assert_eq!(day.quotes, [quote(200), quote(170)]);
    // Takers that are not told follow from the price, and auctions count.
    day.trades.clear();
    for message in [hidden(5, 1_000_000, 901), hidden(6, 1_000_100, 902), hidden(7, 1_000_050, 903)] {
        day.take(&message).unwrap();
    }
    day.take(&cross(1_000, 999_900, 904)).unwrap();
    day.take(&cross(0, 0, 0)).unwrap();
    assert_eq!(
        day.trades,
        [
            (ms + 50, 1_000_000, 5, Side::Sell),
            (ms + 50, 1_000_100, 6, Side::Buy),
            (ms + 50, 1_000_050, 7, Side::Buy),
            (ms + 60, 999_900, 1_000, Side::Sell),
        ]
    );
    // Stocks that nobody asked for move the clock, and nothing else.
    day.take(&directory(OTHER, "MSFT")).unwrap();
    day.take(&add(OTHER, 77, b'B', 1, 5)).unwrap();
    assert_eq!((day.time_ms, day.missed, day.lost_books), (ms + 77, 0, 0));
    assert_eq!(day.trades.len(), 4);
}

#[test]
fn a_day_that_was_joined_late_has_trades_and_no_book() {
    let mut day = Day::new(table(4, 0));
    day.reader.begin(false);
    day.take(&add(AAPL, 1, b'B', 100, 1_000_000)).unwrap();
    day.take(&executed(1, 10, 900, OPEN_NS + 1)).unwrap();
    day.take(&executed(55, 10, 901, OPEN_NS + 2)).unwrap();
    assert_eq!((day.trades.len(), day.missed, day.book.is_some(), day.quotes.len()), (1, 1, false, 0));
    // The next session begins with its first message.
    day.reader.begin(true);
    day.take(&add(AAPL, 1, b'B', 100, 1_000_000)).unwrap();
    assert_eq!(day.levels(BookSide::Bid), [(1_000_000, 100)]);
    // A loss ends the book for the rest of the session.
    day.reader.lost();
    day.take(&add(AAPL, 2, b'B', 7, 1_000_000)).unwrap();
    assert_eq!(day.levels(BookSide::Bid), [(1_000_000, 100)], "nothing more is told of it");
}

#[test]
fn what_contradicts_itself_or_cannot_be_read_is_told() {
    let mut day = Day::whole();
    day.take(&add(AAPL, 1, b'B', 100, 1_000_000)).unwrap();
    assert!(day.book.is_some());
    day.take(&executed(9, 1, 900, OPEN_NS)).unwrap();
    assert_eq!((day.missed, day.lost_books), (1, 1), "an order that never was");
    for mut message in [executed(1, 1, 901, OPEN_NS), hidden(1, 1, 902), cross(1, 1, 903)] {
        message.pop();
        assert!(day.take(&message).is_err());
    }
    assert_eq!(day.missed, 4);
    for bytes in [&[][..], b"A", b"A\0\x07", b"A\0\x07\0\0\xff\xff\xff\xff\xff\xff"] {
        assert!(day.take(bytes).is_err(), "{bytes:?}");
    }
}

/// A halted stock's book may be crossed: it is not shown, and comes back whole.
#[test]
fn a_crossed_book_is_told_anew_when_it_is_not() {
    let mut day = Day::whole();
    for message in [
        add(AAPL, 1, b'B', 100, 1_000_000),
        add(AAPL, 2, b'S', 200, 1_000_100),
        add(AAPL, 3, b'B', 10, 1_000_200),
        add(AAPL, 4, b'B', 20, 999_000),
    ] {
        day.take(&message).unwrap();
    }
    assert!(day.book.is_none() && day.lost_books == 1);
    day.take(&executed(3, 10, 900, OPEN_NS + 30_000_000)).unwrap();
    assert_eq!(day.levels(BookSide::Bid), [(1_000_000, 100), (999_000, 20)]);
    assert_eq!(day.levels(BookSide::Ask), [(1_000_100, 200)]);
    assert_eq!(day.quotes.len(), 2, "the best is said again, too");
}

#[test]
fn numbers_are_scaled_or_refused() {
    let mut day = Day::new(table(6, 2));
    day.reader.begin(true);
    day.take(&add(AAPL, 1, b'B', 100, 1_000_000)).unwrap();
    assert_eq!(day.levels(BookSide::Bid), [(100_000_000, 10_000)]);
    let mut day = Day::new(table(2, 0));
    day.reader.begin(true);
    day.take(&hidden(1, 1_000_100, 1)).unwrap();
    assert_eq!(day.trades[0].1, 10_001);
    assert!(day.take(&hidden(1, 1_000_101, 2)).is_err(), "it is not rounded");
    assert_eq!(day.missed, 1);
}

#[test]
fn a_session_past_midnight_and_the_next_day_are_placed() {
    let mut day = Day::whole();
    day.take(&head_system(86_399_000_000_000)).unwrap();
    assert_eq!(day.time_ms, MIDNIGHT_MS + 86_399_000);
    day.take(&head_system(1_000_000_000)).unwrap();
    assert_eq!(day.time_ms, MIDNIGHT_MS + 86_401_000, "it goes on on the next day");
    // A day that is told is the next session's.
    let later = MIDNIGHT_MS + 3 * 86_400_000;
    day.reader.day(later);
    day.take(&head_system(2_000_000_000)).unwrap();
    assert_eq!(day.time_ms, MIDNIGHT_MS + 86_402_000);
    day.reader.begin(true);
    day.take(&head_system(1_000_000_000)).unwrap();
    assert_eq!(day.time_ms, later + 1_000);
}

fn head_system(time_ns: u64) -> Vec<u8> {
    [head(b'S', 0, time_ns), vec![b'Q']].concat()
}

/// Under a new configuration the books of old and new stocks are there, whole.
#[test]
fn another_table_keeps_the_session() {
    let mut day = Day::new(Instruments::default());
    assert!(day.reader.keeps_session());
    day.reader.begin(true);
    let mut old = Instruments::default();
    old.add(Instrument::new(Venue::Itch, "AAPL"));
    day.reader.prepare(&old);
    let ignore = |message: &[u8], reader: &mut Box<dyn Decoder>| {
        reader.decode(message, &old, &mut |_| {}).unwrap();
    };
    ignore(&directory(AAPL, "AAPL"), &mut day.reader);
    ignore(&add(AAPL, 1, b'B', 100, 1_000_000), &mut day.reader);
    day.table = table(4, 0);
    day.reader.prepare(&day.table);
    day.take(&add(AAPL, 2, b'S', 200, 1_000_100)).unwrap();
    assert_eq!(day.levels(BookSide::Bid), [(1_000_000, 100)]);
    assert_eq!(day.levels(BookSide::Ask), [(1_000_100, 200)]);
}

/// The orders of a stock that nobody asked for were not kept.
#[test]
fn a_stock_that_is_added_later_has_trades_and_no_book() {
    let mut none = Instruments::default();
    none.add(Instrument::new(Venue::Itch, "MSFT"));
    let mut day = Day::new(none);
    day.reader.begin(true);
    day.take(&directory(AAPL, "AAPL")).unwrap();
    day.take(&add(AAPL, 1, b'B', 100, 1_000_000)).unwrap();
    day.table = table(4, 0);
    day.reader.prepare(&day.table);
    day.take(&add(AAPL, 2, b'S', 200, 1_000_100)).unwrap();
    day.take(&executed(2, 10, 900, OPEN_NS + 30_000_000)).unwrap();
    assert_eq!((day.trades.len(), day.book.is_some(), day.quotes.len()), (1, false, 0));
    day.take(&executed(1, 10, 901, OPEN_NS + 30_000_000)).unwrap();
    assert_eq!((day.trades.len(), day.missed), (1, 1));
}

#[test]
fn no_message_takes_memory() {
    let mut reader = Venue::Itch.protocol().decoder();
    let table = table(4, 0);
    reader.prepare(&table);
    reader.begin(true);
    let messages: Vec<_> = (1..2_000)
        .flat_map(|n| {
            let price = 1_000_000 + n as u32 % 40;
            [add(AAPL, n, b'S', 100, price), executed(n, 99, n, OPEN_NS + n), hidden(1, price, n)]
        })
        .chain([directory(OTHER, "MSFT"), add(OTHER, 5_000, b'B', 1, 1), cross(1, 1, 1), b"A".to_vec()])
        .collect();
    let mut said = 0;
    let info = allocation_counter::measure(|| {
        for message in &messages {
            let _ = reader.decode(message, &table, &mut |_| said += 1);
        }
        reader.lost();
        reader.begin(false);
    });
    assert_eq!(info.count_total, 0);
    assert!(said > messages.len(), "{said}");
}

proptest::proptest! {
    #[test]
    fn no_bytes_do_harm(messages in proptest::collection::vec(
        (proptest::sample::select(b"SRHAFECXDUPQB?".to_vec()), proptest::collection::vec(proptest::arbitrary::any::<u8>(), 0..50)), 0..60,
    )) {
        let mut reader = small_reader();
        let table = table(18, 18);
        reader.prepare(&table);
        reader.begin(true);
        for (kind, mut bytes) in messages {
            bytes.insert(0, kind);
            if bytes.len() > 3 {
                (bytes[1], bytes[2]) = (0, bytes[2] % 4);
            }
            let mut levels = 0;
            let _ = reader.decode(&bytes, &table, &mut |message| {
                if let Message::Book { change, .. } = message {
                    Levels::for_each(&change.levels, |_, _| levels += 1);
                }
            });
        }
    }
}

fn small_reader() -> Box<dyn Decoder> {
    Venue::Itch.protocol().decoder()
}
