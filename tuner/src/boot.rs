//! How kernel parameters get to the next boot: as a trial first, then for good.
//!
//! A trial is one more entry in GRUB's menu, made of the default entry's own lines, and armed for one boot. The default
//! stays as it is, so that a boot that hangs, panics or loses power comes back to it by itself. What proved itself is
//! promoted: a file in `/etc/default/grub.d` appends our parameters to those of the host.
//!
//! What holds: only files of our own are written, and GRUB's tools make the menu of them. `grub.cfg` is never edited,
//! no line of anybody else's is changed. What GRUB made of it is read again, and checked ([`check()`]). Other boot
//! loaders are left alone: what to add by hand is said.

mod check;
pub mod environment;
pub mod menu;
pub mod predict;
mod trial;
mod words;

pub use check::check;
pub use trial::{Trial, script};

use crate::facts::Loader;
use crate::host::{Host, HostError, HostErrorKind, absent_is_none};
use crate::plan::Parameter;
use menu::{Found, Menu};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The file that appends our parameters. `zz-` sorts it behind those of distributions and cloud providers, which set
/// the same variable.
pub const DROP_IN: &str = "/etc/default/grub.d/zz-tuner.cfg";
/// The script that prints the trial's menu entry.
pub const TRIAL_SCRIPT: &str = "/etc/grub.d/42_tuner_trial";
/// The id of that entry.
pub const TRIAL_ENTRY: &str = "tuner-trial";
/// The menu as GRUB reads it.
pub const GRUB_CFG: &str = "/boot/grub/grub.cfg";
/// A parameter that the kernel ignores and that tells which trial this boot is.
pub const TRIAL_MARK: &str = "tuner.trial";
/// The first line of the files in `/etc` that are ours.
pub const HEADER: &str =
    "# Written by tuner, which replaces it as a whole. `tuner rollback` takes it back.\n";

/// Why a boot is not prepared.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The host did not do as it was asked.
    #[error(transparent)]
    Host(#[from] HostError),
    /// There is no menu to start from.
    #[error("{GRUB_CFG} has no entry that boots Linux: run update-grub, and look at its menu")]
    NoEntry,
    /// A parameter has letters that do not come through.
    #[error(
        "the kernel parameter '{0}' cannot be written for GRUB so that the kernel gets it as it is: change it"
    )]
    Unquotable(String),
    /// A parameter lacks its value.
    #[error("the kernel parameter '{0}' is nothing without a value: give it one, or leave it")]
    Empty(String),
    /// The kernel would cut the command line off.
    #[error(
        "the kernel's command line would have {needed} bytes, and it takes {most}: leave some parameters"
    )]
    TooLong {
        /// How long it would be.
        needed: usize,
        /// How long it may be.
        most: usize,
    },
    /// GRUB cannot boot an entry just once.
    #[error(
        "GRUB cannot boot an entry just once here: {0}. `--no-trial` sets the parameters for every boot at once"
    )]
    NoTrial(String),
    /// The files say something else than was written.
    #[error(
        "{DROP_IN} was read with the other files of GRUB, and the command line came out as '{found}': is there a later file that sets GRUB_CMDLINE_LINUX_DEFAULT?"
    )]
    Sourced {
        /// What came out.
        found: String,
    },
    /// GRUB made something else of it.
    #[error("the entry '{entry}' in {GRUB_CFG} {what}: another file of GRUB's interferes")]
    Generated {
        /// Which.
        entry: String,
        /// What is wrong. The rest of a sentence.
        what: String,
    },
    /// A file of ours cannot be read back.
    #[error("{path}: {reason}: remove it, and run `tuner rollback`")]
    Record {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// What the next boot is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextBoot {
    /// Whether it is tried once, or set for good.
    pub is_trial: bool,
    /// All parameters that are ours, those of earlier applies included.
    pub parameters: Vec<Parameter>,
    /// The release of the kernel that is booted, if it is not the menu's first.
    pub kernel: Option<String>,
}

/// GRUB's menu as it is.
pub fn menu(host: &dyn Host) -> Result<Menu, BootError> {
    Ok(Menu::parse(&host.read(Path::new(GRUB_CFG))?))
}

/// The entry that the host boots by default.
pub fn default_entry<'a>(host: &dyn Host, menu: &'a Menu) -> Result<Found<'a>, BootError> {
    let saved = environment::variable(host, "saved_entry")?;
    let found = menu.default_entry(saved.as_deref()).ok_or(BootError::NoEntry)?;
    match found.entry.linux().is_some_and(|words| words.len() > 1) {
        true => Ok(found),
        false => Err(BootError::NoEntry),
    }
}

/// The text of [`DROP_IN`]: appends parameters, and (some) pins the default entry to this path in the menu.
pub fn drop_in(parameters: &[Parameter], pin: Option<&str>) -> Result<String, BootError> {
    let mut text = HEADER.to_owned();
    if !parameters.is_empty() {
        let line = words::in_shell_quotes(&words::line_for_grub(parameters)?);
        text += "GRUB_CMDLINE_LINUX_DEFAULT=\"${GRUB_CMDLINE_LINUX_DEFAULT} ";
        text += &line;
        text += "\"\n";
    }
    if let Some(pin) = pin {
        text += &format!("GRUB_DEFAULT=\"{}\"\n", words::in_shell_quotes(pin));
    }
    Ok(text)
}

/// Has GRUB's tools make the menu again.
pub fn update(host: &dyn Host) -> Result<(), HostError> {
    match host.run("update-grub", &[]) {
        Err(error) if error.kind == HostErrorKind::Absent => {
            host.run("grub-mkconfig", &["-o", GRUB_CFG]).map(drop)
        }
        other => other.map(drop),
    }
}

/// Parameters of ours that the host sets, too, to something else: a sentence each, with the file they stand in.
pub fn conflicts(host: &dyn Host, command_line: &str, ours: &[Parameter]) -> Vec<String> {
    let mut told = Vec::new();
    for parameter in ours.iter().filter(|parameter| !REPEATED.contains(&parameter.key.as_str())) {
        let Some(value) = crate::place::parameter(command_line, &parameter.key) else { continue };
        if value.split(' ').all(|value| value == parameter.value) {
            continue;
        }
        let at = standing_in(host, &parameter.key).map(|path| format!(" by {path}")).unwrap_or_default();
        told.push(format!(
            "'{}={value}' is set{at}, and '{}' is added: of two that differ, the kernel may follow either, so take the other out",
            parameter.key,
            parameter.word()
        ));
    }
    told
}

/// Parameters that are meant to stand there more than once.
const REPEATED: [&str; 4] = ["hugepagesz", "hugepages", "console", "dyndbg"];

/// The file of GRUB's settings that has a parameter, if it is not ours.
fn standing_in(host: &dyn Host, key: &str) -> Option<String> {
    const FOLDER: &str = "/etc/default/grub.d";
    let names = host.list(Path::new(FOLDER)).unwrap_or_default();
    let files = names.iter().filter(|name| name.ends_with(".cfg")).map(|name| format!("{FOLDER}/{name}"));
    let mut files = files.chain(["/etc/default/grub".to_owned()]).filter(|path| path != DROP_IN);
    let sets = |path: &String| {
        let text = host.read(Path::new(path)).unwrap_or_default();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        lines.into_iter().any(|line| line.contains(&format!("{key}=")))
    };
    files.find(sets)
}

/// What a person does where nothing is done for them.
pub fn by_hand(loader: Loader, parameters: &[Parameter]) -> String {
    let words: Vec<_> = parameters.iter().map(Parameter::word).collect();
    let (what, how) = match loader {
        Loader::SystemdBoot => (
            "systemd-boot is not set by this program",
            "append them to /etc/kernel/cmdline and run `kernel-install add-all`, or to the `options` of the loader's entry",
        ),
        _ => (
            "the boot loader of this host is not known",
            "append them to the kernel's command line where it is set",
        ),
    };
    format!("{what}; to have these kernel parameters, {how}: {}", words.join(" "))
}

/// A file's text; none if there is no such file.
pub(crate) fn text(host: &dyn Host, path: &str) -> Result<Option<String>, HostError> {
    absent_is_none(host.read(Path::new(path)))
}
