//! What passes, and how: bodies, streams, sockets, heads, records.

use crate::harness::{Act, TestGateway, Upstream, eventually, ok, raw, told};
use gateway::Config;
use serde_json::json;

const GET: &str = "GET / HTTP/1.1\r\nHost: acme.localhost\r\n\r\n";

#[test]
fn bodies_of_every_sort_and_size_arrive_whole() {
    let upstream = Upstream::new(|got| {
        let chunked = got.path() == "/chunked";
        let body = got.body.clone();
        if !chunked {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            return vec![Act::Send([head.into_bytes(), body].concat())];
        }
        let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for piece in body.chunks(1_000) {
            answer.extend(format!("{:X};x=y\r\n", piece.len()).bytes());
            answer.extend(piece);
            answer.extend(b"\r\n");
        }
        answer.extend(b"0\r\nX-Trailer: t\r\n\r\n");
        vec![Act::Send(answer)]
    });
    let gateway = TestGateway::new(&[upstream.addr]);
    let mut client = gateway.connect();
    for size in [1, 100, 16_383, 16_384, 16_385, 100_000, 3_000_000] {
        let body: Vec<u8> = (0..size).map(|n: u32| (n % 251) as u8).collect();
        for path in ["/length", "/chunked"] {
            client.send(format!(
                "POST {path} HTTP/1.1\r\nHost: acme.localhost\r\nContent-Length: {size}\r\n\r\n"
            ));
            client.send(&body);
            assert!(client.response().body == body, "{path} {size}");
            client.send(format!(
                "POST {path} HTTP/1.1\r\nHost: acme.localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            ));
            for piece in body.chunks(70_000) {
                client.send([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
            }
            client.send("0\r\n\r\n");
            assert!(client.response().body == body, "chunked {path} {size}");
        }
    }
    assert_eq!(upstream.connections(), 1, "the connection is used again and again");
}

#[test]
fn a_response_may_begin_before_the_request_has_ended() {
    let upstream = Upstream::new(|_| {
        vec![Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n".to_vec()), Act::Echo]
    });
    let gateway = TestGateway::new(&[upstream.addr]);
    let mut client = gateway.connect();
    client.send("POST /early HTTP/1.1\r\nHost: acme.localhost\r\nContent-Length: 300000\r\n\r\n");
    assert_eq!(client.try_head().unwrap().status, 200);
    for n in 0..30_u8 {
        client.send([n; 10_000]);
        assert_eq!(client.exactly(10_000), [n; 10_000]);
    }
}

#[test]
fn responses_without_a_length_end_with_the_upstreams_connection() {
    let upstream =
        Upstream::new(|_| vec![Act::Send(b"HTTP/1.1 200 OK\r\n\r\nall of it".to_vec()), Act::Close]);
    let gateway = TestGateway::new(&[upstream.addr]);
    let mut client = gateway.connect();
    for _ in 0..2 {
        client.send(GET);
        let response = client.response();
        assert_eq!(response.header("transfer-encoding"), Some("chunked"));
        assert_eq!(response.text(), "all of it");
    }
    assert_eq!(upstream.connections(), 2);
}

#[test]
fn old_clients_are_answered_in_their_own_way() {
    let upstream = Upstream::new(|got| match got.path() {
        "/length" => ok("hello"),
        _ => raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    });
    let gateway = TestGateway::new(&[upstream.addr]);
    let mut client = gateway.connect();
    client.send("GET /length HTTP/1.0\r\nHost: acme.localhost\r\nConnection: keep-alive\r\n\r\n");
    let response = client.response();
    assert_eq!((response.header("connection"), response.text().as_str()), (Some("keep-alive"), "hello"));
    client.send("GET /chunked HTTP/1.0\r\nHost: acme.localhost\r\nConnection: keep-alive\r\n\r\n");
    let response = client.response();
    assert_eq!(response.header("transfer-encoding"), None);
    assert_eq!(response.text(), "hello");
    assert!(client.is_ended());
}

#[test]
fn answers_without_a_body_keep_the_connection() {
    let upstream = Upstream::new(|got| match (got.head.split(' ').next().unwrap(), got.path()) {
        ("HEAD", "/chunked") => raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("HEAD", _) => raw("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"),
        (_, "/204") => raw("HTTP/1.1 204 No Content\r\n\r\n"),
        (_, "/304") => raw("HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\nETag: \"x\"\r\n\r\n"),
        _ => ok("body"),
    });
    let gateway = TestGateway::new(&[upstream.addr]);
    let mut client = gateway.connect();
    let mut ask = |method: &str, path: &str| {
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: acme.localhost\r\n\r\n"));
        if method == "HEAD" { client.try_head().unwrap() } else { client.response() }
    };
    assert_eq!(ask("HEAD", "/length").header("content-length"), Some("1234"));
    assert_eq!(ask("HEAD", "/chunked").status, 200);
    assert_eq!(ask("GET", "/204").status, 204);
    let unchanged = ask("GET", "/304");
    assert_eq!((unchanged.status, unchanged.header("etag")), (304, Some("\"x\"")));
    assert_eq!(ask("GET", "/").text(), "body");
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_client_that_waits_is_told_to_go_on() {
    let upstream = Upstream::new(|got| ok(&String::from_utf8_lossy(&got.body)));
    let gateway = TestGateway::new(&[upstream.addr]);
    let mut client = gateway.connect();
    let head = "POST / HTTP/1.1\r\nHost: acme.localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    client.send(head);
    assert_eq!(client.try_head().unwrap().status, 100);
    client.send("hello");
    assert_eq!(client.response().text(), "hello");
    assert_eq!(upstream.got()[0].header("expect"), None);
    // One that is refused is not, and need not send it.
    let mut client = gateway.connect();
    client.send(head.replace("acme", "nobody"));
    assert_eq!(client.response().status, 404);
    assert!(client.is_ended());
    let other =
        gateway.ask("POST / HTTP/1.1\r\nHost: acme.localhost\r\nContent-Length: 5\r\nExpect: x\r\n\r\n");
    assert_eq!(other.status, 400);
}

#[test]
fn events_are_passed_on_as_they_come() {
    let (tell, listen) = told();
    let listen = std::sync::Mutex::new(Some(listen));
    let upstream = Upstream::new(move |_| {
        let listen = listen.lock().unwrap().take().unwrap();
        let head =
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
                .to_vec();
        vec![Act::Send(head), Act::SendWhenTold(listen)]
    });
    let gateway = TestGateway::new(&[upstream.addr]);
    let mut client = gateway.connect();
    client.send(GET);
    let head = client.try_head().unwrap();
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    for n in 0..5 {
        let event = format!("data: {n}\n\n");
        tell.send(format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()).unwrap();
        assert_eq!(client.chunk(), event.as_bytes());
    }
    // The client leaves: so does the gateway, without waiting for a next event.
    drop(client);
    eventually("the upstream's connection ends", || {
        tell.send(b"1\r\n\n\r\n".to_vec()).is_err().then_some(())
    });
}

#[test]
fn sockets_are_passed_both_ways() {
    let upstream = Upstream::new(|got| {
        assert_eq!(got.header("upgrade"), Some("websocket"));
        assert_eq!(got.header("connection"), Some("Upgrade"));
        let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nfirst";
        vec![Act::Send(head.into()), Act::Echo]
    });
    let gateway = TestGateway::new(&[upstream.addr]);
    let mut client = gateway.connect();
    client.send(
        "GET /ws HTTP/1.1\r\nHost: acme.localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    );
    let head = client.try_head().unwrap();
    assert_eq!((head.status, head.header("upgrade")), (101, Some("websocket")));
    assert_eq!(head.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(client.exactly(5), b"first");
    for size in [1, 1_000, 200_000] {
        let bytes: Vec<u8> = (0..size).map(|n: u32| (n % 253) as u8).collect();
        client.send(&bytes);
        assert!(client.exactly(bytes.len()) == bytes);
    }
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(client.is_ended());
    let record = eventually("a record", || gateway.log.records().pop());
    assert_eq!((record.status, record.bytes_in, record.bytes_out), (101, 201_001, 201_006));
}

#[test]
fn a_route_may_forbid_sockets() {
    let upstream = Upstream::new(|got| ok(got.header("upgrade").unwrap_or("no upgrade")));
    let gateway = TestGateway::with(
        Config::default(),
        &[upstream.addr],
        &[json!({ "host": "*.localhost", "service": "web", "websocket": false })],
    );
    let head = "GET / HTTP/1.1\r\nHost: acme.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(gateway.ask(head).text(), "no upgrade");
}

#[test]
fn security_headers_are_set_where_the_application_sets_none() {
    let upstream = Upstream::new(|got| match got.path() {
        "/own" => raw(
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nx-frame-options: SAMEORIGIN\r\nServer: app\r\nDate: now\r\n\r\n",
        ),
        _ => ok(""),
    });
    let routes = [
        json!({ "host": "*.localhost", "service": "web" }),
        json!({ "host": "*.localhost", "path": "/embed", "service": "web",
                "headers": { "X-Frame-Options": "", "Referrer-Policy": "no-referrer", "X-Served-By": "us" } }),
    ];
    let gateway = TestGateway::with(Config::default(), &[upstream.addr], &routes);
    let plain = gateway.get("acme.localhost", "/");
    assert_eq!(plain.header("x-frame-options"), Some("DENY"));
    assert_eq!(plain.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(plain.header("referrer-policy"), Some("strict-origin-when-cross-origin"));
    assert_eq!(plain.header("permissions-policy"), Some("geolocation=(), microphone=(), camera=()"));
    assert_eq!(plain.header("date"), Some("Fri, 20 Nov 2026 17:00:00 GMT"));
    let own = gateway.get("acme.localhost", "/own");
    assert_eq!(own.headers("x-frame-options"), ["SAMEORIGIN"]);
    assert_eq!((own.header("server"), own.headers("date")), (Some("app"), vec!["now"]));
    let embed = gateway.get("acme.localhost", "/embed/x");
    assert_eq!(embed.header("x-frame-options"), None);
    assert_eq!(
        (embed.header("referrer-policy"), embed.header("x-served-by")),
        (Some("no-referrer"), Some("us"))
    );
}

#[test]
fn m2_platform_paths_are_the_applications() {
    let upstream = Upstream::echo_path();
    let gateway = TestGateway::new(&[upstream.addr]);
    for path in [
        "/metrics",
        "/health",
        "/livez",
        "/api/v1/tenants",
        "/api/health",
        "/.well-known/jwks.json",
        "/debug",
    ] {
        assert_eq!(gateway.get("acme.localhost", path).text(), path);
        assert_eq!(gateway.get("nobody.localhost", path).code(), "tenant_unknown");
    }
}

#[test]
fn a_person_at_a_browser_reads_a_page_and_a_program_a_problem() {
    let upstream = Upstream::echo_path();
    let gateway = TestGateway::new(&[upstream.addr]);
    let ask = |host: &str, accept: &str| {
        gateway.ask(&format!("GET /<i> HTTP/1.1\r\nHost: {host}\r\nAccept: {accept}\r\n\r\n"))
    };
    let browser = "text/html,application/xhtml+xml,*/*;q=0.8";
    assert_eq!(ask("nobody.localhost", "*/*").code(), "tenant_unknown");
    assert_eq!(ask("nobody.localhost", "application/json, text/html").code(), "tenant_unknown");
    let page = ask("nobody.localhost", browser);
    assert_eq!((page.status, page.header("Content-Type")), (404, Some("text/html; charset=utf-8")));
    let policy = page.header("Content-Security-Policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(
        page.text().contains("<h1>No such tenant</h1>") && !page.text().contains("<i>"),
        "{}",
        page.text()
    );
    assert!(page.text().contains(page.header("X-Request-Id").expect("an id")), "{}", page.text());

    // Refused after the head for the application was written.
    upstream.kill();
    let page = eventually("a page of who finds no service", || {
        let page = ask("acme.localhost", browser);
        (page.status == 502 || page.status == 503).then_some(page)
    });
    assert_eq!(page.header("Content-Type"), Some("text/html; charset=utf-8"));
    eventually("the record of a page has its code", || {
        gateway.log.records().iter().any(|record| record.code == Some("tenant_unknown")).then_some(())
    });
}

#[test]
fn each_request_leaves_one_record() {
    let upstream = Upstream::new(|got| ok(&"x".repeat(got.body.len() * 2)));
    let gateway = TestGateway::new(&[upstream.addr]);
    gateway.ask(
        "POST /a/b?secret=1 HTTP/1.1\r\nHost: acme.localhost:80\r\nUser-Agent: test/1\r\nContent-Length: 5\r\n\r\nhello",
    );
    gateway.get("nobody.localhost", "/");
    gateway.ask("GET / HTTP/1.1\r\nHost: acme.localhost\r\nX Y: z\r\n\r\n");
    let records = eventually("three records", || {
        let mut records = gateway.log.records();
        records.sort_by_key(|record| record.status);
        (records.len() == 3).then_some(records)
    });
    let [served, broken, refused] = records.try_into().unwrap();
    assert_eq!(
        (&*served.origin.method, &*served.origin.host, &*served.path),
        ("POST", "acme.localhost", "/a/b")
    );
    assert_eq!((served.status, served.bytes_in, served.bytes_out, served.tries), (200, 5, 10, 1));
    assert_eq!(
        (served.origin.tenant_slug.as_deref(), served.origin.service.as_deref()),
        (Some("acme"), Some("web"))
    );
    assert_eq!(
        (served.origin.route.as_deref(), served.origin.agent.as_deref()),
        (Some("*.localhost/"), Some("test/1"))
    );
    assert_eq!(served.origin.environment.as_deref(), Some("development"));
    assert!(served.upstream.is_some() && served.origin.tenant.is_some());
    assert_eq!((refused.status, refused.code, refused.tries), (404, Some("tenant_unknown"), 0));
    assert_eq!((broken.status, broken.code), (400, Some("bad_request")));
}

#[test]
fn m1_what_clients_invent_does_not_grow_the_metrics() {
    let upstream = Upstream::echo_path();
    let gateway = TestGateway::new(&[upstream.addr]);
    for n in 0..30 {
        gateway.memory.tenant(&format!("m{n}"), "enterprise");
    }
    gateway.get_until("m29.localhost", "/", 200);
    let mut client = gateway.connect();
    for n in 0..600 {
        client.send(format!(
            "METHOD{n} /path{n} HTTP/1.1\r\nHost: m{}.localhost\r\nX-{n}: {n}\r\n\r\n",
            n % 30
        ));
        client.response();
        client.send(format!("GET / HTTP/1.1\r\nHost: guess{n}.localhost\r\n\r\n"));
        client.response();
    }
    let text = eventually("all are counted", || {
        let text = gateway.metrics.encode();
        let lines = text.lines().filter(|line| line.starts_with("http_requests_total{"));
        let count: f64 = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
        (count >= 1_200.0).then_some(text)
    });
    let series = text.lines().filter(|line| line.starts_with("http_requests_total{")).count();
    assert!(series <= 30, "{series} series");
    assert!(text.contains("tenant_id=\"other\"") && text.contains("method=\"other\""));
    assert!(!text.contains("path5") && !text.contains("guess5") && !text.contains("METHOD5"));
}

#[test]
fn explaining_says_what_requests_meet() {
    let upstream = Upstream::echo_path();
    let gateway = TestGateway::new(&[upstream.addr]);
    let explain = |host: &str, path: &str| {
        gateway::explain(gateway.gateway.world(), gateway.gateway.services(), "GET", host, path)
    };
    let told = explain("ACME.localhost:8080", "/x");
    assert_eq!(
        (told.refused, told.tenant.as_deref(), told.plan.as_deref()),
        (None, Some("acme"), Some("pro"))
    );
    assert_eq!(told.matched.as_deref(), Some("*.localhost/"));
    for (host, path) in
        [("nobody.localhost", "/"), ("a@b", "/"), ("acme.localhost", "/../x"), ("localhost", "/")]
    {
        let status = gateway.ask(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(explain(host, path).refused, Some(status.code().as_str()), "{host}{path}");
    }
}
