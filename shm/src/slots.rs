//! The protocol between the one writer of a chart's slots and any number of readers: counters only.
//!
//! A slot's **sequence** is `2n` while it holds frame `n` whole, `2n - 1` while `n` is written into it, and 0 before
//! its first. The **head** names the latest frame and its slot. A **lease** is a word that one reader writes and the
//! writer reads: it names a slot that the reader uses in place.
//!
//! What holds:
//!
//! - The writer never waits. It takes the slot that was published longest ago; if that is leased, a spare one.
//!   There is a spare one for each lease, so one is always free.
//! - A reader that copies looks before and after whether the slot's sequence is that of the head's frame: what it keeps
//!   is whole, and never older than what it kept before.
//! - A leased slot is not written. The reader stores its lease, then looks at the sequence; the writer stores the
//!   odd sequence, then looks at the leases. With a sequentially consistent fence between the two steps on both
//!   sides, at least one of them sees the other, and steps back.
//!
//! The counters are behind a trait, so that the tests model these very lines with loom.

use std::sync::atomic::Ordering::{self, *};

/// The most slots of a chart, spare ones included: the writer keeps the leased ones in the bits of a word.
pub const MAX_SLOTS: usize = 32;
/// How often a reader tries before it gives up. Each try takes the frame that is newest by then.
pub const TRIES: usize = 8;

/// One of the words that writer and readers share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// Number of the latest frame << 8 | its slot; zero before the first.
    Head,
    /// A slot's sequence.
    Sequence(usize),
    /// The lease of the reader that asks.
    Lease,
}

/// Access to the words that writer and readers share.
pub trait Counters {
    /// Loads a word.
    fn load(&self, counter: Counter, order: Ordering) -> u64;
    /// Stores a word.
    fn store(&self, counter: Counter, value: u64, order: Ordering);
    /// An atomic fence.
    fn fence(&self, order: Ordering);
}

/// A frame's number and its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The frame.
    pub number: u64,
    /// Where it lies.
    pub slot: usize,
}

impl Place {
    fn head(self) -> u64 {
        self.number << 8 | self.slot as u64
    }

    /// A lease names the slot plus one, so that zero is none.
    fn lease(self) -> u64 {
        self.number << 8 | (self.slot as u64 + 1)
    }

    /// From a head.
    fn unpack(head: u64) -> Self {
        Self { number: head >> 8, slot: (head & 0xff) as usize }
    }
}

/// The slot that a lease word claims, as a bit; none for what is no slot. Readers can write anything.
pub fn leased_slot(lease: u64) -> u32 {
    match (lease & 0xff) as u32 {
        slot @ 1..=32 => 1 << (slot - 1),
        _ => 0,
    }
}

/// The writer's side: which slot is next.
#[derive(Debug)]
pub struct Rotation {
    /// The slots that take turns, the one that was published longest ago first, the latest last. Few take turns, since
    /// each must catch up on what it missed; the others stand by for leased ones.
    order: Vec<usize>,
    /// The frame that each slot holds whole; zero if none.
    held: Vec<u64>,
    /// The latest frame.
    number: u64,
    /// The slots that were leased when it was looked last, a bit each.
    leased: u32,
    /// How often a slot was passed over because it was leased.
    passed_over: u64,
}

/// A slot that was taken for the next frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// The next frame and its slot.
    pub place: Place,
    /// The frame whose pixels the slot still has, if there is one.
    pub held: Option<u64>,
}

impl Rotation {
    /// `working` slots that take turns, and `spare` ones, one for each lease. At least two, at most [`MAX_SLOTS`].
    pub fn new(working: usize, spare: usize) -> Self {
        assert!(working >= 2 && working + spare <= MAX_SLOTS, "the caller checks the number of slots");
        Self {
            order: (0..working).collect(),
            held: vec![0; working + spare],
            number: 0,
            leased: 0,
            passed_over: 0,
        }
    }

    /// The latest frame; zero before the first.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How often a slot was passed over because it was leased.
    pub fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// Takes a slot for the next frame and marks it. `leased` gives the bits of the slots that are leased by now; it
    /// must begin with a sequentially consistent fence, which keeps its look behind the mark.
    ///
    /// `None` if more slots are leased than there are spare ones, which the number of leases forbids; or if leases
    /// moved faster than they were looked at, every time.
    pub fn take(&mut self, counters: &impl Counters, leased: impl Fn() -> u32) -> Option<Taken> {
        let number = self.number + 1;
        // What was leased last time is a guess. The look behind the mark decides.
        let mut refused = self.leased;
        for _ in 0..2 * self.held.len() {
            let Some(slot) = self.candidate(refused) else {
                // More seem leased than can be: some have moved on since they were looked at.
                refused = leased();
                continue;
            };
            counters.store(Counter::Sequence(slot), 2 * number - 1, Relaxed);
            refused = leased();
            self.leased = refused;
            if refused & 1 << slot == 0 {
                let held = std::mem::take(&mut self.held[slot]);
                return Some(Taken { place: Place { number, slot }, held: (held > 0).then_some(held) });
            }
            // A reader was faster. Nothing was written yet, so what the slot held is still whole.
            counters.store(Counter::Sequence(slot), 2 * self.held[slot], Release);
        }
        None
    }

    /// Makes what was written into a taken slot the latest frame.
    pub fn publish(&mut self, counters: &impl Counters, place: Place) {
        counters.store(Counter::Sequence(place.slot), 2 * place.number, Release);
        counters.store(Counter::Head, place.head(), Release);
        self.held[place.slot] = place.number;
        self.number = place.number;
        if let Some(at) = self.order.iter().position(|slot| *slot == place.slot) {
            self.order[at..].rotate_left(1);
        }
    }

    /// The slot that was published longest ago; a spare one if that is leased. Never the latest.
    fn candidate(&mut self, refused: u32) -> Option<usize> {
        let is_free = |slot: &usize| refused & 1 << slot == 0;
        if is_free(&self.order[0]) {
            return Some(self.order[0]);
        }
        self.passed_over += 1;
        let spare = (0..self.held.len()).filter(|slot| !self.order.contains(slot) && is_free(slot));
        // The one written last has missed least.
        let spare = spare.max_by_key(|slot| self.held[*slot])?;
        self.order[0] = spare;
        Some(spare)
    }
}

/// Finds the latest frame, calls `read` with its slot, and returns what `read` made of it if no writer came near the
/// slot meanwhile; else tries again.
pub fn read_latest<T>(
    counters: &impl Counters,
    slots: usize,
    mut read: impl FnMut(usize) -> T,
) -> Result<T, Missed> {
    for _ in 0..TRIES {
        let head = Place::unpack(counters.load(Counter::Head, Acquire));
        if head.number == 0 {
            return Err(Missed::NoFrame);
        }
        let sequence = Counter::Sequence(head.slot % slots);
        // A later frame than the head's is not taken: the next look at the head might still find an earlier one.
        let whole = 2 * head.number;
        if counters.load(sequence, Acquire) != whole {
            continue;
        }
        let found = read(head.slot % slots);
        // Keeps the loads of the frame in front of the second look.
        counters.fence(Acquire);
        if counters.load(sequence, Relaxed) == whole {
            return Ok(found);
        }
    }
    Err(Missed::Overtaken)
}

/// Why no frame could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Missed {
    /// None was published yet.
    #[error("no frame was published yet")]
    NoFrame,
    /// The writer was faster, every time.
    #[error("the writer overtook every attempt to read a frame")]
    Overtaken,
}

/// Leases the latest frame's slot, by the caller's own lease word. It stays as it is until [`release`].
pub fn lease_latest(counters: &impl Counters, slots: usize) -> Result<Place, Missed> {
    for _ in 0..TRIES {
        let head = Place::unpack(counters.load(Counter::Head, Acquire));
        if head.number == 0 {
            return Err(Missed::NoFrame);
        }
        let place = Place { slot: head.slot % slots, ..head };
        counters.store(Counter::Lease, place.lease(), Relaxed);
        counters.fence(SeqCst);
        if counters.load(Counter::Sequence(place.slot), Acquire) == 2 * place.number {
            return Ok(place);
        }
        release(counters);
    }
    Err(Missed::Overtaken)
}

/// Gives a leased slot back. What was read of it was read before.
pub fn release(counters: &impl Counters) {
    counters.store(Counter::Lease, 0, Release);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::collections::HashMap;

    /// One thread's view, as plain numbers.
    #[derive(Default)]
    struct Plain(RefCell<HashMap<String, u64>>);

    impl Counters for Plain {
        fn load(&self, counter: Counter, _: Ordering) -> u64 {
            self.0.borrow().get(&format!("{counter:?}")).copied().unwrap_or(0)
        }
        fn store(&self, counter: Counter, value: u64, _: Ordering) {
            self.0.borrow_mut().insert(format!("{counter:?}"), value);
        }
        fn fence(&self, _: Ordering) {}
    }

    fn publish(rotation: &mut Rotation, counters: &Plain, leased: u32) -> Taken {
        let taken = rotation.take(counters, || leased).expect("a slot is free");
        rotation.publish(counters, taken.place);
        taken
    }

    #[test]
    fn slots_take_turns() {
        let (mut rotation, counters) = (Rotation::new(3, 2), Plain::default());
        let taken: Vec<_> = (0..7).map(|_| publish(&mut rotation, &counters, 0)).collect();
        assert_eq!(taken.iter().map(|taken| taken.place.slot).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(taken[2].held, None);
        assert_eq!(taken[6].held, Some(4));
    }

    #[test]
    fn a_leased_slot_is_left_alone_and_comes_back() {
        let (mut rotation, counters) = (Rotation::new(2, 1), Plain::default());
        publish(&mut rotation, &counters, 0);
        let leased = lease_latest(&counters, 3).unwrap();
        let bits = leased_slot(counters.load(Counter::Lease, Relaxed));
        assert_eq!(bits, 1 << leased.slot);
        for _ in 0..10 {
            assert_ne!(publish(&mut rotation, &counters, bits).place.slot, leased.slot);
            assert_eq!(counters.load(Counter::Sequence(leased.slot), Relaxed), 2 * leased.number);
        }
        assert_eq!(rotation.passed_over(), 1, "it left the rotation once");
        release(&counters);
        assert_eq!(leased_slot(counters.load(Counter::Lease, Relaxed)), 0);
    }

    /// A lease that appears after the last look at the leases: the mark is taken back.
    #[test]
    fn a_lease_at_the_last_moment_is_honoured() {
        let (mut rotation, counters) = (Rotation::new(2, 1), Plain::default());
        publish(&mut rotation, &counters, 0);
        publish(&mut rotation, &counters, 0);
        let taken = rotation.take(&counters, || 1).unwrap();
        assert_ne!(taken.place.slot, 0);
        assert_eq!(counters.load(Counter::Sequence(0), Relaxed), 2, "frame 1 is whole again");
    }

    #[test]
    fn the_latest_frame_is_never_taken() {
        let (mut rotation, counters) = (Rotation::new(2, 1), Plain::default());
        for _ in 0..3 {
            publish(&mut rotation, &counters, 0);
        }
        let latest = Place::unpack(counters.load(Counter::Head, Relaxed));
        // More leases than there are spare slots: no slot rather than the wrong one.
        let others = 0b111 & !(1 << latest.slot);
        assert_eq!(rotation.take(&counters, || others), None);
    }

    #[test]
    fn garbage_claims_at_most_one_slot() {
        for word in [u64::MAX, 0xff, 33, 200, 1 << 63] {
            assert_eq!(leased_slot(word), 0);
        }
        assert!((0..=u64::from(u16::MAX)).all(|word| leased_slot(word).count_ones() <= 1));
    }
}
