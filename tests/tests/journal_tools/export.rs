//! `chartd journal export` as CSV and JSON lines.

use super::*;
use build::{BEGIN_NS, STEP_NS};
use flate2::read::MultiGzDecoder;
use journal::Kind;
use market::{Instrument, Instruments, Message, Side, Venue, decimal};
use serde_json::json;
use std::fmt::Write;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::Command;

pub(crate) const TRADES: &str =
    "sequence,receive_time_ns,venue,symbol,time_ms,event_time_ms,first_id,last_id,price,qty,taker,origin";
pub(crate) const QUOTES: &str =
    "sequence,receive_time_ns,venue,symbol,line,event_time_ms,update_id,bid_price,bid_qty,ask_price,ask_qty";

/// The payload of fetched trades of Binance: number, and price in hundredths.
pub(crate) fn fetched(trades: &[(u64, i64)], is_final: bool) -> Vec<u8> {
    let (first, last) = (trades[0].0, trades[trades.len() - 1].0);
    let mut bytes = vec![0, 0, is_final.into(), 0];
    bytes.extend((trades.len() as u32).to_le_bytes());
    [first, last, 0, 1 << 42].iter().for_each(|word| bytes.extend(word.to_le_bytes()));
    for (id, price) in trades {
        [*id, *id, 1_723_075_200_000 + id].iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        [*price, 100].iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        bytes.push(0);
    }
    bytes
}

/// Exports to standard output.
fn exported(dir: &Path, args: &[&str], code: i32) -> String {
    stdout(&on("export", dir, &[&["-o", "-"], args].concat(), code))
}

/// The ids and the origins of exported trades.
fn told(csv: &str) -> Vec<(String, String)> {
    let column = |line: &str, place: usize| line.split(',').nth(place).unwrap().to_owned();
    csv.lines().skip(1).map(|line| (column(line, 6), column(line, 11))).collect()
}

#[test]
fn trades_are_written_as_they_were_traded() {
    let journal = whole();
    let csv = exported(journal.path(), &[], 0);
    let all: Vec<_> = csv.lines().collect();
    assert_eq!(all.len(), 152);
    assert_eq!(all[0], TRADES);
    let ns = |record: u64| BEGIN_NS + record * STEP_NS;
    let binance = "binance,BTCUSDT,1723075200100,1723075200101,100,100,60939.99,0.001,sell,stream";
    assert_eq!(all[1], format!("2,{},{binance}", ns(2)));
    let kraken = "kraken,BTC/USD,1723075201001,1723075201001,1,1,60941.5,0.00409283,sell,stream";
    assert_eq!(all[4], format!("5,{},{kraken}", ns(5)));
    let last = "binance,BTCUSDT,1723075200200,1723075200201,200,200,60941,0.001,sell,stream";
    assert_eq!(all[151], format!("{},{},{last}", journal.next - 1, ns(journal.next - 1)));

    let json = exported(journal.path(), &["--format", "jsonl", "--symbol", "kraken:BTC/USD"], 0);
    let json: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(json.len(), 50);
    let expected = json!({
        "sequence": 5, "receive_time_ns": ns(5), "venue": "kraken", "symbol": "BTC/USD",
        "time_ms": 1_723_075_201_001u64, "event_time_ms": 1_723_075_201_001u64, "first_id": 1, "last_id": 1,
        "price": "60941.5", "qty": "0.00409283", "taker": "sell", "origin": "stream",
    });
    assert_eq!(json[1], expected);

    let part = exported(journal.path(), &["--from", &ns(5).to_string(), "--to", &ns(8).to_string()], 0);
    assert_eq!(told(&part).len(), 3);
}

#[test]
fn each_trade_is_written_once_and_what_was_lost_when_it_was_fetched() {
    let mut journal = Journal::new();
    journal.start(&two_feeds("aa", 1));
    for id in [1, 2, 2, 3, 7] {
        journal.frame(0, 0, &binance_trade(id, "1.0"));
    }
    journal.frame(0, 1, &binance_trade(7, "1.0"));
    // Five is fetched twice, and three was never missed.
    journal.record(Kind::Trades, 0, 0, &fetched(&[(3, 100), (4, 100), (5, 150)], false));
    journal.record(Kind::Trades, 0, 0, &fetched(&[(5, 100), (6, 100)], true));
    journal.start(&two_feeds("aa", 2));
    journal.frame(0, 0, &binance_trade(7, "1.0"));
    journal.start(&two_feeds("bb", 1));
    journal.frame(0, 0, &binance_trade(7, "1.0"));
    journal.frame(0, 0, &binance_trade(8, "1.0"));
    journal.finish();
    let owned = |(id, origin): &(&str, &str)| (id.to_string(), origin.to_string());
    let streamed = ["1", "2", "3", "7"].map(|id| (id, "stream"));
    let later = ["4", "5", "6"].map(|id| (id, "fetched"));
    let expected: Vec<_> = streamed.iter().chain(&later).chain(&[("8", "stream")]).map(owned).collect();
    let csv = exported(journal.path(), &[], 0);
    assert_eq!(told(&csv), expected);
    // Not told when it was sent.
    assert!(csv.contains(",1723075200005,,5,5,1.5,0.001,buy,fetched\n"), "{csv}");

    // What was lost before the part that is read belongs to it if it was fetched within. (No chartd fetches twice.)
    let from = (BEGIN_NS + 5 * STEP_NS).to_string();
    let part = exported(journal.path(), &["--from", &from], 0);
    let ids: Vec<_> = told(&part).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, ["7", "3", "4", "5", "5", "6", "8"]);
}

#[test]
fn quotes_and_frames_are_written_as_they_came() {
    let mut journal = Journal::new();
    journal.start(&two_feeds("aa", 1));
    journal.frame(0, 1, &binance_quote(5));
    journal.frame(0, 3, &binance_quote(5));
    journal.frame(1, 0, b"\xff,\"");
    journal.finish();
    let quotes = exported(journal.path(), &["--what", "quotes"], 0);
    let quote = |place: u64, line: u8| {
        format!("{place},{},binance,BTCUSDT,{line},,5,60939.99,1.5,60940,0.25\n", BEGIN_NS + place * STEP_NS)
    };
    assert_eq!(quotes, format!("{QUOTES}\n{}{}", quote(1, 1), quote(2, 3)));
    let frames = exported(journal.path(), &["--what", "frames"], 0);
    let frame = String::from_utf8(binance_quote(5)).unwrap().replace('"', "\"\"");
    let expected = format!(
        "sequence,receive_time_ns,venue,feed,line,generation,frame,frame_hex\n\
         1,{},binance,0,1,1,\"{frame}\",\n2,{},binance,0,3,1,\"{frame}\",\n3,{},kraken,1,0,1,,ff2c22\n",
        BEGIN_NS + STEP_NS,
        BEGIN_NS + 2 * STEP_NS,
        BEGIN_NS + 3 * STEP_NS
    );
    assert_eq!(frames, expected);
    // It is no frame of Kraken's, and that is said.
    let output = on("export", journal.path(), &["-o", "-"], 0);
    assert!(
        stderr(&output).contains("1 record could not be read; the first is number 3"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn what_is_missing_is_said_and_the_rest_is_written() {
    let journal = whole();
    journal.damage(2);
    let (first, until) = (journal.blocks[2].3, journal.blocks[3].3);
    let file = journal.path().join("t.csv");
    let path = file.to_str().unwrap();
    let output = on("export", journal.path(), &["-o", path, "--json"], 1);
    let said = stderr(&output);
    assert!(said.contains(&format!("missing: records {first} to {} ", until - 1)), "{said}");
    assert!(said.contains("missing: 12 records in 1 gap,"), "{said}");
    let summary = lines(&output).remove(0);
    assert_eq!(summary["missing"][0]["from"], json!(first));
    assert_eq!((&summary["lost_records"], &summary["rows"]), (&json!(12), &json!(151 - (until - first))));
    let csv = fs::read_to_string(&file).unwrap();
    assert_eq!(csv.lines().count() as u64, 152 - (until - first));
    assert_eq!(summary["bytes"], json!(csv.len()));
    let text = stdout(&on("export", journal.path(), &["-o", path], 1));
    assert!(text.ends_with(&format!("; some are missing, {} bytes\n", csv.len())), "{text}");
}

#[test]
fn a_lost_start_makes_no_trade_of_another_feed() {
    let mut journal = Journal::new();
    journal.start(&two_feeds("aa", 1));
    journal.frame(0, 0, &binance_trade(1, "1.0"));
    journal.seal(0);
    journal.start(&start("aa", 2, &[("kraken", vec![instrument("BTC/USD", 1, 8)])]));
    journal.seal(0);
    journal.frame(0, 0, &kraken_trade(1));
    journal.finish();
    journal.damage(1);
    let output = on("export", journal.path(), &["-o", "-"], 1);
    assert_eq!(told(&stdout(&output)).len(), 1);
    assert!(
        stderr(&output).contains("1 record could not be read, since the start record"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_disk_that_is_full_is_said_in_a_sentence_and_the_file_is_as_it_was() {
    let journal = whole();
    let out = tempfile::tempdir().unwrap();
    for name in ["t.csv", "t.jsonl", "t.parquet"] {
        let file = out.path().join(name);
        fs::write(&file, "before").unwrap();
        let mut command = Command::new("sh");
        // Writing beyond the limit is an error then, and not a signal.
        command.args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" journal export \"$1\" -o \"$2\""]);
        command.arg(tests::bin("chartd")).arg(journal.path()).arg(&file);
        let output = tests::finish(command, tests::TIME_LIMIT);
        let said = stderr(&output);
        assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
        assert!(
            said.starts_with(&format!("chartd: cannot write {}: the file would be", file.display())),
            "{said}"
        );
        assert_eq!(fs::read_to_string(&file).unwrap(), "before");
    }
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 3, "what was begun is gone");
    for command in [&["dump"][..], &["export", "-o", "-"]] {
        let full = File::create("/dev/full").unwrap();
        let mut chartd = Command::new(tests::bin("chartd"));
        let output = chartd.arg("journal").args(command).arg(journal.path()).stdout(full).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        let sentence = "chartd: cannot write to standard output: the disk is full; make room, or write to another disk\n";
        assert_eq!(said, sentence);
    }
}

#[test]
fn nobody_reads_on_and_nothing_is_said() {
    let journal = whole();
    for command in [&["dump"][..], &["export", "-o", "-", "--format", "jsonl"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader); // As by `head`.
        let mut chartd = Command::new(tests::bin("chartd"));
        let output = chartd.arg("journal").args(command).arg(journal.path()).stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{command:?}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused_with_advice() {
    let journal = whole();
    for (args, advice) in [
        (&["-o", "trades.txt"][..], "--format"),
        (&["-o", "-", "--format", "parquet"], "-o FILE"),
        (&["-o", "-", "--json"], "leave one out"),
        (&["-o", "-", "--what", "frames", "--symbol", "kraken:BTC/USD"], "leave --symbol out"),
        (&["-o", "-", "--from", "2024-08-09", "--to", "2024-08-08"], "before --to"),
        (&["-o", "/dev/null", "--format", "csv"], "-o -"),
        (&["-o", "-", "--symbol", "BTCUSDT"], "binance:BTCUSDT"),
        (&["-o", "-", "--from", "1723075200"], "zeros"),
    ] {
        let output = on("export", journal.path(), args, 2);
        let said = stderr(&output);
        assert!(said.contains(advice), "{args:?}: {said}");
        assert_eq!(stdout(&output), "");
    }
}

/// A journal of recorded frames, and what its trades and quotes should be as CSV. `None` where there is no recording.
pub(crate) fn recorded() -> Option<(Journal, [String; 2])> {
    let recordings = [
        (Venue::Binance, "binance_spot/btcusdt_20240808.gz", vec![("BTCUSDT", 2, 5)], 6_000),
        (Venue::Kraken, "kraken_v2/real_frames.ndjson", vec![("BTC/USDT", 1, 8), ("BTC/USD", 1, 8)], 100),
        (
            Venue::Coinbase,
            "coinbase_exchange/cryptofeed_COINBASE.ws.28.0.gz",
            vec![("BTC-USD", 2, 8), ("ETH-USD", 2, 8)],
            2_000,
        ),
    ];
    let (mut journal, mut tables) = (Journal::new(), [TRADES, QUOTES].map(|names| names.to_owned() + "\n"));
    let feeds: Vec<_> = recordings
        .iter()
        .map(|(venue, _, symbols, _)| {
            let list = symbols.iter().map(|(symbol, price, qty)| instrument(symbol, *price, *qty)).collect();
            (venue.name(), list)
        })
        .collect();
    journal.start(&start("aa", 1, &feeds));
    for (feed, (venue, path, symbols, limit)) in recordings.into_iter().enumerate() {
        let file = File::open(tests::recorded(path)?).unwrap();
        let reader: Box<dyn BufRead> = match path.ends_with(".gz") {
            true => Box::new(BufReader::new(MultiGzDecoder::new(file))),
            false => Box::new(BufReader::new(file)),
        };
        let mut table = Instruments::default();
        for (symbol, price_digits, qty_digits) in symbols {
            table.add(Instrument { price_digits, qty_digits, ..Instrument::new(venue, symbol) }).unwrap();
        }
        let mut decoder = venue.protocol().decoder();
        decoder.prepare(&table);
        for line in reader.lines().take(limit) {
            let line = line.unwrap();
            let Some(begin) = line.find('{') else { continue };
            let frame = &line.as_bytes()[begin..];
            let head = format!("{},{},{venue}", journal.next, journal.real_ns);
            journal.frame(feed as u16, 0, frame);
            let _ =
                decoder.decode(frame, &table, &mut |message| expect(&message, &table, &head, &mut tables));
        }
    }
    journal.finish();
    Some((journal, tables))
}

/// Writes what a message should become.
fn expect(message: &Message<'_>, table: &Instruments, head: &str, [trades, quotes]: &mut [String; 2]) {
    match message {
        Message::Trade { instrument, event_ms, trade, is_past } => {
            let Instrument { symbol, price_digits, qty_digits, .. } = table.get(*instrument).unwrap();
            let (price, qty) =
                (decimal::display(trade.price, *price_digits), decimal::display(trade.qty, *qty_digits));
            let taker = if trade.taker == Side::Buy { "buy" } else { "sell" };
            let origin = if *is_past { "past" } else { "stream" };
            let (first, last, time) = (trade.first_id, trade.last_id, trade.time_ms);
            let row = format!("{symbol},{time},{event_ms},{first},{last},{price},{qty},{taker},{origin}");
            writeln!(trades, "{head},{row}").unwrap();
        }
        Message::Quote { instrument, update_id, event_ms, quote } => {
            let Instrument { symbol, price_digits, qty_digits, .. } = table.get(*instrument).unwrap();
            let (price, qty) = (|v| decimal::display(v, *price_digits), |v| decimal::display(v, *qty_digits));
            let text = |number: Option<i64>| number.map_or(String::new(), |number| number.to_string());
            let id = text((*update_id > 0).then_some(*update_id as i64));
            let (bid, ask) =
                ((price(quote.bid_price), qty(quote.bid_qty)), (price(quote.ask_price), qty(quote.ask_qty)));
            let levels = format!("{},{},{},{}", bid.0, bid.1, ask.0, ask.1);
            writeln!(quotes, "{head},{symbol},0,{},{id},{levels}", text(*event_ms)).unwrap();
        }
        _ => {}
    }
}

#[test]
fn recorded_frames_become_what_their_decoders_read() {
    let Some((journal, tables)) = recorded() else { return };
    for (what, expected) in [("trades", &tables[0]), ("quotes", &tables[1])] {
        assert!(expected.lines().count() > 100, "{what}");
        let csv = exported(journal.path(), &["--what", what], 0);
        for (ours, theirs) in csv.lines().zip(expected.lines()) {
            assert_eq!(ours, theirs);
        }
        assert_eq!(csv.lines().count(), expected.lines().count());
        // The same as JSON, column by column.
        let json = exported(journal.path(), &["--what", what, "--format", "jsonl"], 0);
        let names: Vec<_> = csv.lines().next().unwrap().split(',').collect();
        assert_eq!(json.lines().count() + 1, csv.lines().count());
        for (object, row) in json.lines().zip(csv.lines().skip(1)) {
            let object: Value = serde_json::from_str(object).unwrap();
            let cells = names.iter().map(|name| match &object[*name] {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                number => number.to_string(),
            });
            assert_eq!(cells.collect::<Vec<_>>().join(","), row);
            assert_eq!(object.as_object().unwrap().len(), names.len());
        }
    }
}
