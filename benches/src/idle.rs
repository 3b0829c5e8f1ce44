//! A daemon with nothing to do: the processor time it takes, and the frames it publishes, which must be none.
//!
//! The venue is there and says nothing but what keeps the connection alive. Beside it, a process that wakes a hundred
//! times a second and does nothing.

use crate::harness::{Arm, Ratio, Report};
use crate::process::{Daemon, NAPPER, Running};
use chartd::now_ns;
use shm::status::Counter;
use std::net::TcpListener;
use std::time::Duration;

const SPAN: Duration = Duration::from_secs(5);

pub(crate) fn measure(rounds: usize) -> anyhow::Result<Report> {
    let mut arms = [
        Arm::new("chartd, four charts, no ticks", "ppm of a core"),
        Arm::new("a process that wakes every 10 ms", "ppm of a core"),
    ];
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || silent_venue(&listener));
    let mut config = format!(
        "[[feed]]\nvenue = \"binance\"\nsymbols = [\"A\", \"B\", \"C\", \"D\"]\nurl = \"ws://{address}\"\n"
    );
    for symbol in ["A", "B", "C", "D"] {
        config +=
            &format!("[[chart]]\nsource = \"binance:{symbol}\"\ntimeframe = \"1s\"\nsize = [960, 540]\n");
    }
    let daemon = Daemon::start(&config)?;
    let napper = Running::task(NAPPER, "1")?;
    std::thread::sleep(Duration::from_secs(1));
    let frames = || daemon.connection.status().counter(Counter::FramesPublished);
    let before = frames();
    for _ in 0..rounds {
        for (arm, process) in arms.iter_mut().zip([&daemon.process, &napper]) {
            let (began_ns, used_ns) = (now_ns(), process.processor_ns()?);
            std::thread::sleep(SPAN);
            let share = (process.processor_ns()? - used_ns) as f64 / (now_ns() - began_ns) as f64;
            arm.add_round([(share * 1e6) as u64]);
        }
    }
    let published = frames() - before;
    let core = arms[0].quantile(0.5) as f64 / 1e6;
    let ratios = vec![
        Ratio::at_most("share of one core", core, 0.005),
        Ratio::at_most("frames published", published as f64, 0.0),
    ];
    let notes = vec![format!("{} s a round; the venue sends nothing", SPAN.as_secs())];
    Ok(Report { name: "idle", notes, arms: arms.into(), ratios })
}

/// Accepts whoever comes, and says nothing.
fn silent_venue(listener: &TcpListener) {
    let mut kept = Vec::new();
    while let Ok((stream, _)) = listener.accept() {
        // A client that breaks the handshake comes again.
        kept.extend(tungstenite::accept(stream).ok());
    }
}
