//! Ends of jobs that take more than one statement: failures, cancellations, flows, history.
//!
//! Each function works inside a transaction, checks what it finds against what the caller believes, and leaves an
//! [`Effect`] for memory. On PostgreSQL a row may change between its reading and its writing: every write names the fence
//! and state that were read, and one that hits nothing is told as [`Error::LeaseLost`].

use std::time::Duration;

use base::{JobId, Timestamp};
use db::{Rows, SystemTx};

use super::Inner;
use super::effect::{Change, Effect, To, Why};
use super::memory::tenant_of;
use crate::model::job::ERROR_BYTES_MAX;
use crate::model::state::{Ended, Extras, Next, State, flags, next};
use crate::store::live::{self, JobRow};
use crate::store::{done, parts};
use crate::{Ack, Attempt, Backoff, Beat, Error, Failure, JobStatus, Outcome, Payload, Scope};

/// How a job ends.
struct Finish<'a> {
    status: JobStatus,
    result: Option<&'a Payload>,
    error: Option<&'a str>,
    why: Option<Why>,
}

/// How an attempt ended that did not end well.
struct Bad {
    outcome: Outcome,
    error: String,
    may_retry: bool,
    pause: Option<Duration>,
}

impl Inner {
    /// A job that `fence` holds, as somebody in `scope` may see it.
    pub(crate) fn held(
        &self,
        tx: &mut SystemTx<'_>,
        scope: Scope,
        id: JobId,
        fence: i64,
    ) -> Result<JobRow, Error> {
        match live::read(tx, id)? {
            Some(row) => {
                self.check_sight(scope, row.queue, &row.tenant)?;
                let held = row.state == State::Running && row.fence == fence;
                if held { Ok(row) } else { Err(Error::LeaseLost(id)) }
            }
            None => {
                let row = done::read(tx, id)?.ok_or(Error::NotFound)?;
                self.check_sight(scope, row.queue, &row.tenant)?;
                Err(Error::LeaseLost(id))
            }
        }
    }

    pub(crate) fn check_sight(&self, scope: Scope, queue: i64, tenant: &str) -> Result<(), Error> {
        let tenant = tenant_of(tenant)?;
        if self.memory.lock().sees(scope, queue, tenant) { Ok(()) } else { Err(Error::NotFound) }
    }

    /// Ends a job well.
    pub(crate) fn complete_in(
        &self,
        tx: &mut SystemTx<'_>,
        effects: &mut Vec<Effect>,
        scope: Scope,
        ack: &Ack,
    ) -> Result<JobStatus, Error> {
        let row = self.held(tx, scope, ack.id, ack.fence)?;
        let end =
            Finish { status: JobStatus::Completed, result: ack.result.as_ref(), error: None, why: None };
        self.finish(tx, effects, row, &end)?;
        Ok(JobStatus::Completed)
    }

    /// Ends an attempt badly, as its worker says.
    #[expect(
        clippy::too_many_arguments,
        reason = "the transaction, what follows from it, and three things that are said"
    )]
    pub(crate) fn fail_in(
        &self,
        tx: &mut SystemTx<'_>,
        effects: &mut Vec<Effect>,
        scope: Scope,
        held: (JobId, i64),
        failure: &Failure,
    ) -> Result<JobStatus, Error> {
        let row = self.held(tx, scope, held.0, held.1)?;
        let bad = Bad {
            outcome: Outcome::Failed,
            error: telemetry::truncated(&failure.error, ERROR_BYTES_MAX).to_owned(),
            may_retry: failure.retry,
            pause: failure.retry_in,
        };
        self.end_badly(tx, effects, row, bad)
    }

    /// Ends an attempt whose lease is over.
    pub(crate) fn expire_in(
        &self,
        tx: &mut SystemTx<'_>,
        effects: &mut Vec<Effect>,
        row: JobRow,
        now: Timestamp,
    ) -> Result<JobStatus, Error> {
        let timeout = Extras::read(row.options.as_deref())?
            .timeout()
            .or_else(|| self.settings(row.queue, |settings| settings.timeout).flatten().map(|time| time.0));
        let over = row.started_at.zip(timeout).is_some_and(|(at, timeout)| at + timeout <= now);
        let bad = if over {
            let seconds = timeout.unwrap_or_default().as_secs_f64();
            let error = format!("it took longer than {seconds} s");
            Bad { outcome: Outcome::TimedOut, error, may_retry: true, pause: None }
        } else {
            let error = "its worker was not heard of for the length of its lease".to_owned();
            Bad { outcome: Outcome::LeaseExpired, error, may_retry: true, pause: Some(Duration::ZERO) }
        };
        self.end_badly(tx, effects, row, bad)
    }

    fn end_badly(
        &self,
        tx: &mut SystemTx<'_>,
        effects: &mut Vec<Effect>,
        mut row: JobRow,
        bad: Bad,
    ) -> Result<JobStatus, Error> {
        let now = self.now();
        let Bad { outcome, error, may_retry, pause } = bad;
        let attempt = Attempt {
            attempt: row.attempt,
            started_at: row.started_at.unwrap_or(now),
            ended_at: now,
            outcome,
            error: error.clone(),
            worker: row.worker.clone(),
        };
        parts::add_attempt(tx, row.id, &attempt)?;
        row.flags |= flags::HISTORY;
        let why = match outcome {
            Outcome::LeaseExpired => Why::Stalled,
            Outcome::Failed | Outcome::TimedOut => Why::Failed(error.clone()),
        };
        let cancel_asked = row.has(flags::CANCEL);
        let ended = Ended { attempt: row.attempt, attempts: row.attempts, cancel_asked, may_retry };
        let backoff = self.backoff(&row)?;
        match next(ended, || pause.unwrap_or_else(|| backoff.pause(row.attempt, &*self.random))) {
            Next::Again(pause) => {
                row.state = if pause.is_zero() { State::Ready } else { State::Later };
                row.run_at = now + pause;
                self.shift(tx, effects, State::Running, row, Some(why))
            }
            Next::Dead => {
                let end =
                    Finish { status: JobStatus::Dead, result: None, error: Some(&error), why: Some(why) };
                self.finish(tx, effects, row, &end)?;
                Ok(JobStatus::Dead)
            }
            Next::Cancelled => {
                let end = Finish { status: JobStatus::Cancelled, result: None, error: None, why: Some(why) };
                self.finish(tx, effects, row, &end)?;
                Ok(JobStatus::Cancelled)
            }
        }
    }

    fn backoff(&self, row: &JobRow) -> Result<Backoff, Error> {
        let own = Extras::read(row.options.as_deref())?.backoff;
        let retry = self.settings(row.queue, |settings| settings.retry).unwrap_or_default();
        Ok(own.unwrap_or(Backoff {
            kind: retry.backoff,
            base: retry.base,
            max: retry.max,
            jitter: retry.jitter,
        }))
    }

    /// Writes a job's new state, `row.state`.
    #[expect(
        clippy::too_many_arguments,
        reason = "the transaction, what follows from it, and three things that are said"
    )]
    pub(crate) fn shift(
        &self,
        tx: &mut SystemTx<'_>,
        effects: &mut Vec<Effect>,
        was: State,
        row: JobRow,
        why: Option<Why>,
    ) -> Result<JobStatus, Error> {
        if !live::shift(tx, was, &row)? {
            return Err(Error::LeaseLost(row.id));
        }
        let to = match row.state {
            State::Later => To::Later(row.run_at),
            State::Blocked | State::Running => To::Blocked,
            State::Ready => To::Ready(Box::new(self.memory.lock().entry(&row))),
        };
        effects.push(change(&row, Some(was), to, why)?);
        Ok(row.state.status())
    }

    /// Gives a job back unworked.
    pub(crate) fn release_in(
        &self,
        tx: &mut SystemTx<'_>,
        effects: &mut Vec<Effect>,
        scope: Scope,
        held: (JobId, i64),
    ) -> Result<JobStatus, Error> {
        let mut row = self.held(tx, scope, held.0, held.1)?;
        if row.has(flags::CANCEL) {
            let end =
                Finish { status: JobStatus::Cancelled, result: None, error: None, why: Some(Why::Released) };
            self.finish(tx, effects, row, &end)?;
            return Ok(JobStatus::Cancelled);
        }
        row.state = State::Ready;
        row.attempt = row.attempt.saturating_sub(1);
        self.shift(tx, effects, State::Running, row, Some(Why::Released))
    }

    /// Extends the lease of a job that another process claimed.
    pub(crate) fn beat_in(
        &self,
        tx: &mut SystemTx<'_>,
        scope: Scope,
        id: JobId,
        fence: i64,
    ) -> Result<Beat, Error> {
        let row = self.held(tx, scope, id, fence)?;
        let now = self.now();
        let own = Extras::read(row.options.as_deref())?.timeout();
        let (lease, timeout) = self
            .settings(row.queue, |settings| (settings.lease.0, settings.timeout.map(|time| time.0)))
            .ok_or(Error::NotFound)?;
        let until = now + lease;
        let over = row.started_at.zip(own.or(timeout)).map(|(at, timeout)| at + timeout);
        let lease_until = over.map_or(until, |over| over.min(until));
        let mut rows = Rows::new(3, 1);
        rows.push([id.as_bytes().as_slice().into(), fence.into(), lease_until.into()]);
        let held = live::beat(tx, &rows)?;
        let (_, of) = held.first().ok_or(Error::LeaseLost(id))?;
        Ok(Beat { lease_until, cancel: of.get::<i64>(0)? & flags::CANCEL != 0 })
    }

    /// Cancels a job. Its children that wait are cancelled with it.
    pub(crate) fn cancel_in(
        &self,
        tx: &mut SystemTx<'_>,
        effects: &mut Vec<Effect>,
        mut row: JobRow,
    ) -> Result<(), Error> {
        if row.state == State::Running {
            row.flags |= flags::CANCEL;
            if !live::flag(tx, &row)? {
                return Err(db::Error::Busy.into());
            }
            let tenant = tenant_of(&row.tenant)?;
            effects.push(Effect::Cancel { id: row.id, queue: row.queue, tenant });
            return Ok(());
        }
        let children = if row.has(flags::PARENT) { parts::children(tx, row.id)? } else { Vec::new() };
        let end = Finish { status: JobStatus::Cancelled, result: None, error: None, why: None };
        self.finish(tx, effects, row, &end)?;
        for (child, ended) in children {
            if ended.is_none()
                && let Some(child) = live::read(tx, child)?
            {
                self.cancel_in(tx, effects, child)?;
            }
        }
        Ok(())
    }

    /// Takes a job out of those that have not ended, keeps it if that is wanted, and tells its parent.
    fn finish(
        &self,
        tx: &mut SystemTx<'_>,
        effects: &mut Vec<Effect>,
        row: JobRow,
        end: &Finish<'_>,
    ) -> Result<(), Error> {
        let now = self.now();
        let extras = Extras::read(row.options.as_deref())?;
        if !live::remove(tx, &row)? {
            return Err(Error::LeaseLost(row.id));
        }
        let keep = match extras.keep_ms {
            Some(own) => Duration::from_millis(own),
            None => self.keep(row.queue, end.status),
        };
        if keep.is_zero() {
            done::forget_parts(tx, row.id, row.flags)?;
        } else {
            let kept = done::End {
                status: end.status,
                at: now,
                keep_until: now + keep,
                result: end.result.map(Payload::as_str),
                error: end.error,
            };
            done::add(tx, &row, &kept)?;
        }
        if let Some(key) = &extras.unique {
            let key = parts::Key { queue: row.queue, tenant: &row.tenant, key };
            parts::give_back_key(tx, key, row.id, false)?;
        }
        let to = To::Ended {
            status: end.status,
            result: end.result.cloned(),
            error: end.error.map(str::to_owned),
        };
        effects.push(change(&row, Some(row.state), to, end.why.clone())?);
        match extras.parent {
            Some(parent) => self.tell_parent(tx, effects, parent, row.id, end.status),
            None => Ok(()),
        }
    }

    fn keep(&self, queue: i64, status: JobStatus) -> Duration {
        let keep = self.settings(queue, |settings| settings.keep).unwrap_or_default();
        match status {
            JobStatus::Completed => keep.completed.0,
            JobStatus::Dead => keep.dead.0,
            JobStatus::Cancelled | JobStatus::Waiting | JobStatus::Delayed | JobStatus::Active => {
                keep.cancelled.0
            }
        }
    }

    /// Counts a child as ended.
    #[expect(
        clippy::too_many_arguments,
        reason = "the transaction, what follows from it, and three things that are said"
    )]
    pub(crate) fn tell_parent(
        &self,
        tx: &mut SystemTx<'_>,
        effects: &mut Vec<Effect>,
        parent: JobId,
        child: JobId,
        status: JobStatus,
    ) -> Result<(), Error> {
        if !parts::end_child(tx, parent, child, status)? {
            return Ok(());
        }
        let Some(row) = live::read(tx, parent)?.filter(|row| row.state == State::Blocked) else {
            return Ok(());
        };
        let ignores = Extras::read(row.options.as_deref())?.ignore_children;
        if status != JobStatus::Completed && !ignores {
            let error = format!("its child {child} is {status}");
            let end = Finish { status: JobStatus::Dead, result: None, error: Some(&error), why: None };
            return self.finish(tx, effects, row, &end);
        }
        live::child_ended(tx, parent, self.now())?;
        // Read again: on PostgreSQL another child may have ended meanwhile.
        let Some(row) = live::read(tx, parent)? else { return Ok(()) };
        let to = match row.state {
            State::Ready => To::Ready(Box::new(self.memory.lock().entry(&row))),
            State::Later => To::Later(row.run_at),
            State::Blocked | State::Running => return Ok(()),
        };
        effects.push(change(&row, Some(State::Blocked), to, None)?);
        Ok(())
    }
}

/// A job that goes from one state (`None`: it had ended, or was elsewhere) to another.
pub(crate) fn change(row: &JobRow, from: Option<State>, to: To, why: Option<Why>) -> Result<Effect, Error> {
    Ok(Effect::Job(Box::new(Change {
        id: row.id,
        queue: row.queue,
        tenant: tenant_of(&row.tenant)?,
        bytes: row.bytes,
        priority: row.priority,
        key: row.key.as_deref().filter(|_| from == Some(State::Ready)).map(Into::into),
        attempt: row.attempt,
        fence: row.fence,
        from,
        to,
        why,
    })))
}
