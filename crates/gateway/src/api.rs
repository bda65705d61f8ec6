//! Requests, replies and routes of routes.

use crate::error::Error;
use crate::explain::{Explanation, explain};
use crate::gateway::Gateway;
use crate::model::{Auth, LimitsSpec, RoutePatch, RouteSpec, StoredRoute, TimeoutsSpec};
use crate::ops::{self, Sources};
use authority::{SystemCtx, permissions};
use base::{ByteSize, MeterName, Page, Rate, RouteId, SharedClock, SharedRandom, Slug, Timestamp, codes};
use db::Db;
use ports::ManagedBy;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use web::{Call, ETag, PageQuery, Problem, Reply, Routes, Spec};

const ROUTES: &str = "/api/v1/routes";
const ROUTE: &str = "/api/v1/routes/{r}";
const EXPLAIN: &str = "/api/v1/routes/explain";

/// What the handlers work with.
pub(crate) struct State {
    pub(crate) db: Db,
    pub(crate) clock: SharedClock,
    pub(crate) random: SharedRandom,
    pub(crate) gateway: Gateway,
}

pub(crate) fn routes(state: &Arc<State>) -> Routes {
    let kept = [&codes::MANAGED_BY_FILE, &codes::CONFLICT, &codes::INVALID, &codes::PRECONDITION_FAILED];
    Routes::new("routes")
        .route(
            Spec::get(ROUTES, permissions::ROUTES_READ).summary("List routes").in_environment(),
            Arc::clone(state),
            list,
        )
        .route(
            Spec::post(ROUTES, permissions::ROUTES_WRITE)
                .summary("Make a route")
                .details("In force at every gateway within a second.")
                .in_environment()
                .codes(&[&codes::CONFLICT, &codes::INVALID])
                .example(r#"{"host": "*.example.com", "path": "/api", "service": "web", "auth": "required"}"#),
            Arc::clone(state),
            create,
        )
        .route(
            Spec::get(EXPLAIN, permissions::ROUTES_READ)
                .summary("Tell how a request would be treated")
                .details(
                    "Walks the steps that the gateway takes for a request without a credential, on what it knows \
                     now: host, tenant, route, authentication, limits, service.",
                ),
            Arc::clone(state),
            tell,
        )
        .route(
            Spec::get(ROUTE, permissions::ROUTES_READ).summary("Get a route").in_environment(),
            Arc::clone(state),
            get,
        )
        .route(
            Spec::patch(ROUTE, permissions::ROUTES_WRITE)
                .summary("Change a route")
                .details("One that the project file manages is changed there.")
                .in_environment()
                .codes(&kept)
                .example(r#"{"auth": "optional"}"#),
            Arc::clone(state),
            patch,
        )
        .route(
            Spec::delete(ROUTE, permissions::ROUTES_DELETE)
                .summary("Remove a route")
                .in_environment()
                .codes(&[&codes::MANAGED_BY_FILE, &codes::PRECONDITION_FAILED]),
            Arc::clone(state),
            remove,
        )
}

/// A route, as the API shows it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RouteView {
    /// Its id.
    pub id: RouteId,
    /// Which hosts it matches.
    pub host: String,
    /// Which paths it matches: this one and all below it.
    pub path: String,
    /// The service that answers.
    pub service: Slug,
    /// Whether a credential is looked at, and needed.
    pub auth: Auth,
    /// Which limits hold.
    pub limits: LimitsSpec,
    /// Response headers that are set when the service does not.
    pub headers: BTreeMap<String, String>,
    /// How long is waited.
    pub timeouts: TimeoutsSpec,
    /// The largest request body; `null` for the default.
    pub body_max: Option<ByteSize>,
    /// Whether WebSockets are let through.
    pub websocket: bool,
    /// The meter that counts its requests; `null` for none.
    pub meter: Option<MeterName>,
    /// Who decides about it.
    pub managed_by: ManagedBy,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl From<StoredRoute> for RouteView {
    fn from(route: StoredRoute) -> Self {
        let StoredRoute { id, spec, managed_by, revision: _, created_at, updated_at } = route;
        let RouteSpec { host, path, service, auth, limits, headers, timeouts, body_max, websocket, meter } =
            spec;
        Self {
            id,
            host,
            path,
            service,
            auth,
            limits,
            headers,
            timeouts,
            body_max,
            websocket,
            meter,
            managed_by,
            created_at,
            updated_at,
        }
    }
}

/// A merge patch of a route.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchRoute {
    /// Other hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 255))]
    pub host: Option<String>,
    /// Another path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 1024))]
    pub path: Option<String>,
    /// Another service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Slug")]
    pub service: Option<Slug>,
    /// Whether a credential is looked at, and needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Auth")]
    pub auth: Option<Auth>,
    /// Which limits hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "LimitsSpec")]
    pub limits: Option<LimitsSpec>,
    /// Response headers, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub headers: Option<BTreeMap<String, String>>,
    /// Time-outs, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "TimeoutsSpec")]
    pub timeouts: Option<TimeoutsSpec>,
    /// The largest request body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ByteSize")]
    pub body_max: Option<ByteSize>,
    /// Whether WebSockets are let through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    pub websocket: Option<bool>,
    /// The meter that counts its requests; `null` takes it away.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<MeterName>")]
    pub meter: Option<Option<MeterName>>,
}

/// A field that came, `null` or not.
fn given<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    value: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(value).map(Some)
}

impl From<PatchRoute> for RoutePatch {
    fn from(patch: PatchRoute) -> Self {
        let PatchRoute { host, path, service, auth, limits, headers, timeouts, body_max, websocket, meter } =
            patch;
        Self { host, path, service, auth, limits, headers, timeouts, body_max, websocket, meter }
    }
}

/// The request that is asked about.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainQuery {
    /// Its host, with or without a port.
    #[schemars(length(min = 1, max = 300))]
    pub host: String,
    /// Its path; `/` when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 8192))]
    pub path: Option<String>,
    /// Its method; `GET` when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 32))]
    pub method: Option<String>,
}

/// How a request would be treated.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ExplainView {
    /// The code of the refusal; `null` when it would be passed on.
    pub refused: Option<String>,
    /// The environment.
    pub environment: Option<String>,
    /// The tenant's slug.
    pub tenant: Option<String>,
    /// The tenant's plan.
    pub plan: Option<String>,
    /// What the tenant may ask.
    pub rate: Option<Rate>,
    /// The route.
    pub route: Option<RouteId>,
    /// Its host and path.
    pub matched: Option<String>,
    /// The service that answers.
    pub service: Option<Slug>,
    /// Each step and its outcome.
    pub steps: Vec<String>,
}

impl From<Explanation> for ExplainView {
    fn from(told: Explanation) -> Self {
        let Explanation { refused, environment, tenant, plan, rate, route, matched, service, steps } = told;
        let refused = refused.map(str::to_owned);
        Self { refused, environment, tenant, plan, rate, route, matched, service, steps }
    }
}

async fn list(state: Arc<State>, call: Call<(), PageQuery>) -> Result<Reply<Page<RouteView>>, Problem> {
    let environment = call.environment()?.id;
    let page = call.query.page();
    let (after, fetch) = (page.after().unwrap_or_default().to_owned(), page.fetch());
    let ctx = call.caller.system_ctx("list the routes of an environment")?;
    let read = state.db.read_system(&ctx, move |tx| ops::list(tx, environment, &after, fetch));
    let page = Page::of(read.await?, &page, |route: &StoredRoute| route.id.to_string());
    Ok(Reply::ok(page.map(RouteView::from)))
}

async fn get(state: Arc<State>, call: Call) -> Result<Reply<RouteView>, Problem> {
    let (environment, id) = (call.environment()?.id, call.path.id::<RouteId>("r")?);
    let ctx = call.caller.system_ctx("get a route")?;
    let route = state.db.read_system(&ctx, move |tx| ops::get(tx, environment, id)).await?;
    let revision = route.revision;
    Ok(Reply::ok(RouteView::from(route)).etag(revision))
}

async fn create(state: Arc<State>, call: Call<RouteSpec>) -> Result<Reply<RouteView>, Problem> {
    let ctx: SystemCtx = call.caller.system_ctx("make a route")?;
    let environment = call.environment()?.id;
    let once = call.idempotency.clone();
    let (clock, random, spec) = (state.clock.clone(), state.random.clone(), call.body);
    let write = state.db.write_system(&ctx, move |tx| {
        let sources = Sources { clock: &*clock, random: &*random };
        once.once(tx, |tx| ops::create(tx, sources, environment, spec.clone()).map(RouteView::from))
    });
    let made: RouteView = write.await?;
    let location = format!("{ROUTES}/{}", made.id);
    Ok(Reply::created(&location, made).etag(1))
}

async fn patch(state: Arc<State>, call: Call<PatchRoute>) -> Result<Reply<RouteView>, Problem> {
    let ctx = call.caller.system_ctx("change a route")?;
    let place = (call.environment()?.id, call.path.id::<RouteId>("r")?);
    let if_match = call.if_match.clone();
    let (clock, random) = (state.clock.clone(), state.random.clone());
    let changes = RoutePatch::from(call.body);
    let write = state.db.write_system(&ctx, move |tx| {
        let sources = Sources { clock: &*clock, random: &*random };
        let accepts = |revision| if_match.as_ref().is_none_or(|tag| tag.accepts(revision));
        ops::update(tx, sources, place, changes.clone(), accepts)
    });
    let route = write.await?;
    let revision = route.revision;
    Ok(Reply::ok(RouteView::from(route)).etag(revision))
}

async fn remove(state: Arc<State>, call: Call) -> Result<Reply<()>, Problem> {
    let ctx = call.caller.system_ctx("remove a route")?;
    let (environment, id) = (call.environment()?.id, call.path.id::<RouteId>("r")?);
    let if_match = call.if_match.clone();
    let write = state.db.write_system(&ctx, move |tx| {
        let accepts = |revision| if_match.as_ref().is_none_or(|tag| tag.accepts(revision));
        ops::remove(tx, environment, id, accepts)
    });
    write.await?;
    Ok(Reply::no_content())
}

async fn tell(state: Arc<State>, call: Call<(), ExplainQuery>) -> Result<Reply<ExplainView>, Problem> {
    call.caller.system_ctx("explain how a request is treated")?;
    let ExplainQuery { host, path, method } = &call.query;
    let (path, method) = (path.as_deref().unwrap_or("/"), method.as_deref().unwrap_or("GET"));
    let told = explain(state.gateway.world(), state.gateway.services(), method, host, path);
    Ok(Reply::ok(ExplainView::from(told)))
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        let said = error.to_string();
        match error {
            Error::NotFound => Problem::new(&codes::NOT_FOUND),
            Error::Exists(_) => Problem::new(&codes::CONFLICT).detail(format!("{said}; change that one.")),
            Error::ManagedByFile(_) => Problem::new(&codes::MANAGED_BY_FILE)
                .detail("Change `[[routes]]` in the project file and apply it."),
            Error::Invalid(faults) => Problem::new(&codes::INVALID).faults("", &faults),
            Error::TooMany(_) => Problem::new(&codes::CONFLICT).detail(said),
            Error::Stale { revision } => Problem::new(&codes::PRECONDITION_FAILED)
                .detail("It has changed since the revision that `If-Match` names; read it again.")
                .header(http::header::ETAG, &ETag::text(revision)),
            Error::Store(error) => error.into(),
        }
    }
}
