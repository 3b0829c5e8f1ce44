//! Journals on disk, made record by record as the writer makes them: blocks that name each other, segments that begin
//! with the start record once more.

use journal::block::{self, BlockHeader, LAST};
use journal::record::{Header, Kind, REPEATED, Stamp};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// When the first record is received: 2024-08-08T00:00:00Z.
pub(crate) const BEGIN_NS: u64 = 1_723_075_200_000_000_000;
/// From record to record.
pub(crate) const STEP_NS: u64 = 1_000_000;
/// What a block holds at most.
const BLOCK_BYTES: usize = 64 << 10;

/// A journal in a folder of its own.
pub(crate) struct Journal {
    pub(crate) dir: TempDir,
    segment: Vec<u8>,
    number: u64,
    index: u32,
    previous_crc: u32,
    payload: Vec<u8>,
    first: u64,
    count: u32,
    pub(crate) next: u64,
    generation: u32,
    start: Vec<u8>,
    /// When the next record is received.
    pub(crate) real_ns: u64,
    /// Where blocks are: segment, begin, end, first record.
    pub(crate) blocks: Vec<(u64, usize, usize, u64)>,
}

/// An instrument as a start record tells it.
pub(crate) fn instrument(symbol: &str, price_digits: u8, qty_digits: u8) -> Value {
    json!({"symbol": symbol, "price_digits": price_digits, "qty_digits": qty_digits, "timeframes": ["1m"]})
}

/// A start record.
pub(crate) fn start(run: &str, generation: u32, feeds: &[(&str, Vec<Value>)]) -> Value {
    let feed = |(place, (venue, instruments)): (usize, &(&str, Vec<Value>))| {
        let goes_on = (generation > 1).then_some(place);
        json!({"venue": venue, "instruments": instruments, "goes_on": goes_on})
    };
    let feeds: Vec<_> = feeds.iter().enumerate().map(feed).collect();
    json!({"run": run, "generation": generation, "version": "0.1.0", "boot_id": "b", "feeds": feeds})
}

impl Journal {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            segment: Vec::new(),
            number: 0,
            index: 0,
            previous_crc: 0,
            payload: Vec::new(),
            first: 0,
            count: 0,
            next: 0,
            generation: 0,
            start: Vec::new(),
            real_ns: BEGIN_NS,
            blocks: Vec::new(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A run or a configuration begins.
    pub(crate) fn start(&mut self, start: &Value) {
        self.generation = start["generation"].as_u64().unwrap() as u32;
        self.start = start.to_string().into_bytes();
        let payload = self.start.clone();
        self.record(Kind::Start, 0, 0, &payload);
    }

    pub(crate) fn frame(&mut self, feed: u16, line: u8, frame: &[u8]) {
        self.record(Kind::Frame, feed, line, frame);
    }

    /// Records that found no room.
    pub(crate) fn gap(&mut self, records: u64, feeds: u64) {
        let words = [records, records * 100, feeds, self.real_ns - 500, self.real_ns - 100];
        let payload: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.record(Kind::Gap, 0, 0, &payload);
    }

    pub(crate) fn record(&mut self, kind: Kind, feed: u16, line: u8, payload: &[u8]) {
        if !self.payload.is_empty() && self.payload.len() + payload.len() + 48 > BLOCK_BYTES {
            self.seal(0);
        }
        self.put(kind, 0, feed, line, payload);
        (self.next, self.count, self.real_ns) = (self.next + 1, self.count + 1, self.real_ns + STEP_NS);
    }

    fn put(&mut self, kind: Kind, flags: u8, feed: u16, line: u8, payload: &[u8]) {
        let stamp = Stamp { real_ns: self.real_ns, mono_ns: self.real_ns - BEGIN_NS + 1 };
        let header = Header { kind, flags, line, feed, generation: self.generation, stamp };
        self.payload.extend(header.encode(payload.len()));
        self.payload.extend(payload);
        self.payload.resize(self.payload.len().next_multiple_of(8), 0);
    }

    /// Ends the block: all before it is durable by then.
    pub(crate) fn seal(&mut self, flags: u32) {
        let header = BlockHeader {
            payload_bytes: self.payload.len() as u32,
            segment: [self.number as u8 + 1; 16],
            first: self.first,
            count: self.count,
            flags,
            durable: self.first,
            previous_crc: self.previous_crc,
            index: self.index,
            real_ns: self.real_ns,
            number: self.number,
            ..BlockHeader::default()
        };
        let mut bytes = vec![0; block::padded(self.payload.len())];
        bytes[block::HEADER_BYTES..][..self.payload.len()].copy_from_slice(&self.payload);
        let (len, crc) = block::seal(&mut bytes, &header);
        let begin = self.segment.len();
        self.blocks.push((self.number, begin, begin + len, self.first));
        self.segment.extend(bytes);
        (self.first, self.count, self.index, self.previous_crc) = (self.next, 0, self.index + 1, crc);
        self.payload.clear();
    }

    /// Goes on in the next segment.
    pub(crate) fn next_segment(&mut self) {
        self.seal(0);
        self.save();
        (self.number, self.index) = (self.number + 1, 0);
        self.segment.clear();
        let start = self.start.clone();
        self.put(Kind::Start, REPEATED, 0, 0, &start);
    }

    /// Ends the run in order.
    pub(crate) fn finish(&mut self) {
        self.seal(0);
        self.seal(LAST);
        self.save();
    }

    /// Writes the segment in hand, with room behind it, as a daemon prepares it.
    pub(crate) fn save(&self) {
        let mut bytes = self.segment.clone();
        bytes.resize(bytes.len() + (64 << 10), 0);
        fs::write(self.file(self.number), bytes).unwrap();
    }

    fn file(&self, number: u64) -> std::path::PathBuf {
        self.path().join(format!("{number:016}.seg"))
    }

    /// Turns over a bit in the middle of a block.
    pub(crate) fn damage(&self, block: usize) {
        let (number, begin, end, _) = self.blocks[block];
        let mut bytes = fs::read(self.file(number)).unwrap();
        bytes[(begin + end) / 2] ^= 1;
        fs::write(self.file(number), bytes).unwrap();
    }
}
