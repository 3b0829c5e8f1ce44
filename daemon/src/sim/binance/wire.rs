//! The venue's words: each event as the JSON text that Binance would send, field for field.
//!
//! What holds: prices and quantities are text with eight decimals, exact; nothing here decides anything.

use super::super::book::{Book, Diff, Level, Side};
use super::super::klines::Bar;
use super::super::market::{AggTrade, Event, Happening, Pace, Trade};
use super::super::symbol::Symbol;
use super::super::words::{Fixed, List, Wide};
use market::Timeframe;

fn levels(levels: &[Level]) -> String {
    let texts =
        levels.iter().map(|&(price, quantity)| format!(r#"["{}","{}"]"#, Fixed(price), Fixed(quantity)));
    List(texts).to_string()
}

/// An event's frame as a raw stream carries it; `None` for what Binance has no stream of.
pub(in crate::sim) fn frame(symbol: &str, event: &Event) -> Option<String> {
    let time_ms = event.time_ms;
    Some(match &event.happening {
        Happening::Trade(trade) => trade_frame(symbol, time_ms, trade),
        Happening::AggTrade(sum) => agg_trade_frame(symbol, time_ms, sum),
        Happening::Quote { update, top } => format!(
            r#"{{"u":{update},"s":"{symbol}","b":"{}","B":"{}","a":"{}","A":"{}"}}"#,
            Fixed(top.bid.0),
            Fixed(top.bid.1),
            Fixed(top.ask.0),
            Fixed(top.ask.1),
        ),
        Happening::Depth(Pace::Fast | Pace::Slow, diff) => depth_frame(symbol, time_ms, diff),
        Happening::Kline { interval, bar, closed } => {
            kline_frame(symbol, time_ms, Timeframe::ALL[*interval], bar, *closed)
        }
        Happening::Order(_) | Happening::Depth(..) => return None,
    })
}

/// A frame as a combined stream carries it.
pub(in crate::sim) fn combined(stream: &str, frame: &str) -> String {
    format!(r#"{{"stream":"{stream}","data":{frame}}}"#)
}

fn trade_frame(symbol: &str, time_ms: i64, trade: &Trade) -> String {
    format!(
        r#"{{"e":"trade","E":{time_ms},"s":"{symbol}","t":{},"p":"{}","q":"{}","T":{},"m":{},"M":true}}"#,
        trade.id,
        Fixed(trade.price),
        Fixed(trade.quantity),
        trade.time_ms,
        trade.buyer_is_maker,
    )
}

fn agg_trade_frame(symbol: &str, time_ms: i64, sum: &AggTrade) -> String {
    let trade = &sum.trade;
    format!(
        r#"{{"e":"aggTrade","E":{time_ms},"s":"{symbol}","a":{},"p":"{}","q":"{}","f":{},"l":{},"T":{},"m":{},"M":true}}"#,
        trade.aggregate,
        Fixed(trade.price),
        Fixed(trade.quantity),
        trade.id,
        sum.last_id,
        trade.time_ms,
        trade.buyer_is_maker,
    )
}

fn depth_frame(symbol: &str, time_ms: i64, diff: &Diff) -> String {
    format!(
        r#"{{"e":"depthUpdate","E":{time_ms},"s":"{symbol}","U":{},"u":{},"b":{},"a":{}}}"#,
        diff.first_update,
        diff.last_update,
        levels(&diff.bids),
        levels(&diff.asks),
    )
}

fn kline_frame(symbol: &str, time_ms: i64, interval: Timeframe, bar: &Bar, closed: bool) -> String {
    format!(
        concat!(
            r#"{{"e":"kline","E":{},"s":"{}","k":{{"t":{},"T":{},"s":"{}","i":"{}","f":{},"L":{},"#,
            r#""o":"{}","c":"{}","h":"{}","l":"{}","v":"{}","n":{},"x":{},"q":"{}","V":"{}","Q":"{}","B":"0"}}}}"#
        ),
        time_ms,
        symbol,
        bar.open_ms,
        bar.end_ms - 1,
        symbol,
        interval.name(),
        bar.first_id,
        bar.last_id,
        Fixed(bar.open),
        Fixed(bar.close),
        Fixed(bar.high),
        Fixed(bar.low),
        Wide(bar.volume),
        bar.trades,
        closed,
        Wide::quote(bar.quote),
        Wide(bar.buy_volume),
        Wide::quote(bar.buy_quote),
    )
}

/// The REST snapshot of a book.
pub(in crate::sim) fn snapshot(update: u64, bids: &[Level], asks: &[Level]) -> String {
    format!(r#"{{"lastUpdateId":{update},"bids":{},"asks":{}}}"#, levels(bids), levels(asks))
}

/// A partial book: the best levels, without the symbol's name.
pub(in crate::sim) fn partial(book: &Book, count: usize) -> String {
    let side = |side| book.best_first(side).take(count).collect::<Vec<_>>();
    snapshot(book.update(), &side(Side::Bid), &side(Side::Ask))
}

/// What a connection is told before it is closed for the venue's own reasons.
pub(in crate::sim) fn shutdown(time_ms: i64) -> String {
    format!(r#"{{"e":"serverShutdown","E":{time_ms}}}"#)
}

/// The REST rows of klines: Binance's twelve columns.
pub(in crate::sim) fn kline_rows(bars: &[&Bar]) -> String {
    let rows = bars.iter().map(|bar| {
        format!(
            r#"[{},"{}","{}","{}","{}","{}",{},"{}",{},"{}","{}","0"]"#,
            bar.open_ms,
            Fixed(bar.open),
            Fixed(bar.high),
            Fixed(bar.low),
            Fixed(bar.close),
            Wide(bar.volume),
            bar.end_ms - 1,
            Wide::quote(bar.quote),
            bar.trades,
            Wide(bar.buy_volume),
            Wide::quote(bar.buy_quote),
        )
    });
    List(rows).to_string()
}

/// The REST list of trades.
pub(in crate::sim) fn trade_rows<'t>(trades: impl Iterator<Item = &'t Trade> + Clone) -> String {
    let rows = trades.map(|trade| {
        format!(
            r#"{{"id":{},"price":"{}","qty":"{}","quoteQty":"{}","time":{},"isBuyerMaker":{},"isBestMatch":true}}"#,
            trade.id,
            Fixed(trade.price),
            Fixed(trade.quantity),
            Wide::quote(trade.quote()),
            trade.time_ms,
            trade.buyer_is_maker,
        )
    });
    List(rows).to_string()
}

/// The REST list of aggregate trades.
pub(in crate::sim) fn agg_trade_rows(sums: &[AggTrade]) -> String {
    let rows = sums.iter().map(|sum| {
        format!(
            r#"{{"a":{},"p":"{}","q":"{}","f":{},"l":{},"T":{},"m":{},"M":true}}"#,
            sum.trade.aggregate,
            Fixed(sum.trade.price),
            Fixed(sum.trade.quantity),
            sum.trade.id,
            sum.last_id,
            sum.trade.time_ms,
            sum.trade.buyer_is_maker,
        )
    });
    List(rows).to_string()
}

/// The REST description of the venue: what trades here, in which steps.
pub(in crate::sim) fn exchange_info<'s>(
    now_ms: i64,
    symbols: impl Iterator<Item = &'s Symbol> + Clone,
) -> String {
    let symbols = symbols.map(|symbol| {
        let spec = symbol.spec();
        let (tick, lot, most) =
            (Fixed(spec.tick), Fixed(spec.lot), Fixed(spec.typical_quantity * 100 / spec.lot * spec.lot));
        format!(
            concat!(
                r#"{{"symbol":"{}","status":"TRADING","baseAsset":"{}","baseAssetPrecision":8,"#,
                r#""quoteAsset":"{}","quotePrecision":8,"quoteAssetPrecision":8,"filters":["#,
                r#"{{"filterType":"PRICE_FILTER","minPrice":"{}","maxPrice":"{}","tickSize":"{}"}},"#,
                r#"{{"filterType":"LOT_SIZE","minQty":"{}","maxQty":"{}","stepSize":"{}"}}]}}"#
            ),
            spec.name(),
            spec.base,
            spec.quote,
            tick,
            Fixed(spec.start_price * 10),
            tick,
            lot,
            most,
            lot,
        )
    });
    format!(
        r#"{{"timezone":"UTC","serverTime":{now_ms},"rateLimits":[],"exchangeFilters":[],"symbols":{}}}"#,
        List(symbols)
    )
}

/// The error object of the REST endpoints.
pub(in crate::sim) fn error(code: i32, message: &str) -> String {
    format!(r#"{{"code":{code},"msg":{}}}"#, serde_json::Value::from(message))
}

#[cfg(test)]
mod tests {
    use super::super::super::book::Top;
    use super::*;

    fn text(happening: Happening) -> String {
        frame("BTCUSDT", &Event { symbol: 0, time_ms: 1_700_000_000_000, happening }).unwrap()
    }

    /// Field names, their order and the number format are those of recorded Binance frames.
    #[test]
    fn frames_look_like_binance() {
        let trade = Trade {
            id: 7,
            aggregate: 3,
            price: 6_012_345_000_000,
            quantity: 2_000_000,
            time_ms: 1_699_999_999_999,
            buyer_is_maker: true,
            ..Trade::default()
        };
        assert_eq!(
            text(Happening::Trade(trade)),
            r#"{"e":"trade","E":1700000000000,"s":"BTCUSDT","t":7,"p":"60123.45000000","q":"0.02000000","T":1699999999999,"m":true,"M":true}"#
        );
        assert_eq!(
            text(Happening::AggTrade(AggTrade { trade, last_id: 9 })),
            r#"{"e":"aggTrade","E":1700000000000,"s":"BTCUSDT","a":3,"p":"60123.45000000","q":"0.02000000","f":7,"l":9,"T":1699999999999,"m":true,"M":true}"#
        );
        let top = Top { bid: (150_000_000, 1), ask: (150_000_001, 200_000_000) };
        assert_eq!(
            text(Happening::Quote { update: 5, top }),
            r#"{"u":5,"s":"BTCUSDT","b":"1.50000000","B":"0.00000001","a":"1.50000001","A":"2.00000000"}"#
        );
        let diff = Diff { first_update: 4, last_update: 5, bids: vec![(150_000_000, 0)], asks: vec![] };
        assert_eq!(
            text(Happening::Depth(Pace::Fast, diff)),
            r#"{"e":"depthUpdate","E":1700000000000,"s":"BTCUSDT","U":4,"u":5,"b":[["1.50000000","0.00000000"]],"a":[]}"#
        );
    }

    #[test]
    fn klines_look_like_binance() {
        let bar = Bar {
            open_ms: 1_700_000_040_000,
            end_ms: 1_700_000_100_000,
            open: 41_170_000,
            high: 41_180_000,
            low: 41_020_000,
            close: 41_180_000,
            first_id: 4_000_001,
            last_id: 4_000_030,
            trades: 30,
            volume: 1_234_500_000_000,
            quote: 50_814_020_000_000_000_000,
            buy_volume: 7_100_000_000,
            buy_quote: 292_340_700_000_000_000,
        };
        assert_eq!(
            text(Happening::Kline { interval: 1, bar: bar.clone(), closed: false }),
            concat!(
                r#"{"e":"kline","E":1700000000000,"s":"BTCUSDT","k":{"t":1700000040000,"T":1700000099999,"#,
                r#""s":"BTCUSDT","i":"1m","f":4000001,"L":4000030,"o":"0.41170000","c":"0.41180000","#,
                r#""h":"0.41180000","l":"0.41020000","v":"12345.00000000","n":30,"x":false,"#,
                r#""q":"5081.40200000","V":"71.00000000","Q":"29.23407000","B":"0"}}"#
            )
        );
        assert_eq!(
            kline_rows(&[&bar]),
            concat!(
                r#"[[1700000040000,"0.41170000","0.41180000","0.41020000","0.41180000","12345.00000000","#,
                r#"1700000099999,"5081.40200000",30,"71.00000000","29.23407000","0"]]"#
            )
        );
    }
}
