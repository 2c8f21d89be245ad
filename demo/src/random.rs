//! A small seeded generator (SplitMix64), so that a run can be repeated from its seed without another dependency.

/// A stream of pseudo-random numbers; the same seed gives the same stream.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A stream that depends on nothing but `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A stream of its own for the part of the run numbered `part`.
    pub fn fork(&self, part: u64) -> Self {
        let mut fork = Self(self.0 ^ part.wrapping_mul(0xA076_1D64_78BD_642F));
        fork.bits();
        fork
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from 0 up to, but not including, `end`; 0 if `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.bits() % end }
    }

    /// A number in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        // 53 bits are what a double's mantissa holds.
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True `per_mille` times in a thousand.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// An index below `len` that prefers the small ones, as popular posts are preferred: a quarter of the draws fall on the first sixteenth.
    pub fn skewed(&mut self, len: usize) -> usize {
        let unit = self.unit();
        ((unit * unit) * len as f64) as usize
    }
}

#[cfg(test)]
mod tests {
    use crate::random::Random;

    #[test]
    fn the_same_seed_gives_the_same_stream_and_forks_differ() {
        let (mut a, mut b) = (Random::new(7), Random::new(7));
        assert_eq!(a.bits(), b.bits());
        assert_ne!(a.fork(1).bits(), a.fork(2).bits());
    }

    #[test]
    fn draws_stay_inside_their_bounds() {
        let mut random = Random::new(1);
        for _ in 0..10_000 {
            assert!(random.below(3) < 3);
            assert!(random.skewed(10) < 10);
            assert!((0.0..1.0).contains(&random.unit()));
        }
        assert_eq!(random.below(0), 0);
    }
}
