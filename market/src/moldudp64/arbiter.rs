//! One gapless sequence of messages out of several lines that carry the same session.
//!
//! What it is told and what it says are here; `sequence` has the order of messages.

mod sequence;

use super::hold::Hold;
use super::repair::{Manners, Repair};
use super::{MAX_COUNT, Packet, PacketError, Request, Session};
use crate::Integrity;

/// Earlier sessions and losses that are remembered, to tell what comes late from what comes twice.
const REMEMBERED_SESSIONS: usize = 4;
const REMEMBERED_LOSSES: usize = 64;

/// How an [`Arbiter`] waits and asks.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How many lines carry the session; 2 for A and B.
    pub lines: usize,
    /// Messages that can wait behind a gap.
    pub hold_messages: usize,
    /// Bytes that they can have together, in steps of 64 for each message.
    pub hold_bytes: usize,
    /// How long the other lines may take to fill a gap before the server is asked. A gap that opens behind another one
    /// waits for one to two times as long.
    pub gap_ns: u64,
    /// How long the first answer is waited for; each further one twice as long as the one before.
    pub patience_ns: u64,
    /// How often a message is asked for. 0 where there is no server.
    pub tries: u32,
    /// Requests under way at a time.
    pub in_flight: usize,
    /// Messages in one request.
    pub request_messages: u16,
    /// The most messages by which one packet may be ahead.
    pub max_jump: u64,
    /// Asks for the whole session from its first message, instead of beginning at the first one seen.
    pub from_start: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lines: 2,
            hold_messages: 4096,
            hold_bytes: 1 << 20,
            gap_ns: 2_000_000,
            patience_ns: 10_000_000,
            tries: 5,
            in_flight: 4,
            request_messages: 1000,
            max_jump: 1 << 20,
            from_start: false,
        }
    }
}

/// What an [`Arbiter`] has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// From here on, messages are this session's. What was missing of the session before it is lost. It may come again
    /// for the same session, where the packet that began it had a number that the next ones refute.
    Session {
        /// Its name.
        session: Session,
        /// The number of the first message to come out. All before it are unverifiable.
        next: u64,
    },
    /// The next message.
    Message {
        /// Its number.
        sequence: u64,
        /// What it says.
        body: &'a [u8],
    },
    /// Send this to the retransmission server, and give its answer to [`Arbiter::datagram`].
    Request(Request),
    /// These messages will not come out.
    Lost {
        /// The first one.
        from: u64,
        /// The last one.
        to: u64,
    },
    /// The session is over, and all its messages have come out or are lost. Should messages follow nevertheless, they
    /// come out, and so does another end.
    End {
        /// The number that no message has.
        next: u64,
    },
}

/// What the stream is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No packet has been seen.
    Unknown,
    /// It fetches the beginning of the session; later messages that find no room are fetched again.
    Backfill,
    /// All that is known to have been sent has come out.
    Synchronised,
    /// Some messages are missing.
    GapFill,
}

/// What one line brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LineCounters {
    /// Packets that could be read.
    pub packets: u64,
    /// Datagrams that could not.
    pub malformed: u64,
    /// Packets of another session than the one followed, or too far ahead, that were not believed.
    pub unbelieved: u64,
    /// Packets with bytes after their last message.
    pub padded: u64,
    /// Messages that this line was the first to bring.
    pub first: u64,
    /// Messages that were there already.
    pub duplicates: u64,
    /// Messages that had been declared lost. Those of earlier than the latest 64 losses count as duplicates.
    pub late: u64,
    /// Messages before the first one that came out.
    pub before_start: u64,
    /// How often the line's own numbers jumped ahead: it lost or reordered packets.
    pub gaps: u64,
    /// By how many messages in all.
    pub missed: u64,
}

/// What became of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamCounters {
    /// Messages that came out.
    pub delivered: u64,
    /// Times that messages were missing on all lines so far.
    pub gaps: u64,
    /// Messages declared lost.
    pub lost: u64,
    /// Requests made.
    pub requests: u64,
    /// Messages that found no room while the session's beginning was fetched. They are asked for again.
    pub dropped: u64,
    /// The most messages that waited at a time.
    pub held_max: usize,
    /// Sessions followed.
    pub sessions: u64,
}

struct Line {
    counters: LineCounters,
    /// The number that follows the last one seen on this line; 0 if none was.
    end: u64,
}

/// Makes one gapless sequence of messages of what several lines bring.
///
/// What holds, for each session that is followed:
///
/// - Messages come out once each, in the order of their numbers. A number that is left out was declared
///   [`Event::Lost`] before the next one came out, once.
/// - What runs ahead of a gap waits in bounded memory, while the other lines, then the server, may fill the gap.
/// - No single packet moves the stream: neither to another session, unless the old one has ended, nor by more than
///   [`Settings::max_jump`]. A second one that agrees is believed. So two lines lose nothing by it, one line asks for
///   what the first packet held.
/// - Memory is set aside by [`Arbiter::new`]; nothing later allocates or waits.
pub struct Arbiter {
    settings: Settings,
    session: Option<Session>,
    earlier: [Option<Session>; REMEMBERED_SESSIONS],
    /// Another session that one packet spoke of, and the first number of it.
    candidate: Option<(Session, u64)>,
    /// A number too far away to believe one packet.
    far: Option<u64>,
    /// Whether a second packet bore out the one that began the stream.
    confirmed: bool,
    state: State,
    start: u64,
    /// The next message to come out. It is not held.
    next: u64,
    /// Follows the last message known to have been sent.
    horizon: u64,
    /// What is missing before this number was waited for long enough.
    ripe: u64,
    /// What is missing before the first number is waited for since the second.
    young: Option<(u64, u64)>,
    end: Option<u64>,
    ended: bool,
    hold: Hold,
    repair: Repair,
    losses: [(u64, u64); REMEMBERED_LOSSES],
    loss_count: usize,
    last_lost: u64,
    lines: Box<[Line]>,
    counters: StreamCounters,
}

impl Arbiter {
    /// An arbiter that has seen nothing.
    pub fn new(settings: Settings) -> Self {
        let lines = settings.lines + 1;
        let manners = Manners {
            in_flight: settings.in_flight,
            messages: settings.request_messages.min(MAX_COUNT),
            tries: settings.tries,
            patience_ns: settings.patience_ns.min(1 << 40),
        };
        Self {
            settings,
            session: None,
            earlier: [None; REMEMBERED_SESSIONS],
            candidate: None,
            far: None,
            confirmed: false,
            state: State::Unknown,
            start: 0,
            next: 0,
            horizon: 0,
            ripe: 0,
            young: None,
            end: None,
            ended: false,
            hold: Hold::new(settings.hold_messages, settings.hold_bytes),
            repair: Repair::new(manners),
            losses: [(0, 0); REMEMBERED_LOSSES],
            loss_count: 0,
            last_lost: 0,
            lines: (0..lines).map(|_| Line { counters: LineCounters::default(), end: 0 }).collect(),
            counters: StreamCounters::default(),
        }
    }

    /// The line by which answers of the retransmission server come: the one after the last.
    pub fn repair_line(&self) -> usize {
        self.settings.lines
    }

    /// What the stream is doing.
    pub fn state(&self) -> State {
        self.state
    }

    /// The session that is followed.
    pub fn session(&self) -> Option<Session> {
        self.session
    }

    /// The number of the next message to come out.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// What became of the stream.
    pub fn counters(&self) -> StreamCounters {
        self.counters
    }

    /// What a line brought.
    ///
    /// # Panics
    ///
    /// If there is no such line.
    pub fn line(&self, line: usize) -> LineCounters {
        self.lines[line].counters
    }

    /// When [`Arbiter::tick`] has something to do, should nothing come until then. There is such a time whenever
    /// messages are missing.
    pub fn wake_at_ns(&self) -> Option<u64> {
        let gap_ns = self.young.map(|(_, since_ns)| since_ns.saturating_add(self.settings.gap_ns));
        [gap_ns, self.repair.due_ns()].into_iter().flatten().min()
    }

    /// Takes a datagram from a line. The verdict is about what the lines have brought so far:
    ///
    /// - `Ok`: it brought something, and nothing is missing before it; or it is a heartbeat that nothing contradicts.
    /// - `Duplicate`: all that it brought was there or given up before.
    /// - `Gap`: these messages are missing before it. It waits.
    /// - `Unverifiable`: it began a stream, or is not believed, or lies before the stream's beginning.
    ///
    /// # Panics
    ///
    /// If there is no such line.
    pub fn datagram(
        &mut self,
        line: usize,
        datagram: &[u8],
        now_ns: u64,
        emit: &mut impl FnMut(Event<'_>),
    ) -> Result<Integrity, PacketError> {
        let counters = &mut self.lines[line].counters;
        let packet = Packet::parse(datagram).inspect_err(|_| counters.malformed += 1)?;
        counters.packets += 1;
        counters.padded += u64::from(packet.padding() > 0);
        let began = match self.belongs(line, &packet, emit) {
            Some(began) => began,
            None => {
                self.lines[line].counters.unbelieved += 1;
                return Ok(Integrity::Unverifiable);
            }
        };
        let verdict = self.take(line, &packet, emit);
        if self.next < self.horizon || self.state != State::Synchronised || self.end.is_some() {
            let answer = if line == self.repair_line() { packet.sequence..packet.end() } else { 0..0 };
            self.settle(answer, now_ns, emit);
        }
        Ok(if began { Integrity::Unverifiable } else { verdict })
    }

    /// Does what is due: asks for what is missing, or gives it up.
    pub fn tick(&mut self, now_ns: u64, emit: &mut impl FnMut(Event<'_>)) {
        if self.session.is_some() {
            self.settle(0..0, now_ns, emit);
        }
    }

    /// Whether a packet is of the stream. `Some(true)` if the stream begins with it.
    fn belongs(
        &mut self,
        line: usize,
        packet: &Packet<'_>,
        emit: &mut impl FnMut(Event<'_>),
    ) -> Option<bool> {
        if self.session == Some(packet.session) {
            return self.is_near(line, packet.sequence, emit);
        }
        if line == self.repair_line() || self.earlier.contains(&Some(packet.session)) {
            return None;
        }
        let first = match self.candidate {
            _ if self.session.is_none() || self.ended => packet.sequence,
            Some((session, first)) if session == packet.session => {
                // The packet seen first is asked for, unless this is the same one.
                if first.abs_diff(packet.sequence) > self.settings.max_jump {
                    packet.sequence
                } else {
                    first.min(packet.sequence)
                }
            }
            _ => {
                self.candidate = Some((packet.session, packet.sequence));
                return None;
            }
        };
        self.close(emit);
        self.begin(packet.session, first, emit);
        Some(true)
    }

    /// Whether a packet's number can be the stream's.
    fn is_near(&mut self, line: usize, sequence: u64, emit: &mut impl FnMut(Event<'_>)) -> Option<bool> {
        let ahead = sequence.saturating_sub(self.horizon);
        // Once borne out, whatever lies behind is merely old.
        let old = self.confirmed || line == self.repair_line();
        let behind = if old { 0 } else { self.horizon.saturating_sub(sequence) };
        if ahead.max(behind) <= self.settings.max_jump {
            self.confirmed |= line != self.repair_line();
            self.far = None;
            return Some(false);
        }
        let agrees = |far: u64| far.abs_diff(sequence) <= self.settings.max_jump;
        if line == self.repair_line() {
            return None;
        }
        if !self.far.is_some_and(agrees) {
            self.far = Some(sequence);
            return None;
        }
        let first = self.far.take().unwrap_or(sequence).min(sequence);
        if self.confirmed {
            return Some(false);
        }
        // Two against the one that began the stream, so what seemed to be missing was not sent.
        self.begin(self.session?, first, emit);
        Some(true)
    }

    /// Begins a stream.
    fn begin(&mut self, session: Session, first: u64, emit: &mut impl FnMut(Event<'_>)) {
        if self.session != Some(session) {
            self.earlier.rotate_right(1);
            self.earlier[0] = self.session;
        }
        let backfill = self.settings.from_start && first > 1;
        self.session = Some(session);
        self.state = if backfill { State::Backfill } else { State::Synchronised };
        self.start = if backfill { 1 } else { first };
        (self.next, self.horizon, self.ripe) = (self.start, first, first);
        (self.candidate, self.far, self.confirmed, self.young) = (None, None, false, None);
        (self.end, self.ended) = (None, false);
        (self.loss_count, self.last_lost) = (0, 0);
        self.hold.clear();
        self.repair.clear(self.next);
        self.lines.iter_mut().for_each(|line| line.end = 0);
        self.counters.sessions += 1;
        self.counters.gaps += u64::from(backfill);
        emit(Event::Session { session, next: self.next });
    }

    /// Gives up all that is missing.
    fn close(&mut self, emit: &mut impl FnMut(Event<'_>)) {
        while self.next < self.horizon {
            self.lose_before(self.horizon, emit);
        }
    }
}
