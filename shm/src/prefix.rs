//! What every segment begins with: what it is, which version of the layout, and which daemon it belongs to.
//!
//! How the versions move: a reader refuses another major version; fields are only ever added behind the existing ones,
//! which raises the minor version; a bit in `features_incompat` that the reader does not know makes it refuse; a bit in
//! `features_compat` that it does not know it ignores.

use crate::record::record;
use crate::segment::ReadWords;
use crate::{ABI_MAJOR, ABI_MINOR, LAYOUT_HASH, ShmError};

/// Readers may lease slots, and read them in place: see [`crate::slots`].
pub const FEATURE_LEASES: u64 = 1;
/// Readers may wait on the control socket until a frame is there: see [`crate::control`].
pub const FEATURE_DOORBELL: u64 = 2;
/// The bits of `features_incompat` that this crate knows.
const KNOWN_INCOMPAT: u64 = 0;

/// Says that the segment's writer is at work: the value of its state word.
pub const STATE_CURRENT: u64 = 1;
/// Says that nothing is written here any more: a new configuration has segments of its own. Say hello again.
pub const STATE_RETIRED: u64 = 2;

record! {
    /// The first words of every segment. They never change.
    pub struct Prefix {
        /// Which kind of segment it is.
        pub magic: u64,
        /// [`ABI_MAJOR`].
        pub abi_major: u64,
        /// [`ABI_MINOR`].
        pub abi_minor: u64,
        /// How many words the header takes, these included.
        pub header_words: u64,
        /// [`LAYOUT_HASH`]: two builds of one version must agree in it.
        pub layout_hash: u64,
        /// What this daemon can do besides. Unknown bits may be ignored.
        pub features_compat: u64,
        /// What a reader must understand.
        pub features_incompat: u64,
        /// A random number, drawn when the daemon started.
        pub epoch: [u64; 2],
        /// Which of the daemon's configurations it belongs to, from 1; zero if to all of them.
        pub generation: u64,
    }
}

/// Which daemon, and which of its configurations, a segment belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Identity {
    /// See [`Prefix::epoch`].
    pub epoch: [u64; 2],
    /// See [`Prefix::generation`].
    pub generation: u64,
}

impl Prefix {
    /// The beginning of a segment of this version.
    pub(crate) fn new(magic: u64, header_words: usize, identity: &Identity) -> Self {
        Self {
            magic,
            abi_major: ABI_MAJOR,
            abi_minor: ABI_MINOR,
            header_words: header_words as u64,
            layout_hash: LAYOUT_HASH,
            features_compat: FEATURE_LEASES | FEATURE_DOORBELL,
            features_incompat: 0,
            epoch: identity.epoch,
            generation: identity.generation,
        }
    }

    /// Which daemon and configuration it belongs to.
    pub fn identity(&self) -> Identity {
        Identity { epoch: self.epoch, generation: self.generation }
    }

    /// Refuses a segment that this crate cannot read.
    pub(crate) fn check(words: ReadWords<'_>, kind: &'static str, magic: u64) -> Result<(), ShmError> {
        let prefix = Self::from_words(&words.array(0));
        let why = if prefix.magic != magic {
            "its magic number differs"
        } else if prefix.abi_major != ABI_MAJOR {
            "its major version differs"
        } else if prefix.abi_minor == ABI_MINOR && prefix.layout_hash != LAYOUT_HASH {
            "its layout differs, though its version does not: daemon and reader come from different builds"
        } else if prefix.features_incompat & !KNOWN_INCOMPAT != 0 {
            "it demands a feature that this reader does not know"
        } else {
            return Ok(());
        };
        Err(ShmError::Foreign { kind, why })
    }
}

/// FNV-1a over all texts: see [`LAYOUT_HASH`].
pub(crate) const fn hash(texts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut text = 0;
    while text < texts.len() {
        let bytes = texts[text].as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
            at += 1;
        }
        text += 1;
    }
    hash
}
