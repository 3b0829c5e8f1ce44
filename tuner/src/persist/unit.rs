//! The units of systemd that bring settings back, and judge a trial.
//!
//! They are wanted by drop-ins of targets: files, and no links, so that they come and go with the plan.

use crate::boot::HEADER;

/// The boot unit.
pub(super) const BOOT: &str = "/etc/systemd/system/tuner.service";
/// What starts it.
pub(super) const BOOT_WANTS: &str = "/etc/systemd/system/basic.target.d/50-tuner.conf";
/// The unit that judges a trial.
pub(super) const TRIAL: &str = "/etc/systemd/system/tuner-trial.service";
/// What starts that.
pub(super) const TRIAL_WANTS: &str = "/etc/systemd/system/multi-user.target.d/50-tuner-trial.conf";

/// Services start after basic.target: they find the host as it is to be. A boot is never held up for long. Drivers of
/// network cards and disks are loaded by udev, which nothing else waits for, and interrupts come with them.
pub(super) fn boot(program: &str) -> String {
    format!(
        "{HEADER}[Unit]
Description=Settings for low latency, brought back
DefaultDependencies=no
RequiresMountsFor=/var/lib/tuner {program}
Wants=systemd-udev-settle.service
After=local-fs.target systemd-modules-load.service systemd-sysctl.service systemd-udev-trigger.service systemd-udev-settle.service swap.target
Before=basic.target shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={program} replay
TimeoutStartSec=90
"
    )
}

pub(super) fn boot_wants() -> String {
    format!("{HEADER}[Unit]\nWants=tuner.service\n")
}

/// A trial has passed only when the host is up: a boot that hangs on the way there is not promoted.
pub(super) fn trial(program: &str) -> String {
    format!(
        "{HEADER}[Unit]
Description=Judges a boot with new kernel parameters
DefaultDependencies=no
RequiresMountsFor=/var/lib/tuner {program}
After=multi-user.target tuner.service
Before=shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
ExecStart={program} replay --judge
TimeoutStartSec=600
"
    )
}

pub(super) fn trial_wants() -> String {
    format!("{HEADER}[Unit]\nWants=tuner-trial.service\n")
}
