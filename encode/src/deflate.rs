//! DEFLATE for bytes that are already known as literals and repeats: one block with Huffman codes of its own, ended on
//! a byte boundary, that refers to nothing before it. So blocks of several [`Block`]s may follow each other in a
//! stream.
//!
//! It searches for nothing: whoever filters a picture knows where it repeats, and a search costs more than all else.
//! What holds: inflating what [`Block::finish`] wrote gives exactly the bytes that [`Block::literal`] and
//! [`Block::repeat`] were told, for every sequence of them.

/// The farthest that a repeat may refer back, in bytes.
pub(crate) const FARTHEST: usize = 1 << 15;
/// The longest match of the format.
const LONGEST: usize = 258;
/// The symbol that ends a block; lengths begin behind it.
const END: usize = 256;
/// Literals, the end, and lengths.
const LITERALS: usize = 286;
/// How many codes for distances there are.
const DISTANCES: usize = 30;
/// Codes for the lengths of codes, and the order in which the format sends them.
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
/// The most bits of a literal's or a distance's code.
const MOST_BITS: usize = 15;
/// The most bits of the code of a code's length.
const MOST_ORDER_BITS: usize = 7;

/// Each length's symbol, bits that follow it, and their value, by `length - 3`.
const LENGTHS: [(u16, u8, u8); LONGEST - 2] = lengths();

const fn lengths() -> [(u16, u8, u8); LONGEST - 2] {
    let mut table = [(0, 0, 0); LONGEST - 2];
    let mut at = 0;
    while at < table.len() {
        let (step, symbol) = (at as u32, END as u32 + 1);
        table[at] = if step < 8 {
            ((symbol + step) as u16, 0, 0)
        } else {
            // Four symbols for each power of two, of which the third and fourth highest bits choose.
            let bits = step.ilog2() - 2;
            ((symbol + 4 * bits + (step >> bits)) as u16, bits as u8, (step & ((1 << bits) - 1)) as u8)
        };
        at += 1;
    }
    // The longest has a symbol of its own, without further bits.
    table[LONGEST - 3] = (LITERALS as u16 - 1, 0, 0);
    table
}

/// A distance's code, bits that follow it, and their value.
const fn distance_code(distance: u16) -> (usize, u8, u16) {
    let step = distance - 1;
    if step < 4 {
        return (step as usize, 0, 0);
    }
    let bits = step.ilog2() - 1;
    ((2 * bits + (step >> bits) as u32) as usize, bits as u8, step & ((1 << bits) - 1))
}

/// A run of tokens: a literal is its byte with distance 0, a repeat its length and distance.
#[derive(Debug, Clone, Copy)]
struct Token {
    value: u32,
    distance: u16,
}

/// Literals and repeats of one block, and memory for packing them.
#[derive(Debug)]
pub(crate) struct Block {
    tokens: Vec<Token>,
    literals: [u32; LITERALS],
    distances: [u32; DISTANCES],
}

impl Default for Block {
    fn default() -> Self {
        Self { tokens: Vec::new(), literals: [0; LITERALS], distances: [0; DISTANCES] }
    }
}

impl Block {
    /// The next byte.
    #[inline]
    pub(crate) fn literal(&mut self, byte: u8) {
        self.literals[usize::from(byte)] += 1;
        self.tokens.push(Token { value: byte.into(), distance: 0 });
    }

    /// The next `length` bytes are those that stand `distance` before. `length` is 3 or more, and `distance` is 1 to
    /// as many bytes as there are, 32,768 at the most.
    #[inline]
    pub(crate) fn repeat(&mut self, length: usize, distance: u16) {
        debug_assert!(length >= 3 && (1..=1 << 15).contains(&distance));
        let (whole, rest) = split(length);
        let matches = whole as u32 + rest.iter().filter(|length| **length > 0).count() as u32;
        self.literals[LITERALS - 1] += whole as u32;
        rest.iter().filter(|length| **length > 0).for_each(|length| self.literals[symbol_of(*length)] += 1);
        self.distances[distance_code(distance).0] += matches;
        self.tokens.push(Token { value: length as u32, distance });
    }

    /// Appends the block to `out`, ended on a byte boundary, and forgets it.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        self.literals[END] = 1;
        let literals = Code::<LITERALS>::new(&self.literals, MOST_BITS);
        let distances = Code::<DISTANCES>::new(&self.distances, MOST_BITS);
        let mut bits = Bits { out, held: 0, count: 0 };
        bits.put(0b100, 3); // Not the last block; Huffman codes of its own.
        write_codes(&mut bits, &literals.bits, &distances.bits);
        for token in &self.tokens {
            if token.distance == 0 {
                literals.put(token.value as usize, &mut bits);
                continue;
            }
            let (code, extra_bits, extra) = distance_code(token.distance);
            let (whole, rest) = split(token.value as usize);
            for _ in 0..whole {
                literals.put(LITERALS - 1, &mut bits);
                distances.put(code, &mut bits);
                bits.put(extra, extra_bits);
            }
            for length in rest.into_iter().filter(|length| *length > 0) {
                let (symbol, length_bits, length_extra) = LENGTHS[length - 3];
                literals.put(symbol.into(), &mut bits);
                bits.put(length_extra.into(), length_bits);
                distances.put(code, &mut bits);
                bits.put(extra, extra_bits);
            }
        }
        literals.put(END, &mut bits);
        bits.flush();
        self.tokens.clear();
        self.literals.fill(0);
        self.distances.fill(0);
    }
}

/// A length as so many longest matches and at most two others, of which none is shorter than 3.
#[inline]
const fn split(length: usize) -> (usize, [usize; 2]) {
    let (whole, rest) = (length / LONGEST, length % LONGEST);
    match rest {
        // What is left would be too short for a match: it takes some of the last whole one.
        1 | 2 => (whole - 1, [LONGEST - 3, rest + 3]),
        _ => (whole, [rest, 0]),
    }
}

fn symbol_of(length: usize) -> usize {
    LENGTHS[length - 3].0.into()
}

/// A Huffman code for `N` symbols.
struct Code<const N: usize> {
    /// Bits of each symbol's code; 0 where it has none.
    bits: [u8; N],
    /// Each symbol's code, its first bit lowest.
    codes: [u16; N],
}

impl<const N: usize> Code<N> {
    /// The best code of at most `most` bits for symbols that occur so often, or nearly.
    fn new(counts: &[u32; N], most: usize) -> Self {
        let bits = code_bits(counts, most);
        let mut of_length = [0u16; MOST_BITS + 1];
        bits.iter().for_each(|bits| of_length[usize::from(*bits)] += 1);
        of_length[0] = 0;
        // As the format has it: shorter codes first, codes of a length in the order of their symbols.
        let (mut next, mut code) = ([0u16; MOST_BITS + 1], 0);
        for length in 1..=MOST_BITS {
            code = (code + of_length[length - 1]) << 1;
            next[length] = code;
        }
        let mut codes = [0; N];
        for (code, bits) in codes.iter_mut().zip(bits).filter(|(_, bits)| *bits > 0) {
            *code = next[usize::from(bits)].reverse_bits() >> (16 - bits);
            next[usize::from(bits)] += 1;
        }
        Self { bits, codes }
    }

    #[inline]
    fn put(&self, symbol: usize, bits: &mut Bits<'_>) {
        bits.put(self.codes[symbol], self.bits[symbol]);
    }
}

/// How many bits each symbol's code has. Where fewer than two occur, two get one bit each, so that the code is complete
/// for the strictest reader.
fn code_bits<const N: usize>(counts: &[u32; N], most: usize) -> [u8; N] {
    let mut used: Vec<(u32, usize)> =
        counts.iter().copied().zip(0..).filter(|(count, _)| *count > 0).collect();
    for symbol in 0..2 {
        if used.len() < 2 && used.iter().all(|(_, other)| *other != symbol) {
            used.push((0, symbol));
        }
    }
    used.sort_unstable();
    let mut of_length = lengths_of_tree(&used.iter().map(|(count, _)| *count).collect::<Vec<_>>(), most);
    shorten(&mut of_length, most);
    let mut bits = [0; N];
    // The rarest symbols get the longest codes.
    let mut symbols = used.into_iter().map(|(_, symbol)| symbol);
    for length in (1..=most).rev() {
        symbols.by_ref().take(of_length[length]).for_each(|symbol| bits[symbol] = length as u8);
    }
    bits
}

/// How many leaves of a Huffman tree for these counts, at least two in rising order, lie how deep. What lies deeper than
/// `most` counts as `most`.
fn lengths_of_tree(counts: &[u32], most: usize) -> [usize; MOST_BITS + 1] {
    // Inner nodes come about in rising order too, so the two rarest are always at the head of one of two queues.
    let leaves = counts.len();
    let mut weights = counts.to_vec();
    let mut parents = vec![0; 2 * leaves - 1];
    let (mut leaf, mut inner) = (0, leaves);
    for new in leaves..2 * leaves - 1 {
        let mut weight = 0;
        for _ in 0..2 {
            let take_leaf = leaf < leaves && (inner == new || weights[leaf] <= weights[inner]);
            let rarest = if take_leaf { &mut leaf } else { &mut inner };
            weight += weights[*rarest];
            parents[*rarest] = new;
            *rarest += 1;
        }
        weights.push(weight);
    }
    let mut depths = vec![0; parents.len()];
    let mut of_length = [0; MOST_BITS + 1];
    for node in (0..parents.len() - 1).rev() {
        depths[node] = depths[parents[node]] + 1;
        if node < leaves {
            of_length[depths[node].min(most)] += 1;
        }
    }
    of_length
}

/// Makes a code out of what [`lengths_of_tree`] cut off: as long as there are too many of the longest codes, one joins a
/// shorter one, which becomes longer by a bit.
fn shorten(of_length: &mut [usize; MOST_BITS + 1], most: usize) {
    let space =
        |of_length: &[usize]| (1..=most).map(|length| of_length[length] << (most - length)).sum::<usize>();
    for _ in 1 << most..space(of_length) {
        of_length[most] -= 1;
        // There is one, or all codes were of the longest kind and would fit.
        let Some(length) = (1..most).rev().find(|length| of_length[*length] > 0) else { break };
        of_length[length] -= 1;
        of_length[length + 1] += 2;
    }
}

/// Sends the lengths of both codes, themselves coded.
fn write_codes(bits: &mut Bits<'_>, literals: &[u8; LITERALS], distances: &[u8; DISTANCES]) {
    let used = |lengths: &[u8], least: usize| {
        lengths.iter().rposition(|bits| *bits > 0).map_or(least, |at| least.max(at + 1))
    };
    let (literal_count, distance_count) = (used(literals, END + 1), used(distances, 1));
    let all: Vec<u8> =
        literals[..literal_count].iter().chain(&distances[..distance_count]).copied().collect();
    let mut runs = Vec::new();
    all.chunk_by(|a, b| a == b).for_each(|run| add_run(&mut runs, run[0], run.len()));
    let mut counts = [0; ORDER.len()];
    runs.iter().for_each(|(symbol, ..)| counts[usize::from(*symbol)] += 1);
    let code = Code::<{ ORDER.len() }>::new(&counts, MOST_ORDER_BITS);
    let order_count = ORDER.iter().rposition(|symbol| code.bits[*symbol] > 0).map_or(4, |at| (at + 1).max(4));
    bits.put((literal_count - 257) as u16, 5);
    bits.put((distance_count - 1) as u16, 5);
    bits.put((order_count - 4) as u16, 4);
    ORDER[..order_count].iter().for_each(|symbol| bits.put(code.bits[*symbol].into(), 3));
    for (symbol, extra, extra_bits) in runs {
        code.put(symbol.into(), bits);
        bits.put(extra, extra_bits);
    }
}

/// A run of equal lengths as symbols with the bits that follow them.
fn add_run(runs: &mut Vec<(u8, u16, u8)>, length: u8, mut count: usize) {
    if length > 0 {
        runs.push((length, 0, 0));
        count -= 1;
    }
    while count > 0 {
        let taken = match (length, count) {
            (_, 1..3) => {
                runs.push((length, 0, 0));
                1
            }
            (0, 3..11) => {
                runs.push((17, count as u16 - 3, 3));
                count
            }
            (0, _) => {
                let taken = count.min(138);
                runs.push((18, taken as u16 - 11, 7));
                taken
            }
            _ => {
                let taken = count.min(6);
                runs.push((16, taken as u16 - 3, 2));
                taken
            }
        };
        count -= taken;
    }
}

/// Bits on their way to bytes, the first lowest.
struct Bits<'a> {
    out: &'a mut Vec<u8>,
    held: u64,
    /// How many are held; below 32 between two calls.
    count: u8,
}

impl Bits<'_> {
    /// The lowest `count` bits of `value`, which has no others; 16 at the most.
    #[inline]
    fn put(&mut self, value: u16, count: u8) {
        self.held |= u64::from(value) << self.count;
        self.count += count;
        if self.count >= 32 {
            self.out.extend_from_slice(&(self.held as u32).to_le_bytes());
            self.held >>= 32;
            self.count -= 32;
        }
    }

    /// An empty stored block, which ends on a byte boundary.
    fn flush(mut self) {
        self.put(0, 3);
        let bytes = usize::from(self.count.div_ceil(8));
        self.out.extend_from_slice(&self.held.to_le_bytes()[..bytes]);
        self.out.extend_from_slice(&[0, 0, 0xff, 0xff]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Read;

    /// The bytes that a raw stream of one or more finished blocks inflates to.
    fn inflated(mut stream: Vec<u8>) -> Vec<u8> {
        stream.extend_from_slice(&[0x01, 0x00, 0x00, 0xff, 0xff]);
        let mut bytes = Vec::new();
        flate2::read::DeflateDecoder::new(&stream[..]).read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[derive(Debug, Clone)]
    enum Step {
        Literal(u8),
        Repeat { length: usize, distance: usize },
        Finish,
    }

    fn step() -> impl Strategy<Value = Step> {
        let length = prop_oneof![3..12usize, 250..270usize, 500..530usize, 3..3_000usize];
        prop_oneof![
            4 => any::<u8>().prop_map(Step::Literal),
            4 => (250..=255u8).prop_map(Step::Literal),
            8 => (length, 0..40_000usize).prop_map(|(length, distance)| Step::Repeat { length, distance }),
            1 => Just(Step::Finish),
        ]
    }

    proptest! {
        #[test]
        fn inflates_to_what_it_was_told(steps in prop::collection::vec(step(), 0..200)) {
            let (mut block, mut stream) = (Block::default(), Vec::new());
            let mut expected: Vec<u8> = Vec::new();
            let mut block_start = 0;
            for step in steps {
                match step {
                    Step::Literal(byte) => {
                        block.literal(byte);
                        expected.push(byte);
                    }
                    Step::Repeat { length, distance } => {
                        let most = FARTHEST.min(expected.len() - block_start);
                        if most == 0 {
                            continue;
                        }
                        let distance = distance % most + 1;
                        block.repeat(length, distance as u16);
                        (0..length).for_each(|_| expected.push(expected[expected.len() - distance]));
                    }
                    Step::Finish => {
                        block.finish(&mut stream);
                        block_start = expected.len();
                    }
                }
            }
            block.finish(&mut stream);
            prop_assert!(inflated(stream) == expected);
        }

        /// Every code is complete, as strict readers demand, and none is too long.
        #[test]
        fn codes_are_complete(counts in prop::collection::vec((0..286usize, 0..30u32), 0..300), most in 9..=15usize) {
            let mut all = [0; LITERALS];
            counts.into_iter().for_each(|(symbol, power)| all[symbol] = 1 << power.min(20));
            let bits = code_bits(&all, most);
            let space: usize = bits.iter().filter(|bits| **bits > 0).map(|bits| 1 << (most - usize::from(*bits))).sum();
            prop_assert_eq!(space, 1 << most);
            prop_assert!(bits.iter().all(|bits| usize::from(*bits) <= most));
            prop_assert!(all.iter().zip(bits).all(|(count, bits)| *count == 0 || bits > 0));
        }
    }

    /// Counts of which a tree becomes as deep as it can, far deeper than the format allows.
    #[test]
    fn the_deepest_tree_is_cut() {
        let (mut block, mut stream, mut expected) = (Block::default(), Vec::new(), Vec::new());
        let (mut count, mut next) = (1, 1);
        for byte in 0..24 {
            (0..count).for_each(|_| block.literal(byte));
            expected.resize(expected.len() + count, byte);
            (count, next) = (next, count + next);
        }
        block.finish(&mut stream);
        assert!(inflated(stream) == expected);
    }

    #[test]
    fn every_length_and_distance_is_understood() {
        for distance in (1..300).chain([1_000, 24_577, FARTHEST - 1, FARTHEST]) {
            let (mut block, mut stream) = (Block::default(), Vec::new());
            let mut random = 1u32;
            let mut expected: Vec<u8> = Vec::new();
            for _ in 0..FARTHEST {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                block.literal((random >> 24) as u8);
                expected.push((random >> 24) as u8);
            }
            for length in (3..=2 * LONGEST + 5).step_by(if distance < 5 { 1 } else { 37 }) {
                block.repeat(length, distance as u16);
                (0..length).for_each(|_| expected.push(expected[expected.len() - distance]));
            }
            block.finish(&mut stream);
            assert!(inflated(stream) == expected, "distance {distance}");
        }
    }
}
