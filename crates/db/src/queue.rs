//! The bounded queue between callers and the threads of the store.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};

/// First in, first out; any number of threads on both sides. Full is an answer, not a wait.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
    max: usize,
}

struct State<T> {
    waiting: VecDeque<T>,
    closed: bool,
}

/// Why something was not taken; it is given back.
pub(crate) enum Refused<T> {
    Full(T),
    Closed(T),
}

impl<T> Queue<T> {
    pub(crate) fn new(max: usize) -> Self {
        let state = State { waiting: VecDeque::new(), closed: false };
        Self { state: Mutex::new(state), filled: Condvar::new(), max }
    }

    /// Puts one at the end.
    pub(crate) fn push(&self, item: T) -> Result<(), Refused<T>> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Refused::Closed(item));
        }
        if state.waiting.len() >= self.max {
            return Err(Refused::Full(item));
        }
        state.waiting.push_back(item);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Waits for one; `None` when the queue is closed and empty.
    pub(crate) fn pop(&self) -> Option<T> {
        let mut state = self.state.lock();
        loop {
            if let Some(item) = state.waiting.pop_front() {
                return Some(item);
            }
            if state.closed {
                return None;
            }
            self.filled.wait(&mut state);
        }
    }

    /// Waits for at least one and takes up to `max` into `batch`; false when the queue is closed and empty.
    pub(crate) fn pop_many(&self, batch: &mut Vec<T>, max: usize) -> bool {
        let mut state = self.state.lock();
        loop {
            if !state.waiting.is_empty() {
                let count = state.waiting.len().min(max);
                batch.extend(state.waiting.drain(..count));
                return true;
            }
            if state.closed {
                return false;
            }
            self.filled.wait(&mut state);
        }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().waiting.len()
    }

    /// Whether it takes nothing more.
    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Takes nothing more; what waits is still given out.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_refuses_and_a_closed_one_empties() {
        let queue = Queue::new(2);
        assert!(queue.push(1).is_ok() && queue.push(2).is_ok());
        assert!(matches!(queue.push(3), Err(Refused::Full(3))));
        queue.close();
        assert!(matches!(queue.push(4), Err(Refused::Closed(4))));
        let mut batch = Vec::new();
        assert!(queue.pop_many(&mut batch, 1));
        assert_eq!((batch, queue.pop(), queue.pop()), (vec![1], Some(2), None));
    }
}
