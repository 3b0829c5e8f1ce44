//! The file system whose power can be cut, through its mount: what was flushed never vanishes, what was not can, and
//! nothing else comes of it. The journal's own tests lean on this.

use io_uring::{IoUring, opcode, types};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use tests::power_cut::{Image, PowerCut, SECTOR_BYTES};

/// How many outcomes of each cut are looked at.
const SEEDS: u64 = 300;
const FILE_BYTES: usize = 64 << 10;

/// Memory that O_DIRECT takes.
#[repr(align(4096))]
struct Page([u8; 16 << 10]);

fn filled(byte: u8) -> Box<Page> {
    Box::new(Page([byte; 16 << 10]))
}

/// A disk with one file of ones, all of it durable.
fn mounted(seed: u64) -> Option<PowerCut> {
    PowerCut::mount(&Image(BTreeMap::from([("a".into(), vec![1; FILE_BYTES])])), seed)
}

/// All outcomes of a cut.
fn outcomes(mount: &PowerCut) -> Vec<Image> {
    (0..SEEDS).map(|seed| mount.cut(seed)).collect()
}

fn bytes<'i>(image: &'i Image, name: &str) -> Option<&'i [u8]> {
    image.0.get(&OsString::from(name)).map(Vec::as_slice)
}

/// How a test writes at an offset.
type Way = fn(&PowerCut, u64, &[u8]);

fn plain(mount: &PowerCut, offset: u64, bytes: &[u8]) {
    let file = File::options().write(true).open(mount.path().join("a")).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}

fn then_fsync(mount: &PowerCut, offset: u64, bytes: &[u8]) {
    plain(mount, offset, bytes);
    File::open(mount.path().join("a")).unwrap().sync_all().unwrap();
}

fn then_fdatasync(mount: &PowerCut, offset: u64, bytes: &[u8]) {
    plain(mount, offset, bytes);
    File::open(mount.path().join("a")).unwrap().sync_data().unwrap();
}

fn opened_dsync(mount: &PowerCut, offset: u64, bytes: &[u8]) {
    let file = File::options().write(true).custom_flags(libc::O_DSYNC).open(mount.path().join("a")).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}

fn direct(mount: &PowerCut) -> File {
    File::options().read(true).write(true).custom_flags(libc::O_DIRECT).open(mount.path().join("a")).unwrap()
}

fn written_through(mount: &PowerCut, offset: u64, bytes: &[u8]) {
    let file = direct(mount);
    let part = libc::iovec { iov_base: bytes.as_ptr() as *mut _, iov_len: bytes.len() };
    // SAFETY: the part is memory that lives longer than the call, which only reads it.
    let written = unsafe { libc::pwritev2(file.as_raw_fd(), &part, 1, offset as i64, libc::RWF_DSYNC) };
    assert_eq!(written, bytes.len() as isize, "{}", std::io::Error::last_os_error());
}

/// As the journal does: through a ring, O_DIRECT, and the write's own flag or a linked fdatasync.
fn by_ring(mount: &PowerCut, offset: u64, bytes: &[u8], flags: i32, linked: bool) {
    let file = direct(mount);
    let mut ring = IoUring::new(4).unwrap();
    let fd = types::Fd(file.as_raw_fd());
    let mut write =
        opcode::Write::new(fd, bytes.as_ptr(), bytes.len() as u32).offset(offset).rw_flags(flags).build();
    if linked {
        write = write.flags(io_uring::squeue::Flags::IO_LINK);
    }
    let flush = opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build();
    // SAFETY: the file and the memory outlive the operations, whose ends are waited for.
    unsafe {
        ring.submission().push(&write).unwrap();
        if linked {
            ring.submission().push(&flush).unwrap();
        }
    }
    ring.submit_and_wait(1 + usize::from(linked)).unwrap();
    ring.completion().for_each(|done| assert!(done.result() >= 0, "{}", done.result()));
}

fn ring_through(mount: &PowerCut, offset: u64, bytes: &[u8]) {
    by_ring(mount, offset, bytes, libc::RWF_DSYNC, false);
}

fn ring_linked(mount: &PowerCut, offset: u64, bytes: &[u8]) {
    by_ring(mount, offset, bytes, 0, true);
}

fn ring_plain(mount: &PowerCut, offset: u64, bytes: &[u8]) {
    by_ring(mount, offset, bytes, 0, false);
}

const FLUSHED: [(&str, Way); 6] = [
    ("fsync", then_fsync),
    ("fdatasync", then_fdatasync),
    ("O_DSYNC", opened_dsync),
    ("RWF_DSYNC", written_through),
    ("a ring's RWF_DSYNC", ring_through),
    ("a ring's linked fdatasync", ring_linked),
];

#[test]
fn what_was_flushed_never_vanishes() {
    for (name, way) in FLUSHED {
        for seed in 0..4 {
            let Some(mount) = mounted(seed) else { return };
            way(&mount, 4096, &filled(2).0[..8192]);
            // What comes later harms none of it.
            plain(&mount, 16 << 10, &[3; 8192]);
            for image in outcomes(&mount) {
                let left = bytes(&image, "a").unwrap();
                assert_eq!(left.len(), FILE_BYTES);
                assert!(left[4096..12288].iter().all(|byte| *byte == 2), "{name}: flushed bytes are gone");
                assert!(left[..4096].iter().all(|byte| *byte == 1), "{name}: others were touched");
            }
        }
    }
}

/// A write that goes through makes nothing else durable, and no older version comes back over it.
#[test]
fn a_write_that_goes_through_is_durable_by_itself() {
    let Some(mount) = mounted(1) else { return };
    plain(&mount, 0, &[2; 4096]);
    plain(&mount, 8192, &[2; 4096]);
    ring_through(&mount, 8192, &filled(3).0[..4096]);
    let outcomes = outcomes(&mount);
    assert!(outcomes.iter().all(|image| bytes(image, "a").unwrap()[8192..12288] == [3; 4096]));

    let Some(mount) = mounted(1) else { return };
    plain(&mount, 0, &[2; 4096]);
    ring_through(&mount, 8192, &filled(3).0[..4096]);
    let lost = (0..SEEDS).filter(|seed| bytes(&mount.cut(*seed), "a").unwrap()[0] == 1).count();
    assert!((1..SEEDS as usize).contains(&lost), "{lost}");
}

/// Each sector is the old one or the new one. Both ways come about, and mixtures of them.
#[test]
fn what_was_not_flushed_can_vanish_sector_by_sector() {
    for (name, way) in [("a write", plain as Way), ("a ring's write", ring_plain)] {
        let Some(mount) = mounted(1) else { return };
        way(&mount, 4096, &filled(2).0[..8192]);
        let mut counts = [0; 3];
        for image in outcomes(&mount) {
            let sectors = bytes(&image, "a").unwrap()[4096..12288].chunks(SECTOR_BYTES);
            let new = sectors.map(|sector| {
                assert!(sector.iter().all(|byte| *byte == sector[0] && (1..=2).contains(byte)));
                usize::from(sector[0] == 2)
            });
            match new.sum() {
                0 => counts[0] += 1,
                16 => counts[1] += 1,
                _ => counts[2] += 1,
            }
        }
        println!("{name}: lost {}, kept {}, torn {}", counts[0], counts[1], counts[2]);
        assert!(counts.iter().all(|count| *count > 20), "{name}: {counts:?}");
    }
}

/// Through one handle, so that a flush by the kernel on closing would show.
#[test]
fn of_several_versions_any_may_stay() {
    let Some(mount) = mounted(1) else { return };
    let file = File::options().write(true).open(mount.path().join("a")).unwrap();
    for version in 2..6 {
        file.write_all_at(&[version; SECTOR_BYTES], 0).unwrap();
    }
    let mut seen = [false; 6];
    outcomes(&mount).iter().for_each(|image| seen[bytes(image, "a").unwrap()[0] as usize] = true);
    assert_eq!(seen, [false, true, true, true, true, true]);
}

#[test]
fn half_a_sector_brings_no_other_half_along() {
    let Some(mount) = mounted(1) else { return };
    plain(&mount, 0, &[2; 256]);
    plain(&mount, 256, &[3; 256]);
    for image in outcomes(&mount) {
        let left = bytes(&image, "a").unwrap();
        let (first, second) = (left[0], left[256]);
        assert!([(1, 1), (2, 1), (2, 3)].contains(&(first, second)), "{first} {second}");
    }
}

#[test]
fn a_new_length_may_vanish_and_a_flushed_one_may_not() {
    let Some(mount) = mounted(1) else { return };
    let path = mount.path().join("a");
    File::options().append(true).open(&path).unwrap().write_all(&[7; 1000]).unwrap();
    let long = FILE_BYTES + 1000;
    let lens: Vec<usize> = outcomes(&mount).iter().map(|image| bytes(image, "a").unwrap().len()).collect();
    assert!(lens.contains(&FILE_BYTES) && lens.contains(&long) && lens.iter().all(|len| *len <= long));

    let Some(mount) = mounted(2) else { return };
    let file = File::options().write(true).open(mount.path().join("a")).unwrap();
    file.set_len(100).unwrap();
    let lens: Vec<usize> = outcomes_of(&mount, "a");
    assert!(lens.contains(&FILE_BYTES) && lens.contains(&100));

    let Some(mount) = mounted(3) else { return };
    let file = File::options().write(true).open(mount.path().join("a")).unwrap();
    file.set_len(100).unwrap();
    file.sync_data().unwrap();
    assert!(outcomes_of(&mount, "a").iter().all(|len| *len == 100));
}

fn outcomes_of(mount: &PowerCut, name: &str) -> Vec<usize> {
    outcomes(mount).iter().map(|image| bytes(image, name).map_or(usize::MAX, <[u8]>::len)).collect()
}

/// In how many of the outcomes a name is there.
fn times(mount: &PowerCut, name: &str) -> u64 {
    outcomes(mount).iter().filter(|image| bytes(image, name).is_some()).count() as u64
}

#[test]
fn a_name_is_durable_once_its_file_or_its_folder_was_flushed() {
    let Some(mount) = mounted(1) else { return };
    let (path, folder) = (mount.path(), File::open(mount.path()).unwrap());
    let made = File::create(path.join("flushed")).unwrap();
    made.sync_data().unwrap();
    File::create(path.join("folder")).unwrap();
    folder.sync_all().unwrap();
    File::create(path.join("neither")).unwrap();
    assert_eq!((times(&mount, "flushed"), times(&mount, "folder")), (SEEDS, SEEDS));
    assert!((1..SEEDS).contains(&times(&mount, "neither")));
}

#[test]
fn a_rename_needs_more_than_fdatasync() {
    for (flush, is_kept) in [("none", false), ("fdatasync", false), ("fsync", true), ("folder", true)] {
        let Some(mount) = mounted(1) else { return };
        fs::rename(mount.path().join("a"), mount.path().join("b")).unwrap();
        let file = File::open(mount.path().join("b")).unwrap();
        match flush {
            "fdatasync" => file.sync_data().unwrap(),
            "fsync" => file.sync_all().unwrap(),
            "folder" => File::open(mount.path()).unwrap().sync_all().unwrap(),
            _ => {}
        }
        let renamed = times(&mount, "b");
        assert_eq!(renamed == SEEDS, is_kept, "{flush}: {renamed}");
        // One name or the other, never both, never none.
        assert!(outcomes(&mount).iter().all(|image| image.0.len() == 1));
    }
}

#[test]
fn what_was_removed_may_come_back_whole() {
    let Some(mount) = mounted(1) else { return };
    fs::remove_file(mount.path().join("a")).unwrap();
    let back = outcomes(&mount);
    let back: Vec<_> = back.iter().filter_map(|image| bytes(image, "a")).collect();
    assert!((1..SEEDS as usize).contains(&back.len()));
    assert!(back.iter().all(|left| **left == [1; FILE_BYTES]));

    let Some(mount) = mounted(2) else { return };
    fs::remove_file(mount.path().join("a")).unwrap();
    File::open(mount.path()).unwrap().sync_all().unwrap();
    assert_eq!(times(&mount, "a"), 0);
}

#[test]
fn names_stay_in_order() {
    let Some(mount) = mounted(1) else { return };
    ["b", "c", "d"].iter().for_each(|name| _ = File::create(mount.path().join(name)).unwrap());
    for image in outcomes(&mount) {
        let there = ["b", "c", "d"].map(|name| bytes(&image, name).is_some());
        assert!(there.is_sorted_by(|before, after| before >= after), "{there:?}");
    }
}

/// A flush that begins while a write is on its way does not cover it; one that begins later does.
#[test]
fn a_flush_can_overtake_a_write() {
    let mut overtaken = 0;
    for seed in 0..40 {
        let Some(mount) = mounted(seed) else { return };
        let (file, page) = (direct(&mount), filled(2));
        let mut ring = IoUring::new(4).unwrap();
        let fd = types::Fd(file.as_raw_fd());
        let write = opcode::Write::new(fd, page.0.as_ptr(), 4096).build().user_data(1);
        let flush = opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build().user_data(2);
        // SAFETY: the file and the memory outlive the operations, whose ends are waited for.
        unsafe { ring.submission().push_multiple(&[write, flush]).unwrap() };
        ring.submit_and_wait(2).unwrap();
        assert!(ring.completion().all(|done| done.result() >= 0));
        overtaken += u64::from(outcomes(&mount).iter().any(|image| bytes(image, "a").unwrap()[0] == 1));
    }
    println!("{overtaken} of 40 flushes overtook a write that came with them");
    assert!((1..40).contains(&overtaken));
}

#[test]
fn after_the_cut_nothing_works() {
    let Some(mount) = mounted(1) else { return };
    let path = mount.path().join("a");
    let file = File::options().read(true).write(true).open(&path).unwrap();
    mount.cut(1);
    let errors = [
        file.write_all_at(&[1], 0).unwrap_err(),
        file.read_at(&mut [0], 0).unwrap_err(),
        file.sync_all().unwrap_err(),
        file.sync_data().unwrap_err(),
        file.set_len(1).unwrap_err(),
        File::open(&path).unwrap_err(),
        File::create(mount.path().join("b")).unwrap_err(),
        fs::rename(&path, mount.path().join("b")).unwrap_err(),
        fs::remove_file(&path).unwrap_err(),
        fs::metadata(&path).unwrap_err(),
        fs::read_dir(mount.path()).and_then(Iterator::collect::<Result<Vec<_>, _>>).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.raw_os_error(), Some(libc::EIO), "{error}");
    }
}

#[test]
fn an_image_is_what_was_left_and_can_be_gone_on_with() {
    let Some(mount) = mounted(1) else { return };
    then_fsync(&mount, 0, &[5; 512]);
    let left = mount.cut(3);
    let folder = tempfile::tempdir().unwrap();
    left.write_to(folder.path()).unwrap();
    assert_eq!(Image::read_from(folder.path()).unwrap(), left);
    let Some(mount) = PowerCut::mount(&left, 1) else { return };
    assert_eq!(fs::read(mount.path().join("a")).unwrap(), left.0[&OsString::from("a")]);
    assert!((0..SEEDS).all(|seed| mount.cut(seed) == left), "all of an image is durable");
}

#[test]
fn space_is_set_aside_zeroed_and_runs_out() {
    let Some(mount) = mounted(1) else { return };
    let file = File::options().read(true).write(true).open(mount.path().join("a")).unwrap();
    let allocate = |mode, offset, len| {
        // SAFETY: a call with numbers only.
        unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, len) }
    };
    assert_eq!(allocate(0, 0, FILE_BYTES as i64 + 100), 0);
    assert_eq!(file.metadata().unwrap().len(), FILE_BYTES as u64 + 100);
    assert_eq!(allocate(libc::FALLOC_FL_ZERO_RANGE, 100, 50), 0);
    let mut head = [9; 200];
    file.read_exact_at(&mut head, 0).unwrap();
    assert!(head[100..150].iter().all(|byte| *byte == 0) && head[99] == 1 && head[150] == 1);
    assert_eq!(allocate(0, 0, 2 << 30), -1);
    assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::ENOSPC));
}
