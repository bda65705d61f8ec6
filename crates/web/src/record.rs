//! What is kept of a request to the control API: one record in the log, two metrics, and the cause of each fault of
//! ours once.

use crate::api::{Outcome, agent};
use crate::problem::Problem;
use base::{RequestId, SharedClock};
use http::request::Parts;
use http::{Method, Request, StatusCode};
use ports::LogSink;
use serde_json::{Map, Value};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use telemetry::{Counter, Family, Histogram, Level, LogRecord, Metrics, Source};

/// Bytes of a path that a record keeps.
const PATH_BYTES_MAX: usize = 512;

pub(crate) const REQUESTS: &str = "api_requests_total";
pub(crate) const DURATION: &str = "api_request_duration_seconds";

/// Writes records and counts.
pub(crate) struct Recorder {
    requests: Family<Counter>,
    duration: Family<Histogram>,
    log: Option<Arc<dyn LogSink>>,
    clock: SharedClock,
}

/// The head of a request, as far as records tell of it.
pub(crate) struct Seen {
    id: RequestId,
    method: Method,
    path: String,
    peer: Option<IpAddr>,
    agent: Option<String>,
}

impl Seen {
    pub(crate) fn of<B>(request: &Request<B>, id: RequestId, peer: Option<IpAddr>) -> Self {
        Self::new(request.method(), request.uri(), request.headers(), (id, peer))
    }

    pub(crate) fn of_parts(parts: &Parts, id: RequestId, peer: Option<IpAddr>) -> Self {
        Self::new(&parts.method, &parts.uri, &parts.headers, (id, peer))
    }

    /// The query is left out: it may hold what must not be in a log.
    fn new(
        method: &Method,
        uri: &http::Uri,
        headers: &http::HeaderMap,
        (id, peer): (RequestId, Option<IpAddr>),
    ) -> Self {
        let path = uri.path();
        let mut end = path.len().min(PATH_BYTES_MAX);
        while !path.is_char_boundary(end) {
            end -= 1;
        }
        Self { id, method: method.clone(), path: path[..end].to_owned(), peer, agent: agent(headers) }
    }
}

impl Recorder {
    pub(crate) fn new(metrics: &Metrics, log: Option<Arc<dyn LogSink>>, clock: SharedClock) -> Self {
        let requests = metrics.counter_family(
            REQUESTS,
            "Requests to the control API.",
            &["method", "route", "status_code"],
        );
        let duration = metrics.histogram_family(
            DURATION,
            "Time from the head of a request to the control API to the head of its reply.",
            &["method", "route"],
        );
        Self { requests, duration, log, clock }
    }

    /// One record of a request that was answered.
    pub(crate) fn record(&self, seen: &Seen, outcome: &Outcome, status: StatusCode, took: Duration) {
        // Labels come from the routes, never from the client: unknown paths and methods are one series each.
        let route = if outcome.route.is_empty() { "none" } else { outcome.route };
        let method = known_method(&seen.method);
        self.requests.get(&[method, route, status.as_str()]).inc();
        self.duration.get(&[method, route]).observe(took);
        let told = !outcome.quiet || status.is_client_error() || status.is_server_error();
        if let Some(log) = self.log.as_ref().filter(|_| told) {
            log.append(self.log_record(seen, outcome, status, took));
        }
    }

    /// The cause of a fault of ours, under the request's id. It is told nowhere else.
    pub(crate) fn fault(&self, seen: &Seen, problem: &Problem) {
        let Some(cause) = problem.secret_reason() else { return };
        let (code, route) = (problem.code().name, seen.path.as_str());
        if problem.status_code() == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(request.id = %seen.id, code, method = %seen.method, route, cause, "a request failed by a fault of ours");
        } else {
            tracing::warn!(request.id = %seen.id, code, method = %seen.method, route, cause, "a request could not be served");
        }
    }

    fn log_record(&self, seen: &Seen, outcome: &Outcome, status: StatusCode, took: Duration) -> LogRecord {
        let level = if status.is_server_error() { Level::Warn } else { Level::Info };
        let mut fields = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                fields.insert(name.to_owned(), value);
            }
        };
        put("surface", Some("control".into()));
        put("request.id", Some(seen.id.to_string().into()));
        put("method", Some(seen.method.as_str().into()));
        put("path", Some(seen.path.as_str().into()));
        put("route", Some(outcome.route.into()));
        put("status", Some(status.as_u16().into()));
        put("duration_ms", Some((took.as_secs_f64() * 1000.0).into()));
        put("principal", outcome.principal.as_deref().map(Into::into));
        put("code", outcome.code.map(Into::into));
        put("ip", seen.peer.map(|ip| ip.to_string().into()));
        put("agent", seen.agent.as_deref().map(Into::into));
        LogRecord {
            at: self.clock.now(),
            level,
            message: format!("{} {} {}", seen.method, seen.path, status.as_u16()),
            source: Source::Platform,
            tenant: outcome.tenant.map(|tenant| tenant.to_string()),
            fields,
        }
    }
}

fn known_method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
