//! A thread with a connection: takes a closure, runs it in a transaction, repeats it where that can help.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio_postgres::Config;

use super::Roles;
use super::connect::{Wire, uncertain};
use super::session::{Access, Session as Connected};
use crate::job::{Job, Scope, Verdict, settle};
use crate::queue::Queue;
use crate::session::{Failure, Reach, Session};
use crate::shared::Shared;
use crate::{Error, Status};

/// How often a closure is run again after contention: with the pauses below about half a second.
const REPEATS_MAX: u32 = 10;

/// Repeats that run freely. After them a closure waits for its turn, and newcomers of this process wait for it.
const REPEATS_FREE: u32 = 3;

/// How long newcomers wait at most for one whose turn it is, and it for those under way: a long change of one tenant
/// holds up nobody else. Past that it runs beside them, as it did before.
const ALONE_WAIT_MAX: Duration = Duration::from_millis(200);

/// Of this crate, among the advisory locks of the database; kept for the transaction that follows.
const TAKE_TURN: &str = "SELECT pg_advisory_lock(6006905486180352002)";
const END_TURN: &str = "SELECT pg_advisory_unlock(6006905486180352002)";

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
    /// Held shared by a serializable change, and alone by one whose turn it is.
    pub(crate) floor: Arc<RwLock<()>>,
    pub(crate) session: Option<Session>,
}

/// What a transaction holds of [`Lane::floor`], if it got it in time.
type Stand<'a> = (Option<RwLockReadGuard<'a, ()>>, Option<RwLockWriteGuard<'a, ()>>);

fn stand<'a>(floor: &'a RwLock<()>, ticket: &Ticket, in_turn: bool) -> Stand<'a> {
    match (ticket.access, ticket.job.scope()) {
        // Such transactions wait for rows and fail for nobody.
        (Access::Read, _) | (_, Scope::Hot) => (None, None),
        _ if in_turn => (None, floor.try_write_for(ALONE_WAIT_MAX)),
        _ => (floor.try_read_for(ALONE_WAIT_MAX), None),
    }
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
            let failure = match self.attempt(ticket, repeats >= REPEATS_FREE) {
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

    /// One transaction, `in_turn` with all others that were repeated often. `Ok` when the closure was either kept durably
    /// or undone.
    fn attempt(&mut self, ticket: &mut Ticket, in_turn: bool) -> Result<(), Failure> {
        self.connect()?;
        let started = self.shared.clock.monotonic();
        let floor = self.floor.clone();
        let Some(session) = &mut self.session else { return Ok(()) };
        let held = if let Session::Postgres(connected) = session {
            // Before the transaction: its snapshot must be younger than the rival's commit.
            let limit = self.answer_max;
            if in_turn && let Err(failure) = connected.wire().batch(TAKE_TURN, limit) {
                self.session = None;
                return Err(failure);
            }
            let held = stand(&floor, ticket, in_turn);
            connected.begin(ticket.job.scope(), ticket.access);
            Some(held)
        } else {
            None
        };
        let verdict = ticket.job.run(session, &self.shared);
        let Session::Postgres(connected) = session else { return Ok(()) };
        let failed = connected.failure.take();
        let ended = connected.end(if verdict == Verdict::Keep { "COMMIT" } else { "ROLLBACK" });
        drop(held);
        let given_back = if in_turn { connected.wire().batch(END_TURN, self.answer_max) } else { Ok(()) };
        let is_lost = |found: &Failure| matches!(found.reach, Reach::Connection | Reach::Group);
        if connected.is_closed()
            || given_back.is_err()
            || failed.as_ref().is_some_and(is_lost)
            || ended.as_ref().is_err_and(|found| verdict == Verdict::Undo || is_lost(found))
        {
            self.session = None;
        }
        self.note_standby(failed.as_ref());
        match (failed, verdict, ticket.access) {
            // A closure that may be repeated is, whatever it made of the error.
            (Some(failure), ..) if matches!(failure.reach, Reach::Repeat | Reach::Connection) => {
                return Err(failure);
            }
            (_, Verdict::Undo, _) => self.shared.stats.undone(),
            (_, Verdict::Keep, Access::Read) => self.shared.stats.read(),
            (_, Verdict::Keep, Access::Write) => {
                ended.map_err(uncertain)?;
                self.shared.stats.commit(1, self.shared.clock.monotonic().saturating_sub(started));
                self.note_writable();
            }
        }
        Ok(())
    }

    fn note_standby(&self, failure: Option<&Failure>) {
        if let Some(Failure { error: Error::ReadOnly, .. }) = failure {
            *self.status.write() = Status::ReadOnly("PostgreSQL takes no changes: it is a standby".into());
        }
    }

    fn note_writable(&self) {
        if *self.status.read() != Status::Ok {
            *self.status.write() = Status::Ok;
        }
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
