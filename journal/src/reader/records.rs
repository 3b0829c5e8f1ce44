//! From blocks to records: parts are put together, and what is not asked for is left out.

use crate::block::BlockHeader;
use crate::reader::parts::{Part, Survey};
use crate::reader::{Missing, Reader, Why};
use crate::record::{Header, Kind, MORE};
use std::ops::Range;

/// What is ready to be given.
#[derive(Debug)]
pub(crate) enum Out {
    Missing(Missing),
    /// A record that lies in the window.
    Whole {
        header: Header,
        sequence: u64,
        body: Range<usize>,
    },
    /// The record that was put together.
    Joined,
    /// The record that tells the feeds, which is kept.
    Start,
}

/// The block whose records are read.
#[derive(Debug)]
pub(crate) struct InBlock {
    at: usize,
    end: usize,
    /// Where it is in its segment.
    offset: u64,
    /// The sequence of the next record that begins in it.
    sequence: u64,
    continues: bool,
    repeats_on: bool,
}

/// Clocks may differ by so much between what came at the same time.
pub(super) const SLACK_NS: u64 = 1_000_000_000;

impl InBlock {
    pub(super) fn new(header: &BlockHeader, payload: &Range<usize>, survey: &Survey, offset: u64) -> Self {
        Self {
            at: payload.start,
            end: payload.end,
            offset,
            sequence: header.first,
            continues: survey.continues,
            repeats_on: survey.repeats_on,
        }
    }
}

impl Reader<'_> {
    /// Takes the next part of the block in hand. False if there is none.
    pub(super) fn next_part(&mut self) -> bool {
        let (Some(block), Some(cursor)) = (&mut self.block, &self.cursor) else { return false };
        let bytes = cursor.window.bytes();
        let Some(part) = Part::read(bytes, block.at, block.end) else {
            self.block = None;
            return false;
        };
        block.at = part.end;
        if part.is_repeated() {
            let is_rest = std::mem::take(&mut block.repeats_on);
            self.repeated(&part, is_rest);
        } else if std::mem::take(&mut block.continues) {
            self.rest(&part);
        } else {
            let sequence = block.sequence;
            block.sequence += 1;
            self.begins(part, sequence);
        }
        true
    }

    /// A record that tells the feeds stands here a second time: it is kept if nothing was given yet, and given if the
    /// first may have been among what is missing.
    fn repeated(&mut self, part: &Part, is_rest: bool) {
        let (Some(cursor), Some(next)) = (&self.cursor, self.next) else { return };
        let bytes = &cursor.window.bytes()[part.body.clone()];
        if self.has_begun && !self.lacks_start {
            return;
        }
        if is_rest {
            self.start.go_on(part.header, bytes);
        } else {
            self.start.begin(part.header, next, bytes);
        }
        if self.has_begun && self.start.is_whole {
            self.lacks_start = false;
            self.out.push_back(Out::Start);
        }
    }

    fn rest(&mut self, part: &Part) {
        let Some(sequence) = self.joined.pending() else { return };
        let Some(cursor) = &self.cursor else { return };
        if !self.joined.go_on(part.header, &cursor.window.bytes()[part.body.clone()]) {
            self.lose_record(sequence);
        } else if self.joined.is_whole {
            self.next = Some(sequence + 1);
            if let Some((header, sequence)) = self.joined.of {
                self.give(header, sequence, Out::Joined);
            }
        }
    }

    fn begins(&mut self, part: Part, sequence: u64) {
        if let Some(pending) = self.joined.pending() {
            self.joined.drop();
            self.lose_record(pending);
        }
        if sequence >= self.limit.below {
            self.block = None; // The rest is what a later segment has.
            return;
        }
        let Some(next) = self.next.filter(|next| *next <= sequence) else { return };
        if next < sequence {
            self.tell_here(next..sequence);
        }
        let Part { header, body, .. } = part;
        if header.flags & MORE == 0 {
            self.next = Some(sequence + 1);
            self.give(header, sequence, Out::Whole { header, sequence, body });
        } else if let Some(cursor) = &self.cursor {
            self.next = Some(sequence);
            self.joined.begin(header, sequence, &cursor.window.bytes()[body]);
        }
    }

    /// A record that began, and does not go on.
    fn lose_record(&mut self, sequence: u64) {
        self.next = Some(sequence + 1);
        self.tell_here(sequence..sequence + 1);
    }

    fn tell_here(&mut self, records: Range<u64>) {
        let segment = self.segments.list[self.place].number;
        let offset = self.block.as_ref().map_or(0, |block| block.offset);
        self.tell(Missing { records, segment, offset, why: Why::Corrupt });
    }

    pub(super) fn tell(&mut self, missing: Missing) {
        let is_lost = !missing.records.is_empty();
        if self.has_begun || self.span.from_ns == 0 {
            self.give_start(None);
            self.out.push_back(Out::Missing(missing));
        } else {
            self.before = Some(missing);
        }
        self.lacks_start |= is_lost;
    }

    /// Gives a record, if it is asked for.
    fn give(&mut self, header: Header, sequence: u64, out: Out) {
        let real_ns = header.stamp.real_ns;
        if real_ns >= self.span.until_ns {
            self.is_over |= real_ns - self.span.until_ns >= SLACK_NS;
            return;
        }
        let is_start = header.kind == Kind::Start;
        self.lacks_start &= !is_start;
        if real_ns < self.span.from_ns && !(self.has_begun && is_start) {
            if !self.has_begun {
                self.pass(is_start, header, sequence, &out);
            }
            return;
        }
        if !self.has_begun {
            if let Some(missing) = self.before.take() {
                self.out.push_back(Out::Missing(missing));
            }
            self.give_start(Some(is_start));
        }
        self.out.push_back(out);
    }

    /// A record before the span.
    fn pass(&mut self, is_start: bool, header: Header, sequence: u64, out: &Out) {
        if header.stamp.real_ns.saturating_add(SLACK_NS) < self.span.from_ns {
            self.before = None;
        }
        let Some(cursor) = self.cursor.as_ref().filter(|_| is_start) else { return };
        match out {
            Out::Whole { body, .. } => {
                self.start.begin(header, sequence, &cursor.window.bytes()[body.clone()])
            }
            Out::Joined => self.start.begin(header, sequence, &self.joined.bytes),
            _ => {}
        }
    }

    /// Gives the kept record that tells the feeds, before the first item.
    fn give_start(&mut self, before_start: Option<bool>) {
        if self.has_begun {
            return;
        }
        let has_start = self.start.of.is_some() && self.start.is_whole;
        if before_start == Some(true) {
            self.has_begun = true;
        } else if has_start {
            (self.has_begun, self.lacks_start) = (true, false);
            self.out.push_front(Out::Start);
        } else {
            self.has_begun = before_start.is_some();
        }
    }

    /// Whether the record that tells the feeds is half read.
    pub(super) fn is_in_start(&self) -> bool {
        self.start.pending().is_some()
            || self.joined.pending().is_some()
                && self.joined.of.is_some_and(|(header, _)| header.kind == Kind::Start)
    }

    pub(super) fn has_start(&self) -> bool {
        self.start.of.is_some() && self.start.is_whole
    }
}
