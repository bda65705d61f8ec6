//! From "everything is started" to the exit code.

use std::time::Duration;

use crate::{Cut, Readiness, Signal, Signals, Supervisor, TaskFailure};

/// The longest grace of a process that leaves to a successor: whoever connects meanwhile waits for that one.
pub const LEAVE_GRACE_MAX: Duration = Duration::from_secs(10);

/// Why the process ends other than well. Both mean exit code 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Exit {
    /// A task failed that the process cannot go on without. What else was cut while stopping was logged.
    #[error(transparent)]
    Failed(TaskFailure),
    /// The grace period or a second signal ended what was still running.
    #[error(transparent)]
    Cut(Cut),
}

impl Supervisor {
    /// Waits for a signal or a failure, then stops everything within `grace`; a second signal ends the waiting.
    /// `reload` is called on SIGHUP. On [`Signal::Leave`] tasks are told that a successor comes ([`Stop::is_leaving`]), and
    /// have [`LEAVE_GRACE_MAX`] at most.
    ///
    /// # Errors
    /// [`Exit`] when the end was not orderly.
    pub async fn run(
        &self,
        signals: &mut Signals,
        readiness: &Readiness,
        grace: Duration,
        mut reload: impl FnMut(),
    ) -> Result<(), Exit> {
        let (failure, grace) = loop {
            tokio::select! {
                failure = self.failed() => break (Some(failure), grace),
                signal = signals.next() => match signal {
                    Signal::Reload => reload(),
                    Signal::Stop | Signal::SecondSignal => break (None, grace),
                    Signal::Leave => {
                        self.leave();
                        break (None, grace.min(LEAVE_GRACE_MAX));
                    }
                },
            }
        };
        readiness.stopping();
        tracing::info!("stopping");
        let stopped = self.stop_unless(grace, second(signals, failure.is_some())).await;
        match (failure, stopped) {
            (Some(failure), _) => Err(Exit::Failed(failure)),
            (None, Err(cut)) => Err(Exit::Cut(cut)),
            (None, Ok(())) => Ok(()),
        }
    }
}

/// Resolves on the signal that ends patience: the second one, or the first if stopping began by a failure.
async fn second(signals: &mut Signals, first_counts: bool) {
    loop {
        match signals.next().await {
            Signal::SecondSignal => return,
            Signal::Stop if first_counts => return,
            Signal::Stop | Signal::Reload | Signal::Leave => {}
        }
    }
}
