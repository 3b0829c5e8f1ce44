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

#[cfg(test)]
mod tests {
    use super::*;

    fn held(times: &[Option<u64>]) -> Vec<Held> {
        let segment = |(place, newest_ns): (usize, &Option<u64>)| Held {
            number: place as u64 * 2,
            bytes: 100,
            newest_ns: *newest_ns,
        };
        let mut held: Vec<_> = times.iter().enumerate().map(segment).collect();
        held.reverse(); // In whatever order they come.
        held
    }

    #[test]
    fn the_oldest_go_first_and_the_newest_never() {
        let all = held(&[Some(10), Some(20), Some(30), Some(40)]);
        let limits = |max_age_ns, max_bytes| Limits { max_age_ns, max_bytes };
        for (limits, expected) in [
            (limits(None, None), &[][..]),
            (limits(Some(70), None), &[0, 2]),
            (limits(Some(80), None), &[0]),
            (limits(Some(0), None), &[0, 2, 4]),
            (limits(None, Some(400)), &[]),
            (limits(None, Some(399)), &[0]),
            (limits(None, Some(200)), &[0, 2]),
            (limits(None, Some(0)), &[0, 2, 4]),
            (limits(Some(80), Some(250)), &[0, 2]),
        ] {
            assert_eq!(to_remove(&all, limits, 100), expected, "{limits:?}");
        }
        assert_eq!(to_remove(&[], limits(Some(0), Some(0)), 100), [0; 0]);
    }

    #[test]
    fn what_is_behind_one_that_stays_stays() {
        let limits = Limits { max_age_ns: Some(50), max_bytes: None };
        assert_eq!(to_remove(&held(&[Some(1), Some(90), Some(2), Some(3)]), limits, 100), [0]);
        assert_eq!(to_remove(&held(&[Some(1), None, Some(2), Some(3)]), limits, 100), [0]);
        // A clock that was set back makes nothing old.
        assert_eq!(to_remove(&held(&[Some(500), Some(90)]), limits, 100), [0; 0]);
    }
}
