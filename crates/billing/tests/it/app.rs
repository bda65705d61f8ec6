//! What the tests of this crate serve: billing over stand-ins for the ledger, tenants' ids and the queue.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::{Amount, EnvironmentId, JobId, MeterName, TenantId, Timestamp};
use billing::{Deps, Feeder, Tools, Wire};
use db::SystemTx;
use outbound::{Guarded, Limits};
use ports::{
    BoxFuture, Cancelled, Enqueue, EnqueueError, EnvironmentDirectory, ExternalIds, JobFailure, JobHandler,
    NewJob, Progress, QueueRef, Unavailable, UsageEntry, UsageLedger, UsageTotal, Work,
};
use serde_json::{Value, json};
use telemetry::Metrics;
pub(crate) use testkit::amount;
use testkit::{Parts, Places, Store, TestApp};

use crate::stripe::{KEY, Stripe};

pub(crate) const SINK: &str = "/api/v1/billing/sinks/stripe";

/// Time that a request to a sink may take here.
pub(crate) const SEND_TIME_MAX: Duration = Duration::from_millis(1_500);

/// What tests make up.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) ledger: Mutex<Vec<UsageEntry>>,
    pub(crate) customers: Mutex<BTreeMap<TenantId, String>>,
    pub(crate) jobs: Mutex<VecDeque<NewJob>>,
}

impl UsageLedger for World {
    fn after(
        &self,
        _: EnvironmentId,
        position: i64,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<UsageEntry>, Unavailable>> {
        let ledger = self.ledger.lock().unwrap();
        let rest = ledger.iter().filter(|entry| entry.position > position).take(limit as usize);
        let rest: Vec<UsageEntry> = rest.cloned().collect();
        Box::pin(async { Ok(rest) })
    }

    fn totals(
        &self,
        _: EnvironmentId,
        from: Timestamp,
        until: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<UsageTotal>, Unavailable>> {
        let mut totals: BTreeMap<(TenantId, MeterName), (i64, u64)> = BTreeMap::new();
        for entry in self.ledger.lock().unwrap().iter().filter(|entry| entry.at >= from && entry.at < until) {
            let total = totals.entry((entry.tenant, entry.meter.clone())).or_default();
            let sum = total.0.saturating_add(entry.value.millionths());
            // As the ledger does: a sum ends where amounts do.
            *total = (sum.min(Amount::MAX.millionths()), total.1 + 1);
        }
        let totals = totals.into_iter().map(|((tenant, meter), (value, events))| UsageTotal {
            tenant,
            meter,
            value: Amount::from_millionths(value),
            events,
        });
        let totals: Vec<UsageTotal> = totals.collect();
        Box::pin(async { Ok(totals) })
    }
}

impl ExternalIds for World {
    fn external_id<'a>(
        &'a self,
        tenant: TenantId,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, Unavailable>> {
        let found = self.customers.lock().unwrap().get(&tenant).cloned();
        let found = found.filter(|_| name == "stripe_customer");
        Box::pin(async { Ok(found) })
    }
}

impl Enqueue for World {
    fn enqueue(&self, _: &mut SystemTx<'_>, job: NewJob) -> Result<JobId, EnqueueError> {
        let mut jobs = self.jobs.lock().unwrap();
        assert_eq!(job.queue, QueueRef::BuiltIn("billing"));
        // A transaction may be run again.
        jobs.retain(|other| other.unique != job.unique);
        jobs.push_back(job);
        Ok(JobId::from_uuid_bytes([1; 16]))
    }

    fn is_finished(&self, _: &mut SystemTx<'_>, _: JobId) -> Result<bool, db::Error> {
        Ok(false)
    }

    fn cancel(&self, _: &mut SystemTx<'_>, _: JobId) -> Result<bool, db::Error> {
        Ok(false)
    }

    fn queue_exists(&self, _: &mut SystemTx<'_>, _: &QueueRef) -> Result<bool, db::Error> {
        Ok(true)
    }
}

/// An app whose feeder and workers are driven by hand.
pub(crate) struct App {
    pub(crate) app: TestApp,
    pub(crate) places: Arc<Places>,
    pub(crate) world: Arc<World>,
    pub(crate) stripe: Stripe,
    pub(crate) handler: Arc<dyn JobHandler>,
    pub(crate) tools: Tools,
    /// On PostgreSQL it holds the lease.
    pub(crate) feeder: tokio::sync::Mutex<Feeder>,
}

/// Runs a test on both stores.
pub(crate) async fn apps<F, T>(test: F)
where
    F: Fn(App) -> T,
    T: Future<Output = ()>,
{
    testkit::apps_with(
        &[billing::MANIFEST.migrations],
        |store: Store| async move {
            let (places, world) = (environments(&store), Arc::<World>::default());
            let (module, tools) = module(&store, &places, &world);
            let handler = Arc::clone(&module.handlers[0]);
            (Parts::of(module).among(&places), (places, world, handler, tools))
        },
        |app: TestApp, (places, world, handler, tools)| {
            let feeder = tokio::sync::Mutex::new(feeder(&app.store, &world, &tools));
            test(App { app, places, world, stripe: Stripe::start(), handler, tools, feeder })
        },
    )
    .await;
}

/// `production`, which the calls are about, and `development`.
fn environments(store: &Store) -> Arc<Places> {
    let places = Places::empty(store.shared_clock(), store.random.clone());
    let places = places.with("production", "production.localhost");
    Arc::new(places.with("development", "development.localhost"))
}

pub(crate) fn module(store: &Store, places: &Arc<Places>, world: &Arc<World>) -> (module::Module, Tools) {
    let tools = Tools {
        db: store.db.clone(),
        random: store.random.clone(),
        enqueue: Arc::clone(world) as Arc<dyn Enqueue>,
        environments: Arc::clone(places) as Arc<dyn EnvironmentDirectory>,
    };
    let guarded = Guarded::for_operator(Limits::default(), store.shared_clock());
    let mut module = billing::build(Deps {
        tools: tools.clone(),
        clock: store.shared_clock(),
        ledger: Arc::clone(world) as Arc<dyn UsageLedger>,
        customers: Arc::clone(world) as Arc<dyn ExternalIds>,
        wire: Wire::new(guarded, SEND_TIME_MAX),
        metrics: Metrics::new(),
    });
    // Tests feed by hand.
    module.tasks.clear();
    (module, tools)
}

pub(crate) fn feeder(store: &Store, world: &Arc<World>, tools: &Tools) -> Feeder {
    billing::feeder(tools.clone(), store.shared_clock(), Arc::clone(world) as Arc<dyn UsageLedger>)
}

impl App {
    /// A tenant, with a customer at Stripe where one is named.
    pub(crate) fn tenant(&self, customer: Option<&str>) -> TenantId {
        let store = &self.app.store;
        let tenant = TenantId::new(&store.clock, &*store.random);
        if let Some(customer) = customer {
            self.know(tenant, customer);
        }
        tenant
    }

    pub(crate) fn know(&self, tenant: TenantId, customer: &str) {
        self.world.customers.lock().unwrap().insert(tenant, customer.to_owned());
    }

    /// The sink `stripe` of `production` with its key, for the meters `tokens` and `minutes`, with more of a definition.
    pub(crate) async fn sink(&self, more: Value) {
        let mut body = json!({
            "kind": "stripe", "url": self.stripe.url(), "meters": {"tokens": {}, "minutes": {"event": "agent_minutes"}},
        });
        body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        let operator = self.app.operator();
        operator.put(SINK, body).await.ok(201);
        operator.post(&format!("{SINK}/secret"), json!({ "secret": KEY })).await.ok(200);
    }

    /// Usage now.
    pub(crate) fn use_now(&self, id: &str, tenant: TenantId, meter: &str, value: &str) {
        let at = self.app.store.db.store_now();
        self.use_at(id, tenant, (meter, value), at);
    }

    pub(crate) fn use_at(&self, id: &str, tenant: TenantId, (meter, value): (&str, &str), at: Timestamp) {
        let mut ledger = self.world.ledger.lock().unwrap();
        let position = i64::try_from(ledger.len()).unwrap() + 1;
        let (meter, value) = (MeterName::parse(meter).unwrap(), amount(value));
        ledger.push(UsageEntry { position, id: id.to_owned(), tenant, meter, value, at });
    }

    /// The feeder's work of now.
    pub(crate) async fn feed(&self) -> billing::Round {
        self.feeder.lock().await.round().await.unwrap()
    }

    /// Works off the oldest job once; `None` when there is none. One that failed comes back, as in a queue.
    pub(crate) async fn work_one(&self) -> Option<Result<Value, JobFailure>> {
        let job = self.world.jobs.lock().unwrap().pop_front()?;
        let done = self.handler.run(work(&job)).await;
        if done.as_ref().is_err_and(|failure| failure.retry) {
            self.world.jobs.lock().unwrap().push_back(job);
        }
        Some(done)
    }

    /// Works off all jobs that are there, which must succeed.
    pub(crate) async fn work(&self) {
        while let Some(done) = self.work_one().await {
            done.unwrap();
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.app.operator().get(path).await.ok(200)
    }

    /// States of all deliveries, in order.
    pub(crate) async fn states(&self) -> Vec<String> {
        let list = self.get(&format!("{SINK}/deliveries")).await;
        let all = list["data"].as_array().unwrap();
        all.iter().map(|one| one["state"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) async fn report(&self, query: &str) -> Value {
        self.get(&format!("{SINK}/reconciliation?period=2026-01{query}")).await
    }
}

/// A job as a worker gets it.
pub(crate) fn work(job: &NewJob) -> Work {
    Work {
        id: JobId::from_uuid_bytes([1; 16]),
        queue: "billing".to_owned(),
        environment: None,
        tenant: None,
        attempt: 1,
        attempts: job.attempts.unwrap(),
        payload: job.payload.clone(),
        cancelled: Cancelled::never(),
        progress: Progress::none(),
    }
}
