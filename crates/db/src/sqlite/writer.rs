//! The one thread that writes: everything that waits goes into one transaction and one sync.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

use super::error::is_read_only;
use crate::job::{Job, Verdict, settle};
use crate::queue::Queue;
use crate::session::{Failure, Reach, Session};
use crate::shared::Shared;
use crate::{Error, Status};

/// Closures in one transaction: bounds how long the first of them waits for the last.
const GROUP_MAX: usize = 1_024;

/// What a closure may take; everybody else waits meanwhile.
const CLOSURE_MAX: Duration = Duration::from_millis(50);

/// Pages in the log (32 MiB) after which it is copied into the database: 16 MiB cost 4 % of the jobs a second in bulk,
/// 64 MiB bring nothing. Passively: a writer that waited for readers would make everybody wait for the slowest.
const CHECKPOINT_PAGES: u64 = 8_192;

/// Pages (256 MiB) from which a log that cannot be copied is worth a warning.
const CHECKPOINT_PAGES_WARN: u64 = 65_536;

pub(crate) struct Writer {
    session: Session,
    dir: PathBuf,
    queue: Arc<Queue<Box<dyn Job>>>,
    shared: Arc<Shared>,
    status: Arc<RwLock<Status>>,
    /// Pages in the log, as told by SQLite after each commit.
    wal_pages: Arc<AtomicU64>,
    pages_before: u64,
    /// Pages at which the next checkpoint is tried; moves up while readers or the disk hold it back.
    checkpoint_at: u64,
}

impl Writer {
    pub(crate) fn new(
        mut session: super::Session,
        dir: PathBuf,
        queue: Arc<Queue<Box<dyn Job>>>,
        shared: Arc<Shared>,
        status: Arc<RwLock<Status>>,
    ) -> Result<Self, rusqlite::Error> {
        let wal_pages = Arc::new(AtomicU64::new(0));
        let told = wal_pages.clone();
        session.connection().wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: i32| {
            told.store(pages.unsigned_abs().into(), Ordering::Relaxed);
            Ok(())
        }))?;
        let session = Session::Sqlite(Box::new(session));
        Ok(Self {
            session,
            dir,
            queue,
            shared,
            status,
            wal_pages,
            pages_before: 0,
            checkpoint_at: CHECKPOINT_PAGES,
        })
    }

    /// Runs until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        let mut group = Vec::with_capacity(GROUP_MAX);
        while self.queue.pop_many(&mut group, GROUP_MAX) {
            self.serve(&mut group);
            self.checkpoint_when_due();
        }
        // The next start has nothing to recover.
        if matches!(*self.status.read(), Status::Ok) {
            self.checkpoint("PRAGMA wal_checkpoint(TRUNCATE)");
        }
    }

    fn serve(&mut self, group: &mut Vec<Box<dyn Job>>) {
        let outcome = self.attempt(group);
        match &outcome {
            Ok(()) => {
                let was_ok = matches!(*self.status.read(), Status::Ok);
                if !was_ok {
                    tracing::info!("the store takes changes again");
                    *self.status.write() = Status::Ok;
                }
            }
            Err(failure) => self.group_failed(failure),
        }
        let outcome = outcome.map_err(|failure| failure.error);
        for job in group.drain(..) {
            settle(job, outcome.clone(), &self.shared);
        }
    }

    /// One transaction with everything in it. `Ok` when each closure was either kept durably or undone.
    fn attempt(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), Failure> {
        if let Status::Fenced(_) = *self.status.read() {
            return Err(Failure::new(Error::Fenced, Reach::Group));
        }
        let started = self.shared.clock.monotonic();
        self.control("BEGIN IMMEDIATE")?;
        let kept = self.run_closures(group).inspect_err(|_| self.abandon())?;
        if kept == 0 {
            return self.control("ROLLBACK").inspect_err(|_| self.abandon());
        }
        self.control("COMMIT").map_err(|failure| {
            self.abandon();
            self.commit_failure(failure)
        })?;
        let took = self.shared.clock.monotonic().saturating_sub(started);
        self.shared.stats.commit(kept, took);
        Ok(())
    }

    fn run_closures(&mut self, group: &mut [Box<dyn Job>]) -> Result<u64, Failure> {
        let mut kept = 0;
        // A closure that is alone is undone by undoing everything. A savepoint copies each page before it is changed.
        let is_alone = group.len() == 1;
        for job in group {
            if !is_alone {
                self.control("SAVEPOINT closure")?;
            }
            let begun = self.shared.clock.monotonic();
            let verdict = job.run(&mut self.session, &self.shared);
            let took = self.shared.clock.monotonic().saturating_sub(begun);
            if took > CLOSURE_MAX {
                tracing::warn!(took_ms = took.as_millis(), scope = ?job.scope(), "a transaction holds up all others");
            }
            if let Some(failure) = self.failure() {
                return Err(failure);
            }
            match verdict {
                Verdict::Keep => kept += 1,
                Verdict::Undo if is_alone => self.shared.stats.undone(),
                Verdict::Undo => {
                    self.shared.stats.undone();
                    self.control("ROLLBACK TO closure")?;
                }
            }
            if !is_alone {
                self.control("RELEASE closure")?;
            }
        }
        Ok(kept)
    }

    /// The failure of the last closure, if it reaches beyond it; else forgotten.
    fn failure(&mut self) -> Option<Failure> {
        let Session::Sqlite(session) = &mut self.session else { return None };
        let failure = session.failure.take();
        match failure {
            Some(failure) if failure.reach != Reach::Closure => Some(failure),
            // SQLite gave the transaction up by itself: all before it in the group is gone as well.
            failure if session.transaction_is_gone() => {
                let error = failure.map_or(Error::Unavailable("the transaction is gone".into()), |f| f.error);
                Some(Failure::new(error, Reach::Group))
            }
            _ => None,
        }
    }

    /// Whatever cannot be told apart from a failed sync counts as one.
    fn commit_failure(&self, failure: Failure) -> Failure {
        match failure.error {
            Error::Full | Error::ReadOnly | Error::Busy => Failure::new(failure.error, Reach::Group),
            Error::Conflict { .. } => Failure::new(failure.error, Reach::Group),
            _ if is_read_only(&self.dir) => Failure::new(Error::ReadOnly, Reach::Group),
            _ => Failure::new(Error::Fenced, Reach::Fence),
        }
    }

    fn group_failed(&self, failure: &Failure) {
        self.shared.stats.failed_group();
        let fenced = matches!(*self.status.read(), Status::Fenced(_));
        match (&failure.error, failure.reach) {
            _ if fenced => {}
            (_, Reach::Fence) => {
                tracing::error!(
                    "the disk failed while a change was made durable: the store is fenced; check the disk, then restart"
                );
                *self.status.write() =
                    Status::Fenced("the disk failed while a change was made durable".into());
            }
            (Error::ReadOnly, _) => {
                tracing::error!("the store has become read-only: mount it writable again");
                *self.status.write() = Status::ReadOnly("the file system of the store is read-only".into());
            }
            (error, _) => tracing::warn!(%error, "a group of changes failed"),
        }
    }

    fn control(&mut self, text: &str) -> Result<(), Failure> {
        match &mut self.session {
            Session::Sqlite(session) => session.control(text),
            Session::Postgres(_) => Ok(()),
        }
    }

    /// Ends a transaction that failed; SQLite may have done so already.
    fn abandon(&mut self) {
        if let Session::Sqlite(session) = &mut self.session {
            session.failure = None;
            if !session.transaction_is_gone() {
                drop(session.control("ROLLBACK"));
            }
        }
    }

    fn checkpoint_when_due(&mut self) {
        let pages = self.wal_pages.load(Ordering::Relaxed);
        self.shared.stats.wal_pages(pages);
        if pages < self.pages_before {
            // All was copied and no reader was left in it: the log started anew.
            self.checkpoint_at = CHECKPOINT_PAGES;
        }
        self.pages_before = pages;
        if pages >= self.checkpoint_at {
            self.checkpoint_at = pages + CHECKPOINT_PAGES;
            self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)");
            if pages >= CHECKPOINT_PAGES_WARN {
                tracing::warn!(pages, "a long read keeps the log of the store from being copied; it grows");
            }
        }
    }

    fn checkpoint(&mut self, mode: &str) {
        let Err(failure) = self.control(mode) else { return };
        self.shared.stats.checkpoint_failed();
        if failure.reach == Reach::Fence {
            self.group_failed(&failure);
        } else {
            tracing::warn!(error = %failure.error, "the log of the store cannot be copied into it; it grows");
        }
    }
}
