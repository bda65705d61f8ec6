//! Workers in the process: handlers of built-in queues, and pushes to services, on both stores.
#![expect(clippy::panic, reason = "a helper of a test fails the test, and a handler panics on purpose")]

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base::{DeploymentId, JobId, Secret, ServiceId, Slug, TenantId};
use jobs::workers::{self, Config, Deps};
use jobs::{Draft, Engine, JobDetail, JobStatus, Payload, Push, QueueKey, QueueSettings, Retry, Scope};
use lifecycle::{Stop, StopHandle};
use module::Task;
use parking_lot::Mutex;
use ports::{
    BoxFuture, Endpoint, HealthCheck, JobFailure, JobHandler, PushMessage, ServiceDirectory, ServiceRecord,
    ServiceTokens, Work,
};
use serde_json::{Value, json};
use testkit::{Places, Store};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// Longer than anything awaited here takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the one handler of the tests does with a job, by its payload's `do`.
#[derive(Default)]
struct Doer {
    running: AtomicUsize,
    running_max: AtomicUsize,
    seen: Mutex<BTreeMap<JobId, usize>>,
    started: Notify,
    told: AtomicUsize,
}

impl JobHandler for Doer {
    fn queue(&self) -> &'static str {
        "chores"
    }

    fn run(&self, work: Work) -> BoxFuture<'_, Result<Value, JobFailure>> {
        Box::pin(async move {
            let now = self.running.fetch_add(1, Ordering::SeqCst) + 1;
            self.running_max.fetch_max(now, Ordering::SeqCst);
            *self.seen.lock().entry(work.id).or_default() += 1;
            self.started.notify_one();
            let answer = self.answer(&work).await;
            self.running.fetch_sub(1, Ordering::SeqCst);
            answer
        })
    }
}

impl Doer {
    async fn answer(&self, work: &Work) -> Result<Value, JobFailure> {
        match work.payload["do"].as_str() {
            Some("panic") => panic!("on purpose"),
            Some("fail") => Err(JobFailure::fatal("it cannot be")),
            Some("hang") => std::future::pending().await,
            Some("large") => Ok(Value::String("x".repeat(300 << 10))),
            Some("obey") => {
                work.cancelled.wait().await;
                self.told.fetch_add(1, Ordering::SeqCst);
                Err(JobFailure::retry("told to stop"))
            }
            _ => {
                work.progress.tell(50, "half");
                tokio::time::sleep(Duration::from_millis(5)).await;
                Ok(json!({ "n": work.payload["n"], "attempt": work.attempt }))
            }
        }
    }
}

/// The surroundings that workers need, as a test makes them up.
struct Around {
    places: Arc<Places>,
    service: ServiceId,
    services: watch::Sender<Arc<Vec<ServiceRecord>>>,
}

impl Around {
    fn new(store: &Store) -> Arc<Around> {
        let places = Places::of(store);
        let service = ServiceId::new(&store.clock, &*store.random);
        Arc::new(Around { places, service, services: watch::Sender::new(Arc::default()) })
    }

    /// The service `web` has these replicas, all of them ready.
    fn serve(&self, addresses: &[SocketAddr]) {
        let endpoint =
            |addr: &SocketAddr| Endpoint { replica: None, addr: *addr, ready: true, draining: false };
        let record = ServiceRecord {
            id: self.service,
            environment: self.places.environment(),
            name: Slug::parse("web").unwrap(),
            endpoints: addresses.iter().map(endpoint).collect(),
            health: HealthCheck { path: "/".to_owned(), interval: PATIENCE, timeout: PATIENCE, retries: 1 },
        };
        self.services.send_replace(Arc::new(vec![record]));
    }
}

impl ServiceDirectory for Around {
    fn watch(&self) -> watch::Receiver<Arc<Vec<ServiceRecord>>> {
        self.services.subscribe()
    }
}

impl ServiceTokens for Around {
    fn mint(&self, _: DeploymentId) -> Option<Secret<String>> {
        None
    }

    fn push_secret(&self, service: ServiceId) -> Option<Secret<String>> {
        (service == self.service).then(|| Secret::new("whsec_".to_owned()))
    }

    fn sign_push(&self, service: ServiceId, message: &PushMessage<'_>) -> Option<String> {
        let PushMessage { id, at, body } = message;
        (service == self.service).then(|| format!("v1,{id}.{}.{}", at.seconds(), body.len()))
    }
}

/// An engine with its workers.
struct World {
    store: Store,
    engine: Engine,
    doer: Arc<Doer>,
    around: Arc<Around>,
    running: Mutex<Vec<(StopHandle, JoinSet<()>)>>,
}

async fn worlds<F, T>(test: F)
where
    F: Fn(Arc<World>) -> T,
    T: Future<Output = ()>,
{
    testkit::stores(&[jobs::MIGRATIONS], |store: Store| {
        let test = &test;
        async move {
            let world = Arc::new(World::new(store).await);
            test(Arc::clone(&world)).await;
            world.stop().await;
        }
    })
    .await;
}

impl World {
    async fn new(store: Store) -> World {
        let engine = Engine::open(jobs::Deps {
            db: store.db.clone(),
            clock: store.shared_clock(),
            random: store.random.clone(),
            metrics: telemetry::Metrics::new(),
            tenants: None,
            built_in: vec!["chores"],
        });
        let engine = engine.await.expect("the engine opens");
        let around = Around::new(&store);
        let world = World { store, engine, doer: Arc::default(), around, running: Mutex::default() };
        let engine = world.engine.clone();
        world.start(Task::new(lifecycle::TaskKind::Worker, "jobs.engine", move |stop| {
            let engine = engine.clone();
            async move {
                engine.run(stop).await;
                Ok(())
            }
        }));
        world
    }

    fn deps(&self) -> Deps {
        Deps {
            engine: self.engine.clone(),
            handlers: vec![self.doer.clone()],
            environments: self.around.places.clone(),
            services: self.around.clone(),
            tokens: self.around.clone(),
            clock: self.store.shared_clock(),
        }
    }

    fn start(&self, task: Task) -> StopHandle {
        let (handle, stop) = Stop::pair();
        let mut set = JoinSet::new();
        set.spawn(async move { (task.run)(stop).await.expect("the task does not fail") });
        self.running.lock().push((handle.clone(), set));
        handle
    }

    fn work(&self, config: Config) -> StopHandle {
        self.start(workers::built_in(config, self.deps()))
    }

    /// Ends all tasks, the newest first.
    async fn stop(&self) {
        loop {
            let newest = self.running.lock().pop();
            let Some((handle, mut set)) = newest else { return };
            handle.stop();
            let ended = async { while set.join_next().await.is_some() {} };
            tokio::time::timeout(PATIENCE, ended).await.expect("a task ends when it is told to");
        }
    }

    async fn add(&self, queue: &QueueKey, drafts: Vec<Draft>) -> Vec<JobId> {
        let scope = Scope::Environment(queue.environment);
        let made = self.engine.enqueue(queue, scope, drafts).await.expect("the jobs are taken");
        made.iter().map(|job| job.id).collect()
    }

    async fn chores(&self, drafts: Vec<Draft>) -> Vec<JobId> {
        self.add(&chores(), drafts).await
    }

    async fn end_of(&self, queue: &QueueKey, id: JobId) -> JobDetail {
        let scope = Scope::Environment(queue.environment);
        let job = self.engine.wait(scope, id, PATIENCE).await.expect("the job is known");
        assert!(job.view.status.is_finished(), "{job:?}");
        job
    }

    /// A queue of the environment whose jobs are pushed to `web`.
    async fn pushed(&self) -> QueueKey {
        let key = self.push_to("/jobs?from=queue").await;
        self.start(workers::pushes(Config::default(), self.deps()));
        key
    }

    async fn push_to(&self, path: &str) -> QueueKey {
        let key = QueueKey::of(self.around.places.environment(), Slug::parse("mails").unwrap());
        let push = Push {
            service: "web".to_owned(),
            path: path.to_owned(),
            concurrency: 4,
            timeout: base::HumanDuration(Duration::from_secs(2)),
        };
        let settings = QueueSettings {
            push: Some(push),
            retry: Retry { attempts: 1, ..Retry::default() },
            ..QueueSettings::default()
        };
        self.engine.put_queue(&self.store.system(), &key, settings).await.expect("the queue is made");
        key
    }
}

fn chores() -> QueueKey {
    QueueKey::built_in("chores").unwrap()
}

fn draft(payload: Value) -> Draft {
    Draft { attempts: Some(1), ..Draft::new(Payload::from(&payload)) }
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let held = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, held).await.unwrap_or_else(|_| panic!("never happened: {what}"));
}

#[tokio::test]
async fn a_handler_works_off_its_queue_with_as_many_at_once_as_it_may() {
    worlds(|world| async move {
        let ids = world.chores((0..40).map(|n| draft(json!({ "n": n }))).collect()).await;
        world.work(Config { concurrency: 3, ..Config::default() });
        for (n, id) in ids.iter().enumerate() {
            let job = world.end_of(&chores(), *id).await;
            assert_eq!(job.view.status, JobStatus::Completed);
            let result: Value = serde_json::from_str(job.result.expect("a result").as_str()).unwrap();
            assert_eq!(result, json!({ "n": n, "attempt": 1 }));
        }
        assert_eq!(world.doer.running_max.load(Ordering::SeqCst), 3);
        assert!(world.doer.seen.lock().values().all(|times| *times == 1), "each ran once");
    })
    .await;
}

#[tokio::test]
async fn what_a_handler_does_wrong_costs_its_own_job() {
    worlds(|world| async move {
        let drafts = vec![
            draft(json!({ "do": "panic" })),
            draft(json!({ "do": "fail" })),
            draft(json!({ "do": "large" })),
            Draft { timeout: Some(Duration::from_secs(1)), ..draft(json!({ "do": "hang" })) },
            draft(json!({ "n": 1 })),
        ];
        let ids = world.chores(drafts).await;
        world.work(Config::default());
        let wanted = ["panicked", "it cannot be", "above the limit", "longer than"];
        for (id, why) in ids.iter().zip(wanted) {
            let job = world.end_of(&chores(), *id).await;
            assert_eq!(job.view.status, JobStatus::Dead, "{why}");
            assert!(job.error.as_deref().is_some_and(|error| error.contains(why)), "{why}: {:?}", job.error);
        }
        assert_eq!(world.end_of(&chores(), ids[4]).await.view.status, JobStatus::Completed);
    })
    .await;
}

#[tokio::test]
async fn a_cancellation_reaches_the_handler() {
    worlds(|world| async move {
        let ids = world.chores(vec![Draft { attempts: Some(5), ..draft(json!({ "do": "obey" })) }]).await;
        world.work(Config::default());
        world.doer.started.notified().await;
        world.engine.cancel(Scope::Environment(None), ids[0]).await.expect("it runs");
        assert_eq!(world.end_of(&chores(), ids[0]).await.view.status, JobStatus::Cancelled);
        assert_eq!(world.doer.told.load(Ordering::SeqCst), 1);
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_is_stopped_gives_back_what_it_cannot_finish() {
    worlds(|world| async move {
        let ids = world.chores(vec![draft(json!({ "do": "hang" })), draft(json!({ "do": "hang" }))]).await;
        world.work(Config { patience: Duration::from_millis(50), ..Config::default() });
        eventually("both run", || world.doer.running.load(Ordering::SeqCst) == 2).await;
        world.stop().await;
        for id in ids {
            let job = world.engine.get(Scope::Environment(None), id).await.expect("it is there");
            assert_eq!(
                (job.view.status, job.view.attempt),
                (JobStatus::Waiting, 0),
                "the attempt does not count"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_worker_in_another_process_gets_its_work_at_once() {
    worlds(|world| async move {
        let store = &world.store;
        if store.kind() == db::Kind::Sqlite {
            // The embedded store belongs to one process.
            return;
        }
        let sets = vec![jobs::MIGRATIONS];
        let (clock, random) = (store.shared_clock(), store.random.clone());
        let options = db::Options::new(store.location.clone(), clock, random, store.vault.clone(), sets);
        let other = Store { db: db::Db::open(options).await.expect("the store opens"), ..store.clone() };
        let beside = World::new(other).await;
        beside.work(Config::default());
        tokio::time::sleep(Duration::from_millis(100)).await;
        let watch = base::SystemClock::shared();
        for n in 0..5 {
            let since = watch.monotonic();
            let ids = world.chores(vec![draft(json!({ "n": n }))]).await;
            let job = world.end_of(&chores(), ids[0]).await;
            assert_eq!(job.view.status, JobStatus::Completed);
            let took = watch.monotonic() - since;
            assert!(took < Duration::from_secs(3), "{took:?}");
        }
        assert_eq!(beside.doer.seen.lock().len(), 5, "the other process did all");
        beside.stop().await;
    })
    .await;
}

#[tokio::test]
async fn only_queues_that_were_named_are_worked_off() {
    worlds(|world| async move {
        let other = [Slug::parse("others").unwrap()].into_iter().collect();
        world.work(Config { queues: Some(other), ..Config::default() });
        let ids = world.chores(vec![draft(json!({ "n": 1 }))]).await;
        let scope = Scope::Environment(None);
        let job = world.engine.wait(scope, ids[0], Duration::from_millis(200)).await.expect("it is there");
        assert_eq!(job.view.status, JobStatus::Waiting);
    })
    .await;
}

/// A service of a few lines: answers in turn what the test says, the last of it again and again.
struct Web {
    addr: SocketAddr,
    got: Arc<Mutex<Vec<String>>>,
    _running: JoinSet<()>,
}

async fn web(answers: &'static [&'static str]) -> Web {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("an address");
    let got: Arc<Mutex<Vec<String>>> = Arc::default();
    let mut running = JoinSet::new();
    let heard = Arc::clone(&got);
    running.spawn(async move {
        for turn in 0.. {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut bytes = vec![0; 64 * 1024];
            let mut filled = 0;
            // Heads and small bodies come in one or two pieces.
            while !is_whole(&bytes[..filled]) {
                match stream.read(&mut bytes[filled..]).await {
                    Ok(more @ 1..) => filled += more,
                    Ok(_) | Err(_) => break,
                }
            }
            heard.lock().push(String::from_utf8_lossy(&bytes[..filled]).into_owned());
            // One request a connection, and it says so.
            let answer =
                answers[turn.min(answers.len() - 1)].replacen("\r\n", "\r\nconnection: close\r\n", 1);
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    Web { addr, got, _running: running }
}

/// A service that keeps its connections, and answers 204 to all. Counts connections and requests.
async fn lasting_web() -> (SocketAddr, Arc<[AtomicUsize; 2]>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("an address");
    let counts: Arc<[AtomicUsize; 2]> = Arc::default();
    let counted = Arc::clone(&counts);
    let mut running = JoinSet::new();
    running.spawn(async move {
        let mut lines = JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            counted[0].fetch_add(1, Ordering::SeqCst);
            let counted = Arc::clone(&counted);
            lines.spawn(async move {
                let (mut bytes, mut filled) = (vec![0; 64 * 1024], 0);
                while let Ok(more @ 1..) = stream.read(&mut bytes[filled..]).await {
                    filled += more;
                    if is_whole(&bytes[..filled]) {
                        counted[1].fetch_add(1, Ordering::SeqCst);
                        filled = 0;
                        if stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    (addr, counts, running)
}

fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

fn header<'a>(request: &'a str, name: &str) -> &'a str {
    let found = request.lines().find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        key.eq_ignore_ascii_case(name).then_some(value)
    });
    found.unwrap_or_else(|| panic!("no {name} in {request}"))
}

#[tokio::test]
async fn a_pushed_job_is_signed_and_its_answer_is_its_result() {
    worlds(|world| async move {
        let queue = world.pushed().await;
        let web = web(&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{\"ok\": 1}"]).await;
        world.around.serve(&[web.addr]);
        let tenant = TenantId::new(&world.store.clock, &*world.store.random);
        let body = r#"{"to":"ada@example.com", "n":1.50}"#;
        let ids = world
            .add(&queue, vec![Draft { tenant: Some(tenant), ..Draft::new(Payload::from_json(body)) }])
            .await;
        let job = world.end_of(&queue, ids[0]).await;
        assert_eq!(job.view.status, JobStatus::Completed);
        assert_eq!(job.result.expect("a result").as_str(), "{\"ok\": 1}");
        let got = web.got.lock().clone();
        let [request] = got.as_slice() else { panic!("one request: {got:?}") };
        assert!(request.starts_with("POST /jobs?from=queue HTTP/1.1\r\n"), "{request}");
        assert!(request.ends_with(body), "the payload comes as it was left: {request}");
        assert_eq!(header(request, "webhook-id"), ids[0].to_string());
        assert_eq!(header(request, "x-tenant-id"), tenant.to_string());
        assert_eq!(header(request, "switchyard-queue"), "mails");
        assert_eq!(
            (header(request, "switchyard-attempt"), header(request, "switchyard-attempts")),
            ("1", "1")
        );
        let seconds = world.store.shared_clock().now().seconds();
        assert_eq!(header(request, "webhook-timestamp"), seconds.to_string());
        let signed = format!("v1,{}.{seconds}.{}", ids[0], body.len());
        assert_eq!(header(request, "webhook-signature"), signed);
    })
    .await;
}

#[tokio::test]
async fn pushes_share_the_connections_of_a_service() {
    worlds(|world| async move {
        let queue = world.pushed().await;
        let (addr, counts, _running) = lasting_web().await;
        world.around.serve(&[addr]);
        for _ in 0..5 {
            let ids = world.add(&queue, (0..20).map(|_| Draft::new(Payload::null())).collect()).await;
            for id in ids {
                assert_eq!(world.end_of(&queue, id).await.view.status, JobStatus::Completed);
            }
        }
        let [connections, requests] = [0, 1].map(|at: usize| counts[at].load(Ordering::SeqCst));
        assert_eq!(requests, 100);
        // As many as jobs run at once; on a slow machine one may have rested for too long.
        assert!(connections <= 8, "{connections} connections");
    })
    .await;
}

#[tokio::test]
async fn a_service_that_is_away_costs_no_attempt_and_one_that_fails_does() {
    worlds(|world| async move {
        let queue = world.pushed().await;
        let ids = world.add(&queue, vec![Draft::new(Payload::null())]).await;
        // No replica is ready: nothing is claimed. Then one that nobody listens at: it is given back.
        let closed =
            TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
        world.around.serve(&[closed]);
        tokio::time::sleep(Duration::from_millis(300)).await;
        let scope = Scope::Environment(queue.environment);
        let waiting = world.engine.get(scope, ids[0]).await.expect("it is there");
        assert!(!waiting.view.status.is_finished() && waiting.history.is_empty(), "{waiting:?}");
        let web = web(&[
            "HTTP/1.1 503 Service Unavailable\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 4\r\n\r\noops",
        ])
        .await;
        world.around.serve(&[web.addr]);
        let dead = world.end_of(&queue, ids[0]).await;
        assert_eq!((dead.view.status, dead.view.attempt), (JobStatus::Dead, 1), "only the 500 counts");
        assert_eq!(dead.error.as_deref(), Some("web answered 500: oops"));
        assert_eq!(web.got.lock().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_a_failure() {
    worlds(|world| async move {
        let queue = world.pushed().await;
        // Takes connections, and never answers.
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        world.around.serve(&[silent.local_addr().expect("an address")]);
        let ids = world.add(&queue, vec![Draft::new(Payload::null())]).await;
        let dead = world.end_of(&queue, ids[0]).await;
        assert_eq!(dead.error.as_deref(), Some("web did not answer within 2s"));
        drop(silent);
    })
    .await;
}

#[tokio::test]
async fn a_changed_push_is_in_force_while_the_old_one_still_waits_for_an_answer() {
    worlds(|world| async move {
        let queue = world.pushed().await;
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        world.around.serve(&[silent.local_addr().expect("an address")]);
        world.add(&queue, vec![Draft::new(Payload::null())]).await;
        let (open, _) = silent.accept().await.expect("it is sent");
        let web = web(&["HTTP/1.1 204 No Content\r\n\r\n"]).await;
        world.push_to("/other").await;
        world.around.serve(&[web.addr]);
        // What the old pool's open claim still takes is given back, and comes to the new one.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let ids = world.add(&queue, vec![Draft::new(Payload::null())]).await;
        assert_eq!(world.end_of(&queue, ids[0]).await.view.status, JobStatus::Completed);
        assert!(web.got.lock().iter().all(|request| request.starts_with("POST /other ")));
        drop(open);
    })
    .await;
}
