//! The engine, and the journal of what it takes in.
//!
//! What holds: whoever has this can give the engine nothing that is not recorded first, in the same order and with the
//! same receive time. Without a journal it is the engine, and costs nothing more.

use crate::engine::{Engine, Input, Verdict, Want};
use crate::journal::{Recorder, input};
use crate::uring::Ring;
use journal::Kind;

pub(crate) struct Recorded {
    engine: Engine,
    tape: Option<Tape>,
}

/// The journal of an engine.
struct Tape {
    recorder: Recorder,
    /// What says what the engine's feeds are, and whether it was recorded: before that, nothing behind it can be read.
    start: Vec<u8>,
    is_started: bool,
}

impl From<Engine> for Recorded {
    /// Without a journal.
    fn from(engine: Engine) -> Self {
        Self { engine, tape: None }
    }
}

impl Recorded {
    /// From here on all is recorded, behind `start`, which says what the engine's feeds are.
    pub(crate) fn record(&mut self, recorder: Recorder, start: Vec<u8>, now_ns: u64) {
        let tape = self.tape.insert(Tape { recorder, start, is_started: false });
        tape.start(now_ns);
    }

    /// Takes an input in. What a frame turned out to be; nothing of others.
    #[inline]
    pub(crate) fn take(&mut self, input: &Input<'_>, receive_ns: u64) -> Option<Verdict> {
        if let Some(tape) = &mut self.tape {
            tape.record(input, receive_ns);
        }
        self.engine.take(input, receive_ns)
    }

    /// Takes a frame in.
    #[inline]
    pub(crate) fn frame(&mut self, feed: usize, line: usize, frame: &[u8], receive_ns: u64) -> Verdict {
        self.take(&Input::Frame { feed, line, frame }, receive_ns).unwrap_or(Verdict::Unknown)
    }

    /// What has become of it.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What is wanted next.
    pub(crate) fn next_want(&mut self) -> Option<Want> {
        self.engine.next_want()
    }

    /// Tells the journal thread what was recorded since.
    #[inline]
    pub(crate) fn settle(&mut self, ring: &mut Ring) -> std::io::Result<()> {
        self.tape.as_mut().map_or(Ok(()), |tape| tape.recorder.settle(ring))
    }

    /// Has `engine` go on instead of the old one, as [`Engine::inherit`] says. `start` says what its feeds are, and
    /// which `generation` this is.
    pub(crate) fn reconfigure(
        &mut self,
        mut engine: Engine,
        kept: &[Option<usize>],
        (generation, start): (u32, Vec<u8>),
        now_ns: u64,
    ) {
        std::mem::swap(&mut self.engine, &mut engine);
        self.engine.inherit(&mut engine, kept);
        if let Some(tape) = &mut self.tape {
            tape.recorder.set_generation(generation);
            (tape.start, tape.is_started) = (start, false);
            tape.start(now_ns);
        }
    }
}

impl Tape {
    #[inline]
    fn record(&mut self, input: &Input<'_>, receive_ns: u64) {
        if !self.is_started {
            self.start(receive_ns); // There was no room for it.
        }
        let (kind, len) = (input::kind(input), input::payload_bytes(input));
        let (feed, line) = (input.feed().unwrap_or(0), input::line(input));
        self.recorder.record(kind, feed, line, receive_ns, len, |put| input::write(input, put));
    }

    #[cold]
    fn start(&mut self, now_ns: u64) {
        let Self { recorder, start, .. } = self;
        self.is_started = recorder.record(Kind::Start, 0, 0, now_ns, start.len(), |put| put(start));
    }
}

#[cfg(test)]
mod tests;
