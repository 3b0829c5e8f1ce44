//! The client library against the real daemon: leasing, waiting, joining late, and what becomes of a reader when the
//! daemon dies, stalls or takes over a new configuration.

use chart_client::{ClientError, Follower, News, Waited};
use market::CandleState;
use nix::sys::signal::Signal;
use shm::frame::FrameCopy;
use shm::status::Counter;
use std::time::{Duration, Instant};
use tests::service::{CHART, Service, wait_until};

const LONG: Duration = Duration::from_secs(20);

#[test]
fn a_leased_frame_is_the_frame_and_leases_are_few() {
    let Some(service) = Service::start() else { return };
    let connection = service.connect();
    let mut leasing = connection.leased_chart(CHART).unwrap();
    let (mut copy, mut compared) = (FrameCopy::default(), 0);
    let end = Instant::now() + LONG;
    while compared < 20 {
        assert!(Instant::now() < end, "the same frame is never both leased and copied");
        leasing.reader().copy_latest(&mut copy).unwrap();
        let frame = leasing.lease_latest().unwrap();
        if frame.info().number == copy.number() {
            assert_eq!((frame.width(), frame.height()), (copy.width, copy.height));
            let same = |y: usize| *frame.row(y) == copy.pixels[y * copy.width..(y + 1) * copy.width];
            assert!((0..copy.height).all(same), "frame {} differs", copy.number());
            compared += 1;
        }
    }
    // One for each client on each chart, and two on each chart in all.
    let reason = |error: ClientError| error.to_string();
    let again = connection.leased_chart(CHART).map(drop).map_err(reason).unwrap_err();
    assert!(again.contains("has a lease on binance:BTCUSDT/1s already"), "{again}");
    let second = service.connect();
    let _second_lease = second.leased_chart(CHART).unwrap();
    let refused = service.connect().leased_chart(CHART).map(drop).map_err(reason).unwrap_err();
    assert!(
        refused.contains("all 2 leases on binance:BTCUSDT/1s are taken; copy frames instead"),
        "{refused}"
    );
    assert_eq!(second.status().counter(Counter::Leases), 2);
    drop(connection);
    wait_until("the lease of a client that is gone", || service.connect().leased_chart(CHART).is_ok());
}

#[test]
fn waiting_wakes_for_the_frame_and_not_before() {
    let Some(service) = Service::start() else { return };
    let connection = service.connect();
    let chart = connection.chart(CHART).unwrap();
    assert!(chart.latest() > 0, "who comes late finds the latest frame");
    assert!(chart.copy_latest(&mut FrameCopy::default()).is_ok());
    for _ in 0..50 {
        let next = chart.latest() + 1;
        let Waited::Frame(number) = connection.wait(CHART, next, LONG).unwrap() else {
            panic!("no frame came")
        };
        assert!(number >= next && chart.latest() >= number);
    }
    assert!(matches!(connection.wait(CHART, 1, LONG).unwrap(), Waited::Frame(_)), "the past is there");
    let far = chart.latest() + 1_000_000;
    let began = Instant::now();
    assert_eq!(connection.wait(CHART, far, Duration::from_millis(200)).unwrap(), Waited::TimedOut);
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert!(connection.status().counter(Counter::Rings) >= 51);
    let refused = connection.wait("binance:NONE/1s", 1, LONG).unwrap_err().to_string();
    assert!(refused.contains("there is no chart binance:NONE/1s"), "{refused}");
}

#[test]
fn a_dead_daemon_is_seen_at_once_and_a_stopped_one_soon() {
    let Some(mut service) = Service::start() else { return };
    let connection = service.connect();
    assert!(connection.status().stalled(chartd::now_ns()).is_none());
    service.signal(Signal::SIGSTOP);
    wait_until("the stall", || connection.status().stalled(chartd::now_ns()).is_some());
    service.signal(Signal::SIGCONT);
    wait_until("its end", || connection.status().stalled(chartd::now_ns()).is_none());

    let chart = connection.chart(CHART).unwrap();
    let waiting = std::thread::spawn(move || {
        let outcome = connection.wait(CHART, u64::MAX >> 8, LONG);
        (Instant::now(), outcome.map(drop).is_err())
    });
    std::thread::sleep(Duration::from_millis(100));
    let killed = Instant::now();
    service.signal(Signal::SIGKILL);
    let (seen, is_error) = waiting.join().unwrap();
    assert!(is_error && seen - killed < Duration::from_secs(5), "it was seen after {:?}", seen - killed);
    service.wait_for_end();
    assert!(chart.copy_latest(&mut FrameCopy::default()).is_ok(), "what was mapped stays readable");
}

/// Ten new configurations while trades come in: no bar is lost or doubted, no connection breaks, readers are told.
#[test]
fn a_new_configuration_loses_nothing() {
    let Some(service) = Service::start() else { return };
    let mut connection = service.connect();
    let name = CHART.parse().unwrap();
    let bars = |connection: &chart_client::Connection| {
        chart_client::candles(connection.market(), &name, usize::MAX).unwrap().bars
    };
    wait_until("a few bars", || bars(&connection).len() > 2);
    let eth = "[[chart]]\nsource = \"binance:ETHUSDT\"\ntimeframe = \"1s\"\nsize = [100, 100]\n";
    for round in 0..10u32 {
        let before = bars(&connection);
        let old = connection.chart(CHART).unwrap();
        let threads = if round % 2 == 0 { "split" } else { "fused" };
        let more = format!(
            "theme = \"light\"\n{}[realtime]\nthreads = \"{threads}\"\n",
            if round % 3 == 0 { eth } else { "" }
        );
        service.configure(&service.config([300 + round, 200], &more));
        service.signal(Signal::SIGHUP);
        let waited = connection.wait(CHART, u64::MAX >> 8, LONG).unwrap();
        assert_eq!(waited, Waited::Reconfigured);
        assert!(!old.is_current() && !connection.market().is_current());
        assert!(old.copy_latest(&mut FrameCopy::default()).is_ok(), "what was mapped stays readable");
        connection.renew().unwrap();
        let new = connection.chart(CHART).unwrap();
        assert_eq!(new.header().width, u64::from(300 + round));
        assert!(new.is_current() && connection.market().is_current());
        let after = bars(&connection);
        for bar in &before[..before.len() - 1] {
            let same = after.iter().find(|other| other.open_ms == bar.open_ms).expect("no bar is lost");
            assert!(same.trades >= bar.trades && same.ohlc.is_some() == bar.ohlc.is_some());
        }
        assert_eq!(connection.chart("binance:ETHUSDT/1s").is_ok(), round % 3 == 0);
        let frames = new.latest();
        wait_until("frames of the new configuration", || new.latest() > frames + 5);
    }
    let status = connection.status();
    assert_eq!((status.counter(Counter::Disconnects), status.counter(Counter::MissingTrades)), (0, 0));
    assert_eq!(status.counter(Counter::Reloads), 10);
    assert_eq!(status.counter(Counter::KlinesDiffer), 0);
    assert!(bars(&connection).iter().all(|bar| bar.state != CandleState::Gap), "{:?}", bars(&connection));
}

#[test]
fn a_follower_goes_on_through_everything() {
    let Some(mut service) = Service::start() else { return };
    let mut follower = Follower::new(Some(&service.socket()), CHART).unwrap();
    let mut until = |wanted: fn(&News) -> bool| {
        let end = Instant::now() + LONG;
        loop {
            let news = follower.wait(Duration::from_millis(200)).unwrap();
            if wanted(&news) {
                return;
            }
            assert!(Instant::now() < end, "what was waited for never came");
        }
    };
    let frame: fn(&News) -> bool = |news| matches!(news, News::Frame { .. });
    until(frame);
    service.configure(&service.config([200, 100], ""));
    service.signal(Signal::SIGHUP);
    until(|news| *news == News::Renewed);
    until(frame);
    service.signal(Signal::SIGKILL);
    until(|news| *news == News::Lost);
    service.restart();
    until(|news| *news == News::Renewed);
    until(frame);
}

/// A reader in another language, written by ABI.md alone, reads the very bytes that the Rust reader reads.
#[test]
fn another_language_reads_the_same_bytes() {
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        return eprintln!("skipped: reading from Python (no python3)");
    }
    let Some(service) = Service::start() else { return };
    let chart = service.connect().chart(CHART).unwrap();
    let mut compared = 0;
    let end = Instant::now() + LONG;
    while compared < 3 {
        assert!(Instant::now() < end, "the same frame is never read twice");
        let mut command = std::process::Command::new("python3");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/reader.py")).arg(service.socket()).arg(CHART);
        let reading = std::thread::spawn(move || tests::finish(command, LONG));
        // Every frame meanwhile, so that the one that it reads is among them.
        let mut seen = std::collections::HashMap::new();
        let mut copy = FrameCopy::default();
        while !reading.is_finished() {
            if chart.latest() != copy.number() && chart.copy_latest(&mut copy).is_ok() {
                let bytes: Vec<u8> = copy.pixels.iter().flat_map(|pixel| pixel.to_le_bytes()).collect();
                let mut checksum = flate2::Crc::new();
                checksum.update(&bytes);
                seen.insert(copy.number(), (copy.width, copy.height, checksum.sum()));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        let output = reading.join().unwrap();
        assert!(output.status.success(), "{}", tests::stderr(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        let numbers: Vec<u64> = text.split_whitespace().map(|number| number.parse().unwrap()).collect();
        if let Some((width, height, checksum)) = seen.get(&numbers[0]) {
            assert_eq!(numbers[1..], [*width as u64, *height as u64, u64::from(*checksum)], "{text}");
            compared += 1;
        }
    }
}
