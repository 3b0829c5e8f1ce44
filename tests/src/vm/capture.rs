//! The state of a machine: what tuning may change, and must put back.
//!
//! `/proc/sys`, `/sys` and `/etc`, the boot loader's configuration, the command line, swap and the CPUs of each
//! interrupt. Of a file its mode, its owner and its contents; of a link where it leads; of a folder in `/etc` its mode
//! and owner. Interrupts go by the name of who asked for them: their numbers change from boot to boot.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Files that are captured whole, with what is below them. Of `/sys/kernel/debug` only the scheduler's: much of the
/// rest blocks, or changes the machine when it is read.
const ROOTS: [&str; 8] = [
    "/proc/sys",
    "/sys",
    "/sys/kernel/debug/sched",
    "/etc",
    "/boot/grub/grub.cfg",
    "/boot/grub/grubenv",
    "/proc/cmdline",
    "/proc/irq/default_smp_affinity",
];
/// Never read: reading them talks to devices or blocks, or they are no settings. Each with its reason.
const UNREAD: [(&str, &str); 12] = [
    ("/sys/kernel/debug/*", "much of it blocks or acts when read"),
    ("/sys/kernel/tracing/*", "as above, and thousands of events"),
    ("/sys/*/resource*", "the registers of a device"),
    ("/sys/*/rom", "the memory of a device"),
    ("/sys/*/vpd", "asks the device"),
    ("/sys/kernel/security/*", "answers once a policy changes"),
    ("/sys/kernel/btf/*", "the types of the kernel, in megabytes"),
    ("/sys/kernel/slab/*", "accounts of the kernel's memory"),
    ("/sys/module/*/sections/*", "addresses"),
    ("/sys/module/*/notes/*", "how a module was built"),
    ("/sys/fs/cgroup/*", "accounts of processes, which come and go"),
    ("/sys/kernel/irq/*", "by numbers that change from boot to boot; see /proc/irq"),
];
/// Read, and left out of the comparison: they differ between two boots in which nobody changed anything. Each with its
/// reason.
const VOLATILE: [(&str, &str); 42] = [
    ("/proc/sys/fs/dentry-state", "a count"),
    ("/proc/sys/fs/file-nr", "a count"),
    ("/proc/sys/fs/inode-*", "counts"),
    ("/proc/sys/fs/quota/syncs", "a count"),
    ("/proc/sys/fs/fanotify/max_user_marks", "made of the memory that was free at the boot"),
    ("/proc/sys/user/max_fanotify_marks", "the same"),
    ("/proc/sys/kernel/ns_last_pid", "the last process"),
    ("/proc/sys/kernel/random/boot_id", "another at every boot"),
    ("/proc/sys/kernel/random/uuid", "another at every reading"),
    ("/proc/sys/kernel/random/entropy_avail", "a count"),
    ("/proc/sys/kernel/pty/nr", "a count"),
    ("/proc/sys/vm/user_reserve_kbytes", "made of the memory that was free at the boot"),
    ("/sys/dev/char/*", "numbered in the order in which drivers come"),
    ("/sys/devices/*/dev", "numbered so, too"),
    ("/sys/devices/pci*/uevent", "has that number"),
    ("/sys/*/power/runtime_active_time", "a clock"),
    ("/sys/*/power/runtime_suspended_time", "a clock"),
    ("/sys/*/power/runtime_status", "what a device is doing"),
    ("/sys/*/power/wakeup_*", "counts and clocks"),
    ("/sys/*/statistics/*", "counts"),
    ("/sys/*/stat", "counts of a block device"),
    ("/sys/*/inflight", "a count"),
    ("/sys/class/input/*", "numbered in the order in which they are found"),
    ("/sys/*/input/input*", "numbered in the order in which they are found"),
    ("/sys/*/pools", "accounts of the memory that a driver hands to its device"),
    ("/sys/*/timeleft", "a clock"),
    ("/sys/*/rtc/rtc0/*", "a clock"),
    ("/sys/*/time_in_state_ms", "a clock"),
    (
        "/sys/devices/system/cpu/hotplug/states",
        "which parts of the kernel had a say, in the order in which they came",
    ),
    ("/sys/devices/system/node/node*/meminfo", "counts"),
    ("/sys/devices/system/node/node*/numastat", "counts"),
    ("/sys/devices/system/node/node*/vmstat", "counts"),
    ("/sys/fs/ext4/*_kbytes", "counts"),
    ("/sys/fs/ext4/*/delayed_allocation_blocks", "a count"),
    ("/sys/fs/ext4/*/journal_task", "a process"),
    ("/sys/kernel/debug/sched/debug", "a report on all processes"),
    ("/sys/kernel/debug/sched/domains/*/max_newidle_lb_cost", "a measurement"),
    ("/sys/kernel/mm/*/full_scans", "a count"),
    ("/sys/kernel/mm/*/pages_collapsed", "a count"),
    ("/sys/kernel/uevent_seqnum", "a count"),
    ("/sys/kernel/vmcoreinfo", "addresses"),
    ("/sys/module/*/refcnt", "a count"),
];
const LARGEST_BYTES: u64 = 1 << 20;

/// What a machine's files held at one time.
pub struct Capture(BTreeMap<String, String>);

/// A file that differs between two captures.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its path.
    pub path: String,
    /// What it was; nothing where it was absent.
    pub before: Option<String>,
    /// What it is; nothing where it is absent.
    pub after: Option<String>,
}

impl Capture {
    /// What [`walk`] printed.
    pub fn parse(printed: &str) -> Self {
        let entries = printed.lines().filter_map(|line| line.split_once('\t'));
        Self(entries.map(|(path, state)| (path.to_owned(), state.to_owned())).collect())
    }

    /// How many files it holds.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a file held, with its mode and owner before it.
    pub fn state(&self, path: &str) -> Option<&str> {
        self.0.get(path).map(String::as_str)
    }

    /// Where a later capture differs, but for what is volatile.
    pub fn differences(&self, later: &Self) -> Vec<Difference> {
        let gone = self.0.keys().filter(|path| !later.0.contains_key(*path));
        let mut paths: Vec<_> = later.0.keys().chain(gone).collect();
        paths.retain(|path| self.0.get(*path) != later.0.get(*path) && !is_any_of(&VOLATILE, path));
        paths.sort();
        let of = |capture: &Self, path: &String| capture.0.get(path).cloned();
        let difference =
            |path: &String| Difference { path: path.clone(), before: of(self, path), after: of(later, path) };
        paths.into_iter().map(difference).collect()
    }

    /// Fails with all differences where there are some.
    #[track_caller]
    pub fn assert_same_as(&self, later: &Self) {
        let differences = self.differences(later);
        let shown: String = differences.iter().map(|difference| format!("{difference}\n")).collect();
        assert!(differences.is_empty(), "{} files differ:\n{shown}", differences.len());
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        let lines = |state: &Option<String>| match state {
            Some(state) => state.split("\\n").map(str::to_owned).collect(),
            None => vec!["(absent)".to_owned()],
        };
        let (before, after) = (lines(&self.before), lines(&self.after));
        for line in before.iter().filter(|line| !after.contains(line)) {
            write!(f, "\n  - {line}")?;
        }
        for line in after.iter().filter(|line| !before.contains(line)) {
            write!(f, "\n  + {line}")?;
        }
        Ok(())
    }
}

fn is_any_of(patterns: &[(&str, &str)], path: &str) -> bool {
    patterns.iter().any(|(pattern, _)| matches(pattern, path))
}

/// Whether a path is as a pattern says, in which a star is any text.
fn matches(pattern: &str, path: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| path.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

/// Prints the state of the machine that it runs on, a file a line.
pub fn walk(out: &mut impl Write) -> io::Result<()> {
    let mut files = BTreeMap::new();
    for root in ROOTS {
        visit(Path::new(root), root, &mut files);
    }
    interrupts(&mut files);
    // Without the column that says how much of it is used.
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    let swap = |line: &str| {
        let mut words: Vec<_> = line.split_whitespace().collect();
        words.remove(3);
        words.join(" ")
    };
    files.insert("/proc/swaps".to_owned(), swaps.lines().skip(1).map(swap).collect::<Vec<_>>().join("\\n"));
    for (path, state) in files {
        writeln!(out, "{path}\t{state}")?;
    }
    Ok(())
}

fn visit(path: &Path, root: &str, files: &mut BTreeMap<String, String>) {
    let name = path.as_os_str().as_bytes().escape_ascii().to_string();
    // What is named as a root is wanted for all that.
    let is_unread = |(pattern, _): &(&str, &str)| matches(pattern, &name) && !matches(pattern, root);
    if UNREAD.iter().any(is_unread) {
        return;
    }
    let Ok(metadata) = fs::symlink_metadata(path) else { return };
    if metadata.is_dir() {
        let mut entries: Vec<_> = fs::read_dir(path).into_iter().flatten().flatten().collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        entries.iter().for_each(|entry| visit(&entry.path(), root, files));
        if root != "/etc" {
            return;
        }
    }
    files.insert(name, state(path, &metadata));
}

fn state(path: &Path, metadata: &Metadata) -> String {
    let held = if metadata.is_dir() {
        "a folder".to_owned()
    } else if metadata.is_symlink() {
        return fs::read_link(path).map_or_else(shown, |target| format!("-> {}", target.display()));
    } else if metadata.mode() & 0o444 == 0 {
        "(write only)".to_owned()
    } else {
        held(path).map_or_else(shown, |bytes| bytes.escape_ascii().to_string())
    };
    format!("{:04o} {}:{} {held}", metadata.mode() & 0o7777, metadata.uid(), metadata.gid())
}

fn held(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    file.take(LARGEST_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn shown(error: io::Error) -> String {
    format!("({error})")
}

/// The CPUs of each interrupt that somebody asked for.
fn interrupts(files: &mut BTreeMap<String, String>) {
    let numbers = fs::read_dir("/proc/irq").into_iter().flatten().flatten();
    let mut numbers: Vec<u32> =
        numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    let read = |path: String| fs::read_to_string(path).unwrap_or_default().trim_end().to_owned();
    for number in numbers {
        let actions = read(format!("/sys/kernel/irq/{number}/actions"));
        for file in ["smp_affinity_list", "effective_affinity_list"] {
            let mut path = format!("/proc/irq/{actions}/{file}");
            while !actions.is_empty() && files.contains_key(&path) {
                path.push('+');
            }
            if !actions.is_empty() {
                files.insert(path, read(format!("/proc/irq/{number}/{file}")));
            }
        }
    }
}
