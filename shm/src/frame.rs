//! Frames of one chart: a control segment with the slots' descriptions, and a segment of pixels.
//!
//! Control segment, in words:
//!
//! | words | what |
//! |---|---|
//! | 0.. | [`FrameHeader`], never changed |
//! | 32 | head: number of the latest frame << 8 \| its slot; zero before the first |
//! | 64 + 32·slot | sequence word, then [`FrameInfo`] |
//!
//! Frame `n` lies in slot `n % slots`. While it is written the slot's sequence is `2n - 1`, afterwards `2n`. The
//! pixels of slot `s` begin `s × slot_stride_bytes` into the pixel segment; a row takes `stride_bytes`; a pixel is
//! four bytes: red, green, blue, 255.

use crate::record::{Text, record};
use crate::segment::{Segment, View};
use crate::{ABI_MAJOR, ABI_MINOR, ShmError};
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::*;

/// The first word of a control segment: "chartdF1".
pub const MAGIC: u64 = u64::from_le_bytes(*b"chartdF1");
/// DRM's code for the pixel format: bytes red, green, blue, alpha.
pub const FOURCC_RGBA: u64 = u32::from_le_bytes(*b"AB24") as u64;
/// The most slots that a chart may have: the head keeps the slot in a byte.
pub const MAX_SLOTS: usize = 255;
/// The largest width and height.
pub const MAX_SIDE: usize = 8192;
/// The most damage rectangles that a frame carries.
pub const MAX_DAMAGE: usize = 16;

const HEAD: usize = 32;
const SLOTS: usize = 64;
const SLOT_WORDS: usize = 32;
/// Rows begin on cache lines: 16 pixels.
const ROW_PIXELS: usize = 16;

record! {
    /// What never changes while the segment lives.
    pub struct FrameHeader {
        /// [`MAGIC`]; stored last.
        pub magic: u64,
        /// [`ABI_MAJOR`].
        pub abi_major: u64,
        /// [`ABI_MINOR`].
        pub abi_minor: u64,
        /// How many slots there are.
        pub slots: u64,
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
        /// When its candles were in shared memory.
        pub candle_ns: u64,
        /// When drawing began.
        pub render_ns: u64,
        /// When it became visible.
        pub publish_ns: u64,
        /// Revision of the candle series that it shows.
        pub data_revision: u64,
        /// How it was drawn: [`Backend`].
        pub backend: u64,
        /// Candles in it.
        pub bars: u64,
        /// How many of `damage` count. Zero: nothing differs from the frame before.
        pub damage_count: u64,
        /// What differs from the frame before: x | y << 16 | width << 32 | height << 48.
        pub damage: [u64; MAX_DAMAGE],
    }
}

/// What drew a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Backend {
    /// The processor, one pixel at a time: the specification.
    CpuScalar = 1,
}

impl Backend {
    /// The name that reports use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CpuScalar => "cpu-scalar",
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

/// Publishes the frames of one chart.
#[derive(Debug)]
pub struct FrameWriter {
    control: Segment,
    pixels: Segment,
    header: FrameHeader,
    /// Number of the latest frame.
    number: u64,
}

impl FrameWriter {
    /// Makes both segments. `huge` asks for 2 MiB pages; [`FrameHeader::page_bytes`] tells what came of it.
    pub fn create(
        chart: &str,
        width: usize,
        height: usize,
        slots: usize,
        huge: bool,
    ) -> Result<Self, ShmError> {
        for (what, side) in [("the width of a frame", width), ("the height of a frame", height)] {
            if !(1..=MAX_SIDE).contains(&side) {
                return Err(ShmError::Limit { what, value: side, limit: "1 to 8192" });
            }
        }
        if !(2..=MAX_SLOTS).contains(&slots) {
            return Err(ShmError::Limit { what: "the number of slots", value: slots, limit: "2 to 255" });
        }
        let stride_bytes = width.next_multiple_of(ROW_PIXELS) * 4;
        let slot_stride_bytes = (stride_bytes * height).next_multiple_of(4096);
        let pixels = Segment::create("chartd-pixels", slot_stride_bytes * slots, huge)?;
        let control = Segment::create("chartd-frames", (SLOTS + slots * SLOT_WORDS) * 8, false)?;
        let header = FrameHeader {
            magic: MAGIC,
            abi_major: ABI_MAJOR,
            abi_minor: ABI_MINOR,
            slots: slots as u64,
            slot_stride_bytes: slot_stride_bytes as u64,
            width: width as u64,
            height: height as u64,
            stride_bytes: stride_bytes as u64,
            fourcc: FOURCC_RGBA,
            page_bytes: pixels.page_bytes() as u64,
            chart: Text::new(chart),
        };
        control.words().store(0, &header.to_words());
        Ok(Self { control, pixels, header, number: 0 })
    }

    /// What it made.
    pub fn header(&self) -> &FrameHeader {
        &self.header
    }

    /// Descriptors for a reader: control, pixels.
    pub fn reader_fds(&self) -> Result<[OwnedFd; 2], ShmError> {
        Ok([self.control.reader_fd()?, self.pixels.reader_fd()?])
    }

    /// Begins the next frame in the slot that was published longest ago.
    pub fn begin(&mut self) -> SlotWriter<'_> {
        let number = self.number + 1;
        let slot = (number % self.header.slots) as usize;
        self.control.words().begin_sequenced(SLOTS + slot * SLOT_WORDS, 2 * number);
        SlotWriter { frames: self, number, slot }
    }
}

/// A slot that is being written. Dropped without [`SlotWriter::publish`], its frame is never seen, and the next
/// one goes into the same slot.
#[derive(Debug)]
pub struct SlotWriter<'a> {
    frames: &'a mut FrameWriter,
    number: u64,
    slot: usize,
}

impl SlotWriter<'_> {
    /// The number that this frame will have.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The number of the frame whose pixels the slot still holds, if it was ever written.
    pub fn held(&self) -> Option<u64> {
        self.number.checked_sub(self.frames.header.slots).filter(|number| *number > 0)
    }

    /// Copies `rect` of a picture that has the frame's width and height and no padding between rows.
    ///
    /// Whole cache lines are copied, so pixels near the rectangle may be too.
    pub fn copy(&self, picture: &[u32], rect: Rect) {
        let (width, height) = (self.frames.header.width as usize, self.frames.header.height as usize);
        let row_words = self.frames.header.stride_bytes as usize / 8;
        let slot_words = self.frames.header.slot_stride_bytes as usize / 8;
        let words = self.frames.pixels.words().part(self.slot * slot_words, slot_words);
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

    /// Makes the frame visible. `info.number` is set here.
    pub fn publish(self, info: FrameInfo) {
        let control = self.frames.control.words();
        let at = SLOTS + self.slot * SLOT_WORDS;
        control.store(at + 1, &FrameInfo { number: self.number, ..info }.to_words());
        control.word(at).store(2 * self.number, Release);
        control.word(HEAD).store(self.number << 8 | self.slot as u64, Release);
        self.frames.number = self.number;
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

/// What came of an attempt to copy a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyOutcome {
    /// The copy is whole.
    Copied,
    /// No frame was published yet.
    NoFrame,
    /// The writer overtook every attempt.
    Overtaken,
}

impl FrameReader {
    /// How often a copy is tried before giving up. Each try takes the frame that is newest by then.
    pub const TRIES: usize = 8;

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

    /// Copies the latest frame. Never shows half of one.
    pub fn copy_latest(&self, copy: &mut FrameCopy) -> CopyOutcome {
        let (width, height) = (self.header.width as usize, self.header.height as usize);
        (copy.width, copy.height) = (width, height);
        // Rows are read in pairs of pixels: one more makes room for the padding of an odd width.
        let even_width = width.next_multiple_of(2);
        copy.pixels.resize(even_width * height, 0);
        for _ in 0..Self::TRIES {
            let control = self.control.words();
            let head = control.load(HEAD);
            if head == 0 {
                return CopyOutcome::NoFrame;
            }
            let slot = (head & 0xff) as usize % self.header.slots as usize;
            let at = SLOTS + slot * SLOT_WORDS;
            let Some((sequence, words)) = control.read_sequenced(at) else {
                continue;
            };
            let first = slot * self.header.slot_stride_bytes as usize / 8;
            for (y, row) in copy.pixels.chunks_exact_mut(even_width).enumerate() {
                self.pixels.words().load_pixels(first + y * self.header.stride_bytes as usize / 8, row);
            }
            if control.unchanged_since(at, sequence) {
                copy.info = Some(FrameInfo::from_words(&words));
                if even_width != width {
                    squeeze(&mut copy.pixels, even_width, width);
                }
                return CopyOutcome::Copied;
            }
        }
        CopyOutcome::Overtaken
    }

    /// The description of the latest frame, without its pixels.
    pub fn latest_info(&self) -> Option<FrameInfo> {
        let control = self.control.words();
        (0..Self::TRIES).find_map(|_| {
            let head = control.load(HEAD);
            let slot = (head & 0xff) as usize % self.header.slots as usize;
            let found = control.read_sequenced(SLOTS + slot * SLOT_WORDS).filter(|_| head != 0)?;
            Some(FrameInfo::from_words(&found.1))
        })
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
