//! Limits of tenants, meters of the project file, and who would be over.

use std::sync::Arc;

use base::{Amount, codes};
use ports::TenantHealth as _;
use ports::{
    Change, Grace, LimitCensus as _, MeterLimit, MeterPeriod, OverLimit, PlannedLimit, SectionApply as _,
    TenantTermsOf,
};
use serde_json::{Value, json};
use usage::{Census, MetersApply};

use crate::app::{App, apps, name, slug};

const LIMIT: &str = "/api/v1/tenants/acme/limits/minutes";

#[tokio::test]
async fn a_limit_of_its_own_lies_over_the_plans() {
    apps(|app| async move {
        let operator = app.app.operator();
        assert_eq!(app.limit("acme", "minutes").await["max"], 1_000);
        let own = operator.put(LIMIT, json!({ "max": 10, "grace": "soft" })).await.ok(200);
        assert_eq!(
            (&own["max"], &own["grace"], &own["own"], &own["period"]),
            (&json!(10), &json!("soft"), &json!(true), &json!("month"))
        );
        let reserve = json!({ "meter": "minutes", "amount": 11, "tenant": "acme" });
        app.service().post("/api/v1/usage/reserve", reserve.clone()).await.ok(201);
        operator.put(LIMIT, json!({ "max": 10 })).await.ok(200);
        app.service().post("/api/v1/usage/reserve", reserve.clone()).await.problem(&codes::QUOTA_EXCEEDED);
        operator.put(LIMIT, json!({ "max": null })).await.ok(200);
        app.service().post("/api/v1/usage/reserve", reserve).await.ok(201);
        assert_eq!(app.limit("acme", "minutes").await["left"], Value::Null);
        assert_eq!(app.limit("globex", "minutes").await["own"], false);
        operator.put(LIMIT, json!({ "max": -1 })).await.problem(&codes::INVALID);
        operator
            .put("/api/v1/tenants/acme/limits/nothing", json!({ "max": 1 }))
            .await
            .problem(&codes::INVALID);
        operator
            .put("/api/v1/tenants/nobody/limits/minutes", json!({ "max": 1 }))
            .await
            .problem(&codes::NOT_FOUND);
        operator.delete(LIMIT).await.ok(204);
        operator.delete(LIMIT).await.problem(&codes::NOT_FOUND);
        assert_eq!(app.limit("acme", "minutes").await["max"], 1_000);
        assert_eq!(app.events("limit.set").await.len(), 3);
        assert_eq!(app.events("limit.removed").await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_limit_is_set_by_what_the_store_has_not_by_what_is_remembered() {
    apps(|app| async move {
        let operator = app.app.operator();
        operator.put(LIMIT, json!({ "max": 5 })).await.ok(200);
        assert_eq!(app.limit("acme", "minutes").await["max"], 5);
        // Another process takes it away, and this one has not heard of it yet.
        const AWAY: db::Sql = db::Sql::One("DELETE FROM usage_limits WHERE tenant = $1");
        let (system, acme) = (app.app.store.system(), app.acme);
        let away = app.app.store.db.write_system(&system, move |tx| tx.execute(&AWAY, &db::params![acme]));
        assert_eq!(away.await.unwrap(), 1);
        operator.put(LIMIT, json!({ "max": 5 })).await.ok(200);
        app.engine.forget();
        assert_eq!(app.limit("acme", "minutes").await["max"], 5, "it was set");
        // The other way round: it is remembered that there is none.
        operator.delete(LIMIT).await.ok(204);
        assert_eq!(app.limit("acme", "minutes").await["max"], 1_000);
        const THERE: db::Sql = db::Sql::One(
            "INSERT INTO usage_limits (tenant, environment, meter, max, updated_at) VALUES ($1, $2, 'minutes', 7, 0)",
        );
        let who = app.places.environment();
        let there =
            app.app.store.db.write_system(&system, move |tx| tx.execute(&THERE, &db::params![acme, who]));
        assert_eq!(there.await.unwrap(), 1);
        operator.delete(LIMIT).await.ok(204);
        app.engine.forget();
        assert_eq!(app.limit("acme", "minutes").await["max"], 1_000, "it was taken away");
        operator.delete(LIMIT).await.problem(&codes::NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn a_limit_outlives_its_meter_and_can_still_be_taken_away() {
    apps(|app| async move {
        let operator = app.app.operator();
        apply(&app, json!({ "seats": { "unit": "seat" } })).await;
        let path = "/api/v1/tenants/acme/limits/seats";
        operator.put(path, json!({ "max": 5, "period": "month" })).await.ok(200);
        apply(&app, json!({})).await;
        app.engine.forget();
        operator.put(path, json!({ "max": 6, "period": "month" })).await.problem(&codes::INVALID);
        operator.delete(path).await.ok(204);
        operator.delete(path).await.problem(&codes::NOT_FOUND);
        apply(&app, json!({ "seats": { "unit": "seat" } })).await;
        app.engine.forget();
        assert_eq!(app.limit("acme", "seats").await, Value::Null, "it does not come back with the meter");
    })
    .await;
}

async fn apply(app: &App, section: Value) -> Vec<Change> {
    let environment = app.places.environment();
    let system = app.app.store.system();
    let write = app.app.store.db.write_system(&system, move |tx| {
        MetersApply.apply(tx, environment, Some(&section).filter(|section| !section.is_null()), false)
    });
    let changes = write.await.unwrap();
    app.engine.forget();
    changes
}

#[tokio::test]
async fn meters_come_from_the_project_file_and_from_plans() {
    apps(|app| async move {
        let section = json!({ "credits": { "unit": "EUR", "negative": true }, "minutes": { "unit": "min" } });
        assert_eq!(apply(&app, section.clone()).await.len(), 2);
        assert_eq!(apply(&app, section).await, []);
        let meters = app.service().get("/api/v1/usage/meters").await.ok(200);
        let told: Vec<_> = meters["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (one["name"].as_str().unwrap(), one["unit"].as_str().unwrap(), one["period"].as_str()))
            .collect();
        let expected = [
            ("agents", "", Some("none")),
            ("credits", "EUR", None),
            ("minutes", "min", Some("month")),
            ("runs", "", Some("day")),
        ];
        assert_eq!(told, expected);
        let less = json!({ "events": [{ "id": "a", "meter": "credits", "value": -2.5, "tenant": "acme" }] });
        app.service().post("/api/v1/usage/events", less).await.ok(202);
        assert_eq!(apply(&app, Value::Null).await.len(), 2);
        let gone = json!({ "events": [{ "id": "b", "meter": "credits", "value": 1, "tenant": "acme" }] });
        app.service().post("/api/v1/usage/events", gone).await.problem(&codes::INVALID);
        let check = |value: Value| {
            shape::check(&(usage::SECTION.schema)(), &value).len()
                + (usage::SECTION.check)(&value, &Value::Null).len()
        };
        assert_eq!(check(json!({ "a": {} })), 0);
        assert_eq!(check(json!({ "A": {} })), 1);
        assert_eq!(check(json!({ "a": { "units": "x" } })), 1);
    })
    .await;
}

#[tokio::test]
async fn the_census_tells_who_would_be_over_a_limit() {
    apps(|app| async move {
        let events = json!({ "events": [
            { "id": "a", "meter": "minutes", "value": 8, "tenant": "acme" },
            { "id": "a", "meter": "minutes", "value": 3, "tenant": "globex" },
            { "id": "b", "meter": "minutes", "value": 99, "tenant": "globex", "at": "2025-12-31T23:59:59Z" },
        ] });
        app.service().post("/api/v1/usage/events", events).await.ok(202);
        let census = Arc::new(Census::new(
            Arc::clone(&app.places) as Arc<dyn TenantTermsOf>,
            app.app.store.shared_clock(),
        ));
        let over = async |plan: &str, max: u64| {
            let (census, environment, plan) = (Arc::clone(&census), app.places.environment(), slug(plan));
            let system = app.app.store.system();
            let read = app.app.store.db.read_system(&system, move |tx| {
                let limit = MeterLimit {
                    max: Some(Amount::whole(max)),
                    period: MeterPeriod::Month,
                    grace: Grace::Hard,
                    notify: true,
                };
                census.over(tx, environment, PlannedLimit { plan: &plan, meter: &name("minutes"), limit })
            });
            read.await.unwrap()
        };
        assert_eq!(over("free", 8).await, OverLimit::default());
        assert_eq!(over("free", 7).await, OverLimit { count: 1, examples: vec![slug("acme")] });
        assert_eq!(over("free", 2).await.count, 2);
        assert_eq!(over("pro", 2).await.count, 0);
        app.app.operator().put(LIMIT, json!({ "max": 100 })).await.ok(200);
        assert_eq!(over("free", 2).await.count, 1, "acme has a limit of its own");
    })
    .await;
}

#[tokio::test]
async fn a_tenants_health_tells_of_limits_that_are_nearly_or_wholly_used() {
    apps(|app| async move {
        let service = app.service();
        let (environment, acme) = app.acme_in();
        let signs = || {
            let engine = app.engine.clone();
            async move {
                let signs = engine.signs(environment, acme).await.unwrap();
                signs.into_iter().map(|sign| (sign.is_urgent, sign.text)).collect::<Vec<_>>()
            }
        };
        assert_eq!(signs().await, []);
        let event = |id: &str, meter: &str, value: u64| json!({ "id": id, "meter": meter, "value": value, "tenant": "acme" });
        let events = [event("a", "minutes", 800), event("b", "runs", 12)];
        service.post("/api/v1/usage/events", json!({ "events": events })).await.ok(202);
        service.put("/api/v1/usage/gauges/agents", json!({ "value": 5, "tenant": "acme" })).await.ok(200);
        let expected = [
            (true, "5 of 5 of the limit of `agents` are used; more is refused until some is given back."),
            (false, "800 of 1000 of the limit of `minutes` are used; it begins anew at 2026-02-01T00:00:00Z."),
            (false, "12 of 10 of the limit of `runs` are used; it begins anew at 2026-01-02T00:00:00Z."),
        ];
        assert_eq!(signs().await, expected.map(|(urgent, text)| (urgent, text.to_owned())));
    })
    .await;
}
