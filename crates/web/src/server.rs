//! The listener: connections, their limits, and their orderly end.

use crate::api::{Api, Endpoint, Found, Pool, Switch};
use crate::call::PathParams;
use crate::openapi::ApiInfo;
use crate::record::Recorder;
use crate::reference::{self, Description};
use crate::routes::{Route, RouteMeta, Routes};
use crate::spec::{Access, Surface};
use crate::stalled::{Impatient, WRITE_TIME_MAX};
use crate::vouch::vouched;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use base::{Secret, SharedClock, SharedRandom};
use http::{HeaderValue, header::HeaderName};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use lifecycle::{Stop, Tasks};
use percent_encoding::percent_decode_str;
use ports::{Authenticate, EnvironmentDirectory, LogSink};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use telemetry::Metrics;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Time in which the head of a request must have arrived whole, counted also while a kept connection is idle.
pub const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes of the head of a request.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Header lines of a request.
pub const HEADERS_MAX: usize = 100;
/// Connections at a time; more wait in the kernel's backlog.
pub const CONNECTIONS_MAX: usize = 1_024;
/// What the gateway is told of [`HEAD_TIME_MAX`], a second less.
const KEPT_IDLE: HeaderValue = HeaderValue::from_static("timeout=9");
/// Pause after a failed accept (no file descriptor left), in which others may end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a server is made of.
pub struct ServerDeps<'a> {
    /// All routes.
    pub routes: Vec<Routes>,
    /// Turns headers into callers.
    pub authenticate: Arc<dyn Authenticate>,
    /// Resolves the environment of a call; `None` where there are no environments.
    pub environments: Option<Arc<dyn EnvironmentDirectory>>,
    /// Takes one record a request.
    pub log: Option<Arc<dyn LogSink>>,
    /// Counts requests.
    pub metrics: &'a Metrics,
    /// Tells the time.
    pub clock: SharedClock,
    /// Makes ids and salts.
    pub random: SharedRandom,
    /// Which routes are served here.
    pub surface: Surface,
    /// What the API's description says of itself.
    pub info: ApiInfo,
}

/// Two routes, or a route and the rules, contradict each other. A mistake in the code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Two routes have the same method and path.
    #[error("{0} {1} is defined twice")]
    Twice(String, &'static str),
    /// Two paths differ only in the names of their parameters.
    #[error("{0} and {1} differ only in the names of their parameters")]
    Ambiguous(&'static str, &'static str),
    /// A public route that is not in the list of public routes.
    #[error("{0} needs no permission and is not in web::PUBLIC")]
    NotListed(&'static str),
    /// A path that cannot be matched.
    #[error("{0} is no path: {1}")]
    Path(&'static str, String),
}

/// The API, ready to serve. Clones share it.
#[derive(Clone)]
pub struct Server {
    api: Arc<Api>,
    paths: Arc<Paths>,
    description: Arc<Description>,
    metadata: Arc<Vec<RouteMeta>>,
    /// What the gateway vouches with; `None` where clients come themselves.
    vouch: Option<Arc<Secret<String>>>,
}

impl Server {
    /// Puts the routes of a surface together, and those that describe them.
    ///
    /// # Errors
    /// [`RouteError`], a mistake in the code.
    pub fn new(deps: ServerDeps<'_>) -> Result<Self, RouteError> {
        let ServerDeps { mut routes, authenticate, environments, log, metrics, clock, random, surface, info } =
            deps;
        let (own, description) = reference::routes(routes.clone(), info);
        routes.push(own);
        let recorder = Recorder::new(metrics, log, clock.clone());
        let ids = Pool::new(Arc::clone(&random));
        let api = Arc::new(Api { authenticate, environments, recorder, clock, random, ids, surface });
        let served = routes.iter().flat_map(Routes::iter).filter(|route| surface.serves(route.spec.surface));
        let paths = Arc::new(Paths::of(served)?);
        let metadata = Arc::new(routes.iter().flat_map(Routes::metadata).collect());
        Ok(Self { api, paths, description, metadata, vouch: None })
    }

    /// Answers the gateway alone, which says for whom it asks ([`VOUCH`](crate::VOUCH)); to all others there is nothing
    /// here.
    #[must_use]
    pub fn behind_gateway(mut self, secret: Secret<String>) -> Self {
        self.vouch = Some(Arc::new(secret));
        self
    }

    /// All routes, whatever the surface, with those that describe the others.
    #[must_use]
    pub fn metadata(&self) -> &[RouteMeta] {
        &self.metadata
    }

    /// The OpenAPI document of all routes, whatever the surface. Made anew each time: it is large, and seldom asked for.
    #[must_use]
    pub fn document(&self) -> serde_json::Value {
        self.description.document()
    }

    /// Answers one request, as if it had come by a connection from `peer`.
    pub async fn handle(&self, request: Request<Body>, peer: Option<IpAddr>) -> Response {
        self.answer(request, (peer, Stop::never(), None)).await
    }

    /// Serves until told to stop: then nothing new is accepted, streams end, and what is begun is finished, until cut.
    ///
    /// # Errors
    /// When the listener cannot be used.
    pub async fn serve(&self, listener: std::net::TcpListener, tasks: Tasks, stop: Stop) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.stopped() => break,
                accepted = accept(&listener, &room) => accepted,
            };
            match accepted {
                Ok((stream, peer, place)) => {
                    let connection = self.clone().connection(stream, peer, stop.clone());
                    tasks.spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection to the control API could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        tokio::select! {
            () = tasks.idle() => {}
            () = stop.cut() => tasks.abort(),
        }
        Ok(())
    }

    async fn connection(self, stream: TcpStream, peer: IpAddr, stop: Stop) {
        // Without it each small reply waits for the peer's delayed acknowledgement: 32 ms measured against 0.3.
        let _ = stream.set_nodelay(true);
        let (answered, switch) = (stop.clone(), Switch::default());
        let next = Arc::clone(&switch);
        let service = service_fn(move |request: http::Request<Incoming>| {
            let (server, stop, switch) = (self.clone(), answered.clone(), Arc::clone(&switch));
            let from = (Some(peer), stop, Some(switch));
            async move { Ok::<_, Infallible>(server.answer(request.map(Body::new), from).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .serve_connection(TokioIo::new(Impatient::new(stream, WRITE_TIME_MAX)), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = stop.stopped() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            // The peer's framing, time or absence; it has been answered by hyper where that was possible.
            tracing::debug!(%error, %peer, "a connection to the control API ended early");
        }
        let next = next.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(next) = next {
            next.await;
        }
    }

    async fn answer(&self, request: Request<Body>, from: (Option<IpAddr>, Stop, Option<Switch>)) -> Response {
        let Some(secret) = &self.vouch else {
            let found = self.paths.find(request.uri().path());
            return self.api.handle(request, from, found).await;
        };
        let (mut request, (peer, stop, switch)) = (request, from);
        let client = vouched(request.headers_mut(), secret);
        let found = client.and_then(|_| self.paths.find(request.uri().path()));
        let mut response = self.api.handle(request, (client.or(peer), stop, switch), found).await;
        // The gateway keeps the connection for less than it may be idle here.
        response.headers_mut().insert(HeaderName::from_static("keep-alive"), KEPT_IDLE);
        response
    }
}

/// The next connection, once there is room for it.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, IpAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer.ip().to_canonical(), place))
}

/// All paths of a surface.
struct Paths(matchit::Router<Arc<Endpoint>>);

impl Paths {
    fn of<'a>(routes: impl Iterator<Item = &'a Arc<Route>>) -> Result<Self, RouteError> {
        let mut paths = matchit::Router::new();
        for (path, endpoint) in by_path(routes)? {
            let inserted = paths.insert(path, Arc::new(endpoint));
            inserted.map_err(|error| RouteError::Path(path, error.to_string()))?;
        }
        Ok(Self(paths))
    }

    fn find(&self, path: &str) -> Option<Found> {
        let found = self.0.at(path).ok()?;
        let endpoint = Arc::clone(found.value);
        let values = endpoint.names.iter().zip(found.params.iter());
        let params =
            values.map(|(name, (_, value))| Some((*name, decoded(value)?))).collect::<Option<Vec<_>>>();
        Some((endpoint, params.map(PathParams)))
    }
}

/// A parameter of a path as text; `None` for what cannot be kept.
fn decoded(value: &str) -> Option<String> {
    let text = percent_decode_str(value).decode_utf8().ok()?;
    (!text.contains('\0')).then(|| text.into_owned())
}

fn by_path<'a>(
    routes: impl Iterator<Item = &'a Arc<Route>>,
) -> Result<BTreeMap<&'static str, Endpoint>, RouteError> {
    let mut paths: BTreeMap<&'static str, Endpoint> = BTreeMap::new();
    let mut shapes: BTreeMap<String, &'static str> = BTreeMap::new();
    for route in routes {
        let path = route.spec.path;
        if matches!(route.spec.access, Access::Public("")) {
            return Err(RouteError::NotListed(path));
        }
        let first = *shapes.entry(nameless(path)).or_insert(path);
        if first != path {
            return Err(RouteError::Ambiguous(first, path));
        }
        let endpoint = paths.entry(path).or_insert_with(|| Endpoint {
            routes: Vec::new(),
            names: route.spec.path_parameters().collect(),
        });
        if endpoint.routes.iter().any(|other| other.spec.method == route.spec.method) {
            return Err(RouteError::Twice(route.spec.method.to_string(), path));
        }
        endpoint.routes.push(Arc::clone(route));
    }
    Ok(paths)
}

/// The path without the names of its parameters.
fn nameless(path: &str) -> String {
    let part = |part: &str| if part.starts_with('{') { "{}".to_owned() } else { part.to_owned() };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}
