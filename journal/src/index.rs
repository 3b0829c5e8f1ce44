//! The index beside a closed segment: which time is where in it. It can be made anew at any time, and nothing is lost
//! without it but time.
//!
//! A header, and an entry for about every 256 KiB of blocks. All numbers are little-endian.
//!
//! | byte | what |
//! |---|---|
//! | 0 | [`MAGIC`] |
//! | 8 | CRC32C of all from byte 12 on |
//! | 12 | how many entries there are |
//! | 16 | identity of the segment, 16 bytes |
//! | 32 | number of the segment |
//! | 40 | how many bytes of it are blocks |
//! | 48 | receive time of the first record that begins in it; all ones if none does |
//! | 56 | the latest receive time in it |
//! | 64 | the entries, 32 bytes each: |
//! | +0 | offset of a block |
//! | +8 | sequence of the first record that begins in it, or would |
//! | +16 | the latest receive time of all records that begin in blocks before it |
//! | +24 | offset of the last block before it in which a `Start` record begins |

use crate::block::{u32_at, u64_at};
use crate::reader::{heads::Segments, parts};
use crate::store::{Folder, Segment, Store};
use std::io;

/// The first bytes of every index.
pub const MAGIC: [u8; 8] = *b"chartdI1";
const HEADER_BYTES: usize = 64;
const ENTRY_BYTES: usize = 32;
/// An entry for about every so many bytes of blocks.
const STEP_BYTES: u64 = 256 << 10;
/// A longer index is none.
pub(crate) const MAX_BYTES: u64 = 64 << 20;

/// What the index of a segment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// The segment's identity.
    pub identity: [u8; 16],
    /// Its number.
    pub number: u64,
    /// How many bytes of it are blocks: the rest is not used.
    pub used_bytes: u64,
    /// When the first record that begins in it was received. None if none does.
    pub first_ns: Option<u64>,
    /// When the latest was received; 0 if none begins in it.
    pub newest_ns: u64,
    entries: Vec<Entry>,
}

/// A place in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Where a block is.
    pub(crate) offset: u64,
    /// Its first sequence.
    pub(crate) first: u64,
    /// The latest time of the records before it.
    pub(crate) before_ns: u64,
    /// Where the last block before it is that tells the feeds.
    pub(crate) start: u64,
}

/// Why bytes are no index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadIndex {
    /// It does not begin as one, or is too short or too long for what it says.
    #[error("it is no index, or not all of one: remove it, and it is made anew")]
    Shape,
    /// Its bytes are not those that were written.
    #[error("its checksum is not that of its bytes: remove it, and it is made anew")]
    Checksum,
}

impl Index {
    /// Makes the index of a segment from its blocks. None if it does not begin with one.
    pub fn of(store: &dyn Store, segment: &Segment) -> io::Result<Option<Self>> {
        let one = Segments::of_one(store, *segment);
        let Some(mut window) = one.open(0).map_err(io::Error::other)? else { return Ok(None) };
        let mut index: Option<Self> = None;
        let (mut offset, mut chain, mut blocks, mut start) = (0, None, 0, 0);
        while let Ok((header, payload)) = window.block(offset)? {
            let identity = index.as_ref().map_or(header.segment, |index| index.identity);
            let belongs = header.number == segment.number && header.segment == identity;
            let follows = header.index == blocks && chain.is_none_or(|crc| crc == header.previous_crc);
            let survey = parts::survey(window.bytes(), &header, &payload).filter(|_| belongs && follows);
            let Some(survey) = survey else { break };
            let index = index.get_or_insert_with(|| Self::empty(segment.number, identity));
            if index.entries.last().is_none_or(|last| offset - last.offset >= STEP_BYTES) {
                let before_ns = index.newest_ns;
                index.entries.push(Entry { offset, first: header.first, before_ns, start });
            }
            index.first_ns = index.first_ns.or(survey.first_ns);
            index.newest_ns = index.newest_ns.max(survey.newest_ns.unwrap_or(0));
            if survey.has_start {
                start = offset;
            }
            offset += header.block_bytes() as u64;
            index.used_bytes = offset;
            (chain, blocks) = (Some(header.crc), blocks + 1);
        }
        Ok(index)
    }

    fn empty(number: u64, identity: [u8; 16]) -> Self {
        Self { identity, number, used_bytes: 0, first_ns: None, newest_ns: 0, entries: Vec::new() }
    }

    /// The entry from which to read what was received at `from_ns` or later: the last but one before that time, so
    /// that what is missing right before it is still seen. None where reading begins at the start.
    pub(crate) fn before(&self, from_ns: u64) -> Option<Entry> {
        let place = self.entries.partition_point(|entry| entry.before_ns < from_ns);
        place.checked_sub(2).filter(|place| *place > 0).map(|place| self.entries[place])
    }

    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.entries.len() * ENTRY_BYTES);
        bytes.extend(MAGIC);
        bytes.extend([0; 4]);
        bytes.extend((self.entries.len() as u32).to_le_bytes());
        bytes.extend(self.identity);
        let first_ns = self.first_ns.unwrap_or(u64::MAX);
        for word in [self.number, self.used_bytes, first_ns, self.newest_ns] {
            bytes.extend(word.to_le_bytes());
        }
        for entry in &self.entries {
            for word in [entry.offset, entry.first, entry.before_ns, entry.start] {
                bytes.extend(word.to_le_bytes());
            }
        }
        let crc = crc32c::crc32c(&bytes[12..]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads what [`Index::encode`] made.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadIndex> {
        if bytes.len() < HEADER_BYTES || bytes[..8] != MAGIC {
            return Err(BadIndex::Shape);
        }
        let count = u32_at(bytes, 12) as usize;
        if count.checked_mul(ENTRY_BYTES) != Some(bytes.len() - HEADER_BYTES) {
            return Err(BadIndex::Shape);
        }
        if crc32c::crc32c(&bytes[12..]) != u32_at(bytes, 8) {
            return Err(BadIndex::Checksum);
        }
        let mut identity = [0; 16];
        identity.copy_from_slice(&bytes[16..32]);
        let entries = bytes[HEADER_BYTES..].chunks_exact(ENTRY_BYTES).map(|entry| Entry {
            offset: u64_at(entry, 0),
            first: u64_at(entry, 8),
            before_ns: u64_at(entry, 16),
            start: u64_at(entry, 24),
        });
        Ok(Self {
            identity,
            number: u64_at(bytes, 32),
            used_bytes: u64_at(bytes, 40),
            first_ns: Some(u64_at(bytes, 48)).filter(|ns| *ns != u64::MAX),
            newest_ns: u64_at(bytes, 56),
            entries: entries.collect(),
        })
    }
}

/// Makes the index of a closed segment, and puts it beside it. None if the segment does not begin with a block, or is
/// not there.
pub fn rebuild_index(folder: &Folder, number: u64) -> io::Result<Option<Index>> {
    let Some(segment) = folder.list()?.into_iter().find(|segment| segment.number == number) else {
        return Ok(None);
    };
    let index = Index::of(folder, &segment)?;
    if let Some(index) = &index {
        folder.put_index(number, &index.encode())?;
    }
    Ok(index)
}
