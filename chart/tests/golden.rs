//! Pictures that must not change by a byte: `tests/golden/*.png`.
//!
//! After a change that is meant to be seen, run `UPDATE_GOLDEN=1 cargo test -p chart --test golden` and look at the
//! new pictures. On a mismatch the test says where it put what it drew.

mod common;

use chart::{Chart, Frame, Theme};
use common::{doubtful_walk, settings, walk};
use jiff::tz::TimeZone;
use market::{Candle, CandleState, Ohlc};
use std::path::{Path, PathBuf};

fn encoded(frame: &Frame) -> Vec<u8> {
    encode::encode(&frame.picture(), encode::Format::Png).unwrap()
}

/// Reads a PNG file back as pixels.
fn decode(file: &[u8]) -> (u32, u32, Vec<u32>) {
    let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut bytes).unwrap();
    // The oldest pictures have an alpha channel.
    let pixel =
        |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], *bytes.get(3).unwrap_or(&255)]);
    let pixels = bytes.chunks(info.color_type.samples()).map(pixel).collect();
    (info.width, info.height, pixels)
}

fn check(name: &str, frame: &Frame) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.png"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, encoded(frame)).unwrap();
    }
    let same = std::fs::read(&path)
        .is_ok_and(|file| decode(&file) == (frame.width(), frame.height(), frame.pixels().to_vec()));
    if !same {
        let actual = picture(name, frame);
        panic!("{} is not what was drawn: see {}", path.display(), actual.display());
    }
}

/// Writes the frame where a developer can look at it.
fn picture(name: &str, frame: &Frame) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.png"));
    std::fs::write(&path, encoded(frame)).unwrap();
    path
}

fn chart(width: u32, height: u32, theme: Theme, bars: &[Candle]) -> Chart {
    let mut chart = Chart::new(settings(width, height, theme)).unwrap();
    chart.update(bars);
    chart
}

#[test]
fn dark() {
    check("dark", chart(480, 270, Theme::Dark, &walk(200, 7)).frame());
}

#[test]
fn light() {
    check("light", chart(480, 270, Theme::Light, &walk(200, 11)).frame());
}

#[test]
fn gaps() {
    check("gaps", chart(480, 270, Theme::Dark, &doubtful_walk(56, 7)).frame());
}

#[test]
fn waiting() {
    check("waiting", chart(320, 180, Theme::Dark, &[]).frame());
}

/// Large pictures, for people to look at: nothing is compared.
#[test]
fn large_pictures() {
    for (width, height, theme) in [
        (1920, 1080, Theme::Dark),
        (1920, 1080, Theme::Light),
        (960, 540, Theme::Dark),
        (3840, 2160, Theme::Dark),
    ] {
        let chart = chart(width, height, theme, &doubtful_walk(300, 5));
        println!("{}", picture(&format!("{width}x{height}-{theme}"), chart.frame()).display());
    }
}

/// Recorded candles, if this checkout has them: the picture is for people to look at.
#[test]
fn recorded_data() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/candles");
    let Ok(file) = std::fs::read(folder.join("ftx_btc-perp_1m_20211231-20220201.csv.gz")) else {
        println!("skipped: no recorded data");
        return;
    };
    let text = std::io::read_to_string(flate2::read::GzDecoder::new(&file[..])).unwrap();
    let number = |text: &str| market::decimal::parse(text.as_bytes(), 8).unwrap();
    let recorded = |line: &str| {
        let column: Vec<_> = line.split(',').collect();
        let time = column[0].parse::<jiff::civil::DateTime>().unwrap().to_zoned(TimeZone::UTC).unwrap();
        let [open, high, low, close] = [1, 2, 3, 4].map(|index| number(column[index]));
        // Volumes were recorded from floating point: their decimal places mean nothing.
        let volume = number(column[5].split('.').next().unwrap());
        let ohlc = Ohlc { open, high, low, close };
        common::bar(time.timestamp().as_millisecond(), CandleState::Traded, ohlc, volume)
    };
    let bars: Vec<_> = text.lines().skip(1).take(1_000).map(recorded).collect();
    let mut settings = settings(1920, 1080, Theme::Dark);
    settings.title = "ftx:BTC-PERP".to_owned();
    (settings.price_digits, settings.qty_digits) = (8, 8);
    let mut chart = Chart::new(settings).unwrap();
    for count in 1..=bars.len() {
        chart.update(&bars[..count]);
    }
    println!("{}", picture("recorded", chart.frame()).display());
    assert_eq!(*chart.frame(), common::drawn(chart.scene()));
}

#[test]
fn a_png_decodes_to_the_same_pixels() {
    let chart = chart(333, 217, Theme::Light, &walk(50, 3));
    let frame = chart.frame();
    assert_eq!(decode(&encoded(frame)), (333, 217, frame.pixels().to_vec()));
}
