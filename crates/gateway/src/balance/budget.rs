//! How many retries a service gets: they must not multiply the load of one that is going down.

use std::sync::atomic::{AtomicI64, Ordering};

/// What a retry costs and a request earns: retries are a fifth of requests in the long run.
const RETRY_COST: i64 = 10;
const REQUEST_EARNS: i64 = 2;
/// Retries that can be saved up: as many as are in flight on a replica that is killed.
const SAVED_MAX: i64 = 1_024 * RETRY_COST;

/// The retries that a service has left.
#[derive(Debug)]
pub struct RetryBudget(AtomicI64);

impl Default for RetryBudget {
    fn default() -> Self {
        Self(AtomicI64::new(SAVED_MAX))
    }
}

impl RetryBudget {
    /// A request was sent. Writes only when something was spent.
    pub fn earn(&self) {
        if self.0.load(Ordering::Relaxed) < SAVED_MAX {
            self.0.fetch_add(REQUEST_EARNS, Ordering::Relaxed);
        }
    }

    /// Asks for one retry.
    pub fn spend(&self) -> bool {
        let spent = |left: i64| (left >= RETRY_COST).then_some(left - RETRY_COST);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spent).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_burst_and_then_a_fifth() {
        let budget = RetryBudget::default();
        assert_eq!((0..10_000).filter(|_| budget.spend()).count(), 1_024);
        let mut retried = 0;
        for _ in 0..1_000 {
            budget.earn();
            retried += usize::from(budget.spend());
        }
        assert_eq!(retried, 200);
    }
}
