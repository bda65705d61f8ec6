//! The lanes, their queue, and the thread that listens for new events and signals.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::RwLock;
use tokio_postgres::Config;

use super::Roles;
use super::connect::{ANSWER_SLACK, Wire};
use super::lane::{Lane, Ticket};
use super::listen::Listener;
use super::session::Access;
use crate::events::Head;
use crate::job::Job;
use crate::queue::{Queue, Refused};
use crate::session::Failure;
use crate::shared::Shared;
use crate::{Error, OpenError, Options, Status};

/// For clearing one table: what takes longer is left to the server, which takes it slowly.
const VACUUM_ANSWER_MAX: Duration = Duration::from_secs(120);

pub(crate) struct Engine {
    queue: Arc<Queue<Ticket>>,
    status: Arc<RwLock<Status>>,
    listening: Arc<tokio::sync::Notify>,
    threads: Vec<JoinHandle<()>>,
    config: Arc<Config>,
    /// Whether rows that are gone are being cleared away.
    vacuuming: Arc<AtomicBool>,
    pub(crate) roles: Arc<Roles>,
}

impl Engine {
    pub(crate) fn start(
        options: &Options,
        config: &Config,
        roles: Roles,
        shared: &Arc<Shared>,
        head: &Arc<Head>,
    ) -> Result<Self, OpenError> {
        let mut engine = Self {
            queue: Arc::new(Queue::new(options.queue_max)),
            status: Arc::new(RwLock::new(Status::Ok)),
            listening: shared.signals.nudge.clone().unwrap_or_default(),
            threads: Vec::new(),
            config: Arc::new(config.clone()),
            vacuuming: Arc::default(),
            roles: Arc::new(roles),
        };
        let floor: Arc<RwLock<()>> = Arc::default();
        for _ in 0..options.lanes.max(1) {
            let lane = Lane {
                config: config.clone(),
                answer_max: options.statement_max + ANSWER_SLACK,
                roles: engine.roles.clone(),
                queue: engine.queue.clone(),
                shared: shared.clone(),
                status: engine.status.clone(),
                floor: floor.clone(),
                session: None,
            };
            engine.spawn("db-lane", move || lane.run())?;
        }
        let listener = Listener {
            config: config.clone(),
            answer_max: options.statement_max + ANSWER_SLACK,
            roles: engine.roles.clone(),
            head: head.clone(),
            queue: engine.queue.clone(),
            shared: shared.clone(),
            nudge: engine.listening.clone(),
        };
        engine.spawn("db-listen", move || listener.run())?;
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
        (self.queue.len(), 0)
    }

    pub(crate) fn send_write(&self, job: Box<dyn Job>) -> Result<(), Refused<Box<dyn Job>>> {
        self.send(job, Access::Write)
    }

    pub(crate) fn send_read(&self, job: Box<dyn Job>) -> Result<(), Refused<Box<dyn Job>>> {
        self.send(job, Access::Read)
    }

    /// Clears away rows of these tables that are gone, in the background; nothing happens while it is being done already.
    /// On a thread of its own, for nobody waits for it and nothing is lost when the process ends meanwhile.
    pub(crate) fn vacuum(&self, tables: &'static [&'static str]) {
        if self.vacuuming.swap(true, Ordering::AcqRel) {
            return;
        }
        let (config, busy) = (self.config.clone(), self.vacuuming.clone());
        let run = move || {
            if let Err(failure) = vacuum(&config, tables) {
                tracing::debug!(error = %failure.error, "rows that are gone are not cleared away");
            }
            busy.store(false, Ordering::Release);
        };
        if lifecycle::thread("db-vacuum", run).is_err() {
            self.vacuuming.store(false, Ordering::Release);
        }
    }

    fn send(&self, job: Box<dyn Job>, access: Access) -> Result<(), Refused<Box<dyn Job>>> {
        self.queue.push(Ticket { job, access }).map_err(|refused| match refused {
            Refused::Full(ticket) => Refused::Full(ticket.job),
            Refused::Closed(ticket) => Refused::Closed(ticket.job),
        })
    }
}

/// By the owner of the tables. A table that the server, or another process, is at already is left out, and none is made
/// shorter: that would lock everybody out.
fn vacuum(config: &Config, tables: &[&str]) -> Result<(), Failure> {
    let mut wire = Wire::connect(config, VACUUM_ANSWER_MAX)?;
    let timeout = VACUUM_ANSWER_MAX.as_millis();
    wire.batch(&format!("SET statement_timeout = {timeout}"), VACUUM_ANSWER_MAX)?;
    tables.iter().try_for_each(|table| {
        let text = format!("VACUUM (SKIP_LOCKED, TRUNCATE FALSE, INDEX_CLEANUP ON) {table}");
        wire.batch(&text, VACUUM_ANSWER_MAX + ANSWER_SLACK)
    })
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.queue.close();
        self.listening.notify_one();
        let own = std::thread::current().id();
        // The last handle may be dropped by a closure on one of these threads, which cannot wait for itself.
        for thread in self.threads.drain(..) {
            if thread.thread().id() != own {
                drop(thread.join());
            }
        }
    }
}
