//! Heads of what clients get: responses of applications, and problem documents of our own.

use super::job::{Job, Refusal};
use super::page::{asks_for_page, page};
use super::shared::Thread;
use crate::limits::push_limit_headers;
use crate::model::Route;
use crate::wire::{Framing, HeaderKind, ResponseHead, Version, classify, push_number};
use base::codes;
use std::io::Write;

/// Where the pages of error codes are, as the control API says as well.
const PROBLEM_TYPE_BASE: &str = "https://switchyard.dev/errors/";

/// How a body goes to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Downward {
    /// As it is: its length is told, or the end of the connection ends it.
    Plain,
    /// In chunks.
    Chunks,
}

/// What was found in the head of a response beside what is passed on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Passed {
    /// The upstream closes the connection.
    pub(crate) close: bool,
    /// The upstream asks to keep it (HTTP/1.0).
    pub(crate) keep_alive: bool,
    /// For how long it keeps it, in seconds.
    pub(crate) idle_seconds: Option<u64>,
    /// It is a stream of events.
    pub(crate) is_event_stream: bool,
}

/// Writes the head of a response into `job.down`. May end keep-alive, where the body can only end with the connection.
pub(crate) fn push_response_head(
    thread: &Thread,
    job: &mut Job,
    route: &Route,
    head: &ResponseHead<'_, '_>,
    framing: (Framing, Option<u64>),
) -> (Passed, Downward) {
    let (framing, announced) = framing;
    let (downward, length) = match framing {
        Framing::Empty if matches!(head.status, 204 | 100..=199) => (Downward::Plain, None),
        Framing::Empty if head.status == 304 || job.to_head => (Downward::Plain, announced),
        Framing::Empty => (Downward::Plain, Some(0)),
        Framing::Length(length) => (Downward::Plain, Some(length)),
        Framing::Chunked | Framing::UntilClose if job.version == Version::Http11 => (Downward::Chunks, None),
        Framing::Chunked | Framing::UntilClose => {
            job.keep_alive = false;
            (Downward::Plain, None)
        }
    };
    let mut out = thread.answers.take();
    push_status_line(&mut out, head.status, head.reason);
    let (passed, seen) = push_passed_headers(&mut out, head);
    if let Some(length) = length {
        out.extend_from_slice(b"Content-Length: ");
        push_number(&mut out, length);
        out.extend_from_slice(b"\r\n");
    } else if downward == Downward::Chunks && !job.to_head {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if !seen.has(HeaderKind::Date) {
        thread.push_date(&mut out, job.at);
    }
    push_default_headers(&mut out, route, head, seen);
    push_own_headers(&mut out, job);
    out.extend_from_slice(b"\r\n");
    job.down = out;
    job.status = head.status;
    (passed, downward)
}

fn push_default_headers(out: &mut Vec<u8>, route: &Route, head: &ResponseHead<'_, '_>, seen: Seen) {
    if route.headers_by_kind && seen.has_no_default() {
        out.extend_from_slice(&route.header_lines);
        return;
    }
    for default in &route.headers {
        let set = match default.kind {
            HeaderKind::Other => {
                head.headers.iter().any(|header| header.name.eq_ignore_ascii_case(&default.name))
            }
            kind => seen.has(kind),
        };
        if !set {
            out.extend_from_slice(&default.line);
        }
    }
}

fn push_status_line(out: &mut Vec<u8>, status: u16, reason: &str) {
    out.extend_from_slice(b"HTTP/1.1 ");
    push_number(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// What every answer of ours and of applications says: the request's id, its limit, and whether the connection ends.
fn push_own_headers(out: &mut Vec<u8>, job: &Job) {
    if job.request.is_some() {
        out.extend_from_slice(b"X-Request-Id: ");
        out.extend_from_slice(&job.request_text);
        out.extend_from_slice(b"\r\n");
    }
    if let Some(outcome) = &job.limit {
        push_limit_headers(out, outcome, job.at);
    }
    match (job.keep_alive, job.version) {
        (false, _) => out.extend_from_slice(b"Connection: close\r\n"),
        (true, Version::Http10) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        (true, Version::Http11) => {}
    }
}

/// Which of the headers that have a default the application set.
#[derive(Debug, Clone, Copy, Default)]
struct Seen(u32);

impl Seen {
    fn note(&mut self, kind: HeaderKind) {
        self.0 |= 1 << kind as u32;
    }

    fn has(self, kind: HeaderKind) -> bool {
        self.0 & (1 << kind as u32) != 0
    }

    fn has_no_default(self) -> bool {
        let defaults = [
            HeaderKind::FrameOptions,
            HeaderKind::ContentTypeOptions,
            HeaderKind::ReferrerPolicy,
            HeaderKind::PermissionsPolicy,
        ];
        !defaults.into_iter().any(|kind| self.has(kind))
    }
}

fn push_passed_headers(out: &mut Vec<u8>, head: &ResponseHead<'_, '_>) -> (Passed, Seen) {
    let (mut passed, mut seen) = (Passed::default(), Seen::default());
    for header in head.headers {
        let kind = classify(header.name);
        match kind {
            HeaderKind::Connection => {
                for option in header.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                    passed.close |= option.eq_ignore_ascii_case(b"close");
                    passed.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
                continue;
            }
            HeaderKind::KeepAlive => {
                passed.idle_seconds = keep_alive_seconds(header.value);
                continue;
            }
            HeaderKind::ContentLength
            | HeaderKind::TransferEncoding
            | HeaderKind::Upgrade
            | HeaderKind::Hop => continue,
            HeaderKind::Forged if is_ours_to_say(header.name) => continue,
            HeaderKind::Other if is_limit_header(header.name) => continue,
            HeaderKind::Other if header.name.eq_ignore_ascii_case("content-type") => {
                passed.is_event_stream = header.value.to_ascii_lowercase().starts_with(b"text/event-stream");
            }
            _ => seen.note(kind),
        }
        out.extend_from_slice(header.name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(header.value);
        out.extend_from_slice(b"\r\n");
    }
    (passed, seen)
}

/// Response headers that only the gateway writes.
fn is_ours_to_say(name: &str) -> bool {
    name.eq_ignore_ascii_case("x-request-id")
        || name.get(..11).is_some_and(|start| start.eq_ignore_ascii_case("switchyard-"))
}

/// An application's own limits must not be taken for ours, nor stand beside them.
fn is_limit_header(name: &str) -> bool {
    let bytes = name.as_bytes();
    match bytes.first() {
        Some(b'r' | b'R') => {
            name.eq_ignore_ascii_case("ratelimit") || name.eq_ignore_ascii_case("ratelimit-policy")
        }
        Some(b'x' | b'X') => name.get(..12).is_some_and(|start| start.eq_ignore_ascii_case("x-ratelimit-")),
        _ => false,
    }
}

/// `timeout=5` of `Keep-Alive: timeout=5, max=100`.
fn keep_alive_seconds(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    text.split(',').find_map(|part| part.trim().strip_prefix("timeout=")?.parse().ok())
}

/// Writes the answer that switches to a WebSocket into `job.down`.
pub(crate) fn push_switch_head(job: &mut Job, head: &ResponseHead<'_, '_>) {
    let mut out = std::mem::take(&mut job.down);
    push_status_line(&mut out, head.status, head.reason);
    push_passed_headers(&mut out, head);
    out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n");
    push_own_headers(&mut out, job);
    out.extend_from_slice(b"\r\n");
    job.down = out;
    job.status = head.status;
}

/// Writes a whole refusal into `job.down`: a problem document (RFC 9457), or a page for who asks for one. Whether the
/// connection stays open is what `job.keep_alive` says by now.
pub(crate) fn push_problem(thread: &Thread, job: &mut Job, refusal: &Refusal) {
    let page = (job.for_person || asks_for_page(&job.up)).then(|| page(job, refusal));
    let body = page.as_ref().map_or_else(|| problem(job, refusal), |page| page.html().into_bytes());

    let mut out = std::mem::take(&mut job.down);
    out.clear();
    push_status_line(&mut out, refusal.status, reason(refusal.status));
    match &page {
        Some(page) => {
            out.extend_from_slice(b"Content-Type: text/html; charset=utf-8\r\nContent-Security-Policy: ");
            out.extend_from_slice(page.policy().as_bytes());
        }
        None => out.extend_from_slice(b"Content-Type: application/problem+json"),
    }
    out.extend_from_slice(b"\r\nContent-Length: ");
    push_number(&mut out, body.len() as u64);
    out.extend_from_slice(b"\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n");
    thread.push_date(&mut out, job.at);
    if let Some(seconds) = refusal.retry_after {
        out.extend_from_slice(b"Retry-After: ");
        push_number(&mut out, seconds);
        out.extend_from_slice(b"\r\n");
    }
    if refusal.status == 401 {
        out.extend_from_slice(b"WWW-Authenticate: Bearer\r\n");
    }
    push_own_headers(&mut out, job);
    out.extend_from_slice(b"\r\n");
    if !job.to_head {
        out.extend_from_slice(&body);
        job.bytes_out = body.len() as u64;
    }
    job.down = out;
    job.status = refusal.status;
    job.code = Some(refusal.code.name);
}

fn problem(job: &Job, refusal: &Refusal) -> Vec<u8> {
    let mut body = Vec::with_capacity(256);
    let code = refusal.code;
    let _ = write!(
        body,
        r#"{{"type":"{PROBLEM_TYPE_BASE}{}","title":"{}","status":{},"detail":"#,
        code.name, code.title, refusal.status
    );
    push_json_string(&mut body, &refusal.detail);
    let _ = write!(body, r#","code":"{}""#, code.name);
    if let Some(outcome) = job.limit.filter(|_| code.name == codes::RATE_LIMITED.name) {
        let _ =
            write!(body, r#","limit":{},"remaining":{}"#, outcome.verdict.limit, outcome.verdict.remaining);
    }
    if let Some(quota) = &refusal.quota {
        let _ = write!(body, r#","meter":"{}","limit":{},"used":{}"#, quota.meter, quota.limit, quota.used);
        if let Some(at) = quota.resets_at {
            let _ = write!(body, r#","resets_at":"{at}""#);
        }
    }
    if let Some(seconds) = refusal.retry_after {
        let _ = write!(body, r#","retry_after":{seconds}"#);
    }
    if let Some(request) = job.request {
        let _ = write!(body, r#","request_id":"{request}""#);
    }
    body.push(b'}');
    body
}

fn push_json_string(out: &mut Vec<u8>, text: &str) {
    let mut json = String::with_capacity(text.len() + 2);
    telemetry::write_json_string(&mut json, text);
    out.extend_from_slice(json.as_bytes());
}

fn reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_an_upstream_keeps_a_connection_is_read() {
        assert_eq!(keep_alive_seconds(b"timeout=5, max=100"), Some(5));
        assert_eq!(keep_alive_seconds(b"max=100,timeout=72"), Some(72));
        assert_eq!(keep_alive_seconds(b"timeout=x"), None);
    }
}
