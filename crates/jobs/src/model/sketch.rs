//! Percentiles of the last minutes in little room.

use base::Timestamp;

/// Buckets a power of two: neighbours differ by 19 %, so a percentile is off by at most 9 %.
const PER_OCTAVE: f64 = 4.0;
/// From a microsecond to about two hours.
const BUCKETS: usize = 132;
/// How long one half is filled, microseconds: figures are of the last one to two minutes.
const HALF: i64 = 60_000_000;

/// A histogram of times that forgets.
#[derive(Debug, Clone)]
pub(crate) struct Sketch {
    halves: Box<[[u32; BUCKETS]; 2]>,
    since: i64,
}

impl Default for Sketch {
    fn default() -> Self {
        Self { halves: Box::new([[0; BUCKETS]; 2]), since: 0 }
    }
}

impl Sketch {
    /// Takes a time in microseconds.
    pub(crate) fn observe(&mut self, now: Timestamp, micros: u64) {
        self.turn(now);
        let bucket = ((micros.max(1) as f64).log2() * PER_OCTAVE) as usize;
        let count = &mut self.halves[0][bucket.min(BUCKETS - 1)];
        *count = count.saturating_add(1);
    }

    /// Half and 99 of 100, milliseconds; 0 when nothing was seen.
    pub(crate) fn milliseconds(&mut self, now: Timestamp) -> (f64, f64) {
        self.turn(now);
        (self.at(0.5), self.at(0.99))
    }

    fn at(&self, part: f64) -> f64 {
        let count = |bucket: usize| u64::from(self.halves[0][bucket]) + u64::from(self.halves[1][bucket]);
        let total: u64 = (0..BUCKETS).map(count).sum();
        if total == 0 {
            return 0.0;
        }
        let wanted = ((total as f64 * part).ceil() as u64).max(1);
        let mut seen = 0;
        let bucket = (0..BUCKETS).find(|bucket| {
            seen += count(*bucket);
            seen >= wanted
        });
        ((bucket.unwrap_or(BUCKETS - 1) as f64 + 0.5) / PER_OCTAVE).exp2() / 1_000.0
    }

    fn turn(&mut self, now: Timestamp) {
        let age = now.micros().saturating_sub(self.since);
        if (0..HALF).contains(&age) {
            return;
        }
        let fresh = (0..2 * HALF).contains(&age);
        self.halves[1] = if fresh { self.halves[0] } else { [0; BUCKETS] };
        self.halves[0] = [0; BUCKETS];
        self.since = now.micros();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn percentiles_are_near_and_old_times_are_forgotten() {
        let mut sketch = Sketch::default();
        let now = Timestamp::from_micros(1_767_225_600_000_000);
        (1..=1_000).for_each(|millis| sketch.observe(now, millis * 1_000));
        let (half, most) = sketch.milliseconds(now);
        assert!((450.0..560.0).contains(&half) && (880.0..1_100.0).contains(&most), "{half} {most}");
        assert!(sketch.milliseconds(now + Duration::from_secs(70)).0 > 400.0);
        assert_eq!(sketch.milliseconds(now + Duration::from_secs(300)), (0.0, 0.0));
    }
}
