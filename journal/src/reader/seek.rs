//! To a time: segments before it are not read, and of the one that it is in only what the index cannot spare.
//!
//! What holds: an index is believed only as far as the blocks that it points to bear it out. Without one the same
//! records come, later.

use crate::index::{Entry, Index};
use crate::reader::heads::Limit;
use crate::reader::records::SLACK_NS;
use crate::reader::{Counts, ReadError, Reader, Tail, parts};

/// After so many blocks without a record of its own, a segment's first time counts as unknown.
const LOOKED_AT_BLOCKS: usize = 64;

impl Reader<'_> {
    /// Goes to where the span begins.
    pub(super) fn seek(&mut self) -> Result<(), ReadError> {
        let from_ns = self.span.from_ns.saturating_sub(SLACK_NS);
        if from_ns == 0 {
            return Ok(());
        }
        let mut begin = 0;
        for place in 0..self.segments.list.len() {
            match self.first_ns(place)? {
                Some(first_ns) if first_ns > from_ns => break,
                Some(_) => begin = place,
                None => {}
            }
        }
        while begin > 0 && !self.begins_well(begin)? {
            begin -= 1;
        }
        for _ in 0..begin {
            self.pass_segment();
        }
        let Some(index) = self.index(begin)? else { return Ok(()) };
        let Some(entry) = index.before(from_ns) else { return Ok(()) };
        if !self.jump(&index, entry)? {
            self.begin_again(begin);
        }
        Ok(())
    }

    /// Whether reading can begin with this segment.
    fn begins_well(&mut self, place: usize) -> Result<bool, ReadError> {
        let limit = self.segments.limit(place)?;
        Ok(self.segments.head(place)?.is_some_and(|head| head.first < limit.below))
    }

    /// The segment's index, if there is one that is its own.
    fn index(&mut self, place: usize) -> Result<Option<Index>, ReadError> {
        let segment = self.segments.list[place];
        let Some(head) = self.segments.head(place)? else { return Ok(None) };
        // An index that cannot be read is one that is not there.
        let index =
            self.segments.store.index(&segment).ok().flatten().and_then(|bytes| Index::decode(&bytes).ok());
        Ok(index.filter(|index| index.number == segment.number && index.identity == head.identity))
    }

    /// When the first record that begins in a segment was received.
    fn first_ns(&mut self, place: usize) -> Result<Option<u64>, ReadError> {
        if let Some(index) = self.index(place)? {
            return Ok(index.first_ns);
        }
        let number = self.segments.list[place].number;
        let (Some(head), Some(mut window)) = (self.segments.head(place)?, self.segments.open(place)?) else {
            return Ok(None);
        };
        let mut offset = 0;
        for _ in 0..LOOKED_AT_BLOCKS {
            let block = window.block(offset).map_err(|source| ReadError::Io { segment: number, source })?;
            let Some((header, payload)) = block.ok().filter(|(header, _)| header.segment == head.identity)
            else {
                break;
            };
            let Some(survey) = parts::survey(window.bytes(), &header, &payload) else { break };
            if survey.first_ns.is_some() {
                return Ok(survey.first_ns);
            }
            offset += header.block_bytes() as u64;
        }
        Ok(None)
    }

    /// Goes to a block in the middle of this segment. False if the index does not tell the truth.
    fn jump(&mut self, index: &Index, entry: Entry) -> Result<bool, ReadError> {
        self.limit = self.segments.limit(self.place)?;
        self.open(self.place, 0, index.identity, 0)?;
        if !self.stand_at(entry.start, None)? {
            return Ok(false);
        }
        // The record that tells the feeds, first.
        loop {
            while self.next_part() {}
            let is_before =
                self.cursor.as_ref().is_some_and(|cursor| cursor.offset <= entry.offset) && !self.is_over;
            if !is_before || !self.out.is_empty() {
                return Ok(false);
            }
            if self.has_start() && !self.is_in_start() {
                break;
            }
            self.advance()?;
        }
        self.joined.drop();
        Ok(entry.first < self.limit.below && self.stand_at(entry.offset, Some(entry.first))?)
    }

    /// Has the block at this offset come next, if there is one.
    fn stand_at(&mut self, offset: u64, first: Option<u64>) -> Result<bool, ReadError> {
        let number = self.segments.list[self.place].number;
        let Some(cursor) = &mut self.cursor else { return Ok(false) };
        if offset >= cursor.window.source_bytes() {
            return Ok(false); // No file is so long: an index does not tell the truth.
        }
        let block =
            cursor.window.block(offset).map_err(|source| ReadError::Io { segment: number, source })?;
        let Ok((header, _)) = block else { return Ok(false) };
        let is_own = header.number == number && header.segment == cursor.identity;
        if !is_own || first.is_some_and(|first| first != header.first) {
            return Ok(false);
        }
        (cursor.offset, cursor.index, cursor.is_ended) = (offset, header.index, false);
        (self.next, self.expected, self.chain) =
            (Some(header.first), header.first, Some(header.previous_crc));
        Ok(true)
    }

    /// As if nothing of this segment had been read.
    fn begin_again(&mut self, place: usize) {
        self.place = place;
        self.cursor = None;
        self.limit = Limit { below: u64::MAX, by: None };
        (self.next, self.expected, self.chain) = (None, 0, None);
        self.spare_chains.clear();
        self.block = None;
        self.joined.drop();
        self.start.drop();
        self.out.clear();
        self.before = None;
        (self.has_begun, self.is_over) = (false, false);
        self.tail = Tail::default();
        self.counts = Counts { blocks: 0, ..self.counts };
    }
}
