//! Books kept from the words alone, by the documented rules, against the venue's own.

use super::super::kraken::book::checksum;
use super::super::{Faults, Virtual};
use super::{hear, hear_json, recorded, units, virtual_venue};
use serde_json::Value;
use std::collections::BTreeMap;

/// A Kraken book as the documentation tells to keep it: the numbers' very text.
#[derive(Default, Clone)]
struct Kept {
    bids: BTreeMap<i128, (String, String)>,
    asks: BTreeMap<i128, (String, String)>,
}

impl Kept {
    /// Applies a message, and truncates to `depth`. The checksum that the message claims.
    fn apply(&mut self, text: &str, depth: usize) -> u32 {
        for (list, side) in [("bids", &mut self.bids), ("asks", &mut self.asks)] {
            let from = text.find(&format!("\"{list}\":[")).unwrap() + list.len() + 4;
            let to = from + text[from..].find(']').unwrap();
            for level in text[from..to].split("},").filter(|level| !level.is_empty()) {
                let field = |name: &str| {
                    let from = level.find(&format!("\"{name}\":")).unwrap() + name.len() + 3;
                    level[from..].trim_end_matches('}').split(',').next().unwrap().to_owned()
                };
                let (price, quantity) = (field("price"), field("qty"));
                if units(&quantity) == 0 {
                    side.remove(&units(&price));
                } else {
                    side.insert(units(&price), (price, quantity));
                }
            }
        }
        while self.bids.len() > depth {
            self.bids.pop_first();
        }
        while self.asks.len() > depth {
            self.asks.pop_last();
        }
        let from = text.find("\"checksum\":").unwrap() + 11;
        text[from..].split(',').next().unwrap().parse().unwrap()
    }

    /// The checksum by the documentation, with another's CRC.
    fn sum(&self) -> u32 {
        let mut crc = flate2::Crc::new();
        for (price, quantity) in self.asks.values().take(10).chain(self.bids.values().rev().take(10)) {
            for number in [price, quantity] {
                crc.update(number.replace('.', "").trim_start_matches('0').as_bytes());
            }
        }
        crc.sum()
    }

    /// The same with the simulator's own function.
    fn sum_of_ours(&self, places: usize) -> u32 {
        let level =
            |(price, (_, quantity)): (&i128, &(String, String))| (*price as i64, units(quantity) as i64);
        let asks: Vec<_> = self.asks.iter().map(level).collect();
        let bids: Vec<_> = self.bids.iter().rev().map(level).collect();
        checksum(&asks, &bids, places)
    }
}

/// The example of Kraken's documentation of the checksum.
#[test]
fn the_checksum_is_the_documented_one() {
    let levels = |text: &str| -> Vec<(i64, i64)> {
        let numbers: Vec<i64> = text.split(' ').map(|number| units(number) as i64).collect();
        numbers.chunks(2).map(|pair| (pair[0], pair[1])).collect()
    };
    let asks = levels(
        "45285.2 0.00100000 45286.4 1.54571953 45286.6 1.54571109 45289.6 1.54560911 45290.2 0.15890660 \
         45291.8 1.54553491 45294.7 0.04454749 45296.1 0.35380000 45297.5 0.09945542 45299.5 0.18772827",
    );
    let bids = levels(
        "45283.5 0.10000000 45283.4 1.54582015 45282.1 0.10000000 45281.0 0.10000000 45280.3 1.54592586 \
         45279.0 0.07990000 45277.6 0.03310103 45277.5 0.30000000 45277.3 1.54602737 45276.6 0.15445238",
    );
    assert_eq!(checksum(&asks, &bids, 1), 3_310_070_434);
}

#[test]
fn the_checksum_is_that_of_recorded_books() {
    let Some(file) = recorded("kraken_v2/kraken_minagbp_d25_20260816.head.ndjson") else { return };
    let (mut kept, mut seen) = (Kept::default(), 0);
    for line in file.lines().filter(|line| line.contains("\"checksum\"")) {
        let claimed = kept.apply(line, 25);
        assert_eq!((kept.sum(), kept.sum_of_ours(4)), (claimed, claimed), "{line}");
        seen += 1;
    }
    assert_eq!(seen, 13);
}

fn subscribe_book(venue: &mut Virtual, symbol: &str, depth: usize) -> u64 {
    let conn = venue.connect("/v2").unwrap();
    let text = format!(
        r#"{{"method":"subscribe","params":{{"channel":"book","symbol":["{symbol}"],"depth":{depth}}}}}"#
    );
    venue.send(conn, &text);
    conn
}

#[test]
fn krakens_books_can_be_kept_and_must_be_truncated() {
    let mut venue = virtual_venue(3, Faults::none());
    for (symbol, binance, depth) in [("BTC/USDT", "BTCUSDT", 10), ("ADA/USDT", "ADAUSDT", 25)] {
        let conn = subscribe_book(&mut venue, symbol, depth);
        let (mut kept, mut careless) = (Kept::default(), Kept::default());
        let (mut updates, mut wrong) = (0, 0);
        for (_, text) in hear(&mut venue, conn, 30_000) {
            if text.contains("\"checksum\"") {
                let claimed = kept.apply(&text, depth);
                assert_eq!(kept.sum(), claimed, "{text}");
                wrong += u32::from({
                    careless.apply(&text, usize::MAX);
                    careless.sum() != claimed
                });
                updates += 1;
            }
        }
        assert!(updates > 500, "{updates} updates");
        if depth == 10 {
            assert!(wrong > 100, "a client that does not truncate was wrong {wrong} times of {updates}");
        }
        let (_, body) = venue.get(&format!("/api/v3/depth?symbol={binance}&limit={depth}"));
        let body: Value = serde_json::from_str(&body).unwrap();
        let prices = |list: &str| -> Vec<i128> {
            body[list].as_array().unwrap().iter().map(|level| units(level[0].as_str().unwrap())).collect()
        };
        assert_eq!(kept.bids.keys().rev().copied().collect::<Vec<_>>(), prices("bids"));
        assert_eq!(kept.asks.keys().copied().collect::<Vec<_>>(), prices("asks"));
    }
}

/// Both of Coinbase's books, kept from snapshot and changes, are the REST book in the end.
#[test]
fn coinbases_books_can_be_kept() {
    let mut venue = virtual_venue(3, Faults::none());
    let exchange = venue.connect("/").unwrap();
    venue.send(exchange, r#"{"type":"subscribe","product_ids":["ETH-USDT"],"channels":["level2_batch"]}"#);
    let advanced = venue.connect("/").unwrap();
    venue.send(advanced, r#"{"type":"subscribe","product_ids":["ETH-USDT"],"channel":"level2"}"#);
    let mut kept = [[BTreeMap::new(), BTreeMap::new()], [BTreeMap::new(), BTreeMap::new()]];
    let mut set = |venue: usize, side: &str, price: &Value, quantity: &Value| {
        let side = usize::from(side == "sell" || side == "offer");
        let (price, quantity) = (units(price.as_str().unwrap()), units(quantity.as_str().unwrap()));
        if quantity == 0 {
            kept[venue][side].remove(&price);
        } else {
            kept[venue][side].insert(price, quantity);
        }
    };
    // Whatever the beat of the symbol: wait until a batch has just been told.
    let mut deliveries = venue.step(venue.now_ms() + 20_000);
    loop {
        let more = venue.step(venue.now_ms() + 1);
        let told = more.len() == 2;
        deliveries.extend(more);
        if told {
            break;
        }
    }
    for delivery in deliveries {
        let super::What::Text(text) = delivery.what else { panic!("closed") };
        let message: Value = serde_json::from_str(&text).unwrap();
        if delivery.conn == exchange {
            for (list, side) in [("bids", "buy"), ("asks", "sell")] {
                for level in message[list].as_array().into_iter().flatten() {
                    set(0, side, &level[0], &level[1]);
                }
            }
            for change in message["changes"].as_array().into_iter().flatten() {
                set(0, change[0].as_str().unwrap(), &change[1], &change[2]);
            }
        } else if message["channel"] == "l2_data" {
            for update in message["events"][0]["updates"].as_array().unwrap() {
                set(1, update["side"].as_str().unwrap(), &update["price_level"], &update["new_quantity"]);
            }
        }
    }
    let (_, body) = venue.get("/products/ETH-USDT/book?level=2");
    let body: Value = serde_json::from_str(&body).unwrap();
    for (side, list) in ["bids", "asks"].into_iter().enumerate() {
        let level = |level: &Value| (units(level[0].as_str().unwrap()), units(level[1].as_str().unwrap()));
        let theirs: BTreeMap<_, _> = body[list].as_array().unwrap().iter().map(level).collect();
        assert!(theirs.len() >= 100);
        assert_eq!(kept[0][side], theirs, "Exchange, {list}");
        assert_eq!(kept[1][side], theirs, "Advanced Trade, {list}");
    }
}

/// A partial book is the beginning of the whole one, without the symbol's name.
#[test]
fn binances_partial_books_are_the_top_of_the_whole_one() {
    let mut venue = virtual_venue(3, Faults::none());
    let conn = venue.connect("/ws/btcusdt@depth5@100ms/btcusdt@depth@100ms").unwrap();
    let combined = venue.connect("/stream?streams=btcusdt@depth20").unwrap();
    let (_, body) = venue.get("/api/v3/depth?symbol=BTCUSDT&limit=5000");
    let mut kept = [BTreeMap::new(), BTreeMap::new()];
    let apply = |kept: &mut [BTreeMap<i128, i128>; 2], bids: &Value, asks: &Value| {
        for (side, levels) in kept.iter_mut().zip([bids, asks]) {
            for level in levels.as_array().unwrap() {
                let (price, quantity) =
                    (units(level[0].as_str().unwrap()), units(level[1].as_str().unwrap()));
                side.insert(price, quantity);
            }
            side.retain(|_, quantity| *quantity > 0);
        }
    };
    let seed: Value = serde_json::from_str(&body).unwrap();
    apply(&mut kept, &seed["bids"], &seed["asks"]);
    let (mut at, mut partial) = (seed["lastUpdateId"].as_u64().unwrap(), 0);
    let deliveries = venue.step(venue.now_ms() + 10_000);
    for delivery in &deliveries {
        let super::What::Text(text) = &delivery.what else { panic!("closed") };
        let message: Value = serde_json::from_str(text).unwrap();
        if delivery.conn == combined {
            assert_eq!(message["stream"], "btcusdt@depth20");
            assert_eq!(message["data"]["asks"].as_array().unwrap().len(), 20);
        } else if message["e"] == "depthUpdate" {
            if message["u"].as_u64().unwrap() > at {
                at = message["u"].as_u64().unwrap();
                apply(&mut kept, &message["b"], &message["a"]);
            }
        } else {
            assert_eq!(message.as_object().unwrap().len(), 3);
            assert_eq!(message["lastUpdateId"].as_u64().unwrap(), at);
            let price = |level: &Value| units(level[0].as_str().unwrap());
            let bids: Vec<_> = message["bids"].as_array().unwrap().iter().map(price).collect();
            let asks: Vec<_> = message["asks"].as_array().unwrap().iter().map(price).collect();
            assert_eq!(bids, kept[0].keys().rev().take(5).copied().collect::<Vec<_>>());
            assert_eq!(asks, kept[1].keys().take(5).copied().collect::<Vec<_>>());
            partial += 1;
        }
    }
    assert!(partial > 80 && deliveries.iter().filter(|d| d.conn == combined).count() >= 9);
    assert!(hear_json(&mut venue, conn, 100).len() <= 2);
}
