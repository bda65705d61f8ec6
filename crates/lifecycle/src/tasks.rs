//! Spawning, in its few forms.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::{io, thread as std_thread};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// Starts a named thread for an owner that joins it itself (a writer with a channel of its own). All else uses
/// [`crate::Supervisor::thread`].
///
/// # Errors
/// When the system has no thread left.
pub fn thread<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<std_thread::JoinHandle<T>> {
    std_thread::Builder::new().name(thread_name(name)).spawn(run)
}

/// Names are cut at 15 bytes, the kernel's limit, so that `ps` shows the same as we log.
pub(crate) fn thread_name(name: &str) -> String {
    name.chars().filter(char::is_ascii).take(15).collect()
}

/// Runs `work`, which may block, on the runtime's pool of blocking threads. `None` when it panicked (the panic is
/// logged by the hook) or the runtime is going down.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

/// A future that was spawned on this thread's own runtime.
#[derive(Debug)]
pub struct LocalTask<T>(tokio::task::JoinHandle<T>);

impl<T> LocalTask<T> {
    /// Drops the future at its next await point.
    pub fn abort(&self) {
        self.0.abort();
    }
}

impl<T> Future for LocalTask<T> {
    /// `None` when it panicked or was aborted.
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        Pin::new(&mut self.0).poll(cx).map(Result::ok)
    }
}

/// Spawns a future that never leaves this thread. A panic ends it alone.
///
/// # Panics
/// Outside [`crate::Supervisor::runtime_thread`].
pub fn spawn_local<F>(future: F) -> LocalTask<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    LocalTask(tokio::task::spawn_local(future))
}

/// Many short-lived tasks of one owner: a listener's connections. Cloning shares the set. Their number is the owner's
/// to limit ([`Tasks::len`]); a panic ends only its own task.
#[derive(Debug, Clone)]
pub struct Tasks(Arc<Set>);

#[derive(Debug)]
struct Set {
    runtime: tokio::runtime::Handle,
    running: Mutex<HashMap<u64, Option<AbortHandle>>>,
    next: AtomicU64,
    idle: Notify,
}

/// Takes its task off the list, however the task ends.
struct Entry {
    set: Arc<Set>,
    number: u64,
}

impl Tasks {
    pub(crate) fn new(runtime: tokio::runtime::Handle) -> Tasks {
        Tasks(Arc::new(Set {
            runtime,
            running: Mutex::new(HashMap::new()),
            next: AtomicU64::new(0),
            idle: Notify::new(),
        }))
    }

    /// Runs `future` on the supervisor's runtime.
    pub fn spawn<F>(&self, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        // Listed before it runs, so that it cannot end unseen in between.
        self.0.running.lock().insert(number, None);
        let entry = Entry { set: self.0.clone(), number };
        let handle = self.0.runtime.spawn(async move {
            let _entry = entry;
            future.await;
        });
        if let Some(slot) = self.0.running.lock().get_mut(&number) {
            *slot = Some(handle.abort_handle());
        }
    }

    /// How many run now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.running.lock().len()
    }

    /// Whether none runs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Resolves when none runs.
    pub async fn idle(&self) {
        loop {
            let notified = self.0.idle.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.is_empty() {
                return;
            }
            notified.await;
        }
    }

    /// Drops all of them at their next await point.
    pub fn abort(&self) {
        let handles: Vec<AbortHandle> = self.0.running.lock().values().flatten().cloned().collect();
        handles.iter().for_each(AbortHandle::abort);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut running = self.set.running.lock();
        running.remove(&self.number);
        if running.is_empty() {
            self.set.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_set_knows_when_it_is_idle() {
        let tasks = Tasks::new(tokio::runtime::Handle::current());
        tasks.idle().await;
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        tasks.spawn(async move { receiver.await.unwrap_or_default() });
        assert_eq!(tasks.len(), 1);
        sender.send(()).expect("the task waits");
        tasks.idle().await;
        assert!(tasks.is_empty());
    }

    #[tokio::test]
    async fn a_panic_and_an_abort_leave_the_set() {
        let tasks = Tasks::new(tokio::runtime::Handle::current());
        tasks.spawn(async { panic!("on purpose") });
        tasks.spawn(std::future::pending());
        tasks.abort();
        tasks.idle().await;
    }

    #[test]
    fn names_fit_the_kernel() {
        assert_eq!(thread_name("a-very-long-thread-name"), "a-very-long-thr");
        assert_eq!(thread_name("größe"), "gre");
    }
}
