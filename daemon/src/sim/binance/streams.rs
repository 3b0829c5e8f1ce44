//! The names of the streams, and the number by which a connection knows each.
//!
//! What holds: a stream's number is its symbol's place times [`TOPICS`] plus its topic's.

use super::super::SymbolSpec;
use super::super::klines::INTERVALS;
use super::super::market::{Happening, Pace};
use std::ops::Range;

/// How many streams a symbol has.
const TOPICS: usize = NAMES.len();

/// What stands behind the symbol's name and the `@`, the klines at the end in the order of `Timeframe::ALL`.
const NAMES: [&str; 11 + INTERVALS] = [
    "trade",
    "aggTrade",
    "bookTicker",
    "depth@100ms",
    "depth",
    "depth5@100ms",
    "depth10@100ms",
    "depth20@100ms",
    "depth5",
    "depth10",
    "depth20",
    "kline_1s",
    "kline_1m",
    "kline_3m",
    "kline_5m",
    "kline_15m",
    "kline_30m",
    "kline_1h",
    "kline_2h",
    "kline_4h",
    "kline_6h",
    "kline_8h",
    "kline_12h",
    "kline_1d",
    "kline_3d",
    "kline_1w",
    "kline_1M",
];

/// Which topics are partial books, and how many levels each has.
const PARTIAL: Range<usize> = 5..11;
const LEVELS: [usize; 3] = [5, 10, 20];

/// All streams of the venue.
#[derive(Debug)]
pub(in crate::sim) struct Streams {
    names: Vec<String>,
}

impl Streams {
    pub(in crate::sim) fn new(specs: &[SymbolSpec]) -> Self {
        let of = |spec: &SymbolSpec| {
            let symbol = spec.name().to_ascii_lowercase();
            NAMES.map(|topic| format!("{symbol}@{topic}"))
        };
        Self { names: specs.iter().flat_map(of).collect() }
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// The number of the stream of this name; symbols are lower case, intervals exact.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    pub(in crate::sim) fn name(&self, stream: usize) -> &str {
        &self.names[stream]
    }

    /// The name of a stream's topic.
    pub(super) fn topic(stream: usize) -> &'static str {
        NAMES[stream % TOPICS]
    }

    /// How many levels a stream of partial books has; `None` for other streams.
    pub(super) fn levels(stream: usize) -> Option<usize> {
        let topic = stream % TOPICS;
        PARTIAL.contains(&topic).then(|| LEVELS[(topic - PARTIAL.start) % LEVELS.len()])
    }

    /// The streams that carry what happened to a symbol.
    pub(super) fn of(symbol: usize, happening: &Happening) -> impl Iterator<Item = usize> + use<> {
        let (one, partial) = match happening {
            Happening::Trade(_) => (Some(0), 0..0),
            Happening::AggTrade(_) => (Some(1), 0..0),
            Happening::Quote { .. } => (Some(2), 0..0),
            Happening::Depth(Pace::Fast, _) => (Some(3), 5..8),
            Happening::Depth(Pace::Slow, _) => (Some(4), 8..11),
            Happening::Kline { interval, .. } => (Some(PARTIAL.end + interval), 0..0),
            Happening::Order(_) | Happening::Depth(Pace::Each | Pace::Batch, _) => (None, 0..0),
        };
        one.into_iter().chain(partial).map(move |topic| symbol * TOPICS + topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use market::Timeframe;

    #[test]
    fn klines_are_named_in_the_order_of_the_intervals() {
        for (name, interval) in NAMES[PARTIAL.end..].iter().zip(Timeframe::ALL) {
            assert_eq!(*name, format!("kline_{interval}"));
        }
        let streams = Streams::new(&SymbolSpec::defaults());
        let stream = streams.find("ethusdt@depth20@100ms").unwrap();
        assert_eq!((Streams::levels(stream), Streams::topic(stream)), (Some(20), "depth20@100ms"));
        assert_eq!(Streams::levels(streams.find("ethusdt@depth").unwrap()), None);
    }
}
