//! Queues through the real binary: what is acknowledged stays, what a worker leaves is worked off by the next, nobody
//! crowds others out, who is suspended rests.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{PATIENCE, Project, Response, job_worker, request, signal, within_a_second};
use crate::moving::BARE;
use crate::stores::on_both_stores;

/// A project without services and with one queue.
pub fn with_queue(settings: &str) -> String {
    format!("{BARE}[queues.tasks]\n{settings}\n")
}

/// A call with a credential at a listener; the process at the other end may die.
pub fn try_call(
    addr: SocketAddr,
    key: &str,
    (method, path): (&str, &str),
    body: &Value,
) -> std::io::Result<Response> {
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let body = if body.is_null() { String::new() } else { body.to_string() };
    request(addr, method, ("localhost", path), &headers, &body)
}

impl Project {
    /// A POST that has to succeed.
    pub fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.api("POST", path, body);
        assert!(answer.status < 300, "POST {path}: {} {}", answer.status, answer.body);
        answer.json()
    }

    /// Claims jobs of the queue `tasks`.
    pub fn claim(&self, limit: u32, wait: &str) -> Vec<Value> {
        let body = json!({"limit": limit, "lease": "30s", "wait": wait});
        let claimed = self.post("/api/v1/queues/tasks/claim", &body);
        claimed["data"].as_array().expect("a list").clone()
    }

    /// A job as it is now.
    pub fn job(&self, id: &str) -> Value {
        self.api("GET", &format!("/api/v1/jobs/{id}"), &Value::Null).json()
    }

    /// Starts `serve` and waits until it listens: faster than `up`, which applies the project file once more.
    fn serve_again(&mut self) {
        self.spawn_with(&["serve"], Stdio::null(), Stdio::null());
        let since = Instant::now();
        while self.try_listener("control").is_none() {
            assert!(since.elapsed() < PATIENCE, "serve does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn id_of(job: &Value) -> String {
    job["id"].as_str().unwrap_or_else(|| panic!("a job: {job}")).to_owned()
}

/// Every job of the queue `tasks`: how often each payload's number is there.
fn numbers(project: &Project) -> BTreeMap<u64, usize> {
    let mut found = BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/api/v1/queues/tasks/jobs?limit=500{cursor}");
        let page = project.api("GET", &path, &Value::Null).json();
        for job in page["data"].as_array().unwrap_or_else(|| panic!("a list: {page}")) {
            assert_eq!((&job["status"], &job["attempt"]), (&json!("waiting"), &json!(0)), "{job}");
            *found.entry(job["payload"]["n"].as_u64().expect("a number")).or_default() += 1;
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

/// Jobs that a producer of [`f1_kill_9_amid_enqueues_loses_no_acknowledged_job`] sends with one request in three.
const BULK: u64 = 8;

/// Sends jobs with ever new numbers until the process dies. Numbers from a multiple of [`BULK`] on belong together.
fn produce(project: &Project, running: &AtomicBool, next: &AtomicUsize, acknowledged: &Mutex<Vec<u64>>) {
    let (addr, key) = (project.listener("control"), project.operator_key());
    while running.load(Ordering::SeqCst) {
        let first = next.fetch_add(1, Ordering::SeqCst) as u64 * BULK;
        let count = if first.is_multiple_of(3 * BULK) { BULK } else { 1 };
        let job = |n: u64| json!({"payload": {"n": n}});
        let body = match count {
            1 => job(first),
            _ => json!({"jobs": (first..first + count).map(job).collect::<Vec<_>>()}),
        };
        match try_call(addr, &key, ("POST", "/api/v1/queues/tasks/jobs"), &body) {
            Ok(answer) if answer.status == 201 => {
                acknowledged.lock().expect("not poisoned").extend(first..first + count);
            }
            Ok(answer) => panic!("{}: {}", answer.status, answer.body),
            // The process died: nobody knows.
            Err(_) => return,
        }
    }
}

/// Kills of the binary on each store: 25 in each run of the tests, `SWITCHYARD_TEST_KILLS` by hand.
fn kills() -> u64 {
    std::env::var("SWITCHYARD_TEST_KILLS").map_or(25, |kills| kills.parse().expect("a number"))
}

#[test]
fn f1_kill_9_amid_enqueues_loses_no_acknowledged_job() {
    on_both_stores(&with_queue(""), |project| {
        project.up();
        let (acknowledged, next) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
        for round in 0..kills() {
            let running = AtomicBool::new(true);
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| produce(project, &running, &next, &acknowledged));
                }
                // At other points of what the store does in each round.
                std::thread::sleep(Duration::from_micros(25_000 + 7_919 * (round * round % 11)));
                signal(project.pid(), "KILL");
                running.store(false, Ordering::SeqCst);
            });
            project.kill();
            project.serve_again();
        }
        let found = numbers(project);
        let acknowledged = acknowledged.into_inner().expect("not poisoned");
        assert!(found.values().all(|times| *times == 1), "a job is there twice");
        let lost: Vec<_> = acknowledged.iter().filter(|n| !found.contains_key(n)).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        assert!(acknowledged.len() > 100, "only {} were acknowledged", acknowledged.len());
        for first in found.keys().filter(|n| n.is_multiple_of(3 * BULK)) {
            let whole = (*first..first + BULK).all(|n| found.contains_key(&n));
            assert!(whole, "half of a bulk is there, from {first} on");
        }
    });
}

/// A worker in a process of its own.
struct Worker {
    child: Child,
    stdin: ChildStdin,
    said: Receiver<String>,
    effects: PathBuf,
}

impl Worker {
    /// Starts one that waits after this step.
    fn start(project: &Project, pause_at: &str, lease: &str) -> Worker {
        let effects = project.path().join("effects");
        let mut child = Command::new(job_worker())
            .env("SWITCHYARD_URL", format!("http://{}", project.listener("control")))
            .env("SWITCHYARD_TOKEN", project.operator_key())
            .env("QUEUE", "tasks")
            .env("LEASE", lease)
            .env("PAUSE_AT", pause_at)
            .env("EFFECTS", &effects)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start a worker");
        let (sender, said) = channel();
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        std::thread::spawn(move || lines.map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        let stdin = child.stdin.take().expect("its input");
        Worker { child, stdin, said, effects }
    }

    /// Waits until it tells of this step, and gives the words after it.
    fn tells(&self, step: &str) -> Vec<String> {
        loop {
            let line = self.said.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("the worker never {step}"));
            let mut words = line.split(' ').map(str::to_owned);
            if words.next().as_deref() == Some(step) {
                return words.collect();
            }
        }
    }

    fn go_on(&mut self) {
        self.stdin.write_all(b"\n").expect("it listens");
    }

    fn effects(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.effects).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // SIGKILL ends a frozen one too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn f2_a_worker_killed_between_claim_and_ack_leaves_its_job_to_the_next_and_the_attempt_counts() {
    on_both_stores(&with_queue(""), |project| {
        project.up();
        let id = id_of(&project.post("/api/v1/queues/tasks/jobs", &json!({"payload": 1})));
        let first = Worker::start(project, "claimed", "1s");
        assert_eq!(first.tells("claimed"), [id.as_str(), "1"]);
        let killed = Instant::now();
        drop(first);
        // Its pause after the failed attempt follows the lease.
        let second = Worker::start(project, "", "30s");
        assert_eq!(second.tells("claimed"), [id.as_str(), "2"]);
        let late = killed.elapsed();
        assert!(late < Duration::from_secs(15), "worked off again only after {late:?}");
        assert_eq!(second.tells("acked"), [id.as_str(), "200", "-"]);
        let job = project.job(&id);
        assert_eq!((&job["status"], &job["attempt"]), (&json!("completed"), &json!(2)), "{job}");
        let history = job["history"].as_array().expect("its history");
        assert_eq!(history.len(), 1, "{job}");
        assert_eq!(
            (&history[0]["attempt"], &history[0]["outcome"]),
            (&json!(1), &json!("lease_expired")),
            "{job}"
        );
    });
}

#[test]
fn f3_a_worker_killed_after_its_effect_repeats_it_under_the_same_id() {
    let mut project = Project::new(&with_queue(""));
    project.up();
    let id = id_of(&project.post("/api/v1/queues/tasks/jobs", &json!({"payload": 1})));
    let first = Worker::start(&project, "done", "1s");
    first.tells("done");
    drop(first);
    let second = Worker::start(&project, "", "30s");
    second.tells("acked");
    // The effect came twice, by the same key: a receiver that looks at it has it once.
    let mut effects = second.effects();
    assert_eq!(effects, [id.as_str(), id.as_str()]);
    effects.dedup();
    assert_eq!(effects.len(), 1);
    assert_eq!(project.job(&id)["status"], "completed");
}

#[test]
fn f4_a_worker_frozen_past_its_lease_is_refused_when_it_wakes() {
    let mut project = Project::new(&with_queue(""));
    project.up();
    let id = id_of(&project.post("/api/v1/queues/tasks/jobs", &json!({"payload": 1})));
    let mut frozen = Worker::start(&project, "done", "1s");
    frozen.tells("done");
    signal(frozen.child.id(), "STOP");
    let next = Worker::start(&project, "", "30s");
    next.tells("acked");
    let result = project.job(&id)["result"].clone();
    signal(frozen.child.id(), "CONT");
    frozen.go_on();
    assert_eq!(frozen.tells("acked"), [id.as_str(), "409", "lease_lost"]);
    let job = project.job(&id);
    assert_eq!((&job["status"], &job["result"]), (&json!("completed"), &result), "its word changed nothing");
}

/// Transactions that the store committed so far.
fn committed(project: &Project) -> u64 {
    let metrics =
        request(project.listener("control"), "GET", ("localhost", "/metrics"), &[], "").expect("metrics");
    let line = metrics.body.lines().find(|line| line.starts_with("store_transactions_total"));
    let line = line.unwrap_or_else(|| panic!("no figure of the store: {}", metrics.body));
    line.split(' ').nth(1).and_then(|count| count.parse().ok()).expect("a number")
}

#[test]
fn n10_a_flood_of_jobs_neither_delays_others_nor_writes_once_it_is_refused() {
    const ROOM: usize = 500;
    const REFUSED: usize = 200;
    on_both_stores(&with_queue(&format!("tenant_max_jobs = {ROOM}")), |project| {
        project.up();
        ["acme", "globex"].iter().for_each(|tenant| project.make_tenant(tenant, "enterprise"));
        let jobs = "/api/v1/queues/tasks/jobs";
        let job = |tenant: &str, n: usize| json!({"tenant": tenant, "payload": {"n": n}});
        let all: Vec<Value> = (0..ROOM).map(|n| job("acme", n)).collect();
        project.post(jobs, &json!({ "jobs": all }));
        let (before, begun) = (committed(project), Instant::now());
        for n in 0..REFUSED {
            let refused = project.api("POST", jobs, &job("acme", n));
            assert_eq!((refused.status, refused.code().as_str()), (429, "queue_full"), "{}", refused.body);
            assert!(refused.header("retry-after").is_some());
        }
        // What the platform does by itself meanwhile, on a slow machine for longer, is seen when nobody asks for anything.
        let (writes, took) = (committed(project) - before, begun.elapsed());
        let before = committed(project);
        std::thread::sleep(took);
        let by_itself = committed(project) - before;
        let writes_max = 2 * by_itself + REFUSED as u64 / 20;
        assert!(
            writes <= writes_max,
            "{writes} transactions for {REFUSED} refused requests: {by_itself} without"
        );
        let quiet = id_of(&project.post(jobs, &job("globex", 1)));
        let claimed = project.claim(4, "5s");
        assert!(
            claimed.iter().any(|job| id_of(job) == quiet),
            "the quiet tenant's job is not among the first: {claimed:?}"
        );
    });
}

fn set_status(project: &Project, tenant: &str, status: &str) {
    let changed = project.api("PATCH", &format!("/api/v1/tenants/{tenant}"), &json!({ "status": status }));
    assert_eq!(changed.status, 200, "{}", changed.body);
}

#[test]
fn a_suspended_tenants_jobs_rest_and_go_on_within_a_second() {
    on_both_stores(&with_queue(""), |project| {
        project.up();
        ["acme", "globex"].iter().for_each(|tenant| project.make_tenant(tenant, "free"));
        let add = |tenant: &str| {
            id_of(&project.post("/api/v1/queues/tasks/jobs", &json!({"tenant": tenant, "payload": 1})))
        };
        let (theirs, other) = (add("acme"), add("globex"));
        set_status(project, "acme", "suspended");
        std::thread::sleep(Duration::from_secs(1));
        let claimed = project.claim(10, "0s");
        assert_eq!(claimed.iter().map(id_of).collect::<Vec<_>>(), [other], "a suspended tenant's job began");
        assert_eq!(project.job(&theirs)["status"], "waiting", "nothing is lost");
        set_status(project, "acme", "active");
        within_a_second("its job goes on", || project.claim(10, "1s").iter().any(|job| id_of(job) == theirs));
    });
}
