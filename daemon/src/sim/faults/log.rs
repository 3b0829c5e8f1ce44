//! The record of the faults that were made to happen, for tests to read.
//!
//! What holds: it is bounded. When it is full, its older half is forgotten.

use super::Fault;

/// How many faults are remembered at most.
const KEPT: usize = 65_536;

/// A fault that was made to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injected {
    /// When, in ms since the Unix epoch.
    pub time_ms: i64,
    /// On which WebSocket connection, counted from 1; 0 for REST.
    pub connection: u64,
    /// The symbol, as `BTCUSDT`, where the message was about one.
    pub symbol: Option<String>,
    /// The stream, in the venue's words: `depth@100ms`, `trade`, `market_trades`; `rest` for REST.
    pub stream: &'static str,
    /// What it was.
    pub fault: Fault,
    /// The first and last id of the trades whose telling was lost with it; of the lines `mold-a` and `mold-b`,
    /// the numbers of the lost messages.
    pub lost: Option<(i64, i64)>,
}

/// The bounded record.
#[derive(Debug, Default)]
pub(in crate::sim) struct Log {
    entries: Vec<Injected>,
}

impl Log {
    pub(in crate::sim) fn push(&mut self, injected: Injected) {
        if self.entries.len() == KEPT {
            self.entries.drain(..KEPT / 2);
        }
        self.entries.push(injected);
    }

    pub(in crate::sim) fn entries(&self) -> &[Injected] {
        &self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_record_forgets_its_older_half() {
        let mut log = Log::default();
        for time_ms in 0..=KEPT as i64 {
            let injected = Injected {
                time_ms,
                connection: 1,
                symbol: None,
                stream: "x",
                fault: Fault::Drop,
                lost: None,
            };
            log.push(injected);
        }
        assert_eq!(log.entries().len(), KEPT / 2 + 1);
        assert_eq!(log.entries()[0].time_ms, KEPT as i64 / 2);
    }
}
