//! Signing in by password: who may, what everybody else is told, and how fast they may try.

use std::time::Duration;

use authority::Role;
use base::{Email, Secret, codes};
use ports::{Credentials, SignIn as _, SignInError};
use serde_json::{Value, json};
use testkit::Answer;
use web::Surface;

use crate::app::{PASSWORD, apps, apps_at, claims, token_of};

#[tokio::test]
async fn the_first_owner_signs_in_and_nobody_becomes_one_twice() {
    apps(|app| async move {
        let owner = app.first_owner("ada@example.com").await;
        assert_eq!((&owner["user"]["operator"], &owner["role"]), (&json!(true), &json!("owner")));
        let token = token_of(&app.setup);
        let again = json!({"token": token, "email": "eve@example.com", "password": PASSWORD});
        app.post("/api/v1/auth/signup", again).await.problem(&codes::LINK_INVALID);
        let (clock, random) = (app.app.store.shared_clock(), app.app.store.random.clone());
        let next = accounts::setup_link(&app.app.store.db, &clock, &random, &Nowhere).await.unwrap();
        assert_eq!(next, None, "there is an owner");

        let tokens = app.login("ADA@example.com", PASSWORD).await.ok(200);
        assert_eq!(tokens["expires_in"], 900);
        let said = claims(&tokens);
        assert_eq!((&said["iss"], &said["aud"]), (&json!("switchyard"), &json!("switchyard")));
        assert_eq!(
            (&said["operator"], &said["role"], &said["email"]),
            (&json!(true), &json!("owner"), &json!("ada@example.com"))
        );
        assert_eq!((&said["tenant"], &said["project"]), (&Value::Null, &Value::Null));
        assert_eq!(said["exp"].as_i64().unwrap() - said["iat"].as_i64().unwrap(), 900);
        assert_eq!((&said["sub"], &said["sid"]), (&tokens["user"]["id"], &tokens["session"]));
    })
    .await;
}

struct Nowhere;

impl ports::Links for Nowhere {
    fn api(&self, _: base::EnvironmentId) -> Option<String> {
        None
    }
    fn console(&self, _: base::EnvironmentId) -> Option<String> {
        None
    }
    fn operator(&self) -> String {
        String::new()
    }
}

#[tokio::test]
async fn a_member_gets_tokens_for_a_tenant_with_the_role_of_the_membership() {
    apps(|app| async move {
        let (member, _) = app.join("ada@acme.example", Role::Developer).await;
        let (_, token) = app.invite(app.globex, "ada@acme.example", Role::Viewer).await;
        let body = json!({"token": token, "password": PASSWORD});
        app.post("/api/v1/auth/invitations", body).await.ok(201);
        let tokens = app.login("ada@acme.example", PASSWORD).await.ok(200);
        assert_eq!(tokens["tenants"].as_array().unwrap().len(), 2);
        let said = claims(&tokens);
        assert_eq!((&said["tenant"], &said["role"]), (&json!(app.acme), &json!("developer")));
        assert_eq!(said["project"], json!(app.project));
        assert_eq!(said["operator"], Value::Null);
        let other = json!({"email": "ada@acme.example", "password": PASSWORD, "tenant": "globex"});
        let other = app.post("/api/v1/auth/login", other).await.ok(200);
        assert_eq!(claims(&other)["role"], "viewer");
        let none = json!({"email": "ada@acme.example", "password": PASSWORD, "tenant": "nobody"});
        app.post("/api/v1/auth/login", none).await.problem(&codes::NOT_FOUND);
        // The role is read anew with each token, and a membership that is gone gives none.
        app.world.set_role(member, Role::Admin);
        let tokens = app.refresh(&tokens).await.ok(200);
        assert_eq!(claims(&tokens)["role"], "admin");
        app.world.remove(member);
        let tokens = app.refresh(&tokens).await.ok(200);
        assert_eq!(claims(&tokens)["tenant"], json!(app.globex));
        let back = json!({"refresh_token": tokens["refresh_token"], "tenant": app.acme});
        app.post("/api/v1/auth/refresh", back).await.problem(&codes::NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn operators_do_not_sign_in_where_members_do() {
    apps_at(Surface::Member, |app| async move {
        let (_, token) = app.invite(app.acme, "ada@acme.example", Role::Viewer).await;
        let body = json!({"token": token, "password": PASSWORD});
        app.post("/api/v1/auth/invitations", body).await.ok(201);
        app.login("ada@acme.example", PASSWORD).await.ok(200);
        // The setup link is not even there.
        let setup = json!({"token": token_of(&app.setup), "email": "o@example.com", "password": PASSWORD});
        app.post("/api/v1/auth/signup", setup).await.problem(&codes::NOT_FOUND);
        app.post("/api/v1/users", json!({})).await.problem(&codes::NOT_FOUND);
    })
    .await;
}

fn bare(answer: Answer) -> (u16, Value, Vec<(String, String)>) {
    let mut body = answer.body;
    body.as_object_mut().unwrap().remove("request_id");
    let headers = answer.headers.iter().filter(|(name, _)| *name != "x-request-id");
    let headers = headers.map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned())).collect();
    (answer.status.as_u16(), body, headers)
}

#[tokio::test]
async fn a10_an_unknown_account_takes_the_same_work_and_gets_the_same_answer() {
    apps(|app| async move {
        app.join("ada@acme.example", Role::Viewer).await;
        let (_, gone) = app.join("gone@acme.example", Role::Viewer).await;
        let disable = format!("/api/v1/users/{}", gone["user"]["id"].as_str().unwrap());
        app.app.operator().patch(&disable, json!({"disabled": true})).await.ok(200);
        let mut answers = Vec::new();
        for (email, password) in [
            ("ada@acme.example", "not this one at all"),
            ("nobody@acme.example", "not this one at all"),
            ("gone@acme.example", PASSWORD),
        ] {
            let before = app.accounts.passwords_hashed();
            let answer = app.login(email, password).await;
            assert_eq!(app.accounts.passwords_hashed(), before + 1, "{email}");
            answers.push(bare(answer));
        }
        assert_eq!(answers[0].0, 401);
        assert_eq!(answers[0].1["code"], "sign_in_failed");
        assert_eq!(answers[0], answers[1]);
        assert_eq!(answers[0], answers[2]);
        // As through the port.
        for email in ["ada@acme.example", "nobody@acme.example"] {
            let typed = Credentials {
                email: Email::parse(email).unwrap(),
                password: Secret::new("not this one at all".to_owned()),
                code: None,
                ip: None,
                agent: None,
            };
            assert_eq!(app.accounts.password(app.project, typed).await, Err(SignInError::Wrong));
        }
    })
    .await;
}

#[tokio::test]
async fn a10_asking_for_a_reset_is_answered_before_anybody_looks() {
    apps(|app| async move {
        app.join("ada@acme.example", Role::Viewer).await;
        let known = app.post("/api/v1/auth/reset", json!({"email": "ada@acme.example"})).await;
        let unknown = app.post("/api/v1/auth/reset", json!({"email": "nobody@acme.example"})).await;
        assert_eq!((known.status.as_u16(), &known.text), (202, &unknown.text));
        assert_eq!(known.status, unknown.status);
        while app.letters("ada@acme.example").await < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(app.letters("nobody@acme.example").await, 0);
        assert!(
            app.letter("ada@acme.example")
                .await
                .contains("https://console.production.localhost/reset?token=")
        );
    })
    .await;
}

#[tokio::test]
async fn who_guesses_is_slowed_down_and_the_owner_elsewhere_is_not() {
    apps(|app| async move {
        app.join("ada@acme.example", Role::Viewer).await;
        for email in ["ada@acme.example", "nobody@acme.example"] {
            for _ in 0..5 {
                app.login(email, "not this one at all").await.problem(&codes::SIGN_IN_FAILED);
            }
            let slow = app.login(email, PASSWORD).await;
            assert_eq!((slow.status.as_u16(), slow.header("retry-after")), (429, "1"), "{email}");
            slow.problem(&codes::RATE_LIMITED);
        }
        // From elsewhere the owner gets in all the same.
        let typed = |ip: &str| Credentials {
            email: Email::parse("ada@acme.example").unwrap(),
            password: Secret::new(PASSWORD.to_owned()),
            code: None,
            ip: Some(ip.parse().unwrap()),
            agent: None,
        };
        assert!(app.accounts.password(app.project, typed("198.51.100.7")).await.is_ok());
        app.app.store.clock.advance(Duration::from_secs(1));
        app.login("ada@acme.example", PASSWORD).await.ok(200);
    })
    .await;
}

#[tokio::test]
async fn a_reset_ends_all_sessions_and_its_link_works_once() {
    apps(|app| async move {
        let (_, tokens) = app.join("ada@acme.example", Role::Viewer).await;
        app.post("/api/v1/auth/reset", json!({"email": "ada@acme.example"})).await.ok(202);
        while app.letters("ada@acme.example").await < 2 {
            tokio::task::yield_now().await;
        }
        let token = token_of(&app.letter("ada@acme.example").await);
        let weak = json!({"token": token, "password": "password123"});
        app.post("/api/v1/auth/reset/confirm", weak).await.problem(&codes::INVALID);
        let body = json!({"token": token, "password": "five words make it too"});
        app.post("/api/v1/auth/reset/confirm", body.clone()).await.ok(204);
        app.post("/api/v1/auth/reset/confirm", body).await.problem(&codes::LINK_INVALID);
        assert!(app.world.is_ended(&tokens["session"]) && app.world.is_cut(&tokens["user"]["id"]));
        app.refresh(&tokens).await.problem(&codes::UNAUTHENTICATED);
        app.login("ada@acme.example", PASSWORD).await.problem(&codes::SIGN_IN_FAILED);
        app.login("ada@acme.example", "five words make it too").await.ok(200);
    })
    .await;
}

#[tokio::test]
async fn a_reset_link_is_over_after_an_hour_and_letters_have_a_pause() {
    apps(|app| async move {
        app.join("ada@acme.example", Role::Viewer).await;
        let ask = || app.post("/api/v1/auth/reset", json!({"email": "ada@acme.example"}));
        ask().await.ok(202);
        while app.letters("ada@acme.example").await < 2 {
            tokio::task::yield_now().await;
        }
        ask().await.ok(202);
        app.app.store.clock.advance(Duration::from_mins(5));
        ask().await.ok(202);
        while app.letters("ada@acme.example").await < 3 {
            tokio::task::yield_now().await;
        }
        assert_eq!(app.letters("ada@acme.example").await, 3, "the one within the pause wrote nothing");
        let token = token_of(&app.letter("ada@acme.example").await);
        app.app.store.clock.advance(Duration::from_hours(1));
        let body = json!({"token": token, "password": "five words make it too"});
        app.post("/api/v1/auth/reset/confirm", body).await.problem(&codes::LINK_INVALID);
    })
    .await;
}

#[tokio::test]
async fn a14_no_header_of_a_request_gets_into_a_letter() {
    apps(|app| async move {
        let evil = app
            .app
            .nobody()
            .with("host", "evil.example")
            .with("x-forwarded-host", "evil.example")
            .with("forwarded", "host=evil.example;proto=https")
            .with("origin", "https://evil.example");
        let (_, _) = app.join("ada@acme.example", Role::Viewer).await;
        evil.post("/api/v1/auth/reset", json!({"email": "ada@acme.example"})).await.ok(202);
        while app.letters("ada@acme.example").await < 2 {
            tokio::task::yield_now().await;
        }
        let operator =
            app.app.operator().with("host", "evil.example").with("x-forwarded-host", "evil.example");
        let team = json!({"email": "grace@example.com", "role": "admin"});
        operator.post("/api/v1/users", team).await.ok(201);
        let letters = operator.get("/api/v1/outbox").await.ok(200);
        let texts: Vec<&str> =
            letters["data"].as_array().unwrap().iter().map(|one| one["text"].as_str().unwrap()).collect();
        assert_eq!(texts.len(), 3);
        for text in texts {
            assert!(!text.contains("evil"), "{text}");
            let own = text.contains("https://console.production.localhost/")
                || text.contains("http://127.0.0.1:7070/");
            assert!(own, "{text}");
        }
        assert!(app.setup.starts_with("http://127.0.0.1:7070/setup?token="));
    })
    .await;
}

#[tokio::test]
async fn an_issuer_that_has_proven_the_address_signs_in_who_belongs_here_and_nobody_else() {
    apps(|app| async move {
        let proven =
            |email: &str| app.accounts.proven(app.proven("clerk", &email.to_lowercase(), Some(email)));
        assert_eq!(proven("nobody@acme.example").await, Ok(None));
        let (member, token) = app.invite(app.acme, "ada@acme.example", Role::Developer).await;
        let ada = proven("ADA@acme.example").await.unwrap().unwrap();
        assert!(app.world.is_active(member), "the invitation is accepted by that");
        assert_eq!((ada.memberships.len(), ada.name.as_str()), (1, "Ada"));
        let used = json!({"token": token, "password": PASSWORD});
        app.post("/api/v1/auth/invitations", used).await.problem(&codes::LINK_INVALID);
        assert_eq!(proven("ada@acme.example").await.unwrap().unwrap().user, ada.user);
        let tokens = app.accounts.tokens(&ada, None).await.unwrap();
        assert_eq!(claims(&tokens)["tenant"], json!(app.acme));
        // Without a password there is no way in by one.
        app.login("ada@acme.example", "").await.problem(&codes::SIGN_IN_FAILED);
        assert_eq!(app.accounts.session(ada.session).await.unwrap().unwrap().user, ada.user);
        app.accounts.end(ada.session).await.unwrap();
        assert_eq!(app.accounts.session(ada.session).await, Ok(None));
        assert_eq!(app.accounts.tokens(&ada, None).await, Err(SignInError::Wrong));
        // A membership whose invitation was withdrawn is not accepted by signing in.
        let (late, _) = app.invite(app.globex, "ada@acme.example", Role::Owner).await;
        app.withdraw(app.globex, late).await;
        assert_eq!(proven("ada@acme.example").await.unwrap().unwrap().memberships.len(), 1);
    })
    .await;
}
