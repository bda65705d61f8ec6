//! The guarded client. Cases carry the ids of TORTURE.

use crate::scripted::{Say, Scripted};
use base::{Cidr, SystemClock};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, header};
use outbound::{
    AddressPolicy, Error, Guarded, GuardedRequest, Limits, Resolve, SystemResolver, Target, Unreachable,
};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Answers from a script, each time the next.
#[derive(Default)]
pub(crate) struct Names {
    answers: Mutex<HashMap<String, Vec<Vec<IpAddr>>>>,
    asked: AtomicUsize,
}

impl Names {
    pub(crate) fn of(name: &str, answers: &[&[&str]]) -> Arc<Self> {
        let parse = |answer: &&[&str]| answer.iter().map(|text| text.parse().expect("an address")).collect();
        let names = Self::default();
        let script = answers.iter().rev().map(parse).collect();
        names.answers.lock().expect("nobody panics with it").insert(name.to_owned(), script);
        Arc::new(names)
    }
}

impl Resolve for Names {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().expect("nobody panics with it");
        let next = answers.get_mut(name).and_then(Vec::pop).ok_or_else(|| io::Error::other("no such name"));
        Box::pin(async move { next })
    }
}

pub(crate) fn quick() -> Limits {
    Limits {
        connect_time_max: Duration::from_secs(2),
        total_time_max: Duration::from_secs(2),
        failure_floor: Duration::from_millis(50),
        ..Limits::default()
    }
}

/// 127.0.0.1 alone is allowed, so that scripted servers can be reached; the rest of loopback is not.
fn with_loopback(limits: Limits, names: Arc<dyn Resolve>) -> Guarded {
    let loopback = Cidr::parse("127.0.0.1/32").expect("a range");
    Guarded::new(AddressPolicy::public_only().allow([loopback]), limits, names, SystemClock::shared())
}

fn strict(names: Arc<dyn Resolve>) -> Guarded {
    Guarded::new(AddressPolicy::public_only(), quick(), names, SystemClock::shared())
}

pub(crate) fn get(url: &str) -> GuardedRequest {
    let target = Target::parse(url).expect("a URL");
    GuardedRequest { method: Method::GET, target, headers: HeaderMap::new(), body: Bytes::new() }
}

const REFUSED: Option<Error> = Some(Error::Unreachable(Unreachable));

#[tokio::test]
async fn w1_internal_addresses_are_never_connected_to() {
    let inside = Scripted::replying("200 OK", "canary").await;
    let port = inside.addr.port();
    for host in [
        "127.0.0.1",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "169.254.169.254",
        "10.0.0.1",
    ] {
        let result = strict(Arc::new(SystemResolver)).send(get(&format!("http://{host}:{port}/"))).await;
        assert_eq!(result.err(), REFUSED, "{host}");
    }
    // By name, and by what a resolver would make of disguised ones.
    let result = strict(Arc::new(SystemResolver)).send(get(&format!("http://localhost:{port}/"))).await;
    assert_eq!(result.err(), REFUSED);
    for host in ["127.1", "2130706433", "0x7f.1", "0177.0.0.1"] {
        assert!(Target::parse(&format!("http://{host}:{port}/")).is_err(), "{host}");
    }
    assert!(inside.heard().is_empty(), "something connected");
}

#[tokio::test]
async fn an_address_that_the_operator_allows_is_called() {
    let server = Scripted::replying("200 OK\r\nX-A: b", "hello").await;
    let mut request = get(&format!("http://hook.example:{}/a?b=c", server.addr.port()));
    request.method = Method::POST;
    request.body = Bytes::from_static(b"payload");
    request.headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("1"));
    request.headers.insert(header::HOST, HeaderValue::from_static("forged.example"));
    let guarded = with_loopback(quick(), Names::of("hook.example", &[&["127.0.0.1"]]));
    let response = guarded.send(request).await.expect("a reply");
    assert_eq!(
        (response.status.as_u16(), &response.body[..], response.truncated),
        (200, &b"hello"[..], false)
    );
    assert_eq!(response.headers["x-a"], "b");
    let heard = &server.heard()[0];
    assert!(heard.starts_with("POST /a?b=c HTTP/1.1\r\n"), "{heard}");
    assert!(
        heard.contains(&format!("host: hook.example:{}", server.addr.port())) && !heard.contains("forged"),
        "{heard}"
    );
    assert!(heard.contains("content-length: 7") && heard.ends_with("payload"), "{heard}");
}

#[tokio::test]
async fn w2_the_address_that_passed_is_the_one_that_is_called() {
    let server = Scripted::replying("200 OK", "hello").await;
    // A second answer would lead elsewhere; nobody asks for it.
    let names = Names::of("rebind.example", &[&["127.0.0.1"], &["127.0.0.9"]]);
    let guarded = with_loopback(quick(), names.clone());
    let response = guarded.send(get(&format!("http://rebind.example:{}/", server.addr.port()))).await;
    assert_eq!(response.expect("a reply").status, 200);
    assert_eq!(names.asked.load(Ordering::SeqCst), 1);
    // The next request asks anew, and judges anew.
    let response = guarded.send(get(&format!("http://rebind.example:{}/", server.addr.port()))).await;
    assert_eq!(response.err(), REFUSED);
    assert_eq!(server.heard().len(), 1);
}

#[tokio::test]
async fn w2_mixed_and_missing_answers_fail_closed() {
    let server = Scripted::replying("200 OK", "hello").await;
    let answers: [&[&str]; 4] =
        [&["127.0.0.1", "10.0.0.1"], &["127.0.0.1", "::ffff:10.0.0.1"], &["127.0.0.1", "fe80::1"], &[]];
    for answer in answers {
        let guarded = with_loopback(quick(), Names::of("mixed.example", &[answer]));
        let result = guarded.send(get(&format!("http://mixed.example:{}/", server.addr.port()))).await;
        assert_eq!(result.err(), REFUSED, "{answer:?}");
    }
    let unknown = with_loopback(quick(), Arc::new(Names::default()));
    assert_eq!(unknown.send(get("http://unknown.example/")).await.err(), REFUSED);
    assert!(server.heard().is_empty());
}

#[tokio::test]
async fn w3_redirects_are_not_followed_unless_asked_and_never_inside() {
    let inside = Scripted::replying("200 OK", "canary").await;
    let (port, location) = (inside.addr.port(), |to: String| format!("302 Found\r\nLocation: {to}"));
    let to_inside = format!("http://127.0.0.9:{port}/");
    let server = Scripted::replying(&location(to_inside), "").await;
    let url = format!("http://hook.example:{}/", server.addr.port());
    let plain = with_loopback(quick(), Names::of("hook.example", &[&["127.0.0.1"]]));
    assert_eq!(plain.send(get(&url)).await.expect("the redirect itself").status, 302);
    let following = Limits { redirects_max: 3, ..quick() };
    let guarded = with_loopback(following.clone(), Names::of("hook.example", &[&["127.0.0.1"]]));
    assert_eq!(guarded.send(get(&url)).await.err(), REFUSED, "to an internal address");
    for to in
        ["https://hook.example/".to_owned(), "http://127.1/".to_owned(), "ftp://hook.example/".to_owned()]
    {
        let server = Scripted::replying(&location(to.clone()), "").await;
        let guarded = with_loopback(following.clone(), Names::of("hook.example", &[&["127.0.0.1"]]));
        let result = guarded.send(get(&format!("http://hook.example:{}/", server.addr.port()))).await;
        assert_eq!(result.err(), REFUSED, "{to}");
    }
    assert!(inside.heard().is_empty());
}

#[tokio::test]
async fn w3_a_redirect_to_an_allowed_address_is_followed_within_its_number() {
    let end = Scripted::replying("200 OK", "there").await;
    let first =
        Scripted::replying(&format!("307 Moved\r\nLocation: http://127.0.0.1:{}/x", end.addr.port()), "")
            .await;
    let limits = Limits { redirects_max: 1, ..quick() };
    let guarded = with_loopback(limits, Arc::new(SystemResolver));
    let response =
        guarded.send(get(&format!("http://127.0.0.1:{}/", first.addr.port()))).await.expect("a reply");
    assert_eq!(&response.body[..], b"there");
    // A POST is not repeated elsewhere.
    let mut post = get(&format!("http://127.0.0.1:{}/", first.addr.port()));
    post.method = Method::POST;
    assert_eq!(guarded.send(post).await.expect("the redirect itself").status, 307);
    let around = Scripted::start(Say::Bytes(
        b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n".to_vec(),
    ))
    .await;
    let response =
        guarded.send(get(&format!("http://127.0.0.1:{}/", around.addr.port()))).await.expect("a reply");
    assert_eq!((response.status.as_u16(), around.heard().len()), (302, 2));
}

#[tokio::test]
async fn w6_endless_slow_and_large_replies_are_capped() {
    let guarded = with_loopback(quick(), Arc::new(SystemResolver));
    let url = |server: &Scripted| format!("http://127.0.0.1:{}/", server.addr.port());
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let endless = Scripted::start(Say::Endless(
        head,
        b"400\r\n".iter().copied().chain([b'x'; 1024]).chain(*b"\r\n").collect(),
    ))
    .await;
    let response = guarded.send(get(&url(&endless))).await.expect("a cut reply");
    assert_eq!((response.body.len(), response.truncated), (Limits::default().body_bytes_max, true));
    let silent = Scripted::start(Say::Silence).await;
    assert_eq!(guarded.send(get(&url(&silent))).await.err(), REFUSED);
    let headers =
        Scripted::start(Say::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), b"X-A: b\r\n".repeat(100))).await;
    assert_eq!(guarded.send(get(&url(&headers))).await.err(), REFUSED, "endless headers");
    let interim =
        Scripted::start(Say::Endless(Vec::new(), b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec())).await;
    assert_eq!(guarded.send(get(&url(&interim))).await.err(), REFUSED, "endless interim replies");
    let many = format!("HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n", "X-A: b\r\n".repeat(10_000));
    let many = Scripted::start(Say::Bytes(many.into_bytes())).await;
    assert_eq!(guarded.send(get(&url(&many))).await.err(), REFUSED, "10,000 headers");
}

#[tokio::test]
async fn w6_what_is_packed_stays_packed() {
    let bomb = "\u{1f}not really gzip";
    let server = Scripted::replying("200 OK\r\nContent-Encoding: gzip", bomb).await;
    let guarded = with_loopback(quick(), Arc::new(SystemResolver));
    let response =
        guarded.send(get(&format!("http://127.0.0.1:{}/", server.addr.port()))).await.expect("a reply");
    assert_eq!(&response.body[..], bomb.as_bytes());
    assert!(server.heard()[0].contains("accept-encoding: identity"));
}

#[tokio::test]
async fn w7_a_refused_a_closed_and_a_broken_port_look_the_same() {
    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        listener.local_addr().expect("an address").port()
    };
    let open = Scripted::replying("200 OK", "canary").await.addr.port();
    let garbage = Scripted::start(Say::Bytes(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())).await;
    let guarded = with_loopback(quick(), Arc::new(SystemResolver));
    let clock = SystemClock::shared();
    let mut texts = Vec::new();
    for url in [
        format!("http://127.0.0.1:{closed}/"),
        format!("http://127.0.0.2:{open}/"),
        format!("http://127.0.0.2:{closed}/"),
        format!("http://127.0.0.1:{}/", garbage.addr.port()),
        "http://no-such-name.invalid/".to_owned(),
    ] {
        let started = clock.monotonic();
        let error = guarded.send(get(&url)).await.expect_err("no reply");
        let took = clock.monotonic() - started;
        assert!(took >= quick().failure_floor, "{url} was told after {took:?}");
        texts.push((error, error.to_string(), format!("{error:?}")));
    }
    texts.dedup();
    assert_eq!(texts.len(), 1, "{texts:?}");
}

#[tokio::test]
async fn w12_credentials_never_go_over_plain_http() {
    let server = Scripted::replying("200 OK", "").await;
    let guarded = with_loopback(quick(), Arc::new(SystemResolver));
    let mut marked = HeaderValue::from_static("canary");
    marked.set_sensitive(true);
    for (name, value) in [
        ("authorization", HeaderValue::from_static("Bearer canary")),
        ("cookie", HeaderValue::from_static("a=canary")),
        ("x-mine", marked),
    ] {
        let mut request = get(&format!("http://127.0.0.1:{}/", server.addr.port()));
        request.headers.insert(name, value);
        assert_eq!(guarded.send(request).await.err(), Some(Error::Credentials), "{name}");
    }
    assert!(server.heard().is_empty());
}
