//! Issuers by API and by project file.

use authority::{Pattern, Role};
use base::codes;
use ports::{ApplyError, Change, TokenVerdict};
use serde_json::{Value, json};

use crate::app::{App, apps};
use crate::issuer::Issuer;

const ISSUERS: &str = "/api/v1/issuers";

#[tokio::test]
async fn an_issuer_is_trusted_changed_and_dropped() {
    apps(|app| async move {
        let (operator, issuer) = (app.operator("development"), Issuer::start(1).await);
        let body =
            json!({ "name": "corp", "url": issuer.url, "audiences": ["app"], "algorithms": ["EdDSA"] });
        let made = operator.post(ISSUERS, body.clone()).await.ok(201);
        assert_eq!((made["name"].as_str(), made["managed_by"].as_str()), (Some("corp"), Some("api")));
        assert_eq!((&made["has_client_secret"], &made["audiences"]), (&json!(false), &json!(["app"])));
        app.fetched("development", "corp").await;
        operator.post(ISSUERS, body.clone()).await.problem(&codes::CONFLICT);
        let mut twin = body.clone();
        twin["name"] = json!("twin");
        operator.post(ISSUERS, twin).await.problem(&codes::CONFLICT);
        let listed = operator.get(ISSUERS).await.ok(200);
        assert_eq!(listed["data"].as_array().unwrap().len(), 1);
        assert_eq!(app.operator("other").get(ISSUERS).await.ok(200)["data"], json!([]), "another project");
        app.operator("other").get("/api/v1/issuers/corp").await.problem(&codes::NOT_FOUND);
        // The secret goes in and never comes out.
        let secret = json!({ "client_secret": "canary-secret" });
        let view = operator.put("/api/v1/issuers/corp/secret", secret).await;
        assert!(!view.text.contains("canary"), "{}", view.text);
        assert_eq!(view.ok(200)["has_client_secret"], true);
        let changed = json!({ "url": issuer.url, "audiences": ["b"], "algorithms": ["EdDSA"] });
        let stale = operator.clone().with("if-match", "\"1\"");
        stale.put("/api/v1/issuers/corp", changed.clone()).await.problem(&codes::PRECONDITION_FAILED);
        let view = operator.put("/api/v1/issuers/corp", changed).await.ok(200);
        assert_eq!((&view["audiences"], &view["has_client_secret"]), (&json!(["b"]), &json!(true)));
        let view =
            operator.put("/api/v1/issuers/corp/secret", json!({ "client_secret": null })).await.ok(200);
        assert_eq!(view["has_client_secret"], false);
        let token = issuer.token(json!({ "aud": "b", "exp": testkit::start().seconds() + 60 }));
        app.fetched("development", "corp").await;
        app.valid("development", &token).await;
        operator.delete("/api/v1/issuers/corp").await.ok(204);
        operator.get("/api/v1/issuers/corp").await.problem(&codes::NOT_FOUND);
        app.forgotten("development", &token).await;
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_an_issuer_is_refused_with_all_its_faults() {
    apps(|app| async move {
        let operator = app.operator("development");
        let odd = json!({
            "name": "odd", "url": "http://id.example.com", "algorithms": ["none", "HS256"], "audiences": [""],
            "jwks_url": "ftp://x",
        });
        let problem = operator.post(ISSUERS, odd).await.problem(&codes::INVALID);
        let pointers: Vec<&str> =
            problem["errors"].as_array().unwrap().iter().map(|e| e["pointer"].as_str().unwrap()).collect();
        for place in ["/body/url", "/body/algorithms", "/body/audiences", "/body/jwks_url"] {
            assert!(pointers.contains(&place), "{pointers:?}");
        }
        for (name, value) in
            [("preset", json!("okta")), ("roles", json!({ "a": "root" })), ("nmae", json!(1))]
        {
            let mut body = json!({ "name": "odd", "url": "https://id.example.com" });
            body[name] = value;
            let answer = operator.post(ISSUERS, body).await;
            assert_eq!(answer.status.as_u16(), 422, "{name}: {}", answer.text);
        }
    })
    .await;
}

#[tokio::test]
async fn the_file_manages_the_issuers_of_its_environment() {
    apps(|app| async move {
        let (operator, issuer) = (app.operator("development"), Issuer::start(1).await);
        let section = json!({ "corp": { "url": issuer.url, "audiences": ["dev"], "algorithms": ["EdDSA"] } });
        let changes = app.apply("development", section.clone()).await.unwrap();
        assert_eq!(changes, [Change::created("issuer corp")]);
        assert_eq!(app.apply("development", section.clone()).await.unwrap(), []);
        app.fetched("development", "corp").await;
        let token = issuer.token(json!({ "aud": "dev", "exp": testkit::start().seconds() + 60 }));
        app.valid("development", &token).await;
        assert!(
            matches!(app.judge("production", &token).await, TokenVerdict::Foreign),
            "not of that environment"
        );
        operator.put("/api/v1/issuers/corp", section["corp"].clone()).await.problem(&codes::MANAGED_BY_FILE);
        operator.delete("/api/v1/issuers/corp").await.problem(&codes::MANAGED_BY_FILE);
        operator.put("/api/v1/issuers/corp/secret", json!({ "client_secret": "x" })).await.ok(200);
        // The same address under other terms in the next environment.
        let stricter =
            json!({ "corp": { "url": issuer.url, "audiences": ["prod"], "algorithms": ["EdDSA"] } });
        app.apply("production", stricter).await.unwrap();
        app.fetched("production", "corp").await;
        App::refused(app.judge("production", &token).await);
        // An issuer of the API of that name is not taken over.
        let made = json!({ "name": "mine", "url": issuer.url });
        app.operator("other").post(ISSUERS, made).await.ok(201);
        let taken = app.apply("other", json!({ "mine": { "url": "https://id.example.com/b" } })).await;
        assert!(matches!(taken, Err(ApplyError::ManagedByApi(_))), "{taken:?}");
        let other = json!({ "corp": { "url": issuer.url, "audiences": ["b"], "algorithms": ["EdDSA"] } });
        assert_eq!(app.apply("development", other).await.unwrap(), [Change::changed("issuer corp")]);
        assert_eq!(app.apply("development", Value::Null).await.unwrap(), [Change::removed("issuer corp")]);
    })
    .await;
}

#[tokio::test]
async fn a12_who_may_change_one_environment_trusts_no_issuer_in_all_of_them() {
    apps(|app| async move {
        let (issuer, own, whole) = (Issuer::start(1).await, Issuer::start(2).await, Issuer::start(3).await);
        let place = app.environment("development").to_string();
        let developer = |patterns: Role| app.app.operator_as(patterns).with("switchyard-environment", &place);
        let custom = ["read:*", "*:*@development"].map(|text| Pattern::parse(text).unwrap());
        let body = json!({ "name": "evil", "url": issuer.url, "audiences": ["a"], "algorithms": ["EdDSA"] });
        let secret = json!({ "client_secret": "x" });
        let own = json!({ "own": { "url": own.url, "client_id": "c" } });
        app.apply("development", own).await.unwrap();
        let whole = json!({ "name": "corp", "url": whole.url });
        app.operator("development").post(ISSUERS, whole).await.ok(201);
        for role in [Role::Developer, Role::Custom(custom.to_vec())] {
            let developer = developer(role);
            developer.get("/api/v1/issuers/corp").await.ok(200);
            developer.post(ISSUERS, body.clone()).await.problem(&codes::FORBIDDEN);
            let changed = json!({ "url": issuer.url });
            developer.put("/api/v1/issuers/corp", changed).await.problem(&codes::FORBIDDEN);
            developer.delete("/api/v1/issuers/corp").await.problem(&codes::FORBIDDEN);
            developer.put("/api/v1/issuers/corp/secret", secret.clone()).await.problem(&codes::FORBIDDEN);
            // Of what its environment alone trusts it may set the secret.
            developer.put("/api/v1/issuers/own/secret", secret.clone()).await.ok(200);
        }
        let admin = app.app.operator_as(Role::Admin).with("switchyard-environment", &place);
        admin.post(ISSUERS, body).await.ok(201);
    })
    .await;
}

#[test]
fn the_schema_takes_definitions_and_nothing_else() {
    let check = |value: Value| {
        let faults = shape::check(&(issuers::SECTION.schema)(), &value);
        faults.len() + (issuers::SECTION.check)(&value, &Value::Null).len()
    };
    assert_eq!(check(json!({})), 0);
    let whole = json!({
        "preset": "clerk", "url": "https://clerk.example.com", "audiences": ["a"], "authorized_parties": ["b"],
        "algorithms": ["RS256"], "client_id": "c", "scopes": ["profile"],
        "claims": { "tenant": "o.slg", "tenant_by": "slug", "user": "sub", "email": "email", "role": "o.rol" },
        "roles": { "admin": "admin", "x": ["read:*"] }, "default_role": "viewer",
    });
    assert_eq!(check(json!({ "clerk": whole })), 0);
    assert_eq!(check(json!({ "clerk": {} })), 1);
    assert_eq!(check(json!({ "Clerk": { "url": "https://a.example" } })), 1);
    assert_eq!(check(json!({ "clerk": { "url": "http://a.example" } })), 1);
    assert_eq!(check(json!({ "clerk": { "url": "https://a.example", "secret": "x" } })), 1);
}
