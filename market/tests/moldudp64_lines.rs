//! Two lines and a retransmission server that lose, repeat, delay and reorder, simulated from a seed: what an arbiter
//! lets out is what was sent, but for ranges that it declared lost.

use market::moldudp64::{Arbiter, END_OF_SESSION, Event, Request, Session, Settings, State};
use std::collections::BTreeMap;

const SESSION: Session = Session(*b"SIMULATION");
const US: u64 = 1_000;
const SEEDS: u64 = 6_000;

/// Random numbers from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

fn body(sequence: u64) -> Vec<u8> {
    let len = if sequence.is_multiple_of(11) { sequence % 200 } else { sequence % 40 };
    (0..len).map(|at| (sequence + at) as u8).collect()
}

fn packet(from: u64, end: u64) -> Vec<u8> {
    let mut packet = heartbeat(from, (end - from) as u16);
    for sequence in from..end {
        let body = body(sequence);
        packet.extend((body.len() as u16).to_be_bytes());
        packet.extend(body);
    }
    packet
}

fn heartbeat(sequence: u64, count: u16) -> Vec<u8> {
    [&SESSION.0[..], &sequence.to_be_bytes(), &count.to_be_bytes()].concat()
}

/// What can happen to a packet, in percent.
#[derive(Clone, Copy)]
struct Weather {
    loses: u64,
    repeats: u64,
    delays: u64,
    delay_us: u64,
}

struct World {
    dice: Dice,
    /// Datagrams under way, by when they arrive, and their lines.
    wire: BTreeMap<(u64, u64), (usize, Vec<u8>)>,
    sent: u64,
    last: u64,
    lines: [Weather; 2],
    server: Weather,
    /// Messages that the server puts into an answer.
    answer: u64,
    /// Messages that the server does not have.
    lacks: std::ops::Range<u64>,
}

impl World {
    fn new(seed: u64, last: u64) -> Self {
        let mut dice = Dice(seed);
        let mut weather = || Weather {
            loses: [0, 2, 20, 60][dice.below(4) as usize],
            repeats: dice.below(20),
            delays: dice.below(40),
            delay_us: 1 + dice.below(4_000),
        };
        let (lines, server) = ([weather(), weather()], weather());
        let answer = 1 + dice.below(20);
        let from = dice.below(last);
        let lacks = if dice.percent(30) { from..from + dice.below(30) } else { 0..0 };
        Self { dice, wire: BTreeMap::new(), sent: 0, last, lines, server, answer, lacks }
    }

    fn send(&mut self, line: usize, now_ns: u64, datagram: &[u8]) {
        let weather = *self.lines.get(line).unwrap_or(&self.server);
        let copies = if self.dice.percent(weather.loses) {
            0
        } else {
            1 + u64::from(self.dice.percent(weather.repeats))
        };
        for _ in 0..copies {
            let late_us =
                if self.dice.percent(weather.delays) { self.dice.below(weather.delay_us) } else { 20 };
            self.sent += 1;
            self.wire.insert((now_ns + late_us * US, self.sent), (line, datagram.to_vec()));
        }
    }

    /// What nobody of this session sends: noise, another session, or a number far from all others.
    fn intrude(&mut self, now_ns: u64) {
        let datagram = match self.dice.below(3) {
            0 => vec![0xA5; self.dice.below(40) as usize],
            1 => [&self.dice.next().to_be_bytes()[..], &packet(1, 3)[8..]].concat(),
            _ => heartbeat(u64::MAX / 2 + self.dice.next() / 4, 0),
        };
        self.sent += 1;
        let line = self.dice.below(3) as usize;
        self.wire.insert((now_ns + 5_000 * US, self.sent), (line, datagram));
    }

    /// The whole session on both lines, then heartbeats, and at last its end, which arrives for sure.
    fn broadcast(&mut self) {
        let (mut next, mut now_ns) = (1, 0);
        while next <= self.last {
            let end = (next + 1 + self.dice.below(8)).min(self.last + 1);
            for line in 0..2 {
                self.send(line, now_ns, &packet(next, end));
            }
            next = end;
            now_ns += self.dice.below(200) * US;
            // Later than the first packet.
            if self.dice.percent(5) {
                self.intrude(now_ns);
            }
        }
        for _ in 0..20 {
            now_ns += 500 * US;
            for line in 0..2 {
                self.send(line, now_ns, &heartbeat(next, 0));
            }
        }
        self.sent += 1;
        self.wire.insert((now_ns + 5_000 * US, self.sent), (0, heartbeat(next, END_OF_SESSION)));
    }

    fn answer(&mut self, request: Request, line: usize, now_ns: u64) {
        let (from, count) = (request.sequence, u64::from(request.count));
        let end = from + count.min(self.answer);
        if self.lacks.contains(&from) || self.dice.percent(self.server.loses) {
            return;
        }
        let end = if (from..end).contains(&self.lacks.start) { self.lacks.start } else { end };
        self.send(line, now_ns + 100 * US, &packet(from, end));
    }
}

/// What came of one session.
struct Outcome {
    messages: u64,
    lost: u64,
    requests: u64,
    ended: bool,
}

fn settings(dice: &mut Dice) -> Settings {
    Settings {
        hold_messages: [4, 32, 4096][dice.below(3) as usize],
        hold_bytes: [256, 4096, 1 << 20][dice.below(3) as usize],
        gap_ns: [0, 200, 2_000][dice.below(3) as usize] * US,
        patience_ns: 300 * US,
        tries: [0, 1, 4][dice.below(3) as usize],
        in_flight: 1 + dice.below(4) as usize,
        request_messages: 1 + dice.below(40) as u16,
        from_start: dice.percent(30),
        ..Settings::default()
    }
}

/// Runs a session to its end and checks all that comes out.
fn run(world: &mut World, arbiter: &mut Arbiter) -> Outcome {
    world.broadcast();
    let mut outcome = Outcome { messages: 0, lost: 0, requests: 0, ended: false };
    let (mut next, mut requests) = (0, vec![]);
    let mut steps = 0;
    loop {
        let arrival = world.wire.keys().next().map(|(at, _)| *at);
        let Some(now_ns) = [arrival, arbiter.wake_at_ns()].into_iter().flatten().min() else { break };
        let mut emit = |event: Event<'_>| match event {
            Event::Session { session, next: first } => {
                assert!(session == SESSION && next == 0);
                next = first;
            }
            Event::Message { sequence, body: bytes } => {
                assert_eq!((sequence, bytes), (next, &body(next)[..]));
                next += 1;
                outcome.messages += 1;
            }
            Event::Lost { from, to } => {
                assert!(from == next && to >= from);
                next = to + 1;
                outcome.lost += to - from + 1;
            }
            Event::Request(request) => requests.push(request),
            Event::End { next: end } => {
                assert!(!outcome.ended && end == next);
                outcome.ended = true;
            }
        };
        if arrival == Some(now_ns) {
            let (_, (line, datagram)) = world.wire.pop_first().unwrap();
            let read = arbiter.datagram(line, &datagram, now_ns, &mut emit);
            assert!(read.is_ok() || datagram.len() < 40 && datagram.iter().all(|byte| *byte == 0xA5));
        } else {
            arbiter.tick(now_ns, &mut emit);
        }
        if matches!(arbiter.state(), State::GapFill | State::Backfill) {
            assert!(arbiter.wake_at_ns().is_some(), "nothing would end this gap");
        }
        outcome.requests += requests.len() as u64;
        let line = arbiter.repair_line();
        for request in requests.drain(..) {
            assert!(
                request.sequence >= arbiter.next()
                    && request.sequence + u64::from(request.count) <= world.last + 1
            );
            world.answer(request, line, now_ns);
        }
        steps += 1;
        assert!(steps < 100_000, "it does not end");
    }
    outcome
}

/// The counters must tell the same story.
fn check(outcome: &Outcome, world: &World, arbiter: &Arbiter, first: u64) {
    assert!(outcome.ended);
    assert_eq!(outcome.messages + outcome.lost, world.last + 1 - first);
    let counters = arbiter.counters();
    assert_eq!(
        (counters.delivered, counters.lost, counters.requests),
        (outcome.messages, outcome.lost, outcome.requests)
    );
    let first: u64 = (0..3).map(|line| arbiter.line(line).first).sum();
    assert_eq!(first, outcome.messages);
}

#[test]
fn what_comes_out_is_what_was_sent_or_declared_lost() {
    let (mut lost, mut whole, mut requests) = (0, 0, 0);
    for seed in 0..SEEDS {
        let mut dice = Dice(!seed);
        let mut world = World::new(seed, 1 + dice.below(300));
        let mut arbiter = Arbiter::new(settings(&mut dice));
        let outcome = run(&mut world, &mut arbiter);
        let first = world.last + 1 - outcome.messages - outcome.lost;
        check(&outcome, &world, &arbiter, first);
        lost += u64::from(outcome.lost > 0);
        whole += u64::from(outcome.lost == 0);
        requests += outcome.requests;
    }
    println!("{whole} sessions whole, {lost} with losses, {requests} requests");
    // Else the weather is too fair, or too foul, to show anything.
    assert!(lost > SEEDS / 10 && whole > SEEDS / 10 && requests > SEEDS);
}

#[test]
fn nothing_is_lost_where_the_server_answers() {
    for seed in 0..SEEDS / 4 {
        let mut dice = Dice(!seed);
        let mut world = World::new(seed, 1 + dice.below(300));
        world.lacks = 0..0;
        world.server = Weather { loses: 0, repeats: 30, delays: 30, delay_us: 100 };
        let from_start = seed % 2 == 0;
        let settings = Settings { tries: 1, hold_messages: 512, from_start, ..settings(&mut dice) };
        let mut arbiter = Arbiter::new(Settings { hold_bytes: 1 << 20, ..settings });
        let outcome = run(&mut world, &mut arbiter);
        assert_eq!(outcome.lost, 0, "seed {seed}");
        if from_start {
            check(&outcome, &world, &arbiter, 1);
        }
    }
}

#[test]
fn nobody_is_asked_where_the_lines_fill_each_others_gaps() {
    for seed in 0..SEEDS / 4 {
        let mut dice = Dice(!seed);
        let mut world = World::new(seed, 1 + dice.below(300));
        // One line loses and reorders what it likes, the other is at most 1 ms late.
        world.lines[1] = Weather { loses: 0, repeats: 20, delays: 50, delay_us: 1_000 };
        let mut arbiter = Arbiter::new(Settings { tries: 0, ..Settings::default() });
        let outcome = run(&mut world, &mut arbiter);
        assert_eq!((outcome.lost, outcome.requests), (0, 0), "seed {seed}");
    }
}
