//! What is counted of one stream of one instrument, and whether it lives.
//!
//! A connection that lives may carry a stream that does not. A stream is called silent when it says nothing for much
//! longer than it usually does while the feed's connection brings other things; what it usually does is learned.

use super::{Output, Shift};
use market::Integrity;
use shm::market::{StreamKind, StreamState};
use shm::status::Counter;

/// No stream is called silent sooner: quiet pairs pause for so long.
const LEAST_SILENCE_NS: u64 = 30_000_000_000;
/// What is called silent before it is known how often the stream speaks.
const FIRST_SILENCE_NS: u64 = 120_000_000_000;
/// So many messages tell how often the stream speaks.
const LEARNED: u64 = 16;
/// A pause is suspicious when it is so many times as long as the mean one.
const LONGER: u64 = 40;
/// A stream that stays silent is asked for again after this, and then ever more rarely.
const ASK_AGAIN_NS: u64 = 60_000_000_000;
const ASK_MOST_RARELY_NS: u64 = 3_600_000_000_000;

/// The value of [`StreamState::condition`].
const PROVEN: u64 = 1;
const IN_DOUBT: u64 = 2;
const SILENT: u64 = 3;

#[derive(Debug)]
pub(super) struct Stream {
    kind: StreamKind,
    state: StreamState,
    /// When it last spoke, or was subscribed.
    since_ns: u64,
    /// The mean time between two messages.
    mean_ns: u64,
    /// When it is asked for again while it is silent, and how long the pause after that is.
    ask_ns: u64,
    pause_ns: u64,
}

impl Stream {
    pub(super) fn new(kind: StreamKind) -> Self {
        let state = StreamState::default();
        Self { kind, state, since_ns: 0, mean_ns: 0, ask_ns: 0, pause_ns: ASK_AGAIN_NS }
    }

    /// Takes note of a message and what it proved.
    pub(super) fn note(&mut self, integrity: Integrity, place: usize, output: &mut Output) {
        self.count(output);
        self.judge(integrity, place, output);
    }

    /// Takes note of a message that proves nothing yet.
    pub(super) fn heard(&mut self, place: usize, output: &mut Output) {
        self.count(output);
        output.market.stream(place, self.kind, &self.state);
    }

    fn count(&mut self, output: &Output) {
        let now_ns = output.receive_ns;
        if self.state.messages > 0 {
            let pause_ns = now_ns.saturating_sub(self.since_ns);
            self.mean_ns = self.mean_ns - self.mean_ns / 16 + pause_ns / 16;
        }
        self.since_ns = now_ns;
        self.pause_ns = ASK_AGAIN_NS;
        self.state.messages += 1;
        self.state.receive_ns = now_ns;
    }

    /// Takes note of a proof that came without a message of the stream.
    pub(super) fn judge(&mut self, integrity: Integrity, place: usize, output: &mut Output) {
        let state = &mut self.state;
        let (count, condition, counter) = match integrity {
            Integrity::Ok => (&mut state.ok, Some(PROVEN), None),
            Integrity::Unverifiable => (&mut state.unverifiable, None, Some(Counter::Unverifiable)),
            Integrity::Duplicate => (&mut state.duplicates, None, None),
            Integrity::Corrupt => (&mut state.corrupt, Some(IN_DOUBT), Some(Counter::Corrupt)),
            Integrity::Gap { from, to } => {
                state.missing = state.missing.saturating_add((to - from).saturating_add(1));
                (&mut state.gaps, Some(IN_DOUBT), Some(Counter::Gaps))
            }
        };
        *count += 1;
        state.condition =
            condition.unwrap_or(if state.condition == SILENT { IN_DOUBT } else { state.condition });
        if let Some(counter) = counter {
            output.count(counter, 1);
        }
        output.market.stream(place, self.kind, &self.state);
    }

    /// Takes note that so many of the missing ones came after all.
    pub(super) fn repaired(&mut self, count: u64, is_whole: bool, place: usize, output: &mut Output) {
        self.state.repaired += count;
        if is_whole {
            self.state.condition = PROVEN;
        }
        output.market.stream(place, self.kind, &self.state);
    }

    /// What is counted goes on; how long it is silent is not known.
    pub(super) fn resume(&mut self, shift: Shift) {
        (self.since_ns, self.ask_ns, self.pause_ns) = (0, 0, ASK_AGAIN_NS);
        self.state.receive_ns = shift.of(self.state.receive_ns);
        if self.state.condition == SILENT {
            self.state.condition = IN_DOUBT;
        }
    }

    /// Publishes what was counted, after another configuration has begun.
    pub(super) fn publish(&self, place: usize, output: &mut Output) {
        output.market.stream(place, self.kind, &self.state);
    }

    /// It was subscribed just now: its silence counts from here.
    pub(super) fn subscribed(&mut self, now_ns: u64) {
        self.since_ns = now_ns;
    }

    /// Whether it has just become silent, or is still and is to be asked for again.
    pub(super) fn is_missed(&mut self, place: usize, output: &mut Output) -> bool {
        let now_ns = output.receive_ns;
        let learned = self.state.messages >= LEARNED;
        let patience_ns =
            if learned { (self.mean_ns * LONGER).max(LEAST_SILENCE_NS) } else { FIRST_SILENCE_NS };
        if self.since_ns == 0 || now_ns.saturating_sub(self.since_ns) <= patience_ns {
            return false; // It lives, or was not even subscribed yet.
        }
        let is_new = self.state.condition != SILENT;
        if is_new {
            self.ask_ns = now_ns;
            self.state.condition = SILENT;
            self.state.silences += 1;
            output.count(Counter::SilentStreams, 1);
            output.market.stream(place, self.kind, &self.state);
        }
        let asks = now_ns >= self.ask_ns;
        if asks {
            self.ask_ns = now_ns + self.pause_ns;
            self.pause_ns = (self.pause_ns * 2).min(ASK_MOST_RARELY_NS);
        }
        asks
    }
}
