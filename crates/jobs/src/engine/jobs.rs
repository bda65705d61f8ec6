//! One job: looked at, waited for, cancelled, retried, failed, told about.

use std::time::Duration;

use base::JobId;
use db::{Kind, SystemTx};
use tokio::sync::oneshot;

use super::effect::{Effect, To};
use super::ends::change;
use super::insert::unnamed;
use super::memory::tenant_of;
use super::{Engine, Inner};
use crate::model::job::{NOTE_BYTES_MAX, WAIT_MAX};
use crate::model::state::{Extras, State, flags};
use crate::store::done::DoneRow;
use crate::store::live::JobRow;
use crate::store::{done, live, parts};
use crate::{Beat, ChildView, Error, Failure, JobDetail, JobStatus, JobView, Payload, ProgressNote, Scope};

/// How often a job that another process may end is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Engine {
    /// Ends an attempt badly: the job is tried again after its pause, or is dead. Answers which (`Delayed`, `Waiting`,
    /// `Dead`, or `Cancelled` when that was asked for).
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::LeaseLost`], [`Error::Store`].
    pub async fn fail(
        &self,
        scope: Scope,
        id: JobId,
        fence: i64,
        failure: Failure,
    ) -> Result<JobStatus, Error> {
        let inner = self.0.clone();
        self.0.write(move |tx, effects| inner.fail_in(tx, effects, scope, (id, fence), &failure)).await
    }

    /// Tells how far a job is; extends its lease as well.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::LeaseLost`], [`Error::Invalid`], [`Error::Store`].
    #[expect(clippy::too_many_arguments, reason = "each is of another type and none is optional")]
    pub async fn progress(
        &self,
        scope: Scope,
        id: JobId,
        fence: i64,
        percent: u8,
        note: Option<String>,
    ) -> Result<Beat, Error> {
        if percent > 100 {
            return Err(Error::invalid("/percent", "0 to 100 is expected"));
        }
        let note = note.map(|note| telemetry::truncated(&note, NOTE_BYTES_MAX).to_owned());
        let inner = self.0.clone();
        let told = move |tx: &mut SystemTx<'_>, effects: &mut Vec<Effect>| {
            let mut row = inner.held(tx, scope, id, fence)?;
            if !row.has(flags::PROGRESS) {
                row.flags |= flags::PROGRESS;
                if !live::flag(tx, &row)? {
                    return Err(Error::LeaseLost(id));
                }
            }
            parts::set_progress(tx, id, &ProgressNote { percent, note: note.clone(), at: inner.now() })?;
            let (queue, attempt, tenant) = (row.queue, row.attempt, tenant_of(&row.tenant)?);
            effects.push(Effect::Progress { id, queue, tenant, attempt, percent, note: note.clone() });
            Ok(())
        };
        self.0.write(told).await?;
        match self.heartbeat(scope, vec![(id, fence)]).await?.pop() {
            Some(beat) => beat,
            None => Err(Error::NotFound),
        }
    }

    /// Gives jobs back unworked: the attempt does not count. One answer for each, in their order.
    ///
    /// # Errors
    /// As [`Engine::heartbeat`].
    pub async fn release(
        &self,
        scope: Scope,
        leases: Vec<(JobId, i64)>,
    ) -> Result<Vec<Result<JobStatus, Error>>, Error> {
        super::calls::check_leases(&leases)?;
        let inner = self.0.clone();
        let release = move |tx: &mut SystemTx<'_>, effects: &mut Vec<Effect>| {
            let mut results = Vec::with_capacity(leases.len());
            for held in &leases {
                results.push(match inner.release_in(tx, effects, scope, *held) {
                    Err(error @ Error::Store(_)) => return Err(error),
                    other => other,
                });
            }
            Ok(results)
        };
        self.0.write(release).await
    }

    /// Cancels: one that waits ends at once (`Cancelled`); the worker of one that runs is asked to stop (`Active`), and
    /// however the attempt ends but well, there is no other. Its waiting children are cancelled with it.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::NotWaiting`] when it has ended; [`Error::Store`].
    pub async fn cancel(&self, scope: Scope, id: JobId) -> Result<JobView, Error> {
        let inner = self.0.clone();
        let cancel = move |tx: &mut SystemTx<'_>, effects: &mut Vec<Effect>| {
            let Some(row) = live::read(tx, id)? else {
                let row = inner.ended(tx, scope, id)?;
                let wanted = "only a job that has not ended can be cancelled";
                return Err(Error::NotWaiting { id, status: row.status, wanted });
            };
            inner.check_sight(scope, row.queue, &row.tenant)?;
            let mut view = inner.live_view(&row)?;
            inner.cancel_in(tx, effects, row)?;
            if view.status != JobStatus::Active {
                view.status = JobStatus::Cancelled;
                view.finished_at = Some(inner.now());
            }
            Ok(view)
        };
        self.0.write(cancel).await
    }

    /// Makes a dead or cancelled job due again with all its attempts, and a delayed one due at once. A parent waits again for
    /// those of its children that have not ended, be it that they never had or that they were retried; and a parent that has
    /// not begun waits for a child that is retried.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::NotWaiting`] when it waits, runs or ended well; [`Error::Duplicate`] when its
    /// unique key was taken meanwhile; [`Error::Store`].
    pub async fn retry(&self, scope: Scope, id: JobId) -> Result<JobView, Error> {
        let inner = self.0.clone();
        let retry = move |tx: &mut SystemTx<'_>, effects: &mut Vec<Effect>| {
            let Some(mut row) = live::read(tx, id)? else {
                let row = inner.ended(tx, scope, id)?;
                return inner.retry_in(tx, effects, row);
            };
            inner.check_sight(scope, row.queue, &row.tenant)?;
            if row.state != State::Later {
                let wanted = "only a delayed, dead or cancelled job can be retried";
                return Err(Error::NotWaiting { id, status: row.state.status(), wanted });
            }
            row.state = State::Ready;
            row.run_at = inner.now();
            let view = inner.live_view(&row)?;
            inner.shift(tx, effects, State::Later, row, None)?;
            Ok(view)
        };
        self.0.write(retry).await
    }

    /// Everything about a job.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub async fn get(&self, scope: Scope, id: JobId) -> Result<JobDetail, Error> {
        let inner = self.0.clone();
        self.0.read(move |tx| inner.detail(tx, scope, id)).await
    }

    /// The same as soon as it has ended, or as it is when `up_to` (at most 60 s) is over.
    ///
    /// # Errors
    /// [`Error::NotFound`] (also when its queue keeps nothing and it had ended before), [`Error::Store`].
    pub async fn wait(&self, scope: Scope, id: JobId, up_to: Duration) -> Result<JobDetail, Error> {
        let clock = &self.0.clock;
        let end = clock.monotonic() + up_to.min(WAIT_MAX);
        let (tell, mut told) = oneshot::channel();
        // Listening begins before the look, so that an end between the two is not missed.
        self.0.memory.lock().watchers.entry(id).or_default().push(tell);
        let mut detail = self.get(scope, id).await?;
        while !detail.view.status.is_finished() {
            let left = end.saturating_sub(clock.monotonic());
            if left.is_zero() {
                break;
            }
            // Processes do not tell each other of ends; another's is found by looking.
            let pause = if self.0.db.kind() == Kind::Sqlite { left } else { left.min(LOOK_EVERY) };
            match tokio::time::timeout(pause, &mut told).await {
                Ok(Ok(finish)) => {
                    detail.view.status = finish.status;
                    detail.view.finished_at = Some(finish.at);
                    detail.result = finish.result;
                    detail.error = finish.error.or(detail.error);
                    detail.view.pending_children = 0;
                    // What is kept says more, such as the attempt in which it ended.
                    return Ok(self.get(scope, id).await.unwrap_or(detail));
                }
                Ok(Err(_)) => break,
                Err(_) if left <= pause => break,
                Err(_) => detail = self.get(scope, id).await?,
            }
        }
        if !detail.view.status.is_finished() {
            detail = self.get(scope, id).await.unwrap_or(detail);
        }
        drop(told);
        self.0.memory.lock().forget_watchers(id);
        Ok(detail)
    }
}

impl super::memory::Memory {
    fn forget_watchers(&mut self, id: JobId) {
        if let Some(watchers) = self.watchers.get_mut(&id) {
            watchers.retain(|watcher| !watcher.is_closed());
            if watchers.is_empty() {
                self.watchers.remove(&id);
            }
        }
    }
}

impl Inner {
    /// A job that has ended, as somebody in `scope` may see it.
    fn ended(&self, tx: &mut SystemTx<'_>, scope: Scope, id: JobId) -> Result<DoneRow, Error> {
        let row = done::read(tx, id)?.ok_or(Error::NotFound)?;
        self.check_sight(scope, row.queue, &row.tenant)?;
        Ok(row)
    }

    /// Makes a job that ended due again.
    pub(crate) fn retry_in(
        &self,
        tx: &mut SystemTx<'_>,
        effects: &mut Vec<Effect>,
        of: DoneRow,
    ) -> Result<JobView, Error> {
        let (id, now) = (of.id, self.now());
        if of.status == JobStatus::Completed {
            let wanted = "only a delayed, dead or cancelled job can be retried";
            return Err(Error::NotWaiting { id, status: of.status, wanted });
        }
        let extras = Extras::read(of.options.as_deref())?;
        if let Some(key) = &extras.unique {
            let key = parts::Key { queue: of.queue, tenant: &of.tenant, key };
            if let Some(existing) = parts::take_key(tx, key, id, None, now)?.filter(|holder| *holder != id) {
                return Err(Error::Duplicate { existing });
            }
        }
        if !done::remove(tx, id)? {
            return Err(db::Error::Busy.into());
        }
        let pending = if of.has(flags::PARENT) { parts::hold_children(tx, id)? } else { 0 };
        let row = JobRow {
            id,
            queue: of.queue,
            tenant: of.tenant,
            state: if pending > 0 { State::Blocked } else { State::Ready },
            priority: of.priority,
            run_at: now,
            attempt: 0,
            attempts: of.attempts,
            fence: of.fence,
            lease_until: None,
            started_at: None,
            created_at: of.created_at,
            flags: of.flags & !flags::CANCEL,
            bytes: of.bytes,
            pending,
            key: of.key,
            worker: None,
            payload: of.payload,
            options: of.options,
        };
        live::restore(tx, &row)?;
        let view = self.live_view(&row)?;
        let to = match row.state {
            State::Blocked => To::Blocked,
            _ => To::Ready(Box::new(self.memory.lock().entry(&row))),
        };
        effects.push(change(&row, None, to, None)?);
        if let Some(parent) = extras.parent {
            self.wait_for_child(tx, effects, parent, id)?;
        }
        Ok(view)
    }

    /// A child runs again: its parent hears of its end once more, and waits for it if it has not begun.
    fn wait_for_child(
        &self,
        tx: &mut SystemTx<'_>,
        effects: &mut Vec<Effect>,
        parent: JobId,
        child: JobId,
    ) -> Result<(), Error> {
        if !parts::reopen_child(tx, parent, child)? {
            return Ok(());
        }
        let Some(row) = live::read(tx, parent)? else { return Ok(()) };
        let waits = matches!(row.state, State::Blocked | State::Ready | State::Later) && row.attempt == 0;
        if waits && live::wait_again(tx, &row)? && row.state != State::Blocked {
            effects.push(change(&row, Some(row.state), To::Blocked, None)?);
        }
        Ok(())
    }

    pub(crate) fn view_in(&self, tx: &mut SystemTx<'_>, id: JobId) -> Result<JobView, Error> {
        match live::read(tx, id)? {
            Some(row) => self.live_view(&row),
            None => self.done_view(&done::read(tx, id)?.ok_or(Error::NotFound)?),
        }
    }

    fn queue_key(&self, number: i64) -> std::sync::Arc<crate::QueueKey> {
        self.memory.lock().numbered(number).map_or_else(unnamed, |queue| queue.key.clone())
    }

    fn live_view(&self, row: &JobRow) -> Result<JobView, Error> {
        Ok(JobView {
            id: row.id,
            queue: self.queue_key(row.queue),
            tenant: tenant_of(&row.tenant)?,
            status: row.state.status(),
            priority: row.priority,
            attempt: row.attempt,
            attempts: row.attempts,
            run_at: row.run_at,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: None,
            pending_children: row.pending,
            existing: false,
        })
    }

    fn done_view(&self, row: &DoneRow) -> Result<JobView, Error> {
        Ok(JobView {
            id: row.id,
            queue: self.queue_key(row.queue),
            tenant: tenant_of(&row.tenant)?,
            status: row.status,
            priority: row.priority,
            attempt: row.attempt,
            attempts: row.attempts,
            run_at: row.run_at,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: Some(row.finished_at),
            pending_children: 0,
            existing: false,
        })
    }

    fn detail(&self, tx: &mut SystemTx<'_>, scope: Scope, id: JobId) -> Result<JobDetail, Error> {
        let (mut detail, of) = match live::read(tx, id)? {
            Some(row) => {
                self.check_sight(scope, row.queue, &row.tenant)?;
                let of = row.flags;
                (self.live_detail(tx, row)?, of)
            }
            None => {
                let row = self.ended(tx, scope, id)?;
                let of = row.flags;
                (self.done_detail(tx, row)?, of)
            }
        };
        if of & flags::HISTORY != 0 {
            detail.history = parts::attempts(tx, id)?;
            if detail.error.is_none() && detail.view.status != JobStatus::Completed {
                detail.error = detail.history.last().map(|attempt| attempt.error.clone());
            }
        }
        if of & flags::PARENT != 0 {
            for (child, ended) in parts::children(tx, id)? {
                let kept = if ended.is_some() { done::read(tx, child)? } else { None };
                let result = kept.and_then(|row| row.result).map(Payload::from_json);
                detail.children.push(ChildView { id: child, ended, result });
            }
        }
        Ok(detail)
    }

    /// A job that has not ended, without children and history.
    pub(crate) fn live_detail(&self, tx: &mut SystemTx<'_>, row: JobRow) -> Result<JobDetail, Error> {
        let view = self.live_view(&row)?;
        let extras = Extras::read(row.options.as_deref())?;
        let timeout = extras
            .timeout()
            .or_else(|| self.settings(row.queue, |settings| settings.timeout).flatten().map(|time| time.0));
        let mut detail = bare(view, extras);
        detail.payload = payload(tx, row.id, row.flags, row.payload)?;
        detail.progress = if row.flags & flags::PROGRESS != 0 { parts::progress(tx, row.id)? } else { None };
        detail.key = row.key;
        detail.worker = row.worker;
        detail.lease_until = row.lease_until;
        detail.timeout = timeout;
        detail.cancel_asked = row.flags & flags::CANCEL != 0;
        Ok(detail)
    }

    /// A job that has ended, without children and history.
    pub(crate) fn done_detail(&self, tx: &mut SystemTx<'_>, row: DoneRow) -> Result<JobDetail, Error> {
        let view = self.done_view(&row)?;
        let mut detail = bare(view, Extras::read(row.options.as_deref())?);
        detail.progress = if row.has(flags::PROGRESS) { parts::progress(tx, row.id)? } else { None };
        detail.payload = payload(tx, row.id, row.flags, row.payload)?;
        detail.key = row.key;
        detail.worker = row.worker;
        detail.cancel_asked = row.flags & flags::CANCEL != 0;
        detail.result = row.result.map(Payload::from_json);
        detail.error = row.error;
        Ok(detail)
    }
}

fn payload(tx: &mut SystemTx<'_>, id: JobId, of: i64, inline: Option<String>) -> Result<Payload, Error> {
    let text = if of & flags::BIG != 0 { parts::body(tx, id)? } else { inline };
    Ok(text.map_or_else(Payload::null, Payload::from_json))
}

fn bare(view: JobView, extras: Extras) -> JobDetail {
    JobDetail {
        view,
        payload: Payload::null(),
        result: None,
        error: None,
        progress: None,
        key: None,
        unique: extras.unique.clone(),
        timeout: extras.timeout(),
        parent: extras.parent,
        tags: extras.tags,
        worker: None,
        lease_until: None,
        cancel_asked: false,
        children: Vec::new(),
        history: Vec::new(),
    }
}
