//! `chartctl top`: as JSON for programs, and on a terminal that it leaves as it found it.

use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tests::service::{CHART, Service, wait_until};

#[test]
fn programs_get_a_line_for_each_look() {
    let Some(service) = Service::start() else { return };
    let socket = service.socket();
    let arguments = [
        "--socket".as_ref(),
        socket.as_os_str(),
        "top".as_ref(),
        "--json".as_ref(),
        "--count".as_ref(),
        "3".as_ref(),
    ];
    let output = tests::run("chartctl", arguments);
    assert!(output.status.success(), "{}", tests::stderr(&output));
    let lines: Vec<serde_json::Value> = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect();
    assert_eq!(lines.len(), 3);
    for line in &lines {
        // The simulated venue trades some dozens of times a second and symbol.
        let trades = line["a_second"]["trades"].as_f64().unwrap();
        assert!((5.0..5_000.0).contains(&trades), "{line}");
        assert_eq!(line["charts"][0]["chart"], CHART);
        let stage = line["stages"].as_array().unwrap().iter().find(|stage| stage["stage"] == "tick_to_frame");
        assert!(stage.unwrap()["count"].as_u64().unwrap() as f64 <= trades * 3.0, "{line}");
        assert!(line["loops"].as_array().unwrap().iter().any(|one| one["loop"] == "chartd-ingest"));
        assert_eq!(line["gone"], false);
    }
    // Without a terminal, people get text and no escape codes.
    let plain = tests::run("chartctl", [&arguments[..3], &["--count".as_ref(), "1".as_ref()]].concat());
    let plain = String::from_utf8(plain.stdout).unwrap();
    assert!(plain.contains("LATENCY in us") && plain.contains(CHART) && !plain.contains('\x1b'), "{plain}");
}

#[test]
fn the_screen_survives_the_daemon_and_gives_the_terminal_back() {
    if Command::new("script").arg("--version").output().is_err() {
        return eprintln!("skipped: chartctl top on a terminal (no script)");
    }
    let Some(mut service) = Service::start() else { return };
    let (program, socket) = (tests::bin("chartctl"), service.socket());
    // A terminal that is no window has no size of its own.
    let line = format!(
        "stty rows 40 cols 100; exec {} --socket {} top --interval 0.2",
        program.display(),
        socket.display()
    );
    // `script` gives it a terminal of its own.
    let mut command = Command::new("script");
    command.args(["-qefc", &line, "/dev/null"]).env("TERM", "xterm-256color");
    let mut screen = Screen(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    let (mut output, shown) = (screen.0.stdout.take().unwrap(), Arc::new(Mutex::new(String::new())));
    let seen = shown.clone();
    let reading = std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(len @ 1..) = output.read(&mut bytes) {
            seen.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..len]));
        }
    });
    let shows = |text: &str| shown.lock().unwrap().contains(text);
    wait_until("the chart on the screen", || shows("BTCUSDT/1s") && shows("render"));
    service.signal(Signal::SIGKILL);
    service.wait_for_end();
    // Only what changes is drawn, so no whole sentence can be waited for; a unit test has the words.
    std::thread::sleep(Duration::from_secs(1));
    assert!(screen.0.try_wait().unwrap().is_none(), "it ended with the daemon");
    service.restart();
    shown.lock().unwrap().clear();
    let is_drawn_again = || shown.lock().unwrap().len() > 500;
    wait_until("the daemon's return on the screen", is_drawn_again);
    screen.0.stdin.as_mut().unwrap().write_all(b"q").unwrap();
    wait_until("its end", || screen.0.try_wait().unwrap().is_some());
    assert!(screen.0.try_wait().unwrap().unwrap().success());
    reading.join().unwrap();
    // The alternate screen is left, the cursor is back.
    assert!(shows("\x1b[?1049l") && shows("\x1b[?25h"), "{:?}", shown.lock().unwrap());
}

#[test]
fn it_ends_with_its_terminal() {
    if Command::new("script").arg("--version").output().is_err() {
        return eprintln!("skipped: chartctl top on a terminal (no script)");
    }
    let Some(service) = Service::start() else { return };
    let (program, socket) = (tests::bin("chartctl"), service.socket());
    let line = format!("stty rows 40 cols 100; exec {} --socket {} top", program.display(), socket.display());
    let mut command = Command::new("script");
    command.args(["-qefc", &line, "/dev/null"]).env("TERM", "xterm-256color");
    let screen = Screen(command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap());
    let name = socket.to_string_lossy().into_owned();
    let runs = || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
        let is_it = |line: &String| line.contains(&name) && line.contains("top") && !line.contains("stty");
        lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).any(|line| is_it(&line))
    };
    wait_until("its start", runs);
    std::thread::sleep(Duration::from_millis(500));
    // The terminal goes at once, with no word to whoever uses it.
    drop(screen);
    wait_until("its end", || !runs());
}

/// A terminal's session. It ends with the test.
struct Screen(std::process::Child);

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.0.kill(); // It may have ended.
        let _ = self.0.wait();
    }
}
