//! Commands for a person who has to put something back without the tuner.

use super::ledger::Ledger;
use crate::host::{GpuItem, NicItem};
use crate::place::Place;

/// The command that puts a place into a state.
pub(super) fn of(place: &Place, state: Option<&str>) -> String {
    match (place, state) {
        (Place::Attribute { path, .. }, Some(state)) => {
            format!("echo {} > {}", quoted(state), quoted(&path.to_string_lossy()))
        }
        (Place::File { path, .. }, Some(text)) => {
            let text = text.strip_suffix('\n').map_or_else(
                || format!("printf %s {}", quoted(text)),
                |text| format!("printf '%s\\n' {}", quoted(text)),
            );
            format!("{text} > {}", quoted(&path.to_string_lossy()))
        }
        (Place::File { path, .. } | Place::Attribute { path, .. }, None) => {
            format!("rm -f {}", quoted(&path.to_string_lossy()))
        }
        (Place::Parameter { key, .. }, state) => {
            format!("# kernel parameter {key}: {}", state.unwrap_or("absent"))
        }
        (Place::Unit { name }, state) => unit(name, state.unwrap_or_default()),
        (Place::Swap { area }, Some(priority)) => {
            format!("swapon -p {priority} {}", quoted(&area.to_string_lossy()))
        }
        (Place::Swap { area }, None) => format!("swapoff {}", quoted(&area.to_string_lossy())),
        (Place::Nic { interface, item }, state) => nic(interface, *item, state.unwrap_or_default()),
        (Place::Gpu { pci, item }, state) => gpu(pci, *item, state.unwrap_or_default()),
        (Place::NextBoot, Some(entry)) => format!("grub-reboot {}", quoted(entry)),
        (Place::NextBoot, None) => "grub-editenv - unset next_entry".into(),
    }
}

/// Those for every step of an apply that may have been made, as far as its journal tells; the last first.
pub(super) fn of_begun(ledger: &Ledger) -> Vec<String> {
    use super::ledger::Mark;
    let last = ledger.steps.iter().rposition(|step| step.mark != Mark::Nothing);
    let begun = ledger.steps().filter(|(number, _, step)| Some(*number) <= last && step.undone.is_none());
    begun.rev().map(|(_, change, _)| of(&change.place, change.from.as_deref())).collect()
}

fn unit(name: &str, state: &str) -> String {
    let (file, activity) = state.split_once(' ').unwrap_or((state, ""));
    let file = match file {
        "enabled" => format!("systemctl unmask {name} && systemctl enable {name} && "),
        "disabled" => format!("systemctl unmask {name} && systemctl disable {name} && "),
        "masked" => format!("systemctl mask {name} && "),
        _ => format!("systemctl unmask {name} && "),
    };
    let verb = if activity == "active" { "start" } else { "stop" };
    format!("{file}systemctl {verb} {name}")
}

fn nic(interface: &str, item: NicItem, state: &str) -> String {
    let what = match item {
        NicItem::RxUsecs => "-C {} rx-usecs",
        NicItem::AdaptiveRx => "-C {} adaptive-rx",
        NicItem::CombinedChannels => "-L {} combined",
        NicItem::RxRing => "-G {} rx",
        NicItem::Lro => "-K {} lro",
        NicItem::Gro => "-K {} gro",
        NicItem::Eee => "--set-eee {} eee",
        NicItem::RxPause => "-A {} rx",
        NicItem::WakeOnLan => "-s {} wol",
    };
    format!("ethtool {} {state}", what.replace("{}", interface))
}

fn gpu(pci: &str, item: GpuItem, state: &str) -> String {
    let range = state.replace('-', ",");
    let what = match (item, state) {
        (GpuItem::Persistence, state) => format!("-pm {}", u8::from(state == "on")),
        (GpuItem::LockedClocks, "") => "-rgc".into(),
        (GpuItem::LockedClocks, _) => format!("-lgc {range}"),
        (GpuItem::LockedMemoryClocks, "") => "-rmc".into(),
        (GpuItem::LockedMemoryClocks, _) => format!("-lmc {range}"),
        (GpuItem::PowerLimit, state) => {
            format!(
                "-pl {}",
                state.parse::<u64>().map_or_else(|_| state.into(), |mw| (mw / 1000).to_string())
            )
        }
    };
    format!("nvidia-smi -i {pci} {what}")
}

/// As one word of a shell.
fn quoted(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+:,@%=".contains(letter);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.into(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Form;
    use std::process::Command;

    #[test]
    fn a_shell_writes_exactly_what_stood_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it's a file");
        for text in ["a 'b' $c `d`\n\\n\n", "no end", "", "\n", "-n\n"] {
            let command = of(&Place::File { path: path.clone(), mode: 0o644 }, Some(text));
            assert!(Command::new("sh").arg("-c").arg(&command).status().unwrap().success(), "{command}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "{command}");
        }
        let gone = of(&Place::File { path: path.clone(), mode: 0o644 }, None);
        assert!(Command::new("sh").arg("-c").arg(gone).status().unwrap().success());
        assert!(!path.exists());
    }

    #[test]
    fn each_kind_of_place_has_its_command() {
        let attribute = Place::attribute("/sys/kernel/mm/ksm/run", Form::Text);
        assert_eq!(of(&attribute, Some("0")), "echo 0 > /sys/kernel/mm/ksm/run");
        let unit = Place::Unit { name: "irqbalance.service".into() };
        assert_eq!(
            of(&unit, Some("enabled active")),
            "systemctl unmask irqbalance.service && systemctl enable irqbalance.service && systemctl start irqbalance.service"
        );
        let nic = Place::Nic { interface: "eth0".into(), item: NicItem::RxUsecs };
        assert_eq!(of(&nic, Some("50")), "ethtool -C eth0 rx-usecs 50");
        let clocks = Place::Gpu { pci: "0000:01:00.0".into(), item: GpuItem::LockedClocks };
        assert_eq!(of(&clocks, None), "nvidia-smi -i 0000:01:00.0 -rgc");
        assert_eq!(of(&clocks, Some("1200-1500")), "nvidia-smi -i 0000:01:00.0 -lgc 1200,1500");
        let swap = Place::Swap { area: "/swapfile".into() };
        assert_eq!(of(&swap, Some("-2")), "swapon -p -2 /swapfile");
    }
}
