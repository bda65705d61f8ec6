//! What the tests of this crate serve: the log over a stand-in for tenants, with events written by hand.

use std::future::Future;
use std::sync::{Arc, Mutex};

use audit::Deps;
use authority::{Caller, Origin, TenantCtx};
use base::{EnvironmentId, ProjectId, Slug, TenantId};
use db::{MigrationSet, NewEvent};
use ports::{BoxFuture, Isolation, TenantDirectory, TenantRecord, TenantStatus, Unavailable};
use serde_json::Value;
use testkit::{Parts, Store, TestApp};

/// Tenants that a test makes up.
pub(crate) struct World(Vec<TenantRecord>);

impl TenantDirectory for World {
    fn page(
        &self,
        _: EnvironmentId,
        _: Option<TenantId>,
        _: u32,
    ) -> BoxFuture<'_, Result<Vec<TenantRecord>, Unavailable>> {
        Box::pin(async { Ok(self.0.clone()) })
    }

    fn one(
        &self,
        _: EnvironmentId,
        tenant: TenantId,
    ) -> BoxFuture<'_, Result<Option<TenantRecord>, Unavailable>> {
        Box::pin(async move { Ok(self.0.iter().find(|one| one.id == tenant).cloned()) })
    }

    fn find<'a>(
        &'a self,
        name: &'a str,
        _: Option<ProjectId>,
    ) -> BoxFuture<'a, Result<Option<TenantRecord>, Unavailable>> {
        Box::pin(async move {
            Ok(self.0.iter().find(|one| one.slug.as_str() == name || one.id.to_string() == name).cloned())
        })
    }
}

/// An app with its stand-in: tenants `acme` and `globex`.
pub(crate) struct App {
    pub(crate) app: TestApp,
    pub(crate) acme: TenantId,
    pub(crate) globex: TenantId,
}

/// A table is needed for a store to have migrations of a capability at all; the log itself is the store's.
const NOTHING: MigrationSet =
    MigrationSet { capability: "audit", migrations: &[], tenant_tables: &[], system_tables: &[] };

/// Runs a test on both stores.
pub(crate) async fn apps<F, T>(test: F)
where
    F: Fn(App) -> T,
    T: Future<Output = ()>,
{
    let built: Arc<Mutex<Option<(TenantId, TenantId)>>> = Arc::default();
    testkit::apps(
        &[NOTHING],
        |store: Store| {
            let built = Arc::clone(&built);
            async move {
                let tenants = vec![tenant(&store, "acme"), tenant(&store, "globex")];
                *built.lock().unwrap() = Some((tenants[0].id, tenants[1].id));
                let tenants: Arc<dyn TenantDirectory> = Arc::new(World(tenants));
                Parts::of(audit::build(Deps { db: store.db.clone(), tenants }))
            }
        },
        |app: TestApp| {
            let (acme, globex) = built.lock().unwrap().take().unwrap();
            test(App { app, acme, globex })
        },
    )
    .await;
}

fn tenant(store: &Store, name: &str) -> TenantRecord {
    let slug = |text: &str| Slug::parse(text).unwrap();
    TenantRecord {
        id: TenantId::new(&store.clock, &*store.random),
        project: ProjectId::new(&store.clock, &*store.random),
        slug: slug(name),
        plan: slug("free"),
        status: TenantStatus::Active,
        isolation: Isolation::Pool,
        domains: Vec::new(),
        rate_override: None,
    }
}

/// An operator called `name`, whose client calls itself `agent`.
pub(crate) fn operator(name: &str, agent: &str) -> Caller {
    let origin = Origin { agent: Some(agent.to_owned()), ..Origin::default() };
    testkit::callers::named_operator(name, origin)
}

pub(crate) fn event(kind: &'static str, subject: &str, after: Value) -> NewEvent {
    NewEvent { kind, subject: subject.to_owned(), environment: None, before: None, after: Some(after) }
}

impl App {
    /// Writes an event of a tenant as whoever the context says.
    pub(crate) async fn write(&self, ctx: &TenantCtx, event: NewEvent) {
        let write = self.app.store.db.write(ctx, move |tx| tx.emit(event.clone()));
        write.await.unwrap();
    }

    /// Waits until the log has `count` events.
    pub(crate) async fn written(&self, count: i64) {
        let log = self.app.store.db.events();
        while log.head() < count {
            log.wait_beyond(log.head()).await;
        }
    }
}
