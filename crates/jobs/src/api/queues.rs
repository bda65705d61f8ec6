//! Queues: declared, changed, paused, removed.

use std::borrow::Cow;
use std::sync::Arc;

use base::{Page, Slug, codes};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use web::{Call, Problem, Reply, check_revision};

use super::ask::{QueuesQuery, RemoveQuery};
use super::views::Queue;
use super::{State, unknown_queue};
use crate::{Error, ManagedBy, QueueKey, QueueSettings, QueueStatus, QueueView, Scope};

/// A merge patch (RFC 7396) of a queue's settings.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SettingsPatch(Map<String, Value>);

impl JsonSchema for SettingsPatch {
    fn inline_schema() -> bool {
        QueueSettings::inline_schema()
    }
    fn schema_name() -> Cow<'static, str> {
        QueueSettings::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        QueueSettings::json_schema(generator)
    }
}

/// When a queue was last changed counts as its revision.
fn revision(view: &QueueView) -> i64 {
    view.updated_at.micros()
}

fn shown(status: QueueStatus) -> Reply<Queue> {
    let revision = revision(&status.queue);
    Reply::ok(Queue::from(status)).etag(revision)
}

pub(crate) async fn list(
    state: Arc<State>,
    call: Call<(), QueuesQuery>,
) -> Result<Reply<Page<Queue>>, Problem> {
    let scope = state.scope(&call).await?;
    let QueuesQuery { page, built_in } = &call.query;
    let scope = if *built_in {
        call.caller.system_ctx("list the installation's own queues")?;
        Scope::Environment(None)
    } else {
        scope
    };
    let page = page.page();
    let after = page.after().unwrap_or_default();
    let all = state.engine.queues(scope.environment());
    let rest = all.into_iter().filter(|view| view.key.name.as_str() > after).take(page.fetch() as usize);
    let page = Page::of(rest.collect(), &page, |view: &QueueView| view.key.name.to_string());
    let mut data = Vec::with_capacity(page.data.len());
    for view in page.data {
        // One that was removed meanwhile is left out.
        match state.engine.status(&view.key, scope).await {
            Ok(status) => data.push(Queue::from(status)),
            Err(Error::QueueUnknown { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Reply::ok(Page { data, next_cursor: page.next_cursor }))
}

pub(crate) async fn get(state: Arc<State>, call: Call) -> Result<Reply<Queue>, Problem> {
    let (key, scope) = state.queue(&call).await?;
    Ok(shown(state.engine.status(&key, scope).await?))
}

/// The queue of the path, whether there is one or not.
fn named<B, Q>(call: &Call<B, Q>) -> Result<QueueKey, Problem> {
    let name = call.path.get("q")?;
    let slug = Slug::parse(name).map_err(|error| {
        Problem::new(&codes::INVALID)
            .detail("A queue cannot have this name.")
            .fault("/path/q", error.to_string())
    })?;
    Ok(QueueKey::of(call.environment()?.id, slug))
}

pub(crate) async fn put(state: Arc<State>, call: Call<QueueSettings>) -> Result<Reply<Queue>, Problem> {
    let key = named(&call)?;
    let settings = call.body.clone();
    settings.check()?;
    let new = declare(&state, &call, &key, move |_| Ok(settings.clone())).await?;
    let location = format!("/api/v1/queues/{}", key.name);
    let status = state.engine.status(&key, Scope::Environment(key.environment)).await?;
    if !new {
        return Ok(shown(status));
    }
    let revision = revision(&status.queue);
    Ok(Reply::created(&location, Queue::from(status)).etag(revision))
}

pub(crate) async fn patch(state: Arc<State>, call: Call<SettingsPatch>) -> Result<Reply<Queue>, Problem> {
    let key = named(&call)?;
    let unknown = key.name.clone();
    let patch = Value::Object(call.body.0.clone());
    declare(&state, &call, &key, move |present| {
        let present = present.ok_or_else(|| unknown_queue(unknown.as_str()))?;
        merged(&present.settings, &patch)
    })
    .await?;
    Ok(shown(state.engine.status(&key, Scope::Environment(key.environment)).await?))
}

/// Gives a queue the settings that `decide` makes of what there is, if it is the revision that the caller knows. Answers
/// whether it is new.
async fn declare<B>(
    state: &State,
    call: &Call<B>,
    key: &QueueKey,
    decide: impl Fn(Option<&QueueView>) -> Result<QueueSettings, Problem> + Send + 'static,
) -> Result<bool, Problem> {
    let environment = call.environment()?.id;
    let ctx = call.caller.environment_ctx(environment, "declare a queue")?;
    let (engine, key, if_match) = (state.engine.clone(), key.clone(), call.if_match.clone());
    let write = state.db.write_system(&ctx, move |tx| -> Result<bool, Problem> {
        let all = engine.queues_in(tx, environment)?;
        let present = all.iter().find(|view| view.key == key);
        if let Some(view) = present {
            check_revision(if_match.as_ref(), revision(view))?;
        }
        let settings = decide(present)?;
        let changed = engine.put_queue_in(tx, &key, &settings, ManagedBy::Api)?;
        Ok(changed.is_some_and(|(_, new)| new))
    });
    write.await
}

fn merged(present: &QueueSettings, patch: &Value) -> Result<QueueSettings, Problem> {
    let mut whole = serde_json::to_value(present).map_err(Problem::internal)?;
    merge(&mut whole, patch);
    let settings: QueueSettings = shape::parse(whole).map_err(|faults| {
        Problem::new(&codes::INVALID).detail("Some values are not allowed.").faults("", &faults)
    })?;
    settings.check()?;
    Ok(settings)
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    if let Value::Object(target) = target {
        for (key, value) in patch {
            if value.is_null() {
                target.remove(key);
            } else {
                merge(target.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
    }
}

pub(crate) async fn remove(state: Arc<State>, call: Call<(), RemoveQuery>) -> Result<Reply<()>, Problem> {
    let key = named(&call)?;
    let ctx = call.caller.environment_ctx(call.environment()?.id, "remove a queue")?;
    call.check_revision(revision(&state.engine.queue(&key)?))?;
    state.engine.delete_queue(&ctx, &key, call.query.force).await?;
    Ok(Reply::no_content())
}

pub(crate) async fn pause(state: Arc<State>, call: Call) -> Result<Reply<Queue>, Problem> {
    let (key, scope) = state.queue(&call).await?;
    let ctx = call.caller.environment_ctx(call.environment()?.id, "pause a queue")?;
    state.engine.pause(&ctx, &key).await?;
    Ok(shown(state.engine.status(&key, scope).await?))
}

pub(crate) async fn resume(state: Arc<State>, call: Call) -> Result<Reply<Queue>, Problem> {
    let (key, scope) = state.queue(&call).await?;
    let ctx = call.caller.environment_ctx(call.environment()?.id, "resume a queue")?;
    state.engine.resume(&ctx, &key).await?;
    Ok(shown(state.engine.status(&key, scope).await?))
}
