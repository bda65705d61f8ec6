//! Where random bytes come from. Everybody else is handed a [`Random`].

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A source of random bytes.
pub trait Random: Send + Sync + Debug + 'static {
    /// Fills the whole buffer.
    fn fill(&self, buffer: &mut [u8]);

    /// A number, all values equally likely.
    fn u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_be_bytes(bytes)
    }
}

impl dyn Random {
    /// So many random bytes.
    pub fn array<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// A number below `end`, all equally likely; 0 when `end` is 0.
    pub fn below(&self, end: u64) -> u64 {
        // Lemire, "Fast Random Integer Generation in an Interval" (2019), with its rejection step.
        let threshold = if end == 0 { return 0 } else { end.wrapping_neg() % end };
        loop {
            let product = u128::from(self.u64()) * u128::from(end);
            if product as u64 >= threshold {
                return (product >> 64) as u64;
            }
        }
    }
}

/// A source that is handed around.
pub type SharedRandom = Arc<dyn Random>;

/// The operating system's source; fit for keys.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl SystemRandom {
    /// Ready to hand around.
    pub fn shared() -> SharedRandom {
        Arc::new(Self)
    }
}

impl Random for SystemRandom {
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("an operating system that we run on has a random source");
    }
}

/// The same bytes for the same seed, for tests and the simulation. Never for keys.
#[derive(Debug)]
pub struct SeededRandom {
    state: AtomicU64,
}

impl SeededRandom {
    /// A source whose whole stream follows from the seed.
    pub fn new(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }

    /// Ready to hand around.
    pub fn shared(seed: u64) -> SharedRandom {
        Arc::new(Self::new(seed))
    }

    /// SplitMix64 (Steele, Lea, Flood, 2014): a counter and a mixing function, so that it needs no lock.
    fn step(&self) -> u64 {
        const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.state.fetch_add(GAMMA, Ordering::Relaxed).wrapping_add(GAMMA);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Random for SeededRandom {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            chunk.copy_from_slice(&self.step().to_be_bytes()[..chunk.len()]);
        }
    }
}
