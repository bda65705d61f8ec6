//! Sinks by API.

use authority::Role;
use base::codes;
use serde_json::{Value, json};

use crate::app::{SINK, apps};

#[tokio::test]
async fn a_sink_is_made_changed_and_removed() {
    apps(|app| async move {
        let operator = app.app.operator();
        let body = json!({"kind": "stripe", "meters": {"tokens": {"event": "llm"}}});
        let made = operator.put(SINK, body.clone()).await;
        assert_eq!(made.header("location"), SINK);
        let made = made.ok(201);
        assert_eq!(
            (made["status"].as_str(), made["url"].as_str()),
            (Some("needs_secret"), Some("https://api.stripe.com"))
        );
        assert!(made["id"].as_str().unwrap().starts_with("snk_"), "{made}");
        let same = operator.put(SINK, body.clone()).await;
        assert_eq!(same.header("etag"), "\"r1\"");
        let stale = operator.clone().with("if-match", "\"r9\"");
        let other = json!({"kind": "stripe", "meters": {"tokens": {"event": "x"}}});
        stale.put(SINK, other.clone()).await.problem(&codes::PRECONDITION_FAILED);
        assert_eq!(operator.put(SINK, other).await.header("etag"), "\"r2\"");
        let kind = json!({"kind": "webhook", "url": "https://a.example/"});
        operator.put(SINK, kind).await.problem(&codes::INVALID);
        let since = json!({"kind": "stripe", "meters": {"a": {}}, "since": "2020-01-01T00:00:00Z"});
        operator.put(SINK, since).await.problem(&codes::INVALID);
        let secret = format!("{SINK}/secret");
        operator.post(&secret, json!({})).await.problem(&codes::INVALID);
        operator.post(&secret, json!({"secret": "sk_test_canary"})).await.ok(200);
        let sink = app.get(SINK).await;
        assert_eq!(sink["status"], "active");
        assert!(!sink.to_string().contains("canary"));
        assert_eq!(app.get("/api/v1/billing/sinks").await["data"][0]["name"], "stripe");
        operator.delete(SINK).await.ok(204);
        operator.delete(SINK).await.problem(&codes::NOT_FOUND);
        let events = app.app.events(4).await;
        let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
        let expected = [
            "billing.sink_created",
            "billing.sink_updated",
            "billing.secret_changed",
            "billing.sink_removed",
        ];
        assert_eq!(kinds, expected);
        assert!(!format!("{events:?}").contains("canary"));
    })
    .await;
}

#[tokio::test]
async fn sinks_are_for_operators_and_of_their_environment() {
    apps(|app| async move {
        app.sink(json!({})).await;
        let tenant = app.tenant(None);
        let owner = app.app.member(tenant, Role::Owner);
        for path in [SINK.to_owned(), "/api/v1/billing/sinks".to_owned(), format!("{SINK}/deliveries")] {
            owner.get(&path).await.problem(&codes::FORBIDDEN);
            app.app.nobody().get(&path).await.problem(&codes::UNAUTHENTICATED);
        }
        let elsewhere = app.app.operator().with("switchyard-environment", "development");
        elsewhere.get(SINK).await.problem(&codes::NOT_FOUND);
        elsewhere.post(&format!("{SINK}/retry"), json!({})).await.problem(&codes::NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn what_is_not_accepted_holds_a_sink() {
    apps(|app| async move {
        app.sink(json!({})).await;
        app.use_now("e1", app.tenant(None), "tokens", "1");
        app.feed().await;
        let operator = app.app.operator();
        operator.delete(SINK).await.problem(&codes::CONFLICT);
        operator.delete(&format!("{SINK}?force=true")).await.ok(204);
        app.work().await;
        assert_eq!(app.stripe.events().len(), 0);
        app.sink(json!({})).await;
        assert_eq!(app.get(&format!("{SINK}/deliveries")).await["data"], json!([]), "a new sink is new");
    })
    .await;
}

#[tokio::test]
async fn mistakes_are_told_with_their_place() {
    apps(|app| async move {
        let operator = app.app.operator();
        let wrong =
            json!({"kind": "stripe", "url": "http://billing.example/", "meters": {"a": {"multiply": 0}}});
        let problem = operator.put(SINK, wrong).await.problem(&codes::INVALID);
        let pointers: Vec<&str> = problem["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["pointer"].as_str().unwrap())
            .collect();
        assert_eq!(pointers, ["/url", "/meters/a/multiply"]);
        app.sink(json!({})).await;
        operator.post(&format!("{SINK}/retry"), json!({"state": "accepted"})).await.problem(&codes::INVALID);
        let settle = format!("{SINK}/deliveries/1/settle");
        operator.post(&settle, json!({"as": "dropped"})).await.problem(&codes::NOT_FOUND);
        let unknown = operator.put(SINK, json!({"kind": "stripe", "secret": "x", "meters": {"a": {}}})).await;
        assert!(unknown.status.is_client_error(), "a secret is not a part of what a sink is");
        assert_eq!(app.get(SINK).await["failure"], Value::Null);
    })
    .await;
}
