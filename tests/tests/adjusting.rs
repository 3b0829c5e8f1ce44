//! Adjustments through the control socket, with real processes: they show, soon, whoever draws and however it waits; they
//! are bounded, and what is wrong is refused with a sentence.

use chart_client::{ClientError, Connection};
use serde_json::Value;
use shm::adjust::{AdjustWords, Adjustment, Place, Shape, Title};
use shm::control::{Op, Reply, Request};
use shm::frame::{FrameCopy, FrameReader};
use shm::status::Counter;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd};
use std::process::Output;
use std::time::{Duration, Instant};
use tests::service::{CHART, PATIENCE, Service, wait_until};

/// A second chart, which counts down.
const COUNTDOWN: &str =
    "[[chart]]\nsource = \"binance:ETHUSDT\"\ntimeframe = \"1h\"\nsize = [320, 180]\ncountdown = true\n";

/// A daemon with `more` in its configuration.
fn service(more: &str) -> Option<Service> {
    let mut service = Service::start()?;
    service.configure(&service.config([320, 180], more));
    service.restart();
    let connection = service.connect();
    wait_until("the first trades", || connection.status().counter(Counter::Trades) > 20);
    Some(service)
}

/// Waits until nothing comes from the venue any more.
fn hush(service: &Service, chart: &FrameReader) {
    service.hush_venue(true);
    let mut latest = 0;
    let mut since = Instant::now();
    wait_until("silence", || {
        if std::mem::replace(&mut latest, chart.latest()) != chart.latest() {
            since = Instant::now();
        }
        since.elapsed() > Duration::from_millis(500)
    });
}

/// The first frame that shows so many adjustments, and whatever came with it.
fn shown(chart: &FrameReader, number: u64) -> FrameCopy {
    let mut copy = FrameCopy::default();
    let end = Instant::now() + PATIENCE;
    while copy.info.is_none_or(|info| info.adjustments < number) {
        assert!(Instant::now() < end, "adjustment {number} was slept through");
        if chart.copy_latest(&mut copy).is_err() || copy.info.unwrap().adjustments < number {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
    copy
}

fn adjust(connection: &Connection, chart: &FrameReader, adjustment: Adjustment) -> FrameCopy {
    shown(chart, connection.adjust(CHART, &adjustment).unwrap())
}

/// Every way to draw and to wait: the picture changes soon, and reset brings it back, byte for byte.
#[test]
fn adjustments_show_soon_and_reset_takes_them_back() {
    for (threads, wait) in
        [("fused", "block"), ("split", "block"), ("fused", "poll"), ("split", "poll"), ("split", "spin")]
    {
        let realtime = format!("[realtime]\nthreads = \"{threads}\"\nwait = \"{wait}\"\n");
        let Some(service) = service(&realtime) else { return };
        let connection = service.connect();
        let chart = connection.chart(CHART).unwrap();
        let bars =
            || chart_client::candles(connection.market(), &CHART.parse().unwrap(), usize::MAX).unwrap().bars;
        wait_until("a few bars", || bars().len() > 4);
        hush(&service, &chart);
        let bars = bars();
        let usual = adjust(&connection, &chart, Adjustment::Reset);
        let title = Title::new("target");
        let (from_ms, to_ms) = (bars[0].open_ms, bars[2].open_ms);
        let (color, price) = (0xff9800, bars[1].close().unwrap());
        // Above the lowest of the bars there is room for it.
        let lowest = bars[..3].iter().min_by_key(|bar| bar.ohlc.map(|ohlc| ohlc.high)).unwrap();
        let (place, shape) = (Place::Above, Shape::Circle);
        let mut last = usual.pixels.clone();
        for adjustment in [
            Adjustment::Pan { bars: -2 },
            Adjustment::Zoom { steps: 3, x: None },
            Adjustment::Range { from_ms, to_ms },
            Adjustment::Pointer(Some((40, 60))),
            Adjustment::PriceLine { price, color, title },
            Adjustment::Marker { time_ms: lowest.open_ms, place, shape, color, title },
        ] {
            let copy = adjust(&connection, &chart, adjustment);
            assert!(copy.pixels != last, "{threads}, {wait}: {adjustment:?} shows nothing");
            assert_eq!(copy.info.unwrap().data_revision, usual.info.unwrap().data_revision);
            last = copy.pixels;
        }
        adjust(&connection, &chart, Adjustment::ClearMarks);
        adjust(&connection, &chart, Adjustment::Pointer(None));
        let back = adjust(&connection, &chart, Adjustment::Reset);
        assert!(back.pixels == usual.pixels, "{threads}, {wait}: reset shows something else");

        // A thread that is not woken looks every 100 ms by itself.
        let mut took: Vec<_> = (0..31)
            .map(|round| {
                let began = Instant::now();
                adjust(&connection, &chart, Adjustment::Pan { bars: if round % 2 == 0 { -1 } else { 1 } });
                began.elapsed()
            })
            .collect();
        took.sort();
        println!("{threads}, {wait}: shown after {:?}, at the most {:?}", took[15], took[30]);
        assert!(took[15] < Duration::from_millis(40), "{threads}, {wait}: slept through: {took:?}");
        let before = chart.latest();
        std::thread::sleep(Duration::from_millis(1_500));
        assert_eq!(chart.latest(), before, "no ticks, no frames");
        service.hush_venue(false);
    }
}

/// The rows of the time axis, which tell which bars are shown.
fn times(copy: &FrameCopy) -> &[u32] {
    &copy.pixels[(copy.height - 12) * copy.width..]
}

#[test]
fn a_view_follows_the_newest_bar_unless_it_was_moved() {
    let Some(service) = service("") else { return };
    let connection = service.connect();
    let chart = connection.chart(CHART).unwrap();
    let bars = || {
        let name = CHART.parse().unwrap();
        chart_client::candles(connection.market(), &name, 1).unwrap().bars.last().map(|bar| bar.open_ms)
    };
    // More bars than fit at the largest zoom, or nothing would have to scroll.
    let wide = Adjustment::Zoom { steps: 64, x: None };
    let first = bars();
    wait_until("a few bars", || bars() > first.map(|first| first + 5_000));
    let scrolls = |adjustment| {
        let before = adjust(&connection, &chart, adjustment);
        let begun = bars();
        wait_until("two more bars", || bars() > begun.map(|begun| begun + 1_000));
        let number = connection.adjust(CHART, &Adjustment::Pointer(None)).unwrap();
        times(&before) != times(&shown(&chart, number))
    };
    assert!(scrolls(wide));
    assert!(!scrolls(Adjustment::Pan { bars: -2 }), "who looks back is left in peace");
    assert!(scrolls(Adjustment::Pan { bars: 1_000 }), "at the newest bar it follows again");
}

#[test]
fn what_is_wrong_is_refused_with_a_sentence() {
    let Some(service) = service("") else { return };
    let connection = service.connect();
    let reason = |chart: &str, adjustment| match connection.adjust(chart, &adjustment) {
        Err(ClientError::Refused(reason)) => reason,
        other => panic!("{adjustment:?} gave {other:?}"),
    };
    for (adjustment, expected) in [
        (Adjustment::Pan { bars: i64::MIN }, "a chart moves by at most 1000000000 bars at once"),
        (Adjustment::Zoom { steps: 65, x: None }, "a chart zooms by at most 64 steps at once, not by 65"),
        (Adjustment::Range { from_ms: 9, to_ms: 8 }, "a range must not end before it begins"),
        (Adjustment::Pointer(Some((320, 10))), "the chart has no pixel at column 320, row 10: it is 320x180"),
    ] {
        let reason = reason(CHART, adjustment);
        assert!(reason.starts_with(expected), "{reason}");
    }
    assert_eq!(reason("binance:NONE/1s", Adjustment::Reset), "there is no chart binance:NONE/1s");
    // Words that no client of ours would send.
    let socket = {
        use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
        let made = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
        connect(made.as_raw_fd(), &UnixAddr::new(&service.socket()).unwrap()).unwrap();
        made
    };
    let ask = |request: Request| {
        request.send(socket.as_fd()).unwrap();
        Reply::receive(socket.as_fd()).unwrap().unwrap().0
    };
    assert_eq!(ask(Request::new(Op::Hello, "")).refused, 0);
    for (kind, arguments, expected) in [
        (0, [0; 4], "there is no adjustment of kind 0; the last is 8"),
        (99, [0; 4], "there is no adjustment of kind 99; the last is 8"),
        (1, [7, 0, 0, 0], "what an adjustment does not use must be zero"),
        (6, [1, u64::MAX, 0, 0], "a colour must be 0 to 0xffffff, not 0xffffffffffffffff"),
        (7, [1, 0, 9, 0], "a marker's shape must be 0 to 3 (arrow up, arrow down, circle, square), not 9"),
    ] {
        let adjustment = AdjustWords { kind, arguments, ..Default::default() };
        let reply = ask(Request { adjustment, ..Request::new(Op::Adjust, CHART) });
        assert_eq!((reply.refused, reply.reason.to_string().as_str()), (1, expected));
    }
    assert_eq!(ask(Request::adjust(CHART, &Adjustment::Reset)).refused, 0, "and it goes on");
    assert_eq!(connection.status().counter(Counter::Adjustments), 1);
    assert_eq!(connection.status().counter(Counter::AdjustmentsRefused), 9);
}

#[test]
fn a_flood_is_throttled_and_counted_and_frames_go_on() {
    let Some(service) = service("") else { return };
    let (connection, other) = (service.connect(), service.connect());
    let chart = other.chart(CHART).unwrap();
    let (began, first) = (Instant::now(), chart.latest());
    let (mut taken, mut refused) = (0, 0);
    while began.elapsed() < Duration::from_secs(3) {
        match connection.adjust(CHART, &Adjustment::Pan { bars: -1 }) {
            Ok(_) => taken += 1,
            Err(ClientError::Refused(reason)) => {
                assert!(reason.contains("at most 200 adjustments a second"), "{reason}");
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    println!("{taken} taken, {refused} refused");
    assert!((200..=800).contains(&taken) && refused > 100, "{taken} taken, {refused} refused");
    let counted = [Counter::Adjustments, Counter::AdjustmentsRefused].map(|of| other.status().counter(of));
    assert_eq!(counted, [taken, refused]);
    assert!(chart.latest() > first + 20, "frames do not go on");
    let next = chart.latest() + 1;
    assert!(matches!(other.wait(CHART, next, PATIENCE), Ok(chart_client::Waited::Frame(_))));
    wait_until("a quiet second", || connection.adjust(CHART, &Adjustment::Reset).is_ok());
}

#[test]
fn a_countdown_goes_on_in_silence_and_draws_no_other_chart() {
    for threads in ["fused", "split"] {
        let more = format!("{COUNTDOWN}[realtime]\nthreads = \"{threads}\"\nwait = \"block\"\n");
        let Some(service) = service(&more) else { return };
        let connection = service.connect();
        let (plain, counting) =
            (connection.chart(CHART).unwrap(), connection.chart("binance:ETHUSDT/1h").unwrap());
        hush(&service, &plain);
        let before = (plain.latest(), counting.latest());
        std::thread::sleep(Duration::from_secs(5));
        let drawn = counting.latest() - before.1;
        assert!((4..=6).contains(&drawn), "{threads}: {drawn} frames in five seconds");
        assert_eq!(plain.latest(), before.0, "no ticks, no frames");
        service.hush_venue(false);
    }
}

/// A new hot thread is woken as the old one was, and begins with the views of the configuration.
#[test]
fn adjustments_go_on_with_a_new_configuration() {
    let Some(service) = service("") else { return };
    let mut connection = service.connect();
    hush(&service, &connection.chart(CHART).unwrap());
    for round in 0..6 {
        let more = format!("[realtime]\nthreads = \"{}\"\n", ["split", "fused"][round % 2]);
        service.configure(&service.config([320, 180], &more));
        service.signal(nix::sys::signal::Signal::SIGHUP);
        let waited = connection.wait(CHART, u64::MAX >> 8, PATIENCE).unwrap();
        assert_eq!(waited, chart_client::Waited::Reconfigured);
        connection.renew().unwrap();
        let chart = connection.chart(CHART).unwrap();
        let mut took: Vec<_> = (1..=5)
            .map(|number| {
                let (bars, began) = (if number % 2 == 0 { 1 } else { -1 }, Instant::now());
                assert_eq!(connection.adjust(CHART, &Adjustment::Pan { bars }).unwrap(), number);
                shown(&chart, number);
                began.elapsed()
            })
            .collect();
        took.sort();
        assert!(took[3] < Duration::from_millis(40), "round {round}: slept through: {took:?}");
    }
    service.hush_venue(false);
}

fn chartctl(service: &Service, args: &[&str]) -> Output {
    let socket = service.socket();
    let socket = ["--socket".as_ref(), socket.as_os_str()];
    tests::run("chartctl", socket.into_iter().chain(args.iter().map(|arg| arg.as_ref())))
}

#[test]
fn chartctl_adjusts_charts() {
    let Some(service) = service("") else { return };
    for args in [
        &["view", CHART, "--pan", "-3"][..],
        &["view", CHART, "--zoom", "-1", "--at", "100"],
        &["view", CHART, "--range", "2024-08-08T23:54:00Z", "1723161300000"],
        &["view", CHART, "--reset"],
        &["point", CHART, "100", "50"],
        &["point", CHART, "--off"],
        &["mark", CHART, "--price", "61837.5", "--title", "target", "--color", "#26a69a"],
        &["mark", CHART, "--time", "2024-08-08T23:54:00+02:00", "--below", "--shape", "circle"],
        &["mark", CHART, "--clear"],
    ] {
        let output = chartctl(&service, &[args, &["--json"]].concat());
        assert!(output.status.success(), "{args:?}: {}", tests::stderr(&output));
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(told["chart"] == CHART && told["frame"].as_u64() > Some(0), "{args:?}: {told}");
    }
    let output = chartctl(&service, &["view", CHART, "--reset"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("frame ") && text.ends_with(" of binance:BTCUSDT/1s shows it\n"), "{text}");
    for (args, code, expected) in [
        (&["view", CHART][..], 2, "--pan <BARS>"),
        (&["view", CHART, "--pan", "1", "--reset"], 2, "cannot be used with"),
        (&["view", CHART, "--reset", "--at", "7"], 2, "cannot be used with"),
        (&["view", CHART, "--range", "yesterday", "0"], 2, "use RFC 3339, as 2024-08-08T23:54:00Z"),
        (&["view", CHART, "--range", "2", "1"], 1, "a range must not end before it begins"),
        (&["point", CHART, "320", "0"], 1, "it is 320x180"),
        (&["point", CHART, "1"], 2, "<Y>"),
        (&["mark", CHART, "--price", "0.000000001"], 1, "not a price with at most 8 decimal places"),
        (&["mark", CHART, "--clear", "--below"], 2, "cannot be used with"),
        (&["mark", CHART, "--price", "1", "--color", "red"], 2, "use #rrggbb"),
        (&["mark", CHART, "--price", "1", "--title", "a title that is too long"], 0, ""),
        (&["mark", CHART, "--price", "1", "--title", "a title that is too long!"], 1, "longer than 24 bytes"),
        (&["view", "binance:NONE/1s", "--reset"], 1, "there is no chart binance:NONE/1s"),
    ] {
        let output = chartctl(&service, args);
        let said = tests::stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(expected), "{args:?}: {said}");
    }
}

/// The code that a request to adjust gets, with these headers.
fn post(address: &str, query: &str, headers: &str) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "POST /adjust/{query} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn the_page_adjusts_charts_and_no_other_site_does() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let Some(mut service) = Service::start() else { return };
    service.configure(&format!("http = {address:?}\n{}", service.config([320, 180], "")));
    service.restart();
    let connection = service.connect();
    let taken = || connection.status().counter(Counter::Adjustments);
    let own = format!("Host: {address}\r\nOrigin: http://{address}\r\nSec-Fetch-Site: same-origin\r\n");
    for query in ["0?zoom=1,100", "0?pan=-1", "0?point=10,10", "0?point=off", "0?reset"] {
        assert_eq!(post(&address, query, &own), 204, "{query}");
    }
    assert_eq!(taken(), 5);
    for (query, headers, code) in [
        ("0?pan=-1", format!("Host: {address}\r\n"), 403),
        ("0?pan=-1", format!("Host: {address}\r\nOrigin: http://evil.example\r\n"), 403),
        ("0?pan=-1", own.replace("same-origin", "cross-site"), 403),
        ("0?pan=-1", "Host: evil.example\r\nOrigin: http://evil.example\r\n".into(), 403),
        ("0?pan=x", own.clone(), 400),
        ("0?point=320,0", own.clone(), 400),
        ("7?reset", own.clone(), 404),
        ("x?reset", own.clone(), 404),
    ] {
        assert_eq!(post(&address, query, &headers), code, "{query}, {headers}");
    }
    assert_eq!(taken(), 5);
    let codes: Vec<_> = (0..250).map(|_| post(&address, "0?pan=-1", &own)).collect();
    println!("{} of 250 were throttled", codes.iter().filter(|code| **code == 429).count());
    assert!(codes.iter().all(|code| matches!(code, 204 | 429)));
}
