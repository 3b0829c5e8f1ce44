//! The kernel's own measurements: the osnoise and timerlat tracers, where it has them.
//!
//! They see what no thread can: how long an interrupt's timer was late, and what took a CPU away by kind. What holds:
//! they run in a tracing instance of their own, which is removed again whatever happens, so that nobody else's tracing is
//! touched; a kernel without them, or a process that may not, is told in a sentence.

use crate::host::{Host, HostError, HostErrorKind};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use topology::CpuList;

const TRACING: &str = "/sys/kernel/tracing";
const INSTANCE: &str = "/sys/kernel/tracing/instances/tuner";

/// One of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tracer {
    /// What takes a CPU away from a thread that spins in the kernel.
    Osnoise,
    /// How late a timer's interrupt is, and the thread that it wakes.
    Timerlat,
}

impl Tracer {
    fn name(self) -> &'static str {
        match self {
            Self::Osnoise => "osnoise",
            Self::Timerlat => "timerlat",
        }
    }
}

/// The worst that a tracer saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Worst {
    /// Lines that it wrote.
    pub samples: u64,
    /// Of osnoise: the most noise in one period, in ns.
    pub noise_ns: u64,
    /// Of osnoise: the longest single noise, in ns.
    pub single_ns: u64,
    /// Of osnoise: noise that is nobody's in the kernel: hardware, firmware, a hypervisor.
    pub hardware: u64,
    /// Of timerlat: the latest interrupt, in ns.
    pub irq_ns: u64,
    /// Of timerlat: the latest thread, in ns.
    pub thread_ns: u64,
}

/// Runs a tracer on these CPUs. `Err` tells why there is none.
pub fn measure(host: &dyn Host, tracer: Tracer, cpus: &CpuList, duration: Duration) -> Result<Worst, String> {
    let offered = host.read(&Path::new(TRACING).join("available_tracers"));
    let offered = offered.map_err(|error| no_tracing(&error))?;
    if !offered.split_whitespace().any(|word| word == tracer.name()) {
        return Err(format!("this kernel has no {} tracer", tracer.name()));
    }
    let instance = Instance::make()?;
    let put = |name: &str, text: &str| {
        host.write(&instance.0.join(name), text).map_err(|error| format!("the tracer is refused: {error}"))
    };
    let all = Path::new(TRACING).join("osnoise/cpus");
    // It is one for all instances: it is put back.
    let before = host.read(&all).map_err(|error| no_tracing(&error))?;
    host.write(&all, &cpus.to_string()).map_err(|error| no_tracing(&error))?;
    let traced = put("current_tracer", tracer.name()).and_then(|()| {
        std::thread::sleep(duration);
        put("tracing_on", "0")?;
        host.read(&instance.0.join("trace")).map_err(|error| error.to_string())
    });
    let ended = put("current_tracer", "nop");
    let restored = host.write(&all, before.trim()).map_err(|error| no_tracing(&error));
    let worst = worst(tracer, &traced?);
    ended.and(restored).map(|()| worst)
}

fn no_tracing(error: &HostError) -> String {
    match error.kind {
        HostErrorKind::Denied => format!("the kernel's tracers take root: {error}"),
        HostErrorKind::Absent => "tracefs is not there: mount -t tracefs tracefs /sys/kernel/tracing".into(),
        _ => error.to_string(),
    }
}

/// A tracing instance; dropped, it is gone.
struct Instance(PathBuf);

impl Instance {
    fn make() -> Result<Self, String> {
        match std::fs::create_dir(INSTANCE) {
            Ok(()) => Ok(Self(INSTANCE.into())),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(format!("{INSTANCE} is there: another measurement runs, or remove it with rmdir"))
            }
            Err(error) => Err(format!("{INSTANCE} cannot be made: {error}")),
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0); // Where it stays, the next measurement says so.
    }
}

/// The worst of what stands in a trace. Lines are the kernel's: Documentation/trace/osnoise-tracer.rst and
/// timerlat-tracer.rst.
fn worst(tracer: Tracer, trace: &str) -> Worst {
    let mut worst = Worst::default();
    for line in trace.lines().filter(|line| !line.starts_with('#')) {
        // Behind "task-pid [cpu] flags timestamp:" stand the columns.
        let Some((_, columns)) = line.split_once(": ") else { continue };
        match tracer {
            Tracer::Osnoise => osnoise(&mut worst, columns),
            Tracer::Timerlat => timerlat(&mut worst, columns),
        }
    }
    worst
}

/// `RUNTIME NOISE %CPU MAX-SINGLE HW NMI IRQ SOFTIRQ THREAD`, times in us.
fn osnoise(worst: &mut Worst, columns: &str) {
    let columns: Vec<&str> = columns.split_whitespace().collect();
    let number = |place: usize| columns.get(place).and_then(|text| text.parse::<u64>().ok());
    if let (Some(noise_us), Some(single_us), Some(hardware)) = (number(1), number(3), number(4)) {
        worst.samples += 1;
        worst.noise_ns = worst.noise_ns.max(noise_us * 1000);
        worst.single_ns = worst.single_ns.max(single_us * 1000);
        worst.hardware += hardware;
    }
}

/// `#COUNT context irq|thread timer_latency N ns`.
fn timerlat(worst: &mut Worst, columns: &str) {
    let words: Vec<&str> = columns.split_whitespace().collect();
    let after = |word: &str| words.iter().position(|found| *found == word).and_then(|at| words.get(at + 1));
    let latency = after("timer_latency").and_then(|text| text.parse::<u64>().ok());
    if let (Some(context), Some(latency_ns)) = (after("context"), latency) {
        worst.samples += 1;
        match *context {
            "irq" => worst.irq_ns = worst.irq_ns.max(latency_ns),
            _ => worst.thread_ns = worst.thread_ns.max(latency_ns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_osnoise() {
        let trace = "# tracer: osnoise\n#\n\
            osnoise/0-859 [000] .... 81.637220: 1000000 190 99.98100 9 18 0 1007 18 1\n\
            osnoise/1-860 [001] .... 81.638154: 1000000 656 99.93440 74 23 0 1006 16 3\n";
        let found = worst(Tracer::Osnoise, trace);
        let expected =
            Worst { samples: 2, noise_ns: 656_000, single_ns: 74_000, hardware: 41, ..Worst::default() };
        assert_eq!(found, expected);
    }

    #[test]
    fn lines_of_timerlat() {
        let trace = "# tracer: timerlat\n\
            <idle>-0 [000] d.h1 54.029328: #1 context irq timer_latency 932 ns\n\
            timerlat/0-867 [000] .... 54.029339: #1 context thread timer_latency 11700 ns\n\
            <idle>-0 [001] dNh1 54.029346: #1 context irq timer_latency 2833 ns\n";
        let found = worst(Tracer::Timerlat, trace);
        assert_eq!(found, Worst { samples: 3, irq_ns: 2833, thread_ns: 11700, ..Worst::default() });
    }

    #[test]
    fn a_kernel_without_them_says_so() {
        let host = crate::host::Live::new(Path::new("/")).unwrap();
        let tracers = host.read(&Path::new(TRACING).join("available_tracers")).unwrap_or_default();
        if tracers.contains("osnoise") && nix::unistd::geteuid().is_root() {
            let cpus = CpuList::from_iter([0]);
            let found = measure(&host, Tracer::Osnoise, &cpus, Duration::from_secs(2)).unwrap();
            assert!(found.samples > 0 && !Path::new(INSTANCE).exists(), "{found:?}");
        } else {
            let refused = measure(&host, Tracer::Osnoise, &CpuList::default(), Duration::ZERO).unwrap_err();
            println!("skipped: the kernel's osnoise tracer ({refused})");
            assert!(!refused.is_empty());
        }
    }
}
