//! A worker on a WebSocket: jobs come as soon as there are any, and so does word that one was cancelled.
//!
//! The worker says how many more jobs it has room for (`ready`); the server sends so many, one message each, and waits for
//! more room. Everything else is as in the requests of the same names. What a worker holds when its connection breaks stays
//! its own until the leases are over, since it may well go on and complete by another connection; only jobs that never
//! reached it are given back at once.

use std::borrow::Cow;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base::{HumanDuration, JobId, codes};
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use web::{Call, HotBody, Problem, Socket, SocketReply};

use super::State;
use super::ask::{ClaimBody, Done, Held, Leases};
use super::json::Lease;
use super::views::{ClaimedJob, Outcomes, Refusal};
use super::work::{LeaseOutcome, beat, claim_request, outcome};
use crate::model::job::CLAIM_MAX;
use crate::{Ack, Claimed, Engine, Error, Failure, QueueKey, Scope};

/// How long one claim of a socket waits before it is asked anew.
const CLAIM_WAIT: Duration = Duration::from_secs(20);
/// Pause after a claim that failed, so that a store in trouble is not asked in circles.
const FAULT_PAUSE: Duration = Duration::from_secs(1);
/// Jobs that one socket may have room for.
const SLOTS_MAX: u32 = 10_000;

/// What a worker says.
enum Said {
    Ready(Ready),
    Complete(Complete),
    Fail(Fail),
    Heartbeat(Several),
    Progress(Progress),
    Release(Several),
}

/// The type of a message; the rest is read once it is known, and letter by letter, which a tagged enum cannot.
#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
}

/// There is room for so many more jobs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ready {
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    slots: u32,
    #[serde(default)]
    lease: Option<HumanDuration>,
    #[serde(default)]
    worker: Option<String>,
}

/// Jobs are done.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Complete {
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    jobs: Vec<Done>,
}

/// An attempt failed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fail {
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    id: JobId,
    lease: Lease,
    error: String,
    #[serde(default = "yes")]
    retry: bool,
    #[serde(default)]
    retry_in: Option<HumanDuration>,
}

/// The worker is still at these, or gives them back.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Several {
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    jobs: Vec<Held>,
}

/// A job is so far.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Progress {
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    id: JobId,
    lease: Lease,
    percent: u8,
    #[serde(default)]
    note: Option<String>,
}

const fn yes() -> bool {
    true
}

/// Reads a message; what is wrong with it in words.
fn read(text: &str) -> Result<Said, String> {
    let words = |error: serde_json::Error| error.to_string();
    let Kind { kind } = serde_json::from_str(text).map_err(words)?;
    match kind.as_ref() {
        "ready" => serde_json::from_str(text).map(Said::Ready).map_err(words),
        "complete" => serde_json::from_str(text).map(Said::Complete).map_err(words),
        "fail" => serde_json::from_str(text).map(Said::Fail).map_err(words),
        "heartbeat" => serde_json::from_str(text).map(Said::Heartbeat).map_err(words),
        "progress" => serde_json::from_str(text).map(Said::Progress).map_err(words),
        "release" => serde_json::from_str(text).map(Said::Release).map_err(words),
        _ => Err("a `type` of ready, complete, fail, heartbeat, progress or release is expected".to_owned()),
    }
}

/// What the server says.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Answer {
    /// A job for the worker.
    Job { job: ClaimedJob },
    /// The worker should stop working on a job.
    Cancel { id: JobId, lease: Lease },
    /// What became of jobs: of `complete`, `fail` and `release`.
    Jobs { data: Vec<Outcomes> },
    /// What became of leases: of `heartbeat` and `progress`.
    Leases { data: Vec<LeaseOutcome> },
    /// A message was not understood, or jobs cannot be had now.
    Error { error: Refusal },
}

type Claiming = Pin<Box<dyn Future<Output = Result<Vec<Claimed>, Error>> + Send>>;
type Notices = FuturesUnordered<Pin<Box<dyn Future<Output = (JobId, i64)> + Send>>>;

struct Session {
    engine: Engine,
    key: QueueKey,
    scope: Scope,
    slots: u32,
    lease: Option<HumanDuration>,
    worker: Option<String>,
    /// What the worker holds, so that a notice about something else is not sent.
    held: HashMap<JobId, i64>,
    notices: Notices,
}

pub(crate) async fn open(state: Arc<State>, call: Call) -> Result<SocketReply, Problem> {
    let (key, scope) = state.queue(&call).await?;
    let session = Session {
        engine: state.engine.clone(),
        key,
        scope,
        slots: 0,
        lease: None,
        worker: None,
        held: HashMap::new(),
        notices: Notices::new(),
    };
    Ok(SocketReply::new(move |socket| session.run(socket)))
}

impl Session {
    async fn run(mut self, mut socket: Socket) {
        let mut claiming: Option<Claiming> = None;
        loop {
            if claiming.is_none() && self.slots > 0 {
                claiming = self.claim();
            }
            tokio::select! {
                said = socket.receive() => {
                    let Some(text) = said else { return };
                    if let Some(answer) = self.answer(&text).await
                        && !say(&mut socket, &answer).await
                    {
                        return;
                    }
                }
                claimed = async { claiming.as_mut().expect("polled only when there is one").await },
                    if claiming.is_some() =>
                {
                    claiming = None;
                    if !self.deliver(&mut socket, claimed).await {
                        return;
                    }
                }
                Some((id, fence)) = self.notices.next(), if !self.notices.is_empty() => {
                    let notice = Answer::Cancel { id, lease: Lease(fence) };
                    if self.held.get(&id) == Some(&fence) && !say(&mut socket, &notice).await {
                        return;
                    }
                }
            }
        }
    }

    /// Asks for as many jobs as there is room for.
    fn claim(&self) -> Option<Claiming> {
        let body = ClaimBody {
            limit: self.slots.min(CLAIM_MAX),
            lease: self.lease,
            wait: Some(HumanDuration(CLAIM_WAIT)),
            worker: self.worker.clone(),
        };
        let request = claim_request(body, "", (self.key.clone(), self.scope)).ok()?;
        let engine = self.engine.clone();
        Some(Box::pin(async move { engine.claim(request).await }))
    }

    /// Sends jobs; what cannot be sent any more is given back. Answers whether the socket goes on.
    async fn deliver(&mut self, socket: &mut Socket, claimed: Result<Vec<Claimed>, Error>) -> bool {
        let claimed = match claimed {
            Ok(claimed) => claimed,
            Err(error @ Error::QueueUnknown { .. }) => {
                say(socket, &Answer::Error { error: Refusal::of(&error) }).await;
                return false;
            }
            Err(error) => {
                let goes_on = say(socket, &Answer::Error { error: Refusal::of(&error) }).await;
                tokio::time::sleep(FAULT_PAUSE).await;
                return goes_on;
            }
        };
        let mut rest = claimed.into_iter();
        while let Some(job) = rest.next() {
            let (id, fence) = (job.id, job.fence);
            if !say(socket, &Answer::Job { job: ClaimedJob::from(job) }).await {
                let unsent =
                    std::iter::once((id, fence)).chain(rest.map(|job| (job.id, job.fence))).collect();
                // Should this fail too, the leases end by themselves.
                let _ = self.engine.release(self.scope, unsent).await;
                return false;
            }
            self.slots = self.slots.saturating_sub(1);
            self.held.insert(id, fence);
            let cancelled = self.engine.cancelled(id, fence);
            self.notices.push(Box::pin(async move {
                cancelled.wait().await;
                (id, fence)
            }));
        }
        true
    }

    async fn answer(&mut self, text: &str) -> Option<Answer> {
        let said = match read(text) {
            Ok(said) => said,
            Err(detail) => return Some(refusal(&codes::INVALID, detail)),
        };
        match said {
            Said::Ready(said) => self.ready(said),
            Said::Complete(said) => Some(self.complete(said.jobs).await),
            Said::Fail(said) => Some(self.fail(said).await),
            Said::Heartbeat(said) => Some(self.heartbeat(Leases { jobs: said.jobs }).await),
            Said::Progress(said) => {
                let Progress { _kind: _, id, lease, percent, note } = said;
                let answer = self.engine.progress(self.scope, id, lease.0, percent, note).await;
                Some(Answer::Leases { data: vec![beat(id, answer)] })
            }
            Said::Release(said) => Some(self.release(Leases { jobs: said.jobs }).await),
        }
    }

    async fn fail(&mut self, said: Fail) -> Answer {
        let Fail { _kind: _, id, lease, error, retry, retry_in } = said;
        self.held.remove(&id);
        let failure = Failure { error, retry, retry_in: retry_in.map(|time| time.0) };
        let answer = self.engine.fail(self.scope, id, lease.0, failure).await;
        Answer::Jobs { data: vec![outcome(id, answer)] }
    }

    async fn heartbeat(&mut self, leases: Leases) -> Answer {
        if !leases.is_within() {
            return too_many();
        }
        match self.engine.heartbeat(self.scope, leases.pairs()).await {
            Ok(answers) => Answer::Leases {
                data: leases.jobs.iter().zip(answers).map(|(held, a)| beat(held.id, a)).collect(),
            },
            Err(error) => Answer::Error { error: Refusal::of(&error) },
        }
    }

    fn ready(&mut self, said: Ready) -> Option<Answer> {
        let Ready { _kind: _, slots, lease, worker } = said;
        let body = ClaimBody { limit: 1, lease, wait: None, worker };
        if slots > SLOTS_MAX || !body.is_within() {
            return Some(refusal(
                &codes::INVALID,
                format!("at most {SLOTS_MAX} slots, and a worker's name of 1 to 128 bytes, are expected"),
            ));
        }
        if let Err(problem) = claim_request(body.clone(), "", (self.key.clone(), self.scope)) {
            return Some(refusal(problem.code(), "a lease from 1s to 1h is expected".to_owned()));
        }
        self.slots = slots;
        self.lease = body.lease.or(self.lease);
        self.worker = body.worker.or(self.worker.take());
        None
    }

    async fn complete(&mut self, jobs: Vec<Done>) -> Answer {
        if jobs.len() > super::ask::LEASES_MAX {
            return too_many();
        }
        let ids: Vec<JobId> = jobs.iter().map(|done| done.id).collect();
        self.held.retain(|id, _| !ids.contains(id));
        let acks = jobs.into_iter().map(|done| Ack { id: done.id, fence: done.lease.0, result: done.result });
        match self.engine.complete(self.scope, acks.collect(), None).await {
            Ok((answers, _)) => {
                Answer::Jobs { data: ids.into_iter().zip(answers).map(|(id, a)| outcome(id, a)).collect() }
            }
            Err(error) => Answer::Error { error: Refusal::of(&error) },
        }
    }

    async fn release(&mut self, leases: Leases) -> Answer {
        if !leases.is_within() {
            return too_many();
        }
        self.held.retain(|id, _| leases.jobs.iter().all(|given| given.id != *id));
        match self.engine.release(self.scope, leases.pairs()).await {
            Ok(answers) => Answer::Jobs {
                data: leases.jobs.iter().zip(answers).map(|(held, a)| outcome(held.id, a)).collect(),
            },
            Err(error) => Answer::Error { error: Refusal::of(&error) },
        }
    }
}

/// Sends a message; answers whether the socket goes on.
async fn say(socket: &mut Socket, answer: &Answer) -> bool {
    match serde_json::to_string(answer) {
        Ok(text) => socket.send(&text).await.is_ok(),
        Err(error) => {
            tracing::error!(%error, "a message to a worker cannot be written");
            false
        }
    }
}

fn refusal(code: &base::Code, detail: String) -> Answer {
    Answer::Error { error: Refusal { code: code.name.to_owned(), detail } }
}

fn too_many() -> Answer {
    refusal(&codes::INVALID, format!("at most {} jobs are expected", super::ask::LEASES_MAX))
}
