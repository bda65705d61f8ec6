//! Invitations: for one address and one membership, once.

use std::time::Duration;

use authority::Role;
use base::{Email, codes};
use serde_json::json;

use crate::app::{PASSWORD, apps, claims};

const ACCEPT: &str = "/api/v1/auth/invitations";

#[tokio::test]
async fn a16_an_invitation_is_for_one_address_and_membership_once() {
    apps(|app| async move {
        let (member, token) = app.invite(app.acme, "ada@acme.example", Role::Developer).await;
        let look = app.post("/api/v1/auth/invitations/look", json!({"token": token})).await.ok(200);
        assert_eq!((&look["email"], &look["tenant"]), (&json!("ada@acme.example"), &json!("acme")));
        assert_eq!((&look["account"], &look["operator"]), (&json!(false), &json!(false)));
        // Another's address is refused, and uses nothing up.
        let other = json!({"token": token, "email": "eve@acme.example", "password": PASSWORD});
        app.post(ACCEPT, other).await.problem(&codes::LINK_INVALID);
        assert!(!app.world.is_active(member));
        let body = json!({"token": token, "email": "ADA@acme.example", "name": "Ada", "password": PASSWORD});
        let tokens = app.post(ACCEPT, body.clone()).await.ok(201);
        assert!(app.world.is_active(member));
        assert_eq!(claims(&tokens)["tenant"], json!(app.acme));
        // Used once, it is as good as none; so is one that never was.
        app.post(ACCEPT, body).await.problem(&codes::LINK_INVALID);
        app.post("/api/v1/auth/invitations/look", json!({"token": token}))
            .await
            .problem(&codes::LINK_INVALID);
        for wrong in ["", "x", &"A".repeat(43)] {
            let body = json!({"token": wrong, "password": PASSWORD});
            app.post(ACCEPT, body).await.problem(&codes::LINK_INVALID);
        }
        // A link of another sort opens nothing here.
        let setup = crate::app::token_of(&app.setup);
        app.post(ACCEPT, json!({"token": setup, "password": PASSWORD})).await.problem(&codes::LINK_INVALID);
        assert_eq!(app.app.event("invitation.accepted").await.subject, member.to_string());
    })
    .await;
}

#[tokio::test]
async fn a16_an_invitation_that_is_late_withdrawn_or_replaced_is_refused() {
    apps(|app| async move {
        let (member, first) = app.invite(app.acme, "ada@acme.example", Role::Owner).await;
        let email = Email::parse("ada@acme.example").unwrap();
        app.app.store.clock.advance(Duration::from_millis(1));
        let second = app.invite_again(app.acme, member, &email).await;
        let accept = |token: &str| app.post(ACCEPT, json!({"token": token, "password": PASSWORD}));
        accept(&first).await.problem(&codes::LINK_INVALID);
        app.withdraw(app.acme, member).await;
        accept(&second).await.problem(&codes::LINK_INVALID);
        app.app.store.clock.advance(Duration::from_millis(1));
        let third = app.invite_again(app.acme, member, &email).await;
        app.app.store.clock.advance(Duration::from_hours(7 * 24));
        accept(&third).await.problem(&codes::LINK_INVALID);
        let fourth = app.invite_again(app.acme, member, &email).await;
        // The membership is gone, and with it what the letter was for.
        app.world.remove(member);
        accept(&fourth).await.problem(&codes::LINK_INVALID);
        // Who was invited anew, elsewhere, gets in there alone.
        let (other, fifth) = app.invite(app.globex, "ada@acme.example", Role::Viewer).await;
        let tokens = accept(&fifth).await.ok(201);
        assert!(app.world.is_active(other));
        assert_eq!(
            (&claims(&tokens)["tenant"], &claims(&tokens)["role"]),
            (&json!(app.globex), &json!("viewer"))
        );
    })
    .await;
}

#[tokio::test]
async fn a16_of_two_who_accept_at_once_one_does() {
    apps(|app| async move {
        let (_, token) = app.invite(app.acme, "ada@acme.example", Role::Viewer).await;
        let accept = |password: &'static str| app.post(ACCEPT, json!({"token": token, "password": password}));
        let (one, two) = tokio::join!(accept(PASSWORD), accept("another four words"));
        let mut statuses = [one.status.as_u16(), two.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 410], "{} {}", one.text, two.text);
    })
    .await;
}

#[tokio::test]
async fn who_has_an_account_accepts_with_its_password_alone() {
    apps(|app| async move {
        app.join("ada@acme.example", Role::Viewer).await;
        let (member, token) = app.invite(app.globex, "ada@acme.example", Role::Owner).await;
        // A mailbox that somebody else reads does not open the account, nor set its password.
        let stolen = json!({"token": token, "password": "what the thief would like"});
        app.post(ACCEPT, stolen).await.problem(&codes::SIGN_IN_FAILED);
        assert!(!app.world.is_active(member));
        let tokens = app.post(ACCEPT, json!({"token": token, "password": PASSWORD})).await.ok(201);
        assert_eq!(claims(&tokens)["tenant"], json!(app.globex));
        assert_eq!(tokens["tenants"].as_array().unwrap().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_weak_password_uses_nothing_up() {
    apps(|app| async move {
        let (_, token) = app.invite(app.acme, "ada@acme.example", Role::Viewer).await;
        for weak in ["short", "password123", "ada@acme.example"] {
            let body = json!({"token": token, "password": weak});
            let refused = app.post(ACCEPT, body).await.problem(&codes::INVALID);
            assert_eq!(refused["errors"][0]["pointer"], "/password");
        }
        app.post(ACCEPT, json!({"token": token, "password": PASSWORD})).await.ok(201);
    })
    .await;
}
