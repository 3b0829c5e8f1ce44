//! Puts a plan together: changes, what makes them come back, the next boot, and what speaks against it all.

use super::{Change, Hook, Parameter, Plan, Refusal, changes_of, parameters};
use crate::audit::{Finding, Status};
use crate::boot::{self, BootError, NextBoot, TRIAL_ENTRY, TRIAL_SCRIPT, Trial, menu::Menu};
use crate::facts::{Facts, Loader};
use crate::host::{Host, HostErrorKind, NicItem};
use crate::interlock::{self, Proposal, refusal};
use crate::knob::Phase;
use crate::persist::{self, Desired, Files, PersistError};
use crate::place::Place;
use crate::profile::Profile;
use std::path::{Path, PathBuf};

/// How a plan is made.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Names of interlocks that do not refuse.
    pub force: Vec<String>,
    /// Whether kernel parameters are set for good at once, without a trial.
    pub no_trial: bool,
    /// Whether the apply takes itself back unless it is confirmed.
    pub takes_itself_back: bool,
    /// This program's own path, which units and rules will call.
    pub program: PathBuf,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// About files that make settings come back.
    #[error(transparent)]
    Persist(#[from] PersistError),
    /// About the next boot.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// A name that no interlock has.
    #[error("there is no interlock '{name}' to be forced: there are {}", interlock::ALL.join(", "))]
    NoSuchInterlock {
        /// It.
        name: String,
    },
}

/// Makes a plan of what was found. It reads, and changes nothing.
pub fn make(
    host: &dyn Host,
    facts: &Facts,
    profile: &Profile,
    findings: &[Finding],
    options: &Options,
) -> Result<Plan, PlanError> {
    if let Some(name) = options.force.iter().find(|name| !interlock::ALL.contains(&name.as_str())) {
        return Err(PlanError::NoSuchInterlock { name: name.clone() });
    }
    let mut plan = Plan::new(facts, &profile.name);
    if !profile.applies {
        plan.refusals = interlock::check(facts, profile, &Proposal::default());
        return Ok(plan);
    }
    let is_forced = |id: &str| options.force.iter().any(|forced| forced == id);
    let fought: &[Status] =
        if is_forced(interlock::OTHER_OWNER) { &[Status::Drift, Status::Conflict] } else { &[Status::Drift] };
    plan.changes = changes_of(findings, fought);
    with_reset_interrupts(&mut plan.changes, findings);
    let mut desired = Desired::read(host)?;
    desired.take(&plan.changes, findings);
    let next = next_boot(host, facts, findings, options, &mut desired, &mut plan)?;
    plan.parameters = next.added.clone();
    let proposal = Proposal {
        changes: &plan.changes,
        parameters: &next.added,
        rt_kernel: next.rt_kernel.as_deref(),
        takes_itself_back: options.takes_itself_back,
        findings,
    };
    plan.refusals.extend(interlock::check(facts, profile, &proposal));
    let mut files = persist::files(host, facts, &desired, &options.program)?;
    if !facts.is_systemd && !desired.settings.is_empty() {
        plan.notes.push(
            "this host does not run systemd: runtime settings do not survive a reboot, so apply again after it"
                .into(),
        );
    }
    if next.changes {
        plan.boot = Some(next.arm(host, facts, options, &desired, &mut files, &mut plan.refusals)?);
        plan.notes.push(match options.no_trial {
            true => "kernel parameters take a reboot, and are set for every boot from then on".into(),
            false => "kernel parameters take a reboot: the next one is a trial, which becomes permanent if the kernel does as it should, and is taken back if not".into(),
        });
    }
    plan.refusals.extend(files.foreign.iter().map(|path| foreign(path)));
    plan.changes.append(&mut files.changes);
    plan.hooks = files.hooks;
    let forced: Vec<_> = plan.refusals.extract_if(.., |refusal| is_forced(&refusal.id)).collect();
    plan.notes.extend(forced.iter().map(|refusal| format!("forced past {}: {}", refusal.id, refusal.why)));
    Ok(plan)
}

/// A card whose queues change gives all of their interrupts new CPUs: also those that are well are written after it. Whose
/// they are is not asked: one that still is as it is to be is not written.
fn with_reset_interrupts(changes: &mut Vec<Change>, findings: &[Finding]) {
    let resets = |change: &Change| matches!(change.place, Place::Nic { item: NicItem::CombinedChannels, .. });
    if !changes.iter().any(resets) {
        return;
    }
    // One that stays where it is, as the timer's does, is well without being so written.
    let is_written = |finding: &&Finding| match (&finding.place, &finding.current, &finding.target) {
        (Some(place), Some(current), Some(target)) if finding.phase == Phase::Interrupts => {
            place.form().is_among(current, target)
        }
        _ => false,
    };
    let interrupts: Vec<_> = findings.iter().filter(is_written).cloned().collect();
    changes.extend(changes_of(&interrupts, &[Status::Ok]));
    changes.sort_by_key(|change| change.phase);
}

fn foreign(path: &Path) -> Refusal {
    let path = path.display();
    let why =
        format!("{path} is there and was not written by this program, which would replace it: move it away");
    refusal(interlock::FOREIGN_FILE, "tuner", why)
}

/// What the next boot is to be, taken into `desired`; what is left to a person is noted.
fn next_boot(
    host: &dyn Host,
    facts: &Facts,
    findings: &[Finding],
    options: &Options,
    desired: &mut Desired,
    plan: &mut Plan,
) -> Result<Next, BootError> {
    let wanted = parameters(findings);
    if facts.boot.loader != Loader::Grub {
        let next = facts.boot.next_command_line.as_deref().unwrap_or_default();
        let is_set = |parameter: &Parameter| boot::menu::words(next).contains(&parameter.word());
        let lacking: Vec<_> = wanted.into_iter().filter(|parameter| !is_set(parameter)).collect();
        if !lacking.is_empty() {
            plan.notes.push(boot::by_hand(facts.boot.loader, &lacking));
        }
        return Ok(Next::default());
    }
    match Next::of(host, facts, findings, &wanted, desired, &mut plan.notes) {
        Ok(mut next) => {
            next.changes &= options.no_trial || !next.is_tried(host, desired)?;
            Ok(next)
        }
        // Debian lets only root read the menu.
        Err(BootError::Host(error)) if error.kind == HostErrorKind::Denied => {
            let why = format!(
                "{error}: what the next boot is cannot be told, so the plan lacks it. Make it as root"
            );
            plan.refusals.push(refusal(interlock::UNREAD_MENU, "tuner", why));
            Ok(Next { added: wanted, ..Next::default() })
        }
        Err(error) => Err(error),
    }
}

/// What GRUB's next boot is made of.
#[derive(Debug, Default)]
struct Next {
    menu: Menu,
    /// Parameters that the running kernel lacks.
    added: Vec<Parameter>,
    /// Parameters of ours that the default entry has already.
    earlier: Vec<Parameter>,
    /// The real-time kernel that would be booted instead of the default.
    rt_kernel: Option<String>,
    /// Whether anything changes.
    changes: bool,
}

impl Next {
    fn of(
        host: &dyn Host,
        facts: &Facts,
        findings: &[Finding],
        wanted: &[Parameter],
        desired: &mut Desired,
        notes: &mut Vec<String>,
    ) -> Result<Self, BootError> {
        let wishes_rt = wishes_rt(findings);
        if wanted.is_empty() && !wishes_rt {
            return Ok(Self::default());
        }
        let menu = boot::menu(host)?;
        let default = boot::default_entry(host, &menu)?;
        let line = default.entry.command_line().unwrap_or_default();
        let rt_kernel = if wishes_rt { rt_kernel(facts, &menu, default.entry.release()) } else { None };
        let earlier = desired.parameters.clone();
        // Others set it for the next boot already: once more would be twice.
        let is_ours = |parameter: &Parameter| {
            earlier.iter().any(|ours| (&ours.knob, &ours.key) == (&parameter.knob, &parameter.key))
        };
        let has = |parameter: &&Parameter| {
            let word = parameter.word();
            is_ours(parameter) || !boot::menu::words(&line).contains(&word)
        };
        let added: Vec<_> = wanted.iter().filter(has).cloned().collect();
        let others = without(&line, &earlier);
        notes.extend(boot::conflicts(host, &others, &added));
        desired.take_parameters(&added);
        // A pin whose kernel was removed would pin nothing.
        if desired.kernel.as_ref().is_some_and(|(release, _)| menu.kernel(release).is_none()) {
            desired.kernel = None;
        }
        if let Some(found) = rt_kernel.as_ref().and_then(|release| menu.kernel(release)) {
            desired.kernel = rt_kernel.clone().zip(Some(found.path));
        }
        // Also if it was set before, and somebody took it out.
        let words = boot::menu::words(&line);
        let lacks = desired.parameters.iter().any(|parameter| !words.contains(&parameter.word()));
        let changes = lacks || desired.parameters != earlier || rt_kernel.is_some();
        Ok(Self { added, earlier, rt_kernel, changes, menu })
    }

    /// Whether a trial of the same is armed already.
    fn is_tried(&self, host: &dyn Host, desired: &Desired) -> Result<bool, BootError> {
        let kernel = desired.kernel.as_ref().map(|(release, _)| release);
        let trial = Trial::read(host)?.map(|trial| trial.boot);
        Ok(trial
            .is_some_and(|boot| (&boot.parameters, boot.kernel.as_ref()) == (&desired.parameters, kernel)))
    }

    /// Adds the files that bring the next boot about.
    fn arm(
        &self,
        host: &dyn Host,
        facts: &Facts,
        options: &Options,
        desired: &Desired,
        files: &mut Files,
        refusals: &mut Vec<Refusal>,
    ) -> Result<NextBoot, PlanError> {
        let pin = desired.kernel.as_ref();
        let next = NextBoot {
            is_trial: !options.no_trial,
            parameters: desired.parameters.clone(),
            kernel: pin.map(|(release, _)| release.clone()),
        };
        let drop_in = boot::drop_in(&desired.parameters, pin.map(|(_, path)| path.as_str()))?;
        let pinned = pin.and_then(|(release, _)| self.menu.kernel(release));
        let base = match pinned {
            Some(found) => found,
            None => boot::default_entry(host, &self.menu)?,
        };
        let id = Trial::id(&facts.identity.boot, &drop_in);
        // Also without a trial: it refuses what the kernel would cut off.
        let script = boot::script(&base, &self.earlier, &desired.parameters, &id)?;
        let put = |files: &mut Files, path: &str, mode, text: String, hook| {
            files.put(host, path, mode, Some(text), hook).map_err(PersistError::from)
        };
        if options.no_trial {
            put(files, boot::DROP_IN, 0o644, drop_in, Some(Hook::UpdateGrub))?;
            // One that is armed would be promoted over this.
            persist::drop_trial(host, files).map_err(PersistError::from)?;
            return Ok(next);
        }
        let can_arm = match facts.is_systemd {
            true => boot::environment::can_arm(host, TRIAL_ENTRY),
            false => Err(BootError::NoTrial("without systemd, nothing would judge the boot".into())),
        };
        if let Err(error) = can_arm {
            refusals.push(refusal(interlock::TRIAL, "tuner", error.to_string()));
        }
        let trial = Trial {
            id,
            armed_in: facts.identity.boot.clone(),
            predictions: boot::predict::predict(&desired.parameters, next.kernel.as_deref()),
            boot: next.clone(),
            drop_in,
        };
        persist::put_judge(host, files, &options.program)?;
        put(files, Trial::PATH, 0o644, format!("{:#}\n", serde_json::json!(trial)), None)?;
        put(files, TRIAL_SCRIPT, 0o755, script, Some(Hook::UpdateGrub))?;
        // Last: the entry is armed only once everything about it is there.
        let armed = crate::place::get(host, &Place::NextBoot).map_err(BootError::from)?;
        if armed.as_deref() != Some(TRIAL_ENTRY) {
            files.changes.push(persist::own_change(Place::NextBoot, armed, Some(TRIAL_ENTRY.into())));
        }
        Ok(next)
    }
}

/// A command line without the words of these parameters.
fn without(line: &str, parameters: &[Parameter]) -> String {
    let words = boot::menu::words(line);
    let is_other = |word: &String| !parameters.iter().any(|parameter| parameter.word() == *word);
    words.into_iter().filter(is_other).collect::<Vec<_>>().join(" ")
}

/// Whether a real-time kernel is wished for.
fn wishes_rt(findings: &[Finding]) -> bool {
    let wish =
        findings.iter().find(|finding| finding.knob == "kern.rt").and_then(|finding| finding.wanted.as_ref());
    wish.is_some_and(|wanted| !matches!(wanted.as_str(), "0" | "no" | "off" | "stock"))
}

/// The newest real-time kernel that is installed and in the menu, unless the default is one.
fn rt_kernel(facts: &Facts, menu: &Menu, default: Option<&str>) -> Option<String> {
    // By its parts, as `realtime` and `-rt-` are in use, and others may only have the letters in them.
    let is_rt = |release: &str| {
        release.split(['-', '.', '+', '_']).any(|part| {
            let number = part.strip_prefix("rt");
            part == "realtime"
                || number.is_some_and(|rest| rest.chars().all(|letter| letter.is_ascii_digit()))
        })
    };
    if default.is_some_and(is_rt) {
        return None;
    }
    let numbers = |release: &String| -> Vec<u64> {
        release.split(|letter: char| !letter.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
    };
    let installed =
        facts.boot.kernels.iter().filter(|release| is_rt(release) && menu.kernel(release).is_some());
    installed.max_by_key(|release| numbers(release)).cloned()
}
