//! What an export is made of: rows of cells under named columns, and who writes them as CSV or as lines of JSON.
//!
//! What holds: a price or quantity is exact, in every format. In text it has no trailing zeros, and as JSON it is a
//! string, since most readers of JSON would round a number. Times are integers in text, whose columns name the unit.

use market::decimal;
use std::io::{self, Write};

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    /// A whole number.
    Number,
    /// A time of ours, in ns since 1970.
    Nanos,
    /// A time of the venue's, in ms since 1970.
    Millis,
    /// A word from a small vocabulary.
    Word,
    /// An exact decimal. All columns of one scale share it.
    Decimal(Scale),
    /// Bytes as they came, which are text or not.
    Bytes,
}

/// Which decimals share their places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    Price,
    Quantity,
}

/// A column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    /// Its name, without the unit that times have in text.
    pub(super) name: &'static str,
    pub(super) of: Type,
    /// Whether a cell may be empty.
    pub(super) is_optional: bool,
}

impl Column {
    pub(super) const fn new(name: &'static str, of: Type) -> Self {
        Self { name, of, is_optional: false }
    }

    pub(super) const fn optional(name: &'static str, of: Type) -> Self {
        Self { name, of, is_optional: true }
    }

    /// What its unit adds to its name in text.
    fn suffix(&self) -> &'static str {
        match self.of {
            Type::Nanos => "_ns",
            Type::Millis => "_ms",
            _ => "",
        }
    }
}

/// A cell: of the type that its column has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cell<'a> {
    Empty,
    Number(u64),
    Nanos(u64),
    Millis(i64),
    Word(&'a str),
    /// Units of 10^-digits.
    Decimal(i64, u8),
    Bytes(&'a [u8]),
}

/// What is known of a table once it is whole.
#[derive(Debug, Clone, Default)]
pub(super) struct About {
    /// Names and values.
    pub(super) facts: Vec<(&'static str, String)>,
}

/// Why a row could not be written.
#[derive(Debug)]
pub(super) enum TableError {
    Io(io::Error),
    /// The file was begun for numbers with fewer places: it has to begin anew, for these.
    Outgrown(super::columnar::Scales),
}

impl From<io::Error> for TableError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Who writes a table.
pub(super) trait Table {
    /// Says that numbers with so many places may come: of prices, and of quantities.
    fn expect(&mut self, _price_digits: u8, _qty_digits: u8) -> Result<(), TableError> {
        Ok(())
    }

    /// Writes a row: a cell for each column.
    fn row(&mut self, cells: &[Cell<'_>]) -> Result<(), TableError>;

    /// Writes what is left.
    fn finish(&mut self, about: &About) -> Result<(), TableError>;
}

/// Comma-separated values as RFC 4180 has them, but for the lines' ends. Bytes that are no text are in a column of
/// their own, in hexadecimal.
pub(super) struct Csv<W> {
    out: W,
    /// The first line, until it is written: where nothing could be read, nothing is.
    names: String,
}

impl<W: Write> Csv<W> {
    pub(super) fn new(out: W, columns: &[Column]) -> Self {
        let mut names = Vec::new();
        for column in columns {
            names.push(format!("{}{}", column.name, column.suffix()));
            if column.of == Type::Bytes {
                names.push(format!("{}_hex", column.name));
            }
        }
        Self { out, names: names.join(",") + "\n" }
    }

    fn begin(&mut self) -> io::Result<()> {
        self.out.write_all(std::mem::take(&mut self.names).as_bytes())
    }
}

impl<W: Write> Table for Csv<W> {
    fn row(&mut self, cells: &[Cell<'_>]) -> Result<(), TableError> {
        if !self.names.is_empty() {
            self.begin()?;
        }
        let out = &mut self.out;
        for (place, cell) in cells.iter().enumerate() {
            if place > 0 {
                out.write_all(b",")?;
            }
            match *cell {
                Cell::Empty => {}
                Cell::Number(value) | Cell::Nanos(value) => write!(out, "{value}")?,
                Cell::Millis(value) => write!(out, "{value}")?,
                // Venues, symbols and our own words hold nothing that would have to be quoted.
                Cell::Word(text) => out.write_all(text.as_bytes())?,
                Cell::Decimal(value, digits) => write!(out, "{}", decimal::display(value, digits))?,
                Cell::Bytes(bytes) => match std::str::from_utf8(bytes) {
                    Ok(text) => write!(out, "\"{}\",", text.replace('"', "\"\""))?,
                    Err(_) => write!(out, ",{}", Hex(bytes))?,
                },
            }
        }
        Ok(out.write_all(b"\n")?)
    }

    fn finish(&mut self, _about: &About) -> Result<(), TableError> {
        self.begin()?;
        Ok(self.out.flush()?)
    }
}

/// A JSON object on each line.
pub(super) struct JsonLines<W> {
    out: W,
    /// What comes before each value.
    keys: Vec<[String; 2]>,
}

impl<W: Write> JsonLines<W> {
    pub(super) fn new(out: W, columns: &[Column]) -> Self {
        let keys = columns.iter().enumerate().map(|(place, column)| {
            let before = if place == 0 { '{' } else { ',' };
            let (name, suffix) = (column.name, column.suffix());
            [format!("{before}\"{name}{suffix}\":"), format!("{before}\"{name}_hex\":")]
        });
        Self { out, keys: keys.collect() }
    }
}

impl<W: Write> Table for JsonLines<W> {
    fn row(&mut self, cells: &[Cell<'_>]) -> Result<(), TableError> {
        let out = &mut self.out;
        for (cell, [key, hex_key]) in cells.iter().zip(&self.keys) {
            if let Cell::Bytes(bytes) = cell
                && std::str::from_utf8(bytes).is_err()
            {
                write!(out, "{hex_key}\"{}\"", Hex(bytes))?;
                continue;
            }
            out.write_all(key.as_bytes())?;
            match *cell {
                Cell::Empty => out.write_all(b"null")?,
                Cell::Number(value) | Cell::Nanos(value) => write!(out, "{value}")?,
                Cell::Millis(value) => write!(out, "{value}")?,
                Cell::Word(text) => write_text(out, text)?,
                Cell::Decimal(value, digits) => write!(out, "\"{}\"", decimal::display(value, digits))?,
                Cell::Bytes(bytes) => write_text(out, &String::from_utf8_lossy(bytes))?,
            }
        }
        Ok(out.write_all(b"}\n")?)
    }

    fn finish(&mut self, _about: &About) -> Result<(), TableError> {
        Ok(self.out.flush()?)
    }
}

fn write_text(out: &mut impl Write, text: &str) -> io::Result<()> {
    serde_json::to_writer(out, text).map_err(io::Error::from)
}

/// Bytes as hexadecimal digits.
pub(super) struct Hex<'a>(pub(super) &'a [u8]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 6] = [
        Column::new("sequence", Type::Number),
        Column::new("receive_time", Type::Nanos),
        Column::optional("time", Type::Millis),
        Column::new("symbol", Type::Word),
        Column::new("price", Type::Decimal(Scale::Price)),
        Column::new("frame", Type::Bytes),
    ];
    const ROWS: [[Cell<'static>; 6]; 2] = [
        [
            Cell::Number(u64::MAX),
            Cell::Nanos(7),
            Cell::Millis(-8),
            Cell::Word("XBT/USD"),
            Cell::Decimal(123_450, 4),
            Cell::Bytes(b"{\"a\": \"1,2\n\"}"),
        ],
        [
            Cell::Number(0),
            Cell::Nanos(0),
            Cell::Empty,
            Cell::Word("A"),
            Cell::Decimal(1, 18),
            Cell::Bytes(&[0xff, 0x00]),
        ],
    ];

    #[test]
    fn csv_quotes_what_must_be_quoted() {
        let mut text = Vec::new();
        let mut table = Csv::new(&mut text, &COLUMNS);
        ROWS.iter().for_each(|row| table.row(row).unwrap());
        table.finish(&About::default()).unwrap();
        let expected = "sequence,receive_time_ns,time_ms,symbol,price,frame,frame_hex\n\
                        18446744073709551615,7,-8,XBT/USD,12.345,\"{\"\"a\"\": \"\"1,2\n\"\"}\",\n\
                        0,0,,A,0.000000000000000001,,ff00\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn each_line_of_json_is_an_object() {
        let mut text = Vec::new();
        let mut table = JsonLines::new(&mut text, &COLUMNS);
        ROWS.iter().for_each(|row| table.row(row).unwrap());
        table.finish(&About::default()).unwrap();
        let lines: Vec<serde_json::Value> = text
            .split_inclusive(|byte| *byte == b'\n')
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect();
        let expected = [
            serde_json::json!({
                "sequence": u64::MAX, "receive_time_ns": 7, "time_ms": -8, "symbol": "XBT/USD",
                "price": "12.345", "frame": "{\"a\": \"1,2\n\"}",
            }),
            serde_json::json!({
                "sequence": 0, "receive_time_ns": 0, "time_ms": null, "symbol": "A",
                "price": "0.000000000000000001", "frame_hex": "ff00",
            }),
        ];
        assert_eq!(lines, expected);
    }
}
