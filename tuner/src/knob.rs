//! A knob: one thing that can be set on a host, as the catalogue declares it.
//!
//! A knob knows where it stands on a given host (one place, or one for each disk, interrupt, card), what is wished for
//! it where a profile leaves that to it, how it comes back after a reboot, and what a person should know before turning
//! it. What holds: a knob only looks at [`Facts`]; it reads and writes nothing.

use crate::facts::Facts;
use crate::place::{Form, Place};
use serde::{Deserialize, Serialize};

/// See above.
#[derive(Debug)]
pub struct Knob {
    /// Its name, such as `mem.thp`: what `--only`, `--skip`, `explain` and profiles call it.
    pub id: &'static str,
    /// What it is, in a few words.
    pub title: &'static str,
    /// When in an apply its turn comes.
    pub phase: Phase,
    /// How it comes back after a reboot.
    pub persist: Persist,
    /// What a wish for it may be.
    pub accepts: Accepts,
    /// Where it stands on this host, or why it does not.
    pub places: fn(&Facts) -> Places,
    /// What `explain` tells.
    pub explain: Explain,
}

/// When in an apply a knob's turn comes; it is undone in reverse. What recreates other things comes before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Services, irqbalance first: they would turn knobs back.
    Services,
    /// Queues and rings of network cards: changing them makes their interrupts anew.
    NetworkQueues,
    /// Huge pages: they need memory that is in one piece.
    HugePages,
    /// Clocks and sleep states of CPUs.
    CpuPower,
    /// Partitions of CPUs.
    CpuPartition,
    /// Workqueues and other kernel threads.
    KernelThreads,
    /// Interrupts.
    Interrupts,
    /// Sysctls and the rest of memory.
    Sysctl,
    /// Disks.
    Block,
    /// The rest of network cards.
    Network,
    /// Graphics cards.
    Gpu,
    /// Swap: it may take long, and needs what the others left free.
    Swap,
    /// Configuration files, and with them the boot loader: a failed apply never leaves a tuned boot behind.
    Files,
}

/// How a setting comes back after a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Persist {
    /// It is on the kernel's command line, and takes a reboot to come at all.
    Boot,
    /// A line in `/etc/sysctl.d`.
    Sysctl,
    /// A udev rule, since devices come and go; and the boot unit.
    Udev,
    /// The boot unit writes it again.
    Unit,
    /// It stays by itself: a configuration file, or a unit of systemd.
    Itself,
    /// Nothing is set: it is only looked at.
    Never,
}

/// Where a knob stands on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Places {
    /// Here, each a setting of its own.
    At(Vec<Spot>),
    /// Nowhere: this host has no such thing. A sentence.
    NotSupported(String),
    /// Nowhere that matters: it does nothing on this kernel, though it may be there, or another knob does what was
    /// meant by it. A sentence.
    Obsolete(String),
    /// It cannot be told without more privilege. A sentence.
    Unknown(String),
}

impl Places {
    /// One place for the whole host.
    pub fn one(place: Place) -> Self {
        Self::one_of(Spot::new("", place))
    }

    /// One setting for the whole host.
    pub fn one_of(spot: Spot) -> Self {
        Self::At(vec![spot])
    }
}

/// One setting of a knob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// What of the host it is about, such as `nvme0n1` or `irq 24 (eth0-rx-0)`; empty for the whole host.
    pub subject: String,
    /// Where it is written.
    pub place: Place,
    /// Where its effect shows, if not there.
    pub effect: Option<Place>,
    /// What is right for this one, where the profile says `auto`.
    pub auto: Option<String>,
    /// Why it cannot be set on this host, though it can be read. A sentence.
    pub fixed: Option<String>,
}

impl Spot {
    /// A setting that is read where it is written.
    pub fn new(subject: impl Into<String>, place: Place) -> Self {
        Self { subject: subject.into(), place, effect: None, auto: None, fixed: None }
    }

    /// One whose effect shows elsewhere.
    pub fn effect(self, place: Place) -> Self {
        Self { effect: Some(place), ..self }
    }

    /// One that knows what is right for it.
    pub fn auto(self, wanted: impl Into<String>) -> Self {
        Self { auto: Some(wanted.into()), ..self }
    }

    /// One that cannot be set.
    pub fn fixed(self, why: impl Into<String>) -> Self {
        Self { fixed: Some(why.into()), ..self }
    }
}

/// What a profile may wish for a knob. In TOML, text: see [`Wish::parse`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Leave it as it is; do not even judge it.
    Leave,
    /// Exactly this.
    Is(String),
    /// A number that is not below this.
    AtLeast(u64),
    /// A number that is not above this.
    AtMost(u64),
    /// What the knob finds right for the place: [`Spot::auto`].
    Auto,
    /// The CPUs that do the hot work.
    Isolated,
    /// All other CPUs.
    Housekeeping,
    /// That it is not there: an area of swap out of use, a kernel parameter left out.
    Off,
}

/// What a wish for a knob may be, beside `leave`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepts {
    /// One of these words.
    Words(&'static [&'static str]),
    /// A whole number in this range, also with `>=` or `<=` before it.
    Number(i64, i64),
    /// CPUs: a list, `isolated` or `housekeeping`.
    Cpus,
    /// The same, or `none` of them.
    CpusOrNone,
    /// `0` or `1`.
    Flag,
    /// Only `auto`.
    Auto,
    /// Only `off`.
    Off,
    /// Any text.
    Text,
}

/// Why a wish is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{wish}' is not for {knob}: {expected}")]
pub struct WishError {
    /// Whose it is.
    pub knob: String,
    /// What was wished.
    pub wish: String,
    /// What may be wished.
    pub expected: String,
}

impl Wish {
    /// Reads a wish for a knob: `leave`, `auto`, `isolated`, `housekeeping`, `>= 10`, `<= 10`, or the value itself.
    pub fn parse(knob: &Knob, text: &str) -> Result<Self, WishError> {
        let text = text.trim();
        let wish = match text {
            "leave" => Self::Leave,
            "auto" => Self::Auto,
            "off" if knob.accepts == Accepts::Off => Self::Off,
            "isolated" if knob.accepts.are_cpus() => Self::Isolated,
            "housekeeping" if knob.accepts.are_cpus() => Self::Housekeeping,
            "none" if knob.accepts == Accepts::CpusOrNone => Self::Is(String::new()),
            _ => {
                // Other text may begin with a sign as well.
                let text_of =
                    |sign| matches!(knob.accepts, Accepts::Number(..)).then_some(text)?.strip_prefix(sign);
                let bound = |sign| text_of(sign).and_then(|rest: &str| rest.trim().parse().ok());
                bound(">=")
                    .map(Self::AtLeast)
                    .or_else(|| bound("<=").map(Self::AtMost))
                    .unwrap_or(Self::Is(text.into()))
            }
        };
        match knob.accepts.takes(&wish) {
            true => Ok(wish),
            false => {
                Err(WishError { knob: knob.id.into(), wish: text.into(), expected: knob.accepts.to_string() })
            }
        }
    }

    /// What it comes to at a place; none if it comes to nothing there: where no CPU is isolated, the others are all,
    /// and nothing has to be kept to them.
    pub fn at(&self, spot: &Spot, facts: &Facts) -> Option<Wanted> {
        let is_split = !facts.choice.isolated.is_empty() && !facts.choice.housekeeping.is_empty();
        let cpus = |cpus: &topology::CpuList| is_split.then(|| Wanted::Is(cpus.to_string()));
        match self {
            Self::Leave => None,
            Self::Is(text) => Some(Wanted::Is(text.clone())),
            Self::AtLeast(least) => Some(Wanted::AtLeast(*least)),
            Self::AtMost(most) => Some(Wanted::AtMost(*most)),
            Self::Auto => spot.auto.clone().map(Wanted::Is),
            Self::Isolated => cpus(&facts.choice.isolated),
            Self::Housekeeping => cpus(&facts.choice.housekeeping),
            Self::Off => Some(Wanted::Absent),
        }
    }
}

/// As [`Wish::parse`] reads it.
impl std::fmt::Display for Wish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Leave => f.write_str("leave"),
            Self::Is(text) if text.is_empty() => f.write_str("none"),
            Self::Is(text) => f.write_str(text),
            Self::AtLeast(least) => write!(f, ">= {least}"),
            Self::AtMost(most) => write!(f, "<= {most}"),
            Self::Auto => f.write_str("auto"),
            Self::Isolated => f.write_str("isolated"),
            Self::Housekeeping => f.write_str("housekeeping"),
            Self::Off => f.write_str("off"),
        }
    }
}

impl Accepts {
    fn are_cpus(self) -> bool {
        matches!(self, Self::Cpus | Self::CpusOrNone)
    }

    fn takes(self, wish: &Wish) -> bool {
        match (self, wish) {
            (_, Wish::Leave) => true,
            (accepts, Wish::Auto) => accepts != Self::Off,
            (Self::Words(words), Wish::Is(text)) => words.contains(&text.as_str()),
            (Self::Number(least, most), Wish::Is(text)) => {
                text.parse::<i64>().is_ok_and(|number| (least..=most).contains(&number))
            }
            (Self::Number(least, most), Wish::AtLeast(number) | Wish::AtMost(number)) => {
                i64::try_from(*number).is_ok_and(|number| (least..=most).contains(&number))
            }
            (_, Wish::Isolated | Wish::Housekeeping) => self.are_cpus(),
            (Self::CpusOrNone, Wish::Is(text)) => text.parse::<topology::CpuList>().is_ok(),
            (Self::Off, Wish::Off) => true,
            // No CPUs at all are `leave`: a parameter with nothing behind its `=` takes all CPUs, or none, or panics.
            (Self::Cpus, Wish::Is(text)) => {
                text.parse::<topology::CpuList>().is_ok_and(|cpus| !cpus.is_empty())
            }
            (Self::Flag, Wish::Is(text)) => text == "0" || text == "1",
            (Self::Text, Wish::Is(_)) => true,
            _ => false,
        }
    }
}

impl std::fmt::Display for Accepts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Words(words) => write!(f, "it takes {}, auto or leave", words.join(", ")),
            Self::Number(least, most) => {
                write!(f, "it takes a number from {least} to {most}, also with >= or <=, auto or leave")
            }
            Self::CpusOrNone => {
                f.write_str("it takes CPUs such as 2-3, none, isolated, housekeeping, auto or leave")
            }
            Self::Cpus => f.write_str("it takes CPUs such as 2-3, isolated, housekeeping, auto or leave"),
            Self::Flag => f.write_str("it takes 0, 1, auto or leave"),
            Self::Auto => f.write_str("it takes auto or leave"),
            Self::Off => f.write_str("it takes off or leave"),
            Self::Text => f.write_str("it takes any text, auto or leave"),
        }
    }
}

/// What a setting should be on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// This.
    Is(String),
    /// A number that is not below this.
    AtLeast(u64),
    /// A number that is not above this.
    AtMost(u64),
    /// Nothing: that it is not there.
    Absent,
}

impl Wanted {
    /// Whether the state of something that is there is as it should be.
    pub fn is_met(&self, form: Form, state: &str) -> bool {
        let number = || form.normal(state).parse::<i128>().ok();
        match self {
            Self::Is(text) => form.is_among(state, text),
            Self::AtLeast(least) => number().is_some_and(|number| number >= i128::from(*least)),
            Self::AtMost(most) => number().is_some_and(|number| number <= i128::from(*most)),
            Self::Absent => false,
        }
    }

    /// What is written if it is not; none if it is to go.
    pub fn target(&self) -> Option<String> {
        match self {
            Self::Is(text) => Some(text.clone()),
            Self::AtLeast(number) | Self::AtMost(number) => Some(number.to_string()),
            Self::Absent => None,
        }
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Is(text) => f.write_str(text),
            Self::AtLeast(least) => write!(f, ">= {least}"),
            Self::AtMost(most) => write!(f, "<= {most}"),
            Self::Absent => f.write_str("off"),
        }
    }
}

/// What a person should know before turning a knob. Sentences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Explain {
    /// How it acts on latency.
    pub mechanism: &'static str,
    /// What it costs, and what it may break.
    pub risk: &'static str,
    /// Where it is of no use, or does harm.
    pub when_not: &'static str,
    /// Which kernels and hosts have it.
    pub applies: &'static str,
    /// How it is undone, by hand if need be.
    pub undo: &'static str,
    /// Where this is from: the kernel's documentation by file, a commit, a vendor's page.
    pub source: &'static str,
    /// How far it was proven.
    pub proof: Proof,
}

/// How far a knob was proven to do what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// Set and read back on a real machine.
    TestedReal,
    /// In a virtual machine.
    TestedVm,
    /// Against a model of the kernel's files.
    TestedModel,
    /// It was never seen set: there was no such device to try it on. What it reads may have been.
    Untested,
    /// Only looked at: there is nothing to set.
    ReadOnly,
}

#[cfg(test)]
pub(crate) mod tests;
