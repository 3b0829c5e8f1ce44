//! GRUB's environment block: 1,024 bytes of `name=value` lines, which GRUB itself can write before Linux runs.
//!
//! What holds: a boot is armed for one time only where GRUB can take that back by itself. On LVM, RAID, btrfs and ZFS
//! it cannot write the block: an entry armed there would be booted for ever, however badly.

use super::BootError;
use crate::host::{Host, HostError, absent_is_none};
use std::path::{Path, PathBuf};

/// Where it is.
pub const PATH: &str = "/boot/grub/grubenv";
/// How long it is: GRUB refuses any other.
const SIZE_BYTES: usize = 1024;
/// Names of file systems that GRUB only reads.
const READ_ONLY: [&str; 6] = ["btrfs", "zfs", "squashfs", "iso9660", "overlay", "erofs"];

/// A variable's value; none if it is not there or the block is missing.
pub fn variable(host: &dyn Host, name: &str) -> Result<Option<String>, HostError> {
    let block = absent_is_none(host.read(Path::new(PATH)))?.unwrap_or_default();
    let value = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    Ok(value.map(str::to_owned))
}

/// Refuses where an entry cannot be armed for just one boot.
pub fn can_arm(host: &dyn Host, entry: &str) -> Result<(), BootError> {
    let refuse = |why: String| Err(BootError::NoTrial(why));
    let Some(block) = absent_is_none(host.read(Path::new(PATH)))? else {
        return refuse(format!("{PATH} is missing (`grub-editenv {PATH} create` makes it)"));
    };
    if block.len() != SIZE_BYTES {
        return refuse(format!("{PATH} has {} bytes and not {SIZE_BYTES}", block.len()));
    }
    let used: usize = block
        .lines()
        .filter(|line| !line.starts_with("##") && !line.starts_with("next_entry="))
        .map(|line| line.len() + 1)
        .sum();
    if used + "next_entry=\n".len() + entry.len() > SIZE_BYTES {
        return refuse(format!("{PATH} is full"));
    }
    match unwritable(host) {
        Some(why) => refuse(why),
        None => Ok(()),
    }
}

/// Why GRUB cannot write the block, as far as that can be told.
fn unwritable(host: &dyn Host) -> Option<String> {
    let mounts = host.read(Path::new("/proc/self/mountinfo")).ok()?;
    let mount = |line: &str| {
        let mut words = line.split(' ').skip(2);
        let (device, point) = (words.next()?.to_owned(), PathBuf::from(words.nth(1)?));
        let system = line.split_once(" - ")?.1.split(' ').next()?.to_owned();
        Path::new(PATH).starts_with(&point).then(|| (point.as_os_str().len(), device, system))
    };
    // Of two on the same folder, the later covers the earlier.
    let (_, device, system) = mounts.lines().filter_map(mount).max_by_key(|(length, ..)| *length)?;
    if READ_ONLY.contains(&system.as_str()) {
        return Some(format!("{PATH} is on {system}, which GRUB does not write"));
    }
    let link = host.link(Path::new(&format!("/sys/dev/block/{device}"))).ok()?;
    let is_mapped = link.iter().filter_map(|name| name.to_str()).any(|name| {
        let number = |prefix| {
            name.strip_prefix(prefix)
                .is_some_and(|rest: &str| rest.starts_with(|first: char| first.is_ascii_digit()))
        };
        number("dm-") || number("md")
    });
    is_mapped.then(|| format!("{PATH} is on LVM, RAID or an encrypted disk, which GRUB does not write"))
}
