//! What the tests of the API serve: queues and jobs over stand-ins for tenants and environments.

use std::future::Future;
use std::sync::Arc;

use authority::Role;
use base::{EnvironmentId, TenantId};
use jobs::Engine;
use serde_json::{Value, json};
use testkit::{Client, Parts, Places, Store, TestApp};

/// An app with its stand-ins.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) app: TestApp,
    pub(crate) engine: Engine,
    pub(crate) places: Arc<Places>,
    pub(crate) acme: TenantId,
    pub(crate) globex: TenantId,
}

/// Runs a test on both stores, with the queue `runs` in `development`.
pub(crate) async fn apps<F, T>(test: F)
where
    F: Fn(App) -> T,
    T: Future<Output = ()>,
{
    testkit::apps_with(
        &[jobs::MANIFEST.migrations],
        |store: Store| async move {
            let places = Places::of(&store);
            let engine = engine(&store, &places).await;
            let module = jobs::build(jobs::Parts {
                engine: engine.clone(),
                db: store.db.clone(),
                clock: store.shared_clock(),
                tenants: places.clone(),
                environments: places.clone(),
            });
            (Parts::of(module).among(&places), (places, engine))
        },
        |app: TestApp, (places, engine)| {
            let (acme, globex) = (places.tenant("acme"), places.tenant("globex"));
            let app = App { app, engine, places, acme, globex };
            let test = &test;
            async move {
                app.operator().put("/api/v1/queues/runs", json!({})).await.ok(201);
                test(app).await;
            }
        },
    )
    .await;
}

async fn engine(store: &Store, places: &Arc<Places>) -> Engine {
    let deps = jobs::Deps {
        db: store.db.clone(),
        clock: store.shared_clock(),
        random: store.random.clone(),
        metrics: telemetry::Metrics::new(),
        tenants: Some(places.clone()),
        built_in: vec!["cleanup"],
    };
    Engine::open(deps).await.unwrap()
}

impl App {
    pub(crate) fn environment(&self) -> EnvironmentId {
        self.places.environment()
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
