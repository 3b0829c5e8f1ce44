//! Says in words how the journal goes. The cold plane asks it four times a second: its thread only publishes numbers.

use shm::status::{Counter, Journal, JournalState, StatusWriter};

/// After so many looks at which all was well, it is well again.
const CALM: u32 = 4;
/// After so many looks at which it lagged, or had nowhere to write, that is said. A segment that is being prepared, or
/// a burst, is no matter; where preparing has failed, or records are lost, it is said at once.
const PATIENCE: u32 = 4;

/// What was said.
#[derive(Debug, Default)]
pub(crate) struct Voice {
    /// What is said of it now; `None` while all is well.
    line: Option<&'static str>,
    /// How often all was well since it was not.
    calm: u32,
    /// How often it was not, since it was.
    bad: u32,
    /// Whether it was said that no segment can be prepared. It is tried again and again.
    has_told_no_segment: bool,
    /// When it began, what had been lost before.
    lost_before: u64,
    failures: [u64; 3],
}

/// How it goes at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) state: JournalState,
    pub(crate) lost: u64,
    /// Writes, flushes and preparations that failed.
    pub(crate) failures: [u64; 3],
}

/// What is to be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Saying {
    /// It is worse than it was, or otherwise bad.
    Worse(String),
    /// All is well again.
    Well(String),
    /// Something failed, and it goes on.
    Failed(String),
}

impl Seen {
    /// What stands in the status segment.
    pub(crate) fn in_status(status: &StatusWriter) -> Self {
        let failures =
            [Counter::JournalWriteFailures, Counter::JournalFlushFailures, Counter::JournalPrepareFailures];
        Self {
            state: status.journal(),
            lost: status.journal_intake().lost,
            failures: failures.map(|counter| status.counter(counter)),
        }
    }
}

impl Voice {
    /// What stands in the list of what is lacking: as long as it is so, and a second more.
    pub(crate) fn line(&self) -> Option<&'static str> {
        self.line
    }

    /// Takes in how it goes. Returns what is to be logged; each thing once, as long as it is the same.
    pub(crate) fn hear(&mut self, seen: &Seen) -> Vec<Saying> {
        let mut said = Vec::new();
        let cannot_prepare = seen.failures[2] > self.failures[2];
        said.extend(self.failed(seen));
        let line = line_of(seen.state.state);
        self.bad = if line.is_some() { self.bad.saturating_add(1) } else { 0 };
        let is_urgent = cannot_prepare || seen.state.state == Journal::Losing as u64;
        match (self.line, line) {
            (None, None) => self.lost_before = seen.lost,
            (None, Some(_)) if self.bad < PATIENCE && !is_urgent => {}
            (Some(_), None) => {
                self.calm += 1;
                if self.calm >= CALM {
                    self.line = None;
                    self.has_told_no_segment = false;
                    let lost = seen.lost - self.lost_before;
                    self.lost_before = seen.lost;
                    said.push(Saying::Well(match lost {
                        0 => "the journal keeps up again, and has lost nothing".to_owned(),
                        _ => format!(
                            "the journal keeps up again; it lacks {lost} records, and says so in their place"
                        ),
                    }));
                }
            }
            (before, Some(now)) => {
                self.calm = 0;
                if before != Some(now) {
                    self.line = Some(now);
                    said.push(Saying::Worse(format!("{now}{}", because(seen.state.errno))));
                }
            }
        }
        said
    }

    fn failed(&mut self, seen: &Seen) -> Option<Saying> {
        let [writes, flushes, prepared] = seen.failures;
        let [writes_before, flushes_before, prepared_before] =
            std::mem::replace(&mut self.failures, seen.failures);
        let why = because(seen.state.errno);
        if prepared > prepared_before && !std::mem::replace(&mut self.has_told_no_segment, true) {
            return Some(Saying::Failed(format!(
                "no segment of the journal can be prepared{why}: it is tried again once a second"
            )));
        }
        if flushes > flushes_before {
            return Some(Saying::Failed(format!(
                "a flush of the journal failed{why}: its segment is closed, and what was not durable goes to the next"
            )));
        }
        (writes > writes_before).then(|| {
            Saying::Failed(format!("a write of the journal failed{why}: it goes on in another segment"))
        })
    }
}

/// What is said of a state, if it is bad.
fn line_of(state: u64) -> Option<&'static str> {
    match Journal::ALL.get(state as usize)? {
        Journal::None | Journal::Well | Journal::Ended => None,
        Journal::Spilling => Some("the journal lags: more than a quarter of its queue waits for the disk"),
        Journal::Losing => {
            Some("the journal loses records: its queue is full, since the disk is slow or full")
        }
        Journal::Stalled => Some("the journal has nowhere to write, and gathers in memory"),
    }
}

/// The kernel's reason, if there was one.
fn because(errno: u64) -> String {
    match i32::try_from(errno) {
        Ok(0) | Err(_) => String::new(),
        Ok(errno) => format!(" ({})", nix::errno::Errno::from_raw(errno).desc()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(state: Journal, lost: u64, failures: [u64; 3]) -> Seen {
        let state = JournalState { state: state as u64, errno: 28, ..JournalState::default() };
        Seen { state, lost, failures }
    }

    #[test]
    fn each_thing_is_said_once_and_its_end_after_a_while() {
        let mut voice = Voice::default();
        let mut hear = |state, lost| voice.hear(&seen(state, lost, [0; 3]));
        assert_eq!(hear(Journal::Well, 5), []);
        let lags =
            [hear(Journal::Stalled, 5), hear(Journal::Stalled, 5), hear(Journal::Spilling, 5)].concat();
        assert_eq!(lags, [], "it may be over soon");
        let stalled = "the journal has nowhere to write, and gathers in memory (No space left on device)";
        assert_eq!(hear(Journal::Stalled, 5), [Saying::Worse(stalled.into())]);
        assert_eq!(hear(Journal::Stalled, 5), []);
        assert!(matches!(&hear(Journal::Losing, 8)[..], [Saying::Worse(_)]));
        assert_eq!(hear(Journal::Losing, 12), []);
        assert_eq!([hear(Journal::Well, 12), hear(Journal::Well, 12), hear(Journal::Well, 12)].concat(), []);
        let well = "the journal keeps up again; it lacks 7 records, and says so in their place";
        assert_eq!(hear(Journal::Well, 12), [Saying::Well(well.into())]);
        assert_eq!(hear(Journal::Well, 12), []);
        assert_eq!(voice.line(), None);
    }

    #[test]
    fn what_failed_is_said_though_all_is_well() {
        let mut voice = Voice::default();
        assert!(matches!(&voice.hear(&seen(Journal::Well, 0, [1, 0, 0]))[..], [Saying::Failed(_)]));
        assert_eq!(voice.hear(&seen(Journal::Well, 0, [1, 0, 0])), []);
        let mut other = Voice::default();
        let said = other.hear(&seen(Journal::Stalled, 0, [0, 0, 1]));
        assert!(matches!(&said[..], [Saying::Failed(_), Saying::Worse(_)]), "{said:?}");
        assert_eq!(other.hear(&seen(Journal::Stalled, 0, [0, 0, 2])), [], "it is tried again and again");
        assert!(other.line().is_some());
        let said = voice.hear(&seen(Journal::Well, 0, [1, 2, 0]));
        assert!(matches!(&said[..], [Saying::Failed(text)] if text.contains("flush")), "{said:?}");
    }
}
