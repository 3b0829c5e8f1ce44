//! The doorbell, measured on the whole daemon: a simulated venue, one small chart, and a reader in another process
//! that sleeps for each frame. The latency is from the frame's own time of publication until the reader has it.

use super::CHILD;
use anyhow::{Context, ensure};
use chart_client::{Follower, News};
use chartd::config::Config;
use chartd::now_ns;
use chartd::service::Service;
use chartd::sim::{Sim, SimConfig};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Frames of a round.
const FRAMES: usize = 300;
const CHART: &str = "binance:BTCUSDT/1m";

pub(super) fn round() -> anyhow::Result<Vec<u64>> {
    let sim =
        SimConfig { trades_per_second: 150.0, ..SimConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)), 1) };
    let sim = Sim::start(sim)?;
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("chartd.sock");
    let config = format!(
        "socket = {socket:?}\n[[feed]]\nvenue = \"binance\"\nsymbols = [\"BTCUSDT\"]\nurl = \"ws://{}\"\n\
         [[chart]]\nsource = \"binance:BTCUSDT\"\ntimeframe = \"1m\"\nsize = [160, 90]\n[realtime]\nwait = \"block\"\n",
        sim.addr()
    );
    let service = Service::start(&Config::parse(&config, "the bench")?)?;
    let mut child = Command::new(std::env::current_exe()?)
        .env(CHILD, format!("doorbell {}", socket.display()))
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the reader's process")?;
    let mut output = child.stdout.take().context("the reader has no output")?;
    let read = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        output.read_to_end(&mut bytes).map(|_| bytes)
    });
    let done = async {
        while !read.is_finished() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    service.run(done, None)?;
    let bytes = read.join().map_err(|_| anyhow::anyhow!("the reading thread panicked"))??;
    ensure!(child.wait()?.success(), "the reader of the doorbell failed");
    let latencies = bytes.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
    Ok(latencies.skip(super::WARM_UP).collect())
}

/// The reader's process.
pub(super) fn read(socket: &str) -> anyhow::Result<()> {
    let mut follower = Follower::new(Some(Path::new(socket)), CHART)?;
    let mut latencies = Vec::new();
    while latencies.len() < FRAMES {
        match follower.wait(Duration::from_secs(10))? {
            News::Frame { .. } => {
                let now_ns = now_ns();
                let Some((_, reader)) = follower.current() else { continue };
                // One that was there already when it asked was not slept for.
                if let Ok(info) = reader.latest_info() {
                    latencies.push(now_ns.saturating_sub(info.publish_ns));
                }
            }
            News::Nothing => anyhow::bail!("no frame came for ten seconds"),
            _ => {}
        }
    }
    let mut out = std::io::stdout().lock();
    latencies.iter().try_for_each(|latency| out.write_all(&latency.to_le_bytes()))?;
    Ok(out.flush()?)
}
