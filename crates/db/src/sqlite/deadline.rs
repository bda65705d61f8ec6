//! Ends a statement that runs away: its connection would be lost to everybody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base::SharedClock;

/// Steps of SQLite's machine between two looks at the clock: about a millisecond.
pub(crate) const DEADLINE_STEPS: i32 = 50_000;

/// Never, in microseconds of the monotonic clock.
const NEVER: u64 = u64::MAX;

/// When the statement of a connection must end.
pub(crate) struct Deadline {
    clock: SharedClock,
    statement_max: Duration,
    at_micros: Arc<AtomicU64>,
}

impl Deadline {
    pub(crate) fn new(clock: SharedClock, statement_max: Duration) -> Self {
        Self { clock, statement_max, at_micros: Arc::new(AtomicU64::new(NEVER)) }
    }

    /// A statement begins now.
    pub(crate) fn begin(&self) {
        self.at_micros.store(micros(self.clock.monotonic() + self.statement_max), Ordering::Relaxed);
    }

    /// What follows may take as long as it likes: a commit or a checkpoint is never cut.
    pub(crate) fn lift(&self) {
        self.at_micros.store(NEVER, Ordering::Relaxed);
    }

    /// What SQLite calls while it works; true ends the statement.
    pub(crate) fn watch(&self) -> impl FnMut() -> bool + Send + 'static {
        let (clock, at) = (self.clock.clone(), self.at_micros.clone());
        move || micros(clock.monotonic()) > at.load(Ordering::Relaxed)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(NEVER)
}
