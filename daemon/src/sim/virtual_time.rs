//! The venues without sockets, clock or thread: for tests that live through hours in seconds.
//!
//! What holds: the same configuration, faults, beginning and calls give the same deliveries, to the byte. The
//! words and the faults are those of the server, but for faults of bytes, which need a socket to happen on.

use super::faults::{Fault, Faults, Injected, Injector, Log, Ready, RestFaults};
use super::http::Request;
use super::line::{self, Line};
use super::market::{Event, Happening, Market};
use super::venue::{Names, Told, World};
use super::{SimConfig, SimError, rest};
use market::Timeframe;

/// Something that reaches a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The number of the connection.
    pub conn: u64,
    /// When it arrives, in ms since the Unix epoch.
    pub time_ms: i64,
    /// What arrives.
    pub what: What,
}

/// What reaches a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A text message.
    Text(String),
    /// The end of the connection.
    Closed,
}

/// A trade as it happened. Price and quantity in units of 1e-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrueTrade {
    /// Its id, contiguous for each symbol.
    pub id: i64,
    /// When, in ms since the Unix epoch.
    pub time_ms: i64,
    /// The price.
    pub price: i64,
    /// The quantity.
    pub quantity: i64,
    /// Whether the seller was the taker.
    pub buyer_is_maker: bool,
}

/// A closed candle as the venue's own sums have it. Prices and volumes in units of 1e-8, quote in 1e-16.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrueBar {
    /// Its first millisecond.
    pub open_ms: i64,
    /// The price of its first trade; of the last one before it, if it has none.
    pub open: i64,
    /// The highest price.
    pub high: i64,
    /// The lowest price.
    pub low: i64,
    /// The price of its last trade.
    pub close: i64,
    /// How much was traded.
    pub volume: i128,
    /// The same in the quote asset.
    pub quote: i128,
    /// How many trades it has.
    pub trades: u64,
    /// The id of its first trade, -1 if it has none.
    pub first_id: i64,
    /// The id of its last trade, -1 if it has none.
    pub last_id: i64,
}

/// All that happened to a symbol since the beginning. It grows as long as the venue lives.
#[derive(Debug, Clone, Default)]
pub struct Truth {
    /// The symbol, as `BTCUSDT`.
    pub symbol: String,
    /// All trades, in the order of their ids.
    pub trades: Vec<TrueTrade>,
    /// Closed candles of a second.
    pub seconds: Vec<TrueBar>,
    /// Closed candles of a minute.
    pub minutes: Vec<TrueBar>,
}

/// The venues in virtual time.
#[derive(Debug)]
pub struct Virtual {
    config: SimConfig,
    faults: Faults,
    market: Market,
    names: Names,
    /// Open connections with their numbers, which count from 1.
    lines: Vec<(u64, Line)>,
    next_conn: u64,
    rest: RestFaults,
    log: Log,
    truth: Vec<Truth>,
    deliveries: Vec<Delivery>,
}

impl Virtual {
    /// A market that opens at `start_ms`, in ms since the Unix epoch. The warm-up is lived through from there,
    /// so [`Virtual::now_ms`] begins that much later. Of the configuration's limits none holds here.
    pub fn new(config: SimConfig, faults: Faults, start_ms: i64) -> Result<Self, SimError> {
        config.check()?;
        let bytes = [Fault::Fragment, Fault::Ping, Fault::Segment, Fault::HalfRecord, Fault::SlowRest];
        let faults = bytes.into_iter().fold(faults, |faults, fault| faults.with(fault, 0.0));
        let truth = |spec: &super::SymbolSpec| Truth { symbol: spec.name(), ..Truth::default() };
        let mut venue = Self {
            market: Market::new(config.seed, &config.symbols, config.trades_per_second, start_ms),
            names: Names::new(&config.symbols),
            lines: Vec::new(),
            next_conn: 1,
            rest: RestFaults::new(&faults, config.seed),
            log: Log::default(),
            truth: config.symbols.iter().map(truth).collect(),
            deliveries: Vec::new(),
            faults,
            config,
        };
        venue.step(start_ms + venue.config.warm_up.as_millis() as i64); // At most a day.
        Ok(venue)
    }

    /// The present moment, in ms since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        self.market.now_ms()
    }

    /// Opens a WebSocket at a venue's path, as `/ws/btcusdt@trade`, `/v2` or `/`. An error is one sentence.
    pub fn connect(&mut self, path: &str) -> Result<u64, String> {
        let dialect = line::dialect(&Request::get(path), &self.names);
        let dialect = dialect.unwrap_or_else(|| Err(format!("There are no streams at '{path}'.")))?;
        let conn = self.next_conn;
        self.next_conn += 1;
        let injector = Injector::new(&self.faults, self.config.seed, conn);
        let world = world(&self.market, &self.names, &self.config);
        self.lines.push((conn, Line::new(dialect, injector, &world, &mut self.log)));
        self.collect();
        Ok(conn)
    }

    /// Sends a message of a client. To a connection that has ended it does nothing.
    pub fn send(&mut self, conn: u64, text: &str) {
        let world = world(&self.market, &self.names, &self.config);
        if let Some((_, line)) = self.lines.iter_mut().find(|(known, _)| *known == conn) {
            line.receive(text.as_bytes(), &world, &mut self.log);
        }
        self.collect();
    }

    /// The client leaves; nothing more is delivered to it.
    pub fn disconnect(&mut self, conn: u64) {
        self.lines.retain(|(known, _)| *known != conn);
    }

    /// Lives on to `to_ms` and returns what reached the clients since the last call, in the order of time.
    pub fn step(&mut self, to_ms: i64) -> Vec<Delivery> {
        let mut events = Vec::new();
        while self.market.now_ms() < to_ms {
            self.market.step(self.market.now_ms() + 1, &mut events);
            for event in &events {
                self.remember(event);
            }
            let world = world(&self.market, &self.names, &self.config);
            let told: Vec<Told<'_>> = events.iter().map(Told::new).collect();
            for (_, line) in &mut self.lines {
                line.live(&told, &world, &mut self.log);
            }
            self.collect();
            events.clear();
        }
        std::mem::take(&mut self.deliveries)
    }

    /// A GET request: status and body.
    pub fn get(&mut self, path_and_query: &str) -> (u16, String) {
        let request = Request::get(path_and_query);
        if let (_, Some(status)) = self.rest.next(self.market.now_ms(), &mut self.log) {
            return (status, rest::FAULT.to_owned());
        }
        let world = world(&self.market, &self.names, &self.config);
        let answer = rest::answer(&world, &request.path, &request.query);
        (answer.status, answer.body)
    }

    /// The faults that were made to happen, oldest first.
    pub fn injected(&self) -> &[Injected] {
        self.log.entries()
    }

    /// All that happened, in the order of the configuration's symbols.
    pub fn truth(&self) -> &[Truth] {
        &self.truth
    }

    fn remember(&mut self, event: &Event) {
        let truth = &mut self.truth[event.symbol];
        match &event.happening {
            Happening::Trade(trade) => truth.trades.push(TrueTrade {
                id: trade.id,
                time_ms: trade.time_ms,
                price: trade.price,
                quantity: trade.quantity,
                buyer_is_maker: trade.buyer_is_maker,
            }),
            Happening::Kline { interval, bar, closed: true } => {
                let bars = match Timeframe::ALL[*interval] {
                    Timeframe::S1 => &mut truth.seconds,
                    Timeframe::M1 => &mut truth.minutes,
                    _ => return,
                };
                bars.push(TrueBar {
                    open_ms: bar.open_ms,
                    open: bar.open,
                    high: bar.high,
                    low: bar.low,
                    close: bar.close,
                    volume: bar.volume,
                    quote: bar.quote,
                    trades: bar.trades,
                    first_id: bar.first_id,
                    last_id: bar.last_id,
                });
            }
            _ => {}
        }
    }

    /// Takes what is due from all connections.
    fn collect(&mut self) {
        let (time_ms, deliveries) = (self.market.now_ms(), &mut self.deliveries);
        self.lines.retain_mut(|(conn, line)| {
            while let Some(ready) = line.take() {
                let what = match ready {
                    Ready::Text { text, .. } => What::Text(text.as_str().to_owned()),
                    Ready::Close { .. } | Ready::Abort | Ready::HalfRecord(_) => What::Closed,
                };
                let over = what == What::Closed;
                deliveries.push(Delivery { conn: *conn, time_ms, what });
                if over {
                    return false;
                }
            }
            true
        });
    }
}

fn world<'v>(market: &'v Market, names: &'v Names, config: &SimConfig) -> World<'v> {
    World { market, names, rules: config.rules() }
}
