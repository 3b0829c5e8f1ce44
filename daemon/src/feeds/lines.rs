//! The connections of one feed over time: which there are, which is to be begun or ended, and when. Without I/O;
//! whoever drives it tells it the time.
//!
//! A feed has one or two **seats**, each of which is to be taken by a connection at all times. A connection has a
//! **line**, a number that is its own until the hot thread has reported its end. What holds:
//!
//! - A connection that is to be replaced goes on until its successor is there, and [`OVERLAP`] longer: what the one
//!   does not bring any more, the other one has brought already.
//! - The end of a connection that has a successor is no break.
//! - After a failure or a break a seat waits, ever longer. A connection that asks for a successor right after it was
//!   made is a failure too.

use crate::engine::MAX_LINES;
use crate::ingest::connect::Backoff;
use std::time::{Duration, Instant};

/// How long a connection goes on beside its successor.
pub(super) const OVERLAP: Duration = Duration::from_secs(5);

/// The connections of a feed.
#[derive(Debug)]
pub(super) struct Lines {
    seats: Vec<Seat>,
    /// Connections with a successor, and when they are to end; none once that was ordered.
    leaving: Vec<(usize, Option<Instant>)>,
    in_use: [bool; MAX_LINES],
}

#[derive(Debug, Default)]
struct Seat {
    current: Option<Current>,
    /// The line of the attempt that is under way.
    attempt: Option<usize>,
    /// Nothing is tried before.
    try_at: Option<Instant>,
    backoff: Backoff,
}

#[derive(Debug)]
struct Current {
    line: usize,
    /// When it is to be replaced.
    roll_at: Option<Instant>,
}

/// What the end of a connection means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Nothing: it had a successor, or was not known.
    Expected,
    /// Another one is to be made, after this pause.
    Lost(Duration),
}

impl Lines {
    pub(super) fn new(seats: usize) -> Self {
        let seats = (0..seats).map(|_| Seat::default()).collect();
        Self { seats, leaving: Vec::new(), in_use: [false; MAX_LINES] }
    }

    /// Goes on with the connections of `old`. If they are not what is wanted any more, each gets a successor.
    pub(super) fn go_on(mut old: Self, seats: usize, is_same: bool, now: Instant) -> Self {
        let mut lines = Self::new(seats);
        for (at, seat) in old.seats.iter_mut().enumerate() {
            let Some(mut current) = seat.current.take() else { continue };
            lines.in_use[current.line] = true;
            if !is_same {
                current.roll_at = Some(now);
            }
            match lines.seats.get_mut(at) {
                Some(seat) => seat.current = Some(current),
                None => lines.leaving.push((current.line, Some(now))),
            }
        }
        for (line, end_at) in old.leaving {
            lines.in_use[line] = true;
            lines.leaving.push((line, end_at));
        }
        lines
    }

    /// The next attempt to begin now: its seat and line.
    pub(super) fn next_attempt(&mut self, now: Instant) -> Option<(usize, usize)> {
        let is_due = |seat: &Seat| seat.due().is_some_and(|due| due.is_none_or(|due| due <= now));
        let seat = self.seats.iter().position(is_due)?;
        let line = self.in_use.iter().position(|in_use| !in_use)?;
        self.in_use[line] = true;
        self.seats[seat].attempt = Some(line);
        Some((seat, line))
    }

    /// The attempt for a seat has succeeded: it is replaced at `roll_at`.
    pub(super) fn connected(&mut self, seat: usize, roll_at: Option<Instant>, now: Instant) {
        let seat = &mut self.seats[seat];
        let Some(line) = seat.attempt.take() else { return };
        let old = seat.current.replace(Current { line, roll_at });
        seat.try_at = None;
        seat.backoff.connected(now);
        self.leaving.extend(old.map(|old| (old.line, Some(now + OVERLAP))));
    }

    /// The attempt for a seat has failed. Returns the pause before the next one.
    pub(super) fn failed(&mut self, seat: usize, random: u64, now: Instant) -> Duration {
        let seat = &mut self.seats[seat];
        if let Some(line) = seat.attempt.take() {
            self.in_use[line] = false;
        }
        seat.pause(random, now)
    }

    /// A connection has ended.
    pub(super) fn ended(&mut self, line: usize, random: u64, now: Instant) -> Ended {
        if let Some(in_use) = self.in_use.get_mut(line) {
            *in_use = false;
        }
        self.leaving.retain(|(leaving, _)| *leaving != line);
        let Some(seat) = self.seat_of(line) else { return Ended::Expected };
        seat.current = None;
        match seat.attempt {
            // Its successor is under way, and is not begun twice.
            Some(_) => Ended::Lost(Duration::ZERO),
            None => Ended::Lost(seat.pause(random, now)),
        }
    }

    /// A connection is to get a successor: at once, unless it has been there for a moment only.
    pub(super) fn replace(&mut self, line: usize, random: u64, now: Instant) {
        let Some(seat) = self.seat_of(line) else { return };
        let is_waiting = seat.attempt.is_some() || seat.try_at.is_some_and(|at| at > now);
        if !is_waiting && seat.backoff.is_young(now) {
            seat.pause(random, now);
        }
        seat.current.iter_mut().for_each(|current| current.roll_at = Some(now));
    }

    /// The next connection to end now. It keeps its line until its end is reported.
    pub(super) fn next_end(&mut self, now: Instant) -> Option<usize> {
        let (line, end_at) =
            self.leaving.iter_mut().find(|(_, end_at)| end_at.is_some_and(|end_at| end_at <= now))?;
        *end_at = None;
        Some(*line)
    }

    /// The order to end a connection could not be given: it is to be given again.
    pub(super) fn not_ended(&mut self, line: usize, again: Instant) {
        let of_line = self.leaving.iter_mut().filter(|(leaving, _)| *leaving == line);
        of_line.for_each(|(_, end_at)| *end_at = Some(again));
    }

    /// When there is something to do next.
    pub(super) fn next_at(&self, now: Instant) -> Option<Instant> {
        let ends = self.leaving.iter().filter_map(|(_, end_at)| *end_at);
        // Without a free line nothing can be begun: the end of a connection is waited for.
        let is_room = self.in_use.contains(&false);
        let begins = self.seats.iter().filter(|_| is_room).filter_map(Seat::due);
        ends.chain(begins.map(|due| due.unwrap_or(now))).min()
    }

    /// Whether at least one connection is there.
    #[cfg(test)]
    fn is_connected(&self) -> bool {
        self.seats.iter().any(|seat| seat.current.is_some())
    }

    fn seat_of(&mut self, line: usize) -> Option<&mut Seat> {
        self.seats.iter_mut().find(|seat| seat.current.as_ref().is_some_and(|current| current.line == line))
    }
}

impl Seat {
    /// Whether an attempt is to be begun, and when; at once without a time.
    fn due(&self) -> Option<Option<Instant>> {
        if self.attempt.is_some() {
            return None;
        }
        let due = match &self.current {
            None => None,
            Some(current) => Some(current.roll_at?),
        };
        Some(due.max(self.try_at))
    }

    fn pause(&mut self, random: u64, now: Instant) -> Duration {
        let pause = self.backoff.pause(random, now);
        self.try_at = Some(now + pause);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_successor_comes_first_and_the_old_one_ends_later() {
        let (mut lines, now) = (Lines::new(1), Instant::now());
        assert_eq!(lines.next_at(now), Some(now));
        assert_eq!(lines.next_attempt(now), Some((0, 0)));
        assert_eq!((lines.next_attempt(now), lines.next_at(now)), (None, None));
        lines.connected(0, Some(now + 60 * SECOND), now);
        assert_eq!(lines.next_at(now), Some(now + 60 * SECOND));
        let later = now + 60 * SECOND;
        assert_eq!(lines.next_attempt(later), Some((0, 1)));
        assert!(lines.is_connected() && lines.next_end(later).is_none(), "the old one goes on");
        lines.connected(0, None, later);
        assert_eq!(lines.next_end(later + OVERLAP - SECOND), None);
        assert_eq!(lines.next_end(later + OVERLAP), Some(0));
        assert_eq!(lines.next_end(later + OVERLAP), None, "once");
        assert_eq!(lines.ended(0, 0, later + OVERLAP), Ended::Expected);
        assert_eq!(lines.next_at(later), None);
    }

    #[test]
    fn an_old_one_that_ends_by_itself_is_no_break_and_a_lost_one_is() {
        let (mut lines, now) = (Lines::new(1), Instant::now());
        lines.next_attempt(now);
        lines.connected(0, Some(now), now);
        lines.next_attempt(now);
        lines.connected(0, None, now);
        assert_eq!(lines.ended(0, 0, now), Ended::Expected);
        assert_eq!(lines.next_end(now + OVERLAP), None);
        let Ended::Lost(pause) = lines.ended(1, u64::MAX, now) else { panic!() };
        assert_eq!(lines.next_at(now), Some(now + pause));
        assert_eq!(lines.next_attempt(now), None);
        assert!(lines.next_attempt(now + pause).is_some());
        assert!(lines.failed(0, u64::MAX, now) > pause);
    }

    #[test]
    fn a_server_that_wants_to_be_left_at_once_is_not_hammered() {
        let (mut lines, mut now) = (Lines::new(1), Instant::now());
        lines.next_attempt(now);
        lines.connected(0, None, now);
        now += 60 * SECOND;
        lines.replace(0, u64::MAX, now);
        assert_eq!(lines.next_attempt(now), Some((0, 1)), "an old one at once");
        let (mut pauses, mut old, mut line) = (Vec::new(), 0, 1);
        for _ in 0..3 {
            lines.connected(0, None, now);
            lines.ended(old, 0, now);
            lines.replace(line, u64::MAX, now);
            lines.replace(line, u64::MAX, now);
            let due = lines.next_at(now).unwrap();
            pauses.push(due - now);
            now = due;
            old = std::mem::replace(&mut line, lines.next_attempt(now).unwrap().1);
        }
        assert!(pauses.is_sorted() && pauses[0] >= SECOND / 4 && pauses[2] > pauses[0], "{pauses:?}");
    }

    #[test]
    fn another_configuration_replaces_and_another_number_of_seats_too() {
        let now = Instant::now();
        let two = || {
            let mut lines = Lines::new(2);
            for seat in 0..2 {
                assert_eq!(lines.next_attempt(now), Some((seat, seat)));
            }
            (0..2).for_each(|seat| lines.connected(seat, None, now));
            lines
        };
        let mut same = Lines::go_on(two(), 2, true, now);
        assert_eq!((same.next_attempt(now), same.next_end(now)), (None, None));
        let mut other = Lines::go_on(two(), 2, false, now);
        assert_eq!([other.next_attempt(now), other.next_attempt(now)], [Some((0, 2)), Some((1, 3))]);
        let mut one = Lines::go_on(two(), 1, true, now);
        assert_eq!((one.next_attempt(now), one.next_end(now)), (None, Some(1)));
    }

    proptest! {
        /// Whatever happens: lines are not given twice, seats are filled again, and nothing goes on for ever.
        #[test]
        fn every_seat_is_taken_in_the_end(steps in prop::collection::vec((0u8..6, 0usize..4, any::<u64>()), 1..200)) {
            let (mut lines, mut now) = (Lines::new(2), Instant::now());
            let (mut open, mut trying) = (Vec::new(), Vec::new());
            for (what, which, random) in steps {
                match what {
                    0 => while let Some((seat, line)) = lines.next_attempt(now) {
                        prop_assert!(!open.contains(&line) && trying.iter().all(|(_, other)| *other != line));
                        trying.push((seat, line));
                    },
                    1 => if let Some((seat, line)) = trying.pop() {
                        lines.connected(seat, (random % 2 == 0).then_some(now + SECOND), now);
                        open.push(line);
                    },
                    2 => if let Some((seat, _)) = trying.pop() {
                        lines.failed(seat, random, now);
                    },
                    3 => if let Some(line) = open.get(which).copied() {
                        open.retain(|other| *other != line);
                        lines.ended(line, random, now);
                    },
                    4 => lines.replace(which, random, now),
                    _ => while let Some(line) = lines.next_end(now) {
                        prop_assert!(open.contains(&line));
                    },
                }
                now += Duration::from_millis(random % 3_000);
            }
            // Then all goes well for a while.
            for _ in 0..20 {
                now += 31 * SECOND;
                while let Some(line) = lines.next_end(now) {
                    lines.ended(line, 0, now);
                    open.retain(|other| *other != line);
                }
                // What was ordered to end before is reported now.
                for (line, end_at) in lines.leaving.clone() {
                    if end_at.is_none() {
                        lines.ended(line, 0, now);
                    }
                }
                while let Some(attempt) = lines.next_attempt(now) {
                    trying.push(attempt);
                }
                while let Some((seat, _)) = trying.pop() {
                    lines.connected(seat, None, now);
                }
            }
            prop_assert!(lines.seats.iter().all(|seat| seat.current.is_some() && seat.attempt.is_none()));
            prop_assert!(lines.leaving.is_empty());
            prop_assert_eq!(lines.next_at(now), None);
        }
    }
}
