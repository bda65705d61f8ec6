//! The second factor.

use std::time::Duration;

use authority::Role;
use base::{Timestamp, codes};
use ports::{Credentials, SignIn as _, SignInError};
use ring::hmac;
use serde_json::{Value, json};
use testkit::Client;

use crate::app::{App, PASSWORD, apps};

const MFA: &str = "/api/v1/auth/mfa";

/// What an authenticator shows at a time (RFC 6238), of a base32 secret: written apart from what is tested.
fn shown(secret: &str, at: Timestamp) -> String {
    let bits: String = secret
        .bytes()
        .map(|c| if c.is_ascii_uppercase() { c - b'A' } else { c - b'2' + 26 })
        .map(|five| format!("{five:05b}"))
        .collect();
    let bytes: Vec<u8> = bits
        .as_bytes()
        .chunks_exact(8)
        .map(|b| u8::from_str_radix(str::from_utf8(b).unwrap(), 2).unwrap())
        .collect();
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &bytes);
    let tag = hmac::sign(&key, &(at.seconds() / 30).to_be_bytes());
    let offset = usize::from(tag.as_ref()[19] & 15);
    let four: [u8; 4] = tag.as_ref()[offset..offset + 4].try_into().unwrap();
    format!("{:06}", (u32::from_be_bytes(four) & 0x7fff_ffff) % 1_000_000)
}

/// Turns the second factor of a person on: the secret and the recovery codes.
async fn enable(app: &App, person: &Client) -> (String, Vec<String>) {
    let secret = person.post(MFA, json!({"password": PASSWORD})).await.ok(200);
    assert!(secret["uri"].as_str().unwrap().starts_with("otpauth://totp/Switchyard:"));
    let secret = secret["secret"].as_str().unwrap().to_owned();
    assert_eq!(person.get(MFA).await.ok(200)["enabled"], false);
    let code = shown(&secret, now(app));
    let made = person.post(&format!("{MFA}/confirm"), json!({ "code": code })).await.ok(200);
    let codes = made["recovery_codes"].as_array().unwrap();
    (secret, codes.iter().map(|one| one.as_str().unwrap().to_owned()).collect())
}

fn now(app: &App) -> Timestamp {
    base::Clock::now(&app.app.store.clock)
}

fn step(app: &App) {
    app.app.store.clock.advance(Duration::from_secs(30));
}

#[tokio::test]
async fn a13_an_address_links_no_account_that_has_a_second_factor() {
    apps(|app| async move {
        let (_, tokens) = app.join("ada@acme.example", Role::Viewer).await;
        let ada = app.person(&tokens);
        let (_, codes) = enable(&app, &ada).await;
        let come = async || app.accounts.proven(app.proven("corp", "s-1", Some("ada@acme.example"))).await;
        assert_eq!(come().await, Ok(None), "whoever has the mailbox would get around the factor");
        let proof = json!({"password": PASSWORD, "code": codes[0]});
        ada.post(&format!("{MFA}/disable"), proof).await.ok(204);
        let linked = come().await.unwrap().unwrap();
        assert_eq!(json!(linked.user), tokens["user"]["id"]);
        // Who was linked before goes on by it.
        enable(&app, &ada).await;
        assert!(come().await.unwrap().is_some());
    })
    .await;
}

#[tokio::test]
async fn a17_a_code_is_good_once() {
    apps(|app| async move {
        let (_, tokens) = app.join("ada@acme.example", Role::Viewer).await;
        let (secret, _) = enable(&app, &app.person(&tokens)).await;
        let email = "ada@acme.example";
        app.login(email, PASSWORD).await.problem(&codes::CODE_NEEDED);
        // The code that turned it on is used up as well.
        app.login_with(email, &shown(&secret, now(&app))).await.problem(&codes::SIGN_IN_FAILED);
        step(&app);
        let code = shown(&secret, now(&app));
        app.login_with(email, &code).await.ok(200);
        app.login_with(email, &code).await.problem(&codes::SIGN_IN_FAILED);
        // At the same time twice: once.
        step(&app);
        let code = shown(&secret, now(&app));
        let (one, two) = tokio::join!(app.login_with(email, &code), app.login_with(email, &code));
        let mut statuses = [one.status.as_u16(), two.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 401]);
        // An older step is over once a later one was used, though it is near enough.
        let early = shown(&secret, now(&app) - Duration::from_secs(30));
        app.login_with(email, &early).await.problem(&codes::SIGN_IN_FAILED);
        // A wrong password is told as such, whatever the code.
        step(&app);
        let body = json!({"email": email, "password": "not this one", "code": shown(&secret, now(&app))});
        app.post("/api/v1/auth/login", body).await.problem(&codes::SIGN_IN_FAILED);
        app.login_with(email, &shown(&secret, now(&app))).await.ok(200);
    })
    .await;
}

#[tokio::test]
async fn a_recovery_code_is_good_once_and_a_new_set_ends_the_old() {
    apps(|app| async move {
        let (_, tokens) = app.join("ada@acme.example", Role::Viewer).await;
        let ada = app.person(&tokens);
        let (secret, codes_of) = enable(&app, &ada).await;
        assert_eq!(codes_of.len(), 10);
        let email = "ada@acme.example";
        app.login_with(email, &codes_of[0]).await.ok(200);
        app.login_with(email, &codes_of[0]).await.problem(&codes::SIGN_IN_FAILED);
        app.login_with(email, &codes_of[1].to_uppercase()).await.ok(200);
        assert_eq!(ada.get(MFA).await.ok(200)["recovery_codes_left"], 8);
        step(&app);
        let proof = json!({"password": PASSWORD, "code": shown(&secret, now(&app))});
        let fresh = ada.post(&format!("{MFA}/recovery"), proof.clone()).await.ok(200);
        ada.post(&format!("{MFA}/recovery"), proof).await.problem(&codes::SIGN_IN_FAILED);
        app.login_with(email, &codes_of[2]).await.problem(&codes::SIGN_IN_FAILED);
        app.login_with(email, fresh["recovery_codes"][0].as_str().unwrap()).await.ok(200);
        assert_eq!(
            app.app.event("factor.recovery_used").await.subject,
            tokens["user"]["id"].as_str().unwrap()
        );
    })
    .await;
}

#[tokio::test]
async fn turning_it_on_and_off_takes_the_password_and_a_code() {
    apps(|app| async move {
        let (_, tokens) = app.join("ada@acme.example", Role::Viewer).await;
        let ada = app.person(&tokens);
        ada.post(MFA, json!({"password": "not this one"})).await.problem(&codes::SIGN_IN_FAILED);
        ada.post(&format!("{MFA}/confirm"), json!({"code": "123456"})).await.problem(&codes::CONFLICT);
        let off = |proof: Value| ada.post("/api/v1/auth/mfa/disable", proof);
        off(json!({"password": PASSWORD, "code": "123456"})).await.problem(&codes::CONFLICT);
        let (secret, _) = enable(&app, &ada).await;
        ada.post(MFA, json!({"password": PASSWORD})).await.problem(&codes::CONFLICT);
        off(json!({"password": PASSWORD, "code": "000000"})).await.problem(&codes::SIGN_IN_FAILED);
        step(&app);
        off(json!({"password": PASSWORD, "code": shown(&secret, now(&app))})).await.ok(204);
        app.login("ada@acme.example", PASSWORD).await.ok(200);
        assert!(app.letter("ada@acme.example").await.contains("The second factor"));
    })
    .await;
}

#[tokio::test]
async fn codes_are_not_guessed_by_who_knows_the_password() {
    apps(|app| async move {
        let (_, tokens) = app.join("ada@acme.example", Role::Viewer).await;
        let (secret, _) = enable(&app, &app.person(&tokens)).await;
        step(&app);
        let mut slow = None;
        for guess in 0..20 {
            // Each from a line of its own: what is counted is the account's codes.
            let typed = ports::Credentials {
                email: base::Email::parse("ada@acme.example").unwrap(),
                password: base::Secret::new(PASSWORD.to_owned()),
                code: Some(format!("{guess:06}")),
                ip: Some(std::net::IpAddr::from([10, 0, 0, guess])),
                agent: None,
            };
            match ports::SignIn::password(&*app.accounts, app.project, typed).await {
                Err(ports::SignInError::Wrong) => {}
                Err(ports::SignInError::Slow(seconds)) => {
                    slow = Some((guess, seconds));
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(slow, Some((10, 1)));
        app.app.store.clock.advance(Duration::from_secs(1));
        app.login_with("ada@acme.example", &shown(&secret, now(&app))).await.ok(200);
    })
    .await;
}

#[tokio::test]
async fn who_got_hold_of_a_password_cannot_keep_its_owner_out_by_wrong_codes() {
    apps(|app| async move {
        let (_, tokens) = app.join("ada@acme.example", Role::Viewer).await;
        let (secret, _) = enable(&app, &app.person(&tokens)).await;
        let enter = async |from: &str, code: String| {
            let credentials = Credentials {
                email: base::Email::parse("ada@acme.example").unwrap(),
                password: base::Secret::new(PASSWORD.to_owned()),
                code: Some(code),
                ip: Some(from.parse().unwrap()),
                agent: None,
            };
            app.accounts.password(app.project, credentials).await.map(drop)
        };
        step(&app);
        enter("2001:db8:1:2::1", shown(&secret, now(&app))).await.unwrap();
        for n in 0..10 {
            let wrong = enter(&format!("198.51.100.{n}"), "000000".to_owned()).await;
            assert_eq!(wrong, Err(SignInError::Wrong));
        }
        assert!(matches!(enter("198.51.100.99", "000000".to_owned()).await, Err(SignInError::Slow(_))));
        // Where a session of the person began there is room; anywhere else nobody is told apart from the thief.
        step(&app);
        assert!(matches!(
            enter("198.51.100.99", "000000".to_owned()).await,
            Err(SignInError::Wrong | SignInError::Slow(_))
        ));
        assert!(matches!(enter("203.0.113.7", shown(&secret, now(&app))).await, Err(SignInError::Slow(_))));
        enter("2001:db8:1:2::ff", shown(&secret, now(&app))).await.unwrap();
    })
    .await;
}
