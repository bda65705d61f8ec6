//! A queued closure with its caller waiting: what writer, readers and lanes run without knowing its types.

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
    /// The installation's, at read-committed isolation: the sequencer, which waits for rows instead of repeating.
    Sequencer,
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
}

/// Answers the caller. What the closure holds or made is dropped here, and a panic in that ends nothing else.
pub(crate) fn settle(job: Box<dyn Job>, outcome: Result<(), Error>, shared: &Shared) {
    if catch_unwind(AssertUnwindSafe(|| job.settle(outcome, shared))).is_err() {
        shared.stats.panicked();
    }
}

struct Call<T, E, F> {
    scope: Scope,
    closure: F,
    result: Option<Result<T, E>>,
    effects: Effects,
    reply: oneshot::Sender<Result<T, E>>,
}

/// Where the caller waits.
pub(crate) type Reply<T, E> = oneshot::Receiver<Result<T, E>>;

/// Packs a closure for a queue.
pub(crate) fn job<T, E, F>(scope: Scope, closure: F) -> (Box<dyn Job>, Reply<T, E>)
where
    T: Send + 'static,
    E: From<Error> + Send + 'static,
    F: Fn(Core<'_>) -> Result<T, E> + Send + 'static,
{
    let (reply, receiver) = oneshot::channel();
    (Box::new(Call { scope, closure, result: None, effects: Effects::default(), reply }), receiver)
}

impl<T, E, F> Job for Call<T, E, F>
where
    T: Send + 'static,
    E: From<Error> + Send + 'static,
    F: Fn(Core<'_>) -> Result<T, E> + Send + 'static,
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
        let result = match (outcome, self.result) {
            (Ok(()), Some(Ok(value))) => {
                shared.apply(self.effects);
                Ok(value)
            }
            (Ok(()), Some(Err(error))) => Err(error),
            (Ok(()), None) => Err(E::from(Error::Unavailable("the transaction did not run".into()))),
            (Err(error), _) => Err(E::from(error)),
        };
        // A caller that went away (cancelled) is not told; its change stands all the same.
        drop(self.reply.send(result));
    }
}
