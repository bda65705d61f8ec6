//! Members and their roles.

use authority::Role;
use base::codes;
use serde_json::{Value, json};
use testkit::Client;

use crate::app::apps;

const MEMBERS: &str = "/api/v1/tenants/acme/members";

async fn invite(client: &Client, name: &str, role: &str) -> String {
    let body = json!({"email": format!("{name}@example.com"), "role": role});
    let made = client.post(MEMBERS, body).await.ok(201);
    format!("{MEMBERS}/{}", made["id"].as_str().unwrap())
}

#[tokio::test]
async fn a_member_is_invited_changed_and_removed() {
    apps(|app| async move {
        let operator = app.app.operator();
        let ada = invite(&operator, "ada", "developer").await;
        let read = operator.get(&ada).await;
        assert_eq!(read.header("etag"), "\"r1\"");
        let read = read.ok(200);
        assert_eq!(read["status"], "invited");
        assert_eq!(read["role"], "developer");
        let again = json!({"email": "ADA@example.com", "role": "viewer"});
        operator.post(MEMBERS, again).await.problem(&codes::CONFLICT);
        let stale = operator.clone().with("if-match", "\"r7\"");
        stale.patch(&ada, json!({"role": "viewer"})).await.problem(&codes::PRECONDITION_FAILED);
        stale.delete(&ada).await.problem(&codes::PRECONDITION_FAILED);
        let changed = operator.patch(&ada, json!({"role": ["read:*", "write:keys@test"]})).await.ok(200);
        assert_eq!(changed["role"], json!(["read:*", "write:keys@test"]));
        operator.patch(&ada, json!({"role": "king"})).await.problem(&codes::INVALID);
        operator.patch(&ada, json!({"role": ["write:kys"]})).await.problem(&codes::INVALID);
        for field in ["id", "email", "status", "tenant", "created_at"] {
            let answer = operator.patch(&ada, json!({ field: "x" })).await;
            assert!(matches!(answer.status.as_u16(), 400 | 422), "Z5 {field}: {}", answer.text);
        }
        assert_eq!(operator.get(MEMBERS).await.ok(200)["data"].as_array().unwrap().len(), 1);
        operator.delete(&ada).await.ok(204);
        operator.delete(&ada).await.problem(&codes::NOT_FOUND);
        let kinds: Vec<_> = app.app.events(3).await.into_iter().map(|event| event.kind).collect();
        assert_eq!(kinds, ["member.invited", "member.changed", "member.removed"]);
    })
    .await;
}

#[tokio::test]
async fn z10_the_last_owner_stays_and_nobody_promotes_themselves() {
    apps(|app| async move {
        let operator = app.app.operator();
        let owner = invite(&operator, "owner", "owner").await;
        operator.delete(&owner).await.problem(&codes::LAST_OWNER);
        operator.patch(&owner, json!({"role": "admin"})).await.problem(&codes::LAST_OWNER);
        let admin = app.member(Role::Admin);
        let own = invite(&admin, "admin", "admin").await;
        // Self-promotion, promoting another, demoting and removing those above: all refused with 409.
        let refused = admin.patch(&own, json!({"role": "owner"})).await;
        assert_eq!(refused.status.as_u16(), 409);
        refused.problem(&codes::ROLE_EXCEEDS);
        let mate = json!({"email": "mate@example.com", "role": "owner"});
        admin.post(MEMBERS, mate).await.problem(&codes::ROLE_EXCEEDS);
        admin.patch(&owner, json!({"role": "viewer"})).await.problem(&codes::ROLE_EXCEEDS);
        admin.delete(&owner).await.problem(&codes::ROLE_EXCEEDS);
        let wide = json!({"role": ["*:*"]});
        admin.patch(&own, wide).await.problem(&codes::ROLE_EXCEEDS);
        let developer = app.member(Role::Developer);
        developer.patch(&own, json!({"role": "viewer"})).await.problem(&codes::FORBIDDEN);
        // A key that is bound to one environment hands out nothing in the others.
        let bound = app.app.member_in(app.acme, Role::Owner, app.development);
        bound.patch(&own, json!({"role": "viewer"})).await.problem(&codes::ROLE_EXCEEDS);
        // With a second owner the first may go.
        let second = invite(&app.member(Role::Owner), "second", "owner").await;
        operator.delete(&owner).await.ok(204);
        operator.delete(&second).await.problem(&codes::LAST_OWNER);
        assert_eq!(admin.patch(&own, json!({"role": "viewer"})).await.ok(200)["role"], "viewer");
    })
    .await;
}

#[tokio::test]
async fn z10_two_owners_who_demote_each_other_leave_one() {
    apps(|app| async move {
        let operator = app.app.operator();
        for round in 0..8 {
            let one = invite(&operator, &format!("one{round}"), "owner").await;
            let two = invite(&operator, &format!("two{round}"), "owner").await;
            let (first, second) = (app.member(Role::Owner), app.member(Role::Owner));
            let demote = json!({"role": "admin"});
            let (a, b) = tokio::join!(first.patch(&two, demote.clone()), second.patch(&one, demote));
            let mut statuses = [a.status.as_u16(), b.status.as_u16()];
            statuses.sort_unstable();
            assert_eq!(statuses, [200, 409], "{} {}", a.text, b.text);
            // The one that is left goes when the next round's owners are there.
            let third = invite(&operator, &format!("three{round}"), "owner").await;
            for member in [&one, &two] {
                let role = operator.get(member).await.ok(200)["role"].clone();
                if role == json!("owner") {
                    operator.delete(member).await.ok(204);
                }
            }
            let keep = invite(&operator, &format!("keep{round}"), "viewer").await;
            operator.delete(&keep).await.ok(204);
            operator.delete(&third).await.problem(&codes::LAST_OWNER);
            let last = invite(&operator, &format!("last{round}"), "owner").await;
            operator.delete(&third).await.ok(204);
            operator.patch(&last, json!({"role": "owner"})).await.ok(200);
            let page = operator.get(&format!("{MEMBERS}?limit=500")).await.ok(200);
            let owners = page["data"].as_array().unwrap().iter().filter(|m| m["role"] == "owner");
            assert_eq!(owners.count(), 1);
            // Leave with none by deleting the tenant's members as a whole would; here the next round starts over.
            start_over(&app).await;
        }
    })
    .await;
}

async fn start_over(app: &crate::app::App) {
    use ports::TenantRows as _;
    let store = &app.app.store;
    let (system, acme) = (store.system(), app.acme);
    store.db.write_system(&system, move |tx| identity::Rows.remove(tx, acme)).await.unwrap();
}

#[tokio::test]
async fn z3_members_of_another_tenant_are_as_good_as_none() {
    apps(|app| async move {
        let ada = invite(&app.app.operator(), "ada", "developer").await;
        let id = ada.rsplit('/').next().unwrap();
        let stranger = app.app.member(app.globex, Role::Owner);
        for path in [ada.clone(), format!("/api/v1/tenants/globex/members/{id}")] {
            stranger.get(&path).await.problem(&codes::NOT_FOUND);
            stranger.patch(&path, json!({"role": "viewer"})).await.problem(&codes::NOT_FOUND);
            stranger.delete(&path).await.problem(&codes::NOT_FOUND);
        }
        stranger.get(MEMBERS).await.problem(&codes::NOT_FOUND);
        let body = json!({"email": "eve@example.com", "role": "viewer"});
        stranger.post(MEMBERS, body).await.problem(&codes::NOT_FOUND);
        // The same person may belong to both.
        let same = json!({"email": "ada@example.com", "role": "viewer"});
        stranger.post("/api/v1/tenants/globex/members", same).await.ok(201);
        let seen = app.member(Role::Viewer).get(MEMBERS).await.ok(200);
        assert_eq!(seen["data"].as_array().unwrap().len(), 1);
        assert_eq!(seen["next_cursor"], Value::Null);
    })
    .await;
}

#[tokio::test]
async fn letters_go_to_owners_who_have_accepted() {
    use ports::{Memberships as _, Owners as _};
    apps(|app| async move {
        let operator = app.app.operator();
        let members = identity::Members::new(app.places.clone(), app.app.store.shared_clock());
        for (email, role) in
            [("ada@acme.example", "owner"), ("bob@acme.example", "admin"), ("eve@acme.example", "owner")]
        {
            let body = serde_json::json!({"email": email, "role": role});
            let made = operator.post("/api/v1/tenants/acme/members", body).await.ok(201);
            if email.starts_with("eve") {
                continue;
            }
            let id = base::MemberId::parse(made["id"].as_str().unwrap()).unwrap();
            let (members, acme, email) = (members.clone(), app.acme, base::Email::parse(email).unwrap());
            let accept = move |tx: &mut db::SystemTx<'_>| members.accept(tx, acme, id, &email);
            assert!(app.app.store.db.write_system(&app.app.store.system(), accept).await.unwrap());
        }
        for (tenant, expected) in [(app.acme, vec!["ada@acme.example"]), (app.globex, vec![])] {
            let members = members.clone();
            let system = app.app.store.system();
            let read = app.app.store.db.read_system(&system, move |tx| members.owners(tx, tenant));
            let told: Vec<String> = read.await.unwrap().iter().map(ToString::to_string).collect();
            assert_eq!(told, expected);
        }
    })
    .await;
}
