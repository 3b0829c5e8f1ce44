//! Judges the boot that follows a trial: promotes what proved itself, takes back what did not.
//!
//! What holds: it reboots at most once for a trial, which is written down before. A trial that did not come up is taken
//! back without a reboot: the host runs what it ran before.

use super::{Files, drop_trial};
use crate::boot::{self, BootError, TRIAL_MARK, Trial};
use crate::facts::Identity;
use crate::host::Host;
use crate::place::parameter;
use crate::plan::{Hook, Plan, SCHEMA_VERSION};
use std::fmt;
use std::path::Path;

/// Who makes changes and undoes them. It runs a plan's hooks, too.
pub trait Engine {
    /// Applies a plan, or leaves the host as it was and says why.
    fn apply(&self, host: &dyn Host, plan: &Plan) -> Result<(), String>;

    /// Undoes what was applied with the trial, or says what is left to be done by hand.
    fn roll_back(&self, host: &dyn Host) -> Result<(), String>;
}

/// What was found, and done about it.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is no trial, or it has not been booted yet.
    Nothing,
    /// It is as it was predicted, and is for good now.
    Promoted,
    /// It is as it was predicted, but could not be made permanent. Why, a sentence.
    NotPromoted(String),
    /// The kernel did not do as it was predicted: what was missed, a sentence each. All was taken back.
    Missed {
        /// What.
        missed: Vec<String>,
        /// Whether the host reboots now.
        reboots: bool,
        /// What was not taken back, if something was not.
        left: Option<String>,
    },
    /// It was armed, and another entry was booted. All was taken back.
    DidNotBoot {
        /// What was not taken back, if something was not.
        left: Option<String>,
    },
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = match self {
            Self::Nothing => return f.write_str("there is no trial to be judged"),
            Self::Promoted => return f.write_str("the trial did as it should, and is permanent now"),
            Self::NotPromoted(why) => {
                return write!(f, "the trial did as it should, but was not made permanent: {why}");
            }
            Self::Missed { missed, reboots, left } => {
                write!(f, "the trial did not do as it should, and is taken back: {}", missed.join("; "))?;
                f.write_str(match reboots {
                    true => ". The host reboots into what it was",
                    false => ". Reboot for the host to be what it was",
                })?;
                left
            }
            Self::DidNotBoot { left } => {
                f.write_str(
                    "the trial was not booted, or did not come up, and is taken back: this is the old entry",
                )?;
                left
            }
        };
        left.as_ref().map_or(Ok(()), |left| write!(f, ". Left to be done by hand: {left}"))
    }
}

/// What stands in a promotion's plan for a profile: it follows none.
pub const PROMOTION: &str = "promotion";
/// Names of trials that the host was rebooted for, a line each.
const REBOOTED: &str = "/var/lib/tuner/rebooted";

/// Judges this boot, and acts on it.
pub fn reconcile(host: &dyn Host, engine: &dyn Engine) -> Result<Verdict, BootError> {
    let Some(trial) = Trial::read(host)? else { return Ok(Verdict::Nothing) };
    let word = |path: &str| host.read(Path::new(path)).map(|text| text.trim().to_owned());
    let now = word("/proc/sys/kernel/random/boot_id")?;
    if now == trial.armed_in {
        return Ok(Verdict::Nothing);
    }
    let mark = parameter(&word("/proc/cmdline")?, TRIAL_MARK);
    if mark.as_deref() != Some(trial.id.as_str()) {
        return Ok(Verdict::DidNotBoot { left: engine.roll_back(host).err() });
    }
    let missed: Vec<_> = trial.predictions.iter().filter_map(|wanted| wanted.missed(host)).collect();
    if !missed.is_empty() {
        return take_back(host, engine, &trial, missed);
    }
    let identity = Identity { machine: word("/etc/machine-id").unwrap_or_default(), boot: now };
    let plan = promotion(host, &trial, identity)?;
    if let Err(why) = engine.apply(host, &plan) {
        return Ok(Verdict::NotPromoted(why));
    }
    match boot::check(host, &trial.promoted()) {
        Ok(()) => Ok(Verdict::Promoted),
        Err(error) => {
            let left = engine.roll_back(host).err().map(|left| format!(". {left}")).unwrap_or_default();
            Ok(Verdict::NotPromoted(format!("{error}{left}")))
        }
    }
}

fn take_back(
    host: &dyn Host,
    engine: &dyn Engine,
    trial: &Trial,
    missed: Vec<String>,
) -> Result<Verdict, BootError> {
    let before = boot::text(host, REBOOTED)?.unwrap_or_default();
    let is_first = !before.lines().any(|id| id == trial.id);
    if is_first {
        // Written down before anything else: whatever goes wrong from here on, there is no second time.
        host.append(Path::new(REBOOTED), &format!("{}\n", trial.id))?;
    }
    let left = engine.roll_back(host).err();
    let reboots = is_first && left.is_none() && host.run("systemctl", &["--no-block", "reboot"]).is_ok();
    Ok(Verdict::Missed { missed, reboots, left })
}

/// The plan that makes a trial permanent.
fn promotion(host: &dyn Host, trial: &Trial, identity: Identity) -> Result<Plan, BootError> {
    let mut files = Files::default();
    files.put(host, boot::DROP_IN, 0o644, Some(trial.drop_in.clone()), Some(Hook::UpdateGrub))?;
    drop_trial(host, &mut files)?;
    Ok(Plan {
        schema_version: SCHEMA_VERSION,
        tuner: env!("CARGO_PKG_VERSION").into(),
        profile: PROMOTION.into(),
        identity,
        changes: files.changes,
        hooks: files.hooks,
        parameters: Vec::new(),
        refusals: Vec::new(),
        notes: Vec::new(),
        boot: Some(trial.promoted()),
        completes: true,
    })
}
