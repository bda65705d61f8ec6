//! The service API: what the app's own processes reach, with the token that Switchyard gives them.

use serde_json::Value;

use crate::harness::{
    Project, Response, echo_app, echo_project, eventually, replica_pid, request, variable, variable_of,
    within_a_second,
};
use crate::stores::on_both_stores;

/// A call of the service API at `url`, as the app's code makes it.
fn call(url: &str, token: &str, path: &str, headers: &[(&str, &str)]) -> std::io::Result<Response> {
    let addr = url.strip_prefix("http://").expect("plain HTTP").parse().expect("an address");
    let bearer = format!("Bearer {token}");
    let headers = [&[("authorization", bearer.as_str())], headers].concat();
    request(addr, "GET", ("localhost", path), &headers, "")
}

fn status(url: &str, token: &str, path: &str) -> u16 {
    call(url, token, path, &[]).expect("the service API answers").status
}

#[test]
fn a_service_calls_back_over_restarts_and_for_its_tenants_only() {
    on_both_stores(&echo_project(""), |project| {
        project.up();
        project.make_tenant("acme", "free");
        let (url, token) = (variable(project, "SWITCHYARD_URL"), variable(project, "SWITCHYARD_TOKEN"));
        assert_eq!(url, format!("http://{}", project.listener("service")));
        let me = call(&url, &token, "/api/v1/me", &[]).expect("an answer").json();
        assert_eq!(
            (&me["kind"], &me["name"], &me["tenant"]),
            (&"service".into(), &"web".into(), &Value::Null)
        );
        let narrowed =
            |name| call(&url, &token, "/api/v1/me", &[("switchyard-tenant", name)]).expect("an answer");
        let acme = narrowed("acme").json()["tenant"].as_str().expect("a tenant").to_owned();
        assert_eq!(narrowed(&acme).json()["tenant"], acme.as_str());
        assert_eq!(narrowed("nobody").status, 404);
        let all = call(&url, &token, "/api/v1/tenants", &[]).expect("an answer").json();
        assert_eq!(all["data"][0]["slug"], "acme", "{all}");
        // What is not the app's is not there, for whoever asks.
        for path in ["/api/v1/plans", "/api/v1/services", "/metrics", "/readyz", "/api/v1/tenants/acme/keys"]
        {
            assert_eq!(status(&url, &token, path), 404, "{path}");
            assert_eq!(status(&url, &project.operator_key(), path), 404, "{path}");
        }
        assert_eq!(status(&url, "sy_svc_x", "/api/v1/me"), 401);
        // At the gateway the token is never passed on.
        eventually("acme is served", || project.get("acme", "/who").status == 200);
        let at_gateway = [("authorization", format!("Bearer {token}")), ("x-api-key", token.clone())];
        for (name, value) in &at_gateway {
            let answer = project.gateway("acme", "/who", &[(name, value)]).expect("an answer");
            assert!(answer.status == 200 && !answer.body.contains("sy_svc_"), "{}", answer.body);
        }
        // A killed Switchyard leaves the replicas running; the next one is where they look for it.
        let pid = replica_pid(project, "web");
        project.kill();
        project.up();
        assert_eq!(replica_pid(project, "web"), pid, "it was adopted");
        assert_eq!(variable_of(pid, "SWITCHYARD_URL"), format!("http://{}", project.listener("service")));
        assert_eq!(status(&url, &token, "/api/v1/me"), 200);
    });
}

#[test]
fn a_removed_services_token_is_refused_within_a_second() {
    let second = format!("[services.other]\nstart = \"{}\"\n", echo_app().display());
    let mut project = Project::new(&echo_project(&second));
    project.up();
    let pid = replica_pid(&project, "other");
    let (url, token) = (variable_of(pid, "SWITCHYARD_URL"), variable_of(pid, "SWITCHYARD_TOKEN"));
    let own = variable(&project, "SWITCHYARD_TOKEN");
    assert_ne!(own, token, "each service has its own");
    assert_eq!(status(&url, &token, "/api/v1/me"), 200);
    let applied = project.api(
        "PUT",
        "/api/v1/environments/development/configuration",
        &serde_json::json!({ "text": echo_project("") }),
    );
    assert_eq!(applied.status, 200, "{}", applied.body);
    within_a_second("the token is refused", || status(&url, &token, "/api/v1/me") == 401);
    assert_eq!(status(&url, &own, "/api/v1/me"), 200, "the other service's holds");
}

#[test]
fn a11_s5_a_services_token_is_nowhere_but_in_its_process() {
    let mut project = Project::new(&echo_project(""));
    project.up();
    project.make_tenant("acme", "free");
    let (url, token) = (variable(&project, "SWITCHYARD_URL"), variable(&project, "SWITCHYARD_TOKEN"));
    let secret = token.strip_prefix("sy_svc_").expect("a token").to_owned();
    // It is used, mistyped, and shown to the app and to the log.
    assert_eq!(status(&url, &token, "/api/v1/me"), 200);
    assert_eq!(status(&url, &format!("{token}x"), "/api/v1/me"), 401);
    assert_eq!(status(&url, &token, &format!("/api/v1/tenants/{token}")), 404);
    let _ = project.gateway("acme", &format!("/who?token={token}"), &[]);
    project.ok(&["backups", "make"]);
    eventually("the requests are in the log", || project.ok(&["logs"]).contains("/who"));
    let shown = [
        project.ok(&["logs", "--json"]),
        project.api("GET", "/api/v1/events?limit=500", &Value::Null).body,
        request(project.listener("control"), "GET", ("localhost", "/metrics"), &[], "")
            .expect("metrics")
            .body,
        project.up_log(),
    ];
    for text in &shown {
        assert!(!text.contains(&secret), "{text}");
    }
    for arguments in std::fs::read_dir("/proc").expect("processes").flatten() {
        let arguments = std::fs::read(arguments.path().join("cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&arguments).contains(&secret), "a process list shows it");
    }
    let pid = project.pid();
    let environ = std::fs::read(format!("/proc/{pid}/environ")).expect("its own variables");
    assert!(!String::from_utf8_lossy(&environ).contains(&secret));
    assert_eq!(project.stop(), Some(0));
    assert_eq!(files_with(&project.data_dir(), secret.as_bytes()), Vec::<String>::new(), "no file has it");
}

/// The files below a folder that hold these bytes.
fn files_with(folder: &std::path::Path, bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_with(&path, bytes));
        } else if std::fs::read(&path).is_ok_and(|all| all.windows(bytes.len()).any(|part| part == bytes)) {
            found.push(path.display().to_string());
        }
    }
    found
}
