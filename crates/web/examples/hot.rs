//! What a small hot request costs in this crate and below: a server whose store is a thread that answers in groups.
//!
//! `cargo run --release -p web --example hot -- [seconds] [group pause in microseconds, 0 = answer at once]`, then
//! `wrk -t1 -c32 -d10s -s crates/web/examples/hot.lua http://127.0.0.1:8099/`. At its end it tells the processor time that
//! each request took. It measures this crate; what is measured of the product is in `bench`.
#![expect(clippy::print_stdout, reason = "its output is what it is run for")]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use authority::{Caller, Origin, permissions};
use base::{EnvironmentId, HostName, ProjectId, Slug, SystemClock, SystemRandom};
use http::HeaderMap;
use lifecycle::{Supervisor, TaskKind};
use ports::{AuthError, Authenticate, BoxFuture, EnvironmentDirectory, EnvironmentRecord};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use web::{ApiInfo, Call, HotBody, Problem, Reply, Routes, Server, ServerDeps, Spec, Surface};

struct Everybody;

impl Authenticate for Everybody {
    fn caller<'a>(
        &'a self,
        _: &'a HeaderMap,
        peer: Option<IpAddr>,
    ) -> BoxFuture<'a, Result<Caller, AuthError>> {
        let origin = Origin { ip: peer, agent: None, request: None };
        Box::pin(async move { Ok(testkit::callers::operator(origin)) })
    }
}

struct One(Arc<Vec<EnvironmentRecord>>);

impl EnvironmentDirectory for One {
    fn all(&self) -> Vec<EnvironmentRecord> {
        self.0.to_vec()
    }
    fn shared(&self) -> Arc<Vec<EnvironmentRecord>> {
        Arc::clone(&self.0)
    }
    fn current(&self) -> Option<EnvironmentRecord> {
        None
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewJob {
    #[schemars(with = "serde_json::Value")]
    payload: Box<RawValue>,
    #[serde(default)]
    tenant: Option<String>,
    #[serde(default)]
    priority: Option<u8>,
}

impl HotBody for NewJob {
    fn is_within(&self) -> bool {
        self.priority.is_none_or(|priority| priority < 10)
    }
}

#[derive(Serialize, JsonSchema)]
struct Job {
    id: EnvironmentId,
    queue: String,
    tenant: Option<String>,
    status: &'static str,
    bytes: usize,
}

struct State {
    store: Sender<oneshot::Sender<EnvironmentId>>,
}

async fn enqueue(state: Arc<State>, call: Call<NewJob>) -> Result<Reply<Job>, Problem> {
    let (answer, answered) = oneshot::channel();
    state.store.send(answer).map_err(Problem::internal)?;
    let id = answered.await.map_err(Problem::internal)?;
    let (queue, bytes) = (call.path.get("q")?.to_owned(), call.body.payload.get().len());
    Ok(Reply::ok(Job { id, queue, tenant: call.body.tenant, status: "waiting", bytes }))
}

/// Gathers what waits, pauses as a sync would, and answers all.
fn store(pause: Duration) -> Sender<oneshot::Sender<EnvironmentId>> {
    let (sender, receiver) = channel::<oneshot::Sender<EnvironmentId>>();
    let id = EnvironmentId::from_uuid_bytes([7; 16]);
    let run = move || {
        let mut group = Vec::new();
        while let Ok(first) = receiver.recv() {
            group.push(first);
            if !pause.is_zero() {
                std::thread::sleep(pause);
            }
            group.extend(receiver.try_iter());
            for answer in group.drain(..) {
                // Whoever has gone needs no answer.
                let _ = answer.send(id);
            }
        }
    };
    let thread = std::thread::Builder::new().name("store".into()).spawn(run);
    thread.map(|_| sender).expect("a thread can be started")
}

fn environment() -> Option<EnvironmentRecord> {
    Some(EnvironmentRecord {
        id: EnvironmentId::from_uuid_bytes([1; 16]),
        project: ProjectId::from_uuid_bytes([1; 16]),
        project_slug: Slug::parse("agents").ok()?,
        slug: Slug::parse("development").ok()?,
        base_domain: HostName::parse("localhost").ok()?,
        resolve: Vec::new(),
        default_plan: Slug::parse("free").ok()?,
    })
}

/// Processor time of this process so far, in seconds.
fn processor_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / 100.0
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|text| text.parse::<u64>().ok());
    let (seconds, pause) = (arguments.next().unwrap_or(30), arguments.next().unwrap_or(200));
    let metrics = telemetry::Metrics::new();
    let state = Arc::new(State { store: store(Duration::from_micros(pause)) });
    let spec = Spec::post("/api/v1/queues/{q}/jobs", permissions::JOBS_WRITE).in_environment();
    let routes = Routes::new("jobs").hot(spec.repeatable("a measurement"), state, enqueue);
    let server = Server::new(ServerDeps {
        routes: vec![routes],
        authenticate: Arc::new(Everybody),
        environments: Some(Arc::new(One(Arc::new(environment().into_iter().collect())))),
        log: None,
        metrics: &metrics,
        clock: SystemClock::shared(),
        random: SystemRandom::shared(),
        surface: Surface::Operator,
        info: ApiInfo { title: "hot", version: "0" },
    })
    .expect("the routes agree");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime can be built").block_on(async {
        let supervisor = Supervisor::new(SystemClock::shared());
        let address = SocketAddr::from(([127, 0, 0, 1], 8099));
        let listener = lifecycle::bind_tcp(address, "hot", "hot").expect("port 8099 is free");
        let tasks = supervisor.tasks(TaskKind::Listener, "connections");
        let stop = supervisor.stop_of(TaskKind::Listener);
        supervisor.spawn(TaskKind::Listener, "listener", async move {
            server.serve(listener, tasks, stop).await.map_err(Into::into)
        });
        println!("http://{address}/api/v1/queues/runs/jobs for {seconds} s");
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let requests: f64 = metrics
            .encode()
            .lines()
            .filter(|line| line.starts_with("api_requests_total"))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum();
        println!("{requests} requests, {:.2} µs each", processor_time() * 1e6 / requests.max(1.0));
    });
}
