//! What is kept of each request: a record, from which metrics, usage and the access log are made, in batches.

use super::job::Job;
use super::shared::Shared;
use crate::metrics::Handles;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;
use telemetry::{AccessOrigin, AccessRecord};

/// Records after which a batch is handed on at once; else it is at the next tick of the flusher.
const BATCH: usize = 256;

/// The records of one thread that were not handed on yet.
pub(crate) struct Records {
    shared: Arc<Shared>,
    inner: RefCell<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    batch: Vec<AccessRecord>,
    handles: Handles,
}

impl Records {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: shared.clone(), inner: RefCell::default() }
    }

    /// Makes the record of a request that has ended. What was never understood enough to have an id has none.
    pub(crate) fn push(&self, job: &mut Job, origin: Arc<AccessOrigin>) {
        let Some(request) = job.request else { return };
        let record = AccessRecord {
            origin,
            at: job.at,
            request,
            replica: job.replica,
            path: std::mem::take(&mut job.path),
            status: job.status,
            code: job.code,
            duration: self.shared.clock.monotonic().saturating_sub(job.started),
            upstream: job.upstream,
            tries: job.tries,
            bytes_in: job.bytes_in,
            bytes_out: job.bytes_out,
        };
        let mut inner = self.inner.borrow_mut();
        inner.batch.push(record);
        if inner.batch.len() >= BATCH {
            drop(inner);
            self.flush();
        }
    }

    /// Counts what is there and hands it to the log.
    pub(crate) fn flush(&self) {
        let batch = {
            let inner = &mut *self.inner.borrow_mut();
            if inner.batch.is_empty() {
                return;
            }
            for record in &inner.batch {
                inner.handles.count(&self.shared.metrics, record);
            }
            std::mem::replace(&mut inner.batch, Vec::with_capacity(BATCH))
        };
        self.shared.log.append_access(batch);
    }
}

/// How often a batch is handed on when it is not full.
pub(crate) const FLUSH_EVERY: Duration = Duration::from_millis(200);
