//! Setting schedules, and deciding whether and when they fire.

use std::sync::Arc;

use base::{HumanDuration, Slug, TenantId, codes};
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use web::{Call, Problem, Reply};

use super::views::{RunView, ScheduleView};
use super::{SCHEDULE, State, Which, name, place};
use crate::error::Error;
use crate::model::{CatchUp, Definition, ManagedBy, Overlap, Schedule};
use crate::ops::{self, Wanted, change};
use crate::scheduler::served;
use crate::section::name_fault;

/// A merge patch of a schedule (RFC 7396): what is absent stays; `null` is as if `PUT` had not been given the field.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PatchSchedule {
    /// Another cron; `null` for none.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    cron: Option<Option<String>>,
    /// Another interval; `null` for none.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<HumanDuration>")]
    every: Option<Option<HumanDuration>>,
    /// Another zone; `null` for UTC.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    timezone: Option<Option<String>>,
    /// Another queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Slug")]
    queue: Option<Slug>,
    /// Another tenant, by id or slug; `null` for none.
    #[serde(default, deserialize_with = "given", skip_serializing)]
    #[schemars(with = "Option<String>")]
    tenant: Option<Option<String>>,
    /// Another payload.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Value")]
    payload: Option<Option<Value>>,
    /// Another priority; `null` for the queue's.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<u8>")]
    priority: Option<Option<u8>>,
    /// Other attempts; `null` for as many as the queue says.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<u32>")]
    attempts: Option<Option<u32>>,
    /// Another time-out; `null` for the queue's.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<HumanDuration>")]
    timeout: Option<Option<HumanDuration>>,
    /// Another text to be unique under; `null` for none.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    unique: Option<Option<String>>,
    /// Other tags, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<String>")]
    tags: Option<Vec<String>>,
    /// Another jitter; `null` for none.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<HumanDuration>")]
    jitter: Option<Option<HumanDuration>>,
    /// Another policy for missed firings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "CatchUp")]
    catch_up: Option<CatchUp>,
    /// Another policy for overlapping firings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Overlap")]
    overlap: Option<Overlap>,
}

/// Tells `null` (given) from absent.
fn given<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}

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
    let tenant = match &call.body.tenant {
        None => None,
        Some(None) => Some(None),
        Some(Some(text)) => Some(Some(tenant(&state, &call, text).await?)),
    };
    let patch = serde_json::to_value(&call.body).map_err(Problem::internal)?;
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
fn merged(definition: &Definition, patch: &Value) -> Result<Definition, Problem> {
    let mut whole = serde_json::to_value(definition).map_err(Problem::internal)?;
    if let (Some(fields), Some(patch)) = (whole.as_object_mut(), patch.as_object()) {
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
