//! Lists and verification by API.

use authority::Role;
use base::codes;
use serde_json::{Value, json};
use testkit::Client;

use crate::app::{App, apps, event, operator};

/// Twelve events: odd ones of acme, even ones of globex, one of the installation.
async fn fill(app: &App) {
    let system = app.app.store.system();
    for number in 0..12 {
        let tenant = if number % 2 == 0 { app.acme } else { app.globex };
        let kind = if number < 6 { "tenant.updated" } else { "key.created" };
        let after = json!({ "number": number, "canary": format!("canary-{tenant}") });
        app.write(&system.for_tenant(tenant), event(kind, &format!("thing-{number}"), after)).await;
    }
    let write =
        app.app.store.db.write_system(&system, |tx| tx.emit(None, event("plan.updated", "free", json!({}))));
    write.await.unwrap();
    app.app.events(13).await;
}

async fn walk(client: &Client, path: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let page = client.get(&format!("{path}limit=5{after}")).await.ok(200);
        all.extend(page["data"].as_array().unwrap().iter().cloned());
        match page["next_cursor"].as_str() {
            Some(cursor) => after = format!("&cursor={cursor}"),
            None => return all,
        }
    }
}

#[tokio::test]
async fn operators_see_all_newest_first_and_filter() {
    apps(|app| async move {
        fill(&app).await;
        let operator = app.app.operator();
        let all = walk(&operator, "/api/v1/events?").await;
        let positions: Vec<_> = all.iter().map(|event| event["position"].as_i64().unwrap()).collect();
        assert_eq!(positions, (1..=13).rev().collect::<Vec<_>>());
        assert_eq!(all[0]["kind"], "plan.updated");
        assert_eq!(all[0]["tenant"], Value::Null);
        assert_eq!(all[0]["actor"].as_str().unwrap().split([':', ' ']).next(), Some("system"));
        assert_eq!(all[0]["hash"].as_str().unwrap().len(), 64);
        assert_eq!(walk(&operator, "/api/v1/events?kind=key.created&").await.len(), 6);
        assert_eq!(walk(&operator, "/api/v1/events?kind=tenant.*&").await.len(), 6);
        assert_eq!(walk(&operator, "/api/v1/events?subject=thing-3&").await.len(), 1);
        assert_eq!(walk(&operator, "/api/v1/events?tenant=acme&").await.len(), 6);
        assert_eq!(walk(&operator, &format!("/api/v1/events?tenant={}&", app.globex)).await.len(), 6);
        assert_eq!(walk(&operator, "/api/v1/tenants/acme/events?kind=key.*&").await.len(), 3);
        assert_eq!(walk(&operator, "/api/v1/events?until=2026-01-01T00:00:00Z&").await.len(), 0);
        assert_eq!(walk(&operator, "/api/v1/events?since=2026-01-01T00:00:00Z&").await.len(), 13);
        for query in
            ["kind=Tenant", "kind=%27%20OR%201", "since=yesterday", "limit=0", "cursor=%3B", "sort=at"]
        {
            let answer = operator.get(&format!("/api/v1/events?{query}")).await;
            assert!(matches!(answer.status.as_u16(), 400 | 422), "{query}: {}", answer.text);
        }
    })
    .await;
}

#[tokio::test]
async fn s10_a_tenant_sees_its_own_and_what_operators_did_to_it() {
    apps(|app| async move {
        fill(&app).await;
        let staff = operator("grace", "curl/8").tenant_ctx(app.acme).unwrap();
        app.write(&staff, event("tenant.suspended", &app.acme.to_string(), json!({"by": "staff"}))).await;
        app.app.events(14).await;
        let viewer = app.app.member(app.acme, Role::Viewer);
        for path in ["/api/v1/events?", "/api/v1/tenants/acme/events?", "/api/v1/events?tenant=acme&"] {
            let own = walk(&viewer, path).await;
            assert_eq!(own.len(), 7, "{path}");
            assert!(own.iter().all(|event| event["tenant"] == json!(app.acme)), "{path}");
            assert_eq!(own[0]["kind"], "tenant.suspended");
            assert!(own[0]["actor"].as_str().unwrap().contains("grace"));
            let text = serde_json::to_string(&own).unwrap();
            assert!(!text.contains(&app.globex.to_string()), "{path}");
        }
        for path in
            ["/api/v1/tenants/globex/events", "/api/v1/events?tenant=globex", "/api/v1/events?tenant=nobody"]
        {
            viewer.get(path).await.problem(&codes::NOT_FOUND);
        }
        viewer.get("/api/v1/tenants/acme/events?tenant=globex").await.problem(&codes::NOT_FOUND);
        let foreign = app.app.operator().get("/api/v1/events?limit=1").await.ok(200);
        let cursor = foreign["next_cursor"].as_str().unwrap().to_owned();
        let page = viewer.get(&format!("/api/v1/events?cursor={cursor}")).await;
        assert!(!page.text.contains(&app.globex.to_string()), "a cursor grants nothing");
        viewer.get("/api/v1/audit/verify").await.problem(&codes::FORBIDDEN);
        app.app.nobody().get("/api/v1/events").await.problem(&codes::UNAUTHENTICATED);
    })
    .await;
}

#[tokio::test]
async fn s9_a_hostile_actor_and_agent_stay_one_event() {
    apps(|app| async move {
        let name = "eve\n{\"kind\":\"forged\"}\u{1b}[31m";
        let ctx = operator(name, "agent\r\nposition,at\u{1b}[2J").tenant_ctx(app.acme).unwrap();
        app.write(&ctx, event("tenant.updated", "x\ny", json!({"name": "a\n\u{1b}b"}))).await;
        app.app.events(1).await;
        let answer = app.app.operator().get("/api/v1/events").await;
        assert!(!answer.text.chars().any(char::is_control), "{}", answer.text);
        let body = answer.ok(200);
        let events = body["data"].as_array().unwrap();
        assert_eq!(events.len(), 1);
        assert_eq!(events[0]["kind"], "tenant.updated");
        assert_eq!(events[0]["after"], json!({"name": "a\n\u{1b}b"}));
        let view: audit::EventView = serde_json::from_value(events[0].clone()).unwrap();
        for line in [audit::model::csv_line(&view), audit::model::ndjson_line(&view)] {
            assert!(!line.chars().any(char::is_control), "{line}");
        }
    })
    .await;
}

#[tokio::test]
async fn verification_covers_every_chain() {
    apps(|app| async move {
        fill(&app).await;
        let operator = app.app.operator();
        let all = operator.get("/api/v1/audit/verify").await.ok(200);
        assert_eq!(all["ok"], true, "{all}");
        assert_eq!((all["events"].as_u64(), all["chains"].as_u64()), (Some(13), Some(3)));
        assert_eq!(all["first_bad"], Value::Null);
        assert_eq!(all["unsequenced_tail"], 0);
        let one = operator.get("/api/v1/audit/verify?tenant=acme").await.ok(200);
        assert_eq!((one["ok"].as_bool(), one["events"].as_u64()), (Some(true), Some(6)));
        operator.get("/api/v1/audit/verify?tenant=nobody").await.problem(&codes::NOT_FOUND);
        // What one verification says, kept outside the store, the next is held to.
        assert_eq!(one["anchor"], Value::Null, "an anchor covers the whole log");
        let anchor = all["anchor"].as_str().expect("the log is whole");
        assert!(anchor.starts_with("13:"), "{anchor}");
        let held = operator.get(&format!("/api/v1/audit/verify?anchor={anchor}")).await.ok(200);
        assert_eq!(held["ok"], true);
        let longer = anchor.replacen("13:", "14:", 1);
        let fell_short = operator.get(&format!("/api/v1/audit/verify?anchor={longer}")).await.ok(200);
        assert_eq!((&fell_short["ok"], &fell_short["first_bad"]["position"]), (&json!(false), &json!(14)));
        for wrong in ["anchor=13", &format!("anchor={anchor}&tenant=acme")] {
            let refused = operator.get(&format!("/api/v1/audit/verify?{wrong}")).await;
            refused.problem(&codes::BAD_REQUEST);
        }
    })
    .await;
}
