//! Coinbase Exchange frames: what each kind decodes to, and that no text whatever does harm.

mod common;

use common::frames::coinbase::{ALL, ERROR, HEARTBEAT, MATCH, SNAPSHOT, SUBSCRIPTIONS, TICKER, UPDATE};
use common::{Refusal, every_cut_is_refused_or_smaller, listed, no_damage};
use market::coinbase::{CoinbaseDecoder, decode};
use market::{
    BookSide, DecodeError, Instrument, InstrumentId, Instruments, Message, Quote, Side, Trade, Venue,
};
use proptest::prelude::*;

const SKL: InstrumentId = InstrumentId(0);

fn table() -> Instruments {
    let mut table = Instruments::default();
    table.add(Instrument { qty_digits: 1, ..Instrument::new(Venue::Coinbase, "SKL-BTC") });
    table
}

fn read(frame: &str) -> Result<Message<'_>, DecodeError> {
    decode(frame.as_bytes(), &table())
}

/// A match tells the maker's side: who took is on the other one.
#[test]
fn trades() {
    let time_ms = 1_618_677_817_089;
    let message = |taker, is_past| Message::Trade {
        instrument: SKL,
        event_ms: time_ms,
        trade: Trade { first_id: 280_232, last_id: 280_232, time_ms, price: 1305, qty: 9850, taker },
        is_past,
    };
    assert_eq!(read(MATCH), Ok(message(Side::Buy, false)));
    assert_eq!(read(&MATCH.replace("\"sell\"", "\"buy\"")), Ok(message(Side::Sell, false)));
    assert_eq!(read(&MATCH.replace("match", "last_match")), Ok(message(Side::Buy, true)));
}

#[test]
fn quotes_and_heartbeats() {
    let quote = |bid_qty, ask_qty| Message::Quote {
        instrument: SKL,
        update_id: 0,
        event_ms: Some(1_618_677_817_089),
        quote: Quote { bid_price: 1303, bid_qty, ask_price: 1305, ask_qty },
    };
    assert_eq!(read(TICKER), Ok(quote(125, 9851)));
    let old = TICKER.replace(r#""best_bid_size":"12.5","#, "").replace(r#""best_ask_size":"985.1","#, "");
    assert_eq!(read(&old), Ok(quote(0, 0)));
    let alive = |last_trade_id| Message::Alive {
        instrument: Some(SKL),
        event_ms: Some(1_415_348_368_464),
        last_trade_id,
    };
    assert_eq!(read(HEARTBEAT), Ok(alive(Some(20))));
    assert_eq!(read(&HEARTBEAT.replace(":20,", ":0,")), Ok(alive(None)));
}

#[test]
fn books() {
    let (bid, ask) = (BookSide::Bid, BookSide::Ask);
    let Ok(Message::Book { instrument: SKL, event_ms: None, change }) = read(SNAPSHOT) else {
        panic!("not a snapshot")
    };
    assert_eq!((change.is_snapshot, change.ids, change.checksum), (true, None, None));
    assert_eq!(
        listed(&[read(SNAPSHOT).unwrap()]),
        [(bid, 1302, 70), (ask, 1305, 47_810), (ask, 1306, 12_305)]
    );
    let Ok(Message::Book { instrument: SKL, event_ms: Some(1_618_677_817_075), change }) = read(UPDATE)
    else {
        panic!("not a change")
    };
    assert!(!change.is_snapshot);
    assert_eq!(listed(&[read(UPDATE).unwrap()]), [(ask, 1306, 6605), (bid, 1302, 0)]);
}

#[test]
fn answers_and_strangers() {
    assert_eq!(read(SUBSCRIPTIONS), Ok(Message::Acknowledged));
    assert_eq!(read(ERROR), Ok(Message::Refused(ERROR.as_bytes())));
    for unknown in [r#"{"type":"status","products":[]}"#, r#"{"x":1}"#, "[1,2]", "{}", r#"{"type":7}"#] {
        assert_eq!(read(unknown), Ok(Message::Unknown), "{unknown}");
    }
    assert_eq!(read(&UPDATE.replace("SKL-BTC", "ETH-USD")), Ok(Message::UnknownSymbol(b"ETH-USD")));
}

/// Each breakage names its reason and its byte, which `|` marks here.
#[test]
fn malformed_frames_say_where_and_why() {
    let refusals: &[Refusal<'_>] = &[
        (MATCH, r#""985""#, r#""|-1""#, "the number is negative"),
        (
            MATCH,
            r#""price":"0.00001305""#,
            r#""price":"|0.0""#,
            "a trade has a price and a quantity above zero",
        ),
        (MATCH, "985", "|0.25", "the number has more decimal places than the instrument"),
        (MATCH, "985", "|x", "this is not a plain decimal number"),
        (MATCH, r#""sell""#, r#""|hold""#, "the side is neither buy nor sell"),
        (MATCH, "280232", "|-1", "expected a whole number of 64 bits"),
        (MATCH, "280232", "|18446744073709551615", "the trade ids are out of order"),
        (MATCH, "2021-04-17T", "|2021-04-17_", "this is no time of RFC 3339 between 1970 and 2100"),
        (MATCH, r#","time":"2021-04-17T16:43:37.089723Z"}"#, "}|", "the time is missing"),
        (MATCH, r#""product_id":"#, r#""product":"#, "the product_id is missing"),
        (MATCH, "3Z\"}", "3Z\"|", "expected ',' or '}'"),
        (MATCH, "3Z\"}", "3Z\"}|x", "expected the end of the text"),
        (TICKER, r#""best_bid":"#, r#""best":"#, "the best_bid is missing"),
        (HEARTBEAT, "\"last_trade_id\":20", "\"last_trade_id\":|null", "expected a whole number of 64 bits"),
        (SNAPSHOT, "1230.5", "|1230.55", "the number has more decimal places than the instrument"),
        (SNAPSHOT, r#""bids":[["0.00001302","7"]]"#, r#""bids":|{}"#, "expected an array"),
        (UPDATE, "660.5", "|6e1", "this is not a plain decimal number"),
        (UPDATE, r#""sell""#, r#""|hold""#, "the side is neither buy nor sell"),
        (UPDATE, r#","660.5""#, "|", "expected ','"),
        (UPDATE, r#""660.5"]"#, r#""660.5"|,"1"]"#, "expected ']'"),
    ];
    for refusal in refusals {
        common::is_refused(&mut CoinbaseDecoder, &table(), refusal);
    }
}

#[test]
fn the_order_of_fields_does_not_matter() {
    let turned = r#"{"time":"2021-04-17T16:43:37.089723Z","new":{"a":[1]},"price":"0.00001305","size":"985","side":"sell","trade_id":280232,"product_id":"SKL-BTC","type":"match"}"#;
    assert_eq!(read(turned), read(MATCH));
    for frame in ALL {
        let spaced = frame.replace("\":", "\" : ").replace(",\"", " ,\n\"");
        if frame != ERROR {
            assert_eq!(read(&spaced), read(frame)); // A refusal is told as it stands.
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes, &table());
    }

    #[test]
    fn no_damage_does_harm(damage in common::damage(&ALL)) {
        no_damage(&mut CoinbaseDecoder, &table(), &damage)?;
    }
}

#[test]
fn every_cut_of_every_frame_is_an_error() {
    for frame in ALL {
        every_cut_is_refused_or_smaller(&mut CoinbaseDecoder, &table(), frame);
    }
}
