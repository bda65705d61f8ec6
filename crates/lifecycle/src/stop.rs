//! The one way to be told to stop, for futures and for threads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

/// How far stopping has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Work.
    Running,
    /// Take nothing new, finish what is begun, then return.
    Stopping,
    /// Return at once; what is begun is lost.
    Cut,
}

/// A task's ear: tells it that it should stop. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Stop {
    phase: watch::Receiver<Phase>,
    sleepers: Arc<Sleepers>,
}

/// The other end: tells. Dropping it does not stop anybody.
#[derive(Debug, Clone)]
pub struct StopHandle {
    phase: Arc<watch::Sender<Phase>>,
    sleepers: Arc<Sleepers>,
}

/// Threads that wait with a time limit, and what tasks say that they wait for.
#[derive(Debug, Default)]
struct Sleepers {
    stopping: Mutex<bool>,
    changed: Condvar,
    awaited: Mutex<Awaiting>,
    leaving: AtomicBool,
}

/// What is waited for, by a number that tells the same names apart.
#[derive(Debug, Default)]
struct Awaiting {
    last: u64,
    names: BTreeMap<u64, String>,
}

/// Something that a task waits for while it stops. Whoever is cut is named together with it; forgotten when dropped.
#[derive(Debug)]
pub struct Awaited {
    sleepers: Arc<Sleepers>,
    number: u64,
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.sleepers.awaited.lock().names.remove(&self.number);
    }
}

impl Stop {
    /// Both ends, for tests and for owners of threads.
    #[must_use]
    pub fn pair() -> (StopHandle, Stop) {
        let (sender, receiver) = watch::channel(Phase::Running);
        let sleepers = Arc::new(Sleepers::default());
        let handle = StopHandle { phase: Arc::new(sender), sleepers: sleepers.clone() };
        (handle, Stop { phase: receiver, sleepers })
    }

    /// One that never comes.
    #[must_use]
    pub fn never() -> Stop {
        Stop::pair().1
    }

    /// The phase now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Whether nothing new should be taken.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.phase() >= Phase::Stopping
    }

    /// Whether even what is begun should be left.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.phase() >= Phase::Cut
    }

    /// Whether a successor of this process comes, which takes over what it finds. Known before [`Stop::stopped`] resolves.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.sleepers.leaving.load(Ordering::Acquire)
    }

    /// Resolves when nothing new should be taken.
    pub async fn stopped(&self) {
        self.reached(Phase::Stopping).await;
    }

    /// Resolves when even what is begun should be left.
    pub async fn cut(&self) {
        self.reached(Phase::Cut).await;
    }

    /// Sleeps for `time` unless asked to stop meanwhile. Returns whether to stop. For futures.
    pub async fn sleep(&self, time: Duration) -> bool {
        tokio::time::timeout(time, self.stopped()).await.is_ok()
    }

    /// Waits for at most `time`, on a thread. Returns whether to stop.
    #[must_use]
    pub fn wait_timeout(&self, time: Duration) -> bool {
        let mut stopping = self.sleepers.stopping.lock();
        if !*stopping {
            // A wake-up without a reason only makes the caller look round once more.
            self.sleepers.changed.wait_for(&mut stopping, time);
        }
        *stopping
    }

    /// Says what this task waits for while it stops, like `service web`, for as long as what is returned is kept.
    #[must_use]
    pub fn awaiting(&self, what: impl Into<String>) -> Awaited {
        let mut awaited = self.sleepers.awaited.lock();
        awaited.last += 1;
        let number = awaited.last;
        awaited.names.insert(number, what.into());
        Awaited { sleepers: self.sleepers.clone(), number }
    }

    /// What is waited for now, in the order in which it was said.
    #[must_use]
    pub fn awaited(&self) -> Vec<String> {
        self.sleepers.awaited.lock().names.values().cloned().collect()
    }

    async fn reached(&self, phase: Phase) {
        let mut receiver = self.phase.clone();
        if receiver.wait_for(|now| *now >= phase).await.is_err() {
            // The handle is gone, so nobody will ever ask.
            std::future::pending::<()>().await;
        }
    }
}

impl StopHandle {
    /// Says that a successor comes. To be followed by [`StopHandle::stop`].
    pub fn leave(&self) {
        self.sleepers.leaving.store(true, Ordering::Release);
    }

    /// Says that no successor comes after all.
    pub fn stay(&self) {
        self.sleepers.leaving.store(false, Ordering::Release);
    }

    /// Asks: take nothing new.
    pub fn stop(&self) {
        self.reach(Phase::Stopping);
    }

    /// Tells: return at once.
    pub fn cut(&self) {
        self.reach(Phase::Cut);
    }

    fn reach(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let further = phase > *now;
            *now = (*now).max(phase);
            further
        });
        *self.sleepers.stopping.lock() = true;
        self.sleepers.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn phases_only_go_forward() {
        let (handle, stop) = Stop::pair();
        assert!(!stop.is_stopping());
        handle.cut();
        handle.stop();
        assert!(stop.is_cut());
        stop.stopped().await;
        stop.cut().await;
    }

    #[tokio::test]
    async fn a_dropped_handle_stops_nobody() {
        let stop = Stop::never();
        assert!(!stop.sleep(Duration::from_millis(1)).await);
        assert!(!stop.wait_timeout(Duration::from_millis(1)));
    }

    #[test]
    fn a_thread_is_woken() {
        let (handle, stop) = Stop::pair();
        let waiter = crate::thread("waiter", move || stop.wait_timeout(Duration::from_secs(3600)))
            .expect("a thread can be started");
        handle.stop();
        assert!(waiter.join().expect("the waiter does not panic"));
    }
}
