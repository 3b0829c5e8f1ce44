//! Candles as the market crate has them, and as they lie in shared memory.

use market::{Candle, CandleState, Moment, Ohlc};
use shm::market::CandleRecord;

/// How a candle lies in shared memory, as bar `number` of its series.
pub fn record_of(number: u64, candle: &Candle) -> CandleRecord {
    let ohlc = candle.ohlc.unwrap_or(Ohlc::flat(0));
    let priced = if candle.ohlc.is_some() { CandleRecord::PRICED } else { 0 };
    CandleRecord {
        number,
        open_ms: candle.open_ms,
        state: candle.state as u64 | priced,
        rev: candle.rev.into(),
        open: ohlc.open,
        high: ohlc.high,
        low: ohlc.low,
        close: ohlc.close,
        volume: candle.volume,
        quote_volume: candle.quote_volume,
        taker_buy_volume: candle.taker_buy_volume,
        taker_buy_quote_volume: candle.taker_buy_quote_volume,
        trades: candle.trades,
        first_ms: candle.first.time_ms,
        first_id: candle.first.id,
        last_ms: candle.last.time_ms,
        last_id: candle.last.id,
    }
}

/// The candle that lies in shared memory; `None` if its state is of a newer daemon.
pub fn candle_of(record: &CandleRecord) -> Option<Candle> {
    let ohlc = Ohlc { open: record.open, high: record.high, low: record.low, close: record.close };
    Some(Candle {
        open_ms: record.open_ms,
        state: CandleState::from_raw(record.state as u8)?,
        rev: record.rev as u32,
        ohlc: (record.state & CandleRecord::PRICED != 0).then_some(ohlc),
        volume: record.volume,
        quote_volume: record.quote_volume,
        taker_buy_volume: record.taker_buy_volume,
        taker_buy_quote_volume: record.taker_buy_quote_volume,
        trades: record.trades,
        first: Moment { time_ms: record.first_ms, id: record.first_id },
        last: Moment { time_ms: record.last_ms, id: record.last_id },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candle_survives_shared_memory() {
        let trade = market::Trade {
            first_id: 7,
            last_id: 9,
            time_ms: 1_234,
            price: i64::MAX,
            qty: 5,
            taker: market::Side::Buy,
        };
        let mut traded = Candle::of_trade(1_000, &trade);
        traded.rev = 3;
        for candle in [
            traded,
            Candle::empty(5, CandleState::Gap, Some(1)),
            Candle::empty(5, CandleState::Quiet, Some(1)),
        ] {
            assert_eq!(candle_of(&record_of(11, &candle)), Some(candle));
        }
    }
}
