//! Looks at what GRUB's tools made of our files.
//!
//! What holds: it does not ask whether a text is in a file, but what a shell and GRUB make of it. Each word of ours must
//! be there once, and for a trial the default entry must not have it.

use super::menu::{Item, words};
use super::{BootError, DROP_IN, GRUB_CFG, NextBoot, TRIAL_ENTRY, TRIAL_MARK, default_entry, menu};
use crate::host::{Host, HostErrorKind};
use crate::plan::Parameter;

/// Sources GRUB's files as `grub-mkconfig` does, but for the one named by `$1`.
const SOURCE: &str = r#"set -e
if [ -f "$TUNER_ROOT/etc/default/grub" ]; then . "$TUNER_ROOT/etc/default/grub"; fi
for file in "$TUNER_ROOT"/etc/default/grub.d/*.cfg; do
    if [ -e "$file" ] && [ "${file##*/}" != "$1" ]; then . "$file"; fi
done
printf '\n%s%s' "$0" "$GRUB_CMDLINE_LINUX_DEFAULT""#;
/// What stands before the outcome: files may print, too.
const OUTCOME: &str = "tuner-outcome:";

/// Refuses if the next boot will not be what it is to be. Called after GRUB's tools have run.
pub fn check(host: &dyn Host, boot: &NextBoot) -> Result<(), BootError> {
    if !boot.is_trial && !boot.parameters.is_empty() {
        source(host, &boot.parameters)?;
    }
    match host.run("grub-script-check", &[GRUB_CFG]) {
        Err(error) if error.kind == HostErrorKind::Absent => {}
        other => drop(other?),
    }
    let menu = menu(host)?;
    let default = default_entry(host, &menu)?;
    let wrong = |entry: &str, what: String| Err(BootError::Generated { entry: entry.into(), what });
    let entry = if boot.is_trial {
        let Some(trial) = menu.find(TRIAL_ENTRY) else {
            return wrong(TRIAL_ENTRY, "is missing".into());
        };
        if default.path == TRIAL_ENTRY {
            return wrong(TRIAL_ENTRY, "is the default, though it is for one boot".into());
        }
        if crate::place::parameter(&default.entry.command_line().unwrap_or_default(), TRIAL_MARK).is_some() {
            return wrong(&default.path, "has the mark of a trial".into());
        }
        trial
    } else {
        default
    };
    if let Err(what) = has_once(entry.entry, &boot.parameters) {
        return wrong(&entry.path, what);
    }
    match (&boot.kernel, entry.entry.release()) {
        (Some(wanted), found) if found != Some(wanted.as_str()) => {
            wrong(&entry.path, format!("boots {} and not {wanted}", found.unwrap_or("no kernel")))
        }
        _ => Ok(()),
    }
}

/// What the shell makes of all files must be what it makes of the others, and our words.
fn source(host: &dyn Host, parameters: &[Parameter]) -> Result<(), BootError> {
    let name = DROP_IN.rsplit('/').next().unwrap_or(DROP_IN);
    let read = |without: &str| {
        let told = host.run("sh", &["-c", SOURCE, OUTCOME, without])?;
        Ok::<_, BootError>(told.rsplit_once(OUTCOME).map(|(_, line)| line.to_owned()).unwrap_or_default())
    };
    let (all, others) = (read("")?, read(name)?);
    let mut expected = words(&others);
    expected.extend(parameters.iter().map(Parameter::word));
    let mut found = words(&all);
    expected.sort_unstable();
    found.sort_unstable();
    match found == expected {
        true => Ok(()),
        false => Err(BootError::Sourced { found: all }),
    }
}

fn has_once(entry: &Item, parameters: &[Parameter]) -> Result<(), String> {
    let linux = entry.linux().unwrap_or_default();
    for parameter in parameters {
        let word = parameter.word();
        let wanted = parameters.iter().filter(|other| other.word() == word).count();
        match linux.iter().filter(|other| **other == word).count() {
            count if count == wanted => {}
            0 => return Err(format!("does not have '{word}'")),
            count => return Err(format!("has '{word}' {count} times")),
        }
    }
    Ok(())
}
