//! The client of the control API.

use crate::scripted::{Say, Scripted};
use base::Secret;
use http::Method;
use outbound::{Control, ControlError};
use serde_json::json;

fn client(server: &Scripted) -> Control {
    let key = Secret::new("sy_live_canary".to_owned());
    Control::new(&format!("http://{}", server.addr), Some(&key)).expect("an address")
}

#[tokio::test]
async fn json_goes_out_and_comes_back() {
    let server =
        Scripted::replying("201 Created\r\nContent-Type: application/json", r#"{"id": "ten_1"}"#).await;
    let client = client(&server).in_environment("test").expect("a name");
    let body = json!({"slug": "acme"});
    let reply = client.call(Method::POST, "/api/v1/tenants", Some(&body)).await.expect("a reply");
    assert_eq!(reply["id"], "ten_1");
    let heard = &server.heard()[0];
    assert!(heard.starts_with("POST /api/v1/tenants HTTP/1.1\r\n"), "{heard}");
    for part in ["authorization: Bearer sy_live_canary", "switchyard-environment: test", r#"{"slug":"acme"}"#]
    {
        assert!(heard.contains(part), "{part}: {heard}");
    }
}

#[tokio::test]
async fn nothing_comes_back_as_null() {
    let server = Scripted::start(Say::Bytes(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())).await;
    assert_eq!(client(&server).call(Method::DELETE, "/x", None).await.expect("a reply"), json!(null));
}

#[tokio::test]
async fn a_problem_document_is_a_typed_error() {
    let problem = json!({
        "type": "https://switchyard.dev/errors/invalid", "title": "The request has invalid values", "status": 422,
        "code": "invalid", "request_id": "req_1", "errors": [{"pointer": "/slug", "detail": "a DNS label"}], "more": 1,
    });
    let server = Scripted::replying("422 Unprocessable Content", &problem.to_string()).await;
    let error = client(&server).call(Method::GET, "/x", None).await.expect_err("a refusal");
    let ControlError::Refused(remote) = error else { unreachable!("{error:?}") };
    assert_eq!(
        (remote.status, remote.code.as_str(), remote.errors[0].pointer.as_str()),
        (422, "invalid", "/slug")
    );
}

#[tokio::test]
async fn something_else_at_the_address_is_told_apart() {
    let other = Scripted::replying("404 Not Found", "<h1>nginx</h1>").await;
    let error = client(&other).call(Method::GET, "/x", None).await.expect_err("no problem document");
    assert!(matches!(error, ControlError::Foreign { .. }), "{error:?}");
    let page = Scripted::replying("200 OK", "<h1>hello</h1>").await;
    let error = client(&page).call(Method::GET, "/x", None).await.expect_err("no JSON");
    assert!(matches!(error, ControlError::Foreign { .. }), "{error:?}");
}

#[tokio::test]
async fn nothing_at_the_address_names_the_address() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port")
        .local_addr()
        .expect("an address");
    let client = Control::new(&format!("http://{closed}/"), None).expect("an address");
    let error = client.call(Method::GET, "/x", None).await.expect_err("nothing listens");
    assert_eq!(error.to_string(), format!("nothing answers at http://{closed}"));
}

#[tokio::test]
async fn names_below_localhost_are_this_machine() {
    let server = Scripted::replying("200 OK", "{}").await;
    let port = server.addr.port();
    let client = Control::new(&format!("http://api.LocalHost:{port}"), None).expect("an address");
    assert_eq!(client.call(Method::GET, "/x", None).await.expect("a reply"), json!({}));
    let heard = server.heard()[0].to_ascii_lowercase();
    assert!(heard.contains(&format!("host: api.localhost:{port}\r\n")), "{heard}");
    let elsewhere = Control::new(&format!("http://localhost.invalid:{port}"), None).expect("an address");
    elsewhere.call(Method::GET, "/x", None).await.expect_err("no such name");
}

#[tokio::test]
async fn lines_come_whole_however_they_are_cut() {
    let chunks = "5\r\n{\"a\":\r\n4\r\n1}\n{\r\n8\r\n\"b\":2}\r\n\r\n1\r\nx\r\n0\r\n\r\n";
    let reply = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
    let server = Scripted::start(Say::Bytes(reply.into_bytes())).await;
    let mut lines = client(&server).follow("/api/v1/logs?follow=true").await.expect("a stream");
    for expected in [r#"{"a":1}"#, r#"{"b":2}"#, "x"] {
        assert_eq!(lines.next().await.expect("a line").expect("not the end"), expected);
    }
    assert_eq!(lines.next().await, Ok(None));
}

#[tokio::test]
async fn a_stream_that_breaks_off_says_so() {
    let reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na\n\r\n5\r\nha".to_vec();
    let server = Scripted::start(Say::Bytes(reply)).await;
    let mut lines = client(&server).follow("/x").await.expect("a stream");
    assert_eq!(lines.next().await.expect("a line").expect("not the end"), "a");
    assert!(lines.next().await.is_err());
}

#[test]
fn addresses_that_cannot_be_spoken_to_are_refused() {
    for base in ["a.example:8081", "ftp://a.example"] {
        assert!(Control::new(base, None).is_err(), "{base}");
    }
    assert!(Control::new("http://a.example", Some(&Secret::new("a\nb".to_owned()))).is_err());
}
