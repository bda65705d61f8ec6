//! The life of API keys.

use std::time::Duration;

use authority::{Role, key_format};
use base::{KeyId, codes};
use identity::Directory;
use ports::{KeyDirectory as _, TenantRows as _};
use serde_json::{Value, json};
use testkit::Client;

use crate::app::{App, apps};

const KEYS: &str = "/api/v1/tenants/acme/keys";

async fn make(client: &Client, body: Value) -> (String, String) {
    let made = client.post(KEYS, body).await.ok(201);
    let text = |field: &str| made[field].as_str().unwrap().to_owned();
    (text("key"), text("id"))
}

async fn me(app: &App, key: &str) -> u16 {
    app.with_key(key).get("/api/v1/me").await.status.as_u16()
}

#[tokio::test]
async fn a_key_is_shown_once_works_and_is_revoked() {
    apps(|app| async move {
        let operator = app.app.operator();
        let answer = operator.post(KEYS, json!({"name": "ci", "scopes": ["read:*"]})).await;
        let location = answer.header("location").to_owned();
        let made = answer.ok(201);
        let key = made["key"].as_str().unwrap();
        assert_eq!(key_format::check(key), Ok(key_format::KeyKind::Test));
        assert!(key.starts_with(made["prefix"].as_str().unwrap()));
        assert_eq!(made["scopes"], json!(["read:*"]));
        assert_eq!(made["status"], "active");
        let list = operator.get(KEYS).await;
        assert!(!list.text.contains(key), "the key is shown once");
        let list = list.ok(200);
        assert_eq!(list["data"][0]["id"], made["id"]);
        let read = operator.get(&location).await.ok(200);
        assert!(read.get("key").is_none());

        let who = app.with_key(key).get("/api/v1/me").await.ok(200);
        assert_eq!(who["kind"], "key");
        assert_eq!(who["id"], made["id"]);
        assert_eq!(who["tenant"], json!(app.acme));
        assert_eq!(who["environment"], json!(app.development));
        let may: Vec<_> = who["permissions"].as_array().unwrap().iter().collect();
        assert!(may.contains(&&json!("read:keys")) && !may.contains(&&json!("write:keys")), "{may:?}");
        // Its own list yes, a new key no, another tenant's list not at all.
        app.with_key(key).get(KEYS).await.ok(200);
        app.with_key(key).post(KEYS, json!({"name": "x"})).await.problem(&codes::FORBIDDEN);
        app.with_key(key).get("/api/v1/tenants/globex/keys").await.problem(&codes::NOT_FOUND);

        operator.delete(&location).await.ok(204);
        operator.delete(&location).await.ok(204);
        assert_eq!(me(&app, key).await, 401);
        assert_eq!(operator.get(KEYS).await.ok(200)["data"], json!([]));
        let all = operator.get(&format!("{KEYS}?revoked=true")).await.ok(200);
        assert_eq!(all["data"][0]["status"], "revoked");
        let events = app.app.events(2).await;
        let kinds: Vec<_> = events.iter().map(|event| event.kind.as_str()).collect();
        assert_eq!(kinds, ["key.created", "key.revoked"]);
        assert!(events.iter().all(|e| e.tenant == Some(app.acme) && e.environment == Some(app.development)));
        assert!(!format!("{events:?}").contains(key), "A11: no event holds the key");
    })
    .await;
}

#[tokio::test]
async fn a_rotation_overlaps_and_ends() {
    apps(|app| async move {
        let operator = app.app.operator();
        let (old, id) = make(&operator, json!({"name": "ci", "role": "viewer"})).await;
        let rotate = format!("{KEYS}/{id}/rotate");
        operator.post(&rotate, json!({"overlap": "31d"})).await.problem(&codes::INVALID);
        let new = operator.post(&rotate, json!({"overlap": "1h"})).await.ok(201);
        let new_key = new["key"].as_str().unwrap().to_owned();
        assert_eq!(new["name"], "ci");
        assert_eq!(new["role"], "viewer");
        assert_eq!(me(&app, &old).await, 200);
        assert_eq!(me(&app, &new_key).await, 200);
        let seen = operator.get(&format!("{KEYS}/{id}")).await.ok(200);
        assert_eq!(seen["replaced_by"], new["id"]);
        app.app.store.clock.advance(Duration::from_secs(3_600));
        assert_eq!(me(&app, &old).await, 401);
        assert_eq!(me(&app, &new_key).await, 200);
        operator.post(&rotate, Value::Null).await.problem(&codes::CONFLICT);
        // Without an overlap the old one ends at once; with nothing said it goes on for a day.
        let id = new["id"].as_str().unwrap().to_owned();
        let third = operator.post(&format!("{KEYS}/{id}/rotate"), json!({"overlap": "0s"})).await.ok(201);
        assert_eq!(me(&app, &new_key).await, 401);
        let id = third["id"].as_str().unwrap().to_owned();
        operator.post(&format!("{KEYS}/{id}/rotate"), Value::Null).await.ok(201);
        app.app.store.clock.advance(Duration::from_secs(86_399));
        assert_eq!(me(&app, third["key"].as_str().unwrap()).await, 200);
        let kinds: Vec<_> = app.app.events(7).await.into_iter().map(|event| event.kind).collect();
        assert_eq!(kinds.iter().filter(|kind| *kind == "key.rotated").count(), 3);
        assert_eq!(kinds.iter().filter(|kind| *kind == "key.created").count(), 4);
    })
    .await;
}

#[tokio::test]
async fn a12_a_key_grants_no_more_than_its_maker_has_and_only_where_it_is_for() {
    apps(|app| async move {
        let operator = app.app.operator();
        let admin = app.member(Role::Admin);
        let developer = app.app.member_in(app.acme, Role::Developer, app.development);
        admin.post(KEYS, json!({"name": "x", "role": "owner"})).await.problem(&codes::SCOPE_EXCEEDS);
        developer.post(KEYS, json!({"name": "x", "role": "admin"})).await.problem(&codes::SCOPE_EXCEEDS);
        developer.post(KEYS, json!({"name": "x", "scopes": ["*:*"]})).await.problem(&codes::SCOPE_EXCEEDS);
        developer
            .post(KEYS, json!({"name": "x", "scopes": ["delete:keys"]}))
            .await
            .problem(&codes::SCOPE_EXCEEDS);
        developer.post(KEYS, json!({"name": "ok"})).await.ok(201);
        // Without an environment a pattern also holds for what belongs to none, where a developer only reads.
        let scopes = json!({"name": "x", "scopes": ["write:keys", "read:*"]});
        developer.post(KEYS, scopes).await.problem(&codes::SCOPE_EXCEEDS);
        let scopes = json!({"name": "ok", "scopes": ["write:keys@development", "read:*"]});
        developer.post(KEYS, scopes).await.ok(201);
        let elsewhere = json!({"name": "x", "environment": "production"});
        developer.post(KEYS, elsewhere).await.problem(&codes::INVALID);
        // Rotating hands the key over, so it takes the same rights.
        let (_, id) = make(&operator, json!({"name": "root", "role": "owner"})).await;
        let rotate = format!("{KEYS}/{id}/rotate");
        developer.post(&rotate, Value::Null).await.problem(&codes::SCOPE_EXCEEDS);
        admin.post(&rotate, Value::Null).await.problem(&codes::SCOPE_EXCEEDS);
        app.member(Role::Owner).post(&rotate, Value::Null).await.ok(201);
        // A narrow key makes no wider one.
        let scopes = json!({"name": "narrow", "role": "admin", "scopes": ["write:keys", "read:keys"]});
        let (narrow, _) = make(&operator, scopes).await;
        let narrow = app.with_key(&narrow);
        narrow.post(KEYS, json!({"name": "x", "role": "viewer"})).await.problem(&codes::SCOPE_EXCEEDS);
        narrow.post(KEYS, json!({"name": "x", "scopes": ["read:keys"]})).await.ok(201);
        // A key of development is refused where production is asked for.
        let (development, _) = make(&operator, json!({"name": "dev", "role": "owner"})).await;
        let there = app.with_key(&development).with("switchyard-environment", "production");
        there.get(KEYS).await.problem(&codes::FORBIDDEN);
        // An expired key is nobody's.
        let past = json!({"name": "x", "expires_at": "2025-12-31T00:00:00Z"});
        operator.post(KEYS, past).await.problem(&codes::INVALID);
        let soon = json!({"name": "x", "expires_at": "2026-01-01T00:01:00Z", "role": "viewer"});
        let (soon, _) = make(&operator, soon).await;
        assert_eq!(me(&app, &soon).await, 200);
        app.app.store.clock.advance(Duration::from_secs(60));
        assert_eq!(me(&app, &soon).await, 401);
        // A key in the query is no credential, and not even a known parameter.
        let answer = app.with_key("none").get(&format!("/api/v1/me?key={soon}")).await;
        assert!(matches!(answer.status.as_u16(), 400 | 401));
    })
    .await;
}

#[tokio::test]
async fn keys_belong_to_their_environment() {
    apps(|app| async move {
        let operator = app.app.operator();
        let production = operator.clone().with("switchyard-environment", "production");
        let (_, development_id) = make(&operator, json!({"name": "dev"})).await;
        let live = production.post(KEYS, json!({"name": "live"})).await.ok(201);
        assert!(live["key"].as_str().unwrap().starts_with("sy_live_"));
        assert_eq!(live["environment"], json!(app.production));
        let named = operator.post(KEYS, json!({"name": "live", "environment": "production"})).await.ok(201);
        assert_eq!(named["environment"], json!(app.production));
        assert_eq!(production.get(KEYS).await.ok(200)["data"].as_array().unwrap().len(), 2);
        assert_eq!(operator.get(KEYS).await.ok(200)["data"].as_array().unwrap().len(), 1);
        production.get(&format!("{KEYS}/{development_id}")).await.problem(&codes::NOT_FOUND);
        production.delete(&format!("{KEYS}/{development_id}")).await.problem(&codes::NOT_FOUND);
        let unknown = json!({"name": "x", "environment": "staging"});
        operator.post(KEYS, unknown).await.problem(&codes::INVALID);
    })
    .await;
}

#[tokio::test]
async fn z3_keys_of_another_tenant_are_as_good_as_none() {
    apps(|app| async move {
        let operator = app.app.operator();
        let (_, id) = make(&operator, json!({"name": "ci"})).await;
        let stranger = app.app.member(app.globex, Role::Owner);
        let theirs = "/api/v1/tenants/globex/keys";
        for path in [format!("{KEYS}/{id}"), format!("{theirs}/{id}"), format!("{theirs}/key_x")] {
            stranger.get(&path).await.problem(&codes::NOT_FOUND);
            stranger.delete(&path).await.problem(&codes::NOT_FOUND);
            stranger.post(&format!("{path}/rotate"), Value::Null).await.problem(&codes::NOT_FOUND);
        }
        stranger.post(KEYS, json!({"name": "x"})).await.problem(&codes::NOT_FOUND);
        assert_eq!(operator.get(&format!("{KEYS}/{id}")).await.ok(200)["status"], "active");
        for field in ["tenant", "id", "hash", "prefix", "created_by", "created_at", "last_used_at"] {
            let mut body = json!({"name": "x"});
            body[field] = json!("x");
            let answer = operator.post(KEYS, body).await;
            assert!(matches!(answer.status.as_u16(), 400 | 422), "Z5 {field}: {}", answer.text);
        }
        let viewer = app.member(Role::Viewer);
        viewer.get(KEYS).await.ok(200);
        viewer.post(KEYS, json!({"name": "x"})).await.problem(&codes::FORBIDDEN);
        viewer.delete(&format!("{KEYS}/{id}")).await.problem(&codes::FORBIDDEN);
    })
    .await;
}

#[tokio::test]
async fn a_repeated_post_gives_the_same_key() {
    apps(|app| async move {
        let once = app.app.operator().with("idempotency-key", "k-1");
        let first = once.post(KEYS, json!({"name": "ci"})).await.ok(201);
        let second = once.post(KEYS, json!({"name": "ci"})).await.ok(201);
        assert_eq!(first, second, "a client that lost the reply gets it again");
        assert_eq!(app.app.operator().get(KEYS).await.ok(200)["data"].as_array().unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn pages_hold_every_key_once_and_the_directory_agrees() {
    apps(|app| async move {
        let operator = app.app.operator();
        let mut made = std::collections::BTreeSet::new();
        for number in 0..45 {
            made.insert(make(&operator, json!({"name": format!("key {number}"), "role": "viewer"})).await.1);
        }
        let mut seen = std::collections::BTreeSet::new();
        let mut after = String::new();
        loop {
            let page = operator.get(&format!("{KEYS}?limit=7{after}")).await.ok(200);
            for key in page["data"].as_array().unwrap() {
                assert!(seen.insert(key["id"].as_str().unwrap().to_owned()));
            }
            match page["next_cursor"].as_str() {
                Some(cursor) => after = format!("&cursor={cursor}"),
                None => break,
            }
        }
        assert_eq!(seen, made);
        let revoked = made.pop_first().unwrap();
        operator.delete(&format!("{KEYS}/{revoked}")).await.ok(204);
        let directory = Directory::new(app.app.store.db.clone());
        let mut listed: Vec<KeyId> = Vec::new();
        loop {
            let page = directory.page(app.development, listed.last().copied(), 10).await.unwrap();
            let last = page.len() < 10;
            listed.extend(page.iter().map(|key| key.id));
            if last {
                break;
            }
        }
        assert_eq!(listed.len(), made.len());
        let own = directory.of_tenant(app.development, app.acme).await.unwrap();
        assert_eq!(own.len(), made.len());
        assert!(directory.of_tenant(app.development, app.globex).await.unwrap().is_empty());
        assert!(directory.page(app.production, None, 10).await.unwrap().is_empty());
        // A deleted tenant's rows go with it.
        let store = &app.app.store;
        let acme = app.acme;
        let system = store.system();
        let remove = store.db.write_system(&system, move |tx| identity::Rows.remove(tx, acme));
        remove.await.unwrap();
        assert!(directory.of_tenant(app.development, app.acme).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn last_use_is_written_in_batches() {
    apps(|app| async move {
        let operator = app.app.operator();
        let (key, id) = make(&operator, json!({"name": "ci", "role": "viewer"})).await;
        app.app.store.clock.advance(Duration::from_secs(5));
        assert_eq!(me(&app, &key).await, 200);
        let path = format!("{KEYS}/{id}");
        assert_eq!(operator.get(&path).await.ok(200)["last_used_at"], Value::Null);
        app.uses.flush(&app.app.store.db).await.unwrap();
        assert_eq!(operator.get(&path).await.ok(200)["last_used_at"], "2026-01-01T00:00:05Z");
        assert_eq!(app.app.events(1).await.len(), 1, "a use is no event");
    })
    .await;
}

#[tokio::test]
async fn a_key_works_from_the_addresses_that_it_is_kept_to_and_nowhere_else() {
    apps(|app| async move {
        let operator = app.app.operator();
        let (near, _) =
            make(&operator, json!({"name": "near", "allowed_ips": ["192.0.2.0/24", "::1/128"]})).await;
        let far = json!({"name": "far", "allowed_ips": ["203.0.113.0/24"]});
        let (far, id) = make(&operator, far).await;
        assert_eq!(me(&app, &near).await, 200, "the test's own address");
        assert_eq!(me(&app, &far).await, 401);
        let read = operator.get(&format!("{KEYS}/{id}")).await.ok(200);
        assert_eq!(read["allowed_ips"], json!(["203.0.113.0/24"]));
        // The successor is kept to the same, and gateways are told.
        let next = operator.post(&format!("{KEYS}/{id}/rotate"), json!({})).await.ok(201);
        assert_eq!(next["allowed_ips"], json!(["203.0.113.0/24"]));
        let records =
            Directory::new(app.app.store.db.clone()).of_tenant(app.development, app.acme).await.unwrap();
        assert_eq!(records.iter().filter(|record| record.allowed_ips.len() == 1).count(), 2);
        let many: Vec<String> = (0..33).map(|n| format!("10.0.{n}.0/24")).collect();
        for odd in [json!(["10.0.0.1/8"]), json!(["203.0.113.7"]), json!(["here"]), json!(many)] {
            operator.post(KEYS, json!({"name": "odd", "allowed_ips": odd})).await.problem(&codes::INVALID);
        }
    })
    .await;
}

#[tokio::test]
async fn expired_keys_take_no_room_from_new_ones_and_hide_none() {
    apps(|app| async move {
        let operator = app.app.operator();
        let soon = app.app.store.shared_clock().now() + Duration::from_mins(1);
        let body = json!({"name": "nightly", "role": "viewer", "expires_at": soon});
        for _ in 0..identity::KEYS_MAX / 100 {
            let made = (0..100).map(|_| operator.post(KEYS, body.clone()));
            for answer in futures_util::future::join_all(made).await {
                answer.ok(201);
            }
        }
        operator.post(KEYS, json!({"name": "one more", "role": "viewer"})).await.problem(&codes::CONFLICT);
        app.app.store.clock.advance(Duration::from_mins(2));
        let (key, id) = make(&operator, json!({"name": "one more", "role": "viewer"})).await;
        assert_eq!(me(&app, &key).await, 200);
        let directory = Directory::new(app.app.store.db.clone());
        let known = directory.of_tenant(app.development, app.acme).await.unwrap();
        let ids: Vec<String> = known.iter().map(|record| record.id.to_string()).collect();
        assert_eq!(ids, [id], "a gateway is told of those alone that work");
    })
    .await;
}
