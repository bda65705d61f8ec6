//! `[plans]` of the project file.

use base::codes;
use ports::{ApplyError, Change};
use serde_json::{Value, json};

use crate::app::apps;

#[tokio::test]
async fn the_file_manages_its_plans_and_no_others() {
    apps(|app| async move {
        let operator = app.app.operator();
        operator.post("/api/v1/plans", json!({"name": "mine", "requests": "7/s"})).await.ok(201);
        let section = json!({"free": {"requests": "90/min"}, "team": {"requests": "500/min"}});
        let changes = app.apply(section.clone()).await.unwrap();
        assert_eq!(changes, [Change::created("plan free"), Change::created("plan team")]);
        assert_eq!(app.apply(section).await.unwrap(), [], "the same again changes nothing");
        let free = operator.get("/api/v1/plans/free").await.ok(200);
        assert_eq!((free["requests"].as_str(), free["managed_by"].as_str()), (Some("90/min"), Some("file")));
        let by_hand = operator.patch("/api/v1/plans/free", json!({"requests": "1/s"})).await;
        by_hand.problem(&codes::MANAGED_BY_FILE);
        operator.delete("/api/v1/plans/team").await.problem(&codes::MANAGED_BY_FILE);
        // A plan with tenants does not go; the whole apply is undone.
        app.world.put_on("team", 2, 0);
        let refused = app.apply(json!({"free": {"requests": "91/min"}})).await.unwrap_err();
        let ApplyError::Invalid(faults) = refused else { panic!("{refused}") };
        assert!(faults[0].message.contains("2 tenants"), "{faults:?}");
        let free = operator.get("/api/v1/plans/free").await.ok(200);
        assert_eq!(free["requests"], "90/min");
        app.world.put_on("team", 0, 0);
        let changes = app.apply(Value::Null).await.unwrap();
        assert_eq!(changes, [Change::removed("plan free"), Change::removed("plan team")]);
        let free = operator.get("/api/v1/plans/free").await.ok(200);
        assert_eq!(free["managed_by"], "default");
        assert_eq!(operator.get("/api/v1/plans/mine").await.ok(200)["managed_by"], "api");
        let taken = app.apply(json!({"mine": {"requests": "8/s"}})).await.unwrap_err();
        assert!(matches!(taken, ApplyError::ManagedByApi(_)), "{taken}");
    })
    .await;
}

#[test]
fn the_schema_takes_names_rates_and_meters_and_nothing_else() {
    let check = |value: Value| {
        let faults = shape::check(&(plans::SECTION.schema)(), &value);
        let more = (plans::SECTION.check)(&value, &Value::Null);
        faults.len() + more.len()
    };
    assert_eq!(check(json!({})), 0);
    assert_eq!(check(json!({"gold": {"requests": "5/s"}})), 0);
    assert_eq!(check(json!({"gold": {"requests": "5 a second"}})), 1);
    assert_eq!(check(json!({"gold": {}})), 1);
    assert_eq!(check(json!({"Gold": {"requests": "5/s"}})), 1);
    assert_eq!(check(json!({"gold": {"requests": "5/s", "meters": {"seats": {"max": 5}}}})), 0);
    assert_eq!(check(json!({"gold": {"requests": "5/s", "meters": {"Seats": {"max": -5}}}})), 2);
    assert_eq!(check(json!({"gold": {"requests": "5/s", "quotas": {}}})), 1);
}
