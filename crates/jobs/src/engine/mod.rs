//! The engine: what everybody calls.

use std::sync::Arc;
use std::time::Duration;

use authority::SystemCtx;
use base::{JobId, SharedClock, SharedRandom, Timestamp};
use db::{Db, SystemTx};
use lifecycle::Stop;
use ports::{Cancelled, Enqueue, EnqueueError, NewJob, QueueRef, TenantDirectory};

use crate::{
    Ack, Beat, ClaimRequest, Claimed, Draft, Error, Failure, JobDetail, JobFilter, JobStatus, JobView, ManagedBy,
    QueueEvent, QueueKey, QueueSettings, QueueStatus, QueueView, Scope,
};

/// What the engine is made of.
pub struct Deps {
    /// The store, with this crate's migrations.
    pub db: Db,
    /// Where times come from.
    pub clock: SharedClock,
    /// Randomness for ids and pauses.
    pub random: SharedRandom,
    /// Where figures go.
    pub metrics: telemetry::Metrics,
    /// Plans (for weights) and status of tenants; `None` weighs all alike and rests nobody.
    pub tenants: Option<Arc<dyn TenantDirectory>>,
    /// Built-in queues: the names of the handlers.
    pub built_in: Vec<&'static str>,
}

/// Queues and jobs of an installation. Cloning shares it. Every call may be dropped at any await; what it asked for
/// then happens or not, whole.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    deps: Deps,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine")
    }
}

fn unavailable<T>() -> Result<T, Error> {
    Err(Error::Store(db::Error::Unavailable("jobs are being started".into())))
}

impl Engine {
    /// Reads queues, counts and running jobs from the store. Declares the built-in queues.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn open(deps: Deps) -> Result<Self, Error> {
        Ok(Self(Arc::new(Inner { deps })))
    }

    /// Does timed work until `stop`: what is delayed becomes due, leases end, waiting claims are answered, finished jobs
    /// are forgotten, news of other processes are read. To be run once a process, as a worker.
    pub async fn run(&self, stop: Stop) {
        stop.stopped().await;
    }

    /// Does the timed work that is due by the clock, once. [`Engine::run`] calls it; tests with a clock that stands
    /// still do so too.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn tick(&self) -> Result<(), Error> {
        unavailable()
    }

    /// Answers all waiting claims with nothing and lets no new one wait: the process is going to stop.
    pub fn close(&self) {}

    // Jobs in.

    /// Makes jobs: all of them, durable, or none. Views in the order of the drafts, without children.
    ///
    /// # Errors
    /// [`Error::QueueUnknown`], [`Error::Invalid`], [`Error::PayloadTooLarge`], [`Error::Duplicate`],
    /// [`Error::QueueFull`], [`Error::Overloaded`], [`Error::Store`]; [`Error::NotFound`] when a tenant's scope names
    /// another tenant.
    pub async fn enqueue(&self, queue: &QueueKey, scope: Scope, drafts: Vec<Draft>) -> Result<Vec<JobView>, Error> {
        let _ = (queue, scope, drafts);
        unavailable()
    }

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
        let _ = (tx, queue, scope, drafts);
        unavailable()
    }

    // Jobs out.

    /// Takes up to `limit` jobs, fairly between tenants. Answers as soon as there is one, and with none when `wait` is
    /// over. Waiting claims are served in their order.
    ///
    /// # Errors
    /// [`Error::QueueUnknown`], [`Error::Invalid`], [`Error::Overloaded`], [`Error::Store`].
    pub async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>, Error> {
        let _ = request;
        unavailable()
    }

    /// Ends jobs well, and claims more in the same transaction. One answer for each of `acks`, in their order.
    ///
    /// # Errors
    /// Of one ack: [`Error::NotFound`], [`Error::LeaseLost`], [`Error::PayloadTooLarge`]. Of the whole: as
    /// [`Engine::claim`].
    pub async fn complete(
        &self,
        scope: Scope,
        acks: Vec<Ack>,
        claim: Option<ClaimRequest>,
    ) -> Result<(Vec<Result<JobStatus, Error>>, Vec<Claimed>), Error> {
        let _ = (scope, acks, claim);
        unavailable()
    }

    /// Ends an attempt badly: the job is tried again after its pause, or is dead. Answers which (`Delayed`, `Waiting`,
    /// `Dead`, or `Cancelled` when that was asked for).
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::LeaseLost`], [`Error::Store`].
    pub async fn fail(
        &self,
        scope: Scope,
        id: JobId,
        fence: i64,
        failure: Failure,
    ) -> Result<JobStatus, Error> {
        let _ = (scope, id, fence, failure);
        unavailable()
    }

    /// Extends leases by their length, never past a job's time-out. One answer for each, in their order.
    ///
    /// # Errors
    /// Of one: [`Error::NotFound`], [`Error::LeaseLost`]. Of the whole: [`Error::Store`], [`Error::Overloaded`].
    pub async fn heartbeat(&self, scope: Scope, leases: Vec<(JobId, i64)>) -> Result<Vec<Result<Beat, Error>>, Error> {
        let _ = (scope, leases);
        unavailable()
    }

    /// Tells how far a job is; extends its lease as well.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::LeaseLost`], [`Error::Invalid`], [`Error::Store`].
    pub async fn progress(
        &self,
        scope: Scope,
        id: JobId,
        fence: i64,
        percent: u8,
        note: Option<String>,
    ) -> Result<Beat, Error> {
        let _ = (scope, id, fence, percent, note);
        unavailable()
    }

    /// Gives jobs back unworked: the attempt does not count. One answer for each, in their order.
    ///
    /// # Errors
    /// As [`Engine::heartbeat`].
    pub async fn release(
        &self,
        scope: Scope,
        leases: Vec<(JobId, i64)>,
    ) -> Result<Vec<Result<JobStatus, Error>>, Error> {
        let _ = (scope, leases);
        unavailable()
    }

    /// Comes when the worker of this lease should stop. For workers in this process and on open connections.
    #[must_use]
    pub fn cancelled(&self, id: JobId, fence: i64) -> Cancelled {
        let _ = (id, fence);
        Cancelled::never()
    }

    // One job.

    /// Cancels: one that waits ends at once (`Cancelled`); the worker of one that runs is asked to stop (`Active`), and
    /// however the attempt ends but well, there is no other. Its waiting children are cancelled with it.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::NotWaiting`] when it has ended; [`Error::Store`].
    pub async fn cancel(&self, scope: Scope, id: JobId) -> Result<JobView, Error> {
        let _ = (scope, id);
        unavailable()
    }

    /// Makes a dead or cancelled job due again with all its attempts, and a delayed one due at once.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::NotWaiting`] when it waits, runs or ended well; [`Error::Duplicate`] when its
    /// unique key was taken meanwhile; [`Error::Store`].
    pub async fn retry(&self, scope: Scope, id: JobId) -> Result<JobView, Error> {
        let _ = (scope, id);
        unavailable()
    }

    /// Everything about a job.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub async fn get(&self, scope: Scope, id: JobId) -> Result<JobDetail, Error> {
        let _ = (scope, id);
        unavailable()
    }

    /// The same as soon as it has ended, or as it is when `up_to` (at most 60 s) is over.
    ///
    /// # Errors
    /// [`Error::NotFound`] (also when its queue keeps nothing and it had ended before), [`Error::Store`].
    pub async fn wait(&self, scope: Scope, id: JobId, up_to: Duration) -> Result<JobDetail, Error> {
        let _ = (scope, id, up_to);
        unavailable()
    }

    /// Up to `limit` (at most 500) jobs of a queue by id, after `after`, newest first.
    ///
    /// # Errors
    /// [`Error::QueueUnknown`], [`Error::Store`].
    pub async fn list(
        &self,
        queue: &QueueKey,
        scope: Scope,
        filter: JobFilter,
        after: Option<JobId>,
        limit: u32,
    ) -> Result<Vec<JobDetail>, Error> {
        let _ = (queue, scope, filter, after, limit);
        unavailable()
    }

    // Many jobs. All work in steps of 1,000, each a transaction, and answer how many jobs there were.

    /// Removes all that waits or is delayed, without a trace.
    ///
    /// # Errors
    /// [`Error::QueueUnknown`], [`Error::Store`]; what was done stays done.
    pub async fn drain(&self, queue: &QueueKey, scope: Scope) -> Result<u64, Error> {
        let _ = (queue, scope);
        unavailable()
    }

    /// Forgets finished jobs that meet the filter.
    ///
    /// # Errors
    /// [`Error::QueueUnknown`], [`Error::Store`].
    pub async fn purge(&self, queue: &QueueKey, scope: Scope, filter: JobFilter) -> Result<u64, Error> {
        let _ = (queue, scope, filter);
        unavailable()
    }

    /// Moves waiting and delayed jobs that meet the filter to another queue of the same environment, in their order.
    ///
    /// # Errors
    /// [`Error::QueueUnknown`] for either, [`Error::Store`].
    pub async fn move_to(
        &self,
        queue: &QueueKey,
        scope: Scope,
        filter: JobFilter,
        to: &QueueKey,
    ) -> Result<u64, Error> {
        let _ = (queue, scope, filter, to);
        unavailable()
    }

    /// Makes new jobs of finished ones that meet the filter, with the same payload and options.
    ///
    /// # Errors
    /// [`Error::QueueUnknown`], [`Error::QueueFull`], [`Error::Store`].
    pub async fn replay(&self, queue: &QueueKey, scope: Scope, filter: JobFilter) -> Result<u64, Error> {
        let _ = (queue, scope, filter);
        unavailable()
    }

    /// Makes up to `limit` dead jobs that meet the filter due again, oldest first, with all their attempts. One whose
    /// unique key was taken meanwhile stays dead.
    ///
    /// # Errors
    /// [`Error::QueueUnknown`], [`Error::Store`].
    pub async fn retry_dead(
        &self,
        queue: &QueueKey,
        scope: Scope,
        filter: JobFilter,
        limit: u64,
    ) -> Result<u64, Error> {
        let _ = (queue, scope, filter, limit);
        unavailable()
    }

    // Queues.

    /// The queues of an environment (`None`: the built-in ones) by name.
    #[must_use]
    pub fn queues(&self, environment: Option<base::EnvironmentId>) -> Vec<QueueView> {
        let _ = environment;
        Vec::new()
    }

    /// One queue.
    ///
    /// # Errors
    /// [`Error::QueueUnknown`], which names one that is written alike.
    pub fn queue(&self, key: &QueueKey) -> Result<QueueView, Error> {
        let _ = key;
        unavailable()
    }

    /// Declares a queue or changes its settings. Answers it and whether it is new. Emits `queue.created` or
    /// `queue.updated`.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::ManagedByFile`], [`Error::Store`].
    pub async fn put_queue(
        &self,
        ctx: &SystemCtx,
        key: &QueueKey,
        settings: QueueSettings,
    ) -> Result<(QueueView, bool), Error> {
        let _ = (ctx, key, settings);
        unavailable()
    }

    /// [`Engine::put_queue`] inside a transaction. `None` when all was so already.
    ///
    /// # Errors
    /// As [`Engine::put_queue`]; [`Error::ManagedByApi`] when the file claims a queue of the API's.
    pub fn put_queue_in(
        &self,
        tx: &mut SystemTx<'_>,
        key: &QueueKey,
        settings: &QueueSettings,
        managed_by: ManagedBy,
    ) -> Result<Option<(QueueView, bool)>, Error> {
        let _ = (tx, key, settings, managed_by);
        unavailable()
    }

    /// Removes a queue with all its finished jobs; one with jobs that have not ended only with `force`. Emits
    /// `queue.removed`.
    ///
    /// # Errors
    /// [`Error::QueueUnknown`], [`Error::ManagedByFile`], [`Error::HoldsJobs`], [`Error::Store`].
    pub async fn delete_queue(&self, ctx: &SystemCtx, key: &QueueKey, force: bool) -> Result<(), Error> {
        let _ = (ctx, key, force);
        unavailable()
    }

    /// [`Engine::delete_queue`] inside a transaction, of one that `managed_by` manages.
    ///
    /// # Errors
    /// As [`Engine::delete_queue`].
    pub fn delete_queue_in(
        &self,
        tx: &mut SystemTx<'_>,
        key: &QueueKey,
        managed_by: ManagedBy,
        force: bool,
    ) -> Result<(), Error> {
        let _ = (tx, key, managed_by, force);
        unavailable()
    }

    /// The queues of an environment that `managed_by` manages, as this transaction sees them.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn queues_in(
        &self,
        tx: &mut SystemTx<'_>,
        environment: base::EnvironmentId,
    ) -> Result<Vec<QueueView>, Error> {
        let _ = (tx, environment);
        unavailable()
    }

    /// Begins no job of the queue any more, in any process, within a second. What runs goes on. Emits `queue.paused`.
    ///
    /// # Errors
    /// [`Error::QueueUnknown`], [`Error::Store`].
    pub async fn pause(&self, ctx: &SystemCtx, key: &QueueKey) -> Result<QueueView, Error> {
        let _ = (ctx, key);
        unavailable()
    }

    /// Begins jobs again. Emits `queue.resumed`.
    ///
    /// # Errors
    /// [`Error::QueueUnknown`], [`Error::Store`].
    pub async fn resume(&self, ctx: &SystemCtx, key: &QueueKey) -> Result<QueueView, Error> {
        let _ = (ctx, key);
        unavailable()
    }

    /// A queue's figures; under a tenant's scope its own, with the queue's percentiles left at 0.
    ///
    /// # Errors
    /// [`Error::QueueUnknown`], [`Error::Store`].
    pub async fn status(&self, key: &QueueKey, scope: Scope) -> Result<QueueStatus, Error> {
        let _ = (key, scope);
        unavailable()
    }

    /// What happens on a queue from now on, or after the event `after` as far as it is still remembered (8,192 events of
    /// this process). A listener that falls behind gets [`crate::EventKind::Gap`].
    ///
    /// # Errors
    /// [`Error::QueueUnknown`].
    pub fn subscribe(&self, key: &QueueKey, scope: Scope, after: Option<u64>) -> Result<Events, Error> {
        let _ = (key, scope, after);
        unavailable()
    }

    /// Now, by the store's clock: what leases and due times are measured by.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.deps.db.store_now()
    }
}

/// A listener on a queue.
#[derive(Debug)]
pub struct Events(());

impl Events {
    /// The next event; `None` when the engine closes.
    pub async fn next(&mut self) -> Option<QueueEvent> {
        let () = self.0;
        None
    }
}

impl Enqueue for Engine {
    fn enqueue(&self, _tx: &mut SystemTx<'_>, _job: NewJob) -> Result<JobId, EnqueueError> {
        Err(db::Error::Unavailable("jobs are being started".into()).into())
    }

    fn is_finished(&self, _tx: &mut SystemTx<'_>, _job: JobId) -> Result<bool, db::Error> {
        Err(db::Error::Unavailable("jobs are being started".into()))
    }

    fn cancel(&self, _tx: &mut SystemTx<'_>, _job: JobId) -> Result<bool, db::Error> {
        Err(db::Error::Unavailable("jobs are being started".into()))
    }

    fn queue_exists(&self, _tx: &mut SystemTx<'_>, _queue: &QueueRef) -> Result<bool, db::Error> {
        Err(db::Error::Unavailable("jobs are being started".into()))
    }
}
