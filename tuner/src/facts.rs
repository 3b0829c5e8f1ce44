//! What a host is: its kernel, CPUs, memory, devices, and who else takes care of its settings. Read once.
//!
//! What holds: reading writes nothing, and works without privileges; what could not be read is left out, and its
//! absence is told by the type (`Option`), never by a made-up value.

use crate::host::Host;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use topology::{Choice, CpuList, Topology};

mod boot;
mod devices;
mod guest;
pub(crate) mod interfaces;
pub(crate) mod kernel;
mod owners;
pub(crate) mod read;
mod settings;

/// Reads what a host is, and chooses CPUs for so many hot threads.
pub fn read(host: &dyn Host, hot_threads: usize) -> Facts {
    read::facts(host, hot_threads)
}

/// See above.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The kernel.
    pub kernel: Kernel,
    /// What runs the host, if it is a guest: `kvm`, `vmware`.
    pub hypervisor: Option<String>,
    /// What contains this process, if something does: `docker`, `lxc`, `systemd-nspawn`.
    pub container: Option<String>,
    /// Its CPUs.
    pub topology: Topology,
    /// Which CPUs should do what.
    pub choice: Choice,
    /// Clocks and sleep states of its CPUs.
    pub power: Power,
    /// Slices of systemd that are bound to CPUs by control groups of version 2.
    pub slices: Vec<Slice>,
    /// Its memory.
    pub memory: Memory,
    /// Its disks, by name.
    pub disks: Vec<Disk>,
    /// Its network cards, by the name of their interface. Not loopback, not virtual ones without a device.
    pub interfaces: Vec<Interface>,
    /// Its interrupts, by number.
    pub interrupts: Vec<Interrupt>,
    /// Its graphics cards.
    pub gpus: Vec<Gpu>,
    /// How it boots.
    pub boot: Boot,
    /// Others that take care of settings, and are there.
    pub owners: Vec<Owner>,
    /// Whether systemd is process 1.
    pub is_systemd: bool,
    /// Whether CPUs are partitioned by control groups of version 2.
    pub has_cpuset_v2: bool,
    /// Where CPUs read the time: `tsc`.
    pub clock_source: Option<String>,
    /// Whether this process may change the host.
    pub is_root: bool,
    /// Names of this boot of this machine, for plans.
    pub identity: Identity,
}

/// The kernel that runs.
#[derive(Debug, Clone, Default)]
pub struct Kernel {
    /// As `uname -r` tells: `6.1.0-38-rt-amd64`.
    pub release: String,
    /// Its first two numbers.
    pub version: (u32, u32),
    /// As `uname -v` tells.
    pub build: String,
    /// Whether it is PREEMPT_RT.
    pub is_rt: bool,
    /// Its configuration without the `CONFIG_` of names, if it can be read: `y`, `m`, or a value.
    pub config: Option<BTreeMap<String, String>>,
    /// Its command line.
    pub command_line: String,
    /// Weaknesses of processors that it knows, by the names of their files.
    pub vulnerabilities: Vec<String>,
    /// Whether its debugfs is mounted.
    pub has_debugfs: bool,
    /// Whether it can be told not to handle corrected machine checks.
    pub has_machine_checks: bool,
}

impl Kernel {
    /// What its configuration says of an option: none if that cannot be told, `Some("")` if it is not set.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.config.as_ref().map(|config| config.get(name).map_or("", String::as_str))
    }
}

/// Clocks and sleep states.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Power {
    /// Groups of CPUs that share a clock. None in most guests.
    pub policies: Vec<ClockPolicy>,
    /// The driver of sleep states: `intel_idle`; `none` if there is none.
    pub idle_driver: Option<String>,
    /// CPUs whose bias between speed and energy can be set.
    pub energy_bias: CpuList,
    /// CPUs that count how often heat slowed them down.
    pub throttle_counts: CpuList,
    /// Clocks outside the cores, by name, with the highest they can have, in kHz.
    pub uncore: Vec<(String, u64)>,
}

/// CPUs that share a clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClockPolicy {
    /// Its name: `policy0`.
    pub name: String,
    /// Preferences between speed and energy that its driver offers.
    pub preferences: Vec<String>,
    /// The clock that all cores hold at once, in kHz, if the processor tells.
    pub sustained_khz: Option<u64>,
    /// The lower limit as it is set, in kHz.
    pub lower_limit_khz: Option<u64>,
}

/// A slice of systemd.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slice {
    /// Its name: `hot.slice`.
    pub name: String,
    /// CPUs that it is bound to.
    pub cpus: CpuList,
}

/// Memory, in KiB.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// All of it.
    pub total_kib: u64,
    /// What can be had without swapping.
    pub available_kib: u64,
    /// What is swapped out.
    pub swap_used_kib: u64,
    /// Areas of swap in use, by their path.
    pub swaps: Vec<PathBuf>,
    /// Sizes of huge pages that the kernel offers, in KiB.
    pub huge_page_sizes_kib: Vec<u64>,
    /// Whether same-page merging ran since the host was booted.
    pub merged_pages: bool,
    /// Whether the limit of what waits to be written is set in bytes, not as a part of memory.
    pub dirty_in_bytes: bool,
    /// The same for where writing back begins.
    pub dirty_background_in_bytes: bool,
}

/// A disk: no partition, no loop device, no RAM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disk {
    /// Its name under `/sys/block`.
    pub name: String,
    /// What it is behind.
    pub kind: DiskKind,
    /// Whether it turns.
    pub is_rotational: bool,
}

/// What a disk is behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskKind {
    /// NVMe.
    Nvme,
    /// A paravirtual one: virtio, Xen.
    Virtual,
    /// SATA, SAS, USB.
    #[default]
    Scsi,
    /// Others: device mapper, MD, eMMC.
    Other,
}

/// A network card.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name under `/sys/class/net`.
    pub name: String,
    /// Its driver.
    pub driver: Option<String>,
    /// Its NUMA node, if it is on one.
    pub node: Option<usize>,
    /// Whether the session's answers leave through it, to the address that SSH_CONNECTION names; or, where that cannot
    /// be told, whether a default route goes through it.
    pub carries_session: bool,
    /// The names of its queues: `rx-0`, `tx-0`.
    pub queues: Vec<String>,
}

/// An interrupt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interrupt {
    /// Its number. It is not the same after a reboot.
    pub number: u32,
    /// Who handles it: `eth0-rx-0`, `nvme0q1`. Empty if nobody does.
    pub actions: String,
    /// CPUs that it may go to, and that it does go to.
    pub affinity: CpuList,
    /// CPUs that it goes to, if the kernel tells.
    pub effective: Option<CpuList>,
}

/// A graphics card.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gpu {
    /// Its PCI address: `0000:01:00.0`.
    pub pci: String,
    /// The number of its maker: 0x10de is NVIDIA.
    pub vendor: u32,
    /// Its driver, if it has one.
    pub driver: Option<String>,
    /// Its NUMA node, if it is on one.
    pub node: Option<usize>,
}

/// How a host boots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Boot {
    /// By what.
    pub loader: Loader,
    /// Kernels that are installed, by their release.
    pub kernels: Vec<String>,
    /// The command line that the next boot will have, if the boot loader's configuration can be read: without `root=`
    /// and the like where only what it is made from can be.
    pub next_command_line: Option<String>,
    /// The release of the kernel that the next boot starts, if the boot loader's configuration can be read.
    pub next_kernel: Option<String>,
}

/// Boot loaders.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loader {
    /// GRUB with Debian's `grub.d` and `update-grub`.
    Grub,
    /// systemd-boot.
    SystemdBoot,
    /// None that is known: a container, a hypervisor that loads the kernel.
    #[default]
    Unknown,
}

/// Somebody else who takes care of settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Owner {
    /// Its unit: `tuned.service`.
    pub unit: String,
    /// Whether it runs.
    pub is_active: bool,
    /// Whether it is started at boot.
    pub is_enabled: bool,
    /// Prefixes of the knobs that it turns: `cpu.`, `irq.`.
    pub turns: Vec<String>,
}

/// Which machine, and which boot of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Identity {
    /// What `/etc/machine-id` says.
    pub machine: String,
    /// What `/proc/sys/kernel/random/boot_id` says.
    pub boot: String,
}
