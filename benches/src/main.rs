//! Measures one thing and, in the same run, its references, and prints the ratio.
//!
//! Arms are interleaved in rounds, so that what else the machine does strikes all alike. Medians of rounds are
//! compared, never single runs. Each result says what it is a ratio of and how threads were placed.

mod decode;
mod harness;
mod replay;
mod tick_to_frame;

use clap::{Parser, ValueEnum};
use std::process::ExitCode;

/// Measures chartd beside its references.
#[derive(Parser)]
struct Cli {
    /// What to measure
    name: Name,
    /// Print one JSON document and nothing else
    #[arg(long)]
    json: bool,
    /// How many rounds of all arms
    #[arg(long, default_value_t = 7)]
    rounds: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    /// A Binance trade frame into a trade, beside `serde_json`
    Decode,
    /// Decoding and aggregating the recorded file on one core, beside checking its JSON with `serde_json`
    Replay,
    /// From a trade on the wire to its frame in shared memory, beside a raw loopback TCP message
    TickToFrame,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let measured = match cli.name {
        Name::Decode => decode::measure(cli.rounds),
        Name::Replay => replay::measure(cli.rounds),
        Name::TickToFrame => tick_to_frame::measure(cli.rounds),
    };
    match measured {
        Ok(report) if cli.json => println!("{}", report.json()),
        Ok(report) => report.print(),
        Err(error) => {
            eprintln!("benches: {error:#}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
