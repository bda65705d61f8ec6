//! The way to a sink: one request, and how far it came. Addresses are given by operators.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use outbound::{Attempt, Guarded, GuardedRequest, Target};

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
    /// The pause that it asks for, of an answer that is neither yes nor a word about what was sent.
    pub(crate) pause: Option<Duration>,
}

/// Sends requests.
#[derive(Clone)]
pub struct Wire {
    guarded: Guarded,
    time_max: Duration,
}

impl Wire {
    /// Sends through `guarded`, which is one for addresses of operators; each request has `time_max` in all.
    #[must_use]
    pub fn new(guarded: Guarded, time_max: Duration) -> Self {
        Self { guarded, time_max }
    }

    pub(crate) async fn send(&self, request: Request) -> Sent {
        let Request { method, url, headers, body } = request;
        let target = match Target::parse(&url) {
            Ok(target) => target,
            Err(error) => return Sent::Never(error.to_string()),
        };
        let request = GuardedRequest { method, target, headers, body };
        match tokio::time::timeout(self.time_max, self.guarded.attempt(&request)).await {
            Ok(Ok(reply)) => {
                let pause = outbound::retry_after(&reply.headers, self.guarded.now());
                let pause = pause.filter(|_| is_busy(reply.status));
                Sent::Answered(Answer { status: reply.status, body: reply.body, pause })
            }
            Ok(Err(Attempt::Never(error))) => Sent::Never(error.to_string()),
            Ok(Err(Attempt::Perhaps(_))) => {
                Sent::Perhaps("the connection broke before there was an answer".to_owned())
            }
            Err(_) => Sent::Perhaps(format!("no answer within {} s", self.time_max.as_secs_f32())),
        }
    }
}

/// Whether a status says that another time may be better, for everybody.
fn is_busy(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE
}
