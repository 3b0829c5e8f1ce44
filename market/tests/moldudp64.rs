//! MoldUDP64: packets by hand and by an independent encoder, and lines that lose, repeat and reorder them.

use market::Integrity;
use market::moldudp64::{
    Arbiter, END_OF_SESSION, Event, Kind, Packet, PacketError, Request, Session, Settings, State,
};
use proptest::prelude::*;
use std::path::Path;
use std::process::Command;

const SESSION: Session = Session(*b"20261124A ");
const MS: u64 = 1_000_000;

fn body(sequence: u64) -> Vec<u8> {
    let len = (sequence.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as usize;
    (0..len).map(|index| (sequence as usize + index) as u8).collect()
}

fn header(session: Session, sequence: u64, count: u16) -> Vec<u8> {
    [&session.0[..], &sequence.to_be_bytes(), &count.to_be_bytes()].concat()
}

/// A packet of the messages `from..end`.
fn packet_of(session: Session, from: u64, end: u64) -> Vec<u8> {
    let mut packet = header(session, from, (end - from) as u16);
    for sequence in from..end {
        packet.extend((body(sequence).len() as u16).to_be_bytes());
        packet.extend(body(sequence));
    }
    packet
}

fn packet(from: u64, end: u64) -> Vec<u8> {
    packet_of(SESSION, from, end)
}

/// What an arbiter said, without the bodies, which are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Session(Session, u64),
    Message(u64),
    Request(u64, u16),
    Lost(u64, u64),
    End(u64),
}

fn note(said: &mut Vec<Said>, event: Event<'_>) {
    said.push(match event {
        Event::Session { session, next } => Said::Session(session, next),
        Event::Message { sequence, body: bytes } => {
            assert_eq!(bytes, body(sequence), "{sequence}");
            Said::Message(sequence)
        }
        Event::Request(Request { sequence, count, .. }) => Said::Request(sequence, count),
        Event::Lost { from, to } => Said::Lost(from, to),
        Event::End { next } => Said::End(next),
    });
}

/// An arbiter whose words are noted.
struct Bench {
    arbiter: Arbiter,
    said: Vec<Said>,
}

impl Bench {
    fn new(settings: Settings) -> Self {
        Self { arbiter: Arbiter::new(settings), said: Vec::new() }
    }

    fn datagram(&mut self, line: usize, datagram: &[u8], now_ns: u64) -> Integrity {
        let said = &mut self.said;
        self.arbiter.datagram(line, datagram, now_ns, &mut |event| note(said, event)).unwrap()
    }

    fn tick(&mut self, now_ns: u64) {
        let said = &mut self.said;
        self.arbiter.tick(now_ns, &mut |event| note(said, event));
    }

    #[track_caller]
    fn expect(&mut self, said: &[Said]) {
        assert_eq!(std::mem::take(&mut self.said), said);
    }
}

mod packets {
    use super::*;

    #[test]
    fn are_read_to_the_last_byte() {
        let bytes = [&b"ABCDEFGHIJ\0\0\0\0\0\0\0\x07\0\x02\0\x03xyz\0\0"[..], &[0; 5]].concat();
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!((packet.session, packet.sequence), (Session(*b"ABCDEFGHIJ"), 7));
        assert_eq!((packet.kind, packet.count, packet.end(), packet.padding()), (Kind::Messages, 2, 9, 5));
        assert_eq!(packet.messages().collect::<Vec<_>>(), [(7, &b"xyz"[..]), (8, &b""[..])]);
    }

    #[test]
    fn without_messages_are_heartbeats_or_ends() {
        for (count, kind) in [(0, Kind::Heartbeat), (END_OF_SESSION, Kind::EndOfSession)] {
            let bytes = header(SESSION, 12, count);
            let packet = Packet::parse(&bytes).unwrap();
            assert_eq!((packet.kind, packet.count, packet.end()), (kind, 0, 12));
            assert_eq!(packet.messages().count(), 0);
        }
    }

    #[test]
    fn cut_anywhere_are_errors() {
        let whole = packet(5, 9);
        for len in 0..whole.len() {
            match Packet::parse(&whole[..len]) {
                Err(PacketError::Short(short)) => assert!(short == len && len < 20),
                Err(PacketError::Truncated { index, count: 4 }) => assert!(len >= 20 && index < 4),
                other => panic!("{len}: {other:?}"),
            }
        }
        for (sequence, count) in [(0, 1), (0, 0), (u64::MAX, 1), (u64::MAX - 3, 4)] {
            let parsed = Packet::parse(&header(SESSION, sequence, count)).map(|_| ());
            assert_eq!(parsed, Err(PacketError::Sequence { sequence, count }));
        }
    }

    #[test]
    fn requests_read_back() {
        let request = Request { session: SESSION, sequence: 0x0102_0304_0506_0708, count: 0x090A };
        assert_eq!(request.encode(), *b"20261124A \x01\x02\x03\x04\x05\x06\x07\x08\x09\x0A");
        assert_eq!(Request::parse(&request.encode()), Some(request));
        for count in [0, END_OF_SESSION] {
            assert_eq!(Request::parse(&Request { count, ..request }.encode()), None);
        }
        assert_eq!(Request::parse(&packet(1, 2)), None);
    }
}

mod arbitration {
    use super::*;
    use Said::{End, Lost, Message, Request, Session as Opened};

    fn joined(settings: Settings) -> Bench {
        let mut bench = Bench::new(settings);
        assert_eq!(bench.arbiter.state(), State::Unknown);
        assert_eq!(bench.datagram(0, &packet(1, 3), 0), Integrity::Unverifiable);
        bench.expect(&[Opened(SESSION, 1), Message(1), Message(2)]);
        bench
    }

    #[test]
    fn each_message_comes_out_once_in_order() {
        let mut bench = joined(Settings::default());
        assert_eq!(bench.datagram(1, &packet(1, 3), 0), Integrity::Duplicate);
        assert_eq!(bench.datagram(1, &packet(2, 5), 0), Integrity::Ok);
        assert_eq!(bench.datagram(0, &packet(3, 5), 0), Integrity::Duplicate);
        bench.expect(&[Message(3), Message(4)]);
        let [a, b] = [0, 1].map(|line| bench.arbiter.line(line));
        assert_eq!((a.first, a.duplicates, a.packets, b.first, b.duplicates, b.packets), (2, 2, 2, 2, 3, 2));
        assert_eq!(bench.arbiter.counters().delivered, 4);
        assert_eq!(bench.arbiter.wake_at_ns(), None);
    }

    #[test]
    fn the_other_line_fills_a_gap_before_anybody_is_asked() {
        let mut bench = joined(Settings::default());
        assert_eq!(bench.datagram(0, &packet(5, 7), 10), Integrity::Gap { from: 3, to: 4 });
        assert_eq!(bench.arbiter.state(), State::GapFill);
        bench.tick(2 * MS + 9);
        assert_eq!(bench.datagram(1, &packet(5, 6), 20), Integrity::Duplicate);
        assert_eq!(bench.datagram(1, &packet(3, 5), 2 * MS + 9), Integrity::Ok);
        bench.expect(&[Message(3), Message(4), Message(5), Message(6)]);
        assert_eq!(bench.arbiter.state(), State::Synchronised);
        assert_eq!((bench.arbiter.line(0).gaps, bench.arbiter.line(0).missed), (1, 2));
        assert_eq!((bench.arbiter.counters().gaps, bench.arbiter.wake_at_ns()), (1, None));
    }

    #[test]
    fn a_gap_is_asked_for_with_growing_patience_and_given_up_once() {
        let mut bench = joined(Settings { tries: 3, ..Settings::default() });
        bench.datagram(0, &packet(6, 7), 0);
        let mut at = vec![];
        while let Some(now) = bench.arbiter.wake_at_ns() {
            at.push(now / MS);
            bench.tick(now - 1);
            bench.tick(now);
        }
        assert_eq!(at, [2, 12, 32, 72]);
        bench.expect(&[Request(3, 3), Request(3, 3), Request(3, 3), Lost(3, 5), Message(6)]);
        assert_eq!(bench.datagram(1, &packet(3, 7), 80 * MS), Integrity::Duplicate);
        bench.expect(&[]);
        assert_eq!((bench.arbiter.line(1).late, bench.arbiter.line(1).duplicates), (3, 1));
        assert_eq!((bench.arbiter.counters().lost, bench.arbiter.counters().requests), (3, 3));
    }

    #[test]
    fn an_answer_that_holds_fewer_is_followed_by_the_rest_at_once() {
        let mut bench = joined(Settings { in_flight: 2, request_messages: 4, ..Settings::default() });
        let repair = bench.arbiter.repair_line();
        bench.datagram(0, &packet(20, 21), 0);
        bench.tick(2 * MS);
        bench.expect(&[Request(3, 4), Request(7, 4)]);
        bench.datagram(repair, &packet(3, 6), 3 * MS);
        bench.expect(&[Message(3), Message(4), Message(5), Request(6, 1)]);
        bench.datagram(repair, &packet(6, 7), 3 * MS);
        bench.expect(&[Message(6), Request(11, 4)]);
        // A line that fills it slowly does not make for a request with each packet.
        bench.datagram(1, &packet(7, 8), 3 * MS);
        bench.expect(&[Message(7)]);
    }

    #[test]
    fn a_later_gap_that_is_given_up_waits_for_the_first() {
        let mut bench = joined(Settings { tries: 1, ..Settings::default() });
        let repair = bench.arbiter.repair_line();
        bench.datagram(0, &packet(5, 6), 0);
        bench.datagram(0, &packet(7, 8), 0);
        bench.tick(2 * MS);
        bench.tick(4 * MS);
        bench.expect(&[Request(3, 2), Request(6, 1)]);
        bench.datagram(repair, &packet(3, 4), 11 * MS);
        bench.expect(&[Message(3), Request(4, 1)]);
        bench.tick(15 * MS);
        bench.expect(&[]);
        bench.datagram(repair, &packet(4, 5), 20 * MS);
        bench.expect(&[Message(4), Message(5), Lost(6, 6), Message(7)]);
    }

    #[test]
    fn a_packet_that_overtakes_is_one_gap_of_its_line() {
        let mut bench = joined(Settings::default());
        for (from, end) in [(4, 6), (3, 4), (6, 7)] {
            bench.datagram(0, &packet(from, end), 0);
        }
        bench.expect(&[Message(3), Message(4), Message(5), Message(6)]);
        assert_eq!((bench.arbiter.line(0).gaps, bench.arbiter.line(0).missed), (1, 1));
    }

    #[test]
    fn a_heartbeat_shows_what_is_missing_at_the_end() {
        let mut bench = joined(Settings { tries: 0, ..Settings::default() });
        assert_eq!(bench.datagram(0, &header(SESSION, 3, 0), 0), Integrity::Ok);
        assert_eq!(bench.datagram(0, &header(SESSION, 5, 0), 0), Integrity::Gap { from: 3, to: 4 });
        bench.datagram(0, &header(SESSION, 5, END_OF_SESSION), MS);
        bench.expect(&[]);
        bench.tick(2 * MS);
        bench.expect(&[Lost(3, 4), End(5)]);
        bench.datagram(1, &header(SESSION, 5, END_OF_SESSION), 3 * MS);
        bench.expect(&[]);
    }

    #[test]
    fn an_end_that_messages_refute_is_none() {
        let mut bench = joined(Settings::default());
        bench.datagram(0, &header(SESSION, 2, END_OF_SESSION), 0);
        bench.expect(&[]);
        bench.datagram(0, &header(SESSION, 3, END_OF_SESSION), 0);
        bench.datagram(1, &packet(3, 4), 0);
        bench.expect(&[End(3), Message(3)]);
        let other = Session(*b"OTHER     ");
        bench.datagram(0, &packet_of(other, 1, 2), 0);
        bench.expect(&[]);
        bench.datagram(0, &header(SESSION, 4, END_OF_SESSION), 0);
        bench.expect(&[End(4)]);
    }

    #[test]
    fn what_finds_no_room_gives_up_the_oldest_gap() {
        let mut bench = joined(Settings { hold_messages: 4, ..Settings::default() });
        bench.datagram(0, &packet(4, 5), 0);
        bench.datagram(0, &packet(6, 7), 0);
        bench.expect(&[]);
        bench.datagram(0, &packet(7, 8), 0);
        bench.expect(&[Lost(3, 3), Message(4)]);
        bench.datagram(0, &packet(30, 31), 0);
        bench.expect(&[Lost(5, 5), Message(6), Message(7), Lost(8, 29), Message(30)]);
        let mut bench = joined(Settings { hold_bytes: 0, ..Settings::default() });
        bench.datagram(0, &packet(4, 5), 0);
        bench.expect(&[Lost(3, 3), Message(4)]);
    }

    #[test]
    fn the_beginning_is_fetched_if_wanted() {
        let settings =
            Settings { from_start: true, hold_messages: 8, request_messages: 6, ..Settings::default() };
        let mut bench = Bench::new(settings);
        let repair = bench.arbiter.repair_line();
        assert_eq!(bench.datagram(0, &packet(20, 22), 0), Integrity::Unverifiable);
        assert_eq!(bench.arbiter.state(), State::Backfill);
        bench.expect(&[Opened(SESSION, 1), Request(1, 6), Request(7, 6), Request(13, 6), Request(19, 1)]);
        let mut now = 0;
        while bench.arbiter.state() == State::Backfill {
            let next = bench.arbiter.next();
            bench.datagram(repair, &packet(next, (next + 5).min(22)), now);
            now += MS;
        }
        bench.said.retain(|said| !matches!(said, Request(..)));
        bench.expect(&(1..22).map(Message).collect::<Vec<_>>());
        assert!(bench.arbiter.counters().dropped > 0);
    }

    #[test]
    fn a_beginning_that_cannot_be_had_is_given_up_whole() {
        let mut bench = Bench::new(Settings { from_start: true, tries: 2, ..Settings::default() });
        bench.datagram(0, &packet(1_000_000, 1_000_001), 0);
        while let Some(now) = bench.arbiter.wake_at_ns() {
            bench.tick(now);
        }
        bench.said.retain(|said| !matches!(said, Request(..)));
        bench.expect(&[Opened(SESSION, 1), Lost(1, 1_000_000)]);
        bench.datagram(0, &packet(1_000_001, 1_000_002), MS);
        bench.expect(&[Message(1_000_001)]);
    }

    #[test]
    fn messages_before_the_first_one_seen_are_unverifiable() {
        let mut bench = Bench::new(Settings::default());
        bench.datagram(0, &packet(100, 101), 0);
        assert_eq!(bench.datagram(1, &packet(98, 100), 0), Integrity::Unverifiable);
        bench.expect(&[Opened(SESSION, 100), Message(100)]);
        assert_eq!(bench.arbiter.line(1).before_start, 2);
    }

    #[test]
    fn another_session_needs_two_packets_until_the_old_one_has_ended() {
        let [second, third] = [Session(*b"SECOND    "), Session(*b"THIRD     ")];
        let mut bench = joined(Settings::default());
        bench.datagram(0, &packet(5, 6), 0);
        assert_eq!(bench.datagram(0, &packet_of(second, 1, 2), 0), Integrity::Unverifiable);
        assert_eq!(bench.datagram(0, &packet_of(third, 1, 2), 0), Integrity::Unverifiable);
        bench.expect(&[]);
        // The repair line proves nothing.
        bench.datagram(bench.arbiter.repair_line(), &packet_of(third, 1, 2), 0);
        bench.expect(&[]);
        assert_eq!(bench.datagram(1, &packet_of(third, 1, 2), 0), Integrity::Unverifiable);
        bench.expect(&[Lost(3, 4), Message(5), Opened(third, 1), Message(1)]);
        assert_eq!(bench.arbiter.session(), Some(third));
        // The old one does not come back.
        for _ in 0..3 {
            bench.datagram(1, &packet(6, 7), 0);
        }
        bench.expect(&[]);
        assert_eq!((bench.arbiter.line(1).unbelieved, bench.arbiter.line(0).unbelieved), (3, 2));
        bench.datagram(0, &header(third, 2, END_OF_SESSION), 0);
        bench.datagram(0, &packet_of(second, 1, 2), 0);
        bench.expect(&[End(2), Opened(second, 1), Message(1)]);
        assert_eq!(bench.arbiter.counters().sessions, 3);
    }

    #[test]
    fn a_number_far_away_needs_two_packets() {
        let mut bench = joined(Settings { tries: 0, ..Settings::default() });
        assert_eq!(bench.datagram(0, &header(SESSION, 1 << 60, 0), 0), Integrity::Unverifiable);
        assert_eq!(bench.datagram(0, &packet(3, 4), 0), Integrity::Ok);
        bench.datagram(0, &packet(1 << 60, (1 << 60) + 1), 0);
        // The repair line bears nothing out.
        bench.datagram(2, &packet(1 << 60, (1 << 60) + 1), 0);
        bench.expect(&[Message(3)]);
        bench.datagram(1, &packet(1 << 60, (1 << 60) + 1), 0);
        bench.expect(&[Lost(4, (1 << 60) - 1), Message(1 << 60)]);
        // Where the first packet is the wrong one, the stream begins again.
        let mut bench = Bench::new(Settings::default());
        bench.datagram(0, &packet(1 << 60, (1 << 60) + 1), 0);
        bench.datagram(0, &packet(7, 8), 0);
        bench.datagram(1, &packet(7, 8), 0);
        bench.expect(&[Opened(SESSION, 1 << 60), Message(1 << 60), Opened(SESSION, 7), Message(7)]);
        let mut bench = Bench::new(Settings { from_start: true, in_flight: 1, ..Settings::default() });
        bench.datagram(0, &packet(1 << 60, (1 << 60) + 1), 0);
        bench.datagram(2, &packet(1, 3), 0);
        let asked = [Request(1, 1000), Message(1), Message(2), Request(3, 998)];
        bench.expect(&[&[Opened(SESSION, 1)], &asked[..]].concat());
        bench.datagram(0, &packet(7, 8), 0);
        bench.expect(&[]);
        bench.datagram(1, &packet(7, 8), 0);
        bench.expect(&[Opened(SESSION, 1), Request(1, 6)]);
    }

    #[test]
    fn nothing_is_allocated_once_it_runs() {
        let mut arbiter = Arbiter::new(Settings { hold_messages: 64, ..Settings::default() });
        let packets: Vec<_> = (0..400).map(|n: u64| packet(1 + 3 * n, 4 + 3 * n)).collect();
        let mut messages = 0u64;
        let mut run = || {
            let mut emit = |event: Event<'_>| messages += u64::from(matches!(event, Event::Message { .. }));
            for (index, packet) in packets.iter().enumerate() {
                let now_ns = index as u64 * MS;
                if index % 7 != 0 {
                    arbiter.datagram(0, packet, now_ns, &mut emit).unwrap();
                }
                if index % 5 != 0 {
                    arbiter.datagram(1, packet, now_ns, &mut emit).unwrap();
                }
                arbiter.tick(now_ns, &mut emit);
            }
        };
        assert_eq!(allocation_counter::measure(&mut run).count_total, 0);
        assert!(messages > 1000, "{messages}");
        assert!(arbiter.counters().requests > 0 && arbiter.counters().lost > 0);
    }
}

mod oracle {
    use super::*;

    /// `moldudp`, a Python package, encodes what is read here.
    #[test]
    fn packets_of_an_independent_encoder_are_read() {
        let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python/bin/python");
        let has_it = Command::new(&python).args(["-c", "import moldudp.codec.encoder"]).output();
        if !has_it.is_ok_and(|output| output.status.success()) {
            return println!("skipped: MoldUDP64 against moldudp (no moldudp)");
        }
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("moldudp.packets");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/with_moldudp.py");
        let done = Command::new(&python).arg(script).arg(&file).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let bytes = std::fs::read(file).unwrap();
        let mut rest = &bytes[..];
        let (mut next, mut packets) = (1_000_000_007, 0);
        while let Some((len, after)) = rest.split_first_chunk::<4>() {
            let (datagram, after) = after.split_at(u32::from_be_bytes(*len) as usize);
            rest = after;
            let packet = Packet::parse(datagram).unwrap();
            assert_eq!((packet.session, packet.sequence), (Session(*b"ORACLE0001"), next));
            for (sequence, message) in packet.messages() {
                let number = sequence - 1_000_000_007;
                let expected: Vec<_> = (0..number * 7 % 300).map(|at| (number + at) as u8).collect();
                assert_eq!(message, expected, "{sequence}");
            }
            // It fills every datagram up to one size.
            assert!(packet.padding() > 0);
            next = packet.end();
            packets += 1;
        }
        assert_eq!(next, 1_000_000_007 + 500);
        assert!(packets > 20, "{packets}");
    }
}

proptest! {
    /// Neither a packet nor an arbiter stumbles over anything.
    #[test]
    fn hostile_bytes_never_panic(
        datagrams in prop::collection::vec(
            (0..3usize, prop_oneof![Just(1u64), 1..40u64, any::<u64>()], 0..40u16,
             prop::collection::vec(0..4u8, 0..120), any::<bool>()), 1..60),
    ) {
        let settings = Settings { hold_messages: 8, hold_bytes: 256, in_flight: 2, ..Settings::default() };
        let mut arbiter = Arbiter::new(Settings { from_start: datagrams.len() % 2 == 0, ..settings });
        let mut last = 0;
        for (now, (line, sequence, count, bytes, raw)) in datagrams.into_iter().enumerate() {
            let bytes = if raw { bytes } else { [header(SESSION, sequence, count), bytes].concat() };
            let mut emit = |event: Event<'_>| match event {
                Event::Session { next, .. } => last = next - 1,
                Event::Message { sequence, .. } => {
                    assert_eq!(sequence, last + 1);
                    last = sequence;
                }
                Event::Lost { from, to } => {
                    assert!(from == last + 1 && to >= from);
                    last = to;
                }
                _ => {}
            };
            let _ = arbiter.datagram(line, &bytes, now as u64 * MS, &mut emit);
        }
    }
}
