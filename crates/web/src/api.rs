//! One request, from its head to its reply.
//!
//! The order is the security of it: id and limits of the head, route, caller, permission; only then is a byte of
//! the body read, then query and body are parsed, and the handler runs. Whatever happens, the reply has
//! the request's id, the headers that browsers need, and one record in log and metrics.

use crate::body;
use crate::call::{Call, PathParams, RequestMeta};
use crate::cookie::{self, Cookies};
use crate::environment;
use crate::etag::ETag;
use crate::idempotency::{self, Idempotency};
use crate::problem::Problem;
use crate::query;
use crate::record::{Recorder, Seen};
use crate::refusal::{self, Shape};
use crate::reply::{Answer, AnswerContent};
use crate::routes::Route;
use crate::socket::{self, Socket};
use crate::spec::{Access, StreamKind, Surface};
use authority::{Caller, Origin};
use axum::body::Body;
use axum::response::Response;
use base::{Random, RequestId, Secret, SharedClock, SharedRandom, TenantId, codes};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt, unfold};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use hyper::upgrade::OnUpgrade;
use lifecycle::Stop;
use ports::{Authenticate, EnvironmentDirectory};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Bytes of path and query together.
pub const URI_BYTES_MAX: usize = 8 * 1024;
/// Bytes of `Authorization` where a route reads it itself: a token of 8 KiB, with room.
const AUTHORIZATION_BYTES_MAX: usize = 16 * 1024;
/// Bytes of `User-Agent` that are kept.
pub const AGENT_BYTES_MAX: usize = 256;
/// A stream of events that has nothing to say sends a comment so often, so that both ends notice a dead peer.
pub const SSE_PING: Duration = Duration::from_secs(15);
/// The credential behind an open stream or socket is looked at so often (TORTURE A9).
pub const RECHECK_EVERY: Duration = Duration::from_millis(500);

/// The header with a request's id, in requests and replies.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const TENANT: HeaderName = HeaderName::from_static("switchyard-tenant");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What all requests share.
pub(crate) struct Api {
    pub(crate) authenticate: Arc<dyn Authenticate>,
    pub(crate) environments: Option<Arc<dyn EnvironmentDirectory>>,
    pub(crate) recorder: Recorder,
    pub(crate) clock: SharedClock,
    pub(crate) random: SharedRandom,
    pub(crate) ids: Pool,
    pub(crate) surface: Surface,
}

/// The methods of one path, and the names of its parameters.
pub(crate) struct Endpoint {
    pub(crate) routes: Vec<Arc<Route>>,
    pub(crate) names: Vec<&'static str>,
}

/// Where a path leads; the parameters are `None` when they are not text that can be kept.
pub(crate) type Found = (Arc<Endpoint>, Option<PathParams>);

/// Random bytes for the ids of requests, taken from the source many at a time: a call of the system for each request would
/// cost as much as reading its head. They are no secret.
#[derive(Debug)]
pub(crate) struct Pool {
    source: SharedRandom,
    bytes: Mutex<VecDeque<u8>>,
}

/// Bytes taken at once.
const POOL_BYTES: usize = 4 * 1024;

impl Pool {
    pub(crate) fn new(source: SharedRandom) -> Self {
        Self { source, bytes: Mutex::default() }
    }
}

impl Random for Pool {
    fn fill(&self, buffer: &mut [u8]) {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        for slot in buffer {
            if bytes.is_empty() {
                bytes.extend(self.source.array::<POOL_BYTES>());
            }
            *slot = bytes.pop_front().unwrap_or_default();
        }
    }
}

/// What is known of a request before it is routed.
#[derive(Clone)]
pub(crate) struct Arrival {
    pub(crate) id: RequestId,
    pub(crate) peer: Option<IpAddr>,
    pub(crate) stop: Stop,
    /// Where the connection looks for how to go on; `None` where there is no connection to switch over.
    pub(crate) switch: Option<Switch>,
}

/// A connection's place for what follows when HTTP is over.
pub(crate) type Switch = Arc<Mutex<Option<BoxFuture<'static, ()>>>>;

/// What the record of a request tells besides its head.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) route: &'static str,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) principal: Option<String>,
    pub(crate) code: Option<&'static str>,
    /// Whether success has no record of its own.
    pub(crate) quiet: bool,
}

impl Api {
    /// The id of a request: the client's when it is one of ours in form, else a new one.
    fn request_id(&self, headers: &HeaderMap) -> RequestId {
        let mut given = headers.get_all(REQUEST_ID).iter();
        let text = given.next().and_then(|value| value.to_str().ok());
        text.filter(|_| given.next().is_none())
            .and_then(|text| RequestId::parse(text).ok())
            .unwrap_or_else(|| RequestId::new(&*self.clock, &self.ids))
    }

    /// Answers a request for what its path has led to.
    pub(crate) async fn handle(
        self: &Arc<Self>,
        mut request: Request<Body>,
        (peer, stop, switch): (Option<IpAddr>, Stop, Option<Switch>),
        found: Option<Found>,
    ) -> Response {
        let started = self.clock.monotonic();
        let id = self.request_id(request.headers());
        let id_text = id.to_string();
        let id_value = HeaderValue::from_str(&id_text).ok();
        if let Some(value) = &id_value {
            request.headers_mut().insert(REQUEST_ID, value.clone());
        }
        let seen = Seen::of(&request, id, peer);
        let accept = found.is_none().then(|| request.headers().get(header::ACCEPT).cloned()).flatten();
        let too_long = request.uri().path_and_query().is_some_and(|uri| uri.as_str().len() > URI_BYTES_MAX);
        let arrival = Arrival { id, peer, stop, switch };
        let (mut response, outcome) = match found {
            _ if too_long => refuse(&Problem::new(&codes::URI_TOO_LONG), &id_text, Outcome::default()),
            None => refuse_as(&nowhere(), (Shape::Page, accept.as_ref()), &id_text, Outcome::default()),
            Some((endpoint, path)) => {
                // What panics here fails this request alone; the panic's message goes to the log by the hook.
                let answering = self.dispatch(&endpoint, path, request, arrival);
                AssertUnwindSafe(answering).catch_unwind().await.unwrap_or_else(|_| {
                    let problem = Problem::internal("the handler panicked");
                    self.recorder.fault(&seen, &problem);
                    refuse(&problem, &id_text, Outcome::default())
                })
            }
        };
        finish_headers(response.headers_mut(), id_value);
        let took = self.clock.monotonic().saturating_sub(started);
        self.recorder.record(&seen, &outcome, response.status(), took);
        response
    }

    /// Runs the route of an endpoint that has the request's method.
    async fn dispatch(
        self: &Arc<Self>,
        endpoint: &Endpoint,
        path: Option<PathParams>,
        request: Request<Body>,
        arrival: Arrival,
    ) -> (Response, Outcome) {
        let (mut parts, body) = request.into_parts();
        let Some(route) = endpoint.of(&parts.method) else {
            let problem = Problem::new(&codes::METHOD_NOT_ALLOWED).header(header::ALLOW, &endpoint.allowed());
            return refuse(&problem, &arrival.id.to_string(), endpoint.outcome());
        };
        let mut outcome = Outcome { route: route.spec.path, quiet: route.spec.hot, ..Outcome::default() };
        let result = match path {
            Some(path) => self.run(route, path, &parts, body, &arrival, &mut outcome).await,
            None => Err(Problem::new(&codes::BAD_REQUEST)
                .fault("/path", "percent-encoded UTF-8 without NUL is expected")),
        };
        let answered = match result {
            Ok(Answer { content: AnswerContent::Socket(session), .. }) => {
                self.switch(&mut parts, route, &arrival, session)
            }
            Ok(answer) => Ok(self.render(answer, &parts, route, &arrival)),
            Err(problem) => Err(problem),
        };
        match answered {
            Ok(response) => (response, outcome),
            Err(problem) => {
                self.recorder.fault(&Seen::of_parts(&parts, arrival.id, arrival.peer), &problem);
                let shape = (route.spec.refusals, parts.headers.get(header::ACCEPT));
                refuse_as(&problem, shape, &arrival.id.to_string(), outcome)
            }
        }
    }

    /// Answers a handshake, and leaves word of how the connection goes on.
    fn switch(
        self: &Arc<Self>,
        parts: &mut Parts,
        route: &Arc<Route>,
        arrival: &Arrival,
        session: socket::Session,
    ) -> Result<Response, Problem> {
        let (status, headers) = socket::handshake(parts)?;
        let upgrade = parts.extensions.remove::<OnUpgrade>().zip(arrival.switch.as_ref());
        let (upgrade, switch) =
            upgrade.ok_or_else(|| Problem::internal("a connection that cannot be switched over"))?;
        let (over, stop) = (self.clone().revoked(parts, route, arrival.peer), arrival.stop.clone());
        let next = async move {
            if let Ok(upgraded) = upgrade.await {
                session(Socket::new(upgraded, stop, over)).await;
            }
        };
        *switch.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::pin(next));
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }

    /// Resolves when the credential of a request would not get this route any more. That credentials cannot be checked
    /// now ends nothing.
    fn revoked(
        self: Arc<Self>,
        parts: &Parts,
        route: &Arc<Route>,
        peer: Option<IpAddr>,
    ) -> BoxFuture<'static, ()> {
        let (route, headers) = (Arc::clone(route), parts.headers.clone());
        Box::pin(async move {
            let Access::Needs(permission) = &route.spec.access else { return std::future::pending().await };
            loop {
                tokio::time::sleep(RECHECK_EVERY).await;
                let caller = match self.authenticate.caller(&headers, peer).await {
                    Ok(caller) => caller,
                    Err(ports::AuthError::Unavailable) => continue,
                    Err(_) => return,
                };
                let environment = environment::of_call(self.environments.as_deref(), &caller, &headers);
                let place = environment.ok().flatten().filter(|_| route.spec.in_environment);
                if !caller.may(permission, place.as_ref().map(|place| &place.slug)) {
                    return;
                }
            }
        })
    }

    fn render(
        self: &Arc<Self>,
        answer: Answer,
        parts: &Parts,
        route: &Arc<Route>,
        arrival: &Arrival,
    ) -> Response {
        let Answer { mut status, headers, content } = answer;
        let unchanged = parts.method == Method::GET
            && status == http::StatusCode::OK
            && headers
                .get(header::ETAG)
                .and_then(|tag| tag.to_str().ok())
                .is_some_and(|tag| ETag::unchanged(&parts.headers, tag));
        let body = match content {
            _ if unchanged => {
                status = http::StatusCode::NOT_MODIFIED;
                Body::empty()
            }
            AnswerContent::Empty | AnswerContent::Socket(_) => Body::empty(),
            AnswerContent::Whole(bytes) => Body::from(bytes),
            AnswerContent::Stream(chunks) => {
                let over = self.clone().revoked(parts, route, arrival.peer);
                stream_body(chunks, route.spec.stream, arrival.stop.clone(), over)
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    #[expect(clippy::too_many_arguments, reason = "each is another part of one request")]
    async fn run(
        &self,
        route: &Route,
        path: PathParams,
        parts: &Parts,
        body: Body,
        arrival: &Arrival,
        outcome: &mut Outcome,
    ) -> Result<Answer, Problem> {
        let caller = self.caller(route, parts, arrival).await?;
        outcome.tenant = caller.tenant_id();
        outcome.principal = (!caller.is_nobody()).then(|| caller.principal().to_string());
        let environment = environment::of_call(self.environments.as_deref(), &caller, &parts.headers)?;
        if let Access::Needs(permission) = &route.spec.access {
            let place = environment::needed(route.spec.in_environment, environment.as_ref())?;
            caller.require(permission, place)?;
        }
        if !route.spec.cookies.is_empty() && route.spec.method != Method::GET {
            cookie::from_own_page(&parts.headers)?;
        }
        let if_match = ETag::from_if_match(&parts.headers);
        let key = idempotency_key(&parts.headers)?;
        let query = query::read(parts.uri.query().unwrap_or(""), &route.query, route.spec.lenient)?;
        let (bytes, body) = body::read(parts, body, &route.body, &route.spec).await?;
        let idempotency = match key.filter(|_| route.spec.takes_idempotency_key()) {
            Some(key) => {
                let scope = scope_of(route, &caller);
                let target = parts.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
                let request = idempotency::Request { key, scope: &scope, target, body: &bytes };
                Idempotency::new(&request, self.clock.clone(), self.random.clone())
            }
            None => Idempotency::none(),
        };
        // The connection reads into the same memory again once nobody holds it.
        drop(bytes);
        let watch = idempotency.clone();
        let request = request_meta(parts, (arrival, self.surface), route);
        let call = Call { caller, path, query, body, idempotency, if_match, environment, request };
        let answer =
            tokio::time::timeout(route.spec.time_max, (route.handler)(call)).await.map_err(|_| {
                Problem::new(&codes::UNAVAILABLE)
                    .detail("This took too long; read its state before you try again.")
            })??;
        Ok(self.mark(answer, &watch, route))
    }

    async fn caller(&self, route: &Route, parts: &Parts, arrival: &Arrival) -> Result<Caller, Problem> {
        match route.spec.access {
            Access::Public(_) => {
                let origin =
                    Origin { ip: arrival.peer, agent: agent(&parts.headers), request: Some(arrival.id) };
                Ok(Caller::nobody(origin))
            }
            Access::Needs(_) => Ok(self.authenticate.caller(&parts.headers, arrival.peer).await?),
        }
    }

    fn mark(&self, mut answer: Answer, idempotency: &Idempotency, route: &Route) -> Answer {
        if idempotency.was_replayed() {
            answer.headers.insert(REPLAYED, HeaderValue::from_static("true"));
        }
        if idempotency.was_ignored() {
            tracing::error!(
                route = route.spec.path,
                "a handler did not look at the Idempotency-Key it was given"
            );
        }
        answer
    }
}

/// Whose idempotency keys of which route. The kind with its id, without the name for people, which may change while
/// a key is kept.
fn scope_of(route: &Route, caller: &Caller) -> String {
    let (kind, tenant) = (caller.principal().kind, caller.tenant_id());
    format!("{kind:?} {tenant:?} {} {}", route.spec.method, route.spec.path)
}

impl Endpoint {
    fn of(&self, method: &Method) -> Option<&Arc<Route>> {
        let wanted = if *method == Method::HEAD { &Method::GET } else { method };
        self.routes.iter().find(|route| route.spec.method == *wanted)
    }

    fn allowed(&self) -> String {
        let mut methods: Vec<&str> = self.routes.iter().map(|route| route.spec.method.as_str()).collect();
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods.sort_unstable();
        methods.join(", ")
    }

    fn outcome(&self) -> Outcome {
        let route = self.routes.first().map_or("", |route| route.spec.path);
        Outcome { route, code: Some(codes::METHOD_NOT_ALLOWED.name), ..Outcome::default() }
    }
}

/// A refusal on the wire.
fn refuse(problem: &Problem, request_id: &str, outcome: Outcome) -> (Response, Outcome) {
    refuse_as(problem, (Shape::Problem, None), request_id, outcome)
}

/// A refusal on the wire, in a route's shape, for a client that asks for this.
fn refuse_as(
    problem: &Problem,
    (shape, accept): (Shape, Option<&HeaderValue>),
    request_id: &str,
    mut outcome: Outcome,
) -> (Response, Outcome) {
    outcome.code = Some(problem.code().name);
    let (status, headers, document) = refusal::render(problem, shape, accept, request_id);
    let mut response = Response::new(Body::from(document));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    (response, outcome)
}

fn nowhere() -> Problem {
    Problem::new(&codes::NOT_FOUND).detail("There is no such path; see /api/docs.")
}

/// Chunks until they end, the server stops or it is over; a stream of events is kept alive by comments.
fn stream_body(
    chunks: BoxStream<'static, Bytes>,
    kind: Option<StreamKind>,
    stop: Stop,
    over: BoxFuture<'static, ()>,
) -> Body {
    let stopped = async move {
        tokio::select! {
            () = stop.stopped() => {}
            () = over => {}
        }
    };
    let chunks = if kind == Some(StreamKind::Sse) { with_pings(chunks) } else { chunks };
    Body::from_stream(chunks.take_until(Box::pin(stopped)).map(Ok::<_, Infallible>))
}

fn with_pings(chunks: BoxStream<'static, Bytes>) -> BoxStream<'static, Bytes> {
    unfold(chunks, |mut chunks| async move {
        match tokio::time::timeout(SSE_PING, chunks.next()).await {
            Ok(chunk) => chunk.map(|chunk| (chunk, chunks)),
            Err(_) => Some((Bytes::from_static(b":\n\n"), chunks)),
        }
    })
    .boxed()
}

/// What every reply carries. A route's own value stands.
fn finish_headers(headers: &mut HeaderMap, request_id: Option<HeaderValue>) {
    const FIXED: [(HeaderName, &str); 6] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'; base-uri 'none'"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in FIXED {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if let Some(value) = request_id {
        headers.insert(REQUEST_ID, value);
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let key = value.to_str().ok().filter(|text| idempotency::is_key(text) && values.next().is_none());
    key.map(Some).ok_or_else(|| {
        Problem::new(&codes::BAD_REQUEST)
            .fault("/header/idempotency-key", "one value of 1 to 255 visible ASCII characters is expected")
    })
}

fn request_meta(parts: &Parts, (arrival, surface): (&Arrival, Surface), route: &Route) -> RequestMeta {
    let text =
        |name: &HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    RequestMeta {
        id: arrival.id,
        peer: arrival.peer,
        surface,
        agent: agent(&parts.headers),
        tenant: text(&TENANT),
        accept: text(&header::ACCEPT),
        last_event_id: text(&LAST_EVENT_ID),
        cookies: Cookies::of(&parts.headers, route.spec.cookies),
        authorization: authorization(parts, route),
    }
}

/// `Authorization`, for a public route that judges it itself; none when there are several.
fn authorization(parts: &Parts, route: &Route) -> Option<Secret<String>> {
    let reads = route.spec.reads_authorization && matches!(route.spec.access, Access::Public(_));
    let mut values = parts.headers.get_all(header::AUTHORIZATION).iter().filter(|_| reads);
    let text = values.next()?.to_str().ok().filter(|text| text.len() <= AUTHORIZATION_BYTES_MAX)?;
    values.next().is_none().then(|| Secret::new(text.to_owned()))
}

/// `User-Agent`, cut.
pub(crate) fn agent(headers: &HeaderMap) -> Option<String> {
    let bytes = headers.get(header::USER_AGENT)?.as_bytes();
    let cut = bytes.get(..AGENT_BYTES_MAX).unwrap_or(bytes);
    Some(String::from_utf8_lossy(cut).into_owned())
}
