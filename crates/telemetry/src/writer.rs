//! The thread that writes log lines out. Everything before it is in memory and never waits.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::time::Duration;

/// Lines that wait for the writer: at 300 bytes each some 2.5 MB, and more than a second of a busy process.
pub const QUEUE_LINES_MAX: usize = 8_192;

/// Bytes given to the sink at once.
const BATCH_BYTES_MAX: usize = 64 * 1024;

/// Between looks at a full queue when flushing.
const FULL_QUEUE_PAUSE: Duration = Duration::from_millis(1);

enum Message {
    Line(String),
    Flush(SyncSender<()>),
}

/// The callers' end. Cloning shares the queue.
#[derive(Clone)]
pub(crate) struct Writer {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

impl Writer {
    /// Starts the thread. It ends when the last clone is gone.
    pub(crate) fn start(sink: Box<dyn Write + Send>) -> io::Result<Writer> {
        let (queue, lines) = sync_channel(QUEUE_LINES_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let lost = dropped.clone();
        // Not `lifecycle`'s: see the crate's documentation.
        std::thread::Builder::new().name("log-writer".to_owned()).spawn(move || run(&lines, sink, &lost))?;
        Ok(Writer { queue, dropped })
    }

    /// Queues a line that ends in a newline, or drops and counts it.
    pub(crate) fn write(&self, line: String) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.queue.try_send(Message::Line(line))
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until all that was queued before is out. Returns whether it was within `patience`: a sink may hang.
    pub(crate) fn flush(&self, patience: Duration) -> bool {
        let (done, finished) = sync_channel(1);
        let mut message = Message::Flush(done);
        let mut left = patience;
        loop {
            match self.queue.try_send(message) {
                Ok(()) => return !matches!(finished.recv_timeout(left), Err(RecvTimeoutError::Timeout)),
                Err(TrySendError::Disconnected(_)) => return false,
                Err(TrySendError::Full(back)) => message = back,
            }
            // The queue has no waiting with a limit; this is called at the end of the process, not in its course.
            if left.is_zero() {
                return false;
            }
            let pause = left.min(FULL_QUEUE_PAUSE);
            std::thread::sleep(pause);
            left -= pause;
        }
    }
}

fn run(lines: &Receiver<Message>, mut sink: Box<dyn Write + Send>, dropped: &AtomicU64) {
    let mut batch = Vec::with_capacity(BATCH_BYTES_MAX);
    while let Ok(first) = lines.recv() {
        batch.clear();
        let mut count = 0;
        let mut next = Ok(first);
        let mut flushes = Vec::new();
        loop {
            match next {
                Ok(Message::Line(line)) => {
                    batch.extend_from_slice(line.as_bytes());
                    count += 1;
                }
                Ok(Message::Flush(done)) => flushes.push(done),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
            if batch.len() >= BATCH_BYTES_MAX {
                break;
            }
            next = lines.try_recv();
        }
        // A full disk, a closed pipe, a terminal that went away: these lines are lost, the next are tried again.
        if sink.write_all(&batch).and_then(|()| sink.flush()).is_err() {
            dropped.fetch_add(count, Ordering::Relaxed);
        }
        for done in flushes {
            // Who asked may have lost patience.
            let _ = done.try_send(());
        }
    }
}
