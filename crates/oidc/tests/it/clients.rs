//! Clients by API.

use authority::Role;
use base::codes;
use serde_json::json;

use crate::app::apps;
use crate::browser::{Browser, CALLBACK, Client, led, refused};

const CLIENTS: &str = "/api/v1/clients";

#[tokio::test]
async fn a_client_is_made_changed_and_removed() {
    apps(|app| async move {
        let operator = app.app.operator();
        let body = json!({"name": "Web", "kind": "confidential", "redirect_uris": [CALLBACK]});
        let made = operator.post(CLIENTS, body.clone()).await.ok(201);
        assert!(made["client_secret"].as_str().unwrap().starts_with("sy_client_"));
        assert_eq!(made["scopes"], json!(["openid", "profile", "email", "offline_access"]));
        operator.post(CLIENTS, body).await.problem(&codes::CONFLICT);
        let path = format!("{CLIENTS}/{}", made["id"].as_str().unwrap());
        let read = operator.get(&path).await;
        assert!(!read.text.contains("secret"), "{}", read.text);
        let stale = operator.clone().with("if-match", "\"7\"");
        stale.patch(&path, json!({"name": "Site"})).await.problem(&codes::PRECONDITION_FAILED);
        let changed = operator.patch(&path, json!({"name": "Site", "scopes": ["openid"]})).await.ok(200);
        assert_eq!((&changed["name"], &changed["scopes"]), (&json!("Site"), &json!(["openid"])));
        let list = operator.get(CLIENTS).await.ok(200);
        assert_eq!(list["data"].as_array().unwrap().len(), 1);
        let elsewhere = operator.clone().with("switchyard-environment", "production");
        elsewhere.get(&path).await.problem(&codes::NOT_FOUND);
        operator.delete(&path).await.ok(204);
        operator.get(&path).await.problem(&codes::NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn addresses_and_scopes_are_checked_one_by_one() {
    apps(|app| async move {
        let operator = app.app.operator();
        let client = |change: serde_json::Value| {
            let mut body = json!({"name": "Web", "kind": "public", "redirect_uris": [CALLBACK]});
            for (name, value) in change.as_object().unwrap() {
                body[name] = value.clone();
            }
            body
        };
        for (change, pointer) in [
            (json!({"redirect_uris": [CALLBACK, "http://app.example.com/"]}), "/redirect_uris/1"),
            (json!({"redirect_uris": ["https://*.example.com/"]}), "/redirect_uris/0"),
            (json!({"redirect_uris": ["javascript:alert(1)"]}), "/redirect_uris/0"),
            (json!({"post_logout_redirect_uris": ["https://a.example/#x"]}), "/post_logout_redirect_uris/0"),
            (json!({"scopes": ["openid", "write:everything"]}), "/scopes/1"),
            (json!({"name": " Web"}), "/name"),
        ] {
            let problem = operator.post(CLIENTS, client(change.clone())).await.problem(&codes::INVALID);
            assert_eq!(problem["errors"][0]["pointer"], pointer, "{change}");
        }
        operator.post(CLIENTS, client(json!({"redirect_uris": []}))).await.problem(&codes::INVALID);
        operator.post(CLIENTS, client(json!({"secret": "mine"}))).await.problem(&codes::INVALID);
    })
    .await;
}

#[tokio::test]
async fn a_replaced_secret_ends_the_old_one_at_once() {
    apps(|app| async move {
        let operator = app.app.operator();
        let (client, mut browser) = (Client::new(&app).await, Browser::new(&app));
        let code = client.code(&mut browser, "ada@example.com", &[]).await;
        let path = format!("{CLIENTS}/{}/secret", client.id);
        let made = operator.post(&path, json!({})).await.ok(201);
        refused(&client.redeem(&code).await, 401, "invalid_client");
        let secret = made["client_secret"].as_str().unwrap().to_owned();
        Client { secret, ..client.clone() }.redeem(&code).await.ok(200);
        let public = json!({"name": "Phone", "kind": "public", "redirect_uris": ["com.example.app:/cb"]});
        let public = Client::with(&app, public).await;
        assert!(public.secret.is_empty());
        operator.post(&format!("{CLIENTS}/{}/secret", public.id), json!({})).await.problem(&codes::CONFLICT);
    })
    .await;
}

#[tokio::test]
async fn a_removed_client_gets_nothing_any_more() {
    apps(|app| async move {
        let (client, mut browser) = (Client::new(&app).await, Browser::new(&app));
        let tokens =
            client.tokens(&mut browser, "ada@example.com", &[("scope", "openid offline_access")]).await;
        let code = led(&client.send(&mut browser, &[]).await)["code"].clone();
        app.app.operator().delete(&format!("{CLIENTS}/{}", client.id)).await.ok(204);
        let removed = app.world.removed.lock().unwrap().iter().any(|id| id.to_string() == client.id);
        assert!(removed, "A9: its access tokens are called back");
        refused(&client.redeem(&code).await, 401, "invalid_client");
        refused(&client.refresh(tokens["refresh_token"].as_str().unwrap()).await, 401, "invalid_client");
        refused(&client.userinfo(tokens["access_token"].as_str().unwrap()).await, 401, "invalid_token");
        assert_eq!(client.send(&mut browser, &[]).await.status, 400);
    })
    .await;
}

#[tokio::test]
async fn only_operators_register_clients() {
    apps(|app| async move {
        let owner = app.app.member(app.world.acme, Role::Owner);
        owner.get(CLIENTS).await.problem(&codes::FORBIDDEN);
        let body = json!({"name": "Web", "kind": "public", "redirect_uris": [CALLBACK]});
        owner.post(CLIENTS, body).await.problem(&codes::FORBIDDEN);
        app.app.nobody().get(CLIENTS).await.problem(&codes::UNAUTHENTICATED);
    })
    .await;
}

#[tokio::test]
async fn z15_a_deleted_tenants_grants_go_with_it() {
    apps(|app| async move {
        let (client, mut browser) = (Client::new(&app).await, Browser::new(&app));
        let tokens =
            client.tokens(&mut browser, "ada@example.com", &[("scope", "openid offline_access")]).await;
        let (store, tenant) = (&app.app.store, app.world.acme);
        let module = oidc::build(oidc::Deps {
            db: store.db.clone(),
            clock: store.shared_clock(),
            random: store.random.clone(),
            tenants: app.world.places.clone(),
            links: app.world.clone(),
            signer: app.world.clone(),
            tokens: app.world.clone(),
            revocations: app.world.clone(),
            sign_in: app.world.clone(),
            issuers: app.world.clone(),
        });
        let rows = module.tenant_rows;
        let system = store.system();
        let write = store
            .db
            .write_system(&system, move |tx| rows.iter().try_for_each(|rows| rows.remove(tx, tenant)));
        write.await.unwrap();
        refused(&client.refresh(tokens["refresh_token"].as_str().unwrap()).await, 400, "invalid_grant");
    })
    .await;
}
