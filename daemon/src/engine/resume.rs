//! An engine that goes on from what was recorded of another run, or past a place where something of it is missing.
//!
//! What holds: what cannot be proven any more is in doubt. Connections are gone, books are void, and no bar is called
//! quiet or traded behind the break before the next trade proves it.

use super::Engine;

/// How times of another clock become those of this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shift {
    /// Now, by this one.
    pub now_ns: u64,
    /// What is added to the other's; 0 if it is the same clock.
    pub by_ns: i64,
}

impl Shift {
    /// The time by this clock: never in the future, and 0 for what was before it began.
    pub(super) fn of(&self, other_ns: u64) -> u64 {
        if other_ns == 0 { 0 } else { other_ns.saturating_add_signed(self.by_ns).min(self.now_ns) }
    }
}

impl Engine {
    /// How many feeds there are.
    pub fn feed_count(&self) -> usize {
        self.feeds.len()
    }

    /// Says that something that concerned this feed is not known: frames, and what else may have been there. That is
    /// as a break, after which it is not known which connections are there, either.
    pub fn forget(&mut self, feed: usize) {
        if let Some(feed) = self.feeds.get_mut(feed) {
            feed.forget();
        }
    }

    /// Ends a run: its connections are gone. All that is missing is asked for anew, at once; what the venue has spoken
    /// of and what has not come is in doubt. Times become those of the clock that goes on.
    pub fn resume(&mut self, shift: Shift) {
        self.output.wants.clear();
        for feed in &mut self.feeds {
            feed.forget();
            feed.resume(shift);
        }
    }

    /// Goes on where `old` stopped, which is of another run and was [resumed](Engine::resume): takes over what is known
    /// of each instrument that both have, in whichever feed of its venue it was. Only feeds do so whose place `is_meant`.
    /// Returns how many instruments there are.
    pub fn gather(&mut self, old: &mut Self, is_meant: impl Fn(usize) -> bool) -> usize {
        let mut count = 0;
        let Self { feeds, output } = self;
        for (_, feed) in feeds.iter_mut().enumerate().filter(|(place, _)| is_meant(*place)) {
            let venue = feed.venue();
            for old in old.feeds.iter_mut().filter(|old| old.venue() == venue) {
                count += feed.gather(old, output);
            }
        }
        count
    }
}
