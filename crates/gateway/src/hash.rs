//! A quick hasher for tables on the path of every request.
//!
//! Each word is folded in by one 128-bit multiplication (as in wyhash and foldhash), from a seed of the process. That
//! is a third of what SipHash takes. It is not meant against somebody who knows the seed; nobody outside learns it,
//! and all tables that outsiders can make grow are bounded.

use std::hash::{BuildHasher, Hasher, RandomState};

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Makes hashers of one seed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fold {
    seed: u64,
}

impl Default for Fold {
    fn default() -> Self {
        // The standard library's keys are random for the process.
        Self { seed: RandomState::new().hash_one(MULTIPLIER) }
    }
}

impl BuildHasher for Fold {
    type Hasher = FoldHasher;

    fn build_hasher(&self) -> FoldHasher {
        FoldHasher { state: self.seed }
    }
}

/// One hash under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FoldHasher {
    state: u64,
}

impl FoldHasher {
    fn fold(&mut self, word: u64) {
        let product = u128::from(self.state ^ word) * u128::from(MULTIPLIER);
        // The state is added so that a product of zero does not forget what came before.
        self.state = ((product >> 64) as u64 ^ product as u64).wrapping_add(self.state.rotate_left(23));
    }
}

impl Hasher for FoldHasher {
    fn finish(&self) -> u64 {
        let product = u128::from(self.state) * u128::from(MULTIPLIER);
        (product >> 64) as u64 ^ product as u64
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.fold(u64::from_le_bytes(word.try_into().expect("a chunk of eight bytes")));
        }
        let rest = words.remainder();
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.fold(u64::from_le_bytes(last) ^ (rest.len() as u64) << 56);
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.fold(u64::from(number));
    }

    fn write_u16(&mut self, number: u16) {
        self.fold(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.fold(number);
    }

    fn write_usize(&mut self, number: usize) {
        self.fold(number as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn close_keys_are_spread_over_low_and_high_bits() {
        let fold = Fold::default();
        let hashes: Vec<u64> = (0..4_096_u64).map(|n| fold.hash_one(n << 16)).collect();
        let low: HashSet<u64> = hashes.iter().map(|hash| hash & 0xfff).collect();
        let high: HashSet<u64> = hashes.iter().map(|hash| hash >> 52).collect();
        // A random function leaves 1/e of the places empty.
        assert!(low.len() > 2_400 && high.len() > 2_400, "{} {}", low.len(), high.len());
        let texts: HashSet<u64> = (0..10_000).map(|n| fold.hash_one(format!("/area{n}"))).collect();
        assert_eq!(texts.len(), 10_000);
    }
}
