//! TLS of both clients, with a server of our own. The certificates beside are for `hook.example` and 127.0.0.1, of an authority
//! that exists for these tests alone and whose key is gone; they end in 2125, but for the one that is over.

use crate::guarded::{Names, get, quick};
use base::{Cidr, Secret, SystemClock};
use bytes::Bytes;
use http::{HeaderValue, Method, header};
use outbound::{AddressPolicy, Control, Error, Guarded, SystemResolver, Target, Trust, Unreachable};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

const AUTHORITY: &[u8] = include_bytes!("tls/authority.der");

struct Server {
    addr: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
    _task: JoinSet<()>,
}

/// A server that answers each request with `{"a":1}`, or with nothing readable where TLS fails.
async fn server(certificate: &'static [u8], key: &'static [u8]) -> Server {
    let key = PrivateKeyDer::try_from(key).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(certificate)], key)
        .expect("a certificate with its key");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("an address");
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (kept, mut task) = (Arc::clone(&heard), JoinSet::new());
    task.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut bytes = vec![0; 4_096];
            let Ok(read) = stream.read(&mut bytes).await else { continue };
            let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
            kept.lock().expect("nobody panics with it").push(text);
            let reply = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\n{\"a\":1}";
            let _ = stream.write_all(reply).await;
            let _ = stream.shutdown().await;
        }
    });
    Server { addr, heard, _task: task }
}

async fn good() -> Server {
    server(include_bytes!("tls/server.der"), include_bytes!("tls/server.key.der")).await
}

fn ours() -> Trust {
    Trust::only([AUTHORITY]).expect("an authority")
}

fn guarded(names: Arc<Names>) -> Guarded {
    let loopback = Cidr::parse("127.0.0.1/32").expect("a range");
    let policy = AddressPolicy::public_only().allow([loopback]);
    Guarded::new(policy, quick(), names, SystemClock::shared()).trusting(ours())
}

#[tokio::test]
async fn https_is_spoken_to_who_has_the_name_and_carries_credentials() {
    let server = good().await;
    let client = guarded(Names::of("hook.example", &[&["127.0.0.1"]]));
    let mut request = get(&format!("https://hook.example:{}/a", server.addr.port()));
    request.headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer canary"));
    let response = client.send(request).await.expect("a reply");
    assert_eq!((response.status.as_u16(), &response.body[..]), (200, &b"{\"a\":1}"[..]));
    let heard = server.heard.lock().expect("nobody panics with it")[0].clone();
    assert!(heard.starts_with("GET /a HTTP/1.1\r\n") && heard.contains("Bearer canary"), "{heard}");
}

#[tokio::test]
async fn w12_a_certificate_of_another_name_authority_or_time_is_refused() {
    let refused = Some(Error::Unreachable(Unreachable));
    let fine = good().await;
    let other = guarded(Names::of("other.example", &[&["127.0.0.1"]]));
    let url = format!("https://other.example:{}/", fine.addr.port());
    assert_eq!(other.send(get(&url)).await.err(), refused, "another name");
    let system = guarded(Names::of("hook.example", &[&["127.0.0.1"]])).trusting(Trust::system());
    let url = format!("https://hook.example:{}/", fine.addr.port());
    assert_eq!(system.send(get(&url)).await.err(), refused, "another authority");
    let over = server(include_bytes!("tls/expired.der"), include_bytes!("tls/expired.key.der")).await;
    let client = guarded(Names::of("hook.example", &[&["127.0.0.1"]]));
    let url = format!("https://hook.example:{}/", over.addr.port());
    assert_eq!(client.send(get(&url)).await.err(), refused, "another time");
    for server in [&fine, &over] {
        assert!(server.heard.lock().expect("nobody panics with it").is_empty(), "something was sent");
    }
    assert!(Trust::only([&b"no certificate"[..]]).is_err());
}

#[tokio::test]
async fn an_operators_address_may_be_anywhere_but_takes_no_credentials_in_clear_text() {
    let server = good().await;
    let client = Guarded::for_operator(quick(), SystemClock::shared())
        .trusting(Trust::only([AUTHORITY]).expect("one"));
    let url = format!("https://{}/", server.addr);
    assert_eq!(client.send(get(&url)).await.expect("a reply").status.as_u16(), 200);
    let mut request = get("http://192.0.2.1/");
    request.headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer canary"));
    assert_eq!(client.send(request).await.err(), Some(Error::Credentials));
    // A tenant's client does not reach it.
    let public = AddressPolicy::public_only();
    let tenants =
        Guarded::new(public, quick(), Arc::new(SystemResolver), SystemClock::shared()).trusting(ours());
    assert_eq!(tenants.send(get(&url)).await.err(), Some(Error::Unreachable(Unreachable)));
    assert!(Target::parse(&url).is_ok_and(|target| target.is_https() && target.is_loopback()));
}

#[tokio::test]
async fn the_control_api_is_reached_by_https() {
    let server = good().await;
    let key = Secret::new("sy_canary".to_owned());
    let base = format!("https://{}", server.addr);
    let control = Control::trusting(&base, Some(&key), ours()).expect("a client");
    let body = serde_json::json!({ "b": Bytes::from_static(b"x").len() });
    let answer = control.call(Method::POST, "/api/v1/x", Some(&body)).await.expect("a reply");
    assert_eq!(answer, serde_json::json!({ "a": 1 }));
    let heard = server.heard.lock().expect("nobody panics with it")[0].clone();
    assert!(heard.contains("Bearer sy_canary") && heard.ends_with("{\"b\":1}"), "{heard}");
    let distrusting = Control::new(&base, Some(&key)).expect("a client");
    assert!(distrusting.call(Method::GET, "/", None).await.is_err());
}
