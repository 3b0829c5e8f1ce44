//! The venues' words against recorded ones: the same keys, in the same order, with the same kinds of values.

use super::super::Faults;
use super::{hear, recorded, virtual_venue};
use std::collections::BTreeMap;

/// A message without its values: keys in their order, `s` for text, `n` and the like for numbers, and of a list
/// what its first item is. Blanks are left out.
fn skeleton(text: &str) -> String {
    let compact = compact(text);
    let mut at = 0;
    let bones = value(compact.as_bytes(), &mut at);
    assert_eq!(at, compact.len(), "{text}");
    bones
}

/// Without the blanks between tokens.
fn compact(text: &str) -> String {
    let mut quoted = false;
    text.chars()
        .filter(|&c| {
            quoted ^= c == '"';
            quoted || !c.is_whitespace()
        })
        .collect()
}

fn value(text: &[u8], at: &mut usize) -> String {
    let start = *at;
    match text[*at] {
        b'"' => {
            *at += 2 + text[*at + 1..].iter().position(|&b| b == b'"').unwrap();
            "s".to_owned()
        }
        b'{' => {
            let mut bones = "{".to_owned();
            while text[*at] != b'}' {
                *at += 1;
                let key = *at;
                value(text, at);
                bones.push_str(str::from_utf8(&text[key..*at]).unwrap());
                assert_eq!(text[*at], b':');
                *at += 1;
                bones.push(':');
                bones.push_str(&value(text, at));
                bones.push(',');
            }
            *at += 1;
            bones + "}"
        }
        b'[' => {
            let mut items = Vec::new();
            while text[*at] != b']' {
                *at += 1;
                if text[*at] != b']' {
                    items.push(value(text, at));
                }
            }
            *at += 1;
            // A level is a pair of texts, so all of it counts; of like things the first does.
            let like = items.windows(2).all(|pair| pair[0] == pair[1]);
            if like && (items.len() != 2 || items[0] != "s") {
                items.truncate(1);
            }
            format!("[{}]", items.join(","))
        }
        _ => {
            *at += text[*at..].iter().position(|b| b",]}".contains(b)).unwrap();
            let word = str::from_utf8(&text[start..*at]).unwrap();
            if word.parse::<f64>().is_ok() { "n".to_owned() } else { word.to_owned() }
        }
    }
}

/// One skeleton for each kind of message, by the words that tell the kind.
fn kinds<'t>(texts: impl Iterator<Item = &'t str>, tell: &[&str]) -> BTreeMap<String, Vec<String>> {
    let mut kinds = BTreeMap::<String, Vec<String>>::new();
    for text in texts {
        let parsed: serde_json::Value = serde_json::from_str(text).unwrap();
        let kind: Vec<_> =
            tell.iter().filter_map(|key| parsed.pointer(key)).map(ToString::to_string).collect();
        let known = kinds.entry(kind.join(" ")).or_default();
        let bones = skeleton(text);
        if !known.contains(&bones) {
            known.push(bones);
        }
    }
    kinds
}

/// For each of `wanted`, some message of ours has the very skeleton of a recorded one.
fn same(ours: &BTreeMap<String, Vec<String>>, theirs: &BTreeMap<String, Vec<String>>, wanted: &[&str]) {
    for kind in wanted {
        let (ours, theirs) = (&ours[*kind], &theirs[*kind]);
        assert!(ours.iter().any(|bones| theirs.contains(bones)), "{kind}:\n{ours:?}\n{theirs:?}");
    }
}

#[test]
fn binance_is_told_as_recorded() {
    let Some(file) = recorded("binance_spot/btcusdt_20240808.gz") else { return };
    let frames: Vec<&str> = file.lines().take(400).map(|line| line.split_once(' ').unwrap().1).collect();
    let mut venue = virtual_venue(1, Faults::none());
    let conn = venue.connect("/stream?streams=btcusdt@trade/btcusdt@depth@100ms/btcusdt@bookTicker").unwrap();
    let said = hear(&mut venue, conn, 3_000);
    let tell = ["/stream"];
    let ours = kinds(said.iter().map(|(_, text)| text.as_str()), &tell);
    let (streams, rest): (Vec<&str>, Vec<&str>) = frames.iter().partition(|f| f.contains("\"stream\""));
    let wanted = [r#""btcusdt@bookTicker""#, r#""btcusdt@depth@100ms""#, r#""btcusdt@trade""#];
    same(&ours, &kinds(streams.into_iter(), &tell), &wanted);
    let (status, depth) = venue.get("/api/v3/depth?symbol=BTCUSDT&limit=1000");
    assert_eq!((status, skeleton(&depth)), (200, skeleton(rest[0])));
}

#[test]
fn kraken_is_told_as_recorded() {
    let Some(file) = recorded("kraken_v2/kraken_minagbp_d25_20260816.head.ndjson") else { return };
    let Some(quoted) = recorded("kraken_v2/real_frames.ndjson") else { return };
    let frames = file.lines().skip(2).map(|line| {
        let from = line.find(r#""frame": "#).unwrap() + 9;
        &line[from..line.len() - 1]
    });
    let tell = ["/channel", "/type", "/method", "/success"];
    let theirs = kinds(frames.chain(quoted.lines()), &tell);
    let mut venue = virtual_venue(1, Faults::none());
    let conn = venue.connect("/v2").unwrap();
    for (channel, more) in
        [("book", r#","depth":25,"snapshot":true"#), ("trade", ""), ("book", r#","depth":27"#)]
    {
        venue.send(
            conn,
            &format!(
                r#"{{"method":"subscribe","params":{{"channel":"{channel}","symbol":["BTC/USDT"]{more}}}}}"#
            ),
        );
    }
    let said = hear(&mut venue, conn, 5_000);
    let ours = kinds(said.iter().map(|(_, text)| text.as_str()), &tell);
    same(
        &ours,
        &theirs,
        &[
            r#""status" "update""#,
            r#""subscribe" true"#,
            r#""book" "snapshot""#,
            r#""book" "update""#,
            r#""trade" "update""#,
            r#""subscribe" false"#,
            r#""heartbeat""#,
        ],
    );
    let numbers = said.iter().filter(|(_, text)| text.contains(r#""channel":"book""#));
    for (_, text) in numbers {
        for part in text.split(r#""qty":"#).skip(1) {
            let decimals = part.split_once('.').unwrap().1.find(|c: char| !c.is_ascii_digit());
            assert_eq!(decimals, Some(8), "{part}");
        }
    }
}

#[test]
fn krakens_rest_is_told_as_recorded() {
    let Some(trades) = recorded("kraken_rest/http_trades.json.gz") else { return };
    let Some(candles) = recorded("kraken_rest/http_ohlc.json.gz") else { return };
    let mut venue = virtual_venue(1, Faults::none());
    venue.step(venue.now_ms() + 130_000);
    let (status, ours) = venue.get("/0/public/Trades?pair=XBTUSDT");
    assert_eq!((status, skeleton(&ours)), (200, skeleton(&trades)));
    let (status, ours) = venue.get("/0/public/OHLC?pair=XBTUSDT&interval=1");
    assert_eq!((status, skeleton(&ours)), (200, skeleton(&candles)));
    let (_, pairs) = venue.get("/0/public/AssetPairs?pair=BTC/USDT");
    let pairs: serde_json::Value = serde_json::from_str(&pairs).unwrap();
    let ours = pairs["result"]["XBTUSDT"].as_object().unwrap();
    assert_eq!((&ours["wsname"], &ours["tick_size"]), (&"XBT/USDT".into(), &"0.01".into()));
    let Some(theirs) = recorded("kraken_rest/http_asset_pairs.json.gz") else { return };
    let theirs: serde_json::Value = serde_json::from_str(&theirs).unwrap();
    for (key, value) in ours {
        let known = &theirs["result"]["XBTUSDT"][key];
        assert_eq!(std::mem::discriminant(known), std::mem::discriminant(value), "{key}");
    }
}

#[test]
fn krakens_instruments_are_told_as_recorded() {
    let Some(theirs) = recorded("kraken_v2/instrument_snapshot.json.gz") else { return };
    let mut venue = virtual_venue(1, Faults::none());
    let conn = venue.connect("/v2").unwrap();
    venue.send(conn, r#"{"method":"subscribe","params":{"channel":"instrument"}}"#);
    let said = hear(&mut venue, conn, 1);
    let ours = said.iter().find(|(_, text)| text.starts_with(r#"{"channel":"instrument""#)).unwrap();
    let first = |text: &str, list: &str| {
        let text = compact(text);
        let from = text.find(&format!("\"{list}\":[")).unwrap() + list.len() + 4;
        let to = from + text[from..].find('}').unwrap();
        // An asset may be borrowed or not, a pair margined or not.
        skeleton(&text[from..=to]).replace("true", "false")
    };
    for list in ["assets", "pairs"] {
        assert_eq!(first(&ours.1, list), first(&theirs, list), "{list}");
    }
}

#[test]
fn coinbase_exchange_is_told_as_recorded() {
    let Some(file) = recorded("coinbase_exchange/cryptofeed_COINBASE.ws.28.0.gz") else { return };
    let frames = file.lines().skip(1).filter(|line| !line.starts_with("wss:") && line.contains(": {"));
    let theirs = kinds(frames.map(|line| line.split_once(": ").unwrap().1), &["/type"]);
    let mut venue = virtual_venue(1, Faults::none());
    let conn = venue.connect("/").unwrap();
    venue.send(
        conn,
        r#"{"type":"subscribe","product_ids":["BTC-USDT","ADA-USDT","SOL-USDT"],"channels":["matches","ticker","level2_batch"]}"#,
    );
    let said = hear(&mut venue, conn, 5_000);
    let ours = kinds(said.iter().map(|(_, text)| text.as_str()), &["/type"]);
    let wanted = ["snapshot", "l2update", "match", "last_match", "ticker", "subscriptions"];
    same(&ours, &theirs, &wanted.map(|kind| format!("\"{kind}\"")).each_ref().map(String::as_str));
}

#[test]
fn coinbase_advanced_is_told_as_recorded() {
    let Some(real) = recorded("coinbase_advanced/real_frames.ndjson") else { return };
    let shapes = ["candles", "heartbeats", "l2_data_snapshot", "l2_data_update", "subscriptions", "ticker"];
    let shapes = shapes.map(|name| recorded(&format!("coinbase_advanced/nautilus_ws_{name}.json")).unwrap());
    let tell = ["/channel"];
    let theirs = kinds(real.lines().chain(shapes.iter().map(String::as_str)), &tell);
    let mut venue = virtual_venue(1, Faults::none());
    let conn = venue.connect("/").unwrap();
    for channel in ["market_trades", "level2", "ticker", "candles", "heartbeats"] {
        let more = if channel == "market_trades" { r#","ETH-USDT""# } else { "" };
        let text =
            format!(r#"{{"type":"subscribe","product_ids":["BTC-USDT"{more}],"channel":"{channel}"}}"#);
        venue.send(conn, &text);
    }
    let said = hear(&mut venue, conn, 5_000);
    let ours = kinds(said.iter().map(|(_, text)| text.as_str()), &tell);
    let wanted = ["market_trades", "candles", "heartbeats", "l2_data", "ticker", "subscriptions"];
    same(&ours, &theirs, &wanted.map(|kind| format!("\"{kind}\"")).each_ref().map(String::as_str));
}
