//! What connections bring and what becomes of it: messages go to the engine, ends to the cold side. Knows no ring.

use super::link::{Link, Links};
use super::{CloseReason, Local};
use crate::engine::{Engine, Verdict};
use crate::now_ns;
use shm::status::{Counter, StatusWriter};
use std::sync::Arc;

/// What a hot thread leaves to the one that goes on.
pub(crate) struct Handover {
    pub(crate) engine: Engine,
    pub(crate) local: Local,
    pub(super) links: Links,
}

impl Handover {
    /// What the first hot thread begins with.
    pub(crate) fn new(engine: Engine, local: Local) -> Self {
        Self { engine, local, links: Links(Vec::with_capacity(64)) }
    }

    /// Has `engine` go on instead of the old one. `kept` has, for each of its feeds, the place of the old one; the
    /// connections of feeds that do not go on are closed.
    pub(crate) fn reconfigure(&mut self, mut engine: Engine, kept: &[Option<usize>]) {
        std::mem::swap(&mut self.engine, &mut engine);
        self.engine.inherit(engine, kept);
        for place in &mut self.links.0 {
            let feed = |link: &Link| kept.iter().position(|old| *old == Some(link.feed));
            match place.as_ref().map(feed) {
                Some(Some(feed)) => place.iter_mut().for_each(|link| link.feed = feed),
                // The old ring may know the socket for a while yet: closing it would not end the connection.
                _ => drop(place.take().inspect(Link::shut_down)),
            }
        }
    }
}

/// Connections, the engine that they feed, and the way to the cold side.
pub(super) struct Intake {
    pub(super) engine: Engine,
    pub(super) local: Local,
    pub(super) links: Links,
    pub(super) status: Arc<StatusWriter>,
}

/// Where bytes are that came.
pub(super) enum Came<'a> {
    /// In the link's own memory, so many.
    InPlace(usize),
    /// In a buffer of the ring.
    Elsewhere(&'a [u8]),
}

impl Intake {
    pub(super) fn new(handover: Handover, status: Arc<StatusWriter>) -> Self {
        let Handover { engine, local, links } = handover;
        Self { engine, local, links, status }
    }

    pub(super) fn into_handover(self) -> Handover {
        Handover { engine: self.engine, local: self.local, links: self.links }
    }

    pub(super) fn link(&mut self, place: usize) -> Option<&mut Link> {
        self.links.0.get_mut(place)?.as_mut()
    }

    /// How many places there are, taken or not.
    pub(super) fn places(&self) -> usize {
        self.links.0.len()
    }

    /// Whether no operation is in flight.
    pub(super) fn is_quiet(&self) -> bool {
        self.links.0.iter().flatten().all(|link| link.in_flight == 0)
    }

    /// Finds a place for a new connection.
    pub(super) fn adopt(&mut self, link: Link) -> usize {
        self.status.count(Counter::Connects, 1);
        let place = self.links.0.iter().position(Option::is_none).unwrap_or_else(|| {
            self.links.0.push(None);
            self.links.0.len() - 1
        });
        self.links.0[place] = Some(link);
        place
    }

    /// Takes what a connection brought before it came here.
    pub(super) fn begin(&mut self, place: usize, receive_ns: u64) -> Result<(), CloseReason> {
        self.feed(place, None, receive_ns)
    }

    /// Takes what a connection brought.
    pub(super) fn take(&mut self, place: usize, came: Came<'_>, receive_ns: u64) -> Result<(), CloseReason> {
        self.feed(place, Some(came), receive_ns)
    }

    fn feed(&mut self, place: usize, came: Option<Came<'_>>, receive_ns: u64) -> Result<(), CloseReason> {
        let Self { engine, local, links, status } = self;
        let Some(link) = links.0.get_mut(place).and_then(Option::as_mut) else {
            return Ok(());
        };
        let feed = link.feed;
        let mut sink = |message: &[u8]| match engine.frame(feed, 0, message, receive_ns) {
            Verdict::Shutdown => Err(CloseReason::Shutdown),
            Verdict::Malformed(error) => {
                local.report(feed, error);
                Ok(())
            }
            _ => Ok(()),
        };
        let outcome = match came {
            None => link.begin(&mut sink),
            Some(came) => {
                link.lives(receive_ns);
                match came {
                    Came::InPlace(len) => link.received(len, &mut sink),
                    Came::Elsewhere(bytes) => link.take(bytes, &mut sink),
                }
            }
        };
        status.count(Counter::Pings, link.take_pings());
        outcome
    }

    /// Marks a connection as over, and tells engine and cold side, once.
    pub(super) fn close(&mut self, place: usize, reason: CloseReason) {
        let Some(link) = self.link(place) else { return };
        if link.closed_ns.replace(now_ns()).is_some() {
            return;
        }
        if matches!(reason, CloseReason::Shutdown) {
            link.say_goodbye();
        }
        let feed = link.feed;
        self.status.count(Counter::Disconnects, 1);
        self.engine.disconnected(feed, 0);
        self.local.report_closed(feed, reason);
    }

    /// Marks a connection as over whose feed has a newer one: that is no break.
    pub(super) fn replace(&mut self, place: usize) {
        if let Some(link) = self.link(place).filter(|link| !link.is_closed()) {
            link.closed_ns = Some(now_ns());
            link.say_goodbye();
        }
    }

    /// The place of another connection of the same feed, from `from` on.
    pub(super) fn other_of(&self, feed: usize, than: usize, from: usize) -> Option<usize> {
        let is_other = |at: &usize| *at != than && self.links.0[*at].as_ref().is_some_and(|l| l.feed == feed);
        (from..self.links.0.len()).find(is_other)
    }

    /// Where the open connection of a feed is.
    pub(super) fn place_of(&self, feed: usize) -> Option<usize> {
        self.links
            .0
            .iter()
            .position(|l| l.as_ref().is_some_and(|link| link.feed == feed && !link.is_closed()))
    }

    /// Gives a connection away that is over and that the ring does not use any more.
    pub(super) fn release(&mut self, place: usize) -> bool {
        let over = self.links.0[place].take_if(|link| link.is_closed() && link.in_flight == 0);
        over.map(|link| self.local.give_back(link)).is_some()
    }
}
