//! ITCH 5.0: messages of an independent encoder, field by field, and books against a plain list of orders.

use market::Side;
use market::itch::{
    Body, BookSide, Cross, DAY_NS, Decoder, Event, Execution, ItchError, Level, Message, Symbol, decode,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::Command;

const AAPL: Symbol = Symbol(*b"AAPL    ");
const NOON_NS: u64 = DAY_NS / 2;

/// A message from its head and its fields.
fn message(kind: u8, locate: u16, fields: &[&[u8]]) -> Vec<u8> {
    let time = NOON_NS.to_be_bytes();
    [&[kind][..], &locate.to_be_bytes(), &[0, 9], &time[2..], &fields.concat()].concat()
}

fn add(locate: u16, reference: u64, side: u8, shares: u32, price: u32) -> Vec<u8> {
    let [reference, shares, price] =
        [&reference.to_be_bytes()[..], &shares.to_be_bytes(), &price.to_be_bytes()];
    message(b'A', locate, &[reference, &[side], shares, &AAPL.0, price])
}

fn executed(locate: u16, reference: u64, shares: u32, number: u64) -> Vec<u8> {
    message(b'E', locate, &[&reference.to_be_bytes(), &shares.to_be_bytes(), &number.to_be_bytes()])
}

fn executed_at(locate: u16, reference: u64, shares: u32, number: u64, printable: u8, price: u32) -> Vec<u8> {
    let mut bytes = executed(locate, reference, shares, number);
    bytes[0] = b'C';
    [&bytes[..], &[printable], &price.to_be_bytes()].concat()
}

fn cancel(locate: u16, reference: u64, shares: u32) -> Vec<u8> {
    message(b'X', locate, &[&reference.to_be_bytes(), &shares.to_be_bytes()])
}

fn delete(locate: u16, reference: u64) -> Vec<u8> {
    message(b'D', locate, &[&reference.to_be_bytes()])
}

fn replace(locate: u16, reference: u64, new: u64, shares: u32, price: u32) -> Vec<u8> {
    let fields =
        [&reference.to_be_bytes()[..], &new.to_be_bytes(), &shares.to_be_bytes(), &price.to_be_bytes()];
    message(b'U', locate, &fields)
}

/// What a decoder says to a message.
#[track_caller]
fn said(decoder: &mut Decoder, bytes: &[u8]) -> Vec<Event> {
    let mut said = vec![];
    decoder.message(bytes, &mut |event| said.push(event)).unwrap();
    said
}

fn level(locate: u16, side: BookSide, price: i64, qty: i64, change: i64) -> Event {
    Event::Level(Level { locate, time_ns: NOON_NS, side, price, qty, change })
}

fn trade(locate: u16, match_number: u64, price: i64, qty: i64, taker: Option<Side>) -> Event {
    Event::Trade(Execution { locate, match_number, time_ns: NOON_NS, price, qty, taker })
}

mod messages {
    use super::*;

    #[test]
    fn an_order_is_read_by_its_offsets() {
        let bytes = b"A\x1F\x40\x00\x02\x1E\x3F\x5A\x6B\x7C\x8D\0\0\0\0\0\x0F\x42\x40S\0\0\x01\x2CZVZZT   \0\x18\x6A\x10";
        let body = Body::Add {
            reference: 1_000_000,
            side: BookSide::Ask,
            shares: 300,
            symbol: Symbol(*b"ZVZZT   "),
            price: 1_600_016,
            participant: None,
        };
        let time_ns = 0x1E3F_5A6B_7C8D;
        assert_eq!(decode(bytes), Ok(Message { locate: 8000, tracking: 2, time_ns, body }));
        assert_eq!(Symbol(*b"ZVZZT   ").to_string(), "ZVZZT");
    }

    #[test]
    fn what_is_not_a_message_is_an_error_and_what_is_new_is_not() {
        assert_eq!(decode(b""), Err(ItchError::Empty));
        assert_eq!(decode(b"?").map(|message| message.body), Ok(Body::Unknown { kind: b'?' }));
        assert_eq!(decode(&add(1, 2, b'X', 3, 4)), Err(ItchError::Side(b'X')));
        assert_eq!(decode(&executed_at(1, 2, 3, 4, b'?', 5)), Err(ItchError::Printable(b'?')));
        let mut late = delete(1, 2);
        late[5..11].copy_from_slice(&DAY_NS.to_be_bytes()[2..]);
        assert_eq!(decode(&late), Err(ItchError::Time(DAY_NS)));
    }

    /// One message as `with_itch.py` writes it.
    fn describe(message: &Message) -> String {
        let Message { locate, tracking, time_ns, body } = *message;
        let side = |side: BookSide| if side == BookSide::Bid { 'B' } else { 'S' };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap().replace(' ', "_");
        let letter = |byte: u8| text(&[byte]);
        let body = match body {
            Body::System { code } => format!("S {}", letter(code)),
            Body::Directory { symbol, market_category, round_lot, is_test } => {
                format!("R {} {} {round_lot} {}", text(&symbol.0), letter(market_category), u8::from(is_test))
            }
            Body::Status { symbol, state, reason } => {
                format!("H {} {} {}", text(&symbol.0), letter(state), text(&reason))
            }
            Body::Add { reference, side: of, shares, symbol, price, participant } => {
                let (kind, side, symbol) =
                    (if participant.is_some() { 'F' } else { 'A' }, side(of), text(&symbol.0));
                let participant = participant.map_or(String::new(), |name| format!(" {}", text(&name)));
                format!("{kind} {reference} {side} {shares} {symbol} {price}{participant}")
            }
            Body::Executed { reference, shares, match_number } => {
                format!("E {reference} {shares} {match_number}")
            }
            Body::ExecutedAt { reference, shares, match_number, printable, price } => {
                format!("C {reference} {shares} {match_number} {} {price}", if printable { 'Y' } else { 'N' })
            }
            Body::Cancel { reference, shares } => format!("X {reference} {shares}"),
            Body::Delete { reference } => format!("D {reference}"),
            Body::Replace { reference, new_reference, shares, price } => {
                format!("U {reference} {new_reference} {shares} {price}")
            }
            Body::Trade { reference, side: of, shares, symbol, price, match_number } => {
                format!("P {reference} {} {shares} {} {price} {match_number}", side(of), text(&symbol.0))
            }
            Body::Cross { shares, symbol, price, match_number, kind } => {
                format!("Q {shares} {} {price} {match_number} {}", text(&symbol.0), letter(kind))
            }
            Body::Broken { match_number } => format!("B {match_number}"),
            Body::Other { kind } => letter(kind),
            Body::Unknown { kind } => format!("unknown {kind}"),
        };
        format!("{locate} {tracking} {time_ns} {body}")
    }

    /// `itchfeed`, a Python package, encodes every type; each field must be read as it was written.
    #[test]
    fn of_an_independent_encoder_are_read_field_by_field() {
        let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python/bin/python");
        let has_it = Command::new(&python).args(["-c", "import itch.messages"]).output();
        if !has_it.is_ok_and(|output| output.status.success()) {
            return println!("skipped: ITCH against itchfeed (no itchfeed)");
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/with_itch.py");
        let done = Command::new(&python).arg(script).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let text = String::from_utf8(done.stdout).unwrap();
        let mut kinds = BTreeMap::new();
        for line in text.lines() {
            let (hex, expected) = line.split_once(' ').unwrap();
            let byte = |at: usize| u8::from_str_radix(&hex[2 * at..][..2], 16).unwrap();
            let mut bytes: Vec<u8> = (0..hex.len() / 2).map(byte).collect();
            assert_eq!(describe(&decode(&bytes).unwrap()), expected);
            *kinds.entry(bytes[0]).or_insert(0) += 1;
            let (kind, expected) = (bytes[0].into(), bytes.len());
            bytes.push(0);
            for len in (1..expected).chain([expected + 1]) {
                assert_eq!(decode(&bytes[..len]), Err(ItchError::Length { kind, len, expected }));
            }
        }
        assert_eq!(kinds.len(), 23, "{kinds:?}");
        assert!(kinds.values().all(|count| *count == 50), "{kinds:?}");
    }
}

mod orders {
    use super::*;
    use BookSide::{Ask, Bid};

    #[test]
    fn trades_and_levels_follow_from_messages() {
        let mut decoder = Decoder::new(100);
        let stock = Event::Stock { locate: 7, symbol: AAPL };
        assert_eq!(said(&mut decoder, &add(7, 1, b'B', 100, 5000)), [stock, level(7, Bid, 5000, 100, 100)]);
        assert_eq!(said(&mut decoder, &add(7, 2, b'B', 50, 5000)), [level(7, Bid, 5000, 150, 50)]);
        assert_eq!(said(&mut decoder, &add(7, 3, b'S', 10, 5100)), [level(7, Ask, 5100, 10, 10)]);
        let taken = [trade(7, 1000, 5000, 30, Some(Side::Sell)), level(7, Bid, 5000, 120, -30)];
        assert_eq!(said(&mut decoder, &executed(7, 1, 30, 1000)), taken);
        let taken = [trade(7, 1001, 5050, 4, Some(Side::Buy)), level(7, Ask, 5100, 6, -4)];
        assert_eq!(said(&mut decoder, &executed_at(7, 3, 4, 1001, b'Y', 5050)), taken);
        assert_eq!(said(&mut decoder, &executed_at(7, 3, 1, 1002, b'N', 5050)), [level(7, Ask, 5100, 5, -1)]);
        assert_eq!(said(&mut decoder, &cancel(7, 2, 20)), [level(7, Bid, 5000, 100, -20)]);
        let moved = [level(7, Bid, 5000, 70, -30), level(7, Bid, 4900, 8, 8)];
        assert_eq!(said(&mut decoder, &replace(7, 2, 4, 8, 4900)), moved);
        assert_eq!(said(&mut decoder, &delete(7, 1)), [level(7, Bid, 5000, 0, -70)]);
        assert_eq!(said(&mut decoder, &executed(7, 3, 5, 1003)).last(), Some(&level(7, Ask, 5100, 0, -5)));
        assert!(decoder.is_trusted(7));
        assert_eq!((decoder.orders(), decoder.level(7, Bid, 4900), decoder.level(7, Bid, 5000)), (1, 8, 0));
        assert_eq!((decoder.counters().trades, decoder.counters().not_printable), (3, 1));
        decoder.clear();
        assert_eq!((decoder.orders(), decoder.level(7, Bid, 4900), decoder.symbol(7)), (0, 0, None));
    }

    #[test]
    fn what_is_no_order_passes() {
        let mut decoder = Decoder::new(1);
        let (number, shares) = (77u64.to_be_bytes(), 5u32.to_be_bytes());
        let fields: [&[u8]; 6] = [&[0; 8], b"B", &shares, &AAPL.0, &5000u32.to_be_bytes(), &number];
        let hidden = said(&mut decoder, &message(b'P', 7, &fields));
        assert_eq!(hidden, [Event::Stock { locate: 7, symbol: AAPL }, trade(7, 77, 5000, 5, None)]);
        let fields: [&[u8]; 5] =
            [&(1u64 << 33).to_be_bytes(), &AAPL.0, &5000u32.to_be_bytes(), &number, b"O"];
        let (shares, time_ns) = (1 << 33, NOON_NS);
        let cross = Cross { locate: 7, match_number: 77, time_ns, price: 5000, shares, kind: b'O' };
        assert_eq!(said(&mut decoder, &message(b'Q', 7, &fields)), [Event::Cross(cross)]);
        let broken = Event::Broken { locate: 7, match_number: 77, time_ns };
        assert_eq!(said(&mut decoder, &message(b'B', 7, &[&number])), [broken]);
        assert_eq!(said(&mut decoder, &message(b'S', 0, &[b"Q"])), [Event::System { time_ns, code: b'Q' }]);
        let halted = Event::Status { locate: 7, time_ns, state: b'H' };
        assert_eq!(said(&mut decoder, &message(b'H', 7, &[&AAPL.0, b"H", b" ", b"T12 "])), [halted]);
        assert_eq!(said(&mut decoder, b"?what"), []);
        assert_eq!(decoder.counters().unknown_types, 1);
        let renamed = Symbol(*b"NEW     ");
        let directory = message(b'R', 7, &[&renamed.0, &[b' '; 20]]);
        assert_eq!(said(&mut decoder, &directory), [Event::Stock { locate: 7, symbol: renamed }]);
        assert_eq!(decoder.symbol(7), Some(renamed));
        assert!(decoder.is_trusted(7));
    }

    #[test]
    fn orders_beyond_the_limit_cost_the_books_trust() {
        let mut decoder = Decoder::new(2);
        for reference in 0..2 {
            said(&mut decoder, &add(7, reference, b'S', 10, 5000));
        }
        assert!(decoder.is_trusted(7));
        assert_eq!(said(&mut decoder, &add(7, 9, b'S', 10, 5000)), [Event::Untrusted { locate: 7 }]);
        assert_eq!((decoder.counters().orders_full, decoder.level(7, Ask, 5000)), (1, 20));
        assert!(!decoder.is_trusted(7) && decoder.is_trusted(8));
        said(&mut decoder, &delete(7, 0));
        assert_eq!(said(&mut decoder, &add(7, 9, b'S', 1, 5000)), [level(7, Ask, 5000, 11, 1)]);
    }

    #[test]
    fn unknown_orders_cost_the_books_trust_but_not_the_trade() {
        let untrusted = Event::Untrusted { locate: 7 };
        let unpriced = Event::Unpriced { locate: 7, match_number: 5, time_ns: NOON_NS, qty: 3 };
        for (bytes, events) in [
            (executed(7, 1, 3, 5), vec![unpriced, untrusted]),
            (executed_at(7, 1, 3, 5, b'Y', 5000), vec![trade(7, 5, 5000, 3, None), untrusted]),
            (executed_at(7, 1, 3, 5, b'N', 5000), vec![untrusted]),
            (cancel(7, 1, 3), vec![untrusted]),
            (delete(7, 1), vec![untrusted]),
            (replace(7, 1, 2, 3, 5000), vec![untrusted]),
        ] {
            let mut decoder = Decoder::new(10);
            assert_eq!(said(&mut decoder, &bytes), events);
            assert_eq!((decoder.counters().orders_unknown, decoder.orders()), (1, 0));
            assert!(!decoder.is_trusted(7));
            decoder.clear();
            assert!(decoder.is_trusted(7));
        }
    }

    #[test]
    fn contradictions_cost_the_books_trust_and_stay_within_bounds() {
        let untrusted = Event::Untrusted { locate: 7 };
        for (bytes, events, left) in [
            (
                add(7, 1, b'S', 5, 6000),
                vec![untrusted, level(7, Bid, 5000, 0, -10), level(7, Ask, 6000, 5, 5)],
                0,
            ),
            (add(7, 2, b'B', 0, 5000), vec![untrusted], 10),
            (add(7, 2, b'B', 5, 0), vec![untrusted], 10),
            (cancel(7, 1, 11), vec![untrusted, level(7, Bid, 5000, 0, -10)], 0),
            (cancel(7, 1, 0), vec![untrusted], 10),
            (replace(7, 1, 2, 0, 5000), vec![level(7, Bid, 5000, 0, -10), untrusted], 0),
            (executed_at(7, 1, 1, 5, b'Y', 0), vec![untrusted, level(7, Bid, 5000, 9, -1)], 9),
            (delete(8, 1), vec![untrusted, Event::Untrusted { locate: 8 }, level(7, Bid, 5000, 0, -10)], 0),
        ] {
            let mut decoder = Decoder::new(10);
            said(&mut decoder, &add(7, 1, b'B', 10, 5000));
            assert_eq!(said(&mut decoder, &bytes), events);
            assert_eq!((decoder.counters().inconsistent, decoder.level(7, Bid, 5000)), (1, left));
        }
    }

    #[test]
    fn a_message_that_cannot_be_read_costs_its_books_trust() {
        let trust = |bytes: &[u8]| {
            let mut decoder = Decoder::new(10);
            decoder.message(bytes, &mut |_| {}).unwrap_err();
            assert_eq!(decoder.counters().malformed, 1);
            [7, 8].map(|locate| decoder.is_trusted(locate))
        };
        assert_eq!(trust(&delete(7, 1)[..18]), [false, true]);
        assert_eq!(trust(b"D\0"), [false, false]);
        assert_eq!(trust(b""), [false, false]);
        assert_eq!(trust(b"I\0\x07"), [true, true]);
    }

    #[test]
    fn nothing_is_allocated_once_it_runs() {
        let mut decoder = Decoder::new(64);
        let mut messages = vec![];
        for reference in 0..1000 {
            messages.push(add(reference as u16 % 3, reference, b"BS"[reference as usize % 2], 10, 5000));
            messages.push(executed(0, reference / 2, 1, reference));
            messages.push(replace(0, reference / 3, reference + 10_000, 7, 5001));
            messages.push(delete(0, reference / 5 + 10_000));
        }
        let mut events = 0;
        let mut run = || {
            for message in &messages {
                decoder.message(message, &mut |_| events += 1).unwrap();
            }
        };
        assert_eq!(allocation_counter::measure(&mut run).count_total, 0);
        assert!(events > 1000 && decoder.counters().orders_full > 0);
    }
}

/// A resting order of the model: stock, side, price, shares.
type Resting = (u16, u8, u32, u32);

/// A side of a stock's book by price, in the two ways in which a reader can keep it.
#[derive(Default)]
struct Reader {
    by_qty: BTreeMap<(u16, u8, i64), i64>,
    by_change: BTreeMap<(u16, u8, i64), i64>,
    trades: Vec<(u64, i64, i64, Option<Side>)>,
}

impl Reader {
    fn hear(&mut self, event: Event) {
        match event {
            Event::Level(Level { locate, side, price, qty, change, .. }) => {
                let key = (locate, if side == BookSide::Bid { b'B' } else { b'S' }, price);
                self.by_qty.insert(key, qty);
                *self.by_change.entry(key).or_default() += change;
            }
            Event::Trade(trade) => {
                self.trades.push((trade.match_number, trade.price, trade.qty, trade.taker))
            }
            Event::Stock { .. } => {}
            event => panic!("{event:?}"),
        }
    }
}

/// What a list of orders displays.
fn displayed(orders: &HashMap<u64, Resting>) -> BTreeMap<(u16, u8, i64), i64> {
    let mut book = BTreeMap::new();
    for (locate, side, price, shares) in orders.values() {
        *book.entry((*locate, *side, i64::from(*price))).or_default() += i64::from(*shares);
    }
    book
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A reader's book is what the orders add up to, after each message, however it is kept.
    #[test]
    fn books_are_what_the_orders_add_up_to(
        steps in prop::collection::vec((0..7u8, any::<prop::sample::Index>(), 1..=u32::MAX, 1..5u32, 0..3u16), 1..150),
    ) {
        let mut decoder = Decoder::new(200);
        let (mut orders, mut reader, mut trades) = (HashMap::<u64, Resting>::new(), Reader::default(), vec![]);
        for (number, (what, index, shares, price, locate)) in steps.into_iter().enumerate() {
            let number = number as u64;
            let mut known: Vec<_> = orders.keys().copied().collect();
            known.sort_unstable();
            let bytes = if what < 2 || known.is_empty() {
                let side = b"BS"[usize::from(what % 2)];
                orders.insert(number, (locate, side, price, shares));
                add(locate, number, side, shares, price)
            } else {
                let reference = *index.get(&known);
                let (locate, side, at, left) = orders[&reference];
                let taken = if shares % 4 == 0 { left } else { 1 + (shares - 1) % left };
                let (taker, price_taken) = (if side == b'B' { Side::Sell } else { Side::Buy }, price + 10);
                let take = |orders: &mut HashMap<u64, Resting>| match left - taken {
                    0 => drop(orders.remove(&reference)),
                    left => drop(orders.insert(reference, (locate, side, at, left))),
                };
                match what {
                    2 => {
                        take(&mut orders);
                        trades.push((number, at.into(), taken.into(), Some(taker)));
                        executed(locate, reference, taken, number)
                    }
                    3 => {
                        take(&mut orders);
                        let printable = shares % 2 == 0;
                        if printable {
                            trades.push((number, price_taken.into(), taken.into(), Some(taker)));
                        }
                        executed_at(locate, reference, taken, number, b"NY"[usize::from(printable)], price_taken)
                    }
                    4 => {
                        take(&mut orders);
                        cancel(locate, reference, taken)
                    }
                    5 => {
                        orders.remove(&reference);
                        delete(locate, reference)
                    }
                    _ => {
                        orders.remove(&reference);
                        orders.insert(number, (locate, side, price, shares));
                        replace(locate, reference, number, shares, price)
                    }
                }
            };
            decoder.message(&bytes, &mut |event| reader.hear(event)).unwrap();
            let displayed = displayed(&orders);
            for kept in [&reader.by_qty, &reader.by_change] {
                let kept: BTreeMap<_, _> = kept.iter().filter(|(_, qty)| **qty != 0).map(|(k, v)| (*k, *v)).collect();
                prop_assert_eq!(&kept, &displayed);
            }
            prop_assert_eq!(decoder.orders(), orders.len());
        }
        prop_assert_eq!(reader.trades, trades);
    }

    #[test]
    fn hostile_bytes_never_panic(
        messages in prop::collection::vec(
            (prop::sample::select(&b"SRHAFECXDUPQBYLVWKJhINO?"[..]), prop::collection::vec(0..3u8, 50), any::<bool>()), 0..200),
        garbage in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let lengths = HashMap::from([(b'A', 36), (b'E', 31), (b'C', 36), (b'X', 23), (b'D', 19), (b'U', 35)]);
        let mut decoder = Decoder::new(8);
        let mut levels = BTreeMap::new();
        let mut hear = |event| if let Event::Level(level) = event {
            let key = (level.locate, level.side as u8, level.price);
            let before = levels.insert(key, level.qty).unwrap_or(0);
            assert!(level.qty >= 0 && before + level.change == level.qty, "{level:?}");
        };
        for (kind, mut bytes, whole) in messages {
            bytes[0] = kind;
            bytes[19] = b"BSX"[usize::from(bytes[19])];
            bytes[31] = b"YN?"[usize::from(bytes[31] % 3)];
            let len = lengths.get(&kind).copied().filter(|_| whole).unwrap_or(bytes.len());
            let _ = decoder.message(&bytes[..len], &mut hear);
        }
        let _ = decoder.message(&garbage, &mut hear);
    }
}
