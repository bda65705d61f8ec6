//! The engine without HTTP: `cargo run --release -p jobs --example bench_engine -- [sqlite|postgres] [seconds] [backlog]
//! [enqueue|process]`; `BENCH_TENANTS` (10).
//!
//! Enqueue by 32 and 256 tasks, in bulk, and claim-and-complete cycles by 1, 10 and 100 workers, 10 workers with batches
//! of 10, and the same with a backlog. Every answer is durable. PostgreSQL is `SWITCHYARD_TEST_POSTGRES` or a private one.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for people, that ends at the first fault"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use authority::SystemCtx;
use base::{EnvironmentId, HumanDuration, Secret, SharedClock, Slug, SystemClock, SystemRandom, TenantId};
use db::{Db, Location, Options};
use jobs::{Ack, ClaimRequest, Deps, Draft, Engine, Keep, Payload, QueueKey, QueueSettings, Scope};
use vault::{MasterKey, Vault};

const KEY: &str = "9f1c4be07a63d258e4b60f3791ad2c85602ebd47f8139ca5704de21b86f35ac9";
/// About 110 bytes, as the peers' jobs in bench/.
const PAYLOAD: &str = r#"{"kind":"mail","to":"somebody@example.com","subject":"Your report is ready","n":1234567,"template":"r-17"}"#;

struct Bench {
    engine: Engine,
    clock: SharedClock,
    environment: EnvironmentId,
    tenants: Vec<TenantId>,
    seconds: u64,
}

impl Bench {
    fn draft(&self, number: usize) -> Draft {
        let tenant = self.tenants[number % self.tenants.len()];
        Draft { tenant: Some(tenant), ..Draft::new(Payload::from_json(PAYLOAD)) }
    }

    async fn queue(&self, name: &str) -> QueueKey {
        let key = QueueKey::of(self.environment, Slug::parse(name).unwrap());
        let none = HumanDuration(Duration::ZERO);
        let keep = Keep { completed: none, ..Keep::default() };
        let settings = QueueSettings { keep, ..QueueSettings::default() };
        self.engine.put_queue(&SystemCtx::because("a measurement"), &key, settings).await.unwrap();
        key
    }

    /// Runs `work` in `tasks` tasks until the time is over; prints what they did a second.
    async fn measure<F, T>(&self, what: &str, tasks: usize, work: F)
    where
        F: Fn(usize) -> T + Send + Sync + 'static,
        T: Future<Output = u64> + Send,
    {
        let (work, stop, done) =
            (Arc::new(work), Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let started = self.clock.monotonic();
        let mut set = tokio::task::JoinSet::new();
        for task in 0..tasks {
            let (work, stop, done) = (work.clone(), stop.clone(), done.clone());
            set.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let count = work(task).await;
                    done.fetch_add(count, Ordering::Relaxed);
                    if count == 0 {
                        break;
                    }
                }
            });
        }
        let over = tokio::time::sleep(Duration::from_secs(self.seconds));
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => stop.store(true, Ordering::Relaxed),
                next = set.join_next() => if next.is_none() { break },
            }
            if stop.load(Ordering::Relaxed) {
                while set.join_next().await.is_some() {}
                break;
            }
        }
        let took = self.clock.monotonic().saturating_sub(started).as_secs_f64();
        let done = done.load(Ordering::Relaxed) as f64;
        println!("{what:<44} {:>10.0} jobs/s   RSS {} MiB", done / took, rss());
    }

    async fn enqueue(&self, tasks: usize, batch: usize) {
        let queue = self.queue(&format!("enqueue-{tasks}-{batch}")).await;
        let (engine, scope) = (self.engine.clone(), Scope::Environment(Some(self.environment)));
        let drafts: Vec<Draft> = (0..batch).map(|number| self.draft(number)).collect();
        self.measure(&format!("enqueue, {tasks} tasks, {batch} a call"), tasks, move |_| {
            let (engine, queue, drafts) = (engine.clone(), queue.clone(), drafts.clone());
            async move { engine.enqueue(&queue, scope, drafts).await.unwrap().len() as u64 }
        })
        .await;
        let name = format!("enqueue-{tasks}-{batch}");
        let queue = QueueKey::of(self.environment, Slug::parse(&name).unwrap());
        self.engine.drain(&queue, scope).await.unwrap();
    }

    async fn process(&self, workers: usize, batch: u32, backlog: usize) {
        let name = format!("process-{workers}-{batch}-{backlog}");
        let queue = self.queue(&name).await;
        let scope = Scope::Environment(Some(self.environment));
        for _ in 0..backlog.div_ceil(1_000) {
            let drafts = (0..1_000).map(|number| self.draft(number)).collect();
            self.engine.enqueue(&queue, scope, drafts).await.unwrap();
        }
        let (engine, own) = (self.engine.clone(), queue.clone());
        let held: Arc<Vec<tokio::sync::Mutex<Vec<Ack>>>> =
            Arc::new((0..workers).map(|_| tokio::sync::Mutex::default()).collect());
        self.measure(
            &format!("process, c={workers}, {batch} a call, {backlog} waiting"),
            workers,
            move |worker| {
                let (engine, queue, held) = (engine.clone(), own.clone(), held.clone());
                async move {
                    let mut held = held[worker].lock().await;
                    let acks = std::mem::take(&mut *held);
                    let request = ClaimRequest { limit: batch, ..ClaimRequest::one(queue, scope) };
                    let (ended, next) = engine.complete(scope, acks, Some(request)).await.unwrap();
                    assert!(ended.iter().all(Result::is_ok));
                    held.extend(next.iter().map(|job| Ack { id: job.id, fence: job.fence, result: None }));
                    next.len() as u64
                }
            },
        )
        .await;
        self.engine.drain(&queue, scope).await.unwrap();
    }
}

fn rss() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096 / (1 << 20)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut args = std::env::args().skip(1);
    let kind = args.next().unwrap_or_else(|| "sqlite".into());
    let seconds = args.next().map_or(3, |text| text.parse().unwrap());
    let backlog: usize = args.next().map_or(200_000, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let database = (kind == "postgres").then(testkit::postgres);
    let location = match &database {
        Some(database) => Location::Postgres { url: Secret::new(database.url()) },
        None => Location::Sqlite { dir: folder.path().to_path_buf() },
    };
    let (clock, random) = (SystemClock::shared(), SystemRandom::shared());
    let vault = Vault::new(MasterKey::parse(KEY, "bench").unwrap(), random.clone());
    let options = Options::new(location, clock.clone(), random.clone(), vault, vec![jobs::MIGRATIONS]);
    let db = Db::open(options).await.unwrap();
    let engine = Engine::open(Deps {
        db,
        clock: clock.clone(),
        random: random.clone(),
        metrics: telemetry::Metrics::new(),
        tenants: None,
        built_in: Vec::new(),
    })
    .await
    .unwrap();
    let runs = engine.clone();
    let mut background = tokio::task::JoinSet::new();
    background.spawn(async move { runs.run(lifecycle::Stop::never()).await });
    let environment = EnvironmentId::new(&*clock, &*random);
    let count = std::env::var("BENCH_TENANTS").map_or(10, |text| text.parse().unwrap());
    let tenants = (0..count).map(|_| TenantId::new(&*clock, &*random)).collect();
    let bench = Bench { engine, clock, environment, tenants, seconds };
    let part = args.next().unwrap_or_default();
    if part != "process" {
        bench.enqueue(1, 1).await;
        bench.enqueue(32, 1).await;
        bench.enqueue(256, 1).await;
        bench.enqueue(4, 1_000).await;
    }
    if part == "enqueue" {
        return;
    }
    bench.process(1, 1, 30_000).await;
    bench.process(10, 1, 100_000).await;
    bench.process(100, 1, backlog).await;
    bench.process(10, 10, backlog).await;
    if backlog > 500_000 {
        bench.process(10, 10, backlog).await;
    }
}
