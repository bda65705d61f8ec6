//! What the tests of this crate serve: usage over stand-ins for tenants, plans and environments.

use std::future::Future;
use std::sync::{Arc, Mutex};

use authority::SystemCtx;
use base::{Amount, Email, EnvironmentId, MeterName, SharedClock, SharedRandom, TenantId};
use db::{Db, Event, SystemTx};
use ports::{Grace, Mail, Mailer, MeterLimit, MeterPeriod, Owners, PlanLimits, PlanMeter};
use telemetry::Metrics;
use testkit::{Client, Parts, Places, Store, TestApp};
pub(crate) use testkit::{amount, at, slug};
use usage::{Built, Counting, Deps, Engine, Ledger};

/// What there is besides usage.
#[derive(Default)]
pub(crate) struct World {
    plans: Mutex<Vec<PlanMeter>>,
    pub(crate) mails: Mutex<Vec<Mail>>,
    /// Owners of whichever tenant.
    pub(crate) owners: Mutex<Vec<Email>>,
}

impl World {
    pub(crate) fn new() -> World {
        let world = World::default();
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
}

impl PlanLimits for World {
    fn limits(&self, _: &mut SystemTx, _: EnvironmentId) -> Result<Vec<PlanMeter>, db::Error> {
        Ok(self.plans.lock().unwrap().clone())
    }
}

impl Owners for World {
    fn owners(&self, _: &mut SystemTx, _: TenantId) -> Result<Vec<Email>, db::Error> {
        Ok(self.owners.lock().unwrap().clone())
    }
}

impl Mailer for World {
    fn send(&self, _: &mut SystemTx, mail: Mail) -> Result<(), db::Error> {
        self.mails.lock().unwrap().push(mail);
        Ok(())
    }
}

/// Usage over a store.
pub(crate) fn build(store: &Store, places: &Arc<Places>, world: &Arc<World>) -> Built {
    build_on(&store.db, (store.shared_clock(), store.random.clone()), places, world)
}

/// The same over any store.
pub(crate) fn build_on(
    db: &Db,
    (clock, random): (SharedClock, SharedRandom),
    places: &Arc<Places>,
    world: &Arc<World>,
) -> Built {
    usage::build(Deps {
        db: db.clone(),
        clock,
        random,
        plans: world.clone(),
        terms: places.clone(),
        tenants: places.clone(),
        environments: places.clone(),
        letters: Some(usage::Letters { mailer: world.clone(), owners: world.clone() }),
        metrics: Metrics::new(),
    })
}

/// An app with its stand-ins: environments `development` and `production`, tenants `acme` and `globex` on `free`.
pub(crate) struct App {
    pub(crate) app: TestApp,
    pub(crate) places: Arc<Places>,
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
    testkit::apps_with(
        &[usage::MANIFEST.migrations],
        |store: Store| async move {
            let (places, world) = (Places::of(&store), Arc::new(World::new()));
            let Built { module, meters, ledger, engine } = build(&store, &places, &world);
            (Parts::of(module).among(&places), (places, world, engine, meters, ledger))
        },
        |app: TestApp, (places, world, engine, meters, ledger)| {
            let (acme, globex) = (places.tenant("acme"), places.tenant("globex"));
            test(App { app, places, world, engine, meters, ledger, acme, globex })
        },
    )
    .await;
}

pub(crate) fn name(text: &str) -> MeterName {
    MeterName::parse(text).unwrap()
}

impl App {
    /// A service that acts for all tenants.
    pub(crate) fn service(&self) -> Client {
        self.app.service(self.places.environment(), None)
    }

    pub(crate) fn acme_in(&self) -> (EnvironmentId, TenantId) {
        (self.places.environment(), self.acme)
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
        sums_equal_the_ledger(&self.app.store.db).await;
    }
}

/// The same of any store.
pub(crate) async fn sums_equal_the_ledger(db: &Db) {
    let system = SystemCtx::because("a test");
    let read = db.read_system(&system, |tx| -> Result<_, db::Error> {
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
