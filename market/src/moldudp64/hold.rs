//! Messages that came before those that precede them, kept in memory that is set aside once.
//!
//! A message's number gives its slot; its bytes lie in a chain of chunks. So any message can be put in and taken out in
//! any order, nothing is ever moved, and full means that all of it is in use.

/// Bytes in a chunk: the longest ITCH message has 50.
const CHUNK_BYTES: usize = 64;

/// The end of a chain.
const NONE: u32 = u32::MAX;

/// There is no room for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

#[derive(Clone, Copy)]
struct Slot {
    /// 0 if the slot is empty: no message has that number.
    sequence: u64,
    first_chunk: u32,
    len: u16,
}

const EMPTY: Slot = Slot { sequence: 0, first_chunk: NONE, len: 0 };

/// The messages held.
pub(super) struct Hold {
    slots: Box<[Slot]>,
    bytes: Box<[u8]>,
    /// What follows a chunk in its message, or in the list of free ones.
    next_chunk: Box<[u32]>,
    free: u32,
    free_chunks: usize,
    /// Where a message of several chunks is put together.
    whole: Box<[u8]>,
    count: usize,
}

impl Hold {
    /// Room for `messages` with successive numbers, and for so many bytes, in chunks.
    pub(super) fn new(messages: usize, bytes: usize) -> Self {
        let chunks = bytes.div_ceil(CHUNK_BYTES).min(NONE as usize - 1);
        let mut hold = Self {
            slots: vec![EMPTY; messages.max(1)].into(),
            bytes: vec![0; chunks * CHUNK_BYTES].into(),
            next_chunk: vec![NONE; chunks].into(),
            free: NONE,
            free_chunks: 0,
            whole: vec![0; usize::from(u16::MAX)].into(),
            count: 0,
        };
        hold.clear();
        hold
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.slots.fill(EMPTY);
        let chunks = self.next_chunk.len();
        for (index, next) in self.next_chunk.iter_mut().enumerate() {
            *next = if index + 1 < chunks { index as u32 + 1 } else { NONE };
        }
        self.free = if chunks > 0 { 0 } else { NONE };
        self.free_chunks = chunks;
        self.count = 0;
    }

    /// How many numbers in a row there are slots for.
    pub(super) fn window(&self) -> u64 {
        self.slots.len() as u64
    }

    /// How many messages are held.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    fn index(&self, sequence: u64) -> usize {
        (sequence % self.window()) as usize
    }

    pub(super) fn contains(&self, sequence: u64) -> bool {
        self.slots[self.index(sequence)].sequence == sequence
    }

    /// The first one held in `[from, end)`.
    pub(super) fn first_in(&self, from: u64, end: u64) -> Option<u64> {
        if self.count == 0 {
            return None;
        }
        (from..end.min(from.saturating_add(self.window()))).find(|sequence| self.contains(*sequence))
    }

    /// Keeps a message that is not held yet. All that is held must lie in one window.
    pub(super) fn insert(&mut self, sequence: u64, message: &[u8]) -> Result<(), Full> {
        let index = self.index(sequence);
        if self.slots[index].sequence != 0 || message.len().div_ceil(CHUNK_BYTES) > self.free_chunks {
            return Err(Full);
        }
        // From the last chunk to the first, so that each is told what follows it.
        let mut first_chunk = NONE;
        for part in message.chunks(CHUNK_BYTES).rev() {
            let chunk = self.free as usize;
            self.free = self.next_chunk[chunk];
            self.free_chunks -= 1;
            self.bytes[chunk * CHUNK_BYTES..][..part.len()].copy_from_slice(part);
            self.next_chunk[chunk] = first_chunk;
            first_chunk = chunk as u32;
        }
        // A datagram's lengths have 16 bits.
        self.slots[index] = Slot { sequence, first_chunk, len: message.len() as u16 };
        self.count += 1;
        Ok(())
    }

    /// Takes a message out. It can be looked at until the next call.
    pub(super) fn take(&mut self, sequence: u64) -> Option<&[u8]> {
        let index = self.index(sequence);
        let slot = self.slots[index];
        if slot.sequence != sequence {
            return None;
        }
        self.slots[index] = EMPTY;
        self.count -= 1;
        let len = usize::from(slot.len);
        let (mut chunk, mut done) = (slot.first_chunk, 0);
        while chunk != NONE {
            let at = chunk as usize;
            let part = (len - done).min(CHUNK_BYTES);
            self.whole[done..][..part].copy_from_slice(&self.bytes[at * CHUNK_BYTES..][..part]);
            done += part;
            chunk = self.next_chunk[at];
            self.next_chunk[at] = self.free;
            self.free = at as u32;
            self.free_chunks += 1;
        }
        Some(&self.whole[..len])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn full_means_that_all_is_in_use() {
        let mut hold = Hold::new(4, 3 * CHUNK_BYTES);
        assert_eq!(hold.insert(10, &[1; CHUNK_BYTES + 1]), Ok(()));
        assert_eq!(hold.insert(14, b"same slot as 10"), Err(Full));
        assert_eq!(hold.insert(11, &[2; CHUNK_BYTES + 1]), Err(Full));
        assert_eq!(hold.insert(11, b""), Ok(()));
        assert_eq!(hold.insert(12, &[3; CHUNK_BYTES]), Ok(()));
        assert_eq!(hold.insert(13, b"x"), Err(Full));
        assert_eq!((hold.first_in(9, 14), hold.first_in(13, 20)), (Some(10), None));
        assert_eq!(hold.take(10), Some(&[1; CHUNK_BYTES + 1][..]));
        assert_eq!(hold.insert(13, &[4; 2 * CHUNK_BYTES]), Ok(()));
        assert_eq!(hold.take(11), Some(&b""[..]));
        assert!(hold.take(11).is_none() && hold.take(10).is_none());
        assert_eq!(hold.count(), 2);
    }

    proptest! {
        /// Whatever is put in comes out, once, and its room with it.
        #[test]
        fn is_a_map(steps in prop::collection::vec((any::<bool>(), 1..9u64, 0..300usize), 1..200)) {
            let mut hold = Hold::new(8, 20 * CHUNK_BYTES);
            let mut model = BTreeMap::new();
            for (put, sequence, len) in steps {
                if put && !model.contains_key(&sequence) {
                    let message = vec![(sequence + len as u64) as u8; len];
                    let used: usize = model.values().map(|m: &Vec<u8>| m.len().div_ceil(CHUNK_BYTES)).sum();
                    let fits = used + len.div_ceil(CHUNK_BYTES) <= 20;
                    prop_assert_eq!(hold.insert(sequence, &message).is_ok(), fits);
                    if fits {
                        model.insert(sequence, message);
                    }
                } else if !put {
                    let expected = model.remove(&sequence);
                    prop_assert_eq!(hold.take(sequence), expected.as_deref());
                }
                prop_assert_eq!(hold.count(), model.len());
            }
        }
    }
}
