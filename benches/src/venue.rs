//! A venue of several symbols whose trades leave on a schedule: each symbol so many times a second, in turn, evenly
//! spread. A trade's exchange time tells its place in the schedule, so a frame tells which trade it shows, and the venue
//! when that one left. It is noted before it is written, so a client that does not read counts; that the venue itself
//! woke late does not. Prices walk at random, the same on every run.

use anyhow::Context;
use chartd::now_ns;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::thread::JoinHandle;
use std::time::Duration;

/// The exchange time at which the schedule begins: a whole minute.
const BASE_MS: u64 = 1_700_000_040_000;
/// For how many trades of each symbol it is known when they left.
const KEPT: u64 = 1_024;
/// The id of a symbol's first scheduled trade.
const FIRST_ID: u64 = 1_000_000;

/// How much trades.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    pub(crate) symbols: u64,
    /// Between two trades of a symbol.
    pub(crate) period_ms: u64,
    /// Bars before the schedule begins, with one trade in each, and how long each lasts.
    pub(crate) bars: u64,
    pub(crate) bar_ms: u64,
}

impl Schedule {
    /// The name of a symbol.
    pub(crate) fn symbol(index: u64) -> String {
        format!("S{index:02}USDT")
    }

    /// Between two trades of all symbols.
    fn step_ns(&self) -> u64 {
        self.period_ms * 1_000_000 / self.symbols
    }

    /// The feed, as a configuration says it.
    pub(crate) fn feed(&self, address: SocketAddr) -> String {
        let symbols: Vec<_> = (0..self.symbols).map(Self::symbol).collect();
        format!("[[feed]]\nvenue = \"binance\"\nsymbols = {symbols:?}\nurl = \"ws://{address}\"\n")
    }
}

/// A venue that runs until it is dropped.
pub(crate) struct Venue {
    pub(crate) address: SocketAddr,
    schedule: Schedule,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// Whether the schedule has begun.
    began: AtomicBool,
    /// When the newest scheduled trades left, by place in the schedule.
    left_ns: Vec<AtomicU64>,
    /// Trades of the schedule that left, and trades of bursts.
    sent: AtomicU64,
    extra: AtomicU64,
    /// Further trades of the first symbol in a second.
    burst: AtomicU64,
}

impl Venue {
    /// Waits for one client, then trades.
    pub(crate) fn open(schedule: Schedule) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let (address, shared) = (listener.local_addr()?, Arc::new(Shared::new(schedule.symbols)));
        let inner = shared.clone();
        let thread = Some(std::thread::spawn(move || Trading::accept(&listener, schedule)?.go_on(&inner)));
        Ok(Self { address, schedule, shared, thread })
    }

    /// Whether it still trades, or why not.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self.thread.take_if(|thread| thread.is_finished()) {
            Some(thread) => {
                thread.join().map_err(|_| anyhow::anyhow!("the venue panicked"))?.context("the venue ended")
            }
            None => Ok(()),
        }
    }

    /// Waits until the schedule has begun.
    pub(crate) fn wait_for_start(&mut self) -> anyhow::Result<()> {
        while !self.shared.began.load(Acquire) {
            self.check()?;
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// How many trades of the schedule have left, and how many of bursts.
    pub(crate) fn sent(&self) -> (u64, u64) {
        (self.shared.sent.load(Relaxed), self.shared.extra.load(Relaxed))
    }

    /// From now on, so many further trades of the first symbol in a second.
    pub(crate) fn set_burst(&self, a_second: u64) {
        self.shared.burst.store(a_second, Relaxed);
    }

    /// When the trade of a symbol with this exchange time left; `None` for history.
    pub(crate) fn left_ns(&self, symbol: u64, venue_ms: i64) -> Option<u64> {
        let index = (venue_ms as u64).checked_sub(BASE_MS)? / self.schedule.period_ms;
        Some(self.shared.left(index * self.schedule.symbols + symbol).load(Relaxed))
    }
}

impl Shared {
    fn new(symbols: u64) -> Self {
        Self { left_ns: (0..symbols * KEPT).map(|_| AtomicU64::new(0)).collect(), ..Self::default() }
    }

    fn left(&self, place: u64) -> &AtomicU64 {
        &self.left_ns[place as usize % self.left_ns.len()]
    }
}

impl Drop for Venue {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        // What it ended with was looked at while it mattered.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// What the venue's thread holds.
struct Trading {
    stream: TcpStream,
    schedule: Schedule,
    symbols: Vec<Symbol>,
    frame: Vec<u8>,
}

struct Symbol {
    name: String,
    next_id: u64,
    cents: i64,
    random: u64,
}

impl Trading {
    /// Accepts a client and sends it the history.
    fn accept(listener: &TcpListener, schedule: Schedule) -> anyhow::Result<Self> {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let socket = tungstenite::accept(stream).context("the WebSocket handshake failed")?;
        let stream = socket.get_ref().try_clone()?;
        let symbol = |index| Symbol {
            name: Schedule::symbol(index),
            next_id: FIRST_ID - schedule.bars,
            cents: 6_000_000,
            random: 0x9e37_79b9_7f4a_7c15 ^ index << 20,
        };
        let symbols = (0..schedule.symbols).map(symbol).collect();
        let mut trading = Self { stream, schedule, symbols, frame: Vec::new() };
        for bar in 0..schedule.bars {
            let time_ms = BASE_MS - (schedule.bars - bar) * schedule.bar_ms;
            (0..trading.symbols.len()).try_for_each(|symbol| trading.trade(symbol, time_ms, 400))?;
        }
        Ok(trading)
    }

    /// Follows the schedule, and adds what a burst adds.
    fn go_on(mut self, shared: &Shared) -> anyhow::Result<()> {
        std::thread::sleep(Duration::from_millis(500));
        let (start_ns, step_ns) = (now_ns(), self.schedule.step_ns());
        shared.began.store(true, Release);
        let (mut place, mut last_extra_ns) = (0, 0);
        while !shared.stop.load(Relaxed) {
            let planned_ns = start_ns + place * step_ns;
            let extra_ns = match shared.burst.load(Relaxed) {
                0 => u64::MAX,
                // A burst begins now, not when the last one ended.
                a_second if last_extra_ns + 1_000_000_000 < now_ns() => now_ns() + 1_000_000_000 / a_second,
                a_second => last_extra_ns + 1_000_000_000 / a_second,
            };
            let next_ns = planned_ns.min(extra_ns);
            std::thread::sleep(Duration::from_nanos(next_ns.saturating_sub(now_ns())));
            // Of the first symbol, a trade of a burst has the time of the last scheduled one.
            let index = place / self.schedule.symbols;
            if extra_ns < planned_ns {
                self.trade(0, BASE_MS + index.saturating_sub(1) * self.schedule.period_ms, 3)?;
                (last_extra_ns, _) = (extra_ns, shared.extra.fetch_add(1, Relaxed));
            } else {
                let symbol = (place % self.schedule.symbols) as usize;
                shared.left(place).store(now_ns(), Relaxed);
                self.trade(symbol, BASE_MS + index * self.schedule.period_ms, 3)?;
                (place, _) = (place + 1, shared.sent.fetch_add(1, Relaxed));
            }
        }
        Ok(())
    }

    /// Sends a trade of a symbol, at most `step` cents from its last price.
    fn trade(&mut self, symbol: usize, time_ms: u64, step: i64) -> anyhow::Result<()> {
        let Symbol { name, next_id, cents, random } = &mut self.symbols[symbol];
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        *cents += (*random % (2 * step as u64 + 1)) as i64 - step;
        let (whole, part) = (*cents / 100, *cents % 100);
        let text = format!(
            r#"{{"stream":"{}@trade","data":{{"e":"trade","E":{time_ms},"s":"{name}","t":{next_id},"p":"{whole}.{part:02}000000","q":"0.02000000","T":{time_ms},"m":{},"M":true}}}}"#,
            name.to_lowercase(),
            *random & 64 == 0,
        );
        *next_id += 1;
        self.frame.clear();
        self.frame.extend([0x81, 126]);
        self.frame.extend((text.len() as u16).to_be_bytes());
        self.frame.extend(text.as_bytes());
        self.stream.write_all(&self.frame).context("the client is gone")
    }
}
