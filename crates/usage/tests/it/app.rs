//! What the tests of this crate serve: usage over stand-ins for tenants, plans and environments.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};

use base::{Amount, Email, EnvironmentId, HostName, MeterName, ProjectId, Slug, TenantId, Timestamp};
use db::{Event, SystemTx};
use ports::{
    BoxFuture, EnvironmentDirectory, EnvironmentRecord, Grace, Isolation, Mail, Mailer, MeterLimit,
    MeterPeriod, PlanLimits, PlanMeter, TenantDirectory, TenantRecord, TenantStatus, TenantTerms,
    TenantTermsOf, Unavailable,
};
use telemetry::Metrics;
use testkit::{Client, Parts, Store, TestApp};
use usage::{Built, Counting, Deps, Engine, Ledger};
use web::Surface;

/// What there is besides usage.
#[derive(Default)]
pub(crate) struct World {
    environments: Vec<EnvironmentRecord>,
    tenants: Mutex<BTreeMap<TenantId, TenantTerms>>,
    plans: Mutex<Vec<PlanMeter>>,
    pub(crate) mails: Mutex<Vec<Mail>>,
}

impl World {
    pub(crate) fn new(store: &Store) -> World {
        let project = ProjectId::new(&store.clock, &*store.random);
        let environment = |name: &str| EnvironmentRecord {
            id: EnvironmentId::new(&store.clock, &*store.random),
            project,
            project_slug: slug("agents"),
            slug: slug(name),
            base_domain: HostName::parse(&format!("{name}.localhost")).unwrap(),
            resolve: Vec::new(),
            default_plan: slug("free"),
        };
        let world = World {
            environments: vec![environment("development"), environment("production")],
            ..World::default()
        };
        world.plan("agents", 5, MeterPeriod::None, Grace::Hard);
        world.plan("minutes", 1_000, MeterPeriod::Month, Grace::Hard);
        world.plan("runs", 10, MeterPeriod::Day, Grace::Soft);
        world
    }

    /// A meter of the plan `free`.
    pub(crate) fn plan(&self, meter: &str, max: u64, period: MeterPeriod, grace: Grace) {
        let limit = MeterLimit { max: Some(Amount::whole(max)), period, grace, notify: true };
        let mut plans = self.plans.lock().unwrap();
        plans.retain(|one| one.meter.as_str() != meter);
        plans.push(PlanMeter { plan: slug("free"), meter: name(meter), limit });
    }

    /// The environment that calls are about.
    pub(crate) fn environment(&self) -> EnvironmentId {
        self.environments[0].id
    }

    pub(crate) fn change(&self, tenant: TenantId, change: impl FnOnce(&mut TenantTerms)) {
        change(self.tenants.lock().unwrap().get_mut(&tenant).unwrap());
    }

    fn pick(&self, matches: impl Fn(&TenantTerms) -> bool) -> Option<TenantRecord> {
        let tenants = self.tenants.lock().unwrap();
        let found = tenants.values().find(|tenant| matches(tenant))?;
        Some(TenantRecord {
            id: found.id,
            project: found.project,
            slug: found.slug.clone(),
            plan: found.plan.clone(),
            status: found.status,
            isolation: Isolation::Pool,
            domains: Vec::new(),
            rate_override: None,
        })
    }
}

impl EnvironmentDirectory for World {
    fn all(&self) -> Vec<EnvironmentRecord> {
        self.environments.clone()
    }

    fn current(&self) -> Option<EnvironmentRecord> {
        self.environments.first().cloned()
    }
}

impl TenantDirectory for World {
    fn page(
        &self,
        _: EnvironmentId,
        _: Option<TenantId>,
        _: u32,
    ) -> BoxFuture<'_, Result<Vec<TenantRecord>, Unavailable>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn one(
        &self,
        _: EnvironmentId,
        tenant: TenantId,
    ) -> BoxFuture<'_, Result<Option<TenantRecord>, Unavailable>> {
        Box::pin(async move { Ok(self.pick(|one| one.id == tenant)) })
    }

    fn find<'a>(
        &'a self,
        id_or_slug: &'a str,
        _: Option<ProjectId>,
    ) -> BoxFuture<'a, Result<Option<TenantRecord>, Unavailable>> {
        Box::pin(async move {
            Ok(self.pick(|one| one.slug.as_str() == id_or_slug || one.id.to_string() == id_or_slug))
        })
    }
}

impl TenantTermsOf for World {
    fn terms(&self, _: &mut SystemTx, tenant: TenantId) -> Result<Option<TenantTerms>, db::Error> {
        Ok(self.tenants.lock().unwrap().get(&tenant).cloned())
    }
}

impl PlanLimits for World {
    fn limits(&self, _: &mut SystemTx, _: EnvironmentId) -> Result<Vec<PlanMeter>, db::Error> {
        Ok(self.plans.lock().unwrap().clone())
    }
}

impl Mailer for World {
    fn send(&self, _: &mut SystemTx, mail: Mail) -> Result<(), db::Error> {
        self.mails.lock().unwrap().push(mail);
        Ok(())
    }
}

/// Usage over a store.
pub(crate) fn build(store: &Store, world: &Arc<World>) -> Built {
    usage::build(Deps {
        db: store.db.clone(),
        clock: store.shared_clock(),
        random: store.random.clone(),
        plans: Arc::clone(world) as Arc<dyn PlanLimits>,
        terms: Arc::clone(world) as Arc<dyn TenantTermsOf>,
        tenants: Arc::clone(world) as Arc<dyn TenantDirectory>,
        environments: Arc::clone(world) as Arc<dyn EnvironmentDirectory>,
        mailer: Some(Arc::clone(world) as Arc<dyn Mailer>),
        metrics: Metrics::new(),
    })
}

/// An app with its stand-ins: environments `development` and `production`, tenants `acme` and `globex` on `free`.
pub(crate) struct App {
    pub(crate) app: TestApp,
    pub(crate) world: Arc<World>,
    pub(crate) engine: Engine,
    pub(crate) meters: Arc<Counting>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) acme: TenantId,
    pub(crate) globex: TenantId,
}

/// Runs a test on both stores.
pub(crate) async fn apps<F, T>(test: F)
where
    F: Fn(App) -> T,
    T: Future<Output = ()>,
{
    type Kept = (Arc<World>, Engine, Arc<Counting>, Arc<Ledger>);
    let kept: Arc<Mutex<Option<Kept>>> = Arc::default();
    testkit::apps(
        &[usage::MANIFEST.migrations],
        |store: Store| {
            let kept = Arc::clone(&kept);
            async move {
                let world = Arc::new(World::new(&store));
                let Built { module, meters, ledger, engine } = build(&store, &world);
                *kept.lock().unwrap() = Some((Arc::clone(&world), engine, meters, ledger));
                Parts {
                    modules: vec![module],
                    authenticate: None,
                    environments: Some(world),
                    surface: Surface::Operator,
                }
            }
        },
        |app: TestApp| {
            let (world, engine, meters, ledger) = kept.lock().unwrap().take().unwrap();
            let acme = add(&app.store, &world, "acme");
            let globex = add(&app.store, &world, "globex");
            test(App { app, world, engine, meters, ledger, acme, globex })
        },
    )
    .await;
}

/// A tenant on the plan `free`.
pub(crate) fn add(store: &Store, world: &World, name: &str) -> TenantId {
    let id = TenantId::new(&store.clock, &*store.random);
    let terms = TenantTerms {
        id,
        project: world.environments[0].project,
        slug: slug(name),
        plan: slug("free"),
        status: TenantStatus::Active,
        time_zone: "UTC".to_owned(),
        billing_anchor_day: 1,
        email: Email::parse(&format!("owner@{name}.example")).unwrap(),
    };
    world.tenants.lock().unwrap().insert(id, terms);
    id
}

pub(crate) fn slug(text: &str) -> Slug {
    Slug::parse(text).unwrap()
}

pub(crate) fn name(text: &str) -> MeterName {
    MeterName::parse(text).unwrap()
}

pub(crate) fn amount(text: &str) -> Amount {
    Amount::parse(text).unwrap()
}

pub(crate) fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

impl App {
    /// A service that acts for all tenants.
    pub(crate) fn service(&self) -> Client {
        self.app.service(self.world.environment(), None)
    }

    pub(crate) fn acme_in(&self) -> (EnvironmentId, TenantId) {
        (self.world.environment(), self.acme)
    }

    /// The log's events of a kind, once all that was written by now has its position.
    pub(crate) async fn events(&self, kind: &str) -> Vec<Event> {
        let log = self.app.store.db.events();
        // One more, so that everything before it is in order.
        let system = self.app.store.system();
        let marked = self.app.store.db.write_system(&system, |tx| {
            let subject = String::new();
            tx.emit(
                None,
                db::NewEvent { kind: "test.marked", subject, environment: None, before: None, after: None },
            )
        });
        let id = marked.await.unwrap();
        let (mut position, mut found) = (0, Vec::new());
        loop {
            for event in log.after(position, 500).await.unwrap() {
                position = event.position;
                if event.id == id {
                    return found;
                }
                if event.kind == kind {
                    found.push(event);
                }
            }
            if position >= log.head() {
                log.wait_beyond(position).await;
            }
        }
    }

    /// What a tenant's limit of a meter shows.
    pub(crate) async fn limit(&self, tenant: &str, meter: &str) -> serde_json::Value {
        let limits = self.app.operator().get(&format!("/api/v1/tenants/{tenant}/limits")).await.ok(200);
        let found = limits["data"].as_array().unwrap().iter().find(|one| one["meter"] == meter).cloned();
        found.unwrap_or_default()
    }

    /// Checks that totals, counters and the ledger say the same, whatever happened.
    pub(crate) async fn sums_equal_the_ledger(&self) {
        let system = self.app.store.system();
        let read = self.app.store.db.read_system(&system, |tx| -> Result<_, db::Error> {
            Ok((
                tx.query(&TOTALS, &[])?,
                tx.query(&LEDGER, &[])?,
                tx.query(&COUNTERS, &[])?,
                tx.query(&HELD, &[])?,
            ))
        });
        let (totals, ledger, counters, held) = read.await.unwrap();
        assert_eq!(totals, ledger, "totals and ledger");
        assert_eq!(counters, Vec::new(), "counters that are not their sums");
        assert_eq!(held, Vec::new(), "counters that do not hold what is reserved");
    }
}

const TOTALS: db::Sql = db::Sql::One(
    "SELECT tenant, environment, meter, bucket, value, events FROM usage_totals ORDER BY 1, 2, 3, 4",
);
const LEDGER: db::Sql = db::Sql::One(
    "SELECT tenant, environment, meter, at - at % 900000000, CAST(SUM(value) AS BIGINT), COUNT(*) FROM usage_events \
     GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
);
const COUNTERS: db::Sql = db::Sql::One(
    "SELECT c.tenant, c.meter, c.used FROM usage_counters c WHERE c.used <> (SELECT COALESCE(SUM(t.value), 0) \
     FROM usage_totals t WHERE t.tenant = c.tenant AND t.environment = c.environment AND t.meter = c.meter \
     AND t.bucket >= c.from_at AND t.bucket < c.until_at)",
);
const HELD: db::Sql = db::Sql::One(
    "SELECT c.tenant, c.meter, c.reserved FROM usage_counters c WHERE c.reserved <> (SELECT COALESCE(SUM(r.amount), 0) \
     FROM usage_reservations r WHERE r.tenant = c.tenant AND r.environment = c.environment AND r.meter = c.meter \
     AND r.from_at = c.from_at AND r.until_at = c.until_at AND r.state = 0)",
);
