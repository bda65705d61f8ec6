//! What the tests of the API serve: queues and jobs over stand-ins for tenants and environments.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};

use authority::Role;
use base::{EnvironmentId, HostName, ProjectId, Slug, TenantId};
use jobs::Engine;
use ports::{
    BoxFuture, EnvironmentDirectory, EnvironmentRecord, Isolation, TenantDirectory, TenantRecord,
    TenantStatus, Unavailable,
};
use serde_json::{Value, json};
use testkit::{Client, Parts, Store, TestApp};
use web::Surface;

/// Two environments of one project with two tenants.
pub(crate) struct World {
    pub(crate) environments: Vec<EnvironmentRecord>,
    pub(crate) tenants: Mutex<BTreeMap<Slug, TenantRecord>>,
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
        after: Option<TenantId>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<TenantRecord>, Unavailable>> {
        let mut all: Vec<TenantRecord> = self.tenants.lock().unwrap().values().cloned().collect();
        all.sort_by_key(|one| one.id);
        all.retain(|one| after.is_none_or(|after| one.id > after));
        all.truncate(limit as usize);
        Box::pin(async move { Ok(all) })
    }

    fn one(
        &self,
        _: EnvironmentId,
        tenant: TenantId,
    ) -> BoxFuture<'_, Result<Option<TenantRecord>, Unavailable>> {
        let found = self.tenants.lock().unwrap().values().find(|one| one.id == tenant).cloned();
        Box::pin(async move { Ok(found) })
    }

    fn find<'a>(
        &'a self,
        name: &'a str,
        _: Option<ProjectId>,
    ) -> BoxFuture<'a, Result<Option<TenantRecord>, Unavailable>> {
        let tenants = self.tenants.lock().unwrap();
        let found =
            tenants.values().find(|one| one.slug.as_str() == name || one.id.to_string() == name).cloned();
        Box::pin(async move { Ok(found) })
    }
}

/// An app with its stand-ins.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) app: TestApp,
    pub(crate) engine: Engine,
    pub(crate) world: Arc<World>,
    pub(crate) acme: TenantId,
    pub(crate) globex: TenantId,
}

/// What the app was built from, handed from its maker to the test.
type Handed = Arc<Mutex<Option<(Engine, Arc<World>)>>>;

/// Runs a test on both stores, with the queue `runs` in `development`.
pub(crate) async fn apps<F, T>(test: F)
where
    F: Fn(App) -> T,
    T: Future<Output = ()>,
{
    let built: Handed = Arc::default();
    testkit::apps(
        &[jobs::MANIFEST.migrations],
        |store: Store| {
            let built = Arc::clone(&built);
            async move {
                let world = Arc::new(world(&store));
                let engine = engine(&store, &world).await;
                *built.lock().unwrap() = Some((engine.clone(), Arc::clone(&world)));
                let module = jobs::build(jobs::Parts {
                    engine,
                    db: store.db.clone(),
                    clock: store.shared_clock(),
                    tenants: Arc::clone(&world) as Arc<dyn TenantDirectory>,
                    environments: Arc::clone(&world) as Arc<dyn EnvironmentDirectory>,
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
            let (engine, world) = built.lock().unwrap().take().unwrap();
            let id = |name: &str| world.tenants.lock().unwrap()[&slug(name)].id;
            let (acme, globex) = (id("acme"), id("globex"));
            let app = App { app, engine, world, acme, globex };
            let test = &test;
            async move {
                app.operator().put("/api/v1/queues/runs", json!({})).await.ok(201);
                test(app).await;
            }
        },
    )
    .await;
}

async fn engine(store: &Store, world: &Arc<World>) -> Engine {
    let deps = jobs::Deps {
        db: store.db.clone(),
        clock: store.shared_clock(),
        random: store.random.clone(),
        metrics: telemetry::Metrics::new(),
        tenants: Some(Arc::clone(world) as Arc<dyn TenantDirectory>),
        built_in: vec!["cleanup"],
    };
    Engine::open(deps).await.unwrap()
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
    let tenant = |name: &str| TenantRecord {
        id: TenantId::new(&store.clock, &*store.random),
        project,
        slug: slug(name),
        plan: slug("free"),
        status: TenantStatus::Active,
        isolation: Isolation::Pool,
        domains: Vec::new(),
        rate_override: None,
    };
    World {
        environments: vec![environment("development"), environment("production")],
        tenants: Mutex::new([tenant("acme"), tenant("globex")].map(|one| (one.slug.clone(), one)).into()),
    }
}

pub(crate) fn slug(text: &str) -> Slug {
    Slug::parse(text).unwrap()
}

impl App {
    pub(crate) fn environment(&self) -> EnvironmentId {
        self.world.environments[0].id
    }

    pub(crate) fn operator(&self) -> Client {
        self.app.operator()
    }

    /// A key of a tenant.
    pub(crate) fn member(&self, tenant: TenantId) -> Client {
        self.app.member_in(tenant, Role::Developer, self.environment())
    }

    /// A service that acts for all tenants.
    pub(crate) fn service(&self) -> Client {
        self.app.service(self.environment(), None)
    }

    /// Makes a job as this client; gives its id.
    pub(crate) async fn add(&self, client: &Client, body: Value) -> String {
        let made = client.post("/api/v1/queues/runs/jobs", body).await.ok(201);
        made["id"].as_str().unwrap().to_owned()
    }

    /// Claims the one job that there is for this client.
    pub(crate) async fn claim(&self, client: &Client) -> Value {
        let claimed = client.post("/api/v1/queues/runs/claim", json!({"limit": 10})).await.ok(200);
        let data = claimed["data"].as_array().unwrap();
        assert_eq!(data.len(), 1, "{claimed}");
        data[0].clone()
    }

    /// What waits in a queue.
    pub(crate) async fn waiting(&self, queue: &str) -> u64 {
        let queue = self.operator().get(&format!("/api/v1/queues/{queue}")).await.ok(200);
        queue["waiting"].as_u64().unwrap()
    }
}

/// The pointers of a problem.
pub(crate) fn pointers(problem: &Value) -> Vec<String> {
    let errors = problem["errors"].as_array().cloned().unwrap_or_default();
    let mut all: Vec<String> =
        errors.iter().map(|error| error["pointer"].as_str().unwrap().to_owned()).collect();
    all.sort();
    all
}
