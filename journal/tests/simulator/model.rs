//! What was accepted, in order; and whether what is read back is that, and how far.

use super::disk::Disk;
use super::{Checked, ensure};
use journal::block;
use journal::reader::Why;
use journal::record::{HEADER_BYTES, REPEATED};
use journal::{Header, Item, Kind, ReadError, Reader, Span, Store};

/// All records that were accepted and not lost since, over all runs.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) log: Vec<(Header, Vec<u8>)>,
    /// How many of them class async may have lost to a failure, without being cut.
    pub(crate) unsure: u64,
}

/// What was read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Found {
    /// The sequence behind the last record.
    pub(crate) end: u64,
    /// Whether a torn tail was told of.
    pub(crate) is_torn: bool,
    /// How many records were told missing.
    pub(crate) missing: u64,
}

impl Model {
    /// Reads the journal: all of it must be what was accepted, without a gap, up to some record.
    pub(crate) fn read(&self, disk: &Disk) -> Checked<Found> {
        let mut found = Found::default();
        let mut reader = match Reader::new(disk, Span::ALL) {
            Ok(reader) => reader,
            Err(ReadError::Nothing(_)) => return Ok(found),
            Err(error) => return Err(format!("cannot read: {error}")),
        };
        // The feeds are told first, and again behind what is missing.
        let (mut is_first, mut is_behind) = (true, false);
        while let Some(item) = reader.next().map_err(|error| format!("cannot read on: {error}"))? {
            ensure!(!found.is_torn, "{item:?} behind the torn tail");
            match item {
                Item::Record(record) if record.header.flags & REPEATED != 0 => {
                    ensure!(is_first || is_behind, "record {} is repeated within", record.sequence);
                    is_behind = false;
                }
                Item::Record(record) => {
                    let sequence = record.sequence;
                    // What class async has lost at the very beginning, nobody can tell.
                    found.end = if is_first && self.unsure > 0 { sequence } else { found.end };
                    ensure!(sequence == found.end, "record {sequence} after {}", found.end);
                    let Some((header, payload)) = self.log.get(sequence as usize) else {
                        return Err(format!("record {sequence} was never accepted"));
                    };
                    ensure!(
                        record.header == *header,
                        "record {sequence}: {:?}, not {header:?}",
                        record.header
                    );
                    ensure!(record.payload == payload, "record {sequence}: another payload");
                    found.end += 1;
                    is_first = false;
                }
                Item::Missing(missing) => {
                    let why = missing.why;
                    ensure!(missing.records.start == found.end, "{missing:?} after {}", found.end);
                    match why {
                        Why::Torn { .. } => found.is_torn = true,
                        Why::Corrupt => {
                            found.missing += missing.records.end - missing.records.start;
                            ensure!(self.unsure > 0, "{missing:?}");
                            found.end = missing.records.end;
                            is_behind = true;
                        }
                    }
                }
            }
        }
        Ok(found)
    }

    /// Whether each segment from `first` on begins with the start record that was in force then, of this run, whose
    /// records are those from `base` on.
    pub(crate) fn check_heads(&self, disk: &Disk, first: u64, base: u64, block_bytes: usize) -> Checked {
        for segment in disk.list().unwrap_or_default().into_iter().filter(|it| it.number >= first) {
            let mut bytes = vec![0; block_bytes];
            let len = disk.open(&segment).and_then(|mut source| source.read_at(0, &mut bytes));
            let Ok((head, payload)) = block::open(&bytes[..len.unwrap_or(0)]) else { continue };
            let Some(Ok(header)) = payload.get(..HEADER_BYTES).map(<&[u8; HEADER_BYTES]>::try_from) else {
                continue;
            };
            let Some((header, len)) = Header::decode(header) else {
                return Err(format!("segment {} begins with no record", segment.number));
            };
            ensure!(head.count == 0 || header.flags & REPEATED == 0, "{head} holds more than the repeated");
            let before = &self.log[..self.log.len().min(head.first as usize)];
            let is_start = |it: &(Header, Vec<u8>)| it.0.kind == Kind::Start;
            let in_force = before.iter().rposition(is_start).filter(|start| *start as u64 >= base);
            // One that goes on in this very segment, and was not in memory as a whole, is not in force yet.
            let older = in_force.filter(|last| last + 1 == before.len()).map(|last| &before[..last]);
            let older = older.and_then(|older| older.iter().rposition(is_start));
            let older = older.filter(|start| *start as u64 >= base);
            let repeats = |start: &usize| {
                let (expected, whole) = &self.log[*start];
                let is_same = header.generation == expected.generation
                    && header.stamp == expected.stamp
                    && whole.get(..len) == Some(&payload[HEADER_BYTES..][..len]);
                header.flags & REPEATED != 0 && is_same
            };
            let room = block_bytes - block::HEADER_BYTES - HEADER_BYTES;
            let none_fits = |start: &usize| self.log[*start].1.len() >= room;
            let holds = match in_force {
                None => header.kind == Kind::Start && header.flags & REPEATED == 0,
                Some(_) => in_force.iter().chain(&older).any(|start| repeats(start) || none_fits(start)),
            };
            let expected = in_force.map(|start| self.log[start].0);
            ensure!(holds, "segment {} begins with {header:?}, not {expected:?}", segment.number);
        }
        Ok(())
    }
}
