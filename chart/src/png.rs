//! Frames as PNG files: 8-bit RGBA, compressed for speed.

use crate::Frame;
use std::io::{self, Write};

/// The frame as a PNG file.
pub fn encode(frame: &Frame) -> Vec<u8> {
    let mut file = Vec::new();
    // A frame has a valid size and all its pixels, and writing to memory does not fail.
    write(frame, &mut file).expect("a frame is always a valid image");
    file
}

/// Writes the frame as a PNG file to `out`.
pub fn write(frame: &Frame, out: impl Write) -> io::Result<()> {
    let mut encoder = ::png::Encoder::new(out, frame.width(), frame.height());
    encoder.set_color(::png::ColorType::Rgba);
    encoder.set_depth(::png::BitDepth::Eight);
    encoder.set_compression(::png::Compression::Fast);
    let bytes: Vec<u8> = frame.pixels().iter().flat_map(|pixel| pixel.to_le_bytes()).collect();
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&bytes)?;
    writer.finish()?;
    Ok(())
}
