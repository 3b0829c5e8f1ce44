//! The market as an exchange of old sends it: ITCH 5.0 messages, by MoldUDP64 on two lines and by SoupBinTCP.
//!
//! What holds: every message has a number, counted from 1; both ways carry the same messages under the same
//! numbers. The newest [`KEPT`] can be asked for again. Nothing here waits for a receiver.

mod messages;
mod mold;
mod soup;

use super::faults::Log;
use super::market::{Event, Market};
use super::{SimConfig, SimError, SymbolSpec};
use messages::Itch;
use mold::Mold;
use soup::Soup;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

/// How many messages are kept: about a quarter of an hour of the default market.
const KEPT: usize = 300_000;

/// All messages there are, by their numbers.
#[derive(Debug)]
pub(super) struct Store {
    /// Ten characters, another one at each start.
    session: [u8; 10],
    kept: VecDeque<Vec<u8>>,
    /// The number that the next message gets.
    next: u64,
}

impl Store {
    fn new(start_ms: i64) -> Self {
        let mut session = *b"SIM       ";
        let digits = format!("{:07}", start_ms / 1_000 % 10_000_000);
        session[3..].copy_from_slice(digits.as_bytes());
        Self { session, kept: VecDeque::new(), next: 1 }
    }

    fn push(&mut self, message: Vec<u8>) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(message);
        self.next += 1;
    }

    /// The number of the oldest message that is kept.
    fn oldest(&self) -> u64 {
        self.next - self.kept.len() as u64
    }

    /// The messages from a number on; none if it is not kept any more, or not yet there.
    fn from(&self, sequence: u64) -> impl Iterator<Item = &Vec<u8>> {
        let known = (self.oldest()..self.next).contains(&sequence);
        let skipped = if known { sequence - self.oldest() } else { self.kept.len() as u64 };
        self.kept.range(skipped as usize..)
    }
}

/// The feed with its ways out.
#[derive(Debug)]
pub(super) struct Feed {
    itch: Itch,
    store: Store,
    mold: Option<Mold>,
    soup: Option<Soup>,
}

impl Feed {
    /// Opens the sockets that are wanted; `None` if none is.
    pub(super) fn open(config: &SimConfig, start_ms: i64) -> Result<Option<Self>, SimError> {
        if config.mold.is_none() && config.soup.is_none() {
            return Ok(None);
        }
        Ok(Some(Self {
            itch: Itch::new(&config.symbols),
            store: Store::new(start_ms),
            mold: config.mold.map(|lines| Mold::open(lines, config)).transpose()?,
            soup: config.soup.map(Soup::open).transpose()?,
        }))
    }

    /// Why a symbol cannot be told in ITCH, if so.
    pub(super) fn fault(spec: &SymbolSpec) -> Option<&'static str> {
        messages::fault(spec)
    }

    /// Where lost packets can be asked for.
    pub(super) fn requests(&self) -> Option<SocketAddr> {
        self.mold.as_ref().and_then(Mold::requests)
    }

    /// Where SoupBinTCP is served.
    pub(super) fn soup(&self) -> Option<SocketAddr> {
        self.soup.as_ref().and_then(Soup::address)
    }

    /// Begins the day: who trades here, and what rests in the books.
    pub(super) fn begin(&mut self, market: &Market) {
        self.itch.begin(market, &mut |message| self.store.push(message));
    }

    /// Tells what happened in a millisecond.
    pub(super) fn tell(&mut self, events: &[Event]) {
        for event in events {
            self.itch.tell(event, &mut |message| self.store.push(message));
        }
    }

    /// Sends what is new, and serves those who ask.
    pub(super) fn turn(&mut self, now: Instant, now_ms: i64, log: &mut Log) {
        if let Some(mold) = &mut self.mold {
            mold.turn(&self.store, now, now_ms, log);
        }
        if let Some(soup) = &mut self.soup {
            soup.turn(&self.store, now);
        }
    }

    /// Ends the day.
    pub(super) fn end(&mut self, now: Instant, now_ms: i64, log: &mut Log) {
        self.itch.end(now_ms, &mut |message| self.store.push(message));
        self.turn(now, now_ms, log);
        if let Some(mold) = &mut self.mold {
            mold.end(&self.store);
        }
        if let Some(soup) = &mut self.soup {
            soup.end(&self.store);
        }
    }
}

#[cfg(test)]
mod tests;
