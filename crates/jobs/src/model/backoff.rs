//! Pauses between attempts.

use std::time::Duration;

use base::{HumanDuration, Random};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How pauses grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BackoffKind {
    /// Doubled each time.
    #[default]
    Exponential,
    /// Always the same.
    Fixed,
}

/// The pauses of one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Backoff {
    /// How they grow.
    #[serde(default)]
    pub kind: BackoffKind,
    /// The first.
    pub base: HumanDuration,
    /// The longest.
    #[serde(default = "longest")]
    pub max: HumanDuration,
    /// Whether they are spread at random.
    #[serde(default = "spread")]
    pub jitter: bool,
}

const fn longest() -> HumanDuration {
    HumanDuration(Duration::from_secs(3_600))
}

const fn spread() -> bool {
    true
}

impl Backoff {
    /// The pause after attempt `attempt` (from 1) failed. With jitter it lies between half and the whole of what it
    /// would be without ("equal jitter"; Brooker, "Exponential Backoff And Jitter", 2015): jobs that failed together
    /// spread out, and none comes back at once.
    #[must_use]
    pub fn pause(&self, attempt: u32, random: &dyn Random) -> Duration {
        let whole = match self.kind {
            BackoffKind::Fixed => self.base.0,
            BackoffKind::Exponential => {
                let doublings = attempt.saturating_sub(1).min(31);
                self.base.0.saturating_mul(1 << doublings)
            }
        };
        let whole = whole.min(self.max.0.max(self.base.0));
        if !self.jitter {
            return whole;
        }
        let micros = u64::try_from(whole.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(micros / 2 + random.below(micros / 2 + 1))
    }
}

#[cfg(test)]
mod tests {
    use base::SeededRandom;

    use super::*;

    fn backoff(kind: BackoffKind, jitter: bool) -> Backoff {
        let seconds = |s| HumanDuration(Duration::from_secs(s));
        Backoff { kind, base: seconds(1), max: seconds(60), jitter }
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let random = SeededRandom::new(1);
        let exponential = backoff(BackoffKind::Exponential, false);
        let seconds: Vec<_> = (1..=9).map(|n| exponential.pause(n, &random).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(exponential.pause(u32::MAX, &random).as_secs(), 60);
        assert_eq!(backoff(BackoffKind::Fixed, false).pause(7, &random).as_secs(), 1);
    }

    #[test]
    fn f33_jitter_spreads_over_half_of_the_pause() {
        let random = SeededRandom::new(2);
        let spread = backoff(BackoffKind::Exponential, true);
        let mut buckets = [0_u32; 10];
        for _ in 0..10_000 {
            let pause = spread.pause(4, &random);
            assert!(pause >= Duration::from_secs(4) && pause <= Duration::from_secs(8), "{pause:?}");
            let at = (pause - Duration::from_secs(4)).as_millis() / 401;
            buckets[usize::try_from(at).unwrap_or(9)] += 1;
        }
        assert!(buckets.iter().all(|count| *count > 800), "{buckets:?}");
    }
}
