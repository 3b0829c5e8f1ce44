//! `chartd journal`: what it takes, what it says of itself, and its exit codes.

use super::dump::{self, Dump};
use super::export::{self, Export};
use super::verify::{self, Verify};
use super::when::{self, When};
use super::{Outcome, Symbol};
use clap::Subcommand;
use journal::Kind;
use market::Venue;
use std::path::PathBuf;
use std::process::ExitCode;

/// What to do with a journal. It is only read.
#[derive(Subcommand)]
pub enum Journal {
    /// Proves every block, and says what is there, what is missing and why
    #[command(after_long_help = VERIFY_HELP)]
    Verify {
        /// The folder that holds the segments
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// Print one JSON document, and nothing else
        #[arg(long)]
        json: bool,
    },
    /// Shows what was recorded, a line for each record
    #[command(after_long_help = DUMP_HELP)]
    Dump {
        /// The folder that holds the segments
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// When it was received
        #[command(flatten)]
        span: Between,
        /// Show only what came from this venue
        #[arg(long, value_name = "VENUE")]
        feed: Option<Venue>,
        /// Show only records of these kinds, as frame,gap
        #[arg(long, value_name = "KIND,…", value_delimiter = ',', value_parser = super::kind)]
        kind: Vec<Kind>,
        /// End after so many records
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
        /// Do not cut lines at the terminal's width
        #[arg(long)]
        full: bool,
        /// Print a JSON object on each line, with all that is in the record
        #[arg(long)]
        json: bool,
    },
    /// Makes a table of trades, quotes or frames: CSV, JSON lines or Parquet
    #[command(after_long_help = EXPORT_HELP)]
    Export {
        /// The folder that holds the segments
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// The file to write, which appears when it is whole; - for standard output
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// How to write it [default: as the file is named; csv on standard output]
        #[arg(long)]
        format: Option<export::Format>,
        /// What to write
        #[arg(long, default_value = "trades")]
        what: export::What,
        /// When it was received
        #[command(flatten)]
        span: Between,
        /// Of this instrument only, as binance:BTCUSDT
        #[arg(long, value_name = "VENUE:SYMBOL", value_parser = super::symbol)]
        symbol: Option<Symbol>,
        /// Print the summary as JSON
        #[arg(long)]
        json: bool,
    },
}

/// The part of a journal between two times of receiving.
#[derive(clap::Args)]
pub struct Between {
    /// Begin with what was received at this time; see --help for how to write it
    #[arg(long, value_name = "TIME", value_parser = when::parse, allow_hyphen_values = true)]
    from: Option<When>,
    /// End before what was received at this time
    #[arg(long, value_name = "TIME", value_parser = when::parse, allow_hyphen_values = true)]
    to: Option<When>,
}

const VERIFY_HELP: &str = "\
A torn tail is what a run had not made durable when it ended in disorder; the next run cuts it. A gap is what found no
room while the disk was slow or full; the journal tells how much. Neither is an error: nothing of it was promised.

Exit code:
  0  all is there that was claimed to be durable
  1  something that was durable is corrupt; the rest can still be read
  2  there is no journal

Examples:
  chartd journal verify /var/lib/chartd/journal
  chartd journal verify /var/lib/chartd/journal --json | jq .findings";

const DUMP_HELP: &str = "\
A line is: sequence, time of receiving, kind, venue, connection, content. What is missing stands in its place.
Kinds: start, frame, gap, connected, disconnected, day, begin, messages_lost, book, trades, tick.
Times are 2026-11-24T15:30:00Z (RFC 3339), 2026-11-24 (its midnight in UTC), ns since 1970, or so long ago: -15m, -2d.
Exit code 1 says that something is corrupt, as with verify.

Examples:
  chartd journal dump DIR --from -15m --feed kraken --kind frame
  chartd journal dump DIR --kind start,connected,disconnected,gap      what happened
  chartd journal dump DIR --kind frame --json | jq -r .frame           the venues' own messages";

const EXPORT_HELP: &str = "\
Prices and quantities are exact: decimal text in CSV, strings in JSON, DECIMAL in Parquet. Each trade is written once,
also where two connections brought it; one that was fetched later has origin 'fetched'. Columns that end in _ns and
_ms count from 1970, UTC; in Parquet they are timestamps and have no such ending.
Times are 2026-11-24T15:30:00Z (RFC 3339), 2026-11-24 (its midnight in UTC), ns since 1970, or so long ago: -15m, -2d.
What is missing is said on standard error; exit code 1 says that something is corrupt, as with verify.

Examples:
  chartd journal export DIR -o trades.parquet --from 2026-11-24 --to 2026-11-25
  chartd journal export DIR -o quotes.csv --what quotes --symbol binance:BTCUSDT
  chartd journal export DIR -o - --format jsonl --from -1h | jq .price
  python3 -c 'import pandas; print(pandas.read_parquet(\"trades.parquet\"))'";

impl Journal {
    /// Does it. What is corrupt has been said by then; an error is said here.
    pub fn run(self) -> ExitCode {
        let outcome = match self {
            Self::Verify { dir, json } => verify::run(&Verify { dir, json }),
            Self::Dump { dir, span: Between { from, to }, feed, kind: kinds, limit, full, json } => {
                dump::run(&Dump { dir, from, to, feed, kinds, limit, full, json })
            }
            Self::Export { dir, output, format, what, span: Between { from, to }, symbol, json } => {
                export::run(&Export { dir, output, format, what, from, to, symbol, json })
            }
        };
        match outcome {
            Ok(Outcome::Whole) => ExitCode::SUCCESS,
            Ok(Outcome::Corrupt) => ExitCode::from(1),
            Err(error) => {
                eprintln!("chartd: {error}");
                ExitCode::from(if error.is_usage() { 2 } else { 1 })
            }
        }
    }
}
