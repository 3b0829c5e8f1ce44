//! The demonstration: the whole daemon, fed by the simulated venue over a real TCP connection on loopback.

use crate::config::Config;
use crate::report;
use crate::say;
use crate::service::Service;
use crate::sim::{Sim, SimConfig};
use anyhow::Context;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What a demonstration is to do.
#[derive(Debug, Clone)]
pub struct Demo {
    /// How long; until interrupted without it.
    pub seconds: Option<u64>,
    /// Whether to print only a JSON document at the end.
    pub json: bool,
    /// Where the page is served; [`USUAL_PAGE`], or any free port if that is taken, without it.
    pub http: Option<SocketAddr>,
    /// The control socket.
    pub socket: Option<PathBuf>,
    /// The simulated market follows from it.
    pub seed: u64,
}

/// Where people find the page of a demonstration.
pub const USUAL_PAGE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8800);

/// Runs the demonstration.
pub fn run(demo: &Demo) -> anyhow::Result<()> {
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    let sim = SimConfig::new(any_port, demo.seed);
    let symbols: Vec<String> = sim.symbols.iter().map(|symbol| symbol.name()).collect();
    let sim = Sim::start(sim).context("the simulated venue does not start")?;
    let mut config = configuration(&sim, &symbols)?;
    config.socket.clone_from(&demo.socket);
    config.http = Some(demo.http.unwrap_or_else(|| match std::net::TcpListener::bind(USUAL_PAGE) {
        Ok(_is_free) => USUAL_PAGE,
        Err(_) => any_port,
    }));
    let service = Service::start(&config)?;
    let status = service.status()?;
    if !demo.json {
        announce(&service, &symbols);
    }
    let watch = async {
        let end = demo.seconds.map(|seconds| tokio::time::Instant::now() + Duration::from_secs(seconds));
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.tick().await;
        // One wait for all seconds: a signal between two waits would be lost.
        let mut interrupted = std::pin::pin!(crate::service::interrupted());
        loop {
            tokio::select! {
                _ = second.tick() => {}
                () = &mut interrupted => break,
            }
            if !demo.json {
                print_line(&report::line(&status));
            }
            if end.is_some_and(|end| tokio::time::Instant::now() >= end) {
                break;
            }
        }
    };
    service.run(watch, None)?;
    if demo.json {
        say!("{}", serde_json::Value::from(report::figures(&status)));
    } else {
        say!();
    }
    Ok(())
}

/// What the charts show, in turn.
const LOOKS: [&str; 4] = [
    "indicators = [\"ema(9)\", \"bollinger(20, 2)\"]\n",
    "kind = \"hollow-candles\"\nindicators = [\"rsi(14)\"]\nwatermark = \"demo\"\n",
    "kind = \"heikin-ashi\"\nvolume_profile = true\n",
    "kind = \"area\"\nscale = \"percent\"\nindicators = [\"macd(12, 26, 9)\"]\n",
];

/// Four charts of one-second candles, so that something is to be seen at once, each of another look.
fn configuration(sim: &Sim, symbols: &[String]) -> anyhow::Result<Config> {
    // With its decimal places given, nothing is remembered of a venue that is gone soon.
    let address = sim.addr();
    let mut text = format!(
        "[[feed]]\nvenue = \"binance\"\nurl = \"ws://{address}\"\nrest_url = \"http://{address}\"\n\
         symbols = {symbols:?}\nprice_digits = 8\nquantity_digits = 8\n"
    );
    for (symbol, look) in symbols.iter().zip(LOOKS.iter().cycle()) {
        text += &format!(
            "[[chart]]\nsource = \"binance:{symbol}\"\ntimeframe = \"1s\"\nsize = [960, 540]\n{look}"
        );
    }
    Config::parse(&text, "the demonstration").map_err(Into::into)
}

fn announce(service: &Service, symbols: &[String]) {
    say!("chartd draws {} from a simulated venue.", symbols.join(", "));
    if let Some(http) = service.http() {
        say!("  in a browser:  http://{http}/");
    }
    let socket = service.socket().display();
    say!("  in a terminal: chartctl --socket {socket} list");
    if let Ok(status) = service.status() {
        for line in status.degraded() {
            say!("  without:       {line}");
        }
    }
    say!("Ctrl-C ends it.");
}

/// Overwrites the line on a terminal; elsewhere each stands by itself.
fn print_line(line: &str) {
    let mut out = std::io::stdout();
    let written = if out.is_terminal() { write!(out, "\r{line}\x1b[K") } else { writeln!(out, "{line}") };
    let _ = written.and_then(|()| out.flush()); // Whoever closed the output wants no more of it.
}
