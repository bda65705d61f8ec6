//! Signing out, ending tokens.

use crate::app::apps;
use crate::browser::{Browser, Client, SESSION, led, refused};

const ADA: &str = "ada@example.com";
const LOGOUT: &str = "/oauth2/logout";

#[tokio::test]
async fn a_client_with_the_id_token_signs_its_person_out_at_once() {
    apps(|app| async move {
        let (client, mut browser) = (Client::new(&app).await, Browser::new(&app));
        let tokens = client.tokens(&mut browser, ADA, &[("scope", "openid offline_access")]).await;
        // An id token that is over is still a hint.
        app.advance(3_600);
        let id = tokens["id_token"].as_str().unwrap();
        let bye = "https://app.example.com/bye";
        let pairs = [("id_token_hint", id), ("post_logout_redirect_uri", bye), ("state", "a b")];
        let answer = browser.post(LOGOUT, &pairs).await;
        assert!(
            answer.header("location").starts_with("/oauth2/logout?id_token_hint="),
            "by GET, with cookies"
        );
        let answer = browser.get(LOGOUT, &pairs).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("location")),
            (303, "https://app.example.com/bye?state=a%20b")
        );
        assert!(!browser.cookies.contains_key(SESSION));
        assert_eq!(app.world.sessions(), 0);
        refused(&client.refresh(tokens["refresh_token"].as_str().unwrap()).await, 400, "invalid_grant");
        assert_eq!(led(&client.send(&mut browser, &[("prompt", "none")]).await)["error"], "login_required");
    })
    .await;
}

#[tokio::test]
async fn a18_without_the_id_token_the_person_is_asked() {
    apps(|app| async move {
        let (client, mut browser) = (Client::new(&app).await, Browser::new(&app));
        let tokens = client.tokens(&mut browser, ADA, &[]).await;
        let pairs =
            [("client_id", client.id.as_str()), ("post_logout_redirect_uri", "https://app.example.com/bye")];
        let page = browser.get(LOGOUT, &pairs).await;
        assert_eq!((page.status.as_u16(), app.world.sessions()), (200, 1), "nothing is ended by a link");
        let mut other = Browser::new(&app);
        assert_eq!(other.fill(&page, &[]).await.status, 403);
        let answer = browser.fill(&page, &[]).await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (303, "https://app.example.com/bye"));
        assert_eq!(app.world.sessions(), 0);
        assert!(!app.world.is_good(tokens["access_token"].as_str().unwrap()));
        let plain = browser.get(LOGOUT, &[]).await;
        assert!(plain.status == 200 && plain.text.contains("You are signed out"), "{}", plain.text);
    })
    .await;
}

#[tokio::test]
async fn nobody_is_led_away_by_signing_out() {
    apps(|app| async move {
        let (client, mut browser) = (Client::new(&app).await, Browser::new(&app));
        let tokens = client.tokens(&mut browser, ADA, &[]).await;
        let (id, access) = (tokens["id_token"].as_str().unwrap(), tokens["access_token"].as_str().unwrap());
        for pairs in [
            vec![("id_token_hint", id), ("post_logout_redirect_uri", "https://app.example.com/bye/")],
            vec![("id_token_hint", id), ("post_logout_redirect_uri", "https://evil.example/")],
            vec![("post_logout_redirect_uri", "https://app.example.com/bye")],
            vec![("id_token_hint", access)],
            vec![("id_token_hint", "no token")],
            vec![("id_token_hint", id), ("client_id", "cli_00000000000000000000000000")],
        ] {
            let answer = browser.get(LOGOUT, &pairs).await;
            assert_eq!(answer.status, 400, "{pairs:?}");
            assert!(answer.header("location").is_empty());
        }
        assert_eq!(app.world.sessions(), 1);
    })
    .await;
}

#[tokio::test]
async fn rfc7009_a_client_ends_its_own_tokens_only() {
    apps(|app| async move {
        let (client, mut browser) = (Client::new(&app).await, Browser::new(&app));
        let other = serde_json::json!({
            "name": "Other", "kind": "confidential", "redirect_uris": ["https://other.example/cb"]
        });
        let other = Client::with(&app, other).await;
        let offline = [("scope", "openid offline_access")];
        let tokens = client.tokens(&mut browser, ADA, &offline).await;
        let (access, refresh) =
            (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
        for token in [refresh, access, "sy_refresh_never", "never"] {
            assert_eq!(other.ask("/oauth2/revoke", &[("token", token)]).await.status, 200, "{token}");
        }
        assert!(app.world.is_good(access));
        assert_eq!(client.ask("/oauth2/revoke", &[("token", refresh)]).await.status, 200);
        assert!(!app.world.is_good(access));
        refused(&client.refresh(refresh).await, 400, "invalid_grant");
        let again = led(&client.send(&mut browser, &offline).await);
        let tokens = client.redeem(&again["code"]).await.ok(200);
        let access = tokens["access_token"].as_str().unwrap();
        let pairs = [("token", access), ("token_type_hint", "access_token")];
        assert_eq!(client.ask("/oauth2/revoke", &pairs).await.status, 200);
        assert!(!app.world.is_good(access));
        refused(&client.ask("/oauth2/revoke", &[]).await, 400, "invalid_request");
    })
    .await;
}
