//! Tenants from one end to the other: what a batch that mixes them does, what is left of a deleted one, and where a suspended
//! one is refused.

use serde_json::{Value, json};

use crate::harness::{Project, Response, echo_project, eventually, request, within_a_second};
use crate::moving::BARE;
use crate::stores::on_both_stores;

/// A meter, and a queue.
pub const METERED: &str = "[plans.enterprise]\nrequests = \"10000/min\"\nmeters = { agents = { max = 5 } }\n\
    [meters.tokens]\n[queues.tasks]\n";

/// A call with a key or token of a tenant.
fn with_key(project: &Project, key: &str, method: &str, path: &str, body: &Value) -> Response {
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let body = if body.is_null() { String::new() } else { body.to_string() };
    request(project.listener("control"), method, ("localhost", path), &headers, &body).expect("an answer")
}

fn key_of(project: &Project, tenant: &str) -> String {
    let made = project.api(
        "POST",
        &format!("/api/v1/tenants/{tenant}/keys"),
        &json!({"name": "k", "role": "owner"}),
    );
    assert_eq!(made.status, 201, "{}", made.body);
    made.json()["key"].as_str().expect("a key").to_owned()
}

fn token_of(project: &Project, tenant: &str) -> String {
    let body = json!({"reason": "a test", "ttl": "1h", "role": "owner"});
    let made = project.api("POST", &format!("/api/v1/tenants/{tenant}/impersonate"), &body);
    assert_eq!(made.status / 100, 2, "{}", made.body);
    made.json()["access_token"].as_str().expect("a token").to_owned()
}

#[test]
fn z18_batches_that_mix_tenants_are_refused_whole() {
    on_both_stores(&format!("{BARE}{METERED}"), |project| {
        project.up();
        ["acme", "globex"].iter().for_each(|tenant| project.make_tenant(tenant, "enterprise"));
        let key = key_of(project, "acme");
        let mixed = [json!("acme"), Value::Null, json!("globex"), json!("acme")];
        let jobs: Vec<Value> = mixed.iter().map(|tenant| json!({"payload": 1, "tenant": tenant})).collect();
        let jobs: Vec<Value> = jobs.into_iter().map(without_null).collect();
        let told = with_key(project, &key, "POST", "/api/v1/queues/tasks/jobs", &json!({ "jobs": jobs }));
        assert!(matches!(told.status, 403 | 404 | 422), "{} {}", told.status, told.body);
        let event = |(n, tenant): (usize, &Value)| {
            without_null(json!({"id": format!("e{n}"), "meter": "tokens", "value": 1, "tenant": tenant}))
        };
        let events: Vec<Value> = mixed.iter().enumerate().map(event).collect();
        let told = with_key(project, &key, "POST", "/api/v1/usage/events", &json!({ "events": events }));
        assert!(matches!(told.status, 403 | 404 | 422), "{} {}", told.status, told.body);
        for tenant in ["acme", "globex"] {
            let usage =
                project.api("GET", &format!("/api/v1/tenants/{tenant}/usage?meter=tokens"), &Value::Null);
            let used = usage.json()["data"]
                .as_array()
                .map_or(0.0, |all| all.iter().filter_map(|one| one["used"].as_f64()).sum());
            assert!(usage.status == 200 && used == 0.0, "{}", usage.body);
        }
        let jobs = project.api("GET", "/api/v1/queues/tasks/jobs", &Value::Null).json();
        assert_eq!(jobs["data"], json!([]));
        // The same without the stranger is taken.
        let own: Vec<Value> =
            (0..3).map(|n| json!({"id": format!("e{n}"), "meter": "tokens", "value": 1})).collect();
        let told = with_key(project, &key, "POST", "/api/v1/usage/events", &json!({ "events": own }));
        assert_eq!(told.status, 202, "{}", told.body);
    });
}

fn without_null(mut value: Value) -> Value {
    if let Some(object) = value.as_object_mut() {
        object.retain(|_, value| !value.is_null());
    }
    value
}

/// Where a deleted tenant's id stays, with the reason; the list only shrinks.
const KEPT: &[(&str, &str)] = &[
    ("tenants_released", "a domain rests after the tenant that had it"),
    ("jobs_done", "the installation's own job of its onboarding, kept as long as finished jobs are"),
];

/// Tables of the store itself, which hold events and keys: a tenant's events are the record that it was here.
const OF_STORE: &str = "sy_";

#[test]
fn z15_no_table_has_anything_of_a_deleted_tenant() {
    let database = testkit::postgres();
    let mut project = Project::new(&format!("{BARE}{METERED}"));
    project.database_url = Some(database.url());
    project.up();
    ["acme", "globex"].iter().for_each(|tenant| project.make_tenant(tenant, "enterprise"));
    let ids: Vec<String> = ["acme", "globex"]
        .iter()
        .map(|tenant| {
            let found = project.api("GET", &format!("/api/v1/tenants/{tenant}"), &Value::Null).json();
            found["id"].as_str().expect("an id").to_owned()
        })
        .collect();
    fill(&project, "acme");
    fill(&project, "globex");
    let before = holding(&database, &ids[0]);
    assert!(before.len() > 8, "little is there to be removed: {before:?}");
    eventually("onboarding is done", || {
        let jobs = project.api("GET", "/api/v1/tenants/acme/onboarding", &Value::Null).json();
        jobs["done"] == json!(true)
    });
    let cancelled = project.api("PATCH", "/api/v1/tenants/acme", &json!({"status": "cancelled"}));
    assert_eq!(cancelled.status, 200, "{}", cancelled.body);
    let gone = project.api("DELETE", "/api/v1/tenants/acme", &Value::Null);
    assert_eq!(gone.status, 204, "{}", gone.body);
    let kept: Vec<&str> = KEPT.iter().map(|(table, _)| *table).collect();
    let mut left = holding(&database, &ids[0]);
    left.retain(|table| !kept.contains(&table.as_str()));
    assert_eq!(left, Vec::<String>::new());
    let theirs = holding(&database, &ids[1]);
    assert!(theirs.len() >= before.len() - 1, "globex lost something: {theirs:?} of {before:?}");
}

/// Tables of capabilities in which a text stands in any column.
fn holding(database: &testkit::Database, text: &str) -> Vec<String> {
    let mut tables = database.tables_holding(text);
    tables.retain(|table| !table.starts_with(OF_STORE));
    tables
}

/// Something of everything that a tenant can have.
fn fill(project: &Project, tenant: &str) {
    let make = |method: &str, path: &str, body: Value| {
        let made = project.api(method, path, &body);
        assert!(matches!(made.status, 200..=202 | 204), "{method} {path}: {} {}", made.status, made.body);
        made
    };
    let own = |rest: &str| format!("/api/v1/tenants/{tenant}/{rest}");
    make("POST", &own("domains"), json!({"host": format!("shop.{tenant}.example")}));
    make("POST", &own("members"), json!({"email": format!("ada@{tenant}.example"), "role": "developer"}));
    let key = key_of(project, tenant);
    token_of(project, tenant);
    make("PUT", &own("limits/agents"), json!({"max": 7}));
    make("POST", "/api/v1/queues/tasks/jobs", json!({"payload": 1, "tenant": tenant}));
    make(
        "POST",
        "/api/v1/queues/tasks/jobs",
        json!({"payload": 2, "tenant": tenant, "delay": "1h", "unique": {"key": "once"}}),
    );
    let report = json!({"events": [{"id": "a", "meter": "tokens", "value": 3}]});
    let told = with_key(project, &key, "POST", "/api/v1/usage/events", &report);
    assert_eq!(told.status, 202, "{}", told.body);
    let held = json!({"meter": "agents", "amount": 1, "ttl": "1h"});
    let told = with_key(project, &key, "POST", "/api/v1/usage/reserve", &held);
    assert!(matches!(told.status, 200 | 201), "{} {}", told.status, told.body);
    let schedule = json!({"queue": "tasks", "every": "1h", "tenant": tenant});
    make("PUT", &format!("/api/v1/schedules/of-{tenant}"), schedule);
}

#[test]
fn z17_a_suspended_tenant_is_served_nowhere_within_a_second_and_a_cancelled_one_is_gone() {
    on_both_stores(&echo_project(METERED), |project| {
        project.up();
        ["acme", "globex"].iter().for_each(|tenant| project.make_tenant(tenant, "enterprise"));
        let (key, token) = (key_of(project, "acme"), token_of(project, "acme"));
        let at_gateway = |host: &str, path: &str, credential: &str| {
            let bearer = format!("Bearer {credential}");
            let headers = [("authorization", bearer.as_str())];
            request(project.listener("gateway"), "GET", (host, path), &headers, "").expect("an answer").status
        };
        let served: [(&str, &dyn Fn() -> u16); 3] = [
            ("its host", &|| project.get("acme", "/").status),
            ("its host, with its key", &|| at_gateway("acme.localhost", "/", &key)),
            ("its host, with a token", &|| at_gateway("acme.localhost", "/", &token)),
        ];
        // Its people still see why, and what they owe.
        let read: [(&str, &dyn Fn() -> u16); 3] = [
            ("its key", &|| with_key(project, &key, "GET", "/api/v1/me", &Value::Null).status),
            ("a token", &|| with_key(project, &token, "GET", "/api/v1/me", &Value::Null).status),
            ("its key at the member surface", &|| at_gateway("api.localhost", "/api/v1/me", &key)),
        ];
        let keys = "/api/v1/tenants/acme/keys";
        let withheld: [(&str, &dyn Fn() -> u16); 2] = [
            ("keys, with its key", &|| with_key(project, &key, "GET", keys, &Value::Null).status),
            ("keys, at the member surface", &|| at_gateway("api.localhost", keys, &key)),
        ];
        let all = || served.iter().chain(&read).chain(&withheld);
        all().for_each(|(way, ask)| eventually(way, || ask() == 200));
        let set = |status: &str| project.api("PATCH", "/api/v1/tenants/acme", &json!({ "status": status }));
        assert_eq!(set("suspended").status, 200);
        served.iter().chain(&withheld).for_each(|(way, ask)| within_a_second(way, || ask() == 403));
        read.iter().for_each(|(way, ask)| assert_eq!(ask(), 200, "suspended, {way}"));
        assert_eq!(project.get("globex", "/").status, 200, "others are served");
        let acting = with_key(project, &token, "GET", keys, &Value::Null).status;
        assert_eq!(acting, 200, "who acts as it, of the team, goes on");
        assert_eq!(set("active").status, 200);
        all().for_each(|(way, ask)| eventually(way, || ask() == 200));
        assert_eq!(set("cancelled").status, 200);
        for (way, ask) in all() {
            within_a_second(way, || matches!(ask(), 401 | 403 | 404));
        }
    });
}
