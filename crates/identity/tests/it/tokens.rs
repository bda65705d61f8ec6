//! Access tokens: from a signature to a caller, and everything that is none.

use std::sync::Arc;
use std::time::Duration;

use authority::{Role, SystemCtx};
use base::{SessionId, UserId, codes};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use identity::{Deps, Identity, Revocations, Signer};
use ports::{
    AssertionSigner as _, SigningAlgorithm, TenantStatus, TokenCheck as _, TokenRevocations as _,
    TokenSource, TokenVerdict,
};
use ring::hmac;
use serde_json::{Value, json};
use testkit::Client;

use crate::app::{App, apps};

const MINUTE: Duration = Duration::from_mins(1);

fn user() -> UserId {
    UserId::from_uuid_bytes([7; 16])
}

fn session() -> SessionId {
    SessionId::from_uuid_bytes([9; 16])
}

/// What accounts sign for a member of acme.
pub(crate) fn claims(app: &App) -> Value {
    let now = app.app.store.shared_clock().now();
    let second = now.seconds();
    json!({
        "iss": "switchyard",
        "aud": "switchyard",
        "sub": user(),
        "sid": session(),
        "project": app.places.project(),
        "tenant": app.acme,
        "role": "developer",
        "email": "ada@example.com",
        "name": "Ada",
        "iat": second,
        "iat_us": now.micros() - second * 1_000_000,
        "exp": second + 900,
    })
}

/// The same with some claims changed; `null` leaves one out.
pub(crate) fn changed(app: &App, changes: Value) -> Value {
    let mut claims = claims(app);
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

pub(crate) fn sign(app: &App, claims: &Value) -> String {
    app.signer.as_ref().sign_access(claims)
}

trait SignAccess {
    fn sign_access(&self, claims: &Value) -> String;
}

impl SignAccess for Signer {
    fn sign_access(&self, claims: &Value) -> String {
        ports::TokenSigner::sign(self, SigningAlgorithm::EdDsa, "at+jwt", claims).unwrap()
    }
}

fn client(app: &App, changes: Value) -> Client {
    app.with_key(&sign(app, &changed(app, changes)))
}

async fn is_refused(app: &App, token: &str, what: &str) {
    let answer = app.with_key(token).get("/api/v1/me").await;
    assert_eq!(answer.status.as_u16(), 401, "{what}: {}", answer.text);
    let verdict = app.tokens.check(app.development, token);
    assert!(!matches!(verdict, TokenVerdict::Valid(_)), "{what}: {verdict:?}");
}

#[tokio::test]
async fn an_access_token_is_its_user_in_its_tenant() {
    apps(|app| async move {
        let ada = client(&app, json!({}));
        let me = ada.get("/api/v1/me").await.ok(200);
        assert_eq!((&me["kind"], &me["id"]), (&json!("user"), &json!(user())));
        assert_eq!((&me["tenant"], &me["role"]), (&json!(app.acme), &json!("developer")));
        assert_eq!((&me["name"], &me["session"]), (&json!("ada@example.com"), &json!(session())));
        ada.get("/api/v1/tenants/acme/keys").await.ok(200);
        ada.post("/api/v1/tenants/acme/keys", json!({"name": "mine", "role": "viewer"})).await.ok(201);
        let elsewhere = ada.clone().with("switchyard-environment", "production");
        let made = elsewhere.post("/api/v1/tenants/acme/keys", json!({"name": "mine"})).await;
        made.problem(&codes::FORBIDDEN);
        let verdict = app.tokens.check(app.development, &sign(&app, &claims(&app)));
        let TokenVerdict::Valid(told) = verdict else { panic!("{verdict:?}") };
        assert_eq!(told.source, TokenSource::Own { user: user(), session: Some(session()) });
        assert_eq!(told.email.as_deref(), Some("ada@example.com"));
        assert_eq!(told.role, Some(Role::Developer));
        // A custom role travels as its patterns.
        let support = client(&app, json!({"role": ["read:keys@development"]}));
        support.get("/api/v1/tenants/acme/keys").await.ok(200);
        support.get("/api/v1/tenants/acme/members").await.problem(&codes::FORBIDDEN);
    })
    .await;
}

#[tokio::test]
async fn a12_a_token_of_one_environment_is_nobodys_in_another() {
    apps(|app| async move {
        let bound = json!({"environment": app.development, "role": "owner"});
        let ada = client(&app, bound.clone());
        let me = ada.get("/api/v1/me").await.ok(200);
        assert_eq!(me["environment"], json!(app.development));
        ada.post("/api/v1/tenants/acme/keys", json!({"name": "mine", "role": "viewer"})).await.ok(201);
        let elsewhere = ada.clone().with("switchyard-environment", "production");
        elsewhere.get("/api/v1/tenants/acme/keys").await.problem(&codes::FORBIDDEN);
        // Nor does it hand out there what it has here.
        let up = json!({"email": "eve@example.com", "role": "viewer"});
        ada.post("/api/v1/tenants/acme/members", up).await.problem(&codes::ROLE_EXCEEDS);
        let token = sign(&app, &changed(&app, bound));
        let here = app.tokens.check(app.development, &token);
        assert!(matches!(here, TokenVerdict::Valid(_)), "{here:?}");
        let there = app.tokens.check(app.production, &token);
        assert!(matches!(there, TokenVerdict::Refused(_)), "{there:?}");
        for odd in [json!("development"), json!(5), json!(app.acme)] {
            is_refused(&app, &sign(&app, &changed(&app, json!({"environment": odd}))), "no environment")
                .await;
        }
        let team = json!({"operator": true, "project": null, "tenant": null, "environment": app.development});
        is_refused(&app, &sign(&app, &changed(&app, team)), "the team is everywhere").await;
    })
    .await;
}

#[tokio::test]
async fn an_operators_token_has_its_role_and_no_tenant() {
    apps(|app| async move {
        let team = |role: &str| {
            client(&app, json!({"operator": true, "project": null, "tenant": null, "role": role}))
        };
        let me = team("viewer").get("/api/v1/me").await.ok(200);
        assert_eq!((&me["kind"], &me["id"], &me["tenant"]), (&json!("user"), &json!(user()), &Value::Null));
        team("viewer").get("/api/v1/tenants/globex/keys").await.ok(200);
        let key = json!({"name": "ci", "role": "viewer"});
        team("viewer").post("/api/v1/tenants/globex/keys", key.clone()).await.problem(&codes::FORBIDDEN);
        team("admin").post("/api/v1/tenants/globex/keys", key).await.ok(201);
        // Z10: the team's own people hand out no more than they have either.
        let up = json!({"email": "eve@example.com", "role": "owner"});
        team("admin").post("/api/v1/tenants/globex/members", up.clone()).await.problem(&codes::ROLE_EXCEEDS);
        team("owner").post("/api/v1/tenants/globex/members", up).await.ok(201);
        // Neither a tenant's member that claims it, nor one without a role.
        is_refused(&app, &sign(&app, &changed(&app, json!({"operator": true}))), "a member as operator")
            .await;
        let none = json!({"operator": true, "project": null, "tenant": null, "role": null});
        app.with_key(&sign(&app, &changed(&app, none)))
            .get("/api/v1/me")
            .await
            .problem(&codes::UNAUTHENTICATED);
    })
    .await;
}

#[tokio::test]
async fn z16_who_acts_as_a_tenant_is_named_with_the_reason() {
    apps(|app| async move {
        let act =
            json!({"act": {"sub": "operator grace@example.com", "reason": "ticket 7"}, "role": "admin"});
        let grace = client(&app, act);
        let me = grace.get("/api/v1/me").await.ok(200);
        assert_eq!((&me["kind"], &me["tenant"]), (&json!("operator"), &json!(app.acme)));
        assert_eq!(me["name"], "grace@example.com as tenant: ticket 7");
        grace.post("/api/v1/tenants/acme/keys", json!({"name": "probe", "role": "viewer"})).await.ok(201);
        grace.get("/api/v1/tenants/globex/keys").await.problem(&codes::NOT_FOUND);
        let event = app.app.events(1).await.remove(0);
        assert_eq!(event.actor, "operator (grace@example.com as tenant: ticket 7)");
        assert_eq!(event.tenant, Some(app.acme));
        for act in
            [json!("operator"), json!({"sub": "x"}), json!({"reason": "y"}), json!({"sub": "", "reason": ""})]
        {
            is_refused(&app, &sign(&app, &changed(&app, json!({"act": act}))), "half an impersonation").await;
        }
    })
    .await;
}

/// A token of the same claims under another header, signed by `by`.
fn forged(token: &str, header: &Value, by: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let claims = token.split('.').nth(1).unwrap();
    let signed = format!("{}.{claims}", URL_SAFE_NO_PAD.encode(header.to_string()));
    let signature = by(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn signing_kid(token: &str) -> Value {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    serde_json::from_slice::<Value>(&header).unwrap()["kid"].clone()
}

#[tokio::test]
async fn a1_a_token_without_a_signature_is_none() {
    apps(|app| async move {
        let good = sign(&app, &claims(&app));
        let kid = signing_kid(&good);
        for alg in
            [json!("none"), json!("None"), json!("nOnE"), json!("NONE"), json!(""), json!(null), json!(7)]
        {
            let header = json!({"alg": alg, "kid": kid, "typ": "at+jwt"});
            is_refused(&app, &forged(&good, &header, |_| Vec::new()), &header.to_string()).await;
            is_refused(&app, &forged(&good, &header, |_| vec![0; 64]), &header.to_string()).await;
        }
        let absent = json!({"kid": kid, "typ": "at+jwt"});
        is_refused(&app, &forged(&good, &absent, |_| Vec::new()), "no alg").await;
        let (signed, _) = good.rsplit_once('.').unwrap();
        is_refused(&app, signed, "two parts").await;
        is_refused(&app, &format!("{signed}."), "an empty signature").await;
        app.with_key(&good).get("/api/v1/me").await.ok(200);
    })
    .await;
}

#[tokio::test]
async fn a2_a_public_key_is_no_shared_secret() {
    apps(|app| async move {
        let good = sign(&app, &claims(&app));
        let kid = signing_kid(&good);
        let set = app.signer.jwks();
        let jwk = set["keys"].as_array().unwrap().iter().find(|key| key["kid"] == kid).unwrap().clone();
        let x = URL_SAFE_NO_PAD.decode(jwk["x"].as_str().unwrap()).unwrap();
        for secret in
            [x.clone(), jwk.to_string().into_bytes(), jwk["x"].as_str().unwrap().as_bytes().to_vec()]
        {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
            for alg in ["HS256", "HS512", "RS256", "ES256", "EdDSA"] {
                let header = json!({"alg": alg, "kid": kid, "typ": "at+jwt"});
                let by = |signed: &[u8]| hmac::sign(&key, signed).as_ref().to_vec();
                is_refused(&app, &forged(&good, &header, by), alg).await;
            }
        }
        // Our own ES256 key signs for others' eyes; its tokens are none here.
        let other = ports::TokenSigner::sign(&*app.signer, SigningAlgorithm::Es256, "at+jwt", &claims(&app));
        is_refused(&app, &other.unwrap(), "ES256 of ours").await;
    })
    .await;
}

#[tokio::test]
async fn a3_a_header_that_brings_a_key_is_refused() {
    apps(|app| async move {
        let good = sign(&app, &claims(&app));
        let (kid, jwk) = (signing_kid(&good), app.signer.jwks()["keys"][0].clone());
        for (name, value) in [
            ("jwk", jwk),
            ("jku", json!("https://attacker.example/keys")),
            ("x5u", json!("https://attacker.example/chain")),
            ("x5c", json!(["MIIB"])),
            ("crit", json!(["exp"])),
        ] {
            let mut header = json!({"alg": "EdDSA", "kid": kid, "typ": "at+jwt"});
            header[name] = value;
            is_refused(&app, &forged(&good, &header, |_| vec![1; 64]), name).await;
        }
        for kid in
            [json!("../../etc/passwd"), json!("' OR 1=1 --"), json!("k".repeat(900)), json!(7), json!(null)]
        {
            let header = json!({"alg": "EdDSA", "kid": kid, "typ": "at+jwt"});
            is_refused(&app, &forged(&good, &header, |_| vec![1; 64]), "a4 kid").await;
        }
    })
    .await;
}

#[tokio::test]
async fn a5_times_are_whole_seconds_and_hold() {
    apps(|app| async move {
        let now = app.app.store.shared_clock().now().seconds();
        for name in ["exp", "iat", "nbf"] {
            let valid = now + if name == "exp" { 900 } else { 0 };
            #[expect(clippy::cast_precision_loss, reason = "a test's own time")]
            let float = valid as f64 + 0.5;
            for odd in
                [json!(valid.to_string()), json!(float), json!(-1), json!([valid]), json!({}), json!(true)]
            {
                let what = format!("{name}: {odd}");
                is_refused(&app, &sign(&app, &changed(&app, json!({ name: odd }))), &what).await;
            }
        }
        for missing in ["exp", "iat", "sub", "iss", "aud"] {
            is_refused(&app, &sign(&app, &changed(&app, json!({ missing: null }))), missing).await;
        }
        for odd in [json!(1e300), json!(u64::MAX), json!(now - 31)] {
            is_refused(&app, &sign(&app, &changed(&app, json!({ "exp": odd }))), "exp").await;
        }
        for ahead in ["iat", "nbf"] {
            is_refused(&app, &sign(&app, &changed(&app, json!({ ahead: now + 31 }))), ahead).await;
        }
        // Nothing of ours lives for longer than its revocation is remembered.
        is_refused(&app, &sign(&app, &changed(&app, json!({ "exp": now + 3_601 }))), "too long a life").await;
        // Clocks may differ by half a minute, not more.
        let token = sign(&app, &claims(&app));
        app.app.store.clock.advance(15 * MINUTE + Duration::from_secs(29));
        app.with_key(&token).get("/api/v1/me").await.ok(200);
        app.app.store.clock.advance(Duration::from_secs(1));
        is_refused(&app, &token, "over").await;
    })
    .await;
}

#[tokio::test]
async fn a8_a_token_is_for_its_tenant_and_project_alone() {
    apps(|app| async move {
        let ada = client(&app, json!({"role": "owner"}));
        ada.get("/api/v1/tenants/globex/keys").await.problem(&codes::NOT_FOUND);
        ada.get("/api/v1/tenants/elsewhere/keys").await.problem(&codes::NOT_FOUND);
        // One without a tenant is somebody, and may nothing.
        client(&app, json!({"tenant": null})).get("/api/v1/me").await.problem(&codes::UNAUTHENTICATED);
        is_refused(&app, &sign(&app, &changed(&app, json!({"tenant": "acme"}))), "a slug").await;
        is_refused(&app, &sign(&app, &changed(&app, json!({"project": null}))), "no project").await;
        let other = app.other_project();
        let strayed = client(&app, json!({ "project": other }));
        strayed.get("/api/v1/me").await.problem(&codes::UNAUTHENTICATED);
        // A tenant of another project: a valid token, and no environment of ours is its own.
        let stranger = changed(&app, json!({"project": other, "tenant": app.elsewhere}));
        let stranger = sign(&app, &stranger);
        assert!(matches!(app.tokens.check(app.development, &stranger), TokenVerdict::Refused(_)));
        let named = app.with_key(&stranger).with("switchyard-environment", "development");
        named.get("/api/v1/tenants/elsewhere/keys").await.problem(&codes::BAD_REQUEST);
        let audience = |aud: Value| sign(&app, &changed(&app, json!({ "aud": aud })));
        for aud in [json!("web"), json!(["switchyard"]), json!([]), json!("")] {
            is_refused(&app, &audience(aud), "aud").await;
        }
        // An assertion for an app is no access token, whatever it says.
        for typ in ["JWT", "assertion+jwt", "", "logout+jwt"] {
            let token = ports::TokenSigner::sign(&*app.signer, SigningAlgorithm::EdDsa, typ, &claims(&app));
            is_refused(&app, &token.unwrap(), typ).await;
        }
        app.set_status(app.acme, TenantStatus::Cancelled);
        app.app.store.clock.advance(web::RECALL_MAX);
        is_refused_at_the_api(&app).await;
    })
    .await;
}

async fn is_refused_at_the_api(app: &App) {
    client(app, json!({})).get("/api/v1/me").await.problem(&codes::UNAUTHENTICATED);
}

/// A second process of the installation: its own memory over the same store.
async fn second(app: &App) -> (Identity, Arc<Revocations>, Arc<Signer>) {
    let store = &app.app.store;
    let signer = Signer::load(&store.db, store.shared_clock(), &store.random).await.unwrap();
    let revocations = Revocations::load(&store.db, store.shared_clock()).await.unwrap();
    let identity = identity::build(Deps {
        db: store.db.clone(),
        clock: store.shared_clock(),
        random: store.random.clone(),
        tenants: app.places.clone(),
        environments: app.places.clone(),
        services: app.world.clone(),
        signer: Arc::clone(&signer),
        revocations: Arc::clone(&revocations),
        places: app.places.clone(),
        invitations: None,
        external: None,
    });
    (identity, revocations, signer)
}

#[tokio::test]
async fn a9_an_ended_session_ends_its_tokens_in_every_process() {
    apps(|app| async move {
        let (other, seen, _) = second(&app).await;
        let token = sign(&app, &claims(&app));
        let (mine, before) = (sign(&app, &changed(&app, json!({"sid": null}))), app.tokens.generation());
        app.with_key(&token).get("/api/v1/me").await.ok(200);
        let valid = |verdict| matches!(verdict, TokenVerdict::Valid(_));
        assert!(valid(other.tokens.check(app.development, &token)));
        let (store, revocations) = (&app.app.store, Arc::clone(&app.revocations));
        store.db.write_system(&store.system(), move |tx| revocations.session(tx, session())).await.unwrap();
        is_refused(&app, &token, "its session ended").await;
        assert_ne!(app.tokens.generation(), before, "who keeps verdicts asks again");
        app.with_key(&mine).get("/api/v1/me").await.ok(200);
        seen.refresh().await.unwrap();
        assert!(!valid(other.tokens.check(app.development, &token)), "another process knows");
        // A process that starts later, too.
        let (late, ..) = second(&app).await;
        assert!(!valid(late.tokens.check(app.development, &token)));
        // The authorization that an application got it by ends alike.
        let grant = sign(&app, &changed(&app, json!({"sid": null, "grant": session()})));
        is_refused(&app, &grant, "its grant ended").await;
    })
    .await;
}

#[tokio::test]
async fn a9_a_removed_client_takes_its_tokens_along_in_every_process() {
    apps(|app| async move {
        let (other, seen, _) = second(&app).await;
        let (id, kept) = (base::ClientId::from_uuid_bytes([6; 16]), base::ClientId::from_uuid_bytes([7; 16]));
        let of = |id| sign(&app, &changed(&app, json!({"client": id, "scope": "read:keys"})));
        let (token, mine) = (of(id), of(kept));
        let valid = |verdict| matches!(verdict, TokenVerdict::Valid(_));
        assert!(valid(other.tokens.check(app.development, &token)));
        let (store, revocations) = (&app.app.store, Arc::clone(&app.revocations));
        store.db.write_system(&store.system(), move |tx| revocations.client(tx, id)).await.unwrap();
        is_refused(&app, &token, "its client was removed").await;
        is_refused(&app, &of(id), "signed a moment later").await;
        assert!(valid(app.tokens.check(app.development, &mine)), "another client's goes on");
        seen.refresh().await.unwrap();
        assert!(!valid(other.tokens.check(app.development, &token)), "another process knows");
    })
    .await;
}

#[tokio::test]
async fn a9_what_a_user_had_until_now_is_cut_and_what_comes_after_is_good() {
    apps(|app| async move {
        let (store, tenant) = (&app.app.store, app.acme);
        let cut = |of: Option<base::TenantId>| {
            let revocations = Arc::clone(&app.revocations);
            async move {
                let write = move |tx: &mut db::SystemTx| revocations.user(tx, user(), of);
                store.db.write_system(&SystemCtx::because("test"), write).await
            }
        };
        let here = sign(&app, &claims(&app));
        let there = sign(&app, &changed(&app, json!({"tenant": app.globex})));
        store.clock.advance(Duration::from_micros(1));
        cut(Some(tenant)).await.unwrap();
        is_refused(&app, &here, "of the tenant").await;
        app.with_key(&there).get("/api/v1/me").await.ok(200);
        let next = sign(&app, &claims(&app));
        app.with_key(&next).get("/api/v1/me").await.ok(200);
        store.clock.advance(Duration::from_micros(1));
        cut(None).await.unwrap();
        for (token, what) in [(&next, "of the user"), (&there, "in every tenant")] {
            is_refused(&app, token, what).await;
        }
        app.with_key(&sign(&app, &claims(&app))).get("/api/v1/me").await.ok(200);
        // A token that does not tell its microsecond may be from before.
        let vague = sign(&app, &changed(&app, json!({"iat_us": null})));
        is_refused(&app, &vague, "of the same second").await;
    })
    .await;
}

#[tokio::test]
async fn a11_a_token_and_a_key_are_in_no_record_and_no_event() {
    apps(|app| async move {
        let token = sign(&app, &changed(&app, json!({"role": "owner"})));
        let made =
            app.with_key(&token).post("/api/v1/tenants/acme/keys", json!({"name": "canary"})).await.ok(201);
        let key = made["key"].as_str().unwrap().to_owned();
        app.with_key(&key).get("/api/v1/me").await.ok(200);
        is_refused(&app, &format!("{}x", &token[..token.len() - 1]), "forged").await;
        app.uses.flush(&app.app.store.db).await.unwrap();
        let shown = format!("{:?}", app.app.events(1).await);
        for secret in [&token, &key] {
            let canary = &secret[secret.len() - 30..];
            assert!(!shown.contains(canary), "an event");
            let line = format!("Authorization: Bearer {secret} failed");
            let line = telemetry::redact(&line);
            assert!(!line.contains(canary), "{line}");
        }
    })
    .await;
}

#[tokio::test]
async fn a12_a_credential_counts_where_it_is_for_and_never_in_a_query() {
    apps(|app| async move {
        let keys = "/api/v1/tenants/acme/keys";
        let made = app.app.operator().post(keys, json!({"name": "ci", "role": "admin"})).await.ok(201);
        let key = made["key"].as_str().unwrap();
        let production = app.with_key(key).with("switchyard-environment", "production");
        production.get(keys).await.problem(&codes::FORBIDDEN);
        let token = sign(&app, &claims(&app));
        for credential in [key, token.as_str()] {
            let nobody = app.app.nobody().with("x-test-caller", "-");
            for name in ["key", "api_key", "access_token", "token"] {
                let answer = nobody.get(&format!("/api/v1/me?{name}={credential}")).await;
                assert!(matches!(answer.status.as_u16(), 400 | 401), "{name}: {}", answer.text);
            }
        }
        let soon = app.app.store.shared_clock().now() + MINUTE;
        let short = json!({"name": "short", "role": "viewer", "expires_at": soon});
        let short = app.app.operator().post(keys, short).await.ok(201);
        app.with_key(short["key"].as_str().unwrap()).get("/api/v1/me").await.ok(200);
        app.app.store.clock.advance(MINUTE);
        app.with_key(short["key"].as_str().unwrap()).get("/api/v1/me").await.problem(&codes::UNAUTHENTICATED);
        // A member makes no key that may more than they.
        let ada = client(&app, json!({"role": "developer"}));
        ada.post(keys, json!({"name": "up", "role": "admin"})).await.problem(&codes::SCOPE_EXCEEDS);
    })
    .await;
}

#[tokio::test]
async fn a19_a_token_beyond_all_bounds_is_refused_unread() {
    apps(|app| async move {
        let part = |value: &str| URL_SAFE_NO_PAD.encode(value);
        let header = part(r#"{"alg":"EdDSA","typ":"at+jwt"}"#);
        let deep = format!(r#"{{"iss":"switchyard","a":{}1{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
        let deep = format!("{header}.{}.{}", part(&deep), part("x"));
        let shallow = format!(r#"{{"iss":"switchyard","a":{}1{}}}"#, "[".repeat(20), "]".repeat(20));
        let shallow = format!("{header}.{}.{}", part(&shallow), part("x"));
        let many: Vec<String> = (0..10_000).map(|n| format!(r#""c{n}":1"#)).collect();
        let many = format!("{header}.{}.{}", part(&format!("{{{}}}", many.join(","))), part("x"));
        let some: Vec<String> = (0..101).map(|n| format!(r#""c{n}":1"#)).collect();
        let some = format!("{header}.{}.{}", part(&format!("{{{}}}", some.join(","))), part("x"));
        let large =
            format!("{header}.{}.{}", part(&format!(r#"{{"a":"{}"}}"#, "x".repeat(1_000_000))), part("x"));
        let head = format!(
            "{}.{}.{}",
            part(&format!(r#"{{"a":"{}"}}"#, "x".repeat(2_000))),
            part(r#"{"a":1}"#),
            part("x")
        );
        for (token, what) in [
            (&deep, "deep"),
            (&shallow, "20 levels"),
            (&many, "10,000 claims"),
            (&some, "101 claims"),
            (&large, "1 MB"),
            (&head, "a large header"),
        ] {
            let verdict = app.tokens.check(app.development, token);
            assert!(matches!(verdict, TokenVerdict::Refused(_)), "{what}: {verdict:?}");
            if token.len() < 8_000 {
                is_refused(&app, token, what).await;
            }
        }
        // What an application made for itself is its own.
        for foreign in ["a.b.c", "opaque", "v2.local.payload", "x.eyJhIjoxfQ.y"] {
            let verdict = app.tokens.check(app.development, foreign);
            assert!(matches!(verdict, TokenVerdict::Foreign), "{foreign}: {verdict:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_applications_token_may_at_the_api_what_its_scope_names() {
    apps(|app| async move {
        let id = base::ClientId::from_uuid_bytes([6; 16]);
        let of = |scope: &str| client(&app, json!({"role": "owner", "client": id, "scope": scope}));
        let keys = "/api/v1/tenants/acme/keys";
        of("openid profile email").get(keys).await.problem(&codes::FORBIDDEN);
        of("openid read:keys").get(keys).await.ok(200);
        let key = json!({"name": "x", "scopes": ["read:keys"]});
        of("openid read:keys").post(keys, key.clone()).await.problem(&codes::FORBIDDEN);
        of("read:keys write:keys").post(keys, key).await.ok(201);
        of("read:keys write:keys")
            .post(keys, json!({"name": "x", "role": "owner"}))
            .await
            .problem(&codes::SCOPE_EXCEEDS);
    })
    .await;
}
