//! What would be done to a host: changes, in their order, each with the state before and after.
//!
//! What holds: it is computed from findings and changes nothing. It can be written down and applied later: it names the
//! host and the boot it is for, and each change the state it expects, so that a plan that is out of date is refused.

mod make;

pub use make::{Options, PlanError, make};

use crate::audit::{Finding, Status};
use crate::boot::NextBoot;
use crate::facts::{Facts, Identity};
use crate::knob::{Persist, Phase};
use crate::place::Place;
use serde::{Deserialize, Serialize};

/// The version of the JSON that plans, findings and outcomes are written as. A change that breaks readers raises it.
pub const SCHEMA_VERSION: u32 = 1;

/// See above.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The version of the program that made it.
    pub tuner: String,
    /// The profile that it follows.
    pub profile: String,
    /// The host and boot that it is for.
    pub identity: Identity,
    /// What is changed, in this order; undone in reverse.
    pub changes: Vec<Change>,
    /// What is run after the changes, and again after they are undone.
    pub hooks: Vec<Hook>,
    /// What the next boot will have on its kernel's command line beside what is there.
    pub parameters: Vec<Parameter>,
    /// Why it is not to be applied as it is.
    pub refusals: Vec<Refusal>,
    /// What else is to be known of it: that it takes a reboot, what is to be done by hand. A sentence each.
    #[serde(default)]
    pub notes: Vec<String>,
    /// What the next boot is to be; none if nothing changes about it. `boot::check` looks whether it will.
    #[serde(default)]
    pub boot: Option<NextBoot>,
    /// Whether it completes the apply before it, as a promotion does: undoing one undoes both.
    #[serde(default)]
    pub completes: bool,
}

/// One change of one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Whose it is; `tuner` for files that the tuner keeps itself.
    pub knob: String,
    /// What of the host it is about; empty for the whole host.
    pub subject: String,
    /// When its turn comes.
    pub phase: Phase,
    /// How it comes back after a reboot.
    pub persist: Persist,
    /// Where.
    pub place: Place,
    /// Its state before; none if absent.
    pub from: Option<String>,
    /// Its state after; none if absent.
    pub to: Option<String>,
    /// Whether a number counts as reached from there on: the kernel may give less than was asked for, and what it gave
    /// then stands.
    #[serde(default)]
    pub at_least: bool,
}

/// A parameter for the kernel's command line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    /// Whose it is.
    pub knob: String,
    /// Its name.
    pub key: String,
    /// What stands behind its `=`; empty for one without.
    pub value: String,
    /// What the running kernel has.
    pub from: Option<String>,
}

impl Parameter {
    /// As it stands on the command line.
    pub fn word(&self) -> String {
        match self.value.is_empty() {
            true => self.key.clone(),
            false => format!("{}={}", self.key, self.value),
        }
    }
}

/// What has to be run for files to take effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// systemd reads its units again.
    ReloadSystemd,
    /// udev reads its rules again.
    ReloadUdev,
    /// The boot loader's configuration is made again.
    UpdateGrub,
}

/// Why a plan is not to be applied: an interlock. `--force ID` says that it may be nevertheless.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The interlock's name.
    pub id: String,
    /// The knob that it is about.
    pub knob: String,
    /// Why. A sentence.
    pub why: String,
}

/// The changes that make drifting settings as they are wished: in order, without the files that keep them.
pub fn changes(findings: &[Finding]) -> Vec<Change> {
    changes_of(findings, &[Status::Drift])
}

fn changes_of(findings: &[Finding], statuses: &[Status]) -> Vec<Change> {
    let drifting = findings.iter().filter(|finding| {
        statuses.contains(&finding.status) && !matches!(finding.persist, Persist::Never | Persist::Boot)
    });
    let change = |finding: &Finding| {
        Some(Change {
            knob: finding.knob.into(),
            subject: finding.subject.clone(),
            phase: finding.phase,
            persist: finding.persist,
            place: finding.place.clone()?,
            from: finding.current.clone(),
            to: finding.target.clone(),
            at_least: finding.wanted.as_ref().is_some_and(|wanted| wanted.starts_with(">=")),
        })
    };
    let mut changes: Vec<_> = drifting.filter_map(change).collect();
    // Stable: within a phase, the catalogue's order holds.
    changes.sort_by_key(|change| change.phase);
    changes
}

/// The parameters that the next boot needs: those that drift, and those that wait for a reboot already.
pub fn parameters(findings: &[Finding]) -> Vec<Parameter> {
    let of_boot = findings.iter().filter(|finding| {
        finding.persist == Persist::Boot && matches!(finding.status, Status::Drift | Status::PendingReboot)
    });
    let parameter = |finding: &Finding| match finding.place.as_ref()? {
        Place::Parameter { key, .. } => Some(Parameter {
            knob: finding.knob.into(),
            key: key.clone(),
            value: finding.target.clone()?,
            from: finding.current.clone(),
        }),
        _ => None,
    };
    of_boot.filter_map(parameter).collect()
}

impl Plan {
    /// An empty one for this host.
    pub fn new(facts: &Facts, profile: &str) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            tuner: env!("CARGO_PKG_VERSION").into(),
            profile: profile.into(),
            identity: facts.identity.clone(),
            changes: Vec::new(),
            hooks: Vec::new(),
            parameters: Vec::new(),
            refusals: Vec::new(),
            notes: Vec::new(),
            boot: None,
            completes: false,
        }
    }
}
