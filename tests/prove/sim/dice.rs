//! Chance that can be had again: the same seed throws the same numbers, on every machine.

/// splitmix64: small, good enough for faults, and no dependency whose update would change every seed.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        // Neighbouring seeds must not throw neighbouring numbers.
        let mut dice = Dice(seed ^ 0xA076_1D64_78BD_642F);
        dice.throw();
        dice
    }

    /// Others, which do not change what these throw.
    pub(crate) fn aside(&self) -> Dice {
        Dice::new(self.clone().throw())
    }

    pub(crate) fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From `low` to `high`, both included.
    pub(crate) fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.throw() % (high - low + 1)
    }

    pub(crate) fn index(&mut self, len: usize) -> usize {
        (self.throw() % len.max(1) as u64) as usize
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())]
    }

    /// Millionths: whole numbers, so that no two machines round apart.
    pub(crate) fn chance(&mut self, per_million: u64) -> bool {
        self.throw() % 1_000_000 < per_million
    }

    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.chance(percent * 10_000)
    }
}
