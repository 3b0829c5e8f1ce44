//! The trial: an entry for one boot, and what that boot is expected to be.

use super::menu::{Found, is_linux};
use super::predict::Prediction;
use super::{BootError, HEADER, NextBoot, TRIAL_ENTRY, TRIAL_MARK, words};
use crate::host::Host;
use crate::plan::Parameter;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What was armed, as it is written down for the boot that follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Its name, which is on the trial's command line, too.
    pub id: String,
    /// The boot in which it was armed.
    pub armed_in: String,
    /// What the boot is expected to be.
    pub predictions: Vec<Prediction>,
    /// What the next boot is to be once it is promoted.
    pub boot: NextBoot,
    /// The text of [`super::DROP_IN`] then.
    pub drop_in: String,
}

impl Trial {
    /// Where it is written down.
    pub const PATH: &str = "/var/lib/tuner/trial.json";

    /// A name for a trial of these parameters in this boot.
    pub fn id(boot: &str, drop_in: &str) -> String {
        format!("{:08x}", crc32c::crc32c(format!("{boot}\n{drop_in}").as_bytes()))
    }

    /// What it is promoted to.
    pub(crate) fn promoted(&self) -> NextBoot {
        NextBoot { is_trial: false, ..self.boot.clone() }
    }

    /// What is written down, if something is.
    pub fn read(host: &dyn Host) -> Result<Option<Self>, BootError> {
        let Some(text) = super::text(host, Self::PATH)? else { return Ok(None) };
        let wrong = |error: serde_json::Error| BootError::Record {
            path: Path::new(Self::PATH).into(),
            reason: error.to_string(),
        };
        serde_json::from_str(&text).map(Some).map_err(wrong)
    }
}

/// The script that prints the trial's entry: the lines of `base`, with `parameters` at the end of its command line.
/// `earlier` are those of ours that it has already: they are replaced by `parameters`.
pub fn script(
    base: &Found<'_>,
    earlier: &[Parameter],
    parameters: &[Parameter],
    id: &str,
) -> Result<String, BootError> {
    // The kernel reboots by itself after a panic, and so comes back to the default entry.
    let with = |key: &str, value: &str| Parameter {
        knob: "tuner".into(),
        key: key.into(),
        value: value.into(),
        from: None,
    };
    let added = [parameters, &[with("panic", "10"), with(TRIAL_MARK, id)]].concat();
    let earlier = words::line_for_grub(earlier)?;
    let ours = words::line_for_grub(&added)?;
    let linux = base.entry.linux().ok_or(BootError::NoEntry)?;
    words::check_length(&linux, &added)?;
    let mut body = String::new();
    // An entry that is booted once must not become the one that is saved.
    for line in base.entry.lines.iter().filter(|line| *line != "savedefault") {
        let line = match is_linux(line) {
            true if earlier.is_empty() => format!("{line} {ours}"),
            true => format!("{} {ours}", line.replacen(&format!(" {earlier}"), "", 1)),
            false => line.clone(),
        };
        body += &format!("\t{line}\n");
    }
    // In a menu that is locked by a password, the trial must not wait for one where the default does not.
    let access: String = base.entry.access.iter().map(|word| format!("'{word}' ")).collect();
    // The delimiter in quotes: the shell changes nothing within.
    Ok(format!(
        "#!/bin/sh\n{HEADER}# GRUB boots this entry once; the default entry stays as it is.\ncat << 'TUNER_TRIAL'\nmenuentry 'Trial of tuner' {access}--id {TRIAL_ENTRY} {{\n{body}}}\nTUNER_TRIAL\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::menu::Menu;

    #[test]
    fn the_trial_is_the_base_but_for_our_words_and_asks_for_no_more_passwords() {
        let text = "menuentry 'a' --unrestricted --id 'b' {\n\tsavedefault\n\tload_video\n\tlinux /vmlinuz-1 ro old=1\n\tinitrd /i\n}\n";
        let menu = Menu::parse(text);
        let of = |key: &str| Parameter { knob: "k".into(), key: key.into(), value: "1".into(), from: None };
        let script = script(&menu.find("b").unwrap(), &[of("old")], &[of("new")], "id").unwrap();
        let printed = script.split_once("'TUNER_TRIAL'\n").unwrap().1;
        let expected = "menuentry 'Trial of tuner' '--unrestricted' --id tuner-trial {\n\tload_video\n\tlinux /vmlinuz-1 ro new=1 panic=10 tuner.trial=id\n\tinitrd /i\n}\nTUNER_TRIAL\n";
        assert_eq!(printed, expected);
    }
}
