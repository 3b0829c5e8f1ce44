//! Inputs as records and back, and bytes that no chartd has written.

use super::*;
use journal::Stamp;
use proptest::prelude::*;

fn header(kind: Kind, feed: u16, line: u8) -> Header {
    Header { kind, flags: 0, line, feed, generation: 1, stamp: Stamp::default() }
}

fn bytes_of(input: &Input<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(input, &mut |piece| bytes.extend_from_slice(piece));
    assert_eq!(bytes.len(), payload_bytes(input), "it promises the length that it has");
    bytes
}

/// What is read back from an input's record.
fn comes_back(input: &Input<'_>, scratch: &mut Scratch) -> bool {
    let header = header(kind(input), input.feed().unwrap_or(0) as u16, line(input) as u8);
    read(&header, &bytes_of(input), scratch) == Ok(Some(*input))
}

fn level() -> impl Strategy<Value = Level> {
    (0..=i64::MAX, 0..=i64::MAX, any::<[u8; 2]>()).prop_map(|(price, qty, printed)| Level {
        price,
        qty,
        printed,
    })
}

fn trade() -> impl Strategy<Value = Trade> {
    (0..u64::MAX - 9, 0..9u64, 0..=MAX_TIME_MS, 1..i64::MAX >> 32, 1..i64::MAX >> 32, any::<bool>()).prop_map(
        |(first_id, more, time_ms, price, qty, sold)| Trade {
            first_id,
            last_id: first_id + more,
            time_ms,
            price,
            qty,
            taker: if sold { Side::Sell } else { Side::Buy },
        },
    )
}

proptest! {
    #[test]
    fn a_book_comes_back(
        feed in 0..=u16::MAX as usize,
        place: u16,
        last_id: u64,
        limit in prop::option::of(0..usize::MAX),
        bids in prop::collection::vec(level(), 0..40),
        asks in prop::collection::vec(level(), 0..40),
    ) {
        let snapshot = Snapshot { last_id, bids, asks, limit };
        let mut scratch = Scratch::default();
        let input = Input::Book { feed, instrument: InstrumentId(place), snapshot: &snapshot };
        prop_assert!(comes_back(&input, &mut scratch));
        // The same memory again: nothing is left of the one before.
        let empty = Snapshot::default();
        let input = Input::Book { feed, instrument: InstrumentId(place), snapshot: &empty };
        prop_assert!(comes_back(&input, &mut scratch));
    }

    #[test]
    fn trades_come_back(
        feed in 0..=u16::MAX as usize,
        place: u16,
        numbers: [u64; 2],
        span_ms: [i64; 2],
        trades in prop::collection::vec(trade(), 0..40),
        is_final: bool,
    ) {
        let missing = Missing { from: numbers[0], to: numbers[1], span_ms: span_ms[0]..span_ms[1] };
        let (mut scratch, instrument) = (Scratch::default(), InstrumentId(place));
        let input = Input::Trades { feed, instrument, missing: &missing, trades: &trades, is_final };
        prop_assert!(comes_back(&input, &mut scratch));
        let input = Input::Trades { feed, instrument, missing: &missing, trades: &[], is_final: !is_final };
        prop_assert!(comes_back(&input, &mut scratch));
    }

    #[test]
    fn all_else_comes_back(
        feed in 0..=u16::MAX as usize,
        line in 0..=u8::MAX as usize,
        frame in prop::collection::vec(any::<u8>(), 0..300),
        midnight_ms: i64,
        numbers: [u64; 2],
        flags: [bool; 2],
    ) {
        let [from, to] = numbers;
        let [is_whole, is_proven] = flags;
        let inputs = [
            Input::Frame { feed, line, frame: &frame },
            Input::Connected { feed, line },
            Input::Disconnected { feed, line },
            Input::Day { feed, midnight_ms },
            Input::Begin { feed, is_whole, is_proven },
            Input::Lost { feed, from, to },
            Input::Tick,
        ];
        for input in inputs {
            prop_assert!(comes_back(&input, &mut Scratch::default()), "{:?}", input);
        }
    }

    /// Whatever the bytes are: no panic, and what is read has no more than they have. What reads well was written so,
    /// but for bytes that say nothing.
    #[test]
    fn hostile_bytes_do_no_harm(
        kind in 0..Kind::ALL.len(),
        mut payload in prop::collection::vec(any::<u8>(), 0..400),
        counts in prop::option::of([0..9u32, 0..9u32]),
    ) {
        let kind = Kind::ALL[kind];
        if let Some(counts) = counts {
            let from = 4.min(payload.len());
            for (place, count) in payload[from..].chunks_exact_mut(4).zip(counts) {
                place.copy_from_slice(&count.to_le_bytes());
            }
        }
        let mut scratch = Scratch::default();
        let read_back = read(&header(kind, 3, 4), &payload, &mut scratch);
        if let Ok(Some(input)) = read_back {
            prop_assert_eq!(bytes_of(&input).len(), payload.len());
            prop_assert_eq!(super::kind(&input), kind);
        }
        prop_assert!(scratch.trades.capacity() * TRADE_BYTES <= payload.len().max(4 * TRADE_BYTES) * 2);
    }
}

#[test]
fn a_count_that_is_a_lie_takes_no_memory() {
    let mut payload = [0; TRADES_BYTES];
    payload[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut scratch = Scratch::default();
    let refused = Err(BadInput::Length(TRADES_BYTES));
    assert_eq!(read(&header(Kind::Trades, 0, 0), &payload, &mut scratch), refused);
    let mut payload = [0; BOOK_BYTES];
    payload[4..12].fill(0xff);
    let refused = Err(BadInput::Length(BOOK_BYTES));
    assert_eq!(read(&header(Kind::Book, 0, 0), &payload, &mut scratch), refused);
    assert_eq!((scratch.trades.capacity(), scratch.snapshot.bids.capacity()), (0, 0));
}

/// What would break the engine's arithmetic is refused.
#[test]
fn numbers_that_cannot_be_are_refused() {
    let good = Trade { first_id: 5, last_id: 6, time_ms: 7, price: 8, qty: 9, taker: Side::Buy };
    let missing = Missing { from: 5, to: 6, span_ms: 0..1 };
    let outcome = |trade: Trade| {
        let trades = [trade];
        let input = Input::Trades {
            feed: 0,
            instrument: InstrumentId(0),
            missing: &missing,
            trades: &trades,
            is_final: true,
        };
        read(&header(Kind::Trades, 0, 0), &bytes_of(&input), &mut Scratch::default()).is_ok()
    };
    assert!(outcome(good));
    for bad in [
        Trade { last_id: 4, ..good },
        Trade { last_id: u64::MAX, ..good },
        Trade { time_ms: -1, ..good },
        Trade { time_ms: MAX_TIME_MS + 1, ..good },
        Trade { price: 0, ..good },
        Trade { qty: -1, ..good },
        Trade { price: i64::MAX, qty: i64::MAX, ..good },
    ] {
        assert!(!outcome(bad), "{bad:?}");
    }
}

#[test]
fn the_bytes_are_those_that_the_table_tells() {
    let level = |price| Level { price, qty: 2, printed: [3, 4] };
    let snapshot =
        Snapshot { last_id: 9, bids: vec![level(1)], asks: vec![level(5), level(6)], limit: Some(7) };
    let bytes = bytes_of(&Input::Book { feed: 0, instrument: InstrumentId(0x0201), snapshot: &snapshot });
    assert_eq!(bytes[..12], [1, 2, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]);
    assert_eq!((bytes[16], bytes[24], bytes[32], bytes[40], &bytes[48..50]), (9, 7, 1, 2, &[3u8, 4][..]));
    assert_eq!((bytes[50], bytes[68], bytes.len()), (5, 6, 32 + 3 * 18));
    let trade = Trade { first_id: 1, last_id: 2, time_ms: 3, price: 4, qty: 5, taker: Side::Sell };
    let missing = Missing { from: 6, to: 7, span_ms: 8..9 };
    let (instrument, trades) = (InstrumentId(10), [trade]);
    let input = Input::Trades { feed: 0, instrument, missing: &missing, trades: &trades, is_final: true };
    let bytes = bytes_of(&input);
    assert_eq!(bytes[..8], [10, 0, 1, 0, 1, 0, 0, 0]);
    assert_eq!([8, 16, 24, 32, 40, 48, 56, 64, 72, 80].map(|at| bytes[at]), [6, 7, 8, 9, 1, 2, 3, 4, 5, 1]);
    assert_eq!(bytes.len(), 40 + 41);
    assert_eq!(bytes_of(&Input::Begin { feed: 0, is_whole: false, is_proven: true }), [2]);
    assert_eq!(bytes_of(&Input::Begin { feed: 0, is_whole: true, is_proven: false }), [1]);
}
