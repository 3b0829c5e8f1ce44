//! The records of a block, and those that go over several.
//!
//! What holds: although its checksum has proven it, a block's records are believed only if they fill it exactly and
//! are as many as it says.

use crate::block::{BlockHeader, CONTINUED};
use crate::record::{HEADER_BYTES, Header, Kind, MAX_PAYLOAD_BYTES, MORE, REPEATED, padded};
use std::ops::Range;

/// A record, or a part of it, in a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) header: Header,
    pub(crate) body: Range<usize>,
    /// Where the next one is.
    pub(crate) end: usize,
}

/// What the records of a block are, seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Survey {
    /// Whether the first that is not repeated is the rest of one that began before.
    pub(crate) continues: bool,
    /// Whether the first of all, which is repeated, is the rest of one that began before.
    pub(crate) repeats_on: bool,
    /// Whether a record that tells the feeds begins in it.
    pub(crate) has_start: bool,
    /// Receive time of the first record that begins in it.
    pub(crate) first_ns: Option<u64>,
    /// The latest receive time of those that begin in it.
    pub(crate) newest_ns: Option<u64>,
}

impl Part {
    /// The part that begins at `at` in a block that ends at `end`.
    pub(crate) fn read(bytes: &[u8], at: usize, end: usize) -> Option<Self> {
        let begin = at.checked_add(HEADER_BYTES).filter(|begin| *begin <= end)?;
        let (header, len) = Header::decode(bytes.get(at..begin)?.try_into().ok()?)?;
        if len > end - begin || padded(len) > end - at {
            return None;
        }
        Some(Self { header, body: begin..begin + len, end: at + padded(len) })
    }

    pub(crate) fn is_repeated(&self) -> bool {
        self.header.flags & REPEATED != 0
    }

    pub(crate) fn goes_on(&self) -> bool {
        self.header.flags & MORE != 0
    }
}

/// Looks through a block's records. None if they are not as they must be.
pub(crate) fn survey(bytes: &[u8], block: &BlockHeader, payload: &Range<usize>) -> Option<Survey> {
    block.first.checked_add(u64::from(block.count))?;
    let is_continued = block.flags & CONTINUED != 0;
    let mut survey = Survey::default();
    let (mut at, mut own) = (payload.start, 0u64);
    while at < payload.end {
        let part = Part::read(bytes, at, payload.end)?;
        let is_first = at == payload.start;
        at = part.end;
        if part.goes_on() && at < payload.end || part.is_repeated() && part.header.kind != Kind::Start {
            return None;
        }
        if part.is_repeated() {
            survey.repeats_on |= is_first && is_continued;
            survey.has_start |= !(is_first && is_continued);
            continue;
        }
        own += 1;
        let real_ns = part.header.stamp.real_ns;
        // Whether the first of its own is a rest shows only in the end.
        if own == 1 && is_first && is_continued {
            continue;
        }
        survey.has_start |= part.header.kind == Kind::Start;
        survey.first_ns = survey.first_ns.or(Some(real_ns));
        survey.newest_ns = survey.newest_ns.max(Some(real_ns));
    }
    survey.continues = own == u64::from(block.count) + 1;
    let is_plausible = survey.continues || own == u64::from(block.count);
    // The flag speaks of the very first part; behind a repeated record the number alone tells.
    let begins_own = survey.continues || !is_continued || survey.repeats_on;
    let is_told = is_continued || !survey.continues || begins_repeated(bytes, payload);
    (is_plausible && begins_own && is_told).then_some(survey)
}

fn begins_repeated(bytes: &[u8], payload: &Range<usize>) -> bool {
    Part::read(bytes, payload.start, payload.end).is_some_and(|part| part.is_repeated())
}

/// A record that is put together, or kept.
#[derive(Debug, Default)]
pub(crate) struct Joined {
    /// What it says of itself, and its sequence. None if there is none.
    pub(crate) of: Option<(Header, u64)>,
    pub(crate) bytes: Vec<u8>,
    /// Whether it ends here.
    pub(crate) is_whole: bool,
}

impl Joined {
    /// Begins with a first part, or all of it.
    pub(crate) fn begin(&mut self, header: Header, sequence: u64, bytes: &[u8]) {
        self.is_whole = header.flags & MORE == 0;
        self.of = Some((Header { flags: header.flags & !MORE, ..header }, sequence));
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
    }

    /// Goes on with the next part. False if it is none of this record's, or too long; then there is none any more.
    pub(crate) fn go_on(&mut self, header: Header, bytes: &[u8]) -> bool {
        let is_same =
            self.of.is_some_and(|(begun, _)| Header { flags: header.flags & !MORE, ..header } == begun);
        if !is_same || self.is_whole || self.bytes.len() + bytes.len() > MAX_PAYLOAD_BYTES {
            self.drop();
            return false;
        }
        self.bytes.extend_from_slice(bytes);
        self.is_whole = header.flags & MORE == 0;
        true
    }

    /// The sequence of one that is not whole yet.
    pub(crate) fn pending(&self) -> Option<u64> {
        self.of.filter(|_| !self.is_whole).map(|(_, sequence)| sequence)
    }

    pub(crate) fn drop(&mut self) {
        self.of = None;
        self.is_whole = false;
    }
}
