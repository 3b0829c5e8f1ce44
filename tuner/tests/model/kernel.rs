//! What the kernel makes of what is written to its files.

use super::{State, refused};
use std::path::Path;
use topology::CpuList;
use tuner::host::{GpuItem, Host, HostError, HostErrorKind, NicItem, Recorded};

const CPUS: &str = "/sys/devices/system/cpu";
type Stored = Result<(), HostErrorKind>;

/// The ranges of sysctls; the kernel refuses what is outside.
const RANGES: [(&str, i64, i64); 9] = [
    ("vm/swappiness", 0, 200),
    ("vm/compaction_proactiveness", 0, 100),
    ("vm/zone_reclaim_mode", 0, i64::MAX),
    ("kernel/sched_rt_runtime_us", -1, 1_000_000),
    ("kernel/timer_migration", 0, 1),
    ("kernel/split_lock_mitigate", 0, 1),
    ("kernel/sched_autogroup_enabled", 0, 1),
    ("net/core/busy_poll", 0, i32::MAX as i64),
    ("net/core/busy_read", 0, i32::MAX as i64),
];

impl State {
    pub(super) fn store(&mut self, path: &Path, text: &str) -> Result<(), HostError> {
        let parts: Vec<_> = path.iter().skip(1).filter_map(|part| part.to_str()).collect();
        let text = text.strip_suffix('\n').unwrap_or(text);
        self.stored(path, &parts, text).map_err(|kind| refused(path, kind))
    }

    fn stored(&mut self, path: &Path, parts: &[&str], text: &str) -> Stored {
        let current = self.now.files[path].1.clone();
        match parts {
            ["proc", "irq", "default_smp_affinity"] => self.keep(path, self.mask(text)?.to_mask()),
            ["proc", "irq", irq, file @ ("smp_affinity" | "smp_affinity_list")] => {
                let cpus = if *file == "smp_affinity" { self.mask(text)? } else { self.list(text)? };
                self.set_affinity(irq.parse().map_err(|_| HostErrorKind::Other)?, cpus)
            }
            ["proc", "sys", "kernel", "watchdog_cpumask"] => {
                self.keep(path, text.parse::<CpuList>().map_err(|_| HostErrorKind::Invalid)?.to_string())
            }
            // Packets may also be steered nowhere.
            [.., "rps_cpus" | "xps_cpus" | "rps_default_mask"] => {
                self.keep(path, CpuList::parse_mask(text).map_err(|_| HostErrorKind::Invalid)?.to_mask())
            }
            ["proc", "sys", "vm", "nr_hugepages"] => self.set_huge_pages(2048, None, text),
            ["sys", "kernel", "mm", "hugepages", size, "nr_hugepages"] => {
                self.set_huge_pages(size_kib(size)?, None, text)
            }
            ["sys", "devices", "system", "node", node, "hugepages", size, "nr_hugepages"] => {
                let node = node.strip_prefix("node").and_then(|node| node.parse().ok());
                self.set_huge_pages(size_kib(size)?, node, text)
            }
            ["proc", "sys", rest @ ..] => self.keep(path, sysctl(&rest.join("/"), &current, text)?),
            [.., name @ ("scaling_min_freq" | "scaling_max_freq")] => self.set_frequency(path, name, text),
            [.., "scaling_governor"] => {
                self.keep(path, self.word_of(path, "scaling_available_governors", text)?)
            }
            [.., "energy_performance_preference"] => {
                self.keep(path, self.word_of(path, "energy_performance_available_preferences", text)?)
            }
            [.., "pm_qos_resume_latency_us"] => self.keep(path, resume_latency(text)?),
            [.., "cpuset.cpus.partition"] => self.set_partition(path, text),
            [.., "cpuset.cpus"] => {
                self.keep(path, text.parse::<CpuList>().map_err(|_| HostErrorKind::Invalid)?.to_string())
            }
            ["sys", "devices", "virtual", "workqueue", .., "cpumask"] => {
                self.keep(path, self.mask(text)?.to_mask())
            }
            ["sys", "devices", "system", "cpu", cpu, "online"] => self.set_online(path, cpu, text),
            [.., "queue", "nomerges"] => {
                // Anything else than 0 and 2 is 1.
                let number: u64 = text.trim().parse().map_err(|_| HostErrorKind::Invalid)?;
                self.keep(path, number.min(if number == 2 { 2 } else { 1 }).to_string())
            }
            [.., "power", "control"] => self.keep(path, one_of(&["on", "auto"], text)?),
            [.., "khugepaged", "defrag"] => self.keep(path, one_of(&["0", "1"], text)?),
            [.., "ksm", "run"] => self.keep(path, one_of(&["0", "1", "2"], text)?),
            ["sys", ..] if current.contains('[') => self.choose(path, &current, text),
            ["sys", "module", .., "parameters", _] if matches!(current.trim(), "Y" | "N") => {
                self.keep(path, if flag(text)? { "Y" } else { "N" })
            }
            _ if current.trim().parse::<i64>().is_ok() => {
                self.keep(path, text.trim().parse::<i64>().map_err(|_| HostErrorKind::Invalid)?.to_string())
            }
            _ => self.keep(path, text),
        }
    }

    /// Keeps a text as the kernel shows it: with a newline.
    fn keep(&mut self, path: &Path, text: impl AsRef<str>) -> Stored {
        let mode = self.now.files.get(path).map_or(0o444, |(mode, _)| *mode);
        self.now.files.insert(path.into(), (mode, format!("{}\n", text.as_ref())));
        Ok(())
    }

    fn online(&self) -> CpuList {
        let online = self.now.read(Path::new("/sys/devices/system/cpu/online")).unwrap_or_default();
        online.parse().unwrap_or_default()
    }

    fn list(&self, text: &str) -> Result<CpuList, HostErrorKind> {
        self.any_online(text.parse().map_err(|_| HostErrorKind::Invalid)?)
    }

    fn mask(&self, text: &str) -> Result<CpuList, HostErrorKind> {
        self.any_online(CpuList::parse_mask(text).map_err(|_| HostErrorKind::Invalid)?)
    }

    fn any_online(&self, cpus: CpuList) -> Result<CpuList, HostErrorKind> {
        if cpus.and(&self.online()).is_empty() { Err(HostErrorKind::Invalid) } else { Ok(cpus) }
    }

    pub(super) fn set_affinity(&mut self, irq: u32, cpus: CpuList) -> Stored {
        if self.managed.contains(&irq) {
            return Err(HostErrorKind::Io);
        }
        let own = format!("/proc/irq/{irq}");
        // The hardware sends it to one CPU.
        let effective = cpus.and(&self.online()).iter().last().map(|cpu| cpu.to_string()).unwrap_or_default();
        for (file, text) in [("smp_affinity", cpus.to_mask()), ("smp_affinity_list", cpus.to_string())] {
            let path = format!("{own}/{file}");
            if self.now.files.contains_key(Path::new(&path)) {
                self.keep(Path::new(&path), text)?;
            }
        }
        match self.late.get(&irq) {
            Some(reads) => drop(self.pending.insert(irq, (*reads, effective))),
            None => self.show_effective(irq, &effective),
        }
        Ok(())
    }

    fn show_effective(&mut self, irq: u32, effective: &str) {
        let cpus: CpuList = effective.parse().unwrap_or_default();
        for (file, text) in
            [("effective_affinity", cpus.to_mask()), ("effective_affinity_list", cpus.to_string())]
        {
            let path = format!("/proc/irq/{irq}/{file}");
            if let Some((_, shown)) = self.now.files.get_mut(Path::new(&path)) {
                *shown = format!("{text}\n");
            }
        }
    }

    /// What comes late comes nearer with each look at it.
    pub(super) fn before_read(&mut self, path: &Path) {
        let parts: Vec<_> = path.iter().filter_map(|part| part.to_str()).collect();
        let ["/", "proc", "irq", irq, "effective_affinity_list" | "effective_affinity"] = parts[..] else {
            return;
        };
        let Ok(irq) = irq.parse() else { return };
        match self.pending.get_mut(&irq) {
            Some((0, effective)) => {
                let effective = effective.clone();
                self.pending.remove(&irq);
                self.show_effective(irq, &effective);
            }
            Some((reads, _)) => *reads -= 1,
            None => {}
        }
    }

    /// Gives as many as there is memory for, spread over the nodes or on one.
    fn set_huge_pages(&mut self, size_kib: u64, on: Option<usize>, text: &str) -> Stored {
        let wanted: u64 = text.trim().parse().map_err(|_| HostErrorKind::Invalid)?;
        let pages = |node: &usize| {
            format!("/sys/devices/system/node/node{node}/hugepages/hugepages-{size_kib}kB/nr_hugepages")
        };
        let nodes: Vec<usize> =
            (0..64).filter(|node| self.now.files.contains_key(Path::new(&pages(node)))).collect();
        let most =
            |state: &Self, node: usize| state.huge_pages.get(&(size_kib, node)).copied().unwrap_or(u64::MAX);
        let whole = format!("/sys/kernel/mm/hugepages/hugepages-{size_kib}kB/nr_hugepages");
        let total = match (on, nodes.is_empty()) {
            (Some(node), _) => {
                self.keep(Path::new(&pages(&node)), wanted.min(most(self, node)).to_string())?;
                let read = |node: &usize| {
                    self.now.files[Path::new(&pages(node))].1.trim().parse::<u64>().unwrap_or(0)
                };
                nodes.iter().map(read).sum()
            }
            (None, true) => wanted.min(most(self, 0)),
            (None, false) => {
                let mut given = vec![0u64; nodes.len()];
                let mut left = wanted;
                while left > 0 {
                    let room: Vec<_> =
                        (0..nodes.len()).filter(|at| given[*at] < most(self, nodes[*at])).collect();
                    if room.is_empty() {
                        break;
                    }
                    let each = (left / room.len() as u64).max(1);
                    for at in room {
                        let more = each.min(left).min(most(self, nodes[at]) - given[at]);
                        given[at] += more;
                        left -= more;
                    }
                }
                for (node, given) in nodes.iter().zip(&given) {
                    self.keep(Path::new(&pages(node)), given.to_string())?;
                }
                given.iter().sum()
            }
        };
        let others = [Some(whole.as_str()), (size_kib == 2048).then_some("/proc/sys/vm/nr_hugepages")];
        for path in others.into_iter().flatten().map(Path::new) {
            if self.now.files.contains_key(path) {
                self.keep(path, total.to_string())?;
            }
        }
        Ok(())
    }

    fn beside(&self, path: &Path, name: &str) -> Option<String> {
        self.now.files.get(&path.with_file_name(name)).map(|(_, text)| text.trim().to_owned())
    }

    fn word_of(&self, path: &Path, offered: &str, text: &str) -> Result<String, HostErrorKind> {
        let offered = self.beside(path, offered).unwrap_or_default();
        one_of(&offered.split_whitespace().collect::<Vec<_>>(), text)
    }

    /// What is outside of the hardware's range is clamped; a least above the most is refused.
    fn set_frequency(&mut self, path: &Path, name: &str, text: &str) -> Stored {
        let khz: u64 = text.trim().parse().map_err(|_| HostErrorKind::Invalid)?;
        let number = |name: &str, missing| {
            self.beside(path, name).and_then(|text| text.parse().ok()).unwrap_or(missing)
        };
        let khz = khz.clamp(number("cpuinfo_min_freq", 0), number("cpuinfo_max_freq", u64::MAX));
        let is_refused = match name {
            "scaling_min_freq" => khz > number("scaling_max_freq", u64::MAX),
            _ => khz < number("scaling_min_freq", 0),
        };
        if is_refused { Err(HostErrorKind::Invalid) } else { self.keep(path, khz.to_string()) }
    }

    /// It takes every partition, and tells only on reading whether it is valid.
    fn set_partition(&mut self, path: &Path, text: &str) -> Stored {
        let kind = one_of(&["member", "root", "isolated"], text)?;
        match self.partition_fails.clone().filter(|_| kind != "member") {
            Some(reason) => self.keep(path, format!("{kind} invalid ({reason})")),
            None => self.keep(path, kind),
        }
    }

    fn set_online(&mut self, path: &Path, cpu: &str, text: &str) -> Stored {
        let is_on = flag(text)?;
        let cpu: usize = cpu.trim_start_matches("cpu").parse().map_err(|_| HostErrorKind::Invalid)?;
        let all = self.online();
        let online =
            if is_on { all.iter().chain([cpu]).collect() } else { all.without(&CpuList::from_iter([cpu])) };
        self.keep(Path::new(&format!("{CPUS}/online")), online.to_string())?;
        self.keep(path, u8::from(is_on).to_string())
    }

    fn choose(&mut self, path: &Path, current: &str, text: &str) -> Stored {
        let words: Vec<_> = current.split_whitespace().map(|word| word.trim_matches(['[', ']'])).collect();
        let is_scheduler = path.ends_with("queue/scheduler");
        let text = match text.trim() {
            "deadline" if is_scheduler => "mq-deadline",
            other => other,
        };
        let chosen = one_of(&words, text)?;
        let shown =
            words.iter().map(|word| if *word == chosen { format!("[{word}]") } else { (*word).into() });
        // Some end in a blank.
        let end = &current.trim_end_matches('\n')[current.trim_end().len()..];
        self.keep(path, shown.collect::<Vec<_>>().join(" ") + end)
    }

    pub(super) fn set_nic(&mut self, interface: &str, item: NicItem, value: &str) -> Result<(), HostError> {
        let fail = |kind| refused(Path::new(interface), kind);
        let asked = Recorded::of_nic(interface, item);
        let current = self.now.told.get(&asked).ok_or_else(|| fail(HostErrorKind::NotSupported))?;
        let fits = match current.trim() {
            "on" | "off" => matches!(value, "on" | "off"),
            number if number.parse::<u64>().is_ok() => value.parse::<u64>().is_ok(),
            _ => true,
        };
        if !fits || (item == NicItem::CombinedChannels && value == "0") {
            return Err(fail(HostErrorKind::Invalid));
        }
        self.now.told.insert(asked, format!("{value}\n"));
        if matches!(item, NicItem::CombinedChannels | NicItem::RxRing) {
            self.remake_interrupts(interface);
        }
        Ok(())
    }

    /// New queues have new interrupts, which go where all go that nobody placed.
    fn remake_interrupts(&mut self, interface: &str) {
        let default = self.now.read(Path::new("/proc/irq/default_smp_affinity")).unwrap_or_default();
        let cpus = CpuList::parse_mask(&default).unwrap_or_else(|_| self.online());
        let is_its = |irq: &u32| {
            let actions =
                self.now.read(Path::new(&format!("/sys/kernel/irq/{irq}/actions"))).unwrap_or_default();
            actions.starts_with(interface)
        };
        let names = self.now.list(Path::new("/proc/irq")).unwrap_or_default();
        let its: Vec<u32> = names.iter().filter_map(|name| name.parse().ok()).filter(is_its).collect();
        for irq in its {
            let _ = self.set_affinity(irq, cpus.clone());
        }
    }

    pub(super) fn set_gpu(&mut self, pci: &str, item: GpuItem, value: &str) -> Result<(), HostError> {
        let fail = |kind| refused(Path::new(pci), kind);
        let asked = Recorded::of_gpu(pci, item);
        if !self.now.told.contains_key(&asked) {
            return Err(fail(HostErrorKind::NotSupported));
        }
        let is_range = |value: &str| {
            let ends = value
                .split_once('-')
                .and_then(|(low, high)| Some((low.parse::<u32>().ok()?, high.parse().ok()?)));
            value.is_empty() || ends.is_some_and(|(low, high)| low <= high)
        };
        let fits = match item {
            GpuItem::Persistence => matches!(value, "on" | "off"),
            GpuItem::LockedClocks | GpuItem::LockedMemoryClocks => is_range(value),
            GpuItem::PowerLimit => value.parse::<u64>().is_ok_and(|limit_mw| limit_mw > 0),
        };
        if !fits {
            return Err(fail(HostErrorKind::Invalid));
        }
        self.now.told.insert(asked, format!("{value}\n"));
        Ok(())
    }

    /// Only areas that it once had are areas of swap.
    pub(super) fn set_swap(&mut self, area: &Path, priority: Option<i32>) -> Result<(), HostError> {
        let swaps = Path::new("/proc/swaps");
        let is_its = |line: &&str| line.split_whitespace().next() == area.to_str();
        let text = self.now.read(swaps)?;
        let line = text.lines().find(is_its).map(str::to_owned);
        let text = match (line, priority) {
            (Some(line), None) => text.replace(&format!("{line}\n"), ""),
            (None, None) => return Err(refused(area, HostErrorKind::Invalid)),
            (Some(_), Some(_)) => return Err(refused(area, HostErrorKind::Busy)),
            (None, Some(priority)) => {
                let once = self.fresh.read(swaps)?;
                let line = once.lines().find(is_its).ok_or_else(|| refused(area, HostErrorKind::Absent))?;
                let (rest, _) = line.rsplit_once(['\t', ' ']).unwrap_or((line, ""));
                format!("{text}{rest}\t{priority}\n")
            }
        };
        self.now.files.insert(swaps.into(), (0o444, text));
        Ok(())
    }
}

fn size_kib(name: &str) -> Result<u64, HostErrorKind> {
    let digits = name.strip_prefix("hugepages-").and_then(|name| name.strip_suffix("kB"));
    digits.and_then(|digits| digits.parse().ok()).ok_or(HostErrorKind::Absent)
}

fn one_of(words: &[&str], text: &str) -> Result<String, HostErrorKind> {
    let text = text.trim();
    if words.contains(&text) { Ok(text.into()) } else { Err(HostErrorKind::Invalid) }
}

/// As kstrtobool reads it: the first letter counts.
fn flag(text: &str) -> Result<bool, HostErrorKind> {
    match text.to_ascii_lowercase().as_bytes() {
        [b'y' | b't' | b'1', ..] | [b'o', b'n', ..] => Ok(true),
        [b'n' | b'f' | b'0', ..] | [b'o', b'f', ..] => Ok(false),
        _ => Err(HostErrorKind::Invalid),
    }
}

/// "n/a" allows no sleep at all; 0 allows every sleep. Both are read back as they were written.
fn resume_latency(text: &str) -> Result<String, HostErrorKind> {
    match text.trim() {
        "n/a" => Ok("n/a".into()),
        number => match number.parse::<i32>() {
            Ok(us) if (0..i32::MAX).contains(&us) => Ok(us.to_string()),
            _ => Err(HostErrorKind::Invalid),
        },
    }
}

/// As many numbers as there were, tabs between; those that were not written stay.
fn sysctl(name: &str, current: &str, text: &str) -> Result<String, HostErrorKind> {
    let old: Vec<_> = current.split_whitespace().collect();
    if old.is_empty() || old.iter().any(|word| word.parse::<i64>().is_err()) {
        return Ok(text.into());
    }
    let (low, high) = RANGES
        .iter()
        .find(|(known, ..)| *known == name)
        .map_or((i64::MIN, i64::MAX), |known| (known.1, known.2));
    let mut numbers: Vec<String> = old.iter().map(|word| (*word).into()).collect();
    for (number, word) in numbers.iter_mut().zip(text.split_whitespace()) {
        let written: i64 = word.parse().map_err(|_| HostErrorKind::Invalid)?;
        if !(low..=high).contains(&written) {
            return Err(HostErrorKind::Invalid);
        }
        *number = written.to_string();
    }
    Ok(numbers.join("\t"))
}
