//! How other capabilities leave jobs in their own transactions.

use authority::SystemCtx;
use base::{EnvironmentId, JobId, TenantId};
use db::SystemTx;
use ports::{BoxFuture, Enqueue, EnqueueError, HealthSign, NewJob, QueueRef, TenantHealth, Unavailable};

use super::Engine;
use crate::store::{claims, done, live, queues};
use crate::{Draft, Error, JobView, OnDuplicate, Payload, QueueKey, Scope, Unique};

impl Engine {
    /// [`Engine::enqueue`] inside a transaction: the jobs commit or vanish with it.
    ///
    /// # Errors
    /// As [`Engine::enqueue`].
    pub fn enqueue_in(
        &self,
        tx: &mut SystemTx<'_>,
        queue: &QueueKey,
        scope: Scope,
        drafts: &[Draft],
    ) -> Result<Vec<JobView>, Error> {
        super::insert::check(drafts)?;
        let mut effects = Vec::new();
        self.0.know(tx, queue)?;
        let views = self.0.insert_in(tx, &mut effects, queue, scope, drafts)?;
        self.0.apply_after(tx, effects);
        Ok(views)
    }
}

fn key_of(queue: &QueueRef) -> Option<QueueKey> {
    match queue {
        QueueRef::BuiltIn(name) => QueueKey::built_in(name),
        QueueRef::Of(environment, name) => Some(QueueKey::of(*environment, name.clone())),
    }
}

fn name_of(queue: &QueueRef) -> String {
    match queue {
        QueueRef::BuiltIn(name) => (*name).to_owned(),
        QueueRef::Of(_, name) => name.to_string(),
    }
}

impl Enqueue for Engine {
    fn enqueue(&self, tx: &mut SystemTx<'_>, job: NewJob) -> Result<JobId, EnqueueError> {
        let NewJob { queue, tenant, payload, run_at, priority, attempts, timeout, unique, tags } = job;
        let key = key_of(&queue).ok_or_else(|| EnqueueError::UnknownQueue(name_of(&queue)))?;
        let draft = Draft {
            tenant,
            run_at,
            priority,
            attempts,
            timeout,
            unique: unique.map(|key| Unique { key, within: None, on_duplicate: OnDuplicate::Reject }),
            tags,
            ..Draft::new(Payload::from(&payload))
        };
        let views =
            self.enqueue_in(tx, &key, Scope::Environment(key.environment), &[draft]).map_err(refused)?;
        match views.first() {
            Some(view) => Ok(view.id),
            None => Err(db::Error::Decode("a job was made and is not there".into()).into()),
        }
    }

    fn is_finished(&self, tx: &mut SystemTx<'_>, job: JobId) -> Result<bool, db::Error> {
        claims::take_over(tx)?;
        Ok(live::read(tx, job)?.is_none())
    }

    fn cancel(&self, tx: &mut SystemTx<'_>, job: JobId) -> Result<bool, db::Error> {
        claims::take_over(tx)?;
        let Some(row) = live::read(tx, job)? else { return Ok(false) };
        let mut effects = Vec::new();
        let cancelled = self.0.cancel_in(tx, &mut effects, row);
        self.0.apply_after(tx, effects);
        match cancelled {
            Ok(()) => Ok(true),
            Err(Error::Store(error)) => Err(error),
            Err(_) => Err(db::Error::Busy),
        }
    }

    fn queue_exists(&self, tx: &mut SystemTx<'_>, queue: &QueueRef) -> Result<bool, db::Error> {
        match key_of(queue) {
            Some(key) => Ok(queues::one(tx, &key)?.is_some()),
            None => Ok(false),
        }
    }
}

fn refused(error: Error) -> EnqueueError {
    match error {
        Error::QueueUnknown { name, .. } => EnqueueError::UnknownQueue(name),
        Error::Duplicate { existing } => EnqueueError::Duplicate(existing),
        Error::QueueFull { queue, .. } => EnqueueError::Full { queue },
        Error::PayloadTooLarge { bytes, bytes_max, .. } => EnqueueError::TooLarge { bytes, bytes_max },
        Error::Store(error) => EnqueueError::Store(error),
        other => EnqueueError::Invalid(other.to_string()),
    }
}

impl TenantHealth for Engine {
    fn signs(
        &self,
        environment: EnvironmentId,
        tenant: TenantId,
    ) -> BoxFuture<'_, Result<Vec<HealthSign>, Unavailable>> {
        Box::pin(async move {
            let ctx = SystemCtx::because("a tenant's dead jobs among those of its queues");
            let read = self.0.db.read_system(&ctx, move |tx| done::recent_dead(tx, environment, tenant));
            let dead = read.await.map_err(|error| {
                tracing::warn!(%error, "a tenant's dead jobs cannot be read");
                Unavailable::new("jobs")
            })?;
            let sign = |(queue, jobs): (String, u64)| {
                let text = format!("{jobs} of its recent jobs of queue `{queue}` are dead.");
                HealthSign { topic: "jobs", is_urgent: false, text }
            };
            Ok(dead.into_iter().map(sign).collect())
        })
    }
}
