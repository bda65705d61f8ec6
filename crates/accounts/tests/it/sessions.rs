//! Sessions: refreshed, listed, ended.

use std::time::Duration;

use authority::Role;
use base::codes;
use serde_json::{Value, json};

use crate::app::{PASSWORD, apps, claims};

const SESSIONS: &str = "/api/v1/auth/sessions";

#[tokio::test]
async fn an_old_refresh_token_ends_its_session_and_no_other() {
    apps(|app| async move {
        let (_, other) = app.join("ada@acme.example", Role::Viewer).await;
        let first = app.login("ada@acme.example", PASSWORD).await.ok(200);
        let second = app.refresh(&first).await.ok(200);
        assert_eq!(second["session"], first["session"]);
        assert_ne!(second["refresh_token"], first["refresh_token"]);
        // A thief has the first, or the owner has: nobody can tell, so that both are out.
        app.refresh(&first).await.problem(&codes::UNAUTHENTICATED);
        app.refresh(&second).await.problem(&codes::UNAUTHENTICATED);
        assert!(app.world.is_ended(&first["session"]));
        assert!(!app.world.is_ended(&other["session"]));
        app.refresh(&other).await.ok(200);
        assert_eq!(app.app.event("session.reused").await.subject, first["session"].as_str().unwrap());
        for wrong in ["", "sy_refresh_", "sy_refresh_AAAA", "nonsense"] {
            let answer = app.post("/api/v1/auth/refresh", json!({"refresh_token": wrong})).await;
            answer.problem(&codes::UNAUTHENTICATED);
        }
    })
    .await;
}

#[tokio::test]
async fn of_parallel_refreshes_one_wins_and_the_session_is_over() {
    apps(|app| async move {
        let (_, tokens) = app.join("ada@acme.example", Role::Viewer).await;
        let (one, two) = tokio::join!(app.refresh(&tokens), app.refresh(&tokens));
        let mut statuses = [one.status.as_u16(), two.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 401]);
        assert!(app.world.is_ended(&tokens["session"]));
    })
    .await;
}

#[tokio::test]
async fn a_session_ends_after_thirty_days_however_often_it_is_refreshed() {
    apps(|app| async move {
        let (_, mut tokens) = app.join("ada@acme.example", Role::Viewer).await;
        for _ in 0..29 {
            app.app.store.clock.advance(Duration::from_hours(24));
            tokens = app.refresh(&tokens).await.ok(200);
        }
        assert_eq!(app.person(&tokens).get(SESSIONS).await.ok(200)["data"].as_array().unwrap().len(), 1);
        app.app.store.clock.advance(Duration::from_hours(24));
        app.refresh(&tokens).await.problem(&codes::UNAUTHENTICATED);
        assert_eq!(app.person(&tokens).get(SESSIONS).await.ok(200)["data"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn a18_each_sign_in_has_a_session_and_tokens_of_its_own() {
    apps(|app| async move {
        let (_, first) = app.join("ada@acme.example", Role::Viewer).await;
        let second = app.login("ada@acme.example", PASSWORD).await.ok(200);
        for field in ["session", "refresh_token", "access_token"] {
            assert_ne!(first[field], second[field], "{field} is made at sign-in, never taken over");
        }
        assert_ne!(claims(&first)["sid"], claims(&second)["sid"]);
        let tampered =
            json!({"email": "ada@acme.example", "password": PASSWORD, "session": first["session"]});
        app.post("/api/v1/auth/login", tampered).await.problem(&codes::INVALID);
    })
    .await;
}

#[tokio::test]
async fn sessions_are_listed_and_ended_by_their_owner_alone() {
    apps(|app| async move {
        let (_, one) = app.join("ada@acme.example", Role::Viewer).await;
        let two = app.login("ada@acme.example", PASSWORD).await.ok(200);
        let (_, eve) = app.join("eve@acme.example", Role::Owner).await;
        let (ada, thief) = (app.person(&one), app.person(&eve));
        let listed = ada.get(SESSIONS).await.ok(200);
        let current: Vec<&Value> = listed["data"].as_array().unwrap().iter().map(|s| &s["current"]).collect();
        assert_eq!(current, [&json!(true), &json!(false)]);
        let path = |tokens: &Value| format!("{SESSIONS}/{}", tokens["session"].as_str().unwrap());
        thief.delete(&path(&two)).await.problem(&codes::NOT_FOUND);
        ada.delete(&path(&two)).await.ok(204);
        ada.delete(&path(&two)).await.problem(&codes::NOT_FOUND);
        assert!(app.world.is_ended(&two["session"]));
        app.refresh(&two).await.problem(&codes::UNAUTHENTICATED);
        app.post("/api/v1/auth/logout", json!({"refresh_token": one["refresh_token"]})).await.ok(204);
        app.post("/api/v1/auth/logout", json!({"refresh_token": one["refresh_token"]})).await.ok(204);
        assert!(app.world.is_ended(&one["session"]));
        app.refresh(&one).await.problem(&codes::UNAUTHENTICATED);
        app.refresh(&eve).await.ok(200);
        // A key is nobody's person.
        app.app.member(app.acme, Role::Owner).get(SESSIONS).await.problem(&codes::NOT_FOUND);
        app.app.nobody().get(SESSIONS).await.problem(&codes::UNAUTHENTICATED);
    })
    .await;
}

#[tokio::test]
async fn a_changed_password_ends_all_other_sessions() {
    apps(|app| async move {
        let (_, other) = app.join("ada@acme.example", Role::Viewer).await;
        let own = app.login("ada@acme.example", PASSWORD).await.ok(200);
        let ada = app.person(&own);
        let path = "/api/v1/auth/password";
        let wrong = json!({"current": "not this one", "password": "five words make it too"});
        ada.post(path, wrong).await.problem(&codes::SIGN_IN_FAILED);
        let weak = json!({"current": PASSWORD, "password": "ada@acme.example"});
        ada.post(path, weak).await.problem(&codes::INVALID);
        let body = json!({"current": PASSWORD, "password": "five words make it too"});
        ada.post(path, body).await.ok(204);
        assert!(app.world.is_ended(&other["session"]) && !app.world.is_ended(&own["session"]));
        app.refresh(&own).await.ok(200);
        app.login("ada@acme.example", PASSWORD).await.problem(&codes::SIGN_IN_FAILED);
        assert!(app.letter("ada@acme.example").await.contains("changed just now"));
    })
    .await;
}

#[tokio::test]
async fn the_oldest_session_ends_when_there_are_too_many() {
    apps(|app| async move {
        let (_, first) = app.join("ada@acme.example", Role::Viewer).await;
        for _ in 0..accounts::model::SESSIONS_MAX {
            let proven = app.proven("clerk", "ada", Some("ada@acme.example"));
            ports::SignIn::proven(&*app.accounts, proven).await.unwrap().unwrap();
            app.app.store.clock.advance(Duration::from_millis(1));
        }
        assert!(app.world.is_ended(&first["session"]));
        app.refresh(&first).await.problem(&codes::UNAUTHENTICATED);
    })
    .await;
}
