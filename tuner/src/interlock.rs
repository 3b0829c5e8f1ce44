//! Interlocks: what a plan must not do to a host, unless somebody insists.
//!
//! What holds: each has a name, looks at the plan and the facts alone, and says why it refuses and what to do instead.
//! `--force NAME` lifts that one and no other.

mod cpus;
mod memory;

use crate::audit::{Finding, Status};
use crate::facts::Facts;
use crate::host::NicItem;
use crate::place::Place;
use crate::plan::{Change, Parameter, Refusal};
use crate::profile::Profile;

/// What is about to be done.
#[derive(Debug, Clone, Copy, Default)]
pub struct Proposal<'a> {
    /// The runtime changes.
    pub changes: &'a [Change],
    /// The kernel's parameters.
    pub parameters: &'a [Parameter],
    /// The release of the real-time kernel that would be booted.
    pub rt_kernel: Option<&'a str>,
    /// Whether it takes itself back unless somebody confirms it.
    pub takes_itself_back: bool,
    /// What the audit found.
    pub findings: &'a [Finding],
}

/// The names of all interlocks, those of plans included.
pub const ALL: [&str; 15] = [
    AUDIT_ONLY,
    CONTAINER,
    OTHER_OWNER,
    SESSION_NIC,
    RT_NVIDIA,
    FOREIGN_FILE,
    TRIAL,
    UNREAD_MENU,
    cpus::BOOT_CPU,
    cpus::WHOLE_NODE,
    cpus::SPLIT_CORE,
    cpus::CLOCK_SOURCE,
    cpus::RT_THROTTLE,
    memory::SWAP_HEADROOM,
    memory::HUGE_PAGES,
];

/// The profile is for judging only.
pub const AUDIT_ONLY: &str = "audit-only";
/// A file of ours exists, and is not ours.
pub const FOREIGN_FILE: &str = "foreign-file";
/// The boot loader cannot try an entry just once.
pub const TRIAL: &str = "trial";
/// The boot loader's menu cannot be read.
pub const UNREAD_MENU: &str = "unread-menu";
/// This process is in a container.
const CONTAINER: &str = "container";
/// Somebody else sets the same.
pub const OTHER_OWNER: &str = "other-owner";
/// A card would lose its link while the session goes through it.
const SESSION_NIC: &str = "session-nic";
/// NVIDIA's driver does not run on a real-time kernel.
const RT_NVIDIA: &str = "rt-nvidia";

/// All that refuse.
pub fn check(facts: &Facts, profile: &Profile, proposal: &Proposal<'_>) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    refusals.extend(audit_only(profile));
    refusals.extend(container(facts, proposal));
    refusals.extend(other_owner(proposal));
    refusals.extend(session_nic(facts, proposal));
    refusals.extend(rt_nvidia(facts, proposal));
    refusals.extend(cpus::check(facts, proposal));
    refusals.extend(memory::check(facts, profile, proposal));
    refusals
}

/// A refusal.
pub(crate) fn refusal(id: &str, knob: &str, why: impl Into<String>) -> Refusal {
    Refusal { id: id.into(), knob: knob.into(), why: why.into() }
}

fn audit_only(profile: &Profile) -> Option<Refusal> {
    (!profile.applies).then(|| {
        let why = format!(
            "profile {} is for judging a host, and is never applied: name another with --profile",
            profile.name
        );
        refusal(AUDIT_ONLY, "", why)
    })
}

fn container(facts: &Facts, proposal: &Proposal<'_>) -> Option<Refusal> {
    let name = facts.container.as_ref()?;
    let knob = proposal.changes.first().map(|change| change.knob.as_str());
    let knob = knob.or(proposal.parameters.first().map(|parameter| parameter.knob.as_str()))?;
    let why = format!(
        "this runs in a container ({name}), whose settings are partly the host's and partly its own: run it on the host"
    );
    Some(refusal(CONTAINER, knob, why))
}

fn other_owner(proposal: &Proposal<'_>) -> Vec<Refusal> {
    let fought = proposal.findings.iter().filter(|finding| finding.status == Status::Conflict);
    let why = |finding: &Finding| {
        let who = finding.note.as_deref().unwrap_or("somebody else sets it, too");
        format!(
            "{who}: each would undo what the other does, so stop and disable that one, or leave the knob to it with --skip {}",
            finding.knob
        )
    };
    let mut refusals: Vec<Refusal> =
        fought.map(|finding| refusal(OTHER_OWNER, finding.knob, why(finding))).collect();
    // One for each knob, though it may stand at many places.
    refusals.dedup();
    refusals
}

fn session_nic(facts: &Facts, proposal: &Proposal<'_>) -> Vec<Refusal> {
    if proposal.takes_itself_back {
        return Vec::new();
    }
    let carries = |name: &str| facts.interfaces.iter().any(|card| card.name == name && card.carries_session);
    let breaks = |item: NicItem| {
        matches!(
            item,
            NicItem::CombinedChannels | NicItem::RxRing | NicItem::Eee | NicItem::RxPause | NicItem::Lro
        )
    };
    let refused = proposal.changes.iter().filter_map(|change| match &change.place {
        Place::Nic { interface, item } if carries(interface) && breaks(*item) => {
            let why = format!("changing {item} takes {interface} down for a moment, and your session comes in through it: add --confirm-within 120s, so that it is taken back if you do not come back");
            Some(refusal(SESSION_NIC, &change.knob, why))
        }
        _ => None,
    });
    refused.collect()
}

fn rt_nvidia(facts: &Facts, proposal: &Proposal<'_>) -> Option<Refusal> {
    const NVIDIA: u32 = 0x10de;
    let release = proposal.rt_kernel?;
    let card = facts.gpus.iter().find(|card| {
        card.vendor == NVIDIA && card.driver.as_deref().is_some_and(|driver| driver.starts_with("nvidia"))
    })?;
    let why = format!(
        "{} is driven by nvidia, whose driver does not support real-time kernels, so {release} would boot without it: skip kern.rt, or use profile render-gpu",
        card.pci
    );
    Some(refusal(RT_NVIDIA, "kern.rt", why))
}
