//! Custom roles, and what becomes of tokens when rights change.

use std::time::Duration;

use authority::Role;
use base::{Email, codes};
use db::SystemTx;
use identity::Members;
use ports::{Membership, Memberships as _, TenantStatus};
use serde_json::{Value, json};

use crate::app::{App, apps};
use crate::tokens::{changed, sign};

const MEMBERS: &str = "/api/v1/tenants/acme/members";
const KEYS: &str = "/api/v1/tenants/acme/keys";
const SUPPORT: &str = "/api/v1/roles/support";

async fn me(app: &App, credential: &str) -> u16 {
    app.with_key(credential).get("/api/v1/me").await.status.as_u16()
}

#[tokio::test]
async fn a_custom_role_is_made_given_changed_and_removed() {
    apps(|app| async move {
        let operator = app.app.operator();
        let made = operator.put(SUPPORT, json!({"patterns": ["read:*"], "description": "Helps"})).await;
        assert_eq!((made.status.as_u16(), made.header("etag")), (201, "\"r1\""));
        let again = operator.put(SUPPORT, json!({"patterns": ["read:*"], "description": "Helps"})).await;
        assert_eq!((again.status.as_u16(), again.header("etag")), (200, "\"r1\""));
        let ada = json!({"email": "ada@example.com", "role": "support"});
        let ada = operator.post(MEMBERS, ada).await.ok(201);
        assert_eq!((&ada["role_name"], &ada["role"]), (&json!("support"), &json!(["read:*"])));
        let key = operator.post(KEYS, json!({"name": "ci", "role": "support"})).await.ok(201);
        assert_eq!((&key["role_name"], &key["role"]), (&json!("support"), &json!(["read:*"])));
        operator.delete(SUPPORT).await.problem(&codes::CONFLICT);
        let wider = json!({"patterns": ["read:*", "write:keys"]});
        let stale = operator.clone().with("if-match", "\"r7\"");
        stale.put(SUPPORT, wider.clone()).await.problem(&codes::PRECONDITION_FAILED);
        operator.put(SUPPORT, wider).await.ok(200);
        let member = format!("{MEMBERS}/{}", ada["id"].as_str().unwrap());
        assert_eq!(operator.get(&member).await.ok(200)["role"], json!(["read:*", "write:keys"]));
        let now = app.with_key(key["key"].as_str().unwrap()).get("/api/v1/me").await.ok(200);
        assert!(now["permissions"].as_array().unwrap().contains(&json!("write:keys")));
        operator.delete(&member).await.ok(204);
        operator.delete(&format!("{KEYS}/{}", key["id"].as_str().unwrap())).await.ok(204);
        operator.delete(SUPPORT).await.ok(204);
        operator.delete(SUPPORT).await.problem(&codes::NOT_FOUND);
        operator.get(SUPPORT).await.problem(&codes::NOT_FOUND);
        let kinds: Vec<_> = app.app.events(8).await.into_iter().map(|event| event.kind).collect();
        let expected = [
            "role.created",
            "member.invited",
            "key.created",
            "key.changed",
            "role.changed",
            "member.removed",
            "key.revoked",
            "role.removed",
        ];
        assert_eq!(kinds, expected);
    })
    .await;
}

#[tokio::test]
async fn a_role_has_a_name_and_patterns_and_only_operators_change_it() {
    apps(|app| async move {
        let operator = app.app.operator();
        for patterns in [json!([]), json!(["write:kys"]), json!("read:*"), json!(vec!["read:*"; 65])] {
            operator.put(SUPPORT, json!({ "patterns": patterns })).await.problem(&codes::INVALID);
        }
        for name in ["owner", "viewer"] {
            let path = format!("/api/v1/roles/{name}");
            operator.put(&path, json!({"patterns": ["read:*"]})).await.problem(&codes::INVALID);
        }
        operator
            .put("/api/v1/roles/No%20Slug", json!({"patterns": ["read:*"]}))
            .await
            .problem(&codes::NOT_FOUND);
        operator.put(SUPPORT, json!({"patterns": ["*:*"]})).await.ok(201);
        for role in ["nobodys", "Support", ""] {
            let body = json!({"email": "ada@example.com", "role": role});
            operator.post(MEMBERS, body).await.problem(&codes::INVALID);
        }
        let owner = app.member(Role::Owner);
        owner.put(SUPPORT, json!({"patterns": ["read:*"]})).await.problem(&codes::FORBIDDEN);
        owner.delete(SUPPORT).await.problem(&codes::FORBIDDEN);
        assert_eq!(owner.get("/api/v1/roles").await.ok(200)["data"].as_array().unwrap().len(), 1);
        // Z10: a name does not hand out more than its giver has.
        let up = json!({"email": "eve@example.com", "role": "support"});
        app.member(Role::Admin).post(MEMBERS, up.clone()).await.problem(&codes::ROLE_EXCEEDS);
        app.member(Role::Admin)
            .post(KEYS, json!({"name": "up", "role": "support"}))
            .await
            .problem(&codes::SCOPE_EXCEEDS);
        owner.post(MEMBERS, up).await.ok(201);
    })
    .await;
}

#[tokio::test]
async fn a9_a_lowered_role_and_a_removed_member_end_their_tokens_at_once() {
    apps(|app| async move {
        let operator = app.app.operator();
        let ada = operator.post(MEMBERS, json!({"email": "Ada@example.com", "role": "admin"})).await.ok(201);
        let ada = format!("{MEMBERS}/{}", ada["id"].as_str().unwrap());
        let admin = sign(&app, &changed(&app, json!({"role": "admin"})));
        let other = sign(&app, &changed(&app, json!({"role": "admin", "email": "bob@example.com"})));
        let there = sign(&app, &changed(&app, json!({"role": "admin", "tenant": app.globex})));
        for token in [&admin, &other, &there] {
            assert_eq!(me(&app, token).await, 200);
        }
        app.app.store.clock.advance(Duration::from_millis(1));
        operator.patch(&ada, json!({"role": "viewer"})).await.ok(200);
        assert_eq!(me(&app, &admin).await, 401, "the role of before");
        assert_eq!(me(&app, &other).await, 200, "another member");
        assert_eq!(me(&app, &there).await, 200, "the same person in another tenant");
        let viewer = sign(&app, &changed(&app, json!({"role": "viewer"})));
        assert_eq!(me(&app, &viewer).await, 200, "a token of the new role");
        app.app.store.clock.advance(Duration::from_millis(1));
        operator.delete(&ada).await.ok(204);
        assert_eq!(me(&app, &viewer).await, 401);
        assert_eq!(app.world.letters(), [Some("Ada@example.com".to_owned()), None]);
    })
    .await;
}

#[tokio::test]
async fn a9_a_changed_custom_role_ends_the_tokens_that_have_it() {
    apps(|app| async move {
        let operator = app.app.operator();
        operator.put(SUPPORT, json!({"patterns": ["read:*", "write:keys"]})).await.ok(201);
        let wide = sign(&app, &changed(&app, json!({"role": ["read:*", "write:keys"]})));
        let other = sign(&app, &changed(&app, json!({"role": ["read:*"]})));
        app.app.store.clock.advance(Duration::from_millis(1));
        operator.put(SUPPORT, json!({"patterns": ["read:members"]})).await.ok(200);
        assert_eq!(me(&app, &wide).await, 401);
        assert_eq!(me(&app, &other).await, 200);
    })
    .await;
}

#[tokio::test]
async fn a_person_is_known_by_all_memberships_and_accepts_each_once() {
    apps(|app| async move {
        let operator = app.app.operator();
        let ada = json!({"email": "Ada@example.com", "role": "admin"});
        let here = operator.post(MEMBERS, ada.clone()).await.ok(201);
        operator.post("/api/v1/tenants/globex/members", ada).await.ok(201);
        let store = &app.app.store;
        let members = Members::new(app.places.clone(), store.shared_clock());
        let (project, other) = (app.places.project(), app.other_project());
        let of = |project| {
            let members = members.clone();
            async move {
                let email = Email::parse("ada@EXAMPLE.com").unwrap();
                let read = move |tx: &mut SystemTx| members.of(tx, project, &email);
                store.db.read_system(&store.system(), read).await.unwrap()
            }
        };
        assert_eq!(of(project).await.iter().filter(|one| !one.active).count(), 2);
        assert!(of(other).await.is_empty());
        let accept = |tenant, member, email: &str| {
            let (members, email) = (members.clone(), Email::parse(email).unwrap());
            async move {
                let write = move |tx: &mut SystemTx| members.accept(tx, tenant, member, &email);
                store.db.write_system(&store.system(), write).await.unwrap()
            }
        };
        let Membership { tenant, member, .. } =
            of(project).await.into_iter().find(|one| one.tenant == app.acme).unwrap();
        // A16: another's address, another tenant, and none at all.
        assert!(!accept(tenant, member, "eve@example.com").await);
        assert!(!accept(app.globex, member, "ada@example.com").await);
        assert!(accept(tenant, member, "ada@example.com").await);
        assert!(accept(tenant, member, "ada@example.com").await, "once more changes nothing");
        let path = format!("{MEMBERS}/{}", here["id"].as_str().unwrap());
        assert_eq!(operator.get(&path).await.ok(200)["status"], "active");
        operator.post(&format!("{path}/invite"), json!({})).await.problem(&codes::CONFLICT);
        let told = app.with_key(&sign(&app, &changed(&app, json!({})))).get("/api/v1/me").await.ok(200);
        assert_eq!(told["tenants"], json!([{"tenant": app.acme, "role": "admin"}]));
        app.set_status(app.acme, TenantStatus::Cancelled);
        assert_eq!(of(project).await.len(), 1);
        assert!(!accept(tenant, member, "ada@example.com").await);
    })
    .await;
}

#[tokio::test]
async fn an_invitation_is_sent_again_until_it_is_accepted() {
    apps(|app| async move {
        let operator = app.app.operator();
        let ada = operator.post(MEMBERS, json!({"email": "ada@example.com", "role": "admin"})).await.ok(201);
        let again = format!("{MEMBERS}/{}/invite", ada["id"].as_str().unwrap());
        operator.post(&again, json!({})).await.ok(200);
        assert_eq!(app.world.letters().len(), 2);
        app.member(Role::Developer).post(&again, json!({})).await.problem(&codes::FORBIDDEN);
        app.app.member(app.globex, Role::Owner).post(&again, json!({})).await.problem(&codes::NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn j3_an_idempotency_key_makes_one_member_for_one_tenant() {
    apps(|app| async move {
        let body = json!({"email": "ada@example.com", "role": "viewer"});
        let once = app.member(Role::Owner).with("idempotency-key", "once");
        let calls = (0..50).map(|_| {
            let (once, body) = (once.clone(), body.clone());
            async move { once.post(MEMBERS, body).await }
        });
        let answers = futures(calls).await;
        let ids: Vec<Value> = answers.into_iter().map(|answer| answer.ok(201)["id"].clone()).collect();
        assert!(ids.windows(2).all(|pair| pair[0] == pair[1]));
        assert_eq!(app.world.letters().len(), 1, "one letter");
        let other = json!({"email": "bob@example.com", "role": "viewer"});
        once.post(MEMBERS, other).await.problem(&codes::IDEMPOTENCY_CONFLICT);
        let stranger = app.app.member(app.globex, Role::Owner).with("idempotency-key", "once");
        let theirs = stranger.post("/api/v1/tenants/globex/members", body).await.ok(201);
        assert_ne!(theirs["id"], ids[0]);
    })
    .await;
}

/// All of them at once, as far as one thread goes.
async fn futures<T>(calls: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut waiting: Vec<_> = calls.map(|call| Some(Box::pin(call))).collect();
    let mut done: Vec<Option<T>> = waiting.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (call, done) in waiting.iter_mut().zip(&mut done) {
            if let Some(std::task::Poll::Ready(value)) = call.as_mut().map(|call| call.as_mut().poll(context))
            {
                (*call, *done) = (None, Some(value));
            }
        }
        if waiting.iter().all(Option::is_none) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    done.into_iter().map(|value| value.expect("each is done")).collect()
}
