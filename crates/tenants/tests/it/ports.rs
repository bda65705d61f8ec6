//! What other planes are told of tenants and environments.

use ::ports::{EnvironmentDirectory as _, PlanUse as _, TenantDirectory as _, TenantStatus};
use base::TenantId;
use serde_json::json;
use tenants::{Directory, Environments, PlanCensus};

use crate::app::{FILE, apply, apps, create, slug};

#[tokio::test]
async fn the_directory_tells_tenants_with_their_proven_domains() {
    apps(|app| async move {
        let operator = app.app.operator();
        let mut ids = Vec::new();
        for name in ["acme", "globex", "initech"] {
            ids.push(create(&operator, name).await);
        }
        for host in ["b.example", "a.example"] {
            operator.post("/api/v1/tenants/acme/domains", json!({ "host": host })).await.ok(201);
        }
        let claim = json!({"host": "c.example"});
        let member = app.app.member(ids[0], authority::Role::Owner);
        member.post("/api/v1/tenants/acme/domains", claim).await.ok(201);
        let change = json!({"status": "suspended", "rate_override": "7/s", "isolation": "silo"});
        operator.patch("/api/v1/tenants/globex", change).await.ok(200);
        let environment = app.environments.current().unwrap();
        let directory = Directory::new(app.app.store.db.clone());
        let mut seen: Vec<TenantId> = Vec::new();
        loop {
            let page = directory.page(environment.id, seen.last().copied(), 2).await.unwrap();
            let last = page.len() < 2;
            for tenant in page {
                if tenant.slug.as_str() == "acme" {
                    let hosts: Vec<_> = tenant.domains.iter().map(|host| host.as_str()).collect();
                    assert_eq!(hosts, ["a.example", "b.example"]);
                } else {
                    assert!(tenant.domains.is_empty());
                }
                seen.push(tenant.id);
            }
            if last {
                break;
            }
        }
        assert_eq!(seen.len(), 3);
        let globex = directory.one(environment.id, ids[1]).await.unwrap().unwrap();
        assert_eq!(globex.status, TenantStatus::Suspended);
        assert_eq!(globex.isolation, ::ports::Isolation::Silo);
        assert_eq!(globex.rate_override.unwrap().to_string(), "7/s");
        let found = directory.find("acme", Some(environment.project)).await.unwrap().unwrap();
        assert_eq!(found.id, ids[0]);
        assert_eq!(directory.find("acme", None).await.unwrap().unwrap().id, ids[0]);
        for nothing in ["nobody", "", "ACME", "ten_x", "ten_01hqzzzzzzzzzzzzzzzzzzzzzz"] {
            assert_eq!(directory.find(nothing, None).await.unwrap(), None, "{nothing}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_directory_in_another_process_follows() {
    apps(|app| async move {
        // Another process has its own list; here it is made by hand, without its follower.
        let elsewhere = Environments::load(app.app.store.db.clone(), slug("test")).await.unwrap();
        assert!(elsewhere.current().is_none());
        let operator = app.app.operator();
        let text = format!("{FILE}[environments.test.tenants]\nbase_domain = \"test.example\"\n");
        apply(&operator, "test", &text).await.ok(200);
        assert_eq!(elsewhere.all().len(), 1);
        elsewhere.refresh().await.unwrap();
        assert_eq!(elsewhere.current().unwrap().base_domain.as_str(), "test.example");
    })
    .await;
}

#[tokio::test]
async fn the_census_counts_who_is_on_a_plan() {
    apps(|app| async move {
        let operator = app.app.operator();
        for name in ["acme", "globex", "initech"] {
            create(&operator, name).await;
        }
        operator.patch("/api/v1/tenants/acme", json!({"rate_override": "1/s"})).await.ok(200);
        let store = &app.app.store;
        let project = app.environments.current().unwrap().project;
        let users = store
            .db
            .read_system(&store.system(), move |tx| PlanCensus.users(tx, project, &slug("free"), 2))
            .await
            .unwrap();
        assert_eq!((users.count, users.overridden, users.examples.len()), (3, 1, 2));
        let nobody = store
            .db
            .read_system(&store.system(), move |tx| PlanCensus.users(tx, project, &slug("pro"), 2))
            .await
            .unwrap();
        assert_eq!(nobody.count, 0);
    })
    .await;
}
