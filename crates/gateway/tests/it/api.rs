//! Routes by API and by project file, on both stores, and how the gateway follows them.

use authority::Role;
use base::{TenantId, codes};
use db::Event;
use gateway::testing::{KeptLog, Memory, NoLog, PlainSigner};
use gateway::{Built, Config, Deps, Gateway, RoutesApply, SECTION};
use lifecycle::Supervisor;
use ports::{ApplyError, Change, ChangeKind, SectionApply as _};
use serde_json::{Value, json};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testkit::{Parts, Store, TestApp};
use web::Surface;

struct App {
    app: TestApp,
    memory: Memory,
    gateway: Gateway,
}

/// Runs a test on both stores, over tenants, keys, plans and services in memory.
async fn apps<F, T>(test: F)
where
    F: Fn(App) -> T,
    T: Future<Output = ()>,
{
    let built: Arc<Mutex<Option<(Memory, Gateway)>>> = Arc::default();
    testkit::apps(
        &[gateway::MANIFEST.migrations],
        |store: Store| {
            let built = Arc::clone(&built);
            async move {
                let memory = Memory::new();
                memory.tenant("acme", "pro");
                memory.service("web", &[([127, 0, 0, 1], 9).into()], "");
                let Built { module, gateway } = gateway::build(Config::default(), deps(&store, &memory));
                *built.lock().unwrap() = Some((memory.clone(), gateway));
                Parts {
                    modules: vec![module],
                    authenticate: None,
                    environments: Some(Arc::new(memory)),
                    surface: Surface::Operator,
                }
            }
        },
        |app: TestApp| {
            let (memory, gateway) = built.lock().unwrap().take().unwrap();
            test(App { app, memory, gateway })
        },
    )
    .await;
}

fn deps(store: &Store, memory: &Memory) -> Deps {
    let this = || Arc::new(memory.clone());
    Deps {
        db: store.db.clone(),
        clock: store.shared_clock(),
        random: store.random.clone(),
        tenants: this(),
        keys: this(),
        plans: this(),
        environments: this(),
        services: this(),
        signer: Arc::new(PlainSigner),
        uses: Arc::new(NoLog),
        tokens: None,
        meters: None,
        logs: Arc::new(KeptLog::default()),
        metrics: telemetry::Metrics::new(),
    }
}

impl App {
    async fn apply(&self, section: Value) -> Result<Vec<Change>, ApplyError> {
        let store = &self.app.store;
        let apply = RoutesApply { clock: store.shared_clock(), random: store.random.clone() };
        let (environment, system) = (self.memory.environment(), store.system());
        let section = Some(section).filter(|section| !section.is_null());
        store.db.write_system(&system, move |tx| apply.apply(tx, environment, section.as_ref(), false)).await
    }

    async fn events(&self, count: i64) -> Vec<Event> {
        let log = self.app.store.db.events();
        while log.head() < count {
            log.wait_beyond(log.head()).await;
        }
        log.after(0, 1_000).await.unwrap()
    }

    /// Waits until the gateway says this of a request.
    async fn explains(&self, url: (&str, &str), route: Option<&str>) {
        let begun = base::SystemClock::shared();
        loop {
            let told = gateway::explain(self.gateway.world(), self.gateway.services(), "GET", url.0, url.1);
            if told.matched.as_deref() == route {
                return;
            }
            assert!(begun.monotonic() < Duration::from_secs(10), "{told:?}");
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_are_made_changed_and_removed() {
    apps(|app| async move {
        let operator = app.app.operator();
        let body = json!({ "host": "*.Example.com", "path": "/api/", "service": "web", "auth": "required" });
        let made = operator.post("/api/v1/routes", body.clone()).await.ok(201);
        assert_eq!((&made["host"], &made["path"]), (&json!("*.example.com"), &json!("/api")));
        assert_eq!((&made["managed_by"], &made["limits"]), (&json!("api"), &json!(true)));
        let url = format!("/api/v1/routes/{}", made["id"].as_str().unwrap());
        operator.post("/api/v1/routes", body).await.problem(&codes::CONFLICT);

        let changed =
            operator.patch(&url, json!({ "auth": "none", "timeouts": { "response": "5s" } })).await.ok(200);
        assert_eq!((&changed["auth"], &changed["timeouts"]["response"]), (&json!("none"), &json!("5s")));
        let stale = operator.clone().with("if-match", "\"1\"");
        stale.patch(&url, json!({ "path": "/x" })).await.problem(&codes::PRECONDITION_FAILED);
        assert_eq!(operator.get("/api/v1/routes").await.ok(200)["data"].as_array().unwrap().len(), 1);
        assert_eq!(operator.get(&url).await.ok(200)["auth"], "none");
        assert_eq!(operator.delete(&url).await.status, 204);
        operator.get(&url).await.problem(&codes::NOT_FOUND);
        let kinds: Vec<String> = app.events(3).await.into_iter().map(|event| event.kind).collect();
        assert_eq!(kinds, ["route.created", "route.updated", "route.removed"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_mistakes_of_a_route_are_told() {
    apps(|app| async move {
        let operator = app.app.operator();
        let body = json!({ "host": "a b", "path": "x", "service": "web", "headers": { "Connection": "x" } });
        let problem = operator.post("/api/v1/routes", body).await.problem(&codes::INVALID);
        let pointers: Vec<&str> = problem["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| error["pointer"].as_str().unwrap())
            .collect();
        assert_eq!(pointers, ["/host", "/path", "/headers/Connection"]);
        let body = json!({ "host": "*", "service": "web", "cache": "x" });
        let answer = operator.post("/api/v1/routes", body).await;
        assert!(matches!(answer.status.as_u16(), 400 | 422), "{}", answer.status);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_operators_see_and_change_routes() {
    apps(|app| async move {
        let tenant = TenantId::new(&app.app.store.clock, &*app.app.store.random);
        let body = json!({ "host": "*", "service": "web" });
        for client in [app.app.nobody(), app.app.member(tenant, Role::Owner)] {
            for path in ["/api/v1/routes", "/api/v1/routes/explain?host=a"] {
                assert!(matches!(client.get(path).await.status.as_u16(), 401 | 403 | 404));
            }
            assert!(matches!(
                client.post("/api/v1/routes", body.clone()).await.status.as_u16(),
                401 | 403 | 404
            ));
        }
        assert!(app.app.store.db.events().after(0, 10).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_project_file_manages_its_own_routes() {
    apps(|app| async move {
        let operator = app.app.operator();
        let web = |host: &str| json!({ "host": host, "service": "web" });
        let by_api = operator.post("/api/v1/routes", web("api.example.com")).await.ok(201);
        let kinds = |changes: Vec<Change>| changes.into_iter().map(|change| change.kind).collect::<Vec<_>>();

        let file = json!([web("*.localhost"), { "host": "*.localhost", "path": "/admin", "service": "web" }]);
        assert_eq!(kinds(app.apply(file.clone()).await.unwrap()), [ChangeKind::Created; 2]);
        assert_eq!(app.apply(file).await.unwrap(), []);
        let changed = json!([{ "host": "*.LOCALHOST", "service": "web", "auth": "optional" }]);
        let changes = app.apply(changed).await.unwrap();
        assert_eq!(kinds(changes), [ChangeKind::Removed, ChangeKind::Changed]);

        let all = operator.get("/api/v1/routes").await.ok(200);
        let by_file =
            all["data"].as_array().unwrap().iter().find(|route| route["managed_by"] == "file").unwrap();
        let url = format!("/api/v1/routes/{}", by_file["id"].as_str().unwrap());
        operator.patch(&url, json!({ "auth": "none" })).await.problem(&codes::MANAGED_BY_FILE);
        operator.delete(&url).await.problem(&codes::MANAGED_BY_FILE);
        let taken = app.apply(json!([web("api.example.com")])).await;
        assert!(matches!(taken, Err(ApplyError::ManagedByApi(_))));

        assert_eq!(kinds(app.apply(Value::Null).await.unwrap()), [ChangeKind::Removed]);
        let left = operator.get("/api/v1/routes").await.ok(200);
        assert_eq!(left["data"], json!([by_api]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_follows_routes_through_the_event_log() {
    apps(|app| async move {
        let operator = app.app.operator();
        app.apply(json!([{ "host": "*.localhost", "service": "web" }])).await.unwrap();
        let supervisor = Supervisor::new(base::SystemClock::shared());
        app.gateway.start(Vec::new(), &supervisor).await.unwrap();
        app.explains(("acme.localhost", "/admin"), Some("*.localhost/")).await;
        let body = json!({ "host": "*.localhost", "path": "/admin", "service": "web", "auth": "required" });
        let made = operator.post("/api/v1/routes", body).await.ok(201);
        app.explains(("acme.localhost", "/admin"), Some("*.localhost/admin")).await;
        let told =
            operator.get("/api/v1/routes/explain?host=acme.localhost:8080&path=/admin/x").await.ok(200);
        assert_eq!((&told["refused"], &told["tenant"]), (&json!("unauthenticated"), &json!("acme")));
        assert_eq!((&told["route"], &told["plan"]), (&made["id"], &json!("pro")));
        assert!(told["steps"].as_array().unwrap().len() >= 5);
        operator.delete(&format!("/api/v1/routes/{}", made["id"].as_str().unwrap())).await;
        app.explains(("acme.localhost", "/admin"), Some("*.localhost/")).await;
        app.apply(Value::Null).await.unwrap();
        app.explains(("acme.localhost", "/"), None).await;
        supervisor.stop(Duration::from_secs(5)).await.unwrap();
    })
    .await;
}

#[test]
fn the_section_is_checked_with_the_whole_file() {
    let file = |text: &str| config::ProjectFile::parse(text, "switchyard.toml", &[SECTION]);
    let text = "schema = 1\n[[routes]]\nhost = \"*.localhost\"\nservice = \"web\"\npth = \"/\"\nlimits = { tenant = \"x\" }\n";
    let faults = file(text).unwrap_err().to_string();
    for part in ["routes", "pth", "`path`", "limits"] {
        assert!(faults.contains(part), "{part} in {faults}");
    }
}
