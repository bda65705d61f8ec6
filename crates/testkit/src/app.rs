//! Capabilities under test, served in process.
//!
//! A [`TestApp`] has a store, the routes and the tasks of some modules, and clients for each kind of caller. Requests
//! pass by all that `web` does to them, only the socket is left out. When the test ends, nothing may be left over:
//! no task that does not stop, no record of WARN or ERROR that the test did not expect.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use authority::{Caller, Origin, Role};
use base::{EnvironmentId, SessionId, TenantId, UserId};
use db::{Event, Kind, MigrationSet};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use lifecycle::Supervisor;
use module::Module;
use ports::{AuthError, Authenticate, BoxFuture, EnvironmentDirectory};
use serde_json::Value;
use telemetry::Metrics;
use web::{ApiInfo, Server, ServerDeps, Surface};

use crate::callers;
use crate::places::Places;
use crate::records::Records;
use crate::stores::{Fixture, Store, Told};

/// Where requests of tests come from.
pub const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
/// Names the caller of a request to [`TestCallers`]: an index into its list.
const CALLER: &str = "x-test-caller";
/// How long tasks may take to stop after a test.
const STOP_MAX: Duration = Duration::from_secs(10);

/// Most events that a test looks at.
const EVENTS_MAX: u32 = 1_000;

/// What a test serves.
pub struct Parts {
    /// Capabilities whose routes and tasks run.
    pub modules: Vec<Module>,
    /// Who turns headers into callers; `None` for the test's own clients only.
    pub authenticate: Option<Arc<dyn Authenticate>>,
    /// Environments that calls may name.
    pub environments: Option<Arc<dyn EnvironmentDirectory>>,
    /// Which routes are served.
    pub surface: Surface,
}

impl Parts {
    /// One module on the operators' surface.
    #[must_use]
    pub fn of(module: Module) -> Parts {
        Parts { modules: vec![module], authenticate: None, environments: None, surface: Surface::Operator }
    }

    /// The same, where calls may name environments of `places`.
    #[must_use]
    pub fn among(self, places: &Arc<Places>) -> Parts {
        Parts { environments: Some(Arc::clone(places) as Arc<dyn EnvironmentDirectory>), ..self }
    }
}

/// A running app of one test. Cloning shares it.
#[derive(Clone)]
pub struct TestApp {
    /// Its store, clock and randomness.
    pub store: Store,
    /// What answers.
    pub server: Server,
    callers: Arc<TestCallers>,
    records: Arc<Records>,
}

impl TestApp {
    /// Somebody of the team that runs the installation.
    #[must_use]
    pub fn operator(&self) -> Client {
        self.client(callers::operator(origin()))
    }

    /// Somebody of that team with a role of their own.
    #[must_use]
    pub fn operator_as(&self, role: Role) -> Client {
        self.client(callers::operator_as(role, origin()))
    }

    /// Somebody without a credential.
    #[must_use]
    pub fn nobody(&self) -> Client {
        self.client(Caller::nobody(origin()))
    }

    /// A key of a tenant with a role, in all environments.
    #[must_use]
    pub fn member(&self, tenant: TenantId, role: Role) -> Client {
        self.client(callers::member(tenant, role, origin()))
    }

    /// A key of a tenant with a role, in one environment.
    #[must_use]
    pub fn member_in(&self, tenant: TenantId, role: Role, environment: EnvironmentId) -> Client {
        self.client(callers::bound(tenant, role, environment, origin()))
    }

    /// A person in a session: as a member of a tenant with a role, or (`None`) as an owner of the installation.
    #[must_use]
    pub fn person(&self, user: UserId, session: SessionId, member: Option<(TenantId, Role)>) -> Client {
        self.client(callers::person(user, session, member, origin()))
    }

    /// A service of an environment, that acts for one tenant, or (`None`) for all.
    #[must_use]
    pub fn service(&self, environment: EnvironmentId, tenant: Option<TenantId>) -> Client {
        self.client(callers::service(environment, tenant, origin()))
    }

    /// Whoever this is.
    #[must_use]
    pub fn client(&self, caller: Caller) -> Client {
        let mut callers = self.callers.list.lock().unwrap_or_else(PoisonError::into_inner);
        callers.push(caller);
        let mut headers = HeaderMap::new();
        headers.insert(CALLER, HeaderValue::from(callers.len() - 1));
        Client { server: self.server.clone(), headers }
    }

    /// Says that a WARN or ERROR with this text in it was meant to be logged.
    ///
    /// # Panics
    /// When there was none.
    pub fn expect_record(&self, part: &str) {
        assert!(self.records.take(part), "no WARN or ERROR with {part:?} among {:#?}", self.records.rest());
    }

    /// The start of the log, once it has at least `count` events.
    ///
    /// # Panics
    /// When the log cannot be read.
    pub async fn events(&self, count: i64) -> Vec<Event> {
        let log = self.store.db.events();
        while log.head() < count {
            log.wait_beyond(log.head()).await;
        }
        log.after(0, EVENTS_MAX).await.unwrap_or_else(|error| panic!("read the log: {error}"))
    }

    /// The first event of this kind, once there is one.
    ///
    /// # Panics
    /// When the log cannot be read.
    pub async fn event(&self, kind: &str) -> Event {
        let log = self.store.db.events();
        loop {
            let head = log.head();
            match self.events(0).await.into_iter().find(|event| event.kind == kind) {
                Some(event) => return event,
                None => log.wait_beyond(head).await,
            };
        }
    }
}

/// Sends requests as one caller.
#[derive(Clone)]
pub struct Client {
    server: Server,
    headers: HeaderMap,
}

impl Client {
    /// The same caller, with one more header.
    ///
    /// # Panics
    /// When the name or value is no header's.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Client {
        let value = HeaderValue::from_str(value).unwrap_or_else(|error| panic!("{name}: {error}"));
        self.headers.insert(name, value);
        self
    }

    /// Sends a `GET`.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    /// Sends a `POST` with a JSON body; `Null` sends none.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(body)).await
    }

    /// Sends a `PUT` with a JSON body.
    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PUT, path, Some(body)).await
    }

    /// Sends a `PATCH` with a JSON body.
    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PATCH, path, Some(body)).await
    }

    /// Sends a `DELETE`.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None).await
    }

    /// Sends a request with a JSON body.
    pub async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let text = body.filter(|body| !body.is_null()).map(|body| body.to_string());
        let kind = text.is_some().then_some("application/json");
        self.send_text(method, path, kind, text.unwrap_or_default()).await
    }

    /// Sends a request with any body, such as a malformed one.
    ///
    /// # Panics
    /// When the path is no URI.
    pub async fn send_text(
        &self,
        method: Method,
        path: &str,
        kind: Option<&'static str>,
        body: String,
    ) -> Answer {
        let shown = format!("{method} {path}");
        let mut request = Request::builder().method(method).uri(path);
        if let Some(headers) = request.headers_mut() {
            headers.extend(self.headers.clone());
            headers.extend(kind.map(|kind| (http::header::CONTENT_TYPE, HeaderValue::from_static(kind))));
            if !body.is_empty() {
                headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from(body.len()));
            }
        }
        let request = request.body(body).unwrap_or_else(|error| panic!("{shown}: {error}"));
        let response = self.server.handle(request.map(Into::into), Some(PEER)).await;
        Answer::read(shown, response).await
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// Method and path, for messages.
    pub request: String,
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as text.
    pub text: String,
    /// The body as JSON; `Null` when it is none.
    pub body: Value,
}

impl Answer {
    async fn read<B>(request: String, response: Response<B>) -> Answer
    where
        B: http_body::Body,
        B::Error: std::fmt::Display,
    {
        let (parts, body) = response.into_parts();
        let bytes = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => panic!("{request}: the body breaks off: {error}"),
        };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer { request, status: parts.status, headers: parts.headers, text, body }
    }

    /// Passes the body on when the status is this one.
    ///
    /// # Panics
    /// When it is another.
    #[track_caller]
    pub fn ok(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}: {}", self.request, self.text);
        self.body
    }

    /// Requires a problem document with this code.
    ///
    /// # Panics
    /// When it is something else.
    #[track_caller]
    pub fn problem(self, code: &base::Code) -> Value {
        assert_eq!(self.body["code"], code.name, "{}: {} {}", self.request, self.status, self.text);
        self.body
    }

    /// A header's text, empty when it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// Knows the clients of a test, and asks another for everybody else.
struct TestCallers {
    list: Mutex<Vec<Caller>>,
    other: Option<Arc<dyn Authenticate>>,
}

impl Authenticate for TestCallers {
    fn caller<'a>(
        &'a self,
        headers: &'a HeaderMap,
        peer: Option<IpAddr>,
    ) -> BoxFuture<'a, Result<Caller, AuthError>> {
        let index = headers.get(CALLER).and_then(|index| index.to_str().ok()?.parse::<usize>().ok());
        Box::pin(async move {
            let known = index.and_then(|index| {
                self.list.lock().unwrap_or_else(PoisonError::into_inner).get(index).cloned()
            });
            match (known, &self.other) {
                (Some(caller), _) => Ok(caller),
                (None, Some(other)) => other.caller(headers, peer).await,
                (None, None) => Err(AuthError::Missing),
            }
        })
    }
}

fn origin() -> Origin {
    Origin { ip: Some(PEER), ..Origin::default() }
}

/// Runs a test of routes on SQLite, then on PostgreSQL, each time with a fresh store that has the migrations of
/// `sets`, and with what `build` makes over it.
///
/// # Panics
/// When the test does, when a task does not stop, or when there is a WARN or ERROR that was not expected.
pub async fn apps<B, P, F, T>(sets: &[MigrationSet], build: B, test: F)
where
    B: Fn(Store) -> P,
    P: Future<Output = Parts>,
    F: Fn(TestApp) -> T,
    T: Future<Output = ()>,
{
    let build = |store| {
        let parts = build(store);
        async move { (parts.await, ()) }
    };
    apps_with(sets, build, |app, ()| test(app)).await;
}

/// The same, where `build` keeps something for the test: its stand-ins, or a part of the capability that no route
/// shows.
///
/// # Panics
/// As [`apps`].
pub async fn apps_with<B, P, K, F, T>(sets: &[MigrationSet], build: B, test: F)
where
    B: Fn(Store) -> P,
    P: Future<Output = (Parts, K)>,
    F: Fn(TestApp, K) -> T,
    T: Future<Output = ()>,
{
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let _told = Told(kind);
        let records = Arc::new(Records::collect());
        let fixture = Fixture::open(kind, sets).await;
        let (parts, kept) = build(fixture.store.clone()).await;
        let supervisor = Supervisor::new(fixture.store.shared_clock());
        let app = start(&fixture.store, parts, &supervisor, Arc::clone(&records));
        test(app, kept).await;
        let stopped = supervisor.stop(STOP_MAX).await;
        assert!(stopped.is_ok(), "tasks are left over after the test: {stopped:?}");
        fixture.close().await;
        let rest = records.rest();
        assert!(rest.is_empty(), "the test logs what it does not expect: {rest:#?}");
    }
}

fn start(store: &Store, parts: Parts, supervisor: &Supervisor, records: Arc<Records>) -> TestApp {
    let Parts { modules, authenticate, environments, surface } = parts;
    let callers = Arc::new(TestCallers { list: Mutex::default(), other: authenticate });
    let mut routes = Vec::new();
    for module in modules {
        routes.push(module.routes);
        for task in module.tasks {
            supervisor.restartable(task.kind, task.name, task.run);
        }
    }
    let server = Server::new(ServerDeps {
        routes,
        authenticate: Arc::clone(&callers) as Arc<dyn Authenticate>,
        environments,
        log: None,
        metrics: &Metrics::new(),
        clock: store.shared_clock(),
        random: store.random.clone(),
        surface,
        info: ApiInfo { title: "Test", version: "0.0.0" },
    })
    .unwrap_or_else(|error| panic!("{error}"));
    TestApp { store: store.clone(), server, callers, records }
}
