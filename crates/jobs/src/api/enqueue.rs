//! Jobs in.

use std::collections::HashMap;
use std::sync::Arc;

use authority::SystemCtx;
use base::{TenantId, codes};
use web::{Call, Problem, Reply};

use super::drafts::{Enqueue, NewJob, Wanted};
use super::views::{Job, Made};
use super::{State, unknown_queue};
use crate::{Draft, JobView, QueueKey, Scope};

/// A place in the body at which no tenant is named.
struct NoTenant(String);

pub(crate) async fn enqueue(state: Arc<State>, call: Call<Enqueue>) -> Result<Reply<Made>, Problem> {
    let (key, scope) = queue_of_producer(&state, &call).await?;
    let project = call.environment()?.project;
    let (jobs, many) = match call.body.wanted() {
        Wanted::One(job) => (vec![*job], false),
        Wanted::Many(jobs) => (jobs, true),
        Wanted::Unclear => {
            return Err(Problem::new(&codes::INVALID).detail("One value is not allowed.").fault(
                "",
                "either `payload` with a job's options is expected, or `jobs` alone with a list of them",
            ));
        }
    };
    let drafts = drafts(&state, project, scope, jobs, many).await?;
    check(&drafts, many)?;
    if call.idempotency.is_none() {
        let made = state.engine.enqueue(&key, scope, drafts).await.map_err(|error| placed(error, many))?;
        return reply(made, many);
    }
    let ctx = SystemCtx::because("make jobs once for an Idempotency-Key");
    let (engine, once) = (state.engine.clone(), call.idempotency.clone());
    let made: Made = state
        .db
        .write_system(&ctx, move |tx| {
            once.once(tx, |tx| {
                let made =
                    engine.enqueue_in(tx, &key, scope, &drafts).map_err(|error| placed(error, many))?;
                shown(made, many)
            })
        })
        .await?;
    Ok(created(made))
}

/// The queue of the path; without a look at its settings, which the engine takes anyway.
async fn queue_of_producer<B, Q>(state: &State, call: &Call<B, Q>) -> Result<(QueueKey, Scope), Problem> {
    let scope = state.scope(call).await?;
    let name = call.path.get("q")?;
    let name = base::Slug::parse(name).map_err(|_| unknown_queue(name))?;
    Ok((QueueKey { environment: scope.environment(), name }, scope))
}

async fn drafts(
    state: &State,
    project: base::ProjectId,
    scope: Scope,
    jobs: Vec<NewJob>,
    many: bool,
) -> Result<Vec<Draft>, Problem> {
    let mut names = Vec::new();
    jobs.iter().for_each(|job| job.tenants(&mut names));
    let tenants =
        if names.is_empty() { HashMap::new() } else { state.tenants_named(project, scope, &names).await? };
    let mut faults: Vec<String> = Vec::new();
    let find = |name: &str, at: &str| -> Result<TenantId, NoTenant> {
        tenants.get(name).copied().ok_or_else(|| NoTenant(format!("{at}/tenant")))
    };
    let mut drafts = Vec::with_capacity(jobs.len());
    for (index, job) in jobs.into_iter().enumerate() {
        match job.draft(&place(index, many), &find) {
            Ok(draft) => drafts.push(draft),
            Err(NoTenant(pointer)) => faults.push(pointer),
        }
    }
    if faults.is_empty() {
        return Ok(drafts);
    }
    let problem = Problem::new(&codes::INVALID).detail("A job names a tenant that there is not.");
    Err(faults
        .into_iter()
        .fold(problem, |problem, pointer| problem.fault(pointer, "there is no such tenant")))
}

/// All faults that the engine would find one after the other.
fn check(drafts: &[Draft], many: bool) -> Result<(), Problem> {
    let mut problem: Option<Problem> = None;
    for (index, draft) in drafts.iter().enumerate() {
        match draft.check(&place(index, many)) {
            Ok(()) => {}
            Err(crate::Error::Invalid { pointer, detail }) => {
                let told = problem
                    .unwrap_or_else(|| Problem::new(&codes::INVALID).detail("Some values are not allowed."));
                problem = Some(told.fault(pointer, detail));
            }
            Err(crate::Error::PayloadTooLarge { what, bytes, bytes_max }) if problem.is_none() => {
                let refused = Problem::from(crate::Error::PayloadTooLarge { what, bytes, bytes_max });
                return Err(refused.fault(
                    format!("{}/payload", place(index, many)),
                    format!("{bytes} bytes; at most {bytes_max} are allowed"),
                ));
            }
            Err(other) => return Err(other.into()),
        }
    }
    problem.map_or(Ok(()), Err)
}

fn place(index: usize, many: bool) -> String {
    if many { format!("/jobs/{index}") } else { String::new() }
}

/// The engine counts drafts from the root; in a body of one there is no list.
fn placed(error: crate::Error, many: bool) -> Problem {
    match error {
        crate::Error::Invalid { pointer, detail } if !many => {
            let pointer = pointer.strip_prefix("/jobs/0").unwrap_or(&pointer).to_owned();
            crate::Error::Invalid { pointer, detail }.into()
        }
        other => other.into(),
    }
}

fn shown(made: Vec<JobView>, many: bool) -> Result<Made, Problem> {
    let mut jobs = made.into_iter().map(Job::from);
    if many {
        return Ok(Made::Many { data: jobs.collect() });
    }
    jobs.next().map(Made::One).ok_or_else(|| Problem::internal("a job was made and is not told"))
}

fn reply(made: Vec<JobView>, many: bool) -> Result<Reply<Made>, Problem> {
    shown(made, many).map(created)
}

/// 201, with the place of a single job.
fn created(made: Made) -> Reply<Made> {
    let location = match &made {
        Made::One(job) => format!("/api/v1/jobs/{}", job.id),
        Made::Many { .. } => String::new(),
    };
    if location.is_empty() {
        Reply::ok(made).status(http::StatusCode::CREATED)
    } else {
        Reply::created(&location, made)
    }
}
