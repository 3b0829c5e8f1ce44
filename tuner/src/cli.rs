//! The command line: what each verb does with what the library finds.
//!
//! What holds: standard output carries the report and nothing else, in the format that was asked for; why something
//! did not work goes to standard error, in one sentence; the status follows [`exit`].

mod arguments;
mod change;
mod exit;
mod guard;
mod look;
mod measure;
mod seam;
mod select;

use crate::report;
use arguments::{Cli, Common, Format, Verb};
use clap::Parser;
use std::fmt;
use tuner::audit::{self, Finding};
use tuner::facts::{self, Facts};
use tuner::host::{Host, HostError, HostErrorKind, Live};
use tuner::profile::{Profile, ProfileError};

/// Reads the command line, does it, and returns the status to end with.
pub(crate) fn main() -> u8 {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(status) => status,
        Err(failure) => {
            eprintln!("tuner: {failure}");
            failure.by_hand.iter().for_each(|command| eprintln!("  {command}"));
            failure.exit
        }
    }
}

fn run(cli: &Cli) -> Result<u8, Failure> {
    let common = &cli.common;
    let format = common.format();
    if format == Format::Sarif && !matches!(cli.verb, Verb::Audit | Verb::Verify) {
        return Err(Failure::usage("SARIF carries findings: it is for audit and verify; use --format json"));
    }
    match &cli.verb {
        Verb::Audit => look::audit(common, "audit"),
        Verb::Verify => look::audit(common, "verify"),
        Verb::Explain { id } => look::explain(common, id),
        Verb::Profiles { name } => look::profiles(common, name.as_deref()),
        Verb::Schema { verb } => look::schema(verb),
        Verb::Plan { force, no_trial } => change::plan(common, force, *no_trial),
        Verb::Apply(apply) => change::apply(common, apply),
        Verb::Confirm => change::confirm(common),
        Verb::Rollback { to, unless_confirmed } => {
            change::rollback(common, to.as_deref(), unless_confirmed.as_deref())
        }
        Verb::Status => change::status(common),
        Verb::Capture { output } => look::capture(common, output.as_deref()),
        Verb::Measure(how) => measure::measure(common, how),
        Verb::Guard(how) => guard::guard(common, how),
        Verb::Replay { judge: true, .. } => seam::judge(&*host(common)?).map(|()| exit::FINE),
        Verb::Replay { device, .. } => seam::replay(&*host(common)?, device.as_deref()).map(|()| exit::FINE),
    }
}

/// Why a verb did not do as it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The status to end with.
    pub(crate) exit: u8,
    message: String,
    /// Commands that do what is left to do.
    by_hand: Vec<String>,
}

impl Failure {
    fn new(exit: u8, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string(), by_hand: Vec::new() }
    }

    fn usage(message: impl fmt::Display) -> Self {
        Self::new(exit::USAGE, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<ProfileError> for Failure {
    fn from(error: ProfileError) -> Self {
        Self::usage(error)
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        let exit = match error.kind {
            HostErrorKind::Denied => exit::PRIVILEGE,
            HostErrorKind::Busy => exit::LOCKED,
            _ => exit::USAGE,
        };
        Self::new(exit, error)
    }
}

fn host(common: &Common) -> Result<Box<dyn Host>, Failure> {
    if common.root.is_file() {
        let captured = tuner::capture::open(&common.root);
        return Ok(Box::new(captured.map_err(|error| Failure::usage(format!("--root {error}")))?));
    }
    let live = Live::new(&common.root).map_err(|error| Failure::usage(format!("--root {error}")))?;
    Ok(Box::new(live))
}

/// A host, and how its settings stand by a profile.
pub(crate) struct Seen {
    /// The host.
    pub(crate) host: Box<dyn Host>,
    /// What it calls itself.
    pub(crate) name: Option<String>,
    /// What it is.
    pub(crate) facts: Facts,
    /// What is wished for it.
    pub(crate) profile: Profile,
    /// Why by this profile.
    pub(crate) why: &'static str,
    /// How its settings stand.
    pub(crate) findings: Vec<Finding>,
}

impl Seen {
    /// Looks at a host. Nothing is opened for writing.
    fn new(common: &Common) -> Result<Self, Failure> {
        let host = host(common)?;
        let selection = select::Selection::new(&common.only, &common.skip)?;
        let (name, why) = match (&common.profile, seam::last_profile(&*host)) {
            (Some(name), _) => (name.clone(), "it was asked for"),
            (None, Some(last)) => (last, "it was applied last"),
            (None, None) => ("workstation-safe".to_owned(), "none was asked for or applied yet"),
        };
        let mut profile = Profile::find_on(&*host, &name)?;
        profile.narrow(|id| selection.takes(id));
        let facts = facts::read(&*host, profile.hot_threads);
        let mut findings = audit::audit(&*host, &facts, &profile);
        findings.retain(|finding| selection.takes(finding.knob));
        let name = host.read("/proc/sys/kernel/hostname".as_ref()).ok();
        let name = name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
        Ok(Self { host, name, facts, profile, why, findings })
    }
}

/// Prints a report. A reader that goes away, as `head` does, is no error.
fn print(text: &str) -> Result<(), Failure> {
    report::print(text).map_err(|error| Failure::usage(format!("the report cannot be printed: {error}")))
}

fn print_json(document: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(document)
        .map_err(|error| Failure::usage(format!("the report cannot be written as JSON: {error}")))?;
    print(&(text + "\n"))
}
