//! The hot threads allocate nothing once they run, also while clients adjust their charts: every allocation of the process is counted by its thread's name.

use chartd::config::Config;
use chartd::service::Service;
use chartd::sim::{Fault, Faults, Sim, SimConfig};
use shm::adjust::{Adjustment, Place, Shape, Title};
use shm::status::{Counter, StatusReader};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::time::{Duration, Instant};

/// Allocations and releases on threads whose name begins with `chartd-ingest` or `chartd-render`.
static HOT: AtomicU64 = AtomicU64::new(0);

struct Counting;

thread_local! {
    /// 0 while the thread's name was not looked at, 1 if it is hot, 2 if not.
    static KIND: Cell<u8> = const { Cell::new(0) };
}

fn count() {
    // A thread that is about to end has no such cell any more.
    let kind = KIND.try_with(|kind| {
        if kind.get() == 0 {
            let mut name = [0u8; 16];
            // SAFETY: the kernel writes at most 16 bytes, the name of the calling thread.
            unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
            let is_hot = name.starts_with(b"chartd-ingest") || name.starts_with(b"chartd-render");
            // A thread has its final name before it allocates for its own work, but not before its first allocation.
            kind.set(if is_hot { 1 } else { 0 });
        }
        kind.get()
    });
    if kind == Ok(1) {
        HOT.fetch_add(1, Relaxed);
    }
}

// SAFETY: everything is the system's allocator; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: as the trait demands of the caller.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: passed on.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: as the trait demands of the caller.
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count();
        // SAFETY: passed on.
        unsafe { System.dealloc(at, layout) }
    }

    // SAFETY: as the trait demands of the caller.
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: passed on.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn hot_threads_allocate_nothing_once_they_run() {
    for (threads, venue) in [("fused", "binance"), ("split", "binance"), ("fused", "itch")] {
        let mut config = SimConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)), 7);
        // Lines that lose packets, and a server that is asked for those that both have lost.
        let lines = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
        config.mold = Some(lines);
        config.mold_requests = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        config.faults = Faults::none().with(Fault::Drop, if venue == "itch" { 0.1 } else { 0.0 });
        let sim = Sim::start(config).unwrap();
        let [a, b] = lines;
        let url = match venue {
            "itch" => format!(
                "url = \"mold://{a}\"\nsecond_url = \"mold://{b}\"\nrequests = \"{}\"\nfrom_start = true",
                sim.mold_requests_addr().unwrap()
            ),
            _ => format!("url = \"ws://{}\"", sim.addr()),
        };
        let dir = tempfile::tempdir().unwrap();
        // With a journal of what they take in, and without.
        let journal = match (threads, venue) {
            ("fused", "binance") => String::new(),
            _ => format!("[journal]\nfolder = {:?}\nsegment_mb = 16\n", dir.path().join("journal")),
        };
        let text = format!(
            "socket = {:?}\nbars = 200\n[[feed]]\nvenue = \"{venue}\"\n{url}\nsymbols = [\"BTCUSDT\", \"ETHUSDT\"]\n\
             [[chart]]\nsource = \"{venue}:BTCUSDT\"\ntimeframe = \"1s\"\nsize = [640, 360]\n\
             [[chart]]\nsource = \"{venue}:ETHUSDT\"\ntimeframe = \"1m\"\nsize = [320, 200]\ntheme = \"light\"\n\
             [realtime]\nthreads = \"{threads}\"\npriority = 0\nlock_memory = false\n{journal}",
            dir.path().join("s"),
        );
        let service = match Service::start(&Config::parse(&text, "the test").unwrap()) {
            Ok(service) => service,
            Err(error) if format!("{error:#}").contains("io_uring is forbidden") => {
                return eprintln!("skipped: no io_uring");
            }
            Err(error) => panic!("{error:#}"),
        };
        let status = service.status().unwrap();
        let socket = dir.path().join("s");
        let watched = std::thread::spawn(move || {
            let ended = AtomicBool::new(false);
            let outcome = std::thread::scope(|scope| {
                scope.spawn(|| adjust(venue, &socket, &ended));
                let outcome = watch(&status);
                ended.store(true, Relaxed);
                outcome
            });
            assert!(status.counter(Counter::Adjustments) > 50, "too little was adjusted");
            assert_eq!(status.counter(Counter::RetransmissionsAsked) > 10, venue == "itch");
            outcome
        });
        let done = async {
            while !watched.is_finished() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        service.run(done, None).unwrap();
        let (trades, allocations) = watched.join().unwrap();
        println!("{threads}, {venue}: {allocations} allocations in {trades} trades");
        assert_eq!(allocations, 0, "{threads}");
    }
}

/// Adjusts the charts in every way, again and again.
fn adjust(venue: &str, socket: &Path, ended: &AtomicBool) {
    let connection = chart_client::Connection::open(Some(socket)).unwrap();
    let title = Title::new("a title");
    let marker = |time_ms| Adjustment::Marker {
        time_ms,
        place: Place::Below,
        shape: Shape::Circle,
        color: 0xff0000,
        title,
    };
    for round in 0.. {
        for chart in [format!("{venue}:BTCUSDT/1s"), format!("{venue}:ETHUSDT/1m")] {
            for adjustment in [
                Adjustment::Pan { bars: -1 },
                Adjustment::Zoom { steps: -3, x: Some(100) },
                Adjustment::Pointer(Some((100, 100))),
                Adjustment::PriceLine { price: 100 * (round % 40), color: 0xff00, title },
                marker(1_700_000_000_000 + round % 600),
                Adjustment::Range { from_ms: 0, to_ms: 2_000_000_000_000 },
                Adjustment::Reset,
                if round % 50 == 0 { Adjustment::ClearMarks } else { Adjustment::Pointer(None) },
            ] {
                if ended.load(Relaxed) {
                    return;
                }
                connection.adjust(&chart, &adjustment).unwrap();
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// Warms up for two bars, then counts for four. Returns the trades meanwhile, and the allocations.
fn watch(status: &StatusReader) -> (u64, u64) {
    let trades = || status.counter(Counter::Trades);
    wait_for(|| trades() > 50);
    std::thread::sleep(Duration::from_secs(2));
    let before = (trades(), HOT.load(Relaxed));
    assert!(before.1 > 0, "the counter sees nothing: making a ring allocates");
    std::thread::sleep(Duration::from_secs(4));
    wait_for(|| trades() > before.0 + 100);
    (trades() - before.0, HOT.load(Relaxed) - before.1)
}

fn wait_for(done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(30), "nothing trades");
        std::thread::sleep(Duration::from_millis(10));
    }
}
