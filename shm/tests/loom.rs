//! The protocol of the slots, run by loom on every interleaving and every value that the memory model allows, with at
//! most three preemptions. The lines that run are those of `shm::slots`; only the words are loom's.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicPtr, AtomicU64, Ordering, Ordering::*, fence};
use loom::thread;
use shm::slots::{self, Counter, Counters, Missed, Rotation, leased_slot};

const SLOTS: usize = 3;

/// The words of one chart. A frame's payload is two words that must agree.
struct Board {
    head: AtomicU64,
    sequences: [AtomicU64; SLOTS],
    payloads: [[AtomicU64; 2]; SLOTS],
    lease: AtomicU64,
}

impl Board {
    fn new() -> Arc<Self> {
        let zero = || AtomicU64::new(0);
        let payload = || [zero(), zero()];
        Arc::new(Self {
            head: zero(),
            sequences: [zero(), zero(), zero()],
            payloads: [payload(), payload(), payload()],
            lease: zero(),
        })
    }

    fn word(&self, counter: Counter) -> &AtomicU64 {
        match counter {
            Counter::Head => &self.head,
            Counter::Sequence(slot) => &self.sequences[slot],
            Counter::Lease => &self.lease,
        }
    }

    fn read(&self, slot: usize) -> [u64; 2] {
        [self.payloads[slot][0].load(Relaxed), self.payloads[slot][1].load(Relaxed)]
    }

    /// Publishes the next frame, whose payload is its number twice.
    fn publish(&self, rotation: &mut Rotation) {
        let leased = || {
            fence(SeqCst);
            leased_slot(self.lease.load(Acquire))
        };
        let taken = rotation.take(self, leased).expect("with one lease and one spare slot, one is free");
        for word in &self.payloads[taken.place.slot] {
            word.store(taken.place.number, Relaxed);
        }
        rotation.publish(self, taken.place);
    }
}

impl Counters for Board {
    fn load(&self, counter: Counter, order: Ordering) -> u64 {
        self.word(counter).load(order)
    }
    fn store(&self, counter: Counter, value: u64, order: Ordering) {
        self.word(counter).store(value, order);
    }
    fn fence(&self, order: Ordering) {
        fence(order);
    }
}

fn model(run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(run);
}

/// Two slots and no lease: the second frame after the first is written over what a slow reader is reading.
#[test]
fn a_copy_is_whole_and_time_goes_forward() {
    model(|| {
        let board = Board::new();
        let mut rotation = Rotation::new(2, 0);
        board.publish(&mut rotation);
        let reader = {
            let board = board.clone();
            thread::spawn(move || {
                let mut newest = 0;
                for _ in 0..2 {
                    match slots::read_latest(&*board, 2, |slot| board.read(slot)) {
                        Ok([first, second]) => {
                            assert_eq!(first, second, "half of one frame and half of another");
                            assert!(first >= newest && first > 0, "frame {first} after {newest}");
                            newest = first;
                        }
                        Err(missed) => assert_eq!(missed, Missed::Overtaken),
                    }
                }
            })
        };
        board.publish(&mut rotation);
        board.publish(&mut rotation);
        reader.join().unwrap();
    });
}

/// Two slots and a spare one: whatever the writer does, a leased frame stays as it is.
#[test]
fn a_leased_frame_stays_as_it_is() {
    model(|| {
        let board = Board::new();
        let mut rotation = Rotation::new(2, 1);
        board.publish(&mut rotation);
        let reader = {
            let board = board.clone();
            thread::spawn(move || {
                let Ok(place) = slots::lease_latest(&*board, SLOTS) else {
                    return;
                };
                for _ in 0..2 {
                    assert_eq!(board.read(place.slot), [place.number; 2], "the leased slot was written");
                }
                slots::release(&*board);
            })
        };
        board.publish(&mut rotation);
        board.publish(&mut rotation);
        board.publish(&mut rotation);
        reader.join().unwrap();
        // Its slot is of use again.
        board.publish(&mut rotation);
    });
}

/// A copying reader beside a leasing one: a slot that the writer marked and gave back was not touched.
#[test]
fn a_slot_that_is_given_back_is_still_whole() {
    model(|| {
        let board = Board::new();
        let mut rotation = Rotation::new(2, 1);
        board.publish(&mut rotation);
        let leasing = {
            let board = board.clone();
            thread::spawn(move || {
                if let Ok(place) = slots::lease_latest(&*board, SLOTS) {
                    assert_eq!(board.read(place.slot), [place.number; 2]);
                }
            })
        };
        let copying = {
            let board = board.clone();
            thread::spawn(move || {
                if let Ok([first, second]) = slots::read_latest(&*board, SLOTS, |slot| board.read(slot)) {
                    assert_eq!(first, second);
                }
            })
        };
        board.publish(&mut rotation);
        board.publish(&mut rotation);
        leasing.join().unwrap();
        copying.join().unwrap();
    });
}

/// `LeaseTable::leased` against `LeaseGrant::drop`, transcribed: they follow a raw pointer, which loom cannot. The page
/// is a cell that says whether it is still mapped.
#[test]
fn no_look_follows_a_pointer_to_a_page_that_is_gone() {
    model(|| {
        let page: &'static loom::cell::UnsafeCell<u64> = Box::leak(Box::new(loom::cell::UnsafeCell::new(7)));
        let pointer = Arc::new(AtomicPtr::new(std::ptr::from_ref(page).cast_mut()));
        let looks = Arc::new(AtomicU64::new(0));
        let publisher = {
            let (pointer, looks) = (pointer.clone(), looks.clone());
            thread::spawn(move || {
                for _ in 0..2 {
                    let look = looks.load(Relaxed);
                    looks.store(look + 1, Release);
                    fence(SeqCst);
                    let word = pointer.load(Acquire);
                    if !word.is_null() {
                        // SAFETY: the cell is leaked; loom tells if it is read while the other side takes it away.
                        unsafe { (*word).with(|value| assert_eq!(*value, 7)) };
                    }
                    looks.store(look + 2, Release);
                }
            })
        };
        pointer.store(std::ptr::null_mut(), Relaxed);
        fence(SeqCst);
        let look = looks.load(Acquire);
        while !look.is_multiple_of(2) && looks.load(Acquire) == look {
            thread::yield_now();
        }
        // SAFETY: the cell is leaked; loom tells if anybody reads it at the same time.
        page.with_mut(|value| unsafe { *value = 0 });
        publisher.join().unwrap();
    });
}
