//! What the tests of this crate serve: plans over stand-ins for tenants and environments.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};

use authority::Role;
use base::{EnvironmentId, HostName, ProjectId, Slug, TenantId};
use db::{Event, SystemTx};
use plans::{Deps, PlansApply, SECTION};
use ports::SectionApply as _;
use ports::{
    ApplyError, Change, EnvironmentDirectory, EnvironmentRecord, LimitCensus, OverLimit, PlanUse, PlanUsers,
    PlannedLimit, ProjectOf,
};
use serde_json::Value;
use testkit::{Client, Parts, Store, TestApp};
use web::Surface;

/// Environments and users of plans that a test makes up.
#[derive(Default)]
pub(crate) struct World {
    environments: Vec<EnvironmentRecord>,
    users: Mutex<BTreeMap<Slug, PlanUsers>>,
}

impl World {
    pub(crate) fn put_on(&self, plan: &str, count: u64, overridden: u64) {
        let examples = vec![slug("acme")];
        self.users.lock().unwrap().insert(slug(plan), PlanUsers { count, overridden, examples });
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

impl PlanUse for World {
    fn users(&self, _: &mut SystemTx, _: ProjectId, plan: &Slug, _: u32) -> Result<PlanUsers, db::Error> {
        Ok(self.users.lock().unwrap().get(plan).cloned().unwrap_or_default())
    }
}

impl LimitCensus for World {
    fn over(
        &self,
        _: &mut SystemTx,
        _: EnvironmentId,
        planned: PlannedLimit<'_>,
    ) -> Result<OverLimit, db::Error> {
        let PlannedLimit { meter, limit, .. } = planned;
        // One tenant uses seven of everything but seats.
        let is_over = meter.as_str() != "seats" && limit.max.is_some_and(|max| max < base::Amount::whole(7));
        Ok(if is_over { OverLimit { count: 1, examples: vec![slug("acme")] } } else { OverLimit::default() })
    }
}

impl ProjectOf for World {
    fn project_of(&self, _: &mut SystemTx, id: EnvironmentId) -> Result<Option<ProjectId>, db::Error> {
        Ok(self.environments.iter().find(|one| one.id == id).map(|one| one.project))
    }
}

/// An app with its stand-ins: environments `development` and `production`.
pub(crate) struct App {
    pub(crate) app: TestApp,
    pub(crate) world: Arc<World>,
}

/// Runs a test on both stores.
pub(crate) async fn apps<F, T>(test: F)
where
    F: Fn(App) -> T,
    T: Future<Output = ()>,
{
    let built: Arc<Mutex<Option<Arc<World>>>> = Arc::default();
    testkit::apps(
        &[plans::MANIFEST.migrations],
        |store: Store| {
            let built = Arc::clone(&built);
            async move {
                let world = Arc::new(world(&store));
                *built.lock().unwrap() = Some(Arc::clone(&world));
                let module = plans::build(Deps {
                    db: store.db.clone(),
                    clock: store.shared_clock(),
                    census: Arc::clone(&world) as Arc<dyn PlanUse>,
                    over: Some(Arc::clone(&world) as Arc<dyn LimitCensus>),
                    environments: Arc::clone(&world) as Arc<dyn EnvironmentDirectory>,
                    projects: Arc::clone(&world) as Arc<dyn ProjectOf>,
                    schemas: vec![SECTION],
                });
                Parts {
                    modules: vec![module],
                    authenticate: None,
                    environments: Some(world),
                    surface: Surface::Operator,
                }
            }
        },
        |app: TestApp| {
            let world = built.lock().unwrap().take().unwrap();
            test(App { app, world })
        },
    )
    .await;
}

fn world(store: &Store) -> World {
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
    World { environments: vec![environment("development"), environment("production")], ..World::default() }
}

pub(crate) fn slug(text: &str) -> Slug {
    Slug::parse(text).unwrap()
}

impl App {
    /// A member of some tenant.
    pub(crate) fn member(&self, role: Role) -> Client {
        let store = &self.app.store;
        self.app.member(TenantId::new(&store.clock, &*store.random), role)
    }

    /// Applies the section `plans` to `development`.
    pub(crate) async fn apply(&self, section: Value) -> Result<Vec<Change>, ApplyError> {
        let store = &self.app.store;
        let world = Arc::clone(&self.world);
        let environment = world.environments[0].id;
        let apply = PlansApply {
            clock: store.shared_clock(),
            census: Arc::clone(&world) as Arc<dyn PlanUse>,
            projects: world,
        };
        let system = store.system();
        let write = store.db.write_system(&system, move |tx| {
            apply.apply(tx, environment, Some(&section).filter(|section| !section.is_null()), false)
        });
        write.await
    }

    /// The log, once it has at least `count` events.
    pub(crate) async fn events(&self, count: i64) -> Vec<Event> {
        let log = self.app.store.db.events();
        while log.head() < count {
            log.wait_beyond(log.head()).await;
        }
        log.after(0, 1_000).await.unwrap()
    }
}
