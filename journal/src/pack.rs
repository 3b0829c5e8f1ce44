//! Packed segments: the bytes of a closed one in the seekable format of Zstandard, so that `zstd -dc` gives them back,
//! and any place of them can be read without what is before it.
//!
//! Frames of 1 MiB of content each, the last perhaps shorter, each with its checksum; then a skippable frame with the
//! lengths of all of them, packed and not. What holds: a plain segment is removed only when the packed one has been
//! read back, compared, and made durable; and only a segment that is whole is packed.

use crate::block::u32_at;
use crate::reader::heads::Segments;
use crate::reader::parts;
use crate::store::{Folder, Form, Segment, Source, Store};
use std::fs::File;
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{CParameter, compress_bound};

/// Content of a frame.
pub const FRAME_BYTES: usize = 1 << 20;
const SKIPPABLE_MAGIC: u32 = 0x184d_2a5e;
const SEEKABLE_MAGIC: u32 = 0x8f92_eab1;
const FOOTER_BYTES: usize = 9;
const SKIPPABLE_BYTES: usize = 8;
/// Bits of the descriptor: entries have checksums; and those that must be 0.
const HAS_CHECKSUMS: u8 = 0x80;
const RESERVED: u8 = 0x7c;
/// A longer table is refused: that would be a segment of 64 GiB.
const MAX_FRAMES: usize = 1 << 16;

/// What came of packing a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedBytes {
    /// How long it was.
    pub plain: u64,
    /// How long it is.
    pub packed: u64,
}

/// Why a segment was not packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// It is not there, or is packed.
    #[error("there is no plain segment {0} to pack")]
    Absent(u64),
    /// It is torn, or corrupt.
    #[error("segment {segment} is not whole: no block goes on at byte {offset}. It stays as it is")]
    NotWhole {
        /// Which.
        segment: u64,
        /// Where.
        offset: u64,
    },
    /// What was packed did not come back as it was.
    #[error("segment {0} did not come back as it was from its packed form: it stays plain")]
    Differs(u64),
    /// The disk refused.
    #[error("cannot pack segment {segment}: {source}")]
    Io {
        /// Which.
        segment: u64,
        /// Why.
        source: io::Error,
    },
}

/// Packs a closed segment, and removes the plain one.
pub fn pack(folder: &Folder, number: u64, level: i32) -> Result<PackedBytes, PackError> {
    let failed = |source| PackError::Io { segment: number, source };
    let all = folder.list().map_err(failed)?;
    let segment = all.into_iter().find(|segment| segment.number == number && !segment.is_packed);
    let segment = segment.ok_or(PackError::Absent(number))?;
    if let Some(offset) = first_unproven(folder, &segment).map_err(failed)? {
        return Err(PackError::NotWhole { segment: number, offset });
    }
    let mut plain = folder.open(&segment).map_err(failed)?;
    let (mut packed, mut is_same) = (0, true);
    let written = folder.put(number, Form::Packed, |file| {
        packed = write_packed(plain.as_mut(), file, level)?;
        is_same = compare(plain.as_mut(), file)?;
        if is_same { Ok(()) } else { Err(io::Error::from(ErrorKind::InvalidData)) }
    });
    if !is_same {
        return Err(PackError::Differs(number));
    }
    written.map_err(failed)?;
    folder.remove_form(number, Form::Plain).map_err(failed)?;
    Ok(PackedBytes { plain: plain.len(), packed })
}

/// Where a segment ceases to be blocks, each the next of the one before, and blank pages behind them.
fn first_unproven(folder: &Folder, segment: &Segment) -> io::Result<Option<u64>> {
    let one = Segments::of_one(folder, *segment);
    let Some(mut window) = one.open(0).map_err(io::Error::other)? else { return Ok(Some(0)) };
    let (mut offset, mut last, mut blocks) = (0, None, 0);
    while let Ok((header, payload)) = window.block(offset)? {
        let belongs = header.number == segment.number && header.index == blocks;
        let follows = last.is_none_or(|(identity, crc, end)| {
            (identity, crc, end) == (header.segment, header.previous_crc, header.first)
        });
        if !belongs || !follows || parts::survey(window.bytes(), &header, &payload).is_none() {
            return Ok(Some(offset));
        }
        last = Some((header.segment, header.crc, header.end()));
        blocks += 1;
        offset += header.block_bytes() as u64;
    }
    window.first_written(offset)
}

fn write_packed(plain: &mut dyn Source, file: &mut File, level: i32) -> io::Result<u64> {
    let mut compressor = Compressor::new(level)?;
    compressor.set_parameter(CParameter::ChecksumFlag(true))?;
    let mut content = vec![0; FRAME_BYTES];
    let mut frame = vec![0; compress_bound(FRAME_BYTES)];
    let (mut entries, mut offset, mut packed) = (Vec::new(), 0, 0u64);
    while offset < plain.len() {
        let read = plain.read_at(offset, &mut content)?;
        if read == 0 {
            break;
        }
        let len = compressor.compress_to_buffer(&content[..read], &mut frame[..])?;
        file.write_all(&frame[..len])?;
        entries.extend((len as u32).to_le_bytes());
        entries.extend((read as u32).to_le_bytes());
        offset += read as u64;
        packed += len as u64;
    }
    let table = seek_table(&entries);
    file.write_all(&table)?;
    Ok(packed + table.len() as u64)
}

fn seek_table(entries: &[u8]) -> Vec<u8> {
    let mut table = Vec::with_capacity(SKIPPABLE_BYTES + entries.len() + FOOTER_BYTES);
    table.extend(SKIPPABLE_MAGIC.to_le_bytes());
    table.extend(((entries.len() + FOOTER_BYTES) as u32).to_le_bytes());
    table.extend(entries);
    table.extend(((entries.len() / 8) as u32).to_le_bytes());
    table.push(0);
    table.extend(SEEKABLE_MAGIC.to_le_bytes());
    table
}

fn compare(plain: &mut dyn Source, file: &mut File) -> io::Result<bool> {
    file.seek(SeekFrom::Start(0))?;
    // What cannot be read back is as bad as what differs.
    let mut packed = match Packed::open(file.try_clone()?) {
        Ok(packed) if packed.len() == plain.len() => packed,
        _ => return Ok(false),
    };
    let (mut one, mut other) = (vec![0; FRAME_BYTES], vec![0; FRAME_BYTES]);
    let mut offset = 0;
    while offset < plain.len() {
        let read = plain.read_at(offset, &mut one)?;
        let is_same = packed.read_at(offset, &mut other).is_ok_and(|back| back == read);
        if read == 0 || !is_same || one[..read] != other[..read] {
            return Ok(false);
        }
        offset += read as u64;
    }
    Ok(true)
}

/// An open packed segment. One frame of it is in memory, unpacked.
pub(crate) struct Packed {
    file: File,
    /// Where each frame begins, and where the last ends.
    begins: Vec<u64>,
    len: u64,
    decompressor: Decompressor<'static>,
    frame: Vec<u8>,
    packed: Vec<u8>,
    /// Which frame is in memory, and whether it could be unpacked.
    there: Option<(usize, bool)>,
}

fn refuse(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("it is no packed segment: {why}"))
}

impl Packed {
    pub(crate) fn open(file: File) -> io::Result<Self> {
        let (begins, len) = read_table(&file)?;
        Ok(Self {
            file,
            begins,
            len,
            decompressor: Decompressor::new()?,
            frame: vec![0; FRAME_BYTES],
            packed: Vec::new(),
            there: None,
        })
    }

    /// How much content a frame has.
    fn content_bytes(&self, frame: usize) -> usize {
        (self.len - frame as u64 * FRAME_BYTES as u64).min(FRAME_BYTES as u64) as usize
    }

    /// Has a frame in memory.
    fn load(&mut self, frame: usize) -> io::Result<()> {
        let damaged = || io::Error::new(ErrorKind::InvalidData, format!("frame {frame} cannot be unpacked"));
        match self.there {
            Some((there, true)) if there == frame => return Ok(()),
            Some((there, false)) if there == frame => return Err(damaged()),
            _ => {}
        }
        self.there = None;
        let (begin, end) = (self.begins[frame], self.begins[frame + 1]);
        self.packed.resize((end - begin) as usize, 0); // Bounded by `read_table`.
        self.file.read_exact_at(&mut self.packed, begin)?;
        let content_bytes = self.content_bytes(frame);
        let unpacked = self.decompressor.decompress_to_buffer(&self.packed, &mut self.frame[..content_bytes]);
        let is_whole = unpacked.is_ok_and(|bytes| bytes == content_bytes);
        self.there = Some((frame, is_whole));
        if is_whole { Ok(()) } else { Err(damaged()) }
    }
}

impl Source for Packed {
    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while read < out.len() && offset + (read as u64) < self.len {
            let at = offset + read as u64;
            let frame = (at / FRAME_BYTES as u64) as usize;
            match self.load(frame) {
                // What is before it can be had.
                Err(error) if read > 0 && error.kind() == ErrorKind::InvalidData => break,
                outcome => outcome?,
            }
            let within = (at % FRAME_BYTES as u64) as usize;
            let bytes = (self.content_bytes(frame) - within).min(out.len() - read);
            out[read..read + bytes].copy_from_slice(&self.frame[within..within + bytes]);
            read += bytes;
        }
        Ok(read)
    }

    fn len(&self) -> u64 {
        self.len
    }
}

/// Reads the table at the end of the file: where the frames begin, and how long their content is in all.
fn read_table(file: &File) -> io::Result<(Vec<u64>, u64)> {
    let file_bytes = file.metadata()?.len();
    let mut footer = [0; FOOTER_BYTES];
    let footer_at = file_bytes.checked_sub(FOOTER_BYTES as u64).ok_or_else(|| refuse("it is too short"))?;
    file.read_exact_at(&mut footer, footer_at)?;
    let (count, descriptor) = (u32_at(&footer, 0) as usize, footer[4]);
    if u32_at(&footer, 5) != SEEKABLE_MAGIC || descriptor & RESERVED != 0 {
        return Err(refuse("it does not end with a seek table"));
    }
    let entry_bytes = if descriptor & HAS_CHECKSUMS == 0 { 8 } else { 12 };
    if count > MAX_FRAMES {
        return Err(refuse("its seek table is too long"));
    }
    let table_bytes = SKIPPABLE_BYTES + count * entry_bytes + FOOTER_BYTES;
    let table_at =
        file_bytes.checked_sub(table_bytes as u64).ok_or_else(|| refuse("its seek table is cut off"))?;
    let mut table = vec![0; table_bytes];
    file.read_exact_at(&mut table, table_at)?;
    let is_framed =
        u32_at(&table, 0) == SKIPPABLE_MAGIC && u32_at(&table, 4) as usize == table_bytes - SKIPPABLE_BYTES;
    if !is_framed {
        return Err(refuse("its seek table does not begin where it should"));
    }
    let (mut begins, mut at, mut len) = (vec![0], 0u64, 0u64);
    for (place, entry) in table[SKIPPABLE_BYTES..].chunks_exact(entry_bytes).take(count).enumerate() {
        let (packed, content) = (u32_at(entry, 0) as usize, u32_at(entry, 4) as usize);
        let is_last = place + 1 == count;
        let is_sized = content == FRAME_BYTES || is_last && (1..FRAME_BYTES).contains(&content);
        if !is_sized || packed > compress_bound(FRAME_BYTES) {
            return Err(refuse("its seek table tells of frames that are not of 1 MiB"));
        }
        at += packed as u64;
        len += content as u64;
        begins.push(at);
    }
    if at != table_at {
        return Err(refuse("its frames are not as long as its seek table says"));
    }
    Ok((begins, len))
}
