//! What the tests of this crate serve: plans over stand-ins for tenants and environments.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};

use authority::Role;
use base::{EnvironmentId, ProjectId, Slug, TenantId};
use db::SystemTx;
use plans::{Deps, PlansApply, SECTION};
use ports::SectionApply as _;
use ports::{ApplyError, Change, LimitCensus, OverLimit, PlanUse, PlanUsers, PlannedLimit};
use serde_json::Value;
pub(crate) use testkit::slug;
use testkit::{Client, Parts, Places, Store, TestApp};

/// Users of plans that a test makes up.
#[derive(Default)]
pub(crate) struct World {
    users: Mutex<BTreeMap<Slug, PlanUsers>>,
}

impl World {
    pub(crate) fn put_on(&self, plan: &str, count: u64, overridden: u64) {
        let examples = vec![slug("acme")];
        self.users.lock().unwrap().insert(slug(plan), PlanUsers { count, overridden, examples });
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

/// An app with its stand-ins: environments `development` and `production`.
pub(crate) struct App {
    pub(crate) app: TestApp,
    pub(crate) places: Arc<Places>,
    pub(crate) world: Arc<World>,
}

/// Runs a test on both stores.
pub(crate) async fn apps<F, T>(test: F)
where
    F: Fn(App) -> T,
    T: Future<Output = ()>,
{
    testkit::apps_with(
        &[plans::MANIFEST.migrations],
        |store: Store| async move {
            let (places, world) = (Places::of(&store), Arc::<World>::default());
            let module = plans::build(Deps {
                db: store.db.clone(),
                clock: store.shared_clock(),
                census: world.clone(),
                over: Some(world.clone()),
                environments: places.clone(),
                projects: places.clone(),
                schemas: vec![SECTION],
            });
            (Parts::of(module).among(&places), (places, world))
        },
        |app, (places, world)| test(App { app, places, world }),
    )
    .await;
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
        let environment = self.places.environment();
        let apply = PlansApply {
            clock: store.shared_clock(),
            census: self.world.clone(),
            projects: self.places.clone(),
        };
        let system = store.system();
        let write = store.db.write_system(&system, move |tx| {
            apply.apply(tx, environment, Some(&section).filter(|section| !section.is_null()), false)
        });
        write.await
    }
}
