//! What goes wrong: upstreams that hang, break, lie or die; clients that are slow.

use crate::harness::{Act, Client, TestGateway, Upstream, eventually, ok, raw};
use gateway::Config;
use serde_json::json;
use socket2::{Domain, Socket, Type};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const GET: &str = "GET / HTTP/1.1\r\nHost: acme.localhost\r\n\r\n";

/// An address where nobody listens, and which nobody else gets while the test runs.
fn nobody() -> SocketAddr {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    std::mem::forget(socket);
    addr
}

fn requests(upstream: &Upstream) -> usize {
    upstream.got().len()
}

#[test]
fn f25_an_upstream_that_hangs_is_answered_for_at_the_deadline() {
    let upstream = Upstream::new(|_| vec![Act::Hang]);
    let gateway = TestGateway::with(
        Config::default(),
        &[upstream.addr],
        &[json!({ "host": "*.localhost", "service": "web", "timeouts": { "response": "5s" } })],
    );
    let mut client = gateway.connect();
    client.send(GET);
    eventually("the request is there", || (requests(&upstream) == 1).then_some(()));
    gateway.clock.advance(Duration::from_secs(5));
    let response = client.response();
    assert_eq!((response.status, response.code().as_str()), (504, "upstream_timeout"));
    assert_eq!(requests(&upstream), 1, "what may still be under way is not sent again");
    // The connection that hangs is not used for the next request.
    client.send(GET);
    eventually("the next request is there", || (upstream.connections() == 2).then_some(()));
}

#[test]
fn f25_broken_answers_are_not_passed_on_and_their_connections_not_used_again() {
    let answers: [&str; 10] = [
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA\0: b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
    ];
    let upstream = Upstream::new(move |got| raw(answers[got.path()[1..].parse::<usize>().unwrap()]));
    let gateway = TestGateway::new(&[upstream.addr]);
    let mut client = gateway.connect();
    for number in 0..answers.len() {
        client.send(format!("GET /{number} HTTP/1.1\r\nHost: acme.localhost\r\n\r\n"));
        let response = client.response();
        assert_eq!((response.status, response.code().as_str()), (502, "upstream_unavailable"), "{number}");
    }
    assert_eq!(upstream.connections(), answers.len());
    assert_eq!(requests(&upstream), answers.len());
}

#[test]
fn f25_interim_answers_are_dropped_and_bounded() {
    let upstream = Upstream::new(|got| match got.path() {
        "/some" => raw(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ),
        _ => raw(&"HTTP/1.1 102 Processing\r\n\r\n".repeat(1_000)),
    });
    let gateway = TestGateway::new(&[upstream.addr]);
    assert_eq!(gateway.get("acme.localhost", "/some").text(), "ok");
    assert_eq!(gateway.get("acme.localhost", "/storm").status, 502);
}

#[test]
fn f25_a_body_that_is_cut_is_seen_to_be_cut() {
    for (head, chunked) in [("Content-Length: 100", false), ("Transfer-Encoding: chunked", true)] {
        for end in [|| Act::Close, || Act::Reset] {
            let body = if chunked { "5\r\nhello\r\n" } else { "hello" };
            let text = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}");
            let upstream = Upstream::new(move |_| vec![Act::Send(text.clone().into_bytes()), end()]);
            let gateway = TestGateway::new(&[upstream.addr]);
            let mut client = gateway.connect();
            client.send(GET);
            assert_eq!(client.try_head().unwrap().status, 200);
            let rest = client.rest();
            assert!(!rest.ends_with(b"0\r\n\r\n"), "the end is not made up");
            assert_eq!(requests(&upstream), 1, "an answer that has begun is not asked for again");
        }
    }
}

#[test]
fn f25_only_idempotent_requests_are_sent_again() {
    let broken = Arc::new(AtomicBool::new(true));
    let flag = broken.clone();
    // Breaks the first connection after it has got a request, and serves from then on.
    let upstream = Upstream::new(move |got| match flag.swap(false, Ordering::SeqCst) {
        true => vec![Act::Reset],
        false => ok(got.head.split(' ').next().unwrap()),
    });
    let gateway = TestGateway::new(&[upstream.addr]);
    for (method, expected) in [("GET", 200), ("PUT", 200), ("DELETE", 200), ("POST", 502), ("PATCH", 502)] {
        broken.store(true, Ordering::SeqCst);
        let before = requests(&upstream);
        let response =
            gateway.ask(&format!("{method} / HTTP/1.1\r\nHost: acme.localhost\r\nConnection: close\r\n\r\n"));
        assert_eq!(response.status, expected, "{method}");
        assert_eq!(requests(&upstream) - before, if expected == 200 { 2 } else { 1 }, "{method}");
    }
    // With a body that is gone, nobody can send it again.
    broken.store(true, Ordering::SeqCst);
    let response = gateway.ask("PUT / HTTP/1.1\r\nHost: acme.localhost\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(response.status, 502);
}

#[test]
fn connections_that_were_closed_while_idle_cost_nobody_a_request() {
    let upstream = Upstream::new(|got| ok(got.path()));
    let gateway = TestGateway::new(&[upstream.addr]);
    let mut client = gateway.connect();
    for round in 0..5 {
        for method in ["GET", "POST"] {
            client.send(format!("{method} /{round} HTTP/1.1\r\nHost: acme.localhost\r\n\r\n"));
            assert_eq!(client.response().text(), format!("/{round}"));
        }
        // As a server does whose keep-alive time is over.
        upstream.end_connections();
        eventually("the end is heard", || {
            client.send("GET /probe HTTP/1.1\r\nHost: acme.localhost\r\n\r\n");
            (client.response().status == 200).then_some(())
        });
    }
}

#[test]
fn a_killed_replica_costs_no_idempotent_request() {
    let replicas: Vec<Upstream> = (0..3).map(|_| Upstream::echo_path()).collect();
    let gateway = TestGateway::new(&replicas.iter().map(|replica| replica.addr).collect::<Vec<_>>());
    gateway.memory.plan("pro", base::Rate::per_minute(1_000_000));
    eventually("the new rate", || {
        (gateway.get("acme.localhost", "/").header("x-ratelimit-limit") == Some("1000000")).then_some(())
    });
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = gateway.connect();
                while !stop.load(Ordering::SeqCst) {
                    client.send(GET);
                    assert_eq!(client.response().status, 200);
                    served.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let reach = |count: usize| {
            let target = served.load(Ordering::SeqCst) + count;
            eventually("traffic flows", || (served.load(Ordering::SeqCst) >= target).then_some(()));
        };
        reach(200);
        replicas[0].kill();
        reach(500);
        replicas[1].kill();
        reach(500);
        stop.store(true, Ordering::SeqCst);
    });
    assert!(requests(&replicas[2]) > 500);
}

#[test]
fn without_a_replica_the_answer_says_so() {
    let gateway = TestGateway::new(&[]);
    let response = gateway.get("acme.localhost", "/");
    assert_eq!((response.status, response.code().as_str()), (503, "upstream_unavailable"));
    assert_eq!(response.header("retry-after"), Some("1"));
    let gateway = TestGateway::new(&[nobody()]);
    let response = gateway.get("acme.localhost", "/");
    assert_eq!((response.status, response.code().as_str()), (502, "upstream_unavailable"));
    gateway.memory.routes(&[json!({ "host": "*.localhost", "service": "other" })]);
    gateway.get_until("acme.localhost", "/", 503);
}

#[test]
fn a_service_that_cannot_be_reached_rests_for_a_minute() {
    let gateway = TestGateway::new(&[nobody()]);
    let mut statuses = Vec::new();
    let open = eventually("the breaker opens", || {
        let response = gateway.get("acme.localhost", "/");
        statuses.push(response.status);
        (response.code() == "circuit_open").then_some(response)
    });
    assert_eq!(open.status, 503);
    // Tries count: three of the first request, and two of the second.
    assert!(statuses.len() <= 6, "{statuses:?}");
    let wait: u64 = open.header("retry-after").unwrap().parse().unwrap();
    assert!((59..=60).contains(&wait), "{wait}");
    let upstream = Upstream::echo_path();
    gateway.memory.service("web", &[upstream.addr], "");
    assert_eq!(gateway.get("acme.localhost", "/").code(), "circuit_open");
    // A probe may still go to the endpoint of before; then it rests for another minute.
    eventually("a probe finds the new endpoint", || {
        gateway.clock.advance(Duration::from_secs(60));
        (gateway.get("acme.localhost", "/").status == 200).then_some(())
    });
    assert_eq!(gateway.get("acme.localhost", "/").status, 200);
}

#[test]
fn n13_one_tenants_timeouts_do_not_close_the_service_to_others() {
    let upstream = Upstream::new(|got| if got.path() == "/slow" { vec![Act::Hang] } else { ok("quick") });
    let gateway = TestGateway::with(
        Config::default(),
        &[upstream.addr],
        &[json!({ "host": "*.localhost", "service": "web", "timeouts": { "response": "1s" } })],
    );
    for n in 0..5 {
        let mut client = gateway.connect();
        client.send("GET /slow HTTP/1.1\r\nHost: acme.localhost\r\n\r\n");
        eventually("the request is there", || (requests(&upstream) == n + 1).then_some(()));
        gateway.clock.advance(Duration::from_secs(1));
        assert_eq!(client.response().status, 504);
    }
    assert_eq!(gateway.get("acme.localhost", "/").code(), "circuit_open");
    assert_eq!(gateway.get("beta.localhost", "/").text(), "quick");
    gateway.clock.advance(Duration::from_secs(61));
    assert_eq!(gateway.get("acme.localhost", "/").text(), "quick");
}

#[test]
fn endpoints_that_do_not_answer_checks_are_not_asked() {
    let well = Arc::new(AtomicBool::new(true));
    let flag = well.clone();
    let first = Upstream::new(move |got| match got.path() {
        "/health" if !flag.load(Ordering::SeqCst) => raw("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"),
        path => ok(path),
    });
    let second = Upstream::echo_path();
    let memory = gateway::testing::Memory::new();
    memory.tenant("acme", "enterprise");
    memory.routes(&[json!({ "host": "*.localhost", "service": "web" })]);
    memory.service("web", &[first.addr, second.addr], "/health");
    let gateway = TestGateway::over(memory, Config::default());
    gateway.keep();
    let served = |upstream: &Upstream| upstream.got().iter().filter(|got| got.path() == "/").count();
    let share = || {
        let before = served(&first);
        (0..10).for_each(|_| assert_eq!(gateway.get("acme.localhost", "/").status, 200));
        served(&first) - before
    };
    assert!(share() > 0);
    well.store(false, Ordering::SeqCst);
    eventually("it gets nothing more", || {
        gateway.clock.advance(Duration::from_secs(5));
        (share() == 0).then_some(())
    });
    well.store(true, Ordering::SeqCst);
    eventually("it is back", || {
        gateway.clock.advance(Duration::from_secs(5));
        (share() > 0).then_some(())
    });
}

/// Moves the clock on by seconds until a connection has ended, and says how many it took and what came before.
fn seconds_until_ended(
    gateway: &TestGateway,
    client: &mut Client,
    each: impl Fn(&mut Client),
) -> (u64, Vec<u8>) {
    let mut came = Vec::new();
    for second in 1..=200 {
        gateway.clock.advance(Duration::from_secs(1));
        each(client);
        if client.has_ended_within(Duration::from_millis(50), &mut came) {
            return (second, came);
        }
    }
    panic!("the connection does not end");
}

#[test]
fn g17_a_client_that_sends_nothing_is_cut() {
    let gateway = TestGateway::new(&[]);
    let (seconds, came) = seconds_until_ended(&gateway, &mut gateway.connect(), |_| {});
    assert!((10..=15).contains(&seconds), "{seconds}");
    assert!(came.is_empty());
}

#[test]
fn g17_a_slow_head_is_cut() {
    let gateway = TestGateway::new(&[]);
    let mut client = gateway.connect();
    client.send("GET / HTTP/1.1\r\nHost: acme");
    let (seconds, came) = seconds_until_ended(&gateway, &mut client, |client| client.send("x"));
    assert!((10..=15).contains(&seconds), "{seconds}");
    assert!(came.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&came));
}

#[test]
fn g17_a_slow_body_is_cut() {
    let upstream = Upstream::echo_path();
    let gateway = TestGateway::new(&[upstream.addr]);
    // Silent within it, and one that brings a byte a second.
    for (each, expected) in [("", 30..=40), ("x", 30..=45)] {
        let mut client = gateway.connect();
        client.send("POST / HTTP/1.1\r\nHost: acme.localhost\r\nContent-Length: 100000\r\n\r\nx");
        let (seconds, came) = seconds_until_ended(&gateway, &mut client, |client| client.send(each));
        assert!(expected.contains(&seconds), "{each:?} {seconds}");
        assert!(came.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&came));
    }
    assert!(upstream.got().is_empty(), "no request was completed");
}

#[test]
fn g17_a_slow_reader_is_cut() {
    let upstream = Upstream::new(|_| ok(&"x".repeat(20_000_000)));
    let gateway = TestGateway::new(&[upstream.addr]);
    let mut client = gateway.connect();
    client.send(GET);
    assert_eq!(client.try_head().unwrap().status, 200);
    let record = eventually("the download is given up", || {
        gateway.clock.advance(Duration::from_secs(1));
        std::thread::yield_now();
        gateway.log.records().pop()
    });
    assert!(record.duration >= Duration::from_secs(30), "{:?}", record.duration);
    assert!(client.rest().len() < 20_000_000);
}

#[test]
fn idle_connections_end_after_their_time() {
    let upstream = Upstream::echo_path();
    let gateway = TestGateway::new(&[upstream.addr]);
    let mut client = gateway.connect();
    client.send(GET);
    assert_eq!(client.response().status, 200);
    let (seconds, came) = seconds_until_ended(&gateway, &mut client, |_| {});
    assert!((75..=80).contains(&seconds), "{seconds}");
    assert!(came.is_empty());
}

#[test]
fn too_many_connections_are_refused() {
    let upstream = Upstream::echo_path();
    let config = Config { connections_of_address_max: 3, ..Config::default() };
    let gateway =
        TestGateway::with(config, &[upstream.addr], &[json!({ "host": "*.localhost", "service": "web" })]);
    let mut held: Vec<_> = (0..3).map(|_| gateway.connect()).collect();
    for client in &mut held {
        client.send(GET);
        assert_eq!(client.response().status, 200);
    }
    let response = gateway.connect().response();
    assert_eq!((response.status, response.code().as_str()), (503, "overloaded"));
    held.pop();
    gateway.get_until("acme.localhost", "/", 200);
}

#[test]
fn stopping_lets_what_is_under_way_end() {
    let (tell, listen) = crate::harness::told();
    let listen = Mutex::new(Some(listen));
    let upstream = Upstream::new(move |_| vec![Act::SendWhenTold(listen.lock().unwrap().take().unwrap())]);
    let mut gateway = TestGateway::new(&[upstream.addr]);
    let mut idle = gateway.connect();
    idle.send("GET / HTTP/1.1\r\nHost: nobody.localhost\r\n\r\n");
    assert_eq!(idle.response().status, 404);
    let mut busy = gateway.connect();
    busy.send(GET);
    eventually("the request is there", || (requests(&upstream) == 1).then_some(()));
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| gateway.stop(Duration::from_secs(20)));
        assert!(idle.is_ended(), "idle connections end at once");
        tell.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone".to_vec()).unwrap();
        assert_eq!(busy.response().text(), "done");
        drop(busy);
        stopping.join().unwrap().unwrap();
    });
}
