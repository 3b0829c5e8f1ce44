//! Each format read back by readers of other hands: charts, noise, and the thinnest pictures.

mod common;

use common::{Canvas, pictures, read_png, read_with_pillow};
use encode::{EncodeError, Format, Picture, encode};
use std::path::Path;
use std::str::FromStr;

/// What JPEG may change in a channel of 255, on charts: the mean, and the most, which thin lines of strong colour get.
const JPEG_CHART: (f64, u8) = (1.5, 60);
/// The same on noise, the worst there is for it.
const JPEG_NOISE: (f64, u8) = (12.0, 120);

/// Mean and largest difference of a channel.
fn loss(a: &[u8], b: &[u8]) -> (f64, u8) {
    assert_eq!(a.len(), b.len());
    let differences = || a.iter().zip(b).map(|(a, b)| a.abs_diff(*b));
    (differences().map(f64::from).sum::<f64>() / a.len() as f64, differences().max().unwrap())
}

fn check_jpeg(canvas: &Canvas, read: &[u8], reader: &str) {
    let (mean, most) = loss(&canvas.rgb(), read);
    let (mean_limit, most_limit) = if canvas.name.starts_with("noise") { JPEG_NOISE } else { JPEG_CHART };
    println!("{} by {reader}: {mean:.2} in the mean, {most} at the most", canvas.name);
    assert!(mean <= mean_limit && most <= most_limit, "{} loses {mean}, {most}", canvas.name);
}

#[test]
fn png_gives_back_every_pixel() {
    for canvas in pictures() {
        let file = encode(&canvas.picture(), Format::Png).unwrap();
        assert!(read_png(&file) == (canvas.width, canvas.height, canvas.rgb()), "{}", canvas.name);
    }
}

#[test]
fn qoi_gives_back_every_pixel() {
    for canvas in pictures() {
        let file = encode(&canvas.picture(), Format::Qoi).unwrap();
        let (header, bytes) = rapid_qoi::Qoi::decode_alloc(&file).unwrap();
        assert!((header.width, header.height, bytes) == (canvas.width, canvas.height, canvas.rgb()));
    }
}

#[test]
fn jpeg_loses_little() {
    for canvas in pictures() {
        let file = encode(&canvas.picture(), Format::Jpeg).unwrap();
        // All three channels at full resolution: the sampling factors of the frame header's components.
        let header = file.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
        assert_eq!([11, 14, 17].map(|at| file[header + at]), [0x11; 3], "colours are sampled down");
        let mut decoder = zune_jpeg::JpegDecoder::new(std::io::Cursor::new(&file));
        let read = decoder.decode().unwrap();
        assert_eq!(decoder.dimensions(), Some((canvas.width as usize, canvas.height as usize)));
        check_jpeg(&canvas, &read, "zune-jpeg");
    }
}

#[test]
fn pillow_reads_them_all() {
    let canvases = pictures();
    let pairs: Vec<_> =
        canvases.iter().flat_map(|canvas| Format::ALL.map(|format| (canvas, format))).collect();
    let file = |(canvas, format): &(&Canvas, Format)| {
        (format.to_string(), encode(&canvas.picture(), *format).unwrap())
    };
    let Some(read) = read_with_pillow(&pairs.iter().map(file).collect::<Vec<_>>()) else { return };
    for ((canvas, format), (width, height, rgb)) in pairs.into_iter().zip(read) {
        assert_eq!((width, height), (canvas.width, canvas.height));
        match format {
            Format::Jpeg => check_jpeg(canvas, &rgb, "Pillow"),
            _ => assert!(rgb == canvas.rgb(), "{} as {format} has other pixels", canvas.name),
        }
    }
}

#[test]
fn the_largest_chart_is_written() {
    let mut line = 0;
    let canvas = Canvas::new(8_192, 8_192, || {
        line += 1;
        line / 100_000
    });
    for format in Format::ALL {
        assert!(encode(&canvas.picture(), format).is_ok(), "{format}");
    }
    let file = encode::DeltaPng::new(&canvas.picture()).unwrap().file();
    assert!(read_png(&file) == (8_192, 8_192, canvas.rgb()));
}

#[test]
fn what_a_format_cannot_hold_is_an_error() {
    let wide = vec![opaque_black(); 16_385];
    let picture = Picture { width: 16_385, height: 1, pixels: &wide };
    let error = encode(&picture, Format::WebP).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a picture of 16385x1 is too large for webp, which takes sides of at most 16384 pixels"
    );
    for format in [Format::Png, Format::Qoi, Format::Jpeg] {
        encode(&picture, format).unwrap();
    }
    encode::DeltaPng::new(&picture).unwrap();
}

#[test]
fn what_is_no_picture_is_an_error() {
    let pixels = vec![opaque_black(); 65_536];
    for (width, height, count) in
        [(0, 0, 0), (0, 1, 0), (1, 0, 0), (2, 2, 3), (2, 2, 5), (65_536, 1, 65_536), (u32::MAX, u32::MAX, 1)]
    {
        let picture = Picture { width, height, pixels: &pixels[..count] };
        for format in Format::ALL {
            let error = encode(&picture, format).unwrap_err();
            assert!(matches!(error, EncodeError::Size { .. }), "{error}");
        }
        assert!(encode::DeltaPng::new(&picture).is_err());
    }
}

#[test]
fn a_file_ending_names_the_format() {
    for (path, format) in [
        ("a.png", Format::Png),
        ("/tmp/a.b.QOI", Format::Qoi),
        ("a.jpg", Format::Jpeg),
        ("a.jpeg", Format::Jpeg),
        ("a.webp", Format::WebP),
    ] {
        assert_eq!(Format::from_path(Path::new(path)).unwrap(), format);
    }
    for format in Format::ALL {
        assert_eq!(Format::from_str(&format.to_string()).unwrap(), format);
    }
    for path in ["a", "a.bmp", "png", ".png", ""] {
        let error = Format::from_path(Path::new(path)).unwrap_err();
        let sentence = format!("{path:?} names no picture format; use png, qoi, jpg, jpeg or webp");
        assert_eq!(error.to_string(), sentence);
    }
}

fn opaque_black() -> u32 {
    common::opaque(0)
}
