//! What a new run begins with: the torn tail is cut, so that what follows joins what is there.
//!
//! It writes nothing but that, and can be broken off and begun again at any step. It does not read all of a long
//! journal: only the last segments, back to one that begins below what a later one has said to be durable.

use crate::reader::heads::Segments;
use crate::reader::{Item, Missing, ReadError, Reader, Tail, Why};
use crate::store::{Segment, Store};
use crate::writer::Position;

/// What a journal was found to be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Where the next run goes on. All before it is durable now.
    pub position: Position,
    /// The number of the next segment.
    pub next_segment: u64,
    /// What is missing in the segments that were read: at most one torn tail, which is cut now, and any number of
    /// corruptions.
    pub missing: Vec<Missing>,
}

/// So many corruptions are told one by one; further ones are not kept.
const TOLD_AT_MOST: usize = 10_000;

/// Looks through the end of the journal, cuts a torn tail, removes segments that hold nothing, and makes the rest
/// durable. A store without segments is a new journal.
pub fn recover(store: &dyn Store) -> Result<Recovered, ReadError> {
    let mut segments = Segments::new(store)?;
    if segments.list.is_empty() {
        return Ok(Recovered::default());
    }
    let mut begin = first_in_question(&mut segments, None)?;
    let mut end = read_to_end(segments, begin)?;
    // What was said to be durable may have been said only by what is to be cut.
    while begin > 0 && end.tail.durable < end.segments.head(begin)?.map_or(u64::MAX, |head| head.first) {
        begin = first_in_question(&mut end.segments, Some((begin, end.tail.durable)))?;
        end = read_to_end(end.segments, begin)?;
    }
    // If only what would be cut proves a corruption, it is not cut: without it the journal would end before that.
    let mut tail = end.tail;
    tail.is_damaged |= end.last_corrupt.is_some_and(|first| tail.durable <= first);
    let (next_segment, has_changed) = mend(store, &end.segments.list, begin, &tail)?;
    let mut missing = end.missing;
    // What was cut before is not cut again.
    missing.retain(|missing| missing.why == Why::Corrupt || has_changed);
    Ok(Recovered { position: Position { next: end.next, previous_crc: tail.crc }, next_segment, missing })
}

/// What was read, from a segment to the end.
struct End<'s> {
    segments: Segments<'s>,
    tail: Tail,
    next: u64,
    missing: Vec<Missing>,
    /// Where the last corruption begins.
    last_corrupt: Option<u64>,
}

fn read_to_end(segments: Segments<'_>, begin: usize) -> Result<End<'_>, ReadError> {
    let mut reader = Reader::at(segments, begin);
    let (mut missing, mut last_corrupt) = (Vec::new(), None);
    while let Some(item) = reader.next()? {
        let Item::Missing(found) = item else { continue };
        if found.why == Why::Corrupt {
            last_corrupt = Some(found.records.start);
        }
        if missing.len() < TOLD_AT_MOST {
            missing.push(found);
        }
    }
    let (segments, tail, next) = reader.into_tail();
    Ok(End { segments, tail, next, missing, last_corrupt })
}

/// The last segment that begins below what a later one has said to be durable: all before it is durable by proof. If
/// that of a place was said only up to `.1`, one before it.
fn first_in_question(segments: &mut Segments<'_>, said: Option<(usize, u64)>) -> Result<usize, ReadError> {
    let (end, mut durable) = said.unwrap_or((segments.list.len(), 0));
    let mut lowest = u64::MAX;
    for place in (0..segments.list.len()).rev() {
        let Some(head) = segments.head(place)? else { continue };
        if place < end && head.first <= durable && head.first < lowest {
            return Ok(place);
        }
        if place < end {
            durable = durable.max(head.durable);
        }
        lowest = lowest.min(head.first);
    }
    Ok(0)
}

/// Makes durable what is read of the segments from `begin` on, and removes what is behind that. Returns the number of
/// the next segment, and whether anything was there to be cut. The first step makes durable what the position counts.
fn mend(store: &dyn Store, list: &[Segment], begin: usize, tail: &Tail) -> Result<(u64, bool), ReadError> {
    let (last, end) = tail.end.map_or((None, 0), |(place, end)| (Some(place), end));
    // What was durable and is damaged is left to whoever can make something of it, and so is what proves that.
    let is_kept =
        |place: usize| tail.is_damaged || list[place].is_packed || last.is_some_and(|last| place <= last);
    let (mut next_segment, mut has_changed) = (0, false);
    for (place, segment) in list.iter().enumerate() {
        let failed = |source| ReadError::Io { segment: segment.number, source };
        if is_kept(place) {
            next_segment = segment.number + 1;
            if place >= begin && !segment.is_packed {
                store.flush(segment).map_err(failed)?;
            }
        }
    }
    for (place, segment) in list.iter().enumerate().rev() {
        let failed = |source| ReadError::Io { segment: segment.number, source };
        if !is_kept(place) {
            store.remove(segment).map_err(failed)?;
            has_changed = true;
        } else if Some(place) == last && !segment.is_packed && !tail.is_damaged && segment.bytes > end {
            store.cut(segment, end).map_err(failed)?;
            has_changed = true;
        }
    }
    Ok((next_segment, has_changed))
}
