//! The control listener by raw sockets.

use crate::support::Api;
use base::SystemClock;
use lifecycle::{Stop, StopHandle, Supervisor, TaskKind};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) struct Listener {
    pub(crate) addr: SocketAddr,
    pub(crate) handle: StopHandle,
    pub(crate) supervisor: Supervisor,
}

pub(crate) fn listen() -> Listener {
    let supervisor = Supervisor::new(SystemClock::shared());
    let listener =
        lifecycle::bind_tcp(SocketAddr::from(([127, 0, 0, 1], 0)), "test", "test").expect("a free port");
    let addr = listener.local_addr().expect("an address");
    let (handle, stop) = Stop::pair();
    let tasks = supervisor.tasks(TaskKind::Listener, "control connections");
    let server = Api::new().server;
    supervisor.spawn(
        TaskKind::Listener,
        "control",
        async move { Ok(server.serve(listener, tasks, stop).await?) },
    );
    Listener { addr, handle, supervisor }
}

/// Sends bytes and reads until the other side closes.
async fn exchange(addr: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(addr).await.expect("a connection");
    // The other side may close before it has read all; that is its right.
    let _ = stream.write_all(bytes).await;
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply).await;
    String::from_utf8_lossy(&reply).into_owned()
}

#[tokio::test]
async fn requests_follow_each_other_on_a_connection() {
    let listener = listen();
    let twice =
        "GET /livez HTTP/1.1\r\nHost: a\r\n\r\nGET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let reply = exchange(listener.addr, twice.as_bytes()).await;
    assert_eq!(reply.matches("HTTP/1.1 204").count(), 2, "{reply}");
}

#[tokio::test]
async fn broken_framing_is_refused_and_closed() {
    let listener = listen();
    let post = "POST /api/v1/things HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer operator\r\nContent-Type: application/json\r\n";
    for rest in [
        "Content-Length: +5\r\n\r\n{}   ",
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}   ",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "X-A: b\r\n folded\r\n\r\n",
        "X-\u{1}A: b\r\n\r\n",
    ] {
        let reply = exchange(listener.addr, format!("{post}{rest}").as_bytes()).await;
        assert!(reply.starts_with("HTTP/1.1 400"), "{rest:?}: {reply}");
        assert_eq!(reply.matches("HTTP/1.1").count(), 1, "{rest:?}");
    }
}

#[tokio::test]
async fn a_refused_body_holds_no_second_request() {
    let listener = listen();
    let hidden = "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n";
    let request = format!(
        "POST /api/v1/things HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{hidden}",
        hidden.len()
    );
    let reply = exchange(listener.addr, request.as_bytes()).await;
    assert!(reply.starts_with("HTTP/1.1 401"), "{reply}");
    assert_eq!(reply.matches("HTTP/1.1").count(), 1, "{reply}");
}

#[tokio::test]
async fn g5_what_follows_an_unread_body_is_not_taken_from_it() {
    let listener = listen();
    let hidden = "GET /api/v1/panics HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer operator\r\n\r\n";
    let last = "GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let request = format!(
        "POST /api/v1/things HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{hidden}{last}",
        hidden.len()
    );
    let reply = exchange(listener.addr, request.as_bytes()).await;
    assert!(reply.starts_with("HTTP/1.1 401"), "{reply}");
    assert!(!reply.contains("HTTP/1.1 500"), "the body was taken for a request: {reply}");
    assert!(reply.matches("HTTP/1.1").count() <= 2, "{reply}");
}

#[tokio::test]
async fn g15_large_heads_are_refused() {
    let listener = listen();
    let large = format!("GET /livez HTTP/1.1\r\nHost: a\r\nX-A: {}\r\n\r\n", "x".repeat(100_000));
    assert!(exchange(listener.addr, large.as_bytes()).await.starts_with("HTTP/1.1 431"));
    let many = format!("GET /livez HTTP/1.1\r\nHost: a\r\n{}\r\n", "X-A: b\r\n".repeat(1_000));
    assert!(exchange(listener.addr, many.as_bytes()).await.starts_with("HTTP/1.1 431"));
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "x".repeat(20_000));
    assert!(exchange(listener.addr, long.as_bytes()).await.starts_with("HTTP/1.1 414"));
}

#[tokio::test]
async fn g17_a_slow_head_is_cut() {
    let listener = listen();
    let mut stream = TcpStream::connect(listener.addr).await.expect("a connection");
    stream.write_all(b"GET /livez HTTP/1.1\r\nX-A: ").await.expect("the first bytes go");
    let started = SystemClock::shared();
    let mut reply = Vec::new();
    let closed = tokio::time::timeout(web::HEAD_TIME_MAX * 3, stream.read_to_end(&mut reply)).await;
    assert!(closed.is_ok(), "the connection is still open");
    assert!(started.monotonic() + Duration::from_secs(1) >= web::HEAD_TIME_MAX, "cut too early");
    assert!(!String::from_utf8_lossy(&reply).contains("204"));
}

#[tokio::test]
async fn stopping_ends_streams_and_finishes() {
    let listener = listen();
    let mut stream = TcpStream::connect(listener.addr).await.expect("a connection");
    let request = "GET /api/v1/stream HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer operator\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("the request goes");
    let mut first = [0; 16];
    stream.read_exact(&mut first).await.expect("the reply begins");
    listener.handle.stop();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.expect("the stream ends in order");
    assert!(String::from_utf8_lossy(&rest).ends_with("0\r\n\r\n"));
    listener.supervisor.stop(Duration::from_secs(10)).await.expect("nothing is left");
    assert!(TcpStream::connect(listener.addr).await.is_err(), "nothing new is accepted");
}
