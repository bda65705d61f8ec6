//! The queue between producers, who never wait, and the writer, who takes all at once.

use std::mem;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use telemetry::{AccessRecord, LogRecord};

/// Records that wait for the writer: more than half a second at 100,000 a second.
pub const QUEUE_RECORDS_MAX: usize = 65_536;

/// Bytes that wait for the writer, estimated.
pub const QUEUE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Records that are worth waking the writer for at once.
const GATHER_RECORDS: usize = 4_096;

/// How long the writer lets fewer of them wait. It then works in larger portions, and wakes up less often.
const GATHER: Duration = Duration::from_millis(25);

/// What a record takes besides its texts, about.
const RECORD_BYTES: usize = 256;

/// What a field takes, about.
const FIELD_BYTES: usize = 64;

/// Records as they came.
pub(crate) enum Batch {
    Records(Vec<LogRecord>),
    Access(Vec<AccessRecord>),
}

#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Condvar,
}

#[derive(Default)]
struct Waiting {
    batches: Vec<Batch>,
    records: usize,
    bytes: usize,
    /// Somebody wants the writer to look round although nothing came.
    nudged: bool,
}

impl Queue {
    /// Adds as many as there is room for; returns how many were not.
    pub(crate) fn push_records(&self, mut records: Vec<LogRecord>) -> usize {
        let sizes: Vec<usize> = records.iter().map(size).collect();
        let mut waiting = self.waiting.lock();
        let taken = waiting.admit(&sizes);
        let lost = records.len() - taken;
        records.truncate(taken);
        let wake = waiting.add(taken, Batch::Records(records));
        drop(waiting);
        self.wake_if(wake);
        lost
    }

    /// As [`Queue::push_records`].
    pub(crate) fn push_access(&self, mut records: Vec<AccessRecord>) -> usize {
        let sizes: Vec<usize> = records.iter().map(access_size).collect();
        let mut waiting = self.waiting.lock();
        let taken = waiting.admit(&sizes);
        let lost = records.len() - taken;
        records.truncate(taken);
        let wake = waiting.add(taken, Batch::Access(records));
        drop(waiting);
        self.wake_if(wake);
        lost
    }

    /// All that waits; empty after `patience` or a nudge.
    pub(crate) fn take(&self, patience: Duration) -> Vec<Batch> {
        let mut waiting = self.waiting.lock();
        if waiting.batches.is_empty() && !waiting.nudged {
            self.filled.wait_for(&mut waiting, patience);
        }
        if !waiting.batches.is_empty() && !waiting.nudged && waiting.records < GATHER_RECORDS {
            self.filled.wait_for(&mut waiting, GATHER.min(patience));
        }
        waiting.nudged = false;
        waiting.records = 0;
        waiting.bytes = 0;
        mem::take(&mut waiting.batches)
    }

    fn wake_if(&self, wake: bool) {
        if wake {
            self.filled.notify_one();
        }
    }

    /// Makes [`Queue::take`] return.
    pub(crate) fn nudge(&self) {
        self.waiting.lock().nudged = true;
        self.filled.notify_one();
    }
}

impl Waiting {
    /// How many of these, from the first on, fit.
    fn admit(&mut self, sizes: &[usize]) -> usize {
        let mut taken = 0;
        for size in sizes {
            if self.records + taken >= QUEUE_RECORDS_MAX || self.bytes + size > QUEUE_BYTES_MAX {
                break;
            }
            self.bytes += size;
            taken += 1;
        }
        taken
    }

    /// Whether the writer is to be woken: for the first records, after which it lets more come, and when there are
    /// enough.
    fn add(&mut self, records: usize, batch: Batch) -> bool {
        if records == 0 {
            return false;
        }
        let (first, before) = (self.batches.is_empty(), self.records);
        self.records += records;
        self.batches.push(batch);
        first || (before < GATHER_RECORDS && self.records >= GATHER_RECORDS)
    }
}

fn size(record: &LogRecord) -> usize {
    let texts: usize = record.fields.values().filter_map(|value| value.as_str()).map(str::len).sum();
    RECORD_BYTES + record.message.len() + FIELD_BYTES * record.fields.len() + texts
}

/// What requests share is small beside them.
fn access_size(record: &AccessRecord) -> usize {
    RECORD_BYTES + record.path.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Timestamp;
    use telemetry::Level;

    fn record(bytes: usize) -> LogRecord {
        LogRecord::platform(Timestamp::from_micros(0), Level::Info, "x".repeat(bytes))
    }

    #[test]
    fn number_and_bytes_are_bounded() {
        let queue = Queue::default();
        assert_eq!(queue.push_records(vec![record(1); QUEUE_RECORDS_MAX + 3]), 3);
        assert_eq!(queue.push_records(vec![record(1)]), 1);
        let taken: usize = queue.take(Duration::ZERO).iter().map(len).sum();
        assert_eq!(taken, QUEUE_RECORDS_MAX);
        let large = 1024 * 1024;
        assert_eq!(queue.push_records(vec![record(large); 40]), 9);
        assert!(queue.take(Duration::ZERO).len() == 1 && queue.take(Duration::ZERO).is_empty());
    }

    #[test]
    fn a_nudge_wakes_the_writer() {
        let queue = Queue::default();
        queue.nudge();
        assert!(queue.take(Duration::from_secs(3600)).is_empty());
    }

    fn len(batch: &Batch) -> usize {
        match batch {
            Batch::Records(records) => records.len(),
            Batch::Access(records) => records.len(),
        }
    }
}
