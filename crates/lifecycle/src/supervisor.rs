//! The supervisor: who runs, when each is stopped, what its failing means.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base::SharedClock;
use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use crate::{Stop, StopHandle, Tasks};

/// What a task fails with. Its text is logged; it never reaches a client.
pub type TaskError = Box<dyn std::error::Error + Send + Sync>;

/// The first pause before a failed task runs again.
pub const RESTART_PAUSE_MIN: Duration = Duration::from_millis(100);

/// The longest pause before a failed task runs again: a dependency that comes back is noticed within it.
pub const RESTART_PAUSE_MAX: Duration = Duration::from_secs(30);

/// A run at least so long counts as a success: the next pause is the shortest again.
const STEADY_AFTER: Duration = Duration::from_secs(60);

/// What a task is for. Kinds are stopped in the order in which they stand here, each when the one before has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskKind {
    /// Brings work in: sockets. Stopped first, so that nothing new arrives.
    Listener,
    /// Compares what is with what should be, on a nudge and on a timer. Stopped before those it gives work to.
    Reconciler,
    /// Does work that others gave it: the store's writer, the sequencer, job handlers.
    Worker,
    /// Brings to disk or outside what the others left: logs, metrics. Stopped last.
    Flusher,
}

impl TaskKind {
    /// In the order of stopping.
    pub const ALL: [TaskKind; 4] =
        [TaskKind::Listener, TaskKind::Reconciler, TaskKind::Worker, TaskKind::Flusher];

    /// The part of the grace period, in percent, by which tasks of this kind must have ended by themselves. The
    /// rest is for the kinds after it and for cutting.
    const fn soft_percent(self) -> u32 {
        match self {
            TaskKind::Listener => 60,
            TaskKind::Reconciler => 70,
            TaskKind::Worker => 85,
            TaskKind::Flusher => 95,
        }
    }
}

/// Percent of the grace period that a kind gets between being cut and being dropped.
const CUT_PERCENT: u32 = 2;

/// What all tasks together get to return when patience is over: to kill what they started, and to write out the log.
pub const CUT_TIME_MAX: Duration = Duration::from_secs(1);

/// Polls of tasks of a thread's own runtime between two looks at what the kernel has for it. More than tokio's 61:
/// such threads serve many connections, and what is ready is fetched in larger portions.
const EVENT_INTERVAL: u32 = 512;

/// A task that ended with an error, and whose kind of start says that the process cannot go on without it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("task {task} failed: {reason}")]
pub struct TaskFailure {
    /// Its name.
    pub task: String,
    /// Its error's chain, or the panic's message.
    pub reason: String,
}

/// What did not end by itself within the grace period.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cut short: {}", tasks.join(", "))]
pub struct Cut {
    /// Names of tasks; for a set of tasks its name and how many; and what they waited for.
    pub tasks: Vec<String>,
}

/// Runs and ends all tasks and threads of the process. Cloning shares it.
#[derive(Clone)]
pub struct Supervisor(Arc<Inner>);

struct Inner {
    clock: SharedClock,
    runtime: tokio::runtime::Handle,
    stops: HashMap<TaskKind, (StopHandle, Stop)>,
    running: Mutex<HashMap<u64, Running>>,
    sets: Mutex<Vec<(TaskKind, String, Tasks)>>,
    next: AtomicU64,
    ended: Notify,
    failure: watch::Sender<Option<TaskFailure>>,
}

struct Running {
    kind: TaskKind,
    name: String,
    /// `None` for threads, which cannot be dropped from outside.
    abort: Option<AbortHandle>,
}

/// Takes its task off the list, however it ends.
struct Entry {
    inner: Arc<Inner>,
    number: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.inner.running.lock().remove(&self.number);
        self.inner.ended.notify_waiters();
    }
}

impl Supervisor {
    /// One that spawns on the runtime it is made in. `clock` measures runs and grace.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn new(clock: SharedClock) -> Supervisor {
        Supervisor(Arc::new(Inner {
            clock,
            runtime: tokio::runtime::Handle::current(),
            stops: TaskKind::ALL.into_iter().map(|kind| (kind, Stop::pair())).collect(),
            running: Mutex::default(),
            sets: Mutex::default(),
            next: AtomicU64::new(0),
            ended: Notify::new(),
            failure: watch::Sender::new(None),
        }))
    }

    /// The ear that tasks of this kind are given.
    #[must_use]
    pub fn stop_of(&self, kind: TaskKind) -> Stop {
        self.stops(kind).1.clone()
    }

    /// Runs a future once. Its error or panic ends the process (see [`Supervisor::failed`]).
    pub fn spawn<F>(&self, kind: TaskKind, name: impl Into<String>, future: F)
    where
        F: Future<Output = Result<(), TaskError>> + Send + 'static,
    {
        let name = name.into();
        let supervisor = self.clone();
        let task = name.clone();
        self.start(kind, name, async move {
            if let Err(reason) = caught(future).await {
                supervisor.fail(task, reason);
            }
        });
    }

    /// Runs what `make` makes, and again after a pause whenever that fails; the pause doubles from
    /// [`RESTART_PAUSE_MIN`] to [`RESTART_PAUSE_MAX`]. Ending with `Ok` is the end.
    pub fn restartable<M, F>(&self, kind: TaskKind, name: impl Into<String>, make: M)
    where
        M: Fn(Stop) -> F + Send + 'static,
        F: Future<Output = Result<(), TaskError>> + Send + 'static,
    {
        let name = name.into();
        let stop = self.stop_of(kind);
        let clock = self.0.clock.clone();
        let task = name.clone();
        self.start(kind, name, async move {
            let mut pause = RESTART_PAUSE_MIN;
            loop {
                let begun = clock.monotonic();
                let made = std::panic::catch_unwind(AssertUnwindSafe(|| make(stop.clone())));
                let ended = match made {
                    Ok(future) => caught(future).await,
                    Err(panic) => Err(panic_text(panic.as_ref())),
                };
                let Err(reason) = ended else { return };
                if clock.monotonic().saturating_sub(begun) >= STEADY_AFTER {
                    pause = RESTART_PAUSE_MIN;
                }
                let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(task = %task, %reason, pause_ms, "task failed and will run again");
                if stop.sleep(pause).await {
                    return;
                }
                pause = (pause * 2).min(RESTART_PAUSE_MAX);
            }
        });
    }

    /// Runs `run` on a thread of its own. Its error or panic ends the process. It must watch its [`Stop`]: a thread
    /// cannot be dropped.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn thread(
        &self,
        kind: TaskKind,
        name: impl Into<String>,
        run: impl FnOnce(Stop) -> Result<(), TaskError> + Send + 'static,
    ) -> std::io::Result<()> {
        let name = name.into();
        let stop = self.stop_of(kind);
        let supervisor = self.clone();
        let entry = self.enlist(kind, name.clone());
        crate::thread(&name.clone(), move || {
            let _entry = entry;
            let ended = match std::panic::catch_unwind(AssertUnwindSafe(|| run(stop))) {
                Ok(ended) => ended.map_err(|error| chain(error.as_ref())),
                Err(panic) => Err(panic_text(panic.as_ref())),
            };
            if let Err(reason) = ended {
                supervisor.fail(name, reason);
            }
        })?;
        Ok(())
    }

    /// A listener on a thread with a single-threaded runtime of its own: neither what `make` makes nor what it spawns
    /// by [`crate::spawn_local`] ever leaves the thread. When its future returns, all that it spawned is dropped.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn runtime_thread<M, F>(&self, name: impl Into<String>, make: M) -> std::io::Result<()>
    where
        M: FnOnce(Stop) -> F + Send + 'static,
        F: Future<Output = Result<(), TaskError>> + 'static,
    {
        self.thread(TaskKind::Listener, name, move |stop| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .event_interval(EVENT_INTERVAL)
                .build_local(Default::default())?;
            runtime.block_on(make(stop))
        })
    }

    /// A set for many short-lived tasks, stopped with its kind.
    #[must_use]
    pub fn tasks(&self, kind: TaskKind, name: impl Into<String>) -> Tasks {
        let tasks = Tasks::new(self.0.runtime.clone());
        self.0.sets.lock().push((kind, name.into(), tasks.clone()));
        tasks
    }

    /// Resolves when a task failed that the process cannot go on without.
    pub async fn failed(&self) -> TaskFailure {
        let mut failure = self.0.failure.subscribe();
        match failure.wait_for(Option::is_some).await.map(|failure| failure.clone()) {
            Ok(Some(failure)) => failure,
            // The sender lives in `self`, so this is not reached.
            _ => std::future::pending().await,
        }
    }

    /// Names of all that run now, for a person; of a set, how many.
    #[must_use]
    pub fn running(&self) -> Vec<String> {
        TaskKind::ALL.into_iter().flat_map(|kind| self.running_of(kind)).collect()
    }

    /// Tells all tasks that a successor of this process comes. To be followed by [`Supervisor::stop`].
    pub fn leave(&self) {
        self.0.stops.values().for_each(|(handle, _)| handle.leave());
    }

    /// Whether a successor of this process comes.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.0.stops.values().any(|(_, stop)| stop.is_leaving())
    }

    /// Takes back what [`Supervisor::leave`] said, for those who have not asked yet.
    pub(crate) fn stay(&self) {
        self.0.stops.values().for_each(|(handle, _)| handle.stay());
    }

    /// Ends everything, kind by kind, within `grace`. Call once; readiness should be off before.
    ///
    /// # Errors
    /// [`Cut`] names what did not end by itself.
    pub async fn stop(&self, grace: Duration) -> Result<(), Cut> {
        let begun = self.0.clock.monotonic();
        let mut cut = Vec::new();
        for kind in TaskKind::ALL {
            let spent = self.0.clock.monotonic().saturating_sub(begun);
            let soft = (grace * kind.soft_percent() / 100).saturating_sub(spent);
            cut.extend(self.stop_kind(kind, soft, grace * CUT_PERCENT / 100).await);
        }
        if cut.is_empty() { Ok(()) } else { Err(Cut { tasks: cut }) }
    }

    /// Ends everything as [`Supervisor::stop`] does, until `patience` resolves: then all is told to return at once, and has
    /// [`CUT_TIME_MAX`] for that.
    ///
    /// # Errors
    /// [`Cut`] names what did not end by itself.
    pub async fn stop_unless(&self, grace: Duration, patience: impl Future<Output = ()>) -> Result<(), Cut> {
        tokio::select! {
            stopped = self.stop(grace) => stopped,
            () = patience => {
                let tasks = self.running();
                tracing::warn!(tasks = %tasks.join(", "), "told to stop at once: what still runs is cut");
                TaskKind::ALL.into_iter().for_each(|kind| self.stops(kind).0.cut());
                let ended = async {
                    for kind in TaskKind::ALL {
                        self.ended(kind).await;
                    }
                };
                let _whatever_is_left_ends_with_the_process = tokio::time::timeout(CUT_TIME_MAX, ended).await;
                Err(Cut { tasks })
            }
        }
    }

    /// Ask, tell, drop. Returns who had to be told.
    async fn stop_kind(&self, kind: TaskKind, soft: Duration, hard: Duration) -> Vec<String> {
        self.stops(kind).0.stop();
        if tokio::time::timeout(soft, self.ended(kind)).await.is_ok() {
            return Vec::new();
        }
        let late = self.running_of(kind);
        tracing::warn!(tasks = %late.join(", "), "tasks did not stop in time and are cut");
        self.stops(kind).0.cut();
        if tokio::time::timeout(hard, self.ended(kind)).await.is_err() {
            self.drop_tasks(kind);
            // Dropping happens at the next await point; give the runtime that moment, but wait for no thread.
            let _ = tokio::time::timeout(hard, self.ended(kind)).await;
        }
        late
    }

    fn drop_tasks(&self, kind: TaskKind) {
        let handles: Vec<AbortHandle> = {
            let running = self.0.running.lock();
            running.values().filter(|task| task.kind == kind).filter_map(|task| task.abort.clone()).collect()
        };
        handles.iter().for_each(AbortHandle::abort);
        self.sets_of(kind).iter().for_each(|(_, tasks)| tasks.abort());
    }

    /// Resolves when no task of this kind runs.
    async fn ended(&self, kind: TaskKind) {
        loop {
            let notified = self.0.ended.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if !self.0.running.lock().values().any(|task| task.kind == kind) {
                break;
            }
            notified.await;
        }
        // The tasks that filled the sets have ended, so no set grows any more.
        for (_, tasks) in self.sets_of(kind) {
            tasks.idle().await;
        }
    }

    fn running_of(&self, kind: TaskKind) -> Vec<String> {
        let mut names: Vec<String> = {
            let running = self.0.running.lock();
            running.values().filter(|task| task.kind == kind).map(|task| task.name.clone()).collect()
        };
        let sets = self.sets_of(kind).into_iter().filter(|(_, tasks)| !tasks.is_empty());
        names.extend(sets.map(|(name, tasks)| format!("{name} ({})", tasks.len())));
        names.sort();
        names.extend(self.stops(kind).1.awaited());
        names
    }

    fn sets_of(&self, kind: TaskKind) -> Vec<(String, Tasks)> {
        let sets = self.0.sets.lock();
        sets.iter()
            .filter(|(of, ..)| *of == kind)
            .map(|(_, name, tasks)| (name.clone(), tasks.clone()))
            .collect()
    }

    fn stops(&self, kind: TaskKind) -> &(StopHandle, Stop) {
        self.0.stops.get(&kind).expect("made for all kinds in new")
    }

    fn fail(&self, task: String, reason: String) {
        tracing::error!(task = %task, %reason, "task failed");
        // The first failure is the cause; later ones often only follow from it.
        self.0.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            if first {
                *failure = Some(TaskFailure { task, reason });
            }
            first
        });
    }

    fn enlist(&self, kind: TaskKind, name: String) -> Entry {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        self.0.running.lock().insert(number, Running { kind, name, abort: None });
        Entry { inner: self.0.clone(), number }
    }

    fn start(&self, kind: TaskKind, name: String, future: impl Future<Output = ()> + Send + 'static) {
        let entry = self.enlist(kind, name);
        let number = entry.number;
        let handle = self.0.runtime.spawn(async move {
            let _entry = entry;
            future.await;
        });
        if let Some(task) = self.0.running.lock().get_mut(&number) {
            task.abort = Some(handle.abort_handle());
        }
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor").field("running", &self.running()).finish_non_exhaustive()
    }
}

/// Runs to the end; an error or a panic becomes its text.
async fn caught(future: impl Future<Output = Result<(), TaskError>>) -> Result<(), String> {
    match AssertUnwindSafe(future).catch_unwind().await {
        Ok(ended) => ended.map_err(|error| chain(error.as_ref())),
        Err(panic) => Err(panic_text(panic.as_ref())),
    }
}

/// An error with its causes, outermost first.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let message =
        panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", message.unwrap_or("without a message"))
}
