//! What clients and workers ask for, and what they are answered.

use std::sync::Arc;
use std::time::Duration;

use authority::SystemCtx;
use base::{EnvironmentId, JobId, Slug, TenantId};
use db::{Db, Sql, params};
use jobs::{
    Ack, Beat, ClaimRequest, Claimed, Draft, Engine, Error, Failure, JobStatus, JobView, OnDuplicate,
    Payload, QueueKey, Scope, Unique,
};
use ports::{Enqueue, NewJob, QueueRef};

/// Rows of the simulation's own, written together with a job.
const FACT: Sql = Sql::One("INSERT INTO sim_facts (number) VALUES ($1)");

/// Above what is kept in the job's row.
const BIG_BYTES: usize = 5_000;

/// Who and where everybody is.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) environment: EnvironmentId,
    pub(crate) tenants: Vec<TenantId>,
    pub(crate) queues: Vec<QueueKey>,
}

impl Names {
    pub(crate) fn scope(&self, tenant: Option<usize>) -> Scope {
        match tenant {
            Some(tenant) => Scope::Tenant(self.environment, self.tenants[tenant]),
            None => Scope::Environment(Some(self.environment)),
        }
    }

    fn slug(&self, queue: usize) -> Slug {
        self.queues[queue].name.clone()
    }
}

/// A job that a client thinks of. `number` is in its payload, so that it is known again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sketch {
    pub(crate) number: u64,
    pub(crate) unique: Option<(String, OnDuplicate)>,
    pub(crate) delay: Option<Duration>,
    pub(crate) attempts: u32,
    pub(crate) priority: u8,
    pub(crate) is_poison: bool,
    pub(crate) is_big: bool,
    pub(crate) key: Option<String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) children: Vec<Sketch>,
}

impl Sketch {
    fn payload(&self) -> String {
        let pad = if self.is_big { "x".repeat(BIG_BYTES) } else { String::new() };
        format!("{{\"number\":{},\"pad\":\"{pad}\"}}", self.number)
    }

    fn draft(&self, tenant: TenantId) -> Draft {
        Draft {
            tenant: Some(tenant),
            delay: self.delay,
            priority: Some(self.priority),
            attempts: Some(self.attempts),
            timeout: self.timeout,
            unique: self.unique.clone().map(|(key, on_duplicate)| Unique { key, within: None, on_duplicate }),
            key: self.key.clone(),
            children: self.children.iter().map(|child| child.draft(tenant)).collect(),
            ..Draft::new(Payload::from_json(self.payload()))
        }
    }
}

/// The number in a payload of ours.
pub(crate) fn number_of(payload: &str) -> Option<u64> {
    let rest = payload.strip_prefix("{\"number\":")?;
    rest.split_once(',')?.0.parse().ok()
}

/// A job in a worker's hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grip {
    pub(crate) number: u64,
    pub(crate) id: JobId,
    pub(crate) fence: i64,
}

/// How jobs are handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Through the engine.
    Call,
    /// One job in a transaction with a fact, by the port; `undone` makes the closure fail afterwards.
    Transaction { undone: bool },
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Enqueue { queue: usize, tenant: usize, sketches: Vec<Sketch>, way: Way },
    Claim { queue: usize, tenant: Option<usize>, limit: u32 },
    Complete { grips: Vec<Grip>, claim: Option<(usize, u32)> },
    Fail { grip: Grip, retry: bool, retry_in: Option<Duration> },
    Beat { grips: Vec<Grip> },
    Release { grips: Vec<Grip> },
    Cancel { number: u64, id: JobId },
    Retry { number: u64, id: JobId },
}

/// How each attempt ended, and what was given out with that.
pub(crate) type Completed = (Vec<Result<JobStatus, Error>>, Vec<Claimed>);

/// Its answer.
#[derive(Debug)]
pub(crate) enum Answer {
    Enqueued(Result<Vec<JobView>, Error>),
    Claimed(Result<Vec<Claimed>, Error>),
    Completed(Result<Completed, Error>),
    Failed(Result<JobStatus, Error>),
    Beaten(Result<Vec<Result<Beat, Error>>, Error>),
    Released(Result<Vec<Result<JobStatus, Error>>, Error>),
    Viewed(Result<JobView, Error>),
}

/// Asks.
pub(crate) async fn perform(engine: &Engine, db: &Db, names: &Arc<Names>, op: &Op) -> Answer {
    let everybody = names.scope(None);
    let request = |queue: usize, tenant: Option<usize>, limit: u32| ClaimRequest {
        limit,
        worker: Some("a worker".into()),
        ..ClaimRequest::one(names.queues[queue].clone(), names.scope(tenant))
    };
    match op {
        Op::Enqueue { queue, tenant, sketches, way: Way::Call } => {
            let drafts = sketches.iter().map(|sketch| sketch.draft(names.tenants[*tenant])).collect();
            Answer::Enqueued(engine.enqueue(&names.queues[*queue], names.scope(Some(*tenant)), drafts).await)
        }
        Op::Enqueue { queue, tenant, sketches, way: Way::Transaction { undone } } => {
            Answer::Enqueued(in_transaction(engine, db, names, (*queue, *tenant, sketches), *undone).await)
        }
        Op::Claim { queue, tenant, limit } => {
            Answer::Claimed(engine.claim(request(*queue, *tenant, *limit)).await)
        }
        Op::Complete { grips, claim } => {
            let acks =
                grips.iter().map(|grip| Ack { id: grip.id, fence: grip.fence, result: None }).collect();
            let claim = claim.map(|(queue, limit)| request(queue, None, limit));
            Answer::Completed(engine.complete(everybody, acks, claim).await)
        }
        Op::Fail { grip, retry, retry_in } => {
            let failure = Failure { error: "it does not work".into(), retry: *retry, retry_in: *retry_in };
            Answer::Failed(engine.fail(everybody, grip.id, grip.fence, failure).await)
        }
        Op::Beat { grips } => Answer::Beaten(engine.heartbeat(everybody, leases(grips)).await),
        Op::Release { grips } => Answer::Released(engine.release(everybody, leases(grips)).await),
        Op::Cancel { id, .. } => Answer::Viewed(engine.cancel(everybody, *id).await),
        Op::Retry { id, .. } => Answer::Viewed(engine.retry(everybody, *id).await),
    }
}

fn leases(grips: &[Grip]) -> Vec<(JobId, i64)> {
    grips.iter().map(|grip| (grip.id, grip.fence)).collect()
}

async fn in_transaction(
    engine: &Engine,
    db: &Db,
    names: &Arc<Names>,
    what: (usize, usize, &Vec<Sketch>),
    undone: bool,
) -> Result<Vec<JobView>, Error> {
    let (queue, tenant, sketches) = what;
    let (engine, names, sketches) = (engine.clone(), names.clone(), sketches.clone());
    let closure = move |tx: &mut db::SystemTx<'_>| {
        for sketch in &sketches {
            let number = i64::try_from(sketch.number).unwrap_or(i64::MAX);
            tx.execute(&FACT, &params![number])?;
            let payload = serde_json::from_str(&sketch.payload()).unwrap_or_default();
            let job = NewJob::new(QueueRef::Of(names.environment, names.slug(queue)), payload)
                .tenant(names.tenants[tenant])
                .attempts(sketch.attempts)
                .priority(sketch.priority);
            Enqueue::enqueue(&engine, tx, job).map_err(|error| match error {
                ports::EnqueueError::Store(error) => Error::Store(error),
                other => Error::Invalid { pointer: String::new(), detail: other.to_string() },
            })?;
        }
        if undone { Err(Error::Overloaded) } else { Ok(Vec::new()) }
    };
    db.write_system(&SystemCtx::because("the simulation"), closure).await
}
