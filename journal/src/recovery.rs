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
    let begin = first_in_question(&mut segments)?;
    let mut reader = Reader::at(segments, begin);
    let mut missing = Vec::new();
    while let Some(item) = reader.next()? {
        if let Item::Missing(found) = item
            && missing.len() < TOLD_AT_MOST
        {
            missing.push(found);
        }
    }
    let (segments, tail, next) = reader.into_tail();
    let (next_segment, has_changed) = mend(store, &segments.list, begin, &tail)?;
    // What was cut before is not cut again.
    missing.retain(|missing| missing.why == Why::Corrupt || has_changed);
    Ok(Recovered { position: Position { next, previous_crc: tail.crc }, next_segment, missing })
}

/// The last segment that begins below what a later one has said to be durable: all before it is durable by proof.
fn first_in_question(segments: &mut Segments<'_>) -> Result<usize, ReadError> {
    let mut durable = 0;
    let mut lowest = u64::MAX;
    for place in (0..segments.list.len()).rev() {
        let Some(head) = segments.head(place)? else { continue };
        if head.first <= durable && head.first < lowest {
            return Ok(place);
        }
        durable = durable.max(head.durable);
        lowest = lowest.min(head.first);
    }
    Ok(0)
}

/// Makes durable what is read of the segments from `begin` on, and removes the rest. Returns the number of the next
/// segment, and whether anything was there to be cut.
fn mend(store: &dyn Store, list: &[Segment], begin: usize, tail: &Tail) -> Result<(u64, bool), ReadError> {
    let (last, end) = match tail.end {
        Some((place, end)) => (Some(place), end),
        None => (begin.checked_sub(1), 0),
    };
    let is_kept = |place: usize| last.is_some_and(|last| place <= last) || list[place].is_packed;
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
        } else if Some(place) == last && !segment.is_packed && tail.end.is_some() && segment.bytes > end {
            store.cut(segment, end).map_err(failed)?;
            has_changed = true;
        }
    }
    Ok((next_segment, has_changed))
}
