//! What an attacker tries against the provider (TORTURE A13, A18, and what OAuth's security considerations name).

use serde_json::json;

use crate::app::apps;
use crate::browser::{Browser, CALLBACK, Client, SESSION, VERIFIER, challenge, led, refused};

const ADA: &str = "ada@example.com";

#[tokio::test]
async fn a13_a_code_is_good_once_and_its_replay_ends_what_came_of_it() {
    apps(|app| async move {
        let (client, mut browser) = (Client::new(&app).await, Browser::new(&app));
        let code = client.code(&mut browser, ADA, &[("scope", "openid offline_access")]).await;
        let tokens = client.redeem(&code).await.ok(200);
        let access = tokens["access_token"].as_str().unwrap();
        client.userinfo(access).await.ok(200);
        // The suite replays it after 30 seconds as well.
        app.advance(30);
        refused(&client.redeem(&code).await, 400, "invalid_grant");
        assert!(!app.world.is_good(access), "the access token is called back");
        refused(&client.userinfo(access).await, 401, "invalid_token");
        refused(&client.refresh(tokens["refresh_token"].as_str().unwrap()).await, 400, "invalid_grant");
    })
    .await;
}

#[tokio::test]
async fn a13_of_two_who_show_a_code_at_once_one_at_most_keeps_tokens() {
    apps(|app| async move {
        let (client, mut browser) = (Client::new(&app).await, Browser::new(&app));
        for _ in 0..8 {
            let code = match client.send(&mut browser, &[]).await {
                page if page.status == 200 => led(&browser.sign_in(&page, ADA).await)["code"].clone(),
                answer => led(&answer)["code"].clone(),
            };
            let (one, other) = tokio::join!(client.redeem(&code), client.redeem(&code));
            let good: Vec<_> = [one, other].into_iter().filter(|answer| answer.status == 200).collect();
            assert!(good.len() <= 1, "both got tokens");
        }
    })
    .await;
}

#[tokio::test]
async fn a13_a_code_is_for_its_client_address_and_verifier_and_for_a_minute() {
    apps(|app| async move {
        let (client, mut browser) = (Client::new(&app).await, Browser::new(&app));
        let other = json!({"name": "Other", "kind": "confidential", "redirect_uris": [CALLBACK]});
        let other = Client::with(&app, other).await;
        let code = client.code(&mut browser, ADA, &[]).await;
        refused(&other.redeem(&code).await, 400, "invalid_grant");
        client.redeem(&code).await.ok(200);
        let wrong = [
            ("redirect_uri", "http://localhost:3000/cb?x=1"),
            ("code_verifier", "another-verifier-of-at-least-forty-three-chars"),
            ("code_verifier", &challenge(VERIFIER)),
        ];
        for (name, value) in wrong {
            let code = led(&client.send(&mut browser, &[]).await)["code"].clone();
            let mut pairs = vec![
                ("grant_type", "authorization_code"),
                ("code", code.as_str()),
                ("redirect_uri", CALLBACK),
                ("code_verifier", VERIFIER),
            ];
            pairs.retain(|(kept, _)| *kept != name);
            pairs.push((name, value));
            refused(&client.ask("/oauth2/token", &pairs).await, 400, "invalid_grant");
            refused(&client.redeem(&code).await, 400, "invalid_grant");
        }
        let code = led(&client.send(&mut browser, &[]).await)["code"].clone();
        let without = [("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", CALLBACK)];
        refused(&client.ask("/oauth2/token", &without).await, 400, "invalid_request");
        app.advance(61);
        refused(&client.redeem(&code).await, 400, "invalid_grant");
        refused(&client.redeem("sy_code_never").await, 400, "invalid_grant");
    })
    .await;
}

#[tokio::test]
async fn a13_pkce_cannot_be_left_out_or_weakened() {
    apps(|app| async move {
        let (client, mut browser) = (Client::new(&app).await, Browser::new(&app));
        for more in [
            [("code_challenge", "-"), ("code_challenge_method", "-")],
            [("code_challenge", VERIFIER), ("code_challenge_method", "plain")],
            [("code_challenge_method", "plain"), ("x", "y")],
            [("code_challenge_method", "-"), ("x", "y")],
            [("code_challenge_method", "s256"), ("x", "y")],
        ] {
            let back = led(&client.send(&mut browser, &more).await);
            assert_eq!(back["error"], "invalid_request", "{more:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a13_a_refresh_token_used_twice_ends_the_family() {
    apps(|app| async move {
        let (client, mut browser) = (Client::new(&app).await, Browser::new(&app));
        let tokens = client.tokens(&mut browser, ADA, &[("scope", "openid offline_access")]).await;
        let first = tokens["refresh_token"].as_str().unwrap();
        let other = json!({"name": "Other", "kind": "public", "redirect_uris": [CALLBACK]});
        refused(&Client::with(&app, other).await.refresh(first).await, 400, "invalid_grant");
        let second = client.refresh(first).await.ok(200);
        let access = second["access_token"].as_str().unwrap();
        assert!(app.world.is_good(access));
        refused(&client.refresh(first).await, 400, "invalid_grant");
        assert!(!app.world.is_good(access));
        refused(&client.refresh(second["refresh_token"].as_str().unwrap()).await, 400, "invalid_grant");
    })
    .await;
}

#[tokio::test]
async fn a13_an_answer_names_its_issuer_and_a_parameter_is_given_once() {
    apps(|app| async move {
        let (client, mut browser) = (Client::new(&app).await, Browser::new(&app));
        let pairs = client.request(&[]);
        let mut twice: Vec<(&str, &str)> =
            pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
        twice.push(("redirect_uri", "https://evil.example/"));
        let answer = browser.get("/oauth2/authorize", &twice).await;
        assert_eq!(answer.status, 400);
        assert!(answer.header("location").is_empty());
        let back = led(&client.send(&mut browser, &[("prompt", "none")]).await);
        assert_eq!(back["iss"], crate::app::ISSUER, "errors name it too (RFC 9207)");
    })
    .await;
}

#[tokio::test]
async fn a14_no_header_of_a_request_gets_into_a_link() {
    apps(|app| async move {
        let forged = ["host", "x-forwarded-host", "forwarded", "x-forwarded-proto"];
        let nobody =
            forged.into_iter().fold(app.app.nobody(), |client, name| client.with(name, "host=evil.example"));
        let document = nobody.get("/.well-known/openid-configuration").await;
        assert!(!document.text.contains("evil.example"), "{}", document.text);
        let client = Client::new(&app).await;
        let query: Vec<String> = client
            .request(&[])
            .iter()
            .map(|(name, value)| crate::browser::encoded(&[(name, value)]))
            .collect();
        let page =
            nobody.with("accept", "text/html").get(&format!("/oauth2/authorize?{}", query.join("&"))).await;
        assert!(page.status == 200 && !page.text.contains("evil.example"), "{}", page.text);
    })
    .await;
}

#[tokio::test]
async fn a18_a_session_that_was_planted_is_worth_nothing_after_the_sign_in() {
    apps(|app| async move {
        let client = Client::new(&app).await;
        let mut attacker = Browser::new(&app);
        client.tokens(&mut attacker, "bob@example.com", &[("tenant", "acme")]).await;
        let planted = attacker.cookies[SESSION].clone();
        let mut victim = Browser::new(&app);
        victim.cookies.insert(SESSION.to_owned(), planted.clone());
        let page = client.send(&mut victim, &[("prompt", "login")]).await;
        let back = led(&victim.sign_in(&page, ADA).await);
        assert_ne!(victim.cookies[SESSION], planted, "another cookie at each sign-in");
        let tokens = client.redeem(&back["code"]).await.ok(200);
        let id = app.world.id_claims(tokens["id_token"].as_str().unwrap());
        assert_eq!(id["sub"], app.world.user(ADA).to_string());
        let silent = [("prompt", "none"), ("tenant", "acme")];
        assert_eq!(
            led(&client.send(&mut attacker, &silent).await)["error"],
            "login_required",
            "the old one is gone"
        );
        let first = victim.cookies[SESSION].clone();
        let page = client.send(&mut victim, &[("prompt", "login")]).await;
        victim.sign_in(&page, ADA).await;
        assert_ne!(victim.cookies[SESSION], first);
    })
    .await;
}

#[tokio::test]
async fn a18_a_cookie_tossed_beside_ours_counts_as_none() {
    apps(|app| async move {
        let (client, mut browser) = (Client::new(&app).await, Browser::new(&app));
        client.tokens(&mut browser, ADA, &[]).await;
        let silent = [("prompt", "none")];
        for (name, value) in [
            ("switchyard_session", browser.cookies[SESSION].clone()),
            ("__Host-switchyard_session ", "other".to_owned()),
        ] {
            let mut tossed = browser.clone();
            tossed.cookies.insert(name.to_owned(), value);
            let back = led(&client.send(&mut tossed, &silent).await);
            assert_eq!(back.contains_key("code"), name.starts_with("switchyard"), "{name:?}: {back:?}");
        }
        let mut wrong = Browser::new(&app);
        wrong.cookies.insert("switchyard_session".to_owned(), browser.cookies[SESSION].clone());
        assert_eq!(led(&client.send(&mut wrong, &silent).await)["error"], "login_required");
    })
    .await;
}

#[tokio::test]
async fn a18_nobody_is_signed_in_by_a_form_of_another_page() {
    apps(|app| async move {
        let (client, mut browser) = (Client::new(&app).await, Browser::new(&app));
        let page = client.send(&mut browser, &[]).await;
        // The attacker's own page, with a word that is good in the attacker's browser.
        let mut victim = Browser::new(&app);
        let answer = victim.sign_in(&page, ADA).await;
        assert_eq!(answer.status, 403);
        assert!(!victim.cookies.contains_key(SESSION) && app.world.tries.lock().unwrap().is_empty());
        let nobody = app.app.nobody().with("sec-fetch-site", "cross-site");
        let form = Some("application/x-www-form-urlencoded");
        for path in ["/oauth2/login", "/oauth2/logout/confirm"] {
            let answer = nobody.send_text(http::Method::POST, path, form, "word=x".to_owned()).await;
            assert_eq!(answer.status, 403, "{path}");
        }
    })
    .await;
}

#[tokio::test]
async fn wrong_passwords_and_codes_are_told_on_the_page() {
    apps(|app| async move {
        let (client, mut browser) = (Client::new(&app).await, Browser::new(&app));
        let page = client.send(&mut browser, &[]).await;
        for (email, password, status, words) in [
            (ADA, "mistaken", 401, "are wrong"),
            ("nobody@example.com", "mistaken", 401, "are wrong"),
            ("no address", "mistaken", 401, "are wrong"),
            (ADA, "needs a code", 401, "authenticator"),
            (ADA, "slow down", 429, "wait 7 seconds"),
        ] {
            let answer = browser.fill(&page, &[("email", email), ("password", password)]).await;
            assert_eq!(answer.status, status, "{password}");
            assert!(answer.text.contains(words) && !answer.text.contains(password), "{}", answer.text);
            assert!(!browser.cookies.contains_key(SESSION));
        }
        let typed = [("email", ADA), ("password", "needs a code"), ("otp", " 123456 ")];
        assert!(led(&browser.fill(&page, &typed).await).contains_key("code"));
        let tries = app.world.tries.lock().unwrap();
        assert!(tries.iter().all(|one| one.ip.is_some()), "the address of the network goes along");
    })
    .await;
}

#[tokio::test]
async fn a_grant_ends_with_the_sign_in_the_membership_and_the_tenant() {
    apps(|app| async move {
        let (client, mut browser) = (Client::new(&app).await, Browser::new(&app));
        let offline = [("scope", "openid offline_access")];
        let tokens = client.tokens(&mut browser, ADA, &offline).await;
        let refresh = tokens["refresh_token"].as_str().unwrap();
        app.world.places.change(app.world.acme, |acme| acme.status = ports::TenantStatus::Suspended);
        refused(&client.refresh(refresh).await, 400, "invalid_grant");
        let page = led(&client.send(&mut browser, &offline).await);
        assert_eq!(page["error"], "access_denied");
        app.world.places.change(app.world.acme, |acme| acme.status = ports::TenantStatus::Active);
        let tokens = client.redeem(&led(&client.send(&mut browser, &offline).await)["code"]).await.ok(200);
        app.world.person(ADA, "Ada", &[]);
        refused(&client.refresh(tokens["refresh_token"].as_str().unwrap()).await, 400, "invalid_grant");
        refused(&client.userinfo(tokens["access_token"].as_str().unwrap()).await, 401, "invalid_token");
        app.world.person(ADA, "Ada", &[(app.world.acme, authority::Role::Owner)]);
        let tokens = client.redeem(&led(&client.send(&mut browser, &offline).await)["code"]).await.ok(200);
        app.world.end_sessions();
        refused(&client.refresh(tokens["refresh_token"].as_str().unwrap()).await, 400, "invalid_grant");
        assert_eq!(client.send(&mut browser, &[]).await.status, 200, "the page asks again");
    })
    .await;
}

#[tokio::test]
async fn the_page_offers_issuers_and_leads_back_to_the_same_request() {
    apps(|app| async move {
        let (client, mut browser) = (Client::new(&app).await, Browser::new(&app));
        let page = client.send(&mut browser, &[]).await;
        assert!(!page.text.contains("Continue with"), "{}", page.text);
        let offered =
            ports::Offered { name: "corp".to_owned(), path: "/api/v1/auth/issuers/corp/start".to_owned() };
        app.world.offered.lock().unwrap().push(offered);
        let way = |text: &str| {
            let (_, rest) = text.split_once("href=\"/api/v1/auth/issuers/corp/start?").expect("the way");
            rest.split('"').next().unwrap().to_owned()
        };
        let page = client.send(&mut browser, &[]).await;
        assert!(page.text.contains(">Continue with corp</a>"), "{}", page.text);
        let plain = way(&page.text);
        assert!(plain.starts_with("next=%2Foauth2%2Fauthorize%3Fresponse_type%3Dcode%26"), "{plain}");
        assert!(!plain.contains("anew"), "{plain}");
        // After a wrong password they are still there.
        let wrong = browser.fill(&page, &[("email", "ada@example.com"), ("password", "not this one")]).await;
        assert_eq!((wrong.status.as_u16(), way(&wrong.text)), (401, plain.clone()));
        // What asks for a new proof asks the issuer for it, and not once more on the way back: that would never end.
        for more in [[("prompt", "login")], [("max_age", "0")], [("prompt", "login select_account")]] {
            let page = client.send(&mut browser, &more).await;
            assert_eq!(way(&page.text), format!("{plain}&amp;anew=true"), "{more:?}");
        }
        // Nor does a proof that is too old become a new one because the issuer still knows the browser.
        let aged = way(&client.send(&mut browser, &[("max_age", "60")]).await.text);
        assert!(aged.contains("max_age%3D60") && aged.ends_with("&amp;anew=true"), "{aged}");
        let chosen = way(&client.send(&mut browser, &[("prompt", "select_account")]).await.text);
        assert_eq!(chosen, format!("{plain}&amp;choose=true"));
        // A request that is too long to be kept in a cookie has the password alone.
        let page = client.send(&mut browser, &[("state", &"s".repeat(1_900))]).await;
        assert!(page.status == 200 && !page.text.contains("Continue with"), "{}", page.text);
    })
    .await;
}
