//! Keeps one instrument's book in step with its venue, and proves that it is.
//!
//! Three proofs, since venues differ: update numbers that join without a hole, a checksum after each change, or the
//! transport alone. Beside them the venue's own best levels: a book whose numbers join may still be wrong. What holds:
//! a book that is not proven is not shown ([`Keeper::book`] is `None`), and somebody is told to fetch another one
//! ([`Keeper::wants_snapshot`]).

use crate::message::{BookChange, BookSide, Level, Levels, Scale};
use crate::protocol::{BookProof, Snapshot};
use crate::{Book, Integrity, Quote};

/// Changes that wait for a snapshot: as many levels, and as many messages. When either is full all are forgotten, and
/// a later snapshot is needed.
const WAITING_LEVELS: usize = 16_384;
const WAITING_CHANGES: usize = 512;
/// Quotes that wait for the change in which they lie. Within the 100 ms between two changes there were 97 at most in the recording that chartd is
/// tested on.
const WAITING_QUOTES: usize = 128;
/// So many disagreements with the venue's own best levels, one after the other, condemn a book that is numbered. One
/// may be a message that was overtaken.
const DISAGREEMENTS: u32 = 3;
/// The same where nothing says which change a quote belongs to, so that some disagree by nature.
const UNNUMBERED_DISAGREEMENTS: u32 = 50;
/// In how many changes after it such a quote is looked for.
const QUOTE_PATIENCE: u32 = 8;
/// A book of which fewer levels are known is fetched anew: the price may move beyond them.
const SHALLOW: usize = 50;

/// Where a book stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    /// It is not known: a snapshot is needed.
    Unknown,
    /// It is in step.
    Live,
}

/// Keeps a book.
#[derive(Debug)]
pub struct Keeper {
    proof: BookProof,
    scale: Scale,
    book: Book,
    condition: Condition,
    /// The number of the last update in it.
    last_id: u64,
    waiting: Waiting,
    quotes: Quotes,
    /// A quote without a number that the book has not agreed with yet, and how many more changes it is looked for in.
    pending: Option<(Quote, u32)>,
    disagreements: u32,
}

impl Keeper {
    /// A keeper that knows nothing yet; its book has at most `room` levels on each side. All its memory is taken here.
    pub fn new(proof: BookProof, scale: Scale, room: usize) -> Self {
        Self {
            proof,
            scale,
            book: Book::new(room),
            condition: Condition::Unknown,
            last_id: 0,
            waiting: Waiting::new(matches!(proof, BookProof::UpdateIds)),
            quotes: Quotes::new(matches!(proof, BookProof::UpdateIds)),
            pending: None,
            disagreements: 0,
        }
    }

    /// The book, while it is in step.
    pub fn book(&self) -> Option<&Book> {
        (self.condition == Condition::Live).then_some(&self.book)
    }

    /// Whether a snapshot is needed.
    pub fn wants_snapshot(&self) -> bool {
        self.condition == Condition::Unknown || self.book.known_depth() < SHALLOW
    }

    /// Forgets the book, since changes may have been lost.
    pub fn lose(&mut self) {
        self.condition = Condition::Unknown;
        self.disagreements = 0;
        self.pending = None;
        self.waiting.clear();
    }

    /// Takes a change, or a snapshot that comes on the stream.
    pub fn change(&mut self, change: &BookChange<'_>) -> Integrity {
        match (self.proof, change.ids) {
            (BookProof::UpdateIds, Some((_, last_id))) if change.is_snapshot => {
                self.begin(last_id, |book| book.reset(&change.levels, None))
            }
            (BookProof::UpdateIds, Some(ids)) => self.numbered(ids, &change.levels),
            (BookProof::UpdateIds, None) => Integrity::Unverifiable,
            (BookProof::Checksum { of, depth }, _) => {
                let verdict = self.unnumbered(change, Some(depth));
                match change.checksum {
                    Some(theirs) if verdict == Integrity::Ok && of(&self.book, self.scale) != theirs => {
                        self.condemn()
                    }
                    None if verdict == Integrity::Ok => Integrity::Unverifiable,
                    _ => verdict,
                }
            }
            (BookProof::Transport, _) => match self.unnumbered(change, None) {
                Integrity::Ok => Integrity::Unverifiable, // Its order alone speaks for it.
                verdict => verdict,
            },
        }
    }

    /// Takes a snapshot that was fetched. One that is too old to join the changes that wait gives `Unverifiable`, and
    /// another one is needed.
    pub fn snapshot(&mut self, snapshot: &Snapshot) -> Integrity {
        self.begin(snapshot.last_id, |book| {
            book.clear();
            for (side, levels) in [(BookSide::Bid, &snapshot.bids), (BookSide::Ask, &snapshot.asks)] {
                levels.iter().for_each(|level| book.set(side, *level));
            }
            book.limit(snapshot.limit);
        })
    }

    /// Takes the venue's best bid and ask, to be compared with the book's when their change has come; `update_id` is 0
    /// where the venue numbers none. What an earlier quote came to, where this one takes its place.
    pub fn quote(&mut self, update_id: u64, quote: &Quote) -> Option<Integrity> {
        match self.proof {
            BookProof::UpdateIds => {
                self.quotes.push(update_id, quote);
                None
            }
            BookProof::Checksum { .. } => None, // The checksum says more.
            BookProof::Transport => {
                let before = self.pending.take();
                if agree(&self.book()?.top()?, quote) {
                    return Some(self.judge(true, UNNUMBERED_DISAGREEMENTS));
                }
                self.pending = Some((*quote, QUOTE_PATIENCE));
                before.map(|_| self.judge(false, UNNUMBERED_DISAGREEMENTS))
            }
        }
    }

    /// Compares the venue's best levels with the book's.
    pub fn top(&mut self, update_id: u64, levels: &Levels<'_>) -> Integrity {
        if self.condition != Condition::Live || update_id != self.last_id {
            return Integrity::Unverifiable;
        }
        let agrees = self.book.agrees_with(levels);
        self.judge(agrees, DISAGREEMENTS)
    }

    /// Compares the book as it is after the latest change with the latest quote that belongs to it.
    pub fn compare_quotes(&mut self) -> Option<Integrity> {
        if let Some((quote, patience)) = &mut self.pending {
            *patience -= 1;
            let (quote, is_last) = (*quote, *patience == 0);
            let agrees = agree(&self.book()?.top()?, &quote);
            if agrees || is_last {
                self.pending = None;
                return Some(self.judge(agrees, UNNUMBERED_DISAGREEMENTS));
            }
            return None;
        }
        let quote = self.quotes.take_until(self.last_id)?;
        let agrees = self.book()?.top()? == quote;
        Some(self.judge(agrees, DISAGREEMENTS))
    }

    fn judge(&mut self, agrees: bool, patience: u32) -> Integrity {
        if agrees {
            self.disagreements = 0;
            return Integrity::Ok;
        }
        self.disagreements += 1;
        if self.disagreements < patience { Integrity::Unverifiable } else { self.condemn() }
    }

    fn condemn(&mut self) -> Integrity {
        self.lose();
        Integrity::Corrupt
    }

    /// A change whose updates are numbered.
    fn numbered(&mut self, (first, last): (u64, u64), levels: &Levels<'_>) -> Integrity {
        if self.wants_snapshot() {
            self.waiting.push((first, last), levels);
        }
        if self.condition == Condition::Unknown {
            return Integrity::Unverifiable;
        }
        if last <= self.last_id {
            return Integrity::Duplicate;
        }
        if first > self.last_id.saturating_add(1) {
            let gap = Integrity::Gap { from: self.last_id + 1, to: first - 1 };
            self.lose();
            self.waiting.push((first, last), levels); // It joins the snapshot to come.
            return gap;
        }
        self.book.apply(levels);
        self.last_id = last;
        if self.book.is_crossed() { self.condemn() } else { Integrity::Ok }
    }

    /// A change without numbers, on a stream that begins with a snapshot.
    fn unnumbered(&mut self, change: &BookChange<'_>, depth: Option<usize>) -> Integrity {
        if change.is_snapshot {
            self.book.reset(&change.levels, None);
            self.condition = Condition::Live;
            self.disagreements = 0;
        } else if self.condition == Condition::Live {
            self.book.apply(&change.levels);
        } else {
            return Integrity::Unverifiable;
        }
        if let Some(depth) = depth {
            self.book.truncate(depth);
        }
        if self.book.is_crossed() { self.condemn() } else { Integrity::Ok }
    }

    /// Begins with a snapshot, and applies what waited for it.
    fn begin(&mut self, snapshot_id: u64, fill: impl FnOnce(&mut Book)) -> Integrity {
        // The first change behind it must contain the number that follows it, or follow it.
        let first = self.waiting.changes.iter().find(|change| change.last > snapshot_id);
        if first.is_some_and(|first| first.first > snapshot_id.saturating_add(1)) {
            return Integrity::Unverifiable;
        }
        if self.condition == Condition::Live && snapshot_id < self.last_id && first.is_none() {
            return Integrity::Unverifiable; // What is there is newer, and what lies between did not wait.
        }
        fill(&mut self.book);
        self.last_id = snapshot_id;
        self.condition = Condition::Live;
        self.disagreements = 0;
        let waiting = core::mem::take(&mut self.waiting);
        let mut outcome = Integrity::Ok;
        for change in &waiting.changes {
            if change.last <= self.last_id {
                continue;
            }
            if change.first > self.last_id.saturating_add(1) {
                outcome = Integrity::Gap { from: self.last_id + 1, to: change.first - 1 };
                break;
            }
            let levels = &waiting.levels[change.levels.clone()];
            levels.iter().for_each(|(side, level)| self.book.set(*side, *level));
            self.last_id = change.last;
        }
        self.waiting = waiting;
        self.waiting.clear();
        if outcome != Integrity::Ok {
            self.lose();
        } else if self.book.is_crossed() {
            outcome = self.condemn();
        }
        outcome
    }
}

/// Whether the book's best levels are those of a quote. Some venues leave the quantities out, as zero.
fn agree(top: &Quote, quote: &Quote) -> bool {
    let same = |ours: i64, theirs: i64| theirs == 0 || ours == theirs;
    (top.bid_price, top.ask_price) == (quote.bid_price, quote.ask_price)
        && same(top.bid_qty, quote.bid_qty)
        && same(top.ask_qty, quote.ask_qty)
}

/// Changes that wait for a snapshot.
#[derive(Debug, Default)]
struct Waiting {
    levels: Vec<(BookSide, Level)>,
    changes: Vec<WaitingChange>,
}

#[derive(Debug)]
struct WaitingChange {
    first: u64,
    last: u64,
    /// Their place in `levels`.
    levels: core::ops::Range<usize>,
}

impl Waiting {
    fn new(is_used: bool) -> Self {
        let room = |room| if is_used { room } else { 0 };
        Self {
            levels: Vec::with_capacity(room(WAITING_LEVELS)),
            changes: Vec::with_capacity(room(WAITING_CHANGES)),
        }
    }

    fn push(&mut self, (first, last): (u64, u64), levels: &Levels<'_>) {
        // With a hole between them they could never be applied together.
        if self.changes.last().is_some_and(|before| first > before.last.saturating_add(1)) {
            self.clear();
        }
        let (mut fits, start) = (self.changes.len() < self.changes.capacity(), self.levels.len());
        levels.for_each(|side, level| {
            fits &= self.levels.len() < self.levels.capacity();
            if fits {
                self.levels.push((side, level));
            }
        });
        if fits {
            self.changes.push(WaitingChange { first, last, levels: start..self.levels.len() });
        } else {
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.levels.clear();
        self.changes.clear();
    }
}

/// The latest quotes, until the change that they belong to comes.
#[derive(Debug)]
struct Quotes {
    ring: Vec<(u64, Quote)>,
}

impl Quotes {
    fn new(is_used: bool) -> Self {
        Self { ring: Vec::with_capacity(if is_used { WAITING_QUOTES } else { 0 }) }
    }

    fn push(&mut self, update_id: u64, quote: &Quote) {
        if self.ring.last().is_some_and(|(newest, _)| update_id <= *newest) {
            return; // Another connection brought it already.
        }
        if self.ring.len() == self.ring.capacity() {
            self.ring.remove(0);
        }
        self.ring.push((update_id, *quote));
    }

    /// The latest quote of an update numbered no higher than `last_id`. Earlier ones are forgotten.
    fn take_until(&mut self, last_id: u64) -> Option<Quote> {
        let end = self.ring.partition_point(|(update_id, _)| *update_id <= last_id);
        let quote = self.ring.get(end.checked_sub(1)?).map(|(_, quote)| *quote);
        self.ring.drain(..end - 1); // The latest one stays true until another one comes.
        quote
    }
}
