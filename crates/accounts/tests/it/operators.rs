//! What operators do with people: invite to the team, change, disable, remove; and act as a tenant.

use authority::Role;
use base::codes;
use serde_json::{Value, json};

use crate::app::{PASSWORD, apps, claims, token_of};

#[tokio::test]
async fn the_team_is_invited_changed_and_removed() {
    apps(|app| async move {
        let owner = app.first_owner("ada@example.com").await;
        let ada = app.person(&owner);
        let body = json!({"email": "grace@example.com", "role": "admin", "name": "Grace"});
        let grace = ada.post("/api/v1/users", body.clone()).await.ok(201);
        ada.post("/api/v1/users", body).await.problem(&codes::CONFLICT);
        assert_eq!((&grace["has_password"], &grace["operator"]), (&json!(false), &json!(true)));
        app.login("grace@example.com", PASSWORD).await.problem(&codes::SIGN_IN_FAILED);
        let letter = app.letter("grace@example.com").await;
        assert!(letter.contains("http://127.0.0.1:7070/invitation?token="), "{letter}");
        let accept = json!({"token": token_of(&letter), "password": PASSWORD});
        let tokens = app.post("/api/v1/auth/invitations", accept).await.ok(201);
        assert_eq!((&claims(&tokens)["operator"], &claims(&tokens)["role"]), (&json!(true), &json!("admin")));

        let path = format!("/api/v1/users/{}", grace["id"].as_str().unwrap());
        let read = ada.get(&path).await;
        let etag = read.header("etag").to_owned();
        assert_eq!(read.ok(200)["has_password"], true);
        let stale = ada.clone().with("if-match", "\"r99\"");
        stale.patch(&path, json!({"role": "viewer"})).await.problem(&codes::PRECONDITION_FAILED);
        let known = ada.clone().with("if-match", &etag);
        assert_eq!(known.patch(&path, json!({"role": "viewer"})).await.ok(200)["role"], "viewer");
        assert!(app.world.is_cut(&grace["id"]), "the tokens with the old role are called back");
        assert_eq!(claims(&app.refresh(&tokens).await.ok(200))["role"], "viewer");
        for field in ["id", "email", "operator", "has_password", "realm"] {
            let answer = ada.patch(&path, json!({ field: "x" })).await;
            assert!(matches!(answer.status.as_u16(), 400 | 422), "Z5 {field}: {}", answer.text);
        }
        let own = format!("/api/v1/users/{}", owner["user"]["id"].as_str().unwrap());
        ada.patch(&own, json!({"disabled": true})).await.problem(&codes::LAST_OWNER);
        ada.delete(&own).await.problem(&codes::LAST_OWNER);
        ada.delete(&path).await.ok(204);
        ada.get(&path).await.problem(&codes::NOT_FOUND);
        app.login("grace@example.com", PASSWORD).await.problem(&codes::SIGN_IN_FAILED);
        assert_eq!(ada.get("/api/v1/users").await.ok(200)["data"].as_array().unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn who_is_disabled_is_out_with_all_sessions() {
    apps(|app| async move {
        let (_, tokens) = app.join("ada@acme.example", Role::Owner).await;
        let operator = app.app.operator();
        let path = format!("/api/v1/users/{}", tokens["user"]["id"].as_str().unwrap());
        let listed = operator.get("/api/v1/users?of=project").await.ok(200);
        assert_eq!(listed["data"][0]["id"], tokens["user"]["id"]);
        assert_eq!(
            operator.get(&format!("{path}/sessions")).await.ok(200)["data"][0]["id"],
            tokens["session"]
        );
        operator.patch(&path, json!({"role": "owner"})).await.problem(&codes::INVALID);
        operator.patch(&path, json!({"disabled": true})).await.ok(200);
        assert!(app.world.is_ended(&tokens["session"]) && app.world.is_cut(&tokens["user"]["id"]));
        app.refresh(&tokens).await.problem(&codes::UNAUTHENTICATED);
        app.login("ada@acme.example", PASSWORD).await.problem(&codes::SIGN_IN_FAILED);
        operator.patch(&path, json!({"disabled": false})).await.ok(200);
        let again = app.login("ada@acme.example", PASSWORD).await.ok(200);
        operator.delete(&format!("{path}/sessions")).await.ok(204);
        app.refresh(&again).await.problem(&codes::UNAUTHENTICATED);
        // Nobody but operators sees or changes people.
        let member = app.app.member(app.acme, Role::Owner);
        for path in ["/api/v1/users", path.as_str(), "/api/v1/outbox"] {
            member.get(path).await.problem(&codes::FORBIDDEN);
        }
        member.patch(&path, json!({"disabled": false})).await.problem(&codes::FORBIDDEN);
    })
    .await;
}

#[tokio::test]
async fn z16_acting_as_a_tenant_takes_a_reason_ends_and_is_in_the_tenants_own_record() {
    apps(|app| async move {
        let path = "/api/v1/tenants/acme/impersonate";
        let owner = app.first_owner("ada@example.com").await;
        let ada = app.person(&owner);
        for bad in [
            json!({"reason": "why"}),
            json!({"reason": "  x  "}),
            json!({"reason": "ticket 4711", "ttl": "2h"}),
            json!({"reason": "ticket 4711", "ttl": "1s"}),
            json!({}),
        ] {
            ada.post(path, bad).await.problem(&codes::INVALID);
        }
        app.app
            .member(app.acme, Role::Owner)
            .post(path, json!({"reason": "ticket 4711"}))
            .await
            .problem(&codes::FORBIDDEN);
        let nowhere = ada.post("/api/v1/tenants/nobody/impersonate", json!({"reason": "ticket 4711"})).await;
        nowhere.problem(&codes::NOT_FOUND);
        let body = json!({"reason": "ticket 4711: the import hangs", "ttl": "30m", "role": "developer"});
        let made = ada.post(path, body).await.ok(201);
        let said = claims(&made);
        assert_eq!((&said["tenant"], &said["role"]), (&json!(app.acme), &json!("developer")));
        assert_eq!(said["exp"].as_i64().unwrap() - said["iat"].as_i64().unwrap(), 30 * 60);
        assert_eq!(said["act"]["reason"], "ticket 4711: the import hangs");
        assert!(said["act"]["sub"].as_str().unwrap().starts_with("user:usr_"));
        assert_eq!((&said["operator"], &made["refresh_token"]), (&Value::Null, &Value::Null));

        let event = app.app.event("impersonation.started").await;
        assert_eq!(event.tenant, Some(app.acme), "the tenant sees it");
        assert!(event.actor.contains(owner["user"]["id"].as_str().unwrap()), "{}", event.actor);
        let session = made["session"].as_str().unwrap();
        ada.delete(&format!("{path}/{session}")).await.ok(204);
        assert!(app.world.is_ended(&made["session"]));
        assert_eq!(app.app.event("impersonation.ended").await.tenant, Some(app.acme));
    })
    .await;
}
