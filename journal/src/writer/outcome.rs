//! What follows from how an operation has ended.
//!
//! What holds: a batch is durable once a flush has ended well that was asked for after its write was known to have
//! ended well, or that was linked to this write. Nothing becomes durable in a segment that is poisoned.

use super::batch::{Flushing, OnItsWay, State, Target};
use super::{Durability, Ending, Errno, Op, OpId, Writer};

/// How often a write is repeated that was cut short or refused for the moment.
const REPEATS: u32 = 6;
/// How long the second repeat waits. Each further waits twice as long as the one before.
const REPEAT_NS: u64 = 1_000_000;
/// Segments that are poisoned within this time of each other are a disk that fails.
const STRIKE_NS: u64 = 10_000_000_000;
/// How long the next segment then waits, at first and at the most.
const BACK_OFF_NS: std::ops::RangeInclusive<u64> = 100_000_000..=1_000_000_000;
/// How many segments may fail at the end, before all is given up.
const LAST_STRIKES: u32 = 3;

// The same on all Linux machines that chartd knows.
const EINTR: Errno = 4;
const EAGAIN: Errno = 11;
const ECANCELED: Errno = 125;

impl Writer {
    /// Tells how an operation has ended.
    pub fn complete(&mut self, id: OpId, outcome: Result<usize, Errno>, now_ns: u64) {
        let Some(place) = self.on_its_way.iter().position(|(other, _)| *other == id) else { return };
        match self.on_its_way.swap_remove(place).1 {
            OnItsWay::Write(target) => self.write_ended(target, outcome, now_ns),
            OnItsWay::Flush { ordinal, is_linked, link } => {
                // It has not begun, since its write did not end well. That is told by the write.
                if !(is_linked && outcome == Err(ECANCELED)) {
                    self.flush_ended(ordinal, link, outcome, now_ns);
                }
            }
            OnItsWay::LastFlush => self.last_flush_ended(outcome),
        }
    }

    fn write_ended(&mut self, target: Target, outcome: Result<usize, Errno>, now_ns: u64) {
        if self.current.as_ref().is_none_or(|segment| segment.is_poisoned) {
            return;
        }
        let (flushes, class) = (self.flushes, self.plan.durability);
        let Some(batch) = self.target(target) else { return };
        let errno = match outcome {
            Ok(bytes) if bytes >= batch.len => {
                let is_durable = class == Durability::Sync || batch.is_flushed;
                batch.state = if is_durable { State::Durable } else { State::Written };
                batch.flushes_before = flushes;
                self.unflushed_bytes += if is_durable { 0 } else { batch.len as u64 };
                return self.settle();
            }
            Ok(_) | Err(EINTR | EAGAIN) if batch.repeats < REPEATS => {
                let wait_ns = if batch.repeats == 0 { 0 } else { REPEAT_NS << (batch.repeats - 1) };
                batch.repeats += 1;
                batch.again_ns = now_ns + wait_ns;
                batch.state = State::Again;
                batch.is_flushed = false;
                return self.unlink(target);
            }
            Ok(_) => None,
            Err(errno) => Some(errno),
        };
        self.condition.write_failures += 1;
        self.condition.last_errno = errno.or(self.condition.last_errno);
        self.poison(now_ns);
    }

    /// A flush that is linked to a write which is repeated says nothing of the repetition.
    fn unlink(&mut self, target: Target) {
        for (_, what) in &mut self.on_its_way {
            if let OnItsWay::Flush { link, .. } = what {
                *link = link.filter(|linked| *linked != target);
            }
        }
    }

    fn flush_ended(
        &mut self,
        ordinal: u64,
        link: Option<Target>,
        outcome: Result<usize, Errno>,
        now_ns: u64,
    ) {
        if self.current.as_ref().is_none_or(|segment| segment.is_poisoned) {
            return;
        }
        match outcome {
            Ok(_) => {
                for batch in self.batches.iter_mut().take(self.issued) {
                    if batch.state == State::Written && batch.flushes_before <= ordinal {
                        batch.state = State::Durable;
                    }
                }
                match link.and_then(|link| self.target(link)) {
                    Some(batch) if batch.state == State::Written => batch.state = State::Durable,
                    Some(batch) => batch.is_flushed = true,
                    None => {}
                }
                self.settle();
            }
            Err(errno) => {
                self.condition.flush_failures += 1;
                self.condition.last_errno = Some(errno);
                self.poison(now_ns);
            }
        }
    }

    fn last_flush_ended(&mut self, outcome: Result<usize, Errno>) {
        let Some(closing) = &mut self.closing else { return };
        closing.flush = Flushing::Ended { is_whole: outcome.is_ok() };
        self.told_durable = closing.end;
        match outcome {
            Ok(_) => {
                if self.condition.unsure == 0 {
                    self.durable = closing.end;
                }
            }
            Err(errno) => {
                self.condition.unsure += closing.unsure;
                self.condition.flush_failures += 1;
                self.condition.poisoned += 1;
                self.condition.last_errno = Some(errno);
            }
        }
    }

    /// Lets go of the memory of what is settled, from the front, and raises the watermarks.
    fn settle(&mut self) {
        let enough = match self.plan.durability {
            Durability::Async => State::Written,
            Durability::Group | Durability::Sync => State::Durable,
        };
        while let Some(batch) = self.batches.pop_front_if(|batch| batch.state >= enough) {
            self.first_batch += 1;
            self.issued -= 1;
            self.free.push(batch.memory);
            self.settled = batch.whole_until();
            self.settled_crc = batch.crc;
            self.is_settled_open = batch.is_open;
        }
        let written = self.batches.iter().take_while(|batch| batch.state >= State::Written).last();
        self.written = self.written.max(written.map_or(self.settled, |batch| batch.whole_until()));
        if self.plan.durability != Durability::Async {
            (self.durable, self.told_durable) = (self.settled, self.settled);
        }
    }

    /// How many records are not there without the segment that began with this one. One that goes on in the next
    /// segment is among them.
    pub(super) fn unsure_since(&self, begin: u64) -> u64 {
        self.settled - begin + u64::from(self.is_settled_open)
    }

    /// Nothing more is done with the current segment, but to wait for what is on its way.
    fn poison(&mut self, now_ns: u64) {
        let Some(segment) = &mut self.current else { return };
        segment.is_poisoned = true;
        self.condition.poisoned += 1;
        if self.condition.poisoned > 1 && now_ns.saturating_sub(self.poisoned_ns) > STRIKE_NS {
            self.strikes = 0;
        }
        let wait_ns = match self.strikes {
            0 => 0,
            strikes => (BACK_OFF_NS.start() << (strikes - 1).min(8)).min(*BACK_OFF_NS.end()),
        };
        self.strikes += 1;
        (self.poisoned_ns, self.resume_ns) = (now_ns, now_ns + wait_ns);
        if self.ending != Ending::No && self.strikes >= LAST_STRIKES {
            self.ending = Ending::GivenUp;
        }
    }

    /// Closes a poisoned segment: what is not settled goes to the next one, after the last that is.
    pub(super) fn abandon(&mut self) -> Option<Op> {
        let segment = self.current.take()?;
        self.batches.iter_mut().for_each(|batch| batch.unplace());
        self.issued = 0;
        self.last_crc = self.settled_crc;
        if self.plan.durability == Durability::Async {
            self.condition.unsure += self.unsure_since(segment.begin);
            self.told_durable = self.settled;
        }
        Some(Op::Close { segment: segment.number, used_bytes: segment.used_bytes, is_whole: false })
    }
}
