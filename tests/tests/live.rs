//! The live path as a user has it: real processes, the simulated venue, a control socket, a page.

use serde_json::Value;
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A program that is stopped when the test is done with it.
struct Running(Child);

impl Running {
    fn start(args: &[&str]) -> Self {
        let mut command = Command::new(tests::bin("chartd"));
        Self(command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// The next line of its standard output.
    fn line(&mut self) -> String {
        let mut bytes = Vec::new();
        let out = self.0.stdout.as_mut().unwrap();
        while !bytes.ends_with(b"\n") {
            let mut byte = [0];
            assert_eq!(out.read(&mut byte).unwrap(), 1, "it ended early");
            bytes.extend(byte);
        }
        String::from_utf8(bytes).unwrap()
    }

    /// Asks it to end, as systemd does, and takes what it said.
    fn terminate(mut self) -> Output {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let (mut out, mut err) = (Vec::new(), Vec::new());
        self.0.stdout.take().unwrap().read_to_end(&mut out).unwrap();
        self.0.stderr.take().unwrap().read_to_end(&mut err).unwrap();
        Output { status: self.0.wait().unwrap(), stdout: out, stderr: err }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill(); // It may have ended.
        let _ = self.0.wait();
    }
}

fn chartctl(socket: &Path, args: &[&str]) -> Output {
    let socket = ["--socket".as_ref(), socket.as_os_str()];
    tests::run("chartctl", socket.into_iter().chain(args.iter().map(|arg| arg.as_ref())))
}

/// What a command that must succeed prints as JSON.
fn json(socket: &Path, args: &[&str]) -> Value {
    let output = chartctl(socket, &[args, &["--json"]].concat());
    assert!(output.status.success(), "{}", tests::stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Tries until it holds.
fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn get(address: &str, path: &str) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let head_len = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let head = String::from_utf8_lossy(&answer[..head_len]);
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_off(head_len);
    (code, body)
}

fn figure(figures: &Value, name: &str) -> u64 {
    figures[name].as_u64().unwrap_or_else(|| panic!("{name} is missing in {figures}"))
}

/// How many different colours a PNG of that size has.
fn colours(png: &[u8], size: (u32, u32)) -> usize {
    let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
    assert_eq!(reader.info().size(), size);
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    pixels.chunks_exact(4).collect::<HashSet<_>>().len()
}

#[test]
fn the_demo_shows_four_charts_to_chartctl_and_to_browsers() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("chartd.sock");
    let socket_text = socket.to_str().unwrap();
    let demo = ["demo", "--http", "127.0.0.1:0", "--socket", socket_text];
    let mut demo = Running::start(&demo);
    assert!(demo.line().contains("BTCUSDT, ETHUSDT, SOLUSDT, ADAUSDT"));
    let page = demo.line();
    let address =
        page.trim().strip_prefix("in a browser:  http://").unwrap().trim_end_matches('/').to_owned();
    // Somebody must read what it prints, or it would wait.
    let rest = BufReader::new(demo.0.stdout.take().unwrap());
    let lines = std::thread::spawn(move || rest.lines().map_while(Result::ok).collect::<Vec<_>>());

    let charts = json(&socket, &["list"]);
    let names: Vec<_> = charts.as_array().unwrap().iter().map(|c| c["chart"].as_str().unwrap()).collect();
    assert_eq!(names, ["BTC", "ETH", "SOL", "ADA"].map(|s| format!("binance:{s}USDT/1s")));

    let chart = names[0];
    eventually("trading", || {
        (json(&socket, &["candles", chart, "--last", "9"]).as_array()?.len() > 2).then_some(())
    });
    let watched = chartctl(&socket, &["watch", chart, "--frames", "5", "--json"]);
    let numbers: Vec<_> = watched.stdout.split(|b| *b == b'\n').filter(|line| !line.is_empty()).collect();
    let numbers: Vec<u64> = numbers
        .into_iter()
        .map(|line| serde_json::from_slice::<Value>(line).unwrap()["number"].as_u64().unwrap())
        .collect();
    assert!(numbers.len() == 5 && numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");

    let snap = dir.path().join("snap.png");
    assert!(chartctl(&socket, &["snap", chart, "-o", snap.to_str().unwrap()]).status.success());
    assert!(colours(&std::fs::read(&snap).unwrap(), (960, 540)) > 20);

    for (ending, start) in [("qoi", "qoif"), ("webp", "RIFF"), ("jpg", "JFIF")] {
        let snap = dir.path().join("snap").with_extension(ending);
        assert!(chartctl(&socket, &["snap", chart, "-o", snap.to_str().unwrap()]).status.success());
        let file = std::fs::read(&snap).unwrap();
        assert!(file.len() > 5_000 && file[..12].windows(start.len()).any(|part| part == start.as_bytes()));
    }
    let wrong = chartctl(&socket, &["snap", chart, "-o", "x.bmp"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(tests::stderr(&wrong).contains("\"x.bmp\" names no picture format"), "{}", tests::stderr(&wrong));

    // The page's picture follows the chart: now and again, with frames between that nobody asked for.
    for _ in 0..5 {
        let (code, body) = get(&address, "/frame/0?after=1");
        assert_eq!(code, 200);
        assert!(colours(&body, (960, 540)) > 20);
    }
    let (code, body) = get(&address, "/frame/0?after=1&format=webp");
    assert!(code == 200 && body.starts_with(b"RIFF"));
    assert_eq!(get(&address, "/frame/0?format=bmp").0, 400);
    let metrics = String::from_utf8(get(&address, "/metrics").1).unwrap();
    assert!(metrics.contains("chartd_tick_to_frame_seconds{quantile=\"0.99\"}"), "{metrics}");
    assert!(get(&address, "/").1.starts_with(b"<!doctype html>"));
    assert_eq!(get(&address, "/nothing").0, 404);

    let stats = json(&socket, &["stats"]);
    assert!(figure(&stats, "trades") > 0 && figure(&stats, "malformed") == 0);
    let wrong = chartctl(&socket, &["snap", "binance:DOGEUSDT/1s", "-o", "x.png"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(tests::stderr(&wrong).contains("there is no chart binance:DOGEUSDT/1s"));

    let ended = {
        let pid = demo.0.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        demo.0.wait().unwrap()
    };
    assert!(ended.success());
    assert!(lines.join().unwrap().iter().any(|line| line.contains("tick to frame p50")));
    assert!(!socket.exists(), "the socket stayed behind");
    let gone = chartctl(&socket, &["list"]);
    assert!(tests::stderr(&gone).contains("no chartd answers"), "{}", tests::stderr(&gone));
}

#[test]
fn the_demo_reports_its_figures_as_json() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("chartd.sock");
    let args = ["demo", "--seconds", "15", "--json", "--http", "127.0.0.1:0", "--socket"];
    let output = tests::run("chartd", args.iter().map(|arg| arg.as_ref()).chain([socket.as_os_str()]));
    assert!(output.status.success(), "{}", tests::stderr(&output));
    let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(figure(&figures, "trades") > 1_000, "{figures}");
    assert!(figure(&figures, "frames_published") > 100);
    assert_eq!(figure(&figures, "frames_in"), figure(&figures, "decoded") + figure(&figures, "control"));
    for name in ["malformed", "unknown", "duplicates", "missing_trades", "klines_differ", "ticks_overrun"] {
        assert_eq!(figure(&figures, name), 0, "{name} in {figures}");
    }
    assert!(figure(&figures, "klines_equal") > 20, "{figures}");
    let latency = &figures["tick_to_frame_us"];
    assert_eq!(figure(latency, "count"), figure(&figures, "trades"));
    let quantiles = ["p50", "p90", "p99", "p999", "max"].map(|name| latency[name].as_f64().unwrap());
    assert!(quantiles[0] > 0.0 && quantiles.is_sorted(), "{latency}");
    assert!(figures["degraded"].is_array() && figures["backend"].as_str().unwrap().starts_with("cpu-"));
}

/// The simulator computes its klines by itself. What the daemon makes of its trades must be the same.
#[test]
fn candles_equal_the_venues_own_klines() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("chartd.sock");
    let mut sim = Running::start(&["sim", "--listen", "127.0.0.1:0", "--seed", "7"]);
    let line = sim.line();
    let venue = line.trim().rsplit_once("ws://").unwrap().1.to_owned();
    let config = dir.path().join("chartd.toml");
    let text = format!(
        "socket = {socket:?}\n[[feed]]\nvenue = \"binance\"\nsymbols = [\"BTCUSDT\", \"ADAUSDT\"]\nurl = \"ws://{venue}\"\n\
         [[chart]]\nsource = \"binance:BTCUSDT\"\ntimeframe = \"1s\"\nsize = [640, 360]\n\
         [[chart]]\nsource = \"binance:ADAUSDT\"\ntimeframe = \"1s\"\nsize = [640, 360]\ntheme = \"light\"\ntime_zone = \"Asia/Tokyo\"\n"
    );
    std::fs::write(&config, text).unwrap();
    let daemon = Running::start(&["run", "--config", config.to_str().unwrap()]);
    eventually("the control socket", || socket.exists().then_some(()));

    for symbol in ["BTCUSDT", "ADAUSDT"] {
        let chart = format!("binance:{symbol}/1s");
        let whole = |candle: &Value| matches!(candle["state"].as_str(), Some("traded" | "quiet"));
        let ours = eventually("a dozen candles", || {
            let candles = json(&socket, &["candles", &chart, "--last", "50"]);
            let candles: Vec<_> = candles.as_array()?.iter().filter(|c| whole(c)).cloned().collect();
            (candles.len() > 12).then_some(candles)
        });
        let (code, body) = get(&venue, &format!("/api/v3/klines?symbol={symbol}&interval=1s&limit=60"));
        assert_eq!(code, 200);
        let theirs: Value = serde_json::from_slice(&body).unwrap();
        let mut compared = 0;
        // The newest one is still being traded in.
        for candle in &ours[..ours.len() - 1] {
            let row = theirs.as_array().unwrap().iter().find(|row| row[0] == candle["open_time_ms"]).unwrap();
            for (place, name) in [(1, "open"), (2, "high"), (3, "low"), (4, "close"), (5, "volume")] {
                let padded = row[place].as_str().unwrap();
                let exact = padded.trim_end_matches('0').trim_end_matches('.');
                assert_eq!(candle[name].as_str().unwrap(), exact, "{name} of {candle}");
            }
            assert_eq!(candle["trades"], row[8], "{candle}");
            compared += 1;
        }
        println!("{compared} candles of {symbol} equal the simulator's klines");
        assert!(compared > 10);
    }
    let output = daemon.terminate();
    assert!(output.status.success(), "{}", tests::stderr(&output));
}

#[test]
fn a_second_daemon_is_told_of_the_first_and_a_dead_ones_socket_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("chartd.sock");
    let demo = ["demo", "--http", "127.0.0.1:0", "--socket", socket.to_str().unwrap()];
    let first = Running::start(&demo);
    eventually("the control socket", || chartctl(&socket, &["list"]).status.success().then_some(()));
    let second = tests::run("chartd", demo);
    assert_eq!(second.status.code(), Some(1));
    assert!(tests::stderr(&second).contains("another chartd listens"), "{}", tests::stderr(&second));
    drop(first); // Killed: it leaves its socket behind.
    assert!(socket.exists());
    let _third = Running::start(&demo);
    eventually("the takeover", || chartctl(&socket, &["list"]).status.success().then_some(()));
}

/// `chartd demo | head -1` ends the output, not the demo.
#[test]
fn a_closed_output_harms_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("chartd.sock");
    let socket = socket.to_str().unwrap();
    let demo = ["demo", "--seconds", "3", "--http", "127.0.0.1:0", "--socket", socket];
    let mut demo = Running::start(&demo);
    demo.line();
    drop(demo.0.stdout.take());
    let mut said = String::new();
    demo.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(demo.0.wait().unwrap().success() && !said.contains("panicked"), "{said}");
}

/// The page in a real browser: it draws candles of both colours.
#[test]
fn a_browser_draws_the_page() {
    if !Path::new("/usr/bin/chromium").exists() {
        println!("skipped: the page in a real browser (no chromium)");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("chartd.sock");
    let mut demo = Running::start(&["demo", "--http", "127.0.0.1:0", "--socket", socket.to_str().unwrap()]);
    demo.line();
    let page = demo.line();
    let url = page.trim().strip_prefix("in a browser:  ").unwrap().to_owned();
    let rest = BufReader::new(demo.0.stdout.take().unwrap());
    std::thread::spawn(move || rest.lines().map_while(Result::ok).for_each(drop));
    eventually("trading", || {
        let candles = json(&socket, &["candles", "binance:BTCUSDT/1s", "--last", "50"]);
        (candles.as_array()?.len() > 8).then_some(())
    });
    let picture = dir.path().join("page.png");
    let mut browser = Command::new("/usr/bin/chromium");
    browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
    browser.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    browser.arg(format!("--user-data-dir={}", dir.path().join("profile").display()));
    browser.arg(format!("--screenshot={}", picture.display()));
    browser.args(["--window-size=1400,900", "--virtual-time-budget=4000", &url]);
    let output = tests::finish(browser, Duration::from_secs(120));
    let png = std::fs::read(&picture).unwrap_or_else(|_| panic!("no picture: {}", tests::stderr(&output)));
    let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    let bytes = reader.info().bytes_per_pixel();
    let count = |colour: [u8; 3]| pixels.chunks_exact(bytes).filter(|pixel| pixel[..3] == colour).count();
    let (up, down) = (count([0x26, 0xa6, 0x9a]), count([0xef, 0x53, 0x50]));
    assert!(up > 100 && down > 100, "{up} pixels up, {down} pixels down");
}
