//! The engine, on SQLite and on PostgreSQL from one function each.

mod beside;
mod fair;
mod flows;
mod life;
mod limits;
mod many;
mod options;
mod processes;

use std::time::Duration;

use base::{EnvironmentId, ManualClock, Slug, TenantId};
use jobs::{
    Ack, ClaimRequest, Claimed, Deps, Draft, Engine, Error, Failure, JobStatus, JobView, Payload, QueueKey,
    QueueSettings, Scope,
};
use testkit::Store;

/// An engine over a fresh store, with one queue `work` of one environment.
pub(crate) struct Yard {
    pub(crate) store: Store,
    pub(crate) engine: Engine,
    pub(crate) environment: EnvironmentId,
    pub(crate) queue: QueueKey,
    pub(crate) all: Scope,
    pub(crate) clock: ManualClock,
}

pub(crate) async fn open(store: &Store) -> Engine {
    Engine::open(Deps {
        db: store.db.clone(),
        clock: store.shared_clock(),
        random: store.random.clone(),
        metrics: telemetry::Metrics::new(),
        tenants: None,
        built_in: vec!["cleanup"],
    })
    .await
    .unwrap()
}

/// Runs a test on both stores.
pub(crate) async fn yards<F, T>(settings: QueueSettings, test: F)
where
    F: Fn(Yard) -> T,
    T: Future<Output = ()>,
{
    testkit::stores(&[jobs::MIGRATIONS], |store| {
        let yard = Yard::new(store, settings.clone());
        let test = &test;
        async move { test(yard.await).await }
    })
    .await;
}

pub(crate) fn slug(name: &str) -> Slug {
    Slug::parse(name).unwrap()
}

/// `{"n":number}`.
pub(crate) fn draft(number: usize) -> Draft {
    Draft::new(Payload::from_json(format!("{{\"n\":{number}}}")))
}

pub(crate) fn failure(error: &str) -> Failure {
    Failure { error: error.into(), retry: true, retry_in: None }
}

impl Yard {
    async fn new(store: Store, settings: QueueSettings) -> Self {
        let engine = open(&store).await;
        let environment = EnvironmentId::new(&store.clock, &*store.random);
        let queue = QueueKey::of(environment, slug("work"));
        engine.put_queue(&store.system(), &queue, settings).await.unwrap();
        let clock = store.clock.clone();
        Self { store, engine, environment, queue, all: Scope::Environment(Some(environment)), clock }
    }

    pub(crate) fn tenant(&self) -> TenantId {
        self.store.tenant().tenant()
    }

    pub(crate) async fn other_queue(&self, name: &str, settings: QueueSettings) -> QueueKey {
        let key = QueueKey::of(self.environment, slug(name));
        self.engine.put_queue(&self.store.system(), &key, settings).await.unwrap();
        key
    }

    pub(crate) async fn add(&self, drafts: Vec<Draft>) -> Vec<JobView> {
        self.engine.enqueue(&self.queue, self.all, drafts).await.unwrap()
    }

    pub(crate) async fn add_one(&self, draft: Draft) -> JobView {
        self.add(vec![draft]).await.remove(0)
    }

    /// Up to `limit` jobs that are there now.
    pub(crate) async fn claim(&self, limit: u32) -> Vec<Claimed> {
        self.engine.claim(self.request(limit)).await.unwrap()
    }

    pub(crate) fn request(&self, limit: u32) -> ClaimRequest {
        ClaimRequest { limit, ..ClaimRequest::one(self.queue.clone(), self.all) }
    }

    pub(crate) async fn claim_one(&self) -> Claimed {
        let mut claimed = self.claim(1).await;
        assert_eq!(claimed.len(), 1, "a job is there to be claimed");
        claimed.remove(0)
    }

    pub(crate) async fn done(&self, job: &Claimed) -> Result<JobStatus, Error> {
        self.done_with(job, None).await
    }

    pub(crate) async fn done_with(&self, job: &Claimed, result: Option<&str>) -> Result<JobStatus, Error> {
        let result = result.map(Payload::from_json);
        let ack = Ack { id: job.id, fence: job.fence, result };
        self.engine.complete(self.all, vec![ack], None).await.unwrap().0.remove(0)
    }

    pub(crate) async fn fail(&self, job: &Claimed, error: &str) -> JobStatus {
        self.engine.fail(self.all, job.id, job.fence, failure(error)).await.unwrap()
    }

    /// Time passes, and what follows from it is done.
    pub(crate) async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.engine.tick().await.unwrap();
    }

    pub(crate) async fn status(&self) -> jobs::QueueStatus {
        self.engine.status(&self.queue, self.all).await.unwrap()
    }
}

pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn numbers(jobs: &[Claimed]) -> Vec<usize> {
    let number =
        |job: &Claimed| job.payload.as_str().trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
    jobs.iter().map(number).collect()
}
