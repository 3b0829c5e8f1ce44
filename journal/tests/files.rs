//! Segments as files: prepared, trimmed, packed, indexed and removed; and what damaged ones are taken for.

mod common;

use common::{Build, Given, assert_honest, assert_same, items, journal, own, read};
use journal::pack::FRAME_BYTES;
use journal::record::Kind;
use journal::{
    Folder, Form, PackError, Reader, Segment, Source, Span, Store, Why, pack, rebuild_index, recover, verify,
};
use std::cell::Cell;
use std::fs;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use tempfile::TempDir;

fn folder() -> (TempDir, Folder) {
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let folder = Folder::new(place.path());
    (place, folder)
}

fn put(folder: &Folder, build: &Build) {
    for (number, bytes) in &build.segments {
        fs::write(folder.path_of(*number, Form::Plain), bytes).unwrap();
    }
}

/// A journal with several frames of 1 MiB in its middle segment.
fn large() -> Build {
    let mut build = Build::new();
    build.seal();
    for _ in 0..2 {
        build.next_segment();
        for block in 0..120 {
            for frame in 0..10 {
                build.frame(500 + (block * 97 + frame * 31) % 3_000);
            }
            build.seal_durable();
        }
    }
    build.finish();
    build
}

fn names(folder: &Folder) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_segment_is_prepared_trimmed_and_removed() {
    let (_place, folder) = folder();
    let mut steps = Vec::new();
    let outcome = folder.prepare(7, 3_000_000, |written| {
        steps.push(written);
        assert_eq!(names(&folder), ["0000000000000007.seg.tmp"]);
        if steps.len() == 2 { Err(ErrorKind::Interrupted.into()) } else { Ok(()) }
    });
    assert_eq!((outcome.unwrap_err().kind(), steps), (ErrorKind::Interrupted, vec![1 << 20, 2 << 20]));
    assert_eq!(names(&folder), [""; 0]);
    folder.prepare(7, 3_000_000, |_| Ok(())).unwrap();
    assert_eq!(names(&folder), ["0000000000000007.seg"]);
    assert_eq!(fs::read(folder.path_of(7, Form::Plain)).unwrap(), vec![0; 3_000_000]);
    assert_eq!(folder.prepare(7, 4096, |_| Ok(())).unwrap_err().kind(), ErrorKind::AlreadyExists);
    folder.trim(7, 8192).unwrap();
    folder.trim(7, 16_384).unwrap();
    let segments = folder.list().unwrap();
    assert_eq!((segments.len(), segments[0].number, segments[0].bytes), (1, 7, 8192));
    folder.cut(&segments[0], 4096).unwrap();
    assert_eq!(fs::metadata(folder.path_of(7, Form::Plain)).unwrap().len(), 4096);
    folder.flush(&segments[0]).unwrap();
    for form in [Form::Packed, Form::Index, Form::Unfinished] {
        fs::write(folder.path_of(7, form), b"x").unwrap();
    }
    folder.remove(&segments[0]).unwrap();
    assert_eq!(names(&folder), [""; 0]);
    folder.remove(&segments[0]).unwrap();
}

#[test]
fn other_files_are_nobodys_business() {
    let (place, folder) = folder();
    put(&folder, &journal(1, 2, 2));
    for name in [
        "7.seg",
        "000000000000000a.seg",
        "0000000000000009.seg.bak",
        "notes.txt",
        "+000000000000001.seg",
        ".seg",
    ] {
        fs::write(place.path().join(name), b"x").unwrap();
    }
    fs::create_dir(place.path().join("0000000000000008.seg")).unwrap();
    fs::write(folder.path_of(5, Form::Unfinished), b"x").unwrap();
    fs::write(folder.path_of(6, Form::Index), b"x").unwrap();
    assert_eq!(folder.list().unwrap().iter().map(|segment| segment.number).collect::<Vec<_>>(), [0]);
    assert_eq!(folder.remove_leftovers().unwrap(), 1);
    assert!(!folder.path_of(5, Form::Unfinished).exists());
    assert_eq!(names(&folder).len(), 9);
}

#[test]
fn a_folder_without_segments_is_no_journal() {
    let (place, folder) = folder();
    let refusal = Reader::new(&folder, Span::ALL).err().unwrap().to_string();
    assert!(refusal.contains(place.path().to_str().unwrap()), "{refusal}");
    let gone = Folder::new(place.path().join("gone"));
    assert!(Reader::new(&gone, Span::ALL).is_err());
}

#[test]
fn a_packed_segment_says_the_same_and_unpacks_to_what_it_was() {
    let (_place, folder) = folder();
    let build = large();
    put(&folder, &build);
    for number in [1, 2, 0] {
        let bytes = pack(&folder, number, 3).unwrap();
        let file = fs::read(folder.path_of(number, Form::Packed)).unwrap();
        let plain = &build.segments[&number];
        assert_eq!((bytes.plain, bytes.packed), (plain.len() as u64, file.len() as u64));
        assert!(bytes.packed < bytes.plain);
        assert!(zstd::stream::decode_all(&file[..]).unwrap() == *plain);
    }
    assert!(names(&folder).iter().all(|name| name.ends_with(".seg.zst")));
    assert!(build.segments[&1].len() > 2 * FRAME_BYTES);
    let (records, missing) = read(&folder, Span::ALL);
    assert_eq!(missing, []);
    assert_same(&records, &build.expected);
    assert!(matches!(pack(&folder, 1, 3), Err(PackError::Absent(1))));
    // Any place of it, in any order.
    let segment = folder.list().unwrap()[1];
    let mut source = folder.open(&segment).unwrap();
    let plain = &build.segments[&1];
    for place in 0..200 {
        let offset = place * 7_654_321 % plain.len();
        let mut out = vec![0; (place * 123_457) % 1_500_000];
        let read = source.read_at(offset as u64, &mut out).unwrap();
        assert_eq!(read, out.len().min(plain.len() - offset));
        assert!(out[..read] == plain[offset..offset + read]);
    }
    // Plain and packed: plain.
    fs::write(folder.path_of(1, Form::Plain), plain).unwrap();
    assert!(!folder.list().unwrap()[1].is_packed);
}

#[test]
fn what_is_not_whole_is_not_packed() {
    let (_place, folder) = folder();
    let mut build = journal(2, 4, 2);
    build.segments.get_mut(&0).unwrap()[2 * 4096 + 100] ^= 1;
    build.segments.get_mut(&1).unwrap().extend([0; 8192]);
    put(&folder, &build);
    assert!(matches!(pack(&folder, 0, 3), Err(PackError::NotWhole { segment: 0, offset: 8192 })));
    assert_eq!(names(&folder), ["0000000000000000.seg", "0000000000000001.seg"]);
    pack(&folder, 1, 3).unwrap();
}

#[test]
fn every_bit_of_a_packed_segment_that_flips_is_told_or_changes_nothing() {
    let (_place, folder) = folder();
    let mut build = journal(3, 3, 2);
    build.finish();
    put(&folder, &build);
    pack(&folder, 1, 3).unwrap();
    let path = folder.path_of(1, Form::Packed);
    let file = fs::read(&path).unwrap();
    let (mut told, mut harmless) = (0, 0);
    for bit in 0..file.len() * 8 {
        // All of the beginning and the end, and every few of what is between.
        if bit > 400 && bit < (file.len() - 30) * 8 && !bit.is_multiple_of(11) {
            continue;
        }
        let mut bad = file.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, bad).unwrap();
        let missing = assert_honest(&folder, &build.expected, &format!("bit {bit}"));
        assert!(missing.iter().all(|missing| missing.why == Why::Corrupt && missing.segment == 1), "{bit}");
        told += usize::from(!missing.is_empty());
        harmless += usize::from(missing.is_empty());
    }
    // Two bits of the table are without meaning, and a few in a frame.
    assert!(told > 100 && harmless <= 8, "{told} {harmless}");
}

#[test]
fn a_damaged_frame_costs_what_is_in_it_alone() {
    let (_place, folder) = folder();
    let build = large();
    put(&folder, &build);
    for number in 0..3 {
        pack(&folder, number, 3).unwrap();
    }
    for (segment, is_last) in [(1, false), (2, true)] {
        let path = folder.path_of(segment, Form::Packed);
        let file = fs::read(&path).unwrap();
        let mut bad = file.clone();
        let place = file.len() * if is_last { 9 } else { 4 } / 10;
        bad[place] ^= 0x10;
        fs::write(&path, &bad).unwrap();
        let told = assert_honest(&folder, &build.expected, &format!("{segment}"));
        assert_eq!((told.len(), told[0].why, told[0].segment), (1, Why::Corrupt, segment));
        let lost = told[0].records.end - told[0].records.start;
        assert!(is_last || lost > 0 && lost < build.next / 4, "{lost}");
        // It is left as it is, and the next run goes on.
        let recovered = recover(&folder).unwrap();
        assert_eq!(recovered.next_segment, 3);
        assert_eq!(fs::read(&path).unwrap(), bad);
        fs::write(&path, &file).unwrap();
    }
}

#[test]
fn damage_at_the_end_stays_told_when_a_run_went_on() {
    for (byte, len) in [(6, 0), (0, 3)] {
        let (_place, folder) = folder();
        let mut build = journal(2, 3, 2);
        build.finish();
        put(&folder, &build);
        pack(&folder, 1, 3).unwrap();
        let path = folder.path_of(1, Form::Packed);
        let mut file = fs::read(&path).unwrap();
        // In its only frame; or it is cut.
        file[byte] ^= 1;
        file.truncate(file.len() - len);
        fs::write(&path, file).unwrap();
        let recovered = recover(&folder).unwrap();
        assert_eq!((recovered.missing.len(), recovered.missing[0].why), (1, Why::Corrupt));
        let mut next = build.clone();
        next.go_back(recovered.position.next, recovered.position.previous_crc);
        next.begin_segment(recovered.next_segment);
        next.durable = recovered.position.next;
        next.record(Kind::Start, b"{}");
        next.seal();
        fs::write(folder.path_of(next.number, Form::Plain), &next.segments[&next.number]).unwrap();
        let told = assert_honest(&folder, &next.expected, "");
        assert_eq!((told.len(), told[0].why, told[0].segment), (1, Why::Corrupt, 1));
    }
}

#[test]
fn hostile_tables_are_refused_in_a_sentence() {
    let (_place, folder) = folder();
    let build = journal(1, 3, 2);
    put(&folder, &build);
    pack(&folder, 0, 3).unwrap();
    let path = folder.path_of(0, Form::Packed);
    let segment = folder.list().unwrap()[0];
    let file = fs::read(&path).unwrap();
    let (table, end) = (file.len() - 9 - 8 - 8, file.len());
    let word = |at: usize, value: u32| {
        let mut bad = file.clone();
        bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
        bad
    };
    let cases = [
        vec![],
        file[..8].to_vec(),
        file[1..].to_vec(),
        word(end - 9, u32::MAX),
        word(end - 9, 2),
        word(end - 9, 0),
        word(table + 8, u32::MAX),
        word(table + 8, 0),
        word(table + 12, u32::MAX),
        word(table + 12, 0),
        word(table, 7),
        word(table + 4, 7),
        word(end - 5, 0x7c),
    ];
    for (place, case) in cases.iter().enumerate() {
        fs::write(&path, case).unwrap();
        let refusal = folder.open(&segment).err().unwrap_or_else(|| panic!("{place}"));
        assert_eq!(refusal.kind(), ErrorKind::InvalidData, "{place}");
        assert!(refusal.to_string().starts_with("it is no packed segment: "), "{refusal}");
        let (records, missing) = read(&folder, Span::ALL);
        assert_eq!((records.len(), missing.len()), (0, 1));
    }
}

#[test]
fn an_index_saves_reading_and_changes_nothing() {
    let (_place, folder) = folder();
    let mut build = Build::default();
    (build.real_ns, build.step_ns) = (50_000_000_000, 100_000_000);
    build.begin_segment(0);
    build.record(Kind::Start, b"one");
    for number in 0..3 {
        if number > 0 {
            build.next_segment();
        }
        for block in 0..150 {
            if block == 75 {
                build.record(Kind::Start, b"another generation");
            }
            for _ in 0..3 {
                build.frame(9_000);
            }
            build.seal_durable();
        }
    }
    put(&folder, &build);
    let last_ns = build.real_ns;
    let spans: Vec<_> = (49_000_000_000..last_ns)
        .step_by(7_300_000_000)
        .map(|from_ns| Span { from_ns, until_ns: from_ns + 3_000_000_000 })
        .collect();
    let without: Vec<_> = spans.iter().map(|span| items_in(&folder, *span)).collect();
    let whole = |folder: &Folder, what: &str| {
        for (span, expected) in spans.iter().zip(&without) {
            assert!(items_in(folder, *span).0 == expected.0, "{what} {span:?}");
        }
    };
    for (span, (items, _)) in spans.iter().zip(&without) {
        let records: Vec<_> = items
            .iter()
            .map(|item| match item {
                Given::Record(got) => got.clone(),
                Given::Missing(missing) => panic!("{missing:?}"),
            })
            .collect();
        let expected: Vec<_> = build
            .expected
            .iter()
            .filter(|(_, header, _)| (span.from_ns..span.until_ns).contains(&header.stamp.real_ns))
            .cloned()
            .collect();
        let inner: Vec<_> =
            own(&records).into_iter().filter(|got| got.1.stamp.real_ns >= span.from_ns).collect();
        assert_same(&inner, &expected);
        // The feeds that were in force come first.
        if let Some(first) = expected.first() {
            let in_force =
                build.expected.iter().rfind(|got| got.0 <= first.0 && got.1.kind == Kind::Start).unwrap();
            let told = &records[0];
            let is_repeated = told.1.flags != 0;
            assert!(is_repeated || told.2 == in_force.2);
        }
    }
    let mut indexes = Vec::new();
    for number in 0..3 {
        let index = rebuild_index(&folder, number).unwrap().unwrap();
        assert_eq!(index.used_bytes, build.segments[&number].len() as u64);
        indexes.push(fs::read(folder.path_of(number, Form::Index)).unwrap());
    }
    whole(&folder, "with");
    let read_bytes = |all: &[(Vec<Given>, u64)]| all.iter().map(|(_, bytes)| *bytes).sum::<u64>();
    let with: Vec<_> = spans.iter().map(|span| items_in(&folder, *span)).collect();
    assert!(read_bytes(&with) * 2 < read_bytes(&without), "{} {}", read_bytes(&with), read_bytes(&without));

    // Stale, of another segment, cut, or with any bit flipped.
    fs::write(folder.path_of(1, Form::Index), &indexes[0]).unwrap();
    whole(&folder, "of another");
    fs::write(folder.path_of(1, Form::Index), &indexes[1][..indexes[1].len() - 32]).unwrap();
    whole(&folder, "cut");
    let index = &indexes[1];
    for bit in (0..index.len() * 8).step_by(29) {
        let mut bad = index.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(journal::Index::decode(&bad).is_err(), "{bit}");
        if bit.is_multiple_of(8) {
            fs::write(folder.path_of(1, Form::Index), &bad).unwrap();
            whole(&folder, "damaged");
        }
    }
    // One that lies, with a right checksum.
    for at in (64..index.len()).step_by(72) {
        let mut bad = index.clone();
        bad[at] ^= 0x55;
        let crc = crc32c::crc32c(&bad[12..]);
        bad[8..12].copy_from_slice(&crc.to_le_bytes());
        fs::write(folder.path_of(1, Form::Index), &bad).unwrap();
        for (span, expected) in spans.iter().zip(&without) {
            let (items, _) = items_in(&folder, *span);
            for item in items {
                // It may hide, being believed; it never makes anything up.
                if let Given::Record(got) = item {
                    assert!(got.1.flags != 0 || build.expected[got.0 as usize] == got, "{expected:?}");
                }
            }
        }
    }
}

/// A folder that counts the bytes that are read of its segments.
struct Counting<'f> {
    folder: &'f Folder,
    read: Rc<Cell<u64>>,
}

struct Counted {
    source: Box<dyn Source>,
    read: Rc<Cell<u64>>,
}

impl Source for Counted {
    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read_at(offset, out)?;
        self.read.set(self.read.get() + read as u64);
        Ok(read)
    }

    fn len(&self) -> u64 {
        self.source.len()
    }
}

impl Store for Counting<'_> {
    fn list(&self) -> io::Result<Vec<Segment>> {
        self.folder.list()
    }

    fn open(&self, segment: &Segment) -> io::Result<Box<dyn Source>> {
        Ok(Box::new(Counted { source: self.folder.open(segment)?, read: self.read.clone() }))
    }

    fn cut(&self, segment: &Segment, len: u64) -> io::Result<()> {
        self.folder.cut(segment, len)
    }

    fn remove(&self, segment: &Segment) -> io::Result<()> {
        self.folder.remove(segment)
    }

    fn flush(&self, segment: &Segment) -> io::Result<()> {
        self.folder.flush(segment)
    }

    fn index(&self, segment: &Segment) -> io::Result<Option<Vec<u8>>> {
        self.folder.index(segment)
    }
}

fn items_in(folder: &Folder, span: Span) -> (Vec<Given>, u64) {
    let mut items = Vec::new();
    let counting = Counting { folder, read: Rc::default() };
    let mut reader = Reader::new(&counting, span).unwrap();
    while let Some(item) = reader.next().unwrap() {
        items.push(match item {
            journal::Item::Record(record) => {
                Given::Record((record.sequence, record.header, record.payload.to_vec()))
            }
            journal::Item::Missing(missing) => Given::Missing(missing),
        });
    }
    (items, counting.read.get())
}

#[test]
fn all_is_counted() {
    let (_place, folder) = folder();
    let mut build = journal(2, 3, 2);
    let mut lost = Vec::new();
    for word in [5u64, 600, 1, 10, 20] {
        lost.extend(word.to_le_bytes());
    }
    build.record(Kind::Gap, &lost);
    build.finish();
    put(&folder, &build);
    pack(&folder, 0, 3).unwrap();
    let mut told = Vec::new();
    let report = verify(&folder, |all, read| told.push((all, read))).unwrap();
    assert_eq!((report.segments, report.packed, report.blocks), (2, 1, build.blocks.len() as u64));
    assert_eq!(report.records, build.next);
    let bytes: usize = build.expected.iter().map(|(.., payload)| payload.len()).sum();
    assert_eq!(report.payload_bytes, bytes as u64);
    assert_eq!(report.sequences, Some((0, build.next - 1)));
    assert_eq!(report.times_ns, Some((1_000, build.real_ns - 10)));
    assert_eq!((report.gaps, report.lost_records, report.lost_bytes), (1, 5, 600));
    assert_eq!((report.missing.len(), report.findings, report.missing_records), (0, 0, 0));
    assert!(told.last().is_some_and(|(all, read)| all == read && *all > 0));

    let path = folder.path_of(1, Form::Plain);
    let mut bytes = fs::read(&path).unwrap();
    bytes[4096 + 200] ^= 1;
    fs::write(&path, bytes).unwrap();
    let damaged = verify(&folder, |_, _| {}).unwrap();
    assert_eq!((damaged.findings, damaged.missing_records, damaged.records), (1, 2, report.records - 2));
    assert_eq!(items(&folder).len() as u64, damaged.records + 1);
}

#[test]
fn a_segment_is_packed_while_another_thread_makes_its_index() {
    let build = large();
    for round in 0..10 {
        let (_place, folder) = folder();
        put(&folder, &build);
        std::thread::scope(|scope| {
            let other = folder.clone();
            let indexing = scope.spawn(move || (0..60).for_each(|_| drop(rebuild_index(&other, 1).unwrap())));
            pack(&folder, 1, 1).unwrap();
            indexing.join().unwrap();
        });
        let (records, missing) = read(&folder, Span::ALL);
        assert_eq!(missing, [], "round {round}");
        assert_same(&records, &build.expected);
    }
}

#[test]
fn nothing_is_made_of_a_segment_that_was_removed() {
    let (_place, folder) = folder();
    let build = large();
    put(&folder, &build);
    let segments = folder.list().unwrap();
    std::thread::scope(|scope| {
        let other = folder.clone();
        let packing = scope.spawn(move || pack(&other, 1, 19));
        while !names(&folder).iter().any(|name| name.ends_with(".tmp")) && !packing.is_finished() {
            std::thread::yield_now();
        }
        folder.remove(&segments[1]).unwrap();
        // Unless it was done before, which the first look has told.
        let _ = packing.join().unwrap();
    });
    assert!(names(&folder).iter().all(|name| !name.starts_with("0000000000000001")), "{:?}", names(&folder));
}
