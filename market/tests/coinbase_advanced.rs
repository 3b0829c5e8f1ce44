//! Coinbase Advanced Trade frames: what each kind decodes to, and that no text whatever does harm.

mod common;

use common::frames::coinbase_advanced::{
    ALL, BOOK, CANDLES, ERROR, HEARTBEAT, SNAPSHOT_TRADES, SUBSCRIPTIONS, TICKER,
};
use common::{Refusal, decode, every_cut_is_refused_or_smaller, listed, no_damage};
use market::coinbase_advanced::CoinbaseAdvancedDecoder;
use market::protocol::Decoder;
use market::{
    BookSide, DecodeError, Instrument, InstrumentId, Instruments, Kline, Message, Ohlc, Quote, Side,
    Timeframe, Trade, Venue,
};
use proptest::prelude::*;

const BTC: InstrumentId = InstrumentId(0);

fn table_of(symbols: &[&str]) -> Instruments {
    let mut table = Instruments::default();
    for symbol in symbols {
        table.add(Instrument { price_digits: 2, ..Instrument::new(Venue::CoinbaseAdvanced, *symbol) });
    }
    table
}

fn table() -> Instruments {
    table_of(&["BTC-USD"])
}

fn read(frame: &str) -> Result<Vec<Message<'_>>, DecodeError> {
    decode(Box::leak(Box::<CoinbaseAdvancedDecoder>::default()), frame.as_bytes(), &table())
}

/// A snapshot comes newest first and is told oldest first, as past; the side is the taker's.
#[test]
fn trades() {
    let message = |id, time_ms, price, qty, taker, is_past| Message::Trade {
        instrument: BTC,
        event_ms: 1_761_583_480_175,
        trade: Trade { first_id: id, last_id: id, time_ms, price, qty, taker },
        is_past,
    };
    let expected = |is_past| {
        vec![
            Message::Numbered(0),
            message(892_262_231, 1_761_583_479_500, 11_544_527, 100_000_000, Side::Sell, is_past),
            message(892_262_232, 1_761_583_479_600, 11_544_528, 15_604, Side::Buy, is_past),
        ]
    };
    assert_eq!(read(SNAPSHOT_TRADES), Ok(expected(true)));
    assert_eq!(read(&SNAPSHOT_TRADES.replace("snapshot", "update")), Ok(expected(false)));
    let bare = SNAPSHOT_TRADES.replace(r#""892262232""#, "892262232").replace(r#""client_id":"","#, "");
    assert_eq!(read(&bare), Ok(expected(true)));
    let two_events =
        SNAPSHOT_TRADES.replace(r#"},{"product_id""#, r#"}]},{"type":"update","trades":[{"product_id""#);
    let told = read(&two_events).unwrap();
    assert!(matches!(
        told[1],
        Message::Trade { is_past: false, trade: Trade { first_id: 892_262_231, .. }, .. }
    ));
    assert!(matches!(
        told[2],
        Message::Trade { is_past: true, trade: Trade { first_id: 892_262_232, .. }, .. }
    ));
}

#[test]
fn books() {
    let told = read(BOOK).unwrap();
    let [Message::Numbered(17), Message::Book { instrument: BTC, event_ms: Some(1_775_572_201_456), change }] =
        &told[..]
    else {
        panic!("not a change: {told:?}")
    };
    assert_eq!((change.is_snapshot, change.ids, change.checksum), (false, None, None));
    assert_eq!(listed(&told), [(BookSide::Bid, 6_890_000, 200_000_000), (BookSide::Ask, 6_890_100, 0)]);
    let snapshot = BOOK.replace("\"update\"", "\"snapshot\"");
    let told = read(&snapshot).unwrap();
    assert!(matches!(&told[1], Message::Book { change, .. } if change.is_snapshot));
}

#[test]
fn quotes_candles_and_heartbeats() {
    let quote =
        Quote { bid_price: 6_890_000, bid_qty: 150_000_000, ask_price: 6_890_100, ask_qty: 50_000_000 };
    let event_ms = Some(1_775_572_203_000);
    assert_eq!(
        read(TICKER),
        Ok(vec![Message::Numbered(12), Message::Quote { instrument: BTC, update_id: 0, event_ms, quote }])
    );
    let kline = Kline {
        timeframe: Timeframe::M5,
        open_ms: 1_775_521_800_000,
        closed: false,
        ohlc: Ohlc { open: 6_890_000, high: 6_895_000, low: 6_885_000, close: 6_892_050 },
        volume: 4_215_000_000,
        taker_buy_volume: None,
        trades: None,
        first_id: None,
        last_id: None,
    };
    assert_eq!(
        read(CANDLES),
        Ok(vec![
            Message::Numbered(3),
            Message::Kline { instrument: BTC, event_ms: 1_775_572_205_000, kline }
        ])
    );
    let event_ms = Some(1_687_552_316_121);
    assert_eq!(
        read(HEARTBEAT),
        Ok(vec![Message::Numbered(1), Message::Alive { instrument: None, event_ms, last_trade_id: None }])
    );
}

#[test]
fn answers_and_strangers() {
    assert_eq!(read(SUBSCRIPTIONS), Ok(vec![Message::Numbered(2), Message::Acknowledged]));
    assert_eq!(read(ERROR), Ok(vec![Message::Refused(ERROR.as_bytes())]));
    for unknown in [r#"{"x":1}"#, "[1,2]", "{}", r#"{"channel":"user","events":[]}"#, r#"{"type":"x"}"#] {
        assert_eq!(read(unknown), Ok(vec![Message::Unknown]), "{unknown}");
    }
    let numbered = r#"{"channel":"status","sequence_num":9,"events":[]}"#;
    assert_eq!(read(numbered), Ok(vec![Message::Numbered(9), Message::Unknown]));
    let strangers = BOOK.replace("BTC-USD", "ETH-USD");
    assert_eq!(read(&strangers), Ok(vec![Message::Numbered(17), Message::UnknownSymbol(b"ETH-USD")]));
}

/// What is subscribed to in USDC comes under the name in USD.
#[test]
fn products_in_usdc_are_served_under_their_usd_name() {
    let first = |symbols: &[&str]| {
        let told =
            decode(Box::leak(Box::<CoinbaseAdvancedDecoder>::default()), BOOK.as_bytes(), &table_of(symbols))
                .unwrap();
        match told[1] {
            Message::Book { instrument, .. } => Some(instrument),
            _ => None,
        }
    };
    assert_eq!(first(&["ETH-USDC", "BTC-USDC"]), Some(InstrumentId(1)));
    assert_eq!(first(&["BTC-USDC", "BTC-USD"]), Some(InstrumentId(1)), "its own name comes first");
    assert_eq!(first(&["BTC-EURC", "BTC-USDT"]), None);
    let joined = BOOK.replace("BTC-USD", "BTCUSD");
    let told = decode(
        Box::leak(Box::<CoinbaseAdvancedDecoder>::default()),
        joined.as_bytes(),
        &table_of(&["BTCUSDC"]),
    )
    .unwrap();
    assert_eq!(told[1], Message::UnknownSymbol(b"BTCUSD"));
    let long = BOOK.replace("BTC-USD", &format!("{}-USD", "X".repeat(40)));
    assert!(matches!(read(&long).unwrap()[1], Message::UnknownSymbol(_)));
}

/// Each breakage names its reason and its byte, which `|` marks here.
#[test]
fn malformed_frames_say_where_and_why() {
    let trades = SNAPSHOT_TRADES;
    let refusals: &[Refusal<'_>] = &[
        (trades, r#""size":"1""#, r#""size":"|-1""#, "the number is negative"),
        (trades, r#""size":"1""#, r#""size":"|1.""#, "this is not a plain decimal number"),
        (trades, "115445.28", "|0.00", "a trade has a price and a quantity above zero"),
        (trades, "115445.28", "|1.001", "the number has more decimal places than the instrument"),
        (trades, "892262232", "|x", "expected a whole number of 64 bits"),
        (trades, "892262232", "12|x", "expected the end of the text"),
        (trades, "892262232", "|18446744073709551615", "the trade ids are out of order"),
        (trades, r#""BUY""#, r#""|buy""#, "the side is neither BUY nor SELL"),
        (trades, r#""snapshot""#, r#""|news""#, "the type is neither snapshot nor update"),
        (
            trades,
            "2025-10-27T16:44:39.600153Z",
            "|16:44",
            "this is no time of RFC 3339 between 1970 and 2100",
        ),
        (trades, "2025-10-27T16:44:40.175203666Z", "|", "this is no time of RFC 3339 between 1970 and 2100"),
        (trades, r#""sequence_num":0"#, r#""sequence_num":|-1"#, "expected a whole number of 64 bits"),
        (trades, r#""events":"#, r#""event":"#, "the events are missing"),
        (trades, "}]}]}", "}]}]}|x", "expected the end of the text"),
        (BOOK, "68901.00", "|68901.001", "the number has more decimal places than the instrument"),
        (BOOK, r#""offer""#, r#""|none""#, "the side is neither bid nor offer"),
        (BOOK, r#","new_quantity":"0"}"#, "}|", "the new_quantity is missing"),
        (TICKER, "1.50000000", "|-1.5", "the number is negative"),
        (
            CANDLES,
            "1775521800",
            "|1775521800000",
            "the time is not in seconds since 1970, or from the year 2100 on",
        ),
        (CANDLES, "1775521800", "|1775521860", "the candle does not begin at a multiple of five minutes"),
    ];
    for refusal in refusals {
        common::is_refused(Box::leak(Box::<CoinbaseAdvancedDecoder>::default()), &table(), refusal);
    }
}

/// A frame's trades before a flaw are told; nothing is left over for the next frame.
#[test]
fn a_flaw_leaves_nothing_behind() {
    let mut decoder = CoinbaseAdvancedDecoder::default();
    let flawed = SNAPSHOT_TRADES.replace("\"SELL\"", "\"?\"");
    let mut seen = 0;
    assert!(decoder.decode(flawed.as_bytes(), &table(), &mut |_| seen += 1).is_err());
    assert_eq!(seen, 2, "the number and the trade before the flaw");
    assert_eq!(decode(&mut decoder, SNAPSHOT_TRADES.as_bytes(), &table()).unwrap().len(), 3);
}

/// The number comes first even where it stands last.
#[test]
fn the_order_of_fields_does_not_matter() {
    let turned = r#"{"events":[{"updates":[{"new_quantity":"2.00000000","price_level":"68900.00","x":{"y":[]},"side":"bid"},{"new_quantity":"0","price_level":"68901.00","side":"offer"}],"product_id":"BTC-USD","type":"update"}],"sequence_num":17,"timestamp":"2026-04-07T14:30:01.456Z","new":[1],"channel":"l2_data"}"#;
    assert_eq!(read(turned), read(BOOK));
    let spaced = SNAPSHOT_TRADES.replace("\":", "\" : ").replace(",\"", " ,\n\"");
    assert_eq!(read(&spaced), read(SNAPSHOT_TRADES));
}

proptest! {
    #[test]
    fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(Box::leak(Box::<CoinbaseAdvancedDecoder>::default()), &bytes, &table());
    }

    #[test]
    fn no_damage_does_harm(damage in common::damage(&ALL)) {
        no_damage(Box::leak(Box::<CoinbaseAdvancedDecoder>::default()), &table(), &damage)?;
    }
}

#[test]
fn every_cut_of_every_frame_is_an_error() {
    for frame in ALL {
        every_cut_is_refused_or_smaller(
            Box::leak(Box::<CoinbaseAdvancedDecoder>::default()),
            &table(),
            frame,
        );
    }
}
