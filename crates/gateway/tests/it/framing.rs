//! TORTURE G: where messages end, and who is meant by them.

use crate::harness::{Act, Client, TestGateway, Upstream, ok, raw};
use gateway::wire::{Framing, HEADERS_MAX, Scan, examine, parse_request, scan};
use proptest::prelude::*;
use std::mem::MaybeUninit;

/// Sends bytes and checks that they are refused with one answer of this status, the connection ends, and the
/// upstream saw nothing.
fn refused(bytes: &[u8], status: u16) {
    let upstream = Upstream::echo_path();
    let gateway = TestGateway::new(&[upstream.addr]);
    refused_by(&gateway, &upstream, bytes, status);
}

fn refused_by(gateway: &TestGateway, upstream: &Upstream, bytes: &[u8], status: u16) {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(120)]).into_owned();
    let mut client = gateway.connect();
    client.send(bytes);
    let response = client.response();
    assert_eq!(response.status, status, "{shown}");
    assert_eq!(response.header("connection"), Some("close"), "{shown}");
    assert!(client.is_ended(), "one answer only: {shown}");
    assert_eq!(upstream.raw(), b"", "{shown}");
}

fn each_refused(cases: &[&str], status: u16) {
    let upstream = Upstream::echo_path();
    let gateway = TestGateway::new(&[upstream.addr]);
    for case in cases {
        refused_by(&gateway, &upstream, case.as_bytes(), status);
    }
}

const SECOND: &str = "GET /smuggled HTTP/1.1\r\nHost: acme.localhost\r\n\r\n";

#[test]
fn g1_length_and_chunks_together() {
    let head = "POST / HTTP/1.1\r\nHost: acme.localhost\r\n";
    each_refused(
        &[
            &format!("{head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SECOND}"),
            &format!("{head}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{SECOND}"),
        ],
        400,
    );
}

#[test]
fn g2_hidden_transfer_encodings() {
    let head = "POST / HTTP/1.1\r\nHost: acme.localhost\r\n";
    let cases: Vec<String> = [
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        "Transfer-Encoding: \x0bchunked",
        " Transfer-Encoding: chunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "X: y\nTransfer-Encoding: chunked",
    ]
    .iter()
    .map(|line| format!("{head}{line}\r\n\r\n0\r\n\r\n{SECOND}"))
    .collect();
    each_refused(&cases.iter().map(String::as_str).collect::<Vec<_>>(), 400);
    refused(b"POST / HTTP/1.0\r\nHost: acme.localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400);
    // A twin with an underscore means nothing to us and must mean nothing to whoever reads on.
    let upstream = Upstream::echo_path();
    let gateway = TestGateway::new(&[upstream.addr]);
    gateway.ask(
        "POST / HTTP/1.1\r\nHost: acme.localhost\r\nTransfer_Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
    );
    assert!(!upstream.got()[0].head.to_lowercase().contains("transfer"));
}

#[test]
fn g3_lengths_that_are_not_plain() {
    let cases: Vec<String> = [
        "+5",
        "0x5",
        "5, 6",
        "5 5",
        "-1",
        "18446744073709551617",
        "5\r\nContent-Length: 6",
        "5\r\nContent-Length: 5",
    ]
    .iter()
    .map(|value| {
        format!("POST / HTTP/1.1\r\nHost: acme.localhost\r\nContent-Length: {value}\r\n\r\nhello{SECOND}")
    })
    .collect();
    each_refused(&cases.iter().map(String::as_str).collect::<Vec<_>>(), 400);
}

#[test]
fn g4_broken_chunks() {
    let upstream = Upstream::new(|_| ok("never"));
    let gateway = TestGateway::new(&[upstream.addr]);
    let extension = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(1 << 20));
    for body in [
        "0_2e\r\n",
        "+1\r\na\r\n0\r\n\r\n",
        "0x1\r\na\r\n0\r\n\r\n",
        "1\na\n0\n\n",
        "1;a\rb\r\na\r\n0\r\n\r\n",
        "1\r\nab\r\n0\r\n\r\n",
        "1\r\na0\r\n\r\n",
        &extension,
    ] {
        let mut client = gateway.connect();
        client.send("POST / HTTP/1.1\r\nHost: acme.localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(body);
        let response = client.response();
        assert_eq!(response.status, 400, "{:?}", &body[..body.len().min(40)]);
        assert!(client.is_ended());
    }
    // Heads may have reached the upstream, but never the end of a body.
    assert!(upstream.got().is_empty());
    assert!(!String::from_utf8_lossy(&upstream.raw()).contains("0\r\n\r\n"));
}

#[test]
fn g5_early_answers_leave_nothing_behind() {
    let upstream = Upstream::echo_path();
    let gateway = TestGateway::with(
        gateway::Config::default(),
        &[upstream.addr],
        &[
            serde_json::json!({ "host": "*.localhost", "service": "web", "auth": "required" }),
            serde_json::json!({ "host": "*.localhost", "path": "/open", "service": "web" }),
            serde_json::json!({ "host": "*.localhost", "path": "/small", "service": "web", "body_max": 10 }),
        ],
    );
    let smuggled = SECOND.replace("/smuggled", "/open");
    let length = smuggled.len();
    // The whole body is there: it is dropped, and the connection goes on behind it.
    let mut client = gateway.connect();
    let head = format!("POST /x HTTP/1.1\r\nHost: acme.localhost\r\nContent-Length: {length}\r\n\r\n");
    client.send(format!("{head}{smuggled}"));
    assert_eq!(client.response().status, 401);
    client.send("GET /open/next HTTP/1.1\r\nHost: acme.localhost\r\n\r\n");
    assert_eq!(client.response().text(), "/open/next");
    // Only a part of it is there: the connection ends.
    let head = format!("POST /x HTTP/1.1\r\nHost: acme.localhost\r\nContent-Length: {}\r\n\r\n", length + 1);
    for (host, status) in [("acme", 401), ("nobody", 404)] {
        let mut client = gateway.connect();
        client.send(format!("{}{smuggled}", head.replace("acme", host)));
        assert_eq!(client.response().status, status);
        assert!(client.is_ended());
    }
    // Too large, by its length and by its chunks.
    for body in [
        "Content-Length: 11\r\n\r\nhello world",
        "Transfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n",
    ] {
        let mut client = gateway.connect();
        client.send(format!("POST /small HTTP/1.1\r\nHost: acme.localhost\r\n{body}{smuggled}"));
        assert_eq!(client.response().status, 413);
        assert!(client.is_ended());
    }
    let paths: Vec<String> = upstream.got().iter().map(|got| got.path().to_owned()).collect();
    assert_eq!(paths, ["/open/next"]);
}

#[test]
fn g7_an_upgrade_that_is_not_agreed_to_leaves_nothing_behind() {
    let upstream = Upstream::new(|_| ok("plain"));
    let gateway = TestGateway::new(&[upstream.addr]);
    let head = "GET /ws HTTP/1.1\r\nHost: acme.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let mut client = gateway.connect();
    client.send(format!("{head}{SECOND}"));
    assert_eq!(client.response().text(), "plain");
    assert!(client.is_ended());
    assert_eq!(upstream.got().len(), 1);
    assert!(!String::from_utf8_lossy(&upstream.raw()).contains("smuggled"));
    // Without anything behind it, the connection goes on.
    let mut client = gateway.connect();
    for _ in 0..2 {
        client.send(head);
        assert_eq!(client.response().text(), "plain");
    }
}

#[test]
fn g7_other_protocols_are_not_switched_to() {
    let upstream = Upstream::new(|got| match got.header("upgrade") {
        Some(_) => raw("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"),
        None => ok("plain"),
    });
    let gateway = TestGateway::new(&[upstream.addr]);
    let response = gateway.ask(
        "GET / HTTP/1.1\r\nHost: acme.localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    );
    assert_eq!((response.status, response.text().as_str()), (200, "plain"));
    assert!(!upstream.got()[0].head.to_lowercase().contains("http2-settings"));
    // An application that switches without having been asked is not followed.
    let eager = Upstream::new(|_| raw("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"));
    let gateway = TestGateway::new(&[eager.addr]);
    assert_eq!(gateway.get("acme.localhost", "/").status, 502);
}

#[test]
fn g8_bodies_where_none_are_usual_keep_the_framing() {
    let upstream = Upstream::new(|got| match got.head.starts_with("HEAD") {
        true => raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        false => ok(&String::from_utf8_lossy(&got.body)),
    });
    let gateway = TestGateway::new(&[upstream.addr]);
    let mut client = gateway.connect();
    for method in ["GET", "DELETE", "OPTIONS"] {
        client.send(format!("{method} / HTTP/1.1\r\nHost: acme.localhost\r\nContent-Length: 5\r\n\r\nhello"));
        assert_eq!(client.response().text(), "hello", "{method}");
        let chunked = "Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nT: v\r\n\r\n";
        client.send(format!("{method} / HTTP/1.1\r\nHost: acme.localhost\r\n{chunked}"));
        assert_eq!(client.response().text(), "hello", "{method}");
    }
    client.send("HEAD / HTTP/1.1\r\nHost: acme.localhost\r\nContent-Length: 5\r\n\r\nhello");
    let head = client.try_head().unwrap();
    assert_eq!(head.header("content-length"), Some("5"));
    client.send("POST / HTTP/1.1\r\nHost: acme.localhost\r\nContent-Length: 4\r\n\r\nlast");
    assert_eq!(client.response().text(), "last");
}

#[test]
fn g8_an_upstream_that_sends_too_much_is_not_asked_again() {
    // A body to a HEAD, and bytes behind a response: the next request must not read them as its answer.
    let upstream = Upstream::new(|got| match got.head.starts_with("HEAD") {
        true => raw(
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
        ),
        false => ok("clean"),
    });
    let gateway = TestGateway::new(&[upstream.addr]);
    let mut client = gateway.connect();
    client.send("HEAD / HTTP/1.1\r\nHost: acme.localhost\r\n\r\n");
    client.try_head().unwrap();
    client.send("GET / HTTP/1.1\r\nHost: acme.localhost\r\n\r\n");
    assert_eq!(client.response().text(), "clean");
    assert_eq!(upstream.connections(), 2);
}

#[test]
fn g9_broken_headers() {
    let cases: Vec<Vec<u8>> = [
        &b"A: b\r\n folded"[..],
        b"A: b\0c",
        b"A: b\rc",
        b"A: b\nC: d",
        b"\xc3\xa9: b",
        b"A : b",
        b": b",
        b"A",
    ]
    .iter()
    .map(|line| [b"GET / HTTP/1.1\r\nHost: acme.localhost\r\n", *line, b"\r\n\r\n"].concat())
    .collect();
    let upstream = Upstream::echo_path();
    let gateway = TestGateway::new(&[upstream.addr]);
    for case in &cases {
        refused_by(&gateway, &upstream, case, 400);
    }
    for case in [
        &b"GET / HTTP/1.1\r\n Host: acme.localhost\r\n\r\n"[..],
        b"GET / HTTP/1.1\nHost: acme.localhost\n\n",
        b"GET\t/ HTTP/1.1\r\nHost: acme.localhost\r\n\r\n",
        b"GET / HTTP/1.2\r\nHost: acme.localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"CONNECT acme.localhost:443 HTTP/1.1\r\nHost: acme.localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n",
    ] {
        refused_by(&gateway, &upstream, case, if case.starts_with(b"CONNECT /") { 405 } else { 400 });
    }
}

#[test]
fn g11_one_authority_picks_the_tenant() {
    let upstream = Upstream::new(|got| ok(got.header("x-tenant-slug").unwrap_or("none")));
    let gateway = TestGateway::new(&[upstream.addr]);
    for head in [
        "GET / HTTP/1.1\r\nHost: ACME.LocalHost\r\n",
        "GET / HTTP/1.1\r\nHost: acme.localhost.\r\n",
        "GET / HTTP/1.1\r\nHost: acme.localhost:8080\r\n",
        "GET http://acme.localhost/ HTTP/1.1\r\nHost: acme.localhost\r\n",
        "GET / HTTP/1.1\r\nHost: acme.localhost\r\nX-Forwarded-Host: beta.localhost\r\nForwarded: host=beta.localhost\r\n",
    ] {
        assert_eq!(gateway.ask(&format!("{head}\r\n")).text(), "acme", "{head}");
    }
    let hosts: Vec<String> =
        upstream.got().iter().map(|got| got.header("x-forwarded-host").unwrap().to_owned()).collect();
    assert!(hosts.iter().all(|host| host.starts_with("acme.localhost")), "{hosts:?}");
    for head in [
        "GET / HTTP/1.1\r\nHost: acme.localhost\r\nHost: beta.localhost\r\n",
        "GET / HTTP/1.1\r\nHost: acme.localhost\r\nHost: acme.localhost\r\n",
        "GET http://beta.localhost/ HTTP/1.1\r\nHost: acme.localhost\r\n",
        "GET http://acme.localhost:81/ HTTP/1.1\r\nHost: acme.localhost:80\r\n",
        "GET / HTTP/1.1\r\nHost: beta@acme.localhost\r\n",
        "GET / HTTP/1.1\r\nHost: acme.localhost, beta.localhost\r\n",
        "GET / HTTP/1.1\r\nHost: acme.localhost/x\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n",
        "GET / HTTP/1.0\r\n",
    ] {
        assert_eq!(gateway.ask(&format!("{head}\r\n")).status, 400, "{head}");
    }
}

#[test]
fn g15_sizes_are_bounded() {
    let upstream = Upstream::echo_path();
    let gateway = TestGateway::new(&[upstream.addr]);
    let many = "A: b\r\n".repeat(10_000);
    let large = "x".repeat(1 << 20);
    let long = "x".repeat(64 * 1024);
    let pairs = "a=b&".repeat(1_000_000);
    for (text, status) in [
        (format!("GET / HTTP/1.1\r\nHost: acme.localhost\r\n{many}\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nHost: acme.localhost\r\nA: {large}\r\n\r\n"), 431),
        (format!("GET /{long} HTTP/1.1\r\nHost: acme.localhost\r\n\r\n"), 414),
        (format!("GET /?{pairs} HTTP/1.1\r\nHost: acme.localhost\r\n\r\n"), 414),
        (format!("{large} / HTTP/1.1\r\nHost: acme.localhost\r\n\r\n"), 414),
    ] {
        refused_by(&gateway, &upstream, text.as_bytes(), status);
    }
    // A large head that is within bounds passes, and is not kept.
    let value = "y".repeat(20_000);
    let response = gateway.ask(&format!("GET /large HTTP/1.1\r\nHost: acme.localhost\r\nA: {value}\r\n\r\n"));
    assert_eq!(response.status, 200);
    assert_eq!(upstream.got()[0].header("a").map(str::len), Some(20_000));
}

#[test]
fn paths_that_hide_where_they_lead_are_refused() {
    let upstream = Upstream::echo_path();
    let gateway = TestGateway::with(
        gateway::Config::default(),
        &[upstream.addr],
        &[
            serde_json::json!({ "host": "*.localhost", "service": "web" }),
            serde_json::json!({ "host": "*.localhost", "path": "/admin", "service": "web", "auth": "required" }),
        ],
    );
    for path in ["/x/../admin", "/x/%2e%2e/admin", "/%61dmin", "//admin", "/x/..%2fadmin", "/x\\..\\admin"] {
        assert_eq!(gateway.get("acme.localhost", path).status, 400, "{path}");
    }
    assert_eq!(gateway.get("acme.localhost", "/admin/x").status, 401);
    assert_eq!(gateway.get("acme.localhost", "/a%20b//c?d=/../e").text(), "/a%20b//c?d=/../e");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::echo_path();
    let gateway = TestGateway::new(&[upstream.addr]);
    let mut client = gateway.connect();
    let all: String = (0..20).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: acme.localhost\r\n\r\n")).collect();
    client.send(format!("\r\n{all}"));
    for n in 0..20 {
        assert_eq!(client.response().text(), format!("/{n}"));
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_request_that_comes_byte_by_byte_is_the_same_request() {
    let upstream = Upstream::new(|got| ok(&String::from_utf8_lossy(&got.body)));
    let gateway = TestGateway::new(&[upstream.addr]);
    let mut client = gateway.connect();
    let text = "POST /slow HTTP/1.1\r\nHost: acme.localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    for byte in text.bytes() {
        client.send([byte]);
    }
    assert_eq!(client.response().text(), "hello");
}

/// Framing as the specification says it, written to be plain rather than quick: what the body of a request is, or
/// `None` where it must be refused.
fn reference(lines: &[(String, String)]) -> Option<Framing> {
    let values = |wanted: &str| -> Vec<&str> {
        lines
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value.trim_matches([' ', '\t']))
            .collect()
    };
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Some(Framing::Empty),
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Some(Framing::Chunked),
        ([length], [])
            if !length.is_empty() && length.chars().all(|c| c.is_ascii_digit()) && length.len() <= 19 =>
        {
            match length.parse::<i64>().ok()? {
                0 => Some(Framing::Empty),
                length => Some(Framing::Length(length.unsigned_abs())),
            }
        }
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// Whatever lengths and codings come together, the gateway frames as the specification says, or refuses where it
    /// does.
    #[test]
    fn framing_agrees_with_the_reference(lines in prop::collection::vec(
        (
            prop::sample::select(vec!["Content-Length", "content-length", "Transfer-Encoding", "TRANSFER-ENCODING", "X-Other"]),
            prop::sample::select(vec![
                "0", "5", "05", "+5", "-5", "5, 5", "5 5", "0x5", "", " 7 ", "99999999999999999999", "9223372036854775807",
                "chunked", "Chunked", "\tchunked", "chunked, chunked", "identity", "gzip, chunked", "xchunked", "chunked;q=1",
            ]),
        ),
        0..4,
    )) {
        let lines: Vec<(String, String)> = lines.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let text: String = lines.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{text}\r\n");
        let found = (|| {
            let Ok(Scan::Complete(length)) = scan(text.as_bytes(), &mut 0) else { return None };
            let mut room = [MaybeUninit::uninit(); HEADERS_MAX];
            let head = parse_request(&text.as_bytes()[..length], &mut room).ok()?;
            Some(examine(&head).ok()?.framing)
        })();
        prop_assert_eq!(found, reference(&lines));
    }

    /// No bytes whatever make the parser panic, and what it takes as a head ends with an empty line.
    #[test]
    fn any_bytes_are_judged(bytes in prop::collection::vec(prop::sample::select(
        b"GET / HTTP/1.1\r\n\r\nHost: a:;,\0\t\x80".to_vec()), 0..200)) {
        if let Ok(Scan::Complete(length)) = scan(&bytes, &mut 0) {
            prop_assert!(bytes[..length].ends_with(b"\r\n\r\n"));
            let mut room = [MaybeUninit::uninit(); HEADERS_MAX];
            if let Ok(head) = parse_request(&bytes[..length], &mut room) {
                let _ = examine(&head);
            }
        }
    }
}

#[test]
fn a_client_that_half_closes_still_gets_its_answer() {
    let upstream =
        Upstream::new(|_| vec![Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec())]);
    let gateway = TestGateway::new(&[upstream.addr]);
    let mut client: Client = gateway.connect();
    client.send("GET / HTTP/1.1\r\nHost: acme.localhost\r\n\r\n");
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.response().text(), "ok");
}
