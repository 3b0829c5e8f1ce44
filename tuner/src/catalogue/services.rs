//! Services: those that wake up CPUs for nothing a low-latency host needs, those that turn knobs back, the clock's
//! keeper and the audit of system calls.
//!
//! What holds: a service goes with everything that would start it again, its sockets, paths and timers. Within a knob
//! the service comes before its socket: undone in reverse, the socket is there before the service that takes it over,
//! since systemd refuses to start a socket whose service runs.

use crate::facts::Facts;
use crate::knob::{Accepts, Explain, Knob, Persist, Phase, Places, Proof, Spot};
use crate::place::{Form, Place};

/// The knobs of this area.
pub(super) const KNOBS: &[Knob] = &[
    BLUETOOTH, PRINTING, MODEM, DISCOVERY, APT, MAN_DB, LOCATE, FIRMWARE, PACKAGES, DISPATCHER, CONFLICT,
    TIME, AUDIT,
];

/// States that a profile may wish for a unit.
pub(super) const UNIT_STATES: &[&str] = &["masked inactive", "disabled inactive", "enabled active"];

/// Units of systemd, each a place of its own.
pub(super) fn units(facts: &Facts, names: &[&str]) -> Places {
    match facts.is_systemd {
        true => Places::At(names.iter().map(|name| spot(name)).collect()),
        false => Places::NotSupported("systemd does not run this host".into()),
    }
}

fn spot(name: &str) -> Spot {
    Spot::new(name, Place::Unit { name: name.into() })
}

/// How services are taken back.
const UNDO: &str = "systemctl unmask, enable or disable, and start or stop each unit, as it was before.";
/// Where they are.
const APPLIES: &str = "Hosts under systemd where the package is installed. Files do not tell whether a timer, path or socket is active: apply asks systemd.";

/// A knob for a service that is noise.
const fn noise(
    id: &'static str,
    title: &'static str,
    places: fn(&Facts) -> Places,
    mechanism: &'static str,
    risk: &'static str,
    source: &'static str,
) -> Knob {
    Knob {
        id,
        title,
        phase: Phase::Services,
        persist: Persist::Itself,
        accepts: Accepts::Words(UNIT_STATES),
        places,
        explain: Explain {
            mechanism,
            risk,
            when_not: "Where somebody uses it.",
            applies: APPLIES,
            undo: UNDO,
            source,
            proof: Proof::TestedModel,
        },
    }
}

const BLUETOOTH: Knob = noise(
    "svc.noise.bluetooth",
    "Bluetooth",
    |facts| units(facts, &["bluetooth.service"]),
    "The daemon and its adapter wake CPUs up for scans and keep-alives.",
    "Bluetooth keyboards, mice and headsets are lost.",
    "bluetoothd(8)",
);

const PRINTING: Knob = noise(
    "svc.noise.printing",
    "printing",
    |facts| units(facts, &["cups.service", "cups-browsed.service", "cups.socket", "cups.path"]),
    "The print server looks for printers and answers the network. Its socket and path start it again, so all of them go.",
    "Nothing is printed any more.",
    "cupsd(8); cups.socket and cups.path of the package",
);

const MODEM: Knob = noise(
    "svc.noise.modem",
    "mobile modems",
    |facts| units(facts, &["ModemManager.service"]),
    "It probes serial ports and USB devices as they come.",
    "Mobile broadband is lost.",
    "ModemManager(8)",
);

const DISCOVERY: Knob = noise(
    "svc.noise.discovery",
    "discovery of services (mDNS)",
    |facts| units(facts, &["avahi-daemon.service", "avahi-daemon.socket"]),
    "Every announcement of every machine on the network wakes it up.",
    "Names that end in .local, and printers found by themselves, are lost.",
    "avahi-daemon(8)",
);

const APT: Knob = noise(
    "svc.noise.apt",
    "upgrades by themselves",
    |facts| units(facts, &["unattended-upgrades.service", "apt-daily.timer", "apt-daily-upgrade.timer"]),
    "At random times they download, unpack and restart services: seconds of disk and CPU.",
    "Security updates no longer come by themselves: have somebody install them.",
    "apt-daily.timer and apt-daily-upgrade.timer of Debian's apt",
);

const MAN_DB: Knob = noise(
    "svc.noise.man_db",
    "index of manuals",
    |facts| units(facts, &["man-db.timer"]),
    "Once a day it reads all manuals and writes their index.",
    "New manuals are not found by whatis and apropos.",
    "mandb(8)",
);

const LOCATE: Knob = noise(
    "svc.noise.locate",
    "index of file names",
    |facts| units(facts, &["plocate-updatedb.timer", "updatedb.timer"]),
    "Once a day it walks through all folders.",
    "locate finds no new files.",
    "updatedb(8)",
);

const FIRMWARE: Knob = noise(
    "svc.noise.firmware",
    "news of firmware",
    |facts| units(facts, &["fwupd.service", "fwupd-refresh.timer"]),
    "It downloads lists of firmware and asks devices for their versions.",
    "New firmware is not offered by itself.",
    "fwupdmgr(1)",
);

const PACKAGES: Knob = noise(
    "svc.noise.packages",
    "news of packages",
    |facts| units(facts, &["packagekit.service"]),
    "Desktops have it refresh lists of packages in the background.",
    "Desktop software centres show no updates.",
    "pkcon(1)",
);

const DISPATCHER: Knob = noise(
    "svc.noise.dispatcher",
    "scripts on changes of the network",
    |facts| units(facts, &["networkd-dispatcher.service"]),
    "A Python program that wakes up with every change of a link.",
    "Scripts in /etc/networkd-dispatcher no longer run. It is installed on Ubuntu, hardly on Debian.",
    "networkd-dispatcher(8)",
);

const CONFLICT: Knob = Knob {
    id: "svc.conflict",
    title: "others that turn the same knobs",
    phase: Phase::Services,
    persist: Persist::Never,
    accepts: Accepts::Words(UNIT_STATES),
    places: |facts| match facts.owners.is_empty() {
        true => Places::NotSupported("nobody else takes care of this host's settings".into()),
        false => Places::At(facts.owners.iter().map(|owner| spot(&owner.unit)).collect()),
    },
    explain: Explain {
        mechanism: "Two that set the same knob undo each other, at times that nobody foresees.",
        risk: "None: it is only looked at.",
        when_not: "Where the other one is meant to own the settings: leave the tuner's to audit.",
        applies: "tuned, power-profiles-daemon, tlp, cpupower, auto-cpufreq, thermald, irqbalance and the like.",
        undo: "There is nothing to undo. To choose: systemctl disable --now the other one, or leave its knobs with --skip.",
        source: "tuned.service declares Conflicts= with several of them",
        proof: Proof::ReadOnly,
    },
};

const TIME: Knob = Knob {
    id: "time.sync",
    title: "who keeps the clock",
    phase: Phase::Services,
    persist: Persist::Never,
    accepts: Accepts::Words(UNIT_STATES),
    places: |facts| {
        units(
            facts,
            &[
                "chrony.service",
                "chronyd.service",
                "ntpsec.service",
                "systemd-timesyncd.service",
                "ptp4l.service",
            ],
        )
    },
    explain: Explain {
        mechanism: "Times in logs and on orders are worth what the clock is. Chrony with hardware timestamps, or PTP, keeps it within microseconds; timesyncd within milliseconds.",
        risk: "None: it is only looked at. A clock that is stepped during a session spoils its records.",
        when_not: "Guests whose hypervisor keeps their clock.",
        applies: "Hosts under systemd. Whether a card stamps packets: ethtool -T.",
        undo: "There is nothing to undo.",
        source: "chrony.conf(5), hwtimestamp; Documentation/networking/timestamping.rst",
        proof: Proof::ReadOnly,
    },
};

const AUDIT: Knob = Knob {
    id: "sec.audit",
    title: "audit of system calls",
    phase: Phase::Files,
    persist: Persist::Boot,
    accepts: Accepts::Flag,
    places: |facts| match facts.kernel.option("AUDIT") {
        Some("") => Places::NotSupported("this kernel has no audit (CONFIG_AUDIT is not set)".into()),
        _ => Places::one(Place::parameter("audit", Form::Flag)),
    },
    explain: Explain {
        mechanism: "While audit rules are loaded, every system call takes a longer way in and out. With audit=0 it is not there at all.",
        risk: "Nothing is audited: many rules for trading and payment systems forbid that.",
        when_not: "Where compliance needs the records; without audit rules there is little to gain.",
        applies: "CONFIG_AUDIT.",
        undo: "Take the parameter off the command line and boot again.",
        source: "Documentation/admin-guide/kernel-parameters.txt, audit=",
        proof: Proof::Untested,
    },
};
