//! Measures one thing and, in the same run, its references, and prints the ratio.
//!
//! Arms are interleaved in rounds, so that what else the machine does strikes all alike. Medians of rounds are
//! compared, never single runs. Each result says what it is a ratio of and how threads were placed.

mod attacks;
mod bare;
mod burst;
mod decode;
mod encode;
mod harness;
mod hiccup;
mod idle;
mod journal_recover;
mod journal_write;
mod many_charts;
mod peers;
mod plot;
mod process;
mod publish_wake;
mod raster;
mod raster_kernels;
mod replay;
mod soak;
mod tick_to_frame;
mod venue;
mod zoom_levels;

use clap::{Parser, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;

/// Measures chartd beside its references.
#[derive(Parser)]
struct Cli {
    /// What to measure
    name: Name,
    /// Print one JSON document and nothing else
    #[arg(long)]
    json: bool,
    /// Also draw the distributions in this folder, as an SVG and as an HTML page with their figures; with rivals'
    /// pictures, where they draw
    #[arg(long, visible_alias = "out", value_name = "DIR")]
    plot: Option<PathBuf>,
    /// How many rounds of all arms
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// The folder that the journal's benches write to: on the disk in question, which tmpfs is not
    #[arg(long, default_value = "target")]
    folder: PathBuf,
    /// How many MiB each arm of the journal's benches writes or reads in a round
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(4..=2048))]
    mib: u64,
    /// How many minutes a soak takes
    #[arg(long, default_value_t = 10)]
    minutes: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    /// Frames of each venue into messages, beside `serde_json` and `sonic-rs`
    Decode,
    /// Decoding, proving and aggregating the recorded file on one core, beside checking its JSON with `serde_json`; and
    /// what each kind of frame costs
    Replay,
    /// From a trade on the wire to its frame in shared memory, beside a raw loopback TCP message, and beside the same
    /// engine and renderer reading by epoll and by recv
    TickToFrame,
    /// 520 frames in 10 ms again and again, and 100,000 a second for 10 s: nothing lost, and how late; beside a reader
    /// that only counts bytes
    Burst,
    /// From publishing to a reader in another process, beside iceoryx2, futex, pipe and Unix socket
    PublishWake,
    /// A last-price change and a new bar, from candle to pixels, beside a memcpy of the frame
    RasterDelta,
    /// A whole picture, from candles to pixels, beside a memcpy of the frame
    RasterFull,
    /// A daemon with nothing to do: its processor time and its frames
    Idle,
    /// Sixteen charts at twenty updates a second each: processor time, latency, and a burst on one of them
    ManyCharts,
    /// The tick journal to disk, sustained, and how soon a frame is durable; beside raw writes, SQLite and an append
    JournalWrite,
    /// Reading and proving a journal, beside a CRC32C of its files; and how long a start takes to find its end
    JournalRecover,
    /// Whether latency and memory stay as they were, over minutes
    Soak,
    /// What hostile readers do to the writer's latency
    Attacks,
    /// A chart as a file in each format, and as a PNG that follows the last price, beside the `png` crate
    Encode,
    /// Drawing a chart by each kernel, beside copying and filling its frame
    RasterKernels,
    /// A picture of a month of bars at every zoom, beside one of ten times as many
    ZoomLevels,
}

fn main() -> ExitCode {
    // Some arms have a process of their own: this program again.
    if let Ok(task) = std::env::var(publish_wake::CHILD) {
        return code(publish_wake::read(&task));
    }
    if let Ok(task) = std::env::var(attacks::CHILD) {
        return code(attacks::attack(&task));
    }
    if std::env::var_os(process::NAPPER).is_some() {
        process::nap();
    }
    if let Ok(task) = std::env::var(process::COPIER) {
        return code(process::copy(&task));
    }
    let cli = Cli::parse();
    let meter = hiccup::Meter::start();
    let measured = match cli.name {
        Name::Decode => decode::measure(cli.rounds),
        Name::Replay => replay::measure(cli.rounds),
        Name::TickToFrame => tick_to_frame::measure(cli.rounds),
        Name::Burst => burst::measure(cli.rounds),
        Name::PublishWake => publish_wake::measure(cli.rounds),
        Name::RasterDelta => raster::measure_delta(cli.rounds, cli.plot.as_deref()),
        Name::RasterFull => raster::measure_full(cli.rounds, cli.plot.as_deref()),
        Name::Idle => idle::measure(cli.rounds),
        Name::ManyCharts => many_charts::measure(cli.rounds),
        Name::JournalWrite => journal_write::measure(cli.rounds, &cli.folder, cli.mib),
        Name::JournalRecover => journal_recover::measure(cli.rounds, &cli.folder, cli.mib),
        Name::Soak => soak::measure(cli.minutes),
        Name::Attacks => attacks::measure(cli.rounds),
        Name::Encode => encode::measure(cli.rounds),
        Name::RasterKernels => raster_kernels::measure(cli.rounds),
        Name::ZoomLevels => zoom_levels::measure(cli.rounds),
    };
    code(measured.and_then(|mut report| {
        report.arms.push(meter.stop());
        if let Some(folder) = &cli.plot {
            let file = plot::write(&report, folder)?;
            eprintln!("drawn: {}", file.display());
        }
        if cli.json {
            println!("{}", report.json())
        } else {
            report.print()
        }
        Ok(())
    }))
}

fn code(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("benches: {error:#}");
            ExitCode::FAILURE
        }
    }
}
