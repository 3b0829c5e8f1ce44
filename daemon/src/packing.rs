//! The latest frame of a chart as a file, for the page.
//!
//! A PNG is kept for each chart that somebody looked at, and follows it: only what changed is packed, once for all
//! browsers. For that two copies of the frame are kept. What holds: the file is that of the frame whose number comes
//! with it. Packing takes up to milliseconds and a lock, so it is no work for the runtime's thread.

use encode::{DeltaPng, EncodeError, Format, Picture};
use hyper::body::Bytes;
use shm::frame::{FrameCopy, FrameInfo, FrameReader, MAX_DAMAGE, Rect};
use std::sync::{Mutex, MutexGuard};

/// A chart's frames, and the file of the latest that was asked for.
pub(crate) struct Packing {
    reader: FrameReader,
    packed: Mutex<Packed>,
}

#[derive(Default)]
struct Packed {
    /// What the PNG shows.
    frame: FrameCopy,
    /// Memory for the next frame. What is in it may be torn.
    next: FrameCopy,
    png: Option<DeltaPng>,
    file: Bytes,
}

impl Packing {
    pub(crate) fn new(reader: FrameReader) -> Self {
        Self { reader, packed: Mutex::default() }
    }

    pub(crate) fn reader(&self) -> &FrameReader {
        &self.reader
    }

    /// The latest frame's number and file. `None` if it was overtaken, or cannot be packed.
    pub(crate) fn latest(&self, format: Format) -> Option<(u64, Bytes)> {
        if format != Format::Png {
            let mut frame = FrameCopy::default();
            self.reader.copy_latest(&mut frame).ok()?;
            let file = encode::encode(&chart_client::picture(&frame), format).ok()?;
            return Some((frame.number(), file.into()));
        }
        let mut packed = self.lock();
        packed.follow(&self.reader)?;
        Some((packed.frame.number(), packed.file.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, Packed> {
        self.packed.lock().unwrap_or_else(|poisoned| {
            // Whoever panicked may have left half of a file.
            let mut packed = poisoned.into_inner();
            *packed = Packed::default();
            self.packed.clear_poison();
            packed
        })
    }
}

impl Packed {
    /// Brings the file up to the latest frame.
    fn follow(&mut self, reader: &FrameReader) -> Option<()> {
        if self.png.is_some() && reader.latest() == self.frame.number() {
            return Some(());
        }
        reader.copy_latest(&mut self.next).ok()?;
        self.pack().ok()?;
        std::mem::swap(&mut self.frame, &mut self.next);
        Some(())
    }

    /// Packs what differs between the two frames.
    fn pack(&mut self) -> Result<(), EncodeError> {
        let (before, now) = (chart_client::picture(&self.frame), chart_client::picture(&self.next));
        let png = match &mut self.png {
            Some(png) => {
                png.update(&now, &dirty(&self.frame, &before, &self.next, &now))?;
                png
            }
            None => self.png.insert(DeltaPng::new(&now)?),
        };
        self.file = png.file().into();
        Ok(())
    }
}

/// Where the pictures may differ. A frame tells that only against the one before it; if others came between, both are
/// compared, which takes as long as copying one of them did.
fn dirty(old: &FrameCopy, before: &Picture<'_>, new: &FrameCopy, now: &Picture<'_>) -> Vec<encode::Rect> {
    match &new.info {
        Some(info) if info.number == old.number() + 1 => damage(info),
        _ => encode::differing_rows(before, now),
    }
}

fn damage(info: &FrameInfo) -> Vec<encode::Rect> {
    let count = (info.damage_count as usize).min(MAX_DAMAGE);
    let rect = |word: &u64| {
        let Rect { x, y, width, height } = Rect::unpack(*word);
        encode::Rect { x: x.into(), y: y.into(), width: width.into(), height: height.into() }
    };
    info.damage[..count].iter().map(rect).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm::frame::{FramePlan, FrameWriter};
    use shm::prefix::Identity;

    const SIDE: usize = 100;

    /// Publishes a picture whose damage is told.
    fn publish(writer: &mut FrameWriter, picture: &[u32], rect: Rect) {
        let all = Rect { x: 0, y: 0, width: SIDE as u16, height: SIDE as u16 };
        let slot = writer.begin().unwrap();
        slot.copy(picture, all);
        let mut damage = [0; MAX_DAMAGE];
        damage[0] = rect.pack();
        let info = FrameInfo {
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
            damage_count: 1,
            damage,
        };
        slot.publish(info);
    }

    /// Frames that are packed one by one and frames that are skipped: the file is always that of the newest.
    #[test]
    fn the_file_is_that_of_the_newest_frame() {
        let identity = Identity::default();
        let plan =
            FramePlan { chart: "a", width: SIDE, height: SIDE, slots: 4, leases: 0, huge: false, identity };
        let mut writer = FrameWriter::create(&plan).unwrap();
        let [control, pixels] = writer.reader_fds().unwrap();
        let packing = Packing::new(FrameReader::open(control, pixels).unwrap());
        assert!(packing.latest(Format::Png).is_none(), "there is no frame yet");
        let mut picture = vec![0xff20_3040_u32; SIDE * SIDE];
        for number in 1..60 {
            // The same pixels go to and fro, so that a strip may look as it did before.
            let (x, y) = (3, number * 7 % 4 * 25);
            picture[y * SIDE + x] ^= 0x00ff_00ff;
            publish(&mut writer, &picture, Rect { x: x as u16, y: y as u16, width: 1, height: 1 });
            if number % 5 > 2 {
                continue;
            }
            let now = Picture { width: SIDE as u32, height: SIDE as u32, pixels: &picture };
            let (found, file) = packing.latest(Format::Png).unwrap();
            assert_eq!(found, number as u64);
            assert!(file == DeltaPng::new(&now).unwrap().file(), "frame {number} differs");
            assert_eq!(packing.latest(Format::Png).unwrap().1, file);
            let webp = packing.latest(Format::WebP).unwrap().1;
            assert!(webp == encode::encode(&now, Format::WebP).unwrap());
        }
    }
}
