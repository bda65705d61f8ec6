//! All that is known of one request while it is under way. Jobs are reused, so that a request allocates little.

use super::shared::Thread;
use super::watch::LetIn;
use crate::balance::Service;
use crate::limits::Outcome;
use crate::model::Route;
use crate::snapshot::{Environment, Tenant};
use crate::wire::{Framing, Version};
use base::{Amount, Clock, Code, MeterName, ReplicaId, RequestId, Timestamp};
use std::borrow::Cow;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a path that a record keeps.
const PATH_KEPT_MAX: usize = 1_024;
/// Bytes of a user agent that a record keeps.
const AGENT_KEPT_MAX: usize = 256;
/// Bytes of an id as text.
pub(crate) const ID_TEXT_BYTES: usize = 30;

/// One request under way.
#[derive(Debug)]
pub(crate) struct Job {
    /// The head for the upstream.
    pub(crate) up: Vec<u8>,
    /// What is ready for the client.
    pub(crate) down: Vec<u8>,

    pub(crate) at: Timestamp,
    pub(crate) started: Duration,
    /// When its head was whole, or it was judged again, on the monotonic clock.
    pub(crate) now: Duration,
    pub(crate) request: Option<RequestId>,
    /// The same as text.
    pub(crate) request_text: [u8; ID_TEXT_BYTES],
    pub(crate) client: IpAddr,
    pub(crate) method: Cow<'static, str>,
    pub(crate) host: Option<Arc<str>>,
    pub(crate) path: Box<str>,
    pub(crate) agent: Option<Arc<str>>,

    pub(crate) version: Version,
    pub(crate) to_head: bool,
    /// A refusal is to be a page: known of requests that were refused before their head for the upstream was written.
    pub(crate) for_person: bool,
    pub(crate) idempotent: bool,
    pub(crate) keep_alive: bool,
    pub(crate) framing: Framing,
    pub(crate) expects_continue: bool,
    pub(crate) websocket: bool,

    pub(crate) environment: Option<Arc<Environment>>,
    pub(crate) tenant: Option<Arc<Tenant>>,
    pub(crate) route: Option<Arc<Route>>,
    pub(crate) service: Option<Arc<Service>>,
    pub(crate) principal: Option<Arc<str>>,
    pub(crate) limit: Option<Outcome>,
    pub(crate) let_in: LetIn,

    pub(crate) replica: Option<ReplicaId>,
    pub(crate) tries: u8,
    pub(crate) status: u16,
    pub(crate) code: Option<&'static str>,
    pub(crate) upstream: Option<Duration>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

impl Default for Job {
    fn default() -> Self {
        Self {
            up: Vec::new(),
            down: Vec::new(),
            at: Timestamp::EPOCH,
            started: Duration::ZERO,
            now: Duration::ZERO,
            request: None,
            request_text: [0; ID_TEXT_BYTES],
            client: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            method: Cow::Borrowed(""),
            host: None,
            path: Box::default(),
            agent: None,
            version: Version::Http11,
            to_head: false,
            for_person: false,
            idempotent: false,
            keep_alive: true,
            framing: Framing::Empty,
            expects_continue: false,
            websocket: false,
            environment: None,
            tenant: None,
            route: None,
            service: None,
            principal: None,
            limit: None,
            let_in: LetIn::Anybody,
            replica: None,
            tries: 0,
            status: 0,
            code: None,
            upstream: None,
            bytes_in: 0,
            bytes_out: 0,
        }
    }
}

impl Job {
    /// Forgets everything, and gives its memory back.
    pub(crate) fn reset(&mut self, thread: &Thread) {
        thread.heads.give(std::mem::take(&mut self.up));
        thread.answers.give(std::mem::take(&mut self.down));
        *self = Self::default();
    }

    /// Begins, at [`Job::now`]: a time of day and an id.
    pub(crate) fn begin(&mut self, thread: &Thread) {
        self.at = thread.at(self.now);
        let request = RequestId::new(&At(self.at), &thread.random);
        self.request_text = id_text(&request);
        self.request = Some(request);
    }
}

/// A clock that stands at the time of a request, so that its id has that time, and the machine's is asked once.
#[derive(Debug)]
struct At(Timestamp);

impl Clock for At {
    fn now(&self) -> Timestamp {
        self.0
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// A refusal: what the client is told instead of an answer of the application.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) code: &'static Code,
    pub(crate) status: u16,
    pub(crate) detail: Cow<'static, str>,
    pub(crate) retry_after: Option<u64>,
    /// The connection ends: where the next request would begin is not certain.
    pub(crate) close: bool,
    /// The quota that is used up.
    pub(crate) quota: Option<Box<Quota>>,
}

/// A quota that is used up, as the problem tells of it.
#[derive(Debug, Clone)]
pub(crate) struct Quota {
    pub(crate) meter: MeterName,
    pub(crate) limit: Amount,
    pub(crate) used: Amount,
    pub(crate) resets_at: Option<Timestamp>,
}

impl Refusal {
    pub(crate) fn new(code: &'static Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            status: code.status,
            detail: detail.into(),
            retry_after: None,
            close: false,
            quota: None,
        }
    }

    pub(crate) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    pub(crate) fn close(mut self) -> Self {
        self.close = true;
        self
    }
}

impl From<crate::wire::Reject> for Refusal {
    fn from(reject: crate::wire::Reject) -> Self {
        Self::new(reject.code, reject.detail).close()
    }
}

/// An id as text, without memory of its own.
pub(crate) fn id_text(id: &impl base::id::Id) -> [u8; ID_TEXT_BYTES] {
    let mut bytes = [0; ID_TEXT_BYTES];
    let mut rest = &mut bytes[..];
    // It fits: a prefix of three, an underscore, and 26 characters.
    let _ = write!(rest, "{id}");
    bytes
}

/// The beginning of a path, for the record.
pub(crate) fn kept_path(path: &str) -> Box<str> {
    telemetry::truncated(path, PATH_KEPT_MAX).into()
}

/// The beginning of a user agent, for the record.
pub(crate) fn kept_agent(value: &[u8]) -> &[u8] {
    &value[..value.len().min(AGENT_KEPT_MAX)]
}

/// A method, for the record. Those that exist need no memory.
pub(crate) fn kept_method(method: &str) -> Cow<'static, str> {
    const KNOWN: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
    match KNOWN.into_iter().find(|known| *known == method) {
        Some(known) => Cow::Borrowed(known),
        None => Cow::Owned(method.to_owned()),
    }
}
