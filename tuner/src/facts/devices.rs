//! Disks, interrupts and graphics cards.

use super::read::Files;
use super::{Disk, DiskKind, Gpu, Interrupt};

/// What is in `/sys/block` and is no disk: loop devices, RAM, optical and floppy drives.
const NO_DISKS: [&str; 5] = ["loop", "ram", "zram", "sr", "fd"];
/// The first byte of a display controller's class.
const DISPLAY_CLASS: u32 = 0x03;

pub(super) fn disks(files: Files<'_>) -> Vec<Disk> {
    let disk = |name: String| {
        let letters = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
        let own = format!("/sys/block/{name}");
        // A path of a multipath NVMe disk is hidden behind the disk; an empty card reader has no size.
        let is_hidden = files.number::<u8>(&format!("{own}/hidden")) == Some(1);
        if NO_DISKS.contains(&letters) || is_hidden || files.number::<u64>(&format!("{own}/size")) == Some(0)
        {
            return None;
        }
        let kind = match name.as_str() {
            name if name.starts_with("nvme") => DiskKind::Nvme,
            name if name.starts_with("vd") || name.starts_with("xvd") => DiskKind::Virtual,
            name if name.starts_with("sd") => DiskKind::Scsi,
            _ => DiskKind::Other,
        };
        let is_rotational = files.number::<u8>(&format!("{own}/queue/rotational")) == Some(1);
        Some(Disk { name, kind, is_rotational })
    };
    files.names("/sys/block").into_iter().filter_map(disk).collect()
}

pub(super) fn interrupts(files: Files<'_>) -> Vec<Interrupt> {
    let interrupt = |name: &String| {
        let cpus = |file: &str| files.text(&format!("/proc/irq/{name}/{file}"))?.parse().ok();
        Some(Interrupt {
            number: name.parse().ok()?,
            actions: files.word(&format!("/sys/kernel/irq/{name}/actions")).unwrap_or_default(),
            affinity: cpus("smp_affinity_list")?,
            effective: cpus("effective_affinity_list"),
        })
    };
    let mut found: Vec<_> = files.names("/proc/irq").iter().filter_map(interrupt).collect();
    found.sort_by_key(|interrupt| interrupt.number);
    found
}

pub(super) fn gpus(files: Files<'_>) -> Vec<Gpu> {
    let gpu = |pci: String| {
        let own = format!("/sys/bus/pci/devices/{pci}");
        let class: u32 = files.number(&format!("{own}/class"))?;
        (class >> 16 == DISPLAY_CLASS).then(|| Gpu {
            vendor: files.number(&format!("{own}/vendor")).unwrap_or(0),
            driver: files.link_name(&format!("{own}/driver")),
            // The kernel writes -1 for none.
            node: files.number(&format!("{own}/numa_node")),
            pci,
        })
    };
    files.names("/sys/bus/pci/devices").into_iter().filter_map(gpu).collect()
}
