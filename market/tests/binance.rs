//! Binance frames: what each kind decodes to, and that no text whatever does harm.

use market::binance::decode;
use market::{BookSide, DecodeError, Levels, Message};
use market::{Instrument, InstrumentId, Instruments, Ohlc, Quote, Side, Timeframe, Trade, Venue};
use proptest::prelude::*;

const TRADE: &str = r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}"#;
const AGG_TRADE: &str = r#"{"e":"aggTrade","E":1672515782136,"s":"BTCUSDT","a":12345,"p":"0.001","q":"100","f":100,"l":105,"T":1672515782130,"m":false,"M":true}"#;
const KLINE: &str = r#"{"stream":"btcusdt@kline_1m","data":{"e":"kline","E":1672515782136,"s":"BTCUSDT","k":{"t":1672515780000,"T":1672515839999,"s":"BTCUSDT","i":"1m","f":-1,"L":-1,"o":"0.0010","c":"0.0020","h":"0.0025","l":"0.0015","v":"1000","n":0,"x":false,"q":"1.0000","V":"500","Q":"0.500","B":"123456"}}}"#;
const DEPTH: &str = r#"{"e":"depthUpdate","E":1672515782136,"s":"BTCUSDT","U":157,"u":160,"b":[["0.0024","10"]],"a":[["0.0026","100"],["0.0027","0.00000000"]]}"#;
const TICKER: &str = r#"{"stream":"btcusdt@bookTicker","data":{"u":50093239212,"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000","a":"61837.64000000","A":"1.54698000"}}"#;
const SNAPSHOT: &str = r#"{"lastUpdateId":160,"bids":[["0.0024","10",[]]],"asks":[["0.0026","100",[]]]}"#;
const ALL: [&str; 6] = [TRADE, AGG_TRADE, KLINE, DEPTH, TICKER, SNAPSHOT];

const BTC: InstrumentId = InstrumentId(0);

fn table() -> Instruments {
    let mut table = Instruments::default();
    table.add(Instrument::new(Venue::Binance, "BTCUSDT"));
    table
}

fn read(frame: &str) -> Result<Message<'_>, DecodeError> {
    decode(frame.as_bytes(), &table())
}

fn listed(levels: &Levels<'_>) -> Vec<(BookSide, i64, i64)> {
    let mut list = Vec::new();
    levels.for_each(|side, level| list.push((side, level.price, level.qty)));
    list
}

#[test]
fn trades() {
    let trade = Trade {
        first_id: 3735683259,
        last_id: 3735683259,
        time_ms: 1723161255342,
        price: 61837_63000000,
        qty: 2000000,
        taker: Side::Sell,
    };
    assert_eq!(
        read(TRADE),
        Ok(Message::Trade { instrument: BTC, event_ms: 1723161255343, trade, is_past: false })
    );
    let Ok(Message::Trade { trade, .. }) = read(AGG_TRADE) else { panic!("not a trade") };
    assert_eq!((trade.first_id, trade.last_id, trade.count(), trade.taker), (100, 105, 6, Side::Buy));
}

#[test]
fn quotes_klines_and_depth() {
    let quote =
        Quote { bid_price: 6183763000000, bid_qty: 378826000, ask_price: 6183764000000, ask_qty: 154698000 };
    assert_eq!(
        read(TICKER),
        Ok(Message::Quote { instrument: BTC, update_id: 50093239212, event_ms: None, quote })
    );

    let Ok(Message::Kline { kline, .. }) = read(KLINE) else { panic!("not a kline") };
    assert_eq!((kline.timeframe, kline.closed, kline.trades), (Timeframe::M1, false, Some(0)));
    assert_eq!((kline.first_id, kline.last_id), (None, None));
    assert_eq!(kline.ohlc, Ohlc { open: 100_000, high: 250_000, low: 150_000, close: 200_000 });

    let Ok(Message::Book { instrument: BTC, event_ms: Some(1672515782136), change }) = read(DEPTH) else {
        panic!("not a depth update")
    };
    assert_eq!((change.is_snapshot, change.ids), (false, Some((157, 160))));
    let (bid, ask) = (BookSide::Bid, BookSide::Ask);
    assert_eq!(
        listed(&change.levels),
        [(bid, 240_000, 1_000_000_000), (ask, 260_000, 10_000_000_000), (ask, 270_000, 0)]
    );
}

/// Neither names its symbol: a partial book is known by its stream, an answer of REST if there is one instrument.
#[test]
fn whole_books() {
    let Ok(Message::Book { instrument: BTC, event_ms: None, change }) = read(SNAPSHOT) else {
        panic!("not a snapshot")
    };
    assert_eq!((change.is_snapshot, change.ids), (true, Some((160, 160))));
    assert_eq!(
        listed(&change.levels),
        [(BookSide::Bid, 240_000, 1_000_000_000), (BookSide::Ask, 260_000, 10_000_000_000)]
    );
    let top = |symbol: &str| format!(r#"{{"stream":"{symbol}@depth20","data":{SNAPSHOT}}}"#);
    let frame = top("btcusdt");
    let Ok(Message::BookTop { instrument: BTC, update_id: 160, levels }) = read(&frame) else {
        panic!("not a partial book")
    };
    assert_eq!(listed(&levels).len(), 2);
    assert_eq!(read(&top("ethusdt")), Ok(Message::UnknownSymbol(b"ethusdt@depth20")));
    let mut two = table();
    two.add(Instrument::new(Venue::Binance, "ETHUSDT"));
    assert_eq!(decode(SNAPSHOT.as_bytes(), &two), Ok(Message::Unknown));
}

#[test]
fn answers_and_strangers() {
    assert_eq!(read(r#"{"result":null,"id":1}"#), Ok(Message::Acknowledged));
    assert!(
        matches!(read(r#"{"error":{"code":2,"msg":"no"},"id":1}"#), Ok(Message::Refused(b)) if b.starts_with(b"{"))
    );
    assert_eq!(read(r#"{"e":"serverShutdown","E":1770123456789}"#), Ok(Message::ServerShutdown));
    assert_eq!(read(r#"{"e":"avgPrice","s":"BTCUSDT","w":"1"}"#), Ok(Message::Unknown));
    assert_eq!(read(r#"{"something":"else"}"#), Ok(Message::Unknown));
    assert_eq!(read("[1,2]"), Ok(Message::Unknown));
    assert_eq!(read(&TRADE.replace("\"BTCUSDT\"", "\"ETHUSDT\"")), Ok(Message::UnknownSymbol(b"ETHUSDT")));
}

/// Each breakage names its reason and its byte, which `|` marks here.
#[test]
fn malformed_frames_say_where_and_why() {
    const PRICE: &str = r#""p":"61837.63000000""#;
    for (from, to, reason) in [
        (PRICE, r#""p":"|-1.0""#, "the number is negative"),
        (PRICE, r#""p":"|0.0""#, "a trade has a price and a quantity above zero"),
        (PRICE, r#""p":"|1e5""#, "this is not a plain decimal number"),
        (PRICE, r#""p":"|1.000000001""#, "the number has more decimal places than the instrument"),
        (PRICE, r#""p":"|99999999999999""#, "the number is too large for the instrument's scale"),
        (
            r#""T":1723161255342"#,
            r#""T":|1723161255342000"#,
            "the time is not in milliseconds since 1970, or from the year 2100 on",
        ),
        (r#""m":true"#, r#""m":|1"#, "expected true or false"),
        (r#""t":3735683259"#, r#""t":|-5"#, "expected a whole number of 64 bits"),
        (r#""t":3735683259"#, r#""t":|18446744073709551615"#, "the trade ids are out of order"),
        ("true}}", "true}|", "expected ',' or '}'"),
        ("true}}", "true}}|x", "expected the end of the text"),
        (
            r#""p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}"#,
            r#""q":"1","T":1,"m":true}}|"#,
            "the price 'p' is missing",
        ),
    ] {
        let marked = TRADE.replace(from, to);
        let offset = marked.find('|').unwrap();
        let frame = marked.replace('|', "");
        let error = read(&frame).unwrap_err();
        assert_eq!(error.to_string(), format!("byte {offset}: {reason}"), "{frame}");
        assert_eq!(error.offset(), offset);
    }
    let level = DEPTH.replace("\"0.0027\"", "\"x\"");
    assert_eq!(read(&level).unwrap_err().offset(), level.find('x').unwrap());
    let vast = TRADE.replace("61837.63000000", "90000000000").replace("0.02000000", "90000000000");
    assert!(read(&vast).unwrap_err().to_string().contains("beyond any market"));
}

/// An instrument's own digits bound its numbers.
#[test]
fn numbers_are_read_at_the_instruments_scale() {
    let mut table = Instruments::default();
    table.add(Instrument { price_digits: 2, qty_digits: 5, ..Instrument::new(Venue::Binance, "BTCUSDT") });
    let Ok(Message::Trade { trade, .. }) = decode(TRADE.as_bytes(), &table) else { panic!("not a trade") };
    assert_eq!((trade.price, trade.qty), (6183763, 2000));
    let finer = TRADE.replace("61837.63000000", "61837.63100000");
    assert!(decode(finer.as_bytes(), &table).is_err());
}

#[test]
fn the_order_of_fields_does_not_matter() {
    let turned = r#"{"data":{"m":true,"T":1723161255342,"q":"0.02000000","p":"61837.63000000","t":3735683259,"s":"BTCUSDT","E":1723161255343,"e":"trade"},"stream":"x"}"#;
    assert_eq!(read(turned), read(TRADE));
    let spaced = TRADE.replace(':', " : ").replace(',', " ,\n");
    assert_eq!(read(&spaced), read(TRADE));
}

proptest! {
    #[test]
    fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes, &table());
    }

    /// Damage anywhere: never a panic, and an error lies within the frame.
    #[test]
    fn no_damage_does_harm(which in 0..ALL.len(), edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut in any::<prop::sample::Index>()) {
        let mut frame = ALL[which].as_bytes().to_vec();
        for (at, byte) in edits {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        for frame in [&frame[..], &frame[..cut.index(frame.len())]] {
            match decode(frame, &table()) {
                Err(error) => prop_assert!(error.offset() <= frame.len()),
                Ok(Message::Book { change, .. }) => {
                    listed(&change.levels);
                }
                Ok(_) => {}
            }
        }
    }
}

#[test]
fn every_cut_of_every_frame_is_an_error() {
    for frame in ALL {
        for end in 0..frame.len() {
            assert!(decode(&frame.as_bytes()[..end], &table()).is_err(), "{}", &frame[..end]);
        }
    }
}
