//! Indicators against TA-Lib on recorded candles, against closed forms, and as properties.

use flate2::read::GzDecoder;
use jiff::{civil::DateTime, tz::TimeZone};
use market::indicator::{Bar, Indicator, IndicatorSpec, Values};
use market::{Candle, CandleState, Ohlc, decimal};
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every indicator, every kind of argument, and lengths at the edges.
const SPECS: [&str; 33] = [
    "sma(1)",
    "sma(20)",
    "sma(1000)",
    "ema(1)",
    "ema(20)",
    "ema(200)",
    "ema(9, first)",
    "wma(1)",
    "wma(20)",
    "wma(1000)",
    "rma(1)",
    "rma(14)",
    "vwap(day)",
    "vwap(all)",
    "vwap(1)",
    "vwap(50)",
    "bollinger(2, 1)",
    "bollinger(20, 2)",
    "bollinger(1000, 2.5)",
    "rsi(2)",
    "rsi(14)",
    "rsi(200)",
    "macd(2, 3, 2)",
    "macd(12, 26, 9)",
    "macd(5, 35, 5)",
    "atr(1)",
    "atr(14)",
    "atr(200)",
    "stochastic(1, 1, 1)",
    "stochastic(14, 3, 3)",
    "stochastic(5, 3, 3)",
    "stochastic(1000, 100, 1)",
    "obv",
];

fn spec(text: &str) -> IndicatorSpec {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

/// All values that an indicator has of some bars.
fn run(text: &str, bars: &[Bar]) -> Vec<Values> {
    let mut indicator = Indicator::new(spec(text));
    bars.iter().map(|bar| indicator.close(bar)).collect()
}

/// One line of [`run`].
fn line(text: &str, index: usize, bars: &[Bar]) -> Vec<Option<f64>> {
    run(text, bars).iter().map(|values| values.get(index)).collect()
}

/// A bar of whole numbers, one in a minute.
fn bar(number: usize, [open, high, low, close]: [i64; 4], volume: i128) -> Bar {
    let ohlc = Ohlc { open, high, low, close };
    let open_ms = number as i64 * 60_000;
    Bar { open_ms, ohlc, volume, quote_volume: 0, price_digits: 0, qty_digits: 0 }
}

fn flat_bars(closes: impl IntoIterator<Item = i64>) -> Vec<Bar> {
    closes.into_iter().enumerate().map(|(number, close)| bar(number, [close; 4], 1)).collect()
}

mod against_talib {
    use super::*;

    /// The relative difference that may be.
    const RELATIVE: f64 = 1e-9;

    #[test]
    fn bitcoin() {
        compare("ftx_btc-perp_1m_20211231-20220201.csv.gz", 3, 45_031);
    }

    #[test]
    fn euro() {
        compare("backtesting_EURUSD_1h.csv.gz", 5, 5_000);
    }

    fn compare(name: &str, price_digits: u8, count: usize) {
        let Some(bars) = recorded(name, price_digits) else {
            return println!("skipped: no recorded data");
        };
        assert_eq!(bars.len(), count);
        let Some(python) = python() else {
            return println!("skipped: indicators against TA-Lib (no TA-Lib)");
        };
        let mut theirs = talib(&python, name, &bars).into_iter();
        for text in SPECS {
            let ours = run(text, &bars);
            for (index, line) in spec(text).lines().iter().enumerate() {
                let theirs: Vec<f64> = theirs.by_ref().take(count).collect();
                assert_eq!(theirs.len(), count, "{text} {line}");
                let ours: Vec<f64> = ours.iter().map(|values| values.raw()[index]).collect();
                let worst = worst(text, line, &bars, &ours, &theirs);
                println!("{name} {text} {line}: {worst:.1e}");
            }
        }
        assert!(theirs.next().is_none());
    }

    /// The largest relative difference between two lines, which may be no more than [`RELATIVE`]. They must be
    /// without values at the same bars.
    fn worst(text: &str, line: &str, bars: &[Bar], ours: &[f64], theirs: &[f64]) -> f64 {
        let mut worst = 0f64;
        for (index, ((ours, theirs), bar)) in ours.iter().zip(theirs).zip(bars).enumerate() {
            let at = format_args!("{text} {line} at {index}: {ours}, TA-Lib {theirs}");
            assert_eq!(ours.is_nan(), theirs.is_nan(), "{at}");
            assert_eq!(ours.is_nan(), index < spec(text).warm_up(), "{at}");
            if !ours.is_nan() {
                let relative = (ours - theirs).abs() / size(text, bar, theirs.abs().max(ours.abs()));
                assert!(relative <= RELATIVE, "{at}: {relative:e}");
                worst = worst.max(relative);
            }
        }
        worst
    }

    /// What a difference is relative to: the value. Where it comes near zero, being made of much larger numbers, what
    /// their rounding took is not to be had again: 10^-13 of these may differ. TA-Lib's sliding sum of percentages
    /// stands at −10^-12 where it should be 0 after 40,000 bars.
    fn size(text: &str, bar: &Bar, value: f64) -> f64 {
        let larger = match spec(text).name() {
            "macd" => bar.ohlc.close as f64 / 10f64.powi(bar.price_digits.into()),
            "stochastic" => 100.0,
            _ => 0.0,
        };
        (value + 1e-13 / RELATIVE * larger).max(f64::MIN_POSITIVE)
    }

    /// Recorded candles. Files give more digits than prices have.
    fn recorded(name: &str, price_digits: u8) -> Option<Vec<Bar>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/candles");
        let file = std::fs::read(folder.join(name)).ok()?;
        let text = std::io::read_to_string(GzDecoder::new(&file[..])).unwrap();
        let bar = |line: &str| {
            let column: Vec<_> = line.split(',').collect();
            let price = |index: usize| decimal::parse(column[index].as_bytes(), price_digits).unwrap();
            let time = column[0].parse::<DateTime>().unwrap().to_zoned(TimeZone::UTC).unwrap();
            let [open, high, low, close] = [1, 2, 3, 4].map(price);
            let ohlc = Ohlc { open, high, low, close };
            // Volumes were recorded from floating point: their decimal places mean nothing.
            let volume = decimal::parse(column[5].split('.').next().unwrap().as_bytes(), 0).unwrap().into();
            let open_ms = time.timestamp().as_millisecond();
            Bar { open_ms, ohlc, volume, quote_volume: 0, price_digits, qty_digits: 0 }
        };
        Some(text.lines().skip(1).map(bar).collect())
    }

    /// The Python that `cargo xtask test` prepares, if it has TA-Lib.
    fn python() -> Option<PathBuf> {
        let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python/bin/python");
        let has_it = Command::new(&python).args(["-c", "import numpy, talib"]).output();
        has_it.is_ok_and(|output| output.status.success()).then_some(python)
    }

    /// What `with_talib.py` writes.
    fn talib(python: &Path, name: &str, bars: &[Bar]) -> Vec<f64> {
        let file = |kind: &str| Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.{kind}"));
        let (candles, output) = (file("candles"), file("values"));
        let row = |bar: &Bar| {
            let Ohlc { open, high, low, close } = bar.ohlc;
            let (time, volume) = (bar.open_ms, bar.volume);
            format!("{time} {open} {high} {low} {close} {volume} {} {}\n", bar.price_digits, bar.qty_digits)
        };
        std::fs::write(&candles, bars.iter().map(row).collect::<String>()).unwrap();
        let mut command = Command::new(python);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/with_talib.py")).args([&candles, &output]);
        let done = command.args(SPECS).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let bytes = std::fs::read(&output).unwrap();
        bytes.as_chunks().0.iter().map(|number| f64::from_le_bytes(*number)).collect()
    }
}

mod closed_forms {
    use super::*;

    const N: i64 = 20;

    /// The last value of a line after these bars.
    fn last(text: &str, index: usize, bars: &[Bar]) -> f64 {
        line(text, index, bars).pop().flatten().unwrap_or_else(|| panic!("{text} has no value"))
    }

    #[track_caller]
    fn near(actual: f64, expected: f64) {
        assert!((actual - expected).abs() <= 1e-12 * expected.abs().max(1.0), "{actual} is not {expected}");
    }

    #[test]
    fn of_a_constant() {
        let bars = flat_bars([1_237; 3_000]);
        for text in SPECS {
            let expected = match spec(text).name() {
                "rsi" | "macd" | "atr" | "stochastic" => 0.0,
                "obv" => 1.0,
                _ => 1_237.0,
            };
            for index in 0..spec(text).lines().len() {
                for (number, value) in line(text, index, &bars).into_iter().enumerate() {
                    assert_eq!(value.is_some(), number >= spec(text).warm_up(), "{text} at {number}");
                    near(value.unwrap_or(expected), expected);
                }
            }
        }
    }

    /// Prices that rise by 3 with every bar. Averages lag behind by a known part of their length.
    #[test]
    fn of_a_ramp() {
        let bars = flat_bars((0..300).map(|number| 1_000 + 3 * number));
        let (close, n) = (bars[299].ohlc.close as f64, N as f64);
        near(last("sma(20)", 0, &bars), close - 3.0 * (n - 1.0) / 2.0);
        near(last("wma(20)", 0, &bars), close - 3.0 * (n - 1.0) / 3.0);
        near(last("ema(20)", 0, &bars), close - 3.0 * (n - 1.0) / 2.0);
        let first_lag = 3.0 * (n - 1.0) / 2.0;
        let rma_lag = 3.0 * (n - 1.0) - first_lag * (1.0 - 1.0 / n).powi(280);
        near(last("rma(20)", 0, &bars), close - rma_lag);
        let first_ema = (1.0 - 2.0 / (n + 1.0)).powi(299) * first_lag;
        near(last("ema(20, first)", 0, &bars), close - first_lag + first_ema);
        near(last("vwap(20)", 0, &bars), close - 3.0 * (n - 1.0) / 2.0);
        near(last("vwap(all)", 0, &bars), close - 3.0 * 299.0 / 2.0);
        let deviation = 3.0 * ((n * n - 1.0) / 12.0).sqrt();
        near(last("bollinger(20, 2)", 0, &bars), close - 3.0 * (n - 1.0) / 2.0 + 2.0 * deviation);
        near(last("bollinger(20, 2)", 2, &bars), close - 3.0 * (n - 1.0) / 2.0 - 2.0 * deviation);
        near(last("macd(12, 26, 9)", 0, &bars), 3.0 * (26.0 - 12.0) / 2.0);
        near(last("macd(12, 26, 9)", 1, &bars), 3.0 * (26.0 - 12.0) / 2.0);
        near(last("macd(12, 26, 9)", 2, &bars), 0.0);
        near(last("atr(14)", 0, &bars), 3.0);
        near(last("obv", 0, &bars), 300.0);
        let falling: Vec<_> = flat_bars((0..300).map(|number| 1_000 - 3 * number));
        for (bars, percent) in [(&bars, 100.0), (&falling, 0.0)] {
            near(last("rsi(14)", 0, bars), percent);
            near(last("stochastic(14, 3, 3)", 0, bars), percent);
            near(last("stochastic(14, 3, 3)", 1, bars), percent);
        }
    }

    /// Prices that go up and down by 10 in turn; the last bar is an up.
    #[test]
    fn of_an_alternation() {
        let bars = flat_bars((0..2_000).map(|number| 100 + 10 * (number % 2)));
        near(last("sma(20)", 0, &bars), 105.0);
        near(last("wma(3)", 0, &bars), (3.0 * 110.0 + 2.0 * 100.0 + 110.0) / 6.0);
        near(last("bollinger(20, 2)", 0, &bars), 115.0);
        near(last("bollinger(20, 2)", 2, &bars), 95.0);
        near(last("ema(9)", 0, &bars), 105.0 + 5.0 * 0.2 / 1.8);
        near(last("rma(14)", 0, &bars), 105.0 + 5.0 / 27.0);
        near(last("rsi(14)", 0, &bars), 100.0 * 14.0 / 27.0);
        near(line("rsi(14)", 0, &bars)[14].unwrap(), 50.0);
        near(last("atr(14)", 0, &bars), 10.0);
        near(last("stochastic(2, 1, 2)", 0, &bars), 100.0);
        near(last("stochastic(2, 1, 2)", 1, &bars), 50.0);
        near(last("obv", 0, &bars), 2.0);
        near(line("obv", 0, &bars)[1_998].unwrap(), 1.0);
    }

    #[test]
    fn a_bar_is_what_the_candle_says_in_plain_numbers() {
        let mut candle = Candle::empty(0, CandleState::Traded, Some(0));
        candle.ohlc = Some(Ohlc { open: 100, high: 250, low: 50, close: 150 });
        (candle.volume, candle.quote_volume) = (4_000, 500_000);
        let bars = [Bar::of(&candle, 2, 3).unwrap(); 3];
        near(last("sma(2)", 0, &bars), 1.5);
        near(last("obv", 0, &bars), 4.0);
        near(last("atr(1)", 0, &bars), 2.0);
        near(last("stochastic(1, 1, 1)", 0, &bars), 50.0);
        near(last("vwap", 0, &bars), 1.25); // 5.00000 of money for 4.000
        candle.quote_volume = 0;
        near(last("vwap", 0, &[Bar::of(&candle, 2, 3).unwrap()]), 1.5); // (2.5 + 0.5 + 1.5) ÷ 3
        assert_eq!(Bar::of(&Candle::empty(0, CandleState::Gap, Some(7)), 2, 3), None);
    }

    #[test]
    fn a_day_begins_anew_and_without_volume_there_is_no_average_price() {
        let day = 1_440;
        let mut bars = vec![bar(day - 1, [500; 4], 10), bar(day, [100; 4], 0), bar(day + 1, [200; 4], 3)];
        assert_eq!(line("vwap", 0, &bars), [Some(500.0), None, Some(200.0)]);
        bars[0].open_ms = -1; // The last day before 1970, and the first.
        bars[1].open_ms = 0;
        bars[2].open_ms = 1;
        assert_eq!(line("vwap", 0, &bars), [Some(500.0), None, Some(200.0)]);
        assert_eq!(line("vwap(2)", 0, &bars), [None, Some(500.0), Some(200.0)]);
    }

    /// The last movement shrinks for ever and counts as long as it is a number; then there is none.
    #[test]
    fn after_endless_quiet_there_is_no_movement() {
        let bars = flat_bars([1, 2].into_iter().chain([2; 20_000]));
        let values = line("rsi(14)", 0, &bars);
        assert_eq!((values[20], values[5_000], values[20_001]), (Some(100.0), Some(100.0), Some(0.0)));
    }
}

mod properties {
    use super::*;

    /// Bars such as markets have, in ten thousands of places after the point.
    fn likely() -> impl Strategy<Value = Bar> {
        let prices = prop::array::uniform4(1i64..100_000);
        (prices, 0i64..1_000_000, 0i64..1_000_000).prop_map(|([open, close, a, b], minute, volume)| {
            let prices = [open, open.max(close).max(a), open.min(close).min(b), close];
            Bar { price_digits: 4, qty_digits: 2, ..bar(minute as usize, prices, volume.into()) }
        })
    }

    /// Bars that no market has: nothing about them holds.
    fn unlikely() -> impl Strategy<Value = Bar> {
        let price = || prop_oneof![any::<i64>(), -2i64..3, Just(i64::MAX), Just(i64::MIN)];
        let sum = || prop_oneof![any::<i128>(), -2i128..3, Just(i128::MAX), Just(i128::MIN)];
        let prices = (price(), price(), price(), price());
        (any::<i64>(), prices, sum(), sum(), any::<[u8; 2]>()).prop_map(
            |(open_ms, (open, high, low, close), volume, quote_volume, [price_digits, qty_digits])| {
                let ohlc = Ohlc { open, high, low, close };
                Bar { open_ms, ohlc, volume, quote_volume, price_digits, qty_digits }
            },
        )
    }

    fn bits(values: Values) -> [u64; 3] {
        values.raw().map(f64::to_bits)
    }

    /// A preview is what closing gives, and leaves no trace.
    fn check(bars: &[Bar], previews: &[Bar]) {
        for text in SPECS {
            let (mut indicator, mut undisturbed) = (Indicator::new(spec(text)), Indicator::new(spec(text)));
            for (number, bar) in bars.iter().enumerate() {
                for preview in previews.iter().skip(number % 4).step_by(3) {
                    indicator.preview(preview);
                }
                let preview = indicator.preview(bar);
                let close = indicator.close(bar);
                assert_eq!(bits(preview), bits(close), "{text} at {number}");
                assert_eq!(bits(close), bits(undisturbed.close(bar)), "{text} at {number}");
                let lines = spec(text).lines().len();
                assert!(close.raw()[lines..].iter().all(|value| value.is_nan()), "{text}");
                assert!(number >= spec(text).warm_up() || close.get(0).is_none(), "{text} at {number}");
                assert!(
                    !close.raw().iter().any(|value| value.is_infinite()),
                    "{text} at {number}: {close:?}"
                );
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn previews_are_what_closing_gives(
            bars in prop::collection::vec(likely(), 1..80), previews in prop::collection::vec(likely(), 0..6),
        ) {
            check(&bars, &previews);
        }

        #[test]
        fn no_bar_does_harm(
            bars in prop::collection::vec(unlikely(), 1..80), previews in prop::collection::vec(unlikely(), 0..6),
        ) {
            check(&bars, &previews);
        }

        /// %K and RSI are percentages, the bands lie in order, and an average lies among the prices.
        #[test]
        fn values_lie_where_they_must(bars in prop::collection::vec(likely(), 40..80)) {
            let closes = || bars.iter().map(|bar| bar.ohlc.close as f64 / 1e4);
            let (low, high) = (closes().fold(f64::MAX, f64::min), closes().fold(f64::MIN, f64::max));
            let within = |text, index, range: core::ops::RangeInclusive<f64>| {
                line(text, index, &bars).into_iter().flatten().all(|value| range.contains(&value))
            };
            for text in ["sma(20)", "wma(20)", "ema(20)", "rma(14)", "ema(9, first)"] {
                prop_assert!(within(text, 0, low - 1e-9..=high + 1e-9), "{}", text);
            }
            prop_assert!(within("rsi(14)", 0, 0.0..=100.0));
            prop_assert!(within("stochastic(5, 3, 3)", 0, 0.0..=100.0));
            prop_assert!(within("stochastic(5, 3, 3)", 1, 0.0..=100.0));
            for values in run("bollinger(20, 2)", &bars) {
                if let [Some(upper), Some(middle), Some(lower)] = [0, 1, 2].map(|index| values.get(index)) {
                    prop_assert!(lower <= middle && middle <= upper);
                }
            }
        }
    }

    /// Whole windows of the largest numbers there are.
    #[test]
    fn no_sum_overflows() {
        let extremes = |number: usize| {
            let price = if number.is_multiple_of(3) { i64::MIN } else { i64::MAX };
            let sum = if number.is_multiple_of(5) { i128::MIN } else { i128::MAX };
            Bar { quote_volume: sum, ..bar(number, [price; 4], i128::MAX) }
        };
        let bars: Vec<_> = (0..3_000).map(extremes).collect();
        check(&bars, &bars[..6]);
    }
}

/// Bars whose prices leap between a few units and almost all that 62 bits hold.
fn leaping(count: usize) -> impl Iterator<Item = Bar> {
    let mut state = 88_172_645_463_325_252u64;
    (0..count).map(move |number| {
        // Marsaglia's xorshift: the same bars everywhere.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let bits = if (number / 700).is_multiple_of(2) { 62 } else { 10 };
        let prices = [0, 16, 32, 48].map(|turn| (state.rotate_left(turn) >> (64 - bits)) as i64);
        let (low, high) = (prices[0].min(prices[1]), prices[0].max(prices[1]));
        bar(number, [prices[0], high, low, low + (high - low) / 3], i128::from(state % 1_000))
    })
}

/// After a million bars an indicator over a window is, to the last bit, one that has seen nothing but the window: no
/// error has built up.
#[test]
fn a_million_bars_leave_no_trace_in_a_window() {
    let bars: Vec<_> = leaping(1_000_000).collect();
    for text in [
        "sma(20)",
        "sma(1000)",
        "wma(20)",
        "wma(1000)",
        "vwap(20)",
        "vwap(1000)",
        "bollinger(20, 2)",
        "bollinger(1000, 2)",
        "stochastic(14, 3, 3)",
        "stochastic(1000, 100, 10)",
    ] {
        let mut old = Indicator::new(spec(text));
        for (number, bar) in bars.iter().enumerate() {
            let values = old.close(bar);
            // Also where large prices have just left the window.
            if number % 99_991 == 99_990 || number == bars.len() - 1 {
                let window = &bars[number - spec(text).warm_up()..=number];
                let fresh = run(text, window).pop().unwrap();
                assert_eq!(
                    values.raw().map(f64::to_bits),
                    fresh.raw().map(f64::to_bits),
                    "{text} at {number}"
                );
            }
        }
    }
}

/// Averages without a window forget their errors: a million bars more or less before the last few thousand make no
/// difference.
#[test]
fn a_million_bars_leave_no_trace_in_an_endless_average() {
    let bars: Vec<_> = leaping(1_000_000).collect();
    for text in ["ema(20)", "ema(9, first)", "rma(14)", "rsi(14)", "macd(12, 26, 9)", "atr(14)"] {
        let old = run(text, &bars).pop().unwrap();
        let fresh = run(text, &bars[bars.len() - 5_000..]).pop().unwrap();
        for index in 0..spec(text).lines().len() {
            let (old, fresh) = (old.get(index).unwrap(), fresh.get(index).unwrap());
            assert!((old - fresh).abs() <= 1e-12 * fresh.abs(), "{text}: {old}, afresh {fresh}");
        }
    }
}

#[test]
fn nothing_allocates_after_construction() {
    let bars: Vec<_> = leaping(5_000).collect();
    for text in SPECS {
        let mut indicator = Indicator::new(spec(text));
        let use_it = || {
            bars.iter().for_each(|bar| {
                indicator.preview(bar);
                indicator.close(bar);
            })
        };
        assert_eq!(allocation_counter::measure(use_it).count_total, 0, "{text}");
    }
}
