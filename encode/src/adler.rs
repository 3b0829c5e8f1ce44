//! Adler-32, the checksum of a zlib stream, made for runs: zeros cost nothing, and sums of neighbours combine.

/// The largest prime below 65,536.
const MODULUS: u64 = 65_521;

/// The checksum of some bytes, and how many they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Adler {
    a: u64,
    b: u64,
    length: u64,
}

impl Default for Adler {
    /// Of no bytes.
    fn default() -> Self {
        Self { a: 1, b: 0, length: 0 }
    }
}

impl Adler {
    /// Takes in a byte. [`Self::reduce`] must be called after each row, however long, so that nothing overflows.
    #[inline]
    pub(crate) fn byte(&mut self, byte: u8) {
        self.a += u64::from(byte);
        self.b += self.a;
        self.length += 1;
    }

    /// Takes in `count` zeros, at the cost of one byte.
    #[inline]
    pub(crate) fn zeros(&mut self, count: usize) {
        self.b += self.a * count as u64;
        self.length += count as u64;
    }

    /// Brings the sums back into 16 bits.
    pub(crate) fn reduce(&mut self) {
        self.a %= MODULUS;
        self.b %= MODULUS;
    }

    /// The checksum of these bytes and `next` behind them. Both must be reduced.
    pub(crate) fn then(self, next: Self) -> Self {
        // Every byte of `next` was summed up beginning at 1, and now begins at `a`.
        let a = self.a + next.a + MODULUS - 1;
        let b = self.b + next.b + next.length % MODULUS * (self.a + MODULUS - 1);
        Self { a: a % MODULUS, b: b % MODULUS, length: self.length + next.length }
    }

    /// As the format has it. Must be reduced.
    pub(crate) fn value(self) -> u32 {
        (self.b as u32) << 16 | self.a as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// By the definition, a byte at a time.
    fn defined(bytes: &[u8]) -> u32 {
        let (mut a, mut b) = (1u32, 0u32);
        for byte in bytes {
            a = (a + u32::from(*byte)) % 65_521;
            b = (b + a) % 65_521;
        }
        b << 16 | a
    }

    fn of(bytes: &[u8]) -> Adler {
        let mut adler = Adler::default();
        bytes.iter().for_each(|byte| adler.byte(*byte));
        adler.reduce();
        adler
    }

    proptest! {
        #[test]
        fn parts_and_zeros_give_the_checksum_of_the_whole(
            parts in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..2_000), 0..200_000usize), 0..6),
        ) {
            let (mut all, mut whole) = (Adler::default(), Vec::new());
            for (bytes, zeros) in parts {
                whole.extend_from_slice(&bytes);
                whole.resize(whole.len() + zeros, 0);
                let mut part = of(&bytes);
                part.zeros(zeros);
                part.reduce();
                all = all.then(part);
            }
            prop_assert_eq!(all.value(), defined(&whole));
            prop_assert_eq!(of(&whole).value(), defined(&whole));
        }
    }

    #[test]
    fn the_longest_row_does_not_overflow() {
        let row = vec![255; 3 * crate::MAX_SIDE as usize];
        assert_eq!(of(&row).value(), defined(&row));
    }
}
