//! What comes behind a place where no block is that goes on: the next block that counts, or the torn end.
//!
//! What holds: what lies between is called corrupt only if something proves that it was durable: a later block says so,
//! or it is in a packed segment, since only whole ones are packed.

use crate::block::{BlockHeader, PAGE_BYTES};
use crate::reader::heads::Segments;
use crate::reader::{ReadError, parts};

/// Where the search begins, and what is known there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lost {
    pub(crate) place: usize,
    pub(crate) offset: u64,
    /// The identity of that segment, if a block of it was read.
    pub(crate) identity: Option<[u8; 16]>,
    /// How many blocks of that segment were read, or counted.
    pub(crate) index: u32,
    /// The first sequence that was not read. None if nothing was read.
    pub(crate) next: Option<u64>,
    /// The sequence with which the next block would begin.
    pub(crate) expected: u64,
    /// CRC of the last block that counts, or of one behind it that does not.
    pub(crate) chains: [Option<u32>; 2],
    /// The highest sequence that a block has said to be durable.
    pub(crate) durable: u64,
}

/// A block at which reading can go on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resume {
    pub(crate) place: usize,
    pub(crate) offset: u64,
    pub(crate) header: BlockHeader,
    /// Whether it follows the last block that was read, so that nothing is missing.
    pub(crate) follows: bool,
}

/// What was found.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Found {
    /// Where reading goes on. None at the end.
    pub(crate) resume: Option<Resume>,
    /// Whether what is missing was durable.
    pub(crate) is_proven: bool,
    /// The first bytes before that which are not what was written, if there are any: segment and offset.
    pub(crate) bad: Option<(u64, u64)>,
    /// Whether such bytes are in a packed segment.
    pub(crate) is_packed_bad: bool,
    /// How many bytes were written there.
    pub(crate) bytes: u64,
    /// The highest sequence that is durable, as far as was read.
    pub(crate) durable: u64,
}

/// Looks from there on, to the end if need be.
pub(crate) fn search(segments: &mut Segments<'_>, lost: &Lost) -> Result<Found, ReadError> {
    let mut found =
        Found { durable: lost.durable, is_proven: lost.is_below(lost.durable), ..Found::default() };
    for place in lost.place..segments.list.len() {
        if found.is_settled() {
            break;
        }
        search_segment(segments, lost, place, &mut found)?;
    }
    if !found.is_proven && found.resume.is_some_and(|resume| !resume.follows) {
        found.resume = None;
    }
    Ok(found)
}

impl Found {
    fn is_settled(&self) -> bool {
        self.resume.is_some_and(|resume| resume.follows || self.is_proven)
    }
}

impl Lost {
    fn is_below(&self, durable: u64) -> bool {
        durable > self.next.unwrap_or(0)
    }

    /// Whether the block is one at which reading could go on.
    fn admits(&self, header: &BlockHeader, limit: u64) -> bool {
        let next = self.next.unwrap_or(0);
        header.first < limit && (header.first >= next || header.end() > next)
    }

    fn is_followed_by(&self, header: &BlockHeader) -> bool {
        if self.next.is_none() && self.chains == [None; 2] {
            // The very first block there can be: what is before it was poisoned, and holds nothing that counts.
            return header.index == 0 && header.first == 0 && header.previous_crc == 0;
        }
        let begins = header.first == self.expected || Some(header.first) == self.next;
        header.index == 0 && self.next.is_some() && begins && self.chains.contains(&Some(header.previous_crc))
    }
}

fn search_segment(
    segments: &mut Segments<'_>,
    lost: &Lost,
    place: usize,
    found: &mut Found,
) -> Result<(), ReadError> {
    let segment = segments.list[place];
    let (mut offset, first_index) = if place == lost.place { (lost.offset, lost.index) } else { (0, 0) };
    let mut identity = if place == lost.place { lost.identity } else { None };
    identity = identity.or(segments.head(place)?.map(|head| head.identity));
    let limit = segments.limit(place)?.below;
    let failed = |source| ReadError::Io { segment: segment.number, source };
    let Some(mut window) = segments.open(place)? else {
        found.note_bad(segment.number, 0);
        found.is_packed_bad = true;
        found.is_proven = true;
        return Ok(());
    };
    let (begin, mut written) = (offset, offset);
    while offset < window.source_bytes() && !found.is_settled() {
        if window.is_blank(offset).map_err(failed)? {
            offset += PAGE_BYTES as u64;
            continue;
        }
        let block = window.block(offset).map_err(failed)?.ok().filter(|(header, payload)| {
            header.number == segment.number
                && identity.is_none_or(|identity| identity == header.segment)
                && header.index >= first_index
                && u64::from(header.index) <= offset / PAGE_BYTES as u64
                && parts::survey(window.bytes(), header, payload).is_some()
        });
        let Some((header, _)) = block else {
            found.note_bad(segment.number, offset);
            // Only whole segments are packed; what is not read of one, because a later one goes before, may be bad.
            found.is_packed_bad |= segment.is_packed && lost.next.is_none_or(|next| next < limit);
            found.is_proven |= found.is_packed_bad;
            offset += PAGE_BYTES as u64;
            written = offset.min(window.source_bytes());
            continue;
        };
        identity = Some(header.segment);
        found.durable = found.durable.max(header.durable);
        found.is_proven |= lost.is_below(found.durable);
        // One that follows counts up to where a later one follows it, even if both begin with the same sequence.
        let follows = lost.is_followed_by(&header);
        if found.resume.is_none() && (follows || lost.admits(&header, limit)) {
            found.resume = Some(Resume { place, offset, header, follows });
        }
        offset += header.block_bytes() as u64;
        written = offset;
    }
    found.bytes += written - begin;
    Ok(())
}

impl Found {
    fn note_bad(&mut self, segment: u64, offset: u64) {
        if self.resume.is_none() {
            self.bad = self.bad.or(Some((segment, offset)));
        }
    }
}
