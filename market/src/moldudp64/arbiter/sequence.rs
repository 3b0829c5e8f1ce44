//! The order of messages: what comes out, what waits, what is asked for, what is given up.

use super::{Arbiter, Event, REMEMBERED_LOSSES, State};
use crate::Integrity;
use crate::moldudp64::{Kind, Packet, Request};
use core::ops::Range;

impl Arbiter {
    /// Takes the messages of a packet of the stream.
    pub(super) fn take(
        &mut self,
        line: usize,
        packet: &Packet<'_>,
        emit: &mut impl FnMut(Event<'_>),
    ) -> Integrity {
        self.note_line(line, packet);
        let (next, end) = (self.next, packet.end());
        self.horizon = self.horizon.max(end);
        if self.end.is_some_and(|end| end < self.horizon) {
            (self.end, self.ended) = (None, false);
        }
        if packet.kind == Kind::EndOfSession && end == self.horizon {
            self.end = Some(end);
        }
        let mut brought = false;
        if end <= next && packet.sequence > self.last_lost && packet.sequence >= self.start {
            self.lines[line].counters.duplicates += u64::from(packet.count);
        } else {
            for (sequence, body) in packet.messages() {
                brought |= self.message(line, sequence, body, emit);
            }
        }
        match packet.count {
            0 if packet.sequence > next => Integrity::Gap { from: next, to: packet.sequence - 1 },
            0 => Integrity::Ok,
            _ if end <= self.start => Integrity::Unverifiable,
            _ if !brought => Integrity::Duplicate,
            _ if packet.sequence > next => Integrity::Gap { from: next, to: packet.sequence - 1 },
            _ => Integrity::Ok,
        }
    }

    /// What the line's own numbers say about it.
    fn note_line(&mut self, line: usize, packet: &Packet<'_>) {
        let is_repair = line == self.repair_line();
        let line = &mut self.lines[line];
        if !is_repair && line.end != 0 && packet.sequence > line.end {
            line.counters.gaps += 1;
            line.counters.missed += packet.sequence - line.end;
        }
        line.end = line.end.max(packet.end());
    }

    /// Takes one message. Whether it is new.
    fn message(&mut self, line: usize, sequence: u64, body: &[u8], emit: &mut impl FnMut(Event<'_>)) -> bool {
        if sequence < self.next || self.hold.contains(sequence) {
            self.count_old(line, sequence);
            return false;
        }
        while sequence > self.next {
            if sequence - self.next < self.hold.window() && self.hold.insert(sequence, body).is_ok() {
                self.counters.held_max = self.counters.held_max.max(self.hold.count());
                self.lines[line].counters.first += 1;
                return true;
            }
            if self.state == State::Backfill {
                self.counters.dropped += 1;
                return true;
            }
            // No room: the oldest gap is given up, so that what waits behind it goes out.
            self.lose_before(sequence, emit);
        }
        self.lines[line].counters.first += 1;
        self.counters.delivered += 1;
        self.next += 1;
        emit(Event::Message { sequence, body });
        self.drain(emit);
        true
    }

    fn count_old(&mut self, line: usize, sequence: u64) {
        let counters = &mut self.lines[line].counters;
        let losses = &self.losses[..self.loss_count.min(REMEMBERED_LOSSES)];
        if sequence < self.start {
            counters.before_start += 1;
        } else if sequence <= self.last_lost
            && losses.iter().any(|(from, to)| (*from..=*to).contains(&sequence))
        {
            counters.late += 1;
        } else {
            counters.duplicates += 1;
        }
    }

    /// Lets out what waited for the message before it.
    fn drain(&mut self, emit: &mut impl FnMut(Event<'_>)) {
        while self.hold.count() > 0 {
            let Some(body) = self.hold.take(self.next) else { break };
            emit(Event::Message { sequence: self.next, body });
            self.counters.delivered += 1;
            self.next += 1;
        }
    }

    /// Gives up what is missing from the next message on, up to the first one that is there, at most before `end`.
    pub(super) fn lose_before(&mut self, end: u64, emit: &mut impl FnMut(Event<'_>)) {
        let (from, end) = (self.next, self.hold.first_in(self.next, end).unwrap_or(end));
        if end <= from {
            return;
        }
        let to = end - 1;
        self.losses[self.loss_count % REMEMBERED_LOSSES] = (from, to);
        self.loss_count += 1;
        self.last_lost = to;
        self.counters.lost += end - from;
        self.next = end;
        emit(Event::Lost { from, to });
        self.drain(emit);
    }

    /// Asks for what is missing and gives up what was asked for in vain. `answer` is what the server sent.
    pub(super) fn settle(&mut self, answer: Range<u64>, now_ns: u64, emit: &mut impl FnMut(Event<'_>)) {
        let mut answer = answer;
        while self.next < self.horizon {
            if self.state == State::Synchronised {
                self.state = State::GapFill;
                self.counters.gaps += 1;
            }
            self.age(now_ns);
            self.repair.trim(self.next, &self.hold, answer, now_ns);
            self.repair.update(self.ripe, &self.hold, now_ns);
            answer = 0..0;
            match self.repair.given_up(self.next) {
                // A server that does not answer will not bring the rest of the session's beginning either.
                Some(_) if self.state == State::Backfill => {
                    self.state = State::GapFill;
                    self.lose_before(self.horizon, emit);
                }
                // Without a server there is no use in going range by range.
                Some(_) if self.settings.tries == 0 => self.lose_before(self.ripe, emit),
                Some(to) => self.lose_before(to + 1, emit),
                None => return self.ask(now_ns, emit),
            }
        }
        self.state = State::Synchronised;
        self.ripe = self.next;
        self.young = None;
        self.repair.clear(self.next);
        if self.end.is_some_and(|end| self.next >= end) && !self.ended {
            self.ended = true;
            emit(Event::End { next: self.next });
        }
    }

    fn ask(&mut self, now_ns: u64, emit: &mut impl FnMut(Event<'_>)) {
        let Some(session) = self.session else { return };
        let requests = &mut self.counters.requests;
        self.repair.ask(now_ns, |sequence, count| {
            *requests += 1;
            emit(Event::Request(Request { session, sequence, count }));
        });
    }

    /// Lets what is missing grow ripe.
    fn age(&mut self, now_ns: u64) {
        self.ripe = self.ripe.max(self.next);
        if let Some((end, since_ns)) = self.young
            && now_ns.saturating_sub(since_ns) >= self.settings.gap_ns
        {
            self.ripe = self.ripe.max(end);
            self.young = None;
        }
        if self.young.is_none() && self.horizon > self.ripe {
            self.young = Some((self.horizon, now_ns));
        }
    }
}
