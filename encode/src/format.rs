//! The formats, and a whole picture in each of them.

use crate::Picture;
use std::fmt::{self, Display};
use std::io::{self, Write};
use std::path::Path;
use std::str::FromStr;

/// Of 100. Below 90, thin lines ring visibly.
const JPEG_QUALITY: u8 = 92;
/// WebP's largest width and height.
const WEBP_SIDE: u32 = 16_384;
/// The most pixels that readers of QOI take.
const QOI_PIXELS: u64 = 400_000_000;

/// How a picture is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// 8-bit RGB; small rather than fast. [`crate::DeltaPng`] is the fast one.
    Png,
    /// Quick to write and to read; browsers do not know it.
    Qoi,
    /// The only one with loss: quality 92 of 100, colours at full resolution, since thin lines suffer first.
    Jpeg,
    /// WebP without loss.
    WebP,
}

/// Why a picture was not written.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// Its sides and its pixels do not fit each other, or a side is 0 or too large.
    #[error(
        "a picture of {width}x{height} with {pixels} pixels is none; sides may be 1 to {} pixels",
        crate::MAX_SIDE
    )]
    Size {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
        /// Pixels that there are.
        pixels: usize,
    },
    /// The format cannot hold it.
    #[error("a picture of {width}x{height} is too large for {format}, which takes {limit}")]
    TooLarge {
        /// The format.
        format: Format,
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
        /// What it can hold.
        limit: &'static str,
    },
    /// Writing failed.
    #[error("cannot write the picture")]
    Write(#[from] io::Error),
}

/// The name or file ending is of no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no picture format; use png, qoi, jpg, jpeg or webp")]
pub struct FormatError(String);

impl Format {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Png, Self::Qoi, Self::Jpeg, Self::WebP];

    /// The format that a file's ending names, in small letters or capitals.
    pub fn from_path(path: &Path) -> Result<Self, FormatError> {
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        ending.parse().map_err(|_| FormatError(path.display().to_string()))
    }

    /// What a picture of this size is too large for, if it is.
    fn limit(self, width: u32, height: u32) -> Option<&'static str> {
        match self {
            Self::Qoi if u64::from(width) * u64::from(height) >= QOI_PIXELS => {
                Some("less than 400 million pixels")
            }
            Self::WebP if width.max(height) > WEBP_SIDE => Some("sides of at most 16384 pixels"),
            _ => None,
        }
    }

    /// The media type, as `Content-Type` has it.
    pub const fn mime(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Qoi => "image/qoi", // Not registered, but used so.
            Self::Jpeg => "image/jpeg",
            Self::WebP => "image/webp",
        }
    }
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(name: &str) -> Result<Self, FormatError> {
        match name.to_ascii_lowercase().as_str() {
            "png" => Ok(Self::Png),
            "qoi" => Ok(Self::Qoi),
            "jpg" | "jpeg" => Ok(Self::Jpeg),
            "webp" => Ok(Self::WebP),
            _ => Err(FormatError(name.to_owned())),
        }
    }
}

impl Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Png => "png",
            Self::Qoi => "qoi",
            Self::Jpeg => "jpeg",
            Self::WebP => "webp",
        })
    }
}

/// The picture as a file in this format. An error if it is no picture, or one that the format cannot hold.
pub fn encode(picture: &Picture<'_>, format: Format) -> Result<Vec<u8>, EncodeError> {
    let mut file = Vec::new();
    write(picture, format, &mut file)?;
    Ok(file)
}

/// Writes the picture as a file in this format to `out`, and flushes it. Errors as [`encode`], and those of `out`.
pub fn write(picture: &Picture<'_>, format: Format, mut out: impl Write) -> Result<(), EncodeError> {
    picture.check()?;
    let Picture { width, height, pixels } = *picture;
    if let Some(limit) = format.limit(width, height) {
        return Err(EncodeError::TooLarge { format, width, height, limit });
    }
    let bytes: Vec<u8> = pixels.iter().flat_map(|pixel| rgb(*pixel)).collect();
    match format {
        Format::Png => write_png(&bytes, width, height, &mut out)?,
        Format::Qoi => {
            out.write_all(&qoi::encode_to_vec(&bytes, width, height).map_err(io::Error::other)?)?
        }
        Format::Jpeg => write_jpeg(&bytes, width, height, &mut out)?,
        Format::WebP => write_webp(&bytes, width, height, &mut out)?,
    }
    out.flush()?;
    Ok(())
}

fn write_png(rgb: &[u8], width: u32, height: u32, out: impl Write) -> io::Result<()> {
    let mut encoder = png::Encoder::new(out, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Balanced);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(rgb)?;
    writer.finish()?;
    Ok(())
}

fn write_jpeg(rgb: &[u8], width: u32, height: u32, out: impl Write) -> io::Result<()> {
    let mut encoder = jpeg_encoder::Encoder::new(out, JPEG_QUALITY);
    encoder.set_sampling_factor(jpeg_encoder::SamplingFactor::R_4_4_4);
    // A picture's sides fit in 16 bits: `MAX_SIDE`.
    let written = encoder.encode(rgb, width as u16, height as u16, jpeg_encoder::ColorType::Rgb);
    written.map_err(|error| match error {
        jpeg_encoder::EncodingError::IoError(error) => error,
        other => io::Error::other(other),
    })
}

fn write_webp(rgb: &[u8], width: u32, height: u32, out: impl Write) -> io::Result<()> {
    let encoder = image_webp::WebPEncoder::new(out);
    let written = encoder.encode(rgb, width, height, image_webp::ColorType::Rgb8);
    written.map_err(|error| match error {
        image_webp::EncodingError::IoError(error) => error,
        other => io::Error::other(other),
    })
}

fn rgb(pixel: u32) -> [u8; 3] {
    let [r, g, b, _] = pixel.to_le_bytes();
    [r, g, b]
}
