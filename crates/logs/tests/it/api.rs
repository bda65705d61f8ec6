//! The routes: who sees what, and what is refused.

use std::sync::Arc;

use authority::Role;
use base::{TenantId, Timestamp, codes};
use logs::{Config, Deps, Logs};
use ports::LogSink as _;
use serde_json::Value;
use telemetry::{Level, LogRecord, Metrics, Source, Stream};
use testkit::{Parts, Places, Store, TestApp, apps_with};
use web::Surface;

fn tenant(number: u8) -> TenantId {
    TenantId::from_uuid_bytes([number; 16])
}

fn line(number: u8, message: &str) -> LogRecord {
    LogRecord {
        at: Timestamp::from_micros(1_767_225_600_000_000 + i64::from(number)),
        level: Level::Info,
        message: message.to_owned(),
        source: Source::Service {
            service: "web".to_owned(),
            replica: "rep_1".to_owned(),
            deployment: "dep_1".to_owned(),
            stream: Stream::Stdout,
        },
        tenant: Some(tenant(number).to_string()),
        fields: serde_json::Map::new(),
    }
}

async fn served(surface: Surface, test: impl AsyncFn(TestApp)) {
    let build = |store: Store| async move {
        let logs = Logs::new(&store.dir, Config::default(), store.shared_clock(), &Metrics::new());
        logs.append_batch(vec![line(1, "of acme"), line(2, "of globex")]);
        let mut platform = line(1, "of the platform");
        platform.source = Source::Platform;
        logs.append(platform);
        let tenants = Places::of(&store);
        tenants.put(tenant(1), tenants.project(), "acme");
        tenants.put(tenant(2), tenants.project(), "globex");
        let module = logs::build(Deps { logs: logs.clone(), tenants });
        (Parts { surface, ..Parts::of(module) }, logs)
    };
    apps_with(&[], build, async |app: TestApp, logs: Arc<Logs>| {
        logs.flush().await;
        test(app).await;
    })
    .await;
}

fn messages(page: &Value) -> Vec<&str> {
    let data = page["data"].as_array().expect("a list");
    data.iter().map(|entry| entry["message"].as_str().expect("a text")).collect()
}

#[tokio::test]
async fn operators_see_all_and_filter() {
    served(Surface::Operator, async |app| {
        let client = app.operator();
        let all = client.get("/api/v1/logs").await.ok(200);
        assert_eq!(messages(&all), ["of the platform", "of globex", "of acme"]);
        for (query, expected) in [
            ("tenant=acme", &["of the platform", "of acme"][..]),
            (&format!("tenant={}", tenant(2)), &["of globex"]),
            ("source=platform", &["of the platform"]),
            ("service=web&text=GLOB", &["of globex"]),
            ("control=false&source=platform", &["of the platform"]),
            ("level=warn", &[]),
            ("since=2027-01-01T00:00:00Z", &[]),
            ("since=1h", &["of the platform", "of globex", "of acme"]),
            ("until=1h", &[]),
        ] {
            let page = client.get(&format!("/api/v1/logs?{query}")).await.ok(200);
            assert_eq!(messages(&page), expected, "{query}");
        }
        let one = client.get("/api/v1/logs?limit=1").await.ok(200);
        let cursor = one["next_cursor"].as_str().expect("there is more").to_owned();
        let next = client.get(&format!("/api/v1/logs?limit=1&cursor={cursor}")).await.ok(200);
        assert_eq!(messages(&next), ["of globex"]);
        let service = client.get("/api/v1/services/web/logs").await.ok(200);
        assert_eq!(messages(&service), ["of globex", "of acme"]);
    })
    .await;
}

#[tokio::test]
async fn z1_a_tenant_sees_its_own_and_nobody_elses() {
    served(Surface::Both, async |app| {
        for role in [Role::Owner, Role::Admin, Role::Developer, Role::Viewer] {
            let client = app.member(tenant(1), role);
            let page = client.get("/api/v1/logs").await.ok(200);
            assert_eq!(messages(&page), ["of acme"], "without what the platform says about it");
            assert_eq!(messages(&client.get("/api/v1/logs?tenant=acme").await.ok(200)), ["of acme"]);
            for other in ["globex", &tenant(2).to_string(), "nobody", &tenant(3).to_string()] {
                client.get(&format!("/api/v1/logs?tenant={other}")).await.problem(&codes::NOT_FOUND);
                client.get(&format!("/api/v1/logs/stream?tenant={other}")).await.problem(&codes::NOT_FOUND);
            }
            assert_eq!(
                messages(&client.get("/api/v1/logs?source=platform").await.ok(200)),
                Vec::<&str>::new()
            );
        }
        app.nobody().get("/api/v1/logs").await.problem(&codes::UNAUTHENTICATED);
        let service = app.member(tenant(1), Role::Owner).get("/api/v1/services/web/logs").await;
        assert_eq!(service.status.as_u16(), 404, "not on this surface");
    })
    .await;
}

#[tokio::test]
async fn z6_z7_queries_are_strict() {
    served(Surface::Operator, async |app| {
        for query in [
            "tennant=acme",
            "tenant=acme&tenant=globex",
            "limit=0",
            "limit=501",
            "level=loud",
            "since=yesterday",
            "cursor=bm9uc2Vuc2U",
            "text=",
        ] {
            let answer = app.operator().get(&format!("/api/v1/logs?{query}")).await;
            assert_eq!(answer.status.as_u16(), 400, "{query}: {}", answer.text);
        }
        let injected = app.operator().get("/api/v1/logs?text=%27%20OR%201%3D1%20--").await.ok(200);
        assert!(messages(&injected).is_empty());
    })
    .await;
}
