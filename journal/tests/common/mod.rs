//! Journals made by hand, for what a writer would never write, and a store in memory that breaks when it is told to.

#![allow(dead_code, reason = "Each test uses what it needs.")]

use journal::block::{self, BlockHeader, CONTINUED, LAST};
use journal::record::{self, Header, Kind, MORE, REPEATED, Stamp};
use journal::{Item, Missing, Reader, Segment, Source, Span, Store, Why};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;

/// What a reader gives of a record.
pub(crate) type Got = (u64, Header, Vec<u8>);

/// Segments in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    pub(crate) segments: RefCell<BTreeMap<u64, Vec<u8>>>,
    /// Which are flushed.
    pub(crate) flushed: RefCell<BTreeMap<u64, usize>>,
    /// How many changes succeed before all fail.
    pub(crate) changes_left: Cell<Option<usize>>,
    pub(crate) bytes_read: std::rc::Rc<Cell<u64>>,
}

struct Bytes {
    bytes: Vec<u8>,
    read: std::rc::Rc<Cell<u64>>,
}

impl Source for Bytes {
    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let begin = (offset as usize).min(self.bytes.len());
        let len = out.len().min(self.bytes.len() - begin);
        out[..len].copy_from_slice(&self.bytes[begin..begin + len]);
        self.read.set(self.read.get() + len as u64);
        Ok(len)
    }

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }
}

impl Memory {
    fn change(&self) -> io::Result<()> {
        match self.changes_left.get() {
            Some(0) => Err(io::Error::other("broken off")),
            left => {
                self.changes_left.set(left.map(|left| left - 1));
                Ok(())
            }
        }
    }
}

impl Store for Memory {
    fn list(&self) -> io::Result<Vec<Segment>> {
        let segment = |(number, bytes): (&u64, &Vec<u8>)| Segment {
            number: *number,
            is_packed: false,
            bytes: bytes.len() as u64,
        };
        Ok(self.segments.borrow().iter().map(segment).collect())
    }

    fn open(&self, segment: &Segment) -> io::Result<Box<dyn Source>> {
        let bytes = self.segments.borrow()[&segment.number].clone();
        Ok(Box::new(Bytes { bytes, read: self.bytes_read.clone() }))
    }

    fn cut(&self, segment: &Segment, len: u64) -> io::Result<()> {
        self.change()?;
        self.segments.borrow_mut().get_mut(&segment.number).unwrap().truncate(len as usize);
        Ok(())
    }

    fn remove(&self, segment: &Segment) -> io::Result<()> {
        self.change()?;
        self.segments.borrow_mut().remove(&segment.number);
        Ok(())
    }

    fn flush(&self, segment: &Segment) -> io::Result<()> {
        self.change()?;
        let len = self.segments.borrow()[&segment.number].len();
        self.flushed.borrow_mut().insert(segment.number, len);
        Ok(())
    }
}

/// Makes a journal block by block. All that can be told wrongly can be changed before [`Build::seal`].
#[derive(Debug, Clone)]
pub(crate) struct Build {
    pub(crate) segments: BTreeMap<u64, Vec<u8>>,
    pub(crate) number: u64,
    pub(crate) identity: [u8; 16],
    pub(crate) index: u32,
    pub(crate) previous_crc: u32,
    /// The sequence of the next record.
    pub(crate) next: u64,
    /// What the next block says is durable.
    pub(crate) durable: u64,
    /// The time of the next record; it rises with each.
    pub(crate) real_ns: u64,
    pub(crate) step_ns: u64,
    /// Where each block begins and ends: segment, begin, end.
    pub(crate) blocks: Vec<(u64, usize, usize)>,
    /// All records, as they should be read.
    pub(crate) expected: Vec<Got>,
    payload: Vec<u8>,
    first: u64,
    count: u32,
    flags: u32,
    block_ns: Option<u64>,
}

pub(crate) fn header(kind: Kind, real_ns: u64, flags: u8) -> Header {
    Header { kind, flags, line: 3, feed: 1, generation: 1, stamp: Stamp { real_ns, mono_ns: real_ns / 2 } }
}

impl Default for Build {
    fn default() -> Self {
        Self {
            segments: BTreeMap::new(),
            number: 0,
            identity: [0; 16],
            index: 0,
            previous_crc: 0,
            next: 0,
            durable: 0,
            real_ns: 1_000,
            step_ns: 10,
            blocks: Vec::new(),
            expected: Vec::new(),
            payload: Vec::new(),
            first: 0,
            count: 0,
            flags: 0,
            block_ns: None,
        }
    }
}

impl Build {
    /// A journal with a segment, and a record that tells the feeds.
    pub(crate) fn new() -> Self {
        let mut build = Self::default();
        build.begin_segment(0);
        build.record(Kind::Start, b"{\"feeds\":[]}");
        build
    }

    /// What follows goes to this segment.
    pub(crate) fn begin_segment(&mut self, number: u64) {
        self.number = number;
        self.identity = [number as u8 + 1; 16];
        self.index = 0;
        self.segments.insert(number, Vec::new());
    }

    /// The next segment, with the record that tells the feeds.
    pub(crate) fn next_segment(&mut self) {
        self.begin_segment(self.number + 1);
        self.repeat(b"{\"feeds\":[]}", 0, false);
    }

    pub(crate) fn put(&mut self, header: Header, payload: &[u8]) {
        self.block_ns.get_or_insert(header.stamp.real_ns);
        self.payload.extend(header.encode(payload.len()));
        self.payload.extend(payload);
        self.payload.resize(self.payload.len().next_multiple_of(8), 0);
    }

    /// A repeated record, or a part of one.
    pub(crate) fn repeat(&mut self, payload: &[u8], more: u8, is_rest: bool) {
        if is_rest {
            self.flags |= CONTINUED;
        }
        self.put(header(Kind::Start, 500, REPEATED | more), payload);
    }

    pub(crate) fn record(&mut self, kind: Kind, payload: &[u8]) {
        let header = header(kind, self.real_ns, 0);
        self.put(header, payload);
        self.expected.push((self.next, header, payload.to_vec()));
        self.begun();
    }

    pub(crate) fn frame(&mut self, len: usize) {
        let payload: Vec<u8> = (0..len).map(|byte| (byte as u64 * 7 + self.next * 13) as u8).collect();
        self.record(Kind::Frame, &payload);
    }

    fn begun(&mut self) {
        self.next += 1;
        self.count += 1;
        self.real_ns += self.step_ns;
    }

    /// A record in as many parts as there are lengths, with the blocks between them sealed by `seal`.
    pub(crate) fn parted(&mut self, lens: &[usize], mut seal: impl FnMut(&mut Self, usize)) {
        let mut all = Vec::new();
        let (real_ns, sequence) = (self.real_ns, self.next);
        for (place, len) in lens.iter().enumerate() {
            let payload: Vec<u8> = (0..*len).map(|byte| (byte * 3 + place * 101) as u8).collect();
            let more = if place + 1 < lens.len() { MORE } else { 0 };
            if place > 0 && self.payload.is_empty() {
                self.flags |= CONTINUED;
            }
            self.put(header(Kind::Book, real_ns, more), &payload);
            all.extend(payload);
            if place == 0 {
                self.begun();
            }
            if more != 0 {
                seal(self, place);
            }
        }
        self.expected.push((sequence, header(Kind::Book, real_ns, 0), all));
    }

    /// The rest of a record, after so many bytes of it, in two parts.
    pub(crate) fn rest(&mut self, of: &Got, from: usize) {
        let middle = (from + of.2.len()) / 2 / 8 * 8;
        self.flags |= CONTINUED;
        self.put(Header { flags: MORE, ..of.1 }, &of.2[from..middle]);
        self.seal();
        self.flags |= CONTINUED;
        self.put(of.1, &of.2[middle..]);
    }

    /// Ends the block.
    pub(crate) fn seal(&mut self) {
        let header = BlockHeader {
            crc: 0,
            payload_bytes: self.payload.len() as u32,
            segment: self.identity,
            first: self.first,
            count: self.count,
            flags: self.flags,
            durable: self.durable,
            previous_crc: self.previous_crc,
            index: self.index,
            real_ns: self.block_ns.unwrap_or(self.real_ns),
            number: self.number,
        };
        let mut block = vec![0; block::padded(self.payload.len())];
        block[block::HEADER_BYTES..][..self.payload.len()].copy_from_slice(&self.payload);
        let (len, crc) = block::seal(&mut block, &header);
        let segment = self.segments.get_mut(&self.number).unwrap();
        self.blocks.push((self.number, segment.len(), segment.len() + len));
        segment.extend(block);
        self.payload.clear();
        (self.first, self.count, self.flags, self.block_ns) = (self.next, 0, 0, None);
        self.previous_crc = crc;
        self.index += 1;
    }

    /// Ends the block, as one that knows that all before it is durable.
    pub(crate) fn seal_durable(&mut self) {
        self.durable = self.first;
        self.seal();
    }

    /// Ends the run in order.
    pub(crate) fn finish(&mut self) {
        if !self.payload.is_empty() {
            self.seal();
        }
        self.flags |= LAST;
        self.seal_durable();
    }

    /// As if what follows were written again from this sequence on, after the block with this checksum.
    pub(crate) fn go_back(&mut self, next: u64, previous_crc: u32) {
        self.next = next;
        self.first = next;
        self.previous_crc = previous_crc;
        self.payload.clear();
        (self.count, self.flags, self.block_ns) = (0, 0, None);
        self.expected.retain(|(sequence, ..)| *sequence < next);
    }

    /// Blank pages at the end of the segment.
    pub(crate) fn blank(&mut self, pages: usize) {
        let segment = self.segments.get_mut(&self.number).unwrap();
        segment.resize(segment.len() + pages * 4096, 0);
    }

    pub(crate) fn store(&self) -> Memory {
        Memory { segments: RefCell::new(self.segments.clone()), ..Memory::default() }
    }
}

/// A journal of a few segments with blocks of a few records each, all durable but for the last two blocks.
pub(crate) fn journal(segments: u64, blocks: usize, frames: usize) -> Build {
    let mut build = Build::new();
    for number in 0..segments {
        if number > 0 {
            build.next_segment();
        }
        for block in 0..blocks {
            for frame in 0..frames {
                build.frame(50 + (block * 37 + frame * 211) % 900);
            }
            build.seal();
            build.durable = build.blocks_first(2);
        }
    }
    build
}

impl Build {
    /// The first sequence of the last block but so many.
    fn blocks_first(&self, back: usize) -> u64 {
        let Some(place) = self.blocks.len().checked_sub(back) else { return 0 };
        let (number, begin, _) = self.blocks[place];
        block::peek(&self.segments[&number][begin..]).unwrap().first
    }
}

/// All that a reader gives.
pub(crate) fn read(store: &dyn Store, span: Span) -> (Vec<Got>, Vec<Missing>) {
    let (mut records, mut missing) = (Vec::new(), Vec::new());
    let mut reader = Reader::new(store, span).unwrap();
    while let Some(item) = reader.next().unwrap() {
        match item {
            Item::Record(record) => records.push((record.sequence, record.header, record.payload.to_vec())),
            Item::Missing(found) => missing.push(found),
        }
    }
    (records, missing)
}

/// Without all their bytes on the screen.
pub(crate) fn assert_same(got: &[Got], expected: &[Got]) {
    let sequences = |records: &[Got]| records.iter().map(|(sequence, ..)| *sequence).collect::<Vec<_>>();
    assert_eq!(sequences(got), sequences(expected));
    for (got, expected) in got.iter().zip(expected) {
        assert!(got == expected, "record {} is not as it was written", got.0);
    }
}

/// The records alone, without one that is repeated.
pub(crate) fn own(records: &[Got]) -> Vec<Got> {
    records.iter().filter(|(_, header, _)| header.flags & REPEATED == 0).cloned().collect()
}

/// Length of a record's header, for those who reckon.
pub(crate) const RECORD_BYTES: usize = record::HEADER_BYTES;

/// What a reader gives, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Given {
    Record(Got),
    Missing(Missing),
}

pub(crate) fn items(store: &dyn Store) -> Vec<Given> {
    let mut items = Vec::new();
    let mut reader = Reader::new(store, Span::ALL).unwrap();
    while let Some(item) = reader.next().unwrap() {
        items.push(match item {
            Item::Record(record) => Given::Record((record.sequence, record.header, record.payload.to_vec())),
            Item::Missing(missing) => Given::Missing(missing),
        });
    }
    items
}

/// Each record is as it was written, in its order; each that does not come was told to be missing, in its place, or is
/// behind the end that was told. Returns what was told.
pub(crate) fn assert_honest(store: &dyn Store, expected: &[Got], what: &str) -> Vec<Missing> {
    let (mut next, mut told) = (0, Vec::<Missing>::new());
    let mut may_repeat = true;
    for item in items(store) {
        match item {
            Given::Record(got) if got.1.flags & REPEATED != 0 => {
                assert!(std::mem::take(&mut may_repeat), "{what}: {told:?}");
                assert_eq!(got.0, next, "{what}: a repeated record has the sequence of the next one");
            }
            Given::Record(got) => {
                may_repeat &= got.1.kind != Kind::Start && next > 0;
                assert_eq!(got.0, next, "{what}: {told:?}");
                assert!(expected.get(next as usize) == Some(&got), "{what}: record {next} is wrong");
                next += 1;
            }
            Given::Missing(missing) => {
                assert!(!told.iter().any(|told| told.why != Why::Corrupt), "{what}: {told:?}");
                assert_eq!(missing.records.start, next, "{what}: {missing:?}");
                if missing.why != Why::Corrupt {
                    assert!(missing.records.is_empty(), "{what}");
                }
                next = missing.records.end;
                may_repeat |= !missing.records.is_empty();
                told.push(missing);
            }
        }
    }
    let is_told = told.last().is_some_and(|last| last.records == (next..next));
    assert!(next == expected.len() as u64 || is_told, "{what}: it ends at {next}: {told:?}");
    told
}
