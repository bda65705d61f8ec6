//! Deadlines without a timer each.
//!
//! Every wait of a connection has a deadline, and nearly none is ever reached. So a deadline is a number in a slot;
//! a thread looks through its slots ten times a second and wakes those whose time has come. Setting one costs a
//! store, where a timer wheel costs two list operations a request.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// No deadline.
pub(crate) const NEVER: u64 = u64::MAX;

/// The deadline of one connection.
#[derive(Debug)]
pub(crate) struct Slot {
    deadline_ms: Cell<u64>,
    /// It waits for a next request, and may be closed at any time.
    idle: Cell<bool>,
    /// It wants to know of changes of what it was let in by.
    watching: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// The time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expired;

/// All slots of a thread, and its clock.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    now_ms: Cell<u64>,
    stopping: Cell<bool>,
    /// How often something changed that open sockets were let in by.
    changes: Cell<u64>,
    slots: RefCell<Vec<Option<Rc<Slot>>>>,
    free: RefCell<Vec<usize>>,
}

/// A slot, taken until this is dropped.
#[derive(Debug)]
pub(crate) struct SlotGuard {
    deadlines: Rc<Deadlines>,
    slot: Rc<Slot>,
    index: usize,
}

impl Deadlines {
    pub(crate) fn take(self: &Rc<Self>) -> SlotGuard {
        let slot = Rc::new(Slot {
            deadline_ms: Cell::new(NEVER),
            idle: Cell::new(false),
            watching: Cell::new(false),
            waker: RefCell::default(),
        });
        let mut slots = self.slots.borrow_mut();
        let index = self.free.borrow_mut().pop().unwrap_or(slots.len());
        if index == slots.len() {
            slots.push(Some(slot.clone()));
        } else {
            slots[index] = Some(slot.clone());
        }
        SlotGuard { deadlines: self.clone(), slot, index }
    }

    /// Moves the thread's clock and wakes whose time has come.
    pub(crate) fn tick(&self, now_ms: u64) {
        self.now_ms.set(now_ms);
        let stopping = self.stopping.get();
        for slot in self.slots.borrow().iter().flatten() {
            if slot.deadline_ms.get() <= now_ms || (stopping && slot.idle.get()) {
                slot.wake();
            }
        }
    }

    /// Notes a change and wakes who watches.
    pub(crate) fn note_change(&self) {
        self.changes.set(self.changes.get() + 1);
        for slot in self.slots.borrow().iter().flatten().filter(|slot| slot.watching.get()) {
            slot.wake();
        }
    }

    /// How often something changed.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.get()
    }

    /// Milliseconds of the monotonic clock, as of the last tick or request.
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// Moves the clock without waking anybody.
    pub(crate) fn set_now_ms(&self, now_ms: u64) {
        self.now_ms.set(now_ms.max(self.now_ms.get()));
    }

    /// From now on, who is idle is over.
    pub(crate) fn stop(&self) {
        self.stopping.set(true);
        self.tick(self.now_ms.get());
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// How many slots are taken.
    pub(crate) fn len(&self) -> usize {
        self.slots.borrow().len() - self.free.borrow().len()
    }
}

impl Slot {
    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

impl SlotGuard {
    /// Sets the deadline to so many milliseconds from now.
    pub(crate) fn arm(&self, after_ms: u64) {
        self.slot.deadline_ms.set(self.deadlines.now_ms().saturating_add(after_ms));
    }

    /// Sets the deadline to a point in time.
    pub(crate) fn arm_at(&self, at_ms: u64) {
        self.slot.deadline_ms.set(at_ms);
    }

    /// Whether the connection may be closed at any time.
    pub(crate) fn set_idle(&self, idle: bool) {
        self.slot.idle.set(idle);
    }

    /// Whether the connection is woken by [`Deadlines::note_change`].
    pub(crate) fn set_watching(&self, watching: bool) {
        self.slot.watching.set(watching);
    }

    /// To be asked when there is nothing to do but wait: whether the time has come; else who is to be woken then.
    pub(crate) fn poll_expired(&self, cx: &Context<'_>) -> Poll<Expired> {
        let over = self.deadlines.now_ms() >= self.slot.deadline_ms.get();
        if over || (self.slot.idle.get() && self.deadlines.is_stopping()) {
            return Poll::Ready(Expired);
        }
        let mut waker = self.slot.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        self.deadlines.slots.borrow_mut()[self.index] = None;
        self.deadlines.free.borrow_mut().push(self.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_waits_is_woken_when_the_time_has_come_and_not_before() {
        let deadlines = Rc::new(Deadlines::default());
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let cx = Context::from_waker(&waker);
        let guard = deadlines.take();
        guard.arm(500);
        assert!(guard.poll_expired(&cx).is_pending());
        deadlines.tick(499);
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        deadlines.tick(500);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(guard.poll_expired(&cx).is_ready());
        guard.arm_at(NEVER);
        assert!(guard.poll_expired(&cx).is_pending());
        guard.set_idle(true);
        deadlines.stop();
        assert!(guard.poll_expired(&cx).is_ready());
        assert_eq!(deadlines.len(), 1);
        drop(guard);
        assert_eq!(deadlines.len(), 0);
        assert_eq!(deadlines.take().index, 0);
    }
}
