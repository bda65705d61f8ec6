//! Requests, replies and routes of usage.

mod limits;
mod read;
mod reserve;
mod views;
mod write;

use std::sync::Arc;

use authority::permissions;
use base::{MeterName, TenantId, codes};
use serde_json::json;
use web::{Call, Problem, Routes, Spec, Surface};

use crate::book::Account;
use crate::error::Error;
use crate::ops::Engine;

pub use views::{
    CommitBody, EventBody, EventsBody, GaugeBody, LimitBody, LimitView, MeterView, PartView, RecordedView,
    ReservationView, ReserveBody, StandView, UsageView, UsedView,
};

const EVENTS: &str = "/api/v1/usage/events";
const RESERVE: &str = "/api/v1/usage/reserve";
const RESERVATIONS: &str = "/api/v1/usage/reservations";
const LIMIT: &str = "/api/v1/tenants/{t}/limits/{meter}";

/// What the handlers work with.
pub(crate) struct State {
    pub(crate) engine: Engine,
}

pub(crate) fn routes(state: &Arc<State>) -> Routes {
    limiting(reserving(reporting(Routes::new("usage"), state), state), state)
}

fn reporting(routes: Routes, state: &Arc<State>) -> Routes {
    routes
        .route(
            Spec::post(EVENTS, permissions::USAGE_WRITE)
                .surface(Surface::Service)
                .in_environment()
                .summary("Report usage")
                .details(
                    "Up to 1,000 events, all or none. An event is counted once by its id, however often it is sent, and \
                     counts in the hour, day and billing period of its own time: up to 35 days back and 5 minutes ahead. \
                     What is negative is taken of meters that allow it, and not from a tenant's own key.",
                )
                .repeatable("events are counted once by their ids")
                .success(202)
                .codes(&[&codes::INVALID])
                .example(
                    r#"{"events": [{"id": "run-17", "meter": "agent_minutes", "value": 2.5, "at": "2026-05-01T10:00:00Z"}]}"#,
                ),
            Arc::clone(state),
            write::events,
        )
        .route(
            Spec::put("/api/v1/usage/gauges/{meter}", permissions::USAGE_WRITE)
                .surface(Surface::Service)
                .in_environment()
                .summary("Set a gauge")
                .details("To what there is now; the difference goes to the ledger. Not from a tenant's own key.")
                .codes(&[&codes::INVALID, &codes::FORBIDDEN])
                .example(r#"{"value": 3, "tenant": "acme"}"#),
            Arc::clone(state),
            write::gauge,
        )
        .route(
            Spec::get("/api/v1/usage/meters", permissions::USAGE_READ)
                .surface(Surface::Service)
                .in_environment()
                .summary("List meters")
                .details("Those of the project file and of all plans of the call's environment."),
            Arc::clone(state),
            read::meters,
        )
        .route(
            Spec::get("/api/v1/tenants/{t}/usage", permissions::USAGE_READ)
                .surface(Surface::Service)
                .in_environment()
                .summary("Show what a tenant used")
                .details(
                    "In a billing period (`period=current`, `previous`, a month such as `2026-05`, or any date of it), by the tenant's time zone and \
                     billing day; as a whole, or (`by=day`, `by=hour`) by parts in which anything was used.",
                )
                .codes(&[&codes::INVALID]),
            Arc::clone(state),
            read::usage,
        )
}

fn reserving(routes: Routes, state: &Arc<State>) -> Routes {
    let end = |path, status| {
        Spec::post(path, permissions::USAGE_WRITE)
            .surface(Surface::Service)
            .in_environment()
            .success(status)
            .codes(&[&codes::CONFLICT, &codes::INVALID])
    };
    routes
        .route(
            Spec::post(RESERVE, permissions::USAGE_WRITE)
                .surface(Surface::Service)
                .in_environment()
                .summary("Reserve usage")
                .details(
                    "Holds an amount before it is used, exactly: of any number of callers at once no more succeed than there \
                     is room for. Commit it when it was used, release it when not; when neither comes in time, it is given back.",
                )
                .codes(&[&codes::QUOTA_EXCEEDED, &codes::TENANT_SUSPENDED, &codes::INVALID])
                .example(r#"{"meter": "agents", "amount": 1, "ttl": "60s"}"#),
            Arc::clone(state),
            reserve::reserve,
        )
        .route(
            end("/api/v1/usage/reservations/{r}/commit", 200)
                .summary("Commit a reservation")
                .details("It becomes usage: all of it, or `amount` of it; the rest is given back.")
                .repeatable("committing the same again changes nothing")
                .example(r#"{"amount": 1}"#),
            Arc::clone(state),
            reserve::commit,
        )
        .route(
            end("/api/v1/usage/reservations/{r}/release", 204)
                .summary("Release a reservation")
                .details("It is given back at once. One that has ended stays as it is.")
                .repeatable("releasing again changes nothing"),
            Arc::clone(state),
            reserve::release,
        )
}

fn limiting(routes: Routes, state: &Arc<State>) -> Routes {
    routes
        .route(
            Spec::get("/api/v1/tenants/{t}/limits", permissions::USAGE_READ)
                .surface(Surface::Service)
                .in_environment()
                .summary("Show a tenant's limits")
                .details("Of each meter that its plan or a limit of its own names: the limit, and what is used of it now."),
            Arc::clone(state),
            limits::list,
        )
        .route(
            Spec::put(LIMIT, permissions::LIMITS_WRITE)
                .in_environment()
                .summary("Give a tenant a limit of its own")
                .details(
                    "Lies over that of its plan, in the call's environment. `max: null` is no limit. In force within a second.",
                )
                .codes(&[&codes::INVALID])
                .example(r#"{"max": 5000, "grace": "soft"}"#),
            Arc::clone(state),
            limits::put,
        )
        .route(
            Spec::delete(LIMIT, permissions::LIMITS_WRITE)
                .in_environment()
                .summary("Take a tenant's own limit away")
                .details("That of its plan holds again."),
            Arc::clone(state),
            limits::remove,
        )
}

/// For whom somebody calls.
pub(crate) struct Who {
    pub(crate) environment: ports::EnvironmentRecord,
    /// The one tenant; `None` for an operator, or a service that acts for all.
    pub(crate) tenant: Option<TenantId>,
    /// Whether it is a tenant itself: it does not lower what it used.
    pub(crate) is_tenant: bool,
}

impl State {
    async fn who<B, Q>(&self, call: &Call<B, Q>) -> Result<Who, Problem> {
        let environment = call.environment()?.clone();
        let named = match call.request.tenant.as_deref() {
            // Authentication has narrowed a service already.
            Some(name) if !call.caller.is_service() => {
                let found = self.engine.book.tenant(environment.project, name).await?;
                Some(found.ok_or_else(|| Problem::new(&codes::NOT_FOUND))?)
            }
            _ => None,
        };
        let tenant = match (call.caller.tenant_id(), named) {
            (Some(own), Some(named)) if own != named => return Err(Problem::new(&codes::NOT_FOUND)),
            (own, named) => own.or(named),
        };
        if tenant.is_none() {
            // Only operators, and services that act for all, reach more than one tenant.
            call.caller.environment_ctx(environment.id, "count usage of an environment")?;
        }
        let is_tenant = !call.caller.is_service() && !call.caller.is_operator();
        Ok(Who { environment, tenant, is_tenant })
    }

    /// The tenant that a body names, or the only one.
    async fn account(&self, who: &Who, name: Option<&str>) -> Result<Arc<Account>, Problem> {
        let unknown = || Problem::new(&codes::INVALID).fault("/tenant", "there is no such tenant");
        let tenant = match (name, who.tenant) {
            (Some(name), own) => {
                let found =
                    self.engine.book.tenant(who.environment.project, name).await?.ok_or_else(unknown)?;
                if own.is_some_and(|own| own != found) {
                    return Err(unknown());
                }
                found
            }
            (None, Some(own)) => own,
            (None, None) => {
                return Err(Problem::new(&codes::INVALID).fault("/tenant", "name the tenant that it is for"));
            }
        };
        Ok(self.engine.book.account(who.environment.id, tenant).await?)
    }
}

/// The tenant of a path.
async fn of_path<B, Q>(state: &State, call: &Call<B, Q>) -> Result<Arc<Account>, Problem> {
    let environment = call.environment()?;
    let not_found = || Problem::new(&codes::NOT_FOUND);
    let found = state.engine.book.tenant(environment.project, call.path.get("t")?).await?;
    let ctx = call.caller.tenant_ctx(found.ok_or_else(not_found)?)?;
    Ok(state.engine.book.account(environment.id, ctx.tenant()).await?)
}

fn meter<B, Q>(call: &Call<B, Q>) -> Result<MeterName, Problem> {
    call.path.parse("meter", MeterName::parse)
}

/// What is told of a meter that does not exist.
fn unknown_meter(meter: &MeterName, nearest: Option<&str>) -> String {
    let hint = nearest.map(|name| format!(" ({name} may be meant)")).unwrap_or_default();
    format!("there is no meter {meter}{hint}; name it in a plan, or declare it: [meters.{meter}]")
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        let said = error.to_string();
        match error {
            Error::TenantUnknown | Error::ReservationUnknown => Problem::new(&codes::NOT_FOUND),
            Error::MeterUnknown { meter, nearest } => {
                Problem::new(&codes::INVALID).fault("/meter", unknown_meter(&meter, nearest.as_deref()))
            }
            Error::Suspended => Problem::new(&codes::TENANT_SUSPENDED),
            Error::Exceeded { meter, limit, used, resets_at } => Problem::new(&codes::QUOTA_EXCEEDED)
                .status(409)
                .detail(format!("{said}."))
                .member("meter", meter.to_string())
                .member("limit", json!(limit))
                .member("used", json!(used))
                .member("resets_at", json!(resets_at)),
            Error::Ended { .. } => Problem::new(&codes::CONFLICT).detail(format!("{said}.")),
            Error::BeyondReserved { .. } => Problem::new(&codes::INVALID).fault("/amount", said),
            Error::NoGauge(_) => Problem::new(&codes::INVALID).fault("/meter", said),
            Error::PeriodMissing(_) => Problem::new(&codes::INVALID).fault("/period", said),
            Error::Busy => db::Error::Busy.into(),
            Error::Store(error) => error.into(),
        }
    }
}
