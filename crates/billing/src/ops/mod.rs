//! Use cases, each inside one transaction.

pub mod decide;
pub mod feed;
pub mod reconcile;
pub mod sending;
pub mod sinks;

use std::sync::Arc;
use std::time::Duration;

use base::{EnvironmentId, SharedRandom, SinkId, Slug, Timestamp};
use db::{Db, NewEvent, SystemTx};
use ports::{EnvironmentDirectory, NewJob, QueueRef, SharedEnqueue};
use serde_json::{Value, json};

use crate::error::Error;
use crate::model::{Sink, Status};

/// The feeder hears under this topic that a sink has changed.
pub const TOPIC: &str = "billing.changed";
/// The built-in queue whose jobs send.
pub const QUEUE: &str = "billing";
/// The environment that is billed without being asked to.
const PRODUCTION: &str = "production";
/// Deliveries that one job sends: some seconds of Stripe's answers.
pub const BATCH_MAX: usize = 100;
/// Tries of a job. With pauses of up to an hour they last longer than Stripe takes events for (35 days).
const ATTEMPTS: u32 = 1_000;
/// Time of one try: a batch of answers of 20 s each would not fit, and stops at the first that does not come.
const ATTEMPT_TIME_MAX: Duration = Duration::from_secs(10 * 60);

/// What the operations work with.
#[derive(Clone)]
pub struct Tools {
    /// The store, and the time that all processes agree on.
    pub db: Db,
    /// Where ids and secrets come from.
    pub random: SharedRandom,
    /// Takes the jobs that send.
    pub enqueue: SharedEnqueue,
    /// Knows which environment is production.
    pub environments: Arc<dyn EnvironmentDirectory>,
}

impl Tools {
    /// The time that all processes agree on.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.db.store_now()
    }

    /// How a sink is.
    #[must_use]
    pub fn status(&self, sink: &Sink) -> Status {
        sink.status(self.is_production(sink.environment))
    }

    fn is_production(&self, environment: EnvironmentId) -> bool {
        let all = self.environments.shared();
        all.iter().any(|one| one.id == environment && one.slug.as_str() == PRODUCTION)
    }

    /// Has the feeder look again, once the transaction is durable.
    fn nudge(&self, tx: &mut SystemTx) {
        let db = self.db.clone();
        tx.after_commit(move || db.signal(TOPIC, ""));
    }

    /// Leaves the job that sends a batch.
    fn send_batch(&self, tx: &mut SystemTx, sink: SinkId, batch: i64) -> Result<(), Error> {
        let job = NewJob::new(QueueRef::BuiltIn(QUEUE), json!({ "sink": sink, "batch": batch }))
            .attempts(ATTEMPTS)
            .timeout(ATTEMPT_TIME_MAX)
            .unique(format!("{sink}/{batch}"))
            .tag(sink.to_string());
        match self.enqueue.enqueue(tx, job) {
            Ok(_) | Err(ports::EnqueueError::Duplicate(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The sink of a name.
///
/// # Errors
/// `NotFound`, `Store`.
pub fn get(tx: &mut SystemTx, environment: EnvironmentId, name: &Slug) -> Result<Sink, Error> {
    crate::store::sinks::by_name(tx, environment, name)?.ok_or(Error::NotFound)
}

fn emit(
    tx: &mut SystemTx,
    kind: &'static str,
    sink: &Sink,
    (before, after): (Option<Value>, Option<Value>),
) -> Result<(), Error> {
    let subject = sink.name.to_string();
    tx.emit(None, NewEvent { kind, subject, environment: Some(sink.environment), before, after })?;
    Ok(())
}
