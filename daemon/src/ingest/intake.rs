//! What connections bring and what becomes of it: messages go to the engine, ends to the cold side. Knows no ring.

use super::link::{Link, Links};
use super::multicast::MoldPlan;
use super::packets::{Carries, Output, Packets, soup_begins, soup_packet};
use super::recorded::Recorded;
use super::{CloseReason, Event, Local, Order};
use crate::engine::{Input, Verdict};
use crate::now_ns;
use market::moldudp64::HEADER_BYTES;
use shm::status::{Counter, StatusWriter};
use std::sync::Arc;

/// What a hot thread leaves to the one that goes on.
pub(crate) struct Handover {
    pub(crate) engine: Recorded,
    pub(crate) local: Local,
    pub(super) links: Links,
    packets: Packets,
}

impl Handover {
    /// What the first hot thread begins with.
    pub(crate) fn new(engine: Recorded, local: Local) -> Self {
        Self { engine, local, links: Links(Vec::with_capacity(64)), packets: Packets::default() }
    }

    /// Has the feeds of MoldUDP64 arbitrated as these plans say. `kept` has, for each feed, the place of the old one.
    pub(crate) fn arbitrate(&mut self, plans: &[Option<MoldPlan>], kept: &[Option<usize>]) {
        self.packets = Packets::go_on(std::mem::take(&mut self.packets), plans, kept);
    }

    /// Has the connections go on with the feeds of another engine. `kept` has, for each of these, the place of the old
    /// one; the connections of feeds that do not go on are closed.
    pub(crate) fn move_links(&mut self, kept: &[Option<usize>]) {
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
    pub(super) engine: Recorded,
    pub(super) local: Local,
    pub(super) links: Links,
    pub(super) packets: Packets,
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
        let Handover { engine, local, links, packets } = handover;
        Self { engine, local, links, packets, status }
    }

    pub(super) fn into_handover(self) -> Handover {
        Handover { engine: self.engine, local: self.local, links: self.links, packets: self.packets }
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
    pub(super) fn adopt(&mut self, link: Link, receive_ns: u64) -> usize {
        self.status.count(Counter::Connects, 1);
        if let Carries::Frames = link.carries {
            self.engine.take(&Input::Connected { feed: link.feed, line: link.line }, receive_ns);
        }
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
        let Self { engine, local, links, packets, status } = self;
        let Some(link) = links.0.get_mut(place).and_then(Option::as_mut) else {
            return Ok(());
        };
        let (feed, line, mut is_leaving) = (link.feed, link.line, link.is_leaving);
        let mut carries = std::mem::replace(&mut link.carries, Carries::Frames);
        if let (Carries::Soup(soup), None) = (&mut carries, &came) {
            soup_begins(soup, feed, engine, receive_ns);
        }
        let mut sink = |message: &[u8]| {
            let mut output = Output { engine, local, status };
            match &mut carries {
                Carries::Frames => {}
                Carries::MoldLine(line) => {
                    packets.datagram(feed, Some(*line), message, receive_ns, &mut output);
                    return Ok(());
                }
                Carries::MoldRequests => {
                    packets.datagram(feed, None, message, receive_ns, &mut output);
                    return Ok(());
                }
                Carries::Soup(soup) => return soup_packet(soup, feed, message, receive_ns, &mut output),
            }
            match engine.frame(feed, line, message, receive_ns) {
                Verdict::Shutdown if !std::mem::replace(&mut is_leaving, true) => {
                    local.report_urgent(Event::Rollover { feed, line });
                }
                Verdict::Malformed(error) => local.report(feed, error),
                _ => {}
            }
            Ok(())
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
        link.carries = carries;
        link.is_leaving = is_leaving;
        status.count(Counter::Pings, link.take_pings());
        if let Carries::MoldLine(_) | Carries::MoldRequests = link.carries {
            packets.look();
        }
        outcome
    }

    /// Has arbiters do what is due.
    pub(super) fn tick_packets(&mut self, now_ns: u64) {
        let Self { engine, local, packets, status, .. } = self;
        if packets.due_ns.is_some_and(|due_ns| due_ns <= now_ns) {
            packets.tick(now_ns, &mut Output { engine, local, status });
        }
    }

    /// Has a request for missing messages wait on the connection that is there for it. The place of that.
    pub(super) fn asks_for(&mut self, feed: usize, request: &[u8; HEADER_BYTES]) -> Option<usize> {
        let is_there = |link: &Link| {
            link.feed == feed && !link.is_closed() && matches!(link.carries, Carries::MoldRequests)
        };
        let place = self.links.0.iter().position(|link| link.as_ref().is_some_and(is_there))?;
        self.link(place)?.ask(request);
        Some(place)
    }

    /// Marks a connection as over, and tells engine and cold side, once.
    pub(super) fn close(&mut self, place: usize, reason: CloseReason) {
        let Some(link) = self.link(place) else { return };
        let now_ns = now_ns();
        if link.closed_ns.replace(now_ns).is_some() {
            return;
        }
        let (feed, line) = (link.feed, link.line);
        // Numbered packets tell by themselves what was lost while nothing came.
        let is_framed = matches!(link.carries, Carries::Frames);
        if matches!(reason, CloseReason::Ended) {
            link.say_goodbye();
        } else {
            self.status.count(Counter::Disconnects, 1);
        }
        if is_framed {
            self.engine.take(&Input::Disconnected { feed, line }, now_ns);
        }
        self.local.report_urgent(Event::Closed { feed, line, reason });
    }

    /// Gives a connection away that is over and that the ring does not use any more.
    pub(super) fn release(&mut self, place: usize) -> bool {
        let over = self.links.0[place].take_if(|link| link.is_closed() && link.in_flight == 0);
        over.map(|link| self.local.give_back(Order::Adopt(link))).is_some()
    }
}
