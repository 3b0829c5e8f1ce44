//! Interlocks about memory: there must be enough of it left.

use super::{Proposal, refusal};
use crate::facts::Facts;
use crate::place::Place;
use crate::plan::Refusal;
use crate::profile::Profile;
use std::path::Path;

/// What is swapped out would not fit.
pub(super) const SWAP_HEADROOM: &str = "swap-headroom";
/// Huge pages would take too much.
pub(super) const HUGE_PAGES: &str = "huge-pages";

pub(super) fn check(facts: &Facts, profile: &Profile, proposal: &Proposal<'_>) -> Vec<Refusal> {
    swap_headroom(facts, proposal).into_iter().chain(huge_pages(facts, profile, proposal)).collect()
}

fn swap_headroom(facts: &Facts, proposal: &Proposal<'_>) -> Option<Refusal> {
    let goes = |place: &Place, to: &Option<String>| matches!(place, Place::Swap { .. }) && to.is_none();
    let change = proposal.changes.iter().find(|change| goes(&change.place, &change.to))?;
    let (free, used) = (facts.memory.available_kib, facts.memory.swap_used_kib);
    // A fifth more than what comes back in, so that the kernel does not run out halfway.
    let is_enough = free.saturating_mul(5) >= used.saturating_mul(6);
    (!is_enough).then(|| {
        let why = format!("{} MiB are swapped out, and {} MiB are free: with less than 1.2 times as much, something may be killed while it comes back. Stop what needs memory first, or skip {}", used >> 10, free >> 10, change.knob);
        refusal(SWAP_HEADROOM, &change.knob, why)
    })
}

fn huge_pages(facts: &Facts, profile: &Profile, proposal: &Proposal<'_>) -> Option<Refusal> {
    let mut knob = None;
    let mut wanted_kib: u64 = 0;
    for change in proposal.changes {
        let Place::Attribute { path, .. } = &change.place else { continue };
        let Some(size_kib) = size_of(path) else { continue };
        let count: u64 = change.to.as_deref().and_then(|count| count.trim().parse().ok()).unwrap_or(0);
        wanted_kib = wanted_kib.saturating_add(count.saturating_mul(size_kib));
        knob.get_or_insert(change.knob.as_str());
    }
    let mut size_kib = 2048;
    for parameter in proposal.parameters {
        match parameter.key.as_str() {
            "hugepagesz" => size_kib = crate::boot::predict::kib(&parameter.value).unwrap_or(size_kib),
            "hugepages" => {
                let count = crate::boot::predict::pages(&parameter.value).unwrap_or(0);
                wanted_kib = wanted_kib.saturating_add(count.saturating_mul(size_kib));
                knob.get_or_insert(parameter.knob.as_str());
            }
            _ => {}
        }
    }
    let (knob, total) = (knob?, facts.memory.total_kib);
    let percent = profile.huge_pages_percent;
    let is_too_much = u128::from(wanted_kib) * 100 > u128::from(total) * u128::from(percent);
    is_too_much.then(|| {
        let why = format!("huge pages would take {} of {} MiB, and the profile allows {percent} percent: what they take is lost for everything else. Ask for fewer, or raise huge_pages_percent", wanted_kib >> 10, total >> 10);
        refusal(HUGE_PAGES, knob, why)
    })
}

/// The size of the pages that a file counts: `…/hugepages-2048kB/nr_hugepages`.
fn size_of(path: &Path) -> Option<u64> {
    let folder = path.parent()?.file_name()?.to_str()?;
    let is_count = path.file_name()?.to_str()? == "nr_hugepages";
    let size = folder.strip_prefix("hugepages-")?.strip_suffix("kB")?;
    is_count.then(|| size.parse().ok())?
}
