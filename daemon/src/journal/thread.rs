//! The journal's thread: takes records from the queue and has them written, as the writer says.
//!
//! It is no hot thread: it has no real-time priority, allocates and waits. What holds: it sleeps until something
//! completes, records come, or something is due; what it cannot write stays in the queue, which is bounded; and how it
//! goes stands in the status segment at the latest a tenth of a second later. It ends when it is told to, once all that
//! was taken in is durable, or after a time that is bounded: then it says how much is not.

use super::disk::{Disk, Event};
use super::files::{Files, Order, Shared};
use crate::now_ns;
use crate::supervisor::Pulse;
use crate::uring::Bell;
use journal::writer::Condition;
use journal::{Drain, Errno, Flush, Op, OpId, Writer};
use shm::status::{Counter, Journal, JournalState, Phase, StatusWriter};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::time::{Duration, Instant};

/// How long it may sleep: its heartbeat needs it awake now and then.
const NAP: Duration = Duration::from_millis(100);
/// However soon something is due.
const LEAST_NAP: Duration = Duration::from_micros(50);
/// If something is due within this time, nobody need wake it for records: it looks then.
const SOON: Duration = Duration::from_millis(5);
/// How often it fills blocks before it looks around again.
const FILLS: usize = 32;
/// How long the end may take: what is not written by then is lost.
pub(super) const END_TIMEOUT: Duration = Duration::from_secs(3);
/// For how long it counts as losing after a record was lost.
const LOSING: Duration = Duration::from_secs(1);

/// See above.
pub(super) struct Loop {
    disk: Disk,
    writer: Writer,
    drain: Drain,
    files: Files,
    shared: Arc<Shared>,
    bell: Arc<Bell>,
    status: Arc<StatusWriter>,
    pulse: Pulse,
    told: Told,
    /// Whether a segment is being prepared, or made known to the ring.
    is_asked: bool,
    /// Segments that the ring knows, and whether something was written to them.
    open: Vec<(u64, bool)>,
    /// Writes and flushes on their way: how long a write is, and whether it makes something durable.
    flying: Vec<(OpId, usize, bool)>,
    events: Vec<Event>,
    stop: Arc<AtomicBool>,
}

/// What was told to readers of the status.
struct Told {
    state: JournalState,
    condition: Condition,
    lost: u64,
    lost_at: Option<Instant>,
    failures: u64,
}

/// What a loop is made of.
pub(super) struct Parts {
    pub(super) disk: Disk,
    pub(super) writer: Writer,
    pub(super) drain: Drain,
    pub(super) files: Files,
    pub(super) bell: Arc<Bell>,
    pub(super) status: Arc<StatusWriter>,
    pub(super) pulse: Pulse,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) state: JournalState,
}

impl Loop {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { disk, writer, drain, files, bell, status, pulse, stop, state } = parts;
        let told = Told { state, condition: Condition::default(), lost: 0, lost_at: None, failures: 0 };
        let shared = files.shared.clone();
        bell.attach(disk.ring());
        Self {
            disk,
            writer,
            drain,
            files,
            shared,
            bell,
            status,
            pulse,
            told,
            is_asked: false,
            open: Vec::with_capacity(8),
            flying: Vec::with_capacity(64),
            events: Vec::with_capacity(64),
            stop,
        }
    }

    /// Runs until it is told to stop, and all is closed. Whether all that was taken in is durable then.
    pub(super) fn run(mut self) -> io::Result<bool> {
        let outcome = self.run_to_end();
        self.bell.detach();
        self.told.state.state = Journal::Ended as u64;
        self.status.set_journal(&self.told.state);
        let Self { disk, files, .. } = self;
        drop(disk);
        files.end(Instant::now() + Duration::from_millis(500));
        outcome
    }

    fn run_to_end(&mut self) -> io::Result<bool> {
        while !self.stop.load(Acquire) {
            self.round(NAP)?;
        }
        // Whoever filled the queue is gone: what is in it is all there will be.
        let end = Instant::now() + END_TIMEOUT;
        let mut is_finishing = false;
        while Instant::now() < end {
            if !is_finishing && self.drain.is_empty() {
                self.writer.finish();
                is_finishing = true;
            }
            self.round(Duration::from_millis(2))?;
            // One that is stalled goes on with the segment that is being prepared for it.
            let may_go_on = self.writer.condition().is_stalled && self.is_asked;
            if is_finishing && self.writer.is_finished() && self.disk.is_quiet() && !may_go_on {
                break;
            }
        }
        self.give_back();
        Ok(self.tell_end())
    }

    fn round(&mut self, nap: Duration) -> io::Result<()> {
        self.pulse.beat(Phase::Write, now_ns());
        self.settle()?;
        self.take_segments()?;
        // Before it looks for records a last time: who brings some later wakes it.
        self.bell.fall_asleep();
        let is_busy = self.pump()?;
        self.publish();
        self.pulse.beat(Phase::Wait, now_ns());
        let due = self.writer.due_ns().map(|due_ns| Duration::from_nanos(due_ns.saturating_sub(now_ns())));
        let nap = match due {
            _ if is_busy => Duration::ZERO,
            Some(due) => due.clamp(LEAST_NAP, nap),
            None => nap,
        };
        let is_awake = nap <= SOON || self.writer.condition().is_stalled;
        if is_awake {
            self.bell.wake_up();
        }
        // A block may fill sooner than it is due: then it is looked at now and then.
        let nap = if due.is_some() { nap.min(SOON) } else { nap };
        let outcome = self.disk.wait(nap);
        self.bell.wake_up();
        outcome
    }

    /// Tells the writer what has ended.
    fn settle(&mut self) -> io::Result<()> {
        self.disk.take(&mut self.events)?;
        let now_ns = now_ns();
        for event in self.events.drain(..) {
            match event {
                Event::Done(id, outcome) => {
                    if let Some(at) = self.flying.iter().position(|(flying, ..)| *flying == id) {
                        let (_, len, is_flush) = self.flying.swap_remove(at);
                        count(&self.status, len, is_flush, outcome);
                        let written = if outcome == Ok(len) { len as u64 } else { 0 };
                        self.shared.written_bytes.fetch_add(written, Relaxed);
                    }
                    self.writer.complete(id, outcome, now_ns);
                }
                Event::Ready { segment, identity } => {
                    self.is_asked = false;
                    self.told.state.segment = segment;
                    self.writer.give_segment(segment, identity);
                }
            }
        }
        Ok(())
    }

    /// Asks for a segment if one is wanted, and takes one that is prepared.
    fn take_segments(&mut self) -> io::Result<()> {
        if self.writer.wants_segment() && !std::mem::replace(&mut self.is_asked, true) {
            self.files.order(Order::Prepare)?;
        }
        while let Some(prepared) = self.files.take() {
            self.disk.add(prepared.segment, prepared.identity, prepared.file)?;
            self.open.push((prepared.segment, false));
        }
        let is_waiting = self.open.is_empty() || self.writer.condition().is_stalled;
        self.shared.is_waiting.store(is_waiting, Relaxed);
        Ok(())
    }

    /// Fills blocks and begins what is to be done. True if there may be more.
    fn pump(&mut self) -> io::Result<bool> {
        for _ in 0..FILLS {
            let now_ns = now_ns();
            self.writer.fill(&mut self.drain, self.disk.memory(), now_ns);
            let mut began = false;
            while let Some(op) = self.writer.next_op(self.disk.memory(), now_ns) {
                began = true;
                self.begin(&op)?;
            }
            if !began {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn begin(&mut self, op: &Op) -> io::Result<()> {
        match *op {
            Op::Write { id, segment, len, flush, .. } => {
                self.open.iter_mut().filter(|(open, _)| *open == segment).for_each(|(_, used)| *used = true);
                self.told.state.segment = segment;
                self.flying.push((id, len, flush == Flush::Through));
                if let Flush::Linked(flush) = flush {
                    self.flying.push((flush, 0, true));
                }
            }
            Op::Flush { id, .. } => self.flying.push((id, 0, true)),
            Op::Close { segment, used_bytes, is_whole } => {
                self.open.retain(|(open, _)| *open != segment);
                self.open_from();
                self.status.count(Counter::JournalSegments, 1);
                if !is_whole {
                    tracing::warn!("segment {segment} of the journal was given up: not all of it is durable");
                }
                self.disk.begin(op)?;
                return self.files.order(Order::Close { segment, used_bytes });
            }
        }
        self.disk.begin(op)
    }

    /// Tells the other threads which segments are none of their business.
    fn open_from(&self) {
        let lowest = self.open.iter().map(|(segment, _)| *segment).min();
        let from = lowest.unwrap_or(self.told.state.segment + 1);
        self.shared.open_from.fetch_max(from, AcqRel);
    }

    /// Tells readers of the status how it goes.
    fn publish(&mut self) {
        let condition = self.writer.condition();
        let lost = self.status.journal_intake().lost;
        let failures = self.shared.failures.load(Relaxed);
        let told = &mut self.told;
        if lost > told.lost {
            told.lost_at = Some(Instant::now());
        }
        let more = |counter, now: u64, before: u64| {
            if now > before {
                self.status.count(counter, now - before);
            }
        };
        let written = self.writer.written();
        more(Counter::JournalLost, lost, told.lost);
        more(Counter::JournalRecords, written, told.state.written);
        more(Counter::JournalWriteFailures, condition.write_failures, told.condition.write_failures);
        more(Counter::JournalFlushFailures, condition.flush_failures, told.condition.flush_failures);
        more(Counter::JournalPrepareFailures, failures, told.failures);
        let of_writer = condition.last_errno.filter(|_| {
            (condition.write_failures, condition.flush_failures)
                != (told.condition.write_failures, told.condition.flush_failures)
        });
        let of_files = (failures > told.failures).then(|| self.shared.errno.load(Relaxed));
        let errno = of_writer.or(of_files).map_or(told.state.errno, |errno| errno.unsigned_abs().into());
        let (waiting, capacity) = (self.drain.waiting_bytes(), self.drain.capacity_bytes());
        let state = match () {
            () if told.lost_at.is_some_and(|at| at.elapsed() < LOSING) => Journal::Losing,
            () if condition.is_stalled => Journal::Stalled,
            () if waiting > capacity / 4 => Journal::Spilling,
            () => Journal::Well,
        };
        (told.lost, told.failures, told.condition) = (lost, failures, condition);
        let now = JournalState {
            state: state as u64,
            written,
            durable: self.writer.durable(),
            disk_bytes: self.shared.disk_bytes.load(Relaxed),
            waiting_bytes: waiting as u64,
            capacity_bytes: capacity as u64,
            errno,
            ..told.state
        };
        if now != told.state {
            told.state = now;
            self.status.set_journal(&now);
        }
    }

    /// Gives back what was prepared and not used.
    fn give_back(&mut self) {
        while let Some(prepared) = self.files.take() {
            let _ = self.files.order(Order::Discard(prepared.segment)); // The next start removes it.
        }
        for (segment, is_used) in std::mem::take(&mut self.open) {
            if !is_used {
                let _ = self.disk.remove(segment); // The ring is about to go.
                let _ = self.files.order(Order::Discard(segment));
            }
        }
    }

    /// Says what became of what was taken in. Whether all of it is durable.
    fn tell_end(&mut self) -> bool {
        self.publish();
        let (state, accepted) = (self.told.state, self.status.journal_intake().accepted);
        if self.told.lost > 0 {
            let lost = self.told.lost;
            tracing::error!("{lost} records of this run are not in the journal: they found no room");
        }
        let left = accepted.saturating_sub(state.durable);
        match left {
            0 => tracing::info!("the journal is closed: {} records, all of them durable", state.durable),
            left => tracing::error!(
                "the journal is not closed: {left} records are not durable, from {} on",
                state.durable
            ),
        }
        left == 0
    }
}

/// Counts an operation that has ended.
fn count(status: &StatusWriter, len: usize, is_flush: bool, outcome: Result<usize, Errno>) {
    if len > 0 && outcome == Ok(len) {
        status.count(Counter::JournalBytes, len as u64);
        status.count(Counter::JournalBlocks, 1);
    }
    status.count(Counter::JournalFlushes, u64::from(is_flush && outcome.is_ok()));
}
