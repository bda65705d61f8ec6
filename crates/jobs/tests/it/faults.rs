//! Faults by name (TORTURE, "Faults"), each alone and on purpose. The simulation tries them together.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use authority::SystemCtx;
use base::{
    Clock, EnvironmentId, HumanDuration, JobId, ManualClock, SharedClock, SharedRandom, Slug, SystemClock,
    SystemRandom,
};
use db::{Db, Location, Options};
use faults::{Class, Disk};
use jobs::{
    Ack, ClaimRequest, Claimed, Deps, Draft, Engine, Error, Failure, JobStatus, Payload, QueueKey,
    QueueSettings, Retry, Scope,
};
use testkit::{Store, stores};
use vault::{MasterKey, Vault};

/// Longer than the lease of the queue.
const PAST_THE_LEASE: Duration = Duration::from_secs(31);

/// An engine with one queue, `work`.
#[derive(Clone)]
pub(crate) struct Post {
    pub(crate) db: Db,
    pub(crate) engine: Engine,
    pub(crate) key: QueueKey,
    pub(crate) scope: Scope,
}

/// The one environment of these tests; the same in every process.
pub(crate) fn environment() -> EnvironmentId {
    EnvironmentId::parse("env_00041061050r3gg28a1c60t3gf").expect("an environment")
}

pub(crate) fn settings() -> QueueSettings {
    let base = HumanDuration(Duration::from_secs(10));
    QueueSettings { retry: Retry { base, ..Retry::default() }, ..QueueSettings::default() }
}

impl Post {
    /// Opens an engine on a store, and declares the queue if nobody has.
    pub(crate) async fn open(db: Db, clock: SharedClock, random: SharedRandom) -> Self {
        let metrics = telemetry::Metrics::new();
        let deps = Deps { db: db.clone(), clock, random, metrics, tenants: None, built_in: Vec::new() };
        let engine = Engine::open(deps).await.expect("open the engine");
        let key = QueueKey::of(environment(), Slug::parse("work").expect("a name"));
        if engine.queue(&key).is_err() {
            engine
                .put_queue(&SystemCtx::because("a test"), &key, settings())
                .await
                .expect("declare the queue");
        }
        Self { db, engine, key, scope: Scope::Environment(Some(environment())) }
    }

    pub(crate) async fn of(store: &Store) -> Self {
        Self::open(store.db.clone(), store.shared_clock(), store.random.clone()).await
    }

    pub(crate) async fn put(&self, drafts: Vec<Draft>) -> Result<Vec<JobId>, Error> {
        let views = self.engine.enqueue(&self.key, self.scope, drafts).await?;
        Ok(views.into_iter().map(|view| view.id).collect())
    }

    pub(crate) async fn claim(&self, limit: u32) -> Result<Vec<Claimed>, Error> {
        self.engine.claim(ClaimRequest { limit, ..ClaimRequest::one(self.key.clone(), self.scope) }).await
    }

    pub(crate) async fn complete(&self, job: &Claimed) -> Result<JobStatus, Error> {
        let ack = Ack { id: job.id, fence: job.fence, result: None };
        let (mut ends, _) = self.engine.complete(self.scope, vec![ack], None).await?;
        ends.pop().expect("one answer")
    }

    async fn fail(&self, job: &Claimed) -> Result<JobStatus, Error> {
        let failure = Failure { error: "no".into(), retry: true, retry_in: None };
        self.engine.fail(self.scope, job.id, job.fence, failure).await
    }

    async fn status_of(&self, id: JobId) -> Result<JobStatus, Error> {
        self.engine.get(self.scope, id).await.map(|job| job.view.status)
    }
}

fn draft(name: &str) -> Draft {
    Draft::new(Payload::from_json(format!("\"{name}\"")))
}

fn drafts(count: usize) -> Vec<Draft> {
    (0..count).map(|number| draft(&number.to_string())).collect()
}

/// An embedded store on a disk under test.
struct Drive {
    disk: Disk,
    dir: tempfile::TempDir,
    clock: ManualClock,
}

impl Drive {
    fn new() -> Self {
        let clock = ManualClock::new(testkit::start());
        Self {
            disk: Disk::install().expect("install a disk"),
            dir: tempfile::tempdir().expect("a folder"),
            clock,
        }
    }

    async fn open(&self) -> Post {
        let location = Location::Sqlite { dir: self.dir.path().to_path_buf() };
        let options = Options { vfs: Some(self.disk.vfs()), ..options(location, self.clock.shared()) };
        let db = Db::open(options).await.expect("open the store");
        Post::open(db, self.clock.shared(), SystemRandom::shared()).await
    }
}

pub(crate) fn options(location: Location, clock: SharedClock) -> Options {
    const KEY: &str = "6c1f4be07a63d258e4b60f3791ad2c85602ebd47f8139ca5704de21b86f35ac9";
    let random = SystemRandom::shared();
    let vault = Vault::new(MasterKey::parse(KEY, "a test").expect("a master key"), random.clone());
    Options::new(location, clock, random, vault, vec![jobs::MIGRATIONS])
}

#[tokio::test]
async fn f3_a_worker_that_dies_after_its_effect_repeats_it_under_the_same_id() {
    let drive = Drive::new();
    let post = drive.open().await;
    let ids = post.put(drafts(20)).await.expect("enqueue");
    // Whoever is called remembers the id of each call and does each once.
    let (mut calls, mut effects) = (0, HashSet::new());
    for job in post.claim(20).await.expect("claim") {
        calls += 1;
        effects.insert(job.id);
    }
    drive.disk.cut_power();
    drop(post);
    drive.disk.survive();
    let post = drive.open().await;
    assert!(post.claim(20).await.expect("claim").is_empty(), "the leases still hold");
    drive.clock.advance(PAST_THE_LEASE);
    post.engine.tick().await.expect("tick");
    for job in post.claim(20).await.expect("claim") {
        assert_eq!(job.attempt, 2, "the attempt that was cut short counts");
        calls += 1;
        effects.insert(job.id);
        assert_eq!(post.complete(&job).await, Ok(JobStatus::Completed));
    }
    assert_eq!((calls, effects), (40, ids.into_iter().collect()));
}

#[tokio::test]
async fn f4_what_a_worker_says_after_its_lease_does_nothing() {
    stores(&[jobs::MIGRATIONS], |store| async move {
        let post = Post::of(&store).await;
        post.put(drafts(1)).await.expect("enqueue");
        let paused = post.claim(1).await.expect("claim").pop().expect("a job");
        store.clock.advance(PAST_THE_LEASE);
        post.engine.tick().await.expect("tick");
        let other = post.claim(1).await.expect("claim").pop().expect("it is given to another");
        assert_eq!((other.id, other.attempt), (paused.id, 2));
        assert!(other.fence > paused.fence);
        let lost = Error::LeaseLost(paused.id);
        let lease = vec![(paused.id, paused.fence)];
        assert_eq!(post.complete(&paused).await, Err(lost.clone()));
        assert_eq!(post.fail(&paused).await, Err(lost.clone()));
        assert_eq!(post.engine.heartbeat(post.scope, lease.clone()).await, Ok(vec![Err(lost.clone())]));
        assert_eq!(post.engine.release(post.scope, lease).await, Ok(vec![Err(lost.clone())]));
        let progress = post.engine.progress(post.scope, paused.id, paused.fence, 50, None).await;
        assert_eq!(progress, Err(lost));
        assert_eq!(post.status_of(other.id).await, Ok(JobStatus::Active));
        assert_eq!(post.complete(&other).await, Ok(JobStatus::Completed));
        assert!(matches!(post.complete(&other).await, Err(Error::LeaseLost(_) | Error::NotFound)));
        let done = post.engine.get(post.scope, other.id).await.expect("get");
        assert_eq!((done.view.attempt, done.history.len()), (2, 1));
    })
    .await;
}

#[tokio::test]
async fn f8_a_full_disk_refuses_jobs_shows_them_and_heals() {
    let drive = Drive::new();
    let post = drive.open().await;
    let ids = post.put(drafts(10)).await.expect("enqueue");
    let held = post.claim(1).await.expect("claim").pop().expect("a job");
    drive.disk.set_full(Class::Wal, true);
    assert_eq!(post.put(drafts(3)).await, Err(Error::Store(db::Error::Full)));
    assert_eq!(post.complete(&held).await, Err(Error::Store(db::Error::Full)));
    assert_eq!(post.claim(5).await, Err(Error::Store(db::Error::Full)));
    // What is there can be seen.
    for id in &ids {
        let expected = if *id == held.id { JobStatus::Active } else { JobStatus::Waiting };
        assert_eq!(post.status_of(*id).await, Ok(expected));
    }
    drive.disk.set_full(Class::Wal, false);
    assert_eq!(post.complete(&held).await, Ok(JobStatus::Completed));
    let mut rest = HashSet::new();
    loop {
        // Those that a failed claim proposed are read from the store again, perhaps by a second claim.
        let batch = post.claim(20).await.expect("claim");
        if batch.is_empty() {
            break;
        }
        rest.extend(batch.iter().map(|job| job.id));
    }
    assert_eq!(rest, ids.iter().copied().filter(|id| *id != held.id).collect());
}

#[tokio::test]
async fn f10_a_failed_sync_acknowledges_nothing_until_a_restart() {
    let drive = Drive::new();
    let post = drive.open().await;
    let kept = post.put(drafts(5)).await.expect("enqueue");
    drive.disk.fail_sync_once(Class::Wal);
    let fenced = Err(Error::Store(db::Error::Fenced));
    assert_eq!(post.put(drafts(1)).await, fenced);
    assert_eq!(post.put(drafts(1)).await, fenced);
    assert_eq!(post.claim(1).await.map(|_| Vec::new()), fenced);
    for id in &kept {
        assert_eq!(post.status_of(*id).await, Ok(JobStatus::Waiting));
    }
    drop(post);
    let post = drive.open().await;
    let claimed: HashSet<JobId> = post.claim(100).await.expect("claim").iter().map(|job| job.id).collect();
    assert!(claimed.is_superset(&kept.iter().copied().collect()));
    // The one that met the failed sync may be there; those after it are not.
    assert!(claimed.len() <= kept.len() + 1, "{claimed:?}");
}

#[tokio::test]
async fn f11_slow_syncs_fill_what_is_bounded_and_what_is_there_can_be_seen() {
    const LARGE: usize = 200 << 10;
    const CALLS: usize = 600;
    let drive = Drive::new();
    let post = drive.open().await;
    let first = post.put(drafts(1)).await.expect("enqueue")[0];
    drive.disk.set_sync_time(Duration::from_millis(500));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..CALLS {
        let post = post.clone();
        callers.spawn(async move { post.put(vec![draft(&"x".repeat(LARGE))]).await });
    }
    let (mut acknowledged, mut refused, mut read) = (Vec::new(), 0, 0);
    while !callers.is_empty() {
        tokio::select! {
            biased;
            Some(ended) = callers.join_next() => match ended.expect("a caller") {
                Ok(ids) => acknowledged.extend(ids),
                Err(Error::Overloaded) => refused += 1,
                Err(other) => panic!("{other:?}"),
            },
            found = post.status_of(first) => {
                assert_eq!(found, Ok(JobStatus::Waiting));
                read += 1;
            }
        }
    }
    assert!(refused > 0 && acknowledged.len() > 50, "{} taken, {refused} refused", acknowledged.len());
    assert!(read > 10, "only {read} looks while the disk was slow");
    drive.disk.set_sync_time(Duration::ZERO);
    let status = post.engine.status(&post.key, post.scope).await.expect("status");
    assert_eq!(status.waiting as usize, acknowledged.len() + 1);
}

#[tokio::test]
async fn who_does_not_wait_is_told_that_jobs_cannot_be_read_and_the_next_is_served() {
    const QUEUE_MAX: usize = 4;
    let clock = ManualClock::new(testkit::start());
    let dir = tempfile::tempdir().expect("a folder");
    let location = Location::Sqlite { dir: dir.path().to_path_buf() };
    let options = Options { queue_max: QUEUE_MAX, ..options(location, clock.shared()) };
    let db = Db::open(options).await.expect("open the store");
    let post = Post::open(db, clock.shared(), SystemRandom::shared()).await;
    // More than memory holds of a tenant, and nobody can read the rest.
    post.put(drafts(600)).await.expect("enqueue");
    let system = SystemCtx::because("a test");
    let (begun, mut began) = tokio::sync::mpsc::unbounded_channel();
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let wait = move |_: &mut db::SystemTx<'_>| -> Result<(), db::Error> {
        begun.send(()).expect("the test listens");
        gone.recv().map_err(|_| db::Error::Timeout)
    };
    post.db.post_read(&system, wait, drop);
    began.recv().await.expect("it reads");
    let (told, mut ended) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..QUEUE_MAX {
        let told = told.clone();
        let tell = move |outcome: Result<(), db::Error>| told.send(outcome).expect("the test listens");
        post.db.post_read(&system, |_| Ok(()), tell);
    }
    let mut seen = HashSet::new();
    let refused = loop {
        match post.claim(100).await {
            Ok(claimed) => seen.extend(claimed.into_iter().map(|job| job.id)),
            Err(error) => break error,
        }
        assert!(seen.len() < 600, "all came out of a memory that is smaller");
    };
    assert_eq!(refused, Error::Store(db::Error::Busy));
    go.send(()).expect("it waits");
    for _ in 0..QUEUE_MAX {
        assert_eq!(ended.recv().await, Some(Ok(())));
    }
    while seen.len() < 600 {
        let claimed = post.claim(100).await.expect("the store reads again");
        assert!(!claimed.is_empty(), "{} of 600 came out", seen.len());
        seen.extend(claimed.into_iter().map(|job| job.id));
    }
}

#[tokio::test]
async fn f21_a_long_reader_lets_the_log_grow_only_while_it_reads() {
    let drive = Drive::new();
    let post = drive.open().await;
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let (begun, mut began) = tokio::sync::mpsc::unbounded_channel();
    let db = post.db.clone();
    let mut reader = tokio::task::JoinSet::new();
    reader.spawn(async move {
        db.read_system(&SystemCtx::because("a test"), move |tx| {
            tx.query(&db::Sql::One("SELECT count(*) FROM jobs_jobs"), &[])?;
            begun.send(()).expect("the test listens");
            gone.recv().expect("the test lets it go");
            Ok::<_, db::Error>(())
        })
        .await
    });
    began.recv().await.expect("it reads");
    let large = || vec![draft(&"x".repeat(200 << 10)); 20];
    let mut ids = Vec::new();
    while post.db.stats().wal_pages < 12_000 {
        ids.extend(post.put(large()).await.expect("work goes on"));
    }
    go.send(()).expect("it waits");
    reader.join_next().await.expect("a reader").expect("it ends").expect("it reads");
    // The log is copied and begun anew, with work going on.
    let mut left = 20;
    while post.db.stats().wal_pages >= 12_000 {
        left -= 1;
        assert!(left > 0, "the log still has {} pages", post.db.stats().wal_pages);
        ids.extend(post.put(large()).await.expect("enqueue"));
    }
    let status = post.engine.status(&post.key, post.scope).await.expect("status");
    assert_eq!(status.waiting as usize, ids.len());
}

#[tokio::test]
async fn f32_poison_dies_after_its_attempts_and_holds_nobody_up() {
    const GOOD: usize = 90;
    const POISON: usize = 10;
    stores(&[jobs::MIGRATIONS], |store| async move {
        let post = Post::of(&store).await;
        let mut all = drafts(GOOD);
        for number in 0..POISON {
            all.insert(number * 9, draft("poison"));
        }
        post.put(all).await.expect("enqueue");
        let (mut done, mut killed): (usize, HashMap<JobId, u32>) = (0, HashMap::new());
        for _ in 0..4 {
            // One worker after the other takes a job; some die of it, and only their lease says so.
            while let Some(job) = post.claim(1).await.expect("claim").pop() {
                if job.payload.as_str() == "\"poison\"" {
                    let times = killed.entry(job.id).or_default();
                    *times += 1;
                    assert_eq!(job.attempt, *times, "counted before it runs");
                } else {
                    assert_eq!(post.complete(&job).await, Ok(JobStatus::Completed));
                    done += 1;
                }
            }
            if killed.values().all(|times| *times == 1) {
                assert_eq!(done, GOOD, "the first round did all that can be done");
            }
            store.clock.advance(PAST_THE_LEASE);
            post.engine.tick().await.expect("tick");
            store.clock.advance(Duration::from_secs(60));
            post.engine.tick().await.expect("tick");
        }
        assert_eq!((done, killed.len()), (GOOD, POISON));
        for (id, times) in killed {
            assert_eq!(times, 3);
            let job = post.engine.get(post.scope, id).await.expect("get");
            assert_eq!((job.view.status, job.view.attempt, job.history.len()), (JobStatus::Dead, 3, 3));
        }
    })
    .await;
}

#[tokio::test]
async fn f33_jobs_that_fail_together_come_back_one_after_the_other() {
    const JOBS: usize = 2_000;
    const STEP: Duration = Duration::from_millis(500);
    let drive = Drive::new();
    drive.disk.keep_syncs();
    let post = drive.open().await;
    for _ in 0..JOBS / 1_000 {
        post.put(drafts(1_000)).await.expect("enqueue");
    }
    let mut failures = tokio::task::JoinSet::new();
    let mut held = Vec::new();
    while held.len() < JOBS {
        held.extend(post.claim(1_000).await.expect("claim"));
    }
    for job in held {
        let post = post.clone();
        failures.spawn(async move { post.fail(&job).await });
    }
    while let Some(ended) = failures.join_next().await {
        assert_eq!(ended.expect("fail"), Ok(JobStatus::Delayed));
    }
    // The pause is 5 to 10 s. In no half second do more than a fifth come back.
    let (mut back, mut most) = (0, 0);
    for _ in 0..21 {
        drive.clock.advance(STEP);
        post.engine.tick().await.expect("tick");
        let now = claim_all(&post).await;
        most = most.max(now);
        back += now;
    }
    assert_eq!(back, JOBS);
    assert!(most < JOBS / 5, "{most} of {JOBS} came back at once");
}

async fn claim_all(post: &Post) -> usize {
    let mut count = 0;
    loop {
        match post.claim(1_000).await.expect("claim").len() {
            0 => return count,
            more => count += more,
        }
    }
}

/// Where a store on a server is, with the clock of its user.
async fn server_post(url: &str, clock: SharedClock, statement_max: Duration) -> Post {
    let location = Location::Postgres { url: base::Secret::new(url.to_owned()) };
    let options = Options { statement_max, lanes: 2, ..options(location, clock.clone()) };
    let db = Db::open(options).await.expect("open the store");
    Post::open(db, clock, SystemRandom::shared()).await
}

#[tokio::test]
async fn f23_an_engine_whose_clock_is_30_s_ahead_takes_no_lease_away() {
    let database = testkit::postgres();
    let real = SystemClock::new().now();
    let clock = |ahead: Duration| ManualClock::new(real + ahead);
    let (slow, fast) = (clock(Duration::ZERO), clock(Duration::from_secs(30)));
    let patient = Duration::from_secs(10);
    let one = server_post(&database.url(), slow.shared(), patient).await;
    let other = server_post(&database.url(), fast.shared(), patient).await;
    let (stop, ended) = lifecycle::Stop::pair();
    let mut clocks = tokio::task::JoinSet::new();
    clocks.spawn(one.db.run_clock(ended.clone()));
    clocks.spawn(other.db.run_clock(ended));
    let differ = || (one.db.store_now().micros() - other.db.store_now().micros()).abs();
    let agreed = tokio::time::timeout(Duration::from_secs(10), async {
        while differ() > 5_000_000 {
            tokio::task::yield_now().await;
        }
    });
    agreed.await.expect("both go by the store's clock");
    one.put(drafts(1)).await.expect("enqueue");
    let request = ClaimRequest {
        lease: Some(Duration::from_secs(20)),
        ..ClaimRequest::one(one.key.clone(), one.scope)
    };
    let job = one.engine.claim(request).await.expect("claim").pop().expect("a job");
    other.engine.tick().await.expect("tick");
    assert!(other.claim(1).await.expect("claim").is_empty(), "the lease holds for both");
    assert_eq!(one.complete(&job).await, Ok(JobStatus::Completed));
    stop.stop();
    while clocks.join_next().await.is_some() {}
}

#[tokio::test]
async fn f29_an_engine_that_was_paused_past_a_lease_is_overruled_by_the_other() {
    let database = testkit::postgres();
    let clock = ManualClock::new(testkit::start());
    let patient = Duration::from_secs(10);
    let paused = server_post(&database.url(), clock.shared(), patient).await;
    let other = server_post(&database.url(), clock.shared(), patient).await;
    paused.put(drafts(3)).await.expect("enqueue");
    let held = paused.claim(3).await.expect("claim");
    assert_eq!(held.len(), 3);
    clock.advance(PAST_THE_LEASE);
    other.engine.tick().await.expect("tick");
    let again = other.claim(3).await.expect("claim");
    assert_eq!(again.len(), 3, "the other takes over");
    for job in &held {
        assert_eq!(paused.complete(job).await, Err(Error::LeaseLost(job.id)));
    }
    paused.engine.tick().await.expect("tick");
    assert!(paused.claim(3).await.expect("claim").is_empty());
    for job in &again {
        // Whoever is asked: the lease is the store's.
        assert_eq!(paused.complete(job).await, Ok(JobStatus::Completed));
    }
}

#[tokio::test]
async fn f14_a_restart_of_postgresql_loses_no_job_and_is_over_in_5_s() {
    const BACK_MAX: Duration = Duration::from_secs(5);
    for how in [testkit::pgserver::Stop::Fast, testkit::pgserver::Stop::Immediate] {
        let mut server =
            testkit::pgserver::Server::start(testkit::pgserver::Options::DURABLE).expect("start a server");
        let database = testkit::postgres_on(&server);
        let clock = ManualClock::new(testkit::start());
        let post = server_post(&database.url(), clock.shared(), Duration::from_secs(10)).await;
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let mut clients = tokio::task::JoinSet::new();
        for client in 0..8 {
            clients.spawn(put_pairs(post.clone(), client, stopped.clone()));
        }
        while post.engine.status(&post.key, post.scope).await.expect("status").waiting < 200 {
            tokio::task::yield_now().await;
        }
        let restarted = lifecycle::blocking(move || {
            server.stop(how).expect("stop the server");
            server.start_again().expect("start it again");
            server
        });
        let server = restarted.await.expect("restart");
        let back = tokio::time::timeout(BACK_MAX, async {
            while post.put(vec![draft("back")]).await.is_err() {
                tokio::task::yield_now().await;
            }
        });
        back.await.expect("jobs are taken again in 5 s");
        stop.send(true).expect("clients listen");
        let mut acknowledged = HashSet::new();
        while let Some(ended) = clients.join_next().await {
            acknowledged.extend(ended.expect("a client"));
        }
        // A fresh engine sees what the store has.
        let fresh = server_post(&database.url(), clock.shared(), Duration::from_secs(10)).await;
        let mut found: HashMap<String, u32> = HashMap::new();
        loop {
            let claimed = fresh.claim(1_000).await.expect("claim");
            if claimed.is_empty() {
                break;
            }
            for job in claimed {
                *found.entry(job.payload.as_str().to_owned()).or_default() += 1;
            }
        }
        for name in &acknowledged {
            assert_eq!(found.get(name), Some(&1), "{name} was acknowledged");
        }
        let halves = |suffix: &str| -> HashSet<String> {
            let end = format!(".{suffix}\"");
            found.keys().filter_map(|name| name.strip_suffix(&end)).map(str::to_owned).collect()
        };
        assert_eq!(halves("first"), halves("second"), "no half of a call is there");
        drop((post, fresh, database, server));
    }
}

/// Puts in two jobs a call until told to stop. What nobody knows is asked for again under its unique key, until it is
/// known. Answers the payloads of what was acknowledged.
async fn put_pairs(post: Post, client: u32, stopped: tokio::sync::watch::Receiver<bool>) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0u32.. {
        if *stopped.borrow() {
            break;
        }
        let named = |suffix: &str| draft(&format!("{client}.{number}.{suffix}"));
        let key = jobs::Unique {
            key: format!("{client}.{number}"),
            within: None,
            on_duplicate: jobs::OnDuplicate::Reject,
        };
        let pair = || vec![Draft { unique: Some(key.clone()), ..named("first") }, named("second")];
        loop {
            match post.put(pair()).await {
                // There already: the call of which nobody knew was done.
                Ok(_) | Err(Error::Duplicate { .. }) => break,
                Err(Error::Store(error)) if error.is_transient() => tokio::task::yield_now().await,
                Err(Error::Overloaded) => tokio::task::yield_now().await,
                other => drop(other.expect("an answer that a restart explains")),
            }
        }
        acknowledged.extend(["first", "second"].map(|suffix| format!("\"{client}.{number}.{suffix}\"")));
    }
    acknowledged
}
