//! Keeps every feed connected, and carries events and orders between the hot thread and the rest of the cold plane.

use super::Source;
use super::day::Day;
use super::gate::Gates;
use super::lines::{Ended, Lines};
use super::repairs::Repairs;
use crate::ingest::connect::{Seat, Speech, connect};
use crate::ingest::soup::Resume;
use crate::ingest::{Established, Event, Order, Remote};
use anyhow::Context;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How long to wait when the hot thread has no room for an order.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(10);

/// How often it is looked whether a new day has begun.
const DAY_LOOK: Duration = Duration::from_secs(10);

/// An attempt to connect: for which feed and seat.
struct Attempt {
    feed: usize,
    seat: usize,
    outcome: anyhow::Result<Established>,
}

/// Connects every feed, and again whenever a connection ends or grows old.
pub(crate) struct Connector {
    remote: Remote,
    feeds: Vec<Feed>,
    attempts: JoinSet<Attempt>,
    gates: Gates,
    repairs: Repairs,
    malformed: u64,
}

struct Feed {
    source: Source,
    lines: Lines,
    /// Where it goes on after a break, if its messages are numbered.
    resume: Arc<Resume>,
    /// The day that the hot thread knows to be the next session's.
    midnight_ms: Option<i64>,
}

impl Feed {
    fn new(source: Source, lines: Lines) -> Self {
        Self { lines, source, resume: Arc::default(), midnight_ms: None }
    }
}

impl Connector {
    /// Begins with the first attempts, once it is polled.
    pub(crate) fn new(remote: Remote, sources: Vec<Source>) -> Self {
        let feed = |source: Source| {
            let lines = Lines::new(source.connections);
            Feed::new(source, lines)
        };
        Self {
            remote,
            feeds: sources.into_iter().map(feed).collect(),
            attempts: JoinSet::new(),
            gates: Gates::default(),
            repairs: Repairs::default(),
            malformed: 0,
        }
    }

    /// Has the hot thread stop.
    pub(crate) fn stop(&self) {
        self.remote.stop();
    }

    /// What wakes the hot thread.
    pub(crate) fn waker(&self) -> impl Fn() + use<> {
        self.remote.waker()
    }

    /// Takes what the hot thread has told so far.
    pub(crate) fn drain(&mut self) {
        while let Some(event) = self.remote.try_event() {
            self.take(event);
        }
    }

    /// Forgets what the hot thread has told: nothing is connected any more.
    pub(crate) fn discard(&mut self) {
        while self.remote.try_event().is_some() {}
    }

    /// Lets a hot thread run again, with these feeds. `kept` has, for each of them, the old one's place. A connection
    /// whose subscriptions change goes on until its successor is there.
    pub(crate) fn reconfigure(&mut self, sources: Vec<Source>, kept: &[Option<usize>]) {
        self.drain();
        self.attempts = JoinSet::new();
        let now = Instant::now();
        let mut old: Vec<_> = std::mem::take(&mut self.feeds).into_iter().map(Some).collect();
        let before: Vec<_> = old.iter().flatten().map(|feed| feed.source.clone()).collect();
        let feed = |(source, place): (Source, &Option<usize>)| match place
            .and_then(|place| old.get_mut(place)?.take())
        {
            Some(old) => {
                let is_same = old.source.endpoint == source.endpoint;
                let lines = Lines::go_on(old.lines, source.connections, is_same, now);
                Feed { resume: old.resume, ..Feed::new(source, lines) }
            }
            None => {
                let lines = Lines::new(source.connections);
                Feed::new(source, lines)
            }
        };
        self.feeds = sources.into_iter().zip(kept).map(feed).collect();
        let (before, after): (Vec<_>, Vec<_>) =
            (before.iter().collect(), self.feeds.iter().map(|feed| &feed.source).collect());
        self.repairs.reconfigure(&before, &after, kept);
        self.remote.go_on();
    }

    /// Does what is next to do. Nothing is lost if the caller stops waiting.
    pub(crate) async fn step(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        for feed in 0..self.feeds.len() {
            self.begin(feed, now);
            self.end(feed, now);
            self.tell_day(feed);
        }
        let sources: Vec<_> = self.feeds.iter().map(|feed| &feed.source).collect();
        self.repairs.go_on(&sources, &mut self.remote, now);
        let feeds = self.feeds.iter().filter_map(|feed| feed.lines.next_at(now));
        let days = self.feeds.iter().any(|feed| feed.source.day.is_some()).then(|| now + DAY_LOOK);
        let next_at = feeds.chain(self.repairs.next_at()).chain(days).min();
        let due = async {
            match next_at {
                Some(next_at) => tokio::time::sleep_until(next_at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = self.remote.next_event() => self.take(event.context("the eventfd failed")?),
            Some(finished) = self.attempts.join_next() => {
                self.finished(finished.context("a connection attempt panicked")?);
            }
            Some(answer) = self.repairs.answered() => self.repairs.take(answer?, &sources, Instant::now()),
            () = due => {}
        }
        Ok(())
    }

    fn take(&mut self, event: Event) {
        let now = Instant::now();
        match event {
            Event::Closed { feed, line, reason } => {
                let Feed { source, lines, .. } = &mut self.feeds[feed];
                let endpoint = &source.endpoint;
                match lines.ended(line, random(), now) {
                    Ended::Expected => tracing::info!("{endpoint}: connection {line} ended: {reason}"),
                    Ended::Lost(pause) => {
                        tracing::warn!("{endpoint}: connection {line} lost: {reason}");
                        tell_pause(source, pause);
                    }
                }
            }
            Event::Malformed { feed, error } => {
                self.malformed += 1;
                // Ever more rarely, so that a broken feed does not fill the log.
                if self.malformed.is_power_of_two() {
                    let (endpoint, count) = (&self.feeds[feed].source.endpoint, self.malformed);
                    tracing::warn!("{endpoint}: malformed frame, the {count}th reported: {error}");
                }
            }
            Event::Rollover { feed, line } => self.replace(feed, line, "the server is about to shut down"),
            Event::Want(want) => {
                let sources: Vec<_> = self.feeds.iter().map(|feed| &feed.source).collect();
                self.repairs.want(want, &sources, now);
            }
        }
    }

    fn replace(&mut self, feed: usize, line: usize, why: &str) {
        let Feed { source, lines, .. } = &mut self.feeds[feed];
        tracing::info!("{}: connection {line} gets a successor: {why}", source.endpoint);
        lines.replace(line, random(), Instant::now());
    }

    fn finished(&mut self, Attempt { feed, seat, outcome }: Attempt) {
        let now = Instant::now();
        let Feed { source, lines, .. } = &mut self.feeds[feed];
        let handed_over = match outcome {
            Ok(established) => {
                let line = established.line;
                let taken = self.remote.hand_over(established);
                tracing::info!("{}: connected, as connection {line}", source.endpoint);
                taken
            }
            Err(error) => {
                tracing::warn!("{error:#}");
                false
            }
        };
        if handed_over {
            lines.connected(seat, source.longest.map(|longest| now + jittered(longest)), now);
        } else {
            tell_pause(source, lines.failed(seat, random(), now));
        }
    }

    /// Begins the attempts that are due.
    fn begin(&mut self, feed: usize, now: Instant) {
        let Feed { source, lines, resume, .. } = &mut self.feeds[feed];
        while let Some((seat, line)) = lines.next_attempt(now) {
            let limits = source.venue.protocol().limits();
            // Nobody is troubled by sockets for datagrams.
            let turn = match source.endpoint.speech {
                Speech::Mold(_) => now,
                _ => self.gates.take(&source.endpoint.address.host, &limits, now),
            };
            let (endpoint, tls, resume) = (source.endpoint.clone(), source.tls.clone(), resume.clone());
            self.attempts.spawn(async move {
                tokio::time::sleep_until(turn.into()).await;
                let place = Seat { feed, line, seat };
                Attempt { feed, seat, outcome: connect(place, &endpoint, tls.as_ref(), &resume).await }
            });
        }
    }

    /// Tells the hot thread of a new day, for the feed's next session.
    fn tell_day(&mut self, place: usize) {
        let feed = &mut self.feeds[place];
        let today = feed.source.day.map(Day::midnight_ms);
        if let Some(midnight_ms) = today.filter(|_| today != feed.midnight_ms) {
            let order = Order::Day { feed: place, midnight_ms };
            if self.remote.order(order).is_none() {
                feed.midnight_ms = today;
            }
        }
    }

    /// Ends the connections that have had their successors for long enough.
    fn end(&mut self, feed: usize, now: Instant) {
        while let Some(line) = self.feeds[feed].lines.next_end(now) {
            if self.remote.order(Order::End { feed, line }).is_some() {
                self.feeds[feed].lines.not_ended(line, now + NO_ROOM_PAUSE);
            }
        }
    }
}

fn tell_pause(source: &Source, pause: Duration) {
    tracing::info!("{}: connecting again in {} ms", source.endpoint, pause.as_millis());
}

/// Up to a tenth less, so that connections that were begun together do not end together.
fn jittered(longest: Duration) -> Duration {
    longest.mul_f64(1.0 - 0.1 * (random() as f64 / u64::MAX as f64))
}

/// A number that nobody can guess: the standard library seeds its hash maps from the kernel's random numbers.
fn random() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}
