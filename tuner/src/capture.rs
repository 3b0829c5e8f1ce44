//! Captures a machine as a text: what the facts and every knob of the catalogue read, and nothing else, without what
//! names the machine, its people or its network.
//!
//! What holds: it is complete by construction, since it is the same reading that is written down; the facts and
//! findings of the text are those of the machine, up to names. It writes nothing to the machine.

mod recorder;
mod redact;

use crate::host::{Host, HostError, Recorded};
use crate::profile::Profile;
use crate::{audit, facts};
use recorder::Recorder;
use std::path::Path;

/// A machine as [`Recorded`] is written.
pub fn capture(host: &dyn Host) -> String {
    let recorder = Recorder::new(host);
    // Whatever is wished for it, every knob is read: also for CPUs that another profile would isolate, or none would.
    for hot_threads in [0, usize::MAX] {
        let facts = facts::read(&recorder, hot_threads);
        audit::audit(&recorder, &facts, &Profile::default());
    }
    let mut recorded = recorder.finish();
    recorded
        .remarks
        .push(format!("Captured by tuner {}, without names and addresses", env!("CARGO_PKG_VERSION")));
    let hostname = host.read(Path::new("/proc/sys/kernel/hostname")).ok();
    redact::redacted(recorded, hostname.as_deref().map(str::trim).filter(|name| !name.is_empty()))
}

/// Reads a text that [`capture`] wrote from a file.
pub fn open(path: &Path) -> Result<Recorded, OpenError> {
    let text = std::fs::read_to_string(path).map_err(|error| HostError::of(path, &error))?;
    Ok(text.parse()?)
}

/// Why a captured host cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] HostError),
    /// It is no captured host.
    #[error("{0}: it takes what `tuner capture` writes")]
    Text(#[from] crate::host::RecordedError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Facts;
    use crate::host::Live;

    /// Facts without names.
    fn essence(facts: &Facts) -> String {
        let mut facts = facts.clone();
        facts.identity = facts::Identity::default();
        facts.kernel.command_line.clear();
        (facts.memory.available_kib, facts.memory.swap_used_kib) = (0, 0);
        format!("{facts:#?}")
    }

    #[test]
    fn a_capture_is_its_machine_without_names() {
        let host = Live::new(Path::new("/")).unwrap();
        let text = capture(&host);
        let captured: Recorded = text.parse().unwrap();
        let (real, told) = (facts::read(&host, 2), facts::read(&captured, 2));
        assert_eq!(essence(&told), essence(&real));
        let states = |host: &dyn Host, facts: &Facts| -> Vec<_> {
            let findings = audit::audit(host, facts, &Profile::find("rt-cpu").unwrap());
            findings.into_iter().map(|finding| (finding.knob, finding.subject, finding.status)).collect()
        };
        assert_eq!(states(&captured, &told), states(&host, &real));
        for name in [&real.identity.machine, &real.identity.boot].into_iter().filter(|name| !name.is_empty())
        {
            assert!(!text.contains(name.as_str()), "{name} is still there");
        }
        // What is captured again is the same.
        let again = capture(&captured);
        assert_eq!(again.parse::<Recorded>().unwrap().files, captured.files);
    }
}
