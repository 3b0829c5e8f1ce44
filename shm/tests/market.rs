//! The market segment: ticks, quotes and candles arrive whole, and a reader that is too slow is told.

use shm::market::*;
use shm::record::Text;

fn plan(tick_capacity: usize, candle_capacity: usize) -> MarketPlan {
    let instrument = InstrumentEntry {
        venue: Text::new("binance"),
        symbol: Text::new("BTCUSDT"),
        price_digits: 8,
        qty_digits: 8,
    };
    MarketPlan {
        instruments: vec![instrument],
        series: vec![(0, "1m".into())],
        tick_capacity,
        candle_capacity,
        identity: shm::prefix::Identity::default(),
    }
}

fn tick(n: u64) -> TickRecord {
    let (price, qty) = (n as i64 * 3, n as i64 * 5);
    TickRecord { source: 0, time_ms: n as i64, first_id: n, last_id: n, price, qty, receive_ns: n * 7 }
}

fn candle(number: u64, salt: i64) -> CandleRecord {
    CandleRecord {
        number,
        open_ms: number as i64,
        state: 1 | CandleRecord::PRICED,
        rev: 0,
        open: salt,
        high: salt,
        low: salt,
        close: salt,
        volume: i128::from(salt) << 70,
        quote_volume: -i128::from(salt),
        taker_buy_volume: salt.into(),
        taker_buy_quote_volume: salt.into(),
        trades: salt as u64,
        first_ms: salt,
        first_id: salt as u64,
        last_ms: salt,
        last_id: salt as u64,
    }
}

#[test]
fn a_slow_reader_of_ticks_is_told_how_many_it_lost() {
    let mut writer = MarketWriter::create(&plan(16, 4), false).unwrap();
    let reader = MarketReader::open(writer.reader_fd().unwrap()).unwrap();
    let (mut next, mut seen) = (0, Vec::new());
    (0..10).for_each(|n| writer.tick(&tick(n)));
    assert_eq!(reader.read_ticks(&mut next, u64::MAX, |t| seen.push(t)), 0);
    assert_eq!(seen, (0..10).map(tick).collect::<Vec<_>>());
    seen.clear();
    (10..50).for_each(|n| writer.tick(&tick(n)));
    assert_eq!(reader.read_ticks(&mut next, u64::MAX, |t| seen.push(t)), 24);
    assert_eq!(seen, (34..50).map(tick).collect::<Vec<_>>());
    assert_eq!(next, 50);
}

#[test]
fn candles_are_found_by_number_until_they_are_written_over() {
    let mut writer = MarketWriter::create(&plan(16, 4), false).unwrap();
    let reader = MarketReader::open(writer.reader_fd().unwrap()).unwrap();
    assert_eq!((reader.state(0), reader.candle(0, 0), reader.quote(0)), (None, None, None));
    for number in 0..6 {
        writer.candle(0, &candle(number, number as i64 + 100));
        writer.commit(0, number.saturating_sub(3)..number + 1, true, Origin::default());
    }
    let state = reader.state(0).unwrap();
    assert_eq!((state.first, state.end, state.revision, state.amended), (2, 6, 6, 0));
    assert_eq!(reader.candle(0, 5), Some(candle(5, 105)));
    assert_eq!(reader.candle(0, 1), None, "written over");
    assert_eq!(reader.candle(0, 6), None, "not written yet");
    writer.candle(0, &candle(4, 7));
    writer.commit(0, 2..6, false, Origin::default());
    assert_eq!(reader.state(0).unwrap().amended, 7);
    assert_eq!(reader.candle(0, 4), Some(candle(4, 7)));
}

/// One thread writes at full speed, another reads: every record is one that was written.
#[test]
fn records_are_never_torn() {
    let mut writer = MarketWriter::create(&plan(1 << 12, 2), false).unwrap();
    let reader = MarketReader::open(writer.reader_fd().unwrap()).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for salt in 1..300_000i64 {
                writer.candle(0, &candle(1, salt));
                writer.tick(&tick(salt as u64));
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        let (mut next, mut ticks, mut candles) = (0, 0, 0);
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            if let Some(found) = reader.candle(0, 1) {
                assert_eq!(found, candle(1, found.open));
                candles += 1;
            }
            reader.read_ticks(&mut next, u64::MAX, |found| {
                assert_eq!(found, tick(found.first_id));
                ticks += 1;
            });
        }
        assert!(candles > 100 && ticks > 100, "{candles} candles and {ticks} ticks prove nothing");
    });
}

#[test]
fn a_foreign_segment_is_refused() {
    for words in
        [vec![0u64; 10], vec![MAGIC, 1, 0, u64::MAX, 64, u64::MAX, 64, 64, u64::MAX, 1], vec![MAGIC, 2]]
    {
        let segment = shm::segment::Segment::create("test", 4096, false).unwrap();
        segment.words().store(0, &words);
        assert!(MarketReader::open(segment.reader_fd().unwrap()).is_err());
    }
}
