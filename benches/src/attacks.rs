//! What a hostile reader does to the writer: the time from a trade's receipt to its frame, with and without each
//! attack, in one run. The attacker is another process; it takes a CPU from the machine in any case, so an arm in which
//! it only burns that CPU stands beside the attacks.

use crate::harness::{Arm, Ratio, Report};
use anyhow::Context;
use chart_client::Connection;
use chartd::config::Config;
use chartd::now_ns;
use chartd::service::Service;
use chartd::sim::{Sim, SimConfig};
use nix::sys::signal::Signal;
use shm::control::{Op, Reply, Request};
use shm::frame::FrameReader;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Tells the child process which attack it carries out, and where.
pub(crate) const CHILD: &str = "CHARTD_BENCH_ATTACK";
const CHART: &str = "binance:BTCUSDT/1s";
const SPAN: Duration = Duration::from_millis(1_500);

const ATTACKS: [&str; 7] = ["burn", "hammer", "punch", "flood", "deaf", "waiters", "freeze"];
const NAMES: [&str; 8] = [
    "quiet",
    "a process that only burns a CPU",
    "lease word hammered",
    "holes punched in the lease page",
    "connection flood",
    "waits asked for and never read",
    "sixty waiters",
    "a leased frame, its reader stopped",
];

pub(crate) fn measure(rounds: usize) -> anyhow::Result<Report> {
    let mut arms: Vec<_> = NAMES.iter().map(|name| Arm::new(name, "ns")).collect();
    let sim =
        SimConfig { trades_per_second: 400.0, ..SimConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)), 1) };
    let sim = Sim::start(sim)?;
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("chartd.sock");
    let config = format!(
        "socket = {socket:?}\n[[feed]]\nvenue = \"binance\"\nsymbols = [\"BTCUSDT\"]\nurl = \"ws://{}\"\n\
         [[chart]]\nsource = \"binance:BTCUSDT\"\ntimeframe = \"1s\"\nsize = [960, 540]\n",
        sim.addr()
    );
    let service = Service::start(&Config::parse(&config, "the bench")?)?;
    let measuring = std::thread::spawn(move || -> anyhow::Result<_> {
        std::thread::sleep(Duration::from_secs(1));
        // Opened once: a flood of the same user takes all its places.
        let connection = Connection::open(Some(&socket))?;
        let chart = connection.chart(CHART)?;
        for _ in 0..rounds {
            for (place, arm) in arms.iter_mut().enumerate() {
                let attack = place.checked_sub(1).map(|place| ATTACKS[place]);
                arm.add_round(round(&socket, &chart, attack)?);
            }
        }
        Ok(arms)
    });
    let done = async {
        while !measuring.is_finished() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    service.run(done, None)?;
    let arms = measuring.join().map_err(|_| anyhow::anyhow!("the measuring thread panicked"))??;
    let against = |place: usize| if (2..=3).contains(&place) { 1 } else { 0 };
    let ratio = |place: usize| Ratio::of(NAMES[place], &arms[place], &arms[against(place)], 0.999, 2.0);
    let ratios = (2..arms.len()).map(ratio).collect();
    let notes = vec![
        "from the receipt of a trade to the publication of its frame; 960x540, fused, blocking".into(),
        "ratios: p99.9 under attack / p99.9 quiet, or of a burnt CPU for those that burn one".into(),
    ];
    Ok(Report { name: "attacks", notes, arms, ratios })
}

/// Frames of a while, under an attack if there is one. Returns how long each took.
fn round(socket: &Path, chart: &FrameReader, attack: Option<&str>) -> anyhow::Result<Vec<u64>> {
    let task = |attack: &str| format!("{attack} {}", socket.display());
    let child = attack.map(|attack| Command::new(std::env::current_exe()?).env(CHILD, task(attack)).spawn());
    let mut child = child.transpose().context("cannot start the attacker")?;
    std::thread::sleep(Duration::from_millis(200));
    let (mut taken, mut newest, end_ns) = (Vec::new(), 0, now_ns() + SPAN.as_nanos() as u64);
    while now_ns() < end_ns {
        if let Ok(info) = chart.latest_info()
            && info.number != newest
        {
            newest = info.number;
            taken.push(info.publish_ns.saturating_sub(info.receive_ns));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    if let Some(child) = &mut child {
        let _ = child.kill(); // Some end by themselves.
        child.wait()?;
    }
    Ok(taken)
}

/// The attacker's process. It goes on until it is killed.
pub(crate) fn attack(task: &str) -> anyhow::Result<()> {
    let (attack, path) = task.split_once(' ').context("a wrong task")?;
    let path = Path::new(path);
    match attack {
        "burn" => loop {
            std::hint::spin_loop();
        },
        "hammer" => hammer(path, false),
        "punch" => hammer(path, true),
        "flood" => flood(path),
        "deaf" => loop {
            let socket = greet(path)?;
            let wait = Request { number: 1, ..Request::new(Op::Wait, CHART) };
            while wait.send(socket.as_fd()).is_ok() {}
        },
        "waiters" => {
            let threads = (0..60).map(|_| std::thread::spawn(wait_for_ever(path.to_owned())));
            threads.collect::<Vec<_>>().into_iter().for_each(|thread| drop(thread.join()));
            Ok(())
        }
        _ => {
            let mut leasing = Connection::open(Some(path))?.leased_chart(CHART)?;
            let _frame = leasing.lease_latest()?;
            Ok(nix::sys::signal::raise(Signal::SIGSTOP)?)
        }
    }
}

fn wait_for_ever(path: std::path::PathBuf) -> impl FnOnce() {
    move || {
        let Ok(connection) = Connection::open(Some(&path)) else { return };
        let Ok(chart) = connection.chart(CHART) else { return };
        while connection.wait(CHART, chart.latest() + 1, Duration::from_secs(1)).is_ok() {}
    }
}

fn greet(path: &Path) -> anyhow::Result<OwnedFd> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Request::new(Op::Hello, "").send(socket.as_fd())?;
    Reply::receive(socket.as_fd())?.context("the daemon is gone")?;
    Ok(socket)
}

fn flood(path: &Path) -> anyhow::Result<()> {
    let mut kept = Vec::new();
    loop {
        match greet(path) {
            Ok(socket) => kept.push(socket),
            Err(_) => std::thread::sleep(Duration::from_micros(200)),
        }
        if kept.len() > 200 {
            kept.clear();
        }
    }
}

/// Writes the lease word as fast as it can, and with `punch` takes the page's memory away again and again.
fn hammer(path: &Path, punch: bool) -> anyhow::Result<()> {
    use nix::fcntl::{FallocateFlags, fallocate};
    use std::sync::atomic::{AtomicU64, Ordering::*};
    let socket = greet(path)?;
    Request::new(Op::Lease, CHART).send(socket.as_fd())?;
    let (_, fds) = Reply::receive(socket.as_fd())?.context("the daemon is gone")?;
    let page = fds.first().context("there is no lease")?;
    let map = memmap2::MmapOptions::new().len(4096).map_raw(page)?;
    // SAFETY: the mapping has 512 words, lives as long as the process, and is used as atomics only.
    let words = unsafe { std::slice::from_raw_parts(map.as_ptr().cast::<AtomicU64>(), 512) };
    let mode = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    for number in 0u64.. {
        words[shm::lease::LEASE].store(1 << 8 | (number % 7), Relaxed);
        if punch {
            fallocate(page, mode, 0, 4096)?;
        }
    }
    Ok(())
}
