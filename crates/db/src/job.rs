//! A queued closure with its caller waiting: what writer, readers and lanes run without knowing its types.

use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::oneshot;

use crate::Error;
use crate::session::Session;
use crate::shared::{Effects, Shared};
use crate::tx::Core;

/// Under which right a transaction runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    /// One tenant's, by its id.
    Tenant(String),
    /// The installation's.
    System,
    /// The installation's, at read-committed isolation: statements that are right row by row, which wait for rows instead of
    /// repeating.
    Hot,
}

/// What is to be done with what the closure wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Keep,
    Undo,
}

/// A closure with its context and its caller.
pub(crate) trait Job: Send {
    fn scope(&self) -> &Scope;
    /// Runs the closure on an open transaction. Panics are caught. May be called again, which forgets the
    /// outcome of the last time.
    fn run(&mut self, session: &mut Session, shared: &Shared) -> Verdict;
    /// Answers the caller: with the closure's own result when `outcome` is `Ok`, else with that error. `Ok` for a
    /// closure whose verdict was to undo means that its failure is to be told as it is.
    fn settle(self: Box<Self>, outcome: Result<(), Error>, shared: &Shared);
    /// Tells the caller that it was not taken.
    fn refuse(self: Box<Self>, error: Error);
}

/// Answers the caller. What the closure holds or made is dropped here, and a panic in that ends nothing else.
pub(crate) fn settle(job: Box<dyn Job>, outcome: Result<(), Error>, shared: &Shared) {
    if catch_unwind(AssertUnwindSafe(|| job.settle(outcome, shared))).is_err() {
        shared.stats.panicked();
    }
}

struct Call<T, E, F, D>
where
    E: From<Error>,
    D: FnOnce(Result<T, E>),
{
    scope: Scope,
    closure: F,
    result: Option<Result<T, E>>,
    effects: Effects,
    done: Done<T, E, D>,
}

/// Tells the caller exactly once: with the outcome, or that there will be none.
struct Done<T, E, D>
where
    E: From<Error>,
    D: FnOnce(Result<T, E>),
{
    tell: Option<D>,
    _answer: PhantomData<fn(Result<T, E>)>,
}

impl<T, E, D> Done<T, E, D>
where
    E: From<Error>,
    D: FnOnce(Result<T, E>),
{
    fn tell(mut self, result: Result<T, E>) {
        if let Some(tell) = self.tell.take() {
            tell(result);
        }
    }
}

impl<T, E, D> Drop for Done<T, E, D>
where
    E: From<Error>,
    D: FnOnce(Result<T, E>),
{
    fn drop(&mut self) {
        if let Some(tell) = self.tell.take() {
            tell(Err(E::from(Error::Unavailable("the store is stopping".into()))));
        }
    }
}

/// Where the caller waits.
pub(crate) type Reply<T, E> = oneshot::Receiver<Result<T, E>>;

/// Packs a closure for a queue; the caller waits for its outcome.
pub(crate) fn job<T, E, F>(scope: Scope, closure: F) -> (Box<dyn Job>, Reply<T, E>)
where
    T: Send + 'static,
    E: From<Error> + Send + 'static,
    F: Fn(Core<'_>) -> Result<T, E> + Send + 'static,
{
    let (reply, receiver) = oneshot::channel();
    // A caller that went away (cancelled) is not told; its change stands all the same.
    (posted(scope, closure, move |result| drop(reply.send(result))), receiver)
}

/// Packs a closure for a queue; `done` is called with its outcome, on the thread that ran it.
pub(crate) fn posted<T, E, F, D>(scope: Scope, closure: F, done: D) -> Box<dyn Job>
where
    T: Send + 'static,
    E: From<Error> + Send + 'static,
    F: Fn(Core<'_>) -> Result<T, E> + Send + 'static,
    D: FnOnce(Result<T, E>) + Send + 'static,
{
    let done = Done { tell: Some(done), _answer: PhantomData };
    Box::new(Call { scope, closure, result: None, effects: Effects::default(), done })
}

impl<T, E, F, D> Job for Call<T, E, F, D>
where
    T: Send + 'static,
    E: From<Error> + Send + 'static,
    F: Fn(Core<'_>) -> Result<T, E> + Send + 'static,
    D: FnOnce(Result<T, E>) + Send + 'static,
{
    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn run(&mut self, session: &mut Session, shared: &Shared) -> Verdict {
        let mut effects = Effects::default();
        let core = Core { session, shared, effects: &mut effects };
        // The closure is `Fn` and what it touched is rolled back, so nothing half-done can be seen afterwards.
        let result = catch_unwind(AssertUnwindSafe(|| (self.closure)(core))).unwrap_or_else(|_| {
            shared.stats.panicked();
            Err(E::from(Error::Panicked))
        });
        // A statement that failed has ended the transaction on PostgreSQL; so it does on SQLite, or code that
        // shrugs at an error would work on one of them only.
        let result = match (result, session.doom()) {
            (Ok(_), Some(error)) => Err(E::from(error)),
            (result, _) => result,
        };
        let verdict = if result.is_ok() { Verdict::Keep } else { Verdict::Undo };
        self.result = Some(result);
        self.effects = effects;
        verdict
    }

    fn settle(self: Box<Self>, outcome: Result<(), Error>, shared: &Shared) {
        let Self { closure, result, effects, done, .. } = *self;
        let result = match (outcome, result) {
            (Ok(()), Some(Ok(value))) => {
                shared.apply(effects);
                Ok(value)
            }
            (Ok(()), Some(Err(error))) => Err(error),
            (Ok(()), None) => Err(E::from(Error::Unavailable("the transaction did not run".into()))),
            (Err(error), _) => Err(E::from(error)),
        };
        done.tell(result);
        drop(closure);
    }

    fn refuse(self: Box<Self>, error: Error) {
        let Self { done, .. } = *self;
        done.tell(Err(E::from(error)));
    }
}
