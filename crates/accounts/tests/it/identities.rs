//! People who come by an external issuer, and what a stranger makes of their sessions.

use authority::Role;
use base::{EnvironmentId, codes};
use ports::{Proven, SignIn as _};
use serde_json::{Value, json};
use web::Surface;

use crate::app::{PASSWORD, apps, apps_at, claims};

const IDENTITIES: &str = "/api/v1/auth/identities";
const ADA: &str = "ada@acme.example";

#[tokio::test]
async fn a13_the_issuers_word_finds_a_person_and_an_address_links_once() {
    apps(|app| async move {
        let (_, tokens) = app.join(ADA, Role::Owner).await;
        let user = async |proven: Proven| {
            let who = app.accounts.proven(proven).await.unwrap();
            who.map_or(Value::Null, |who| json!(who.user))
        };
        let ada = &tokens["user"]["id"];
        // Nobody is linked by an address that is not verified, nor where the issuer links nobody.
        assert_eq!(user(app.proven("corp", "s-1", None)).await, Value::Null);
        assert_eq!(user(Proven { links: false, ..app.proven("corp", "s-1", Some(ADA)) }).await, Value::Null);
        assert_eq!(app.letters(ADA).await, 1, "the invitation");
        assert_eq!(&user(app.proven("corp", "s-1", Some(ADA))).await, ada);
        assert!(app.letter(ADA).await.contains("Sign-in by corp"), "the person is told");
        // From now on the address plays no part: neither a new one, nor none, nor that links are forbidden.
        assert_eq!(&user(app.proven("corp", "s-1", Some("married@elsewhere.example"))).await, ada);
        assert_eq!(&user(Proven { links: false, ..app.proven("corp", "s-1", None) }).await, ada);
        assert_eq!(app.letters(ADA).await, 2, "once");
        // Whoever gets the address at the issuer later is another person there.
        assert_eq!(user(app.proven("corp", "s-2", Some(ADA))).await, Value::Null);
        // Another issuer's word is another one, in other letters too.
        assert_eq!(user(app.proven("evil", "s-1", None)).await, Value::Null);
        assert_eq!(user(app.proven("corp", "S-1", None)).await, Value::Null);
        let other = base::ProjectId::from_uuid_bytes([9; 16]);
        assert_eq!(user(Proven { project: other, ..app.proven("corp", "s-1", None) }).await, Value::Null);
        // Where they came from stands in the session.
        let sessions = app.person(&tokens).get("/api/v1/auth/sessions").await.ok(200);
        let by_issuer =
            sessions["data"].as_array().unwrap().iter().find(|one| one["how"] == "issuer:corp").unwrap();
        assert_eq!((&by_issuer["ip"], &by_issuer["agent"]), (&json!("203.0.113.9"), &json!("a browser")));
        // Who is disabled stays out.
        let path = format!("/api/v1/users/{}", ada.as_str().unwrap());
        app.app.operator().patch(&path, json!({"disabled": true})).await.ok(200);
        assert_eq!(user(app.proven("corp", "s-1", Some(ADA))).await, Value::Null);
    })
    .await;
}

#[tokio::test]
async fn a_person_sees_and_ends_their_own_links_alone() {
    apps(|app| async move {
        let (_, tokens) = app.join(ADA, Role::Owner).await;
        let (_, others) = app.join("bob@acme.example", Role::Viewer).await;
        app.accounts.proven(app.proven("corp", "s-1", Some(ADA))).await.unwrap().unwrap();
        let (ada, bob) = (app.person(&tokens), app.person(&others));
        let listed = ada.get(IDENTITIES).await.ok(200);
        let one = &listed["data"][0];
        assert_eq!(
            (&one["issuer"], &one["subject"], &one["email"]),
            (&json!("corp"), &json!("s-1"), &json!(ADA))
        );
        assert_eq!(one["url"], "https://corp.example.com");
        assert_eq!(bob.get(IDENTITIES).await.ok(200)["data"], json!([]));
        let path = format!("{IDENTITIES}/{}", one["id"].as_str().unwrap());
        bob.delete(&path).await.problem(&codes::NOT_FOUND);
        ada.delete(&path).await.ok(204);
        ada.delete(&path).await.problem(&codes::NOT_FOUND);
        assert_eq!(app.accounts.proven(app.proven("corp", "s-1", None)).await, Ok(None));
        // Somebody who is removed takes the links along: the issuer's person is new then.
        app.accounts.proven(app.proven("corp", "s-2", Some(ADA))).await.unwrap().unwrap();
        let user = format!("/api/v1/users/{}", tokens["user"]["id"].as_str().unwrap());
        app.app.operator().delete(&user).await.ok(204);
        assert_eq!(app.accounts.proven(app.proven("corp", "s-2", None)).await, Ok(None));
    })
    .await;
}

#[tokio::test]
async fn a12_who_came_by_an_issuer_of_one_environment_is_signed_in_there_alone() {
    apps(|app| async move {
        let (_, tokens) = app.join(ADA, Role::Owner).await;
        assert_eq!(claims(&tokens)["environment"], Value::Null);
        let place = Some(EnvironmentId::from_uuid_bytes([5; 16]));
        let bound = Proven { environment: place, ..app.proven("corp", "s-1", Some(ADA)) };
        let who = app.accounts.proven(bound.clone()).await.unwrap().unwrap();
        assert_eq!(who.environment, place);
        let first = app.accounts.tokens(&who, None).await.unwrap();
        assert_eq!(claims(&first)["environment"], json!(place));
        let next = app.refresh(&first).await.ok(200);
        assert_eq!(claims(&next)["environment"], json!(place), "nor does refreshing free it");
        assert_eq!(app.accounts.session(who.session).await.unwrap().unwrap().environment, place);
        // The same word of the project's issuer is another's: what one environment linked opens nothing elsewhere.
        let everywhere = app.proven("corp", "s-1", None);
        assert_eq!(app.accounts.proven(everywhere).await, Ok(None));
        let listed = app.person(&tokens).get(IDENTITIES).await.ok(200);
        assert_eq!(listed["data"][0]["url"], "https://corp.example.com");
    })
    .await;
}

#[tokio::test]
async fn a13_the_last_way_in_of_a_person_without_a_password_stays() {
    apps(|app| async move {
        app.invite(app.acme, ADA, Role::Viewer).await;
        let come = async |issuer: &str| {
            let who = app.accounts.proven(app.proven(issuer, "s-1", Some(ADA))).await.unwrap().unwrap();
            app.accounts.tokens(&who, None).await.unwrap()
        };
        let ada = app.person(&come("corp").await);
        let path = async |place: usize| {
            let listed = ada.get(IDENTITIES).await.ok(200);
            format!("{IDENTITIES}/{}", listed["data"][place]["id"].as_str().unwrap())
        };
        ada.delete(&path(0).await).await.problem(&codes::CONFLICT);
        come("second").await;
        ada.delete(&path(0).await).await.ok(204);
        ada.delete(&path(0).await).await.problem(&codes::CONFLICT);
        let unknown = format!("{IDENTITIES}/{}", accounts::model::IdentityId::from_uuid_bytes([9; 16]));
        ada.delete(&unknown).await.problem(&codes::NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn z16_nothing_but_an_impersonation_of_the_tenant_is_ended_as_one() {
    apps(|app| async move {
        let ada = app.person(&app.first_owner("ada@example.com").await);
        let (_, bob) = app.join("bob@acme.example", Role::Viewer).await;
        let end = async |tenant: &str, session: &Value| {
            let path = format!("/api/v1/tenants/{tenant}/impersonate/{}", session.as_str().unwrap());
            ada.delete(&path).await.ok(204);
        };
        end("acme", &bob["session"]).await;
        assert!(!app.world.is_ended(&bob["session"]), "a person's session is not ended by this");
        let body = json!({"reason": "ticket 4711", "ttl": "5m"});
        let made = ada.post("/api/v1/tenants/acme/impersonate", body).await.ok(201);
        end("globex", &made["session"]).await;
        assert!(!app.world.is_ended(&made["session"]), "it is another tenant's");
        end("acme", &made["session"]).await;
        assert!(app.world.is_ended(&made["session"]));
        end("acme", &made["session"]).await;
        assert_eq!(app.world.ended_times(&made["session"]), 1, "once");
    })
    .await;
}

#[tokio::test]
async fn a8_a_refresh_token_of_the_team_or_of_another_project_is_worth_nothing_where_tenants_sign_in() {
    apps_at(Surface::Member, |app| async move {
        const MOVE: db::Sql = db::Sql::One("UPDATE accounts_users SET realm = $2 WHERE id = $1");
        let (_, tokens) = app.join(ADA, Role::Viewer).await;
        let user = base::UserId::parse(tokens["user"]["id"].as_str().unwrap()).unwrap();
        let (store, other) = (&app.app.store, base::ProjectId::from_uuid_bytes([9; 16]).to_string());
        let moved = async |realm: String| {
            let write =
                move |tx: &mut db::SystemTx| tx.execute(&MOVE, &db::params![user, realm.as_str()]).map(drop);
            store.db.write_system(&store.system(), write).await.unwrap();
        };
        for realm in ["operators".to_owned(), other] {
            moved(realm).await;
            app.refresh(&tokens).await.problem(&codes::UNAUTHENTICATED);
            assert!(!app.world.is_ended(&tokens["session"]), "nor does its session end by that");
        }
        moved(app.project.to_string()).await;
        app.refresh(&tokens).await.ok(200);
    })
    .await;
}

#[tokio::test]
async fn a_sign_in_for_a_foreign_tenant_leaves_no_session_behind() {
    apps(|app| async move {
        let (_, tokens) = app.join(ADA, Role::Viewer).await;
        for tenant in ["globex", "nowhere"] {
            let body = json!({"email": ADA, "password": PASSWORD, "tenant": tenant});
            app.post("/api/v1/auth/login", body).await.problem(&codes::NOT_FOUND);
        }
        let sessions = app.person(&tokens).get("/api/v1/auth/sessions").await.ok(200);
        assert_eq!(sessions["data"].as_array().unwrap().len(), 1, "{sessions}");
    })
    .await;
}
