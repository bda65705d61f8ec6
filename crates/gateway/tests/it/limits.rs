//! Who may ask how often.

use crate::harness::{TestGateway, Upstream, eventually};
use base::Rate;
use gateway::Config;
use serde_json::json;
use std::time::Duration;

fn free(upstream: &Upstream) -> TestGateway {
    let gateway = TestGateway::new(&[upstream.addr]);
    gateway.memory.tenant("small", "free");
    gateway.get_until("small.localhost", "/", 200);
    // The window of the first minute is over before the test begins to count.
    gateway.clock.advance(Duration::from_secs(62));
    gateway
}

#[test]
fn sixty_a_minute_are_sixty_in_any_minute() {
    let upstream = Upstream::echo_path();
    let gateway = free(&upstream);
    let mut client = gateway.connect();
    let mut passed = Vec::new();
    // Two requests every 700 ms, for five minutes: more than the limit all along.
    for step in 0..430_u64 {
        for _ in 0..2 {
            client.send("GET / HTTP/1.1\r\nHost: small.localhost\r\n\r\n");
            match client.response().status {
                200 => passed.push(step * 700),
                429 => {}
                other => panic!("{other}"),
            }
        }
        gateway.clock.advance(Duration::from_millis(700));
    }
    for start in &passed {
        let inside = passed.iter().filter(|at| *at >= start && **at < start + 60_000).count();
        assert!(inside <= 60, "{inside} from {start} ms");
    }
    // At most one part (938 ms) is lost each minute.
    assert!(passed.len() >= 60 * 5 - 10, "{}", passed.len());
}

#[test]
fn a_refusal_says_when_to_come_back_and_keeps_its_word() {
    let upstream = Upstream::echo_path();
    let gateway = free(&upstream);
    let mut client = gateway.connect();
    let mut ask = || {
        client.send("GET / HTTP/1.1\r\nHost: small.localhost\r\n\r\n");
        client.response()
    };
    let first = ask();
    assert_eq!(first.header("ratelimit-policy"), Some("\"tenant\";q=60;w=60"));
    assert!(first.header("ratelimit").is_some_and(|value| value.starts_with("\"tenant\";r=59;t=")));
    assert_eq!(first.header("x-ratelimit-limit"), Some("60"));
    assert_eq!(first.header("x-ratelimit-remaining"), Some("59"));
    (1..60).for_each(|_| assert_eq!(ask().status, 200));
    let refused = ask();
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"));
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    assert_eq!(refused.header("x-ratelimit-remaining"), Some("0"));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    let reset: u64 = refused.header("x-ratelimit-reset").unwrap().parse().unwrap();
    let now = u64::try_from(base::Clock::now(&gateway.clock).seconds()).unwrap();
    assert_eq!(reset, now + wait);
    assert!((59..=61).contains(&wait), "{wait}");
    let problem: serde_json::Value = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!(
        (&problem["limit"], &problem["status"], &problem["retry_after"]),
        (&json!(60), &json!(429), &json!(wait))
    );
    assert_eq!(problem["request_id"].as_str(), refused.header("x-request-id"));
    assert_eq!(gateway.get("acme.localhost", "/").status, 200, "others are not touched");
    gateway.clock.advance(Duration::from_secs(wait));
    assert_eq!(ask().status, 200);
    assert!(upstream.got().iter().filter(|got| got.header("x-tenant-slug") == Some("small")).count() <= 62);
}

#[test]
fn n6_five_hundred_in_parallel_on_a_limit_of_a_hundred() {
    let upstream = Upstream::echo_path();
    let gateway = TestGateway::new(&[upstream.addr]);
    gateway.memory.plan("hundred", Rate::per_minute(100));
    gateway.memory.tenant("gamma", "hundred");
    gateway.get_until("gamma.localhost", "/", 200);
    gateway.clock.advance(Duration::from_secs(62));
    let passed: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..20)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = gateway.connect();
                    let mut passed = 0;
                    for _ in 0..25 {
                        client.send("GET / HTTP/1.1\r\nHost: gamma.localhost\r\n\r\n");
                        passed += usize::from(client.response().status == 200);
                    }
                    passed
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(passed, 100);
}

#[test]
fn n1_two_hundred_addresses_in_headers_are_one_address() {
    let upstream = Upstream::echo_path();
    let gateway = TestGateway::with(
        Config::default(),
        &[upstream.addr],
        &[json!({ "host": "localhost", "service": "web" })],
    );
    let mut client = gateway.connect();
    let mut passed = 0;
    for n in 0..200 {
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 1.2.3.{n}\r\nX-Real-IP: 1.2.3.{n}\r\n\
             Forwarded: for=1.2.3.{n}\r\n\r\n"
        ));
        let response = client.response();
        passed += usize::from(response.status == 200);
        assert!(matches!(response.status, 200 | 429));
        assert!(response.header("ratelimit-policy").unwrap().starts_with("\"address\";q=100;"));
    }
    assert_eq!(passed, 100);
    eventually("records name the socket's peer", || {
        let records = gateway.log.records();
        (records.len() == 200)
            .then(|| assert!(records.iter().all(|one| one.origin.client.to_string() == "127.0.0.1")))
    });
    assert!(upstream.got().iter().all(|got| got.header("x-forwarded-for") == Some("127.0.0.1")));
}

#[test]
fn finding_tenants_by_trying_is_limited_by_address() {
    let upstream = Upstream::echo_path();
    let gateway = TestGateway::new(&[upstream.addr]);
    let mut client = gateway.connect();
    let mut counts = (0, 0);
    for n in 0..150 {
        client.send(format!("GET / HTTP/1.1\r\nHost: guess{n}.localhost\r\n\r\n"));
        match client.response().status {
            404 => counts.0 += 1,
            429 => counts.1 += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!(counts, (100, 50));
    client.send("GET / HTTP/1.1\r\nHost: acme.localhost\r\n\r\n");
    assert_eq!(client.response().status, 200);
}

#[test]
fn a_change_of_plan_or_rate_is_in_force_within_a_second() {
    let upstream = Upstream::echo_path();
    let gateway = TestGateway::new(&[upstream.addr]);
    let tenant = gateway.memory.tenant("gamma", "free");
    let limit = |expected: &str| {
        let clock = base::SystemClock::shared();
        let begun = clock.monotonic();
        eventually(expected, || {
            let response = gateway.get("gamma.localhost", "/");
            (response.header("x-ratelimit-limit") == Some(expected)).then_some(())
        });
        assert!(clock.monotonic() - begun < Duration::from_secs(1));
    };
    limit("60");
    gateway.memory.change_tenant(tenant, |tenant| tenant.plan = base::Slug::parse("enterprise").unwrap());
    limit("10000");
    gateway.memory.plan("enterprise", Rate::per_minute(20_000));
    limit("20000");
    // A plan that nobody knows has the limits of the default plan.
    gateway.memory.change_tenant(tenant, |tenant| tenant.plan = base::Slug::parse("gone").unwrap());
    limit("60");
    assert_eq!(upstream.got().last().unwrap().header("x-tenant-plan"), Some("free"));
}

#[test]
fn routes_have_limits_of_their_own() {
    let upstream = Upstream::echo_path();
    let gateway = TestGateway::with(
        Config::default(),
        &[upstream.addr],
        &[
            json!({ "host": "*.localhost", "service": "web" }),
            json!({ "host": "*.localhost", "path": "/free", "service": "web", "limits": false }),
            json!({ "host": "*.localhost", "path": "/tight", "service": "web", "limits": { "tenant": "3/min" } }),
            json!({ "host": "*.localhost", "path": "/door", "service": "web", "limits": { "plan": false, "address": "2/min" } }),
        ],
    );
    let statuses =
        |host: &str, path: &str| (0..5).map(|_| gateway.get(host, path).status).collect::<Vec<_>>();
    assert_eq!(gateway.get("acme.localhost", "/free").header("ratelimit"), None);
    assert_eq!(statuses("acme.localhost", "/tight"), [200, 200, 200, 429, 429]);
    assert_eq!(statuses("beta.localhost", "/tight"), [200, 200, 200, 429, 429]);
    assert_eq!(statuses("acme.localhost", "/door"), [200, 200, 429, 429, 429]);
    // What the route refused was not counted against the plan.
    let left = gateway.get("acme.localhost", "/");
    assert_eq!(left.header("x-ratelimit-remaining"), Some("996"));
}

#[test]
fn an_applications_own_limits_are_not_taken_for_ours() {
    let upstream = Upstream::new(|_| {
        crate::harness::raw(
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-RateLimit-Limit: 7\r\nRateLimit: \"x\";r=1\r\nratelimit-policy: y\r\n\r\n",
        )
    });
    let gateway = TestGateway::new(&[upstream.addr]);
    let response = gateway.get("acme.localhost", "/");
    assert_eq!(response.headers("x-ratelimit-limit"), ["1000"]);
    assert_eq!((response.headers("ratelimit").len(), response.headers("ratelimit-policy").len()), (1, 1));
}
