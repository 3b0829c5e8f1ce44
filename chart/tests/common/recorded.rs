//! Candles that markets made, where there are any.

use super::bar;
use flate2::read::GzDecoder;
use jiff::{civil::DateTime, tz::TimeZone};
use market::{Candle, CandleState, Ohlc, Timeframe, decimal};
use std::path::Path;

/// A file of candles.
#[derive(Debug, Clone, Copy)]
pub(crate) struct File {
    pub name: &'static str,
    pub price_digits: u8,
    pub timeframe: Timeframe,
    pub count: usize,
    /// The column of the time, of the open, and of the volume; high, low and close follow on the open.
    columns: [usize; 3],
    header: bool,
}

pub(crate) const BITCOIN: File = File {
    name: "ftx_btc-perp_1m_20211231-20220201.csv.gz",
    price_digits: 3,
    timeframe: Timeframe::M1,
    count: 45_031,
    columns: [0, 1, 5],
    header: true,
};
pub(crate) const EURO: File = File {
    name: "backtesting_EURUSD_1h.csv.gz",
    price_digits: 5,
    timeframe: Timeframe::H1,
    count: 5_000,
    columns: [0, 1, 5],
    header: true,
};
pub(crate) const ADA: File = File {
    name: "binance_ADABTC-1m-2021-11-27.csv",
    price_digits: 8,
    timeframe: Timeframe::M1,
    count: 10,
    columns: [0, 1, 5],
    header: false,
};

/// All candles of a file; none where the file is not.
pub(crate) fn read(file: &File) -> Option<Vec<Candle>> {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().skip(1);
    let mut files = above.map(|folder| folder.join("shared/data/candles").join(file.name));
    let bytes = files.find_map(|path| std::fs::read(path).ok())?;
    let text = if file.name.ends_with(".gz") {
        std::io::read_to_string(GzDecoder::new(&bytes[..])).unwrap()
    } else {
        String::from_utf8(bytes).unwrap()
    };
    let [time, open, volume] = file.columns;
    let one = |line: &str| {
        let column: Vec<_> = line.split(',').collect();
        let price = |index: usize| decimal::parse(column[index].as_bytes(), file.price_digits).unwrap();
        let open_ms = column[time].parse::<i64>().unwrap_or_else(|_| {
            let time = column[time].parse::<DateTime>().unwrap().to_zoned(TimeZone::UTC).unwrap();
            time.timestamp().as_millisecond()
        });
        let ohlc =
            Ohlc { open: price(open), high: price(open + 1), low: price(open + 2), close: price(open + 3) };
        // Volumes were recorded from floating point: their decimal places mean nothing.
        let volume: i64 = column[volume].split('.').next().unwrap().parse().unwrap();
        bar(open_ms, CandleState::Traded, ohlc, volume)
    };
    let bars: Vec<_> = text.lines().skip(file.header.into()).map(one).collect();
    assert_eq!(bars.len(), file.count, "{}", file.name);
    Some(bars)
}
