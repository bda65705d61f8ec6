//! Work by roles: services that get their jobs pushed, processes that work apart, and stops that give back what they hold.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Project, echo_project, eventually, signal, text, variable};
use crate::moving::BARE;

/// The echo app with a queue that is pushed to this path of it.
fn pushed_to(path: &str) -> String {
    echo_project(&format!(
        "[queues.mails]\npush = {{ service = \"web\", path = \"{path}\", timeout = \"50s\" }}\n"
    ))
}

fn add(project: &Project, job: &Value) -> String {
    project.post("/api/v1/queues/mails/jobs", job)["id"].as_str().expect("an id").to_owned()
}

#[test]
fn a_pushed_job_reaches_a_replica_with_a_signature_that_the_replica_can_verify() {
    let mut project = Project::new(&pushed_to("/jobs"));
    project.up();
    project.make_tenant("acme", "free");
    let id = add(&project, &json!({"tenant": "acme", "payload": {"to": "ada"}}));
    let job = project.api("GET", &format!("/api/v1/jobs/{id}/wait?timeout=20s"), &Value::Null).json();
    assert_eq!(job["status"], "completed", "{job}");
    // The echo app answers with what it saw, which is the job's result.
    let (seen, headers) = (&job["result"], &job["result"]["headers"]);
    assert_eq!((&seen["path"], &headers["webhook-id"]), (&json!("/jobs"), &json!(id)));
    assert_eq!(headers["x-tenant-id"], job["tenant"]);
    let seconds: i64 =
        headers["webhook-timestamp"].as_str().and_then(|text| text.parse().ok()).expect("a time");
    let at = base::Timestamp::from_micros(seconds * 1_000_000);
    let secret = variable(&project, "SWITCHYARD_PUSH_SECRET");
    let signed = tokens::WebhookKey::parse(&secret).map(|key| key.sign(&id, at, br#"{"to":"ada"}"#));
    assert_eq!(headers["webhook-signature"].as_str(), signed.as_deref());
}

#[test]
fn a_graceful_stop_gives_back_what_is_leased_here() {
    let mut project = Project::new(&format!("{}\n[server]\ngrace = \"25s\"\n", pushed_to("/hang")));
    project.up();
    let id = add(&project, &json!({"payload": 1}));
    let status = |project: &Project| project.job(&id)["status"].as_str().unwrap_or_default().to_owned();
    eventually("the service works on it", || status(&project) == "active");
    let since = Instant::now();
    assert_eq!(project.stop(), Some(0), "nothing was cut");
    assert!(since.elapsed() < Duration::from_secs(25), "{:?}", since.elapsed());
    // Started again without the service: nobody works on it, and the lease of before is not what it waits for.
    project.write("switchyard.toml", &format!("{BARE}[queues.mails]\n"));
    project.up();
    let job = project.job(&id);
    assert_eq!((&job["status"], &job["attempt"]), (&json!("waiting"), &json!(0)), "{job}");
}

/// A process beside the project's own, on the same store and folder.
struct Beside(Child);

impl Beside {
    fn start(project: &Project, args: &[&str], env: &[(&str, &str)]) -> Beside {
        let mut command = project.command(args);
        command.envs(env.iter().copied()).stdout(Stdio::null()).stderr(Stdio::null());
        Beside(command.spawn().expect("start a process"))
    }

    fn stop(mut self) -> Option<i32> {
        signal(self.0.id(), "TERM");
        self.0.wait().expect("its end").code()
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How many jobs of the built-in queue `onboarding` have not ended.
fn onboarding(project: &Project) -> u64 {
    let queue = project.api("GET", "/api/v1/queues/onboarding", &Value::Null);
    assert_eq!(queue.status, 200, "{}", queue.body);
    let queue = queue.json();
    ["waiting", "delayed", "active"].map(|figure| queue[figure].as_u64().expect("a figure")).iter().sum()
}

#[test]
fn workers_run_in_a_process_of_their_own_on_postgresql() {
    let database = testkit::postgres();
    let mut project = Project::new(BARE);
    project.database_url = Some(database.url());
    project.up();
    assert_eq!(project.stop(), Some(0));
    let (out, errors) = (Stdio::null(), Stdio::null());
    project.spawn_with(&["serve", "--roles", "gateway,control,runtime,scheduler"], out, errors);
    eventually("the API listens", || project.try_listener("control").is_some());
    project.make_tenant("acme", "free");
    // Nobody here works off built-in queues.
    std::thread::sleep(Duration::from_millis(500));
    assert!(onboarding(&project) > 0, "work was done without a worker");
    let other = Beside::start(&project, &["serve", "--roles", "worker", "--queues", "other"], &[]);
    std::thread::sleep(Duration::from_millis(500));
    assert!(onboarding(&project) > 0, "a worker of other queues did it");
    assert_eq!(other.stop(), Some(0));
    let env = [("WORKER_MODE", "true"), ("WORKER_QUEUES", "onboarding"), ("QUEUE_CONCURRENCY", "2")];
    let worker = Beside::start(&project, &["serve"], &env);
    eventually("the worker does it", || onboarding(&project) == 0);
    assert_eq!(worker.stop(), Some(0));
    assert!(project.try_listener("control").is_some(), "the API's listeners are still known");
    assert_eq!(project.stop(), Some(0));
}

#[test]
fn a_worker_beside_an_embedded_store_is_refused_with_what_to_do() {
    let mut project = Project::new(BARE);
    project.up();
    for (args, env) in
        [(&["serve", "--roles", "worker"][..], None), (&["serve"], Some(("WORKER_MODE", "true")))]
    {
        let mut command = project.command(args);
        command.envs(env);
        let output = command.output().expect("run switchyard");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains("SWITCHYARD_DATABASE_URL") && said.contains("one process"), "{args:?}: {said}");
    }
    // All roles: the store belongs to the process that runs already.
    let output = project.run(&["serve"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&project.pid().to_string()), "{said}");
    for wrong in [&["serve", "--queues", "A b"][..], &["serve", "--roles", "workers"]] {
        assert_eq!(project.run(wrong).status.code(), Some(2), "{wrong:?}");
    }
    assert_eq!(project.api("GET", "/api/status", &Value::Null).status, 200, "it serves on");
}
