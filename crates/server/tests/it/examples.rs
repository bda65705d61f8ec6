//! The examples do their work on queues: `agents` by plain HTTP from Rust, `reports` through the TypeScript package.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Project, Response, eventually, request, text};
use crate::tour::copy;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A copy of an example, with its project file changed, where it must be, to run from here.
fn example(name: &str, change: impl Fn(String) -> String) -> Project {
    let from = root().join("examples").join(name);
    let file = std::fs::read_to_string(from.join("switchyard.toml")).expect("its project file");
    let project = Project::new("");
    copy(&from, project.path());
    project.write("switchyard.toml", &change(file));
    project
}

/// A request of a tenant's browser, with JSON.
fn send(project: &Project, tenant: &str, method: &str, path: &str, body: &Value) -> Response {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let headers = [("content-type", "application/json")];
    request(project.listener("gateway"), method, (&format!("{tenant}.localhost"), path), &headers, &body)
        .expect("the gateway answers")
}

fn id(answer: &Response) -> String {
    answer.json()["id"].as_str().unwrap_or_else(|| panic!("no id: {}", answer.body)).to_owned()
}

#[test]
fn the_agents_worker_takes_its_tasks_from_a_queue() {
    // Built beforehand, where its own tests are built: a busy machine may take its time over it.
    let from = root().join("examples/agents").canonicalize().expect("the example");
    let built = Command::new(env!("CARGO")).args(["build", "--quiet"]).current_dir(&from).status();
    assert!(built.expect("run cargo").success(), "the example is not built");
    let program = from.join("target/debug/agents");
    let mut project = example("agents", |file| {
        file.replace("build = \"cargo build --release\"", "")
            .replace("target/release/agents", program.to_str().expect("a plain path"))
    });
    project.up();
    project.make_tenant("acme", "free");
    project.make_tenant("globex", "free");
    eventually("the tenant is served", || project.get("acme", "/").status == 200);

    let agent = send(&project, "acme", "POST", "/api/agents", &json!({ "name": "Counter", "kind": "words" }));
    let tasks = format!("/api/agents/{}/tasks", id(&agent));
    let task = send(&project, "acme", "POST", &tasks, &json!({ "input": "to be or not to be" }));
    assert_eq!(task.status, 202, "{}", task.body);
    let path = format!("/api/tasks/{}", id(&task));
    eventually("the worker has done it", || project.get("acme", &path).json()["status"] == "done");
    let done = project.get("acme", &path).json();
    assert_eq!((&done["result"]["words"], &done["attempts"]), (&json!(6), &json!(1)));
    assert_eq!(project.get("globex", &path).status, 404);

    // The job is the tenant's, and is done.
    let jobs = project.api("GET", "/api/v1/queues/tasks/jobs?status=completed", &Value::Null).json();
    assert_eq!(jobs["data"].as_array().map(Vec::len), Some(1), "{jobs}");
    assert_eq!(jobs["data"][0]["payload"]["task"], task.json()["id"]);
    let acme = project.api("GET", "/api/v1/tenants/acme", &Value::Null).json();
    assert_eq!(jobs["data"][0]["tenant"], acme["id"]);
}

#[test]
fn the_reports_example_makes_reports_through_the_typescript_package() {
    let sdk = root().join("sdk/typescript").canonicalize().expect("the package");
    let mut project = example("reports", |file| file);
    let package = format!(
        r#"{{"private":true,"type":"module","dependencies":{{"@switchyard/sdk":"file:{}"}}}}"#,
        sdk.display()
    );
    project.write("package.json", &package);
    let words = ["install", "--offline", "--no-audit", "--no-fund", "--no-progress", "--omit=dev"];
    let npm = Command::new("npm").args(words).current_dir(project.path()).output().expect("run npm");
    assert!(npm.status.success(), "{}\n{}", text(&npm.stdout), text(&npm.stderr));
    project.up();
    project.make_tenant("acme", "free");
    project.make_tenant("globex", "free");
    eventually("the tenant is served", || project.get("acme", "/").status == 200);

    let order = send(&project, "acme", "POST", "/api/reports", &json!({ "year": 2026 }));
    assert_eq!(order.status, 202, "{}", order.body);
    let path = format!("/api/reports/{}", id(&order));
    let percent = |report: &Value| report["progress"]["percent"].as_f64().unwrap_or_default();
    eventually("its progress is shown", || percent(&project.get("acme", &path).json()) > 0.0);
    eventually("it is made", || project.get("acme", &path).json()["status"] == "completed");
    let made = project.get("acme", &path).json();
    assert_eq!(made["result"]["rows"], 12, "{made}");
    let file = project.get("acme", &format!("{path}.csv"));
    assert!(file.body.starts_with("month,orders,revenue\nJanuary,"), "{}", file.body);

    for path in [&path, &format!("{path}.csv")] {
        assert_eq!(project.get("globex", path).status, 404, "another tenant's report");
    }
    assert_eq!(project.get("globex", "/api/reports").json(), json!({ "data": [] }));
    let wrong = send(&project, "acme", "POST", "/api/reports", &json!({ "year": "soon" }));
    assert_eq!(wrong.status, 422, "{}", wrong.body);
}
