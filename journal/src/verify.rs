//! All of a journal, read and counted: what is in it, and what is missing.

use crate::queue::Lost;
use crate::reader::{Item, Missing, ReadError, Reader, Span};
use crate::record::{Kind, REPEATED};
use crate::store::Store;

/// So many of what is missing are told one by one.
pub const TOLD_AT_MOST: usize = 10_000;
/// How often progress is told, in items.
const TELL_EVERY: u64 = 4_096;

/// What a journal holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// How many segments there are.
    pub segments: u64,
    /// How many of them are packed.
    pub packed: u64,
    /// How many blocks were proven.
    pub blocks: u64,
    /// How many records there are, the repeated ones not counted.
    pub records: u64,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
    /// Sequences of the first and the last.
    pub sequences: Option<(u64, u64)>,
    /// Receive times of the earliest and the latest, CLOCK_REALTIME in ns.
    pub times_ns: Option<(u64, u64)>,
    /// How many of the records tell of others that found no room.
    pub gaps: u64,
    /// How many those others were.
    pub lost_records: u64,
    /// Bytes of their payloads.
    pub lost_bytes: u64,
    /// What is missing, the first [`TOLD_AT_MOST`].
    pub missing: Vec<Missing>,
    /// How often something is missing.
    pub findings: u64,
    /// How many records are missing, as far as their sequences are known.
    pub missing_records: u64,
}

/// Reads all of a journal. `progress` is told now and then how many bytes there are, and how many were read.
pub fn verify(store: &dyn Store, mut progress: impl FnMut(u64, u64)) -> Result<Report, ReadError> {
    let mut report = Report::default();
    let mut reader = Reader::new(store, Span::ALL)?;
    for segment in reader.list() {
        report.segments += 1;
        report.packed += u64::from(segment.is_packed);
    }
    let mut items = 0u64;
    loop {
        match reader.next()? {
            None => break,
            Some(Item::Missing(missing)) => report.miss(missing),
            Some(Item::Record(record)) if record.header.flags & REPEATED != 0 => {}
            Some(Item::Record(record)) => report.count(&record),
        }
        items += 1;
        if items.is_multiple_of(TELL_EVERY) {
            let (all, read) = reader.progress();
            progress(all, read);
        }
    }
    report.blocks = reader.counts().blocks;
    let (all, read) = reader.progress();
    progress(all, read);
    Ok(report)
}

impl Report {
    fn miss(&mut self, missing: Missing) {
        self.findings += 1;
        self.missing_records =
            self.missing_records.saturating_add(missing.records.end - missing.records.start);
        if self.missing.len() < TOLD_AT_MOST {
            self.missing.push(missing);
        }
    }

    fn count(&mut self, record: &crate::Record<'_>) {
        self.records += 1;
        self.payload_bytes += record.payload.len() as u64;
        let first = self.sequences.map_or(record.sequence, |(first, _)| first);
        self.sequences = Some((first, record.sequence));
        let real_ns = record.header.stamp.real_ns;
        let (earliest, latest) = self.times_ns.unwrap_or((real_ns, real_ns));
        self.times_ns = Some((earliest.min(real_ns), latest.max(real_ns)));
        if record.header.kind == Kind::Gap {
            self.gaps += 1;
            if let Some(lost) = Lost::decode(record.payload) {
                self.lost_records = self.lost_records.saturating_add(lost.records);
                self.lost_bytes = self.lost_bytes.saturating_add(lost.bytes);
            }
        }
    }
}
