//! An API of a few routes, and a client without a network.

use authority::{Caller, Origin, Role, permissions};
use axum::body::Body;
use base::{EnvironmentId, HostName, ManualClock, ProjectId, SeededRandom, Slug, TenantId, Timestamp};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use ports::{
    AuthError, Authenticate, BoxFuture, EnvironmentDirectory, EnvironmentRecord, Isolation, LogSink,
    TenantDirectory, TenantRecord, TenantStatus, Unavailable,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use telemetry::{LogRecord, Metrics};
use web::{
    ApiInfo, Call, CloseCode, HotBody, PageQuery, Problem, Reply, Routes, Server, ServerDeps, Socket,
    SocketReply, Spec, StreamKind, Surface,
};

/// What the handlers share.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) runs: AtomicU32,
}

pub(crate) fn tenant(number: u8) -> TenantId {
    TenantId::from_uuid_bytes([number; 16])
}

pub(crate) fn environment(number: u8, slug: &str) -> EnvironmentRecord {
    EnvironmentRecord {
        id: EnvironmentId::from_uuid_bytes([number; 16]),
        project: ProjectId::from_uuid_bytes([1; 16]),
        project_slug: Slug::parse("agents").expect("a slug"),
        slug: Slug::parse(slug).expect("a slug"),
        base_domain: HostName::parse("localhost").expect("a host"),
        resolve: Vec::new(),
        default_plan: Slug::parse("free").expect("a slug"),
    }
}

/// Callers by bearer: `operator`, `<role>-<tenant number>`, `bound-<tenant number>` (to `test`), and `brief`, an operator
/// whom only the first request finds.
#[derive(Default)]
pub(crate) struct Bearers {
    brief: AtomicU32,
}

impl Authenticate for Bearers {
    fn caller<'a>(
        &'a self,
        headers: &'a HeaderMap,
        peer: Option<IpAddr>,
    ) -> BoxFuture<'a, Result<Caller, AuthError>> {
        Box::pin(async move {
            let text = headers.get(header::AUTHORIZATION).ok_or(AuthError::Missing)?;
            let word =
                text.to_str().ok().and_then(|text| text.strip_prefix("Bearer ")).ok_or(AuthError::Invalid)?;
            let origin = Origin { ip: peer, agent: None, request: None };
            let brief = word == "brief" && self.brief.fetch_add(1, Ordering::SeqCst) == 0;
            if word == "operator" || brief {
                return Ok(testkit::callers::operator(origin));
            }
            let (role, number) = word.split_once('-').ok_or(AuthError::Invalid)?;
            let tenant = tenant(number.parse().map_err(|_| AuthError::Invalid)?);
            if role == "bound" {
                let test = environment(2, "test").id;
                return Ok(testkit::callers::bound(tenant, Role::Developer, test, origin));
            }
            let role = Role::parse(role).map_err(|_| AuthError::Invalid)?;
            Ok(testkit::callers::member(tenant, role, origin))
        })
    }
}

/// `development` and `test` of one project.
pub(crate) struct Two;

impl EnvironmentDirectory for Two {
    fn all(&self) -> Vec<EnvironmentRecord> {
        vec![environment(1, "development"), environment(2, "test"), environment(3, "production")]
    }

    fn current(&self) -> Option<EnvironmentRecord> {
        None
    }
}

/// Tenants 1 (`acme`) and 2 (`globex`).
pub(crate) struct Tenants;

impl TenantDirectory for Tenants {
    fn page(
        &self,
        _: EnvironmentId,
        _: Option<TenantId>,
        _: u32,
    ) -> BoxFuture<'_, Result<Vec<TenantRecord>, Unavailable>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn one(&self, _: EnvironmentId, _: TenantId) -> BoxFuture<'_, Result<Option<TenantRecord>, Unavailable>> {
        Box::pin(async { Ok(None) })
    }

    fn find<'a>(
        &'a self,
        name: &'a str,
        _: Option<ProjectId>,
    ) -> BoxFuture<'a, Result<Option<TenantRecord>, Unavailable>> {
        let known = [(1, "acme"), (2, "globex")];
        let found = known.iter().find(|(number, slug)| *slug == name || tenant(*number).to_string() == name);
        let record = found.map(|(number, slug)| TenantRecord {
            id: tenant(*number),
            project: ProjectId::from_uuid_bytes([1; 16]),
            slug: Slug::parse(slug).expect("a slug"),
            plan: Slug::parse("free").expect("a slug"),
            status: TenantStatus::Active,
            isolation: Isolation::Pool,
            domains: Vec::new(),
            rate_override: None,
        });
        Box::pin(async move { Ok(record) })
    }
}

/// Keeps records.
#[derive(Default)]
pub(crate) struct Kept(pub(crate) Mutex<Vec<LogRecord>>);

impl LogSink for Kept {
    fn append(&self, record: LogRecord) {
        self.0.lock().expect("nobody panics with it").push(record);
    }
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Made {
    slug: Slug,
    #[schemars(range(min = 1, max = 9))]
    size: u32,
    #[serde(default)]
    labels: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    inner: Option<Inner>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Inner {
    note: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Filter {
    #[serde(flatten)]
    page: PageQuery,
    name: Option<String>,
    kinds: Option<Vec<String>>,
}

async fn make(state: Arc<Shared>, call: Call<Made>) -> Result<Reply<Made>, Problem> {
    state.runs.fetch_add(1, Ordering::SeqCst);
    Ok(Reply::created(&format!("/api/v1/things/{}", call.body.slug), call.body))
}

async fn list(_: Arc<Shared>, call: Call<(), Filter>) -> Result<Reply<Vec<String>>, Problem> {
    let Filter { page, name, kinds } = call.query;
    let given = std::iter::once(page.page().limit.to_string()).chain(name).chain(kinds.unwrap_or_default());
    Ok(Reply::ok(given.collect()))
}

async fn one(_: Arc<Shared>, call: Call) -> Result<Reply<String>, Problem> {
    let ctx = call.tenant_ctx(&Tenants).await?;
    Ok(Reply::ok(ctx.tenant().to_string()).etag(7))
}

async fn change(_: Arc<Shared>, call: Call<Inner>) -> Result<Reply<String>, Problem> {
    call.check_revision(7)?;
    Ok(Reply::ok(call.body.note).etag(8))
}

async fn remove(_: Arc<Shared>, _: Call) -> Result<Reply<()>, Problem> {
    Ok(Reply::no_content())
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parcel {
    #[schemars(with = "Value")]
    payload: Box<RawValue>,
    #[serde(default)]
    #[schemars(range(max = 9))]
    priority: u8,
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl HotBody for Parcel {
    fn is_within(&self) -> bool {
        self.priority <= 9
    }
}

async fn parcel(state: Arc<Shared>, call: Call<Parcel>) -> Result<Reply<Parcel>, Problem> {
    state.runs.fetch_add(1, Ordering::SeqCst);
    if call.body.tags.is_some() {
        return Err(Problem::new(&base::codes::CONFLICT));
    }
    Ok(Reply::ok(call.body))
}

/// Says back what it hears, but for `bye`, which ends it.
async fn echo(_: Arc<Shared>, call: Call) -> Result<SocketReply, Problem> {
    if call.path.get("room")? != "hall" {
        return Err(Problem::new(&base::codes::NOT_FOUND));
    }
    Ok(SocketReply::new(|mut socket: Socket| async move {
        while let Some(text) = socket.receive().await {
            if text == "bye" {
                return socket.close(CloseCode::Normal).await;
            }
            if socket.send(&text).await.is_err() {
                return;
            }
        }
    }))
}

async fn place(_: Arc<Shared>, call: Call) -> Result<Reply<String>, Problem> {
    Ok(Reply::ok(call.environment()?.slug.to_string()))
}

async fn panics(_: Arc<Shared>, call: Call) -> Result<Reply<()>, Problem> {
    call.path.get("nowhere").expect("canary of a panic");
    Ok(Reply::no_content())
}

async fn breaks(_: Arc<Shared>, _: Call) -> Result<Reply<()>, Problem> {
    Err(db::Error::Statement("canary of a statement".into()).into())
}

async fn hangs(_: Arc<Shared>, _: Call) -> Result<Reply<()>, Problem> {
    std::future::pending().await
}

async fn stream(_: Arc<Shared>, _: Call) -> Result<Reply<()>, Problem> {
    let first = futures_util::stream::iter([1, 2]);
    Ok(Reply::ndjson(futures_util::StreamExt::chain(first, futures_util::stream::pending())))
}

pub(crate) fn routes(state: &Arc<Shared>) -> Routes {
    let s = || Arc::clone(state);
    Routes::new("things")
        .route(Spec::post("/api/v1/things", permissions::TENANTS_WRITE).summary("Make a thing"), s(), make)
        .route(Spec::get("/api/v1/things", permissions::TENANTS_READ).surface(Surface::Both), s(), list)
        .route(Spec::get("/api/v1/tenants/{t}", permissions::TENANTS_READ).surface(Surface::Both), s(), one)
        .route(Spec::patch("/api/v1/tenants/{t}", permissions::TENANTS_WRITE), s(), change)
        .route(Spec::delete("/api/v1/tenants/{t}", permissions::TENANTS_DELETE), s(), remove)
        .route(
            Spec::post("/api/v1/place", permissions::KEYS_WRITE).in_environment().repeatable("it only tells"),
            s(),
            place,
        )
        .hot(Spec::post("/api/v1/parcels", permissions::KEYS_WRITE).repeatable("a test"), s(), parcel)
        .socket(Spec::get("/api/v1/rooms/{room}", permissions::TENANTS_READ), s(), echo)
        .route(Spec::get("/api/v1/panics", permissions::TENANTS_READ), s(), panics)
        .route(Spec::get("/api/v1/breaks", permissions::TENANTS_READ), s(), breaks)
        .route(Spec::get("/api/v1/stream", permissions::TENANTS_READ).stream(StreamKind::Ndjson), s(), stream)
        .route(
            Spec::get("/api/v1/hangs", permissions::TENANTS_READ).time_max(Duration::from_millis(20)),
            s(),
            hangs,
        )
        .route(Spec::public("/livez"), s(), remove)
}

/// The API of [`routes`], with what it kept.
pub(crate) struct Api {
    pub(crate) server: Server,
    pub(crate) shared: Arc<Shared>,
    pub(crate) log: Arc<Kept>,
    pub(crate) metrics: Metrics,
}

/// One reply, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    /// The code of a problem document.
    pub(crate) fn code(&self) -> String {
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json", "{:?}", self.body);
        self.json()["code"].as_str().expect("a code").to_owned()
    }

    /// The places of a problem document's errors.
    pub(crate) fn pointers(&self) -> Vec<String> {
        let errors = self.json()["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| error["pointer"].as_str().expect("a pointer").to_owned()).collect()
    }
}

pub(crate) fn server(routes: Routes, log: Arc<Kept>, metrics: &Metrics) -> Result<Server, web::RouteError> {
    surface(Surface::Operator, routes, log, metrics)
}

pub(crate) fn surface(
    surface: Surface,
    routes: Routes,
    log: Arc<Kept>,
    metrics: &Metrics,
) -> Result<Server, web::RouteError> {
    Server::new(ServerDeps {
        routes: vec![routes],
        authenticate: Arc::new(Bearers::default()),
        environments: Some(Arc::new(Two)),
        log: Some(log),
        metrics,
        clock: ManualClock::new(Timestamp::from_micros(1_800_000_000_000_000)).shared(),
        random: SeededRandom::shared(7),
        surface,
        info: ApiInfo { title: "Switchyard", version: "0.0.0" },
    })
}

impl Api {
    pub(crate) fn new() -> Self {
        let (shared, log, metrics) = (Arc::new(Shared::default()), Arc::new(Kept::default()), Metrics::new());
        let server = server(routes(&shared), Arc::clone(&log), &metrics).expect("the routes agree");
        Self { server, shared, log, metrics }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.server.handle(request, Some(IpAddr::from([127, 0, 0, 1]))).await;
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a body without errors").to_bytes();
        Answer { status: head.status, headers: head.headers, body }
    }

    pub(crate) async fn get(&self, path: &str, bearer: &str) -> Answer {
        self.send(request(Method::GET, path, bearer).body(Body::empty()).expect("a request")).await
    }

    pub(crate) async fn with_body(
        &self,
        method: Method,
        path: &str,
        bearer: &str,
        body: impl Into<Body>,
    ) -> Answer {
        let request = request(method, path, bearer).header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(body.into()).expect("a request")).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.with_body(Method::POST, path, "operator", body).await
    }
}

pub(crate) fn request(method: Method, path: &str, bearer: &str) -> http::request::Builder {
    let request = Request::builder().method(method).uri(path);
    if bearer.is_empty() {
        request
    } else {
        request.header(header::AUTHORIZATION, format!("Bearer {bearer}"))
    }
}
