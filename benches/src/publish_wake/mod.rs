//! From publishing to a reader in another process that has read all of it: ours beside what else there is.
//!
//! One writer, one reader, each pinned to a CPU of its own. The writer publishes on a schedule; each message carries
//! the moment before it was written, and the reader takes the time when it has read every byte. Arms are compared
//! only with arms that wait in the same way: spinning with spinning, sleeping with sleeping.

mod arms;
mod doorbell;

use crate::harness::{Arm, Ratio, Report};
use anyhow::{Context, ensure};
use arms::{Kind, Reader, Writer};
use chartd::now_ns;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Tells the child process which arm it reads.
pub(crate) const CHILD: &str = "CHARTD_BENCH_READER";

/// Messages of a round, and the time between two of them.
struct Load {
    name: &'static str,
    /// Pixels: the first four are the stamp, the number, and whether it is the last.
    pixels: usize,
    messages: usize,
    period_ns: u64,
}

const SMALL: Load = Load { name: "64 B", pixels: 16, messages: 1_000, period_ns: 1_000_000 };
const FRAME: Load = Load { name: "1080p", pixels: 1920 * 1080, messages: 60, period_ns: 16_666_667 };
/// The first messages warm caches and are not counted.
const WARM_UP: usize = 10;

pub(crate) fn measure(rounds: usize) -> anyhow::Result<Report> {
    let plan = [
        (Kind::OursSpinning, SMALL, "chartd, spinning, 64 B"),
        (Kind::IceoryxSpinning, SMALL, "iceoryx2, spinning, 64 B"),
        (Kind::OursSpinning, FRAME, "chartd, spinning, 1080p"),
        (Kind::IceoryxSpinning, FRAME, "iceoryx2, spinning, 1080p"),
        (Kind::Futex, SMALL, "futex, sleeping, 64 B"),
        (Kind::Pipe, SMALL, "pipe, sleeping, 64 B"),
        (Kind::Seqpacket, SMALL, "Unix socket, sleeping, 64 B"),
        (Kind::IceoryxSleeping, SMALL, "iceoryx2 event, sleeping, 64 B"),
    ];
    let mut arms: Vec<_> = plan.iter().map(|(_, _, name)| Arm::new(name, "ns")).collect();
    arms.push(Arm::new("chartd's doorbell, sleeping", "ns"));
    let doorbell = arms.len() - 1;
    for _ in 0..rounds {
        for (arm, (kind, load, _)) in arms.iter_mut().zip(&plan) {
            arm.add_round(round(*kind, load)?);
        }
        arms[doorbell].add_round(doorbell::round()?);
    }
    let ratio = |what, a: usize, b: usize, promise| Ratio::of(what, &arms[a], &arms[b], 0.5, promise);
    let ratios = vec![
        ratio("spinning, 64 B: p50 / iceoryx2 p50", 0, 1, 0.5),
        ratio("spinning, 1080p written and read: p50 / iceoryx2 p50", 2, 3, 1.0),
        ratio("doorbell: p50 / Unix socket p50", doorbell, 6, 5.0),
    ];
    let notes = vec![
        "two processes, each pinned to a CPU of its own; latency from before writing until all is read"
            .into(),
        format!(
            "{}: {} messages a round, 1,000 a second; {}: {}, 60 a second",
            SMALL.name, SMALL.messages, FRAME.name, FRAME.messages
        ),
        "the doorbell arm is the whole daemon: publication, cold plane, control socket, reader".into(),
    ];
    Ok(Report { name: "publish-wake", notes, arms, ratios })
}

/// One round of one arm. Returns the latencies that the reader measured.
fn round(kind: Kind, load: &Load) -> anyhow::Result<Vec<u64>> {
    let (mut writer, token) = arms::writer(kind, load.pixels)?;
    let child = Command::new(std::env::current_exe()?)
        .env(CHILD, format!("{} {} {token}", kind as usize, load.pixels))
        .stdout(Stdio::piped())
        .spawn();
    let mut child = child.context("cannot start the reader's process")?;
    pin(0)?;
    let published = publish(&mut *writer, load, child.stdout.as_mut().context("the reader has no output")?);
    unpin()?;
    if published.is_err() {
        let _ = child.kill(); // It waits for messages that never come.
    }
    ensure!(child.wait()?.success(), "the reader of {kind:?} failed");
    let latencies = published?;
    ensure!(latencies.len() > load.messages / 2, "{kind:?}: only {} messages came", latencies.len());
    Ok(latencies)
}

fn publish(writer: &mut dyn Writer, load: &Load, reader: &mut impl Read) -> anyhow::Result<Vec<u64>> {
    let mut ready = [0];
    reader.read_exact(&mut ready).context("the reader did not come up")?;
    let mut picture: Vec<u32> = (0..load.pixels as u32).collect();
    let start_ns = now_ns() + 5_000_000;
    for index in 0..load.messages {
        let planned_ns = start_ns + index as u64 * load.period_ns;
        // Sleeping first leaves the CPU to whom it belongs; the rest is spun, to be on time.
        std::thread::sleep(Duration::from_nanos(planned_ns.saturating_sub(now_ns() + 300_000)));
        while now_ns() < planned_ns {
            std::hint::spin_loop();
        }
        let stamp_ns = now_ns();
        (picture[0], picture[1]) = (stamp_ns as u32, (stamp_ns >> 32) as u32);
        writer.publish(&picture)?;
    }
    picture[2] = u32::MAX;
    // A reader that was away for the last one sees one of these.
    for _ in 0..50 {
        std::thread::sleep(Duration::from_millis(2));
        if writer.publish(&picture).is_err() {
            break; // It has read the end already.
        }
    }
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes)?;
    let latencies = bytes.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
    Ok(latencies.skip(WARM_UP).collect())
}

/// The reader's process.
pub(crate) fn read(task: &str) -> anyhow::Result<()> {
    if let Some(socket) = task.strip_prefix("doorbell ") {
        return doorbell::read(socket);
    }
    let mut words = task.splitn(3, ' ');
    let mut number = || words.next().and_then(|word| word.parse::<usize>().ok()).context("a wrong task");
    let (kind, pixels) = (number()?, number()?);
    let token = words.next().context("a wrong task")?;
    pin(1)?;
    let mut reader = arms::reader(Kind::ALL[kind], pixels, token)?;
    let mut out = std::io::stdout().lock();
    out.write_all(b"r")?;
    out.flush()?;
    let mut latencies = Vec::new();
    loop {
        let head = read_all(&mut *reader)?;
        let now_ns = now_ns();
        if head[2] == u32::MAX {
            break;
        }
        latencies.push(now_ns.saturating_sub(u64::from(head[0]) | u64::from(head[1]) << 32));
    }
    for latency in latencies {
        out.write_all(&latency.to_le_bytes())?;
    }
    Ok(out.flush()?)
}

/// Waits for a message and reads every pixel of it. Returns the first ones.
fn read_all(reader: &mut dyn Reader) -> anyhow::Result<[u32; 4]> {
    let (mut head, mut sum, mut first) = ([0; 4], 0u32, true);
    reader.next(&mut |pixels| {
        if std::mem::take(&mut first) {
            head.copy_from_slice(&pixels[..4]);
        }
        sum = pixels.iter().fold(sum, |sum, pixel| sum.wrapping_add(*pixel));
    })?;
    std::hint::black_box(sum);
    Ok(head)
}

/// Confines the calling thread to one CPU, if the machine has it.
fn pin(cpu: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    if std::thread::available_parallelism()?.get() > cpu {
        set.set(cpu)?;
        sched_setaffinity(Pid::from_raw(0), &set)?;
    }
    Ok(())
}

fn unpin() -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online")?;
    let last = online.trim().rsplit(['-', ',']).next().and_then(|cpu| cpu.parse().ok()).unwrap_or(0);
    (0..=last).try_for_each(|cpu| set.set(cpu))?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}
