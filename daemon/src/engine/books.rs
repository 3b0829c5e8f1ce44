//! An instrument's book and its best bid and ask: which connection they come from, and when to ask for them anew.

use super::stream::Stream;
use super::{Output, Shift, Want};
use market::protocol::{BookProof, Protocol, Snapshot};
use market::{Book, BookChange, InstrumentId, Integrity, Keeper, Levels, Quote, Scale};
use shm::market::{QuoteRecord, StreamKind};
use shm::status::Counter;

/// Levels kept on each side: twice what a snapshot brings.
const ROOM: usize = 2_000;
/// How long a snapshot may take before it is asked for again, and how long one that comes by itself may.
const PATIENCE_NS: u64 = 3_000_000_000;
/// A book that has become shallow is there meanwhile: no hurry.
const SHALLOW_PATIENCE_NS: u64 = 15_000_000_000;

#[derive(Debug)]
pub(super) struct Books {
    /// The instrument's place in the market segment.
    place: usize,
    keeper: Keeper,
    /// Whether changes of several connections can be told apart by their numbers.
    is_numbered: bool,
    /// The connection that the book comes from, where they cannot.
    line: Option<usize>,
    /// When a snapshot is asked for, if there is none by then.
    ask_ns: u64,
    quote_id: u64,
    quote_ms: i64,
    /// The best bid and ask as it was published last.
    quote: Option<QuoteRecord>,
    changes: Stream,
    quotes: Stream,
}

impl Books {
    pub(super) fn new(place: usize, scale: Scale, protocol: &dyn Protocol) -> Self {
        let proof = protocol.proof().book;
        Self {
            place,
            keeper: Keeper::new(proof, scale, ROOM),
            is_numbered: matches!(proof, BookProof::UpdateIds),
            line: None,
            ask_ns: 0,
            quote_id: 0,
            quote_ms: i64::MIN,
            quote: None,
            changes: Stream::new(StreamKind::Book),
            quotes: Stream::new(StreamKind::Quotes),
        }
    }

    pub(super) fn inherit(&mut self, old: &mut Self, output: &mut Output) {
        std::mem::swap(&mut self.keeper, &mut old.keeper);
        (self.line, self.ask_ns) = (old.line, old.ask_ns);
        (self.quote_id, self.quote_ms, self.quote) = (old.quote_id, old.quote_ms, old.quote);
        std::mem::swap(&mut self.changes, &mut old.changes);
        std::mem::swap(&mut self.quotes, &mut old.quotes);
        self.changes.publish(self.place, output);
        self.quotes.publish(self.place, output);
        if let Some(quote) = &self.quote {
            output.market.quote(self.place, quote);
        }
    }

    /// The book, if it is known.
    pub(super) fn book(&self) -> Option<&Book> {
        self.keeper.book()
    }

    /// Changes of it, or its connection, are not known any more.
    pub(super) fn forget(&mut self) {
        self.lose();
        self.ask_ns = 0;
    }

    /// Goes on in another run, whose first quote counts whatever its number.
    pub(super) fn resume(&mut self, shift: Shift) {
        (self.quote_id, self.quote_ms) = (0, i64::MIN);
        if let Some(quote) = &mut self.quote {
            quote.receive_ns = shift.of(quote.receive_ns);
        }
        self.changes.resume(shift);
        self.quotes.resume(shift);
    }

    /// A connection was made and subscribed.
    pub(super) fn connected(&mut self, output: &Output) {
        // Where the stream brings the snapshot, it comes by itself.
        let patience_ns = if self.is_numbered { 0 } else { PATIENCE_NS };
        self.ask_ns = self.ask_ns.max(output.receive_ns + patience_ns);
        self.changes.subscribed(output.receive_ns);
        self.quotes.subscribed(output.receive_ns);
    }

    /// A connection broke; `is_last` says that there is no other.
    pub(super) fn disconnected(&mut self, line: usize, is_last: bool) {
        if is_last || self.line == Some(line) {
            self.lose();
        }
    }

    /// Frames were lost on a connection: changes of this book may have been among them.
    pub(super) fn missed_on(&mut self, line: usize, gap: Integrity, output: &mut Output) {
        if self.line == Some(line) {
            self.lose();
            self.ask_ns = self.ask_ns.min(output.receive_ns);
            self.changes.judge(gap, self.place, output);
        }
    }

    /// It is told that the book cannot be followed any more, or begins anew.
    pub(super) fn told_lost(&mut self, output: &mut Output) {
        if self.keeper.book().is_some() {
            self.changes.judge(Integrity::Unverifiable, self.place, output);
        }
        self.lose();
    }

    fn lose(&mut self) {
        self.keeper.lose();
        self.line = None;
    }

    /// Takes a change that came over a connection.
    pub(super) fn change(&mut self, line: usize, change: &BookChange<'_>, output: &mut Output) {
        let verdict = if self.is_numbered || self.is_of_line(line, change.is_snapshot) {
            self.keeper.change(change)
        } else {
            Integrity::Duplicate
        };
        self.changes.note(verdict, self.place, output);
        self.after(verdict, output);
        if matches!(verdict, Integrity::Ok | Integrity::Unverifiable)
            && let Some(verdict) = self.keeper.compare_quotes()
        {
            self.quotes.judge(verdict, self.place, output);
            self.after(verdict, output);
        }
    }

    /// Whether the book comes from that connection; a snapshot for a book that is not known decides it.
    fn is_of_line(&mut self, line: usize, is_snapshot: bool) -> bool {
        if is_snapshot && (self.line.is_none() || self.keeper.wants_snapshot()) {
            self.line = Some(line);
        }
        self.line == Some(line)
    }

    /// Takes a snapshot that was fetched.
    pub(super) fn snapshot(&mut self, snapshot: &Snapshot, output: &mut Output) {
        let verdict = self.keeper.snapshot(snapshot);
        if verdict == Integrity::Ok {
            output.count(Counter::BookSnapshots, 1);
            self.ask_ns = output.receive_ns + SHALLOW_PATIENCE_NS;
        }
        self.changes.judge(verdict, self.place, output);
        self.after(verdict, output);
    }

    /// Takes the venue's own best levels.
    pub(super) fn top(&mut self, update_id: u64, levels: &Levels<'_>, output: &mut Output) {
        let verdict = self.keeper.top(update_id, levels);
        self.changes.judge(verdict, self.place, output);
        self.after(verdict, output);
    }

    /// Takes the best bid and ask, unless a newer one has come over another connection.
    pub(super) fn quote(
        &mut self,
        update_id: u64,
        event_ms: Option<i64>,
        quote: &Quote,
        output: &mut Output,
    ) {
        let is_old =
            update_id > 0 && update_id <= self.quote_id || event_ms.is_some_and(|ms| ms < self.quote_ms);
        if is_old {
            return self.quotes.note(Integrity::Duplicate, self.place, output);
        }
        self.quote_id = update_id;
        self.quote_ms = event_ms.unwrap_or(i64::MIN);
        let record = QuoteRecord {
            bid_price: quote.bid_price,
            bid_qty: quote.bid_qty,
            ask_price: quote.ask_price,
            ask_qty: quote.ask_qty,
            update_id,
            receive_ns: output.receive_ns,
        };
        self.quote = Some(record);
        output.market.quote(self.place, &record);
        match self.keeper.quote(update_id, quote) {
            Some(verdict) => {
                self.quotes.note(verdict, self.place, output);
                self.after(verdict, output);
            }
            None => self.quotes.heard(self.place, output), // It is judged when its change comes, if ever.
        }
    }

    /// A book that has just turned out wrong is asked for at once.
    fn after(&mut self, verdict: Integrity, output: &Output) {
        if matches!(verdict, Integrity::Corrupt | Integrity::Gap { .. }) {
            self.line = None;
            self.ask_ns = self.ask_ns.min(output.receive_ns);
        }
    }

    /// Asks for what is lacking.
    pub(super) fn tick(&mut self, feed: usize, instrument: InstrumentId, output: &mut Output) {
        let now_ns = output.receive_ns;
        if self.keeper.wants_snapshot() && now_ns >= self.ask_ns {
            let is_there = self.keeper.book().is_some();
            self.ask_ns = now_ns + if is_there { SHALLOW_PATIENCE_NS } else { PATIENCE_NS };
            output.want(Want::Snapshot { feed, instrument });
        }
        let silent = [&mut self.changes, &mut self.quotes].map(|stream| stream.is_missed(self.place, output));
        if silent.contains(&true) {
            output.want(Want::Resubscribe { feed, instrument });
        }
    }
}
