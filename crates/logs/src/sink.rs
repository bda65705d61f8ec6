//! The handle that producers, searches and followers share.

use std::path::Path;
use std::sync::Arc;

use base::SharedClock;
use lifecycle::{Stop, StopHandle, TaskError};
use parking_lot::Mutex;
use ports::LogSink;
use telemetry::{AccessRecord, LogRecord, Metrics};
use tokio::sync::{Semaphore, broadcast, oneshot, watch};

use crate::follow::{FOLLOW_RECORDS_MAX, Live};
use crate::metrics::LogMetrics;
use crate::model::{Filter, Position};
use crate::queue::Queue;
use crate::search::{self, Found, SEARCHES_MAX, SearchError};
use crate::segments::Catalog;
use crate::{Config, writer};

/// Takes records, finds them again, and gives them to who follows. Made first of all; nothing reaches the disk before
/// [`Logs::run`] runs.
pub struct Logs {
    pub(crate) config: Config,
    pub(crate) clock: SharedClock,
    pub(crate) queue: Queue,
    pub(crate) catalog: Catalog,
    pub(crate) live: broadcast::Sender<Arc<Live>>,
    pub(crate) metrics: LogMetrics,
    /// Records accepted so far, and those of them that the writer is done with.
    accepted: Mutex<u64>,
    pub(crate) done: watch::Sender<u64>,
    /// What is wrong with the disk, for operators; `None` when nothing is.
    pub(crate) failure: Mutex<Option<String>>,
    searches: Semaphore,
}

impl Logs {
    /// Keeps segments in `<data_dir>/logs`. Touches no file yet.
    #[must_use]
    pub fn new(data_dir: &Path, config: Config, clock: SharedClock, metrics: &Metrics) -> Arc<Logs> {
        Arc::new(Logs {
            config,
            clock,
            queue: Queue::default(),
            catalog: Catalog::new(data_dir.join("logs")),
            live: broadcast::channel(FOLLOW_RECORDS_MAX).0,
            metrics: LogMetrics::new(metrics),
            accepted: Mutex::default(),
            done: watch::Sender::new(0),
            failure: Mutex::default(),
            searches: Semaphore::new(SEARCHES_MAX),
        })
    }

    /// Writes until told to stop, then writes what waits. The task of [`crate::build`].
    ///
    /// # Errors
    /// When the writer panicked; run it again.
    pub async fn run(self: Arc<Self>, stop: Stop) -> Result<(), TaskError> {
        let (handle, told) = Stop::pair();
        let end = EndWriter { logs: self.clone(), handle };
        let logs = self.clone();
        // A thread of its own, because it gives way to others for good.
        let (ended, mut writing) = oneshot::channel();
        lifecycle::thread("logs-writer", move || {
            give_way();
            writer::run(&logs, &told);
            // Who waits may have gone.
            let _ = ended.send(());
        })?;
        let ended = tokio::select! {
            ended = &mut writing => ended,
            () = stop.stopped() => {
                drop(end);
                writing.await
            }
        };
        ended.map_err(|_| "the log writer panicked".into())
    }

    /// Resolves when all that was accepted so far is written (or was dropped for a broken disk).
    pub async fn flush(&self) {
        let accepted = *self.accepted.lock();
        self.queue.nudge();
        // The sender lives in `self`, so the channel cannot close.
        let _ = self.done.subscribe().wait_for(|done| *done >= accepted).await;
    }

    /// The newest records that the filter wants, before `before` when given, at most `limit`. Reads files: the work
    /// is done on a blocking thread, of [`SEARCHES_MAX`] at most.
    ///
    /// # Errors
    /// [`SearchError`].
    pub async fn search(
        self: &Arc<Self>,
        filter: Filter,
        before: Option<Position>,
        limit: usize,
    ) -> Result<Found, SearchError> {
        let _permit = self.searches.acquire().await.map_err(|_| SearchError::Stopped)?;
        let logs = self.clone();
        let found = lifecycle::blocking(move || search::search(&logs.catalog, &filter, before, limit)).await;
        found.ok_or(SearchError::Stopped)?
    }

    /// What is wrong with the disk; `None` when records are kept.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }

    /// Records lost since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.metrics.dropped_queue.get() + self.metrics.dropped_disk.get()
    }

    fn accept(&self, offered: usize, push: impl FnOnce(&Queue) -> usize) {
        // Counted under the lock of the count, so that the order of counts is that of the queue.
        let mut accepted = self.accepted.lock();
        let lost = push(&self.queue);
        *accepted += (offered - lost) as u64;
        drop(accepted);
        if lost > 0 {
            self.metrics.dropped_queue.add(lost as u64);
        }
    }
}

/// Requests go before lines about them: a segment is compressed in tens of milliseconds, which somebody would wait for.
/// Under full load the writer still gets a seventh of a core, several times what it takes.
fn give_way() {
    const NICER: i32 = 5;
    if let Err(error) = rustix::process::nice(NICER) {
        tracing::debug!(%error, "the log writer keeps its priority");
    }
}

/// Ends the writer's thread when [`Logs::run`] is told to stop, and also when it is dropped.
struct EndWriter {
    logs: Arc<Logs>,
    handle: StopHandle,
}

impl Drop for EndWriter {
    fn drop(&mut self) {
        self.handle.stop();
        self.logs.queue.nudge();
    }
}

impl LogSink for Logs {
    fn append(&self, record: LogRecord) {
        self.append_batch(vec![record]);
    }

    fn append_batch(&self, records: Vec<LogRecord>) {
        self.accept(records.len(), |queue| queue.push_records(records));
    }

    fn append_access(&self, records: Vec<AccessRecord>) {
        self.accept(records.len(), |queue| queue.push_access(records));
    }
}
