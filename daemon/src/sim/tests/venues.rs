//! What the venues' words mean: every venue tells the one market, each by its own rules.

use super::super::{Faults, Virtual, What};
use super::{START_MS, hear, hear_json, units, virtual_venue};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A trade as any venue tells it: id, price, quantity, time in ms, whether the buyer was the taker.
type Told = (i64, i128, i128, i64, bool);

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// The millisecond of a time as venues write it.
fn millis(time: &Value) -> i64 {
    text(time).parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

fn binance(message: &Value) -> Told {
    let number = |key: &str| units(text(&message[key]));
    let (id, time) = (message["t"].as_i64().unwrap(), message["T"].as_i64().unwrap());
    (id, number("p"), number("q"), time, message["m"] == json!(false))
}

fn kraken(trade: &Value) -> Told {
    // The text of the numbers is checked with the books; here `f64` is exact enough to name them.
    let number = |key: &str| (trade[key].as_f64().unwrap() * 1e8).round() as i128;
    let id = trade["trade_id"].as_i64().unwrap();
    (id, number("price"), number("qty"), millis(&trade["timestamp"]), trade["side"] == "buy")
}

fn exchange(trade: &Value) -> Told {
    let number = |key: &str| units(text(&trade[key]));
    let id = trade["trade_id"].as_i64().unwrap();
    (id, number("price"), number("size"), millis(&trade["time"]), trade["side"] == "sell")
}

fn advanced(trade: &Value) -> Told {
    let number = |key: &str| units(text(&trade[key]));
    let id = text(&trade["trade_id"]).parse().unwrap();
    (id, number("price"), number("size"), millis(&trade["time"]), trade["side"] == "BUY")
}

/// The truth about a symbol's trades, in the same form.
fn truth(venue: &Virtual, symbol: usize) -> Vec<Told> {
    let trades = venue.truth()[symbol].trades.iter();
    trades.map(|t| (t.id, t.price.into(), t.quantity.into(), t.time_ms, !t.buyer_is_maker)).collect()
}

#[test]
fn every_venue_tells_all_trades_of_the_one_market() {
    let mut venue = virtual_venue(2, Faults::none());
    let conns = [
        venue.connect("/ws/btcusdt@trade").unwrap(),
        venue.connect("/v2").unwrap(),
        venue.connect("/").unwrap(),
        venue.connect("/").unwrap(),
    ];
    venue.send(conns[1], r#"{"method":"subscribe","params":{"channel":"trade","symbol":["BTC/USDT"]}}"#);
    venue.send(conns[2], r#"{"type":"subscribe","product_ids":["BTC-USDT"],"channels":["matches"]}"#);
    venue.send(conns[3], r#"{"type":"subscribe","product_ids":["BTC-USDT"],"channel":"market_trades"}"#);
    let before = venue.truth()[0].trades.len();
    let until = venue.now_ms() + 60_000;
    let mut told: [Vec<Told>; 4] = Default::default();
    let (mut longest, mut times) = (0, [Vec::new(), Vec::new()]);
    for delivery in venue.step(until) {
        let What::Text(words) = delivery.what else { panic!("closed") };
        let message: Value = serde_json::from_str(&words).unwrap();
        let place = conns.iter().position(|conn| *conn == delivery.conn).unwrap();
        match place {
            0 => told[0].push(binance(&message)),
            1 if message["channel"] == "trade" => {
                let fills = message["data"].as_array().unwrap();
                assert!(fills.iter().all(|fill| fill["timestamp"] == fills[0]["timestamp"]));
                longest = longest.max(fills.len());
                times[0].extend(fills.iter().map(|fill| text(&fill["timestamp"]).to_owned()));
                told[1].extend(fills.iter().map(kraken));
            }
            2 if message["type"] == "match" => {
                times[1].push(text(&message["time"]).to_owned());
                told[2].push(exchange(&message));
            }
            3 if message["events"][0]["type"] == "update" => {
                told[3].extend(message["events"][0]["trades"].as_array().unwrap().iter().map(advanced));
            }
            _ => {}
        }
    }
    let truth = &truth(&venue, 0)[before..];
    assert!(truth.len() > 800 && longest >= 5, "{} trades, {longest} in a message", truth.len());
    for (place, told) in told.iter().enumerate() {
        // Advanced Trade's last batch may not be due yet.
        let late = if place == 3 { truth.len() - told.len() } else { 0 };
        assert!(late < 100);
        assert_eq!(told, &truth[..truth.len() - late], "venue {place}");
    }
    assert!(truth.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1));
    // Times have microseconds, the same at both venues that tell them, and never go backwards.
    assert_eq!(times[0], times[1]);
    assert!(times[0].is_sorted() && times[0].iter().any(|time| !time.ends_with("000Z")));
}

#[test]
fn krakens_requests_are_answered_one_by_one() {
    let mut venue = virtual_venue(2, Faults::none());
    let conn = venue.connect("/v2").unwrap();
    let mut ask = |request: &str| {
        venue.send(conn, request);
        let now_ms = venue.now_ms();
        hear_json(&mut venue, conn, 0)
            .into_iter()
            .inspect(|answer| assert!(answer["time_in"].is_null() || millis(&answer["time_in"]) == now_ms))
            .collect::<Vec<_>>()
    };
    assert_eq!(ask(r#"{"method":"ping","req_id":101}"#)[1]["method"], "pong", "after the status");
    let two = ask(
        r#"{"method":"subscribe","params":{"channel":"trade","symbol":["BTC/USDT","ETH/USDT"],"snapshot":true},"req_id":7}"#,
    );
    let kinds: Vec<_> = two.iter().map(|m| (m["success"].clone(), m["channel"].clone())).collect();
    let (ack, data) = ((json!(true), Value::Null), (Value::Null, json!("trade")));
    assert_eq!(kinds, [ack.clone(), data.clone(), ack, data]);
    assert_eq!((&two[0]["req_id"], &two[2]["result"]["symbol"]), (&json!(7), &json!("ETH/USDT")));
    assert_eq!(two[1]["type"], "snapshot");
    assert_eq!(two[1]["data"].as_array().unwrap().len(), 50);
    for (bad, sentence) in [
        (r#"{"channel":"book","symbol":["BTC/USDT"],"depth":27}"#, "Subscription depth not supported"),
        (r#"{"channel":"book","symbol":["XBT/USD"]}"#, "Currency pair not supported XBT/USD"),
        (
            r#"{"channel":"ohlc","symbol":["BTC/USDT"],"interval":2}"#,
            "Subscription ohlc interval not supported",
        ),
        (r#"{"channel":"trade","symbol":["BTC/USDT"]}"#, "Already subscribed"),
        (r#"{"channel":"dance","symbol":["BTC/USDT"]}"#, "Channel not supported"),
    ] {
        let answers = ask(&format!(r#"{{"method":"subscribe","params":{bad}}}"#));
        assert_eq!(answers.len(), 1, "{bad}");
        assert_eq!((&answers[0]["success"], text(&answers[0]["error"])), (&json!(false), sentence));
    }
    let off = r#"{"method":"unsubscribe","params":{"channel":"trade","symbol":["BTC/USDT"]}}"#;
    assert_eq!(ask(off)[0]["success"], json!(true));
    assert_eq!(ask(off)[0]["success"], json!(false));
    assert_eq!(ask("{")[0]["success"], json!(false));
    let said = hear_json(&mut venue, conn, 10_000);
    assert_eq!(said.iter().filter(|message| message["channel"] == "heartbeat").count(), 10);
    let symbols = said.iter().filter_map(|message| message["data"][0]["symbol"].as_str());
    assert!(symbols.into_iter().all(|symbol| symbol == "ETH/USDT"));
}

/// The last that Kraken's and Coinbase's candles say of a bar is what the trades made of it.
#[test]
fn candles_of_all_venues_are_the_true_ones() {
    let mut venue = virtual_venue(2, Faults::none());
    let kraken = venue.connect("/v2").unwrap();
    venue.send(
        kraken,
        r#"{"method":"subscribe","params":{"channel":"ohlc","symbol":["SOL/USDT"],"interval":1}}"#,
    );
    let advanced = venue.connect("/").unwrap();
    venue.send(advanced, r#"{"type":"subscribe","product_ids":["SOL-USDT"],"channel":"candles"}"#);
    let (mut last, mut fives) = (BTreeMap::new(), BTreeMap::new());
    for delivery in venue.step(START_MS + 700_000) {
        let What::Text(words) = delivery.what else { panic!("closed") };
        let message: Value = serde_json::from_str(&words).unwrap();
        if message["channel"] == "ohlc" {
            for bar in message["data"].as_array().unwrap() {
                last.insert(millis(&bar["interval_begin"]), bar.clone());
            }
        } else if message["channel"] == "candles" {
            for bar in message["events"][0]["candles"].as_array().unwrap() {
                fives.insert(text(&bar["start"]).parse::<i64>().unwrap() * 1_000, bar.clone());
            }
        }
    }
    let minutes = venue.truth()[2].minutes.clone();
    assert!(minutes.len() >= 11);
    let (_, body) = venue.get("/0/public/OHLC?pair=SOLUSDT&interval=1");
    let rows: Value = serde_json::from_str(&body).unwrap();
    for bar in &minutes {
        let float = |units: i128| units as f64 / 1e8;
        let told = &last[&bar.open_ms];
        let whole = [("open", bar.open), ("high", bar.high), ("low", bar.low), ("close", bar.close)];
        for (key, value) in whole {
            assert_eq!(told[key].as_f64().unwrap(), float(value.into()), "{key} of {}", bar.open_ms);
        }
        assert_eq!(told["volume"].as_f64().unwrap(), float(bar.volume));
        assert_eq!(told["trades"], json!(bar.trades));
        let rows = rows["result"]["SOLUSDT"].as_array().unwrap();
        let row = rows.iter().find(|row| row[0] == json!(bar.open_ms / 1_000)).unwrap();
        assert_eq!((units(text(&row[1])), units(text(&row[4]))), (bar.open.into(), bar.close.into()));
        assert_eq!((units(text(&row[6])), &row[7]), (bar.volume, &json!(bar.trades)));
        let vwap = bar.quote / bar.volume / 1_000_000 * 1_000_000;
        assert_eq!(units(text(&row[5])), vwap, "cut off at two decimals");
    }
    let whole = fives.iter().filter(|(open, _)| {
        minutes.iter().filter(|bar| bar.open_ms / 300_000 * 300_000 == **open).count() == 5
    });
    let whole: Vec<_> = whole.collect();
    assert_eq!(whole.len(), 2);
    for (open, bar) in whole {
        let own: Vec<_> = minutes.iter().filter(|m| m.open_ms / 300_000 * 300_000 == *open).collect();
        assert_eq!(units(text(&bar["volume"])), own.iter().map(|m| m.volume).sum::<i128>());
        assert_eq!(units(text(&bar["high"])), own.iter().map(|m| m.high).max().unwrap().into());
        assert_eq!(units(text(&bar["open"])), own[0].open.into());
        assert_eq!(units(text(&bar["close"])), own[4].close.into());
    }
    let (_, body) = venue.get("/products/SOL-USDT/candles?granularity=60&start=2023-11-14T22:59:00Z");
    let rows: Value = serde_json::from_str(&body).unwrap();
    let row = rows.as_array().unwrap().last().unwrap();
    let first = minutes.iter().find(|bar| bar.open_ms == row[0].as_i64().unwrap() * 1_000).unwrap();
    assert_eq!(row[2].as_f64().unwrap(), first.high as f64 / 1e8);
    assert_eq!(row[1].as_f64().unwrap(), first.low as f64 / 1e8);
}

#[test]
fn the_exchange_tells_makers_sides_and_proves_its_trades_by_heartbeats() {
    let mut venue = virtual_venue(2, Faults::none());
    let conn = venue.connect("/").unwrap();
    venue.send(
        conn,
        r#"{"type":"subscribe","product_ids":["BTC-USDT"],"channels":["matches","ticker",{"name":"heartbeat","product_ids":["ADA-USDT"]}]}"#,
    );
    let mut sequences = BTreeMap::new();
    let (mut last, mut sides, mut beats, mut tickers) = (None, BTreeMap::new(), BTreeMap::new(), 0);
    for (i, message) in hear_json(&mut venue, conn, 10_000).into_iter().enumerate() {
        let kind = text(&message["type"]).to_owned();
        assert_eq!(kind == "subscriptions", i == 0);
        if let Some(sequence) = message["sequence"].as_u64() {
            let product = text(&message["product_id"]).to_owned();
            // A ticker has the sequence of its match, and `last_match` and the first ticker are of the past.
            let before = sequences.insert(product, sequence).unwrap_or(0);
            assert!(sequence >= before, "{message}");
        }
        match kind.as_str() {
            "match" | "last_match" => {
                let key = (text(&message["product_id"]).to_owned(), message["trade_id"].as_i64().unwrap());
                if key.0 == "BTC-USDT" {
                    last = Some(key.1);
                }
                sides.insert(key, text(&message["side"]).to_owned());
            }
            "ticker" => {
                let key = (text(&message["product_id"]).to_owned(), message["trade_id"].as_i64().unwrap());
                assert_ne!(sides[&key], text(&message["side"]));
                tickers += 1;
            }
            "heartbeat" => {
                // A channel has its own products and those that all share.
                let product = text(&message["product_id"]).to_owned();
                assert!(product != "BTC-USDT" || message["last_trade_id"].as_i64() == last, "{message}");
                *beats.entry(product).or_insert(0) += 1;
            }
            _ => {}
        }
    }
    assert!(tickers > 150, "{tickers} tickers");
    assert_eq!(beats.into_iter().collect::<Vec<_>>(), [("ADA-USDT".into(), 10), ("BTC-USDT".into(), 10)]);
    for (channels, word) in [
        (r#"["level2"]"#, "authentication"),
        (r#"["dance"]"#, "dance is not a valid channel"),
        (r#"[{"name":"matches","product_ids":["DOGE-USD"]}]"#, "DOGE-USD is not a valid product"),
    ] {
        let request = format!(r#"{{"type":"subscribe","product_ids":["BTC-USDT"],"channels":{channels}}}"#);
        venue.send(conn, &request);
        let answer = hear_json(&mut venue, conn, 0).pop().unwrap();
        assert_eq!(answer["type"], "error");
        assert!(text(&answer["reason"]).contains(word), "{answer}");
    }
}

#[test]
fn advanced_trade_numbers_every_message() {
    let mut venue = virtual_venue(2, Faults::none());
    let conn = venue.connect("/").unwrap();
    for channel in ["heartbeats", "market_trades", "level2", "ticker", "candles"] {
        let request =
            format!(r#"{{"type":"subscribe","product_ids":["BTC-USDT","ETH-USDT"],"channel":"{channel}"}}"#);
        venue.send(conn, &request);
    }
    let said = hear_json(&mut venue, conn, 10_000);
    let mut counters = Vec::new();
    for (i, message) in said.iter().enumerate() {
        assert_eq!(message["sequence_num"], json!(i));
        millis(&message["timestamp"]);
        let event = &message["events"][0];
        match text(&message["channel"]) {
            "heartbeats" => counters.push(event["heartbeat_counter"].as_u64().unwrap()),
            "market_trades" => {
                let trades = event["trades"].as_array().unwrap();
                let ids: Vec<i64> = trades.iter().map(|t| text(&t["trade_id"]).parse().unwrap()).collect();
                let step = if event["type"] == "snapshot" { -1 } else { 1 };
                assert!(ids.windows(2).all(|pair| pair[1] == pair[0] + step), "{ids:?}");
            }
            _ => {}
        }
    }
    assert_eq!(counters, (0..10).collect::<Vec<_>>());
    let digits = |message: &Value| text(&message["timestamp"]).len();
    let lengths: std::collections::BTreeSet<_> = said.iter().map(digits).collect();
    assert_eq!(lengths.into_iter().collect::<Vec<_>>(), [24, 27, 30]);
}

#[test]
fn coinbase_closes_whoever_does_not_subscribe() {
    let mut venue = virtual_venue(2, Faults::none());
    let (silent, odd) = (venue.connect("/").unwrap(), venue.connect("/").unwrap());
    venue.send(odd, r#"{"type":"hello"}"#);
    let start_ms = venue.now_ms();
    let said = venue.step(start_ms + 6_000);
    let closed = |conn| {
        let closed = said.iter().find(|d| d.conn == conn && d.what == What::Closed);
        closed.map(|delivery| delivery.time_ms - start_ms)
    };
    assert_eq!((closed(silent), closed(odd)), (Some(5_000), Some(5_000)));
    assert!(said.iter().any(|d| matches!(&d.what, What::Text(text) if text.contains("error"))));
    assert!(venue.connect("/v3").is_err() && venue.connect("/ws/nosuch@trade").is_err());
}

#[test]
fn binance_ends_connections_by_its_own_rules() {
    let mut config = super::SimConfig::new(std::net::SocketAddr::from(([127, 0, 0, 1], 0)), 1);
    config.warm_up = std::time::Duration::ZERO;
    config.shutdown_after = Some(std::time::Duration::from_secs(2));
    config.shutdown_notice = std::time::Duration::from_secs(1);
    let mut venue = Virtual::new(config.clone(), Faults::none(), START_MS).unwrap();
    let raw = venue.connect("/ws").unwrap();
    let combined = venue.connect("/stream").unwrap();
    let kraken = venue.connect("/v2").unwrap();
    let said = venue.step(START_MS + 10_000);
    let event = format!(r#"{{"e":"serverShutdown","E":{}}}"#, START_MS + 2_000);
    let wrapped = format!(r#"{{"stream":"!serverShutdown","data":{event}}}"#);
    for (conn, text) in [(raw, event), (combined, wrapped)] {
        let mine: Vec<_> = said.iter().filter(|d| d.conn == conn).collect();
        assert_eq!((mine.len(), &mine[0].what), (2, &What::Text(text)));
        assert_eq!((mine[1].time_ms, &mine[1].what), (START_MS + 3_000, &What::Closed));
    }
    assert!(!said.iter().any(|d| d.conn == kraken && d.what == What::Closed));
    config.shutdown_after = None;
    config.max_age = Some(std::time::Duration::from_secs(4));
    let mut venue = Virtual::new(config, Faults::none(), START_MS).unwrap();
    let conn = venue.connect("/ws").unwrap();
    assert_eq!(hear(&mut venue, conn, 10_000), [(START_MS + 4_000, "closed".to_owned())]);
}

/// Whoever pages by each venue's own rules gets all trades there are.
#[test]
fn every_venues_history_can_be_paged_through() {
    let mut venue = virtual_venue(2, Faults::none());
    venue.step(venue.now_ms() + 60_000);
    let truth = truth(&venue, 0);
    let json = |(status, body): (u16, String)| -> Value {
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    };

    let (mut told, mut from) = (Vec::new(), truth[0].0);
    loop {
        let target = format!("/api/v3/historicalTrades?symbol=BTCUSDT&fromId={from}&limit=300");
        let page = json(venue.get(&target));
        let rows = page.as_array().unwrap().clone();
        let Some(last) = rows.last() else { break };
        from = last["id"].as_i64().unwrap() + 1;
        told.extend(rows.iter().map(|row| row["id"].as_i64().unwrap()));
    }
    let ids: Vec<i64> = truth.iter().map(|trade| trade.0).collect();
    assert_eq!(told, ids, "Binance");
    let newest = json(venue.get("/api/v3/historicalTrades?symbol=BTCUSDT&limit=2"));
    assert_eq!(newest[1]["id"].as_i64().unwrap(), *ids.last().unwrap());

    let (mut told, mut since) = (Vec::new(), "0".to_owned());
    loop {
        let page = json(venue.get(&format!("/0/public/Trades?pair=BTCUSDT&since={since}&count=97")));
        let rows = page["result"]["XBTUSDT"].as_array().unwrap().clone();
        if rows.is_empty() {
            break;
        }
        since = text(&page["result"]["last"]).to_owned();
        told.extend(rows.iter().map(|row| row[6].as_i64().unwrap()));
        assert!(told.len() <= ids.len(), "Kraken tells a trade twice");
    }
    assert_eq!(told, ids, "Kraken");

    let (mut told, mut after) = (Vec::new(), i64::MAX);
    loop {
        let page = json(venue.get(&format!("/products/BTC-USDT/trades?after={after}&limit=101")));
        let rows = page.as_array().unwrap().clone();
        let Some(last) = rows.last() else { break };
        after = last["trade_id"].as_i64().unwrap();
        told.extend(rows.iter().map(exchange));
    }
    told.reverse();
    assert_eq!(told, truth, "Exchange");

    let (first, last) = (truth[0].3 / 1_000, truth.last().unwrap().3 / 1_000);
    let mut told = Vec::new();
    for second in first..=last {
        let target = format!(
            "/api/v3/brokerage/market/products/BTC-USDT/ticker?limit=1000&start={second}&end={second}"
        );
        let page = json(venue.get(&target));
        told.extend(page["trades"].as_array().unwrap().iter().rev().map(advanced));
    }
    assert_eq!(told, truth, "Advanced Trade");
    assert_eq!(json(venue.get("/api/v3/brokerage/market/products"))["num_products"], 4);
    assert_eq!(json(venue.get("/products")).as_array().unwrap().len(), 4);
    assert_eq!(venue.get("/products/NO-SUCH/trades").0, 404);
    assert!(venue.get("/0/public/Trades?pair=NOSUCH").1.contains("EQuery:Unknown asset pair"));
}
