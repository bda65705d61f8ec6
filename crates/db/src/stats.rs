//! Counters of the store, read by whoever exports metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets of commit times: from one sync of a fast disk to a stalled one.
pub(crate) const COMMIT_BUCKETS: [Duration; 8] = [
    Duration::from_micros(250),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(250),
    Duration::from_secs(1),
];

/// Plain atomics, counted up by the threads of the store.
#[derive(Debug, Default)]
pub struct Stats {
    commits: AtomicU64,
    committed: AtomicU64,
    undone: AtomicU64,
    failed_groups: AtomicU64,
    repeats: AtomicU64,
    reconnects: AtomicU64,
    refused: AtomicU64,
    panics: AtomicU64,
    reads: AtomicU64,
    group_max: AtomicU64,
    commit_micros: AtomicU64,
    commit_buckets: [AtomicU64; COMMIT_BUCKETS.len() + 1],
    wal_pages: AtomicU64,
    checkpoint_failures: AtomicU64,
}

/// The counters at one moment. All only grow, but for `waiting_*` and `wal_pages`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatsSnapshot {
    /// Durable commits: groups on SQLite, transactions on PostgreSQL.
    pub commits: u64,
    /// Closures whose changes are durable.
    pub committed: u64,
    /// Closures that ended with an error of their own and were undone.
    pub undone: u64,
    /// Groups that failed as a whole.
    pub failed_groups: u64,
    /// Closures run again after contention or a lost connection.
    pub repeats: u64,
    /// Connections made anew.
    pub reconnects: u64,
    /// Closures refused because the queue was full.
    pub refused: u64,
    /// Closures that panicked.
    pub panics: u64,
    /// Closures that only read.
    pub reads: u64,
    /// Largest group so far.
    pub group_max: u64,
    /// Sum of the times of all commits.
    pub commit_time: Duration,
    /// Upper bound and number of commits within it (not cumulative); `None` for all that took longer.
    pub commit_buckets: Vec<(Option<Duration>, u64)>,
    /// Pages in SQLite's write-ahead log after the last commit.
    pub wal_pages: u64,
    /// Checkpoints that failed; the log grows until one succeeds.
    pub checkpoint_failures: u64,
    /// Closures waiting to write.
    pub waiting_writes: usize,
    /// Closures waiting to read; on PostgreSQL reads and writes wait together and this is 0.
    pub waiting_reads: usize,
}

impl Stats {
    pub(crate) fn commit(&self, closures: u64, took: Duration) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.committed.fetch_add(closures, Ordering::Relaxed);
        self.group_max.fetch_max(closures, Ordering::Relaxed);
        self.commit_micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let bucket = COMMIT_BUCKETS.iter().position(|bound| took <= *bound).unwrap_or(COMMIT_BUCKETS.len());
        self.commit_buckets[bucket].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn undone(&self) {
        self.undone.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failed_group(&self) {
        self.failed_groups.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn repeated(&self) {
        self.repeats.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn reconnected(&self) {
        self.reconnects.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn wal_pages(&self, pages: u64) {
        self.wal_pages.store(pages, Ordering::Relaxed);
    }

    pub(crate) fn checkpoint_failed(&self) {
        self.checkpoint_failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self, waiting_writes: usize, waiting_reads: usize) -> StatsSnapshot {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let bounds = COMMIT_BUCKETS.iter().copied().map(Some).chain([None]);
        StatsSnapshot {
            commits: get(&self.commits),
            committed: get(&self.committed),
            undone: get(&self.undone),
            failed_groups: get(&self.failed_groups),
            repeats: get(&self.repeats),
            reconnects: get(&self.reconnects),
            refused: get(&self.refused),
            panics: get(&self.panics),
            reads: get(&self.reads),
            group_max: get(&self.group_max),
            commit_time: Duration::from_micros(get(&self.commit_micros)),
            commit_buckets: bounds.zip(self.commit_buckets.iter().map(get)).collect(),
            wal_pages: get(&self.wal_pages),
            checkpoint_failures: get(&self.checkpoint_failures),
            waiting_writes,
            waiting_reads,
        }
    }
}
