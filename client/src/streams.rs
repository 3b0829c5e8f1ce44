//! What `chartctl stats` says of each stream of each instrument: what was proven, what was missed, what was repaired.

use chart_client::Connection;
use serde_json::Value;
use shm::market::{InstrumentEntry, StreamKind, StreamState};

/// A stream of an instrument, and what it proved.
pub(crate) struct StreamRow {
    name: String,
    state: StreamState,
    /// How long ago its latest message came; none if there was none.
    age_ns: Option<u64>,
}

impl StreamRow {
    pub(crate) const HEADINGS: [&str; 12] = [
        "STREAM",
        "IS",
        "SECONDS AGO",
        "MESSAGES",
        "OK",
        "GAPS",
        "MISSING",
        "REPAIRED",
        "CORRUPT",
        "UNVERIFIABLE",
        "DUPLICATES",
        "SILENCES",
    ];
    const COUNTS: [&str; 9] = [
        "messages",
        "ok",
        "gaps",
        "missing",
        "repaired",
        "corrupt",
        "unverifiable",
        "duplicates",
        "silences",
    ];

    fn counts(&self) -> [u64; 9] {
        let state = &self.state;
        [
            state.messages,
            state.ok,
            state.gaps,
            state.missing,
            state.repaired,
            state.corrupt,
            state.unverifiable,
            state.duplicates,
            state.silences,
        ]
    }

    fn condition(&self) -> &'static str {
        match self.state.condition {
            0 if self.state.messages == 0 => "waiting",
            0 => "unproven",
            1 => "proven",
            2 => "in doubt",
            _ => "silent",
        }
    }

    pub(crate) fn cells(&self) -> Vec<String> {
        let age = self.age_ns.map_or("-".to_owned(), |age_ns| format!("{:.1}", age_ns as f64 / 1e9));
        let mut cells = vec![self.name.clone(), self.condition().to_owned(), age];
        cells.extend(self.counts().map(|count| count.to_string()));
        cells
    }

    pub(crate) fn json(&self) -> Value {
        let mut row: serde_json::Map<String, Value> = Self::COUNTS
            .iter()
            .zip(self.counts())
            .map(|(name, count)| ((*name).to_owned(), count.into()))
            .collect();
        row.insert("stream".to_owned(), self.name.clone().into());
        row.insert("condition".to_owned(), self.condition().into());
        row.insert("age_us".to_owned(), self.age_ns.map(|age_ns| age_ns / 1_000).into());
        row.into()
    }
}

/// All streams of the daemon, by instrument.
pub(crate) fn streams(connection: &Connection) -> Vec<StreamRow> {
    let (market, now_ns) = (connection.market(), chart_client::now_ns());
    let of = |(place, entry): (usize, &InstrumentEntry)| {
        let (venue, symbol) = (entry.venue.to_string(), entry.symbol.to_string());
        StreamKind::ALL.map(|kind| {
            let state = market.stream(place, kind);
            let age_ns = (state.messages > 0).then(|| now_ns.saturating_sub(state.receive_ns));
            StreamRow { name: format!("{venue}:{symbol} {}", kind.name()), state, age_ns }
        })
    };
    market.instruments().iter().enumerate().flat_map(of).collect()
}
