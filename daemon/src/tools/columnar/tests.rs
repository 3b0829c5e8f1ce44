//! Parquet files, read back by the crate's own reader. An independent reader is in tests/tests/journal_tools.rs.

use super::*;
use crate::tools::table::Cell;
use parquet::basic::{LogicalType, Type as Physical};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

const COLUMNS: [Column; 6] = [
    Column::new("sequence", Type::Number),
    Column::new("receive_time", Type::Nanos),
    Column::optional("event_time", Type::Millis),
    Column::new("symbol", Type::Word),
    Column::new("price", Type::Decimal(Scale::Price)),
    Column::new("frame", Type::Bytes),
];

fn row(sequence: u64, price: i64, digits: u8) -> [Cell<'static>; 6] {
    [
        Cell::Number(sequence),
        Cell::Nanos(1_795_521_600_000_000_001),
        if sequence.is_multiple_of(2) { Cell::Empty } else { Cell::Millis(-1) },
        Cell::Word(if sequence < 100 { "BTCUSDT" } else { "XBT/USD" }),
        Cell::Decimal(price, digits),
        Cell::Bytes(b"\xff{}"),
    ]
}

/// Writes rows to a file as `export` does, and begins anew where it has to. Returns the file and how often it began.
fn written(rows: &[[Cell<'static>; 6]], expect: u8) -> (SerializedFileReader<std::fs::File>, usize) {
    let (mut scales, mut begun) = (Scales::default(), 0);
    let file = loop {
        begun += 1;
        let file = tempfile::tempfile().unwrap();
        let mut table = Parquet::new(file.try_clone().unwrap(), &COLUMNS, scales);
        let about = About { facts: vec![("chartd", "{\"rows\":3}".to_owned())] };
        let done = table
            .expect(expect, 0)
            .and_then(|()| rows.iter().try_for_each(|row| table.row(row)))
            .and_then(|()| table.finish(&about));
        match done {
            Ok(()) => break file,
            Err(TableError::Outgrown(larger)) => scales = larger,
            Err(TableError::Io(error)) => panic!("{error}"),
        }
    };
    (SerializedFileReader::new(file).unwrap(), begun)
}

fn fields(reader: &SerializedFileReader<std::fs::File>) -> Vec<Vec<Field>> {
    let rows = reader.get_row_iter(None).unwrap();
    rows.map(|row| row.unwrap().into_columns().into_iter().map(|(_, field)| field).collect()).collect()
}

/// A decimal's unscaled value and its scale.
fn decimal(field: &Field) -> (i128, i32) {
    let Field::Decimal(decimal) = field else { panic!("{field:?}") };
    let bytes = decimal.data();
    let sign = if bytes[0] & 0x80 > 0 { -1i128 } else { 0 };
    (bytes.iter().fold(sign, |value, byte| value << 8 | i128::from(*byte)), decimal.scale())
}

fn price_type(reader: &SerializedFileReader<std::fs::File>) -> (Physical, Option<LogicalType>) {
    let schema = reader.metadata().file_metadata().schema_descr();
    let column = schema.column(4);
    (column.physical_type(), column.logical_type_ref().cloned())
}

#[test]
fn rows_come_back_as_they_were_written() {
    let rows = [row(0, 6_093_999, 2), row(1, 1, 2), row(100, 0, 2)];
    let (reader, begun) = written(&rows, 2);
    assert_eq!(begun, 1);
    let back = fields(&reader);
    assert_eq!(back.len(), 3);
    let first: Vec<_> = back.iter().map(|row| row[0].clone()).collect();
    assert_eq!(first, [Field::ULong(0), Field::ULong(1), Field::ULong(100)]);
    let times: Vec<_> = back.iter().map(|row| row[2].clone()).collect();
    assert_eq!(times, [Field::Null, Field::TimestampMillis(-1), Field::Null]);
    assert_eq!(back[1][3], Field::Str("BTCUSDT".into()));
    assert_eq!(back[2][3], Field::Str("XBT/USD".into()));
    assert_eq!(back[0][5], Field::Bytes(ByteArray::from(&b"\xff{}"[..])));
    let prices: Vec<_> = back.iter().map(|row| decimal(&row[4])).collect();
    assert_eq!(prices, [(6_093_999, 2), (1, 2), (0, 2)]);
    assert_eq!(price_type(&reader), (Physical::INT64, Some(LogicalType::decimal(2, 18))));
    let facts = reader.metadata().file_metadata().key_value_metadata().unwrap();
    assert!(facts.contains(&KeyValue::new("chartd".to_owned(), "{\"rows\":3}".to_owned())));
}

#[test]
fn an_empty_table_has_its_columns_still() {
    let (reader, _) = written(&[], 4);
    assert!(fields(&reader).is_empty());
    assert_eq!(reader.metadata().file_metadata().schema_descr().num_columns(), 6);
    assert_eq!(price_type(&reader).1, Some(LogicalType::decimal(4, 18)));
}

#[test]
fn more_places_that_come_late_begin_the_file_anew() {
    let mut rows: Vec<_> = (0..GROUP_ROWS as u64 + 10).map(|sequence| row(sequence, 100, 2)).collect();
    rows.push(row(200_000, 1, 8));
    let (reader, begun) = written(&rows, 2);
    assert_eq!(begun, 2);
    let back = fields(&reader);
    assert_eq!(back.len(), rows.len());
    assert_eq!(reader.num_row_groups(), 2);
    assert_eq!(decimal(&back[0][4]), (100_000_000, 8));
    assert_eq!(decimal(&back[rows.len() - 1][4]), (1, 8));
    assert_eq!(price_type(&reader), (Physical::INT64, Some(LogicalType::decimal(8, 18))));
}

#[test]
fn what_does_not_fit_in_64_bits_takes_128() {
    let rows = [row(0, i64::MAX, 0), row(1, 1, 18), row(2, 5, 2)];
    let (reader, _) = written(&rows, 0);
    let prices: Vec<_> = fields(&reader).iter().map(|row| decimal(&row[4])).collect();
    let unit = 10i128.pow(18);
    assert_eq!(prices, [(i128::from(i64::MAX) * unit, 18), (1, 18), (5 * unit / 100, 18)]);
    assert_eq!(price_type(&reader), (Physical::FIXED_LEN_BYTE_ARRAY, Some(LogicalType::decimal(18, 38))));
    // The largest that 64 bits may hold, and the least that they may not.
    for (value, physical) in
        [(NARROW as i64 - 1, Physical::INT64), (NARROW as i64, Physical::FIXED_LEN_BYTE_ARRAY)]
    {
        let (reader, _) = written(&[row(0, value, 3)], 0);
        assert_eq!(decimal(&fields(&reader)[0][4]), (value.into(), 3));
        assert_eq!(price_type(&reader).0, physical);
    }
}

#[test]
fn a_full_disk_says_so() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut table = Parquet::new(Full, &COLUMNS, Scales::default());
    let done = table.row(&row(0, 1, 2)).and_then(|()| table.finish(&About::default()));
    assert!(matches!(done, Err(TableError::Io(error)) if error.kind() == io::ErrorKind::StorageFull));
}
