//! Circuit breakers: five failures in a row, or half of the last twenty, and requests rest for a minute.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Failures in a row that open a breaker (SPEC 6).
const IN_A_ROW: u32 = 5;
/// The last outcomes that are looked at, and how many failures among them open it.
const LAST: u32 = 20;
const OF_LAST: u32 = 10;
const LAST_MASK: u32 = (1 << LAST) - 1;
/// How long it stays open before one request may try.
pub const BREAKER_OPEN: Duration = Duration::from_secs(60);

/// One breaker. While all goes well, asking and telling it only reads.
#[derive(Debug, Default)]
pub struct Breaker {
    /// 0 when closed; else the time in ms until which it is open, after which one probe at a time may pass.
    open_until_ms: AtomicU64,
    probing: AtomicBool,
    in_a_row: AtomicU32,
    /// A bit for each of the last outcomes, 1 for a failure; the newest lowest.
    history: AtomicU32,
    samples: AtomicU32,
}

/// Leave to send one request. Dropped without a word when the outcome says nothing about the service.
#[derive(Debug)]
pub struct Pass {
    probe: Option<Arc<Breaker>>,
}

impl Breaker {
    /// Asks to send a request.
    ///
    /// # Errors
    /// The time to wait, when it is open.
    pub fn ask(self: &Arc<Self>, now_ms: u64) -> Result<Pass, Duration> {
        let until = self.open_until_ms.load(Ordering::Acquire);
        if until == 0 {
            return Ok(Pass { probe: None });
        }
        if now_ms < until {
            return Err(Duration::from_millis(until - now_ms));
        }
        if self.probing.swap(true, Ordering::AcqRel) {
            return Err(Duration::from_secs(1));
        }
        Ok(Pass { probe: Some(self.clone()) })
    }

    /// Whether it is open or trying.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open_until_ms.load(Ordering::Relaxed) != 0
    }

    /// The service answered. Returns whether this closed the breaker.
    pub fn succeeded(&self, pass: &Pass) -> bool {
        if pass.probe.is_some() {
            self.in_a_row.store(0, Ordering::Relaxed);
            self.history.store(0, Ordering::Relaxed);
            self.samples.store(0, Ordering::Relaxed);
            self.open_until_ms.store(0, Ordering::Release);
            return true;
        }
        if self.in_a_row.load(Ordering::Relaxed) != 0 {
            self.in_a_row.store(0, Ordering::Relaxed);
        }
        if self.samples.load(Ordering::Relaxed) < LAST {
            self.samples.fetch_add(1, Ordering::Relaxed);
        }
        if self.history.load(Ordering::Relaxed) != 0 {
            self.remember(0);
        }
        false
    }

    /// The service failed. Returns whether this opened the breaker.
    pub fn failed(&self, pass: &Pass, now_ms: u64) -> bool {
        let in_a_row = self.in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
        let samples = self.samples.fetch_add(1, Ordering::Relaxed) + 1;
        let history = self.remember(1);
        let many = samples >= LAST && history.count_ones() >= OF_LAST;
        if pass.probe.is_none() && in_a_row < IN_A_ROW && !many {
            return false;
        }
        let until = now_ms + u64::try_from(BREAKER_OPEN.as_millis()).unwrap_or(u64::MAX);
        self.open_until_ms.swap(until.max(1), Ordering::AcqRel) == 0
    }

    fn remember(&self, outcome: u32) -> u32 {
        let next = |history: u32| ((history << 1) | outcome) & LAST_MASK;
        let before =
            self.history.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |history| Some(next(history)));
        next(before.unwrap_or_default())
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(breaker) = &self.probe {
            breaker.probing.store(false, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(breaker: &Arc<Breaker>, now_ms: u64) -> bool {
        let pass = breaker.ask(now_ms).unwrap();
        breaker.failed(&pass, now_ms)
    }

    fn succeed(breaker: &Arc<Breaker>, now_ms: u64) -> bool {
        let pass = breaker.ask(now_ms).unwrap();
        breaker.succeeded(&pass)
    }

    #[test]
    fn five_in_a_row_open_it_and_a_probe_closes_it() {
        let breaker = Arc::new(Breaker::default());
        (0..4).for_each(|_| assert!(!fail(&breaker, 1_000)));
        assert!(!succeed(&breaker, 1_000));
        (0..4).for_each(|_| assert!(!fail(&breaker, 1_000)));
        assert!(fail(&breaker, 1_000));
        assert_eq!(breaker.ask(2_000).unwrap_err(), Duration::from_secs(59));
        let probe = breaker.ask(61_000).unwrap();
        assert!(breaker.ask(61_000).is_err(), "one probe at a time");
        assert!(!breaker.failed(&probe, 61_000));
        drop(probe);
        assert!(breaker.ask(62_000).is_err());
        drop(breaker.ask(121_000).unwrap());
        assert!(succeed(&breaker, 121_000));
        assert!(!breaker.is_open());
    }

    #[test]
    fn half_of_twenty_open_it() {
        let breaker = Arc::new(Breaker::default());
        for _ in 0..9 {
            assert!(!fail(&breaker, 1));
            assert!(!succeed(&breaker, 1));
        }
        assert!(!succeed(&breaker, 1));
        assert!(fail(&breaker, 1));
    }

    #[test]
    fn a_few_failures_among_many_do_not() {
        let breaker = Arc::new(Breaker::default());
        for n in 0..200 {
            if n % 3 == 0 { assert!(!fail(&breaker, 1)) } else { assert!(!succeed(&breaker, 1)) }
        }
    }
}
