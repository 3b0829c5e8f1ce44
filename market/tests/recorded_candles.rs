//! Candles made of a venue's trades are the venue's own candles: Kraken's REST answers of the same hours, as recorded.

mod common;

use common::recorded;
use market::{Candle, CandleState, Instrument, Kline, Series, Timeframe, Trade, Venue, decimal};

/// The recording's trades, and the venue's candles of minutes that lie within them: each with its vwap as printed.
struct Recording {
    instrument: Instrument,
    trades: Vec<Trade>,
    klines: Vec<(Kline, String)>,
}

fn recording() -> Option<Recording> {
    let venue = Venue::Kraken.protocol();
    let symbol = "BTC/USDT".to_owned();
    let pairs = recorded("kraken_rest/http_asset_pairs.json.gz")?;
    let instrument = venue.read_instruments(pairs.as_bytes(), &[symbol]).unwrap().remove(0);
    assert_eq!((instrument.price_digits, instrument.qty_digits), (1, 8));
    let trades = recorded("kraken_rest/http_trades.json.gz")?;
    let trades = venue.read_trades(trades.as_bytes(), &instrument).unwrap();
    let candles = recorded("kraken_rest/http_ohlc.json.gz")?;
    let klines = venue.read_klines(candles.as_bytes(), &instrument, Timeframe::M1).unwrap();
    assert_eq!((trades.len(), klines.len()), (1_000, 721));
    assert!(klines[..720].iter().all(|kline| kline.closed) && !klines[720].closed);

    let rows: serde_json::Value = serde_json::from_str(&candles).unwrap();
    let rows = rows["result"]["XBTUSDT"].as_array().unwrap();
    let vwaps = rows.iter().map(|row| row[5].as_str().unwrap().to_owned());
    // The first and the last minute have trades that were not recorded.
    let [first, .., last] = &trades[..] else { unreachable!() };
    let known =
        Timeframe::M1.end_ms(Timeframe::M1.open_ms(first.time_ms))..Timeframe::M1.open_ms(last.time_ms);
    let klines = klines.into_iter().zip(vwaps).filter(|(kline, _)| known.contains(&kline.open_ms));
    Some(Recording { trades, klines: klines.collect(), instrument })
}

fn series(trades: &[Trade]) -> Series {
    let mut series = Series::new(Timeframe::M1, 1_000);
    for trade in trades {
        series.trade(trade);
    }
    series
}

fn is_the_venues(ours: &Candle, theirs: &Kline) -> bool {
    (ours.open_ms, ours.ohlc, ours.volume, Some(ours.trades))
        == (theirs.open_ms, Some(theirs.ohlc), theirs.volume.into(), theirs.trades)
}

#[test]
fn krakens_candles_are_made_of_its_trades() {
    let Some(Recording { instrument, trades, klines }) = recording() else { return };
    let ids: Vec<_> = trades.iter().map(|trade| trade.first_id).collect();
    assert!(ids.is_sorted() && ids[999] - ids[0] == 999, "the numbers have no holes");
    let series = series(&trades);
    let (mut traded, mut quiet) = (0, 0);
    for (kline, vwap) in &klines {
        let candle = series.bars().find(|bar| bar.open_ms == kline.open_ms).unwrap();
        assert!(is_the_venues(candle, kline), "{candle:?} is not {kline:?}");
        if kline.trades == Some(0) {
            assert_eq!(candle.state, CandleState::Quiet);
            quiet += 1;
            continue;
        }
        assert_eq!(candle.state, CandleState::Traded);
        traded += 1;
        // The venue cuts the average off at the price's last digit.
        let average = candle.quote_volume / candle.volume;
        let theirs = decimal::parse(vwap.as_bytes(), instrument.price_digits).unwrap();
        assert_eq!(average, i128::from(theirs), "{kline:?}");
    }
    assert_eq!((traded, quiet), (272, 137));
}

/// What the comparison is for: a candle that is a little wrong is noticed.
#[test]
fn wrong_candles_are_noticed() {
    let Some(Recording { instrument, trades, klines }) = recording() else { return };
    let wrong = |trades: &[Trade]| {
        let series = series(trades);
        let of = |kline: &Kline| series.bars().find(|bar| bar.open_ms == kline.open_ms).copied();
        klines.iter().filter(|(kline, _)| of(kline).is_none_or(|bar| !is_the_venues(&bar, kline))).count()
    };
    assert_eq!(wrong(&trades), 0);
    let without = |id: usize| [&trades[..id], &trades[id + 1..]].concat();
    assert!((100..900).all(|id| wrong(&without(id)) >= 1), "any lost trade is noticed");
    let twice: Vec<_> = trades.iter().flat_map(|trade| [*trade; 2]).collect();
    assert_eq!(wrong(&twice), 272);

    // Sums of floats, printed as shortly as they can be.
    let mut by_minute = std::collections::BTreeMap::<i64, (i128, f64)>::new();
    for trade in &trades {
        let text = decimal::display(trade.qty, instrument.qty_digits).to_string();
        let (exact, float) = by_minute.entry(Timeframe::M1.open_ms(trade.time_ms)).or_default();
        *exact += i128::from(trade.qty);
        *float += text.parse::<f64>().unwrap();
    }
    let differing = klines.iter().filter(|(kline, _)| {
        by_minute.get(&kline.open_ms).is_some_and(|(exact, float)| {
            float.to_string() != decimal::display(*exact, instrument.qty_digits).to_string()
        })
    });
    assert_eq!(differing.count(), 41, "minutes whose volume in floats is not the venue's");
}
