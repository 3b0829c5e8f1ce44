//! Which segments are old enough, or too many, to be removed.

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Segments whose newest record is older go. None keeps them.
    pub max_age_ns: Option<u64>,
    /// If the journal is longer the oldest segments go. None keeps them.
    pub max_bytes: Option<u64>,
}

/// A segment, as far as this is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Its number.
    pub number: u64,
    /// How long its file is.
    pub bytes: u64,
    /// When its newest record was received, CLOCK_REALTIME in ns; None if that is not known, as of one that is
    /// written to.
    pub newest_ns: Option<u64>,
}

/// The numbers of the segments to remove at `now_ns`, oldest first. Only such as come before all that stay, so that a
/// journal stays in one piece; and never the newest, nor one whose time is not known.
pub fn to_remove(held: &[Held], limits: Limits, now_ns: u64) -> Vec<u64> {
    let mut held = held.to_vec();
    held.sort_unstable_by_key(|segment| segment.number);
    let mut bytes = held.iter().fold(0u64, |sum, segment| sum.saturating_add(segment.bytes));
    held.pop();
    let is_old = |newest_ns: u64| limits.max_age_ns.is_some_and(|age| now_ns.saturating_sub(newest_ns) > age);
    let mut removed = Vec::new();
    for segment in held {
        let Some(newest_ns) = segment.newest_ns else { break };
        if !is_old(newest_ns) && limits.max_bytes.is_none_or(|max| bytes <= max) {
            break;
        }
        bytes = bytes.saturating_sub(segment.bytes);
        removed.push(segment.number);
    }
    removed
}
