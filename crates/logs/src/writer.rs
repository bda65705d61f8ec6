//! The writer: from the queue to the open segment, and all housekeeping.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use lifecycle::Stop;
use telemetry::LogRecord;

use crate::capture;
use crate::follow::Live;
use crate::model::Position;
use crate::queue::Batch;
use crate::segments::OpenSegment;
use crate::sink::Logs;

/// How long the writer sleeps when nothing comes: then it looks whether a segment is old enough.
const IDLE: Duration = Duration::from_secs(30);

/// Bytes given to the file at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// Writes until told to stop and nothing waits.
pub(crate) fn run(logs: &Logs, stop: &Stop) {
    let now = logs.clock.now();
    let mut writer =
        Writer { logs, open: None, opened: now, house_kept: None, finished: 0, chunk: Chunk::default() };
    loop {
        // When the end has come, only what is there already is waited for.
        let stopping = stop.is_stopping();
        let batches = logs.queue.take(if stopping { Duration::ZERO } else { IDLE });
        let idle = batches.is_empty();
        for batch in batches {
            writer.write(batch);
        }
        writer.flush();
        writer.keep_house();
        writer.report();
        if idle && stopping {
            break;
        }
    }
    writer.close();
}

struct Writer<'a> {
    logs: &'a Logs,
    open: Option<OpenSegment>,
    /// When the open segment got its first record.
    opened: Timestamp,
    /// When segments were last sealed and removed.
    house_kept: Option<Timestamp>,
    /// Records written or lost since the last [`Writer::report`].
    finished: u64,
    chunk: Chunk,
}

/// Lines on their way to the file.
#[derive(Default)]
struct Chunk {
    text: String,
    records: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    /// Where in `text` each begins, for followers; empty when nobody follows.
    live: Vec<(usize, LogRecord)>,
}

impl Chunk {
    fn note(&mut self, at: Timestamp) {
        self.records += 1;
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
        self.last = Some(self.last.map_or(at, |last| last.max(at)));
    }
}

impl Writer<'_> {
    fn write(&mut self, batch: Batch) {
        let followed = self.logs.live.receiver_count() > 0;
        match batch {
            Batch::Records(records) => {
                for mut record in records {
                    capture::clean(&mut record);
                    self.chunk.note(record.at);
                    let begin = self.chunk.text.len();
                    capture::write_line(&mut record, &mut self.chunk.text);
                    if followed {
                        self.chunk.live.push((begin, record));
                    }
                    self.flush_if_large();
                }
            }
            Batch::Access(records) => {
                for mut record in records {
                    capture::clean_access(&mut record);
                    self.chunk.note(record.at);
                    let begin = self.chunk.text.len();
                    record.write_json(&mut self.chunk.text);
                    self.chunk.text.push('\n');
                    if followed {
                        self.chunk.live.push((begin, record.to_record()));
                    }
                    self.flush_if_large();
                }
            }
        }
    }

    fn flush_if_large(&mut self) {
        if self.chunk.text.len() >= CHUNK_BYTES {
            self.flush();
        }
    }

    /// Brings the chunk to the file and to followers; or counts it as lost, but followers get it all the same.
    fn flush(&mut self) {
        let mut chunk = std::mem::take(&mut self.chunk);
        self.flush_chunk(&mut chunk);
        // Its memory is used again, unless a few huge records made it large.
        chunk.text.clear();
        chunk.text.shrink_to(2 * CHUNK_BYTES);
        self.chunk.text = chunk.text;
    }

    fn flush_chunk(&mut self, chunk: &mut Chunk) {
        let Chunk { text, records, first, last, live } = chunk;
        let (Some(first), Some(last), records) = (*first, *last, *records) else { return };
        let written = self.append(text.as_bytes(), first, last);
        let begin = match &written {
            Ok(position) => Some(*position),
            Err(_) => None,
        };
        match written {
            Ok(_) => {
                self.logs.metrics.written.add(records);
                *self.logs.failure.lock() = None;
            }
            Err(error) => {
                self.logs.metrics.dropped_disk.add(records);
                *self.logs.failure.lock() = Some(format!("records are lost: {}", error.kind()));
            }
        }
        for (at, record) in live.drain(..) {
            let position = begin.map(|begin| Position { offset: begin.offset + at as u64, ..begin });
            // Nobody may be there any more.
            let _ = self.logs.live.send(Arc::new(Live { position, record }));
        }
        self.finished += records;
    }

    /// Tells who waits that all that was taken is dealt with, house kept.
    fn report(&mut self) {
        let finished = std::mem::take(&mut self.finished);
        if finished > 0 {
            self.logs.done.send_modify(|done| *done += finished);
        }
    }

    /// Where the lines begin in their segment.
    fn append(&mut self, lines: &[u8], first: Timestamp, last: Timestamp) -> io::Result<Position> {
        self.logs.catalog.load()?;
        let mut open = match self.open.take() {
            Some(open) => open,
            None => {
                self.opened = self.logs.clock.now();
                self.logs.catalog.open(self.logs.config.segment_bytes, first)?
            }
        };
        let begin = Position { segment: open.number, offset: open.bytes };
        // On an error the file is let go, and looked up afresh with the next chunk.
        self.logs.catalog.append(&mut open, lines, first, last)?;
        self.open = Some(open);
        Ok(begin)
    }

    /// Seals what is large or old, removes what is too much. Failing at it loses nothing; it is tried again, but not
    /// at once: its own warning is a record, which would come round for ever.
    fn keep_house(&mut self) {
        let config = &self.logs.config;
        let now = self.logs.clock.now();
        let full = self.open.as_ref().is_some_and(|open| {
            open.bytes >= config.segment_bytes
                || now.since(self.opened) >= config.segment_age && open.bytes > 0
        });
        if full {
            self.open = None;
        } else if self.house_kept.is_some_and(|kept| now.since(kept) < IDLE) {
            return;
        }
        self.house_kept = Some(now);
        let current = self.open.as_ref().map(|open| open.number);
        if let Err(error) = self.seal_and_retain(now, current) {
            tracing::warn!(%error, "log segments could not be sealed or removed");
        }
        self.logs.metrics.bytes.set(i64::try_from(self.logs.catalog.bytes()).unwrap_or(i64::MAX));
    }

    fn seal_and_retain(&mut self, now: Timestamp, current: Option<u64>) -> io::Result<()> {
        let (catalog, config) = (&self.logs.catalog, &self.logs.config);
        catalog.load()?;
        let sealed = catalog.seal(current);
        // What is too much goes even if nothing can be sealed: on a full disk it is the only way to room.
        catalog.retain(now - config.keep, config.bytes_max, current)?;
        sealed
    }

    fn close(self) {
        if let Some(Err(error)) = self.open.as_ref().map(OpenSegment::sync) {
            tracing::warn!(%error, "the open log segment could not be synced");
        }
    }
}
