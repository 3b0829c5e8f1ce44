//! The generator behind the market: seeded, portable, and the only source of chance in the simulator.
//!
//! It uses integers and the four basic operations on `f64`, which IEEE 754 fixes to the bit, and no function of
//! the C library: a seed gives the same market on every machine.

/// xoshiro256++ 1.0, seeded through splitmix64, as its authors advise.
///
/// Definition: Blackman and Vigna, "Scrambled Linear Pseudorandom Number Generators", ACM TOMS 47 (2021);
/// splitmix64: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
#[derive(Debug, Clone)]
pub(super) struct Random {
    state: [u64; 4],
}

impl Random {
    /// The stream of numbers number `stream` of this seed. Streams are independent of one another.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut mix = splitmix64(&mut { seed }) ^ stream;
        Self { state: std::array::from_fn(|_| splitmix64(&mut mix)) }
    }

    fn next(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let shifted = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= shifted;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// Uniform in `[0, 1)`.
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// True with the given probability.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Uniform in `0..bound`; 0 for a bound below 1. The bias of the method is below `bound` / 2^64.
    pub(super) fn below(&mut self, bound: i64) -> i64 {
        let bound = bound.max(1) as u64;
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as i64
    }

    /// Near-normal: mean 0, variance 1, never beyond ±3.5. A sum of four uniforms needs no logarithm.
    pub(super) fn normal(&mut self) -> f64 {
        const SQRT_3: f64 = 1.732_050_807_568_877_2;
        (self.unit() + self.unit() + self.unit() + self.unit() - 2.0) * SQRT_3
    }

    /// Many small, a few large: between 0.05 and 19, median near 0.9.
    pub(super) fn heavy(&mut self) -> f64 {
        1.0 / (0.05 + self.unit()) - 0.9
    }
}

fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first outputs for seed 1234567, as published with splitmix64's reference implementation.
    #[test]
    fn splitmix64_gives_the_published_numbers() {
        let mut state = 1_234_567;
        assert_eq!(splitmix64(&mut state), 6_457_827_717_110_365_317);
        assert_eq!(splitmix64(&mut state), 3_203_168_211_198_807_973);
        assert_eq!(splitmix64(&mut state), 9_817_491_932_198_370_423);
    }

    /// The first outputs from the state 1, 2, 3, 4, as other implementations of xoshiro256++ give them.
    #[test]
    fn xoshiro_gives_the_published_numbers() {
        let mut random = Random { state: [1, 2, 3, 4] };
        assert_eq!(random.next(), 41_943_041);
        assert_eq!(random.next(), 58_720_359);
        assert_eq!(random.next(), 3_588_806_011_781_223);
    }

    #[test]
    fn draws_stay_in_their_ranges_and_use_them() {
        let mut random = Random::new(1, 2);
        let draws: Vec<f64> = (0..10_000).map(|_| random.normal()).collect();
        let mean = draws.iter().sum::<f64>() / 10_000.0;
        let variance = draws.iter().map(|x| x * x).sum::<f64>() / 10_000.0;
        assert!(mean.abs() < 0.05 && (variance - 1.0).abs() < 0.05, "mean {mean}, variance {variance}");
        let mut seen = [false; 7];
        (0..1_000).for_each(|_| seen[random.below(7) as usize] = true);
        assert_eq!(seen, [true; 7]);
        assert_eq!(random.below(0), 0);
        assert!((0..1_000).all(|_| (0.05..20.0).contains(&random.heavy())));
    }
}
