//! Frames as files.

use shm::frame::FrameCopy;
use std::io::{self, Write};

/// Writes a frame as a PNG, quickly rather than small. An empty frame is an error.
pub fn write_png(frame: &FrameCopy, out: impl Write) -> io::Result<()> {
    let mut encoder = png::Encoder::new(out, frame.width as u32, frame.height as u32);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let bytes: Vec<u8> = frame.pixels.iter().flat_map(|pixel| pixel.to_le_bytes()).collect();
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&bytes)?;
    writer.finish()?;
    Ok(())
}
