//! One run of the writer on the simulated disk: records come, time goes by, operations end, until it is cut or ends in
//! order.

use super::device::{Device, Faults};
use super::disk::{Disk, Loss};
use super::model::Model;
use super::{Checked, Dice, ensure};
use journal::record::Stamp;
use journal::writer::Condition;
use journal::{Drain, Durability, Header, Kind, Op, Plan, Position, Tap, Writer, block, queue};
use std::collections::VecDeque;
use std::fmt::Debug;

const MS: u64 = 1_000_000;
/// What a block waits that holds nothing but looks for what did not come.
const TICKS: u64 = 1_000 * MS;
/// The most that the next segment waits after a failure, and a write for its repetition.
const BACK_OFF: u64 = 1_000 * MS;
const REPEATS: u64 = 32 * MS;

/// The last things that happened.
#[derive(Debug, Default)]
pub struct Trace(VecDeque<String>, bool);

impl Trace {
    /// One that is kept only if it is to be printed.
    pub fn new(is_kept: bool) -> Self {
        Self(VecDeque::new(), is_kept)
    }

    /// Adds what happened.
    pub fn add(&mut self, what: impl Debug) {
        if self.1 {
            if self.0.len() == 400 {
                self.0.pop_front();
            }
            self.0.push_back(format!("{what:?}"));
        }
    }

    /// All of it, line by line.
    pub fn lines(&self) -> String {
        self.0.iter().map(|line| format!("  {line}\n")).collect()
    }
}

/// How a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// As it should: all that was accepted is there.
    Order,
    /// Killed: what was written stays written.
    Killed,
    /// Without power.
    Power,
}

/// What is known of a run that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    pub end: End,
    /// What it had promised.
    pub durable: u64,
    pub written: u64,
    pub condition: Condition,
    /// The number of the next segment.
    pub next_segment: u64,
}

/// A writer, and all around it.
pub struct Run<'a> {
    dice: &'a mut Dice,
    disk: &'a Disk,
    model: &'a mut Model,
    trace: &'a mut Trace,
    plan: Plan,
    writer: Writer,
    device: Device,
    memory: Vec<u8>,
    tap: Tap,
    drain: Drain,
    lost: Vec<Header>,
    lost_bytes: u64,
    generation: u32,
    base: u64,
    now_ns: u64,
    next_segment: u64,
    /// No segment is to be had until then.
    supply_ns: u64,
    faults: Faults,
    durable: u64,
    written: u64,
}

/// A plan as small as possible, so that much happens in little time.
pub fn plan(dice: &mut Dice) -> Plan {
    let block_bytes = [4096, 4096, 8192, 16384][dice.below(4) as usize];
    Plan {
        durability: [Durability::Group, Durability::Group, Durability::Sync, Durability::Async]
            [dice.below(4) as usize],
        block_bytes,
        segment_bytes: (block_bytes as u64) * (4 + dice.below(5)),
        gather_ns: MS * (1 + dice.below(5)),
        flush_bytes: block_bytes as u64 * (1 + dice.below(8)),
        blocks: 4 + dice.below(5) as usize,
    }
}

impl<'a> Run<'a> {
    /// One that goes on at `position`.
    pub fn new(
        dice: &'a mut Dice,
        disk: &'a Disk,
        model: &'a mut Model,
        trace: &'a mut Trace,
        position: Position,
        next_segment: u64,
    ) -> Self {
        let plan = plan(dice);
        trace.add((&plan, position));
        let queue_bytes = plan.block_bytes * (1 + dice.below(6) as usize);
        let (tap, drain) = queue(queue_bytes, 1);
        let rate = |dice: &mut Dice, most| if dice.hits(500) { 0 } else { dice.below(most) };
        let faults = Faults {
            short: rate(dice, 150),
            again: rate(dice, 150),
            write: rate(dice, 60),
            flush: rate(dice, 150),
            is_full: false,
        };
        Self {
            writer: Writer::new(plan, position),
            device: Device::default(),
            memory: vec![0xcc; plan.blocks * plan.block_bytes],
            tap,
            drain,
            lost: Vec::new(),
            lost_bytes: 0,
            generation: 1,
            base: position.next,
            now_ns: dice.below(1 << 40),
            next_segment,
            supply_ns: 0,
            faults,
            durable: position.next,
            written: position.next,
            plan,
            dice,
            disk,
            model,
            trace,
        }
    }

    /// All of it.
    pub fn go(mut self) -> Checked<Outcome> {
        let first_segment = self.next_segment;
        let len = self.dice.below(self.plan.block_bytes as u64 - 200);
        self.push(Kind::Start, len as usize);
        for _ in 0..self.dice.below(80) {
            self.change_luck();
            self.push_some();
            self.drive(true)?;
            if self.dice.hits(30) {
                self.settle_down()?;
            }
            self.pass_time();
        }
        let end = match self.dice.below(5) {
            0 => self.end_in_order()?,
            1 => self.end_anyhow()?,
            2 => End::Killed,
            _ => End::Power,
        };
        self.trace.add((end, self.writer.durable(), self.writer.written(), self.writer.condition()));
        let loss = match self.dice.below(3) {
            0 => Loss::All,
            1 => Loss::Some(500),
            _ => Loss::Some(self.dice.below(100)),
        };
        self.model.check_heads(self.disk, first_segment, self.base, self.plan.block_bytes)?;
        self.device.drop_all(self.dice, &self.memory, self.disk, loss);
        if end == End::Power || end == End::Order && self.dice.hits(500) {
            self.disk.cut_power(self.dice, loss);
        }
        let condition = self.writer.condition();
        let (durable, written) = (self.writer.durable(), self.writer.written());
        Ok(Outcome { end, durable, written, condition, next_segment: self.next_segment })
    }

    fn accepted(&self) -> u64 {
        self.base + self.tap.accepted()
    }

    fn change_luck(&mut self) {
        match self.dice.below(40) {
            0 => self.device.faults = self.faults,
            1 => self.device.faults = Faults::default(),
            2 => self.device.faults.is_full = true,
            3 | 4 => self.device.faults.is_full = false,
            5 => self.supply_ns = self.now_ns + self.dice.below(20 * MS),
            6 => {
                self.generation += 1;
                self.tap.set_generation(self.generation);
                self.push_start();
            }
            _ => {}
        }
    }

    fn push_start(&mut self) {
        let most = if self.dice.hits(100) { 3 } else { 1 } * self.plan.block_bytes as u64;
        let len = self.dice.below(most);
        self.push(Kind::Start, len as usize);
    }

    fn push_some(&mut self) {
        for _ in 0..self.dice.below(5) {
            let kind = if self.dice.hits(100) { Kind::Tick } else { Kind::Frame };
            let len = match self.dice.below(8) {
                0 => self.dice.below(3 * self.plan.block_bytes as u64),
                1 => self.dice.below(self.plan.block_bytes as u64),
                2 => 0,
                _ => self.dice.below(300),
            };
            self.push(kind, len as usize);
        }
    }

    /// Pushes a record, and notes what the tap accepts.
    fn push(&mut self, kind: Kind, len: usize) {
        let stamp = Stamp { real_ns: self.now_ns + 7, mono_ns: self.now_ns };
        let (line, feed) = (self.dice.below(4) as u8, self.dice.below(80) as u16);
        let header = Header { kind, flags: 0, line, feed, generation: self.generation, stamp };
        let salt = self.dice.any();
        let word = |at: u64| (salt ^ at.wrapping_mul(0x2545_f491_4f6c_dd1d)).to_le_bytes();
        let payload: Vec<u8> = (0..len.div_ceil(8) as u64).flat_map(word).take(len).collect();
        if self.tap.push(header, len, |put| payload.chunks(700).for_each(put)) {
            if !self.lost.is_empty() {
                let gap = Header { kind: Kind::Gap, line: 0, feed: 0, ..header };
                let lost = self.gap();
                self.model.log.push((gap, lost));
            }
            self.model.log.push((header, payload));
        } else {
            self.lost.push(header);
            self.lost_bytes += len as u64;
        }
    }

    fn gap(&mut self) -> Vec<u8> {
        let feeds = self.lost.iter().fold(0, |feeds, header| feeds | 1u64 << header.feed.min(63));
        let times = [self.lost.first(), self.lost.last()].map(|it| it.map_or(0, |it| it.stamp.real_ns));
        let words = [self.lost.len() as u64, self.lost_bytes, feeds, times[0], times[1]];
        self.lost.clear();
        self.lost_bytes = 0;
        words.into_iter().flat_map(u64::to_le_bytes).collect()
    }

    /// What the journal thread does when it wakes; and the disk, meanwhile.
    fn drive(&mut self, is_lazy: bool) -> Checked {
        for _ in 0..self.dice.below(4) {
            self.device.end_one(self.dice, &self.memory, self.disk)?;
        }
        for _ in 0..self.dice.below(4) {
            if let Some((id, outcome)) = self.device.take_ended(self.dice) {
                self.trace.add((self.now_ns, id, outcome));
                self.writer.complete(id, outcome, self.now_ns);
                self.look()?;
            }
        }
        if self.writer.wants_segment() && self.now_ns >= self.supply_ns {
            self.disk.create(self.next_segment, self.plan.segment_bytes);
            let identity = u128::from(self.dice.any()) << 64 | u128::from(self.next_segment);
            self.writer.give_segment(self.next_segment, identity.to_le_bytes());
            self.next_segment += 1;
        }
        if is_lazy && self.dice.hits(200) {
            return Ok(());
        }
        self.writer.fill(&mut self.drain, &mut self.memory, self.now_ns);
        for turn in 0.. {
            ensure!(turn < 100, "it asks for ever more");
            if is_lazy && self.dice.hits(100) {
                return Ok(());
            }
            let Some(op) = self.writer.next_op(&mut self.memory, self.now_ns) else { break };
            self.note(op);
            self.device.begin(op, &self.memory, self.plan.block_bytes, self.disk)?;
        }
        let due_ns = self.writer.due_ns();
        ensure!(due_ns.is_none_or(|due| due > self.now_ns), "{due_ns:?} is due at {}", self.now_ns);
        self.look()
    }

    fn note(&mut self, op: Op) {
        let Op::Write { block, .. } = op else { return self.trace.add((self.now_ns, op)) };
        match block::peek(&self.memory[block * self.plan.block_bytes..]) {
            Ok(it) => {
                self.trace.add((self.now_ns, op, it.first, it.count, it.flags, it.previous_crc, it.crc))
            }
            Err(bad) => self.trace.add((self.now_ns, op, bad)),
        }
    }

    /// The watermarks only rise, and never above what is there.
    fn look(&mut self) -> Checked {
        let (durable, written) = (self.writer.durable(), self.writer.written());
        ensure!(durable >= self.durable && written >= self.written, "a watermark has fallen");
        ensure!(durable <= written && written <= self.accepted(), "durable {durable}, written {written}");
        (self.durable, self.written) = (durable, written);
        Ok(())
    }

    fn pass_time(&mut self) {
        match (self.dice.below(4), self.writer.due_ns()) {
            (0, Some(due_ns)) => self.now_ns = self.now_ns.max(due_ns),
            (1, _) => self.now_ns += self.dice.below(2 * self.plan.gather_ns),
            (2, _) => self.now_ns += self.dice.below(MS / 10),
            _ => {}
        }
    }

    /// Without further faults, all that was accepted becomes durable, and soon.
    fn settle_down(&mut self) -> Checked {
        self.trace.add("settling down");
        self.device.faults = Faults::default();
        self.supply_ns = 0;
        let begin_ns = self.now_ns;
        let mut most_ns = self.plan.gather_ns + REPEATS;
        if self.model.log[self.durable as usize..].iter().any(|(header, _)| header.kind == Kind::Tick) {
            most_ns += TICKS;
        }
        if self.writer.condition().poisoned > 0 {
            most_ns += BACK_OFF;
        }
        for turn in 0.. {
            ensure!(turn < 5_000, "it does not settle down");
            self.drive(false)?;
            if self.device.len() > 0 {
                continue;
            }
            let due_ns = self.writer.due_ns();
            match due_ns {
                Some(due_ns) => self.now_ns = due_ns,
                None if self.writer.wants_segment() || !self.drain.is_empty() => {}
                None => break,
            }
        }
        let reached = match self.plan.durability {
            Durability::Async => self.writer.written(),
            Durability::Group | Durability::Sync => self.writer.durable(),
        };
        ensure!(reached == self.accepted(), "settled at {reached}, not {}", self.accepted());
        let waited = self.now_ns - begin_ns;
        ensure!(waited <= most_ns, "waited for {waited} ns, not {most_ns}");
        Ok(())
    }

    /// Everything goes well at the end.
    fn end_in_order(&mut self) -> Checked<End> {
        self.device.faults = Faults::default();
        self.supply_ns = 0;
        for turn in 0.. {
            ensure!(turn < 5_000, "the queue does not run dry");
            self.drive(false)?;
            if self.drain.is_empty() {
                break;
            }
            self.pass_time();
        }
        self.finish()?;
        let condition = self.writer.condition();
        let (written, durable) = (self.writer.written(), self.writer.durable());
        let reached = if condition.unsure > 0 { written } else { durable };
        ensure!(reached == self.accepted(), "ended at {reached}, not {}", self.accepted());
        ensure!(!condition.is_stalled, "it has ended stalled");
        Ok(End::Order)
    }

    /// Whatever happens, it comes to an end.
    fn end_anyhow(&mut self) -> Checked<End> {
        if self.dice.hits(300) {
            self.supply_ns = u64::MAX;
        }
        self.finish()?;
        Ok(End::Power)
    }

    fn finish(&mut self) -> Checked {
        self.trace.add("finishing");
        self.writer.finish();
        for turn in 0.. {
            ensure!(turn < 5_000, "it does not finish: {:?}", self.writer.condition());
            let can_go_on = self.writer.wants_segment() && self.supply_ns != u64::MAX;
            if self.writer.is_finished() && !can_go_on {
                break;
            }
            self.drive(false)?;
            if self.device.len() == 0 {
                let due_ns = self.writer.due_ns().unwrap_or(self.now_ns + MS);
                self.now_ns = self.now_ns.max(due_ns);
            }
        }
        ensure!(self.device.len() == 0, "it has finished with something on its way");
        Ok(())
    }
}
