//! A table as Apache Parquet, for pandas, polars, DuckDB and others: by the format's own low-level writer.
//!
//! What holds: times are timestamps in UTC, to the ns or ms; whole numbers are unsigned 64-bit; prices and quantities are
//! decimals of one scale each, so they stay exact and can be reckoned with. That scale is the largest of all
//! instruments that the export covers. It stands in the schema, at which a file begins; so an instrument with more
//! places that comes later is a reason to begin anew ([`TableError::Outgrown`]).
//! Rows are kept until there are enough for a row group, in bounded memory.

use super::table::{About, Cell, Column, Scale, Table, TableError, Type};
use parquet::basic::{Compression, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;
use std::io::{self, Write};
use std::sync::Arc;

/// A row group is written when it has so many rows, or bytes of frames.
const GROUP_ROWS: usize = 1 << 17;
const GROUP_BYTES: usize = 32 << 20;
/// What the largest 64-bit decimal is below: Parquet allows 18 digits there.
const NARROW: u64 = 1_000_000_000_000_000_000;

/// How the decimals of a file are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Scales {
    price: Places,
    qty: Places,
}

/// How decimals of one scale are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Places {
    digits: u8,
    /// In 128 bits, since 64 were not enough for some value.
    is_wide: bool,
}

impl Places {
    fn join(self, other: Self) -> Self {
        Self { digits: self.digits.max(other.digits), is_wide: self.is_wide || other.is_wide }
    }

    /// A value of 10^-`digits` in these places. No 64-bit number with up to 18 places is too large for 128 bits.
    fn of(self, value: i64, digits: u8) -> i128 {
        i128::from(value) * 10i128.pow(u32::from(self.digits.saturating_sub(digits)))
    }
}

impl Scales {
    fn get(&mut self, scale: Scale) -> &mut Places {
        match scale {
            Scale::Price => &mut self.price,
            Scale::Quantity => &mut self.qty,
        }
    }

    fn join(self, other: Self) -> Self {
        Self { price: self.price.join(other.price), qty: self.qty.join(other.qty) }
    }
}

/// The cells of a column that wait for their row group.
enum Waiting {
    Whole(Vec<i64>),
    Decimals(Vec<(i64, u8)>),
    Texts(Vec<ByteArray>),
}

/// See above.
pub(super) struct Parquet<W: Write + Send> {
    columns: &'static [Column],
    waiting: Vec<Waiting>,
    /// For each column that may be empty, which cells are there.
    levels: Vec<Vec<i16>>,
    rows: usize,
    bytes: usize,
    scales: Scales,
    /// Nothing is written, not even the schema, before the first row group is whole.
    file: File<W>,
}

enum File<W: Write + Send> {
    Planned(W),
    Begun(Box<SerializedFileWriter<W>>),
    Ended,
}

impl<W: Write + Send> Parquet<W> {
    /// A file for numbers with at least these places.
    pub(super) fn new(out: W, columns: &'static [Column], scales: Scales) -> Self {
        let waiting = columns.iter().map(|column| match column.of {
            Type::Number | Type::Nanos | Type::Millis => Waiting::Whole(Vec::new()),
            Type::Decimal(_) => Waiting::Decimals(Vec::new()),
            Type::Word | Type::Bytes => Waiting::Texts(Vec::new()),
        });
        let levels = vec![Vec::new(); columns.len()];
        let waiting = waiting.collect();
        Self { columns, waiting, levels, rows: 0, bytes: 0, scales, file: File::Planned(out) }
    }

    /// More places, or wider ones, are needed from here on.
    fn grow(&mut self, wanted: Scales) -> Result<(), TableError> {
        let joined = self.scales.join(wanted);
        if joined != self.scales && !matches!(self.file, File::Planned(_)) {
            return Err(TableError::Outgrown(joined));
        }
        self.scales = joined;
        Ok(())
    }

    /// Has all waiting decimals fit.
    fn fit(&mut self) -> Result<(), TableError> {
        let mut wanted = self.scales;
        for (column, waiting) in self.columns.iter().zip(&self.waiting) {
            if let (Type::Decimal(scale), Waiting::Decimals(values)) = (column.of, waiting) {
                let places = wanted.get(scale);
                places.digits = values.iter().fold(places.digits, |most, (_, digits)| most.max(*digits));
            }
        }
        for (column, waiting) in self.columns.iter().zip(&self.waiting) {
            if let (Type::Decimal(scale), Waiting::Decimals(values)) = (column.of, waiting) {
                let places = wanted.get(scale);
                let is_large = |(value, digits): &(i64, u8)| {
                    places.of(*value, *digits).unsigned_abs() >= u128::from(NARROW)
                };
                places.is_wide |= values.iter().any(is_large);
            }
        }
        self.grow(wanted)
    }

    fn flush(&mut self) -> Result<(), TableError> {
        self.fit()?;
        self.begin()?;
        let File::Begun(file) = &mut self.file else { return Ok(()) };
        if self.rows == 0 {
            return Ok(());
        }
        let mut group = file.next_row_group().map_err(failed)?;
        for (place, column) in self.columns.iter().enumerate() {
            if let Some(mut writer) = group.next_column().map_err(failed)? {
                let levels = column.is_optional.then_some(&self.levels[place][..]);
                write_column(&mut writer, column, &self.waiting[place], levels, self.scales)?;
                writer.close().map_err(failed)?;
            }
        }
        group.close().map_err(failed)?;
        (self.rows, self.bytes) = (0, 0);
        self.levels.iter_mut().for_each(Vec::clear);
        self.waiting.iter_mut().for_each(|waiting| match waiting {
            Waiting::Whole(values) => values.clear(),
            Waiting::Decimals(values) => values.clear(),
            Waiting::Texts(values) => values.clear(),
        });
        Ok(())
    }

    /// Writes the file's head, if it is not written.
    fn begin(&mut self) -> Result<(), TableError> {
        match std::mem::replace(&mut self.file, File::Ended) {
            File::Planned(out) => {
                let schema = parse_message_type(&schema(self.columns, self.scales)).map_err(failed)?;
                let properties = Arc::new(properties(self.columns));
                let file = SerializedFileWriter::new(out, Arc::new(schema), properties).map_err(failed)?;
                self.file = File::Begun(Box::new(file));
            }
            file => self.file = file,
        }
        Ok(())
    }
}

impl<W: Write + Send> Table for Parquet<W> {
    fn expect(&mut self, price_digits: u8, qty_digits: u8) -> Result<(), TableError> {
        let places = |digits| Places { digits, is_wide: false };
        self.grow(Scales { price: places(price_digits), qty: places(qty_digits) })
    }

    fn row(&mut self, cells: &[Cell<'_>]) -> Result<(), TableError> {
        for ((cell, waiting), levels) in cells.iter().zip(&mut self.waiting).zip(&mut self.levels) {
            levels.push((*cell != Cell::Empty).into());
            match (*cell, waiting) {
                // The schema says that it is unsigned.
                (Cell::Number(value), Waiting::Whole(values)) => values.push(value as i64),
                (Cell::Nanos(value), Waiting::Whole(values)) => {
                    values.push(i64::try_from(value).unwrap_or(i64::MAX)); // The year 2262.
                }
                (Cell::Millis(value), Waiting::Whole(values)) => values.push(value),
                (Cell::Decimal(value, digits), Waiting::Decimals(values)) => values.push((value, digits)),
                (Cell::Word(text), Waiting::Texts(values)) => {
                    values.push(shared(values.last(), text.as_bytes()))
                }
                (Cell::Bytes(bytes), Waiting::Texts(values)) => {
                    self.bytes += bytes.len();
                    values.push(ByteArray::from(bytes));
                }
                (cell, _) => debug_assert_eq!(cell, Cell::Empty, "a cell is of its column's type"),
            }
        }
        self.rows += 1;
        if self.rows >= GROUP_ROWS || self.bytes >= GROUP_BYTES { self.flush() } else { Ok(()) }
    }

    fn finish(&mut self, about: &About) -> Result<(), TableError> {
        self.flush()?;
        if let File::Begun(mut file) = std::mem::replace(&mut self.file, File::Ended) {
            for (name, value) in &about.facts {
                file.append_key_value_metadata(KeyValue::new((*name).to_owned(), value.clone()));
            }
            file.finish().map_err(failed)?;
            file.inner_mut().flush()?;
        }
        Ok(())
    }
}

/// Words come in runs: the same memory serves for all of one.
fn shared(last: Option<&ByteArray>, text: &[u8]) -> ByteArray {
    match last {
        Some(last) if last.data() == text => last.clone(),
        _ => ByteArray::from(text),
    }
}

fn write_column(
    writer: &mut SerializedColumnWriter<'_>,
    column: &Column,
    waiting: &Waiting,
    levels: Option<&[i16]>,
    mut scales: Scales,
) -> Result<(), TableError> {
    let written = match (writer.untyped(), waiting) {
        (ColumnWriter::Int64ColumnWriter(writer), Waiting::Whole(values)) => {
            writer.write_batch(values, levels, None)
        }
        (ColumnWriter::ByteArrayColumnWriter(writer), Waiting::Texts(values)) => {
            writer.write_batch(values, levels, None)
        }
        (writer, Waiting::Decimals(values)) => {
            let Type::Decimal(scale) = column.of else { return Err(mismatch(column)) };
            let places = *scales.get(scale);
            let values = values.iter().map(|(value, digits)| places.of(*value, *digits));
            match writer {
                ColumnWriter::Int64ColumnWriter(writer) => {
                    // They fit: `fit` has looked.
                    let values: Vec<_> = values.map(|value| value as i64).collect();
                    writer.write_batch(&values, levels, None)
                }
                ColumnWriter::FixedLenByteArrayColumnWriter(writer) => {
                    let values: Vec<_> =
                        values.map(|value| FixedLenByteArray::from(value.to_be_bytes().to_vec())).collect();
                    writer.write_batch(&values, levels, None)
                }
                _ => return Err(mismatch(column)),
            }
        }
        _ => return Err(mismatch(column)),
    };
    written.map(|_| ()).map_err(failed)
}

/// The schema of such columns, in Parquet's own words.
fn schema(columns: &[Column], mut scales: Scales) -> String {
    let mut text = "message chartd {\n".to_owned();
    for column in columns {
        let need = if column.is_optional { "OPTIONAL" } else { "REQUIRED" };
        let (physical, logical) = match column.of {
            Type::Number => ("INT64", " (INTEGER(64,false))".to_owned()),
            Type::Nanos => ("INT64", " (TIMESTAMP(NANOS,true))".to_owned()),
            Type::Millis => ("INT64", " (TIMESTAMP(MILLIS,true))".to_owned()),
            Type::Word => ("BYTE_ARRAY", " (STRING)".to_owned()),
            Type::Bytes => ("BYTE_ARRAY", String::new()),
            Type::Decimal(scale) => match *scales.get(scale) {
                Places { digits, is_wide: false } => ("INT64", format!(" (DECIMAL(18,{digits}))")),
                Places { digits, is_wide: true } => {
                    ("FIXED_LEN_BYTE_ARRAY(16)", format!(" (DECIMAL(38,{digits}))"))
                }
            },
        };
        text += &format!("  {need} {physical} {}{logical};\n", column.name);
    }
    text + "}"
}

fn properties(columns: &[Column]) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_created_by(format!("chartd version {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_sorting_columns(Some(vec![SortingColumn {
            column_idx: 0,
            descending: false,
            nulls_first: false,
        }]));
    for column in columns.iter().filter(|column| column.of == Type::Bytes) {
        let path = ColumnPath::from(column.name);
        // Hardly a frame comes twice, and the least and the greatest of them say nothing.
        properties = properties
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_statistics_enabled(path, EnabledStatistics::None);
    }
    properties.build()
}

fn mismatch(column: &Column) -> TableError {
    io::Error::other(format!("the column {} has cells of another type", column.name)).into()
}

/// What the disk said, if it was that.
fn failed(error: ParquetError) -> TableError {
    let error = match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(source) => *source,
            Err(source) => io::Error::other(source),
        },
        error => io::Error::other(error),
    };
    error.into()
}

#[cfg(test)]
mod tests;
