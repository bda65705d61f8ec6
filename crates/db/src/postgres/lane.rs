//! A thread with a connection: takes a closure, runs it in a transaction, repeats it where that can help.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio_postgres::Config;

use super::Roles;
use super::connect::Wire;
use super::session::{Access, Session as Connected};
use crate::job::{Job, Verdict, settle};
use crate::queue::Queue;
use crate::session::{Failure, Reach, Session};
use crate::shared::Shared;
use crate::{Error, Status};

/// How often a closure is run again after contention: with the pauses below about half a second.
const REPEATS_MAX: u32 = 10;

/// Pause before the first repeat; doubled each time, drawn at random below that, so that rivals part.
const PAUSE_FIRST: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// How often a closure is begun anew on another connection. One: a connection that died while it was idle is found out
/// by the first statement after that.
const RECONNECTS_MAX: u32 = 1;

/// A closure and what it may do.
pub(crate) struct Ticket {
    pub(crate) job: Box<dyn Job>,
    pub(crate) access: Access,
}

pub(crate) struct Lane {
    pub(crate) config: Config,
    pub(crate) answer_max: Duration,
    pub(crate) roles: Arc<Roles>,
    pub(crate) queue: Arc<Queue<Ticket>>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) status: Arc<RwLock<Status>>,
    pub(crate) session: Option<Session>,
}

impl Lane {
    /// Runs until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        while let Some(mut ticket) = self.queue.pop() {
            let outcome = self.serve(&mut ticket);
            settle(ticket.job, outcome, &self.shared);
        }
    }

    fn serve(&mut self, ticket: &mut Ticket) -> Result<(), Error> {
        let (mut repeats, mut reconnects) = (0, 0);
        loop {
            let failure = match self.attempt(ticket) {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            match failure.reach {
                Reach::Repeat if repeats < REPEATS_MAX => {
                    self.pause(repeats);
                    repeats += 1;
                }
                Reach::Connection if reconnects < RECONNECTS_MAX => reconnects += 1,
                _ => return Err(failure.error),
            }
            self.shared.stats.repeated();
        }
    }

    /// One transaction. `Ok` when the closure was either kept durably or undone.
    fn attempt(&mut self, ticket: &mut Ticket) -> Result<(), Failure> {
        self.connect()?;
        let started = self.shared.clock.monotonic();
        let Some(session) = &mut self.session else { return Ok(()) };
        if let Session::Postgres(connected) = session {
            connected.begin(ticket.job.scope(), ticket.access);
        }
        let verdict = ticket.job.run(session, &self.shared);
        let Session::Postgres(connected) = session else { return Ok(()) };
        let failure = connected.failure.take();
        if let Some(Failure { error: Error::ReadOnly, .. }) = failure {
            *self.status.write() = Status::ReadOnly("PostgreSQL takes no changes: it is a standby".into());
        }
        let ended = match (verdict, ticket.access) {
            (Verdict::Keep, Access::Write) => connected.end("COMMIT").map_err(uncertain),
            (Verdict::Keep, Access::Read) => connected.end("COMMIT").or(Ok(())),
            (Verdict::Undo, _) => connected.end("ROLLBACK").or(Ok(())),
        };
        if connected.is_closed() {
            self.session = None;
        }
        // A closure that may be repeated is, whatever it made of the error.
        if let Some(failure) =
            failure.filter(|found| matches!(found.reach, Reach::Repeat | Reach::Connection))
        {
            return Err(failure);
        }
        ended?;
        match (verdict, ticket.access) {
            (Verdict::Undo, _) => self.shared.stats.undone(),
            (Verdict::Keep, Access::Read) => self.shared.stats.read(),
            (Verdict::Keep, Access::Write) => {
                self.shared.stats.commit(1, self.shared.clock.monotonic().saturating_sub(started));
                if *self.status.read() != Status::Ok {
                    *self.status.write() = Status::Ok;
                }
            }
        }
        Ok(())
    }

    fn connect(&mut self) -> Result<(), Failure> {
        if self.session.is_none() {
            let wire = Wire::connect(&self.config, self.answer_max)?;
            self.session = Some(Session::Postgres(Box::new(Connected::new(wire, self.roles.clone()))));
            self.shared.stats.reconnected();
        }
        Ok(())
    }

    fn pause(&self, repeats: u32) {
        let longest = PAUSE_FIRST.saturating_mul(1 << repeats.min(10)).min(PAUSE_MAX);
        let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
        std::thread::sleep(Duration::from_micros(self.shared.random.below(micros.max(1))));
    }
}

/// A commit that was not answered may have happened: it must not be repeated.
fn uncertain(failure: Failure) -> Failure {
    match failure {
        Failure { reach: Reach::Connection | Reach::Group, .. } => Failure::new(
            Error::Unavailable("the connection was lost while the change was committed".into()),
            Reach::Group,
        ),
        other => other,
    }
}
