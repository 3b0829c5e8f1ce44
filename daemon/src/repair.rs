//! What the engine misses, and how to get it: a planner without I/O. It is told what is wanted and what was answered;
//! it says what to ask next, and what to order of the hot thread. Whoever drives it tells it the time.
//!
//! What holds:
//!
//! - An instrument has at most one request under way. Wants for what is on the way already are one want.
//! - Of trades that are missing, each is delivered at most once, in whatever pages they come; then, or when trying
//!   has no more sense, a last delivery says that it is the last. That comes always, after [`MAX_PAGES`] at the latest.
//! - A failed try is followed by a longer pause. A book is asked for until it comes or is refused.
//! - Everything is bounded: holes of an instrument, messages that wait, orders that wait.

mod hole;

use crate::engine::Want;
use crate::ingest::Order;
use crate::ingest::connect::pace;
use hole::{Hole, Progress};
use market::protocol::{Missing, Protocol, RestError, Subscription};
use market::{Instrument, InstrumentId, Timeframe};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Pauses after failed tries: doubled from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How often trades are asked for in vain before they stay missing.
const MAX_TRIES: u32 = 8;
/// How often an answer may bring nothing new before what is missing stays missing.
const MAX_IDLE_PAGES: u32 = 3;
/// How many answers may go into one hole.
const MAX_PAGES: u32 = 1_000;
/// How many holes of one instrument may wait.
const MAX_HOLES: usize = 16;
/// How many orders may wait.
const MAX_ORDERS: usize = 1_024;
/// The least time between two books of an instrument, and between two subscriptions anew.
const BOOK_PAUSE: Duration = Duration::from_secs(1);
const RESUBSCRIBE_PAUSE: Duration = Duration::from_secs(10);

/// A feed and an instrument's place in its table.
pub(crate) type Key = (usize, InstrumentId);

/// What is to be known of a feed.
#[derive(Clone, Copy)]
pub(crate) struct FeedFacts<'a> {
    pub(crate) protocol: &'static dyn Protocol,
    /// By place in the feed's table.
    pub(crate) instruments: &'a [Instrument],
    /// The candles it is subscribed to.
    pub(crate) klines: &'a [Timeframe],
    /// Whether REST is to be used.
    pub(crate) has_rest: bool,
}

/// A request to be made.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) key: Key,
    pub(crate) what: What,
    /// Path and query.
    pub(crate) path: String,
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Book,
    Trades,
}

/// Why a request has no answer.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) why: String,
    /// Asking again would be in vain.
    pub(crate) is_refusal: bool,
    /// Nobody is to ask before this has passed.
    pub(crate) pause: Duration,
}

/// All that is missing.
#[derive(Default)]
pub(crate) struct Planner {
    instruments: BTreeMap<Key, Repair>,
    /// By feed.
    messages: BTreeMap<usize, Messages>,
    orders: VecDeque<Order>,
    /// The instrument that was served last: the next one comes first.
    turn: Option<Key>,
}

/// What is missing of an instrument.
#[derive(Default)]
struct Repair {
    book: Option<Wait>,
    last_book: Option<Instant>,
    holes: VecDeque<Hole>,
    /// When the stream is to bring the book anew, where REST does not give it.
    rebook: Option<Instant>,
    /// When its streams are to be asked for anew.
    resubscribe: Option<Instant>,
    last_resubscribe: Option<Instant>,
    under_way: Option<What>,
}

/// When something is tried next.
#[derive(Debug, Clone, Copy)]
struct Wait {
    due: Instant,
    failed: u32,
}

impl Wait {
    fn until(due: Instant) -> Self {
        Self { due, failed: 0 }
    }

    fn again(&mut self, now: Instant, at_least: Duration) {
        let pause = FIRST_PAUSE * 2u32.pow(self.failed.min(16));
        self.due = now + pause.min(LONGEST_PAUSE).max(at_least);
        self.failed += 1;
    }
}

/// Messages of one feed that wait to be sent.
struct Messages {
    waiting: VecDeque<String>,
    next: Instant,
}

impl Planner {
    /// Takes in what the engine wants.
    pub(crate) fn want(&mut self, want: Want, feeds: &[FeedFacts<'_>], now: Instant) {
        let (feed, instrument) = match &want {
            Want::Snapshot { feed, instrument }
            | Want::Resubscribe { feed, instrument }
            | Want::Trades { feed, instrument, .. } => (*feed, *instrument),
        };
        let Some(facts) = feeds.get(feed) else { return };
        let Some(symbol) = facts.instrument(instrument).map(|instrument| &instrument.symbol) else {
            return; // Of a configuration that is gone.
        };
        let repair = self.instruments.entry((feed, instrument)).or_default();
        match want {
            Want::Snapshot { .. } if repair.book.is_none() && repair.rebook.is_none() => {
                let due = repair.last_book.map_or(now, |last| last + BOOK_PAUSE).max(now);
                let is_by_rest = facts.has_rest && facts.protocol.snapshot(symbol).is_some();
                match is_by_rest {
                    true => repair.book = Some(Wait::until(due)),
                    false => repair.rebook = Some(due),
                }
            }
            Want::Resubscribe { .. } if repair.resubscribe.is_none() => {
                let earliest = repair.last_resubscribe.map_or(now, |last| last + RESUBSCRIBE_PAUSE);
                repair.resubscribe = Some(earliest.max(now));
            }
            Want::Trades { missing, .. } => {
                let holds = |hole: &Hole| hole.missing.from <= missing.from && missing.to <= hole.missing.to;
                if repair.holes.iter().any(holds) {
                    return;
                }
                let is_sound = missing.from <= missing.to && missing.to < u64::MAX;
                if facts.has_rest && is_sound && repair.holes.len() < MAX_HOLES {
                    repair.holes.push_back(Hole::new(missing, now));
                } else {
                    self.order(trades(feed, instrument, missing, Vec::new(), true));
                }
            }
            _ => {}
        }
    }

    /// The next order, if one is due.
    pub(crate) fn next_order(&mut self, feeds: &[FeedFacts<'_>], now: Instant) -> Option<Order> {
        self.queue_messages(feeds, now);
        for (feed, messages) in &mut self.messages {
            if messages.next <= now
                && let Some(text) = messages.waiting.pop_front()
            {
                messages.next = now + feeds.get(*feed).map_or(BOOK_PAUSE, |facts| pace(facts.protocol));
                // Each connection of a feed carries the same streams, and each is to bring them anew.
                return Some(Order::Say { feed: *feed, line: None, text });
            }
        }
        self.orders.pop_front()
    }

    /// Puts an order back that found no room.
    pub(crate) fn refused(&mut self, order: Order) {
        match order {
            Order::Say { feed, text, .. } => {
                if let Some(messages) = self.messages.get_mut(&feed) {
                    messages.waiting.push_front(text);
                }
            }
            order => self.orders.push_front(order),
        }
    }

    /// The next request, if one is due. Instruments take turns.
    pub(crate) fn next_request(&mut self, feeds: &[FeedFacts<'_>], now: Instant) -> Option<Request> {
        if self.orders.len() >= MAX_ORDERS / 2 {
            return None; // What is there already goes first.
        }
        let after = |key: &&Key| self.turn.is_none_or(|turn| **key > turn);
        let is_due = |key: &&Key| self.instruments[*key].is_due(now);
        let first = self.instruments.keys().filter(after).find(is_due);
        let key = *first.or_else(|| self.instruments.keys().find(is_due))?;
        self.turn = Some(key);
        let repair = self.instruments.get_mut(&key)?;
        let facts = feeds.get(key.0)?;
        let instrument = facts.instrument(key.1)?;
        let request = repair.request(facts.protocol, instrument, now);
        if let Some((what, path)) = request {
            repair.under_way = Some(what);
            return Some(Request { key, what, path });
        }
        // The venue does not give past trades.
        if let Some(hole) = repair.holes.pop_front() {
            self.order(trades(key.0, key.1, hole.missing, Vec::new(), true));
        }
        None
    }

    /// Takes in the answer to a request. Returns what is to be said in the log.
    pub(crate) fn answer(
        &mut self,
        key: Key,
        what: What,
        answer: Result<&[u8], Failure>,
        feeds: &[FeedFacts<'_>],
        now: Instant,
    ) -> Option<String> {
        let facts = feeds.get(key.0)?;
        let instrument = facts.instrument(key.1)?;
        let repair = self.instruments.get_mut(&key)?;
        repair.under_way = None;
        let (order, complaint) = match what {
            What::Book => repair.take_book(key, facts.protocol, instrument, answer, now),
            What::Trades => repair.take_trades(key, facts.protocol, instrument, answer, now),
        };
        order.into_iter().for_each(|order| self.order(order));
        complaint.map(|complaint| format!("{}:{}: {complaint}", instrument.venue, instrument.symbol))
    }

    /// When there is something to do next, if nothing happens before.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        let messages =
            |(feed, _): &Key| self.messages.get(feed).filter(|messages| !messages.waiting.is_empty());
        let waiting = self.messages.values().filter(|messages| !messages.waiting.is_empty());
        let said = self.instruments.iter().filter_map(|(key, repair)| {
            // What cannot be said yet is looked at again when there is room for it.
            Some(messages(key).map_or(repair.next_message()?.0, |messages| messages.next))
        });
        let asked = self.instruments.values().filter_map(Repair::next_request_at);
        waiting.map(|messages| messages.next).chain(said).chain(asked).min()
    }

    /// Goes on under a new configuration: `place` has the new places of what goes on. What is under way is asked for
    /// again.
    pub(crate) fn move_to(&mut self, place: impl Fn(Key) -> Option<Key>) {
        let Self { instruments, orders, .. } = std::mem::take(self);
        for (key, mut repair) in instruments {
            repair.under_way = None;
            self.instruments.extend(place(key).map(|key| (key, repair)));
        }
        for mut order in orders {
            let key = match &mut order {
                Order::Book { feed, instrument, .. } | Order::Trades { feed, instrument, .. } => {
                    (feed, instrument)
                }
                _ => continue,
            };
            let Some(new) = place((*key.0, *key.1)) else { continue };
            (*key.0, *key.1) = new;
            self.orders.push_back(order);
        }
    }

    /// Queues an order. When too many wait, it is left out: the engine asks again, or lives with the gap.
    fn order(&mut self, order: Order) {
        if self.orders.len() < MAX_ORDERS {
            self.orders.push_back(order);
        }
    }

    /// Queues the messages of the instrument that has waited longest, for each feed that has none to send.
    fn queue_messages(&mut self, feeds: &[FeedFacts<'_>], now: Instant) {
        for (feed, facts) in feeds.iter().enumerate() {
            let new = || Messages { waiting: VecDeque::new(), next: now };
            let messages = self.messages.entry(feed).or_insert_with(new);
            if !messages.waiting.is_empty() {
                continue;
            }
            let own = self.instruments.range_mut((feed, InstrumentId(0))..=(feed, InstrumentId(u16::MAX)));
            let due = own.filter_map(|(key, repair)| Some((repair.next_message()?, key.1, repair)));
            let Some(((due, is_book), id, repair)) = due.min_by_key(|((due, _), id, _)| (*due, *id)) else {
                continue;
            };
            let Some(instrument) = facts.instrument(id).filter(|_| due <= now) else { continue };
            let symbol = &instrument.symbol;
            if is_book {
                (repair.rebook, repair.last_book) = (None, Some(now));
                messages.waiting.extend(facts.protocol.resubscribe_book(symbol));
            } else {
                (repair.resubscribe, repair.last_resubscribe) = (None, Some(now));
                let wanted = Subscription { symbols: std::slice::from_ref(symbol), klines: facts.klines };
                messages.waiting.extend(facts.protocol.resubscribe(symbol, &wanted));
            }
        }
    }
}

impl FeedFacts<'_> {
    fn instrument(&self, id: InstrumentId) -> Option<&Instrument> {
        self.instruments.get(usize::from(id.0))
    }
}

impl Repair {
    fn next_request_at(&self) -> Option<Instant> {
        let book = self.book.map(|wait| wait.due);
        let due = book.into_iter().chain(self.holes.front().map(Hole::due)).min();
        due.filter(|_| self.under_way.is_none())
    }

    /// When there is something to say to the venue, and whether that is about the book.
    fn next_message(&self) -> Option<(Instant, bool)> {
        let book = self.rebook.map(|due| (due, true));
        book.into_iter().chain(self.resubscribe.map(|due| (due, false))).min()
    }

    fn is_due(&self, now: Instant) -> bool {
        self.next_request_at().is_some_and(|due| due <= now)
    }

    fn request(
        &self,
        protocol: &dyn Protocol,
        instrument: &Instrument,
        now: Instant,
    ) -> Option<(What, String)> {
        if self.book.is_some_and(|wait| wait.due <= now)
            && let Some(path) = protocol.snapshot(&instrument.symbol)
        {
            return Some((What::Book, path));
        }
        let hole = self.holes.front().filter(|hole| hole.due() <= now)?;
        Some((What::Trades, protocol.trades(&instrument.symbol, &hole.rest())?))
    }

    fn take_book(
        &mut self,
        (feed, id): Key,
        protocol: &dyn Protocol,
        instrument: &Instrument,
        answer: Result<&[u8], Failure>,
        now: Instant,
    ) -> (Option<Order>, Option<String>) {
        let read = answer.and_then(|body| protocol.read_snapshot(body, instrument).map_err(Failure::from));
        self.last_book = Some(now);
        match read {
            Ok(snapshot) => {
                self.book = None;
                (Some(Order::Book { feed, instrument: id, snapshot }), None)
            }
            Err(failure) if failure.is_refusal => {
                self.book = None;
                (None, Some(format!("no book: {}", failure.why)))
            }
            Err(failure) => {
                let wait = self.book.get_or_insert(Wait::until(now));
                wait.again(now, failure.pause);
                let is_told = wait.failed.is_power_of_two();
                (None, is_told.then(|| format!("no book after {} tries: {}", wait.failed, failure.why)))
            }
        }
    }

    fn take_trades(
        &mut self,
        (feed, id): Key,
        protocol: &dyn Protocol,
        instrument: &Instrument,
        answer: Result<&[u8], Failure>,
        now: Instant,
    ) -> (Option<Order>, Option<String>) {
        let read = answer.and_then(|body| protocol.read_trades(body, instrument).map_err(Failure::from));
        let Some(hole) = self.holes.front_mut() else { return (None, None) };
        let (found, complaint) = match read {
            Ok(page) => (hole.take(page, now), None),
            Err(failure) => (hole.failed(&failure, now), Some(failure.why)),
        };
        let Progress { trades: found, is_final } = found;
        let left = hole.left_count();
        let missing = hole.missing.clone();
        let complaint = match (is_final, complaint) {
            (true, complaint) if left > 0 => {
                let why = complaint.unwrap_or_else(|| "the venue gives no more".into());
                Some(format!("{left} trades stay missing: {why}"))
            }
            _ => None,
        };
        if is_final {
            self.holes.pop_front();
        }
        let is_news = is_final || !found.is_empty();
        (is_news.then(|| trades(feed, id, missing, found, is_final)), complaint)
    }
}

impl From<RestError> for Failure {
    fn from(error: RestError) -> Self {
        let is_refusal = matches!(error, RestError::Refused(_));
        Self { why: error.to_string(), is_refusal, pause: Duration::ZERO }
    }
}

fn trades(
    feed: usize,
    instrument: InstrumentId,
    missing: Missing,
    trades: Vec<market::Trade>,
    is_final: bool,
) -> Order {
    Order::Trades { feed, instrument, missing, trades, is_final }
}

#[cfg(test)]
mod tests;
