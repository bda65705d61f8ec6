//! The client of verbs against a real listener of the framework.

use authority::{Caller, Origin, permissions};
use base::{Cursor, Page, Secret, SeededRandom, SystemClock};
use http::HeaderMap;
use lifecycle::{Stop, Supervisor, TaskKind};
use module::{CliError, ControlClient, EXIT_USAGE, encode};
use outbound::Control;
use ports::{AuthError, Authenticate, BoxFuture};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use web::{ApiInfo, Call, PageQuery, Problem, Reply, Routes, Server, ServerDeps, Spec, StreamKind, Surface};

struct Key;

impl Authenticate for Key {
    fn caller<'a>(
        &'a self,
        headers: &'a HeaderMap,
        peer: Option<IpAddr>,
    ) -> BoxFuture<'a, Result<Caller, AuthError>> {
        let known = headers.get("authorization").is_some_and(|value| value == "Bearer right");
        let origin = Origin { ip: peer, ..Origin::default() };
        let caller = if known { Ok(testkit::callers::operator(origin)) } else { Err(AuthError::Missing) };
        Box::pin(async move { caller })
    }
}

#[derive(Debug, Serialize, Deserialize, JsonSchema, PartialEq)]
struct Thing {
    #[schemars(length(min = 1, max = 20))]
    name: String,
}

/// Entries of the list; more than a page's.
const THINGS: u32 = 1_203;

async fn list(_: Arc<()>, call: Call<(), PageQuery>) -> Result<Reply<Page<u32>>, Problem> {
    let page = call.query.page();
    let first: u32 = page.after().and_then(|key| key.parse().ok()).unwrap_or(0);
    let last = (first + page.limit).min(THINGS);
    let next_cursor = (last < THINGS).then(|| Cursor::from_key(&last.to_string()));
    Ok(Reply::ok(Page { data: (first..last).collect(), next_cursor }))
}

async fn make(_: Arc<()>, call: Call<Thing>) -> Result<Reply<Thing>, Problem> {
    Ok(Reply::created("/api/v1/things/x", call.body))
}

async fn one(_: Arc<()>, call: Call) -> Result<Reply<Thing>, Problem> {
    Ok(Reply::ok(Thing { name: call.path.get("name")?.to_owned() }))
}

async fn remove(_: Arc<()>, _: Call) -> Result<Reply<()>, Problem> {
    Ok(Reply::no_content())
}

async fn follow(_: Arc<()>, _: Call) -> Result<Reply<()>, Problem> {
    Ok(Reply::ndjson(futures_util::stream::iter(["a", "b"])))
}

struct Installation {
    addr: SocketAddr,
    _supervisor: Supervisor,
}

impl Installation {
    fn start() -> Self {
        let s = || Arc::new(());
        let (read, write) = (permissions::TENANTS_READ, permissions::TENANTS_WRITE);
        let routes = Routes::new("things")
            .route(Spec::get("/api/v1/things", read), s(), list)
            .route(Spec::post("/api/v1/things", write).repeatable("it keeps nothing"), s(), make)
            .route(Spec::get("/api/v1/things/{name}", read), s(), one)
            .route(Spec::delete("/api/v1/things/{name}", write), s(), remove)
            .route(Spec::get("/api/v1/follow", read).stream(StreamKind::Ndjson), s(), follow);
        let server = Server::new(ServerDeps {
            routes: vec![routes],
            authenticate: Arc::new(Key),
            environments: None,
            log: None,
            metrics: &telemetry::Metrics::new(),
            clock: SystemClock::shared(),
            random: SeededRandom::shared(1),
            surface: Surface::Operator,
            info: ApiInfo { title: "Things", version: "0.0.0" },
        });
        let server = server.expect("the routes agree");
        let supervisor = Supervisor::new(SystemClock::shared());
        let listener =
            lifecycle::bind_tcp(SocketAddr::from(([127, 0, 0, 1], 0)), "test", "test").expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let tasks = supervisor.tasks(TaskKind::Listener, "connections");
        supervisor.spawn(TaskKind::Listener, "control", async move {
            Ok(server.serve(listener, tasks, Stop::never()).await?)
        });
        Self { addr, _supervisor: supervisor }
    }

    fn client(&self, key: &str) -> ControlClient {
        let key = Secret::new(key.to_owned());
        ControlClient::new(Control::new(&format!("http://{}", self.addr), Some(&key)).expect("an address"))
    }
}

#[tokio::test]
async fn typed_values_go_out_and_come_back() -> Result<(), CliError> {
    let installation = Installation::start();
    let client = installation.client("right");
    let thing = Thing { name: "a".into() };
    assert_eq!(client.post::<Thing>("/api/v1/things", &thing).await?, thing);
    let odd = "a/b c%?ä";
    assert_eq!(client.get::<Thing>(&format!("/api/v1/things/{}", encode(odd))).await?.name, odd);
    client.delete("/api/v1/things/a").await
}

#[tokio::test]
async fn a_list_is_read_page_after_page() -> Result<(), CliError> {
    let installation = Installation::start();
    let all: Vec<u32> = installation.client("right").all("/api/v1/things").await?;
    assert_eq!(all, (0..THINGS).collect::<Vec<_>>());
    Ok(())
}

#[tokio::test]
async fn a_stream_is_followed_to_its_end() -> Result<(), CliError> {
    let installation = Installation::start();
    let mut lines = installation.client("right").follow("/api/v1/follow").await?;
    let mut seen = Vec::new();
    while let Some(line) = lines.next().await.expect("no error") {
        seen.push(line);
    }
    assert_eq!(seen, ["\"a\"", "\"b\""]);
    Ok(())
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let installation = Installation::start();
    let error = installation.client("wrong").get::<Thing>("/api/v1/things/a").await.expect_err("no right");
    assert!(error.is_code(&base::codes::UNAUTHENTICATED) && error.to_string().contains("--key"), "{error}");
    let long = Thing { name: "x".repeat(21) };
    let error =
        installation.client("right").post::<Thing>("/api/v1/things", &long).await.expect_err("too long");
    assert_eq!(error.exit, EXIT_USAGE);
    assert!(error.to_string().contains("\n  /name: "), "{error}");
    let error = installation.client("right").get::<Thing>("/api/v1/nothing").await.expect_err("no such path");
    assert!(error.is_code(&base::codes::NOT_FOUND));
}

#[tokio::test]
async fn an_installation_that_is_not_there_is_named() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port");
    let control = Control::new(&format!("http://{closed}"), None).expect("an address");
    let error = ControlClient::new(control).get::<Thing>("/x").await.expect_err("nobody listens");
    assert!(
        error.to_string().contains(&closed.to_string()) && error.to_string().contains("switchyard up"),
        "{error}"
    );
}
