//! The way to a sink: one request, and how far it came.
//!
//! Addresses are given by operators. Plain `http` goes to this machine alone, on a connection of its own; all else goes
//! through the guarded client, over TLS.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};
use outbound::direct::{self, DirectError, DirectRequest};
use outbound::{Guarded, GuardedRequest, Target};

/// Bytes of a sink's answer that are read: an error in words.
pub const REPLY_BYTES_MAX: usize = 64 * 1024;

/// One request.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Absolute.
    pub(crate) url: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// How far a request came.
#[derive(Debug)]
pub(crate) enum Sent {
    /// It was answered.
    Answered(Answer),
    /// It cannot have arrived.
    Never(String),
    /// It may have arrived and had its effect.
    Perhaps(String),
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

/// Sends requests.
#[derive(Clone)]
pub struct Wire {
    guarded: Guarded,
    time_max: Duration,
}

impl Wire {
    /// Sends through `guarded` whatever leaves this machine; each request has `time_max` in all.
    #[must_use]
    pub fn new(guarded: Guarded, time_max: Duration) -> Self {
        Self { guarded, time_max }
    }

    pub(crate) async fn send(&self, request: Request) -> Sent {
        let sending = async {
            match loopback(&request.url) {
                Some(addr) => to_this_machine(addr, request).await,
                None => self.away(request).await,
            }
        };
        let answered = tokio::time::timeout(self.time_max, sending).await;
        answered
            .unwrap_or_else(|_| Sent::Perhaps(format!("no answer within {} s", self.time_max.as_secs_f32())))
    }

    async fn away(&self, request: Request) -> Sent {
        let Request { method, url, headers, body } = request;
        let target = match Target::parse(&url) {
            Ok(target) => target,
            Err(error) => return Sent::Never(error.to_string()),
        };
        match self.guarded.send(GuardedRequest { method, target, headers, body }).await {
            Ok(reply) => Sent::Answered(Answer { status: reply.status, body: reply.body }),
            // The guarded client does not tell whether anything was sent.
            Err(outbound::Error::Unreachable(error)) => Sent::Perhaps(error.to_string()),
            Err(error) => Sent::Never(error.to_string()),
        }
    }
}

async fn to_this_machine(addr: SocketAddr, request: Request) -> Sent {
    let Request { method, url, headers, body } = request;
    let path = match url.parse::<Uri>() {
        Ok(uri) => uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        Err(error) => return Sent::Never(error.to_string()),
    };
    let request = DirectRequest { addr, method, path, headers, body, reply_bytes_max: REPLY_BYTES_MAX };
    match direct::send(request).await {
        Ok(reply) => Sent::Answered(Answer { status: reply.status, body: reply.body }),
        Err(error @ DirectError::Broken(_)) => Sent::Perhaps(error.to_string()),
        Err(error) => Sent::Never(error.to_string()),
    }
}

/// Where on this machine a plain `http` address is; `None` for any other address.
pub(crate) fn loopback(url: &str) -> Option<SocketAddr> {
    let uri: Uri = url.parse().ok()?;
    if uri.scheme_str() != Some("http") {
        return None;
    }
    let host = uri.host()?;
    let ip = match host {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        "[::1]" => IpAddr::V6(Ipv6Addr::LOCALHOST),
        _ => host.parse().ok().filter(IpAddr::is_loopback)?,
    };
    Some(SocketAddr::new(ip, uri.port_u16().unwrap_or(80)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine() {
        let at = |url| loopback(url).map(|addr| addr.to_string());
        assert_eq!(at("http://127.0.0.1:81/x?y"), Some("127.0.0.1:81".to_owned()));
        assert_eq!(at("http://localhost/x"), Some("127.0.0.1:80".to_owned()));
        assert_eq!(at("http://[::1]:5/"), Some("[::1]:5".to_owned()));
        for url in ["https://127.0.0.1/", "http://10.0.0.1/", "http://localhost.example/", "127.0.0.1", ""] {
            assert_eq!(at(url), None, "{url}");
        }
    }
}
