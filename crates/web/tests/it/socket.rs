//! Conversations over a WebSocket, by raw bytes.

use crate::listener::{Listener, listen};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HANDSHAKE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Asks for a socket; gives the head of the answer.
async fn ask(listener: &Listener, path: &str, bearer: &str, more: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(listener.addr).await.expect("a connection");
    let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {bearer}\r\n{more}\r\n");
    stream.write_all(head.as_bytes()).await.expect("the request goes");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.expect("a whole head"));
    }
    (stream, String::from_utf8(answer).expect("ASCII"))
}

async fn open(listener: &Listener, bearer: &str) -> TcpStream {
    let (stream, head) = ask(listener, "/api/v1/rooms/hall", bearer, HANDSHAKE).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(
        head.to_ascii_lowercase().contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
        "{head}"
    );
    stream
}

/// A frame as clients send it, masked.
fn frame(head: u8, payload: &[u8]) -> Vec<u8> {
    let key = [7, 1, 9, 3];
    let length = u8::try_from(payload.len()).expect("a short payload");
    let masked = payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key);
    [head, 0x80 | length].into_iter().chain(key).chain(masked).collect()
}

/// The next frame of the server: its first byte and payload.
async fn heard(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let head = stream.read_u8().await.expect("a frame");
    let length = stream.read_u8().await.expect("its length");
    let mut payload = vec![0; usize::from(length)];
    stream.read_exact(&mut payload).await.expect("its payload");
    (head, payload)
}

fn closed(code: u16) -> (u8, Vec<u8>) {
    (0x88, code.to_be_bytes().to_vec())
}

#[tokio::test]
async fn messages_go_both_ways_whole_or_in_parts() {
    let listener = listen();
    let mut stream = open(&listener, "operator").await;
    let parts =
        [frame(0x01, b"two "), frame(0x89, b"?"), frame(0x80, b"parts"), frame(0x81, b"one")].concat();
    stream.write_all(&parts).await.expect("sent");
    assert_eq!(heard(&mut stream).await, (0x8a, b"?".to_vec()));
    assert_eq!(heard(&mut stream).await, (0x81, b"two parts".to_vec()));
    assert_eq!(heard(&mut stream).await, (0x81, b"one".to_vec()));
    stream.write_all(&frame(0x81, b"bye")).await.expect("sent");
    assert_eq!(heard(&mut stream).await, closed(1000));
    assert_eq!(stream.read(&mut [0]).await.expect("an orderly end"), 0);
}

#[tokio::test]
async fn who_may_not_gets_no_socket() {
    let listener = listen();
    for (path, bearer, more, status) in [
        ("/api/v1/rooms/hall", "stranger", HANDSHAKE, 401),
        ("/api/v1/rooms/attic", "operator", HANDSHAKE, 404),
        ("/api/v1/rooms/hall", "operator", "", 426),
        ("/api/v1/rooms/hall", "operator", "Connection: Upgrade\r\nUpgrade: websocket\r\n", 400),
    ] {
        let (_, head) = ask(&listener, path, bearer, more).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {head}");
    }
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_it() {
    let listener = listen();
    for (bytes, code) in [
        (vec![0x81, 0x02, b'h', b'i'], 1002),
        (frame(0x80, b"goes on with nothing"), 1002),
        (frame(0x82, b"binary"), 1003),
        (frame(0x81, &[0xff, 0xfe]), 1007),
        (vec![0x81, 0xff, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0], 1009),
        (frame(0x88, &[]), 1000),
    ] {
        let mut stream = open(&listener, "operator").await;
        stream.write_all(&bytes).await.expect("sent");
        assert_eq!(heard(&mut stream).await, closed(code), "{bytes:x?}");
    }
}

#[tokio::test]
async fn a9_a_socket_ends_with_its_credential() {
    let listener = listen();
    let mut stream = open(&listener, "brief").await;
    assert_eq!(heard(&mut stream).await, closed(1008));
}

#[tokio::test]
async fn a9_a_stream_ends_with_its_credential() {
    let listener = listen();
    let (mut stream, head) = ask(&listener, "/api/v1/stream", "brief", "").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let mut rest = String::new();
    while !rest.ends_with("0\r\n\r\n") {
        rest.push(char::from(stream.read_u8().await.expect("the stream ends in order")));
    }
}

#[tokio::test]
async fn a_stop_says_goodbye_and_leaves_nothing() {
    let listener = listen();
    let mut stream = open(&listener, "operator").await;
    listener.handle.stop();
    assert_eq!(heard(&mut stream).await, closed(1001));
    listener.supervisor.stop(Duration::from_secs(10)).await.expect("nothing is left");
}
