//! Proof from trade numbers that none is missing and none counted twice.

use crate::Trade;

/// What the numbers of a message prove about the messages before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Integrity {
    /// It follows the one before it.
    Ok,
    /// There is none before it to compare it with.
    Unverifiable,
    /// It was seen already, at least in part, and must not be counted again.
    Duplicate,
    /// The messages numbered `from` up to and including `to` are missing.
    Gap {
        /// First missing number.
        from: u64,
        /// Last missing number.
        to: u64,
    },
}

/// Checks that trade numbers rise by one, as venues with contiguous trade ids promise.
#[derive(Debug, Clone, Copy, Default)]
pub struct TradeSequence {
    last_id: Option<u64>,
}

impl TradeSequence {
    /// Judges `trade` and, unless it is a duplicate, takes it as the latest.
    pub fn check(&mut self, trade: &Trade) -> Integrity {
        let verdict = match self.last_id {
            None => Integrity::Unverifiable,
            Some(last) if trade.first_id <= last => return Integrity::Duplicate,
            Some(last) if trade.first_id == last + 1 => Integrity::Ok,
            Some(last) => Integrity::Gap { from: last + 1, to: trade.first_id - 1 },
        };
        self.last_id = Some(trade.last_id);
        verdict
    }
}
