//! TORTURE through the real binary: what the gateway lets through, keeps, and tells, whatever its peers do.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Project, echo_project, eventually, request, text};

/// Memory that refusing may take for buffers, allocator slack and what a debug build adds: far below what is sent.
const GROWTH_MAX_KIB: u64 = 32 * 1024;

fn served(file: &str, tenants: &[(&str, &str)]) -> Project {
    let mut project = Project::new(file);
    project.up();
    for (tenant, plan) in tenants {
        project.make_tenant(tenant, plan);
    }
    for (tenant, _) in tenants {
        eventually(&format!("{tenant} is served"), || project.get(tenant, "/health").status == 200);
    }
    project
}

fn connect(project: &Project) -> TcpStream {
    let stream = TcpStream::connect(project.listener("gateway")).expect("connect");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
    stream.set_nodelay(true).expect("no delay");
    stream
}

/// All that comes until the connection ends.
fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset after the answer ends it as well.
    let _ = stream.read_to_end(&mut bytes);
    text(&bytes)
}

#[test]
fn g5_a_request_over_its_limit_leaves_nothing_behind() {
    let project = served(&echo_project(""), &[("acme", "free"), ("globex", "enterprise")]);
    eventually("the limit is used up", || project.get("acme", "/who").status == 429);
    let hidden = "GET /hidden HTTP/1.1\r\nhost: globex.localhost\r\n\r\n";
    let head = |length: usize| {
        format!("POST /x HTTP/1.1\r\nhost: acme.localhost\r\ncontent-length: {length}\r\n\r\n")
    };
    // The whole body is there: it is dropped, and what follows it is the next request.
    let mut stream = connect(&project);
    let next = "GET /next HTTP/1.1\r\nhost: globex.localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(format!("{}{hidden}{next}", head(hidden.len())).as_bytes()).expect("send");
    let said = rest(stream);
    assert_eq!(said.matches("HTTP/1.1 429").count(), 1, "{said}");
    assert_eq!(said.matches("HTTP/1.1 ").count(), 2, "{said}");
    assert!(said.contains("/next") && !said.contains("/hidden"), "{said}");
    // A part of it is there: the connection ends with the one answer.
    let mut stream = connect(&project);
    stream.write_all(format!("{}{hidden}", head(hidden.len() + 1)).as_bytes()).expect("send");
    let said = rest(stream);
    assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{said}");
    assert!(said.starts_with("HTTP/1.1 429") && !said.contains("/hidden"), "{said}");
}

#[test]
fn g15_what_is_too_large_leaves_memory_flat() {
    let project = served(&echo_project(""), &[("acme", "enterprise")]);
    let start = "GET / HTTP/1.1\r\nhost: acme.localhost\r\n";
    let floods = [
        (format!("{start}{}\r\n", "a: b\r\n".repeat(10_000)), "431"),
        (format!("{start}a: {}\r\n\r\n", "x".repeat(1 << 20)), "431"),
        (format!("GET /{} HTTP/1.1\r\nhost: acme.localhost\r\n\r\n", "x".repeat(64 * 1024)), "414"),
        (format!("GET /?{} HTTP/1.1\r\nhost: acme.localhost\r\n\r\n", "a=b&".repeat(1_000_000)), "414"),
    ];
    let flood = |times: usize| {
        for _ in 0..times {
            for (head, status) in &floods {
                let mut stream = connect(&project);
                // The gateway answers and closes before it has read all of it.
                let _ = stream.write_all(head.as_bytes());
                let said = rest(stream);
                assert!(
                    said.is_empty() || said.starts_with(&format!("HTTP/1.1 {status}")),
                    "{status}: {said}"
                );
            }
        }
    };
    flood(2);
    let before = peak_kib(&project);
    flood(50);
    let grown = peak_kib(&project) - before;
    assert!(grown < GROWTH_MAX_KIB, "{grown} KiB more after 250 MB of refused heads");
    assert_eq!(project.get("acme", "/who").status, 200);
}

/// The most memory that Switchyard held so far.
fn peak_kib(project: &Project) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", project.pid())).expect("its status");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("the peak");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

/// A xorshift: enough to choose where connections break, the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).expect("it is below a usize")
    }
}

#[test]
fn z11_ten_thousand_requests_that_break_anywhere_leave_no_foreign_bytes() {
    const THREADS: u64 = 4;
    const CONNECTIONS: usize = 1_000;
    // 10,000 a minute each: more than are sent here.
    let project = served(&echo_project(""), &[("acme", "enterprise"), ("globex", "enterprise")]);
    let whole: usize = std::thread::scope(|scope| {
        let project = &project;
        let workers: Vec<_> =
            (1..=THREADS).map(|seed| scope.spawn(move || break_off(project, seed, CONNECTIONS))).collect();
        workers.into_iter().map(|worker| worker.join().expect("no foreign bytes")).sum()
    });
    assert!(whole > 500, "only {whole} answers were read whole");
    for n in 0..50 {
        for tenant in ["acme", "globex"] {
            let seen = project.get(tenant, &format!("/after{n}")).json();
            assert_eq!(
                (&seen["headers"]["x-tenant-slug"], &seen["path"]),
                (&tenant.into(), &format!("/after{n}").into())
            );
        }
    }
}

/// Connections of both tenants in turns, each with some requests at once, each broken off somewhere. Every byte of an
/// answer that was read has to be the tenant's own, in order. Gives how many were whole.
fn break_off(project: &Project, seed: u64, connections: usize) -> usize {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut whole = 0;
    for n in 0..connections {
        let (tenant, other) = if n % 2 == 0 { ("acme", "globex") } else { ("globex", "acme") };
        let count = 1 + dice.below(4);
        let all: String = (0..count)
            .map(|k| {
                let body = "b".repeat(dice.below(2_000));
                let length = body.len();
                format!("POST /{tenant}-{seed}-{n}-{k} HTTP/1.1\r\nhost: {tenant}.localhost\r\ncontent-length: {length}\r\n\r\n{body}")
            })
            .collect();
        let mut stream = connect(project);
        let sent = if dice.below(2) == 0 { all.len() } else { dice.below(all.len()) };
        if stream.write_all(&all.as_bytes()[..sent]).is_err() {
            continue;
        }
        // An answer tells the assertion back, and so is longer than this.
        let wanted = dice.below(count * 800);
        let mut got = vec![0; wanted];
        let mut read = 0;
        if sent == all.len() {
            while let Ok(more @ 1..) = stream.read(&mut got[read..]) {
                read += more;
            }
        }
        let said = text(&got[..read]);
        // Its path, host and slug: the bare name may stand in a random id.
        for foreign in [format!("/{other}-"), format!("{other}.localhost"), format!("\"{other}\"")] {
            assert!(!said.contains(&foreign), "seed {seed}: {tenant} got bytes of {other}: {said}");
        }
        for (k, answer) in said.split("\"path\":").skip(1).enumerate() {
            let path = format!("\"/{tenant}-{seed}-{n}-{k}\"");
            if answer.len() >= path.len() {
                assert!(answer.starts_with(&path), "seed {seed}: not the answer to {path}: {said}");
                whole += 1;
            }
        }
    }
    whole
}

#[test]
fn m2_tenants_reach_nothing_of_the_platform_at_the_gateway() {
    let project = served(&echo_project(""), &[("acme", "enterprise")]);
    let operator = format!("Bearer {}", project.operator_key());
    let paths = [
        "/metrics",
        "/api/metrics",
        "/api/status",
        "/api/health",
        "/api/v1/tenants",
        "/debug/pprof",
        "/readyz",
    ];
    for path in paths {
        // At a tenant's host the path is the app's.
        assert_eq!(project.get("acme", path).json()["path"], path);
        for host in ["localhost", "api.localhost", "console.localhost", "127.0.0.1", "nobody.localhost"] {
            for headers in [&[][..], &[("authorization", operator.as_str())]] {
                let answer = request(project.listener("gateway"), "GET", (host, path), headers, "")
                    .expect("an answer");
                assert!(
                    matches!(answer.status, 401 | 404),
                    "{host}{path}: {} {}",
                    answer.status,
                    answer.body
                );
                assert!(!answer.body.contains("http_requests"), "{host}{path}: {}", answer.body);
            }
        }
        // Services have their own listener, without any of it but what is the app's, for who has a token.
        let answer =
            request(project.listener("service"), "GET", ("localhost", path), &[], "").expect("an answer");
        let status = if path.starts_with("/api/v1/tenants") { 401 } else { 404 };
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
    }
}

#[test]
fn m3_what_clients_say_stays_within_one_short_line() {
    let mut project = served(&echo_project(""), &[("acme", "enterprise")]);
    let agent = format!("evil\\n{{\"level\":\"error\"}}\",\"x\":\"{}", "y".repeat(20_000));
    for (path, status) in [("/%22%7d-m3", 200), ("/\"}-m3", 200), ("/%0a%1b[2J-m3", 400)] {
        let answer =
            project.gateway("acme", path, &[("user-agent", &agent), ("traceparent", "00-bad\",\"x")]);
        assert_eq!(answer.expect("an answer").status, status, "{path}");
    }
    let huge = format!(
        "GET /huge-m3 HTTP/1.1\r\nhost: acme.localhost\r\nuser-agent: {}\r\n\r\n",
        "z".repeat(1 << 20)
    );
    let mut stream = connect(&project);
    let _ = stream.write_all(huge.as_bytes());
    rest(stream);
    let lines = |project: &Project| -> Vec<String> {
        let files = std::fs::read_dir(project.data_dir().join("logs")).expect("logs").flatten();
        let texts = files.filter_map(|file| std::fs::read_to_string(file.path()).ok());
        texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    };
    eventually("the requests are in the log", || {
        lines(&project).iter().filter(|line| line.contains("-m3") && line.contains("evil")).count() >= 2
    });
    let shown = project.ok(&["logs", "--tenant", "acme"]);
    assert!(!shown.contains('\u{1b}'), "no control character reaches the terminal");
    assert_eq!(project.stop(), Some(0));
    for line in lines(&project) {
        let record: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(record.is_object() && line.len() < 16 * 1024, "{} bytes: {line}", line.len());
    }
}
