//! Frames as pictures, which the crate `encode` makes files of.

use shm::frame::FrameCopy;

/// The pixels of a frame, to be written to a file. Of a copy that holds no frame yet, no picture: writing it is an error.
pub fn picture(frame: &FrameCopy) -> encode::Picture<'_> {
    encode::Picture { width: frame.width as u32, height: frame.height as u32, pixels: &frame.pixels }
}
