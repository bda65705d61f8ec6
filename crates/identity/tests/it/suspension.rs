//! What members and keys of a suspended tenant may (TORTURE Z17): see why, and nothing else, until it is resumed.

use base::codes;
use ports::TenantStatus;
use serde_json::json;
use testkit::Client;

use super::app::{App, apps};
use super::tokens;

const KEYS: &str = "/api/v1/tenants/acme/keys";
const MEMBERS: &str = "/api/v1/tenants/acme/members";

/// An owner's key, and the token of an owner who has signed in.
async fn owners(app: &App) -> [Client; 2] {
    let made = app.app.operator().post(KEYS, json!({"name": "ci", "role": "owner"})).await.ok(201);
    let token = tokens::sign(app, &tokens::changed(app, json!({"role": "owner"})));
    [app.with_key(made["key"].as_str().unwrap()), app.with_key(&token)]
}

fn set(app: &App, status: TenantStatus) {
    app.set_status(app.acme, status);
    // As another process would have done it, whose changes are seen within this time.
    app.app.store.clock.advance(web::RECALL_MAX);
}

#[tokio::test]
async fn z17_members_and_keys_of_a_suspended_tenant_see_why_and_nothing_else_until_it_is_resumed() {
    apps(|app| async move {
        for client in owners(&app).await {
            set(&app, TenantStatus::Active);
            client.get(KEYS).await.ok(200);
            set(&app, TenantStatus::Suspended);
            let me = client.get("/api/v1/me").await.ok(200);
            let may = me["permissions"].as_array().unwrap();
            assert!(may.contains(&json!("read:tenants")) && may.contains(&json!("read:usage")), "{may:?}");
            assert!(!may.contains(&json!("read:jobs")) && !may.contains(&json!("write:keys")), "{may:?}");
            for path in [KEYS, MEMBERS] {
                client.get(path).await.problem(&codes::TENANT_SUSPENDED);
            }
            let body = json!({"name": "more", "role": "viewer"});
            client.post(KEYS, body.clone()).await.problem(&codes::TENANT_SUSPENDED);
            // What the role would not grant anyway looks as it always does.
            client.post("/api/v1/signing-keys/rotate", json!({})).await.problem(&codes::FORBIDDEN);
            set(&app, TenantStatus::Active);
            client.post(KEYS, body).await.ok(201);
        }
    })
    .await;
}

#[tokio::test]
async fn z17_a_suspension_holds_up_neither_operators_nor_other_tenants_nor_who_acts_as_it() {
    apps(|app| async move {
        let globex = "/api/v1/tenants/globex/keys";
        let made = app.app.operator().post(globex, json!({"name": "ci", "role": "owner"})).await.ok(201);
        let theirs = app.with_key(made["key"].as_str().unwrap());
        let support =
            json!({"role": "owner", "act": {"sub": "operator ops@example.com", "reason": "ticket 7"}});
        let support = app.with_key(&tokens::sign(&app, &tokens::changed(&app, support)));
        support.get(KEYS).await.ok(200);
        set(&app, TenantStatus::Suspended);
        app.app.operator().get(KEYS).await.ok(200);
        app.app.operator().post(KEYS, json!({"name": "new", "role": "viewer"})).await.ok(201);
        theirs.get(globex).await.ok(200);
        support.get(KEYS).await.ok(200);
    })
    .await;
}
