//! Candles as properties, and against a venue's own.

use market::{
    Candle, CandleState, Checked, Integrity, Ohlc, Outcome, Series, Side, Timeframe, Trade, TradeSequence,
    decimal, fold,
};
use proptest::prelude::*;
use std::io::Read;

const CAPACITY: usize = 10_000;

fn trade(id: u64, time_ms: i64, price: i64, qty: i64) -> Trade {
    Trade { first_id: id, last_id: id, time_ms, price, qty, taker: Side::Buy }
}

/// Trades with rising ids, times and a few that share their millisecond.
fn trades(most: usize) -> impl Strategy<Value = Vec<Trade>> {
    prop::collection::vec((0i64..4_000, 1i64..1_000_000, 1i64..1_000_000, any::<bool>(), 0u64..3), 1..most)
        .prop_map(|steps| {
            let (mut id, mut time_ms) = (1, 1_700_000_000_123);
            let make = |(pause_ms, price, qty, buy, more): (i64, i64, i64, bool, u64)| {
                time_ms += if pause_ms < 2_000 { 0 } else { pause_ms - 2_000 };
                let first_id = id;
                id += more + 1;
                let taker = if buy { Side::Buy } else { Side::Sell };
                Trade { first_id, last_id: id - 1, time_ms, price, qty, taker }
            };
            steps.into_iter().map(make).collect()
        })
}

fn series(timeframe: Timeframe, trades: &[Trade]) -> Series {
    let mut series = Series::new(timeframe, CAPACITY);
    for trade in trades {
        series.trade(trade);
    }
    series
}

fn without_rev(bars: impl IntoIterator<Item = Candle>) -> Vec<Candle> {
    bars.into_iter().map(|bar| Candle { rev: 0, ..bar }).collect()
}

proptest! {
    /// A longer candle is the fold of the shorter ones, whichever shorter ones.
    #[test]
    fn fold_equals_direct(trades in trades(120), gap in prop::option::of((0i64..100_000, 1i64..20_000))) {
        for (short, long) in [
            (Timeframe::S1, Timeframe::M1), (Timeframe::M1, Timeframe::M15), (Timeframe::S1, Timeframe::M3),
            (Timeframe::M1, Timeframe::Month), (Timeframe::M5, Timeframe::W1),
        ] {
            let mut both = [series(short, &trades), series(long, &trades)];
            if let Some((from, len)) = gap {
                let from = trades[0].time_ms + from;
                both.iter_mut().for_each(|series| series.mark_gap(from..from + len));
            }
            let [short_bars, long_bars] = both.map(|series| series.bars().copied().collect::<Vec<_>>());
            let mut folded = fold(&short_bars, long);
            // A gap that lies past the last short bar is known to the longer bar alone.
            if let (Some(last), Some(direct)) = (folded.last_mut(), long_bars.last())
                && direct.state == CandleState::Gap && gap.is_some() {
                last.state = CandleState::Gap;
            }
            prop_assert_eq!(without_rev(folded), without_rev(long_bars), "{} from {}", long, short);
        }
    }

    /// Late trades leave the same candles as trades in order, but for `rev`.
    #[test]
    fn the_order_of_arrival_does_not_matter(mut trades in trades(60), swaps in prop::collection::vec(any::<[prop::sample::Index; 2]>(), 0..20)) {
        let in_order = series(Timeframe::S1, &trades);
        let first = trades[0];
        for [a, b] in swaps {
            let (a, b) = (a.index(trades.len()), b.index(trades.len()));
            trades.swap(a, b);
        }
        // The first trade must come first: what precedes it was not joined yet.
        let place = trades.iter().position(|trade| *trade == first).unwrap();
        trades.swap(0, place);
        let shuffled = series(Timeframe::S1, &trades);
        prop_assert_eq!(without_rev(shuffled.bars().copied()), without_rev(in_order.bars().copied()));
    }

    /// Bars have no holes, keep their numbers, and report every change.
    #[test]
    fn changes_carry_a_mirror(trades in trades(80), capacity in 1usize..20, marks in prop::collection::vec(0i64..60_000, 0..80)) {
        let mut series = Series::new(Timeframe::S1, capacity);
        let mut mirror = std::collections::BTreeMap::new();
        for (index, trade) in trades.iter().enumerate() {
            series.trade(trade);
            if let Some(after_ms) = marks.get(index) {
                series.watermark(trade.time_ms + after_ms);
            }
            for number in series.take_changes() {
                mirror.insert(number, *series.get(number).unwrap());
            }
            let kept: Vec<_> = series.numbers().map(|number| mirror[&number]).collect();
            prop_assert_eq!(&kept, &series.bars().copied().collect::<Vec<_>>());
            prop_assert!(kept.len() <= capacity);
            prop_assert!(kept.windows(2).all(|pair| pair[0].open_ms + 1_000 == pair[1].open_ms));
        }
    }
}

#[test]
fn a_bar_closes_by_the_watermark_and_a_late_trade_amends_it() {
    let mut series = Series::new(Timeframe::S1, CAPACITY);
    series.watermark(900);
    series.trade(&trade(1, 1_000, 100, 1));
    assert_eq!(series.next_deadline_ms(), 3_501);
    series.watermark(3_500);
    assert_eq!(series.bars().len(), 1, "2000..3000 may still trade until 3500");
    series.watermark(3_501);
    let states: Vec<_> = series.bars().map(|bar| (bar.open_ms, bar.state, bar.close())).collect();
    assert_eq!(states, [(1_000, CandleState::Traded, Some(100)), (2_000, CandleState::Quiet, Some(100))]);

    assert_eq!(series.trade(&trade(2, 1_999, 105, 2)), Outcome::Amended);
    let bars: Vec<_> = series.bars().copied().collect();
    assert_eq!(bars[0].ohlc, Some(Ohlc { open: 100, high: 105, low: 100, close: 105 }));
    assert_eq!((bars[0].rev, bars[0].volume), (1, 3));
    assert_eq!((bars[1].close(), bars[1].rev), (Some(105), 1), "the quiet bar follows its close");
    assert_eq!(series.trade(&trade(0, 500, 1, 1)), Outcome::TooLate);
}

#[test]
fn joining_inside_a_span_is_partial_and_before_it_is_not() {
    let mut joined_inside = Series::new(Timeframe::M1, CAPACITY);
    joined_inside.watermark(61_000);
    joined_inside.trade(&trade(1, 70_000, 1, 1));
    assert_eq!(joined_inside.bars().next().unwrap().state, CandleState::Partial);

    let mut joined_before = Series::new(Timeframe::M1, CAPACITY);
    joined_before.watermark(59_000);
    joined_before.trade(&trade(1, 70_000, 1, 1));
    assert_eq!(joined_before.bars().next().unwrap().state, CandleState::Traded);
}

#[test]
fn a_gap_invents_no_price() {
    let mut series = Series::new(Timeframe::S1, CAPACITY);
    series.watermark(0);
    series.trade(&trade(1, 1_500, 100, 1));
    series.mark_gap(1_800..4_200);
    series.trade(&trade(9, 6_000, 110, 1));
    let states: Vec<_> = series.bars().map(|bar| (bar.state, bar.close())).collect();
    assert_eq!(
        states,
        [
            (CandleState::Gap, Some(100)), // What it knows, and that it may not be all.
            (CandleState::Gap, None),
            (CandleState::Gap, None),
            (CandleState::Gap, None),
            (CandleState::Quiet, None),
            (CandleState::Traded, Some(110)),
        ]
    );
}

#[test]
fn a_leap_in_time_is_bounded_by_the_capacity() {
    let mut series = Series::new(Timeframe::S1, 10);
    series.trade(&trade(1, 0, 100, 1));
    series.trade(&trade(2, 250_000_000_000_000, 101, 1));
    assert_eq!(series.bars().len(), 1);
    assert_eq!(series.numbers(), 250_000_000_000..250_000_000_001, "what lies between is numbered");
    series.watermark(253_000_000_000_000);
    assert!(series.bars().len() <= 10);
}

#[test]
fn trade_numbers_prove_gaps_and_duplicates() {
    use market::Integrity::*;
    let mut sequence = TradeSequence::default();
    let mut check = |id, ms| sequence.check(&trade(id, ms, 1, 1), 0..1, 0);
    let newest = [(5, Unverifiable), (6, Ok), (6, Duplicate), (9, Gap { from: 7, to: 8 }), (10, Ok)];
    for (id, integrity) in newest {
        assert_eq!(check(id, 0), Checked::Newest(integrity), "{id}");
    }
    assert!(matches!(check(8, 0), Checked::Fills(_)), "it came late, and was missing");
    assert_eq!(check(8, 0), Checked::Newest(Duplicate));
    assert_eq!(check(5, 0), Checked::Newest(Duplicate));
    assert_eq!(sequence.holes().iter().map(|hole| (hole.from, hole.to)).collect::<Vec<_>>(), [(7, 7)]);
    assert_eq!((sequence.give_up(1, 6), sequence.give_up(1, 7), sequence.holes().len()), (0, 1, 0));
}

/// One message alone neither leaps far ahead nor counts anew.
#[test]
fn strange_numbers_are_believed_when_another_one_agrees() {
    use market::Integrity::*;
    let mut sequence = TradeSequence::default();
    let mut check = |id, ms| match sequence.check(&trade(id, ms, 1, 1), ms..ms + 1, 0) {
        Checked::Newest(integrity) => integrity,
        Checked::Fills(_) => panic!("nothing is missing"),
    };
    assert_eq!((check(1_000, 0), check(1_001, 10)), (Unverifiable, Ok));
    assert_eq!((check(9_000_000_000, 20), check(1_002, 30)), (Corrupt, Ok), "a wrong digit");
    assert_eq!((check(7, 9_000), check(1_003, 9_010)), (Corrupt, Ok), "another one");
    assert_eq!((check(1, 20_000), check(2, 20_010), check(3, 20_020)), (Corrupt, Unverifiable, Ok), "anew");
    assert_eq!((check(1, 20_030), check(2, 20_030)), (Duplicate, Duplicate), "late is not anew");
}

#[test]
fn what_the_venue_says_was_traded_is_missing_until_it_comes() {
    use market::Integrity::*;
    let mut sequence = TradeSequence::default();
    assert_eq!(sequence.claim(5, 0..1, 0), Unverifiable);
    sequence.check(&trade(5, 0, 1, 1), 0..1, 0);
    assert_eq!(sequence.claim(5, 0..1, 0), Ok);
    assert_eq!(sequence.claim(8, 0..1, 0), Gap { from: 6, to: 8 });
    assert_eq!(sequence.check(&trade(9, 0, 1, 1), 0..1, 0), Checked::Newest(Ok));
    assert!(matches!(sequence.check(&trade(7, 0, 1, 1), 0..1, 0), Checked::Fills(_)));
    assert_eq!(sequence.holes().len(), 2);
    assert_eq!(sequence.claim(u64::MAX - 1, 0..1, 0), Corrupt);
}

/// Takes trades as a feed does: numbers decide what is missing, and what heals it.
fn take(sequence: &mut TradeSequence, all: &mut [Series], last_ms: &mut i64, trade: &Trade) {
    let missing_ms = *last_ms..trade.time_ms + 1;
    match sequence.check(trade, missing_ms.clone(), 0) {
        Checked::Newest(Integrity::Duplicate | Integrity::Corrupt) => return,
        Checked::Newest(Integrity::Gap { .. }) => {
            all.iter_mut().for_each(|series| series.mark_gap(missing_ms.clone()))
        }
        Checked::Newest(_) => {}
        Checked::Fills(filled) => {
            for series in all {
                series.trade(trade);
                series.heal(&filled.span_ms, &filled.rest);
            }
            return;
        }
    }
    *last_ms = trade.time_ms.max(*last_ms);
    all.iter_mut().for_each(|series| _ = series.trade(trade));
}

proptest! {
    /// Trades that come late, in whatever order, or not at all: once all are there the candles are as if nothing had
    /// been lost; until then every bar that differs is a gap.
    #[test]
    fn what_was_missing_heals(
        steps in prop::collection::vec((0..700i64, 1..50i64, 1..9i64), 2..150),
        lost in prop::collection::vec(any::<bool>(), 150),
        order in any::<u64>(),
        never in 0..4usize,
    ) {
        let mut now_ms = 1_000_000;
        let trades: Vec<_> = steps.iter().enumerate().map(|(i, (step, price, qty))| {
            now_ms += step;
            trade(i as u64 + 1, now_ms, *price, *qty)
        }).collect();
        let timeframes = [Timeframe::S1, Timeframe::M1];
        let make = || timeframes.map(|timeframe| Series::new(timeframe, CAPACITY));
        let (mut whole, mut holed) = (make(), make());
        let (mut sequence, mut last_ms) = (TradeSequence::default(), i64::MIN);
        // The first and the last always come: what lies beyond them nobody can miss.
        let is_lost = |i: usize| lost[i] && i > 0 && i + 1 < trades.len();
        for (i, trade) in trades.iter().enumerate() {
            whole.iter_mut().for_each(|series| _ = series.trade(trade));
            if !is_lost(i) {
                take(&mut sequence, &mut holed, &mut last_ms, trade);
            }
        }
        let mut late: Vec<_> = (0..trades.len()).filter(|i| is_lost(*i)).collect();
        late.sort_by_key(|i| (*i as u64).wrapping_mul(order | 1));
        for i in late.iter().skip(never) {
            take(&mut sequence, &mut holed, &mut last_ms, &trades[*i]);
        }
        let all_came = late.len() <= 64 && never == 0 || late.is_empty();
        for (whole, holed) in whole.iter().zip(&holed) {
            prop_assert_eq!(whole.bars().len(), holed.bars().len());
            for (whole, holed) in whole.bars().zip(holed.bars()) {
                let same = Candle { rev: 0, ..*whole } == Candle { rev: 0, ..*holed };
                prop_assert!(same || (!all_came && holed.state == CandleState::Gap), "{:?} {:?}", whole, holed);
            }
        }
    }
}

/// Kraken computed 721 one-minute candles from the trades that we hold: ours must be the same.
#[test]
fn kraken_trades_give_krakens_own_candles() {
    let (Some(trades), Some(candles)) = (recorded("http_trades.json.gz"), recorded("http_ohlc.json.gz"))
    else {
        println!("skipped: no recorded data");
        return;
    };
    const DIGITS: u8 = 8;
    let number =
        |value: &serde_json::Value| decimal::parse(value.as_str().unwrap().as_bytes(), DIGITS).unwrap();

    let mut series = Series::new(Timeframe::M1, CAPACITY);
    let mut sequence = TradeSequence::default();
    for row in trades["result"]["XBTUSDT"].as_array().unwrap() {
        let trade = Trade {
            first_id: row[6].as_u64().unwrap(),
            last_id: row[6].as_u64().unwrap(),
            time_ms: (row[2].as_f64().unwrap() * 1e3) as i64,
            price: number(&row[0]),
            qty: number(&row[1]),
            taker: if row[3] == "b" { Side::Buy } else { Side::Sell },
        };
        let verdict = sequence.check(&trade, trade.time_ms..trade.time_ms, 0);
        assert!(matches!(verdict, Checked::Newest(Integrity::Ok | Integrity::Unverifiable)));
        series.trade(&trade);
    }

    let (mut traded, mut quiet) = (0, 0);
    let theirs = candles["result"]["XBTUSDT"].as_array().unwrap();
    // The recording begins inside its first minute, which we say, and ends inside its last.
    assert_eq!(series.bars().next().unwrap().state, CandleState::Partial);
    for ours in series.bars().skip(1).take(series.bars().len() - 2) {
        let row = theirs.iter().find(|row| row[0].as_i64().unwrap() * 1_000 == ours.open_ms).unwrap();
        let ohlc = Ohlc {
            open: number(&row[1]),
            high: number(&row[2]),
            low: number(&row[3]),
            close: number(&row[4]),
        };
        assert_eq!(ours.ohlc, Some(ohlc), "{}", ours.open_ms);
        assert_eq!(ours.volume, i128::from(number(&row[6])), "{}", ours.open_ms);
        assert_eq!(ours.trades, row[7].as_u64().unwrap(), "{}", ours.open_ms);
        if ours.trades == 0 {
            assert_eq!(ours.state, CandleState::Quiet);
            assert_eq!(ohlc, Ohlc::flat(ohlc.close));
            quiet += 1;
        } else {
            traded += 1;
        }
    }
    println!("{traded} bars with trades and {quiet} quiet ones equal Kraken's");
    assert_eq!((traded, quiet), (272, 137));
}

fn recorded(name: &str) -> Option<serde_json::Value> {
    let path = format!("{}/../../shared/data/kraken_rest/{name}", env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::File::open(path).ok()?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    Some(serde_json::from_str(&text).unwrap())
}
