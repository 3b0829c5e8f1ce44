//! Frames: what is written is what is read, across processes, at any speed and size.

use proptest::prelude::*;
use shm::frame::{FrameCopy, FrameInfo, FramePlan, FrameReader, FrameWriter, Rect};
use shm::prefix::Identity;
use shm::segment::{Segment, View};
use shm::slots::Missed;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

fn info() -> FrameInfo {
    FrameInfo {
        number: 0,
        venue_ms: 0,
        receive_ns: 0,
        decode_ns: 0,
        candle_ns: 0,
        render_ns: 0,
        drawn_ns: 0,
        publish_ns: 0,
        data_revision: 0,
        backend: 1,
        bars: 0,
        adjustments: 0,
        damage_count: 0,
        damage: [0; 16],
    }
}

fn plan(width: usize, height: usize, slots: usize, leases: usize) -> FramePlan<'static> {
    let identity = Identity { epoch: [7, 8], generation: 1 };
    FramePlan { chart: "binance:X/1m", width, height, slots, leases, huge: false, identity }
}

fn reader(writer: &FrameWriter) -> FrameReader {
    let [control, pixels] = writer.reader_fds().unwrap();
    FrameReader::open(control, pixels).unwrap()
}

/// The pixel at `index` of frame `number`: every frame differs from every other in every pixel.
fn pixel(number: u64, index: usize) -> u32 {
    (number as u32).wrapping_mul(0x9e37_79b9) ^ index as u32
}

fn is_whole(copy: &FrameCopy) -> bool {
    let number = copy.info.as_ref().unwrap().number;
    copy.pixels.iter().enumerate().all(|(index, value)| *value == pixel(number, index))
}

proptest! {
    /// Any rectangle that is copied arrives, whatever the width and the slots.
    #[test]
    fn what_is_copied_is_read(
        width in 1usize..70, height in 1usize..20, slots in 2usize..9,
        rects in prop::collection::vec((0u16..80, 0u16..30, 0u16..80, 0u16..30), 1..12),
    ) {
        let mut writer = FrameWriter::create(&plan(width, height, slots, 0)).unwrap();
        let reader = reader(&writer);
        let mut copy = FrameCopy::default();
        prop_assert_eq!(reader.copy_latest(&mut copy), Err(Missed::NoFrame));
        let full = Rect { x: 0, y: 0, width: width as u16, height: height as u16 };
        for (step, (x, y, w, h)) in rects.into_iter().enumerate() {
            let picture: Vec<u32> = (0..width * height).map(|index| pixel(step as u64, index)).collect();
            let slot = writer.begin().unwrap();
            let number = slot.number();
            let held = slot.held();
            prop_assert_eq!(held, number.checked_sub(slots as u64).filter(|n| *n > 0));
            slot.copy(&picture, full);
            slot.copy(&picture, Rect { x, y, width: w, height: h });
            slot.publish(info());
            prop_assert_eq!(reader.copy_latest(&mut copy), Ok(()));
            prop_assert_eq!(copy.info.unwrap().number, number);
            prop_assert_eq!(&copy.pixels, &picture);
        }
    }
}

#[test]
fn an_abandoned_frame_is_never_seen() {
    let mut writer = FrameWriter::create(&plan(8, 8, 2, 0)).unwrap();
    let reader = reader(&writer);
    writer.begin().unwrap().publish(info());
    let _ = writer.begin().unwrap().number();
    assert_eq!(reader.latest(), 1);
    assert_eq!(reader.copy_latest(&mut FrameCopy::default()), Ok(()));
}

#[test]
fn impossible_sizes_are_refused_in_a_sentence() {
    for (width, height, slots, leases, message) in [
        (0, 9, 4, 0, "the width of a frame is 0; the shared-memory layout allows 1 to 8192"),
        (9, 8193, 4, 0, "the height of a frame is 8193; the shared-memory layout allows 1 to 8192"),
        (9, 9, 1, 0, "the number of slots is 1; the shared-memory layout allows 2 to 16"),
        (9, 9, 4, 17, "the number of leases is 17; the shared-memory layout allows 0 to 16"),
    ] {
        let error = FrameWriter::create(&plan(width, height, slots, leases)).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

/// Whatever stands in a header, a reader refuses it or stays inside its mapping.
#[test]
fn a_foreign_segment_is_refused() {
    let pixels = || Segment::create("test", 4096, false).unwrap().reader_fd().unwrap();
    for words in
        [vec![0u64; 64], vec![u64::MAX; 64], vec![shm::frame::MAGIC, 1, 0, 255, u64::MAX, 8192, 8192, 32768]]
    {
        let control = Segment::create("test", 4096, false).unwrap();
        control.words().store(0, &words);
        assert!(FrameReader::open(control.reader_fd().unwrap(), pixels()).is_err());
    }
    let unsealed =
        nix::sys::memfd::memfd_create("test", nix::sys::memfd::MFdFlags::MFD_ALLOW_SEALING).unwrap();
    let error = View::map(&unsealed).unwrap_err();
    assert!(error.to_string().contains("not sealed against shrinking"), "{error}");
}

/// What a hostile reader may try with a descriptor that it was given.
#[test]
fn a_reader_can_neither_write_nor_resize() {
    use nix::fcntl::{FallocateFlags, OFlag, fallocate, open};
    use nix::sys::mman::{MapFlags, ProtFlags, mmap, mprotect};
    let segment = Segment::create("test", 8192, false).unwrap();
    segment.words().store(0, &[42]);
    let given = segment.reader_fd().unwrap();
    let again = format!("/proc/self/fd/{}", given.as_raw_fd());
    let reopened = open(again.as_str(), OFlag::O_RDWR, nix::sys::stat::Mode::empty()).ok();
    let size = std::num::NonZero::new(8192).unwrap();
    for fd in [Some(&given), reopened.as_ref()].into_iter().flatten() {
        let writable = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice; it is only ever passed to mprotect.
        unsafe {
            assert!(mmap(None, size, writable, MapFlags::MAP_SHARED, fd, 0).is_err());
            let readable = mmap(None, size, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, fd, 0).unwrap();
            assert!(mprotect(readable, 8192, writable).is_err());
        }
        assert!(nix::unistd::ftruncate(fd, 0).is_err());
        assert!(nix::unistd::ftruncate(fd, 1 << 20).is_err());
        assert!(nix::unistd::write(fd, b"x").is_err());
        let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        assert!(fallocate(fd, punch, 0, 4096).is_err());
    }
    assert_eq!(View::map(given.as_fd()).unwrap().words().load(0), 42);
}

/// Set for the child process: the parent's process id and its two descriptors.
const CHILD: &str = "CHARTD_TEST_READER";
const SIDE: usize = 128;

/// A writer and a reader process, both at full speed. `CHARTD_STRESS_SECONDS` sets the length; 3 without it.
#[test]
fn no_torn_frame_between_processes() {
    let seconds = std::env::var("CHARTD_STRESS_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(3);
    if let Ok(parent) = std::env::var(CHILD) {
        return read_at_full_speed(&parent, Duration::from_secs(seconds));
    }
    let mut writer = FrameWriter::create(&FramePlan { huge: true, ..plan(SIDE, SIDE, 4, 1) }).unwrap();
    let [control, pixels] = writer.reader_fds().unwrap();
    let grant = writer.leases().clone().grant().unwrap().unwrap();
    let fds = [control, pixels, grant.fd().unwrap()];
    let name = |fd: &std::os::fd::OwnedFd| format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd());
    let names: Vec<_> = fds.iter().map(name).collect();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "no_torn_frame_between_processes", "--nocapture"])
        .env(CHILD, names.join(" "))
        .spawn()
        .unwrap();
    let full = Rect { x: 0, y: 0, width: SIDE as u16, height: SIDE as u16 };
    let mut picture = vec![0u32; SIDE * SIDE];
    let mut published = 0u64;
    while child.try_wait().unwrap().is_none() {
        for _ in 0..100 {
            let slot = writer.begin().unwrap();
            let number = slot.number();
            picture.iter_mut().enumerate().for_each(|(index, value)| *value = pixel(number, index));
            slot.copy(&picture, full);
            slot.publish(info());
            published += 1;
        }
    }
    println!("{published} frames published in {seconds} s");
    assert!(child.wait().unwrap().success(), "the reader found a torn frame");
}

fn read_at_full_speed(names: &str, span: Duration) {
    let mut fds = names.split(' ').enumerate().map(|(place, name)| {
        // The third is the lease page.
        std::fs::File::options().read(true).write(place == 2).open(name).unwrap().into()
    });
    let reader = FrameReader::open(fds.next().unwrap(), fds.next().unwrap()).unwrap();
    let mut leasing = reader.with_lease(fds.next().unwrap()).unwrap();
    let mut copy = FrameCopy::default();
    let (mut copied, mut leased, mut overtaken, mut newest) = (0u64, 0u64, 0, 0);
    let end = Instant::now() + span;
    while Instant::now() < end {
        match leasing.reader().copy_latest(&mut copy) {
            Ok(()) => {
                assert!(is_whole(&copy), "frame {} is torn", copy.info.unwrap().number);
                assert!(copy.info.unwrap().number >= newest, "frames went backwards");
                newest = copy.info.unwrap().number;
                copied += 1;
            }
            Err(Missed::Overtaken) => overtaken += 1,
            Err(Missed::NoFrame) => std::thread::yield_now(),
        }
        match leasing.lease_latest() {
            Ok(frame) => {
                let number = frame.info().number;
                // Looked at for longer than the writer needs to come round.
                for look in 0..4 {
                    let row_is_whole = |y: usize| {
                        let is = |(x, value): (usize, &u32)| *value == pixel(number, y * SIDE + x);
                        frame.row(y).iter().enumerate().all(is)
                    };
                    assert!((0..SIDE).all(row_is_whole), "leased frame {number} changed by look {look}");
                }
                assert!(number >= newest, "frames went backwards");
                newest = number;
                leased += 1;
            }
            Err(Missed::Overtaken) => overtaken += 1,
            Err(Missed::NoFrame) => {}
        }
    }
    println!("{copied} copied whole, {leased} leased, {overtaken} attempts overtaken, up to frame {newest}");
    assert!(copied > 100 && leased > 100, "too few frames to prove anything");
}
