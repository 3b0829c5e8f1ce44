//! What is recorded, where, and what becomes of it when the queue is full.

use super::*;
use crate::engine::{EnginePlan, FeedPlan};
use crate::now_ns;
use crate::uring::Bell;
use journal::{Drain, Header, queue};
use market::{Instrument, Timeframe, Venue};
use shm::prefix::Identity;
use shm::status::{Counter, StatusReader, StatusWriter};
use std::sync::Arc;

fn recorded(queue_bytes: usize) -> (Recorded, Drain, StatusReader) {
    let status = Arc::new(StatusWriter::create(0, 0, [0; 2]).unwrap());
    let reader = StatusReader::open(status.reader_fd().unwrap()).unwrap();
    let (tap, drain) = queue(queue_bytes, 1);
    let recorder = Recorder::new(tap, Arc::new(Bell::default()), status.clone());
    let mut recorded = Recorded::from(engine(&status));
    recorded.record(recorder, b"start".to_vec(), 1);
    (recorded, drain, reader)
}

fn engine(status: &Arc<StatusWriter>) -> Engine {
    let instruments = vec![(Instrument::new(Venue::Binance, "A"), vec![Timeframe::S1])];
    let plan = EnginePlan {
        feeds: &[FeedPlan { venue: Venue::Binance, instruments }],
        bars: 10,
        published: 10,
        huge_pages: false,
        identity: Identity::default(),
    };
    Engine::new(&plan, status.clone(), now_ns).unwrap()
}

fn next(drain: &mut Drain) -> Option<(Header, Vec<u8>)> {
    let (header, len) = drain.front()?;
    let mut payload = vec![0; len];
    drain.take(&mut payload);
    drain.pass();
    Some((header, payload))
}

fn kinds(drain: &mut Drain) -> Vec<(Kind, u32)> {
    std::iter::from_fn(|| next(drain)).map(|(header, _)| (header.kind, header.generation)).collect()
}

#[test]
fn all_is_recorded_in_its_order_with_its_time() {
    let (mut recorded, mut drain, status) = recorded(1 << 16);
    let begun_ns = now_ns();
    recorded.take(&Input::Connected { feed: 0, line: 2 }, begun_ns);
    assert_eq!(recorded.frame(0, 2, b"no frame", begun_ns), recorded.frame(0, 2, b"no frame", begun_ns));
    recorded.take(&Input::Tick, begun_ns + 5);
    assert_eq!(status.counter(Counter::FramesIn), 2);
    assert_eq!(next(&mut drain).unwrap().1, b"start");
    let (header, payload) = next(&mut drain).unwrap();
    assert_eq!((header.kind, header.line, payload.len()), (Kind::Connected, 2, 0));
    let (header, payload) = next(&mut drain).unwrap();
    assert_eq!((header.kind, header.line, &payload[..]), (Kind::Frame, 2, &b"no frame"[..]));
    assert_eq!(header.stamp.mono_ns, begun_ns);
    let year_2020_ns = 1_577_836_800_000_000_000;
    assert!(header.stamp.real_ns > year_2020_ns);
    assert_eq!(kinds(&mut drain), [(Kind::Frame, 1), (Kind::Tick, 1)]);
}

/// Nothing that follows it can be read without a start: one that finds no room comes as soon as there is some.
#[test]
fn a_start_that_finds_no_room_comes_later() {
    let (mut recorded, mut drain, _status) = recorded(256);
    while next(&mut drain).is_some() {}
    for at_ns in 1..20 {
        recorded.take(&Input::Tick, at_ns);
    }
    let status = Arc::new(StatusWriter::create(0, 0, [0; 2]).unwrap());
    recorded.reconfigure(engine(&status), &[Some(0)], (2, b"the next".to_vec()), 21);
    let ticks = kinds(&mut drain);
    assert!(ticks.len() == 8 && ticks.iter().all(|kind| *kind == (Kind::Tick, 1)), "{ticks:?}");
    recorded.take(&Input::Tick, 22);
    assert_eq!(kinds(&mut drain), [(Kind::Gap, 2), (Kind::Start, 2), (Kind::Tick, 2)]);
    recorded.take(&Input::Tick, 23);
    assert_eq!(kinds(&mut drain), [(Kind::Tick, 2)]);
}

#[test]
fn without_a_journal_it_is_the_engine() {
    let status = Arc::new(StatusWriter::create(0, 0, [0; 2]).unwrap());
    let mut plain = Recorded::from(engine(&status));
    plain.frame(0, 0, b"no frame", 1);
    plain.take(&Input::Tick, 2);
    let reader = StatusReader::open(status.reader_fd().unwrap()).unwrap();
    assert_eq!(reader.counter(Counter::Malformed), 1);
    assert!(plain.tape.is_none());
}
