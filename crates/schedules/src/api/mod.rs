//! Requests, replies and routes of schedules.

mod change;
mod read;
mod views;

use std::sync::Arc;

use authority::{SystemCtx, permissions};
use base::{EnvironmentId, Slug, codes};
use ports::{EnqueueError, TenantDirectory};
use schemars::JsonSchema;
use serde::Deserialize;
use web::{Call, ETag, Problem, Routes, Spec, Surface};

use crate::error::Error;
use crate::model::Faults;
use crate::ops::Tools;

pub use views::{FiringView, FiringsView, PreviewSchedule, PreviewView, RunView, ScheduleView, UpcomingView};

const SCHEDULES: &str = "/api/v1/schedules";
const SCHEDULE: &str = "/api/v1/schedules/{name}";
const PREVIEW: &str = "/api/v1/schedules/preview";

const EXAMPLE: &str = r#"{"cron": "30 2 * * MON-FRI", "timezone": "Europe/Berlin", "queue": "reports", "payload": {"kind": "daily"}, "catch_up": "once", "overlap": "skip"}"#;

/// What the handlers work with.
pub(crate) struct State {
    pub(crate) tools: Tools,
    pub(crate) tenants: Arc<dyn TenantDirectory>,
}

/// Which of the schedules of a name is meant.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// The installation's own, instead of the environment's.
    #[serde(default)]
    pub(crate) built_in: bool,
}

pub(crate) fn routes(state: &Arc<State>) -> Routes {
    deciding(changing(reading(Routes::new("schedules"), state), state), state)
}

fn reading(routes: Routes, state: &Arc<State>) -> Routes {
    let get = |path| Spec::get(path, permissions::SCHEDULES_READ).surface(Surface::Service).in_environment();
    routes
        .route(
            get(SCHEDULES)
                .summary("List schedules")
                .details("Those of the call's environment by name, or (`built_in=true`, operators) the installation's own."),
            Arc::clone(state),
            read::list,
        )
        .route(
            get(SCHEDULE).summary("Get a schedule").details("With its next ten firings."),
            Arc::clone(state),
            read::get,
        )
        .route(
            get("/api/v1/schedules/{name}/firings")
                .summary("List the last firings of a schedule")
                .details("The last 100, the latest first: what fired and which job it made, what was left out and why."),
            Arc::clone(state),
            read::firings,
        )
        .route(
            Spec::post(PREVIEW, permissions::SCHEDULES_READ)
                .surface(Surface::Service)
                .in_environment()
                .summary("Show the next firings of a cron or interval")
                .details("Without saving anything. Jitter is left out.")
                .repeatable("it changes nothing")
                .success(200)
                .codes(&[&codes::INVALID, &codes::CRON_NEVER_FIRES, &codes::TIMEZONE_UNKNOWN])
                .example(r#"{"cron": "30 2 * * *", "timezone": "Europe/Berlin"}"#),
            Arc::clone(state),
            read::preview,
        )
}

fn changing(routes: Routes, state: &Arc<State>) -> Routes {
    let wrong = [
        &codes::INVALID,
        &codes::CRON_NEVER_FIRES,
        &codes::TIMEZONE_UNKNOWN,
        &codes::QUEUE_UNKNOWN,
        &codes::MANAGED_BY_FILE,
        &codes::CONFLICT,
        &codes::PRECONDITION_FAILED,
    ];
    routes
        .route(
            Spec::put(SCHEDULE, permissions::SCHEDULES_WRITE)
                .surface(Surface::Service)
                .in_environment()
                .summary("Set a schedule")
                .details(
                    "Makes it, or replaces the one of that name. One that is due at the same moments as before keeps its \
                     next time; the same again changes nothing.",
                )
                .codes(&wrong)
                .example(EXAMPLE),
            Arc::clone(state),
            change::put,
        )
        .route(
            Spec::patch(SCHEDULE, permissions::SCHEDULES_WRITE)
                .surface(Surface::Service)
                .in_environment()
                .summary("Change a schedule")
                .details("A merge patch of what `PUT` takes: a field that is `null` is as if it were not given.")
                .codes(&wrong)
                .example(r#"{"cron": "0 3 * * *", "overlap": "skip"}"#),
            Arc::clone(state),
            change::patch,
        )
        .route(
            Spec::delete(SCHEDULE, permissions::SCHEDULES_DELETE)
                .surface(Surface::Service)
                .in_environment()
                .summary("Remove a schedule")
                .details("Jobs that it made stay.")
                .codes(&[&codes::MANAGED_BY_FILE, &codes::CONFLICT, &codes::PRECONDITION_FAILED]),
            Arc::clone(state),
            change::remove,
        )
}

fn deciding(routes: Routes, state: &Arc<State>) -> Routes {
    let post =
        |path| Spec::post(path, permissions::SCHEDULES_WRITE).surface(Surface::Service).in_environment();
    routes
        .route(
            post("/api/v1/schedules/{name}/pause")
                .summary("Pause a schedule")
                .details("What comes due meanwhile is not made up for. Also for those that the project file manages.")
                .repeatable("pausing again changes nothing")
                .success(200)
                .codes(&[&codes::PRECONDITION_FAILED]),
            Arc::clone(state),
            change::pause,
        )
        .route(
            post("/api/v1/schedules/{name}/resume")
                .summary("Resume a schedule")
                .details("It goes on with the first time after now.")
                .repeatable("resuming again changes nothing")
                .success(200)
                .codes(&[&codes::PRECONDITION_FAILED]),
            Arc::clone(state),
            change::resume,
        )
        .route(
            post("/api/v1/schedules/{name}/run")
                .summary("Fire a schedule now")
                .details("Makes its job at once, besides its times and whether it is paused or not; the next time stays.")
                .codes(&[
                    &codes::QUEUE_UNKNOWN,
                    &codes::QUEUE_FULL,
                    &codes::JOB_DUPLICATE,
                    &codes::TENANT_SUSPENDED,
                    &codes::INVALID,
                ]),
            Arc::clone(state),
            change::run,
        )
}

/// The environment of a call, or `None` for the installation's own schedules, and the context to reach them.
fn place<B, Q>(
    call: &Call<B, Q>,
    built_in: bool,
    reason: &'static str,
) -> Result<(Option<EnvironmentId>, SystemCtx), Problem> {
    if built_in {
        return Ok((None, call.caller.system_ctx(reason)?));
    }
    let environment = call.environment()?.id;
    Ok((Some(environment), call.caller.environment_ctx(environment, reason)?))
}

fn name<B, Q>(call: &Call<B, Q>) -> Result<Slug, Problem> {
    call.path.parse("name", Slug::parse)
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        let said = error.to_string();
        match error {
            Error::NotFound => Problem::new(&codes::NOT_FOUND),
            Error::Wrong(faults) => {
                // What is wrong is in the faults, each with its place.
                let (code, detail) = match &faults {
                    Faults::NeverFires { .. } => (
                        &codes::CRON_NEVER_FIRES,
                        "No month that it names has such a day; `L` is a month's last day.",
                    ),
                    Faults::UnknownZone(_) => (&codes::TIMEZONE_UNKNOWN, said.as_str()),
                    Faults::Invalid(all) if all.len() == 1 => (&codes::INVALID, "One value is not allowed."),
                    Faults::Invalid(_) => (&codes::INVALID, "Some values are not allowed."),
                };
                Problem::new(code).detail(detail).faults("", &faults.list())
            }
            Error::QueueUnknown(queue) => Problem::new(&codes::QUEUE_UNKNOWN)
                .detail(format!("{said}; declare it in the project file (`[queues.{queue}]`), or `PUT /api/v1/queues/{queue}`.")),
            Error::ManagedByFile(name) => Problem::new(&codes::MANAGED_BY_FILE)
                .detail(format!("Change `[schedules.{name}]` in the project file and apply it.")),
            Error::ManagedByApi(_) | Error::BuiltIn(_) | Error::TooMany(_) => {
                Problem::new(&codes::CONFLICT).detail(format!("{said}."))
            }
            Error::Stale { revision } => Problem::new(&codes::PRECONDITION_FAILED)
                .detail("It has changed since the revision that `If-Match` names; read it again.")
                .header(http::header::ETAG, &ETag::text(revision)),
            Error::TenantResting => Problem::new(&codes::TENANT_SUSPENDED),
            Error::Refused(refused) => refusal(refused, &said),
            Error::Store(error) => error.into(),
        }
    }
}

/// Why the queue did not take a job that somebody asked for.
fn refusal(refused: EnqueueError, said: &str) -> Problem {
    match refused {
        EnqueueError::UnknownQueue(_) => Problem::new(&codes::QUEUE_UNKNOWN).detail(format!("{said}.")),
        EnqueueError::Duplicate(job) => {
            Problem::new(&codes::JOB_DUPLICATE).detail(format!("{said}.")).member("job", job.to_string())
        }
        EnqueueError::Full { .. } => Problem::new(&codes::QUEUE_FULL).detail(format!("{said}.")),
        EnqueueError::TooLarge { .. } | EnqueueError::Invalid(_) => {
            Problem::new(&codes::INVALID).detail(format!("{said}."))
        }
        EnqueueError::Store(error) => error.into(),
    }
}
