//! What is asked of the retransmission server, and how long it is waited for.
//!
//! Missing messages are asked for in their order, in ranges of bounded length, a bounded number of them at a time. A
//! range is asked for again, with doubled patience, until it is there or was asked for often enough.

use super::hold::Hold;
use core::ops::Range;

/// Doubling patience more often than this would only overflow.
const MAX_DOUBLINGS: u32 = 16;

/// A range that was asked for.
#[derive(Debug, Clone, Copy)]
struct Ask {
    from: u64,
    to: u64,
    /// Where it began when it was last asked for.
    asked_from: u64,
    tries: u32,
    due_ns: u64,
    given_up: bool,
}

/// How requests are made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manners {
    pub(super) in_flight: usize,
    pub(super) messages: u16,
    pub(super) tries: u32,
    pub(super) patience_ns: u64,
}

/// The ranges asked for.
pub(super) struct Repair {
    manners: Manners,
    /// In the order of their numbers.
    asks: Vec<Ask>,
    /// All that is missing before this number is in `asks`.
    asked_end: u64,
}

impl Repair {
    pub(super) fn new(manners: Manners) -> Self {
        let manners =
            Manners { in_flight: manners.in_flight.max(1), messages: manners.messages.max(1), ..manners };
        Self { manners, asks: Vec::with_capacity(manners.in_flight), asked_end: 0 }
    }

    /// Nothing is missing before `next`, and nothing asked for.
    pub(super) fn clear(&mut self, next: u64) {
        self.asks.clear();
        self.asked_end = next;
    }

    /// Forgets what has come. `answer` is what the server sent: what it left out is then asked for at once, since it
    /// answers a request with one packet, however much was asked for.
    pub(super) fn trim(&mut self, next: u64, hold: &Hold, answer: Range<u64>, now_ns: u64) {
        self.asked_end = self.asked_end.max(next);
        self.asks.retain_mut(|ask| {
            ask.from = ask.from.max(next);
            while ask.from <= ask.to && hold.contains(ask.from) {
                ask.from += 1;
            }
            while ask.from <= ask.to && hold.contains(ask.to) {
                ask.to -= 1;
            }
            // What it brought may have come by another line meanwhile, so only the request tells that it was answered.
            if answer.contains(&ask.asked_from) && ask.from != ask.asked_from {
                *ask = Ask { asked_from: ask.from, tries: 0, due_ns: now_ns, given_up: false, ..*ask };
            }
            ask.from <= ask.to
        });
    }

    /// Takes up what is missing before `end`, as far as there is room, and gives up what was asked for often enough.
    pub(super) fn update(&mut self, end: u64, hold: &Hold, now_ns: u64) {
        while self.asks.len() < self.manners.in_flight {
            let Some(ask) = self.next_range(end, hold, now_ns) else { break };
            self.asked_end = ask.to + 1;
            self.asks.push(ask);
        }
        let tries = self.manners.tries;
        self.asks.iter_mut().for_each(|ask| ask.given_up |= ask.due_ns <= now_ns && ask.tries >= tries);
    }

    /// Asks for what is due. Calls `send` with the first number and the count.
    pub(super) fn ask(&mut self, now_ns: u64, mut send: impl FnMut(u64, u16)) {
        for ask in &mut self.asks {
            if ask.given_up || ask.due_ns > now_ns {
                continue;
            }
            let patience_ns = self.manners.patience_ns << ask.tries.min(MAX_DOUBLINGS);
            ask.tries += 1;
            ask.due_ns = now_ns.saturating_add(patience_ns);
            ask.asked_from = ask.from;
            // A range is no longer than `messages`.
            send(ask.from, (ask.to - ask.from + 1) as u16);
        }
    }

    /// The next range to ask for. What is held before it stays held until it comes out.
    fn next_range(&mut self, end: u64, hold: &Hold, now_ns: u64) -> Option<Ask> {
        while self.asked_end < end && hold.contains(self.asked_end) {
            self.asked_end += 1;
        }
        let from = self.asked_end;
        let limit = end.min(from.saturating_add(self.manners.messages.into()));
        let range_end = hold.first_in(from, limit).unwrap_or(limit);
        (from < range_end).then(|| Ask {
            from,
            to: range_end - 1,
            asked_from: from,
            tries: 0,
            due_ns: now_ns,
            given_up: false,
        })
    }

    /// The last message of those from `next` on that were given up.
    pub(super) fn given_up(&self, next: u64) -> Option<u64> {
        let mut end = next;
        for ask in &self.asks {
            if ask.given_up && ask.from == end {
                end = ask.to + 1;
            }
        }
        (end > next).then(|| end - 1)
    }

    /// When something is to be asked for again, or given up.
    pub(super) fn due_ns(&self) -> Option<u64> {
        self.asks.iter().filter(|ask| !ask.given_up).map(|ask| ask.due_ns).min()
    }
}
