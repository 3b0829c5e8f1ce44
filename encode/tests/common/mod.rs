//! Pictures to write, and readers of other hands than the writers'.
#![allow(dead_code)] // Each test file uses some of it.

#[path = "../../../chart/tests/common/mod.rs"]
pub(crate) mod candles;

use chart::{Chart, Theme};
use encode::Picture;
use std::io::{Cursor, Read};
use std::path::Path;
use std::process::Command;

/// A picture that owns its pixels.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Canvas {
    pub(crate) name: String,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) pixels: Vec<u32>,
}

impl Canvas {
    pub(crate) fn new(width: u32, height: u32, mut pixel: impl FnMut() -> u32) -> Self {
        let pixels = (0..width * height).map(|_| opaque(pixel())).collect();
        Self { name: format!("{width}x{height}"), width, height, pixels }
    }

    pub(crate) fn noise(width: u32, height: u32, seed: u64) -> Self {
        let mut random = candles::Random(seed);
        let canvas = Self::new(width, height, || random.below(1 << 24) as u32);
        Self { name: format!("noise of {width}x{height}"), ..canvas }
    }

    pub(crate) fn picture(&self) -> Picture<'_> {
        Picture { width: self.width, height: self.height, pixels: &self.pixels }
    }

    /// The bytes of all pixels: red, green, blue.
    pub(crate) fn rgb(&self) -> Vec<u8> {
        self.pixels.iter().flat_map(|pixel| pixel.to_le_bytes().into_iter().take(3)).collect()
    }
}

impl std::fmt::Debug for Canvas {
    /// Without its pixels, which nobody would read.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

pub(crate) fn opaque(rgb: u32) -> u32 {
    rgb | 0xff00_0000
}

/// Charts of several sizes and themes, noise, and the thinnest pictures.
pub(crate) fn pictures() -> Vec<Canvas> {
    let mut all = Vec::new();
    for (width, height, theme) in [(960, 540, Theme::Dark), (640, 361, Theme::Light), (321, 180, Theme::Dark)]
    {
        let mut chart = Chart::new(candles::settings(width, height, theme)).unwrap();
        chart.update(&candles::doubtful_walk(200, 7));
        let pixels = chart.frame().pixels().to_vec();
        all.push(Canvas { name: format!("{theme:?} chart of {width}x{height}"), width, height, pixels });
    }
    for (width, height) in [(1, 1), (1, 700), (700, 1), (97, 49), (24, 24), (25, 25)] {
        all.push(Canvas::noise(width, height, 99));
        all.push(Canvas::new(width, height, || 0x0022_1713));
    }
    all
}

/// A PNG read by the `png` crate, which must find nothing wrong with it: size and RGB bytes.
pub(crate) fn read_png(file: &[u8]) -> (u32, u32, Vec<u8>) {
    let mut options = png::DecodeOptions::default();
    options.set_ignore_checksums(false);
    let mut reader = png::Decoder::new_with_options(Cursor::new(file), options).read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut bytes).unwrap();
    assert_eq!((info.color_type, info.bit_depth), (png::ColorType::Rgb, png::BitDepth::Eight));
    reader.finish().unwrap();
    (info.width, info.height, bytes)
}

/// What the IDAT chunks of a PNG unpack to. A zlib stream whose checksum or end is wrong is a panic.
pub(crate) fn unpack_png(file: &[u8]) -> Vec<u8> {
    let (mut stream, mut rest) = (Vec::new(), &file[8..]);
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = u32::from_be_bytes(*length) as usize;
        if after.starts_with(b"IDAT") {
            stream.extend_from_slice(&after[4..4 + length]);
        }
        rest = &after[length + 8..];
    }
    let (mut bytes, mut decoder) = (Vec::new(), flate2::bufread::ZlibDecoder::new(&stream[..]));
    decoder.read_to_end(&mut bytes).expect("a whole zlib stream");
    assert_eq!(decoder.total_in(), stream.len() as u64, "something stands behind the stream");
    bytes
}

/// Reads files with Pillow: size and RGB bytes of each. `None`, and says so, where there is no Pillow.
pub(crate) fn read_with_pillow(files: &[(String, Vec<u8>)]) -> Option<Vec<(u32, u32, Vec<u8>)>> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python/bin/python");
    let has_pillow = Command::new(&python).args(["-c", "import PIL.Image"]).output();
    if !has_pillow.is_ok_and(|output| output.status.success()) {
        println!("skipped: pictures read by Pillow (no Pillow)");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    for (index, (ending, bytes)) in files.iter().enumerate() {
        std::fs::write(folder.path().join(format!("{index}.{ending}")), bytes).unwrap();
    }
    let script = "
import pathlib, sys
from PIL import Image
for path in pathlib.Path(sys.argv[1]).iterdir():
    with Image.open(path) as image:
        assert image.mode == 'RGB', f'{path} is {image.mode}'
        size = b''.join(side.to_bytes(4, 'little') for side in image.size)
        path.with_suffix('.rgb').write_bytes(size + image.tobytes())
";
    let output = Command::new(&python).args(["-c", script]).arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |index: usize| {
        let bytes = std::fs::read(folder.path().join(format!("{index}.rgb"))).unwrap();
        let side = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        (side(0), side(4), bytes[8..].to_vec())
    };
    Some((0..files.len()).map(read).collect())
}
