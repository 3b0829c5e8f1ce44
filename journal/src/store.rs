//! Where segments are: a folder, or what a test puts in its place.
//!
//! A segment is a file `NNNNNNNNNNNNNNNN.seg`, named by its number, of which all that was never written is zeros; or
//! `.seg.zst`, the same packed (see `pack`), once it is closed. `.idx` beside it tells where in it which time is, and
//! can be made anew. What ends in `.tmp` is unfinished work, and worth nothing.

mod folder;

pub use folder::{Folder, Form};

use std::io;

/// A segment in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    /// Its number.
    pub number: u64,
    /// Whether it is packed.
    pub is_packed: bool,
    /// How long its file is.
    pub bytes: u64,
}

/// The bytes of an open segment, unpacked.
#[allow(clippy::len_without_is_empty, reason = "Nobody asks.")]
pub trait Source {
    /// Reads as much of `out` as there is from `offset` on. Less only at the end. What cannot be unpacked is an error
    /// of kind `InvalidData`; all others mean that the disk refused.
    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> io::Result<usize>;

    /// How long it is, unpacked.
    fn len(&self) -> u64;
}

/// Segments, by number.
pub trait Store {
    /// All segments, by number, each once: one that is there both plain and packed is plain.
    fn list(&self) -> io::Result<Vec<Segment>>;

    /// Opens one for reading; packed, if it was packed since it was listed. Of kind `NotFound` if it was removed.
    fn open(&self, segment: &Segment) -> io::Result<Box<dyn Source>>;

    /// Ends a plain segment at `len`, durably.
    fn cut(&self, segment: &Segment, len: u64) -> io::Result<()>;

    /// Removes a segment and all that belongs to it, durably.
    fn remove(&self, segment: &Segment) -> io::Result<()>;

    /// Has all that was written to a plain segment durable.
    fn flush(&self, segment: &Segment) -> io::Result<()>;

    /// The bytes of a segment's index, if there is one.
    fn index(&self, _segment: &Segment) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    /// What messages call it.
    fn name(&self) -> String {
        "this store".into()
    }
}
