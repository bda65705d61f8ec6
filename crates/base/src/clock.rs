//! Where time comes from. Everybody else is handed a [`Clock`].

use crate::Timestamp;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A source of time. `now` may jump with the machine's clock; `monotonic` never goes back, and is what spans and
/// time-outs are measured by.
pub trait Clock: Send + Sync + Debug + 'static {
    /// The wall clock.
    fn now(&self) -> Timestamp;
    /// Time since some fixed instant of this process; comparable with other values of the same clock only.
    fn monotonic(&self) -> Duration;
}

/// A clock that is handed around.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug, Clone)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose `monotonic` starts at zero here.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the machine for the time")]
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }

    /// The same, ready to hand around.
    pub fn shared() -> SharedClock {
        Arc::new(Self::new())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the machine for the time")]
    fn now(&self) -> Timestamp {
        let now = SystemTime::now();
        let micros = match now.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
        };
        Timestamp::from_micros(micros)
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A clock that stands still until it is moved, for tests and the simulation. Clones share their time.
#[derive(Debug, Clone)]
pub struct ManualClock {
    time: Arc<ManualTime>,
}

#[derive(Debug)]
struct ManualTime {
    wall_micros: AtomicI64,
    monotonic_micros: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `now`; its `monotonic` is zero.
    pub fn new(now: Timestamp) -> Self {
        let time =
            ManualTime { wall_micros: AtomicI64::new(now.micros()), monotonic_micros: AtomicU64::new(0) };
        Self { time: Arc::new(time) }
    }

    /// The same time, ready to hand around.
    pub fn shared(&self) -> SharedClock {
        Arc::new(self.clone())
    }

    /// Moves both the wall clock and the monotonic one forward.
    pub fn advance(&self, span: Duration) {
        let later = |micros| Some((Timestamp::from_micros(micros) + span).micros());
        let _ = self.time.wall_micros.fetch_update(Ordering::SeqCst, Ordering::SeqCst, later);
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        self.time.monotonic_micros.fetch_add(micros, Ordering::SeqCst);
    }

    /// Sets the wall clock, forwards or back, as an administrator or a time service would. The monotonic one stays.
    pub fn set(&self, now: Timestamp) {
        self.time.wall_micros.store(now.micros(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.time.wall_micros.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.time.monotonic_micros.load(Ordering::SeqCst))
    }
}
