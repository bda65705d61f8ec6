//! Custom domains.

use authority::Role;
use base::codes;
use serde_json::{Value, json};

use crate::app::{apps, create};

#[tokio::test]
async fn an_operator_vouches_for_a_domain() {
    apps(|app| async move {
        let operator = app.app.operator();
        let id = create(&operator, "acme").await;
        create(&operator, "globex").await;
        let path = "/api/v1/tenants/acme/domains";
        let answer = operator.post(path, json!({"host": "App.Acme.Example."})).await;
        let location = answer.header("location").to_owned();
        let made = answer.ok(201);
        assert_eq!(made["host"], "app.acme.example");
        assert!(made["verified_at"].is_string());
        assert_eq!(location, format!("/api/v1/tenants/{id}/domains/app.acme.example"));
        let taken = json!({"host": "app.acme.example"});
        operator.post("/api/v1/tenants/globex/domains", taken.clone()).await.problem(&codes::CONFLICT);
        operator.post(path, taken).await.problem(&codes::CONFLICT);
        for host in ["localhost", "other.localhost", "a.b.localhost"] {
            operator.post(path, json!({ "host": host })).await.problem(&codes::CONFLICT);
        }
        for host in ["127.0.0.1", "a b", "https://x.example", "x.example:80"] {
            operator.post(path, json!({ "host": host })).await.problem(&codes::INVALID);
        }
        operator.delete(&format!("{path}/app.acme.example")).await.ok(204);
        operator.delete(&format!("{path}/app.acme.example")).await.problem(&codes::NOT_FOUND);
        operator.post("/api/v1/tenants/globex/domains", json!({"host": "app.acme.example"})).await.ok(201);
        let kinds = app.kinds(10, &id.to_string()).await;
        assert_eq!(kinds, ["tenant.created", "tenant.updated", "tenant.updated", "tenant.updated"]);
    })
    .await;
}

#[tokio::test]
async fn a_claim_tells_nothing_and_blocks_nobody() {
    apps(|app| async move {
        let operator = app.app.operator();
        let (one, two) = (create(&operator, "one").await, create(&operator, "two").await);
        let (one, two) = (app.app.member(one, Role::Owner), app.app.member(two, Role::Admin));
        let host = json!({"host": "shop.example"});
        let first = one.post("/api/v1/tenants/one/domains", host.clone()).await.ok(201);
        assert_eq!(first["verified_at"], Value::Null);
        let second = two.post("/api/v1/tenants/two/domains", host.clone()).await.ok(201);
        assert_eq!(second["verified_at"], Value::Null);
        operator.post("/api/v1/tenants/one/domains", host.clone()).await.ok(201);
        // The claim of the other stays a claim, and looks as before.
        let seen = two.get("/api/v1/tenants/two/domains").await.ok(200);
        assert_eq!(seen["data"][0]["verified_at"], Value::Null);
        let mine = one.get("/api/v1/tenants/one/domains").await.ok(200);
        assert!(mine["data"][0]["verified_at"].is_string());
        let viewer =
            app.app.member(base::TenantId::parse(&id_of(&operator, "one").await).unwrap(), Role::Viewer);
        viewer.post("/api/v1/tenants/one/domains", host).await.problem(&codes::FORBIDDEN);
    })
    .await;
}

async fn id_of(client: &testkit::Client, slug: &str) -> String {
    let tenant = client.get(&format!("/api/v1/tenants/{slug}")).await.ok(200);
    tenant["id"].as_str().unwrap().to_owned()
}
