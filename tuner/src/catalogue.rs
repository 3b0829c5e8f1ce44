//! Every knob there is, by area. The order is that of tables; the order of changes is [`Phase`](crate::knob::Phase)'s.
//!
//! Where each recommendation comes from stands in its `explain`. To add a knob: declare it in the file of its area, and
//! wish for it in a profile.

mod block;
mod common;
mod gpu;
mod interrupts;
mod isolation;
mod kernel;
mod memory;
mod network;
mod obsolete;
mod pci;
mod power;
mod scheduler;
mod services;

use crate::knob::Knob;

/// All knobs.
pub fn all() -> impl Iterator<Item = &'static Knob> {
    [
        kernel::KNOBS,
        isolation::KNOBS,
        power::KNOBS,
        interrupts::KNOBS,
        scheduler::KNOBS,
        memory::KNOBS,
        block::KNOBS,
        network::KNOBS,
        network::CARDS,
        pci::KNOBS,
        gpu::KNOBS,
        services::KNOBS,
        obsolete::KNOBS,
    ]
    .into_iter()
    .flatten()
}

/// The knob of this name.
pub fn find(id: &str) -> Option<&'static Knob> {
    all().find(|knob| knob.id == id)
}

/// The knob whose name is nearest to this one, if any is near.
pub fn nearest(id: &str) -> Option<&'static str> {
    let near = all().map(|knob| (distance(knob.id, id), knob.id)).min()?;
    (near.0 <= 3).then_some(near.1)
}

/// How many letters are to be changed, put in or taken out to get from one word to the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, letter) in one.chars().enumerate() {
        let mut above_left = std::mem::replace(&mut row[0], line + 1);
        for (place, its) in other.iter().enumerate() {
            let changed = above_left + usize::from(letter != *its);
            above_left = row[place + 1];
            row[place + 1] = changed.min(row[place] + 1).min(above_left + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_finds_its_knob() {
        assert_eq!(nearest("mem.thq"), Some("mem.thp"));
        assert_eq!(nearest("something.else"), None);
        assert_eq!((distance("abc", "abc"), distance("abc", "bc"), distance("", "abc")), (0, 1, 3));
    }

    #[test]
    fn each_knob_has_a_name_of_its_own_and_says_everything() {
        let mut ids: Vec<_> = all().map(|knob| knob.id).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
        for knob in all() {
            let explain = &knob.explain;
            let texts = [
                knob.title,
                explain.mechanism,
                explain.risk,
                explain.when_not,
                explain.applies,
                explain.undo,
                explain.source,
            ];
            assert!(texts.iter().all(|text| !text.trim().is_empty()), "{}", knob.id);
        }
    }
}
