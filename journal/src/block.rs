//! A block: what is written at once. A header, records, and zeros up to a multiple of 4 KiB.
//!
//! What holds: its CRC32C covers all of it but the magic and itself, the zeros included, so no bit of it can change
//! unseen; and it names the CRC of the block before, so none can be missing unseen. All numbers are little-endian.
//!
//! | byte | what |
//! |---|---|
//! | 0 | [`MAGIC`] |
//! | 8 | CRC32C of the whole block from byte 12 on, zeros at its end included |
//! | 12 | payload length in bytes |
//! | 16 | identity of the segment, 16 bytes |
//! | 32 | sequence of the first record that begins here, or would |
//! | 40 | how many records begin here; those that are repeated do not count |
//! | 44 | flags: [`CONTINUED`], [`LAST`] |
//! | 48 | how many records were durable when the block was made: all of a lower sequence |
//! | 56 | CRC32C of the block before, in whichever segment; 0 for the very first |
//! | 60 | how many blocks of this segment are before it |
//! | 64 | receive time of the first record in it, CLOCK_REALTIME in ns |
//! | 72 | number of the segment |
//! | 80 | [`VERSION`] |
//! | 84 | zeros, up to [`HEADER_BYTES`] |

use std::fmt;

/// The first bytes of every block.
pub const MAGIC: [u8; 8] = *b"chartdJ1";
/// The version of the format.
pub const VERSION: u32 = 1;
/// Bytes before a block's records.
pub const HEADER_BYTES: usize = 96;
/// Blocks begin and end at multiples of this.
pub const PAGE_BYTES: usize = 4096;
/// The largest block.
pub const MAX_BLOCK_BYTES: usize = 1 << 20;
/// Set where the first record goes on that the block before has begun.
pub const CONTINUED: u32 = 1;
/// Set where a run has ended in order: nothing was accepted that is not before it, or in it.
pub const LAST: u32 = 2;

/// What a block says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BlockHeader {
    /// CRC32C of the block. Filled in by [`seal`].
    pub crc: u32,
    /// Payload length in bytes.
    pub payload_bytes: u32,
    /// The segment's identity.
    pub segment: [u8; 16],
    /// Sequence of the first record that begins in it, or would.
    pub first: u64,
    /// How many records begin in it.
    pub count: u32,
    /// [`CONTINUED`], [`LAST`].
    pub flags: u32,
    /// How many records were durable when it was made.
    pub durable: u64,
    /// CRC of the block before.
    pub previous_crc: u32,
    /// How many blocks of the segment are before it.
    pub index: u32,
    /// Receive time of its first record, CLOCK_REALTIME in ns.
    pub real_ns: u64,
    /// Number of the segment.
    pub number: u64,
}

/// Why bytes are no block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadBlock {
    /// All zeros: nothing was written here.
    #[error("nothing was written here")]
    Blank,
    /// It does not begin as one.
    #[error("it does not begin with the magic of a block")]
    Magic,
    /// Another version.
    #[error("its format is version {0}; this chartd reads version 1")]
    Version(u32),
    /// It says that it is longer than blocks are, or than what is there.
    #[error("its length of {0} bytes is impossible here")]
    Length(u32),
    /// Its bytes are not those that were written.
    #[error("its checksum is {found:#010x}, its bytes give {computed:#010x}")]
    Checksum {
        /// What it says.
        found: u32,
        /// What it should say.
        computed: u32,
    },
}

impl BlockHeader {
    /// The sequence after its last record.
    pub fn end(&self) -> u64 {
        self.first.saturating_add(u64::from(self.count))
    }

    /// How long the whole block is.
    pub fn block_bytes(&self) -> usize {
        padded(self.payload_bytes as usize)
    }
}

/// The length of a block with so much payload.
pub fn padded(payload_bytes: usize) -> usize {
    (HEADER_BYTES + payload_bytes).next_multiple_of(PAGE_BYTES)
}

/// Completes a block whose payload stands at [`HEADER_BYTES`]: zeros behind it, the header before it. Returns its
/// length and its CRC. `block` must have room for [`padded`] of the payload.
pub fn seal(block: &mut [u8], header: &BlockHeader) -> (usize, u32) {
    let len = header.block_bytes();
    block[HEADER_BYTES + header.payload_bytes as usize..len].fill(0);
    let head = &mut block[..HEADER_BYTES];
    head.fill(0);
    let mut put = |at: usize, bytes: &[u8]| head[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &MAGIC);
    put(12, &header.payload_bytes.to_le_bytes());
    put(16, &header.segment);
    put(32, &header.first.to_le_bytes());
    put(40, &header.count.to_le_bytes());
    put(44, &header.flags.to_le_bytes());
    put(48, &header.durable.to_le_bytes());
    put(56, &header.previous_crc.to_le_bytes());
    put(60, &header.index.to_le_bytes());
    put(64, &header.real_ns.to_le_bytes());
    put(72, &header.number.to_le_bytes());
    put(80, &VERSION.to_le_bytes());
    let crc = crc32c::crc32c(&block[12..len]);
    block[8..12].copy_from_slice(&crc.to_le_bytes());
    (len, crc)
}

/// Reads the header of what may be a block, without proving it: `head` has at least [`HEADER_BYTES`].
pub fn peek(head: &[u8]) -> Result<BlockHeader, BadBlock> {
    let head = &head[..HEADER_BYTES];
    if head[..8] != MAGIC {
        return Err(if head.iter().all(|byte| *byte == 0) { BadBlock::Blank } else { BadBlock::Magic });
    }
    let version = u32_at(head, 80);
    if version != VERSION {
        return Err(BadBlock::Version(version));
    }
    let payload_bytes = u32_at(head, 12);
    if payload_bytes as usize > MAX_BLOCK_BYTES - HEADER_BYTES {
        return Err(BadBlock::Length(payload_bytes));
    }
    let mut segment = [0; 16];
    segment.copy_from_slice(&head[16..32]);
    Ok(BlockHeader {
        crc: u32_at(head, 8),
        payload_bytes,
        segment,
        first: u64_at(head, 32),
        count: u32_at(head, 40),
        flags: u32_at(head, 44),
        durable: u64_at(head, 48),
        previous_crc: u32_at(head, 56),
        index: u32_at(head, 60),
        real_ns: u64_at(head, 64),
        number: u64_at(head, 72),
    })
}

/// Proves a block that begins where `bytes` do, and parts it into header and payload. `bytes` may go on behind it.
pub fn open(bytes: &[u8]) -> Result<(BlockHeader, &[u8]), BadBlock> {
    if bytes.len() < HEADER_BYTES {
        return Err(BadBlock::Length(bytes.len() as u32));
    }
    let header = peek(bytes)?;
    let block = bytes.get(..header.block_bytes()).ok_or(BadBlock::Length(header.payload_bytes))?;
    let computed = crc32c::crc32c(&block[12..]);
    if computed != header.crc {
        return Err(BadBlock::Checksum { found: header.crc, computed });
    }
    Ok((header, &block[HEADER_BYTES..HEADER_BYTES + header.payload_bytes as usize]))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

impl fmt::Display for BlockHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {} of segment {}, records {} to {}", self.index, self.number, self.first, self.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(payload: &[u8]) -> (Vec<u8>, BlockHeader) {
        let mut header = BlockHeader {
            payload_bytes: payload.len() as u32,
            segment: [7; 16],
            first: 1 << 40,
            count: 3,
            flags: CONTINUED,
            durable: 5,
            previous_crc: 6,
            index: 9,
            real_ns: 10,
            number: 11,
            ..BlockHeader::default()
        };
        let mut block = vec![0xee; padded(payload.len())];
        block[HEADER_BYTES..HEADER_BYTES + payload.len()].copy_from_slice(payload);
        let (len, crc) = seal(&mut block, &header);
        assert_eq!(len, block.len());
        header.crc = crc;
        (block, header)
    }

    #[test]
    fn a_block_comes_back_as_it_was() {
        for len in [0, 1, PAGE_BYTES - HEADER_BYTES, PAGE_BYTES - HEADER_BYTES + 1, 100_000] {
            let payload: Vec<u8> = (0..len).map(|byte| byte as u8).collect();
            let (mut block, header) = sealed(&payload);
            block.extend([0xaa; 100]);
            assert_eq!(open(&block), Ok((header, &payload[..])));
        }
    }

    #[test]
    fn every_bit_of_a_block_counts() {
        let (mut block, _) = sealed(b"tick");
        for bit in 0..block.len() * 8 {
            block[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&block).is_err(), "bit {bit}");
            block[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(open(&block).is_ok());
    }

    #[test]
    fn a_block_that_is_cut_anywhere_is_refused() {
        let (block, _) = sealed(&[1; 5_000]);
        for len in 0..block.len() {
            assert!(open(&block[..len]).is_err(), "{len}");
        }
        assert_eq!(open(&[0; 4096]), Err(BadBlock::Blank));
    }
}
