//! Jobs into the store.

use std::sync::Arc;

use base::{JobId, Slug, TenantId, Timestamp};
use db::SystemTx;

use super::Inner;
use super::batch::{insert, new_entry};
use super::effect::{Change, Effect, To};
use super::memory::{Memory, PAYLOAD_INLINE_MAX, tenant_of};
use super::plan::NewRow;
use crate::model::draft::{DRAFTS_MAX, PRIORITY_DEFAULT};
use crate::model::state::{Extras, State, flags};
use crate::store::{claims, parts};
use crate::{Draft, Error, JobView, OnChildFailure, OnDuplicate, QueueKey, Scope};

/// When to try again with a full queue: some thousands of jobs later.
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(1);

/// Says what is wrong with the drafts of one call.
pub(crate) fn check(drafts: &[Draft]) -> Result<(), Error> {
    let total: usize = drafts.iter().map(Draft::count).sum();
    if total > DRAFTS_MAX {
        return Err(Error::invalid(
            "/jobs",
            format!("at most {DRAFTS_MAX} jobs, children too, are expected"),
        ));
    }
    // The place of a fault is written only where there is one.
    drafts.iter().enumerate().try_for_each(|(index, draft)| match draft.check("") {
        Err(Error::Invalid { pointer, detail }) => {
            Err(Error::Invalid { pointer: format!("/jobs/{index}{pointer}"), detail })
        }
        other => other,
    })
}

/// Where a draft stands in its flow.
#[derive(Clone, Copy)]
struct Spot {
    slot: usize,
    tenant: Option<TenantId>,
    parent: Option<JobId>,
}

/// A job of a flow and its unique key's rule.
struct Planned {
    row: NewRow,
    /// Its place among the drafts of the call when it has no parent.
    top: Option<usize>,
    parent: Option<JobId>,
    on_duplicate: Option<OnDuplicate>,
    within: Option<Timestamp>,
}

impl Memory {
    /// The rows of drafts that have nothing beside them, and what their producer is told.
    pub(crate) fn rows(
        &mut self,
        slot: usize,
        scope: Scope,
        drafts: Vec<Draft>,
        now: Timestamp,
    ) -> Result<(Vec<NewRow>, Vec<JobView>), Error> {
        let mut rows = Vec::with_capacity(drafts.len());
        let mut views = Vec::with_capacity(drafts.len());
        for draft in &drafts {
            let tenant = tenant(scope, draft.tenant)?;
            let row = self.row(Spot { slot, tenant, parent: None }, draft, now);
            views.push(self.view_of(&row, tenant));
            rows.push(row);
        }
        Ok((rows, views))
    }

    fn row(&mut self, spot: Spot, draft: &Draft, now: Timestamp) -> NewRow {
        let id = self.ids.next(now);
        let run_at = draft.run_at.or(draft.delay.map(|delay| now + delay)).unwrap_or(now);
        let extras = extras(draft, spot.parent);
        let options = extras.as_ref().and_then(|extras| extras.write());
        let mut of = 0;
        let big = draft.payload.len() > PAYLOAD_INLINE_MAX;
        for (flag, is_so) in [
            (flags::BIG, big),
            (flags::UNIQUE, draft.unique.is_some()),
            (flags::CHILD, spot.parent.is_some()),
            (flags::PARENT, !draft.children.is_empty()),
            (flags::KEEP, draft.keep.is_some()),
        ] {
            of |= if is_so { flag } else { 0 };
        }
        let state = match () {
            () if !draft.children.is_empty() => State::Blocked,
            () if run_at > now => State::Later,
            () => State::Ready,
        };
        let pending = u32::try_from(draft.children.len()).unwrap_or(u32::MAX);
        let (lane, queue, (text, lane_number), attempts) = match self.queue(spot.slot) {
            Some(queue) => {
                let lane = queue.lane(spot.tenant);
                let of = &queue.lanes[lane as usize];
                let attempts = draft.attempts.unwrap_or(queue.settings.retry.attempts);
                (lane, queue.number, (of.text.clone(), of.number), attempts)
            }
            // The slot was found under the same lock.
            None => (0, 0, (Arc::from(db::SYSTEM_SCOPE), 0), 1),
        };
        NewRow {
            slot: spot.slot,
            lane,
            queue,
            tenant: text,
            lane_number,
            id,
            state,
            priority: draft.priority.unwrap_or(PRIORITY_DEFAULT),
            run_at: run_at.max(Timestamp::from_micros(0)),
            attempts,
            created_at: now,
            flags: of,
            pending,
            key: draft.key.as_deref().map(Into::into),
            payload: draft.payload.clone(),
            extras,
            options,
        }
    }

    fn view_of(&mut self, row: &NewRow, tenant: Option<TenantId>) -> JobView {
        let key = self.queue(row.slot).map(|queue| queue.key.clone());
        JobView {
            id: row.id,
            queue: key.unwrap_or_else(unnamed),
            tenant,
            status: row.state.status(),
            priority: row.priority,
            attempt: 0,
            attempts: row.attempts,
            run_at: row.run_at,
            created_at: row.created_at,
            started_at: None,
            finished_at: None,
            pending_children: row.pending,
            existing: false,
        }
    }

    /// Promises room for all rows, or for none.
    pub(crate) fn reserve(&mut self, rows: &[NewRow]) -> Result<(), Error> {
        for (index, row) in rows.iter().enumerate() {
            if let Err(error) = self.room(row) {
                rows[..index].iter().for_each(|taken| self.unpromise(taken));
                return Err(error);
            }
            if let Some(queue) = self.queue(row.slot) {
                let bytes = row.payload.len() as u64;
                queue.coming += 1;
                queue.bytes += bytes;
                let lane = &mut queue.lanes[row.lane as usize];
                lane.coming += 1;
                lane.bytes += bytes;
            }
        }
        Ok(())
    }

    /// Whether there is room for one more.
    fn room(&mut self, row: &NewRow) -> Result<(), Error> {
        let bytes = row.payload.len() as u64;
        let Some(queue) = self.queue(row.slot) else { return Ok(()) };
        let (settings, lane) = (&queue.settings, &queue.lanes[row.lane as usize]);
        let full = if queue.waiting() >= settings.max_jobs {
            "it holds as many jobs as it may"
        } else if queue.bytes + bytes > settings.max_bytes.0 {
            "it holds as many bytes as it may"
        } else if lane.waiting() >= settings.tenant_max_jobs {
            "it holds as many jobs of this tenant as it may"
        } else if lane.bytes + bytes > settings.tenant_max_bytes.0 {
            "it holds as many bytes of this tenant as it may"
        } else {
            return Ok(());
        };
        let queue = queue.key.name.to_string();
        Err(Error::QueueFull { queue, what: full.to_owned(), retry_after: RETRY_AFTER })
    }

    fn unpromise(&mut self, row: &NewRow) {
        let bytes = row.payload.len() as u64;
        if let Some(queue) = self.queue(row.slot) {
            queue.coming = queue.coming.saturating_sub(1);
            queue.bytes = queue.bytes.saturating_sub(bytes);
            let lane = &mut queue.lanes[row.lane as usize];
            lane.coming = lane.coming.saturating_sub(1);
            lane.bytes = lane.bytes.saturating_sub(bytes);
        }
    }

    /// The rows of drafts with all below them, parents first.
    fn flow(
        &mut self,
        key: &QueueKey,
        scope: Scope,
        drafts: &[Draft],
        now: Timestamp,
    ) -> Result<Vec<Planned>, Error> {
        let mut planned = Vec::new();
        let mut left: Vec<(Option<usize>, &Draft, Spot)> = Vec::new();
        let slot = self.find(key, Some(scope))?;
        for (index, draft) in drafts.iter().enumerate().rev() {
            let tenant = tenant(scope, draft.tenant)?;
            left.push((Some(index), draft, Spot { slot, tenant, parent: None }));
        }
        while let Some((top, draft, mut spot)) = left.pop() {
            if let Some(name) = &draft.queue {
                spot.slot = self.find(&named(key, name), Some(scope))?;
            }
            let (slot, parent) = (spot.slot, spot.parent);
            let row = self.row(spot, draft, now);
            for child in draft.children.iter().rev() {
                let tenant = tenant(scope, child.tenant.or(spot.tenant))?;
                left.push((None, child, Spot { slot, tenant, parent: Some(row.id) }));
            }
            let unique = draft.unique.as_ref();
            planned.push(Planned {
                row,
                top,
                parent,
                on_duplicate: unique.map(|unique| unique.on_duplicate),
                within: unique.and_then(|unique| unique.within).map(|within| now + within),
            });
        }
        for job in &planned {
            self.room(&job.row)?;
        }
        Ok(planned)
    }
}

fn named(beside: &QueueKey, name: &Slug) -> QueueKey {
    QueueKey { environment: beside.environment, name: name.clone() }
}

pub(crate) fn unnamed() -> Arc<QueueKey> {
    Arc::new(QueueKey { environment: None, name: Slug::parse("removed").expect("it is a slug") })
}

/// Whose a job is.
fn tenant(scope: Scope, wanted: Option<TenantId>) -> Result<Option<TenantId>, Error> {
    match (scope.tenant(), wanted) {
        (None, wanted) => Ok(wanted),
        (Some(own), Some(wanted)) if wanted != own => Err(Error::NotFound),
        (own, _) => Ok(own),
    }
}

fn extras(draft: &Draft, parent: Option<JobId>) -> Option<Arc<Extras>> {
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    if draft.tags.is_empty()
        && draft.backoff.is_none()
        && draft.timeout.is_none()
        && draft.unique.is_none()
        && draft.keep.is_none()
        && parent.is_none()
        && draft.on_child_failure == OnChildFailure::Fail
    {
        return None;
    }
    Some(Arc::new(Extras {
        backoff: draft.backoff,
        timeout_ms: draft.timeout.map(millis),
        tags: draft.tags.clone(),
        unique: draft.unique.as_ref().map(|unique| unique.key.clone()),
        within_ms: draft.unique.as_ref().and_then(|unique| unique.within).map(millis),
        parent,
        keep_ms: draft.keep.map(millis),
        ignore_children: draft.on_child_failure == OnChildFailure::Ignore,
    }))
}

impl Inner {
    /// Makes jobs of all kinds inside a transaction.
    #[expect(
        clippy::too_many_arguments,
        reason = "the transaction, what follows from it, and three things that are said"
    )]
    pub(crate) fn insert_in(
        &self,
        tx: &mut SystemTx<'_>,
        effects: &mut Vec<Effect>,
        key: &QueueKey,
        scope: Scope,
        drafts: &[Draft],
    ) -> Result<Vec<JobView>, Error> {
        let now = self.now();
        let mut planned = self.memory.lock().flow(key, scope, drafts, now)?;
        if planned.iter().any(|job| job.on_duplicate.is_some()) {
            // The job that has the key is told as it is.
            claims::take_over(tx)?;
        }
        let mut views: Vec<Option<JobView>> = vec![None; drafts.len()];
        let known = self.take_keys(tx, &planned, now)?;
        if !known.is_empty() {
            for (id, existing) in &known {
                let job = planned.iter().find(|job| job.row.id == *id);
                if let Some(top) = job.and_then(|job| job.top) {
                    let mut view = self.view_in(tx, *existing)?;
                    view.existing = true;
                    views[top] = Some(view);
                }
            }
            without(&mut planned, &known);
        }
        self.write_rows(tx, &planned)?;
        let mut memory = self.memory.lock();
        for job in &planned {
            let of = tenant_of(&job.row.tenant)?;
            if let Some(top) = job.top {
                views[top] = Some(memory.view_of(&job.row, of));
            }
            effects.push(added(&job.row, of));
        }
        Ok(views.into_iter().flatten().collect())
    }

    /// Takes the unique keys of new jobs. Answers those that stay as they are, with the jobs that are there instead.
    fn take_keys(
        &self,
        tx: &mut SystemTx<'_>,
        planned: &[Planned],
        now: Timestamp,
    ) -> Result<Vec<(JobId, JobId)>, Error> {
        let (mut known, mut left_out) = (Vec::new(), Vec::new());
        for (index, job) in planned.iter().enumerate() {
            if job.parent.is_some_and(|parent| left_out.contains(&parent)) {
                left_out.push(job.row.id);
                continue;
            }
            let Some((rule, key)) = job.on_duplicate.zip(unique_key(&job.row)) else { continue };
            let Some(existing) = parts::take_key(tx, key, job.row.id, job.within, now)? else { continue };
            if rule == OnDuplicate::Existing && job.top.is_some() {
                known.push((job.row.id, existing));
                left_out.push(job.row.id);
                continue;
            }
            // Whoever goes on with the transaction after the refusal finds it as it was.
            for taken in &planned[..index] {
                if let Some(key) = unique_key(&taken.row) {
                    parts::give_back_key(tx, key, taken.row.id, true)?;
                }
            }
            return Err(Error::Duplicate { existing });
        }
        Ok(known)
    }

    fn write_rows(&self, tx: &mut SystemTx<'_>, planned: &[Planned]) -> Result<(), Error> {
        insert(tx, planned.iter().map(|job| &job.row))?;
        for job in planned {
            if let Some(parent) = job.parent {
                parts::add_child(tx, parent, job.row.id)?;
            }
        }
        Ok(())
    }
}

fn unique_key(row: &NewRow) -> Option<parts::Key<'_>> {
    let key = row.extras.as_ref()?.unique.as_deref()?;
    Some(parts::Key { queue: row.queue, tenant: &row.tenant, key })
}

/// Leaves out jobs that are there already, with all below them.
fn without(planned: &mut Vec<Planned>, known: &[(JobId, JobId)]) {
    let mut gone: Vec<JobId> = known.iter().map(|(id, _)| *id).collect();
    planned.retain(|job| {
        let out = gone.contains(&job.row.id) || job.parent.is_some_and(|parent| gone.contains(&parent));
        if out && !gone.contains(&job.row.id) {
            gone.push(job.row.id);
        }
        !out
    });
}

fn added(row: &NewRow, tenant: Option<TenantId>) -> Effect {
    let to = match row.state {
        State::Later => To::Later(row.run_at),
        State::Blocked | State::Running => To::Blocked,
        State::Ready => To::Ready(Box::new(new_entry(row, false))),
    };
    Effect::Job(Box::new(Change {
        id: row.id,
        queue: row.queue,
        tenant,
        bytes: row.payload.len() as u64,
        priority: row.priority,
        key: row.key.clone(),
        attempt: 0,
        fence: 0,
        from: None,
        to,
        why: None,
    }))
}
