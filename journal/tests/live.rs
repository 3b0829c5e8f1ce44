//! A journal is read while it is written, packed and made shorter: nothing of that is an error, or called corrupt.

mod common;

use common::{Build, Got, assert_same, own};
use journal::pack::pack;
use journal::record::REPEATED;
use journal::{Folder, Form, Item, Missing, ReadError, Reader, Segment, Source, Span, Store, Why};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

/// How long a segment is prepared.
const SEGMENT_BYTES: usize = 160 << 10;

/// Segments that are prepared and blank, and into which a block goes before each read from a certain one on.
#[derive(Clone)]
struct Growing(Rc<RefCell<State>>);

struct State {
    segments: BTreeMap<u64, Vec<u8>>,
    blocks: Vec<(u64, usize, Vec<u8>)>,
    written: usize,
    /// How many reads come before the writer goes on, and how many blocks come with each that follows.
    reads_before: usize,
    blocks_per_read: usize,
    /// Whether the writer stops after it went on once.
    is_once: bool,
    reads: usize,
}

impl State {
    fn write(&mut self, blocks: usize) {
        let until = self.blocks.len().min(self.written + blocks);
        for (number, begin, bytes) in &self.blocks[self.written..until] {
            let segment = self.segments.get_mut(number).unwrap();
            segment[*begin..begin + bytes.len()].copy_from_slice(bytes);
        }
        self.written = until;
    }

    fn read(&mut self) {
        self.reads += 1;
        if self.reads == self.reads_before + 1 || self.reads > self.reads_before && !self.is_once {
            self.write(self.blocks_per_read);
        }
    }
}

impl Growing {
    fn new(
        build: &Build,
        written: usize,
        reads_before: usize,
        blocks_per_read: usize,
        is_once: bool,
    ) -> Self {
        let segments = build.segments.keys().map(|number| (*number, vec![0; SEGMENT_BYTES])).collect();
        let bytes = |(number, begin, end): &(u64, usize, usize)| {
            (*number, *begin, build.segments[number][*begin..*end].to_vec())
        };
        let blocks = build.blocks.iter().map(bytes).collect();
        let mut state =
            State { segments, blocks, written: 0, reads_before, blocks_per_read, is_once, reads: 0 };
        state.write(written);
        Self(Rc::new(RefCell::new(state)))
    }
}

struct Live(Growing, u64);

impl Source for Live {
    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let mut state = self.0.0.borrow_mut();
        state.read();
        let bytes = &state.segments[&self.1];
        let begin = (offset as usize).min(bytes.len());
        let len = out.len().min(bytes.len() - begin);
        out[..len].copy_from_slice(&bytes[begin..begin + len]);
        Ok(len)
    }

    fn len(&self) -> u64 {
        SEGMENT_BYTES as u64
    }
}

impl Store for Growing {
    fn list(&self) -> io::Result<Vec<Segment>> {
        let segment =
            |number: &u64| Segment { number: *number, is_packed: false, bytes: SEGMENT_BYTES as u64 };
        Ok(self.0.borrow().segments.keys().map(segment).collect())
    }

    fn open(&self, segment: &Segment) -> io::Result<Box<dyn Source>> {
        Ok(Box::new(Live(self.clone(), segment.number)))
    }

    fn cut(&self, _: &Segment, _: u64) -> io::Result<()> {
        unreachable!("a reader changes nothing")
    }

    fn remove(&self, _: &Segment) -> io::Result<()> {
        unreachable!("a reader changes nothing")
    }

    fn flush(&self, _: &Segment) -> io::Result<()> {
        unreachable!("a reader changes nothing")
    }
}

/// Ends a block amid the last record, and has it flushed.
fn seal_amid(build: &mut Build, _part: usize) {
    build.seal();
    build.durable = build.next - 1;
}

/// Three segments, of which each block says that all before it is durable, and each other one ends amid a record.
fn flushed_at_once() -> Build {
    let mut build = Build::new();
    for number in 0..3 {
        if number > 0 {
            build.next_segment();
        }
        for block in 0..9 {
            build.frame(700 + block * 900);
            if block % 2 == 1 {
                build.seal();
                build.durable = build.next;
            } else {
                build.parted(&[3_000, 9_000, 100], seal_amid);
                build.frame(30);
            }
            build.frame(10);
        }
        // Over the segment's end goes a record, too.
        build.parted(&[50, 60], seal_amid);
        assert!(build.segments[&number].len() <= SEGMENT_BYTES);
    }
    build.finish();
    build
}

/// The journal's records as far as they come, which must be as they were written; and whether it seemed to end torn.
fn read(store: &Growing, build: &Build, what: &str) -> (usize, bool) {
    let (records, missing) = common::read(store, Span::ALL);
    let is_torn = |missing: &Missing| missing.records.is_empty() && missing.why != Why::Corrupt;
    assert!(missing.iter().all(is_torn) && missing.len() < 2, "{what}: {missing:?}");
    assert!(records.len() <= build.expected.len(), "{what}");
    assert_same(&records, &build.expected[..records.len()]);
    (records.len(), !missing.is_empty())
}

#[test]
fn what_is_written_while_it_is_read_comes_whole_or_not_yet() {
    let build = flushed_at_once();
    let all = build.blocks.len();
    let ends: Vec<_> =
        (0..=all).map(|written| read(&Growing::new(&build, written, 0, 0, true), &build, "still")).collect();
    assert_eq!(ends[all], (build.expected.len(), false));
    let mut gained = 0;
    for written in (1..all).step_by(3) {
        for more in [1, 2, 3, 5, 8, all] {
            for reads_before in 0.. {
                let store = Growing::new(&build, written, reads_before, more, true);
                let what = format!("{more} blocks behind {written} after {reads_before} reads");
                let end = read(&store, &build, &what);
                let then = (written + more).min(all);
                assert!(end == ends[written] || end == ends[then], "{what}: {end:?}");
                gained += usize::from(end.0 > ends[written].0);
                if store.0.borrow().reads <= reads_before {
                    break;
                }
            }
        }
    }
    assert!(gained > 100, "{gained}");
}

#[test]
fn a_reader_follows_a_writer() {
    let build = flushed_at_once();
    let mut whole = 0;
    for written in 1..build.blocks.len() {
        for (reads_before, blocks) in (0..12).flat_map(|reads| [1, 2, 3, 7].map(|blocks| (reads, blocks))) {
            let store = Growing::new(&build, written, reads_before, blocks, false);
            let what = format!("{blocks} at each read after {reads_before}, {written} before");
            whole += usize::from(read(&store, &build, &what) == (build.expected.len(), false));
        }
    }
    assert!(whole > 100, "{whole}");
}

/// A folder to which something happens after it was listed.
struct Changed<'f> {
    folder: &'f Folder,
    /// Called at each opening, with how many were before.
    before_open: RefCell<Box<dyn FnMut(usize) + 'f>>,
    opened: RefCell<usize>,
    /// Not in the first list.
    unlisted: RefCell<Option<u64>>,
}

impl<'f> Changed<'f> {
    fn new(folder: &'f Folder, before_open: impl FnMut(usize) + 'f) -> Self {
        Self {
            folder,
            before_open: RefCell::new(Box::new(before_open)),
            opened: RefCell::new(0),
            unlisted: RefCell::new(None),
        }
    }

    fn read(&self, span: Span) -> Result<(Vec<Got>, Vec<Missing>), ReadError> {
        let (mut records, mut missing) = (Vec::new(), Vec::new());
        let mut reader = Reader::new(self, span)?;
        while let Some(item) = reader.next()? {
            match item {
                Item::Record(record) => {
                    records.push((record.sequence, record.header, record.payload.to_vec()))
                }
                Item::Missing(found) => missing.push(found),
            }
        }
        Ok((records, missing))
    }
}

impl Store for Changed<'_> {
    fn list(&self) -> io::Result<Vec<Segment>> {
        let mut list = self.folder.list()?;
        if let Some(number) = self.unlisted.take() {
            list.retain(|segment| segment.number != number);
        }
        Ok(list)
    }

    fn open(&self, segment: &Segment) -> io::Result<Box<dyn Source>> {
        self.before_open.borrow_mut()(*self.opened.borrow());
        *self.opened.borrow_mut() += 1;
        self.folder.open(segment)
    }

    fn cut(&self, _: &Segment, _: u64) -> io::Result<()> {
        unreachable!("a reader changes nothing")
    }

    fn remove(&self, _: &Segment) -> io::Result<()> {
        unreachable!("a reader changes nothing")
    }

    fn flush(&self, _: &Segment) -> io::Result<()> {
        unreachable!("a reader changes nothing")
    }
}

fn folder(build: &Build) -> (tempfile::TempDir, Folder) {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::new(place.path());
    for (number, bytes) in &build.segments {
        std::fs::write(folder.path_of(*number, Form::Plain), bytes).unwrap();
    }
    (place, folder)
}

fn remove(folder: &Folder, number: u64) {
    for segment in folder.list().unwrap() {
        if segment.number == number {
            folder.remove(&segment).unwrap();
        }
    }
}

#[test]
fn a_segment_that_is_packed_meanwhile_is_read() {
    let build = flushed_at_once();
    for number in 0..3 {
        for at in 0..12 {
            let (_place, folder) = folder(&build);
            let store = Changed::new(&folder, |opened| {
                if opened == at {
                    pack(&folder, number, 1).unwrap();
                }
            });
            let (records, missing) = store.read(Span::ALL).unwrap();
            assert_eq!(missing, [], "segment {number} at opening {at}");
            assert_same(&records, &build.expected);
        }
    }
}

#[test]
fn a_segment_that_is_in_neither_form_while_the_folder_is_listed_is_read() {
    let build = flushed_at_once();
    let (_place, folder) = folder(&build);
    let store = Changed::new(&folder, |_| ());
    *store.unlisted.borrow_mut() = Some(1);
    let (records, missing) = store.read(Span::ALL).unwrap();
    assert_eq!(missing, []);
    assert_same(&records, &build.expected);
}

/// One that was removed when it was come to: what is before it and behind it comes.
#[test]
fn segments_that_are_removed_meanwhile_are_no_errors() {
    let build = flushed_at_once();
    let first_of = |number: u64| {
        let block = build.segments.get(&number).map(|bytes| journal::block::peek(bytes).unwrap());
        block.map_or(build.expected.len() as u64, |header| header.first)
    };
    let (mut passed, mut told) = (0, 0);
    for span in [Span::ALL, Span { from_ns: 1, until_ns: u64::MAX }, Span { from_ns: 1 << 40, ..Span::ALL }] {
        for (count, at) in (1..=3).flat_map(|count| (0..12).map(move |at| (count, at))) {
            let (_place, folder) = folder(&build);
            let store = Changed::new(&folder, |opened| {
                if opened == at {
                    (0..count).for_each(|number| remove(&folder, number));
                }
            });
            let what = format!("{count} segments at opening {at}, {span:?}");
            let (records, missing) = store.read(span).unwrap();
            if span.from_ns > 1 {
                continue;
            }
            let records = own(&records);
            for record in &records {
                assert!(build.expected[record.0 as usize] == *record, "{what}: record {}", record.0);
            }
            // A segment that is removed counts as gone from the front only if none was read before.
            let begins = records.first().map_or(build.expected.len() as u64, |record| record.0);
            let is_front = begins == 0 || (1..=count).any(|number| begins == first_of(number));
            assert!(is_front, "{what}: begins with {begins}");
            if begins > 0 {
                assert_eq!(missing, [], "{what}");
                passed += 1;
            }
            let lost: u64 = missing.iter().map(|missing| missing.records.end - missing.records.start).sum();
            if count < 3 {
                assert_eq!(
                    begins + records.len() as u64 + lost,
                    build.expected.len() as u64,
                    "{what}: {missing:?}"
                );
            }
            told += usize::from(lost > 0);
            assert!(records.iter().all(|record| record.1.flags & REPEATED == 0));
        }
    }
    assert!(passed > 0 && told > 0, "{passed} {told}");
}

/// The reserve, which goes when the daemon ends.
#[test]
fn a_blank_last_segment_that_is_removed_meanwhile_is_no_error() {
    let build = flushed_at_once();
    for at in 0..12 {
        let (_place, folder) = folder(&build);
        folder.prepare(3, 1 << 16, |_| Ok(())).unwrap();
        let store = Changed::new(&folder, |opened| {
            if opened == at {
                remove(&folder, 3);
            }
        });
        let (records, missing) = store.read(Span::ALL).unwrap();
        assert_eq!(missing, [], "{at}");
        assert_same(&records, &build.expected);
    }
}

/// What was removed with the first segment is not counted as missing where the next one begins with a bad block.
#[test]
fn what_was_removed_is_not_missing_although_a_bad_block_is_next() {
    let build = flushed_at_once();
    let (_place, folder) = folder(&build);
    let mut bytes = build.segments[&1].clone();
    bytes[200] ^= 1;
    std::fs::write(folder.path_of(1, Form::Plain), bytes).unwrap();
    let store = Changed::new(&folder, |opened| {
        if opened == 0 {
            remove(&folder, 0);
        }
    });
    let (_, missing) = store.read(Span::ALL).unwrap();
    assert!(!missing.is_empty());
    assert!(missing.iter().all(|missing| missing.records.start > 0), "{missing:?}");
}
