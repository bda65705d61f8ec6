//! Setting schedules, and deciding whether and when they fire.

use std::sync::Arc;

use base::{Slug, TenantId, codes};
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use web::{Call, Problem, Reply};

use super::views::{RunView, ScheduleView};
use super::{SCHEDULE, State, Which, name, place};
use crate::error::Error;
use crate::model::{Definition, ManagedBy, Schedule};
use crate::ops::{self, Wanted, change};
use crate::scheduler::served;
use crate::section::name_fault;

/// A merge patch of a schedule's definition: the fields that `PUT` takes; `null` removes one.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct PatchSchedule(Map<String, Value>);

pub(crate) async fn put(state: Arc<State>, call: Call<Definition>) -> Result<Reply<ScheduleView>, Problem> {
    let (environment, ctx) = place(&call, false, "set a schedule")?;
    let name = name(&call)?;
    if let Some(message) = name_fault(name.as_str()) {
        return Err(Problem::new(&codes::INVALID).fault("/path/name", message));
    }
    let mut definition = call.body.clone();
    let tenant = match definition.tenant.take() {
        Some(text) => Some(tenant(&state, &call, &text).await?),
        None => None,
    };
    let if_match = call.if_match.clone();
    let tools = state.tools.clone();
    let location = SCHEDULE.replace("{name}", name.as_str());
    let wanted = Wanted { environment, name, definition, tenant, by: ManagedBy::Api };
    let write = state.tools.db.write_system(&ctx, move |tx| {
        let accepts = |revision| if_match.as_ref().is_none_or(|tag| tag.accepts(revision));
        change::put(tx, &tools, &wanted, accepts)
    });
    let (schedule, is_new) = write.await?;
    let reply = shown(&state, schedule);
    Ok(if is_new {
        reply.status(StatusCode::CREATED).header(http::header::LOCATION, &location)
    } else {
        reply
    })
}

pub(crate) async fn patch(
    state: Arc<State>,
    call: Call<PatchSchedule>,
) -> Result<Reply<ScheduleView>, Problem> {
    let (environment, ctx) = place(&call, false, "change a schedule")?;
    let name = name(&call)?;
    let mut patch = call.body.0.clone();
    // `None`: the patch says nothing of it.
    let tenant = match patch.remove("tenant") {
        None => None,
        Some(Value::Null) => Some(None),
        Some(Value::String(text)) => Some(Some(tenant(&state, &call, &text).await?)),
        Some(_) => return Err(Problem::new(&codes::INVALID).fault("/tenant", "an id or slug is expected")),
    };
    let if_match = call.if_match.clone();
    let tools = state.tools.clone();
    let write = state.tools.db.write_system(&ctx, move |tx| -> Result<Schedule, Problem> {
        let existing = ops::get(tx, environment, &name)?;
        let wanted = Wanted {
            environment,
            name: name.clone(),
            definition: merged(&existing.definition, &patch)?,
            tenant: tenant.unwrap_or(existing.tenant),
            by: ManagedBy::Api,
        };
        let accepts = |revision| if_match.as_ref().is_none_or(|tag| tag.accepts(revision));
        Ok(change::put(tx, &tools, &wanted, accepts)?.0)
    });
    Ok(shown(&state, write.await?))
}

pub(crate) async fn remove(state: Arc<State>, call: Call) -> Result<Reply<()>, Problem> {
    let (environment, ctx) = place(&call, false, "remove a schedule")?;
    let name = name(&call)?;
    let if_match = call.if_match.clone();
    let write = state.tools.db.write_system(&ctx, move |tx| {
        let accepts = |revision| if_match.as_ref().is_none_or(|tag| tag.accepts(revision));
        change::remove(tx, (environment, &name), accepts)
    });
    write.await?;
    Ok(Reply::no_content())
}

pub(crate) async fn pause(state: Arc<State>, call: Call<(), Which>) -> Result<Reply<ScheduleView>, Problem> {
    decide(state, call, "pause a schedule", change::pause).await
}

pub(crate) async fn resume(state: Arc<State>, call: Call<(), Which>) -> Result<Reply<ScheduleView>, Problem> {
    decide(state, call, "resume a schedule", change::resume).await
}

pub(crate) async fn run(state: Arc<State>, call: Call<(), Which>) -> Result<Reply<RunView>, Problem> {
    let (environment, ctx) = place(&call, call.query.built_in, "fire a schedule now")?;
    let name = name(&call)?;
    let found = name.clone();
    let schedule = state.tools.db.read_system(&ctx, move |tx| ops::get(tx, environment, &found)).await?;
    if let (Some(environment), Some(tenant)) = (environment, schedule.tenant)
        && !served(&*state.tenants, environment, tenant).await?
    {
        return Err(Error::TenantResting.into());
    }
    let (once, tools) = (call.idempotency.clone(), state.tools.clone());
    let write = state.tools.db.write_system(&ctx, move |tx| {
        once.once(tx, |tx| -> Result<RunView, Error> {
            let schedule = change::run(tx, &tools, environment, &name)?;
            let job = schedule.tally.last_job.ok_or(Error::NotFound)?;
            Ok(RunView { job })
        })
    });
    let view: RunView = write.await?;
    let location = format!("/api/v1/jobs/{}", view.job);
    Ok(Reply::created(&location, view))
}

/// A decision about whether a schedule fires.
type Decision = fn(
    &mut db::SystemTx<'_>,
    &ops::Tools,
    (Option<base::EnvironmentId>, &Slug),
    &dyn Fn(i64) -> bool,
) -> Result<Schedule, Error>;

async fn decide(
    state: Arc<State>,
    call: Call<(), Which>,
    reason: &'static str,
    decision: Decision,
) -> Result<Reply<ScheduleView>, Problem> {
    let (environment, ctx) = place(&call, call.query.built_in, reason)?;
    let name = name(&call)?;
    let if_match = call.if_match.clone();
    let tools = state.tools.clone();
    let write = state.tools.db.write_system(&ctx, move |tx| {
        let accepts = |revision| if_match.as_ref().is_none_or(|tag| tag.accepts(revision));
        decision(tx, &tools, (environment, &name), &accepts)
    });
    Ok(shown(&state, write.await?))
}

fn shown(state: &State, schedule: Schedule) -> Reply<ScheduleView> {
    let revision = schedule.revision;
    Reply::ok(ScheduleView::whole(schedule, &state.tools.zones, state.tools.now())).etag(revision)
}

/// The tenant that a body names, by id or slug.
async fn tenant<B, Q>(state: &State, call: &Call<B, Q>, text: &str) -> Result<TenantId, Problem> {
    let project = call.environment()?.project;
    let found = state.tenants.find(text, Some(project)).await?;
    found.map(|tenant| tenant.id).ok_or_else(|| {
        Problem::new(&codes::INVALID).fault("/tenant", "there is no tenant of this id or slug")
    })
}

/// RFC 7396, on one level: what is `null` in the patch goes, what else is there takes its place.
fn merged(definition: &Definition, patch: &Map<String, Value>) -> Result<Definition, Problem> {
    let mut whole = serde_json::to_value(definition).map_err(Problem::internal)?;
    if let Some(fields) = whole.as_object_mut() {
        for (key, value) in patch {
            match value {
                // A payload may be null; so it is without one.
                Value::Null => {
                    fields.remove(key);
                }
                value => {
                    fields.insert(key.clone(), value.clone());
                }
            }
        }
    }
    shape::parse(whole).map_err(|faults| Problem::new(&codes::INVALID).faults("", &faults))
}
