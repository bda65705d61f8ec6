//! Usage events by API.

use authority::Role;
use base::{Amount, codes};
use ports::UsageLedger as _;
use serde_json::{Value, json};

use crate::app::{App, amount, apps, at, name};

const EVENTS: &str = "/api/v1/usage/events";

fn event(id: &str, meter: &str, value: Value) -> Value {
    json!({ "id": id, "meter": meter, "value": value, "tenant": "acme" })
}

async fn used(app: &App, query: &str) -> Value {
    app.app.operator().get(&format!("/api/v1/tenants/acme/usage{query}")).await.ok(200)
}

/// Whether a report tells of limits alone.
fn nothing(usage: &Value) -> bool {
    usage["data"].as_array().unwrap().iter().all(|one| one["used"] == 0 && one["events"] == 0)
}

/// What acme used of its minutes.
async fn minutes(app: &App, query: &str) -> Value {
    let all = used(app, query).await;
    all["data"].as_array().unwrap().iter().find(|one| one["meter"] == "minutes").cloned().unwrap()
}

#[tokio::test]
async fn f37_an_event_counts_once_however_often_it_is_sent() {
    apps(|app| async move {
        let service = app.service();
        let batch = json!({ "events": [event("a", "minutes", json!(2.5)), event("b", "minutes", json!(0.1)), event("a", "minutes", json!(2.5))] });
        let told = service.post(EVENTS, batch.clone()).await.ok(202);
        assert_eq!((told["accepted"].as_u64(), told["duplicates"].as_u64()), (Some(2), Some(1)));
        let again = service.post(EVENTS, batch).await.ok(202);
        assert_eq!((again["accepted"].as_u64(), again["duplicates"].as_u64()), (Some(0), Some(3)));
        let parallel = (0..50).map(|_| {
            let service = service.clone();
            async move { service.post(EVENTS, json!({ "events": [event("c", "minutes", json!(1))] })).await.ok(202) }
        });
        let told = futures(parallel).await;
        assert_eq!(told.iter().map(|one| one["accepted"].as_u64().unwrap()).sum::<u64>(), 1);
        let usage = minutes(&app, "").await;
        assert_eq!((&usage["used"], &usage["limit"], &usage["events"]), (&json!(3.6), &json!(1_000), &json!(3)));
        assert_eq!(usage["resets_at"], "2026-02-01T00:00:00Z");
        app.sums_equal_the_ledger().await;
        let events = app.events("usage.recorded").await;
        let sum: f64 = events.iter().map(|one| one.after.as_ref().unwrap()["meters"]["minutes"].as_f64().unwrap()).sum();
        assert!((sum - 3.6).abs() < 1e-9, "{events:?}");
    })
    .await;
}

async fn futures<F: Future<Output = Value>>(all: impl Iterator<Item = F>) -> Vec<Value> {
    let mut pending: Vec<_> = all.map(Box::pin).collect();
    let mut done = Vec::new();
    std::future::poll_fn(|context| {
        pending.retain_mut(|one| match one.as_mut().poll(context) {
            std::task::Poll::Ready(value) => {
                done.push(value);
                false
            }
            std::task::Poll::Pending => true,
        });
        if pending.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done
}

#[tokio::test]
async fn z18_one_bad_event_refuses_the_batch_whole_with_all_faults() {
    apps(|app| async move {
        let service = app.service();
        let batch = json!({ "events": [
            event("good", "minutes", json!(1)),
            event("bad id", "minutes", json!(1)),
            event("c", "minuts", json!(1)),
            event("d", "minutes", json!(-1)),
            event("e", "minutes", json!(0.000_000_1)),
            { "id": "f", "meter": "minutes", "value": 1, "tenant": "acme", "at": "2025-11-26T23:59:59Z" },
            { "id": "g", "meter": "minutes", "value": 1, "tenant": "acme", "at": "2026-01-01T00:05:01Z" },
            { "id": "h", "meter": "minutes", "value": 1, "tenant": "nobody" },
            { "id": "i", "meter": "minutes", "value": 1 },
        ] });
        let problem = service.post(EVENTS, batch).await.problem(&codes::INVALID);
        let places: Vec<&str> = problem["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["pointer"].as_str().unwrap())
            .collect();
        let expected = ["1/id", "2/meter", "3/value", "4/value", "5/at", "6/at", "7/tenant", "8/tenant"];
        assert_eq!(places, expected.map(|place| format!("/events/{place}")));
        assert!(problem["errors"][1]["detail"].as_str().unwrap().contains("minutes may be meant"));
        assert!(nothing(&used(&app, "").await), "nothing was taken");
        for text in ["NaN", "1e999", "\"5\"", "null"] {
            let body = format!(
                r#"{{"events": [{{"id": "a", "meter": "minutes", "value": {text}, "tenant": "acme"}}]}}"#
            );
            let answer = service.send_text(http::Method::POST, EVENTS, Some("application/json"), body).await;
            assert!(matches!(answer.status.as_u16(), 400 | 422), "{text}: {}", answer.text);
        }
        let many: Vec<Value> = (0..1_001).map(|n| event(&n.to_string(), "minutes", json!(1))).collect();
        service.post(EVENTS, json!({ "events": many })).await.problem(&codes::INVALID);
        assert!(nothing(&used(&app, "").await));
    })
    .await;
}

#[tokio::test]
async fn z18_a_batch_that_mixes_tenants_is_refused_whole_where_the_caller_is_one() {
    apps(|app| async move {
        let key = app.app.member_in(app.acme, Role::Admin, app.places.environment());
        let mixed = json!({ "events": [
            { "id": "a", "meter": "minutes", "value": 1 },
            { "id": "b", "meter": "minutes", "value": 1, "tenant": "globex" },
        ] });
        let problem = key.post(EVENTS, mixed.clone()).await.problem(&codes::INVALID);
        let strange =
            json!({ "events": [{ "id": "b", "meter": "minutes", "value": 1, "tenant": "nowhere" }] });
        let other = key.post(EVENTS, strange).await.problem(&codes::INVALID);
        assert_eq!(problem["errors"][0]["detail"], other["errors"][0]["detail"], "another's is as none");
        assert!(nothing(&used(&app, "").await));
        // A service that acts for all may mix; one that acts for one may not.
        let narrowed = app.app.service(app.places.environment(), Some(app.acme));
        narrowed.post(EVENTS, mixed).await.problem(&codes::INVALID);
        let both = json!({ "events": [
            { "id": "a", "meter": "minutes", "value": 1, "tenant": "acme" },
            { "id": "a", "meter": "minutes", "value": 4, "tenant": "globex" },
        ] });
        let told = app.service().post(EVENTS, both).await.ok(202);
        assert_eq!(told["accepted"], 2, "J3: the same id of another tenant is another event");
        assert_eq!(app.limit("globex", "minutes").await["used"], 4);
        key.get("/api/v1/tenants/globex/usage").await.problem(&codes::NOT_FOUND);
        key.get("/api/v1/tenants/globex/limits").await.problem(&codes::NOT_FOUND);
        key.get("/api/v1/tenants/nowhere/limits").await.problem(&codes::NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn a_tenants_key_cannot_lower_what_it_used() {
    apps(|app| async move {
        let key = app.app.member_in(app.acme, Role::Owner, app.places.environment());
        let less = json!({ "events": [{ "id": "a", "meter": "agents", "value": -1 }] });
        key.post(EVENTS, less.clone()).await.problem(&codes::INVALID);
        key.put("/api/v1/usage/gauges/agents", json!({ "value": 0 })).await.problem(&codes::FORBIDDEN);
        key.put("/api/v1/tenants/acme/limits/agents", json!({ "max": null }))
            .await
            .problem(&codes::FORBIDDEN);
        let service = app.app.service(app.places.environment(), Some(app.acme));
        service.post(EVENTS, less).await.ok(202);
    })
    .await;
}

#[tokio::test]
async fn late_events_land_in_their_own_period_of_the_tenants_clock() {
    apps(|app| async move {
        app.places.change(app.acme, |terms| {
            terms.time_zone = "Asia/Kathmandu".to_owned();
            terms.billing_anchor_day = 15;
        });
        let service = app.service();
        let late = |id: &str, time: &str| json!({ "id": id, "meter": "minutes", "value": 1, "tenant": "acme", "at": time });
        // Kathmandu is 5:45 ahead: the period begins on 2025-12-14 at 18:15 UTC.
        let times = ["2025-12-14T18:14:59Z", "2025-12-14T18:15:00Z", "2025-12-31T18:20:00Z", "2026-01-01T00:00:00Z"];
        let events: Vec<Value> = times.iter().enumerate().map(|(n, time)| late(&n.to_string(), time)).collect();
        service.post(EVENTS, json!({ "events": events })).await.ok(202);
        let current = used(&app, "?by=day").await;
        assert!(current["from"].as_str().unwrap().starts_with("2025-12-14T18:15:00"));
        let current = minutes(&app, "?by=day").await;
        assert_eq!(current["used"], 3);
        let parts = current["parts"].as_array().unwrap();
        let values: Vec<_> = parts.iter().map(|part| part["value"].as_i64().unwrap()).collect();
        assert_eq!(values, [1, 2], "{parts:?}");
        assert_eq!(minutes(&app, "?period=previous").await["used"], 1);
        assert_eq!(minutes(&app, "?period=2025-12-14").await["used"], 1);
        // A month names the billing period that begins in it.
        assert_eq!(minutes(&app, "?period=2025-12").await["used"], 3);
        assert_eq!(minutes(&app, "?period=2025-11").await["used"], 1);
        assert_eq!(minutes(&app, "?period=2026-01").await["used"], 0);
        assert_eq!(used(&app, "?period=2025-12-15&by=hour&meter=minutes").await["data"][0]["parts"].as_array().unwrap().len(), 3);
        assert_eq!(app.limit("acme", "minutes").await["used"], 3);
        // Another billing day cuts the same usage anew; nothing is lost.
        app.places.change(app.acme, |terms| terms.billing_anchor_day = 1);
        app.engine.forget();
        assert_eq!(app.limit("acme", "minutes").await["used"], 2);
        service.post(EVENTS, json!({ "events": [late("9", "2026-01-01T00:01:00Z")] })).await.ok(202);
        assert_eq!(app.limit("acme", "minutes").await["used"], 3);
        app.sums_equal_the_ledger().await;
        app.app.operator().get("/api/v1/tenants/acme/usage?period=soon").await.problem(&codes::BAD_REQUEST);
    })
    .await;
}

#[tokio::test]
async fn the_ledger_is_read_by_position_and_summed_by_time() {
    apps(|app| async move {
        let service = app.service();
        for (id, time) in
            [("a", "2025-12-31T23:00:00Z"), ("b", "2026-01-01T00:00:00Z"), ("c", "2025-12-31T23:07:00Z")]
        {
            let event = json!({ "id": id, "meter": "minutes", "value": 1.5, "tenant": "acme", "at": time });
            service.post(EVENTS, json!({ "events": [event] })).await.ok(202);
        }
        let environment = app.places.environment();
        let first = app.ledger.after(environment, 0, 2).await.unwrap();
        let rest = app.ledger.after(environment, first[1].position, 9).await.unwrap();
        let ids: Vec<&str> = first.iter().chain(&rest).map(|entry| entry.id.as_str()).collect();
        assert_eq!(ids, ["a", "b", "c"]);
        assert_eq!(
            (rest[0].value, rest[0].tenant, &rest[0].meter),
            (amount("1.5"), app.acme, &name("minutes"))
        );
        let total = |from: &str, until: &str| {
            let (from, until) = (at(from), at(until));
            let ledger = app.ledger.clone();
            async move {
                let totals = ledger.totals(environment, from, until).await.unwrap();
                totals.first().map_or((Amount::ZERO, 0), |total| (total.value, total.events))
            }
        };
        assert_eq!(total("2025-12-31T23:00:00Z", "2026-01-01T00:00:00Z").await, (amount("3"), 2));
        assert_eq!(total("2025-12-31T23:00:00Z", "2025-12-31T23:07:00Z").await, (amount("1.5"), 1));
        assert_eq!(total("2025-12-31T23:07:00Z", "2026-01-01T00:00:01Z").await, (amount("3"), 2));
    })
    .await;
}

#[tokio::test]
async fn people_are_told_once_a_period_that_a_limit_is_near_and_reached() {
    apps(|app| async move {
        let service = app.service();
        for (id, value) in [("a", 799), ("b", 1), ("c", 100), ("d", 100), ("e", 500)] {
            service.post(EVENTS, json!({ "events": [event(id, "minutes", json!(value))] })).await.ok(202);
        }
        let warned = app.events("quota.warning").await;
        let reached = app.events("quota.reached").await;
        assert_eq!((warned.len(), reached.len()), (1, 1));
        let after = reached[0].after.as_ref().unwrap();
        assert_eq!(
            (&after["limit"], &after["used"], &after["meter"]),
            (&json!(1_000), &json!(1_000), &json!("minutes"))
        );
        let kinds: Vec<_> =
            app.world.mails.lock().unwrap().iter().map(|mail| (mail.kind, mail.to.to_string())).collect();
        let owner = "owner@acme.example".to_owned();
        assert_eq!(kinds, [("quota_warning", owner.clone()), ("quota_reached", owner)]);
        // A gauge tells each time that it rises so far.
        for value in [5, 1, 4] {
            let body = json!({ "value": value, "tenant": "acme" });
            service.put("/api/v1/usage/gauges/agents", body).await.ok(200);
        }
        assert_eq!(app.events("quota.reached").await.len(), 2);
        assert_eq!(app.events("quota.warning").await.len(), 2);
        let gauge = app.limit("acme", "agents").await;
        assert_eq!(
            (gauge["used"].as_i64(), gauge["left"].as_i64(), &gauge["resets_at"]),
            (Some(4), Some(1), &Value::Null)
        );
        service
            .put("/api/v1/usage/gauges/minutes", json!({ "value": 1, "tenant": "acme" }))
            .await
            .problem(&codes::INVALID);
        app.sums_equal_the_ledger().await;
    })
    .await;
}

#[tokio::test]
async fn each_owner_is_told_of_a_limit_even_when_the_tenant_was_just_forgotten() {
    apps(|app| async move {
        let owners = ["ada@acme.example", "grace@acme.example"];
        *app.world.owners.lock().unwrap() =
            owners.iter().map(|owner| base::Email::parse(owner).unwrap()).collect();
        let who = app.acme_in();
        let now = app.app.store.db.store_now();
        let report = |id: &str, value: u64| {
            let told = [(id.to_owned(), name("minutes"), Amount::whole(value), now)];
            let engine = app.engine.clone();
            async move { engine.reporter(who, &told).await.unwrap() }
        };
        // The counter has its row.
        let first = report("a", 10).await;
        let ask = report("b", 890).await;
        for ask in [first, ask] {
            // As when a plan changes between the check and the batch.
            app.engine.forget();
            let system = app.app.store.system();
            app.app.store.db.write_system(&system, move |tx| ask(tx)).await.unwrap();
        }
        let told: Vec<String> = {
            let mails = app.world.mails.lock().unwrap();
            mails.iter().map(|mail| format!("{} {}", mail.kind, mail.to)).collect()
        };
        assert_eq!(told, owners.map(|owner| format!("quota_warning {owner}")));
    })
    .await;
}
