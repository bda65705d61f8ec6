//! What was read from the store a moment ago and may be used again.

use base::SharedClock;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A value is used for at most so long without looking at the store again: with the second look of a process at its open
/// sockets, a change made by another process is in force everywhere within a second (TORTURE A9).
pub const RECALL_MAX: Duration = Duration::from_millis(500);
/// Values kept, of about 300 bytes each; when there are more, all are forgotten and read again.
const VALUES_MAX: usize = 20_000;

/// Values by key, each good for [`RECALL_MAX`], and only as long as this process commits no change that others
/// are told of (`db::Db::changes`): whoever changed something sees the change with the next request.
pub struct Recall<K, V> {
    clock: SharedClock,
    kept: Mutex<HashMap<K, Kept<V>>>,
}

struct Kept<V> {
    value: V,
    changes: u64,
    until: Duration,
}

impl<K: Hash + Eq, V: Clone> Recall<K, V> {
    /// Nothing yet.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, kept: Mutex::new(HashMap::new()) }
    }

    /// The value, if one was read not long ago and the store has committed no change since.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q, changes: u64) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
    {
        let now = self.clock.monotonic();
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(key)
            .filter(|kept| kept.changes == changes && now < kept.until)
            .map(|kept| kept.value.clone())
    }

    /// Keeps a value. `changes` is what the store counted before the value was read.
    pub fn put(&self, key: K, value: V, changes: u64) {
        let until = self.clock.monotonic() + RECALL_MAX;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= VALUES_MAX {
            kept.clear();
        }
        kept.insert(key, Kept { value, changes, until });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{ManualClock, Timestamp};

    #[test]
    fn a9_a_value_ends_with_its_time_and_with_a_change() {
        let clock = ManualClock::new(Timestamp::EPOCH);
        let recall = Recall::new(clock.shared());
        recall.put("a".to_owned(), 1, 7);
        assert_eq!((recall.get("a", 7), recall.get("a", 8), recall.get("b", 7)), (Some(1), None, None));
        clock.advance(RECALL_MAX);
        assert_eq!(recall.get("a", 7), None);
    }

    #[test]
    fn memory_is_bounded() {
        let recall = Recall::new(ManualClock::new(Timestamp::EPOCH).shared());
        for key in 0..=VALUES_MAX {
            recall.put(key, (), 0);
        }
        assert!(recall.kept.lock().expect("nobody panics with it").len() <= VALUES_MAX);
    }
}
