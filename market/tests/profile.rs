//! Volume profiles against a plain map, and as properties.

use market::{Bin, Candle, CandleState, Ohlc, ProfileError, Side, Trade, Traded, ValueArea, VolumeProfile};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn candle(low: i64, high: i64, volume: i128, bought: i128) -> Candle {
    let ohlc = Some(Ohlc { open: low, high, low, close: high });
    Candle { ohlc, volume, taker_buy_volume: bought, ..Candle::empty(0, CandleState::Traded, None) }
}

fn trade(price: i64, qty: i64, taker: Side) -> Trade {
    Trade { first_id: 1, last_id: 1, time_ms: 0, price, qty, taker }
}

fn traded(bought: i128, sold: i128) -> Traded {
    Traded { bought, sold }
}

/// A profile with one trade of each volume, in bins 100, 101, 102...
fn of_volumes(volumes: &[i64]) -> VolumeProfile {
    let mut profile = VolumeProfile::new(10, 64);
    for (price, volume) in (1_000..).step_by(10).zip(volumes) {
        profile.add_trade(&trade(price, *volume, Side::Buy)).unwrap();
    }
    profile
}

/// What a profile holds, without what it has room for.
fn content(profile: &VolumeProfile) -> (Vec<Bin>, Traded) {
    (profile.bins().collect(), profile.total())
}

fn candles(most: usize) -> impl Strategy<Value = Vec<Candle>> {
    let one = (-300i64..300, 0i64..100, 0i128..1_000, 0i128..1_000)
        .prop_map(|(low, range, volume, bought)| candle(low, low + range, volume, bought.min(volume)));
    prop::collection::vec(one, 1..most)
}

/// Any price, and often one at the end of all prices.
fn price() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), i64::MAX - 2..=i64::MAX, i64::MIN..=i64::MIN + 2]
}

fn volume() -> impl Strategy<Value = i128> {
    prop_oneof![any::<i128>(), -2i128..1_000]
}

proptest! {
    /// A trade goes to its price's bin, and nowhere else.
    #[test]
    fn trades_are_exact(
        trades in prop::collection::vec((-500i64..500, 0i64..1_000, any::<bool>()), 0..100), size in 1i64..50,
    ) {
        let mut profile = VolumeProfile::new(size, 1_001);
        let mut expected = BTreeMap::<i64, Traded>::new();
        for (price, qty, buy) in trades {
            profile.add_trade(&trade(price, qty, if buy { Side::Buy } else { Side::Sell })).unwrap();
            let bin = expected.entry((price as f64 / size as f64).floor() as i64 * size).or_default();
            if buy { bin.bought += i128::from(qty) } else { bin.sold += i128::from(qty) }
        }
        expected.retain(|_, traded| *traded != Traded::default());
        let actual: BTreeMap<_, _> =
            profile.bins().filter(|bin| bin.traded != Traded::default()).map(|bin| (bin.low, bin.traded)).collect();
        prop_assert_eq!(actual, expected);
    }

    /// No unit of a candle's volume is lost or made, and no bin gets two more than another.
    #[test]
    fn candles_are_spread_evenly_and_wholly(low in -500i64..500, range in 0i64..400, size in 1i64..20,
                                            volume in 1i128..10_000, bought in 0i128..10_000) {
        let bought = bought.min(volume);
        let mut profile = VolumeProfile::new(size, 1_001);
        profile.add(&candle(low, low + range, volume, bought)).unwrap();
        let bins = (low + range).div_euclid(size) - low.div_euclid(size) + 1;
        let sum = |side: fn(&Traded) -> i128| profile.bins().map(|bin| side(&bin.traded)).sum::<i128>();
        prop_assert_eq!(sum(|traded| traded.bought), bought);
        prop_assert_eq!(sum(|traded| traded.sold), volume - bought);
        prop_assert_eq!(profile.total(), traded(bought, volume - bought));
        for bin in profile.bins() {
            for (part, whole) in [(bin.traded.bought, bought), (bin.traded.sold, volume - bought)] {
                let even = whole / i128::from(bins);
                prop_assert!(part == even || part == even + 1, "{} of {} in {} bins", part, whole, bins);
            }
            prop_assert!(bin.low > low - size && bin.low <= low + range);
        }
    }

    /// A window that slides over candles, whose newest changes, holds what one made afresh would.
    #[test]
    fn a_sliding_window_is_as_if_made_afresh(candles in candles(80), window in 1usize..20) {
        let mut profile = VolumeProfile::new(5, 200);
        for (number, candle) in candles.iter().enumerate() {
            let growing = Candle { volume: candle.volume / 2, taker_buy_volume: candle.taker_buy_volume / 2, ..*candle };
            profile.add(&growing).unwrap();
            profile.remove(&growing).unwrap();
            profile.add(candle).unwrap();
            if number >= window {
                profile.remove(&candles[number - window]).unwrap();
            }
            let mut afresh = VolumeProfile::new(5, 200);
            for candle in &candles[(number + 1).saturating_sub(window)..=number] {
                afresh.add(candle).unwrap();
            }
            prop_assert_eq!(content(&profile), content(&afresh));
        }
    }

    /// What is refused changes nothing, and nothing panics.
    #[test]
    fn what_does_not_fit_changes_nothing(
        steps in prop::collection::vec((price(), price(), volume(), volume(), 0u8..4), 0..40),
        near in candles(10), size in prop_oneof![any::<i64>(), 1i64..4], most in 0usize..100,
    ) {
        let mut profile = VolumeProfile::new(size, most);
        for candle in &near {
            let _ = profile.add(candle);
        }
        for (low, high, volume, bought, action) in steps {
            let before = profile.clone();
            let wild = candle(low, high, volume, bought);
            let outcome = match action {
                0 => profile.add(&wild),
                1 => profile.remove(&wild),
                2 => profile.remove(&candle(low % 300, high % 300, volume % 1_000, bought % 1_000)),
                _ => profile.add_trade(&trade(low, high, Side::Sell)),
            };
            if outcome.is_err() {
                prop_assert_eq!(&profile, &before);
            }
            let sum: i128 = profile.bins().map(|bin| bin.traded.volume()).sum();
            prop_assert_eq!(sum, profile.total().volume());
            prop_assert!(profile.bins().count() <= most.max(1));
            prop_assert_eq!(profile.value_area(100).map(|area| area.volume), (sum > 0).then_some(sum));
        }
    }

    /// The value area holds the point of control and enough volume, and with one pair of bins less it would not.
    #[test]
    fn a_value_area_holds_enough(volumes in prop::collection::vec(0i64..50, 1..60), percent in 0u8..=100) {
        let profile = of_volumes(&volumes);
        let Some(area) = profile.value_area(percent) else {
            prop_assert!(volumes.iter().all(|volume| *volume == 0));
            return Ok(());
        };
        let control = profile.point_of_control().unwrap();
        let fullest = volumes.iter().max().unwrap();
        prop_assert_eq!(control.traded.volume(), i128::from(*fullest));
        prop_assert!(area.low <= control.low && control.low < area.high);
        let inside = profile.bins().filter(|bin| (area.low..=area.high).contains(&bin.low));
        prop_assert_eq!(inside.map(|bin| bin.traded.volume()).sum::<i128>(), area.volume);
        let enough = profile.total().volume() * i128::from(percent);
        prop_assert!(area.volume * 100 >= enough);
        if area.high - area.low >= 10 {
            let pair = |low: i64| (low..low + 20).step_by(10).map(|low| at(&profile, low)).sum::<i128>();
            let at_an_end = pair(area.low).max(pair(area.high - 19));
            prop_assert!((area.volume - at_an_end) * 100 < enough);
        }
    }

    #[test]
    fn a_round_size_fits_and_the_next_smaller_one_does_not(low in any::<i64>(), high in any::<i64>(), most in 4usize..2_000) {
        let (low, high) = (low.min(high), low.max(high));
        let size = VolumeProfile::size_for(low, high, most).unwrap();
        let count = |size: i64| i128::from(high.div_euclid(size)) - i128::from(low.div_euclid(size)) + 1;
        prop_assert!(count(size) <= most as i128);
        let leading = size.to_string().bytes().next().unwrap();
        let smaller = if leading == b'5' { size / 5 * 2 } else { size / 2 };
        prop_assert!(smaller == 0 || count(smaller) > most as i128, "{} would do, not {}", smaller, size);
    }
}

fn at(profile: &VolumeProfile, low: i64) -> i128 {
    profile.bins().find(|bin| bin.low == low).map_or(0, |bin| bin.traded.volume())
}

#[test]
fn a_candle_fills_the_bins_from_low_to_high() {
    let mut profile = VolumeProfile::new(10, 8);
    profile.add(&candle(95, 121, 10, 4)).unwrap();
    let bins: Vec<_> = profile.bins().map(|bin| (bin.low, bin.traded)).collect();
    let expected = [(90, traded(1, 1)), (100, traded(1, 2)), (110, traded(1, 1)), (120, traded(1, 2))];
    assert_eq!(bins, expected);
}

/// The example of the book's rule: 2500 at the point of control, then 3600 above against 3000 below.
#[test]
fn a_value_area_grows_by_pairs() {
    let profile = of_volumes(&[100, 1_400, 1_600, 2_500, 1_900, 1_700, 50, 60]);
    assert_eq!(profile.point_of_control(), Some(Bin { low: 1_030, traded: traded(2_500, 0) }));
    assert_eq!(profile.value_area(26), Some(ValueArea { low: 1_030, high: 1_039, volume: 2_500 }));
    assert_eq!(profile.value_area(27), Some(ValueArea { low: 1_030, high: 1_059, volume: 6_100 }));
    assert_eq!(profile.value_area(70), Some(ValueArea { low: 1_010, high: 1_059, volume: 9_100 }));
    assert_eq!(profile.value_area(100), Some(ValueArea { low: 1_000, high: 1_079, volume: 9_310 }));
}

#[test]
fn of_equals_the_middle_counts_then_the_lower_and_the_upper_pair() {
    let control = |volumes: &[i64]| of_volumes(volumes).point_of_control().unwrap().low;
    assert_eq!(control(&[5, 1, 5, 1, 1]), 1_020);
    assert_eq!(control(&[5, 1, 5]), 1_000);
    let area = of_volumes(&[1, 1, 2, 1, 1]).value_area(60).unwrap();
    assert_eq!((area.low, area.high), (1_020, 1_049));
}

#[test]
fn prices_may_lie_at_either_end_of_all() {
    for (end, next) in [(i64::MAX, i64::MAX - 1), (i64::MIN, i64::MIN + 1)] {
        let mut profile = VolumeProfile::new(1, 8);
        profile.add_trade(&trade(end, 3, Side::Buy)).unwrap();
        profile.add_trade(&trade(next, 1, Side::Sell)).unwrap();
        assert_eq!(profile.point_of_control().unwrap().low, end);
        let area = profile.value_area(100).unwrap();
        assert_eq!((area.low, area.high, area.volume), (end.min(next), end.max(next), 4));
        profile.add(&candle(i64::MIN, i64::MAX, 1, 1)).unwrap_err();
    }
}

#[test]
fn says_what_does_not_fit() {
    let mut profile = VolumeProfile::new(10, 4);
    profile.add(&candle(100, 119, 10, 4)).unwrap();
    let refused = profile.add(&candle(130, 140, 10, 4)).unwrap_err();
    assert_eq!(refused, ProfileError::TooWide { needed: 5, most: 4 });
    assert_eq!(
        refused.to_string(),
        "the prices span 5 bins, and there is room for 4: larger bins are needed"
    );
    assert_eq!(
        profile.remove(&candle(140, 159, 10, 4)),
        Err(ProfileError::NotThere),
        "another place in memory"
    );
    assert_eq!(profile.add(&candle(100, 100, i128::MAX, 0)), Err(ProfileError::TooMuch));
    profile.remove(&candle(100, 119, 10, 4)).unwrap();
    assert_eq!(content(&profile), (vec![], Traded::default()));
    assert_eq!((profile.point_of_control(), profile.value_area(70)), (None, None));
    profile.add(&candle(1_000_000, 1_000_010, 10, 4)).unwrap();
    profile.clear();
    assert_eq!(content(&profile), (vec![], Traded::default()));
    profile.add(&Candle::empty(0, CandleState::Gap, None)).unwrap();
    profile.add(&Candle::empty(0, CandleState::Quiet, Some(5))).unwrap();
    assert_eq!(content(&profile), (vec![], Traded::default()));
}

#[test]
fn nothing_allocates_after_construction() {
    let mut profile = VolumeProfile::new(10, 100);
    let steps = || {
        for number in 0..1_000 {
            let price = (number * 37) % 700;
            profile.add(&candle(price, price + 90, 1_000, 300)).unwrap();
            profile.add_trade(&trade(price, 0, Side::Buy)).unwrap();
            assert!(profile.value_area(70).is_some() && profile.bins().count() > 0);
            profile.remove(&candle(price, price + 90, 1_000, 300)).unwrap();
        }
    };
    assert_eq!(allocation_counter::measure(steps).count_total, 0);
}
