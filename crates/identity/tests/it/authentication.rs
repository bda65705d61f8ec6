//! From a credential to a caller, and what apps verify.

use std::sync::Arc;

use authority::key_format::{self, KeyKind};
use base::codes;
use identity::Signer;
use ports::{AssertionSigner as _, TenantStatus};
use serde_json::{Value, json};

use crate::app::apps;

#[tokio::test]
async fn a10_every_failure_looks_the_same() {
    apps(|app| async move {
        let operator = app.app.operator();
        let keys = "/api/v1/tenants/acme/keys";
        let made = operator.post(keys, json!({"name": "ci", "role": "viewer"})).await.ok(201);
        let known = made["key"].as_str().unwrap().to_owned();
        let revoked = operator.post(keys, json!({"name": "old"})).await.ok(201);
        operator.delete(&format!("{keys}/{}", revoked["id"].as_str().unwrap())).await.ok(204);
        let mut typo = known.clone();
        typo.pop();
        typo.push(if known.ends_with('a') { 'b' } else { 'a' });
        let credentials = [
            format!("Bearer {}", revoked["key"].as_str().unwrap()),
            format!("Bearer {}", key_format::encode(KeyKind::Live, &[7; 32])),
            format!("Bearer {}", key_format::encode(KeyKind::Test, &[7; 32])),
            format!("Bearer {}", key_format::encode(KeyKind::Operator, &[7; 32])),
            format!("Bearer {typo}"),
            "Bearer ".to_owned(),
            "Bearer eyJhbGciOiJub25lIn0.e30.".to_owned(),
            "Basic YTpi".to_owned(),
            format!("Bearer {}", "a".repeat(5_000)),
        ];
        let mut bodies = Vec::new();
        for credential in credentials {
            let client = app.with_key("none").with("authorization", &credential);
            let mut answer = client.get("/api/v1/me").await;
            assert_eq!(answer.status.as_u16(), 401, "{}", answer.text);
            answer.body["request_id"] = Value::Null;
            bodies.push(answer.body);
        }
        assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "{bodies:#?}");
        // Two credentials that differ are refused; the same twice is one.
        let both = app.with_key(&known).with("x-api-key", &known);
        both.get("/api/v1/me").await.ok(200);
        let differ = app.with_key(&known).with("x-api-key", &typo);
        differ.get("/api/v1/me").await.problem(&codes::UNAUTHENTICATED);
        let plain = app.app.nobody().with("x-test-caller", "-").with("x-api-key", &known);
        plain.get("/api/v1/me").await.ok(200);
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_tenants_keys_are_nobodys() {
    apps(|app| async move {
        let keys = "/api/v1/tenants/acme/keys";
        let made = app.app.operator().post(keys, json!({"name": "ci", "role": "viewer"})).await.ok(201);
        let client = app.with_key(made["key"].as_str().unwrap());
        client.get("/api/v1/me").await.ok(200);
        app.set_status(app.acme, TenantStatus::Suspended);
        client.get("/api/v1/me").await.ok(200);
        app.set_status(app.acme, TenantStatus::Cancelled);
        // As another process would have done it, whose changes are seen within this time.
        app.app.store.clock.advance(web::RECALL_MAX);
        client.get("/api/v1/me").await.problem(&codes::UNAUTHENTICATED);
    })
    .await;
}

#[tokio::test]
async fn the_signing_key_is_made_once_and_published() {
    apps(|app| async move {
        let published = app.app.nobody().get("/.well-known/jwks.json").await.ok(200);
        let keys = published["keys"].as_array().unwrap();
        let mut kinds: Vec<&str> = keys.iter().map(|key| key["alg"].as_str().unwrap()).collect();
        kinds.sort_unstable();
        assert_eq!(kinds, ["ES256", "ES256", "EdDSA", "EdDSA"], "one that signs and the next one");
        assert!(keys.iter().all(|key| key.get("d").is_none()), "the private part stays");
        // Another process of the installation signs with the same key.
        let store = &app.app.store;
        let load = || Signer::load(&store.db, store.shared_clock(), &store.random);
        let (one, two): (Arc<Signer>, Arc<Signer>) = (load().await.unwrap(), load().await.unwrap());
        assert_eq!(one.jwks(), published);
        assert_eq!(two.jwks(), published);
    })
    .await;
}
