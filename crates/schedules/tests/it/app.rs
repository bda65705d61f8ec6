//! What the tests of this crate run on: schedules over a store, with a queue that keeps what it is given in a table, so that
//! a transaction that is undone takes its jobs along.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use authority::{Role, SystemCtx};
use base::{JobId, TenantId, Timestamp};
use db::{Db, Migration, MigrationSet, Sql, SystemTx, params};
use ports::{Enqueue, EnqueueError, NewJob, QueueRef};
use schedules::model::{Definition, Firing, ManagedBy, Schedule, Zones};
use schedules::ops::{self, BuiltIn, Wanted, change};
use schedules::{Deps, Scheduler, Tools};
use telemetry::Metrics;
use testkit::{Client, Parts, Places, Store, TestApp};
pub(crate) use testkit::{at, slug};

/// The schedule that comes along in tests.
pub(crate) static BUILT_IN: &[BuiltIn] = &[BuiltIn { name: "cleanup", cron: "0 2 * * *", queue: "cleanup" }];

pub(crate) const RECORDER: MigrationSet = MigrationSet {
    capability: "recorder",
    migrations: &[Migration {
        number: 1,
        name: "recorder",
        sql: "CREATE TABLE recorder_jobs (id TEXT NOT NULL PRIMARY KEY, queue TEXT NOT NULL, tenant TEXT, payload TEXT NOT NULL, \
              tags TEXT NOT NULL, due_at TEXT NOT NULL, finished BIGINT NOT NULL) WITHOUT ROWID;",
    }],
    tenant_tables: &[],
    system_tables: &[("recorder_jobs", "what the tests' queue was given")],
};

const PUT: Sql = Sql::One(
    "INSERT INTO recorder_jobs (id, queue, tenant, payload, tags, due_at, finished) VALUES ($1, $2, $3, $4, $5, $6, 0)",
);
const FINISHED: Sql = Sql::One("SELECT finished FROM recorder_jobs WHERE id = $1");
const FINISH: Sql = Sql::One("UPDATE recorder_jobs SET finished = $2 WHERE id = $1 AND finished = 0");
const ALL: Sql =
    Sql::One("SELECT id, queue, tenant, payload, tags, due_at, finished FROM recorder_jobs ORDER BY id");

const END_LEASE: Sql = Sql::One("UPDATE sy_leases SET until_at = 0 WHERE name = 'schedules'");

/// A queue that keeps what it is given.
pub(crate) struct Recorder(pub(crate) Store);

/// What it was given.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Recorded {
    pub(crate) id: JobId,
    pub(crate) queue: String,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) payload: String,
    pub(crate) tags: String,
    pub(crate) due: Timestamp,
    /// 0 no, 1 finished, 2 cancelled.
    pub(crate) finished: i64,
}

impl Recorded {
    /// The schedule that made it.
    pub(crate) fn schedule(&self) -> &str {
        self.tags.split(',').find_map(|tag| tag.strip_prefix("schedule:")).unwrap()
    }
}

fn queue_name(queue: &QueueRef) -> String {
    match queue {
        QueueRef::BuiltIn(name) => format!("-/{name}"),
        QueueRef::Of(_, name) => name.to_string(),
    }
}

impl Enqueue for Recorder {
    fn enqueue(&self, tx: &mut SystemTx<'_>, job: NewJob) -> Result<JobId, EnqueueError> {
        let queue = queue_name(&job.queue);
        match queue.as_str() {
            "missing" => return Err(EnqueueError::UnknownQueue(queue)),
            "full" => return Err(EnqueueError::Full { queue }),
            _ => {}
        }
        let id = JobId::new(&self.0.clock, &*self.0.random);
        let tags = job.tags.join(",");
        let due = job.tags.iter().find_map(|tag| tag.strip_prefix("due:")).unwrap().to_owned();
        tx.execute(&PUT, &params![id, queue, job.tenant, job.payload.to_string(), tags, due])?;
        Ok(id)
    }

    fn is_finished(&self, tx: &mut SystemTx<'_>, job: JobId) -> Result<bool, db::Error> {
        Ok(tx.query_opt(&FINISHED, &params![job])?.map_or(Ok(1), |row| row.get::<i64>(0))? != 0)
    }

    fn cancel(&self, tx: &mut SystemTx<'_>, job: JobId) -> Result<bool, db::Error> {
        Ok(tx.execute(&FINISH, &params![job, 2])? == 1)
    }

    fn queue_exists(&self, _: &mut SystemTx<'_>, queue: &QueueRef) -> Result<bool, db::Error> {
        Ok(queue_name(queue) != "unknown")
    }
}

/// Schedules over a store.
#[derive(Clone)]
pub(crate) struct Bench {
    pub(crate) store: Store,
    pub(crate) places: Arc<Places>,
    pub(crate) tools: Tools,
    pub(crate) system: SystemCtx,
}

pub(crate) fn sets() -> [MigrationSet; 2] {
    [schedules::MANIFEST.migrations, RECORDER]
}

/// Runs a test on both stores, the clock at 2026-01-01T00:00:00Z.
pub(crate) async fn benches<F, T>(test: F)
where
    F: Fn(Bench) -> T,
    T: Future<Output = ()>,
{
    testkit::stores(&sets(), |store| test(Bench::new(store))).await;
}

pub(crate) fn tools(store: &Store, db: Db, zones: Zones) -> Tools {
    let enqueue = Arc::new(Recorder(store.clone()));
    Tools { db, random: store.random.clone(), zones, enqueue, built_in: BUILT_IN }
}

impl Bench {
    fn new(store: Store) -> Bench {
        let tools = tools(&store, store.db.clone(), Zones::system());
        Bench { tools, system: store.system(), places: Places::of(&store), store }
    }

    pub(crate) fn deps(&self) -> Deps {
        let (clock, tenants) = (self.store.shared_clock(), self.places.clone());
        Deps { tools: self.tools.clone(), clock, tenants, metrics: Metrics::new() }
    }

    /// A scheduler that fires when it is told to, and gets the lease when it asks for it.
    pub(crate) async fn scheduler(&self) -> Scheduler {
        self.end_lease().await;
        self.rival()
    }

    /// Another one: it has the lease only when nobody else does.
    pub(crate) fn rival(&self) -> Scheduler {
        schedules::scheduler(self.deps())
    }

    /// What eight seconds of the store's own clock do.
    pub(crate) async fn end_lease(&self) {
        let write = self.store.db.write_system(&self.system, |tx| tx.execute(&END_LEASE, &[]));
        write.await.unwrap();
    }

    pub(crate) fn to(&self, time: &str) {
        self.store.clock.set(at(time));
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.store.clock.advance(Duration::from_secs(seconds));
    }

    /// Sets a schedule of `runs` in `development`.
    pub(crate) async fn put(&self, name: &str, change: impl FnOnce(&mut Definition)) -> Schedule {
        self.put_for(name, None, change).await
    }

    pub(crate) async fn put_for(
        &self,
        name: &str,
        tenant: Option<TenantId>,
        change: impl FnOnce(&mut Definition),
    ) -> Schedule {
        let mut definition = Definition::for_queue(slug("runs"));
        change(&mut definition);
        let environment = Some(self.places.environment());
        let wanted = Wanted { environment, name: slug(name), definition, tenant, by: ManagedBy::Api };
        let tools = self.tools.clone();
        let write =
            self.store.db.write_system(&self.system, move |tx| change::put(tx, &tools, &wanted, |_| true));
        write.await.unwrap().0
    }

    pub(crate) async fn get(&self, name: &str) -> Schedule {
        let (name, environment) = (slug(name), Some(self.places.environment()));
        let read = self.store.db.read_system(&self.system, move |tx| ops::get(tx, environment, &name));
        read.await.unwrap()
    }

    pub(crate) async fn history(&self, name: &str) -> Vec<Firing> {
        let (name, environment) = (slug(name), Some(self.places.environment()));
        let read =
            self.store.db.read_system(&self.system, move |tx| ops::history(tx, environment, &name, 100));
        let mut firings = read.await.unwrap();
        firings.reverse();
        firings
    }

    /// All jobs that were made, in the order of their making.
    pub(crate) async fn jobs(&self) -> Vec<Recorded> {
        let read = self.store.db.read_system(&self.system, |tx| -> Result<_, db::Error> {
            let read = |row: &db::Row| {
                Ok(Recorded {
                    id: row.get(0)?,
                    queue: row.get(1)?,
                    tenant: row.get(2)?,
                    payload: row.get(3)?,
                    tags: row.get(4)?,
                    due: Timestamp::parse(&row.get::<String>(5)?).unwrap(),
                    finished: row.get(6)?,
                })
            };
            tx.query(&ALL, &[])?.iter().map(read).collect::<Result<Vec<_>, _>>()
        });
        read.await.unwrap()
    }

    /// The moments for which a schedule's jobs were made.
    pub(crate) async fn dues(&self, name: &str) -> Vec<String> {
        let jobs = self.jobs().await;
        let mut dues: Vec<Timestamp> =
            jobs.iter().filter(|job| job.schedule() == name).map(|job| job.due).collect();
        dues.sort();
        assert_eq!(dues.iter().collect::<BTreeSet<_>>().len(), dues.len(), "{name} fires twice for a moment");
        dues.iter().map(ToString::to_string).collect()
    }

    /// A worker is done with a job.
    pub(crate) async fn finish(&self, job: JobId) {
        let write = self.store.db.write_system(&self.system, move |tx| tx.execute(&FINISH, &params![job, 1]));
        assert_eq!(write.await.unwrap(), 1);
    }
}

/// An app with routes; its scheduler runs, but the clock stands still unless the test moves it.
pub(crate) struct App {
    pub(crate) app: TestApp,
    pub(crate) bench: Bench,
}

/// Runs a test of routes on both stores.
pub(crate) async fn apps<F, T>(test: F)
where
    F: Fn(App) -> T,
    T: Future<Output = ()>,
{
    testkit::apps_with(
        &sets(),
        |store: Store| async move {
            let bench = Bench::new(store);
            (Parts::of(schedules::build(bench.deps())).among(&bench.places), bench)
        },
        |app, bench| test(App { app, bench }),
    )
    .await;
}

impl App {
    /// A member of some tenant.
    pub(crate) fn member(&self, role: Role) -> Client {
        let store = &self.app.store;
        self.app.member(TenantId::new(&store.clock, &*store.random), role)
    }

    /// The log's kinds, once it has at least `count` events of schedules that a test made.
    pub(crate) async fn events(&self, count: usize) -> Vec<String> {
        let log = self.app.store.db.events();
        loop {
            let all = log.after(0, 1_000).await.unwrap();
            let own: Vec<String> = all
                .iter()
                .filter(|event| event.kind.starts_with("schedule.") && event.subject != "cleanup")
                .map(|event| event.kind.clone())
                .collect();
            if own.len() >= count {
                return own;
            }
            log.wait_beyond(log.head()).await;
        }
    }
}
