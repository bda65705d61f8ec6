//! Many jobs of a queue: lists, and what is done to all that meet a filter.

use std::sync::Arc;

use authority::SystemCtx;
use base::{Cursor, JobId, Page, Slug, codes};
use web::{Call, Problem, Reply};

use super::ask::{FilterBody, JobQuery, MoveBody, RetryDead};
use super::views::{Count, Detail};
use super::{State, unknown_queue};
use crate::{JobFilter, JobStatus, QueueKey, Scope};

impl State {
    /// The filter with its tenant found. Under a tenant's account another's filter finds nothing to meet it, and says so.
    async fn filter<B, Q>(
        &self,
        call: &Call<B, Q>,
        scope: Scope,
        filter: FilterBody,
    ) -> Result<JobFilter, Problem> {
        let FilterBody { ids, status, tenant, tag, error, from, to } = filter;
        let tenant = match tenant {
            Some(name) => {
                let found = self.tenants_named(call.environment()?.project, scope, &[&name]).await?;
                let refused = || Problem::new(&codes::INVALID).fault("/tenant", "there is no such tenant");
                Some(found.get(&name).copied().ok_or_else(refused)?)
            }
            None => None,
        };
        Ok(JobFilter { ids, status, tenant, tag, error, from, to })
    }
}

pub(crate) async fn list(
    state: Arc<State>,
    call: Call<(), JobQuery>,
) -> Result<Reply<Page<Detail>>, Problem> {
    listed(&state, &call, None).await
}

pub(crate) async fn dead(
    state: Arc<State>,
    call: Call<(), JobQuery>,
) -> Result<Reply<Page<Detail>>, Problem> {
    listed(&state, &call, Some(JobStatus::Dead)).await
}

async fn listed(
    state: &State,
    call: &Call<(), JobQuery>,
    status: Option<JobStatus>,
) -> Result<Reply<Page<Detail>>, Problem> {
    let (key, scope) = state.queue(call).await?;
    let query = call.query.clone();
    let page = query.page.page();
    let after = page.after().map(JobId::parse).transpose().map_err(|_| {
        Problem::new(&codes::BAD_REQUEST).fault("/query/cursor", "a cursor of this list is expected")
    })?;
    let filter = FilterBody {
        ids: Vec::new(),
        status: status.or(query.status),
        tenant: query.tenant,
        tag: query.tag,
        error: query.error,
        from: query.from,
        to: query.to,
    };
    let filter = state.filter(call, scope, filter).await?;
    let found = state.engine.list(&key, scope, filter, after, page.fetch()).await?;
    let mut page = Page::of(found.jobs, &page, |detail| detail.view.id.to_string());
    // A search that stopped before its end goes on there, even if it found nothing so far.
    page.next_cursor = page.next_cursor.or(found.stopped_at.map(|id| Cursor::from_key(&id.to_string())));
    Ok(Reply::ok(page.map(Detail::from)))
}

pub(crate) async fn drain(state: Arc<State>, call: Call) -> Result<Reply<Count>, Problem> {
    let (key, scope) = state.queue(&call).await?;
    Ok(Reply::ok(Count::from(state.engine.drain(&key, scope).await?)))
}

pub(crate) async fn purge(state: Arc<State>, call: Call<FilterBody>) -> Result<Reply<Count>, Problem> {
    let (key, scope) = state.queue(&call).await?;
    let filter = state.filter(&call, scope, call.body.clone()).await?;
    Ok(Reply::ok(Count::from(state.engine.purge(&key, scope, filter).await?)))
}

pub(crate) async fn move_to(state: Arc<State>, call: Call<MoveBody>) -> Result<Reply<Count>, Problem> {
    let (key, scope) = state.queue(&call).await?;
    let MoveBody { to, filter } = call.body.clone();
    let filter = state.filter(&call, scope, filter).await?;
    let to = other(&key, to)?;
    Ok(Reply::ok(Count::from(state.engine.move_to(&key, scope, filter, &to).await?)))
}

fn other(key: &QueueKey, to: Slug) -> Result<QueueKey, Problem> {
    if key.environment.is_none() {
        // A built-in queue's handler understands its own jobs only.
        return Err(unknown_queue(to.as_str()));
    }
    Ok(QueueKey { environment: key.environment, name: to })
}

/// With an `Idempotency-Key` the jobs are made at most once: the key is taken first, in a transaction of its own, since the
/// jobs are made in steps.
pub(crate) async fn replay(state: Arc<State>, call: Call<FilterBody>) -> Result<Reply<Count>, Problem> {
    let (key, scope) = state.queue(&call).await?;
    let filter = state.filter(&call, scope, call.body.clone()).await?;
    if !call.idempotency.is_none() {
        let ctx = SystemCtx::because("replay jobs at most once for an Idempotency-Key");
        let once = call.idempotency.clone();
        let first = state
            .db
            .write_system(&ctx, move |tx| {
                let mut first = false;
                let kept = once.once(tx, |_| {
                    first = true;
                    Ok::<_, Problem>(Count { count: 0, more: false })
                })?;
                Ok::<_, Problem>((first, kept))
            })
            .await?;
        if let (false, kept) = first {
            return Ok(Reply::ok(kept));
        }
    }
    Ok(Reply::ok(Count::from(state.engine.replay(&key, scope, filter).await?)))
}

pub(crate) async fn retry_dead(state: Arc<State>, call: Call<RetryDead>) -> Result<Reply<Count>, Problem> {
    let (key, scope) = state.queue(&call).await?;
    let RetryDead { filter, limit } = call.body.clone();
    let filter = state.filter(&call, scope, filter).await?;
    let limit = limit.unwrap_or(u64::MAX);
    Ok(Reply::ok(Count::from(state.engine.retry_dead(&key, scope, filter, limit).await?)))
}
