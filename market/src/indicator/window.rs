//! The newest values of something, and their sum, highest and lowest. Memory is taken once, and each value costs the
//! same however many are kept.
//!
//! Sums are integers. They are exact at all times, so that taking out what goes and adding what comes never drifts,
//! which sums in floating point do.

use super::Length;
use std::collections::VecDeque;

/// The newest `len` values.
pub(super) struct Window<T> {
    values: Box<[T]>,
    /// Where the next value goes.
    next: usize,
    filled: usize,
}

impl<T: Copy + Default> Window<T> {
    pub(super) fn new(len: Length) -> Self {
        Self { values: vec![T::default(); len.bars()].into(), next: 0, filled: 0 }
    }

    /// The value that the next one pushes out.
    pub(super) fn leaving(&self) -> Option<T> {
        (self.filled == self.values.len()).then(|| self.values[self.next])
    }

    /// How many values there are once one more is in.
    pub(super) fn count_with_next(&self) -> usize {
        (self.filled + 1).min(self.values.len())
    }

    /// Whether the window is full once one more value is in.
    pub(super) fn full_with_next(&self) -> bool {
        self.count_with_next() == self.values.len()
    }

    pub(super) fn push(&mut self, value: T) {
        self.values[self.next] = value;
        self.next = (self.next + 1) % self.values.len();
        self.filled = (self.filled + 1).min(self.values.len());
    }
}

/// The sum of the newest `len` values.
pub(super) struct SlidingSum<T> {
    window: Window<T>,
    sum: i128,
}

impl<T: Copy + Default + Into<i128>> SlidingSum<T> {
    pub(super) fn new(len: Length) -> Self {
        Self { window: Window::new(len), sum: 0 }
    }

    /// The sum once `value` is in. It cannot overflow: there are at most 1000 values, each below 2^111.
    pub(super) fn with(&self, value: T) -> i128 {
        self.sum + value.into() - self.window.leaving().map_or(0, Into::into)
    }

    /// [`SlidingSum::with`], if the window is full then.
    pub(super) fn full_with(&self, value: T) -> Option<i128> {
        self.window.full_with_next().then(|| self.with(value))
    }

    pub(super) fn push(&mut self, value: T) {
        self.sum = self.with(value);
        self.window.push(value);
    }
}

/// The highest of the newest `len` values: a queue of those that no later one exceeds, the highest first.
pub(super) struct Highest {
    len: u64,
    /// Number and value. Never more than `len`, which is its capacity.
    queue: VecDeque<(u64, i64)>,
    /// The next value's number.
    next: u64,
}

impl Highest {
    pub(super) fn new(len: Length) -> Self {
        Self { len: len.bars() as u64, queue: VecDeque::with_capacity(len.bars()), next: 0 }
    }

    /// The highest once `value` is in.
    pub(super) fn with(&self, value: i64) -> i64 {
        // Numbers in the queue differ, so at most one is too old by then.
        let kept = usize::from(self.front_leaves());
        self.queue.get(kept).map_or(value, |&(_, highest)| highest.max(value))
    }

    /// [`Highest::with`], if there are `len` values then.
    pub(super) fn full_with(&self, value: i64) -> Option<i64> {
        (self.next + 1 >= self.len).then(|| self.with(value))
    }

    pub(super) fn push(&mut self, value: i64) {
        if self.front_leaves() {
            self.queue.pop_front();
        }
        while self.queue.back().is_some_and(|&(_, last)| last <= value) {
            self.queue.pop_back();
        }
        self.queue.push_back((self.next, value));
        self.next += 1;
    }

    fn front_leaves(&self) -> bool {
        self.queue.front().is_some_and(|&(number, _)| number + self.len <= self.next)
    }
}
