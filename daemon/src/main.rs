//! chartd's command line.

use anyhow::Context;
use chartd::config::Config;
use chartd::demo::{self, Demo};
use chartd::host;
use chartd::replay::{self, Replay};
use chartd::say;
use chartd::service::{Service, interrupted};
use chartd::sim::{self, Faults, Sim, SimConfig};
use chartd::tools::{command::Journal, when};
use clap::{Parser, Subcommand};
use market::{Timeframe, Venue};
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Market data in, chart frames out: live candlestick charts in shared memory, with a latency that is measured.
///
/// Begin with `chartd demo`: it needs no set-up and shows everything.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the service
    Run {
        /// The configuration
        #[arg(long, value_name = "FILE", default_value = "/etc/chartd/chartd.toml")]
        config: PathBuf,
        /// Serve the page with all charts here, as 127.0.0.1:8800
        #[arg(long, value_name = "ADDR")]
        http: Option<SocketAddr>,
        /// The control socket
        #[arg(long, value_name = "PATH")]
        socket: Option<PathBuf>,
    },
    /// Shows everything at once: a simulated venue on loopback, four charts, a live page
    Demo {
        /// End after so many seconds
        #[arg(long, value_name = "N")]
        seconds: Option<u64>,
        /// Print one JSON document with the figures at the end, and nothing else
        #[arg(long)]
        json: bool,
        /// Serve the page here; port 0 takes any free one [default: 127.0.0.1:8800, or any free port]
        #[arg(long, value_name = "ADDR")]
        http: Option<SocketAddr>,
        /// The control socket
        #[arg(long, value_name = "PATH")]
        socket: Option<PathBuf>,
        /// The simulated market follows from it
        #[arg(long, value_name = "N", default_value_t = 1)]
        seed: u64,
    },
    /// Replays what was recorded: exact candles as CSV, pictures, figures
    Replay(Box<Replaying>),
    /// Checks a configuration and says what it would do
    Check {
        /// The configuration
        #[arg(long, value_name = "FILE", default_value = "/etc/chartd/chartd.toml")]
        config: PathBuf,
        /// Also say what this machine grants to it, and for what it does not, the line that would; exit code 1 then
        #[arg(long)]
        host: bool,
        /// Print what the machine grants as JSON
        #[arg(long, requires = "host")]
        json: bool,
    },
    /// Reads a tick journal: proves it, shows it, makes tables of it; also while chartd writes it
    #[command(subcommand)]
    Journal(Box<Journal>),
    /// Runs the simulated venues as a server of its own: Binance, Kraken, Coinbase and ITCH, from one seeded market
    #[command(after_long_help = faults_help())]
    Sim(Box<Simulate>),
}

/// What to replay.
#[derive(clap::Args)]
struct Replaying {
    /// Files of frames, a line each, plain or gzip, in the order of time; or the folder of a journal
    #[arg(required = true, value_name = "FILE|DIR")]
    files: Vec<PathBuf>,
    /// Whose frames the files hold; a journal says so itself
    #[arg(long, default_value = "binance")]
    venue: Venue,
    /// The candles to make, as 1s,1m
    #[arg(long, value_delimiter = ',', default_value = "1m")]
    timeframes: Vec<Timeframe>,
    /// How many times faster than recorded, or max
    #[arg(long, default_value = "max", value_name = "X|max", value_parser = speed)]
    speed: Speed,
    /// Of a journal, only what was received from this time on: 2026-11-24T10:00:00Z, 2026-11-24, -15m, or ns since 1970
    #[arg(long, value_name = "TIME", value_parser = moment, allow_hyphen_values = true)]
    from: Option<u64>,
    /// Only what was received before this time
    #[arg(long, value_name = "TIME", value_parser = moment, allow_hyphen_values = true)]
    to: Option<u64>,
    /// Write all candles as CSV
    #[arg(long, value_name = "CSV")]
    candles: Option<PathBuf>,
    /// Write the last frame of each chart as a PNG to this folder
    #[arg(long, value_name = "DIR")]
    frames: Option<PathBuf>,
    /// Write the figures as JSON
    #[arg(long, value_name = "JSON")]
    report: Option<PathBuf>,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

/// What to simulate.
#[derive(clap::Args)]
struct Simulate {
    /// Where it listens
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,
    /// The market follows from it
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// What goes wrong: all, or a list as drop=0.001,close=0.5; see --help
    #[arg(long, value_name = "all|LIST", default_value = "", hide_default_value = true)]
    faults: Faults,
    /// Speak TLS, with the certificate chain in this PEM file
    #[arg(long, value_name = "PEM", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key
    #[arg(long, value_name = "PEM", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Tell Binance connections of this age that the server shuts down, and close them five seconds later
    #[arg(long, value_name = "SECONDS")]
    shutdown_after: Option<u64>,
    /// Close Binance connections at this age; Binance itself does at 86400
    #[arg(long, value_name = "SECONDS")]
    max_age: Option<u64>,
    /// Send ITCH 5.0 by MoldUDP64 to two lines, multicast or unicast, from the address of --listen
    #[arg(long, value_name = "A:PORT,B:PORT", value_parser = lines)]
    mold: Option<Lines>,
    /// Answer requests for lost MoldUDP64 packets here
    #[arg(long, value_name = "ADDR", requires = "mold")]
    mold_requests: Option<SocketAddr>,
    /// Serve ITCH 5.0 by SoupBinTCP here
    #[arg(long, value_name = "ADDR")]
    soup: Option<SocketAddr>,
}

/// Where the two lines of MoldUDP64 go.
#[derive(Clone, Copy)]
struct Lines([SocketAddr; 2]);

fn lines(text: &str) -> Result<Lines, String> {
    let both = text.split_once(',').map(|(a, b)| (a.trim().parse(), b.trim().parse()));
    match both {
        Some((Ok(a), Ok(b))) => Ok(Lines([a, b])),
        _ => Err("give two addresses with ports, as 239.1.1.1:26400,239.1.1.2:26400".into()),
    }
}

fn faults_help() -> String {
    format!("Faults, the rate that `all` means, and what it counts:\n{}", Faults::help())
}

impl Replaying {
    fn replay(self) -> Replay {
        let Self { files, venue, candles, frames, report, json, .. } = self;
        let (timeframes, Speed(speed)) = (unique(self.timeframes), self.speed);
        let (from_ns, until_ns) = (self.from, self.to);
        Replay { files, venue, timeframes, speed, from_ns, until_ns, candles, frames, report, json }
    }
}

/// A time, in ns since 1970.
fn moment(text: &str) -> Result<u64, String> {
    when::parse(text).map(|when| when.0)
}

/// How fast to replay.
#[derive(Clone, Copy)]
struct Speed(Option<f64>);

fn speed(text: &str) -> Result<Speed, String> {
    match text.parse::<f64>() {
        _ if text == "max" => Ok(Speed(None)),
        Ok(times) if times.is_finite() && times > 0.0 => Ok(Speed(Some(times))),
        _ => Err("use max, or a number above zero, as 10".into()),
    }
}

/// Exit code for a wrong command line, configuration or input.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_log();
    let (outcome, code) = match cli.command {
        Command::Run { config, http, socket } => match Config::load(&config) {
            Ok(loaded) => (serve(config, loaded, http, socket), 1),
            Err(error) => (Err(error.into()), USAGE),
        },
        Command::Demo { seconds, json, http, socket, seed } => {
            (demo::run(&Demo { seconds, json, http, socket, seed }), 1)
        }
        Command::Replay(wanted) => (replay::run(&wanted.replay()), USAGE),
        Command::Check { config, host, json } => match Config::load(&config) {
            Ok(loaded) if host => (check_host(&loaded, json), 1),
            Ok(loaded) => {
                check(&config, &loaded);
                (Ok(()), 0)
            }
            Err(error) => (Err(error.into()), USAGE),
        },
        Command::Journal(wanted) => return wanted.run(),
        Command::Sim(wanted) => (simulate(*wanted), 1),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chartd: {error:#}");
            ExitCode::from(code)
        }
    }
}

/// Logs go to standard error. `RUST_LOG` chooses what; without it, what happens to connections and what is wrong.
fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        tracing_subscriber::EnvFilter::new(
            "warn,chartd::service=info,chartd::feeds=info,chartd::threads=info,chartd::metadata=info,chartd::journal=info",
        )
    });
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

/// Each timeframe once, in the order given.
fn unique(timeframes: Vec<Timeframe>) -> Vec<Timeframe> {
    let mut kept = Vec::new();
    for timeframe in timeframes {
        if !kept.contains(&timeframe) {
            kept.push(timeframe);
        }
    }
    kept
}

fn serve(
    path: PathBuf,
    mut config: Config,
    http: Option<SocketAddr>,
    socket: Option<PathBuf>,
) -> anyhow::Result<()> {
    config.http = http.or(config.http);
    config.socket = socket.or(config.socket);
    // Nobody but root may look into this process, whoever else runs as its user.
    let _ = nix::sys::prctl::set_dumpable(false); // It cannot fail.
    let service = Service::start(&config)?;
    for line in service.status()?.degraded() {
        tracing::warn!("degraded: {line}");
    }
    if let Some(http) = service.http() {
        tracing::info!("the page is at http://{http}/");
    }
    service.run(interrupted(), Some(path))
}

fn check(path: &std::path::Path, config: &Config) {
    say!("{} is valid:", path.display());
    for feed in &config.feeds {
        say!("  feed {}: {}", feed.venue, feed.symbols.join(", "));
        if let Some(transport) = feed.transport() {
            say!("    by {transport}");
        }
    }
    for chart in &config.charts {
        let [width, height] = chart.size;
        say!("  chart {}: {width}×{height}, {}", chart.name(), chart.theme);
    }
    if let Some(journal) = &config.journal {
        say!("  journal {journal}");
    }
    for line in host::threads(&config.realtime) {
        say!("  thread {line}");
    }
}

/// Everything that the machine grants or not, for people or as JSON. An error says that something is missing.
fn check_host(config: &Config, json: bool) -> anyhow::Result<()> {
    let findings = host::findings(config);
    if json {
        say!("{}", serde_json::json!({"threads": host::threads(&config.realtime), "findings": findings}));
    } else {
        for line in host::threads(&config.realtime) {
            say!("thread   {line}");
        }
        for finding in &findings {
            let mark = if finding.granted { "granted" } else { "missing" };
            say!("{mark}  {:<22}{}", finding.what, finding.found);
            if let Some(grant) = &finding.grant {
                say!("         {:<22}grant it: {grant}", "");
            }
        }
    }
    let missing = findings.iter().filter(|finding| !finding.granted).count();
    anyhow::ensure!(
        missing == 0,
        "{missing} of {} are missing; chartd runs without, and slower",
        findings.len()
    );
    Ok(())
}

fn simulate(wanted: Simulate) -> anyhow::Result<()> {
    let mut config = SimConfig::new(wanted.listen, wanted.seed);
    config.faults = wanted.faults;
    config.shutdown_after = wanted.shutdown_after.map(Duration::from_secs);
    config.max_age = wanted.max_age.map(Duration::from_secs);
    if let (Some(certificate), Some(key)) = (&wanted.tls_cert, &wanted.tls_key) {
        config.tls = Some(sim::tls(certificate, key)?);
    }
    config.mold = wanted.mold.map(|Lines(lines)| lines);
    config.mold_requests = wanted.mold_requests;
    config.soup = wanted.soup;
    let scheme = if config.tls.is_some() { "wss" } else { "ws" };
    let symbols: Vec<_> = config.symbols.iter().map(|symbol| symbol.name()).collect();
    let sim = Sim::start(config)?;
    say!("a simulated market of {} at {scheme}://{}", symbols.join(", "), sim.addr());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot wait for signals")?.block_on(interrupted());
    Ok(())
}
