//! Plans by API.

use authority::Role;
use base::codes;
use plans::{Directory, Lookup};
use ports::{PlanDirectory as _, PlanLookup as _};
use serde_json::{Value, json};

use crate::app::{App, apps, slug};

const PLANS: &str = "/api/v1/plans";

async fn rates(app: &App) -> Vec<(String, String)> {
    let environment = app.places.environment();
    let plans = Directory::new(app.app.store.db.clone()).all(environment).await.unwrap();
    plans.into_iter().map(|plan| (plan.name.to_string(), plan.requests.to_string())).collect()
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(name, rate)| ((*name).to_owned(), (*rate).to_owned())).collect()
}

#[tokio::test]
async fn four_plans_come_along() {
    apps(|app| async move {
        let defaults =
            [("enterprise", "10000/min"), ("free", "60/min"), ("pro", "1000/min"), ("starter", "300/min")];
        assert_eq!(rates(&app).await, pairs(&defaults));
        let list = app.app.operator().get(PLANS).await.ok(200);
        assert_eq!(list["data"][1]["name"], "free");
        assert_eq!(list["data"][1]["managed_by"], "default");
        let page = app.app.operator().get(&format!("{PLANS}?limit=3")).await.ok(200);
        let cursor = page["next_cursor"].as_str().unwrap();
        let rest = app.app.operator().get(&format!("{PLANS}?limit=3&cursor={cursor}")).await.ok(200);
        assert_eq!(rest["data"].as_array().unwrap().len(), 1);
        assert_eq!(rest["next_cursor"], Value::Null);
        assert_eq!(app.member(Role::Viewer).get(PLANS).await.ok(200), list);
        app.member(Role::Owner).post(PLANS, json!({})).await.problem(&codes::FORBIDDEN);
        app.app.nobody().get(PLANS).await.problem(&codes::UNAUTHENTICATED);
    })
    .await;
}

#[tokio::test]
async fn a_plan_is_made_changed_and_removed() {
    apps(|app| async move {
        let operator = app.app.operator();
        let team = format!("{PLANS}/team");
        let made = operator.post(PLANS, json!({"name": "team", "requests": "500/min"})).await;
        assert_eq!(made.header("location"), team);
        assert_eq!(made.ok(201)["managed_by"], "api");
        let again = json!({"name": "team", "requests": "1/s"});
        operator.post(PLANS, again).await.problem(&codes::CONFLICT);
        let default = json!({"name": "free", "requests": "1/s"});
        operator.post(PLANS, default).await.problem(&codes::CONFLICT);
        operator.post(PLANS, json!({"name": "x", "requests": "fast"})).await.problem(&codes::INVALID);
        operator.post(PLANS, json!({"name": "x", "requests": "0/min"})).await.problem(&codes::INVALID);
        let quotas = json!({"name": "x", "requests": "1/s", "quotas": {}});
        let unknown = operator.post(PLANS, quotas).await;
        assert!(matches!(unknown.status.as_u16(), 400 | 422));
        let stale = operator.clone().with("if-match", "\"r9\"");
        stale.patch(&team, json!({"requests": "1/s"})).await.problem(&codes::PRECONDITION_FAILED);
        let changed = operator.patch(&team, json!({"requests": "10/s"})).await;
        assert_eq!(changed.header("etag"), "\"r2\"");
        assert_eq!(changed.ok(200)["requests"], "10/s");
        operator.patch(&team, json!({"requests": "10/s"})).await.ok(200);
        assert!(rates(&app).await.contains(&("team".to_owned(), "10/s".to_owned())));
        // It is a plan of this environment; a tenant may be on it wherever the project has it.
        let production = operator.clone().with("switchyard-environment", "production");
        production.get(&team).await.problem(&codes::NOT_FOUND);
        app.world.put_on("team", 3, 1);
        let used = operator.delete(&team).await.problem(&codes::PLAN_IN_USE);
        assert_eq!(used["tenants"], 3);
        assert_eq!(used["examples"], json!(["acme"]));
        app.world.put_on("team", 0, 0);
        operator.delete(&team).await.ok(204);
        operator.delete(&team).await.problem(&codes::NOT_FOUND);
        let kinds: Vec<_> = app.app.events(3).await.into_iter().map(|event| event.kind).collect();
        assert_eq!(kinds, ["plan.created", "plan.updated", "plan.removed"]);
    })
    .await;
}

#[tokio::test]
async fn a_default_is_changed_and_comes_back() {
    apps(|app| async move {
        let operator = app.app.operator();
        let free = format!("{PLANS}/free");
        operator.delete(&free).await.problem(&codes::PLAN_IN_USE);
        operator.delete(&format!("{PLANS}/pro")).await.problem(&codes::CONFLICT);
        let changed = operator.patch(&format!("{PLANS}/pro"), json!({"requests": "2000/min"})).await.ok(200);
        assert_eq!(changed["managed_by"], "api");
        app.world.put_on("pro", 7, 0);
        operator.delete(&format!("{PLANS}/pro")).await.ok(204);
        let back = operator.get(&format!("{PLANS}/pro")).await.ok(200);
        assert_eq!(
            (back["requests"].as_str(), back["managed_by"].as_str()),
            (Some("1000/min"), Some("default"))
        );
        let kinds: Vec<_> = app.app.events(2).await.into_iter().map(|event| event.kind).collect();
        assert_eq!(kinds, ["plan.updated", "plan.updated"]);
    })
    .await;
}

#[tokio::test]
async fn a_plan_exists_where_any_environment_of_the_project_has_it() {
    apps(|app| async move {
        let production = app.app.operator().with("switchyard-environment", "production");
        production.post(PLANS, json!({"name": "team", "requests": "500/min"})).await.ok(201);
        let store = &app.app.store;
        let own = app.places.project();
        let other = base::ProjectId::new(&store.clock, &*store.random);
        let system = store.system();
        let read = store.db.read_system(&system, move |tx| -> Result<_, db::Error> {
            Ok([
                Lookup.exists(tx, own, &slug("team"))?,
                Lookup.exists(tx, own, &slug("free"))?,
                Lookup.exists(tx, own, &slug("gold"))?,
                Lookup.exists(tx, other, &slug("team"))?,
            ])
        });
        assert_eq!(read.await.unwrap(), [true, true, false, false]);
    })
    .await;
}

#[tokio::test]
async fn a_diff_tells_who_would_get_another_rate() {
    apps(|app| async move {
        let operator = app.app.operator();
        app.apply(json!({"gone": {"requests": "1/s"}})).await.unwrap();
        app.world.put_on("free", 120, 2);
        app.world.put_on("gone", 1, 0);
        let text = "schema = 1\n[plans.free]\nrequests = \"30/min\"\n[plans.pro]\nrequests = \"1000/min\"\n\
                    [plans.new]\nrequests = \"5/s\"\n[plans.starter]\nrequests = \"600/min\"\n";
        let diff = operator.post("/api/v1/plans/diff", json!({ "text": text })).await.ok(200);
        let told: Vec<_> = diff["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| {
                (one["plan"].as_str().unwrap(), one["effect"].as_str().unwrap(), one["tenants"].as_u64())
            })
            .collect();
        let expected = [
            ("free", "lowered", Some(120)),
            ("gone", "removed", Some(1)),
            ("new", "added", Some(0)),
            ("starter", "raised", Some(0)),
        ];
        assert_eq!(told, expected);
        assert_eq!(diff["data"][0]["overridden"], 2);
        assert_eq!(diff["data"][0]["examples"], json!(["acme"]));
        assert!(!rates(&app).await.contains(&("new".to_owned(), "5/s".to_owned())), "nothing was changed");
        let wrong = "schema = 1\n[plans.free]\nrequest = \"30/min\"\n";
        let problem =
            operator.post("/api/v1/plans/diff", json!({ "text": wrong })).await.problem(&codes::INVALID);
        assert!(problem["errors"][0]["detail"].as_str().unwrap().contains("switchyard.toml:"), "{problem}");
    })
    .await;
}
