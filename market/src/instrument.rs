//! Instruments, and the names by which people call their charts.

use crate::protocol::Protocol;
use crate::{Timeframe, decimal};
use core::fmt;
use core::str::FromStr;

/// A trading venue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
#[repr(u8)]
pub enum Venue {
    Binance,
    Kraken,
    Coinbase,
    CoinbaseAdvanced,
    Itch,
}

impl Venue {
    /// Every venue.
    pub const ALL: [Self; 5] =
        [Self::Binance, Self::Kraken, Self::Coinbase, Self::CoinbaseAdvanced, Self::Itch];

    /// The name used in configurations and chart names: at most 16 bytes, which is what shared memory has room for.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Binance => "binance",
            Self::Kraken => "kraken",
            Self::Coinbase => "coinbase",
            Self::CoinbaseAdvanced => "coinbase-adv",
            Self::Itch => "itch",
        }
    }

    /// How to talk with it.
    pub fn protocol(self) -> &'static dyn Protocol {
        match self {
            Self::Binance => &crate::binance::Binance,
            Self::Kraken => &crate::kraken::Kraken,
            Self::Coinbase => &crate::coinbase::Coinbase,
            Self::CoinbaseAdvanced => &crate::coinbase_advanced::CoinbaseAdvanced,
            Self::Itch => &crate::itch::Itch,
        }
    }

    /// Decimal places of prices and quantities where nobody has told them. Binance prints 8 for every symbol; a price
    /// of ITCH has 4, and shares are whole.
    pub const fn usual_digits(self) -> [u8; 2] {
        match self {
            Self::Itch => [crate::itch::PRICE_DIGITS, 0],
            _ => [8, 8],
        }
    }
}

impl fmt::Display for Venue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Venue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|venue| venue.name() == text).ok_or_else(|| {
            format!("'{text}' is not a venue; use binance, kraken, coinbase, coinbase-adv or itch")
        })
    }
}

/// The longest symbol.
pub const MAX_SYMBOL_BYTES: usize = 32;

/// Whether a text can be a symbol: 1 to [`MAX_SYMBOL_BYTES`] letters, digits, `/`, `-`, `_` or `.`. Symbols go into file
/// names and CSV columns, so nothing else may come from a feed.
pub fn is_symbol(text: &[u8]) -> bool {
    let known = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'/' | b'-' | b'_' | b'.');
    (1..=MAX_SYMBOL_BYTES).contains(&text.len()) && text.iter().all(known)
}

/// Something that trades on a venue, and the scale of its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instrument {
    /// Where it trades.
    pub venue: Venue,
    /// The venue's symbol, as its messages spell it.
    pub symbol: String,
    /// Decimal places of its prices, at most [`decimal::MAX_DIGITS`].
    pub price_digits: u8,
    /// Decimal places of its quantities, at most [`decimal::MAX_DIGITS`].
    pub qty_digits: u8,
}

impl Instrument {
    /// An instrument with the venue's usual decimal places; see [`Venue::usual_digits`].
    pub fn new(venue: Venue, symbol: impl Into<String>) -> Self {
        let [price_digits, qty_digits] = venue.usual_digits();
        Self { venue, symbol: symbol.into(), price_digits, qty_digits }
    }
}

/// An instrument's place in [`Instruments`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstrumentId(pub u16);

/// The instruments of one feed. Looking one up neither allocates nor hashes.
#[derive(Debug, Clone, Default)]
pub struct Instruments {
    list: Vec<Instrument>,
    /// Places in `list`, sorted by symbol.
    by_symbol: Vec<u16>,
}

impl Instruments {
    /// Adds an instrument, or finds the one that has its symbol. At most 65,536 fit; `None` beyond.
    pub fn add(&mut self, instrument: Instrument) -> Option<InstrumentId> {
        debug_assert!(instrument.price_digits.max(instrument.qty_digits) <= decimal::MAX_DIGITS);
        match self.place(instrument.symbol.as_bytes()) {
            Ok(found) => Some(InstrumentId(self.by_symbol[found])),
            Err(insert_at) => {
                let id = u16::try_from(self.list.len()).ok()?;
                self.by_symbol.insert(insert_at, id);
                self.list.push(instrument);
                Some(InstrumentId(id))
            }
        }
    }

    /// The instrument with that symbol.
    pub fn find(&self, symbol: &[u8]) -> Option<InstrumentId> {
        self.place(symbol).ok().map(|found| InstrumentId(self.by_symbol[found]))
    }

    /// The instrument at that place. An id of another table gives `None` or a wrong instrument.
    pub fn get(&self, id: InstrumentId) -> Option<&Instrument> {
        self.list.get(usize::from(id.0))
    }

    /// All of them, in the order in which they were added, which is the order of their ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (InstrumentId, &Instrument)> {
        self.list.iter().enumerate().map(|(id, instrument)| (InstrumentId(id as u16), instrument))
    }

    fn place(&self, symbol: &[u8]) -> Result<usize, usize> {
        self.by_symbol.binary_search_by(|id| self.list[usize::from(*id)].symbol.as_bytes().cmp(symbol))
    }
}

/// The name of a chart: `venue:SYMBOL/timeframe`, as `binance:BTCUSDT/1m`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChartName {
    /// Where the instrument trades.
    pub venue: Venue,
    /// The venue's symbol.
    pub symbol: String,
    /// Length of the candles.
    pub timeframe: Timeframe,
}

impl ChartName {
    /// The name as a file name without extension: `binance_BTCUSDT_1m`. A slash becomes a plus, which symbols do not
    /// have; see [`is_symbol`].
    pub fn file_stem(&self) -> String {
        let symbol = self.symbol.replace('/', "+");
        // The month's name differs from the minute's only in case, which some file systems do not keep.
        let timeframe = if self.timeframe == Timeframe::Month { "1month" } else { self.timeframe.name() };
        format!("{}_{symbol}_{timeframe}", self.venue)
    }
}

impl fmt::Display for ChartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.venue, self.symbol, self.timeframe)
    }
}

/// A text that names no chart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a chart: {why} (a chart is venue:SYMBOL/timeframe, as binance:BTCUSDT/1m)")]
pub struct ChartNameError {
    text: String,
    why: String,
}

impl FromStr for ChartName {
    type Err = ChartNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |why: String| ChartNameError { text: text.to_owned(), why };
        let (venue, rest) = text.split_once(':').ok_or_else(|| error("it has no ':'".into()))?;
        // Some venues' symbols contain a slash, so the timeframe follows the last one.
        let (symbol, timeframe) = rest.rsplit_once('/').ok_or_else(|| error("it has no '/'".into()))?;
        if !is_symbol(symbol.as_bytes()) {
            return Err(error("its symbol is not 1 to 32 letters, digits, / - _ or .".into()));
        }
        Ok(Self {
            venue: venue.parse().map_err(error)?,
            symbol: symbol.to_owned(),
            timeframe: timeframe
                .parse()
                .map_err(|e: crate::timeframe::TimeframeError| error(e.to_string()))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chart_names_read_back() {
        for text in ["binance:BTCUSDT/1m", "kraken:BTC/USD/1M", "coinbase:BTC-USD/1s"] {
            assert_eq!(text.parse::<ChartName>().unwrap().to_string(), text);
        }
        assert_eq!("kraken:BTC/USD/1M".parse::<ChartName>().unwrap().file_stem(), "kraken_BTC+USD_1month");
        for (text, why) in [
            ("BTCUSDT/1m", "it has no ':'"),
            ("binance:BTCUSDT", "it has no '/'"),
            ("nyse:X/1m", "'nyse' is not a venue"),
            ("binance:X/9m", "'9m' is not a timeframe"),
            ("binance:/1m", "its symbol is not 1 to 32"),
        ] {
            let error = text.parse::<ChartName>().unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn venues_read_back_and_fit_into_shared_memory() {
        for venue in Venue::ALL {
            assert_eq!(venue.name().parse(), Ok(venue));
            assert!(venue.name().len() <= 16, "{venue}");
        }
    }

    #[test]
    fn instruments_are_found_by_symbol_whatever_the_order() {
        let mut table = Instruments::default();
        for symbol in ["ETHUSDT", "BTCUSDT", "ADAUSDT", "BTCUSDT"] {
            table.add(Instrument::new(Venue::Binance, symbol)).unwrap();
        }
        assert_eq!(table.iter().len(), 3);
        assert_eq!(table.find(b"ETHUSDT"), Some(InstrumentId(0)));
        assert_eq!(table.find(b"ADAUSDT"), Some(InstrumentId(2)));
        assert_eq!(table.find(b"BTC"), None);
    }
}
