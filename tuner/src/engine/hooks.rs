//! What is run for files to take effect.

use crate::boot;
use crate::host::{Host, HostError, HostErrorKind};
use crate::plan::Hook;

impl Hook {
    /// What is run for it: the program first.
    fn words(self) -> &'static [&'static str] {
        match self {
            Self::ReloadSystemd => &["systemctl", "daemon-reload"],
            Self::ReloadUdev => &["udevadm", "control", "--reload"],
            Self::UpdateGrub => &["update-grub"],
        }
    }

    /// The command that a person gives for it.
    pub fn command(self) -> String {
        self.words().join(" ")
    }

    /// Runs it. Where there is neither systemd nor udev, nobody has to read anything again; but a boot loader's
    /// configuration that nobody makes leaves the next boot as it was.
    fn run(self, host: &dyn Host) -> Result<(), HostError> {
        if self == Self::UpdateGrub {
            return boot::update(host);
        }
        let Some((program, arguments)) = self.words().split_first() else { return Ok(()) };
        match host.run(program, arguments) {
            Err(error) if error.kind == HostErrorKind::Absent => Ok(()),
            other => other.map(drop),
        }
    }
}

/// Runs hooks, all of them, and returns those that failed and why.
pub fn run_hooks(host: &dyn Host, hooks: &[Hook]) -> Vec<(Hook, String)> {
    let failed = hooks.iter().map(|hook| (*hook, hook.run(host)));
    failed.filter_map(|(hook, outcome)| Some((hook, outcome.err()?.to_string()))).collect()
}
