//! The head that an application gets.

use super::admit::Who;
use super::assertion::{Subject, Words};
use super::credential::is_ours;
use super::job::Job;
use super::remember::Remembered;
use super::shared::Thread;
use crate::snapshot::{Environment, Tenant};
use crate::wire::{Authority, Examined, Framing, HeaderKind, RequestHead, Target, push_hex, push_number};

/// What a head is made from.
pub(crate) struct Forward<'a> {
    pub(crate) head: &'a RequestHead<'a, 'a>,
    pub(crate) found: &'a Examined,
    pub(crate) target: &'a Target<'a>,
    pub(crate) authority: &'a Authority,
    pub(crate) trusted: bool,
    /// The address of the socket's other end.
    pub(crate) peer: &'a str,
    pub(crate) who: Option<Who>,
    /// `Authorization` has a token that this installation signed.
    pub(crate) own_token: bool,
    /// It goes to Switchyard's own surface, which judges credentials itself.
    pub(crate) own: bool,
}

/// Writes the head into `job.up`: what the client sent, less what is of its connection only, less what only the
/// gateway may say, and then what the gateway says.
pub(crate) fn push_upstream_head(
    thread: &Thread,
    job: &mut Job,
    forward: &Forward<'_>,
    remembered: &mut Remembered,
) {
    let mut up = begin_head(thread, job, forward);
    push_forwarded(&mut up, forward);
    push_trace(thread, &mut up, job, forward);
    push_identity(thread, &mut up, job, forward, remembered);
    up.extend_from_slice(b"\r\n");
    job.up = up;
}

/// Begins a head for an upstream, whoever that is: the request line, the host, what is passed on of the client's headers, and
/// how the body comes.
pub(super) fn begin_head(thread: &Thread, job: &Job, forward: &Forward<'_>) -> Vec<u8> {
    let mut up = thread.heads.take();
    up.extend_from_slice(forward.head.method.as_bytes());
    up.push(b' ');
    up.extend_from_slice(forward.target.origin.as_bytes());
    up.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    push_authority(&mut up, forward.authority);
    up.extend_from_slice(b"\r\n");
    push_passed_headers(&mut up, forward);
    push_framing(&mut up, forward.head.method, job);
    up
}

pub(super) fn push_line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn push_authority(out: &mut Vec<u8>, authority: &Authority) {
    out.extend_from_slice(authority.bytes());
    if let Some(port) = authority.port {
        out.push(b':');
        push_number(out, u64::from(port));
    }
}

fn push_passed_headers(out: &mut Vec<u8>, forward: &Forward<'_>) {
    for (index, header) in forward.head.headers.iter().enumerate() {
        let passed = match forward.found.kinds[index] {
            HeaderKind::Other => forward.found.named_by_connection & (1 << index) == 0,
            HeaderKind::Authorization => forward.own || !(forward.own_token || is_ours(header.value)),
            HeaderKind::ApiKey => forward.own || !is_ours(header.value),
            HeaderKind::UserAgent
            | HeaderKind::Date
            | HeaderKind::FrameOptions
            | HeaderKind::ContentTypeOptions
            | HeaderKind::ReferrerPolicy
            | HeaderKind::PermissionsPolicy => true,
            HeaderKind::Trace => forward.trusted,
            HeaderKind::Host
            | HeaderKind::ContentLength
            | HeaderKind::TransferEncoding
            | HeaderKind::Connection
            | HeaderKind::KeepAlive
            | HeaderKind::Upgrade
            | HeaderKind::Expect
            | HeaderKind::ForwardedFor
            | HeaderKind::ForwardedProto
            | HeaderKind::TenantId
            | HeaderKind::TenantSlug
            | HeaderKind::Hop
            | HeaderKind::Forged => false,
        };
        if passed {
            push_line(out, header.name, header.value);
        }
    }
}

fn push_framing(out: &mut Vec<u8>, method: &str, job: &Job) {
    match job.framing {
        Framing::Length(length) => {
            out.extend_from_slice(b"Content-Length: ");
            push_number(out, length);
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        // Some servers want a length with methods that usually have a body (RFC 9110, 8.6).
        Framing::Empty if matches!(method, "POST" | "PUT" | "PATCH") => {
            out.extend_from_slice(b"Content-Length: 0\r\n");
        }
        Framing::Empty | Framing::UntilClose => {}
    }
    if job.websocket {
        out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n");
    }
}

fn push_forwarded(out: &mut Vec<u8>, forward: &Forward<'_>) {
    out.extend_from_slice(b"X-Forwarded-For: ");
    let mut proto: &[u8] = b"http";
    if forward.trusted {
        for (index, header) in forward.head.headers.iter().enumerate() {
            match forward.found.kinds[index] {
                HeaderKind::ForwardedFor => {
                    out.extend_from_slice(header.value);
                    out.extend_from_slice(b", ");
                }
                HeaderKind::ForwardedProto if header.value.eq_ignore_ascii_case(b"https") => proto = b"https",
                _ => {}
            }
        }
    }
    out.extend_from_slice(forward.peer.as_bytes());
    out.extend_from_slice(b"\r\nX-Forwarded-Proto: ");
    out.extend_from_slice(proto);
    out.extend_from_slice(b"\r\nX-Forwarded-Host: ");
    push_authority(out, forward.authority);
    out.extend_from_slice(b"\r\n");
}

/// The request's id and its place in a trace. A trace that an unknown client names is not joined: it could belong to
/// another tenant, and its sampling flag would let anybody turn sampling on.
fn push_trace(thread: &Thread, out: &mut Vec<u8>, job: &Job, forward: &Forward<'_>) {
    out.extend_from_slice(b"X-Request-Id: ");
    out.extend_from_slice(&job.request_text);
    out.extend_from_slice(b"\r\n");
    let kept = |index: &usize| forward.found.kinds[*index] == HeaderKind::Trace;
    if forward.trusted && (0..forward.head.headers.len()).any(|index| kept(&index)) {
        return;
    }
    out.extend_from_slice(b"traceparent: 00-");
    for number in [thread.random_u64(), thread.random_u64() | 1] {
        push_hex_16(out, number);
    }
    out.push(b'-');
    push_hex_16(out, thread.random_u64() | 1);
    out.extend_from_slice(b"-00\r\n");
}

fn push_hex_16(out: &mut Vec<u8>, number: u64) {
    // The top bit is set, so that all 16 digits are written.
    push_hex(out, number | 1 << 63);
}

fn push_identity(
    thread: &Thread,
    out: &mut Vec<u8>,
    job: &Job,
    forward: &Forward<'_>,
    remembered: &mut Remembered,
) {
    let (Some(tenant), Some(environment)) = (&job.tenant, &job.environment) else { return };
    push_line(out, "X-Tenant-Id", tenant.text.as_bytes());
    push_line(out, "X-Tenant-Slug", tenant.slug.as_bytes());
    let who = forward.who.as_ref();
    if let Some(who) = who {
        push_line(out, "X-User-Id", who.text.as_bytes());
        if !who.role.is_empty() {
            push_line(out, "X-User-Role", who.role.as_bytes());
        }
    }
    environment.plan_of(tenant, |plan, _| {
        push_line(out, "X-Tenant-Plan", plan.as_bytes());
        push_assertion(thread, out, job, &Told { tenant, environment, plan, who }, remembered);
    });
}

struct Told<'a> {
    tenant: &'a Tenant,
    environment: &'a Environment,
    plan: &'a str,
    who: Option<&'a Who>,
}

fn push_assertion(
    thread: &Thread,
    out: &mut Vec<u8>,
    job: &Job,
    told: &Told<'_>,
    remembered: &mut Remembered,
) {
    let Some(service) = &job.service else { return };
    let subject = Subject {
        tenant: told.tenant.id,
        environment: told.environment.id,
        by: told.who.map(|who| who.id),
        service: service.id,
        plan: told.tenant.plan,
    };
    let now_ms = thread.now_ms();
    if let Some(text) = remembered.assertion(&subject, now_ms) {
        return push_line(out, "Switchyard-Assertion", text.as_bytes());
    }
    let words = Words {
        tenant_slug: &told.tenant.slug,
        plan: told.plan,
        audience: &service.slug,
        principal: told.who.map(|who| &*who.text),
        role: told.who.map(|who| &*who.role).filter(|role| !role.is_empty()),
    };
    if let Some(signed) = thread.shared.assertions.get(subject, &words, now_ms) {
        push_line(out, "Switchyard-Assertion", signed.text.as_bytes());
        remembered.keep_assertion(subject, signed);
    }
}
