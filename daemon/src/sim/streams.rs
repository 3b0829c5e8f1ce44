//! The names of the streams, and the number by which the server knows each.
//!
//! What holds: every event belongs to exactly one stream; a stream's number is its symbol's place times
//! [`TOPICS`] plus its topic's.

use super::SymbolSpec;
use super::klines::INTERVALS;
use super::market::{Event, Happening, Pace};
use market::Timeframe;

/// How many streams a symbol has: trade, aggTrade, bookTicker, two of depth, and the klines.
const TOPICS: usize = 5 + INTERVALS;

/// All streams of the venue.
#[derive(Debug)]
pub(super) struct Streams {
    names: Vec<String>,
}

impl Streams {
    pub(super) fn new(specs: &[SymbolSpec]) -> Self {
        let mut names = Vec::with_capacity(specs.len() * TOPICS);
        for spec in specs {
            let symbol = spec.name().to_ascii_lowercase();
            let plain = ["trade", "aggTrade", "bookTicker", "depth@100ms", "depth"];
            names.extend(plain.iter().map(|topic| format!("{symbol}@{topic}")));
            names.extend(Timeframe::ALL.iter().map(|interval| format!("{symbol}@kline_{interval}")));
        }
        Self { names }
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// The number of the stream of this name; symbols are lower case, intervals exact.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    pub(super) fn name(&self, stream: usize) -> &str {
        &self.names[stream]
    }

    /// The stream that carries this event.
    pub(super) fn of(event: &Event) -> usize {
        let topic = match event.happening {
            Happening::Trade(_) => 0,
            Happening::AggTrade(_) => 1,
            Happening::Quote { .. } => 2,
            Happening::Depth(Pace::Fast, _) => 3,
            Happening::Depth(Pace::Slow, _) => 4,
            Happening::Kline { interval, .. } => 5 + interval,
        };
        event.symbol * TOPICS + topic
    }
}
