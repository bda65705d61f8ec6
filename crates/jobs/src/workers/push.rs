//! Jobs that are sent to a service.
//!
//! Each job is a POST of its payload to a ready replica, signed as Standard Webhooks has it, under the secret that the
//! service's processes know (`SWITCHYARD_PUSH_SECRET`). `webhook-id` is the job's id, the same in each attempt. What the
//! service answers decides:
//!
//! | answer | the job |
//! | --- | --- |
//! | 2xx | is done; a JSON body of at most 256 KiB is its result |
//! | 503, or nobody takes the connection | is given back, the attempt does not count; the queue rests, for `Retry-After` if it is told (at most [`REST_TOLD_MAX`]). After [`BACK_MAX`] times in a row it counts |
//! | 429 | failed, and comes again after `Retry-After`, else after its backoff |
//! | anything else, none in time, a broken connection | failed, and comes again after its backoff |

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base::{EnvironmentId, HumanDuration, JobId, SharedClock, Slug, Timestamp};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use outbound::direct::{Direct, DirectError, DirectRequest, DirectResponse};
use parking_lot::Mutex;
use ports::{Cancelled, Endpoint, PushMessage, ServiceRecord, ServiceTokens};
use tokio::sync::watch;

use super::Deps;
use super::pool::Verdict;
use crate::{Claimed, Failure, Payload, Push};

/// Times in a row that a job is given back uncounted; at the pauses between, from a minute to an hour of a service's
/// absence.
pub(super) const BACK_MAX: u32 = 50;
/// The pause after a connection that nobody took.
const REST_REFUSED: Duration = Duration::from_secs(1);
/// The longest pause of a queue that a service can ask for.
const REST_TOLD_MAX: Duration = Duration::from_secs(60);
/// The longest pause of one job that a service can ask for.
const RETRY_TOLD_MAX: Duration = Duration::from_secs(3_600);
/// Jobs whose returns are counted at once; when there are more, all are forgotten and counted anew.
const COUNTED_MAX: usize = 10_000;
/// Bytes of a result.
const RESULT_BYTES_MAX: usize = 256 << 10;
/// Characters of an answer that a job's history shows.
const SHOWN_CHARS_MAX: usize = 200;

/// Names the message: the same in each attempt, so that the receiver can tell.
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
/// When it was sent, in seconds since the epoch.
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
/// `v1,` and the signature in base64.
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const TENANT: HeaderName = HeaderName::from_static("x-tenant-id");
const QUEUE: HeaderName = HeaderName::from_static("switchyard-queue");
const ATTEMPT: HeaderName = HeaderName::from_static("switchyard-attempt");
const ATTEMPTS: HeaderName = HeaderName::from_static("switchyard-attempts");

/// Sends the jobs of one queue.
pub(super) struct Pusher {
    environment: EnvironmentId,
    queue: Slug,
    push: Push,
    services: watch::Receiver<Arc<Vec<ServiceRecord>>>,
    tokens: Arc<dyn ServiceTokens>,
    clock: SharedClock,
    direct: Direct,
    /// Where the turn is among the ready replicas.
    turn: AtomicUsize,
    /// How often in a row a job was given back.
    given_back: Mutex<HashMap<JobId, u32>>,
}

impl Pusher {
    /// The pusher of a queue. `direct` has the connections, which all of them share.
    pub(super) fn new(
        deps: &Deps,
        direct: &Direct,
        (environment, queue): (EnvironmentId, &Slug),
        push: Push,
    ) -> Pusher {
        Pusher {
            environment,
            queue: queue.clone(),
            push,
            services: deps.services.watch(),
            tokens: Arc::clone(&deps.tokens),
            clock: Arc::clone(&deps.clock),
            direct: direct.clone(),
            turn: AtomicUsize::new(0),
            given_back: Mutex::default(),
        }
    }

    pub(super) fn name(&self) -> String {
        format!("push/{}", self.push.service)
    }

    /// Comes when a replica is ready.
    pub(super) async fn ready(&self) {
        let mut services = self.services.clone();
        let ready = services.wait_for(|all| self.find(all).is_some_and(|(_, ready)| !ready.is_empty()));
        if ready.await.is_err() {
            // Nobody tells of services any more: the process ends.
            std::future::pending::<()>().await;
        }
    }

    /// Sends one job, and judges the answer.
    pub(super) async fn push(&self, job: &Claimed, cancelled: &Cancelled) -> Verdict {
        let sent = async {
            let Some((service, addr)) = self.replica() else {
                return Verdict::Back(REST_REFUSED);
            };
            let headers = match self.headers(&service, job) {
                Some(headers) => headers,
                None => return Verdict::Back(REST_TOLD_MAX),
            };
            let request = DirectRequest {
                addr,
                method: Method::POST,
                path: self.push.path.clone(),
                headers,
                body: Bytes::copy_from_slice(job.payload.as_str().as_bytes()),
                reply_bytes_max: RESULT_BYTES_MAX,
            };
            let answer = self.direct.send(request).await;
            judge(&self.push.service, answer, self.clock.now())
        };
        let verdict = tokio::select! {
            verdict = tokio::time::timeout(self.push.timeout.0, sent) => verdict.unwrap_or_else(|_| {
                let limit = HumanDuration(self.push.timeout.0);
                Verdict::failed(format!("{} did not answer within {limit}", self.push.service))
            }),
            () = cancelled.wait() => Verdict::failed("it was told to stop"),
        };
        self.bound(job.id, verdict)
    }

    /// Counts how often a job was given back; too often is a failure like another.
    fn bound(&self, id: JobId, verdict: Verdict) -> Verdict {
        let mut counts = self.given_back.lock();
        let Verdict::Back(_) = &verdict else {
            counts.remove(&id);
            return verdict;
        };
        if counts.len() >= COUNTED_MAX {
            counts.clear();
        }
        let count = counts.entry(id).or_default();
        *count += 1;
        if *count <= BACK_MAX {
            return verdict;
        }
        counts.remove(&id);
        Verdict::failed(format!("{} could not be reached {BACK_MAX} times in a row", self.push.service))
    }

    /// The service and the ready replica whose turn it is.
    fn replica(&self) -> Option<(ServiceRecord, std::net::SocketAddr)> {
        let all = Arc::clone(&self.services.borrow());
        let (service, ready) = self.find(&all)?;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let endpoint = ready.get(turn.checked_rem(ready.len())?)?;
        Some((service.clone(), endpoint.addr))
    }

    fn find<'a>(&self, all: &'a [ServiceRecord]) -> Option<(&'a ServiceRecord, Vec<&'a Endpoint>)> {
        let is_it = |one: &&ServiceRecord| {
            one.environment == self.environment && one.name.as_str() == self.push.service
        };
        let service = all.iter().find(is_it)?;
        let ready = service.endpoints.iter().filter(|one| one.ready && !one.draining).collect();
        Some((service, ready))
    }

    /// What a job is sent with; `None` while nothing can be signed.
    fn headers(&self, service: &ServiceRecord, job: &Claimed) -> Option<HeaderMap> {
        let id = job.id.to_string();
        let at = self.clock.now();
        let message = PushMessage { id: &id, at, body: job.payload.as_str().as_bytes() };
        let signature = self.tokens.sign_push(service.id, &message)?;
        let mut headers = HeaderMap::new();
        headers.insert(WEBHOOK_ID, HeaderValue::from_str(&id).ok()?);
        headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(at.seconds()));
        headers.insert(WEBHOOK_SIGNATURE, HeaderValue::from_str(&signature).ok()?);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static("Switchyard"));
        headers.insert(QUEUE, HeaderValue::from_str(self.queue.as_str()).ok()?);
        headers.insert(ATTEMPT, HeaderValue::from(job.attempt));
        headers.insert(ATTEMPTS, HeaderValue::from(job.attempts));
        if let Some(tenant) = job.tenant {
            headers.insert(TENANT, HeaderValue::from_str(&tenant.to_string()).ok()?);
        }
        Some(headers)
    }
}

fn judge(service: &str, answer: Result<DirectResponse, DirectError>, now: Timestamp) -> Verdict {
    match answer {
        Ok(answer) if answer.status.is_success() => Verdict::Done(result(&answer)),
        Ok(answer) if answer.status == StatusCode::SERVICE_UNAVAILABLE => {
            let told = outbound::retry_after(&answer.headers, now).unwrap_or(REST_REFUSED);
            Verdict::Back(told.min(REST_TOLD_MAX))
        }
        Ok(answer) => {
            let retry_in = outbound::retry_after(&answer.headers, now)
                .filter(|_| answer.status == StatusCode::TOO_MANY_REQUESTS)
                .map(|told| told.min(RETRY_TOLD_MAX));
            let error = format!("{service} answered {}{}", answer.status.as_u16(), shown(&answer.body));
            Verdict::Failed(Failure { error, retry: true, retry_in })
        }
        Err(DirectError::NotConnected(_)) => Verdict::Back(REST_REFUSED),
        Err(error @ (DirectError::Broken(_) | DirectError::Unwritable)) => {
            Verdict::failed(format!("{service}: {error}"))
        }
    }
}

/// The result that an answer holds, if it does.
fn result(answer: &DirectResponse) -> Option<Payload> {
    let text = std::str::from_utf8(&answer.body).ok().map(str::trim).filter(|text| !text.is_empty())?;
    let is_json = !answer.truncated && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    is_json.then(|| Payload::from_json(text))
}

/// The beginning of an answer, for people, without what looks like a secret.
fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = telemetry::redact(text.trim());
    let begin: String = text.chars().filter(|one| !one.is_control()).take(SHOWN_CHARS_MAX).collect();
    if begin.is_empty() { begin } else { format!(": {begin}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(HeaderName, &'static str)], body: &'static str) -> DirectResponse {
        let pairs = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        DirectResponse {
            status: StatusCode::from_u16(status).expect("a status"),
            headers: pairs.collect(),
            body: Bytes::from_static(body.as_bytes()),
            truncated: false,
        }
    }

    fn failed(error: &str, retry_in: Option<Duration>) -> Verdict {
        Verdict::Failed(Failure { error: error.to_owned(), retry: true, retry_in })
    }

    #[test]
    fn answers_decide() {
        let judged = |status, headers: &[(HeaderName, &'static str)], body| {
            judge("web", Ok(answer(status, headers, body)), Timestamp::EPOCH)
        };
        assert_eq!(
            judged(200, &[], r#"{"sum": 3}"#),
            Verdict::Done(Some(Payload::from_json(r#"{"sum": 3}"#)))
        );
        assert_eq!(judged(204, &[], ""), Verdict::Done(None));
        assert_eq!(judged(200, &[], "<html>"), Verdict::Done(None));
        assert_eq!(judged(503, &[], "later"), Verdict::Back(REST_REFUSED));
        assert_eq!(judged(503, &[(header::RETRY_AFTER, "7")], ""), Verdict::Back(Duration::from_secs(7)));
        assert_eq!(judged(503, &[(header::RETRY_AFTER, "9999")], ""), Verdict::Back(REST_TOLD_MAX));
        let date = (header::RETRY_AFTER, "Thu, 01 Jan 1970 00:00:09 GMT");
        assert_eq!(judged(503, &[date], ""), Verdict::Back(Duration::from_secs(9)));
        let later = Some(Duration::from_secs(30));
        assert_eq!(judged(429, &[(header::RETRY_AFTER, "30")], ""), failed("web answered 429", later));
        assert_eq!(judged(429, &[], ""), failed("web answered 429", None));
        assert_eq!(
            judged(500, &[(header::RETRY_AFTER, "30")], "oh\u{1b}"),
            failed("web answered 500: oh", None)
        );
        assert_eq!(judged(302, &[], ""), failed("web answered 302", None));
        let refused = DirectError::NotConnected("127.0.0.1:1".parse().expect("an address"));
        assert_eq!(judge("web", Err(refused), Timestamp::EPOCH), Verdict::Back(REST_REFUSED));
    }

    #[test]
    fn an_answer_that_was_cut_is_no_result() {
        let cut = DirectResponse { truncated: true, ..answer(200, &[], "1") };
        assert_eq!(judge("web", Ok(cut), Timestamp::EPOCH), Verdict::Done(None));
    }

    #[test]
    fn secrets_in_an_answer_are_not_shown() {
        assert_eq!(shown(b"password=hunter2 wrong"), ": password=[redacted] wrong");
        assert_eq!(shown(&[b'x'; 5_000]).len(), SHOWN_CHARS_MAX + 2);
    }
}
