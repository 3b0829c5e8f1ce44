//! `chartd journal export` as Parquet: read back by the crate that wrote it, and by pyarrow.

use super::*;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::Field;
use serde_json::json;
use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

/// Exports to a file, and the same as CSV.
fn both(journal: &Journal, args: &[&str]) -> (PathBuf, String) {
    let [parquet, csv] = ["t.parquet", "t.csv"].map(|name| journal.path().join(name));
    for file in [&parquet, &csv] {
        on("export", journal.path(), &[&["-o", file.to_str().unwrap()], args].concat(), 0);
    }
    (parquet, std::fs::read_to_string(csv).unwrap())
}

/// A cell as CSV has it.
fn text(field: &Field) -> String {
    match field {
        Field::Null => String::new(),
        Field::ULong(number) => number.to_string(),
        Field::Long(number) | Field::TimestampMillis(number) => number.to_string(),
        Field::Str(text) => text.clone(),
        Field::Decimal(decimal) => {
            let bytes = decimal.data();
            let value = bytes.iter().fold(0i128, |value, byte| value << 8 | i128::from(*byte));
            market::decimal::display(value, decimal.scale() as u8).to_string()
        }
        other => panic!("{other:?}"),
    }
}

fn rows(file: &Path) -> Vec<String> {
    let reader = SerializedFileReader::new(File::open(file).unwrap()).unwrap();
    let rows = reader.get_row_iter(None).unwrap().map(|row| {
        let cells = row.unwrap().into_columns();
        cells.iter().map(|(_, field)| text(field)).collect::<Vec<_>>().join(",")
    });
    rows.collect()
}

/// The Python that `cargo xtask test` prepares, if it has pyarrow.
fn python() -> Option<PathBuf> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python/bin/python");
    let has_it = Command::new(&python).args(["-c", "import pyarrow.parquet"]).output();
    let has_it = has_it.is_ok_and(|output| output.status.success());
    if !has_it {
        eprintln!("skipped: Parquet exports against pyarrow (no pyarrow)");
    }
    has_it.then_some(python)
}

/// Prints the types of the columns, what the file says of itself, then each row as CSV.
const PYARROW: &str = "\
import sys, json, pyarrow as pa, pyarrow.parquet as pq
table = pq.read_table(sys.argv[1])
print(json.dumps({field.name: str(field.type) for field in table.schema}))
print(pq.read_metadata(sys.argv[1]).metadata[b'chartd'].decode())
def text(value):
    if value is None: return ''
    if hasattr(value, 'normalize'): return format(value.normalize(), 'f')
    return str(value)
columns = [column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column for column in table.columns]
for row in zip(*(column.to_pylist() for column in columns)):
    print(','.join(map(text, row)))";

fn read_by_pyarrow(file: &Path) -> Option<(Value, Value, Vec<String>)> {
    let mut command = Command::new(python()?);
    command.args(["-c", PYARROW]).arg(file);
    let output = tests::finish(command, tests::TIME_LIMIT);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    let mut lines = text.lines().map(str::to_owned);
    let mut json = || serde_json::from_str::<Value>(&lines.next().unwrap()).unwrap();
    let (types, facts) = (json(), json());
    Some((types, facts, lines.collect()))
}

fn assert_same(ours: &[String], csv: &str) {
    for (ours, theirs) in ours.iter().zip(csv.lines().skip(1)) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.len() + 1, csv.lines().count());
}

#[test]
fn recorded_trades_and_quotes_are_the_same_in_csv_and_parquet() {
    let Some((journal, _)) = export::recorded() else { return };
    for what in ["trades", "quotes"] {
        let (file, csv) = both(&journal, &["--what", what]);
        assert!(csv.lines().count() > 100);
        assert_same(&rows(&file), &csv);
        if let Some((.., theirs)) = read_by_pyarrow(&file) {
            assert_same(&theirs, &csv);
        }
    }
}

#[test]
fn columns_have_the_types_that_pandas_and_polars_reckon_with() {
    let journal = whole();
    let (file, csv) = both(&journal, &[]);
    assert_same(&rows(&file), &csv);
    let Some((types, facts, theirs)) = read_by_pyarrow(&file) else { return };
    assert_same(&theirs, &csv);
    // The price of Binance has two places and its quantity five; Kraken's have one and eight.
    let expected = json!({
        "sequence": "uint64", "receive_time": "timestamp[ns, tz=UTC]", "venue": "string", "symbol": "string",
        "time": "timestamp[ms, tz=UTC]", "event_time": "timestamp[ms, tz=UTC]", "first_id": "uint64",
        "last_id": "uint64", "price": "decimal128(18, 2)", "qty": "decimal128(18, 8)", "taker": "string",
        "origin": "string",
    });
    assert_eq!(types, expected);
    assert_eq!(
        (&facts["rows"], &facts["what"], &facts["lost_records"]),
        (&json!(151), &json!("trades"), &json!(12))
    );
    let (file, _) = both(&journal, &["--symbol", "kraken:BTC/USD"]);
    let Some((types, facts, _)) = read_by_pyarrow(&file) else { return };
    assert_eq!((&types["price"], &facts["rows"]), (&json!("decimal128(18, 1)"), &json!(50)));
}

#[test]
fn an_instrument_with_more_places_changes_the_scale_of_all() {
    let mut journal = Journal::new();
    journal.start(&start("aa", 1, &[("binance", vec![instrument("BTCUSDT", 2, 5)])]));
    journal.frame(0, 0, &binance_trade(1, "60939.99000000"));
    journal.start(&start("aa", 2, &[("binance", vec![instrument("BTCUSDT", 8, 18)])]));
    journal.frame(0, 0, &binance_trade(2, "0.00000001"));
    journal.finish();
    let (file, csv) = both(&journal, &[]);
    assert_eq!(csv.lines().count(), 3);
    assert_same(&rows(&file), &csv);
    let Some((types, _, theirs)) = read_by_pyarrow(&file) else { return };
    assert_same(&theirs, &csv);
    assert_eq!((&types["price"], &types["qty"]), (&json!("decimal128(18, 8)"), &json!("decimal128(18, 18)")));
}

/// Files of several days have one schema, whatever was traded.
#[test]
fn scales_follow_from_the_instruments_and_not_from_their_trades() {
    let journal = whole();
    let (file, csv) = both(&journal, &["--to", "2024-08-08T00:00:00.002Z"]);
    assert_eq!(csv.lines().count(), 1);
    let reader = SerializedFileReader::new(File::open(file).unwrap()).unwrap();
    let schema = reader.metadata().file_metadata().schema_descr();
    let scales = [8, 9].map(|place| schema.column(place).type_scale());
    assert_eq!(scales, [2, 8]);
}

#[test]
fn frames_keep_every_byte() {
    let mut journal = Journal::new();
    journal.start(&two_feeds("aa", 1));
    journal.frame(1, 2, b"\xff\x00\"\n");
    journal.frame(0, 0, &binance_quote(5));
    journal.finish();
    let (file, _) = both(&journal, &["--what", "frames"]);
    let reader = SerializedFileReader::new(File::open(file).unwrap()).unwrap();
    let frames: Vec<_> =
        reader.get_row_iter(None).unwrap().map(|row| row.unwrap().into_columns()[6].1.clone()).collect();
    let bytes = |frame: &[u8]| Field::Bytes(frame.to_vec().into());
    assert_eq!(frames, [bytes(b"\xff\x00\"\n"), bytes(&binance_quote(5))]);
}
