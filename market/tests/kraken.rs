//! Kraken frames: what each kind decodes to, the documentation's checksum, and that no text whatever does harm.

mod common;

use common::frames::kraken::{ACK, ALL, BOOK, HEARTBEAT, OHLC, REFUSED, STATUS, TICKER, TRADES};
use common::{Refusal, decode, digits, every_cut_is_refused_or_smaller, listed, no_damage};
use market::kraken::{Kraken, KrakenDecoder, checksum};
use market::protocol::{BookProof, Decoder, Protocol};
use market::{
    Book, BookSide, DecodeError, Instrument, InstrumentId, Instruments, Kline, Level, Message, Ohlc, Quote,
    Scale, Side, Timeframe, Trade, Venue,
};
use proptest::prelude::*;

/// The worked example of Kraken's "Book checksum (WebSocket v2)", whose checksum is 3310070434: prices and quantities.
const DOCUMENTED_BIDS: [(&str, &str); 10] = [
    ("45283.5", "0.10000000"),
    ("45283.4", "1.54582015"),
    ("45282.1", "0.10000000"),
    ("45281.0", "0.10000000"),
    ("45280.3", "1.54592586"),
    ("45279.0", "0.07990000"),
    ("45277.6", "0.03310103"),
    ("45277.5", "0.30000000"),
    ("45277.3", "1.54602737"),
    ("45276.6", "0.15445238"),
];
const DOCUMENTED_ASKS: [(&str, &str); 10] = [
    ("45285.2", "0.00100000"),
    ("45286.4", "1.54571953"),
    ("45286.6", "1.54571109"),
    ("45289.6", "1.54560911"),
    ("45290.2", "0.15890660"),
    ("45291.8", "1.54553491"),
    ("45294.7", "0.04454749"),
    ("45296.1", "0.35380000"),
    ("45297.5", "0.09945542"),
    ("45299.5", "0.18772827"),
];

const BTC: InstrumentId = InstrumentId(0);
const ALIVE: Message<'static> = Message::Alive { instrument: None, event_ms: None, last_trade_id: None };

fn table() -> Instruments {
    let mut table = Instruments::default();
    table.add(Instrument { price_digits: 1, ..Instrument::new(Venue::Kraken, "BTC/USD") });
    table
}

fn read(frame: &str) -> Result<Vec<Message<'_>>, DecodeError> {
    decode(Box::leak(Box::<KrakenDecoder>::default()), frame.as_bytes(), &table())
}

/// All of a frame's trades come in the order of their numbers, and those of a snapshot are past.
#[test]
fn trades() {
    let time_ms = 1_787_419_853_355;
    let message = |id, price, qty, taker, is_past| Message::Trade {
        instrument: BTC,
        event_ms: time_ms,
        trade: Trade { first_id: id, last_id: id, time_ms, price, qty, taker },
        is_past,
    };
    let expected = |is_past| {
        vec![
            message(11, 771_200, 100_000_000, Side::Buy, is_past),
            message(12, 771_201, 48_389, Side::Sell, is_past),
        ]
    };
    assert_eq!(read(TRADES), Ok(expected(false)));
    assert_eq!(read(&TRADES.replace("update", "snapshot")), Ok(expected(true)));
}

#[test]
fn books_keep_how_their_numbers_were_printed() {
    let messages = read(BOOK).unwrap();
    let [Message::Book { instrument: BTC, event_ms: Some(1_786_923_423_745), change }] = &messages[..] else {
        panic!("not a change of the book: {messages:?}")
    };
    assert_eq!((change.is_snapshot, change.ids, change.checksum), (false, None, Some(4_249_465_476)));
    let mut levels = Vec::new();
    change.levels.for_each(|side, level| levels.push((side, level)));
    let level = |price, qty, printed| Level { price, qty, printed };
    assert_eq!(
        levels,
        [
            (BookSide::Bid, level(628_070, 0, [1, 8])),
            (BookSide::Bid, level(628_069, 65_540_712, [1, 8])),
            (BookSide::Ask, level(628_188, 150_000_000, [1, 1])),
        ]
    );
    let snapshot =
        BOOK.replace("update", "snapshot").replace(r#","timestamp":"2026-08-16T23:37:03.745044Z""#, "");
    let messages = read(&snapshot).unwrap();
    assert!(
        matches!(&messages[..], [Message::Book { event_ms: None, change, .. }] if change.is_snapshot),
        "{messages:?}"
    );
}

#[test]
fn quotes_and_candles() {
    let quote = Quote { bid_price: 1, bid_qty: 74_000_000_000, ask_price: 1003, ask_qty: 712 };
    assert_eq!(
        read(TICKER),
        Ok(vec![Message::Quote { instrument: BTC, update_id: 0, event_ms: None, quote }])
    );
    let kline = |open_ms, closed, ohlc, volume, trades| Message::Kline {
        instrument: BTC,
        event_ms: 1_696_436_790_524,
        kline: Kline {
            timeframe: Timeframe::M5,
            open_ms,
            closed,
            ohlc,
            volume,
            taker_buy_volume: None,
            trades: Some(trades),
            first_id: None,
            last_id: None,
        },
    };
    let first = Ohlc { open: 5, high: 6, low: 4, close: 5 };
    assert_eq!(
        read(OHLC),
        Ok(vec![
            kline(1_696_436_400_000, true, first, 3_092_768_066_226, 12),
            kline(1_696_436_700_000, false, Ohlc::flat(5), 0, 0),
        ])
    );
    // Lengths that are not ours, and candles that begin elsewhere, cannot be compared.
    let foreign = OHLC.replace(r#""interval":5"#, r#""interval":21600"#);
    assert_eq!(read(&foreign), Ok(vec![Message::Unknown, Message::Unknown]));
    let shifted = OHLC.replace(r#""interval":5"#, r#""interval":10080"#);
    assert_eq!(read(&shifted), Ok(vec![Message::Unknown, Message::Unknown]));
}

#[test]
fn answers_and_strangers() {
    assert_eq!(read(HEARTBEAT), Ok(vec![ALIVE]));
    assert_eq!(read(STATUS), Ok(vec![ALIVE]));
    assert_eq!(read(r#"{"method":"pong","time_in":"x","time_out":"y"}"#), Ok(vec![ALIVE]));
    assert_eq!(read(ACK), Ok(vec![Message::Acknowledged]));
    assert_eq!(read(REFUSED), Ok(vec![Message::Refused(b"Subscription depth not supported")]));
    let mute = r#"{"method":"subscribe","success":false}"#;
    assert_eq!(read(mute), Ok(vec![Message::Refused(mute.as_bytes())]));
    for unknown in [r#"{"channel":"instrument","type":"snapshot","data":{}}"#, r#"{"x":1}"#, "[1,2]", "{}"] {
        assert_eq!(read(unknown), Ok(vec![Message::Unknown]), "{unknown}");
    }
    let strangers = TRADES.replace("BTC/USD", "ETH/USD");
    assert_eq!(read(&strangers), Ok(vec![Message::UnknownSymbol(b"ETH/USD"); 2]));
}

#[test]
fn the_documented_checksum() {
    let scale = Scale { price_digits: 3, qty_digits: 9 };
    let mut book = Book::new(100);
    for (side, levels) in [(BookSide::Bid, DOCUMENTED_BIDS), (BookSide::Ask, DOCUMENTED_ASKS)] {
        for (price, qty) in levels {
            let level = Level { price: digits(price, 3), qty: digits(qty, 9), printed: [1, 8] };
            book.set(side, level);
        }
    }
    assert_eq!(checksum(&book, scale), 3_310_070_434);
    // What lies beyond the tenth level does not count; what is within does.
    book.set(BookSide::Bid, Level { price: 1, qty: 1, printed: [1, 8] });
    assert_eq!(checksum(&book, scale), 3_310_070_434);
    book.set(BookSide::Bid, Level { price: digits("45283.6", 3), qty: 1, printed: [1, 8] });
    assert_ne!(checksum(&book, scale), 3_310_070_434);
    let BookProof::Checksum { depth, of } = Kraken.proof().book else { panic!("not by checksum") };
    assert!([10, 25, 100, 500, 1_000].contains(&depth), "{depth} is refused");
    assert_eq!(of(&book, scale), checksum(&book, scale));
}

/// Each breakage names its reason and its byte, which `|` marks here.
#[test]
fn malformed_frames_say_where_and_why() {
    let refusals: &[Refusal<'_>] = &[
        (TRADES, "77120.1", "|-1.0", "the number is negative"),
        (TRADES, "77120.1", "|0.0", "a trade has a price and a quantity above zero"),
        (TRADES, "77120.1", "|1.01", "the number has more decimal places than the instrument"),
        (TRADES, "77120.1", "|1e-2", "the number has more decimal places than the instrument"),
        (TRADES, "77120.1", "|null", "this is not a plain decimal number"),
        (TRADES, "77120.1", "|1e300", "the number is too large for the instrument's scale"),
        (TRADES, "77120.1", "|99999999999999999999", "the number is too large for the instrument's scale"),
        (TRADES, r#""side":"sell""#, r#""side":"|maybe""#, "the side is neither buy nor sell"),
        (TRADES, r#""trade_id":12"#, r#""trade_id":|1.5"#, "expected a whole number of 64 bits"),
        (TRADES, r#""trade_id":12"#, r#""trade_id":|18446744073709551615"#, "the trade ids are out of order"),
        (TRADES, "2026-08-22T", "|2026-08-32T", "this is no time of RFC 3339 between 1970 and 2100"),
        (TRADES, r#""update""#, r#""|news""#, "the type is neither snapshot nor update"),
        (
            TRADES,
            r#","trade_id":12,"timestamp":"2026-08-22T17:30:53.355059Z"}"#,
            "}|",
            "the trade_id is missing",
        ),
        (TRADES, r#""data":"#, r#""date":"#, "the data are missing"),
        (TRADES, "}]}", "}]|", "expected ',' or '}'"),
        (TRADES, "}]}", "}]}|x", "expected the end of the text"),
        (BOOK, "62818.8", "|62818.88", "the number has more decimal places than the instrument"),
        (BOOK, r#""price":62818.8,"qty":1.5}"#, r#""qty":1.5}|"#, "the price of a level is missing"),
        (BOOK, "4249465476", "|4294967296", "the checksum has more than 32 bits"),
        (BOOK, r#"[{"price":62818.8,"qty":1.5}]"#, "|{}", "expected an array"),
        (TICKER, r#""bid":0.1"#, r#""bid":|-0.1"#, "the number is negative"),
        (OHLC, r#""trades":12"#, r#""trades":|-12"#, "expected a whole number of 64 bits"),
    ];
    for refusal in refusals {
        common::is_refused(Box::leak(Box::<KrakenDecoder>::default()), &table(), refusal);
    }
}

/// A frame's trades before a flaw are told, in order; nothing is left over for the next frame.
#[test]
fn a_flaw_leaves_nothing_behind() {
    let mut decoder = KrakenDecoder::default();
    let flawed = TRADES.replace("77120.0", "-1");
    let mut seen = 0;
    let result = decoder.decode(flawed.as_bytes(), &table(), &mut |_| seen += 1);
    assert!(result.is_err());
    assert_eq!(seen, 1);
    assert_eq!(decode(&mut decoder, HEARTBEAT.as_bytes(), &table()), Ok(vec![ALIVE]));
    assert_eq!(decode(&mut decoder, TRADES.as_bytes(), &table()).unwrap().len(), 2);
}

#[test]
fn the_order_of_fields_does_not_matter() {
    let turned = r#"{"data":[{"timestamp":"2026-08-16T23:37:03.745044Z","checksum":4249465476,"asks":[{"qty":1.5,"new":[{}],"price":62818.8}],"bids":[{"qty":0.00000000,"price":62807.0},{"qty":0.65540712,"price":62806.9}],"symbol":"BTC/USD","more":{"a":[1]}}],"type":"update","channel":"book"}"#;
    assert_eq!(read(turned), read(BOOK));
    let spaced = TRADES.replace("\":", "\" : ").replace(",\"", " ,\n\"");
    assert_eq!(read(&spaced), read(TRADES));
    let strings = BOOK.replace("62818.8", "\"62818.8\"").replace("4249465476", "\"4249465476\"");
    assert_eq!(read(&strings), read(BOOK));
    assert_eq!(listed(&read(BOOK).unwrap()).len(), 3);
}

proptest! {
    #[test]
    fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(Box::leak(Box::<KrakenDecoder>::default()), &bytes, &table());
    }

    #[test]
    fn no_damage_does_harm(damage in common::damage(&ALL)) {
        no_damage(Box::leak(Box::<KrakenDecoder>::default()), &table(), &damage)?;
    }
}

#[test]
fn every_cut_of_every_frame_is_an_error() {
    for frame in ALL {
        every_cut_is_refused_or_smaller(Box::leak(Box::<KrakenDecoder>::default()), &table(), frame);
    }
}
