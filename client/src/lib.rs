//! Reads charts and candles from a running chartd.
//!
//! A [`Connection`] asks once for descriptors; after that, reading is reading memory: no message, no system call.
//! Who would rather sleep until a frame is there asks for that with [`Connection::wait`].
//! What holds: a frame or candle that is returned is whole; a reader cannot disturb the daemon; when the daemon
//! goes, [`Connection::is_alive`] says so at once, and what was mapped stays readable. [`Follower`] goes on through
//! new configurations and restarts by itself.
//!
//! ```no_run
//! # fn main() -> Result<(), chart_client::ClientError> {
//! let connection = chart_client::Connection::open(None)?;
//! let chart = connection.chart("binance:BTCUSDT/1m")?;
//! let mut frame = shm::frame::FrameCopy::default();
//! while let chart_client::Waited::Frame(number) =
//!     connection.wait("binance:BTCUSDT/1m", frame.number() + 1, std::time::Duration::from_secs(60))?
//! {
//!     chart.copy_latest(&mut frame).ok();
//! }
//! # Ok(())
//! # }
//! ```

mod clock;
mod connection;
mod convert;
mod follower;
mod picture;

pub use clock::now_ns;
pub use connection::{ClientError, Connection, Waited, default_socket, own_socket};
pub use convert::{candle_of, record_of};
pub use follower::{Follower, News};
pub use picture::picture;

use market::{Candle, ChartName};
use shm::market::MarketReader;

/// Candles and the scale of their numbers.
#[derive(Debug, Clone)]
pub struct Candles {
    /// Decimal places of the prices.
    pub price_digits: u8,
    /// Decimal places of the quantities.
    pub qty_digits: u8,
    /// The bars, oldest first.
    pub bars: Vec<Candle>,
}

/// The newest `last` candles of a chart; `None` if the daemon has no such series.
pub fn candles(market: &MarketReader, chart: &ChartName, last: usize) -> Option<Candles> {
    let (place, instrument) = find_series(market, chart)?;
    let entry = &market.instruments()[instrument];
    let mut bars = Vec::new();
    if let Some(state) = market.state(place) {
        let first = state.first.max(state.end.saturating_sub(last as u64));
        bars.extend((first..state.end).filter_map(|number| candle_of(&market.candle(place, number)?)));
    }
    Some(Candles { price_digits: entry.price_digits as u8, qty_digits: entry.qty_digits as u8, bars })
}

/// The places of a chart's series and of its instrument in the market segment.
pub fn find_series(market: &MarketReader, chart: &ChartName) -> Option<(usize, usize)> {
    market.series().iter().enumerate().find_map(|(place, series)| {
        let instrument = &market.instruments()[series.instrument as usize];
        let found = instrument.venue.to_string() == chart.venue.name()
            && instrument.symbol.to_string() == chart.symbol
            && series.timeframe.to_string() == chart.timeframe.name();
        found.then_some((place, series.instrument as usize))
    })
}
