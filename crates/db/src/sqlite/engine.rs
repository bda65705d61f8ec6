//! The threads of the embedded store and their queues.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::RwLock;
use rusqlite::Connection;

use super::deadline::Deadline;
use super::session::{Role, Session};
use super::writer::Writer;
use super::{Guard, open_connection, reader};
use crate::job::Job;
use crate::queue::{Queue, Refused};
use crate::shared::Shared;
use crate::{Error, OpenError, Options, Status};

/// Page cache of the reader for hot reads, which go through the same thousand pages once for each tenant.
const HOT_CACHE_KIB: i64 = 4_096;

pub(crate) struct Engine {
    writes: Arc<Queue<Box<dyn Job>>>,
    reads: Arc<Queue<Box<dyn Job>>>,
    hot_reads: Arc<Queue<Box<dyn Job>>>,
    status: Arc<RwLock<Status>>,
    threads: Vec<JoinHandle<()>>,
    pub(crate) dir: PathBuf,
}

impl Engine {
    /// Starts the threads; `writer` is the connection that has migrated.
    pub(crate) fn start(
        options: &Options,
        dir: PathBuf,
        writer: Connection,
        shared: &Arc<Shared>,
    ) -> Result<Self, OpenError> {
        let guard = Arc::new(Guard::new(&options.sets));
        let writes = Arc::new(Queue::new(options.queue_max));
        let reads = Arc::new(Queue::new(options.queue_max));
        let hot_reads = Arc::new(Queue::new(options.queue_max));
        let status = Arc::new(RwLock::new(Status::Ok));
        let mut engine = Self {
            writes,
            reads: reads.clone(),
            hot_reads: hot_reads.clone(),
            status,
            threads: Vec::new(),
            dir,
        };
        let deadline = || Deadline::new(options.clock.clone(), options.statement_max);
        let told = |error: rusqlite::Error| Error::Statement(error.to_string());
        let session = Session::new(writer, Role::Writer, engine.dir.clone(), guard.clone(), deadline())
            .map_err(told)?;
        let writer = Writer::new(
            session,
            engine.dir.clone(),
            engine.writes.clone(),
            shared.clone(),
            engine.status.clone(),
        )
        .map_err(told)?;
        engine.spawn("db-writer", move || writer.run())?;
        let mut read = |name, queue: Arc<Queue<Box<dyn Job>>>, cache: Option<i64>| -> Result<(), OpenError> {
            let connection = open_connection(options, &engine.dir, Role::Reader)?;
            if let Some(kib) = cache {
                connection.pragma_update(None, "cache_size", -kib).map_err(told)?;
            }
            let session =
                Session::new(connection, Role::Reader, engine.dir.clone(), guard.clone(), deadline())
                    .map_err(told)?;
            let shared = shared.clone();
            engine.spawn(name, move || reader::run(session, &queue, &shared))
        };
        for _ in 0..options.readers.max(1) {
            read("db-reader", reads.clone(), None)?;
        }
        read("db-hot-reader", hot_reads, Some(HOT_CACHE_KIB))?;
        Ok(engine)
    }

    fn spawn(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), OpenError> {
        let thread = lifecycle::thread(name, run)
            .map_err(|error| Error::Unavailable(format!("start a thread: {error}")))?;
        self.threads.push(thread);
        Ok(())
    }

    pub(crate) fn status(&self) -> Status {
        self.status.read().clone()
    }

    pub(crate) fn waiting(&self) -> (usize, usize) {
        (self.writes.len(), self.reads.len() + self.hot_reads.len())
    }

    pub(crate) fn send_write(&self, job: Box<dyn Job>) -> Result<(), Refused<Box<dyn Job>>> {
        self.writes.push(job)
    }

    pub(crate) fn send_read(&self, job: Box<dyn Job>) -> Result<(), Refused<Box<dyn Job>>> {
        self.reads.push(job)
    }

    pub(crate) fn send_hot_read(&self, job: Box<dyn Job>) -> Result<(), Refused<Box<dyn Job>>> {
        self.hot_reads.push(job)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.writes.close();
        self.reads.close();
        self.hot_reads.close();
        let own = std::thread::current().id();
        // The last handle may be dropped by a closure on one of these threads, which cannot wait for itself. Readers end
        // first, so that the writer's last checkpoint finds nobody in the log.
        for thread in self.threads.drain(..).rev() {
            if thread.thread().id() != own {
                drop(thread.join());
            }
        }
    }
}
