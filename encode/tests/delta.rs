//! The PNG that follows a picture: whatever changed, and however it was told, the file is right and always the same.

mod common;

use common::{Canvas, candles, opaque, pictures, read_png, read_with_pillow, unpack_png};
use encode::{DeltaPng, Rect, STRIP_ROWS, differing_rows};
use proptest::prelude::*;

/// One change of a picture, its places as parts of 1,000 of its sides.
#[derive(Debug, Clone)]
struct Change {
    kind: u8,
    from: (u32, u32),
    to: (u32, u32),
    color: u32,
}

fn change() -> impl Strategy<Value = Change> {
    let place = || (0..1_000u32, 0..1_000u32);
    (0..5u8, place(), place(), any::<u32>()).prop_map(|(kind, from, to, color)| Change {
        kind,
        from,
        to,
        color,
    })
}

fn start() -> impl Strategy<Value = Canvas> {
    let side = || prop_oneof![1..5u32, 20..30u32, 40..120u32];
    (side(), side(), any::<u64>(), 0..3u8).prop_map(|(width, height, seed, kind)| match kind {
        0 => Canvas::noise(width, height, seed | 1),
        1 => Canvas::new(width, height, || seed as u32 & 0x00ff_ffff),
        // Few colours in short runs, as text and edges are.
        _ => {
            let mut random = candles::Random(seed | 1);
            Canvas::new(width, height, || [0x0013_1722, 0x0026_a69a, 0x00ef_5350][random.below(3) as usize])
        }
    })
}

/// Changes the picture, and tells where.
fn apply(canvas: &mut Canvas, change: &Change) -> Vec<Rect> {
    let place = |(x, y): (u32, u32)| (x * canvas.width / 1_000, y * canvas.height / 1_000);
    let ((x0, y0), (x1, y1)) = (place(change.from), place(change.to));
    let (left, top, right, bottom) = (x0.min(x1), y0.min(y1), x0.max(x1) + 1, y0.max(y1) + 1);
    let mut random = candles::Random(u64::from(change.color) | 1);
    for y in top..bottom {
        for x in left..right {
            let at = (y * canvas.width + x) as usize;
            canvas.pixels[at] = match change.kind {
                0 | 1 => opaque(change.color),
                2 => opaque(random.below(1 << 24) as u32),
                // As a chart that scrolls.
                3 => canvas.pixels[(y * canvas.width + (x + 1).min(canvas.width - 1)) as usize],
                _ => canvas.pixels[at],
            };
        }
    }
    let rect = Rect { x: left, y: top, width: right - left, height: bottom - top };
    // The same honest damage in three manners: as it is, in two halves, and more than there is.
    match change.color % 3 {
        0 => vec![rect],
        1 => {
            let upper = rect.height / 2;
            let below = Rect { y: rect.y + upper, height: rect.height - upper, ..rect };
            vec![below, Rect { height: upper, ..rect }]
        }
        _ => vec![Rect { height: u32::MAX, ..rect }, Rect { width: 0, ..rect }],
    }
}

fn check(png: &DeltaPng, canvas: &Canvas) {
    let file = png.file();
    assert!(read_png(&file) == (canvas.width, canvas.height, canvas.rgb()), "other pixels");
    let row_bytes = 3 * canvas.width as usize + 1;
    assert_eq!(unpack_png(&file).len(), row_bytes * canvas.height as usize);
    assert!(file == DeltaPng::new(&canvas.picture()).unwrap().file(), "not as packed anew");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn follows_every_change(mut canvas in start(), changes in prop::collection::vec(change(), 1..12)) {
        let mut png = DeltaPng::new(&canvas.picture()).unwrap();
        check(&png, &canvas);
        for change in changes {
            let before = canvas.clone();
            let told = apply(&mut canvas, &change);
            let dirty = match change.kind {
                1 | 3 => differing_rows(&before.picture(), &canvas.picture()),
                _ => told,
            };
            png.update(&canvas.picture(), &dirty).unwrap();
            check(&png, &canvas);
        }
    }

    /// Exactly the strips that a rectangle touches are packed.
    #[test]
    fn packs_no_more_than_was_told(rects in prop::collection::vec((0..300u32, 0..300u32, 0..40u32, 0..60u32), 0..4)) {
        let canvas = Canvas::new(50, 250, || 0);
        let mut png = DeltaPng::new(&canvas.picture()).unwrap();
        let rects: Vec<_> = rects.into_iter().map(|(x, y, width, height)| Rect { x, y, width, height }).collect();
        let touched = |row: &u32| rects.iter().any(|rect| rect.width > 0 && (rect.y..rect.y + rect.height).contains(row));
        let mut strips: Vec<_> = (0..250).filter(touched).map(|row| row / STRIP_ROWS).collect();
        strips.dedup();
        prop_assert_eq!(png.update(&canvas.picture(), &rects).unwrap(), strips.len());
    }
}

/// A chart as the daemon keeps it: every trade's damage, and what it leads to, for a new bar now and then.
#[test]
fn follows_a_chart() {
    let mut settings = candles::settings(960, 540, chart::Theme::Dark);
    settings.title = "a".to_owned();
    let mut chart = chart::Chart::new(settings).unwrap();
    let bars = candles::walk(120, 3);
    chart.update(&bars[..60]);
    let mut png = DeltaPng::new(&chart.frame().picture()).unwrap();
    let mut random = candles::Random(5);
    let mut shown = bars[..60].to_vec();
    for step in 0..80 {
        if step % 20 == 19 {
            shown.push(bars[shown.len()]);
        }
        let newest = shown.last_mut().unwrap();
        let ohlc = newest.ohlc.as_mut().unwrap();
        ohlc.close += random.below(2_001) - 1_000;
        (ohlc.high, ohlc.low) = (ohlc.high.max(ohlc.close), ohlc.low.min(ohlc.close));
        newest.volume += i128::from(random.below(90_000));
        let dirty: Vec<Rect> = chart.update(&shown).rects().iter().map(|rect| (*rect).into()).collect();
        png.update(&chart.frame().picture(), &dirty).unwrap();
        let canvas =
            Canvas { name: String::new(), width: 960, height: 540, pixels: chart.frame().pixels().to_vec() };
        check(&png, &canvas);
    }
}

/// The same pictures, and some after changes, by a reader that shares no code with ours or the `png` crate's.
#[test]
fn pillow_reads_what_was_followed() {
    let (mut files, mut expected) = (Vec::new(), Vec::new());
    for canvas in pictures() {
        let mut now = canvas;
        let mut png = DeltaPng::new(&now.picture()).unwrap();
        let mut random = candles::Random(now.pixels.len() as u64);
        for _ in 0..8 {
            files.push(("png".to_owned(), png.file()));
            expected.push((now.width, now.height, now.rgb()));
            let mut place = || (random.below(1_000) as u32, random.below(1_000) as u32);
            let (from, to) = (place(), place());
            let color = random.below(1 << 24) as u32;
            let dirty = apply(&mut now, &Change { kind: (color % 3) as u8, from, to, color });
            png.update(&now.picture(), &dirty).unwrap();
        }
    }
    let Some(read) = read_with_pillow(&files) else { return };
    assert!(read == expected);
}

#[test]
fn another_size_begins_anew() {
    let (small, large) = (Canvas::noise(30, 40, 1), Canvas::noise(31, 80, 2));
    let mut png = DeltaPng::new(&small.picture()).unwrap();
    png.update(&large.picture(), &[]).unwrap();
    check(&png, &large);
    let wrong = encode::Picture { width: 30, height: 40, pixels: &large.pixels };
    assert!(png.update(&wrong, &[]).is_err());
    check(&png, &large);
    assert_eq!(differing_rows(&small.picture(), &large.picture()).len(), 1);
}

/// Noise cannot be packed, but does not grow much either.
#[test]
fn noise_hardly_grows() {
    let canvas = Canvas::noise(500, 500, 3);
    let length = DeltaPng::new(&canvas.picture()).unwrap().file().len();
    assert!(length < canvas.rgb().len() * 101 / 100 + 4_096, "{length} bytes");
}
