//! The part of a segment that is in memory: about a megabyte of it, and always a whole block.
//!
//! What holds: memory is bounded whatever the segment says. What a packed segment cannot give back, since its frame is
//! damaged, is bytes of ones here, which no checksum will prove.

use crate::block::{self, BadBlock, BlockHeader, HEADER_BYTES, MAX_BLOCK_BYTES, PAGE_BYTES};
use crate::store::Source;
use std::io::{self, ErrorKind};
use std::ops::Range;

/// How much is read at once: more and more, as long as it goes on.
const FIRST_CHUNK_BYTES: usize = 64 << 10;
const CHUNK_BYTES: usize = 1 << 20;
/// What is left of a block, and a chunk.
const CAPACITY_BYTES: usize = MAX_BLOCK_BYTES + CHUNK_BYTES;
static BLANK_PAGE: [u8; PAGE_BYTES] = [0; PAGE_BYTES];

/// See above.
pub(crate) struct Window {
    source: Box<dyn Source>,
    bytes: Vec<u8>,
    base: u64,
    len: usize,
    chunk: usize,
}

struct Nothing;

impl Source for Nothing {
    fn read_at(&mut self, _offset: u64, _out: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }

    fn len(&self) -> u64 {
        0
    }
}

/// A block that was proven, and where its records are in the window.
pub(crate) type Proven = (BlockHeader, Range<usize>);

impl Window {
    pub(crate) fn new(source: Box<dyn Source>) -> Self {
        Self { source, bytes: Vec::new(), base: 0, len: 0, chunk: FIRST_CHUNK_BYTES }
    }

    /// Of a segment that is not there any more.
    pub(crate) fn empty() -> Self {
        Self::new(Box::new(Nothing))
    }

    /// Has all be read anew: it may have been written meanwhile.
    pub(crate) fn forget(&mut self) {
        (self.base, self.len) = (0, 0);
    }

    /// How long the segment is, unpacked.
    pub(crate) fn source_bytes(&self) -> u64 {
        self.source.len()
    }

    /// What is in memory. It stays while no other place is asked for.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Proves the block at `offset`.
    pub(crate) fn block(&mut self, offset: u64) -> io::Result<Result<Proven, BadBlock>> {
        let (at, there) = self.load(offset, HEADER_BYTES)?;
        let bytes = &self.bytes[at..at + there];
        if there < HEADER_BYTES {
            let is_blank = bytes.iter().all(|byte| *byte == 0);
            return Ok(Err(if is_blank { BadBlock::Blank } else { BadBlock::Length(there as u32) }));
        }
        let wanted = match block::peek(bytes) {
            Ok(header) => header.block_bytes(),
            Err(bad) => return Ok(Err(bad)),
        };
        let (at, there) = self.load(offset, wanted)?;
        Ok(block::open(&self.bytes[at..at + there]).map(|(header, payload)| {
            let begin = at + HEADER_BYTES;
            (header, begin..begin + payload.len())
        }))
    }

    /// Whether the page at `offset`, or what is left of it at the segment's end, is blank.
    pub(crate) fn is_blank(&mut self, offset: u64) -> io::Result<bool> {
        let (at, there) = self.load(offset, PAGE_BYTES)?;
        let len = there.min(PAGE_BYTES);
        Ok(self.bytes[at..at + len] == BLANK_PAGE[..len])
    }

    /// The first page from `offset` on that is not blank.
    pub(crate) fn first_written(&mut self, mut offset: u64) -> io::Result<Option<u64>> {
        while offset < self.source.len() {
            if !self.is_blank(offset)? {
                return Ok(Some(offset));
            }
            offset += PAGE_BYTES as u64;
        }
        Ok(None)
    }

    /// Has `want` bytes from `offset` on in memory, if so many are there. Returns where they are, and how many.
    fn load(&mut self, offset: u64, want: usize) -> io::Result<(usize, usize)> {
        let end = self.base + self.len as u64;
        let kept = if (self.base..end).contains(&offset) { (end - offset) as usize } else { 0 };
        if kept >= want || (kept > 0 && end >= self.source.len()) {
            return Ok((self.len - kept, kept));
        }
        let goes_on = kept > 0 || offset == end && self.len > 0;
        self.chunk = if goes_on { CHUNK_BYTES.min(self.chunk * 2) } else { FIRST_CHUNK_BYTES };
        self.bytes.copy_within(self.len - kept..self.len, 0);
        (self.base, self.len) = (offset, kept);
        let until = CAPACITY_BYTES.min(kept + self.chunk).max(want);
        if self.bytes.len() < until {
            self.bytes.resize(until, 0);
        }
        self.fill(until)?;
        Ok((0, self.len))
    }

    fn fill(&mut self, until: usize) -> io::Result<()> {
        while self.len < until {
            let (from, place) = (self.base + self.len as u64, self.len);
            match self.source.read_at(from, &mut self.bytes[place..until]) {
                Ok(0) => break,
                Ok(bytes) => self.len += bytes.min(until - place),
                Err(error) if error.kind() == ErrorKind::InvalidData => return self.fill_by_pages(until),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what can be read where some cannot.
    fn fill_by_pages(&mut self, until: usize) -> io::Result<()> {
        while self.len < until {
            let (from, place) = (self.base + self.len as u64, self.len);
            let left = self.source.len().saturating_sub(from).min(PAGE_BYTES as u64) as usize;
            let page = place..until.min(place + left);
            if page.is_empty() {
                break;
            }
            match self.source.read_at(from, &mut self.bytes[page.clone()]) {
                Ok(0) => break,
                Ok(bytes) => self.len += bytes.min(page.len()),
                Err(error) if error.kind() == ErrorKind::InvalidData => {
                    self.bytes[page.clone()].fill(0xff);
                    self.len += page.len();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
