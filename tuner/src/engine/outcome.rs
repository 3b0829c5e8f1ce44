//! What is told of an apply and of its undoing, while it goes on and afterwards.

use super::by_hand;
use super::journal::JournalError;
use crate::host::HostError;
use crate::plan::{Change, Hook, Refusal};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What happens, as it happens. Steps are counted from 0, in the order of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// An apply with so many steps begins.
    Begun {
        /// The name of its journal.
        id: &'a str,
        /// How many steps it has.
        steps: usize,
    },
    /// A step begins.
    Step {
        /// Which.
        step: usize,
        /// What it changes.
        change: &'a Change,
    },
    /// A step is done, and reads back as this.
    Done {
        /// Which.
        step: usize,
        /// What it reads back as.
        state: Option<&'a str>,
    },
    /// A step had nothing to do.
    Same {
        /// Which.
        step: usize,
    },
    /// A step was given less than it asked for.
    Partial {
        /// Which.
        step: usize,
        /// What it was given.
        state: Option<&'a str>,
    },
    /// A step cannot be made on this host.
    Skipped {
        /// Which.
        step: usize,
        /// Why.
        why: &'a str,
    },
    /// A step failed.
    Failed {
        /// Which.
        step: usize,
        /// Why.
        why: &'a str,
    },
    /// A hook runs.
    Hook(Hook),
    /// An apply begins to be undone.
    Undoing {
        /// The name of its journal.
        id: &'a str,
    },
    /// A step was undone, or not.
    Undone {
        /// Which.
        step: usize,
        /// What it had changed.
        change: &'a Change,
        /// What came of it.
        outcome: &'a Outcome,
    },
}

/// What came of undoing a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// It is as it was before.
    Restored,
    /// It was as before already.
    WasBack,
    /// It was written back, but reads as this.
    Partial {
        /// What it reads as.
        now: Option<String>,
    },
    /// Somebody changed it since; it was left alone.
    ChangedSince {
        /// What it is now.
        now: Option<String>,
    },
    /// What it was about is gone.
    Gone,
    /// It was of another boot, and does not mean the same any more. The boot undid it.
    OtherBoot,
    /// It could not be undone.
    Failed {
        /// Why.
        why: String,
    },
}

impl Outcome {
    /// Whether nothing is left to do about it.
    pub fn is_complete(&self) -> bool {
        matches!(self, Self::Restored | Self::WasBack | Self::Gone | Self::OtherBoot)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |now: &Option<String>| now.as_ref().map_or("absent".into(), |now| format!("'{now}'"));
        match self {
            Self::Restored => f.write_str("it is as before"),
            Self::WasBack => f.write_str("it was as before already"),
            Self::Partial { now } => write!(f, "the former value was written, but it reads {}", of(now)),
            Self::ChangedSince { now } => {
                write!(f, "somebody changed it since, it is {} now and was left alone", of(now))
            }
            Self::Gone => f.write_str("it is gone, and with it what was set"),
            Self::OtherBoot => f.write_str("a reboot undid it"),
            Self::Failed { why } => write!(f, "it could not be undone: {why}"),
        }
    }
}

/// A change and what is to be said of it. A sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Which change.
    pub change: Change,
    /// What.
    pub note: String,
}

/// What an apply did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// The name of its journal: what `rollback --to` takes.
    pub id: String,
    /// How many settings were written.
    pub written: usize,
    /// How many were as wished already.
    pub unchanged: usize,
    /// Those that were given less than they asked for.
    pub partial: Vec<Note>,
    /// Those that cannot be set on this host.
    pub skipped: Vec<Note>,
    /// Those that failed and were put back, where the caller wished to go on.
    pub failed: Vec<Note>,
    /// Until when it has to be confirmed, in seconds since 1970.
    pub confirm_until_unix_s: Option<u64>,
}

/// What undoing did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Undone {
    /// By journal, in the order in which they were undone: the latest first.
    pub journals: Vec<UndoneJournal>,
}

/// What undoing one apply did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct UndoneJournal {
    /// The name of its journal.
    pub id: String,
    /// Its steps that had been made, the last first.
    pub steps: Vec<UndoneStep>,
    /// Hooks that did not run, and why.
    pub hooks: Vec<(Hook, String)>,
    /// Why its journal could not be written to, if it could not: it is undone once more the next time.
    pub journal: Option<String>,
}

/// What undoing one change did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UndoneStep {
    /// Which change.
    pub change: Change,
    /// What came of it.
    pub outcome: Outcome,
}

impl UndoneJournal {
    /// Whether nothing is left to do by hand.
    pub fn is_complete(&self) -> bool {
        self.hooks.is_empty() && self.journal.is_none() && self.steps.iter().all(|s| s.outcome.is_complete())
    }

    /// Commands that do what is left to do, in their order.
    pub fn by_hand(&self) -> Vec<String> {
        let steps = self.steps.iter().filter(|step| !step.outcome.is_complete());
        let steps = steps.map(|step| by_hand::of(&step.change.place, step.change.from.as_deref()));
        steps.chain(self.hooks.iter().map(|(hook, _)| hook.command())).collect()
    }
}

impl Undone {
    /// Whether nothing is left to do by hand.
    pub fn is_complete(&self) -> bool {
        self.journals.iter().all(UndoneJournal::is_complete)
    }

    /// Commands that do what is left to do, in their order.
    pub fn by_hand(&self) -> Vec<String> {
        self.journals.iter().flat_map(UndoneJournal::by_hand).collect()
    }
}

/// Why nothing may be done to this host now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Barred {
    /// Somebody else is at it.
    #[error("another tuner is at work: try again when it is done ({0})")]
    Busy(HostError),
    /// It takes more privilege.
    #[error("this changes the host, and needs root: run it with sudo ({0})")]
    Privilege(HostError),
    /// Something else.
    #[error("the tuner cannot take its lock: {0}")]
    Other(HostError),
}

/// Why a plan was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Nothing may be done now.
    #[error(transparent)]
    Barred(#[from] Barred),
    /// An earlier one did not get to its end.
    #[error("apply {0} was begun and never ended: `tuner rollback` undoes what it did, then apply again")]
    Unfinished(String),
    /// An earlier one waits.
    #[error("apply {0} waits to be confirmed: `tuner confirm` keeps it, `tuner rollback` undoes it")]
    Unconfirmed(String),
    /// The plan is of another version of the program.
    #[error("the plan is of version {0}, which this tuner does not know: make it again with `tuner plan`")]
    Schema(u32),
    /// It is not to be applied as it is.
    #[error("{}", sentences(.0.iter().map(|refusal| format!("{}: {} (--force {0} overrides it)", refusal.id, refusal.why))))]
    Refused(Vec<Refusal>),
    /// The host is not any more as the plan expects it. A sentence for each difference.
    #[error("the plan is out of date, make it again with `tuner plan`: {}", sentences(.0.iter().cloned()))]
    Stale(Vec<String>),
    /// What undoing would lose. A sentence for each.
    #[error("this could not be undone: {}", sentences(.0.iter().cloned()))]
    Irreversible(Vec<String>),
    /// Nobody can be found who undoes it if it is not confirmed.
    #[error("nothing was changed: nobody can be started who would undo it without a confirmation ({0})")]
    NobodyWaits(HostError),
    /// A journal is of no use.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Something failed on the way, and all of it was undone.
    #[error("{}", rolled_back(.0))]
    RolledBack(Box<RolledBack>),
}

/// An apply that failed and was undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RolledBack {
    /// What failed, and why. A sentence.
    pub why: String,
    /// What undoing did.
    pub undone: UndoneJournal,
}

fn rolled_back(what: &RolledBack) -> String {
    match what.undone.is_complete() {
        true => format!("{}; all of it was undone", what.why),
        false => format!("{}; not all of it could be undone", what.why),
    }
}

fn sentences(all: impl Iterator<Item = String>) -> String {
    all.collect::<Vec<_>>().join("; ")
}

/// Why nothing was undone.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// Nothing may be done now.
    #[error(transparent)]
    Barred(#[from] Barred),
    /// There is no such apply, or it is undone.
    #[error("apply {0} is not in effect: `tuner status` lists those that are")]
    Unknown(String),
    /// A journal is of no use.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Why nothing was confirmed.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmError {
    /// Nothing may be done now.
    #[error(transparent)]
    Barred(#[from] Barred),
    /// There is nothing to confirm.
    #[error("nothing waits to be confirmed")]
    Nothing,
    /// It is too late.
    #[error("the time to confirm apply {0} is over: it is undone, apply it again")]
    Late(String),
    /// A journal is of no use.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl Barred {
    fn exit(&self) -> u8 {
        match self {
            Self::Busy(_) => 7,
            Self::Privilege(_) => 8,
            Self::Other(_) => 2,
        }
    }
}

impl ApplyError {
    /// The status that the program ends with.
    pub fn exit(&self) -> u8 {
        match self {
            Self::Barred(barred) => barred.exit(),
            Self::Unfinished(_) | Self::Unconfirmed(_) => 7,
            Self::Schema(_) | Self::NobodyWaits(_) => 2,
            Self::Refused(_) | Self::Stale(_) | Self::Irreversible(_) => 3,
            Self::RolledBack(what) if what.undone.is_complete() => 4,
            Self::RolledBack(_) | Self::Journal(_) => 5,
        }
    }
}

impl RollbackError {
    /// The status that the program ends with.
    pub fn exit(&self) -> u8 {
        match self {
            Self::Barred(barred) => barred.exit(),
            Self::Unknown(_) => 2,
            Self::Journal(_) => 5,
        }
    }
}

impl ConfirmError {
    /// The status that the program ends with.
    pub fn exit(&self) -> u8 {
        match self {
            Self::Barred(barred) => barred.exit(),
            Self::Nothing | Self::Late(_) => 2,
            Self::Journal(_) => 5,
        }
    }
}
