//! Counters, gauges and histograms whose hot path is one relaxed atomic add to the calling thread's own cache line.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Upper bounds of latency histograms, in seconds: from half a millisecond (a proxied request) to a minute.
pub const LATENCY_BUCKETS: [f64; 15] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

/// The same in nanoseconds.
const BOUNDS_NS: [u64; LATENCY_BUCKETS.len()] = [
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    60_000_000_000,
];

/// More shards than threads that write at once are memory for nothing.
const SHARDS_MAX: usize = 16;

static SHARDS: LazyLock<usize> = LazyLock::new(|| {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get).next_power_of_two().min(SHARDS_MAX)
});

/// Threads take shards in turn, so that gateway threads, which start together, get different ones.
static NEXT_THREAD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static THREAD: Cell<usize> = Cell::new(NEXT_THREAD.fetch_add(1, Ordering::Relaxed));
}

fn shard() -> usize {
    // While a thread ends its locals are gone; any shard will do then.
    THREAD.try_with(Cell::get).unwrap_or(0) & (*SHARDS - 1)
}

/// A value alone on its cache line (128 bytes: neighbouring lines are fetched in pairs).
#[repr(align(128))]
#[derive(Default)]
struct Alone<T>(T);

fn shards<T: Default>() -> Arc<[Alone<T>]> {
    (0..*SHARDS).map(|_| Alone::default()).collect()
}

/// A number that only grows. Cloning shares it.
#[derive(Clone)]
pub struct Counter(Arc<[Alone<AtomicU64>]>);

impl Counter {
    /// At zero, in no registry.
    #[must_use]
    pub fn new() -> Counter {
        Counter(shards())
    }

    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0[shard()].0.fetch_add(n, Ordering::Relaxed);
    }

    /// The sum over all threads.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.iter().fold(0, |sum, shard| sum.wrapping_add(shard.0.load(Ordering::Relaxed)))
    }
}

impl EncodeMetric for Counter {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_counter::<NoLabelSet, _, u64>(&self.get(), None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

/// A number that goes up and down. Cloning shares it. Not sharded: `set` must win over all threads.
#[derive(Clone, Default)]
pub struct Gauge(Arc<AtomicI64>);

impl Gauge {
    /// At zero, in no registry.
    #[must_use]
    pub fn new() -> Gauge {
        Gauge::default()
    }

    /// Replaces the value.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds `n`, which may be negative.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The value.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl EncodeMetric for Gauge {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_gauge(&self.get())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

/// How long something took, in the buckets of [`LATENCY_BUCKETS`]. Cloning shares it.
#[derive(Clone)]
pub struct Histogram(Arc<[Alone<Buckets>]>);

#[derive(Default)]
struct Buckets {
    /// One a bound, and one for what is above all of them.
    counts: [AtomicU64; BOUNDS_NS.len() + 1],
    sum_ns: AtomicU64,
}

impl Histogram {
    /// Empty, in no registry.
    #[must_use]
    pub fn new() -> Histogram {
        Histogram(shards())
    }

    /// Counts one that took `time`.
    pub fn observe(&self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let buckets = &self.0[shard()].0;
        buckets.counts[BOUNDS_NS.partition_point(|bound| *bound < ns)].fetch_add(1, Ordering::Relaxed);
        buckets.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts().iter().sum()
    }

    fn counts(&self) -> [u64; BOUNDS_NS.len() + 1] {
        let mut all = [0; BOUNDS_NS.len() + 1];
        for shard in self.0.iter() {
            for (sum, count) in all.iter_mut().zip(&shard.0.counts) {
                *sum += count.load(Ordering::Relaxed);
            }
        }
        all
    }
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let counts = self.counts();
        let sum_ns: u64 = self.0.iter().map(|shard| shard.0.sum_ns.load(Ordering::Relaxed)).sum();
        let bounds = LATENCY_BUCKETS.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let sum = Duration::from_nanos(sum_ns).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, counts.iter().sum(), &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

impl Default for Counter {
    fn default() -> Self {
        Counter::new()
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram::new()
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Counter({})", self.get())
    }
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gauge({})", self.get())
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Histogram({} samples)", self.count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_add_up() {
        let counter = Counter::new();
        let histogram = Histogram::new();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        counter.inc();
                        histogram.observe(Duration::from_millis(3));
                    }
                });
            }
        });
        assert_eq!(counter.get(), 8000);
        assert_eq!(histogram.count(), 8000);
        assert_eq!(histogram.counts()[3], 8000, "3 ms lies between 2.5 and 5");
    }

    #[test]
    fn bounds_agree() {
        for (seconds, ns) in LATENCY_BUCKETS.iter().zip(BOUNDS_NS) {
            assert_eq!(Duration::from_secs_f64(*seconds), Duration::from_nanos(ns));
        }
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::new();
        histogram.observe(Duration::from_micros(500));
        histogram.observe(Duration::from_secs(3600));
        assert_eq!((histogram.counts()[0], histogram.counts()[BOUNDS_NS.len()]), (1, 1));
    }
}
