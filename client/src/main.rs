//! chartctl: shows what a running chartd has, and adjusts its charts.

mod adjust;
mod commands;
mod journal;
mod streams;
mod table;
mod top;

use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{Parser, Subcommand};
use encode::{Format, FormatError};
use market::ChartName;
use std::path::PathBuf;
use std::process::ExitCode;

/// Shows the charts and candles of a running chartd, and adjusts what its charts show.
///
/// A CHART is venue:SYMBOL/timeframe, as binance:BTCUSDT/1m; `chartctl list` names those that there are.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    /// The daemon's control socket [default: $CHARTD_SOCKET, the user's own, or /run/chartd/chartd.sock]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Print JSON on standard output: one document, or one a line for `watch` and `top`
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lists the charts
    List,
    /// Writes the latest frame of a chart as a picture
    Snap {
        /// The chart
        chart: ChartName,
        /// The file to write; its ending says how: .png, .qoi, .webp, or .jpg, which loses some
        #[arg(short, long, value_name = "FILE", value_parser = PathBufValueParser::new().try_map(Output::new))]
        output: Output,
    },
    /// Prints the newest candles of a chart
    Candles {
        /// The chart
        chart: ChartName,
        /// How many
        #[arg(long, default_value_t = 20)]
        last: usize,
    },
    /// Prints a line for each new frame until interrupted
    Watch {
        /// The chart
        chart: ChartName,
        /// Stop after this many frames
        #[arg(long)]
        frames: Option<u64>,
    },
    /// Moves, zooms or resets what a chart shows, for everybody who looks at it
    #[command(allow_negative_numbers = true)]
    View(adjust::View),
    /// Shows a crosshair on a chart and the prices of the bar under it, for everybody who looks at it
    Point(adjust::Point),
    /// Puts a price line or a marker on a chart, for everybody who looks at it
    Mark(adjust::Mark),
    /// Shows charts, rates, latencies, loops and what is wrong, live; as text or JSON where there is no terminal
    Top {
        /// Seconds between two looks
        #[arg(long, default_value_t = 1.0, value_parser = seconds)]
        interval: f64,
        /// End after so many looks
        #[arg(long)]
        count: Option<u64>,
    },
    /// Prints counters, latencies, what each stream proved, and what the machine lacks
    Stats,
}

/// A file to write, and in which format.
#[derive(Clone)]
struct Output {
    path: PathBuf,
    format: Format,
}

impl Output {
    fn new(path: PathBuf) -> Result<Self, FormatError> {
        Format::from_path(&path).map(|format| Self { path, format })
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let fits = |seconds: &f64| (0.1..=3600.0).contains(seconds);
    text.parse().ok().filter(fits).ok_or_else(|| "use 0.1 to 3600 seconds".to_owned())
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match commands::run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        // Somebody closed the pipe, as `head` does: nothing is wrong.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chartctl: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
