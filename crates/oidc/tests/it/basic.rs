//! The checks of the OpenID Foundation's basic profile for providers, each under its name there.

use serde_json::json;

use crate::app::{ISSUER, apps};
use crate::browser::{Browser, CALLBACK, Client, VERIFIER, challenge, encoded, led, refused};

const ADA: &str = "ada@example.com";
const BOB: &str = "bob@example.com";

#[tokio::test]
async fn oidcc_server_a_person_signs_in_and_the_client_learns_who_it_is() {
    apps(|app| async move {
        let (client, mut browser) = (Client::new(&app).await, Browser::new(&app));
        let page = client.send(&mut browser, &[]).await;
        assert_eq!(page.status, 200);
        assert!(page.text.contains("Sign in to Dashboard"), "{}", page.text);
        assert!(
            page.header("content-security-policy").contains("form-action 'self' https://app.example.com;")
        );
        let answer = browser.sign_in(&page, ADA).await;
        assert!(answer.header("location").starts_with(&format!("{CALLBACK}?")));
        let back = led(&answer);
        assert_eq!((back["state"].as_str(), back["iss"].as_str()), ("st at&e", ISSUER));
        let answer = client.redeem(&back["code"]).await;
        assert_eq!(answer.header("cache-control"), "no-store");
        let tokens = answer.ok(200);
        assert_eq!(
            (tokens["token_type"].as_str(), tokens["expires_in"].as_u64()),
            (Some("Bearer"), Some(900))
        );
        assert!(tokens.get("refresh_token").is_none(), "offline_access was not asked for");
        let id = app.world.id_claims(tokens["id_token"].as_str().unwrap());
        let now = base::Clock::now(&app.app.store.clock).seconds();
        assert_eq!(id["iss"], ISSUER);
        assert_eq!(id["aud"], client.id.as_str());
        assert_eq!(id["sub"], app.world.user(ADA).to_string());
        assert_eq!(id["nonce"], "n-0S6_WzA2Mj");
        assert_eq!((id["iat"].as_i64(), id["exp"].as_i64()), (Some(now), Some(now + 900)));
        assert_eq!(id["auth_time"], now);
        assert_eq!((id["tenant"].clone(), &id["role"]), (json!(app.world.acme), &json!("owner")));
        assert!(id["at_hash"].as_str().is_some_and(|hash| hash.len() == 22));
        let access = app.world.access_claims(tokens["access_token"].as_str().unwrap());
        assert_eq!(access["client"], client.id.as_str());
        assert_eq!(access["scope"], "openid profile email");
        assert_eq!(access["email"], ADA);
        assert_eq!(access["project"], json!(app.world.places.project()));
        assert_eq!((access["tenant"].clone(), &access["role"]), (json!(app.world.acme), &json!("owner")));
    })
    .await;
}

#[tokio::test]
async fn oidcc_userinfo_by_get_and_post_and_by_scope() {
    apps(|app| async move {
        let (client, mut browser) = (Client::new(&app).await, Browser::new(&app));
        let tokens = client.tokens(&mut browser, ADA, &[]).await;
        let token = tokens["access_token"].as_str().unwrap();
        let told = client.userinfo(token).await.ok(200);
        let sub = app.world.user(ADA).to_string();
        let expected = json!({
            "sub": sub, "name": "Ada", "email": ADA, "email_verified": true, "tenant": app.world.acme, "role": "owner"
        });
        assert_eq!(told, expected);
        let nobody = app.app.nobody();
        let form = Some("application/x-www-form-urlencoded");
        let header = nobody.clone().with("authorization", &format!("bearer {token}"));
        let by_header = header.send_text(http::Method::POST, "/oauth2/userinfo", form, String::new()).await;
        assert_eq!(by_header.ok(200), expected);
        let body = encoded(&[("access_token", token)]);
        let by_body = nobody.send_text(http::Method::POST, "/oauth2/userinfo", form, body).await;
        assert_eq!(by_body.ok(200), expected);
        let narrow = client.send(&mut browser, &[("scope", "email openid unknown")]).await;
        let narrow = client.redeem(&led(&narrow)["code"]).await.ok(200);
        assert_eq!(narrow["scope"], "email openid", "the order is the client's");
        let told = client.userinfo(narrow["access_token"].as_str().unwrap()).await.ok(200);
        assert!(told.get("name").is_none() && told["email"] == ADA, "{told}");
        for answer in [client.userinfo("no token").await, nobody.get("/oauth2/userinfo").await] {
            refused(&answer, 401, "invalid_token");
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
        }
        let plain = client.send(&mut browser, &[("scope", "email")]).await;
        let plain = client.redeem(&led(&plain)["code"]).await.ok(200);
        assert!(plain.get("id_token").is_none(), "openid was not asked for");
        refused(&client.userinfo(plain["access_token"].as_str().unwrap()).await, 403, "insufficient_scope");
    })
    .await;
}

#[tokio::test]
async fn oidcc_response_type_missing_and_others_go_back_to_the_client() {
    apps(|app| async move {
        let (client, mut browser) = (Client::new(&app).await, Browser::new(&app));
        for (more, error) in [
            (("response_type", "-"), "invalid_request"),
            (("response_type", "id_token"), "unsupported_response_type"),
            (("response_mode", "fragment"), "invalid_request"),
            (("request", "eyJhbGciOiJub25lIn0.e30."), "request_not_supported"),
            (("request_uri", "https://app.example.com/r"), "request_uri_not_supported"),
            (("registration", "{}"), "registration_not_supported"),
            (("scope", "unknown"), "invalid_scope"),
            (("scope", "write:usage"), "invalid_scope"),
            (("prompt", "none login"), "invalid_request"),
            (("max_age", "soon"), "invalid_request"),
        ] {
            let back = led(&client.send(&mut browser, &[more]).await);
            assert_eq!((back["error"].as_str(), back["state"].as_str()), (error, "st at&e"), "{more:?}");
            assert_eq!(back["iss"], ISSUER);
        }
    })
    .await;
}

#[tokio::test]
async fn oidcc_ensure_requests_with_unknown_parameters_or_without_nonce_succeed() {
    apps(|app| async move {
        let (client, mut browser) = (Client::new(&app).await, Browser::new(&app));
        let more = [
            ("nonce", "-"),
            ("extra", "foobar"),
            ("ui_locales", "se"),
            ("acr_values", "1 2"),
            ("display", ""),
        ];
        let tokens = client.tokens(&mut browser, ADA, &more).await;
        let id = app.world.id_claims(tokens["id_token"].as_str().unwrap());
        assert!(id.get("nonce").is_none());
        let pairs = client.request(&[]);
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = browser.post("/oauth2/authorize", &pairs).await;
        assert!(answer.header("location").starts_with("/oauth2/authorize?response_type=code&"));
        let (path, _) = answer.header("location").split_once('?').unwrap();
        let query: Vec<(String, String)> = led(&answer).into_iter().collect();
        let query: Vec<(&str, &str)> = query.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert!(led(&browser.get(path, &query).await).contains_key("code"), "the request by POST");
    })
    .await;
}

#[tokio::test]
async fn oidcc_prompt_none_login_and_hints() {
    apps(|app| async move {
        let (client, mut browser) = (Client::new(&app).await, Browser::new(&app));
        let silent = [("prompt", "none")];
        assert_eq!(led(&client.send(&mut browser, &silent).await)["error"], "login_required");
        let page = client.send(&mut browser, &[("login_hint", "ada@\"example.com")]).await;
        assert!(page.text.contains("value=\"ada@&quot;example.com\""), "{}", page.text);
        let tokens = client.tokens(&mut browser, ADA, &[]).await;
        let first = tokens["id_token"].as_str().unwrap().to_owned();
        app.advance(100);
        assert!(led(&client.send(&mut browser, &silent).await).contains_key("code"));
        let hinted = [("prompt", "none"), ("id_token_hint", first.as_str())];
        let back = led(&client.send(&mut browser, &hinted).await);
        let again = client.redeem(&back["code"]).await.ok(200);
        let again = app.world.id_claims(again["id_token"].as_str().unwrap());
        let before = app.world.id_claims(&first);
        assert_eq!((&again["sub"], &again["auth_time"]), (&before["sub"], &before["auth_time"]));
        let mut other = Browser::new(&app);
        client.tokens(&mut other, "bob@example.com", &[("tenant", "globex")]).await;
        assert_eq!(led(&client.send(&mut other, &hinted).await)["error"], "login_required", "Bob is not Ada");
        let page = client.send(&mut browser, &[("prompt", "login")]).await;
        let back = led(&browser.sign_in(&page, ADA).await);
        let anew = client.redeem(&back["code"]).await.ok(200);
        let anew = app.world.id_claims(anew["id_token"].as_str().unwrap());
        assert_eq!(anew["auth_time"].as_i64(), before["auth_time"].as_i64().map(|time| time + 100));
    })
    .await;
}

#[tokio::test]
async fn oidcc_max_age_asks_again_when_it_is_over() {
    apps(|app| async move {
        let (client, mut browser) = (Client::new(&app).await, Browser::new(&app));
        client.tokens(&mut browser, ADA, &[]).await;
        app.advance(3);
        assert!(led(&client.send(&mut browser, &[("max_age", "10000")]).await).contains_key("code"));
        for old in ["1", "0"] {
            let page = client.send(&mut browser, &[("max_age", old)]).await;
            let back = led(&browser.sign_in(&page, ADA).await);
            assert!(back.contains_key("code"), "the new sign-in is young enough: {back:?}");
            app.advance(3);
        }
        let silent = [("max_age", "1"), ("prompt", "none")];
        assert_eq!(led(&client.send(&mut browser, &silent).await)["error"], "login_required");
    })
    .await;
}

#[tokio::test]
async fn oidcc_ensure_registered_redirect_uri() {
    apps(|app| async move {
        let (client, mut browser) = (Client::new(&app).await, Browser::new(&app));
        for uri in [
            "-",
            "https://app.example.com/callback/",
            "https://app.example.com/callback?x=1",
            "https://app.example.com/callback2",
            "https://app.example.com",
            "https://app.example.com:443/callback",
            "https://app.example.com/Callback",
            "https://app.example.com/callback%2f..",
            "https://app.example.com.evil.example/callback",
            "http://localhost:3001/cb?x=1",
        ] {
            let answer = client.send(&mut browser, &[("redirect_uri", uri)]).await;
            assert_eq!(answer.status, 400, "{uri}");
            assert!(
                answer.header("location").is_empty() && answer.text.starts_with("<!doctype html>"),
                "{uri}"
            );
        }
        for (name, value) in [("client_id", "-"), ("client_id", "cli_00000000000000000000000000")] {
            let answer = client.send(&mut browser, &[(name, value)]).await;
            assert_eq!(answer.status, 400);
            assert!(answer.header("location").is_empty());
        }
        let page = client.send(&mut browser, &[("redirect_uri", "http://localhost:3000/cb?x=1")]).await;
        let answer = browser.sign_in(&page, ADA).await;
        assert!(
            answer.header("location").starts_with("http://localhost:3000/cb?x=1&code="),
            "its own query stays"
        );
    })
    .await;
}

#[tokio::test]
async fn oidcc_client_secret_basic_and_post_and_none() {
    apps(|app| async move {
        let (client, mut browser) = (Client::new(&app).await, Browser::new(&app));
        let code = client.code(&mut browser, ADA, &[]).await;
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ];
        let post = |pairs: Vec<(&str, &str)>| {
            let body = encoded(&pairs);
            let nobody = app.app.nobody();
            async move {
                let kind = Some("application/x-www-form-urlencoded");
                nobody.send_text(http::Method::POST, "/oauth2/token", kind, body).await
            }
        };
        let with = |more: &[(&'static str, String)]| -> Vec<(&'static str, String)> {
            form.iter().map(|(k, v)| (*k, (*v).to_owned())).chain(more.iter().cloned()).collect()
        };
        for (more, error) in [
            (vec![], "invalid_client"),
            (vec![("client_id", client.id.clone())], "invalid_client"),
            (vec![("client_id", client.id.clone()), ("client_secret", "wrong".to_owned())], "invalid_client"),
            (
                vec![
                    ("client_id", "cli_00000000000000000000000000".to_owned()),
                    ("client_secret", client.secret.clone()),
                ],
                "invalid_client",
            ),
        ] {
            let pairs = with(&more);
            let pairs = pairs.iter().map(|(k, v)| (*k, v.as_str())).collect();
            refused(&post(pairs).await, 401, error);
        }
        let pairs = with(&[("client_id", client.id.clone()), ("client_secret", client.secret.clone())]);
        post(pairs.iter().map(|(k, v)| (*k, v.as_str())).collect()).await.ok(200);
        let public = json!({"name": "Phone", "kind": "public", "redirect_uris": [CALLBACK]});
        let public = Client::with(&app, public).await;
        public.tokens(&mut Browser::new(&app), ADA, &[]).await;
        let both = client.ask("/oauth2/token", &[("client_secret", &client.secret)]).await;
        refused(&both, 400, "invalid_request");
        refused(
            &client.ask("/oauth2/token", &[("grant_type", "password")]).await,
            400,
            "unsupported_grant_type",
        );
        refused(&client.ask("/oauth2/token", &[]).await, 400, "invalid_request");
    })
    .await;
}

#[tokio::test]
async fn oidcc_refresh_token_rotates_and_may_be_narrowed() {
    apps(|app| async move {
        let (client, mut browser) = (Client::new(&app).await, Browser::new(&app));
        let all = [("scope", "openid offline_access email read:usage")];
        let tokens = client.tokens(&mut browser, ADA, &all).await;
        let first = tokens["refresh_token"].as_str().unwrap();
        app.advance(3_600);
        let narrow =
            [("grant_type", "refresh_token"), ("refresh_token", first), ("scope", "openid write:usage")];
        refused(&client.ask("/oauth2/token", &narrow).await, 400, "invalid_scope");
        let narrow =
            [("grant_type", "refresh_token"), ("refresh_token", first), ("scope", "openid read:usage")];
        let second = client.ask("/oauth2/token", &narrow).await.ok(200);
        assert_eq!(second["scope"], "openid read:usage");
        let id = app.world.id_claims(second["id_token"].as_str().unwrap());
        let before = app.world.id_claims(tokens["id_token"].as_str().unwrap());
        for same in ["iss", "sub", "aud", "auth_time"] {
            assert_eq!(id[same], before[same], "{same}");
        }
        assert!(id.get("nonce").is_none() && id["iat"].as_i64() > before["iat"].as_i64());
        app.world.person(ADA, "Ada L.", &[(app.world.acme, authority::Role::Viewer)]);
        let third = client.refresh(second["refresh_token"].as_str().unwrap()).await.ok(200);
        let access = app.world.access_claims(third["access_token"].as_str().unwrap());
        assert_eq!((&access["role"], &access["name"]), (&json!("viewer"), &json!("Ada L.")), "as it is now");
        assert_eq!(access["scope"], "openid offline_access email read:usage");
    })
    .await;
}

#[tokio::test]
async fn oidcc_discovery_names_what_is_there() {
    apps(|app| async move {
        let document = app.app.nobody().get("/.well-known/openid-configuration").await.ok(200);
        assert_eq!(document["issuer"], ISSUER);
        for name in ["authorization", "token", "userinfo", "revocation", "end_session"] {
            let url = document[format!("{name}_endpoint")].as_str().unwrap();
            let path = url.strip_prefix(ISSUER).unwrap();
            let found = app.app.server.metadata().iter().any(|route| route.path == path);
            assert!(found, "{url}");
        }
        assert_eq!(document["id_token_signing_alg_values_supported"], json!(["ES256"]));
        assert_eq!(document["code_challenge_methods_supported"], json!(["S256"]));
        assert_eq!(document["response_types_supported"], json!(["code"]));
        let oauth = app.app.nobody().get("/.well-known/oauth-authorization-server").await.ok(200);
        assert_eq!(oauth, document);
        let elsewhere = app.app.nobody().with("switchyard-environment", "production");
        elsewhere.get("/.well-known/openid-configuration").await.problem(&base::codes::NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn a_member_of_several_tenants_chooses_one() {
    apps(|app| async move {
        let (client, mut browser) = (Client::new(&app).await, Browser::new(&app));
        let page = client.send(&mut browser, &[]).await;
        let choice = browser.sign_in(&page, BOB).await;
        assert_eq!(choice.status, 200);
        assert!(choice.text.contains(">acme<") && choice.text.contains(">globex<"), "{}", choice.text);
        let globex = app.world.globex.to_string();
        let back = led(&browser.fill(&choice, &[("tenant", &globex)]).await);
        let tokens = client.redeem(&back["code"]).await.ok(200);
        let access = app.world.access_claims(tokens["access_token"].as_str().unwrap());
        assert_eq!((&access["tenant"], &access["role"]), (&json!(app.world.globex), &json!("admin")));
        assert_eq!(
            led(&client.send(&mut browser, &[("prompt", "none")]).await)["error"],
            "interaction_required"
        );
        let named = [("prompt", "none"), ("tenant", "acme")];
        let tokens = client.redeem(&led(&client.send(&mut browser, &named).await)["code"]).await.ok(200);
        let access = app.world.access_claims(tokens["access_token"].as_str().unwrap());
        assert_eq!((&access["tenant"], &access["role"]), (&json!(app.world.acme), &json!("viewer")));
        let mut ada = Browser::new(&app);
        let page = client.send(&mut ada, &[("tenant", "globex")]).await;
        assert_eq!(led(&ada.sign_in(&page, ADA).await)["error"], "access_denied", "not a member");
        let page = client.send(&mut Browser::new(&app), &[]).await;
        let mut eve = Browser::new(&app);
        assert_eq!(eve.sign_in(&page, "eve@example.com").await.status, 403, "another browser's page");
        let page = client.send(&mut eve, &[]).await;
        assert_eq!(led(&eve.sign_in(&page, "eve@example.com").await)["error"], "access_denied", "nowhere");
    })
    .await;
}

#[tokio::test]
async fn challenges_are_as_long_as_a_hash() {
    apps(|app| async move {
        let (client, mut browser) = (Client::new(&app).await, Browser::new(&app));
        let short = challenge(VERIFIER).split_off(1);
        for more in
            [("code_challenge", "-"), ("code_challenge", short.as_str()), ("code_challenge_method", "-")]
        {
            let back = led(&client.send(&mut browser, &[more]).await);
            assert_eq!(back["error"], "invalid_request", "{more:?}");
        }
    })
    .await;
}
