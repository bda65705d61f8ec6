//! The main job, through the real binary: tenants are served, told apart, limited and recorded.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Project, echo_project, eventually, is_alive, signal, within_a_second};
use crate::stores::on_both_stores;

#[test]
fn tenants_are_told_apart_and_limited_by_plan() {
    on_both_stores(&echo_project(""), told_apart_and_limited);
}

fn told_apart_and_limited(project: &mut Project) {
    project.up();
    project.make_tenant("acme", "free");
    project.make_tenant("globex", "pro");
    // The one made last is asked first: asking uses up what the free plan lets through.
    eventually("both tenants are known to the gateway", || {
        project.get("globex", "/health").status == 200 && project.get("acme", "/health").status == 200
    });

    let seen = project.get("acme", "/who").json();
    assert_eq!(seen["headers"]["x-tenant-slug"], "acme");
    assert_eq!(seen["headers"]["x-tenant-plan"], "free");
    assert!(seen["headers"]["x-tenant-id"].as_str().is_some_and(|id| id.starts_with("ten_")));
    assert!(seen["headers"]["switchyard-assertion"].is_string());

    // The free plan lets 60 through in any minute, however they come; all of this happens well within one.
    let start = Instant::now();
    let statuses: Vec<u16> = (0..80).map(|_| project.get("acme", "/who").status).collect();
    assert!(start.elapsed() < Duration::from_secs(50), "too slow a machine for this test");
    let let_through = statuses.iter().filter(|s| **s == 200).count();
    assert!(let_through <= 60, "{let_through} were let through");
    assert!(statuses.iter().all(|s| matches!(s, 200 | 429)), "{statuses:?}");
    let refused = project.get("acme", "/who");
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"));
    let wait: u64 = refused.header("retry-after").expect("Retry-After").parse().expect("seconds");
    // A window is laid in 64 parts: at most one part more than a minute.
    assert!((1..=61).contains(&wait));
    assert!(refused.header("ratelimit").is_some_and(|v| v.contains("r=0")));
    assert!(refused.header("ratelimit-policy").is_some_and(|v| v.contains("q=60") && v.contains("w=60")));
    assert_eq!(refused.header("x-ratelimit-limit"), Some("60"));
    assert_eq!(refused.header("x-ratelimit-remaining"), Some("0"));
    assert!(refused.header("x-ratelimit-reset").is_some());

    // The other tenant is not touched by that.
    assert_eq!(project.get("globex", "/who").status, 200);
    // Nobody's host.
    let unknown = project.get("nobody", "/");
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "tenant_unknown"));
    assert_eq!(project.stop(), Some(0));
}

#[test]
fn a_suspended_tenant_is_refused_within_a_second_and_a_plan_change_holds_as_fast() {
    on_both_stores(&echo_project(""), suspended_and_changed);
}

fn suspended_and_changed(project: &mut Project) {
    project.up();
    project.make_tenant("acme", "free");
    eventually("acme is served", || project.get("acme", "/health").status == 200);

    let suspended = project.api("PATCH", "/api/v1/tenants/acme", &json!({"status": "suspended"}));
    assert_eq!(suspended.status, 200, "{}", suspended.body);
    within_a_second("suspended", || {
        let answer = project.get("acme", "/who");
        answer.status == 403 && answer.code() == "tenant_suspended"
    });
    assert_eq!(project.api("PATCH", "/api/v1/tenants/acme", &json!({"status": "active"})).status, 200);
    within_a_second("resumed", || project.get("acme", "/who").status == 200);
    assert_eq!(project.api("PATCH", "/api/v1/tenants/acme", &json!({"plan": "enterprise"})).status, 200);
    within_a_second("on the new plan", || {
        project.get("acme", "/who").header("x-ratelimit-limit") == Some("10000")
    });
}

#[test]
fn an_api_key_names_its_tenant_and_never_reaches_the_app() {
    let mut project = Project::new(&echo_project(
        r#"[[routes]]
host = "*.localhost"
path = "/private"
service = "web"
auth = "required"
"#,
    ));
    project.up();
    project.make_tenant("acme", "pro");
    project.make_tenant("globex", "pro");
    let made = project.api("POST", "/api/v1/tenants/acme/keys", &json!({"name": "ci"}));
    assert_eq!(made.status, 201, "{}", made.body);
    let key = made.json()["key"].as_str().expect("a key").to_owned();
    let bearer = format!("Bearer {key}");

    eventually("acme is served, and asked for its key", || project.get("acme", "/private").status == 401);
    eventually("the key is known to the gateway", || {
        project.gateway("acme", "/private", &[("authorization", &bearer)]).is_ok_and(|r| r.status == 200)
    });
    let seen = project.gateway("acme", "/private", &[("x-api-key", &key)]).expect("an answer");
    assert_eq!(seen.status, 200);
    assert!(!seen.body.contains(&key), "the key reached the app");
    let foreign = project.gateway("globex", "/private", &[("authorization", &bearer)]).expect("an answer");
    assert_eq!((foreign.status, foreign.code().as_str()), (403, "tenant_mismatch"));
    let log = std::fs::read_dir(project.data_dir().join("logs")).expect("logs");
    for file in log.flatten().filter(|f| f.path().is_file()) {
        let text = String::from_utf8_lossy(&std::fs::read(file.path()).expect("read a log")).into_owned();
        assert!(!text.contains(&key), "the key is in {:?}", file.path());
    }
}

#[test]
fn kill_9_of_a_replica_fails_no_idempotent_request() {
    let mut project = Project::new(&echo_project(""));
    project.up();
    project.make_tenant("acme", "enterprise");
    eventually("acme is served", || project.get("acme", "/health").status == 200);

    let pids = replica_pids(&project);
    assert_eq!(pids.len(), 2, "both replicas serve: {pids:?}");
    for pid in pids {
        signal(pid, "KILL");
        for _ in 0..50 {
            assert_eq!(project.get("acme", "/who").status, 200);
        }
        eventually("the killed replica was replaced", || {
            let now = replica_pids(&project);
            now.len() == 2 && !now.contains(&pid)
        });
    }
}

#[test]
fn kill_9_of_switchyard_loses_nothing_and_the_next_start_adopts_the_replicas() {
    on_both_stores(&echo_project(""), killed_and_started_again);
}

fn killed_and_started_again(project: &mut Project) {
    project.up();
    project.make_tenant("acme", "pro");
    let key = project.api("POST", "/api/v1/tenants/acme/keys", &json!({"name": "ci"})).json();
    let before = replica_pids(project);
    project.kill();
    project.up();

    eventually("acme is served again", || project.get("acme", "/who").status == 200);
    let after = replica_pids(project);
    assert_eq!(before, after, "the replicas were adopted, not started anew");
    let keys = project.api("GET", "/api/v1/tenants/acme/keys", &Value::Null).json();
    assert_eq!(keys["data"][0]["id"], key["id"]);
    let kinds: Vec<String> = events(project);
    assert!(kinds.iter().any(|k| k == "tenant.created") && kinds.iter().any(|k| k == "key.created"));
    let verified = project.json(&["audit", "verify"]);
    assert_eq!(verified["ok"], true, "{verified}");
}

#[test]
fn without_a_switchyard_no_replica_is_left_after_ten_seconds() {
    let mut project = Project::new(&echo_project(""));
    project.up();
    let pids = replica_pids(&project);
    assert!(!pids.is_empty());
    project.kill();
    eventually("the keeper ended the replicas", || pids.iter().all(|pid| !is_alive(*pid)));
}

#[test]
fn a_second_up_replaces_replicas_without_a_failed_request() {
    let mut project = Project::new(&echo_project("[services.web.variables]\nAPP_VERSION = \"one\"\n"));
    project.up();
    project.make_tenant("acme", "enterprise");
    eventually("acme is served", || project.get("acme", "/health").status == 200);
    project.write("switchyard.toml", &echo_project("[services.web.variables]\nAPP_VERSION = \"two\"\n"));

    let mut second = project.command(&["up"]).spawn().expect("start a second up");
    let mut served = 0;
    let status = loop {
        assert_eq!(project.get("acme", "/who").status, 200, "a request failed during the deployment");
        served += 1;
        if let Some(status) = second.try_wait().expect("look at the second up") {
            break status;
        }
    };
    assert!(status.success() && served > 0);
    eventually("only the new version serves", || {
        (0..10).all(|_| project.get("acme", "/who").json()["version"] == "two")
    });
}

/// The process ids that answer behind the gateway's back: asked of the status, in order.
fn replica_pids(project: &Project) -> Vec<u32> {
    let status = project.api("GET", "/api/status", &Value::Null).json();
    let replicas = status["services"][0]["replicas"].as_array().cloned().unwrap_or_default();
    let mut pids: Vec<u32> = replicas
        .iter()
        .filter(|r| r["state"] == "ready")
        .filter_map(|r| r["pid"].as_u64())
        .filter_map(|pid| u32::try_from(pid).ok())
        .collect();
    pids.sort_unstable();
    pids
}

fn events(project: &Project) -> Vec<String> {
    let page = project.api("GET", "/api/v1/events?limit=500", &Value::Null).json();
    let kinds = page["data"].as_array().cloned().unwrap_or_default();
    kinds.iter().filter_map(|e| e["kind"].as_str().map(str::to_owned)).collect()
}
