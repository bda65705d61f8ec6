//! Waiting for a place at an upstream, shared fairly: whoever waits is served tenant by tenant, not by arrival.

use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

/// Requests that wait for one service. Each holds a connection and its head.
pub const QUEUE_MAX: usize = 1_024;
/// Requests of one tenant among them, so that nobody fills it alone.
pub const QUEUE_OF_TENANT_MAX: usize = 128;
/// How long a request waits for a place.
pub const QUEUE_WAIT_MAX: Duration = Duration::from_secs(5);

/// Those who wait for one service.
#[derive(Debug, Default)]
pub struct WaitQueue {
    /// How many wait; read without the lock by all who do not have to.
    waiting: AtomicUsize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Tenants that have somebody waiting, in turn.
    turns: VecDeque<u128>,
    of_tenant: HashMap<u128, VecDeque<oneshot::Sender<()>>>,
}

impl WaitQueue {
    /// Whether anybody waits, so that newcomers have to wait as well.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) != 0
    }

    /// Takes a place at the end of the tenant's own line; `None` when the line or the queue is full.
    pub fn join(&self, tenant: u128) -> Option<oneshot::Receiver<()>> {
        let mut inner = self.inner.lock();
        let line = inner.of_tenant.get(&tenant).map_or(0, VecDeque::len);
        if self.waiting.load(Ordering::Relaxed) >= QUEUE_MAX || line >= QUEUE_OF_TENANT_MAX {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        inner.of_tenant.entry(tenant).or_default().push_back(sender);
        if line == 0 {
            inner.turns.push_back(tenant);
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Some(receiver)
    }

    /// A place is free: tells the first of the tenant whose turn it is.
    pub fn wake_next(&self) {
        if !self.has_waiting() {
            return;
        }
        let mut inner = self.inner.lock();
        while let Some(tenant) = inner.turns.pop_front() {
            let Some(line) = inner.of_tenant.get_mut(&tenant) else { continue };
            let first = line.pop_front();
            if line.is_empty() {
                inner.of_tenant.remove(&tenant);
            } else {
                inner.turns.push_back(tenant);
            }
            if let Some(first) = first {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                // Who gave up waiting has dropped the other half.
                if first.send(()).is_ok() {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_take_turns_however_many_one_has_waiting() {
        let queue = WaitQueue::default();
        let mut many: Vec<_> = (0..QUEUE_OF_TENANT_MAX).map(|_| queue.join(1).unwrap()).collect();
        assert!(queue.join(1).is_none());
        let mut one = queue.join(2).unwrap();
        queue.wake_next();
        assert!(many[0].try_recv().is_ok() && one.try_recv().is_err());
        queue.wake_next();
        assert!(one.try_recv().is_ok() && many[1].try_recv().is_err());
    }

    #[test]
    fn who_gave_up_is_passed_over() {
        let queue = WaitQueue::default();
        drop(queue.join(1).unwrap());
        let mut second = queue.join(1).unwrap();
        queue.wake_next();
        assert!(second.try_recv().is_ok());
        assert!(!queue.has_waiting());
    }

    #[test]
    fn the_whole_queue_is_bounded() {
        let queue = WaitQueue::default();
        let places: Vec<_> = (0..).map_while(|n: u128| queue.join(n / 100)).collect();
        assert_eq!(places.len(), QUEUE_MAX);
    }
}
