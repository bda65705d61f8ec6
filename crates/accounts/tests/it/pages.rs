//! The forms behind links: they look at nothing up, escape what they show, and ask no other host for anything.

use authority::Role;
use base::codes;
use http::Method;
use testkit::Answer;

use crate::app::{App, PASSWORD, apps, token_of};

async fn send(app: &App, path: &str, fields: &[(&str, &str)]) -> Answer {
    let escape = |text: &str| {
        text.bytes()
            .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
            .collect::<String>()
    };
    let body: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect();
    let kind = Some("application/x-www-form-urlencoded");
    app.app.nobody().send_text(Method::POST, path, kind, body.join("&")).await
}

#[tokio::test]
async fn the_first_owner_fills_in_a_form() {
    apps(|app| async move {
        let path = app.setup.strip_prefix("http://127.0.0.1:7070").unwrap().to_owned();
        for _ in 0..2 {
            // Looking uses nothing up.
            let page = app.app.nobody().get(&path).await;
            assert_eq!(page.status.as_u16(), 200);
            assert!(page.header("content-type").starts_with("text/html"));
            let policy = page.header("content-security-policy");
            assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
            assert_eq!(page.header("referrer-policy"), "same-origin");
            assert!(page.text.contains("<form method=\"post\" action=\"/setup\">"), "{}", page.text);
            assert!(!page.text.contains("<script") && !page.text.contains("src="), "{}", page.text);
        }
        let token = token_of(&path);
        let weak =
            [("token", token.as_str()), ("email", "ada@example.com"), ("name", "<b>"), ("password", "short")];
        let again = send(&app, "/setup", &weak).await;
        assert_eq!(again.status.as_u16(), 422);
        assert!(again.text.contains("&lt;b&gt;") && !again.text.contains("<b>"), "{}", again.text);
        assert!(again.text.contains("10 to 256 characters"));
        let good = [
            ("token", token.as_str()),
            ("email", "ada@example.com"),
            ("name", "Ada"),
            ("password", PASSWORD),
        ];
        assert_eq!(send(&app, "/setup", &good).await.status.as_u16(), 200);
        assert_eq!(send(&app, "/setup", &good).await.status.as_u16(), 410);
        assert_eq!(app.app.nobody().get(&path).await.status.as_u16(), 410);
        app.login("ada@example.com", PASSWORD).await.ok(200);
    })
    .await;
}

#[tokio::test]
async fn an_invitation_is_accepted_by_a_form() {
    apps(|app| async move {
        let (member, token) = app.invite(app.acme, "ada@acme.example", Role::Viewer).await;
        let page = app.app.nobody().get(&format!("/invitation?token={token}")).await;
        assert!(
            page.text.contains("ada@acme.example") && page.text.contains("new-password"),
            "{}",
            page.text
        );
        assert_eq!(app.app.nobody().get("/invitation").await.status.as_u16(), 410);
        let fields = [("token", token.as_str()), ("name", "Ada"), ("password", PASSWORD)];
        assert_eq!(send(&app, "/invitation", &fields).await.status.as_u16(), 200);
        assert!(app.world.is_active(member));
        assert_eq!(send(&app, "/invitation", &fields).await.status.as_u16(), 410);
        // Who has an account is asked for its password.
        let (_, token) = app.invite(app.globex, "ada@acme.example", Role::Viewer).await;
        let page = app.app.nobody().get(&format!("/invitation?token={token}")).await;
        assert!(page.text.contains("current-password"), "{}", page.text);
        let wrong = [("token", token.as_str()), ("password", "not this one")];
        let again = send(&app, "/invitation", &wrong).await;
        assert_eq!(again.status.as_u16(), 422);
        assert!(again.text.contains("is wrong") && again.text.contains("current-password"), "{}", again.text);
    })
    .await;
}

#[tokio::test]
async fn a_new_password_is_chosen_by_a_form() {
    apps(|app| async move {
        app.join("ada@acme.example", Role::Viewer).await;
        let ask = serde_json::json!({"email": "ada@acme.example"});
        app.post("/api/v1/auth/reset", ask).await.ok(202);
        while app.letters("ada@acme.example").await < 2 {
            tokio::task::yield_now().await;
        }
        let token = token_of(&app.letter("ada@acme.example").await);
        let page = app.app.nobody().get(&format!("/reset?token={token}")).await;
        assert_eq!((page.status.as_u16(), page.text.contains("action=\"/reset\"")), (200, true));
        let fields = [("token", token.as_str()), ("password", "five words make it too")];
        assert_eq!(send(&app, "/reset", &fields).await.status.as_u16(), 200);
        assert_eq!(send(&app, "/reset", &fields).await.status.as_u16(), 410);
        app.login("ada@acme.example", PASSWORD).await.problem(&codes::SIGN_IN_FAILED);
        app.login("ada@acme.example", "five words make it too").await.ok(200);
    })
    .await;
}
