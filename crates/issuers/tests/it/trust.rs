//! Tokens of issuers: what is believed, and what attacks come to. Cases carry the ids of TORTURE.

use std::time::Duration;

use authority::Role;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use issuers::{Fetch, Registry};
use ports::{TokenCheck as _, TokenSource, TokenTenant, TokenVerdict};
use serde_json::{Value, json};
use tokens::SigningKey;

use crate::app::{App, apps, slug, until};
use crate::issuer::Issuer;

/// 2026-01-01T00:00:00Z, when the clocks of tests begin, in seconds.
fn now() -> i64 {
    testkit::start().seconds()
}

fn fine() -> Value {
    json!({ "aud": "app", "exp": now() + 600, "iat": now(), "tenant": "acme", "role": "admin" })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = fine();
    claims[name] = value;
    claims
}

fn definition(issuer: &Issuer, name: &str) -> Value {
    json!({ "name": name, "url": issuer.url, "audiences": ["app"], "algorithms": ["EdDSA"] })
}

/// A token with this header, signed by the issuer's key all the same.
fn forged(issuer: &Issuer, header: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let mut claims = fine();
    claims["iss"] = issuer.url.as_str().into();
    claims["sub"] = "ada".into();
    let signed = format!("{}.{}", encode(header), encode(&claims));
    let signature = issuer.key.signature(signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test]
async fn claims_become_tenant_user_and_role() {
    apps(|app| async move {
        let issuer = Issuer::start(1).await;
        app.trust("development", definition(&issuer, "corp")).await;
        let token = issuer.token(with("email", json!("ada@example.com")));
        let identity = app.valid("development", &token).await;
        assert_eq!(identity.subject, "corp|ada");
        assert_eq!(identity.tenant, Some(TokenTenant::Slug(slug("acme"))));
        assert_eq!(identity.role, Some(Role::Admin));
        assert_eq!((identity.operator, identity.email.clone()), (false, None), "the address is not verified");
        assert!(matches!(identity.source, TokenSource::External(_)));
        assert_eq!(identity.expires_at.seconds(), now() + 600);
        // All environments of the project, and no other project's.
        app.valid("production", &token).await;
        assert!(matches!(app.judge("other", &token).await, TokenVerdict::Foreign));
        let mut proven = with("email", json!("ada@example.com"));
        proven["email_verified"] = json!(true);
        let identity = app.valid("development", &issuer.token(proven.clone())).await;
        assert_eq!(identity.email.as_deref(), Some("ada@example.com"));
        proven["email_verified"] = json!("true");
        assert!(matches!(app.judge("development", &issuer.token(proven)).await, TokenVerdict::Refused(_)));
        // Words that mean nothing grant nothing, and nobody becomes an owner by the usual ones.
        for role in [json!("owner"), json!("root"), json!(7), json!(null), json!({})] {
            let identity = app.valid("development", &issuer.token(with("role", role.clone()))).await;
            assert_eq!(identity.role, None, "{role}");
        }
        let several = with("role", json!(["x", "viewer", "admin"]));
        assert_eq!(app.valid("development", &issuer.token(several)).await.role, Some(Role::Viewer));
        // A role without a tenant is one nowhere; a tenant that cannot be is none.
        let nowhere = app.valid("development", &issuer.token(with("tenant", json!(null)))).await;
        assert_eq!((&nowhere.tenant, &nowhere.role), (&None, &None));
        for odd in [json!("Not A Slug"), json!(1), json!(["acme"])] {
            let verdict = app.judge("development", &issuer.token(with("tenant", odd.clone()))).await;
            assert!(matches!(verdict, TokenVerdict::Refused(_)), "{odd}");
        }
        for sub in [json!(null), json!(""), json!(5), json!("x".repeat(256)), json!("a\nb")] {
            let verdict = app.judge("development", &issuer.token(with("sub", sub.clone()))).await;
            assert!(matches!(verdict, TokenVerdict::Refused(_)), "{sub}");
        }
        // Tokens of other kinds by the same key are no credentials.
        for typ in ["logout+jwt", "secevent+jwt", "dpop+jwt", "assertion"] {
            let token = issuer.signed(typ, &issuer.key, fine());
            assert!(matches!(app.judge("development", &token).await, TokenVerdict::Refused(_)), "{typ}");
        }
        app.valid("development", &issuer.signed("at+jwt", &issuer.key, fine())).await;
    })
    .await;
}

#[tokio::test]
async fn presets_know_clerk_and_auth0_and_names_may_be_mapped() {
    apps(|app| async move {
        let issuer = Issuer::start(1).await;
        let clerk = json!({
            "name": "clerk", "preset": "clerk", "url": issuer.url, "algorithms": ["EdDSA"],
            "authorized_parties": ["https://app.example.com"],
        });
        app.trust("development", clerk).await;
        let session = |azp: Value, aud: Value| {
            issuer.token(json!({
                "azp": azp, "aud": aud, "exp": now() + 60, "iat": now(), "v": 2, "sid": "sess_1",
                "o": { "id": "org_1", "slg": "acme", "rol": "admin", "per": "read" },
            }))
        };
        let identity =
            app.valid("development", &session(json!("https://app.example.com"), json!(null))).await;
        assert_eq!(identity.tenant, Some(TokenTenant::Slug(slug("acme"))));
        assert_eq!((identity.role.clone(), identity.subject.as_str()), (Some(Role::Admin), "clerk|ada"));
        for (azp, aud) in [
            (json!("https://evil.example"), json!(null)),
            (json!(null), json!(null)),
            (json!("https://app.example.com"), json!("another-api")),
        ] {
            let verdict = app.judge("development", &session(azp.clone(), aud.clone())).await;
            assert!(matches!(verdict, TokenVerdict::Refused(_)), "{azp} {aud}");
        }
        let second = Issuer::start(2).await;
        let auth0 = json!({
            "name": "auth0", "preset": "auth0", "url": second.url, "algorithms": ["EdDSA"],
            "audiences": ["https://api.example.com"],
            "claims": { "tenant": "org_id", "tenant_by": "external", "role": "https://example.com/role" },
            "roles": { "boss": "owner", "reader": ["read:usage"] }, "default_role": "viewer",
            "tenants": { "org_9": "globex" },
        });
        app.trust("development", auth0).await;
        let token = |org: &str, role: &str| {
            second.token(json!({
                "aud": ["https://api.example.com", "https://id.example.com/userinfo"], "exp": now() + 60,
                "org_id": org, "https://example.com/role": role,
            }))
        };
        let identity = app.valid("development", &token("org_9", "boss")).await;
        assert_eq!(identity.tenant, Some(TokenTenant::Slug(slug("globex"))));
        assert_eq!(identity.role, Some(Role::Owner), "the definition says so by name");
        assert!(matches!(
            app.valid("development", &token("org_9", "reader")).await.role,
            Some(Role::Custom(_))
        ));
        assert_eq!(app.valid("development", &token("org_9", "x")).await.role, Some(Role::Viewer));
        let verdict = app.judge("development", &token("org_8", "boss")).await;
        assert!(matches!(verdict, TokenVerdict::Refused(_)), "nobody's name");
    })
    .await;
}

#[tokio::test]
async fn a1_a2_a3_no_header_talks_its_way_in_and_nothing_is_fetched() {
    apps(|app| async move {
        let (issuer, trap) = (Issuer::start(1).await, Issuer::start(9).await);
        app.trust("development", definition(&issuer, "corp")).await;
        app.valid("development", &forged(&issuer, &json!({ "alg": "EdDSA" }))).await;
        let before = issuer.script().heard.len();
        for alg in [
            json!("none"),
            json!("None"),
            json!("nOnE"),
            json!(""),
            json!(null),
            json!("HS256"),
            json!("RS256"),
        ] {
            let verdict = app.judge("development", &forged(&issuer, &json!({ "alg": alg }))).await;
            App::refused(verdict);
        }
        for (name, value) in [
            ("jwk", trap.key.public().to_jwk()),
            ("jku", json!(format!("{}/jwks", trap.url))),
            ("x5u", json!(format!("{}/jwks", trap.url))),
            ("x5c", json!(["MIIB"])),
            ("crit", json!(["exp"])),
        ] {
            let verdict =
                app.judge("development", &forged(&issuer, &json!({ "alg": "EdDSA", name: value }))).await;
            App::refused(verdict);
        }
        assert!(trap.script().heard.is_empty(), "something was fetched of an address in a header");
        assert_eq!(issuer.script().heard.len(), before, "the issuer was asked because of a header");
    })
    .await;
}

#[tokio::test]
async fn a4_ten_thousand_unknown_keys_ask_the_issuer_once() {
    apps(|app| async move {
        let issuer = Issuer::start(1).await;
        app.trust("development", definition(&issuer, "corp")).await;
        assert_eq!(issuer.asked(), 1);
        let stranger = |kid: &str| forged(&issuer, &json!({ "alg": "EdDSA", "kid": kid }));
        // Within the cooldown of the first fetch nobody is asked, and nobody waits.
        let environment = app.environment("development");
        for kid in ["../../etc/passwd", "' OR 1=1 --", "x"] {
            let verdict = app.registry.check(environment, &stranger(kid));
            assert_eq!(App::refused(verdict), "the token is signed by a key that its issuer does not have");
        }
        let huge = stranger(&"k".repeat(1024 * 1024));
        assert!(matches!(app.registry.check(environment, &huge), TokenVerdict::Foreign), "no token at all");
        assert_eq!(issuer.asked(), 1);
        app.app.store.clock.advance(Duration::from_secs(31));
        let flood = (0..10_000).map(|n| stranger(&format!("k{n}")));
        let mut pending = 0;
        for token in flood {
            match app.registry.check(environment, &token) {
                TokenVerdict::Pending => pending += 1,
                TokenVerdict::Refused(_) => {}
                verdict => panic!("{verdict:?}"),
            }
        }
        assert!(pending > 0, "an unknown key is asked for once the cooldown is over");
        App::refused(app.judge("development", &stranger("k1")).await);
        assert_eq!(issuer.asked(), 2);
        // A key that the issuer took into use is found by the same way.
        app.app.store.clock.advance(Duration::from_secs(31));
        let next = SigningKey::ed25519(&[5; 32]).unwrap();
        let before = app.registry.generation();
        issuer.script().keys.as_mut().unwrap().push(next.public().to_jwk());
        app.valid("development", &issuer.signed("JWT", &next, fine())).await;
        assert_eq!(issuer.asked(), 3);
        assert!(app.registry.generation() > before, "whoever keeps verdicts asks again");
    })
    .await;
}

#[tokio::test]
async fn a4_while_the_issuer_is_down_its_keys_stay_for_a_day() {
    apps(|app| async move {
        let issuer = Issuer::start(1).await;
        app.trust("development", definition(&issuer, "corp")).await;
        issuer.script().keys = None;
        let token = |issuer: &Issuer, after: i64| issuer.token(with("exp", json!(now() + after + 600)));
        app.app.store.clock.advance(Duration::from_secs(24 * 3_600));
        app.valid("development", &token(&issuer, 24 * 3_600)).await;
        app.app.store.clock.advance(Duration::from_secs(60));
        let verdict = app.judge("development", &token(&issuer, 25 * 3_600)).await;
        assert_eq!(App::refused(verdict), "the keys of the token's issuer cannot be had");
        let view = app.operator("development").get("/api/v1/issuers/corp").await.ok(200);
        assert!(view["keys"]["error"].as_str().unwrap().contains("status 500"), "{view}");
        app.app.expect_record("the keys of an issuer cannot be fetched");
        // Another process that starts now has what this one kept, as old as it is.
        let (db, clock) = (&app.app.store.db, app.app.store.shared_clock());
        let started = |places| Registry::load(db, &clock, places, Fetch::new(&clock, None));
        let (environment, late) = (app.environment("development"), token(&issuer, 25 * 3_600));
        let verdict = started(app.places.clone()).await.unwrap().check(environment, &late);
        assert!(matches!(verdict, TokenVerdict::Pending), "a day is over: {verdict:?}");
        // And they are back with it.
        issuer.script().keys = Some(vec![issuer.key.public().to_jwk()]);
        app.app.store.clock.advance(Duration::from_secs(31));
        app.valid("development", &late).await;
        let verdict = started(app.places.clone()).await.unwrap().check(environment, &late);
        assert!(matches!(verdict, TokenVerdict::Valid(_)), "a restart while the issuer is down: {verdict:?}");
    })
    .await;
}

#[tokio::test]
async fn a5_times_that_are_no_times_are_refused() {
    apps(|app| async move {
        let issuer = Issuer::start(1).await;
        app.trust("development", definition(&issuer, "corp")).await;
        for name in ["exp", "nbf", "iat"] {
            for odd in [
                json!("1900000000"),
                json!(1.9e9),
                json!(1_767_226_000.5),
                json!(-1),
                json!([1]),
                json!(true),
            ] {
                let verdict = app.judge("development", &issuer.token(with(name, odd.clone()))).await;
                assert!(matches!(verdict, TokenVerdict::Refused(_)), "{name} {odd}");
            }
        }
        App::refused(app.judge("development", &issuer.token(with("exp", json!(null)))).await);
        let verdict = app.judge("development", &issuer.token(with("exp", json!(now() - 31)))).await;
        assert_eq!(App::refused(verdict), "the token has expired");
        let verdict = app.judge("development", &issuer.token(with("nbf", json!(now() + 31)))).await;
        assert_eq!(App::refused(verdict), "the token is not valid yet");
    })
    .await;
}

#[tokio::test]
async fn a6_keys_belong_to_one_issuer_of_one_project() {
    apps(|app| async move {
        let (issuer, evil) = (Issuer::start(1).await, Issuer::start(2).await);
        app.trust("development", definition(&issuer, "corp")).await;
        app.trust("development", definition(&evil, "evil")).await;
        // Another issuer's key, under this issuer's name, and under this issuer's key id too.
        App::refused(app.judge("development", &issuer.signed("JWT", &evil.key, fine())).await);
        let mut twin = evil.key.public().to_jwk();
        twin["kid"] = issuer.key.public().to_jwk()["kid"].clone();
        evil.script().keys = Some(vec![twin]);
        app.app.store.clock.advance(Duration::from_secs(31));
        app.operator("development").post("/api/v1/issuers/evil/refresh", json!({})).await.ok(200);
        let header = json!({ "alg": "EdDSA", "kid": issuer.key.public().kid() });
        let mut claims = fine();
        claims["iss"] = issuer.url.as_str().into();
        claims["sub"] = "ada".into();
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = URL_SAFE_NO_PAD.encode(evil.key.signature(signed.as_bytes()).unwrap());
        let verdict = app.judge("development", &format!("{signed}.{signature}")).await;
        assert_eq!(App::refused(verdict), "the token's signature is wrong");
        // Another project that trusts the same address has keys, audience and mapping of its own.
        let other =
            json!({ "name": "same", "url": issuer.url, "audiences": ["else"], "algorithms": ["EdDSA"] });
        app.trust("other", other).await;
        App::refused(app.judge("other", &issuer.token(fine())).await);
        let identity = app.valid("other", &issuer.token(with("aud", json!("else")))).await;
        assert_eq!(identity.subject, "same|ada");
        for aud in
            [json!(null), json!(["else"]), json!([]), json!(["b", "c"]), json!([1]), json!("APP"), json!({})]
        {
            let verdict = app.judge("development", &issuer.token(with("aud", aud.clone()))).await;
            assert!(matches!(verdict, TokenVerdict::Refused(_)), "{aud}");
        }
        // Nobody's issuer, and no token at all, are the application's business.
        let foreign = Issuer::start(3).await;
        assert!(matches!(app.judge("development", &foreign.token(fine())).await, TokenVerdict::Foreign));
        assert!(matches!(app.judge("development", "opaque").await, TokenVerdict::Foreign));
        assert!(foreign.script().heard.is_empty());
    })
    .await;
}

#[tokio::test]
async fn documents_lead_nowhere_that_they_should_not() {
    apps(|app| async move {
        let issuer = Issuer::start(1).await;
        for over in [
            json!({ "issuer": "https://another.example" }),
            json!({ "jwks_uri": "http://192.0.2.1/jwks" }),
            json!({ "jwks_uri": "file:///etc/passwd" }),
            json!({ "jwks_uri": "https://10.0.0.1/jwks" }),
            json!({ "jwks_uri": null }),
        ] {
            issuer.script().discovery = over.clone();
            let operator = app.operator("development");
            operator.post("/api/v1/issuers", definition(&issuer, "corp")).await.ok(201);
            let failed =
                async || operator.get("/api/v1/issuers/corp").await.ok(200)["keys"]["error"].is_string();
            until(&format!("{over} fails"), failed).await;
            App::refused(app.judge("development", &issuer.token(fine())).await);
            app.app.expect_record("the keys of an issuer cannot be fetched");
            operator.delete("/api/v1/issuers/corp").await.ok(204);
            app.forgotten("development", &issuer.token(fine())).await;
        }
    })
    .await;
}
