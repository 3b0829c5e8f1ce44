//! A chart of 1920×1080 as a file: each format at once, and the PNG that follows a last price, beside the `png` crate at
//! its fast setting and a memcpy of the frame. The formats at once are the crates `png`, `qoi`, `jpeg-encoder` and
//! `image-webp`, so they are references too.

use crate::harness::{Arm, Ratio, Report};
use crate::raster::{self, SIZE, Walk};
use ::encode::{DeltaPng, Format, Picture, Rect, STRIP_ROWS, differing_rows, encode};
use chart::{Chart, Look};
use market::Candle;
use std::hint::black_box;
use std::time::Instant;

const BARS: usize = 300;
/// Whole pictures in a round, and changes of the last price.
const WHOLE: usize = 3;
const CHANGES: usize = 50;

/// A chart and its candles, and the same random changes on every run.
struct Market {
    chart: Chart,
    bars: Vec<Candle>,
    random: u64,
}

pub(crate) fn measure(rounds: usize) -> anyhow::Result<Report> {
    let mut market = Market::new()?;
    let mut png = DeltaPng::new(&market.chart.frame().picture())?;
    let arm = |name| Arm::new(name, "ns");
    let mut copy = arm("memcpy of the frame");
    // Whole pictures, and how large their files are.
    let mut at_once =
        ["png crate, fast", "png", "qoi", "jpeg", "webp", "delta png, whole"].map(|name| (arm(name), 0));
    let (mut last, mut unknown) = (arm("delta png, last price"), arm("delta png, damage unknown"));
    let (mut packed, mut pixels) = (0, 0);
    for _ in 0..rounds {
        let picture = market.chart.frame().picture();
        let mut memory = picture.pixels.to_vec();
        let copy_once = || black_box(&mut memory).copy_from_slice(black_box(picture.pixels));
        copy.add_round(times(WHOLE, copy_once));
        for (place, (arm, bytes)) in at_once.iter_mut().enumerate() {
            arm.add_round(times(WHOLE, || *bytes = pack(place, &picture).len()));
        }
        let (mut told, mut compared) = (Vec::new(), Vec::new());
        for _ in 0..CHANGES {
            let dirty = market.trade();
            pixels += dirty.iter().map(|rect| u64::from(rect.width * rect.height)).sum::<u64>();
            let started = Instant::now();
            packed += png.update(&market.chart.frame().picture(), &dirty)?;
            black_box(png.file());
            told.push(started.elapsed().as_nanos() as u64);
        }
        last.add_round(told);
        for _ in 0..CHANGES {
            let before = market.chart.frame().clone();
            market.trade();
            let now = market.chart.frame().picture();
            let started = Instant::now();
            png.update(&now, &differing_rows(&before.picture(), &now))?;
            black_box(png.file());
            compared.push(started.elapsed().as_nanos() as u64);
        }
        unknown.add_round(compared);
    }
    let anew = DeltaPng::new(&market.chart.frame().picture())?.file();
    anyhow::ensure!(png.file() == anew, "the PNG that followed is not the one packed anew");

    let changes = (rounds * CHANGES) as f64;
    let kilobytes: Vec<_> =
        at_once.iter().map(|(arm, bytes)| format!("{} {} KB", arm.name, bytes / 1_000)).collect();
    let strips = SIZE.1.div_ceil(STRIP_ROWS);
    let [(fast, _), .., (whole, _)] = &at_once;
    let ratios = vec![
        Ratio::of("delta png, last price / whole, p50", &last, whole, 0.5, 0.15),
        Ratio::of("delta png, last price / png crate, fast, p50", &last, fast, 0.5, 0.1),
    ];
    Ok(Report {
        name: "encode",
        notes: vec![
            format!("{}x{}, {BARS} bars; one thread; files are made in memory", SIZE.0, SIZE.1),
            kilobytes.join(", "),
            format!(
                "a last price damages {:.0} pixels, {:.1} of {strips} strips",
                pixels as f64 / changes,
                packed as f64 / changes
            ),
        ],
        ratios,
        arms: [copy]
            .into_iter()
            .chain(at_once.into_iter().map(|(arm, _)| arm))
            .chain([last, unknown])
            .collect(),
    })
}

/// How long each of so many runs took, in nanoseconds.
fn times(count: usize, mut run: impl FnMut()) -> Vec<u64> {
    let once = |_| {
        let started = Instant::now();
        run();
        started.elapsed().as_nanos() as u64
    };
    (0..count).map(once).collect()
}

/// The file that the arm in this place makes of a chart.
fn pack(place: usize, picture: &Picture<'_>) -> Vec<u8> {
    let packed = match place {
        0 => return png_fast(picture),
        1..5 => encode(picture, [Format::Png, Format::Qoi, Format::Jpeg, Format::WebP][place - 1]),
        _ => DeltaPng::new(picture).map(|png| png.file()),
    };
    packed.expect("every format holds a chart")
}

/// The reference: RGB, at the crate's fast setting.
fn png_fast(picture: &Picture<'_>) -> Vec<u8> {
    let rgb = |pixel: &u32| {
        let [r, g, b, _] = pixel.to_le_bytes();
        [r, g, b]
    };
    let bytes: Vec<u8> = picture.pixels.iter().flat_map(rgb).collect();
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, picture.width, picture.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::Fast);
    let written = encoder.write_header().and_then(|mut writer| {
        writer.write_image_data(&bytes)?;
        writer.finish()
    });
    // Memory takes all, and a chart is a valid picture.
    written.expect("a chart can be written");
    file
}

impl Market {
    fn new() -> anyhow::Result<Self> {
        let mut walk = Walk::new(7);
        let bars = (0..BARS).map(|_| walk.bar()).collect();
        let mut market = Self { chart: raster::chart(Look::default())?, bars, random: 7 };
        market.chart.update(&market.bars);
        Ok(market)
    }

    /// Trades once in the newest bar, within its range and near the last price. Returns what changed in the picture.
    fn trade(&mut self) -> Vec<Rect> {
        let (step, volume) = (self.below(401) - 200, self.below(10_000));
        // The walk gave every bar a price.
        let newest = self.bars.last_mut().expect("there are bars");
        if let Some(ohlc) = &mut newest.ohlc {
            ohlc.close = (ohlc.close + step).clamp(ohlc.low, ohlc.high);
        }
        newest.volume += i128::from(volume);
        self.chart.update(&self.bars).rects().iter().map(|rect| (*rect).into()).collect()
    }

    /// A random number below `limit` (xorshift).
    fn below(&mut self, limit: u64) -> i64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % limit) as i64
    }
}
