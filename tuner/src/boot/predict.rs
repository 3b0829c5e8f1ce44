//! What a boot with our parameters is expected to be, and whether it is.
//!
//! What holds: a parameter on the command line proves nothing by itself. Where its effect shows in a file of the
//! kernel's, it is looked for there.

use crate::host::Host;
use crate::place::{self, Form, Place};
use crate::plan::Parameter;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// One thing that is expected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Prediction {
    /// This word is on the kernel's command line.
    Word {
        /// Whose it is.
        knob: String,
        /// It.
        word: String,
    },
    /// This place is in this state.
    State {
        /// Whose it is.
        knob: String,
        /// Where.
        place: Place,
        /// Its state.
        state: String,
        /// Whether more is as good.
        at_least: bool,
        /// Whether it may be missing: a module's, which is loaded later or never.
        may_be_absent: bool,
    },
}

/// What is expected of a boot with these parameters and (some) this kernel.
pub fn predict(parameters: &[Parameter], kernel: Option<&str>) -> Vec<Prediction> {
    let mut predictions: Vec<_> = parameters
        .iter()
        .map(|parameter| Prediction::Word { knob: parameter.knob.clone(), word: parameter.word() })
        .collect();
    if let Some(release) = kernel {
        let place = Place::attribute("/proc/sys/kernel/osrelease", Form::Text);
        predictions.push(state("kern.rt", place, release));
    }
    // The size of huge pages that later `hugepages=` are about.
    let mut size_kib = 2048;
    for parameter in parameters {
        if parameter.key == "hugepagesz" {
            size_kib = kib(&parameter.value).unwrap_or(size_kib);
        }
        predictions.extend(effect(parameter, size_kib));
    }
    predictions
}

fn state(knob: &str, place: Place, state: &str) -> Prediction {
    Prediction::State { knob: knob.into(), place, state: state.into(), at_least: false, may_be_absent: false }
}

/// Where a parameter's effect shows.
fn effect(parameter: &Parameter, size_kib: u64) -> Option<Prediction> {
    const CPUS: &str = "/sys/devices/system/cpu";
    let (knob, value) = (parameter.knob.as_str(), parameter.value.as_str());
    let shown = |path: &str, form, value: &str| Some(state(knob, Place::attribute(path, form), value));
    match parameter.key.as_str() {
        "isolcpus" => {
            let flags: Vec<_> = value
                .split(',')
                .take_while(|word| !word.starts_with(|first: char| first.is_ascii_digit()))
                .collect();
            // Only `domain`, or no flag at all, shows there.
            let cpus: Vec<_> = value.split(',').skip(flags.len()).collect();
            let is_shown = flags.is_empty() || flags.contains(&"domain");
            is_shown.then(|| shown(&format!("{CPUS}/isolated"), Form::Cpus, &cpus.join(",")))?
        }
        "nohz_full" => shown(&format!("{CPUS}/nohz_full"), Form::Cpus, value),
        "irqaffinity" => {
            let cpus: topology::CpuList = value.parse().ok()?;
            shown("/proc/irq/default_smp_affinity", Form::CpuMask, &cpus.to_string())
        }
        "nosmt" => shown(&format!("{CPUS}/smt/active"), Form::Number, "0"),
        "nmi_watchdog" => shown("/proc/sys/kernel/nmi_watchdog", Form::Number, value),
        "transparent_hugepage" => shown("/sys/kernel/mm/transparent_hugepage/enabled", Form::Choice, value),
        "hugepages" => {
            let count = pages(value)?;
            let path = format!("/sys/kernel/mm/hugepages/hugepages-{size_kib}kB/nr_hugepages");
            Some(Prediction::State {
                knob: knob.into(),
                place: Place::attribute(path, Form::Number),
                state: count.to_string(),
                at_least: true,
                may_be_absent: false,
            })
        }
        key => {
            let (module, name) = key.split_once('.')?;
            let path = format!("/sys/module/{}/parameters/{name}", module.replace('-', "_"));
            Some(Prediction::State {
                knob: knob.into(),
                place: Place::attribute(path, Form::Text),
                state: value.into(),
                at_least: false,
                may_be_absent: true,
            })
        }
    }
}

/// How many pages `hugepages=` asks for; `0:n,1:m` sets them by node.
pub(crate) fn pages(value: &str) -> Option<u64> {
    let counts = value.split(',').map(|part| part.rsplit(':').next().unwrap_or(part).parse::<u64>());
    Some(counts.collect::<Result<Vec<_>, _>>().ok()?.iter().sum())
}

/// A size as the kernel's command line has it: `2M`, `1G`.
pub(crate) fn kib(size: &str) -> Option<u64> {
    let number = |text: &str, kib: u64| text.parse::<u64>().ok()?.checked_mul(kib);
    match size.split_at_checked(size.len().checked_sub(1)?)? {
        (digits, "K" | "k") => number(digits, 1),
        (digits, "M" | "m") => number(digits, 1 << 10),
        (digits, "G" | "g") => number(digits, 1 << 20),
        _ => None,
    }
}

impl Prediction {
    /// What is not as it was expected, as a sentence; none if it is.
    pub fn missed(&self, host: &dyn Host) -> Option<String> {
        match self {
            Self::Word { knob, word } => {
                let line = host.read(Path::new("/proc/cmdline")).unwrap_or_default();
                let is_there = super::menu::words(&line).iter().any(|other| other == word);
                (!is_there).then(|| format!("{knob}: '{word}' is not on the kernel's command line"))
            }
            Self::State { knob, place, state, at_least, may_be_absent } => match place::get(host, place) {
                Ok(None) if *may_be_absent => None,
                Ok(None) => Some(format!("{knob}: {place} is missing, so this kernel ignored it")),
                Ok(Some(found)) if reached(place.form(), &found, state, *at_least) => None,
                Ok(Some(found)) => Some(format!("{knob}: {place} is '{found}' and not '{state}'")),
                // What the kernel does not let be read is not known to be wrong.
                Err(_) if *may_be_absent => None,
                Err(error) => Some(format!("{knob}: {error}")),
            },
        }
    }
}

/// Whether a state is what was asked for. A module's own text for yes and no differs from what is written.
fn reached(form: Form, found: &str, wanted: &str, at_least: bool) -> bool {
    if at_least {
        let numbers = (found.trim().parse::<u64>(), wanted.parse::<u64>());
        return matches!(numbers, (Ok(found), Ok(wanted)) if found >= wanted);
    }
    form.is_same(found, wanted) || (form == Form::Text && Form::Flag.is_same(found, wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Live;

    fn parameter(key: &str, value: &str) -> Parameter {
        Parameter { knob: "boot.x".into(), key: key.into(), value: value.into(), from: None }
    }

    /// What is missed on a host with these files.
    fn missed(predictions: &[Prediction], files: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let host = Live::new(folder.path()).unwrap();
        for (path, text) in files {
            host.replace(Path::new(path), text, 0o644).unwrap();
        }
        predictions.iter().filter_map(|prediction| prediction.missed(&host)).collect()
    }

    #[test]
    fn effects_are_looked_for_where_the_kernel_shows_them() {
        let cases = [
            ("isolcpus", "managed_irq,domain,2-3", "/sys/devices/system/cpu/isolated", "2,3\n", "\n"),
            ("isolcpus", "2-3,6", "/sys/devices/system/cpu/isolated", "2-3,6\n", "2-3\n"),
            ("nohz_full", "2-3", "/sys/devices/system/cpu/nohz_full", "2-3\n", "(null)\n"),
            ("irqaffinity", "0-1", "/proc/irq/default_smp_affinity", "00000003\n", "f\n"),
            ("nosmt", "", "/sys/devices/system/cpu/smt/active", "0\n", "1\n"),
            ("nmi_watchdog", "0", "/proc/sys/kernel/nmi_watchdog", "0\n", "1\n"),
            ("hugepages", "0:3,1:4", "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "7\n", "6\n"),
            (
                "transparent_hugepage",
                "never",
                "/sys/kernel/mm/transparent_hugepage/enabled",
                "a [never]",
                "[a] never",
            ),
            ("rcu-x.y", "1", "/sys/module/rcu_x/parameters/y", "Y\n", "N\n"),
        ];
        for (key, value, path, good, bad) in cases {
            let parameter = parameter(key, value);
            let line = format!("ro {}\n", parameter.word());
            let predictions = predict(&[parameter], None);
            let with = |text| missed(&predictions, &[("/proc/cmdline", &line), (path, text)]);
            assert_eq!(with(good), [""; 0]);
            assert!(with(bad).len() == 1 && with(bad)[0].contains(path), "{key}: {:?}", with(bad));
        }
    }

    #[test]
    fn a_file_that_a_kernel_lacks_is_missed_but_for_a_modules() {
        let of = |key: &str, value: &str| {
            let parameter = parameter(key, value);
            let line = format!("{}\n", parameter.word());
            missed(&predict(&[parameter], None), &[("/proc/cmdline", &line)]).len()
        };
        assert_eq!(of("nohz_full", "2-3"), 1);
        assert_eq!(of("nvme_core.default_ps_max_latency_us", "0"), 0);
        // Only `domain` shows among the isolated.
        assert_eq!(of("isolcpus", "managed_irq,2-3"), 0);
        assert_eq!(
            missed(&predict(&[parameter("skew_tick", "1")], None), &[("/proc/cmdline", "skew_tick=10\n")])
                .len(),
            1
        );
    }

    #[test]
    fn a_size_of_pages_counts_for_those_after_it() {
        let parameters = [parameter("hugepagesz", "1G"), parameter("hugepages", "2")];
        let line = ("/proc/cmdline", "hugepagesz=1G hugepages=2\n");
        let pages = |count| ("/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages", count);
        assert_eq!(missed(&predict(&parameters, None), &[line, pages("2\n")]), [""; 0]);
        assert_eq!(missed(&predict(&parameters, None), &[line, pages("1\n")]).len(), 1);
    }

    #[test]
    fn another_kernel_than_was_chosen_is_missed() {
        let predictions = predict(&[], Some("6.1.0-37-rt-amd64"));
        let with = |release| missed(&predictions, &[("/proc/sys/kernel/osrelease", release)]);
        assert_eq!(with("6.1.0-37-rt-amd64\n"), [""; 0]);
        assert_eq!(with("6.1.0-38-amd64\n").len(), 1);
    }
}
