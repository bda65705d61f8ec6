//! TORTURE, faults, through the real binary: what is acknowledged stays, what the store does not answer is told in time,
//! and the gateway serves all the while.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::pgserver;

use crate::harness::{Project, Response, UNLIMITED, echo_project, eventually, request};
use crate::moving::BARE;
use crate::stores::{Line, on_both_stores};

/// A request that waits for the store is given up after 30 s; so much more for a busy machine.
const TOLD_MAX: Duration = Duration::from_secs(40);
/// How long a store that is back may keep us waiting (TORTURE F14).
const BACK_MAX: Duration = Duration::from_secs(5);

fn create(project: &Project, slug: &str, once: &str) -> std::io::Result<Response> {
    let bearer = format!("Bearer {}", project.operator_key());
    let headers =
        [("authorization", bearer.as_str()), ("content-type", "application/json"), ("idempotency-key", once)];
    let body = json!({"slug": slug, "name": slug, "email": format!("owner@{slug}.example")}).to_string();
    request(project.listener("control"), "POST", ("localhost", "/api/v1/tenants"), &headers, &body)
}

/// How often each slug is there.
fn slugs(project: &Project) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let page = project.api("GET", &format!("/api/v1/tenants?limit=100{cursor}"), &Value::Null).json();
        for tenant in page["data"].as_array().expect("a list") {
            *found.entry(tenant["slug"].as_str().expect("a slug").to_owned()).or_default() += 1;
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

#[test]
fn f1_kill_9_amid_changes_loses_none_that_was_acknowledged() {
    const ROUNDS: u64 = 8;
    on_both_stores(BARE, |project| {
        let acknowledged = Mutex::new(BTreeSet::new());
        let mut asked = 0;
        for round in 0..ROUNDS {
            project.up();
            let (running, next) = (AtomicBool::new(true), AtomicUsize::new(0));
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        while running.load(Ordering::SeqCst) {
                            let slug = format!("t{round}-{}", next.fetch_add(1, Ordering::SeqCst));
                            match create(project, &slug, &slug) {
                                Ok(answer) if answer.status == 201 => {
                                    acknowledged.lock().expect("not poisoned").insert(slug);
                                }
                                Ok(answer) => panic!("{}", answer.body),
                                // The process died: nobody knows.
                                Err(_) => return,
                            }
                        }
                    });
                }
                std::thread::sleep(Duration::from_millis(60 + 97 * round));
                crate::harness::signal(project.pid(), "KILL");
                running.store(false, Ordering::SeqCst);
            });
            asked += next.load(Ordering::SeqCst);
            project.kill();
        }
        project.up();
        let found = slugs(project);
        let acknowledged = acknowledged.lock().expect("not poisoned").clone();
        assert!(found.values().all(|times| *times == 1), "{found:?}");
        let lost: Vec<_> = acknowledged.iter().filter(|slug| !found.contains_key(*slug)).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        assert!(found.len() <= asked && acknowledged.len() > 20, "{} of {asked}", acknowledged.len());
        // Each tenant has its event and each event its tenant: no half of a change is there.
        eventually("every change has its event", || {
            let verified = project.json(&["audit", "verify"]);
            assert_eq!(verified["ok"], true, "{verified}");
            created_events(project) == found.len()
        });
    });
}

fn created_events(project: &Project) -> usize {
    let (mut count, mut cursor) = (0, String::new());
    loop {
        let path = format!("/api/v1/events?kind=tenant.created&limit=500{cursor}");
        let page = project.api("GET", &path, &Value::Null).json();
        count += page["data"].as_array().expect("a list").len();
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return count,
        }
    }
}

/// Asks the gateway without a pause while something else happens; all answers have to be 200. Gives how many.
fn serving_meanwhile(project: &Project, work: impl FnOnce()) -> usize {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut served = 0;
            while !done.load(Ordering::SeqCst) {
                let answer = project.get("acme", "/who");
                assert_eq!(answer.status, 200, "{}", answer.body);
                served += 1;
            }
            served
        });
        let end = SetAtEnd(&done);
        work();
        drop(end);
        asking.join().expect("the gateway serves")
    })
}

/// Sets its flag also when the work fails, so that nobody asks for ever.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn over_a_line(database: &testkit::Database) -> (Project, Line) {
    let (line, url) = Line::to(&database.url());
    let mut project = Project::new(&echo_project(UNLIMITED));
    project.database_url = Some(url);
    project.up();
    project.make_tenant("acme", "free");
    eventually("acme is served", || project.get("acme", "/health").status == 200);
    (project, line)
}

#[test]
fn f11_a_slow_store_is_told_or_waited_for_and_the_gateway_serves_on() {
    let database = testkit::postgres();
    let (project, line) = over_a_line(&database);
    line.delay(Duration::from_millis(250));
    let statuses = Mutex::new(Vec::new());
    let served = serving_meanwhile(&project, || {
        std::thread::scope(|scope| {
            for n in 0..24 {
                let (project, statuses) = (&project, &statuses);
                scope.spawn(move || {
                    let begun = Instant::now();
                    let slug = format!("slow{n}");
                    let status = create(project, &slug, &slug).expect("an answer").status;
                    assert!(begun.elapsed() < TOLD_MAX, "{status} after {:?}", begun.elapsed());
                    statuses.lock().expect("not poisoned").push((slug, status));
                });
            }
        });
    });
    assert!(served > 100, "only {served} requests were served meanwhile");
    line.delay(Duration::ZERO);
    eventually("the store is well again", || {
        create(&project, "after", "after").is_ok_and(|a| a.status == 201)
    });
    let found = slugs(&project);
    for (slug, status) in statuses.into_inner().expect("not poisoned") {
        assert!(matches!(status, 201 | 503), "{slug}: {status}");
        assert!(
            status != 201 || found.get(&slug) == Some(&1),
            "{slug} was acknowledged and is not there once"
        );
    }
}

#[test]
fn f17_a_store_that_is_not_heard_of_is_told_in_time_and_the_gateway_serves_on() {
    let database = testkit::postgres();
    let (project, line) = over_a_line(&database);
    line.hold(true);
    let served = serving_meanwhile(&project, || {
        let begun = Instant::now();
        let answer = create(&project, "held", "held").expect("an answer");
        assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"), "{}", answer.body);
        assert!(begun.elapsed() < TOLD_MAX, "after {:?}", begun.elapsed());
        let health = request(project.listener("control"), "GET", ("localhost", "/api/health"), &[], "");
        assert_eq!(health.expect("an answer").status, 503, "the state is declared");
    });
    assert!(served > 100, "only {served} requests were served meanwhile");
    line.hold(false);
    // Whatever became of the first try, the same key gives one tenant.
    eventually("the store is back", || create(&project, "held", "held").is_ok_and(|a| a.status == 201));
    assert_eq!(slugs(&project).get("held"), Some(&1));
}

#[test]
fn f14_postgresql_restarts_amid_changes_and_keys_of_idempotency_tell_what_became_of_them() {
    for how in [pgserver::Stop::Fast, pgserver::Stop::Immediate] {
        let mut server = pgserver::Server::start(pgserver::Options::DURABLE).expect("start a server");
        let database = testkit::postgres_on(&server);
        let mut project = Project::new(&echo_project(UNLIMITED));
        project.database_url = Some(database.url());
        project.up();
        project.make_tenant("acme", "free");
        eventually("acme is served", || project.get("acme", "/health").status == 200);
        let (ended, uncertain) = (AtomicBool::new(false), AtomicUsize::new(0));
        let served = serving_meanwhile(&project, || {
            std::thread::scope(|scope| {
                for writer in 0..4 {
                    let (project, ended, uncertain) = (&project, &ended, &uncertain);
                    scope.spawn(move || {
                        let (mut n, is_ended) = (0, || ended.load(Ordering::SeqCst));
                        while !is_ended() {
                            let slug = format!("w{writer}-{n}");
                            while let Some(status) = unless_made(project, &slug).filter(|_| !is_ended()) {
                                assert_eq!(status, 503, "{slug}");
                                uncertain.fetch_add(1, Ordering::SeqCst);
                            }
                            n += 1;
                        }
                    });
                }
                let _end = SetAtEnd(&ended);
                std::thread::sleep(Duration::from_millis(300));
                server.stop(how).expect("stop the server");
                server.start_again().expect("start it again");
                let back = Instant::now();
                eventually("changes are taken again", || unless_made(&project, "back").is_none());
                assert!(back.elapsed() < BACK_MAX, "{:?}", back.elapsed());
            });
        });
        assert!(served > 20, "only {served} requests were served meanwhile");
        assert!(uncertain.load(Ordering::SeqCst) > 0, "no change met the restart");
        let found = slugs(&project);
        assert!(found.values().all(|times| *times == 1), "{found:?}");
        eventually("every change has its event", || created_events(&project) == found.len());
        assert_eq!(project.json(&["audit", "verify"])["ok"], true);
        drop(project);
        drop(database);
    }
}

/// Makes a tenant under its own idempotency key; the status, unless it is made now.
fn unless_made(project: &Project, slug: &str) -> Option<u16> {
    let status = create(project, slug, slug).expect("an answer").status;
    (status != 201).then_some(status)
}
