//! Pictures that must not change by a byte: `tests/golden/*.png`.
//!
//! After a change that is meant to be seen, run `UPDATE_GOLDEN=1 cargo test -p chart --test golden` and look at the
//! new pictures. On a mismatch the test says where it put what it drew.

mod common;

use chart::{
    Chart, Color, Colors, Frame, Look, Marker, MarkerPlace, MarkerShape, PriceLine, PriceScale, Right,
    SeriesKind, Theme, View, Zoom,
};
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

/// A picture of each series type, scale, theme, set of panes and kind of mark.
fn gallery() -> Vec<(String, Chart)> {
    let mut all = Vec::new();
    let mut add = |name: &str, size: (u32, u32), theme: Theme, look: Look, bars: &[Candle]| {
        let mut settings = settings(size.0, size.1, theme);
        settings.look = look;
        let mut chart = Chart::new(settings).unwrap();
        chart.update(bars);
        all.push((name.to_owned(), chart));
    };
    let small = (480, 270);
    add("dark", small, Theme::Dark, Look::default(), &walk(200, 7));
    add("light", small, Theme::Light, Look::default(), &walk(200, 11));
    add("gaps", small, Theme::Dark, Look::default(), &doubtful_walk(56, 7));
    add("waiting", (320, 180), Theme::Dark, Look::default(), &[]);
    for kind in SeriesKind::ALL {
        let look = Look { kind, ..Look::default() };
        add(&format!("kind-{kind}"), small, Theme::Dark, look, &doubtful_walk(60, 7));
    }
    for scale in PriceScale::ALL {
        let look = Look { scale, ..Look::default() };
        add(&format!("scale-{scale}"), small, Theme::Light, look, &growing(120));
    }
    let look = |studies: &[&str]| Look {
        studies: studies.iter().map(|spec| spec.parse().unwrap()).collect(),
        ..Look::default()
    };
    add("overlays", (640, 360), Theme::Dark, look(&["sma(20)", "ema(9)", "wma(12)", "vwap"]), &walk(200, 7));
    add("bollinger", (640, 360), Theme::Light, look(&["bollinger(20, 2)"]), &walk(200, 7));
    let panes = look(&["rsi(14)", "macd(12, 26, 9)", "stochastic(14, 3, 3)"]);
    add("panes", (640, 540), Theme::Dark, panes, &walk(200, 7));
    let more = look(&["atr(14)", "obv", "rma(14)"]);
    add("more-panes", (640, 540), Theme::Light, Look { hide_volume: true, ..more }, &walk(200, 7));
    let profile = Look { volume_profile: true, watermark: "BTCUSDT".into(), ..Look::default() };
    add("profile", (640, 360), Theme::Dark, profile, &walk(200, 7));
    let colors = Colors {
        background: Some(Color(0x0b3d2e)),
        up: Some(Color(0xffd54f)),
        down: Some(Color(0x4fc3f7)),
        text: Some(Color(0xe0f2f1)),
        grid: Some(Color(0x14523f)),
        ..Colors::default()
    };
    add("colors", small, Theme::Dark, Look { colors, ..Look::default() }, &walk(200, 7));
    add("magnified", (960, 540), Theme::Dark, Look { magnify: Some(2), ..Look::default() }, &walk(200, 7));
    add("wide", small, Theme::Dark, Look { bar_width: Some(24), ..Look::default() }, &walk(200, 7));
    add("dense", small, Theme::Dark, Look::default(), &walk(1_500, 7));
    add("marks", (640, 360), Theme::Dark, Look { countdown: true, ..Look::default() }, &walk(200, 7));
    add("panned", small, Theme::Light, Look::default(), &walk(200, 7));
    for (name, chart) in &mut all {
        let bars = chart.bars().to_vec();
        match name.as_str() {
            "dense" => chart.set_view(View { zoom: Zoom::Dense(2), right: Right::Newest }),
            "panned" => chart.pan(-60),
            "marks" => mark(chart, &bars),
            _ => continue,
        }
        chart.draw();
    }
    all
}

/// Lines, markers, a crosshair and a countdown.
fn mark(chart: &mut Chart, bars: &[Candle]) {
    let price = bars[170].close().unwrap();
    chart.set_price_line(PriceLine { price, color: Color(0xff9800), title: "entry".into() });
    for (at, place, shape, title) in [
        (140, MarkerPlace::Below, MarkerShape::ArrowUp, "buy"),
        (160, MarkerPlace::Above, MarkerShape::ArrowDown, "sell"),
        (180, MarkerPlace::Above, MarkerShape::Circle, ""),
        (190, MarkerPlace::Below, MarkerShape::Square, "news"),
    ] {
        let color = Color(if place == MarkerPlace::Below { 0x4caf50 } else { 0xe91e63 });
        chart.set_marker(Marker { time_ms: bars[at].open_ms, place, shape, color, title: title.into() });
    }
    chart.set_pointer(Some((300, 120)));
    chart.set_venue_time(Some(bars[199].open_ms + 17_300));
}

/// A walk that grows by a few percent with each bar.
fn growing(count: usize) -> Vec<Candle> {
    let mut bars = walk(count, 3);
    let mut factor = 1.0;
    for bar in &mut bars {
        let ohlc = bar.ohlc.as_mut().unwrap();
        for price in [&mut ohlc.open, &mut ohlc.high, &mut ohlc.low, &mut ohlc.close] {
            *price = ((*price as f64 - 6_100_000.0) * factor / 1_000.0) as i64 * 10;
        }
        factor *= 1.04;
    }
    bars
}

#[test]
fn pictures_are_as_they_were() {
    let gallery = gallery();
    contact_sheet(&gallery);
    for (name, chart) in &gallery {
        assert!(*chart.frame() == common::drawn(chart.scene()), "{name}");
        check(name, chart.frame());
    }
}

/// All pictures on one, for people to look at, in rows.
fn contact_sheet(gallery: &[(String, Chart)]) {
    const WIDTH: usize = 1_960;
    const GAP: usize = 8;
    let (mut places, mut x, mut y, mut row) = (Vec::new(), GAP, GAP, 0);
    for (_, chart) in gallery {
        let (width, height) = (chart.frame().width() as usize, chart.frame().height() as usize);
        if x + width > WIDTH {
            (x, y, row) = (GAP, y + row + GAP, 0);
        }
        places.push((x, y));
        (x, row) = (x + width + GAP, row.max(height));
    }
    let height = y + row + GAP;
    let mut sheet = vec![0xff80_8080u32; WIDTH * height];
    for ((_, chart), (left, top)) in gallery.iter().zip(places) {
        let frame = chart.frame();
        for (y, line) in frame.pixels().chunks(frame.width() as usize).enumerate() {
            let start = (top + y) * WIDTH + left;
            sheet[start..start + line.len()].copy_from_slice(line);
        }
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("contact-sheet.png");
    let mut encoder = ::png::Encoder::new(std::fs::File::create(&path).unwrap(), WIDTH as u32, height as u32);
    encoder.set_color(::png::ColorType::Rgba);
    let bytes: Vec<u8> = sheet.iter().flat_map(|pixel| pixel.to_le_bytes()).collect();
    encoder.write_header().unwrap().write_image_data(&bytes).unwrap();
    println!("{}", path.display());
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
