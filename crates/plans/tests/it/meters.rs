//! Meters of plans.

use base::{Amount, MeterName, codes};
use plans::MeterLimits;
use ports::{Grace, MeterPeriod, PlanLimits as _, PlanMeter};
use serde_json::{Value, json};

use crate::app::{App, apps, slug};

const PLANS: &str = "/api/v1/plans";

async fn limits(app: &App) -> Vec<PlanMeter> {
    let environment = app.places.environment();
    let store = &app.app.store;
    let system = store.system();
    let read = store.db.read_system(&system, move |tx| MeterLimits.limits(tx, environment));
    read.await.unwrap()
}

#[tokio::test]
async fn meters_come_from_the_project_file() {
    apps(|app| async move {
        let section = json!({"free": {"requests": "60/min", "meters": {
            "agents": {"max": 5},
            "agent_minutes": {"max": 1000.5, "period": "month", "grace": "soft", "notify": false},
        }}});
        app.apply(section.clone()).await.unwrap();
        let found = limits(&app).await;
        let minutes =
            found.iter().find(|one| one.meter == MeterName::parse("agent_minutes").unwrap()).unwrap();
        assert_eq!(minutes.plan, slug("free"));
        assert_eq!(minutes.limit.max, Some(Amount::parse("1000.5").unwrap()));
        assert_eq!((minutes.limit.period, minutes.limit.grace), (MeterPeriod::Month, Grace::Soft));
        assert!(!minutes.limit.notify);
        let agents = found.iter().find(|one| one.meter.as_str() == "agents").unwrap();
        assert_eq!((agents.limit.period, agents.limit.grace), (MeterPeriod::None, Grace::Hard));
        assert_eq!(app.apply(section).await.unwrap(), [], "the same again changes nothing");
        let changed = app.apply(json!({"free": {"requests": "60/min"}})).await.unwrap();
        assert_eq!(changed.len(), 1);
        assert_eq!(limits(&app).await, []);
    })
    .await;
}

#[tokio::test]
async fn meters_are_changed_by_api() {
    apps(|app| async move {
        let operator = app.app.operator();
        let meters = json!({"agents": {"max": 5}, "seats": {"max": 3}});
        let made = json!({"name": "team", "requests": "1/s", "meters": meters});
        assert_eq!(operator.post(PLANS, made).await.ok(201)["meters"]["agents"]["grace"], "hard");
        let team = format!("{PLANS}/team");
        let patch = json!({"meters": {"seats": null, "agents": {"max": 6}, "runs": {"period": "day"}}});
        let changed = operator.patch(&team, patch).await.ok(200);
        assert_eq!(changed["meters"]["agents"]["max"], 6);
        assert_eq!(changed["meters"]["runs"]["max"], Value::Null);
        assert!(changed["meters"].get("seats").is_none());
        for wrong in
            [json!({"Agents": {"max": 1}}), json!({"agents": {"max": -1}}), json!({"a": {"max": 0.0000001}})]
        {
            operator.patch(&team, json!({ "meters": wrong })).await.problem(&codes::INVALID);
        }
        let many: serde_json::Map<String, Value> =
            (0..101).map(|n| (format!("m{n}"), json!({"max": 1}))).collect();
        operator.patch(&team, json!({ "meters": many })).await.problem(&codes::INVALID);
    })
    .await;
}

#[tokio::test]
async fn a_diff_tells_who_would_be_over_a_limit() {
    apps(|app| async move {
        app.apply(
            json!({"free": {"requests": "60/min", "meters": {"agents": {"max": 9}, "runs": {"max": 9}}}}),
        )
        .await
        .unwrap();
        let text = "schema = 1\n[plans.free]\nrequests = \"60/min\"\n\
                    meters = { agents = { max = 5 }, runs = { max = 10 }, seats = { max = 2 } }\n";
        let diff = app.app.operator().post("/api/v1/plans/diff", json!({ "text": text })).await.ok(200);
        assert_eq!(diff["data"][0]["effect"], "meters");
        let told: Vec<_> = diff["data"][0]["meters"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (one["meter"].as_str().unwrap(), one["over"].as_u64().unwrap(), &one["over_examples"]))
            .collect();
        assert_eq!(
            told,
            [("agents", 1, &json!(["acme"])), ("runs", 0, &json!([])), ("seats", 0, &json!([]))]
        );
    })
    .await;
}
