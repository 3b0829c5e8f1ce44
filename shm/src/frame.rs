//! Frames of one chart: a control segment with the slots' descriptions, and a segment of pixels.
//!
//! Control segment, in words:
//!
//! | words | what |
//! |---|---|
//! | 0.. | [`FrameHeader`], never changed |
//! | 32 | head: number of the latest frame << 8 \| its slot; zero before the first |
//! | 48 | state: [`STATE_CURRENT`] or [`STATE_RETIRED`] |
//! | 64 + 32·slot | sequence word, then [`FrameInfo`] |
//!
//! How head and sequences move is in [`crate::slots`]. The pixels of slot `s` begin `s × slot_stride_bytes` into the
//! pixel segment; a row takes `stride_bytes`; a pixel is four bytes: red, green, blue, 255.

use crate::ShmError;
use crate::lease::{Lease, LeaseTable, MAX_LEASES};
use crate::prefix::{Identity, Prefix, STATE_CURRENT, STATE_RETIRED};
use crate::record::{Text, record};
use crate::segment::{Segment, View, WriteWords};
use crate::slots::{self, Counter, Counters, MAX_SLOTS, Missed, Place, Rotation, Taken};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::{self, *};

/// The first word of a control segment: "chartdF3".
pub const MAGIC: u64 = u64::from_le_bytes(*b"chartdF3");
/// DRM's code for the pixel format: bytes red, green, blue, alpha.
pub const FOURCC_RGBA: u64 = u32::from_le_bytes(*b"AB24") as u64;
/// The largest width and height.
pub const MAX_SIDE: usize = 8192;
/// The most damage rectangles that a frame carries.
pub const MAX_DAMAGE: usize = 16;

const HEAD: usize = 32;
const STATE: usize = 48;
const SLOTS: usize = 64;
const SLOT_WORDS: usize = 32;
/// Where things stand in a control segment, in words.
pub const PLACES: &[(&str, usize)] =
    &[("head", HEAD), ("state", STATE), ("first slot", SLOTS), ("words of a slot", SLOT_WORDS)];
/// Rows begin on cache lines: 16 pixels.
const ROW_PIXELS: usize = 16;

record! {
    /// What never changes while the segment lives.
    pub struct FrameHeader {
        /// What it is; its magic is [`MAGIC`].
        pub prefix: Prefix,
        /// How many slots there are, spare ones included.
        pub slots: u64,
        /// How many readers may lease a slot.
        pub leases: u64,
        /// From one slot's pixels to the next.
        pub slot_stride_bytes: u64,
        /// Pixels in a row.
        pub width: u64,
        /// Rows.
        pub height: u64,
        /// From one row to the next.
        pub stride_bytes: u64,
        /// [`FOURCC_RGBA`].
        pub fourcc: u64,
        /// Size of the pixel segment's memory pages: 2 MiB or 4 KiB.
        pub page_bytes: u64,
        /// The chart: `venue:SYMBOL/timeframe`.
        pub chart: Text<8>,
    }
}

record! {
    /// One frame: where its picture comes from and how it came about. Times are CLOCK_MONOTONIC of this host.
    pub struct FrameInfo {
        /// 1 for the chart's first frame, and so on.
        pub number: u64,
        /// Venue time of the newest trade in it; zero without one.
        pub venue_ms: i64,
        /// When the newest message in it was received.
        pub receive_ns: u64,
        /// When that message was understood.
        pub decode_ns: u64,
        /// When its candles were in shared memory.
        pub candle_ns: u64,
        /// When drawing began.
        pub render_ns: u64,
        /// When it was drawn, and copying it to its slot began.
        pub drawn_ns: u64,
        /// When it became visible.
        pub publish_ns: u64,
        /// Revision of the candle series that it shows.
        pub data_revision: u64,
        /// How it was drawn: [`Backend`].
        pub backend: u64,
        /// Candles in it.
        pub bars: u64,
        /// How many adjustments of the chart it shows, counted since the configuration began.
        pub adjustments: u64,
        /// How many of `damage` count. Zero: nothing differs from the frame before.
        pub damage_count: u64,
        /// What differs from the frame before: x | y << 16 | width << 32 | height << 48.
        pub damage: [u64; MAX_DAMAGE],
    }
}

const _: () = assert!(FrameHeader::WORDS <= HEAD && FrameInfo::WORDS < SLOT_WORDS);

/// What drew a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Backend {
    /// The processor, one pixel at a time: the specification.
    CpuScalar = 1,
    /// The processor, by the vectors that every one of its architecture has.
    CpuPortable = 2,
    /// The processor, by AVX2.
    CpuAvx2 = 3,
    /// The processor, by AVX-512.
    CpuAvx512 = 4,
}

impl Backend {
    /// Every backend.
    pub const ALL: [Self; 4] = [Self::CpuScalar, Self::CpuPortable, Self::CpuAvx2, Self::CpuAvx512];

    /// The name that reports use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CpuScalar => "cpu-scalar",
            Self::CpuPortable => "cpu-portable",
            Self::CpuAvx2 => "cpu-avx2",
            Self::CpuAvx512 => "cpu-avx512",
        }
    }

    /// The backend whose number is `raw`.
    pub fn from_raw(raw: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|backend| *backend as u64 == raw)
    }

    /// What draws the same bytes with less that can go wrong; `None` for the simplest.
    pub const fn simpler(self) -> Option<Self> {
        match self {
            Self::CpuScalar => None,
            Self::CpuPortable | Self::CpuAvx2 | Self::CpuAvx512 => Some(Self::CpuScalar),
        }
    }
}

/// A rectangle of pixels, half-open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Rect {
    pub x: u16,
    pub y: u16,
    pub width: u16,
    pub height: u16,
}

impl Rect {
    /// As one word of [`FrameInfo::damage`].
    pub fn pack(self) -> u64 {
        u64::from(self.x)
            | u64::from(self.y) << 16
            | u64::from(self.width) << 32
            | u64::from(self.height) << 48
    }

    /// From one word of [`FrameInfo::damage`].
    pub fn unpack(word: u64) -> Self {
        Self {
            x: word as u16,
            y: (word >> 16) as u16,
            width: (word >> 32) as u16,
            height: (word >> 48) as u16,
        }
    }
}

/// What a chart's frames are to be like.
#[derive(Debug, Clone)]
pub struct FramePlan<'a> {
    /// Its name: `venue:SYMBOL/timeframe`.
    pub chart: &'a str,
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// How many slots take turns.
    pub slots: usize,
    /// How many readers may lease a slot: as many spare slots there are.
    pub leases: usize,
    /// Whether 2 MiB pages are tried; [`FrameHeader::page_bytes`] tells what came of it.
    pub huge: bool,
    /// Whose they are.
    pub identity: Identity,
}

/// Publishes the frames of one chart.
#[derive(Debug)]
pub struct FrameWriter {
    control: Segment,
    pixels: Segment,
    header: FrameHeader,
    rotation: Rotation,
    leases: Arc<LeaseTable>,
    /// A slot that was taken ahead of time: see [`SlotWriter::keep`].
    kept: Option<Taken>,
}

impl FrameWriter {
    /// Makes both segments.
    pub fn create(plan: &FramePlan<'_>) -> Result<Self, ShmError> {
        let (width, height, slots) = (plan.width, plan.height, plan.slots);
        for (what, side) in [("the width of a frame", width), ("the height of a frame", height)] {
            if !(1..=MAX_SIDE).contains(&side) {
                return Err(ShmError::Limit { what, value: side, limit: "1 to 8192" });
            }
        }
        if !(2..=MAX_SLOTS - MAX_LEASES).contains(&slots) {
            return Err(ShmError::Limit { what: "the number of slots", value: slots, limit: "2 to 16" });
        }
        if plan.leases > MAX_LEASES {
            let what = "the number of leases";
            return Err(ShmError::Limit { what, value: plan.leases, limit: "0 to 16" });
        }
        let all = slots + plan.leases;
        let stride_bytes = width.next_multiple_of(ROW_PIXELS) * 4;
        let slot_stride_bytes = (stride_bytes * height).next_multiple_of(4096);
        let pixels = Segment::create("chartd-pixels", slot_stride_bytes * all, plan.huge)?;
        let control = Segment::create("chartd-frames", (SLOTS + all * SLOT_WORDS) * 8, false)?;
        let header = FrameHeader {
            prefix: Prefix::new(MAGIC, FrameHeader::WORDS, &plan.identity),
            slots: all as u64,
            leases: plan.leases as u64,
            slot_stride_bytes: slot_stride_bytes as u64,
            width: width as u64,
            height: height as u64,
            stride_bytes: stride_bytes as u64,
            fourcc: FOURCC_RGBA,
            page_bytes: pixels.page_bytes() as u64,
            chart: Text::new(plan.chart),
        };
        control.words().store(0, &header.to_words());
        control.words().word(STATE).store(STATE_CURRENT, Relaxed);
        let (rotation, leases) =
            (Rotation::new(slots, plan.leases), LeaseTable::new(header.chart, &plan.identity, plan.leases));
        Ok(Self { control, pixels, header, rotation, leases, kept: None })
    }

    /// What it made.
    pub fn header(&self) -> &FrameHeader {
        &self.header
    }

    /// Descriptors for a reader: control, pixels.
    pub fn reader_fds(&self) -> Result<[OwnedFd; 2], ShmError> {
        Ok([self.control.reader_fd()?, self.pixels.reader_fd()?])
    }

    /// The leases on its slots.
    pub fn leases(&self) -> &Arc<LeaseTable> {
        &self.leases
    }

    /// The number of the latest frame; zero before the first.
    pub fn latest(&self) -> u64 {
        self.rotation.number()
    }

    /// How often a slot was passed over because a reader leased it.
    pub fn passed_over(&self) -> u64 {
        self.rotation.passed_over()
    }

    /// Begins the next frame, in the slot that was published longest ago and that nobody leases.
    ///
    /// `None` if there is none, which cannot be while there are no more leases than spare slots.
    pub fn begin(&mut self) -> Option<SlotWriter<'_>> {
        let leases = &self.leases;
        let taken = match self.kept.take() {
            Some(kept) => kept,
            None => self.rotation.take(&Shared(self.control.words()), || leases.leased())?,
        };
        Some(SlotWriter { frames: self, place: taken.place, held: taken.held })
    }

    /// Whether the next frame's slot was taken already, and kept.
    pub fn has_kept(&self) -> bool {
        self.kept.is_some()
    }
}

impl Drop for FrameWriter {
    /// Tells readers that no further frame comes here.
    fn drop(&mut self) {
        self.control.words().word(STATE).store(STATE_RETIRED, Release);
    }
}

/// The counters of a control segment, as its writer has them.
struct Shared<'a>(WriteWords<'a>);

impl Counters for Shared<'_> {
    fn load(&self, counter: Counter, order: Ordering) -> u64 {
        self.0.word(word_of(counter)).load(order)
    }

    fn store(&self, counter: Counter, value: u64, order: Ordering) {
        self.0.word(word_of(counter)).store(value, order);
    }

    fn fence(&self, order: Ordering) {
        std::sync::atomic::fence(order);
    }
}

/// Where a counter of the control segment stands.
fn word_of(counter: Counter) -> usize {
    match counter {
        Counter::Head => HEAD,
        Counter::Sequence(slot) => SLOTS + slot * SLOT_WORDS,
        Counter::Lease => unreachable!("leases do not lie in the control segment"),
    }
}

/// A slot that is being written. Dropped without [`SlotWriter::publish`], its frame is never seen, and the next
/// one goes into the same slot.
#[derive(Debug)]
pub struct SlotWriter<'a> {
    frames: &'a mut FrameWriter,
    place: Place,
    held: Option<u64>,
}

impl SlotWriter<'_> {
    /// The number that this frame will have.
    pub fn number(&self) -> u64 {
        self.place.number
    }

    /// The number of the frame whose pixels the slot still holds, if there is one.
    pub fn held(&self) -> Option<u64> {
        self.held
    }

    /// Copies `rect` of a picture that has the frame's width and height and no padding between rows.
    ///
    /// Whole cache lines are copied, so pixels near the rectangle may be too.
    pub fn copy(&self, picture: &[u32], rect: Rect) {
        let (width, height) = (self.frames.header.width as usize, self.frames.header.height as usize);
        let row_words = self.frames.header.stride_bytes as usize / 8;
        let slot_words = self.frames.header.slot_stride_bytes as usize / 8;
        let words = self.frames.pixels.words().part(self.place.slot * slot_words, slot_words);
        let left = usize::from(rect.x).min(width) / ROW_PIXELS * ROW_PIXELS;
        let right = (usize::from(rect.x) + usize::from(rect.width)).next_multiple_of(ROW_PIXELS).min(width);
        let top = usize::from(rect.y).min(height);
        let bottom = (usize::from(rect.y) + usize::from(rect.height)).min(height);
        for y in top..bottom {
            let row = &picture[y * width..][left..right];
            let (even, odd) = row.split_at(row.len() / 2 * 2);
            words.store_pixels(y * row_words + left / 2, even);
            if let [last] = odd {
                words.store_pixels(y * row_words + right / 2, &[*last, 0]);
            }
        }
    }

    /// Keeps the slot for the next frame. Its pixels are those of frame `number` now, the latest.
    pub fn keep(self, number: u64) {
        self.frames.kept = Some(Taken { place: self.place, held: Some(number) });
    }

    /// Makes the frame visible. `info.number` is set here.
    pub fn publish(self, info: FrameInfo) {
        let control = self.frames.control.words();
        let at = word_of(Counter::Sequence(self.place.slot));
        control.store(at + 1, &FrameInfo { number: self.place.number, ..info }.to_words());
        self.frames.rotation.publish(&Shared(control), self.place);
    }
}

/// Reads the frames of one chart.
#[derive(Debug)]
pub struct FrameReader {
    control: View,
    pixels: View,
    header: FrameHeader,
}

/// A frame that was copied out of shared memory.
#[derive(Debug, Clone, Default)]
pub struct FrameCopy {
    /// Its description.
    pub info: Option<FrameInfo>,
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Row after row without padding; the bytes of each are red, green, blue, 255.
    pub pixels: Vec<u32>,
}

impl FrameCopy {
    /// The number of the frame; zero if there is none.
    pub fn number(&self) -> u64 {
        self.info.as_ref().map_or(0, |info| info.number)
    }
}

impl FrameReader {
    /// Maps both segments and checks that their sizes are as the header says.
    pub fn open(control: OwnedFd, pixels: OwnedFd) -> Result<Self, ShmError> {
        let foreign = |why| ShmError::Foreign { kind: "frame", why };
        let (control, pixels) = (View::open(control, "frame", MAGIC, SLOTS)?, View::map(pixels)?);
        let header = FrameHeader::from_words(&control.words().array(0));
        let sides_fit = [header.width, header.height].iter().all(|side| (1..=MAX_SIDE as u64).contains(side));
        let slots_fit = (2..=MAX_SLOTS as u64).contains(&header.slots);
        if header.fourcc != FOURCC_RGBA || !sides_fit || !slots_fit {
            return Err(foreign("its pixel format, size or number of slots is unknown"));
        }
        let rows_fit = header.stride_bytes.is_multiple_of(8)
            && (header.width * 4..=MAX_SIDE as u64 * 4 + 64).contains(&header.stride_bytes)
            && (header.stride_bytes * header.height..1 << 32).contains(&header.slot_stride_bytes);
        let slots = header.slots as usize;
        if !rows_fit
            || control.words().len() < SLOTS + slots * SLOT_WORDS
            || pixels.words().len() * 8 < slots * header.slot_stride_bytes as usize
        {
            return Err(foreign("it is shorter than its header says"));
        }
        Ok(Self { control, pixels, header })
    }

    /// What never changes.
    pub fn header(&self) -> &FrameHeader {
        &self.header
    }

    /// The number of the latest frame; zero before the first.
    pub fn latest(&self) -> u64 {
        self.control.words().load(HEAD) >> 8
    }

    /// Whether further frames may come here. If not, a new configuration has segments of its own.
    pub fn is_current(&self) -> bool {
        self.control.words().load(STATE) == STATE_CURRENT
    }

    /// Copies the latest frame. Never shows half of one.
    pub fn copy_latest(&self, copy: &mut FrameCopy) -> Result<(), Missed> {
        let (width, height) = (self.header.width as usize, self.header.height as usize);
        (copy.width, copy.height) = (width, height);
        // Rows are read in pairs of pixels: one more makes room for the padding of an odd width.
        let even_width = width.next_multiple_of(2);
        copy.pixels.resize(even_width * height, 0);
        let info = slots::read_latest(self, self.header.slots as usize, |slot| {
            let first = self.first_word(slot);
            for (y, row) in copy.pixels.chunks_exact_mut(even_width).enumerate() {
                self.pixels.words().load_pixels(first + y * self.row_words(), row);
            }
            self.info(slot)
        });
        if even_width != width {
            squeeze(&mut copy.pixels, even_width, width);
        }
        copy.info = info.ok();
        info.map(drop)
    }

    /// The description of the latest frame, without its pixels.
    pub fn latest_info(&self) -> Result<FrameInfo, Missed> {
        slots::read_latest(self, self.header.slots as usize, |slot| self.info(slot))
    }

    /// A reader that can use frames in place, with the lease page that the daemon granted for this chart.
    pub fn with_lease(self, page: OwnedFd) -> Result<LeasingReader, ShmError> {
        let lease = Lease::open(page, self.header.chart, &self.header.prefix.identity())?;
        Ok(LeasingReader { reader: self, lease })
    }

    fn info(&self, slot: usize) -> FrameInfo {
        FrameInfo::from_words(&self.control.words().array(word_of(Counter::Sequence(slot)) + 1))
    }

    fn first_word(&self, slot: usize) -> usize {
        slot * self.header.slot_stride_bytes as usize / 8
    }

    fn row_words(&self) -> usize {
        self.header.stride_bytes as usize / 8
    }
}

impl Counters for FrameReader {
    fn load(&self, counter: Counter, order: Ordering) -> u64 {
        self.control.words().load_as(word_of(counter), order)
    }

    fn store(&self, _: Counter, _: u64, _: Ordering) {
        unreachable!("a reader that copies writes nothing");
    }

    fn fence(&self, order: Ordering) {
        std::sync::atomic::fence(order);
    }
}

/// Reads the frames of one chart in place: nothing is copied.
#[derive(Debug)]
pub struct LeasingReader {
    reader: FrameReader,
    lease: Lease,
}

impl LeasingReader {
    /// The same frames, to be copied.
    pub fn reader(&self) -> &FrameReader {
        &self.reader
    }

    /// Keeps the latest frame from being written over until it is dropped.
    pub fn lease_latest(&mut self) -> Result<LeasedFrame<'_>, Missed> {
        let place = slots::lease_latest(&*self, self.reader.header.slots as usize)?;
        let info = self.reader.info(place.slot);
        Ok(LeasedFrame { leasing: self, slot: place.slot, info })
    }
}

impl Counters for LeasingReader {
    fn load(&self, counter: Counter, order: Ordering) -> u64 {
        self.reader.load(counter, order)
    }

    fn store(&self, counter: Counter, value: u64, order: Ordering) {
        assert_eq!(counter, Counter::Lease, "a reader writes nothing but its lease");
        self.lease.word().store(value, order);
    }

    fn fence(&self, order: Ordering) {
        self.reader.fence(order);
    }
}

/// A frame that is used in place. The daemon leaves its slot alone until this is dropped.
#[derive(Debug)]
pub struct LeasedFrame<'a> {
    leasing: &'a mut LeasingReader,
    slot: usize,
    info: FrameInfo,
}

impl LeasedFrame<'_> {
    /// Its description.
    pub fn info(&self) -> &FrameInfo {
        &self.info
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.leasing.reader.header.width as usize
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.leasing.reader.header.height as usize
    }

    /// The pixels of row `y`, from the top; the bytes of each are red, green, blue, 255.
    pub fn row(&self, y: usize) -> &[u32] {
        let reader = &self.leasing.reader;
        assert!(y < reader.header.height as usize, "the frame has no row {y}");
        let at = reader.first_word(self.slot) + y * reader.row_words();
        // SAFETY: the slot is leased through a page that the daemon granted for this very chart (`Lease::open` checks
        // it), and this borrows that lease exclusively. The daemon alone can write here, and leaves leased slots alone.
        unsafe { reader.pixels.words().pixels(at, reader.header.width as usize) }
    }
}

impl Drop for LeasedFrame<'_> {
    fn drop(&mut self) {
        slots::release(&*self.leasing);
    }
}

/// Removes the padding behind each row.
fn squeeze(pixels: &mut Vec<u32>, padded: usize, width: usize) {
    let rows = pixels.len() / padded;
    for y in 1..rows {
        pixels.copy_within(y * padded..y * padded + width, y * width);
    }
    pixels.truncate(rows * width);
}
