//! Operations on many jobs, in steps of a thousand, each a transaction.

use std::sync::Arc;
use std::time::Duration;

use base::{JobId, TenantId};
use db::{Param, Rows, SystemTx};
use ports::TenantRows;

use super::effect::{Effect, To};
use super::ends::change;
use super::memory::tenant_of;
use super::{Engine, Inner};
use crate::model::state::{Extras, State, flags};
use crate::store::live::JobRow;
use crate::store::scan::{self, Place, Scan};
use crate::store::{claims, done, parts};
use crate::{
    Draft, Error, JobDetail, JobFilter, JobStatus, OnDuplicate, Payload, QueueKey, Scope, Swept, Unique,
};

/// Jobs of one step: a transaction of some 10 to 50 ms.
const STEP: i64 = 1_000;
/// How long one call goes on making steps. What is left is told, and done by the next call. Callers wait twice as long.
const STEPS_TIME_MAX: Duration = Duration::from_secs(60);
/// Tenants that are being removed, part by part, whose places are remembered. One that is not begins at the beginning.
const LEAVING_MAX: usize = 100;
/// Jobs of one page of a list, and one more to know whether there are others.
const LIST_MAX: u32 = 501;
/// Rows that a list reads at once in search of what a filter means.
const SEARCH_ROWS: i64 = 500;
/// Times that it does so in one call; where it stands then is told, and the next call goes on from there.
const PAGES_MAX: u32 = 50;

/// How far a call goes.
#[derive(Clone, Copy)]
struct Sweep {
    place: Place,
    /// Jobs.
    limit: u64,
    time_max: Duration,
}

/// A second call would begin at the first job again: all is done in one, as long as the caller waits.
const REPLAY: Sweep = Sweep { place: Place::Done, limit: u64::MAX, time_max: Duration::MAX };

impl Sweep {
    const fn of(place: Place) -> Sweep {
        Sweep { place, limit: u64::MAX, time_max: STEPS_TIME_MAX }
    }
}

/// A part of a list.
#[derive(Debug)]
pub struct Listed {
    /// Newest first; without children and history.
    pub jobs: Vec<JobDetail>,
    /// Where the search ended before the list did: what the filter means beyond this job was not looked for.
    pub stopped_at: Option<JobId>,
}

/// What a search found, and where it stopped when that was before its end and before it had found enough.
type Found = (Vec<JobDetail>, Option<JobId>);

/// What a step may do.
struct Room<'a> {
    scan: &'a Scan,
    /// Jobs, over all steps that are left.
    left: u64,
}

impl Engine {
    /// Up to `limit` (at most 501) jobs of a queue by id, after `after`, newest first. A filter that the store cannot decide (by
    /// tag, error, id or time) looks at 25,000 jobs at most, and says where it stopped.
    ///
    /// # Errors
    /// [`Error::QueueUnknown`], [`Error::Store`].
    #[expect(clippy::too_many_arguments, reason = "each is of another type and none is optional")]
    pub async fn list(
        &self,
        queue: &QueueKey,
        scope: Scope,
        filter: JobFilter,
        after: Option<JobId>,
        limit: u32,
    ) -> Result<Listed, Error> {
        let limit = limit.clamp(1, LIST_MAX) as usize;
        let Some(mut scan) = self.0.scan(queue, scope, filter)? else {
            return Ok(Listed { jobs: Vec::new(), stopped_at: None });
        };
        scan.newest_first = true;
        scan.after = after;
        scan.limit = if scan.is_decided_by_rows() { SEARCH_ROWS } else { limit as i64 };
        let inner = self.0.clone();
        let list = move |tx: &mut SystemTx<'_>| {
            let (mut jobs, live) = inner.list_live(tx, &scan, limit)?;
            let (ended, done) = inner.list_done(tx, &scan, limit)?;
            jobs.extend(ended);
            jobs.sort_by_key(|detail: &JobDetail| std::cmp::Reverse(detail.view.id));
            // Both were looked through as far as the one that came less far.
            let stopped_at = live.max(done);
            jobs.retain(|detail| stopped_at.is_none_or(|at| detail.view.id >= at));
            jobs.truncate(limit);
            Ok(Listed { jobs, stopped_at })
        };
        self.0.read(list).await
    }

    /// Removes all that waits or is delayed, without a trace: what there was when it began.
    ///
    /// # Errors
    /// [`Error::QueueUnknown`], [`Error::Store`]; what was done stays done.
    pub async fn drain(&self, queue: &QueueKey, scope: Scope) -> Result<Swept, Error> {
        let inner = self.0.clone();
        let from = self.0.scan(queue, scope, JobFilter::default())?;
        self.steps(Sweep::of(Place::Live), from, move |tx, effects, Room { scan, .. }| {
            let rows = scan::live(tx, scan)?;
            let waiting: Vec<JobRow> = rows.into_iter().filter(|row| row.state != State::Running).collect();
            inner.remove_in(tx, effects, waiting)
        })
        .await
    }

    /// Forgets finished jobs that meet the filter.
    ///
    /// # Errors
    /// [`Error::QueueUnknown`], [`Error::Store`].
    pub async fn purge(&self, queue: &QueueKey, scope: Scope, filter: JobFilter) -> Result<Swept, Error> {
        let from = self.0.scan(queue, scope, filter)?;
        self.steps(Sweep::of(Place::Done), from, |tx, _, Room { scan, .. }| {
            let rows = scan::done(tx, scan)?;
            let meant: Vec<(JobId, i64)> =
                rows.iter().filter(|row| scan.means_done(row)).map(|row| (row.id, row.flags)).collect();
            Ok(done::forget_many(tx, &meant)?)
        })
        .await
    }

    /// Moves waiting and delayed jobs that meet the filter to another queue of the same environment, in their order. One
    /// whose unique key is taken there stays where it is.
    ///
    /// # Errors
    /// [`Error::QueueUnknown`] for either, [`Error::Store`].
    pub async fn move_to(
        &self,
        queue: &QueueKey,
        scope: Scope,
        filter: JobFilter,
        to: &QueueKey,
    ) -> Result<Swept, Error> {
        let target = {
            let mut memory = self.0.memory.lock();
            let slot = memory.find(to, Some(scope))?;
            memory.queue(slot).map(|queue| queue.number).ok_or(Error::NotFound)?
        };
        if to == queue {
            return Ok(Swept::default());
        }
        let inner = self.0.clone();
        let from = self.0.scan(queue, scope, filter)?;
        self.steps(Sweep::of(Place::Live), from, move |tx, effects, Room { scan, .. }| {
            let rows = scan::live(tx, scan)?;
            let meant = rows.into_iter().filter(|row| row.state != State::Running && scan.means_live(row));
            inner.move_in(tx, effects, meant.collect(), target)
        })
        .await
    }

    /// Makes new jobs of finished ones that meet the filter, with the same payload and options. One whose unique key is taken
    /// is left out.
    ///
    /// # Errors
    /// [`Error::QueueUnknown`], [`Error::QueueFull`], [`Error::Store`].
    pub async fn replay(&self, queue: &QueueKey, scope: Scope, filter: JobFilter) -> Result<Swept, Error> {
        let (inner, key) = (self.0.clone(), queue.clone());
        let from = self.0.scan(queue, scope, filter)?;
        self.steps(REPLAY, from, move |tx, effects, Room { scan, .. }| {
            let rows = scan::done(tx, scan)?;
            let drafts = rows
                .into_iter()
                .filter(|row| scan.means_done(row))
                .map(|row| again(tx, row))
                .collect::<Result<Vec<_>, _>>()?;
            let made = inner.insert_in(tx, effects, &key, scope, &drafts)?;
            Ok(made.iter().filter(|job| !job.existing).count() as u64)
        })
        .await
    }

    /// Makes up to `limit` dead jobs that meet the filter due again, oldest first, with all their attempts. One whose
    /// unique key was taken meanwhile stays dead.
    ///
    /// # Errors
    /// [`Error::QueueUnknown`], [`Error::Store`].
    pub async fn retry_dead(
        &self,
        queue: &QueueKey,
        scope: Scope,
        filter: JobFilter,
        limit: u64,
    ) -> Result<Swept, Error> {
        let inner = self.0.clone();
        let filter = JobFilter { status: Some(JobStatus::Dead), ..filter };
        let from = self.0.scan(queue, scope, filter)?;
        self.steps(
            Sweep { limit, ..Sweep::of(Place::Done) },
            from,
            move |tx, effects, Room { scan, left }| {
                let rows = scan::done(tx, scan)?;
                let mut done = 0;
                for row in rows.into_iter().filter(|row| scan.means_done(row)) {
                    if done >= left {
                        break;
                    }
                    match inner.retry_in(tx, effects, row) {
                        Ok(_) => done += 1,
                        Err(Error::Duplicate { .. }) => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(done)
            },
        )
        .await
    }

    /// Goes up through the jobs that there were when it began: others that are made meanwhile are not met, so it ends.
    async fn steps<F>(&self, sweep: Sweep, from: Option<Scan>, f: F) -> Result<Swept, Error>
    where
        F: Fn(&mut SystemTx<'_>, &mut Vec<Effect>, Room<'_>) -> Result<u64, Error> + Send + Sync + 'static,
    {
        let mut swept = Swept::default();
        let Some(mut scan) = from else { return Ok(swept) };
        let Sweep { place, limit, time_max } = sweep;
        scan.until = Some(self.0.newest());
        let began = self.0.clock.monotonic();
        let f = Arc::new(f);
        while swept.count < limit {
            if self.0.clock.monotonic().saturating_sub(began) > time_max {
                swept.more = true;
                break;
            }
            let (page, f, left) = (scan.clone(), f.clone(), limit - swept.count);
            let step = self.0.write(move |tx, effects| {
                let mut page = page.clone();
                let reach = scan::reach(tx, place, &page)?;
                page.until = reach.or(page.until);
                Ok((f(tx, effects, Room { scan: &page, left })?, reach))
            });
            let (done, reach) = step.await?;
            swept.count += done;
            match reach {
                Some(reach) => scan.after = Some(reach),
                None => break,
            }
        }
        Ok(swept)
    }
}

impl Inner {
    /// An id after all that were made until now, here or by another process: ids begin with their time (RFC 9562, version
    /// 7), or run before it where they are made faster than it passes.
    fn newest(&self) -> JobId {
        let now = self.now().max(self.clock.now());
        let mut id = [0xff; 16];
        let millis = u64::try_from(now.micros() / 1_000).unwrap_or_default();
        id[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
        self.memory.lock().ids.next(now).max(JobId::from_uuid_bytes(id))
    }

    /// What a filter asks of a queue; `None` when it can mean nothing.
    fn scan(&self, queue: &QueueKey, scope: Scope, filter: JobFilter) -> Result<Option<Scan>, Error> {
        let mut memory = self.memory.lock();
        let slot = memory.find(queue, Some(scope))?;
        let number = memory.queue(slot).map(|queue| queue.number).ok_or(Error::NotFound)?;
        let tenant = match (scope.tenant(), filter.tenant) {
            (Some(own), Some(wanted)) if own != wanted => return Ok(None),
            (own, wanted) => own.or(wanted).map(|tenant| tenant.to_string()).unwrap_or_default(),
        };
        Ok(Some(Scan {
            queue: number,
            tenant,
            filter,
            after: None,
            until: None,
            newest_first: false,
            limit: STEP,
        }))
    }

    fn list_live(&self, tx: &mut SystemTx<'_>, scan: &Scan, limit: usize) -> Result<Found, Error> {
        let page = |tx: &mut SystemTx<'_>, scan: &Scan| {
            let rows = scan::live(tx, scan)?.into_iter();
            Ok(rows.map(|row| (row.id, scan.means_live(&row).then_some(row))).collect())
        };
        list(tx, scan, limit, page, |tx, row| self.live_detail(tx, row))
    }

    fn list_done(&self, tx: &mut SystemTx<'_>, scan: &Scan, limit: usize) -> Result<Found, Error> {
        let page = |tx: &mut SystemTx<'_>, scan: &Scan| {
            let rows = scan::done(tx, scan)?.into_iter();
            Ok(rows.map(|row| (row.id, scan.means_done(&row).then_some(row))).collect())
        };
        list(tx, scan, limit, page, |tx, row| self.done_detail(tx, row))
    }

    /// Removes jobs that do not run, without a trace.
    pub(crate) fn remove_in(
        &self,
        tx: &mut SystemTx<'_>,
        effects: &mut Vec<Effect>,
        rows: Vec<JobRow>,
    ) -> Result<u64, Error> {
        if rows.is_empty() {
            return Ok(0);
        }
        let mut params = Rows::new(3, rows.len());
        for row in &rows {
            params.push([Param::Blob(row.id.as_bytes()), row.fence.into(), row.state.number().into()]);
        }
        let hits = scan::remove(tx, &params)?;
        for (_, row) in rows.iter().enumerate().filter(|(index, _)| hits.is_hit(*index)) {
            if row.has(flags::SLOW) {
                self.remove_parts(tx, effects, row)?;
            }
            effects.push(change(row, Some(row.state), To::Away, None)?);
        }
        Ok(hits.count() as u64)
    }

    fn remove_parts(
        &self,
        tx: &mut SystemTx<'_>,
        effects: &mut Vec<Effect>,
        row: &JobRow,
    ) -> Result<(), Error> {
        let extras = Extras::read(row.options.as_deref())?;
        done::forget_parts(tx, row.id, row.flags)?;
        if let Some(key) = &extras.unique {
            let key = parts::Key { queue: row.queue, tenant: &row.tenant, key };
            parts::give_back_key(tx, key, row.id, true)?;
        }
        match extras.parent {
            Some(parent) => self.tell_parent(tx, effects, parent, row.id, JobStatus::Cancelled),
            None => Ok(()),
        }
    }

    fn move_in(
        &self,
        tx: &mut SystemTx<'_>,
        effects: &mut Vec<Effect>,
        rows: Vec<JobRow>,
        target: i64,
    ) -> Result<u64, Error> {
        let now = self.now();
        let mut movable = Vec::with_capacity(rows.len());
        for row in rows {
            if row.has(flags::UNIQUE) {
                let extras = Extras::read(row.options.as_deref())?;
                let key = extras.unique.as_deref().unwrap_or_default();
                let until =
                    extras.within_ms.map(|within| row.created_at + std::time::Duration::from_millis(within));
                let there = parts::Key { queue: target, tenant: &row.tenant, key };
                if parts::take_key(tx, there, row.id, until, now)?.is_some() {
                    continue;
                }
                let here = parts::Key { queue: row.queue, tenant: &row.tenant, key };
                parts::give_back_key(tx, here, row.id, true)?;
            }
            movable.push(row);
        }
        if movable.is_empty() {
            return Ok(0);
        }
        let mut params = Rows::new(4, movable.len());
        for row in &movable {
            params.push([
                Param::Blob(row.id.as_bytes()),
                row.fence.into(),
                row.state.number().into(),
                target.into(),
            ]);
        }
        let hits = scan::requeue(tx, &params)?;
        let memory = self.memory.lock();
        for (index, mut row) in movable.into_iter().enumerate() {
            if hits.is_hit(index) {
                effects.push(change(&row, Some(row.state), To::Away, None)?);
                row.queue = target;
                let to = match row.state {
                    State::Later => To::Later(row.run_at),
                    State::Blocked | State::Running => To::Blocked,
                    State::Ready => To::Ready(Box::new(memory.entry(&row))),
                };
                effects.push(change(&row, None, to, None)?);
            }
        }
        Ok(hits.count() as u64)
    }
}

/// Goes through pages of rows, each there when it is meant, until there are `limit` jobs, no more rows, or [`PAGES_MAX`]
/// pages are read.
fn list<R>(
    tx: &mut SystemTx<'_>,
    scan: &Scan,
    limit: usize,
    page: impl Fn(&mut SystemTx<'_>, &Scan) -> Result<Vec<(JobId, Option<R>)>, Error>,
    detail: impl Fn(&mut SystemTx<'_>, R) -> Result<JobDetail, Error>,
) -> Result<Found, Error> {
    let (mut details, mut scan) = (Vec::new(), scan.clone());
    for _ in 0..PAGES_MAX {
        let rows = page(tx, &scan)?;
        let ended = (rows.len() as i64) < scan.limit;
        scan.after = rows.last().map(|(id, _)| *id).or(scan.after);
        for row in rows.into_iter().filter_map(|(_, row)| row) {
            if details.len() == limit {
                return Ok((details, None));
            }
            details.push(detail(tx, row)?);
        }
        if ended || details.len() == limit {
            return Ok((details, None));
        }
    }
    Ok((details, scan.after))
}

/// The same job once more, without its place in a flow.
fn again(tx: &mut SystemTx<'_>, row: crate::store::done::DoneRow) -> Result<Draft, Error> {
    let extras = Extras::read(row.options.as_deref())?;
    let text = if row.has(flags::BIG) { parts::body(tx, row.id)? } else { row.payload };
    let millis = std::time::Duration::from_millis;
    Ok(Draft {
        tenant: tenant_of(&row.tenant)?,
        priority: Some(row.priority),
        attempts: Some(row.attempts),
        backoff: extras.backoff,
        timeout: extras.timeout_ms.map(millis),
        unique: extras.unique.map(|key| Unique {
            key,
            within: extras.within_ms.map(millis),
            on_duplicate: OnDuplicate::Existing,
        }),
        key: row.key,
        tags: extras.tags,
        keep: extras.keep_ms.map(millis),
        ..Draft::new(text.map_or_else(Payload::null, Payload::from_json))
    })
}

impl TenantRows for Engine {
    fn remove(&self, tx: &mut SystemTx<'_>, tenant: TenantId) -> Result<(), db::Error> {
        let mut effects = Vec::new();
        let gone = self.0.remove_tenant(tx, &mut effects, tenant);
        let inner = self.0.clone();
        tx.after_commit(move || inner.apply(effects));
        gone.map_err(of_store)
    }

    /// Where it goes on is only remembered, so that not each part walks past the jobs of others that the part before walked
    /// past; what came in behind that place is left to [`TenantRows::remove`].
    fn remove_part(&self, tx: &mut SystemTx<'_>, tenant: TenantId, limit: u32) -> Result<u64, db::Error> {
        let mut effects = Vec::new();
        let place = self.0.leaving.lock().get(&tenant).cloned().unwrap_or_default();
        let (count, place) =
            self.0.remove_part(tx, &mut effects, (tenant, place), i64::from(limit)).map_err(of_store)?;
        let inner = self.0.clone();
        tx.after_commit(move || {
            inner.apply(effects);
            let mut leaving = inner.leaving.lock();
            if leaving.len() >= LEAVING_MAX {
                leaving.clear();
            }
            match place {
                Some(place) => drop(leaving.insert(tenant, place)),
                None => drop(leaving.remove(&tenant)),
            }
        });
        Ok(count)
    }
}

fn of_store(error: Error) -> db::Error {
    match error {
        Error::Store(error) => error,
        other => db::Error::Decode(other.to_string()),
    }
}

/// Where the removal of a tenant goes on.
#[derive(Debug, Clone, Default)]
pub(super) struct Leaving {
    /// Whether those that have not ended are gone.
    ended: bool,
    /// The last id that was looked at.
    after: Vec<u8>,
}

impl Inner {
    /// Removes up to `limit` jobs of a tenant after a place; answers how many, and where it goes on: `None` at the end.
    fn remove_part(
        &self,
        tx: &mut SystemTx<'_>,
        effects: &mut Vec<Effect>,
        (tenant, mut place): (TenantId, Leaving),
        limit: i64,
    ) -> Result<(u64, Option<Leaving>), Error> {
        let text = tenant.to_string();
        claims::take_over(tx)?;
        if !place.ended {
            let rows = scan::live_of_tenant(tx, &text, &place.after, limit)?;
            match rows.last() {
                Some(last) => {
                    let (count, after) = (rows.len() as u64, last.id.as_bytes().to_vec());
                    self.remove_in(tx, effects, rows)?;
                    return Ok((count, Some(Leaving { ended: false, after })));
                }
                None => place = Leaving { ended: true, after: Vec::new() },
            }
        }
        let jobs = scan::done_of_tenant(tx, &text, &place.after, limit)?;
        let Some((last, _)) = jobs.last() else { return Ok((0, None)) };
        let after = last.as_bytes().to_vec();
        done::forget_many(tx, &jobs)?;
        Ok((jobs.len() as u64, Some(Leaving { ended: true, after })))
    }

    fn remove_tenant(
        &self,
        tx: &mut SystemTx<'_>,
        effects: &mut Vec<Effect>,
        tenant: TenantId,
    ) -> Result<(), Error> {
        let text = tenant.to_string();
        claims::take_over(tx)?;
        let mut after = Vec::new();
        loop {
            let rows = scan::live_of_tenant(tx, &text, &after, STEP)?;
            let Some(last) = rows.last() else { break };
            after = last.id.as_bytes().to_vec();
            self.remove_in(tx, effects, rows)?;
        }
        after.clear();
        loop {
            let jobs = scan::done_of_tenant(tx, &text, &after, STEP)?;
            let Some((last, _)) = jobs.last() else { return Ok(()) };
            after = last.as_bytes().to_vec();
            done::forget_many(tx, &jobs)?;
        }
    }
}
