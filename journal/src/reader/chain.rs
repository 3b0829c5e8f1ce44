//! From block to block, and from segment to segment.
//!
//! What holds: a block is read only if it is the next of its segment and names the checksum of the one before, or if a
//! search has said that reading goes on there, and what is missing was told.

use crate::block::{BlockHeader, LAST};
use crate::reader::parts;
use crate::reader::records::{InBlock, Out};
use crate::reader::search::{Found, Lost, Resume, search};
use crate::reader::window::{Proven, Window};
use crate::reader::{Missing, ReadError, Reader, Why};
use std::io;

/// From how many blocks that do not count the chain may go on.
const SPARE_AT_MOST: usize = 1 << 14;
/// So often a place is looked at where each look tells something else of what is missing.
const LOOKS_AT_MOST: usize = 4;

/// A place in an open segment.
pub(crate) struct Cursor {
    pub(crate) window: Window,
    pub(crate) number: u64,
    pub(crate) identity: [u8; 16],
    /// Where the next block is, and how many of the segment are before it.
    pub(crate) offset: u64,
    pub(crate) index: u32,
    /// Whether the block before it ended the run.
    pub(crate) is_ended: bool,
}

impl Cursor {
    /// The next block, if it is the one that the last one's checksum and end lead to.
    pub(crate) fn block(
        &mut self,
        expected: u64,
        chain: Option<u32>,
    ) -> io::Result<Option<(Proven, parts::Survey)>> {
        let Ok((header, payload)) = self.window.block(self.offset)? else { return Ok(None) };
        let belongs = header.number == self.number && header.segment == self.identity;
        let follows = header.index == self.index && chain.is_none_or(|crc| crc == header.previous_crc);
        if !belongs || !follows || header.first != expected || self.is_ended {
            return Ok(None);
        }
        let survey = parts::survey(self.window.bytes(), &header, &payload);
        Ok(survey.map(|survey| ((header, payload), survey)))
    }

    pub(crate) fn pass(&mut self, header: &BlockHeader) {
        self.offset += header.block_bytes() as u64;
        self.index = self.index.saturating_add(1);
        self.is_ended = header.flags & LAST != 0;
    }

    /// How much of its file was read.
    pub(crate) fn share_of(&self, file_bytes: u64) -> u64 {
        let share = u128::from(file_bytes) * u128::from(self.offset);
        (share / u128::from(self.window.source_bytes().max(1))) as u64
    }
}

impl Reader<'_> {
    fn failed(&self, source: io::Error) -> ReadError {
        let number = self.segments.list.get(self.place).map_or(0, |segment| segment.number);
        ReadError::Io { segment: number, source }
    }

    /// Goes to the next block, or the next segment; or finds that something is missing, or the end.
    pub(super) fn advance(&mut self) -> Result<(), ReadError> {
        if self.cursor.is_none() {
            return self.enter();
        }
        if self.next.is_some_and(|next| next >= self.limit.below) || self.heir_follows()? {
            return self.leave();
        }
        match self.next_block()? {
            Some(((header, payload), survey)) => {
                let Some(cursor) = &mut self.cursor else { return Ok(()) };
                self.block = Some(InBlock::new(&header, &payload, &survey, cursor.offset));
                cursor.pass(&header);
                self.tail.end = Some((self.place, cursor.offset));
                self.tail.crc = header.crc;
                self.tail.durable = self.tail.durable.max(header.durable);
                self.counts.blocks += 1;
                self.spare_chains.clear();
                self.follow(&header);
                Ok(())
            }
            None => self.stop_here(),
        }
    }

    fn next_block(&mut self) -> Result<Option<(Proven, parts::Survey)>, ReadError> {
        let (expected, chain) = (self.expected, self.chain);
        let block = self.cursor.as_mut().map(|cursor| cursor.block(expected, chain)).transpose();
        block.map(Option::flatten).map_err(|source| self.failed(source))
    }

    fn follow(&mut self, header: &BlockHeader) {
        self.chain = Some(header.crc);
        self.expected = header.end();
        self.durable = self.durable.max(header.durable);
    }

    /// Opens the segment that is next.
    fn enter(&mut self) -> Result<(), ReadError> {
        if self.place >= self.segments.list.len() {
            self.is_over = true;
            self.tell_before();
            return Ok(());
        }
        self.limit = self.segments.limit(self.place)?;
        let head = self.segments.head(self.place)?;
        if self.next.is_none() && self.segments.is_gone(self.place) {
            self.pass_segment();
            return Ok(());
        }
        let Some(head) = head else {
            return match self.next {
                Some(next) if next >= self.limit.below => {
                    self.pass_unread();
                    Ok(())
                }
                _ => self.look_further(0),
            };
        };
        if self.next.is_none() && head.first >= self.limit.below {
            self.pass_segment();
            return Ok(());
        }
        if self.heir_follows()? {
            self.pass_segment();
            return Ok(());
        }
        let is_first = self.next.is_none();
        let next = *self.next.get_or_insert(head.first);
        if self.spare_chains.contains(&head.previous_crc) {
            self.chain = Some(head.previous_crc);
        }
        let joins = self.chain.is_none_or(|crc| crc == head.previous_crc);
        if next >= self.limit.below {
            if joins {
                self.open(self.place, 0, head.identity, 0)?;
                self.expected = head.first;
            }
            return self.leave();
        }
        // What began before goes on only if nothing lies between.
        let goes_on = joins && (head.first == self.expected || self.tail.end.is_none());
        if !goes_on && (head.first != next || self.joined.pending().is_some()) {
            return self.look_further(0);
        }
        if !joins {
            self.tell_bad(0);
            self.chain = None;
        }
        self.expected = head.first;
        self.open(self.place, 0, head.identity, 0)?;
        if is_first && self.segments.is_gone(self.place) {
            self.next = None;
            self.pass_segment();
        }
        Ok(())
    }

    pub(super) fn open(
        &mut self,
        place: usize,
        offset: u64,
        identity: [u8; 16],
        index: u32,
    ) -> Result<(), ReadError> {
        let number = self.segments.list[place].number;
        let window = self.segments.open(place)?;
        self.cursor =
            window.map(|window| Cursor { window, number, identity, offset, index, is_ended: false });
        Ok(())
    }

    /// Whether the segment that counts from here on names the last block as the one before its first. A record that
    /// has begun goes on there: what may be left of it here is of a segment that was poisoned.
    fn heir_follows(&mut self) -> Result<bool, ReadError> {
        let Some(place) = self.limit.by else { return Ok(false) };
        let (chain, expected, next) = (self.chain, self.expected, self.next);
        Ok(self.segments.head(place)?.is_some_and(|heir| {
            chain == Some(heir.previous_crc) && (heir.first == expected || Some(heir.first) == next)
        }))
    }

    /// Leaves a segment whose further blocks do not count, but that the chain may still go through some of them, as
    /// through the one that ended the run.
    fn leave(&mut self) -> Result<(), ReadError> {
        let heir = match self.limit.by {
            Some(place) => self.segments.head(place)?,
            None => None,
        };
        let is_in_record = self.next.is_some_and(|next| next < self.limit.below);
        let expected = self.expected;
        self.spare_chain();
        let aim = heir.map(|head| head.previous_crc);
        while self.chain != aim && self.pass_block()? {}
        let chain = self.chain;
        if self.segments.list[self.place].is_packed {
            while self.pass_block()? {}
        }
        self.tell_surplus()?;
        self.chain = chain;
        self.expected = if is_in_record { expected } else { self.next.unwrap_or(expected) };
        if !is_in_record {
            self.joined.drop();
        }
        self.pass_segment();
        Ok(())
    }

    /// Passes over a block that goes on.
    fn pass_block(&mut self) -> Result<bool, ReadError> {
        if self.chain.is_none() {
            return Ok(false);
        }
        let Some(((header, _), _)) = self.next_block()? else { return Ok(false) };
        if let Some(cursor) = &mut self.cursor {
            cursor.pass(&header);
        }
        self.follow(&header);
        self.spare_chain();
        Ok(true)
    }

    /// A later segment may go on from here.
    fn spare_chain(&mut self) {
        if self.spare_chains.len() < SPARE_AT_MOST {
            self.spare_chains.extend(self.chain);
        }
    }

    /// Behind a block that ended a run, and behind the last of a packed segment, nothing may be.
    fn tell_surplus(&mut self) -> Result<(), ReadError> {
        let is_packed = self.segments.list[self.place].is_packed;
        let Some(cursor) = self.cursor.as_mut().filter(|cursor| cursor.is_ended || is_packed) else {
            return Ok(());
        };
        let written = cursor.window.first_written(cursor.offset);
        if let Some(offset) = written.map_err(|source| self.failed(source))? {
            self.tell_bad(offset);
        }
        Ok(())
    }

    /// Bytes of this segment are not what was written. No record is known to have been there.
    fn tell_bad(&mut self, offset: u64) {
        let (next, segment) = (self.next.unwrap_or(0), self.segments.list[self.place].number);
        self.tell(Missing { records: next..next, segment, offset, why: Why::Corrupt });
    }

    /// Passes over a segment that cannot be read, and would not count. One that is packed was whole once.
    fn pass_unread(&mut self) {
        if self.segments.list[self.place].is_packed && !self.segments.is_gone(self.place) {
            self.tell_bad(0);
        }
        self.pass_segment();
    }

    pub(super) fn pass_segment(&mut self) {
        self.cursor = None;
        self.counts.passed_bytes += self.segments.list.get(self.place).map_or(0, |segment| segment.bytes);
        self.place += 1;
    }

    /// No block goes on here: the segment is at its end, or something is missing.
    fn stop_here(&mut self) -> Result<(), ReadError> {
        let Some(cursor) = &self.cursor else { return Ok(()) };
        let offset = cursor.offset;
        if !cursor.is_ended {
            return self.look_further(offset);
        }
        self.tell_surplus()?;
        self.pass_segment();
        Ok(())
    }

    /// No block that goes on was read here: goes to where reading goes on, or ends.
    ///
    /// What came here may have been written after the place was read, and before what proves that it is missing. So
    /// only what a look finds that began when that was already proven is told.
    fn look_further(&mut self, offset: u64) -> Result<(), ReadError> {
        let mut before = None;
        for _ in 0..LOOKS_AT_MOST {
            if self.goes_on_after_all()? {
                return Ok(());
            }
            let found = self.search(offset)?;
            let is_settled = !self.segments.is_live() || !self.tells(&found);
            if is_settled || before.is_some_and(|before: Found| before.is_proven == found.is_proven) {
                return self.go_to(&found, offset);
            }
            before = Some(found);
        }
        before.map_or(Ok(()), |found| self.go_to(&found, offset))
    }

    /// Whether the next block has come since the place was read.
    fn goes_on_after_all(&mut self) -> Result<bool, ReadError> {
        let Some(cursor) = &mut self.cursor else { return Ok(false) };
        cursor.window.forget();
        Ok(self.next_block()?.is_some())
    }

    fn search(&mut self, offset: u64) -> Result<Found, ReadError> {
        let (identity, index) =
            self.cursor.as_ref().map_or((None, 0), |cursor| (Some(cursor.identity), cursor.index));
        let lost = Lost {
            place: self.place,
            offset,
            identity,
            index,
            next: self.next,
            expected: self.expected,
            chain: self.chain,
            spare_chains: &self.spare_chains,
            durable: self.durable,
        };
        search(&mut self.segments, &lost)
    }

    /// Whether something would be told as missing.
    fn tells(&self, found: &Found) -> bool {
        let is_end = found.resume.is_none();
        let is_torn = is_end && (found.bytes > 0 || self.joined.pending().is_some());
        found.is_proven && is_end || is_torn || found.resume.is_some_and(|resume| !resume.follows)
    }

    fn go_to(&mut self, found: &Found, offset: u64) -> Result<(), ReadError> {
        self.durable = found.durable;
        match found.resume {
            Some(resume) => self.resume(resume, found, offset),
            None => {
                self.end_here(found, offset);
                self.is_over = true;
                self.tell_before();
                Ok(())
            }
        }
    }

    fn resume(&mut self, resume: Resume, found: &Found, offset: u64) -> Result<(), ReadError> {
        let header = resume.header;
        let from = self.first_missing(&header);
        let until = header.first.max(from);
        if !resume.follows {
            self.joined.drop();
            self.start.drop_pending();
            self.next = Some(until);
        }
        if !resume.follows || found.is_packed_bad {
            let (segment, offset) = found.bad.unwrap_or((self.segments.list[self.place].number, offset));
            self.tell(Missing { records: from..until, segment, offset, why: Why::Corrupt });
        }
        while self.place < resume.place {
            self.pass_segment();
        }
        self.next.get_or_insert(until);
        self.limit = self.segments.limit(self.place)?;
        (self.expected, self.chain) = (header.first, Some(header.previous_crc));
        self.open(self.place, resume.offset, header.segment, header.index)
    }

    /// The first sequence that is missing before this block. Where nothing was read before, it is known only of the
    /// very first segment.
    fn first_missing(&self, header: &BlockHeader) -> u64 {
        let is_very_first = self.segments.list.first().is_some_and(|segment| segment.number == 0)
            && !self.segments.is_gone(0);
        self.next.unwrap_or(if is_very_first { 0 } else { header.first })
    }

    fn end_here(&mut self, found: &Found, offset: u64) {
        let next = self.next.unwrap_or(0);
        let here = (self.segments.list[self.place].number, offset);
        let pending = self.joined.pending().map_or(0, |_| self.joined.bytes.len() as u64);
        let bytes = found.bytes + pending;
        if found.is_proven {
            let ((segment, offset), until) = (found.bad.unwrap_or(here), next.max(found.durable));
            self.next = Some(until);
            self.tail.is_damaged = true;
            self.tell(Missing { records: next..until, segment, offset, why: Why::Corrupt });
        }
        if bytes > 0 && !found.is_packed_bad {
            let ((segment, offset), next) = (here, self.next.unwrap_or(0));
            self.tell(Missing { records: next..next, segment, offset, why: Why::Torn { bytes } });
        }
    }

    /// At the end, what was missing right before it is told, although no record came any more.
    fn tell_before(&mut self) {
        if let Some(missing) = self.before.take() {
            self.out.push_back(Out::Missing(missing));
        }
    }
}

impl parts::Joined {
    fn drop_pending(&mut self) {
        if self.pending().is_some() {
            self.drop();
        }
    }
}
