//! What workers call: jobs out, and what became of them.

use std::sync::Arc;
use std::time::Duration;

use base::{HumanDuration, JobId, Timestamp, codes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use web::{Call, Problem, Reply};

use super::State;
use super::ask::{ClaimBody, CompleteBody, CompleteMany, FailBody, LeaseBody, Leases, ProgressBody};
use super::views::{ClaimedJob, Outcomes, Refusal};
use crate::model::job::WAIT_MAX;
use crate::model::queue::{LEASE_MAX, LEASE_MIN};
use crate::{Ack, Beat, ClaimRequest, Claimed, Error, Failure, JobStatus, QueueKey, Scope};

/// Jobs that a worker has now.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ClaimedJobs {
    /// The jobs; none when the wait was over.
    pub data: Vec<ClaimedJob>,
}

/// What became of several jobs, and those that are claimed.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Completed {
    /// In the order in which they were sent.
    pub data: Vec<Outcomes>,
    /// The jobs of `claim`.
    pub claimed: Vec<ClaimedJob>,
}

/// What became of a job.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct JobState {
    /// Which.
    pub id: JobId,
    /// What it is now.
    pub status: JobStatus,
}

/// A lease that goes on.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LeaseState {
    /// Until when the job is held now.
    pub lease_until: Timestamp,
    /// Whether the worker should stop: the job was cancelled.
    pub cancel: bool,
}

/// One of several leases: `lease_until` and `cancel`, or `error`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LeaseOutcome {
    /// Which job.
    pub id: JobId,
    /// Until when it is held now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_until: Option<Timestamp>,
    /// Whether the worker should stop: the job was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<bool>,
    /// Why the lease does not go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Refusal>,
}

/// Several leases.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LeaseOutcomes {
    /// In the order in which they were sent.
    pub data: Vec<LeaseOutcome>,
}

/// What became of several jobs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct JobOutcomes {
    /// In the order in which they were sent.
    pub data: Vec<Outcomes>,
}

/// A claim as the engine takes it.
///
/// # Errors
/// `invalid`, all faults at once; pointers below `at`.
pub(crate) fn claim_request(
    body: ClaimBody,
    at: &str,
    (queue, scope): (QueueKey, Scope),
) -> Result<ClaimRequest, Problem> {
    let ClaimBody { limit, lease, wait, worker } = body;
    let lease = lease.map(|HumanDuration(time)| time);
    let wait = wait.map_or(Duration::ZERO, |HumanDuration(time)| time);
    let short = lease.is_some_and(|time| !(LEASE_MIN..=LEASE_MAX).contains(&time));
    if !short && wait <= WAIT_MAX {
        return Ok(ClaimRequest { queue, scope, limit, lease, wait, worker: worker.map(Arc::from) });
    }
    let mut problem = Problem::new(&codes::INVALID).detail("A duration is not allowed.");
    if short {
        problem = problem.fault(format!("{at}/lease"), "a duration from 1s to 1h is expected");
    }
    if wait > WAIT_MAX {
        problem = problem.fault(format!("{at}/wait"), "a duration of at most 60s is expected");
    }
    Err(problem)
}

fn jobs(claimed: Vec<Claimed>) -> Vec<ClaimedJob> {
    claimed.into_iter().map(ClaimedJob::from).collect()
}

pub(crate) fn outcome(id: JobId, result: Result<JobStatus, Error>) -> Outcomes {
    match result {
        Ok(status) => Outcomes { id, status: Some(status), error: None },
        Err(error) => Outcomes { id, status: None, error: Some(Refusal::of(&error)) },
    }
}

pub(crate) fn beat(id: JobId, result: Result<Beat, Error>) -> LeaseOutcome {
    match result {
        Ok(Beat { lease_until, cancel }) => {
            LeaseOutcome { id, lease_until: Some(lease_until), cancel: Some(cancel), error: None }
        }
        Err(error) => LeaseOutcome { id, lease_until: None, cancel: None, error: Some(Refusal::of(&error)) },
    }
}

/// The only answer to a question about one.
fn only<T>(answers: Vec<Result<T, Error>>) -> Result<T, Problem> {
    let first = answers.into_iter().next();
    Ok(first.ok_or_else(|| Problem::internal("the engine answered nothing"))??)
}

pub(crate) async fn claim(state: Arc<State>, call: Call<ClaimBody>) -> Result<Reply<ClaimedJobs>, Problem> {
    let place = state.queue(&call).await?;
    let request = claim_request(call.body, "", place)?;
    Ok(Reply::ok(ClaimedJobs { data: jobs(state.engine.claim(request).await?) }))
}

pub(crate) async fn complete_many(
    state: Arc<State>,
    call: Call<CompleteMany>,
) -> Result<Reply<Completed>, Problem> {
    let (key, scope) = state.queue(&call).await?;
    let CompleteMany { jobs: done, claim } = call.body;
    let claim = claim.map(|claim| claim_request(claim, "/claim", (key, scope))).transpose()?;
    let ids: Vec<JobId> = done.iter().map(|done| done.id).collect();
    let acks = done.into_iter().map(|done| Ack { id: done.id, fence: done.lease.0, result: done.result });
    let (answers, claimed) = state.engine.complete(scope, acks.collect(), claim).await?;
    let data = ids.into_iter().zip(answers).map(|(id, answer)| outcome(id, answer)).collect();
    Ok(Reply::ok(Completed { data, claimed: jobs(claimed) }))
}

pub(crate) async fn heartbeat_many(
    state: Arc<State>,
    call: Call<Leases>,
) -> Result<Reply<LeaseOutcomes>, Problem> {
    let (_, scope) = state.queue(&call).await?;
    let leases = call.body.pairs();
    let answers = state.engine.heartbeat(scope, leases.clone()).await?;
    let data = leases.into_iter().zip(answers).map(|((id, _), answer)| beat(id, answer)).collect();
    Ok(Reply::ok(LeaseOutcomes { data }))
}

pub(crate) async fn release_many(
    state: Arc<State>,
    call: Call<Leases>,
) -> Result<Reply<JobOutcomes>, Problem> {
    let (_, scope) = state.queue(&call).await?;
    let leases = call.body.pairs();
    let answers = state.engine.release(scope, leases.clone()).await?;
    let data = leases.into_iter().zip(answers).map(|((id, _), answer)| outcome(id, answer)).collect();
    Ok(Reply::ok(JobOutcomes { data }))
}

pub(crate) async fn complete(
    state: Arc<State>,
    call: Call<CompleteBody>,
) -> Result<Reply<JobState>, Problem> {
    let (id, scope) = state.job(&call).await?;
    let CompleteBody { lease, result } = call.body;
    let ack = Ack { id, fence: lease.0, result };
    let (answers, _) = state.engine.complete(scope, vec![ack], None).await?;
    Ok(Reply::ok(JobState { id, status: only(answers)? }))
}

pub(crate) async fn fail(state: Arc<State>, call: Call<FailBody>) -> Result<Reply<JobState>, Problem> {
    let (id, scope) = state.job(&call).await?;
    let FailBody { lease, error, retry, retry_in } = call.body;
    let failure = Failure { error, retry, retry_in: retry_in.map(|time| time.0) };
    let status = state.engine.fail(scope, id, lease.0, failure).await?;
    Ok(Reply::ok(JobState { id, status }))
}

pub(crate) async fn heartbeat(
    state: Arc<State>,
    call: Call<LeaseBody>,
) -> Result<Reply<LeaseState>, Problem> {
    let (id, scope) = state.job(&call).await?;
    let Beat { lease_until, cancel } =
        only(state.engine.heartbeat(scope, vec![(id, call.body.lease.0)]).await?)?;
    Ok(Reply::ok(LeaseState { lease_until, cancel }))
}

pub(crate) async fn release(state: Arc<State>, call: Call<LeaseBody>) -> Result<Reply<JobState>, Problem> {
    let (id, scope) = state.job(&call).await?;
    let status = only(state.engine.release(scope, vec![(id, call.body.lease.0)]).await?)?;
    Ok(Reply::ok(JobState { id, status }))
}

pub(crate) async fn progress(
    state: Arc<State>,
    call: Call<ProgressBody>,
) -> Result<Reply<LeaseState>, Problem> {
    let (id, scope) = state.job(&call).await?;
    let ProgressBody { lease, percent, note } = call.body;
    let Beat { lease_until, cancel } = state.engine.progress(scope, id, lease.0, percent, note).await?;
    Ok(Reply::ok(LeaseState { lease_until, cancel }))
}
