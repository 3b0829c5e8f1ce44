//! The command line as it is written, and its help.

use super::exit;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  tuner audit                      how this host stands
  tuner explain mem.thp            what a setting does, costs, and is here
  tuner plan --profile rt-cpu      what would be changed, and why
  sudo tuner apply --profile rt-cpu --confirm-within 2m
  sudo tuner confirm               or it undoes itself after two minutes
  sudo tuner rollback              takes the last apply back

";

/// Makes a Linux host fit for low latency, and takes it back.
///
/// A profile says what is wished; `audit` shows how the host stands, `plan` what would be changed and why, `apply`
/// changes it, `verify` looks again, `rollback` undoes it. Everything but apply, confirm and rollback only reads. Each
/// change is journaled before it is made, so that it can be undone after a crash or a power cut as well.
#[derive(Parser)]
#[command(name = "tuner", version, max_term_width = 100, after_long_help = format!("{EXAMPLES}{}", exit::HELP))]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What all verbs take.
#[derive(Args)]
pub(crate) struct Common {
    /// The host whose files lie in this folder, instead of this one
    #[arg(long, global = true, value_name = "DIR", default_value = "/", hide_default_value = true)]
    pub(crate) root: PathBuf,
    /// How the report is written
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    format: Format,
    /// The same as --format json
    #[arg(long, global = true, conflicts_with = "format")]
    json: bool,
    /// What is wished: a profile's name, or the path of its file [default: the one applied last, or
    /// workstation-safe]
    #[arg(long, global = true, value_name = "PROFILE")]
    pub(crate) profile: Option<String>,
    /// Only these knobs: ids such as mem.thp, or whole areas as mem
    #[arg(long, global = true, value_name = "ID", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Not these knobs
    #[arg(long, global = true, value_name = "ID", value_delimiter = ',')]
    pub(crate) skip: Vec<String>,
    /// Show what is left alone, too, and each of many equal lines; of rollback, undo every apply
    #[arg(long, global = true)]
    pub(crate) all: bool,
}

impl Common {
    pub(crate) fn format(&self) -> Format {
        if self.json { Format::Json } else { self.format }
    }
}

/// How a report is written.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// One JSON document; `tuner schema VERB` prints its schema
    Json,
    /// SARIF 2.1.0, for what gathers findings; of audit and verify only
    Sarif,
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Shows how every setting stands beside what is wished for it
    ///
    /// Reads files of the kernel and of the system's configuration, and what it finds effective counts: not what was
    /// written, but what the kernel made of it. It opens nothing for writing, runs nothing, and works without
    /// privileges; what it may not read, it calls unknown.
    ///
    /// Exit status: 0 all as wished; 1 something drifts or conflicts; 6 all as wished after a reboot; 8 something
    /// cannot be told without more privilege; 2 wrong usage. What this host does not have or cannot set is no drift.
    Audit,
    /// Shows what apply would change, in which order, and why
    ///
    /// Each change with its state before and after, when it takes effect, and what brings it back after a reboot.
    /// Opens nothing for writing. With --json, what it prints can be kept, looked over, and given to apply; it is for
    /// this host and this boot alone.
    ///
    /// Exit status: 0 it can be applied, or there is nothing to change; 3 an interlock refuses it; 2 wrong usage.
    Plan {
        /// Override the interlock of this id
        #[arg(long, value_name = "ID")]
        force: Vec<String>,
        /// Give kernel parameters to the default boot entry at once, without a trial boot
        #[arg(long)]
        no_trial: bool,
    },
    /// Makes the host as it is wished, so that it can be undone
    ///
    /// Writes each change to a journal before it makes it, reads back what came of it, and undoes all if one fails.
    /// Kernel parameters go into a trial entry of the boot loader first: it is booted once, and kept only if the
    /// kernel does as it should. It never changes what the plan does not name, never installs or removes packages,
    /// never reboots by itself, and never overrides an interlock that is not named with --force.
    ///
    /// Exit status: 0 applied; 1 applied but for what this host does not take; 3 refused; 4 something failed and was
    /// undone; 5 not all of it could be undone; 6 applied, and a reboot has to complete it; 7 another tuner is at
    /// work; 8 it takes root; 2 wrong usage.
    Apply(Apply),
    /// Keeps what `apply --confirm-within` would undo by itself
    ///
    /// Exit status: 0 kept; 2 nothing waits to be confirmed, or it is too late; 7 another tuner is at work; 8 it takes
    /// root.
    Confirm,
    /// Looks again whether all is as wished: audit, for scripts
    ///
    /// The same as audit in all that it does and never does. A missing file is no failure, but is told; something that
    /// cannot be read is never taken for well.
    ///
    /// Exit status: as audit's.
    Verify,
    /// Undoes what apply did: the last one, or more
    ///
    /// Puts back what was there before, files that did not exist included. What somebody else changed since is left
    /// alone, and told. It never touches what apply did not change.
    ///
    /// Exit status: 0 undone; 5 not all of it, and what is left to do by hand is printed; 2 there is nothing to undo;
    /// 7 another tuner is at work; 8 it takes root.
    Rollback {
        /// Undo this apply and all after it
        #[arg(long, value_name = "ID", conflicts_with = "all")]
        to: Option<String>,
        /// Wait until this apply is confirmed, and undo it if it is not in time
        #[arg(long, value_name = "ID", conflicts_with_all = ["all", "to"], hide = true)]
        unless_confirmed: Option<String>,
    },
    /// Shows what is applied, since when, what of it still stands, and what awaits a reboot
    ///
    /// Opens nothing for writing.
    ///
    /// Exit status: 0 all that is applied stands; 1 something does not; 6 a reboot is awaited.
    Status,
    /// Tells all about a knob: how it acts, what it costs, when not to turn it, and how it stands here
    ///
    /// Exit status: 0; 2 there is no such knob.
    Explain {
        /// Which: its id, as mem.thp
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Lists the profiles, or shows all that one of them wishes and from where it has it
    ///
    /// Own profiles are TOML files in /etc/tuner/profiles or /usr/local/share/tuner/profiles, NAME.toml, before those
    /// in the program. One may inherit from one of its own name.
    ///
    /// Exit status: 0; 2 there is no such profile, or it is wrong.
    Profiles {
        /// Which
        name: Option<String>,
    },
    /// Records what the tuner reads of this host, without what tells who it is, for tests and reports
    ///
    /// Exit status: 0; 2 the file cannot be written.
    Capture {
        /// The file to write [default: standard output]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Measures how late the host lets a thread run, and whether a profile changes that
    ///
    /// One test sleeps until a moment and sees how much later it runs, as cyclictest does; another never sleeps and
    /// sees when it did not run; and the kernel's timerlat and osnoise tracers are asked where it has them. CPUs sleep
    /// as deeply as they would without it.
    ///
    /// With --compare, what the profile sets at once is applied and taken back again in turn, round by round, and each
    /// difference comes with its 95 % interval; with --ablate, each setting is then taken back by itself as well, to
    /// see which earned its place. The host is afterwards as it was before, also after Ctrl-C.
    ///
    /// Exit status: 0 measured; 3 an interlock refuses what was to be compared; 8 it takes root; 2 wrong usage.
    Measure(Measure),
    /// Watches an NVIDIA card, and steps its clock down while it is too hot
    ///
    /// Each step is journaled like any other change, and taken back when the card has cooled, or when it ends. Runs
    /// until Ctrl-C or SIGTERM.
    ///
    /// Exit status: 0 ended; 5 the card could not be freed; 8 it takes root; 2 there is no such card.
    Guard(Guard),
    /// Prints the JSON Schema of what a verb prints with --json
    Schema {
        /// Which verb
        verb: String,
    },
    /// What the boot unit and udev run
    #[command(hide = true)]
    Replay {
        /// Only what belongs to this device
        #[arg(long)]
        device: Option<String>,
        /// Judge a trial boot, too
        #[arg(long)]
        judge: bool,
    },
}

/// How to measure.
#[derive(Args)]
pub(crate) struct Measure {
    /// Measure with and without what the profile sets at once
    #[arg(long)]
    pub(crate) compare: bool,
    /// Take back each setting by itself, too
    #[arg(long)]
    pub(crate) ablate: bool,
    /// How long each test takes in each round, as 5s
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5s")]
    pub(crate) time: Duration,
    /// How many rounds; of fewer than 5, no difference is called significant
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) rounds: u16,
    /// CPUs, as 2-3 [default: the isolated ones, or all]
    #[arg(long, value_name = "CPUS")]
    pub(crate) cpus: Option<topology::CpuList>,
    /// How often a thread wakes, in microseconds
    #[arg(long = "interval-us", value_name = "US", default_value = "500", value_parser = interval)]
    pub(crate) interval: Duration,
    /// SCHED_FIFO priority of the threads that sleep; 0 for none
    #[arg(long, value_name = "PRIORITY", default_value_t = 80, value_parser = clap::value_parser!(u8).range(0..=99))]
    pub(crate) fifo: u8,
    /// Draw the distributions into this SVG file
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,
}

/// How to guard.
#[derive(Args)]
pub(crate) struct Guard {
    /// The card's PCI address, as 0000:01:00.0 [default: the only one]
    #[arg(long, value_name = "PCI")]
    pub(crate) gpu: Option<String>,
    /// From this temperature on it steps down, in degrees Celsius; at the latest below the card's own limit
    #[arg(long, value_name = "C", default_value_t = 80)]
    pub(crate) hot_c: u32,
    /// The lowest clock that it steps down to, in percent of the highest
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(10..=100))]
    pub(crate) least_percent: u32,
}

/// How to apply.
#[derive(Args)]
pub(crate) struct Apply {
    /// A plan that `tuner plan --json` wrote, instead of one made now
    #[arg(value_name = "PLAN.json")]
    pub(crate) plan: Option<PathBuf>,
    /// Undo it all unless `tuner confirm` is run within this time, as 120s or 5m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) confirm_within: Option<Duration>,
    /// Override the interlock of this id
    #[arg(long, value_name = "ID")]
    pub(crate) force: Vec<String>,
    /// Give kernel parameters to the default boot entry at once, without a trial boot
    #[arg(long, conflicts_with = "plan")]
    pub(crate) no_trial: bool,
    /// Go on after a change that fails; that one is put back
    #[arg(long)]
    pub(crate) keep_going: bool,
}

/// A time, as `120s`, `5m` or `120`.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit_s) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_s));
    seconds
        .filter(|seconds| (1..=86_400).contains(seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| "give a time from 1s to 1440m, as 120s or 5m".to_owned())
}

fn interval(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(us) if (10..=1_000_000).contains(&us) => Ok(Duration::from_micros(us)),
        _ => Err("it takes a number from 10 to 1000000".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(duration("120s"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        for wrong in ["", "0s", "m", "-1", "2h", "1441m", "99999999999999999999"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
