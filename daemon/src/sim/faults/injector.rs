//! One connection's faults: what a venue says goes in, what reaches the client comes out, in time and order.
//!
//! What holds: decisions follow from the seed, the connection's number and its messages with their times, and
//! from nothing else; at most [`HELD`] messages wait here. Answers to requests are neither lost nor moved, but
//! may be cut into pieces. What is still waiting when the connection ends is lost, and recorded so.

use super::super::random::Random;
use super::super::venue::{About, Kind, Names, Topic};
use super::{Fault, Faults, Injected, Log, garble};
use std::collections::VecDeque;
use tungstenite::Utf8Bytes;

/// How many messages wait at most; beyond, delays end.
const HELD: usize = 4_096;
/// The longest delay and stall, the longest silence and the shortest, how long a message waits for a successor
/// to change places with, the longest delay of a REST answer. In ms.
const DELAY_MS: i64 = 2_000;
const SILENCE_MS: i64 = 10_000;
const SHORT_SILENCE_MS: i64 = 1_000;
const REORDER_MS: i64 = 1_000;
const REST_MS: i64 = 5_000;
/// Codes with which a venue may close: going away, internal error, restart, try again later.
const CODES: [u16; 4] = [1001, 1011, 1012, 1013];

/// How a message is cut on its way; a seed says where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::sim) struct Shape {
    pub(in crate::sim) fragment: Option<u64>,
    /// Whether a ping stands between the frames.
    pub(in crate::sim) ping: bool,
    pub(in crate::sim) segment: Option<u64>,
}

/// What reaches the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sim) enum Ready {
    Text { text: Utf8Bytes, shape: Shape },
    Close { code: u16, reason: &'static str },
    Abort,
    HalfRecord(Utf8Bytes),
}

/// A message on its way.
#[derive(Debug, Clone)]
struct Message {
    text: Utf8Bytes,
    shape: Shape,
    about: About,
}

#[derive(Debug)]
pub(in crate::sim) struct Injector {
    faults: Faults,
    random: Random,
    connection: u64,
    /// The time of the last message.
    last_ms: Option<i64>,
    silent: Option<(Topic, i64)>,
    /// A message that waits for its successor, until when.
    swapped: Option<(i64, Message)>,
    delayed: Vec<(i64, Message)>,
    stalled_ms: i64,
    /// How far Advanced Trade's numbers have jumped.
    jump: u64,
    ready: VecDeque<Message>,
    /// How the connection ends, until that is taken.
    end: Option<Ready>,
    ended: bool,
}

impl Injector {
    pub(in crate::sim) fn new(faults: &Faults, seed: u64, connection: u64) -> Self {
        Self {
            faults: faults.clone(),
            // The market's symbols have the first streams of the seed.
            random: Random::new(seed, 1_000_000 + connection),
            connection,
            last_ms: None,
            silent: None,
            swapped: None,
            delayed: Vec::new(),
            stalled_ms: i64::MIN,
            jump: 0,
            ready: VecDeque::new(),
            end: None,
            ended: false,
        }
    }

    /// The venue says something.
    pub(in crate::sim) fn pass(
        &mut self,
        now_ms: i64,
        kind: Kind,
        text: Utf8Bytes,
        about: About,
        record: &mut Record<'_>,
    ) {
        if self.ended {
            return;
        }
        let mut message = Message { text, shape: Shape::default(), about };
        if !self.faults.any() {
            return self.ready.push_back(message);
        }
        let elapsed_ms = now_ms - self.last_ms.replace(now_ms).unwrap_or(now_ms);
        if !about.reply && self.lose(now_ms, elapsed_ms, &message, record) {
            return;
        }
        self.renumber(&mut message, kind);
        if !about.reply {
            self.garble(now_ms, &mut message, kind, record);
        }
        message.shape = self.shape(now_ms, about, record);
        if about.reply {
            return self.ready.push_back(message);
        }
        self.place(now_ms, message, record);
    }

    /// The venue ends the connection by itself.
    pub(in crate::sim) fn close(&mut self, code: u16, reason: &'static str) {
        if !self.ended {
            self.ready.extend(self.delayed.drain(..).map(|(_, message)| message));
            self.ready.extend(self.swapped.take().map(|(_, message)| message));
            self.finish(Ready::Close { code, reason });
        }
    }

    /// What is due by now.
    pub(in crate::sim) fn take(&mut self, now_ms: i64) -> Option<Ready> {
        if self.swapped.as_ref().is_some_and(|(until, _)| now_ms >= *until) {
            self.ready.extend(self.swapped.take().map(|(_, message)| message));
        }
        while let Some(next) = self.delayed.iter().position(|(due, _)| now_ms >= *due) {
            self.ready.push_back(self.delayed.remove(next).1);
        }
        if now_ms < self.stalled_ms && self.ready.len() < HELD && self.end.is_none() {
            return None;
        }
        match self.ready.pop_front() {
            Some(Message { text, shape, .. }) => Some(Ready::Text { text, shape }),
            None => self.end.take(),
        }
    }

    fn finish(&mut self, end: Ready) {
        self.end = Some(end);
        self.ended = true;
    }

    fn happens(&mut self, fault: Fault) -> bool {
        let rate = self.faults.rate(fault);
        rate > 0.0 && self.random.chance(rate)
    }

    fn happens_within(&mut self, fault: Fault, elapsed_ms: i64) -> bool {
        let rate = self.faults.rate(fault) * elapsed_ms as f64 / 60_000.0;
        rate > 0.0 && self.random.chance(rate)
    }

    /// Whether the message is lost: with its connection, in a silence, or by itself.
    fn lose(&mut self, now_ms: i64, elapsed_ms: i64, message: &Message, record: &mut Record<'_>) -> bool {
        if self.happens_within(Fault::Stall, elapsed_ms) {
            self.stalled_ms = now_ms + 1 + self.random.below(DELAY_MS);
            record.note(now_ms, self.connection, message.about, Fault::Stall, false);
        }
        for fault in [Fault::Close, Fault::Abort, Fault::HalfRecord] {
            if self.happens_within(fault, elapsed_ms) {
                self.break_off(now_ms, fault, message, record);
                return true;
            }
        }
        let topic = message.about.topic;
        if self.silent.is_none_or(|(_, until)| now_ms >= until)
            && self.happens_within(Fault::Silence, elapsed_ms)
        {
            let lasts = SHORT_SILENCE_MS + self.random.below(SILENCE_MS - SHORT_SILENCE_MS);
            self.silent = Some((topic, now_ms + lasts));
        }
        if self.silent.is_some_and(|(silent, until)| silent == topic && now_ms < until) {
            record.note(now_ms, self.connection, message.about, Fault::Silence, true);
            return true;
        }
        let dropped = self.happens(Fault::Drop);
        if dropped {
            record.note(now_ms, self.connection, message.about, Fault::Drop, true);
        }
        dropped
    }

    /// Ends the connection; what has not reached the client never will.
    fn break_off(&mut self, now_ms: i64, fault: Fault, message: &Message, record: &mut Record<'_>) {
        let waiting = self.ready.drain(..).chain(self.swapped.take().map(|(_, message)| message));
        let waiting = waiting.chain(self.delayed.drain(..).map(|(_, message)| message));
        for lost in waiting {
            record.note(now_ms, self.connection, lost.about, fault, true);
        }
        record.note(now_ms, self.connection, message.about, fault, true);
        let end = match fault {
            Fault::Abort => Ready::Abort,
            Fault::HalfRecord => Ready::HalfRecord(message.text.clone()),
            _ => {
                let code = CODES[self.random.below(CODES.len() as i64) as usize];
                Ready::Close { code, reason: "Something went wrong" }
            }
        };
        self.finish(end);
    }

    /// Numbers that have jumped stay so.
    fn renumber(&self, message: &mut Message, kind: Kind) {
        if self.jump > 0
            && kind == Kind::CoinbaseAdvanced
            && let Some(text) = garble::sequence(&message.text, self.jump)
        {
            message.text = text.into();
        }
    }

    /// Makes the message wrong, or puts a strange one before it.
    fn garble(&mut self, now_ms: i64, message: &mut Message, kind: Kind, record: &mut Record<'_>) {
        let book = message.about.book;
        if self.happens(Fault::Unknown) {
            let strange = garble::unknown(&message.text, kind).into();
            let about = About { trades: None, book: false, ..message.about };
            self.ready.push_back(Message { text: strange, shape: Shape::default(), about });
            record.note(now_ms, self.connection, about, Fault::Unknown, false);
            if kind == Kind::CoinbaseAdvanced
                && let Some(text) = garble::sequence(&message.text, 1)
            {
                self.jump += 1; // The strange message took the number of this one.
                message.text = text.into();
            }
        }
        let connection = self.connection;
        let mut wrong = |message: &mut Message, fault, text: Option<String>| {
            if let Some(text) = text {
                message.text = text.into();
                record.note(now_ms, connection, message.about, fault, false);
            }
        };
        if book && self.happens(Fault::Cross) {
            let text = garble::crossed(&message.text, kind);
            wrong(message, Fault::Cross, text);
        }
        if book && kind == Kind::Kraken && self.happens(Fault::Checksum) {
            let text = garble::checksum(&message.text);
            wrong(message, Fault::Checksum, text);
        }
        let numbered = kind == Kind::CoinbaseAdvanced || (kind == Kind::Binance && book);
        if numbered && self.happens(Fault::Sequence) {
            let jump = 1 + self.random.below(5) as u64;
            let text = if kind == Kind::Binance {
                garble::updates(&message.text, jump)
            } else {
                self.jump += jump;
                garble::sequence(&message.text, jump)
            };
            wrong(message, Fault::Sequence, text);
        }
    }

    /// Where the message is cut.
    fn shape(&mut self, now_ms: i64, about: About, record: &mut Record<'_>) -> Shape {
        let mut shape = Shape::default();
        if self.happens(Fault::Fragment) {
            shape.fragment = Some(self.random.below(i64::MAX) as u64);
            record.note(now_ms, self.connection, about, Fault::Fragment, false);
            if self.happens(Fault::Ping) {
                shape.ping = true;
                record.note(now_ms, self.connection, about, Fault::Ping, false);
            }
        }
        if self.happens(Fault::Segment) {
            shape.segment = Some(self.random.below(i64::MAX) as u64);
            record.note(now_ms, self.connection, about, Fault::Segment, false);
        }
        shape
    }

    /// Puts the message where it will be in time and order.
    fn place(&mut self, now_ms: i64, message: Message, record: &mut Record<'_>) {
        let room = self.delayed.len() + self.ready.len() < HELD;
        if room && self.happens(Fault::Duplicate) {
            record.note(now_ms, self.connection, message.about, Fault::Duplicate, false);
            self.ready.push_back(message.clone());
        }
        if room && self.happens(Fault::Delay) {
            record.note(now_ms, self.connection, message.about, Fault::Delay, false);
            self.delayed.push((now_ms + 1 + self.random.below(DELAY_MS), message));
            return;
        }
        if let Some((_, before)) = self.swapped.take() {
            self.ready.extend([message, before]);
        } else if self.happens(Fault::Reorder) {
            record.note(now_ms, self.connection, message.about, Fault::Reorder, false);
            self.swapped = Some((now_ms + REORDER_MS, message));
        } else {
            self.ready.push_back(message);
        }
    }
}

/// Where faults are recorded, and by which names.
pub(in crate::sim) struct Record<'r> {
    pub(in crate::sim) log: &'r mut Log,
    pub(in crate::sim) names: &'r Names,
}

impl Record<'_> {
    fn note(&mut self, time_ms: i64, connection: u64, about: About, fault: Fault, lost: bool) {
        self.log.push(Injected {
            time_ms,
            connection,
            symbol: about.topic.symbol.map(|symbol| self.names.of(symbol).binance.clone()),
            stream: about.topic.name,
            fault,
            lost: about.trades.filter(|_| lost),
        });
    }
}

/// The faults of REST: of all requests together, in their order.
#[derive(Debug)]
pub(in crate::sim) struct RestFaults {
    faults: Faults,
    random: Random,
}

impl RestFaults {
    pub(in crate::sim) fn new(faults: &Faults, seed: u64) -> Self {
        Self { faults: faults.clone(), random: Random::new(seed, 999_999) }
    }

    /// By how many ms the next answer is late, and the status that it has instead of its own.
    pub(in crate::sim) fn next(&mut self, now_ms: i64, log: &mut Log) -> (i64, Option<u16>) {
        let mut note = |fault| {
            log.push(Injected {
                time_ms: now_ms,
                connection: 0,
                symbol: None,
                stream: "rest",
                fault,
                lost: None,
            });
        };
        let mut late_ms = 0;
        if self.faults.rate(Fault::SlowRest) > 0.0 && self.random.chance(self.faults.rate(Fault::SlowRest)) {
            late_ms = 1 + self.random.below(REST_MS);
            note(Fault::SlowRest);
        }
        let mut status = None;
        if self.faults.rate(Fault::RestError) > 0.0 && self.random.chance(self.faults.rate(Fault::RestError))
        {
            status = Some(if self.random.chance(0.5) { 429 } else { 503 });
            note(Fault::RestError);
        }
        (late_ms, status)
    }
}
