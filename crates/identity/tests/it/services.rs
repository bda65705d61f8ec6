//! Services that call back with the token of their deployment.

use std::time::Duration;

use base::{DeploymentId, ServiceId, codes};
use ports::{ServiceTokens as _, TenantStatus};
use serde_json::{Value, json};
use testkit::Client;

use crate::app::{App, apps};

/// Past what is remembered of a deployment.
const FORGOTTEN: Duration = Duration::from_millis(501);

/// A service of `development`, and what it sends.
fn service(app: &App) -> (Client, ServiceId, String) {
    let store = &app.app.store;
    let deployment = DeploymentId::new(&store.clock, &*store.random);
    let id = ServiceId::new(&store.clock, &*store.random);
    app.world.deploy(deployment, id, app.development);
    let token = app.signer.mint(deployment).unwrap().expose().clone();
    (app.with_key(&token), id, token)
}

#[tokio::test]
async fn a_service_acts_for_its_environment_or_for_the_tenant_it_names() {
    apps(|app| async move {
        let (client, id, _) = service(&app);
        let me = client.get("/api/v1/me").await.ok(200);
        assert_eq!((&me["kind"], &me["name"]), (&json!("service"), &json!("worker")));
        assert_eq!(me["id"], id.to_string());
        assert_eq!((&me["tenant"], &me["role"]), (&Value::Null, &Value::Null));
        assert_eq!(me["environment"], app.development.to_string());
        let rights = me["permissions"].as_array().unwrap();
        assert_eq!(rights.len(), authority::permissions::SERVICES.len());
        assert!(!rights.iter().any(|right| right.as_str().unwrap().ends_with(":keys")), "{rights:?}");
        for name in ["acme", &app.acme.to_string()] {
            let narrowed = client.clone().with("switchyard-tenant", name).get("/api/v1/me").await.ok(200);
            assert_eq!(narrowed["tenant"], app.acme.to_string(), "{name}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_tenant_that_a_service_cannot_have_is_not_found_whatever_the_reason() {
    apps(|app| async move {
        let (client, ..) = service(&app);
        app.set_status(app.globex, TenantStatus::Cancelled);
        let mut bodies = Vec::new();
        for name in ["nobody", "elsewhere", "globex", "", "A b", &"a".repeat(500)] {
            let mut answer = client.clone().with("switchyard-tenant", name).get("/api/v1/me").await;
            assert_eq!(answer.status.as_u16(), 404, "{name}: {}", answer.text);
            answer.body["request_id"] = Value::Null;
            bodies.push(answer.body);
        }
        assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "{bodies:#?}");
        app.set_status(app.globex, TenantStatus::Suspended);
        app.app.store.clock.advance(FORGOTTEN);
        client.clone().with("switchyard-tenant", "globex").get("/api/v1/me").await.ok(200);
    })
    .await;
}

#[tokio::test]
async fn a_service_has_no_other_environment_and_none_of_the_operators_or_keys_routes() {
    apps(|app| async move {
        let (client, ..) = service(&app);
        let named = client.clone().with("switchyard-environment", "development");
        named.get("/api/v1/me").await.ok(200);
        let other = client.clone().with("switchyard-environment", "production");
        other.get("/api/v1/me").await.problem(&codes::FORBIDDEN);
        for tenant in ["acme", "elsewhere"] {
            let keys = format!("/api/v1/tenants/{tenant}/keys");
            client.get(&keys).await.problem(&codes::FORBIDDEN);
            client.post(&keys, json!({"name": "mine", "role": "owner"})).await.problem(&codes::FORBIDDEN);
        }
    })
    .await;
}

#[tokio::test]
async fn a_removed_services_token_is_refused_within_a_second_and_the_store_is_not_asked_each_time() {
    apps(|app| async move {
        let (client, _, token) = service(&app);
        for _ in 0..50 {
            client.get("/api/v1/me").await.ok(200);
        }
        assert_eq!(app.world.asked(), 1, "one question answers for half a second");
        app.world.remove_services();
        app.app.store.clock.advance(FORGOTTEN);
        client.get("/api/v1/me").await.problem(&codes::UNAUTHENTICATED);
        let mut forged = token.clone();
        forged.pop();
        forged.push(if token.ends_with('A') { 'B' } else { 'A' });
        let asked = app.world.asked();
        for wrong in [forged.as_str(), "sy_svc_", &format!("{token}A"), &token.replace("sy_svc_", "sy_live_")]
        {
            app.with_key(wrong).get("/api/v1/me").await.problem(&codes::UNAUTHENTICATED);
        }
        assert_eq!(app.world.asked(), asked, "what is not signed costs no question");
    })
    .await;
}
