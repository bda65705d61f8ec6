//! Durable work: how a capability leaves a job in its own transaction, and how it works one off.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base::{EnvironmentId, JobId, Slug, TenantId, Timestamp};
use db::SystemTx;
use serde_json::Value;
use tokio::sync::watch;

use crate::BoxFuture;

/// A queue, as whoever fills it names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum QueueRef {
    /// One of the installation's own, worked off by a [`JobHandler`] of that name.
    BuiltIn(&'static str),
    /// One that an environment has.
    Of(EnvironmentId, Slug),
}

/// A job that is to be. What is `None` is as the queue's settings say.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// Where it waits.
    pub queue: QueueRef,
    /// Whose work it is; `None` for the installation's own. Decides its share of the queue.
    pub tenant: Option<TenantId>,
    /// What the worker is given; at most 256 KiB as JSON.
    pub payload: Value,
    /// Not before then; `None` means at once.
    pub run_at: Option<Timestamp>,
    /// From 0 (first) to 9; 5 by default.
    pub priority: Option<u8>,
    /// How often it is tried before it is dead, from 1 to 1,000.
    pub attempts: Option<u32>,
    /// How long one attempt may take.
    pub timeout: Option<Duration>,
    /// While a job of this queue and tenant with the same text is not finished, a second one is a duplicate.
    pub unique: Option<String>,
    /// Words to find it by; at most 16 of 64 bytes.
    pub tags: Vec<String>,
}

impl NewJob {
    /// A job of no tenant, due at once, with the queue's settings.
    #[must_use]
    pub fn new(queue: QueueRef, payload: Value) -> Self {
        Self {
            queue,
            tenant: None,
            payload,
            run_at: None,
            priority: None,
            attempts: None,
            timeout: None,
            unique: None,
            tags: Vec::new(),
        }
    }

    /// The same as a tenant's.
    #[must_use]
    pub fn tenant(mut self, tenant: TenantId) -> Self {
        self.tenant = Some(tenant);
        self
    }

    /// The same, not before then.
    #[must_use]
    pub fn run_at(mut self, at: Timestamp) -> Self {
        self.run_at = Some(at);
        self
    }

    /// The same with a priority, 0 (first) to 9.
    #[must_use]
    pub fn priority(mut self, priority: u8) -> Self {
        self.priority = Some(priority);
        self
    }

    /// The same, tried so often.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = Some(attempts);
        self
    }

    /// The same with a time-out for each attempt.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The same, unique under this text while it is not finished.
    #[must_use]
    pub fn unique(mut self, key: impl Into<String>) -> Self {
        self.unique = Some(key.into());
        self
    }

    /// The same with one more tag.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }
}

/// Why a job was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnqueueError {
    /// There is no queue of that name.
    #[error("there is no queue {0}")]
    UnknownQueue(String),
    /// The unique job of that key is there already.
    #[error("the unique job is there already: {0}")]
    Duplicate(JobId),
    /// The queue holds as much as it may, by count or by bytes, of all or of this tenant.
    #[error("queue {queue} is full")]
    Full {
        /// The queue's name.
        queue: String,
    },
    /// The payload is above its limit.
    #[error("the payload has {bytes} bytes; at most {bytes_max} are allowed")]
    TooLarge {
        /// As JSON text.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// An option has a value that it cannot have.
    #[error("{0}")]
    Invalid(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] db::Error),
}

/// Takes jobs inside other capabilities' transactions. Jobs implement it.
pub trait Enqueue: Send + Sync + 'static {
    /// Leaves a job that commits or vanishes with the caller's transaction. Workers see it after the commit.
    ///
    /// # Errors
    /// [`EnqueueError`]; nothing was written then.
    fn enqueue(&self, tx: &mut SystemTx<'_>, job: NewJob) -> Result<JobId, EnqueueError>;

    /// Whether a job has ended, however. One that is gone has.
    ///
    /// # Errors
    /// When the store fails.
    fn is_finished(&self, tx: &mut SystemTx<'_>, job: JobId) -> Result<bool, db::Error>;

    /// Cancels a job: one that waits ends at once, the worker of one that runs is told. Answers whether there was
    /// one to cancel.
    ///
    /// # Errors
    /// When the store fails.
    fn cancel(&self, tx: &mut SystemTx<'_>, job: JobId) -> Result<bool, db::Error>;

    /// Whether there is such a queue, as this transaction sees it.
    ///
    /// # Errors
    /// When the store fails.
    fn queue_exists(&self, tx: &mut SystemTx<'_>, queue: &QueueRef) -> Result<bool, db::Error>;
}

/// Handed to whoever leaves jobs.
pub type SharedEnqueue = Arc<dyn Enqueue>;

/// Whether a job that runs is no longer wanted: it was cancelled, its lease is lost, or its time is over. Cloning
/// shares it.
#[derive(Debug, Clone)]
pub struct Cancelled(watch::Receiver<bool>);

/// The other end of [`Cancelled`]. Dropping it cancels nothing.
#[derive(Debug)]
pub struct Canceller(watch::Sender<bool>);

impl Cancelled {
    /// Both ends.
    #[must_use]
    pub fn pair() -> (Canceller, Cancelled) {
        let (sender, receiver) = watch::channel(false);
        (Canceller(sender), Cancelled(receiver))
    }

    /// One that never comes.
    #[must_use]
    pub fn never() -> Cancelled {
        Cancelled::pair().1
    }

    /// Whether to stop.
    #[must_use]
    pub fn is(&self) -> bool {
        *self.0.borrow()
    }

    /// Resolves when to stop; never, when nobody can say so any more.
    pub async fn wait(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|now| *now).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Canceller {
    /// Says to stop; may be said again.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }

    /// Whether nobody listens any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// Tells how far a job is. Cloning shares it.
#[derive(Clone)]
pub struct Progress(Arc<Tell>);

/// Takes percent and note.
type Tell = dyn Fn(u8, &str) + Send + Sync;

impl Progress {
    /// One that calls `tell` with percent and note.
    pub fn new(tell: impl Fn(u8, &str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// One that tells nobody.
    #[must_use]
    pub fn none() -> Self {
        Self::new(|_, _| {})
    }

    /// Tells it: percent from 0 to 100, a note of at most 1 KiB. Never waits; only the newest is kept.
    pub fn tell(&self, percent: u8, note: &str) {
        (self.0)(percent, note);
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

/// A claimed job, as a handler gets it.
#[derive(Debug, Clone)]
pub struct Work {
    /// Its id: the same in each attempt, so effects are made idempotent by it.
    pub id: JobId,
    /// The queue's name.
    pub queue: String,
    /// Whose queue; `None` for a built-in one.
    pub environment: Option<EnvironmentId>,
    /// Whose work.
    pub tenant: Option<TenantId>,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// After how many it is dead.
    pub attempts: u32,
    /// What was left for the worker.
    pub payload: Value,
    /// Whether to stop.
    pub cancelled: Cancelled,
    /// How far it is.
    pub progress: Progress,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFailure {
    /// What happened, for people; kept with the job. No secrets. At most 4 KiB are kept.
    pub message: String,
    /// Whether another attempt may help. `false` makes the job dead at once.
    pub retry: bool,
}

impl JobFailure {
    /// One that another attempt may mend.
    pub fn retry(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), retry: true }
    }

    /// One that no attempt mends.
    pub fn fatal(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), retry: false }
    }
}

/// Works off one built-in queue. Jobs come at least once: an effect is made idempotent by [`Work::id`].
pub trait JobHandler: Send + Sync + 'static {
    /// The queue's name.
    fn queue(&self) -> &'static str;

    /// Does one job; what it answers is kept as the job's result for a while.
    fn run(&self, work: Work) -> BoxFuture<'_, Result<Value, JobFailure>>;
}
