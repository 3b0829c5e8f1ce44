//! What lies between a socket's packets and the engine's frames: for MoldUDP64 an arbiter for each feed, which makes
//! one sequence of what its lines and its retransmission server bring; for SoupBinTCP the count of each connection.
//!
//! An engine sees such a feed as one connection that never breaks: what is missing is told by numbers, not guessed
//! from sockets that were gone.

use super::multicast::MoldPlan;
use super::recorded::Recorded;
use super::soup::{Came, SoupLink};
use super::{CloseReason, Local};
use crate::engine::{Input, Verdict};
use market::moldudp64::{self, Arbiter, HEADER_BYTES, Request, Settings};
use market::{DecodeError, Integrity};
use shm::status::{Counter, StatusWriter};

/// How many requests may wait to be sent. What finds no room is asked for again later.
const MAX_REQUESTS: usize = 64;

/// What a connection carries.
#[derive(Debug)]
pub(crate) enum Carries {
    /// Frames for the engine.
    Frames,
    /// A line of MoldUDP64, by its number.
    MoldLine(usize),
    /// Requests to a retransmission server, and its answers.
    MoldRequests,
    /// Packets of SoupBinTCP.
    Soup(SoupLink),
}

/// The arbiters, by feed.
#[derive(Default)]
pub(super) struct Packets {
    molds: Vec<Option<Mold>>,
    /// When one of them has something to do.
    pub(super) due_ns: Option<u64>,
    /// Whether requests wait to be sent.
    pub(super) has_requests: bool,
}

struct Mold {
    plan: MoldPlan,
    arbiter: Arbiter,
    requests: Vec<Request>,
    /// Whether a session was seen, and whether the latest one has ended.
    is_known: bool,
    is_over: bool,
}

/// Where what arbiters say goes.
pub(super) struct Output<'a> {
    pub(super) engine: &'a mut Recorded,
    pub(super) local: &'a mut Local,
    pub(super) status: &'a StatusWriter,
}

impl Mold {
    fn new(plan: &MoldPlan) -> Self {
        let has_server = plan.requests.is_some();
        let settings = Settings {
            lines: plan.lines.len(),
            tries: if has_server { Settings::default().tries } else { 0 },
            from_start: plan.from_start && has_server,
            ..Settings::default()
        };
        let requests = Vec::with_capacity(MAX_REQUESTS);
        Self {
            plan: plan.clone(),
            arbiter: Arbiter::new(settings),
            requests,
            is_known: false,
            is_over: false,
        }
    }

    fn datagram(&mut self, feed: usize, line: usize, datagram: &[u8], now_ns: u64, output: &mut Output<'_>) {
        let gaps = self.arbiter.line(line).gaps;
        let Self { arbiter, requests, is_known, is_over, .. } = self;
        let mut emit = |event: moldudp64::Event<'_>| {
            take(event, feed, now_ns, requests, (is_known, is_over), output);
        };
        match arbiter.datagram(line, datagram, now_ns, &mut emit) {
            Ok(Integrity::Duplicate) => output.status.count(Counter::LineDuplicates, 1),
            Ok(_) => {}
            Err(_) => {
                output.status.count(Counter::Malformed, 1);
                let what = "it is no MoldUDP64 packet; check that the port carries MoldUDP64";
                output.local.report(feed, DecodeError::Field { offset: 0, what });
            }
        }
        output.status.count(Counter::LineGaps, arbiter.line(line).gaps - gaps);
    }

    fn tick(&mut self, feed: usize, now_ns: u64, output: &mut Output<'_>) {
        let Self { arbiter, requests, is_known, is_over, .. } = self;
        if arbiter.wake_at_ns().is_some_and(|due_ns| due_ns <= now_ns) {
            arbiter.tick(now_ns, &mut |event| {
                take(event, feed, now_ns, requests, (is_known, is_over), output);
            });
        }
    }
}

/// Passes on what an arbiter says.
fn take(
    event: moldudp64::Event<'_>,
    feed: usize,
    now_ns: u64,
    requests: &mut Vec<Request>,
    (is_known, is_over): (&mut bool, &mut bool),
    output: &mut Output<'_>,
) {
    match event {
        moldudp64::Event::Session { next, .. } => {
            let is_proven = !*is_known || *is_over && next == 1;
            (*is_known, *is_over) = (true, false);
            let input = Input::Begin { feed, is_whole: next == 1, is_proven };
            output.engine.take(&input, now_ns);
        }
        moldudp64::Event::Message { body, .. } => output.frame(feed, body, now_ns),
        moldudp64::Event::Request(request) if requests.len() < requests.capacity() => {
            output.status.count(Counter::RetransmissionsAsked, 1);
            requests.push(request);
        }
        moldudp64::Event::Request(_) => {}
        moldudp64::Event::Lost { from, to } => {
            output.engine.take(&Input::Lost { feed, from, to }, now_ns);
        }
        moldudp64::Event::End { .. } => *is_over = true,
    }
}

impl Output<'_> {
    fn frame(&mut self, feed: usize, frame: &[u8], now_ns: u64) {
        if let Verdict::Malformed(error) = self.engine.frame(feed, 0, frame, now_ns) {
            self.local.report(feed, error);
        }
    }
}

impl Packets {
    /// The arbiters of these feeds. Those of `old` that have the same plan go on; `kept` has, for each feed, the place
    /// of the old one.
    pub(super) fn go_on(mut old: Self, plans: &[Option<MoldPlan>], kept: &[Option<usize>]) -> Self {
        let mold = |(feed, plan): (usize, &Option<MoldPlan>)| {
            let plan = plan.as_ref()?;
            let before = kept.get(feed).copied().flatten().and_then(|place| old.molds.get_mut(place)?.take());
            Some(before.filter(|mold| mold.plan == *plan).unwrap_or_else(|| Mold::new(plan)))
        };
        let molds = plans.iter().enumerate().map(mold).collect();
        let mut packets = Self { molds, due_ns: None, has_requests: false };
        packets.look();
        packets
    }

    /// Takes a datagram of a feed's line, or of its retransmission server.
    pub(super) fn datagram(
        &mut self,
        feed: usize,
        line: Option<usize>,
        datagram: &[u8],
        now_ns: u64,
        output: &mut Output<'_>,
    ) {
        let Some(mold) = self.molds.get_mut(feed).and_then(Option::as_mut) else { return };
        let server = mold.arbiter.repair_line();
        if line.is_none_or(|line| line < server) {
            mold.datagram(feed, line.unwrap_or(server), datagram, now_ns, output);
        }
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now_ns: u64, output: &mut Output<'_>) {
        for (feed, mold) in self.molds.iter_mut().enumerate() {
            mold.iter_mut().for_each(|mold| mold.tick(feed, now_ns, output));
        }
        self.look();
    }

    /// Looks when something is due, and whether something is to be sent.
    pub(super) fn look(&mut self) {
        let molds = || self.molds.iter().flatten();
        self.due_ns = molds().filter_map(|mold| mold.arbiter.wake_at_ns()).min();
        self.has_requests = molds().any(|mold| !mold.requests.is_empty());
    }

    /// The next request to be sent, as a datagram, and the feed.
    pub(super) fn next_request(&mut self) -> Option<(usize, [u8; HEADER_BYTES])> {
        let mut molds = self.molds.iter_mut().enumerate();
        let found = molds.find_map(|(feed, mold)| Some((feed, mold.as_mut()?.requests.pop()?.encode())));
        self.has_requests = found.is_some();
        found
    }
}

/// A SoupBinTCP connection begins.
pub(super) fn soup_begins(link: &mut SoupLink, feed: usize, engine: &mut Recorded, now_ns: u64) {
    let input = match link.begin() {
        Came::Begin { is_whole, is_proven } => Input::Begin { feed, is_whole, is_proven },
        Came::Lost(from, to) => Input::Lost { feed, from, to },
        Came::Nothing | Came::Message(_) => return,
    };
    engine.take(&input, now_ns);
}

/// Takes a packet of SoupBinTCP.
pub(super) fn soup_packet(
    link: &mut SoupLink,
    feed: usize,
    packet: &[u8],
    now_ns: u64,
    output: &mut Output<'_>,
) -> Result<(), CloseReason> {
    if let Came::Message(body) = link.packet(packet)? {
        output.frame(feed, body, now_ns);
    }
    Ok(())
}
